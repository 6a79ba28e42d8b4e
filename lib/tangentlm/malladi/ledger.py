"""The ledger: what the papers print beside what our runs give.

The tolerance is stated before looking: two means of independent draws are compatible where their
difference lies in its 95 % interval around zero, plus the rounding of the paper's last digit. The
interval takes in the splits (Welch's t) and, of a performance, the test rows of either side, which
are not always the same ones. To be compatible is not to be equal: a wide tolerance forgives much,
so it is shown. Fewer than ``MIN_COUNT`` splits decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import pandas as pd

from tangentlm.analysis.estimates import MIN_COUNT, Estimate, Source
from tangentlm.analysis.sampling import variance_of_share
from tangentlm.analysis.verdicts import COMPATIBLE, DIFFERS, NOT_RUN, UNDECIDED
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
        ``ours``, ``ours_std``, ``seeds``, ``runs``, ``experiment``, ``model``, the test ``rows`` of
        ours and of the paper (``paper_rows``), ``difference``,
        ``tolerance``, ``verdict`` and ``reason``.
    """
    paper = paper_numbers().rename(
        columns={"mean": "paper_mean", "std": "paper_std", "paper": "version"}
    )
    sizes = reported("malladi_table2").set_index("title")["test"].astype(int)
    paper = paper.assign(paper_rows=paper["title"].map(sizes))
    ours = summary(measurements(study))
    columns = {"mean": "ours", "std": "ours_std"}
    keys = ["title", "k", "setting", "prompt", "method", "quantity", "metric", "paper_model"]
    if ours.empty:
        nothing = (*columns.values(), "task", "seeds", "runs", "experiment", "model", "rows")
        both = paper.assign(**dict.fromkeys(nothing))
    else:
        # What the paper prints of another model than its main one is for that model alone.
        named = ours["model"].isin(set(paper["paper_model"]))
        ours["paper_model"] = ours["model"].where(named, PAPER_MODEL)
        both = paper.merge(ours.rename(columns=columns), on=keys, how="left", validate="m:1")
    verdicts = pd.DataFrame([_verdict(row) for row in both.to_dict("records")], index=both.index)
    return pd.concat([both, verdicts], axis=1).assign(study=study)


def tolerance(
    paper_std: float,
    our_std: float,
    seeds: int,
    rounding: float = 0.05,
    of_rows: float = 0.0,
) -> float:
    """How far two means may differ and still be compatible.

    Args:
        paper_std: The paper's standard deviation over its splits, with N below the line as numpy
            computes it; NaN where it gives none.
        our_std: Ours, with N - 1.
        seeds: Our number of splits, two at least.
        rounding: Half a unit of the paper's last digit.
        of_rows: The variance of the difference that comes from test rows.

    Returns:
        Half of the 95 % interval's width for the difference of means over 5 and ``seeds`` splits
        (Welch), plus the rounding.
    """
    paper_variance = 0.0 if math.isnan(paper_std) else paper_std**2 / (PAPER_SEEDS - 1)
    sources = (
        Source(paper_variance, PAPER_SEEDS),
        Source(our_std**2 / seeds, seeds),
        Source(of_rows),
    )
    return Estimate(0.0, sources).half + rounding


def _variance_of_rows(row: dict[Hashable, Any]) -> float:
    """What the test rows of either side do to a difference of performances or of derivatives."""
    # A mean of numbers between 0 and 1 varies at most as a share of the same size does.
    unit = {PERFORMANCE: 1.0, DERIVATIVE: 100.0}.get(row["quantity"])  # in percent
    if unit is None or pd.isna(row["rows"]) or pd.isna(row["paper_rows"]):
        return 0.0
    sides = ((row["ours"], row["rows"]), (row["paper_mean"], row["paper_rows"]))
    return sum(variance_of_share(unit * mean, int(rows)) for mean, rows in sides) / unit**2


def _verdict(row: dict[Hashable, Any]) -> dict[str, object]:
    if pd.isna(row["ours"]):
        why = "nobody has run it in this study"
        return {"difference": None, "tolerance": None, "verdict": NOT_RUN, "reason": why}
    difference = row["ours"] - row["paper_mean"]
    undecided = {"difference": difference, "tolerance": None, "verdict": UNDECIDED}
    if row["seeds"] < MIN_COUNT:
        return {**undecided, "reason": f"fewer than {MIN_COUNT} splits"}
    rounding = _ROUNDING[row["quantity"]]
    of_rows = _variance_of_rows(row)
    allowed = tolerance(row["paper_std"], row["ours_std"], row["seeds"], rounding, of_rows)
    agrees = abs(difference) <= allowed
    other = "" if row["model"] == row["paper_model"] else f"another model: {row['model']}"
    if allowed == rounding and not agrees:  # zero-shot: the same number on every split
        return {**undecided, "reason": other or "no spread over splits to judge it by"}
    return {
        "difference": difference,
        "tolerance": allowed,
        "verdict": COMPATIBLE if agrees else DIFFERS,
        "reason": other or ("" if agrees else "unexplained"),
    }
