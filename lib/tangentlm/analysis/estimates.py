"""Estimates that know where their uncertainty comes from, and so what it would take to decide.

The mean of a score over k-shot splits is uncertain for two reasons: other splits would give other
scores, and other test rows would. More splits help against the first alone, for all of them are
judged on the same test rows (see ``sampling``).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from tangentlm.analysis.verdicts import Interval

LEVEL = 0.95
"""How often an interval has the true value in it."""
MIN_COUNT = 3
"""A mean has an interval from so many values on; fewer say next to nothing of the spread."""
MOST_SPLITS = 1000
"""More splits than this nobody draws."""


@dataclass(frozen=True)
class Source:
    """One reason why a mean is uncertain.

    Attributes:
        variance: What it adds to the variance of the mean.
        count: From how many values that is known, for the degrees of freedom; infinite where it
            follows from a law, as that of test rows does.
    """

    variance: float
    count: float = math.inf

    @property
    def grows(self) -> bool:
        """Whether more splits make it smaller."""
        return math.isfinite(self.count)


@dataclass(frozen=True)
class Estimate:
    """A mean and the sources of its uncertainty.

    Example:
        >>> estimate = Estimate.of_splits([1.0, 2.0, 3.0], of_rows=0.2)
        >>> estimate.interval().verdict(least=-2.0)
        'holds'

    Attributes:
        mean: The estimate.
        sources: Independent of each other.
    """

    mean: float
    sources: tuple[Source, ...]

    @classmethod
    def of_splits(cls, values: ArrayLike, of_rows: float = 0.0) -> Self:
        """The mean of a measurement over splits.

        Args:
            values: One number a split.
            of_rows: The variance of the mean that comes from the test rows, which all splits share.

        Returns:
            The estimate; of one split nothing is known of the spread.
        """
        numbers = np.asarray(values, dtype=np.float64)
        spread = float(numbers.var(ddof=1)) / len(numbers) if len(numbers) > 1 else math.nan
        mean = float(numbers.mean()) if len(numbers) else math.nan
        return cls(mean, (Source(spread, len(numbers)), Source(of_rows)))

    @property
    def variance(self) -> float:
        """Of the mean."""
        return sum(source.variance for source in self.sources)

    @property
    def freedom(self) -> float:
        """Degrees of freedom (Welch and Satterthwaite): infinite where no spread was estimated."""
        parts = [s.variance**2 / (s.count - 1) for s in self.sources if s.grows and s.variance]
        return self.variance**2 / sum(parts) if parts else math.inf

    @property
    def known(self) -> bool:
        """Whether every spread comes from ``MIN_COUNT`` values at least."""
        return all(source.count >= MIN_COUNT for source in self.sources)

    @property
    def half(self) -> float:
        """Half the width of the 95 % interval, from two values on; NaN of one."""
        if math.isnan(self.variance):
            return math.nan
        quantile = float(t.ppf((1 + LEVEL) / 2, self.freedom))
        return quantile * math.sqrt(self.variance)

    def interval(self) -> Interval:
        """The 95 % interval.

        Returns:
            Its ends are NaN where there are too few splits.
        """
        half = self.half if self.known else math.nan
        return Interval(self.mean, self.mean - half, self.mean + half)

    def p_value(self, least: float = -math.inf, most: float = math.inf) -> float:
        """How surprising the estimate is if the statement that it decides were wrong.

        A statement allows the values from ``least`` to ``most``. That it holds is tested by two
        one-sided tests (TOST), one for each end; that it fails by one test beyond the nearer end.
        Both directions are looked at, so the smaller of the two counts twice. It is below 0.05
        exactly where the 95 % interval lies inside of what is allowed, or outside.

        Args:
            least: The least value that the statement allows.
            most: The largest.

        Returns:
            A number from 0 to 1; NaN where there are too few splits.
        """
        if not self.known:
            return math.nan
        ends = [(least, 1.0), (most, -1.0)]
        inside = [self._tail(side * (self.mean - end)) for end, side in ends if math.isfinite(end)]
        outside = [self._tail(side * (end - self.mean)) for end, side in ends if math.isfinite(end)]
        return min(1.0, 2 * min(max(inside), min(outside)))

    def splits_to_decide(self, least: float = -math.inf, most: float = math.inf) -> int | None:
        """How many splits would decide a statement, if mean and spread stayed what they are.

        Args:
            least: The least value that the statement allows.
            most: The largest.

        Returns:
            The number; ``None`` if not even ``MOST_SPLITS`` would, because the mean lies at the
            border, or because the test rows alone leave it open.
        """
        if any(math.isnan(source.variance) for source in self.sources):
            return None
        distance = min(abs(self.mean - least), abs(self.mean - most))

        def decides(splits: int) -> bool:
            return self._with_splits(splits).half < distance

        if not decides(MOST_SPLITS):
            return None
        return MIN_COUNT + bisect_left(range(MIN_COUNT, MOST_SPLITS), True, key=decides)

    def _with_splits(self, splits: int) -> Estimate:
        sources = [
            Source(source.variance * source.count / splits, splits) if source.grows else source
            for source in self.sources
        ]
        return Estimate(self.mean, tuple(sources))

    def _tail(self, distance: float) -> float:
        """The chance of an estimate so far beyond an end, if the end were true."""
        if not self.variance:
            return float(distance <= 0)
        return float(t.sf(distance / math.sqrt(self.variance), self.freedom))


def combined(weights: Sequence[float], estimates: Sequence[Estimate]) -> Estimate:
    """A weighted sum of independent estimates: a difference, or a mean over tasks.

    Args:
        weights: One for each.
        estimates: Independent of each other.

    Returns:
        The estimate of the sum; with two means of samples its interval is Welch's.
    """
    pairs = list(zip(weights, estimates, strict=True))
    sources = [Source(w * w * s.variance, s.count) for w, e in pairs for s in e.sources]
    return Estimate(sum(w * e.mean for w, e in pairs), tuple(sources))


def mean_of_independent(estimates: Sequence[Estimate]) -> Estimate:
    """The mean over tasks, these and no others.

    Args:
        estimates: One a task, at least one.

    Returns:
        The estimate of their mean.
    """
    return combined([1 / len(estimates)] * len(estimates), estimates)


def mean_on_the_same_rows(estimates: Sequence[Estimate]) -> Estimate:
    """The mean over settings of one task, say over k, that are judged on the same test rows.

    Args:
        estimates: One a setting, at least one; their splits are independent.

    Returns:
        The estimate of their mean. What test rows do to one they may do to the others, so that
        part gets no smaller: standard deviations are averaged, not variances.
    """
    count = len(estimates)
    of_splits = [
        Source(s.variance / count**2, s.count) for e in estimates for s in e.sources if s.grows
    ]
    deviations = [math.sqrt(sum(s.variance for s in e.sources if not s.grows)) for e in estimates]
    mean = sum(e.mean for e in estimates) / count
    return Estimate(mean, (*of_splits, Source((sum(deviations) / count) ** 2)))
