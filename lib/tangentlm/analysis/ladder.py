"""What changes with width: measures of tasks over models that differ in width alone.

Theorem 3.7 of Malladi-v1 is about a limit, so one model says nothing of it. A ladder of models, the
same text in the same order at every width, does. An interval speaks of other tasks where a ladder
has one model a width, of other pre-trainings where it has several seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tangentlm.analysis.intervals import interval_of_mean
from tangentlm.params import RUN_PREFIX
from tangentlm.studies.collect import read_collected, read_collected_table

EXPERIMENT = "natural_tasks"
_FACTS = ["run", "width", "parametrization", "held_out_loss", "parameters"]


def ladder_measures(study: str, ladder: str, method: str = "sgd") -> pd.DataFrame:
    """The measures of the tasks, beside the facts of the models.

    What has not been asked of every model yet is left out: a mean over other tasks at every width
    would show the tasks, not the width.

    Args:
        study: A study with runs of ``natural_tasks``.
        ladder: The study that pre-trained their models.
        method: How they were fine-tuned; ``"sgd"`` is the clipped SGD of the authors.

    Returns:
        A row for each run of a task, prompt and seed that every model was asked, with ``width``,
        ``parametrization``, ``held_out_loss`` and ``parameters`` of its model, and ``chi_max``, the
        largest output derivative of an example; empty where one of the studies has not been run.
    """
    runs, models = read_collected(study, EXPERIMENT), read_collected(ladder, "pretrain")
    if runs.empty or models.empty:
        return pd.DataFrame()
    runs = runs[runs["method"] == method]
    chi = read_collected_table(study, f"{EXPERIMENT}-chi_by_example")
    largest = chi.set_index("run").max(axis=1)
    runs = runs.assign(chi_max=runs["run"].map(largest))
    models = models[_FACTS].assign(model=f"{RUN_PREFIX}{ladder}/" + models["run"])
    asked = runs.groupby(["task", "prompt", "seed"])["model"].transform("nunique")
    runs = runs[asked == runs["model"].nunique()]
    return runs.drop(columns="width").merge(models.drop(columns="run"), on="model")


def asked_in_every_way(measures: pd.DataFrame) -> pd.DataFrame:
    """The rows of the tasks that were asked with every prompt: on these prompts are compared."""
    if measures.empty:
        return measures
    prompts = measures.groupby("task")["prompt"].transform("nunique")
    return measures[prompts == prompts.max()]


def of_two_trainings(
    one: pd.DataFrame, other: pd.DataFrame, columns: Sequence[str]
) -> pd.DataFrame:
    """The same models, tasks and prompts, fine-tuned in two ways.

    Args:
        one: From ``ladder_measures``.
        other: The same of another method.
        columns: The measures that are compared.

    Returns:
        For every ladder, width and measure over the tasks, with the manual prompt, that both have:
        ``parametrization``, ``width``, ``tasks``, ``measure``, the mean of ``one`` and of the
        ``other``, and ``difference``, ``one`` less the other, with its interval over tasks
        (``low``, ``high``) and the side of zero that it lies on (``verdict``).
    """
    if one.empty or other.empty:
        return pd.DataFrame()
    same = ["model", "parametrization", "width", "task", "prompt", "seed"]
    both = one.merge(other, on=same, suffixes=("_one", "_other"))
    both = both[both["prompt"] == "manual"].sort_values(["parametrization", "width"])
    rows = []
    for (kind, width), group in both.groupby(["parametrization", "width"], sort=False):
        for column in columns:
            pair = group[["task", f"{column}_one", f"{column}_other"]].dropna()
            by_task = pair.groupby("task").mean().set_axis(["one", "other"], axis=1)
            found = interval_of_mean(by_task["one"] - by_task["other"])
            rows.append(
                {
                    "parametrization": kind,
                    "width": width,
                    "tasks": len(by_task),
                    "measure": column,
                    **by_task.mean(),
                    "difference": found.estimate,
                    "low": found.low,
                    "high": found.high,
                    "verdict": found.direction("smaller", "larger", "tasks"),
                }
            )
    return pd.DataFrame(rows)


def examples_over_width(measures: pd.DataFrame, study: str, by: Sequence[str]) -> pd.DataFrame:
    """What single examples do, for Definition 3.6 speaks of every one of them.

    Args:
        measures: From ``ladder_measures``.
        study: The study that they are from.
        by: Columns that name the ladders.

    Returns:
        For every ladder, over all examples of all tasks and seeds: how many ``examples``, and in
        percent those whose output derivative ``fell`` from the narrowest to the widest model, those
        for which it ``fell_always`` (at every step), and those that are ``solved`` (below 0.1) and
        ``hopeless`` (above 0.9) for the widest.
    """
    chi = read_collected_table(study, f"{EXPERIMENT}-chi_by_example")
    if measures.empty or chi.empty:
        return pd.DataFrame()
    chi = chi.set_index("run")
    rows = []
    for names, group in measures.groupby(list(by), sort=False):
        steps = []
        for _, same in group.groupby(["task", "seed"]):
            by_width = same.sort_values("width")
            if by_width["width"].nunique() > 1:
                examples = chi.loc[by_width["run"]].to_numpy(dtype=np.float64).T
                steps.append(examples[~np.isnan(examples).any(axis=1)])
        if not steps:
            continue
        widest = np.concatenate([examples[:, -1] for examples in steps])
        change = np.concatenate([examples[:, -1] - examples[:, 0] for examples in steps])
        always = np.concatenate([(np.diff(examples) < 0).all(axis=1) for examples in steps])
        shares = [100 * float(np.mean(s)) for s in (change < 0, always, widest < 0.1, widest > 0.9)]
        rows.append((*names, len(widest), *shares))
    return pd.DataFrame(
        rows, columns=[*by, "examples", "fell", "fell_always", "solved", "hopeless"]
    )
