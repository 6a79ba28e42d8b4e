"""A claim: a number, and the bounds between which it holds."""

from __future__ import annotations

from dataclasses import dataclass

from tangentlm.analysis.verdicts import HOLDS, UNDECIDED, Interval
from tangentlm.tomihari.evidence import Ours, Paper

SEEDS = "seeds"


@dataclass(frozen=True)
class Claim:
    """A statement of the paper.

    Attributes:
        name: Its number here, and what it is called.
        says: What the paper says, in our words, and what the number is.
        where: Table, figure or section of the paper.
        ours: From our tables to a number for each data set and seed.
        low: The least value for which the claim holds.
        high: The largest.
        paper: The same number of the paper's means, by data set; none where it prints none.
        paper_half: Half the width of its interval, where the paper prints standard deviations.
        rows: The least number of test rows on which it is judged.
        learner: The method that has to learn a task for it to count there.
    """

    name: str
    says: str
    where: str
    ours: Ours
    low: float
    high: float
    paper: Paper | None = None
    paper_half: Paper | None = None
    rows: int = 0
    learner: str = "FT"

    def allows(self, value: float) -> bool:
        """Whether a number is between the bounds; a bound of zero is not itself allowed."""
        strict = 0.0 in (self.low, self.high)
        return self.low <= value <= self.high and not (strict and value == 0)

    def verdict(self, interval: Interval) -> str:
        """What an interval allows to say of the claim.

        Args:
            interval: Of the mean over seeds.

        Returns:
            ``HOLDS``, ``FAILS``, ``UNDECIDED`` or "too few seeds".
        """
        found = interval.verdict(self.low, self.high, SEEDS)
        return UNDECIDED if found == HOLDS and not self.allows(interval.estimate) else found
