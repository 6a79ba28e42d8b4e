"""Rank correlation within groups: do two measures go together where nothing else changes?

Measures of several tasks go together for many reasons: a long text is another text. What says
something of a choice, e.g. of layers, is the order within each task. So Kendall's tau is taken
within a task and averaged over tasks, and its p value is that of shuffling within tasks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import kendalltau

from tangentlm.errors import InputError

MOST_ORDERS = 2_000_000
"""An exact p value goes through at most so many orders in all groups together."""


def kendall_tau(first: ArrayLike, second: ArrayLike) -> float:
    """Kendall's tau_b: concordant less discordant pairs, over what ties leave of the pairs.

    tau_b = (P - Q) / sqrt((P + Q + X)(P + Q + Y)), with X the pairs that are tied in the first
    alone and Y those in the second alone. Where one of the two has one value only, it is 0 here:
    that measure orders nothing.

    Example:
        >>> round(kendall_tau([1, 2, 3, 4], [1, 2, 4, 3]), 3)
        0.667

    Args:
        first: (N,), N at least 2.
        second: (N,).

    Returns:
        A number from -1 to 1.

    Raises:
        InputError: If the two are not of one length, or shorter than 2.
    """
    measures = [np.asarray(values, dtype=np.float64) for values in (first, second)]
    if any(values.ndim != 1 or len(values) < 2 for values in measures):
        raise InputError("a rank correlation needs two values at least")
    if len(measures[0]) != len(measures[1]):
        raise InputError("two measures of the same things have the same length")
    tau = float(kendalltau(*measures).statistic)
    return 0.0 if math.isnan(tau) else tau


def mean_tau(groups: Iterable[tuple[ArrayLike, ArrayLike]]) -> float:
    """The mean over groups of Kendall's tau within the group.

    Args:
        groups: For each group the two measures, (N,) each.

    Returns:
        A number from -1 to 1.

    Raises:
        InputError: As for ``kendall_tau``, or if there is no group.
    """
    taus = [kendall_tau(first, second) for first, second in groups]
    if not taus:
        raise InputError("a mean over groups needs a group")
    return float(np.mean(taus))


def exact_stratified_p(groups: Sequence[tuple[ArrayLike, ArrayLike]]) -> float:
    """The two-sided p value of ``mean_tau``, from all orders within the groups.

    If the measures had nothing to do with each other within groups, each order of the second in
    each group would be as likely. p is the share of all combinations of orders whose mean tau is
    at least as far from zero as what was found. Groups are combined by the distribution of their
    sum, so four groups of four take 4 times 24 orders, not 24^4.

    Args:
        groups: As for ``mean_tau``.

    Returns:
        A number above 0 and at most 1.

    Raises:
        InputError: As for ``mean_tau``, or if a group is too large for going through its orders.
    """
    found = mean_tau(groups)
    sums: dict[float, float] = {0.0: 1.0}
    for first, second in groups:
        values = np.asarray(second)
        if math.factorial(len(values)) > MOST_ORDERS:
            raise InputError(f"a group of {len(values)} has too many orders for an exact p value")
        taus: dict[float, float] = {}
        for order in itertools.permutations(range(len(values))):
            tau = round(kendall_tau(first, values[list(order)]), 12)
            taus[tau] = taus.get(tau, 0.0) + 1 / math.factorial(len(values))
        combined: dict[float, float] = {}
        for (total, p), (tau, q) in itertools.product(sums.items(), taus.items()):
            key = round(total + tau, 10)
            combined[key] = combined.get(key, 0.0) + p * q
        sums = combined
    least = abs(found) * len(groups) - 1e-8
    return min(1.0, sum(p for total, p in sums.items() if abs(total) >= least))


def share_between(groups: Iterable[ArrayLike]) -> float:
    """The share of a measure's variance that lies between groups.

    Args:
        groups: The values of each group.

    Returns:
        The sum of squares of the groups' means about the mean of all, over the sum of squares of
        all values about it: 0 to 1.

    Raises:
        InputError: If all values are the same.
    """
    values = [np.asarray(group, dtype=np.float64) for group in groups]
    every = np.concatenate(values)
    total = float(((every - every.mean()) ** 2).sum())
    if not total:
        raise InputError("values that are all the same have no variance to share")
    between = sum(len(group) * (group.mean() - every.mean()) ** 2 for group in values)
    return float(between / total)
