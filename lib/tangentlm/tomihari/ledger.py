"""The ledger: every number that Tomihari and Sato print beside what our runs give.

Our model is another than theirs, so two numbers are not expected to be the same, and the tables are
for the order of the methods. Where they are compared all the same, the tolerance is Welch's: two
means of independent draws count as the same where their difference lies in its 95 % interval, plus
half a percent for the paper's rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from tangentlm.analysis.estimates import MIN_COUNT
from tangentlm.analysis.intervals import interval_of_difference
from tangentlm.analysis.verdicts import COMPATIBLE, DIFFERS, NOT_RUN, UNDECIDED
from tangentlm.tomihari import measurements
from tangentlm.tomihari.measurements import MAIN, PAPER_SEEDS

ROUNDING = 0.005
"""Of a number with three digits, relative."""
_NUMBER = ["dataset", "method", "kernel", "quantity"]
_FEATURES = {
    "CS": "CS(F)", "Diff": "Diff(F)", "FDR_pinv": "FDR(F)", "accuracy": "accuracy",
    "matthews": "matthews",
}  # fmt: skip
_ANSWERS = ("accuracy", "matthews")
_ERRORS = {"without": "w/o TS", "scaled": "w/ TS", "improvement": "improvement"}
_KERNELS = {"P": "Pre-train_E", "F": "FT_E", "NTK": "NTK"}
_FACTS = {
    "rank": "Rank", "frobenius": "FN", "train_rows": "Acc train", "test_rows": "Acc test",
}  # fmt: skip
"""The paper counts each logit against its own yes or no, and so do these accuracies."""


def our_numbers(study: str) -> pd.DataFrame:
    """Our runs at the main rates, a row for each number that a table of the paper has a place for.

    Args:
        study: Its name.

    Returns:
        ``dataset``, ``method``, ``kernel``, ``quantity`` (the paper's words), ``seed``, ``value``,
        ``experiment`` and ``run``.
    """
    rows = [*_of_features(study), *_of_heads(study), *_of_errors(study), *_of_kernels(study)]
    columns = [*_NUMBER, "seed", "value", "experiment", "run"]
    table = pd.DataFrame(rows, columns=columns)
    return table.drop_duplicates([*_NUMBER, "seed"], ignore_index=True)


def _row(row: Any, method: str, quantity: str, value: float, kernel: str = "") -> tuple[Any, ...]:
    experiment = "head_kernels" if kernel or quantity == "FT Ratio" else "two_stage"
    return (row.dataset, method, kernel, quantity, row.seed, value, experiment, row.run)


def _of_features(study: str) -> Iterator[tuple[Any, ...]]:
    table = measurements.measured(study)
    if table.empty:
        return
    main = table[table[MAIN].astype(bool) & ~table["samples"].isin(["train", "dev"])]
    for row in main.itertuples():
        for column, quantity in _FEATURES.items():
            value = getattr(row, column, math.nan)
            if math.isnan(value):  # records from before there was such a column
                continue
            if row.stage == "tuned":
                yield _row(row, row.name, quantity, value)
            elif quantity in _ANSWERS:
                yield _row(row, "LP", quantity, value)
            elif quantity != "Diff(F)":  # linear probing leaves the features as they are
                yield from (_row(row, method, quantity, value) for method in ("Pre-trained", "LP"))


def _of_heads(study: str) -> Iterator[tuple[Any, ...]]:
    table = measurements.runs(study)
    if table.empty:
        return
    for row in table[table[MAIN].astype(bool)].itertuples():
        yield _row(row, row.name, "Norm(C)", row.tuned_norm)
        yield _row(row, "Pre-trained", "Norm(C)", row.initial_norm)
        yield _row(row, "LP", "Norm(C)", row.probe_norm)


def _of_errors(study: str) -> Iterator[tuple[Any, ...]]:
    table = measurements.calibrations(study)
    if table.empty:
        return
    table = table.assign(improvement=table["without"] - table["scaled"])
    main = table[table[MAIN].astype(bool) & (table["stage"] == "tuned")]
    for row in main[main["samples"] == "test"].itertuples():
        for column, words in _ERRORS.items():
            yield _row(row, row.name, f"{row.kind} {words}", getattr(row, column))


def _of_kernels(study: str) -> Iterator[tuple[Any, ...]]:
    for row in measurements.kernels(study, "kernels").itertuples():
        method = "-" if row.kernel == "P" else row.method
        for column, quantity in _FACTS.items():
            yield _row(row, method, quantity, getattr(row, column), _KERNELS[row.kernel])
    for row in measurements.kernels(study, "ft_ratios").itertuples():
        if row.way == "kernel" and row.start in ("random", "lp"):
            yield _row(row, row.method, "FT Ratio", row.ft_ratio)


def compare(study: str) -> pd.DataFrame:
    """A row for each number of the paper: paper, ours, difference, verdict.

    Args:
        study: The study whose runs are ours.

    Returns:
        The columns of ``measurements.reported`` with ``paper_mean`` and ``paper_std``, and
        ``ours``, ``ours_std``, ``seeds``, ``experiment``, ``run`` (one of them), ``difference``,
        ``tolerance`` and ``verdict``.
    """
    ours = our_numbers(study)
    summary = (
        ours.groupby(_NUMBER, sort=False)
        .agg(
            ours=("value", "mean"), ours_std=("value", "std"), seeds=("seed", "nunique"),
            experiment=("experiment", "first"), run=("run", "first"),
        )
        .reset_index()
    )  # fmt: skip
    paper = measurements.reported().rename(columns={"mean": "paper_mean", "std": "paper_std"})
    both = paper.merge(summary, on=_NUMBER, how="left", validate="m:1")
    verdicts = pd.DataFrame([_verdict(row) for row in both.to_dict("records")], index=both.index)
    return pd.concat([both, verdicts], axis=1).assign(study=study)


def _verdict(row: dict[Any, Any]) -> dict[str, object]:
    if pd.isna(row["ours"]):
        return {"difference": None, "tolerance": None, "verdict": NOT_RUN}
    difference = row["ours"] - row["paper_mean"]
    if row["seeds"] < MIN_COUNT or pd.isna(row["paper_std"]):
        return {"difference": difference, "tolerance": None, "verdict": UNDECIDED}
    width = interval_of_difference(
        0.0, (row["paper_std"], row["ours_std"]), (PAPER_SEEDS, int(row["seeds"]))
    )
    tolerance = width.high + ROUNDING * abs(row["paper_mean"])
    verdict = COMPATIBLE if abs(difference) <= tolerance else DIFFERS
    return {"difference": difference, "tolerance": tolerance, "verdict": verdict}
