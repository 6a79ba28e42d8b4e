"""Intervals over splits, and what they decide."""

from __future__ import annotations

import math

import pandas as pd
from scipy.stats import t

MIN_SPLITS = 3
"""An interval needs at least so many splits."""


def interval(values: pd.Series) -> tuple[float, float, float]:
    """The mean of some measurements and its 95 % interval (Student's t).

    Args:
        values: One measurement, or one paired difference, a run.

    Returns:
        Mean, lower and upper end; the ends are NaN for fewer than ``MIN_SPLITS`` values, which say
        next to nothing of the spread.
    """
    mean, count = float(values.mean()), len(values)
    if count < MIN_SPLITS:
        return mean, math.nan, math.nan
    half = float(t.ppf(0.975, count - 1) * values.std() / math.sqrt(count))
    return mean, mean - half, mean + half


def verdict(low: float, high: float, claim_low: float, claim_high: float) -> str:
    """Whether an interval lies inside what a claim allows.

    Args:
        low: The interval's lower end; NaN where there are too few splits.
        high: Its upper end.
        claim_low: The least value that the claim allows.
        claim_high: The largest.

    Returns:
        ``"holds"``, ``"fails"``, ``"undecided"`` or ``"too few splits"``.
    """
    if math.isnan(low):
        return "too few splits"
    if claim_low <= low and high <= claim_high:
        return "holds"
    return "fails" if high < claim_low or low > claim_high else "undecided"
