"""How far the kernels of fine-tunings moved, and whether the new ones are still like the old.

The paper's distance passes a kernel that vanishes for one that is fixed. The alignment after
centring (CKA) and the distance after the best scale do not.
"""

from __future__ import annotations

import pandas as pd

from tangentlm.malladi.measurements import METHOD_NAMES
from tangentlm.malladi.properties import COUNTED
from tangentlm.studies.collect import as_usual, read_collected, read_collected_table
from tangentlm.tasks import load_task

SIMILAR = ("scaled_error", "cka")
_FORMULA_OF = {"SGD": "sgd", "Adam": "asymmetric-signgd"}
"""The kernel whose move Table 1 judges, for each optimizer."""


def kernel_moves(study: str) -> pd.DataFrame:
    """The distances between the kernels before and after each fine-tuning with the manual prompt.

    Args:
        study: Its name.

    Returns:
        The collected distances with ``task``, ``title``, ``k``, ``method`` and ``name``, the
        paper's name of the method; empty where nothing was run.
    """
    distances = read_collected_table(study, "finetune-distances")
    runs = read_collected(study, "finetune")
    if distances.empty or runs.empty:
        return pd.DataFrame()
    runs = as_usual(runs, {"head": "prompt", "prompt": "manual", "labels": "given"})
    names = [METHOD_NAMES.get(("finetune", method), "") for method in runs["method"]]
    titles = [load_task(task).title for task in runs["task"]]
    facts = runs[["run", "task", "k", "method"]].assign(name=names, title=titles)
    return distances.merge(facts, on="run")


def beside_fixed(behavior: pd.DataFrame, moves: pd.DataFrame) -> pd.DataFrame:
    """Table 1 by means with what a vanishing kernel does not pass.

    Args:
        behavior: From ``tangentlm.malladi.behavior.behavior_by_means``, of ours.
        moves: From ``kernel_moves``.

    Returns:
        The rows with ``scaled_error`` and ``cka`` of the kernel that "fixed" judges, between test
        and training samples: mean over the runs of the task, k = 16 and 64, that have it.
    """
    if behavior.empty or moves.empty or not set(SIMILAR) <= set(moves):
        return behavior.assign(**dict.fromkeys(SIMILAR, float("nan")))
    judged = moves[(moves["samples"] == "test") & moves["k"].isin(COUNTED)]
    parts = [
        judged[(judged["name"] == f"{optimizer}-FT") & (judged["formula"] == formula)].assign(
            optimizer=optimizer
        )
        for optimizer, formula in _FORMULA_OF.items()
    ]
    means = pd.concat(parts).groupby(["optimizer", "title"])[list(SIMILAR)].mean()
    means = means.rename_axis(index={"title": "task"}).reset_index()
    return behavior.merge(means, on=["optimizer", "task"], how="left")
