"""The ledger: what the papers print beside what our runs give.

The tolerance is stated before looking: two means of independent draws count as the same where
their difference lies in its 95 % interval around zero (Welch's t over splits), plus the rounding of
the paper's last digit. The interval is over splits alone: our test rows are not always the paper's,
and that is not in it. Fewer than ``MIN_COUNT`` splits decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import pandas as pd

from tangentlm.analysis.intervals import MIN_COUNT, interval_of_difference
from tangentlm.analysis.verdicts import DIFFERS, NOT_RUN, REPRODUCED, UNDECIDED
from tangentlm.malladi.measurements import DERIVATIVE, DISTANCE, PERFORMANCE, measurements, summary
from tangentlm.params import project_root

PAPER_SEEDS = 5
"""Malladi et al. average over five splits."""
PAPER_MODEL = "roberta-base"
_ROUNDING = {PERFORMANCE: 0.05, DISTANCE: 0.005, DERIVATIVE: 0.005}
"""Half a unit of the last digit that the paper prints."""


def reported(name: str = "malladi") -> pd.DataFrame:
    """The numbers that a paper prints.

    Args:
        name: A file of ``results/reported``.

    Returns:
        One row a number.
    """
    return pd.read_csv(
        project_root() / "results" / "reported" / f"{name}.csv", keep_default_na=False
    )


def paper_numbers() -> pd.DataFrame:
    """All 938 numbers of the two versions of Malladi et al., in the terms of ``measurements``.

    Returns:
        ``paper``, ``table``, ``k``, ``setting``, ``prompt``, ``method``, ``title`` (of the task),
        ``quantity``, ``metric``, ``paper_model``, ``mean`` and ``std`` (missing where the paper
        gives none).
    """
    paper = reported().rename(columns={"task": "title"})
    zero_shot = paper["method"].str.startswith("zero-shot ")
    return paper.assign(
        paper_model=paper["method"].str.removeprefix("zero-shot ").where(zero_shot, PAPER_MODEL),
        method=paper["method"].mask(zero_shot, "zero-shot"),
        quantity=paper["metric"].where(paper["metric"].isin([DISTANCE, DERIVATIVE]), PERFORMANCE),
        mean=pd.to_numeric(paper["mean"]),
        std=pd.to_numeric(paper["std"], errors="coerce"),
        k=paper["k"].astype(int),
    )


def compare(study: str) -> pd.DataFrame:
    """A row for each number of the paper: paper, ours, difference, verdict.

    Args:
        study: The study whose runs are ours.

    Returns:
        The columns of ``paper_numbers`` with ``paper_mean`` and ``paper_std``, and ``task``,
        ``ours``, ``ours_std``, ``seeds``, ``runs``, ``experiment``, ``model``, ``difference``,
        ``tolerance``, ``verdict`` and ``reason``.
    """
    paper = paper_numbers().rename(
        columns={"mean": "paper_mean", "std": "paper_std", "paper": "version"}
    )
    ours = summary(measurements(study))
    columns = {"mean": "ours", "std": "ours_std"}
    keys = ["title", "k", "setting", "prompt", "method", "quantity", "metric", "paper_model"]
    if ours.empty:
        nothing = (*columns.values(), "task", "seeds", "runs", "experiment", "model")
        both = paper.assign(**dict.fromkeys(nothing))
    else:
        # What the paper prints of another model than its main one is for that model alone.
        named = ours["model"].isin(set(paper["paper_model"]))
        ours["paper_model"] = ours["model"].where(named, PAPER_MODEL)
        both = paper.merge(ours.rename(columns=columns), on=keys, how="left", validate="m:1")
    verdicts = pd.DataFrame([_verdict(row) for row in both.to_dict("records")], index=both.index)
    return pd.concat([both, verdicts], axis=1).assign(study=study)


def tolerance(paper_std: float, our_std: float, seeds: int, rounding: float = 0.05) -> float:
    """How far two means may differ and still count as the same.

    Args:
        paper_std: The paper's standard deviation over its splits; NaN where it gives none.
        our_std: Ours.
        seeds: Our number of splits, two at least.
        rounding: Half a unit of the paper's last digit.

    Returns:
        The half width of Welch's interval for the difference of means over 5 and ``seeds`` splits,
        plus the rounding.
    """
    stds = (0.0 if math.isnan(paper_std) else paper_std, our_std)
    return interval_of_difference(0.0, stds, (PAPER_SEEDS, seeds)).high + rounding


def _verdict(row: dict[Hashable, Any]) -> dict[str, object]:
    if pd.isna(row["ours"]):
        why = "nobody has run it in this study"
        return {"difference": None, "tolerance": None, "verdict": NOT_RUN, "reason": why}
    difference = row["ours"] - row["paper_mean"]
    undecided = {"difference": difference, "tolerance": None, "verdict": UNDECIDED}
    if row["seeds"] < MIN_COUNT:
        return {**undecided, "reason": f"fewer than {MIN_COUNT} splits"}
    rounding = _ROUNDING[row["quantity"]]
    allowed = tolerance(row["paper_std"], row["ours_std"], row["seeds"], rounding)
    agrees = abs(difference) <= allowed
    other = "" if row["model"] == row["paper_model"] else f"another model: {row['model']}"
    if allowed == rounding and not agrees:  # zero-shot: the same number on every split
        return {**undecided, "reason": other or "no spread over splits to judge it by"}
    return {
        "difference": difference,
        "tolerance": allowed,
        "verdict": REPRODUCED if agrees else DIFFERS,
        "reason": other or ("" if agrees else "unexplained"),
    }
