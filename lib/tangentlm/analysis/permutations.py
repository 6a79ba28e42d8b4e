"""Permutation tests of a mean rank correlation over cells.

Two questions are asked of the same mean. How often would it be as far from zero if choices of equal
size had their outcomes by chance? Then each cell is shuffled on its own, within strata. And how
often if only the pairing of two patterns were chance, e.g. which layer is which in all tasks of a
model? Then all cells of an arm are permuted alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tangentlm.analysis.strata import Pairs, over
from tangentlm.errors import InputError

Array = NDArray[np.float64]
Orders = NDArray[np.intp]

PERMUTATIONS = 10_000
_ALIKE = 1e-9
"""Means that differ by less are the same."""


@dataclass(frozen=True)
class Measures:
    """What is compared in one cell.

    Attributes:
        predictors: (P, N), of N choices; NaN throughout for one that the cell does not have.
        outcomes: (Q, N).
        strata: (N,).
    """

    predictors: Array
    outcomes: Array
    strata: NDArray[np.generic]

    def taus(self, orders: Orders | None = None) -> Array:
        """Kendall's tau_b within strata, with the outcomes in other orders.

        Args:
            orders: (R, N), each a permutation that keeps strata; by default the given order.

        Returns:
            (R, P, Q).
        """
        pairs = Pairs(self.strata)
        orders = np.arange(len(self.strata))[None] if orders is None else orders
        x, y = pairs.signs(self.predictors), pairs.signs(self.outcomes)
        every = self.outcomes[:, None, :] - self.outcomes[:, :, None]  # (Q, N, N)
        moved = np.sign(every)[:, orders[:, pairs.first], orders[:, pairs.second]]  # (Q, R, K)
        return over(np.einsum("pk,qrk->rpq", x, moved, optimize=True), pairs.denominators(x, y))


def orders_within(strata: ArrayLike, count: int, rng: np.random.Generator) -> Orders:
    """Random permutations that keep every choice in its stratum.

    Args:
        strata: (N,).
        count: R.
        rng: The source of randomness.

    Returns:
        (R, N).
    """
    groups = np.asarray(strata)
    orders = np.tile(np.arange(len(groups)), (count, 1))
    for stratum in np.unique(groups):
        places = np.flatnonzero(groups == stratum)
        orders[:, places] = rng.permuted(orders[:, places], axis=1)
    return orders


def orders_of_relabelling(subsets: Sequence[frozenset[int]]) -> Orders:
    """What every relabelling of layers makes of their subsets.

    Example:
        Of two layers there are two: the layers as they are, and exchanged.

        >>> orders_of_relabelling([frozenset({0}), frozenset({1}), frozenset({0, 1})]).tolist()
        [[0, 1, 2], [1, 0, 2]]

    Args:
        subsets: N subsets of layers; with one they have all that a relabelling makes of it.

    Returns:
        (L!, N) for L layers; the first is the order as it is.

    Raises:
        InputError: If a relabelled subset is not among them.
    """
    layers = sorted(frozenset().union(*subsets))
    place = {subset: i for i, subset in enumerate(subsets)}
    orders = []
    for names in itertools.permutations(layers):
        new = dict(zip(layers, names, strict=True))
        moved = [frozenset(new[layer] for layer in subset) for subset in subsets]
        if not set(moved) <= set(place):
            raise InputError("relabelling needs all subsets of layers of a size, or none of them")
        orders.append([place[subset] for subset in moved])
    return np.array(orders)


def p_of_shuffling(cells: Sequence[Measures], count: int = PERMUTATIONS, seed: int = 0) -> Array:
    """The two-sided p value of the mean tau, each cell shuffled on its own within strata.

    Args:
        cells: One a task and arm.
        count: How many permutations are drawn.
        seed: Of the draws.

    Returns:
        (P, Q): the share of permutations, the given one among them, whose mean is as far from zero;
        NaN for a predictor that no cell has.
    """
    rng = np.random.default_rng(seed)
    null = mean_over_cells([c.taus(orders_within(c.strata, count, rng)) for c in cells])
    found = mean_over_cells([cell.taus() for cell in cells])
    return _share(found, np.concatenate([found, null]))


def p_of_moving_alike(arms: Sequence[tuple[Orders, Sequence[Measures]]]) -> Array:
    """The two-sided p value of the mean tau, all cells of an arm permuted alike.

    Every combination of the arms' permutations is gone through.

    Args:
        arms: For each the permutations, the given order first, (R, N), and its cells.

    Returns:
        (P, Q), as ``p_of_shuffling``.
    """
    sums = [_sum_over_cells([cell.taus(orders) for cell in cells]) for orders, cells in arms]
    total, count = sums[0]
    for added, more in sums[1:]:
        total = (total[:, None] + added[None]).reshape(-1, *total.shape[1:])
        count = count + more
    means = np.where(count, total / np.maximum(count, 1), np.nan)
    return _share(means[:1], means)


def mean_over_cells(taus: Sequence[Array]) -> Array:
    """The mean of what the cells have.

    Args:
        taus: (R, P, Q) of each cell, NaN where it has none.

    Returns:
        (R, P, Q); NaN where no cell has one.
    """
    total, count = _sum_over_cells(taus)
    return np.where(count, total / np.maximum(count, 1), np.nan)


def _sum_over_cells(taus: Sequence[Array]) -> tuple[Array, Array]:
    """Sums, (R, P, Q), and of how many cells, (P, Q); a predictor is in a cell or is not."""
    total = sum(np.nan_to_num(tau) for tau in taus)
    count = sum((~np.isnan(tau[0])).astype(float) for tau in taus)
    return np.asarray(total), np.asarray(count)


def _share(found: Array, null: Array) -> Array:
    """How much of the null distribution is as far from zero as what was found."""
    share = (np.abs(null) >= np.abs(found) - _ALIKE).mean(axis=0)
    return np.where(np.isnan(found[0]), np.nan, share)
