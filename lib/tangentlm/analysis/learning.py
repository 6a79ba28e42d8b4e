"""Whether a task was learned at all, from rows that judge nothing else: those of dev.

Dev has few rows, and it has chosen: of all that was tried, the score that is known is the best one.
Of a coin thrown for every row, the best of many tries looks like learning. So a try's chance of so
many right answers is multiplied by the number of tries.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from scipy.stats import binom, chi2

from tangentlm.errors import InputError


def chance_of_best(right: int, rows: int, share: float, tries: int) -> float:
    """A bound on the chance that the best of several tries is right so often by luck.

    Example:
        Nine of ten heads are rare, but not among a hundred tries:

        >>> round(chance_of_best(9, 10, 0.5, 1), 3), chance_of_best(9, 10, 0.5, 100)
        (0.011, 1.0)

    Args:
        right: How many rows the best try told rightly.
        rows: Of how many.
        share: How often luck is right, from 0 to 1.
        tries: How many tries there were; they may depend on each other.

    Returns:
        The chance of one try, times their number; at most 1.
    """
    return min(1.0, tries * float(binom.sf(right - 1, rows, share)))


def chance_over_splits(chances: Sequence[float]) -> float:
    """The chance that independent splits are all lucky, from that of each (Fisher's method).

    Args:
        chances: One a split, from 0 to 1.

    Returns:
        A p-value.

    Raises:
        InputError: If there is none.
    """
    if not len(chances):
        raise InputError("there is no split to judge by")
    # -2 log p of a uniform p is chi-squared with two degrees of freedom, and so are sums of them.
    logs = -2 * sum(math.log(max(p, sys.float_info.min)) for p in chances)
    return float(chi2.sf(logs, 2 * len(chances)))
