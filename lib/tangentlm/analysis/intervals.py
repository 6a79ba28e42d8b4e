"""95 % intervals of measured numbers; what they allow to say is in ``verdicts``.

All statements of the book about measured numbers are made here. Which interval for which number:

* ``interval_of_mean``: a mean over splits, seeds or tasks (Student's t);
* ``interval_of_share``: on how many splits something is true (Wilson);
* ``interval_of_difference``: the means of two independent samples (Welch's t);
* ``interval_of_rank_correlation``: whether two measures go together (Spearman).

A mean whose test rows count, too, is an ``Estimate``.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import binomtest, pearsonr

from tangentlm.analysis.estimates import LEVEL, Estimate, Source
from tangentlm.analysis.verdicts import Interval


def interval_of_mean(values: ArrayLike) -> Interval:
    """The mean of some measurements, with Student's t.

    Example:
        >>> interval_of_mean([1.0, 2.0, 3.0]).verdict(least=-1.0)
        'holds'

    Args:
        values: One measurement, or one paired difference, for each split, seed or task.

    Returns:
        The mean and its interval; the ends are NaN for fewer than ``MIN_COUNT`` values.
    """
    return Estimate.of_splits(values).interval()


def interval_of_share(count: int, total: int) -> Interval:
    """The share of splits on which something is true, with Wilson's interval.

    Args:
        count: On how many it is true.
        total: Of how many, one at least.

    Returns:
        ``count / total`` and its interval.
    """
    ends = binomtest(count, total).proportion_ci(LEVEL, method="wilson")
    return Interval(count / total, float(ends.low), float(ends.high))


def interval_of_difference(
    difference: float, stds: tuple[float, float], counts: tuple[int, int]
) -> Interval:
    """The difference of the means of two independent samples, with Welch's t.

    Args:
        difference: The difference; 0.0 for how far it may be from zero if there is none.
        stds: Standard deviation of each sample.
        counts: Their sizes, two at least.

    Returns:
        The difference and t sqrt(v) on either side of it: v = std_1^2 / n_1 + std_2^2 / n_2 is its
        variance, and t the quantile of Student's t with Welch's degrees of freedom. Where both
        standard deviations are zero it has no width.
    """
    parts = zip(stds, counts, strict=True)
    half = Estimate(difference, tuple(Source(std**2 / n, n) for std, n in parts)).half
    return Interval(difference, difference - half, difference + half)


def interval_of_rank_correlation(first: ArrayLike, second: ArrayLike) -> Interval:
    """Spearman's rank correlation, with Fisher's interval.

    Args:
        first: A measure of each task, (N,).
        second: Another one of the same tasks, (N,), N at least 4.

    Returns:
        The correlation of the ranks and its interval.
    """
    found = pearsonr(*(pd.Series(np.asarray(values)).rank() for values in (first, second)))
    ends = found.confidence_interval(LEVEL)
    return Interval(float(found.statistic), float(ends.low), float(ends.high))
