"""What a predictor is worth to someone who chooses by it, and what none can be expected to know."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tangentlm.analysis.strata import stratified_taus
from tangentlm.errors import InputError

Array = NDArray[np.float64]


def top_one_regret(scores: ArrayLike, outcomes: ArrayLike) -> float:
    """How much worse than the best is the choice that a predictor puts first.

    Example:
        >>> top_one_regret([0.1, 0.9, 0.5], [80.0, 84.0, 90.0])
        6.0

    Args:
        scores: (N,), the larger the better the choice is said to be.
        outcomes: (N,), the larger the better it is.

    Returns:
        The best outcome less that of the choice with the largest score, or their mean where several
        share it. A score of one value chooses at random. NaN if a score is missing.

    Raises:
        InputError: If the two are not of the same choices.
    """
    said, found = np.asarray(scores, dtype=float), np.asarray(outcomes, dtype=float)
    if said.shape != found.shape or said.ndim != 1 or not len(said):
        raise InputError("scores and outcomes are of the same choices, one at least")
    if np.isnan(said).any():
        return float("nan")
    return float(found.max() - found[said == said.max()].mean())


def agreement_of_seeds(outcomes: ArrayLike, strata: ArrayLike) -> float:
    """What one training run tells of another: tau between the outcomes of two seeds.

    Args:
        outcomes: (S, N), an outcome of N choices with S seeds.
        strata: (N,), see ``stratified_taus``.

    Returns:
        The mean over pairs of seeds.

    Raises:
        InputError: If there are fewer than two seeds.
    """
    values = np.asarray(outcomes, dtype=float)
    if len(values) < 2:
        raise InputError("an agreement of seeds needs two of them")
    taus = stratified_taus(values, values, strata)
    pairs = list(itertools.combinations(range(len(values)), 2))
    return float(np.mean([taus[pair] for pair in pairs]))


def ceiling_of_mean(agreement: float, seeds: int) -> float:
    """The tau of a predictor that knows every choice's expected outcome, with a mean over seeds.

    Such a predictor does better than another training run, which has noise of its own. If outcomes
    are normal with noise of one size, tau = (2 / pi) arcsin r turns the agreement of two seeds into
    their correlation r, the mean of S seeds has the reliability S r / (1 + (S - 1) r) (Spearman
    and Brown), and the predictor's correlation with the mean is the root of it.

    Example:
        >>> ceiling_of_mean(1 / 3, seeds=1)  # r = 1 / 2
        0.5

    Args:
        agreement: From ``agreement_of_seeds``.
        seeds: S, over how many the outcome is averaged.

    Returns:
        A number from 0 to 1; 0 where seeds do not agree.
    """
    r = max(0.0, float(np.sin(np.pi / 2 * agreement)))
    reliability = seeds * r / (1 + (seeds - 1) * r)
    return round(float(2 / np.pi * np.arcsin(np.sqrt(reliability))), 12)
