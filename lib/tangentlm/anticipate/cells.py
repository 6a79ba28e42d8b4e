"""The cells of the comparison: a task in one arm, all its choices of layers, all its seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from tangentlm.analysis.bootstrap import Cell, seed_draws
from tangentlm.analysis.permutations import Measures
from tangentlm.analysis.strata import stratified_spearmans, stratified_taus
from tangentlm.anticipate.outcomes import OUTCOMES
from tangentlm.anticipate.predictors import PREDICTORS

Array = NDArray[np.float64]

LEAST_SEEDS = 2
_CHOICES = {"every": "every choice of layers", "threes": "every choice of three layers"}
_DIGITS = 9
"""Means that agree in so many digits are tied."""


@dataclass(frozen=True)
class TaskCell:
    """A task in one arm. All measures are turned so that more is better, or claimed to be.

    Attributes:
        arm: The model and its choices, as ``arm_name`` calls them.
        task: Its title.
        subsets: N choices, e.g. ``"0+2"``.
        sizes: (N,), how many layers each has.
        predictors: (S, P, N), the ranks of the choices by each predictor, with S seeds; NaN
            throughout for one that this cell does not have.
        outcomes: (S, Q, N), in the order of ``OUTCOMES``.
    """

    arm: str
    task: str
    subsets: tuple[str, ...]
    sizes: NDArray[np.int64]
    predictors: Array
    outcomes: Array

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len(self.outcomes)

    @property
    def several_sizes(self) -> bool:
        """Whether choices differ in their number of layers."""
        return len(np.unique(self.sizes)) > 1

    @property
    def layers(self) -> list[frozenset[int]]:
        """The layers of each choice."""
        return [frozenset(map(int, subset.split("+"))) for subset in self.subsets]

    @property
    def has_every_choice(self) -> bool:
        """Whether all choices of a size are there, each once, so that layers can be relabelled."""
        layers = frozenset().union(*self.layers)
        counts = {size: list(self.sizes).count(size) for size in set(self.sizes)}
        distinct = len(set(self.layers)) == len(self.layers)
        return distinct and all(math.comb(len(layers), k) == n for k, n in counts.items())

    def measures(self, *, within: bool, weights: Array | None = None) -> Measures:
        """Means over seeds.

        Args:
            within: Whether only choices of equal size are compared.
            weights: Of the seeds, (S,); all alike by default.

        Returns:
            Ranks of predictors and outcomes, averaged.
        """
        weights = np.full(self.seeds, 1 / self.seeds) if weights is None else weights
        means = [
            np.round(np.tensordot(weights, values, axes=1), _DIGITS)
            for values in (self.predictors, self.outcomes)
        ]
        return Measures(means[0], means[1], self.sizes if within else np.zeros_like(self.sizes))

    def statistics(self, *, within: bool) -> Cell:
        """Kendall's tau of every predictor with every outcome, for every way to draw the seeds.

        Args:
            within: As for ``measures``.

        Returns:
            A cell for the bootstrap, its K statistics the (P, Q) in one row.
        """
        weights, chances = seed_draws(self.seeds)
        ways = [_taus(self.measures(within=within, weights=one)) for one in weights]
        estimate = _taus(self.measures(within=within))
        return Cell(self.task, estimate, np.array(ways), chances)

    def spearman(self, *, within: bool) -> Array:
        """Spearman's rank correlation instead.

        Args:
            within: As for ``measures``.

        Returns:
            (P, Q).
        """
        means = self.measures(within=within)
        return stratified_spearmans(means.predictors, means.outcomes, means.strata)


def arm_name(model: str, choices: str) -> str:
    """How an arm of the study is called.

    Example:
        >>> arm_name("minilm", "threes")
        'minilm, every choice of three layers'

    Args:
        model: The model's name.
        choices: As parameters call them.

    Returns:
        Words.
    """
    return f"{model}, {_CHOICES.get(choices, choices)}"


def task_cells(
    table: pd.DataFrame, predictors: Sequence[str], least_seeds: int = LEAST_SEEDS
) -> list[TaskCell]:
    """The cells of a table of choices.

    Args:
        table: From ``outcomes.choices``, of one learning rate for each arm.
        predictors: Names of ``PREDICTORS``.
        least_seeds: How many a task needs.

    Returns:
        One for each arm and task that has so many seeds with the same choices.
    """
    if table.empty:
        return []
    cells = []
    for (model, kind, title), rows in table.groupby(["model", "choices", "title"], sort=False):
        wide = {seed: own.set_index("subset").sort_index() for seed, own in rows.groupby("seed")}
        first = next(iter(wide.values()))
        whole = [own for own in wide.values() if own.index.equals(first.index)]
        if len(whole) < least_seeds or len(first) < 2:
            continue
        known = [[_ranks(own, name) for name in predictors] for own in whole]
        reached = [
            [outcome.better * own[name].to_numpy(float) for name, outcome in OUTCOMES.items()]
            for own in whole
        ]
        cells.append(
            TaskCell(
                arm_name(str(model), str(kind)), str(title), tuple(map(str, first.index)),
                first["size"].to_numpy(np.int64), np.array(known), np.array(reached),
            )
        )  # fmt: skip
    return cells


def by_arm(cells: Sequence[TaskCell]) -> dict[str, list[TaskCell]]:
    """The cells of each arm.

    Args:
        cells: From ``task_cells``.

    Returns:
        By the arm's name, in order.
    """
    arms: dict[str, list[TaskCell]] = {}
    for cell in cells:
        arms.setdefault(cell.arm, []).append(cell)
    return arms


def _ranks(own: pd.DataFrame, name: str) -> Array:
    """Ranks, so that a predictor and its logarithm say the same."""
    if name not in own or own[name].isna().any():
        return np.full(len(own), np.nan)
    return np.asarray(rankdata(PREDICTORS[name].better * own[name].to_numpy(float)))


def _taus(means: Measures) -> Array:
    return stratified_taus(means.predictors, means.outcomes, means.strata).ravel()
