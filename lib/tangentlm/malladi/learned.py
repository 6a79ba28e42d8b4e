"""On which tasks fine-tuning learns anything, judged on dev rows, which judge no claim.

Where it learns nothing, a kernel that scores as it does says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import pandas as pd

from tangentlm.analysis.learning import chance_of_best, chance_over_splits
from tangentlm.analysis.several import ALPHA, holm
from tangentlm.malladi.judging import Setting
from tangentlm.params import load_grid
from tangentlm.studies.collect import as_usual, read_collected
from tangentlm.tasks import load_task

_USUAL = {"head": "prompt", "prompt": "manual", "labels": "given"}


def learning(study: str, method: str = "sgd") -> pd.DataFrame:
    """How surprising the dev scores of fine-tuning would be if it learned nothing.

    Luck is right as often as the model before was, or as always the same answer is. The dev rows
    have chosen among learning rates, batch sizes and steps; that is taken in.

    Args:
        study: Its name.
        method: The method of fine-tuning.

    Returns:
        A row for each task and k: ``task``, ``title``, ``k``, ``splits``, ``before`` (zero-shot)
        and ``dev``, in percent, how many ``tries`` dev chose from, ``p``, ``p_together`` (Holm) and
        ``learned``. A task that is scored by F1 has no ``p``: from F1 alone the number of right
        rows is not known.
    """
    runs = read_collected(study, "finetune")
    columns = ["task", "title", "k", "splits", "before", "dev", "tries", "p"]
    if runs.empty or "dev" not in runs:
        return pd.DataFrame(columns=[*columns, "p_together", "learned"])
    runs = as_usual(runs, _USUAL)
    runs = runs[runs["method"] == method]
    rows = [_learning(str(task), int(k), g) for (task, k), g in runs.groupby(["task", "k"])]
    found = pd.DataFrame(rows, columns=columns)
    found["p_together"] = holm(found["p"].astype(float))
    return found.assign(learned=found["p_together"] < ALPHA)


def _learning(task: str, k: int, runs: pd.DataFrame) -> dict[str, object]:
    classes = int(runs["num_classes"].iloc[0])
    tries = [_tries(grid) * int(n) for grid, n in runs[["grid", "grid_points"]].to_numpy()]
    before = max(100 / classes, float(runs["zero_shot_dev"].mean()))
    chances = [
        chance_of_best(round(dev * rows / 100), int(rows), before / 100, count)
        for (dev, rows), count in zip(runs[["dev_score", "dev"]].to_numpy(), tries, strict=True)
    ]
    by_accuracy = (runs["metric"] == "accuracy").all()
    return {
        "task": task,
        "title": load_task(task).title,
        "k": k,
        "splits": len(runs),
        "before": float(runs["zero_shot_dev"].mean()),
        "dev": float(runs["dev_score"].mean()),
        "tries": max(tries),
        "p": chance_over_splits(chances) if by_accuracy else math.nan,
    }


def _tries(grid: str) -> int:
    """How often a training is looked at with dev."""
    values = load_grid(grid)
    return max(1, round(values.steps / values.evaluate_every))


def learned_settings(study: str) -> set[tuple[str, int]]:
    """The tasks and k that fine-tuning learns.

    Args:
        study: Its name.

    Returns:
        Titles and k.
    """
    found = learning(study)
    found = found[found["learned"].astype(bool)]
    return {(str(title), int(k)) for title, k in found[["title", "k"]].to_numpy()}


def on_settings(table: pd.DataFrame, settings: Collection[Setting]) -> pd.DataFrame:
    """The measurements of some tasks and k, with the zero-shot numbers of these tasks.

    Args:
        table: From ``measurements``.
        settings: Titles and k, e.g. from ``learned_settings``.

    Returns:
        Its rows of these settings. Zero-shot numbers, which have k = 0, belong to every k.
    """
    if table.empty:
        return table
    titles = {title for title, _ in settings}
    pairs = zip(table["title"], table["k"], strict=True)
    keep = [title in titles if k == 0 else (title, k) in settings for title, k in pairs]
    return table[keep]
