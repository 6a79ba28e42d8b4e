"""Intervals of accuracies: a bootstrap over groups of rows and over repeats.

Near-duplicates are drawn together, since they are no two pieces of evidence. All methods share the
draws, so differences are paired. Where nearly every row is right, a bootstrap sees no spread; so an
accuracy's interval is never narrower than Wilson's on as many groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tangentlm.analysis.intervals import interval_of_share
from tangentlm.analysis.verdicts import Interval

Array = NDArray[np.float64]

DRAWS = 2000


@dataclass(frozen=True)
class Bootstrap:
    """Draws of groups of rows, made once for all methods.

    Attributes:
        weights: How often each row is in each draw, (draws, N).
        groups: How many groups there are.
        seed: Of the draws of repeats.
    """

    weights: Array
    groups: int
    seed: int

    @classmethod
    def of(cls, groups: ArrayLike, seed: int, draws: int = DRAWS) -> Bootstrap:
        """Draw.

        Args:
            groups: The group of each row, (N,).
            seed: Of the draws.
            draws: How many.

        Returns:
            The draws.
        """
        names, place = np.unique(np.asarray(groups), return_inverse=True)
        even = np.full(len(names), 1 / len(names))
        drawn = np.random.default_rng(seed).multinomial(len(names), even, size=draws)
        return cls(drawn[:, place].astype(np.float64), len(names), seed)

    def draws_of(self, right: ArrayLike) -> Array:
        """An accuracy, or a difference of two, in every draw.

        Args:
            right: Of every repeat and row whether it is right, or a difference, (repeats, N).

        Returns:
            (draws,), percent.
        """
        values = np.asarray(right, dtype=np.float64)
        repeats, draws = len(values), len(self.weights)
        # The seed is that of every method with as many repeats, so these are paired, too.
        drawn = np.random.default_rng(self.seed).multinomial(
            repeats, np.full(repeats, 1 / repeats), size=draws
        )
        sums = np.einsum("dr,dr->d", drawn, self.weights @ values.T)
        shares: Array = 100 * sums / (repeats * self.weights.sum(axis=1))
        return shares

    def accuracy(self, right: ArrayLike) -> Interval:
        """A mean accuracy with its interval.

        Args:
            right: (repeats, N).

        Returns:
            Percent.
        """
        values = np.asarray(right, dtype=np.float64)
        share = float(values.mean())
        low, high = np.percentile(self.draws_of(values), [2.5, 97.5])
        wilson = interval_of_share(round(share * self.groups), self.groups)
        shift = 100 * (share - wilson.estimate)
        return Interval(
            100 * share,
            max(min(float(low), 100 * wilson.low + shift), 0.0),
            min(max(float(high), 100 * wilson.high + shift), 100.0),
        )

    def difference(self, first: ArrayLike, second: ArrayLike) -> Interval:
        """The first accuracy less the second, on the same rows.

        Args:
            first: (repeats, N); with one repeat it is that of every repeat of the other.
            second: Likewise.

        Returns:
            Points.
        """
        values = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
        low, high = np.percentile(self.draws_of(values), [2.5, 97.5])
        return Interval(100 * float(values.mean()), float(low), float(high))
