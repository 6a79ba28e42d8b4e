"""The set-up of Malladi et al.: Tables 2 and 3 of the first version, from our parameter files."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from tangentlm.malladi.judging import Setting
from tangentlm.malladi.learned import on_settings
from tangentlm.malladi.ledger import reported
from tangentlm.malladi.measurements import METHOD_NAMES, fine_tunings
from tangentlm.params import load_grid
from tangentlm.studies.collect import as_usual, read_collected, read_collected_table
from tangentlm.tasks import load_task

SOLVER = {"regularization": "lambda", "f0_scale": "f0 scale", "gamma": "gamma"}
"""What kernel regression searches, and its name for people."""


def tasks_and_prompts(tasks: Sequence[str]) -> pd.DataFrame:
    """Table 2 of Malladi-v1: the tasks, their prompts, and how many rows they have.

    Args:
        tasks: Names of tasks.

    Returns:
        A row a task: ``title``, ``classes``, ``template``, ``label_words``, the paper's
        ``paper_train`` and ``paper_test``, and what was loaded here: ``train``, ``test`` and
        ``smallest_class``, the training rows of the rarest class, of which a k-shot split needs
        2k (``Task.short_dev``: k + 1). A task whose data was not counted has no counts.
    """
    loaded = [load_task(name) for name in tasks]
    table = pd.DataFrame(
        {
            "task": tasks,
            "title": [task.title for task in loaded],
            "classes": [task.num_classes for task in loaded],
            "template": [task.template for task in loaded],
            "label_words": [", ".join(task.label_words) for task in loaded],
        }
    )
    paper = reported("malladi_table2").drop(columns="classes")
    paper = paper.rename(columns={"train": "paper_train", "test": "paper_test"})
    return table.merge(paper, how="left", on="title").merge(
        read_collected_table("data", "tasks"), how="left", on="task"
    )


def grid_values(grids: Sequence[str]) -> pd.DataFrame:
    """Table 3 of Malladi-v1: the values that are searched.

    Args:
        grids: Names of grids of ``params/grids``.

    Returns:
        A row for each method and hyperparameter: ``method``, ``hyperparameter``, and the values
        of each grid in a column of its name.
    """
    columns = {name: _values(name) for name in grids}
    table = pd.DataFrame(columns)
    table.index.names = ["method", "hyperparameter"]
    return table.reset_index()


def at_the_edge(study: str) -> pd.DataFrame:
    """How many fine-tunings chose the largest learning rate that they tried, or the smallest.

    A best rate at the edge says that a better one may lie outside. With two rates there is nothing
    but edges.

    Args:
        study: Its name.

    Returns:
        A row for each of the paper's methods: ``method``, ``runs``, how many ``rates`` were tried,
        and how many runs chose the ``largest`` and the ``smallest`` of them.
    """
    columns = ["method", "runs", "rates", "largest", "smallest"]
    runs = read_collected(study, "finetune")
    tried = read_collected_table(study, "finetune-grid_table")
    if runs.empty or tried.empty:
        return pd.DataFrame(columns=columns)
    runs = as_usual(runs, {"labels": "given"})
    rates = tried.groupby("run")["learning_rate"].agg(["min", "max", "nunique"])
    names = [METHOD_NAMES.get(("finetune", method), "") for method in runs["method"]]
    both = runs.assign(name=names)[["run", "name", "best_learning_rate"]].merge(rates, on="run")
    both["largest"] = both["best_learning_rate"] == both["max"]
    both["smallest"] = both["best_learning_rate"] == both["min"]
    both = both[both["name"] != ""].rename(columns={"nunique": "rates", "name": "method"})
    found = both.groupby(["method", "rates"], sort=False)
    counts = found.agg(
        runs=("run", "size"), largest=("largest", "sum"), smallest=("smallest", "sum")
    )
    return counts.reset_index()[columns]


def clipped_steps(study: str, settings: Collection[Setting]) -> pd.DataFrame:
    """How often fine-tuning shortened its gradient, as the authors' code does without saying so.

    Args:
        study: Its name.
        settings: The tasks and k that count.

    Returns:
        A row for each of the paper's methods, with the manual prompt: ``method``, ``runs``, how
        many of them have it in their records (``recorded``), and of these the mean share of
        ``clipped`` steps, in percent, and the median over runs of the median gradient ``norm``
        before clipping.
    """
    runs = fine_tunings(study)
    columns = ["method", "runs", "recorded", "clipped", "norm"]
    if runs.empty or "clipped_share" not in runs:
        return pd.DataFrame(columns=columns)
    titles = [load_task(task).title for task in runs["task"]]
    found = (
        on_settings(runs.assign(title=titles), settings)
        .groupby("method", sort=False)
        .agg(
            runs=("run", "size"),
            recorded=("clipped_share", "count"),
            clipped=("clipped_share", "mean"),
            norm=("gradient_norm", "median"),
        )
    )
    return found.assign(clipped=100 * found["clipped"]).reset_index()[columns]


def _values(name: str) -> pd.Series:
    grid = load_grid(name)
    values = {}
    for method, given in grid.finetune.items():
        values[method, "learning rate"] = _listed(given.learning_rate)
        values[method, "batch size"] = _listed(given.batch_size)
    values["fine-tuning", "steps (in kC)"] = str(grid.steps)
    values["fine-tuning", "evaluated every (in kC)"] = str(grid.evaluate_every)
    for field, hyperparameter in SOLVER.items():
        values["kernel regression", hyperparameter] = _listed(getattr(grid, field))
    return pd.Series(values)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
