"""Rank correlation within strata: two measures, compared where a third is equal.

A measure that only knows how many layers a choice has goes together with everything that the
number of layers decides. Among choices of equal size it orders nothing, so that is where a
predictor shows what it knows beyond the size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from tangentlm.errors import InputError

Array = NDArray[np.float64]


class Pairs:
    """The pairs of choices that are in one stratum.

    Attributes:
        first: (K,), the place of each pair's first choice.
        second: (K,), that of its second.
        stratum: (K, G), one where the pair is in the stratum and else zero.
    """

    def __init__(self, strata: ArrayLike) -> None:
        """Find the pairs.

        Args:
            strata: (N,), the stratum of each choice, e.g. its number of layers.
        """
        _, places = np.unique(np.asarray(strata), return_inverse=True)
        first, second = np.triu_indices(len(places), 1)
        together = places[first] == places[second]
        self.first, self.second = first[together], second[together]
        self.stratum = np.eye(places.max() + 1)[places[self.first]]

    def signs(self, values: Array) -> Array:
        """Which of a pair is larger.

        Args:
            values: (..., N).

        Returns:
            (..., K), 1 where the second is, -1 where the first is, 0 for a tie.
        """
        return np.sign(values[..., self.second] - values[..., self.first])

    def denominators(self, first: Array, second: Array) -> Array:
        """What ties leave of the pairs: sum_g sqrt((pairs untied in x) (pairs untied in y)).

        Args:
            first: (P, K) signs of the measures x.
            second: (Q, K) signs of the measures y.

        Returns:
            (P, Q).
        """
        x, y = (np.abs(signs) @ self.stratum for signs in (first, second))
        return np.asarray(np.sqrt(x[:, None] * y[None]).sum(axis=-1))


def stratified_taus(first: ArrayLike, second: ArrayLike, strata: ArrayLike) -> Array:
    """Kendall's tau_b within strata, weighted by the pairs that ties leave.

    With S_g the concordant less the discordant pairs of stratum g, and X_g and Y_g the pairs of it
    that are untied in x and in y, tau_b of the stratum is S_g / sqrt(X_g Y_g). The mean with the
    weights sqrt(X_g Y_g) is sum_g S_g / sum_g sqrt(X_g Y_g). Where that has no pair it is 0: the
    measure orders nothing.

    Example:
        Over all choices x is right in 2 of 3 pairs more than it is wrong; among equal sizes it is
        wrong in the only pair.

        >>> x, y, size = [[1, 3, 2]], [[0, 1, 2]], [1, 2, 2]
        >>> stratified_taus(x, y, [0, 0, 0]).round(2).tolist()
        [[0.33]]
        >>> stratified_taus(x, y, size).tolist()
        [[-1.0]]

    Args:
        first: (P, N), P measures of N choices; one with a NaN has NaN for its tau.
        second: (Q, N).
        strata: (N,), the stratum of each choice; all the same for the usual tau_b.

    Returns:
        (P, Q), from -1 to 1.

    Raises:
        InputError: If the measures are not of the same choices.
    """
    x, y = _of_the_same(first, second, strata)
    pairs = Pairs(strata)
    signs = pairs.signs(x), pairs.signs(y)
    return over(signs[0] @ signs[1].T, pairs.denominators(*signs))


def stratified_spearmans(first: ArrayLike, second: ArrayLike, strata: ArrayLike) -> Array:
    """Spearman's rank correlation within strata.

    It is Pearson's correlation of the ranks within strata, each less its stratum's mean, over all
    strata together.

    Args:
        first: As for ``stratified_taus``.
        second: As for ``stratified_taus``.
        strata: As for ``stratified_taus``.

    Returns:
        (P, Q), from -1 to 1; 0 where a measure orders nothing.

    Raises:
        InputError: If the measures are not of the same choices.
    """
    x, y = (_centred_ranks(v, np.asarray(strata)) for v in _of_the_same(first, second, strata))
    norms = [np.sqrt((ranks**2).sum(axis=1)) for ranks in (x, y)]
    return over(x @ y.T, np.outer(*norms))


def over(sums: Array, denominators: Array) -> Array:
    """Sums over their denominators, and 0 where there is nothing to compare.

    Args:
        sums: Any shape.
        denominators: A shape that fits.

    Returns:
        The quotients; NaN stays.
    """
    nothing = denominators == 0
    return np.where(nothing, 0.0, sums / np.where(nothing, 1.0, denominators))


def _of_the_same(first: ArrayLike, second: ArrayLike, strata: ArrayLike) -> tuple[Array, Array]:
    x, y = (np.asarray(values, dtype=np.float64) for values in (first, second))
    count = np.asarray(strata).shape
    if x.ndim != 2 or y.ndim != 2 or not (x.shape[1:] == y.shape[1:] == count):
        raise InputError(
            f"measures of shapes {x.shape} and {y.shape} and strata of shape {count} are not of "
            "the same choices"
        )
    return x, y


def _centred_ranks(values: Array, strata: NDArray[np.generic]) -> Array:
    ranks = np.empty_like(values)
    for stratum in np.unique(strata):
        inside = strata == stratum
        own = rankdata(values[:, inside], axis=1)
        ranks[:, inside] = own - own.mean(axis=1, keepdims=True)
    return ranks
