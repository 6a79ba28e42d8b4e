"""How fast a measure changes when the width of a model doubles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tangentlm.analysis.intervals import interval_of_mean

ARROWS = {"falls": " ↓", "rises": " ↑"}
"""Marks of the changes that are told apart from none."""


_OF_A_CHANGE = ["measure", "change", "low", "high", "verdict"]


def per_doubling(
    measures: pd.DataFrame, columns: Sequence[str], by: Sequence[str], *, unit: str = "task"
) -> pd.DataFrame:
    """By how much a measure changes when the width doubles.

    For every unit the least-squares slope over log2(width) of its mean; then the mean of the slopes
    over units, with its 95 % interval.

    Args:
        measures: With ``width`` and the columns below.
        columns: The measures whose change is asked for.
        by: Columns that name the ladders, e.g. ``["parametrization", "prompt"]``.
        unit: The column of which there is one slope a value: ``"task"`` or ``"seed"``.

    Returns:
        Columns ``by``, ``measure``, ``change``, ``low``, ``high``, ``tasks`` (or ``seeds``) and
        ``verdict``: ``"falls"``, ``"rises"`` or ``"not told apart"`` from no change, or ``"too few
        tasks"``.
    """
    rows = []
    for names, group in measures.groupby(list(by), sort=False):
        means = group.groupby([unit, "width"])[list(columns)].mean()
        for column in columns:
            slopes = means[column].groupby(unit).apply(_slope).dropna()
            if slopes.empty:
                continue
            change = interval_of_mean(slopes)
            ends = (change.estimate, change.low, change.high)
            verdict = change.direction("falls", "rises", f"{unit}s")
            rows.append((*names, column, *ends, len(slopes), verdict))
    facts_of = ["measure", "change", "low", "high", f"{unit}s", "verdict"]
    return pd.DataFrame(rows, columns=[*by, *facts_of])


def changes_in_words(changes: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """A row for each ladder, a column for each measure, for people.

    Args:
        changes: From ``per_doubling``.
        names: The measures and their headings.

    Returns:
        The columns that name the ladders, the number of units, and for each measure its change with
        the interval in brackets; an arrow where it is told apart from none.
    """
    keys = changes.columns.difference(_OF_A_CHANGE, sort=False)
    cells = [
        f"{row.change:.2g} ({row.low:.2g} to {row.high:.2g})"
        if math.isfinite(row.low)
        else f"{row.change:.2g}"
        for row in changes.itertuples()
    ]
    marked = changes.assign(cell=cells + changes["verdict"].map(ARROWS).fillna(""))
    wide = marked.set_index([*keys, "measure"])["cell"].unstack(sort=False)
    return wide.rename(columns=names).reset_index()


def _slope(of_widths: pd.Series) -> float:
    """The slope over log2(width) of a series with ``width`` in its index; NaN for one width."""
    present = of_widths.dropna()
    if len(present) < 2:
        return math.nan
    widths = np.log2(present.index.get_level_values("width").to_numpy(dtype=np.float64))
    slope = np.polyfit(widths, present.to_numpy(dtype=np.float64), 1)[0]
    return round(float(slope), 12)  # a slope of zero is not exactly zero
