"""What each output of a forecast promises, and the bar that it has to reach.

The bars were written before any run was looked at (``params/studies/forecast/BARS.md``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tangentlm.analysis.verdicts import FAILS, NOT_RUN, UNDECIDED, Interval, too_few

PASSES, TOO_WIDE = "passes", "too wide"
LEAST_TASKS = 8
"""Fewer tasks decide nothing."""


@dataclass(frozen=True)
class Bar:
    """What an output promises.

    Attributes:
        key: Its short name, that of a measure in ``validation``.
        output: What of the report it is.
        measured: What is measured, in words.
        least: The least mean over tasks that passes.
        most: The largest.
        unit: Of the mean: ``"%"``, ``"points"`` or nothing.
    """

    key: str
    output: str
    measured: str
    least: float
    most: float = math.inf
    unit: str = "%"

    @property
    def in_words(self) -> str:
        """The bar, e.g. ``90 to 97 %``."""
        unit = f" {self.unit}".rstrip()
        if math.isinf(self.most):
            return f"at least {self.least:g}{unit}"
        return f"{self.least:g} to {self.most:g}{unit}"

    @property
    def is_coverage(self) -> bool:
        """Whether more than the bar allows misleads nobody."""
        return self.key in ("score", "difference", "curve")

    def verdict(self, found: Interval | None, tasks: int) -> str:
        """What is said of an output.

        Args:
            found: The mean over tasks; ``None`` where nothing was measured.
            tasks: Over how many.

        Returns:
            One of ``PASSES``, ``TOO_WIDE``, ``FAILS``, ``UNDECIDED``, ``NOT_RUN``, or that there
            are too few tasks.
        """
        if found is None:
            return NOT_RUN
        if tasks < LEAST_TASKS:
            return too_few("tasks")
        if self.least <= found.estimate <= self.most:
            return PASSES
        if self.is_coverage and found.estimate > self.most:
            return TOO_WIDE
        outside = found.high < self.least or found.low > self.most
        return FAILS if outside else UNDECIDED


BARS = (
    Bar(
        "score", "accuracy with its interval",
        "how often the interval contains the held-out accuracy", 90, 97,
    ),
    Bar(
        "difference", "difference of two ways with its interval",
        "how often the interval contains the held-out difference", 90, 97,
    ),
    Bar(
        "curve", "learning curve at four times the rows",
        "how often its interval contains the accuracy with all rows", 90, 97,
    ),
    Bar(
        "left_out", "leave-one-out accuracy",
        "mean of it less the held-out accuracy of the same regression", -2, 2, "points",
    ),
    Bar("auroc", "suspects, where a list is given", "AUROC for flipped labels", 0.75, unit=""),
    Bar(
        "beside_cleanlab", "suspects, beside cleanlab's default score",
        "difference of the AUROC, on the same flips", -0.03, unit="",
    ),
    Bar(
        "copies_found", "near-duplicates, found",
        "planted copies of texts of ten words or more that are found", 90,
    ),
    Bar("copies_right", "near-duplicates, right", "pairs with a copy that are right", 95),
    Bar("steps", "minutes of training", "predictions within 25 % of real steps", 80),
    Bar(
        "minutes", "minutes of the forecast itself",
        "expectations within 25 % of what it took", 80,
    ),
)  # fmt: skip
"""In the order of the report."""
