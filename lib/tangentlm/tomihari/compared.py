"""The numbers of the claims that take more than one column of a table.

Each makes a statistic of ``tangentlm.tomihari.statements``: from our tables, or from the paper's
means, to a number for each data set.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tangentlm.tomihari import measurements
from tangentlm.tomihari.evidence import Evidence, Ours, printed
from tangentlm.tomihari.measurements import MAIN
from tangentlm.tomihari.statistics import log_ratio, of_method


def moves(name: str, rate: str = MAIN, than: str = "FT") -> Ours:
    """Log Diff of a method at a rate over that of another at its main rate."""
    return lambda e: log_ratio(
        of_method(e.test, "Diff", name, rate), of_method(e.test, "Diff", than)
    )


def ahead_of_luck(name: str) -> Ours:
    """The test accuracy of a method less the share of the most frequent answer."""
    return lambda e: (
        of_method(e.runs, "test_score", name) - of_method(e.runs, "majority_test", name)
    )


def answers(table: str, column: str, rate: str = MAIN) -> Ours:
    """LP-FT at a rate minus FT, of tuned models on ``"test"`` samples or ``"shifted"`` ones."""

    def difference(e: Evidence) -> pd.Series:
        rows = getattr(e, table)
        return of_method(rows, column, "LP-FT", rate) - of_method(rows, column, "FT")

    return difference


def fisher(reading: str, *, shifted: bool) -> Ours:
    """Log FDR of LP-FT over FT in a reading, in or out of distribution."""

    def ratio(e: Evidence) -> pd.Series:
        table = e.shifted if shifted else e.test
        return log_ratio(of_method(table, reading, "LP-FT"), of_method(table, reading, "FT"))

    return ratio


def improvement(kind: str, name: str) -> Ours:
    """By how much temperature scaling lowers a calibration error of a method."""
    return lambda e: e.error(kind, name, "without") - e.error(kind, name, "scaled")


def _ahead_of_all(improvements: dict[str, pd.Series]) -> pd.Series:
    """LP-FT's improvement minus the best of the others."""
    table = pd.concat(improvements, axis=1)
    others = table.drop(columns="LP-FT").max(axis=1, skipna=False)
    return table["LP-FT"] - others


def most_improved(e: Evidence) -> pd.Series:
    """ECE's improvement of LP-FT minus the best of the other methods."""
    return _ahead_of_all(
        {name: improvement("ECE", name)(e) for name in measurements.METHODS.values()}
    )


def most_improved_in_print(table: pd.DataFrame) -> pd.Series:
    """The same of the paper's means."""
    return _ahead_of_all(
        {
            name: printed(table, (14, 15), name, "ECE improvement")
            for name in measurements.METHODS.values()
        }
    )


def _inside(P: pd.Series, F: pd.Series, K: pd.Series) -> pd.Series:
    """How far K is inside P and F; below zero it is outside."""
    return pd.concat([F - K, K - P], axis=1).min(axis=1, skipna=False)


def between(e: Evidence) -> pd.Series:
    """How far the NTK's test accuracy is inside those of P and F, after linear probing."""
    accuracies = [
        e.kernel("kernels", "test", kernel=kernel, method="" if kernel == "P" else "LP-FT")
        for kernel in ("P", "F", "NTK")
    ]
    return _inside(*accuracies)


def between_in_print(table: pd.DataFrame) -> pd.Series:
    """The same of the paper's means."""
    named = (("-", "Pre-train_E"), ("LP-FT", "FT_E"), ("LP-FT", "NTK"))
    return _inside(
        *(printed(table, (2, 9), method, "Acc test", kernel) for method, kernel in named)
    )


def larger_rank(tolerance: str) -> Ours:
    """The rank of FT's F less that of P, by a tolerance; infinite where P's is full by algebra."""

    def difference(e: Evidence) -> pd.Series:
        P = e.kernel("kernels", tolerance, method="", kernel="P")
        F = e.kernel("kernels", tolerance, method="FT", kernel="F")
        full = e.kernel("kernels", "size", method="", kernel="P")
        return (F - P).where(full > P, -np.inf)

    return difference


def diagonal(e: Evidence) -> pd.Series:
    """log(diagonal / other pairs) of F's trace norms beyond that of P's."""
    maps = measurements.kernels(e.study, "class_maps")
    if maps.empty:
        return of_method(maps, "", "")
    means = (
        maps.assign(method=maps["method"].fillna(""))
        .groupby(["dataset", "seed", "method", "kernel"])[["diagonal", "between"]]
        .mean()
    )
    stands_out = np.log(means["diagonal"] / means["between"])
    found = stands_out.unstack(["method", "kernel"])
    return found["FT", "F"] - found["", "P"]


def ft_ratio(start: str, samples: str, way: str) -> Ours:
    """The FT ratio of a start of the head, on some samples, computed in a way."""

    def value(e: Evidence) -> pd.Series:
        method = "FT" if start.startswith("random") else "LP-FT"
        return e.kernel(
            "ft_ratios", "ft_ratio", method=method, start=start, samples=samples, way=way
        )

    return value


def minus(first: Ours, second: Ours) -> Ours:
    """One number minus another."""
    return lambda e: first(e) - second(e)
