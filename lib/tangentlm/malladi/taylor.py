"""How far the Taylor model follows fine-tuning, with nothing left out.

A share of the gain in accuracy is missing where fine-tuning gained nothing, so a mean over such
shares selects on the outcome. Here every run counts: in a category, and by its logits where its
record has them.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import pandas as pd

from tangentlm.malladi.judging import Setting
from tangentlm.malladi.measurements import fine_tunings
from tangentlm.metrics import gain_of_taylor_model
from tangentlm.tasks import load_task

GAINS = ("recovered", "lost", "gained nothing")
"""The categories of ``gain_of_taylor_model``."""
EVERY = "every task and k"
_COLUMNS = ["method", "title", "k", "runs", *GAINS, "of_logits", "explained", "experiment", "run"]


def taylor_gains(study: str) -> pd.DataFrame:
    """What became of the gain of every fine-tuning with the manual prompt.

    Args:
        study: Its name.

    Returns:
        A row for each method, task and k: the paper's name of the ``method``, ``title``, ``k``, how
        many ``runs``, how many of these in each of ``GAINS`` (by the task's own metric), of how
        many the logits were compared (``of_logits``), the mean share of the logits' change that
        the Taylor model ``explained`` on these, and the ``experiment`` and name of the first
        ``run``.
    """
    runs = fine_tunings(study)
    if runs.empty:
        return pd.DataFrame(columns=_COLUMNS)
    runs = runs.assign(
        gain=[_gain(share) for share in runs["linearization_share"]],
        explained=runs.get("explained_change", pd.Series(index=runs.index, dtype=float)),
    )
    rows = []
    for (method, task, k), group in runs.groupby(["method", "task", "k"], sort=False):
        counts = group["gain"].value_counts()
        rows.append(
            {
                "method": method,
                "title": load_task(str(task)).title,
                "k": k,
                "runs": len(group),
                **{gain: int(counts.get(gain, 0)) for gain in GAINS},
                "of_logits": int(group["explained"].notna().sum()),
                "explained": group["explained"].astype(float).mean(),
                "experiment": "finetune",
                "run": group["run"].iloc[0],
            }
        )
    return pd.DataFrame(rows, columns=_COLUMNS)


def _gain(share: float) -> str:
    return gain_of_taylor_model(None if pd.isna(share) else share)


def in_all(gains: pd.DataFrame, learned: Collection[Setting]) -> pd.DataFrame:
    """The same over tasks and k: over those that the model learns, and over every one.

    Args:
        gains: From ``taylor_gains``.
        learned: The tasks and k that the model learns.

    Returns:
        A row for each method and kind of tasks: ``method``, ``over``, and the sums of ``runs``, of
        ``GAINS`` and of ``of_logits``; ``explained`` is the mean over runs.
    """
    settings = pd.Series(list(zip(gains["title"], gains["k"], strict=True)), index=gains.index)
    of_learned = gains[settings.isin(list(learned))]
    rows = []
    for over, part in (("what it learns", of_learned), (EVERY, gains)):
        for method, group in part.groupby("method", sort=False):
            sums = group[["runs", *GAINS, "of_logits"]].sum()
            total = (group["explained"].fillna(0.0) * group["of_logits"]).sum()
            mean = total / sums["of_logits"] if sums["of_logits"] else math.nan
            rows.append({"method": method, "over": over, **sums.to_dict(), "explained": mean})
    return pd.DataFrame(rows, columns=["method", "over", "runs", *GAINS, "of_logits", "explained"])
