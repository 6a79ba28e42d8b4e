"""The verdicts on measured numbers: the words, and when an interval allows which of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

HOLDS = "holds"
FAILS = "fails"
UNDECIDED = "undecided"
NOT_RUN = "not run"
NOT_TOLD_APART = "not told apart"
COMPATIBLE = "compatible"
DIFFERS = "differs"


def too_few(unit: str = "splits") -> str:
    """The verdict where there are fewer values than an interval needs.

    Args:
        unit: What there is one value of, in the plural: ``"splits"``, ``"tasks"``, ``"seeds"``.

    Returns:
        E.g. ``"too few splits"``.
    """
    return f"too few {unit}"


VERDICTS = (HOLDS, FAILS, UNDECIDED, too_few(), NOT_RUN)
"""The verdicts on a claim, in the order in which tables show them."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its 95 % interval.

    Example:
        >>> interval = Interval(2.0, low=-0.5, high=4.5)
        >>> interval.verdict(least=-1.0)
        'holds'
        >>> interval.direction()
        'not told apart'

    Attributes:
        estimate: A mean, a share, a difference or a correlation.
        low: The lower end; NaN where there are too few values.
        high: The upper end; NaN likewise.
    """

    estimate: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of the width: of symmetric intervals, what stands behind the "±"."""
        return (self.high - self.low) / 2

    def excludes(self, value: float) -> bool:
        """Whether a value lies outside; an interval that is missing excludes nothing."""
        return value < self.low or value > self.high

    def verdict(
        self, least: float = -math.inf, most: float = math.inf, unit: str = "splits"
    ) -> str:
        """Whether the interval lies inside what a claim allows.

        Args:
            least: The least value that the claim allows.
            most: The largest.
            unit: What there are too few of where the interval is missing.

        Returns:
            ``HOLDS`` where all of the interval is allowed, ``FAILS`` where none of it is,
            ``UNDECIDED``, or ``too_few(unit)``.
        """
        if math.isnan(self.low):
            return too_few(unit)
        if least <= self.low and self.high <= most:
            return HOLDS
        return FAILS if self.high < least or self.low > most else UNDECIDED

    def direction(self, below: str = "falls", above: str = "rises", unit: str = "splits") -> str:
        """On which side of zero the interval lies.

        Args:
            below: What to say where all of it is negative.
            above: Where all of it is positive.
            unit: What there are too few of where the interval is missing.

        Returns:
            One of the two words, ``NOT_TOLD_APART`` (from zero) or ``too_few(unit)``.
        """
        if math.isnan(self.low):
            return too_few(unit)
        if self.excludes(0.0):
            return below if self.high < 0 else above
        return NOT_TOLD_APART
