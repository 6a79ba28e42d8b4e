"""Each predictor's rank correlation with each outcome: interval, tests and verdict.

The rule, its level and its margin are those of ``params/studies/anticipate/HYPOTHESIS.md``, which
was written before the runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tangentlm.analysis.bootstrap import DRAWS, bootstrap_interval, bootstrap_means
from tangentlm.analysis.permutations import (
    PERMUTATIONS,
    Measures,
    mean_over_cells,
    orders_of_relabelling,
    p_of_moving_alike,
    p_of_shuffling,
)
from tangentlm.analysis.several import ALPHA, holm
from tangentlm.analysis.strata import Pairs
from tangentlm.analysis.verdicts import UNDECIDED, too_few
from tangentlm.anticipate.cells import TaskCell, by_arm
from tangentlm.anticipate.outcomes import OUTCOMES
from tangentlm.anticipate.predictors import PREDICTORS, Predictor

Array = NDArray[np.float64]

MARGIN = 0.2
"""A smaller tau is worth nothing: with this one 60 of 100 pairs are ordered rightly."""
WITHIN, OVER_ALL = "choices of equal size", "all choices"
ADDS, AGAINST, NOTHING = "adds", "adds, against the claim", "adds nothing"


def verdict(p: float, ends: tuple[float, float], narrow: tuple[float, float]) -> str:
    """What is said of a predictor.

    Example:
        >>> verdict(0.3, (-0.1, 0.15), (-0.08, 0.12))
        'adds nothing'
        >>> verdict(0.01, (0.1, 0.5), (0.15, 0.45))
        'adds'

    Args:
        p: Of the shuffling, adjusted by Holm.
        ends: Of the 95 % interval; NaN where there are too few tasks.
        narrow: Of the 90 % interval.

    Returns:
        ``ADDS``, ``AGAINST``, ``NOTHING``, ``UNDECIDED`` or "too few tasks".
    """
    if np.isnan(ends[0]):
        return too_few("tasks")
    if p < ALPHA and (ends[0] > 0 or ends[1] < 0):
        return ADDS if ends[0] > 0 else AGAINST
    inside = narrow[0] > -MARGIN and narrow[1] < MARGIN
    return NOTHING if inside else UNDECIDED


def compare(
    cells: Sequence[TaskCell],
    predictors: Sequence[str],
    *,
    within: bool,
    draws: int = DRAWS,
    permutations: int = PERMUTATIONS,
) -> pd.DataFrame:
    """The mean rank correlation of every predictor with every outcome, and what it says.

    Args:
        cells: From ``task_cells`` with the same predictors. Over all choices only those count whose
            choices differ in size.
        predictors: Their names.
        within: Whether only choices of equal size are compared.
        draws: Of the bootstrap.
        permutations: Of the shuffling.

    Returns:
        A row a predictor and outcome: ``predictor``, ``label``, ``group``, ``outcome``, ``scope``,
        ``tau`` (positive where the predictor is right), ``low`` and ``high`` (95 %), ``low_90`` and
        ``high_90``, ``p`` (shuffled within task and size), ``p_holm`` (over the predictors that are
        known before training), ``p_layers`` (layers relabelled; at equal size), ``rho``
        (Spearman's), ``cells``, ``tasks`` and ``verdict``. A predictor that tells no two choices
        apart has no row, nor has an outcome that is missing; empty where there is no cell.
    """
    cells = [cell for cell in cells if within or cell.several_sizes]
    if not cells:
        return pd.DataFrame()
    tasks = len({cell.task for cell in cells})
    measures = [cell.measures(within=within) for cell in cells]
    taus = np.array([one.taus()[0] for one in measures])
    means = bootstrap_means([cell.statistics(within=within) for cell in cells], draws)
    low, high = bootstrap_interval(means, tasks)
    low_90, high_90 = bootstrap_interval(means, tasks, 1 - 2 * ALPHA)
    p = p_of_shuffling(measures, permutations)
    useful = np.any([tells_apart(one) for one in measures], axis=0)
    about = {name: PREDICTORS[name] for name in predictors}
    table = predictors_by_outcomes(about).assign(
        scope=WITHIN if within else OVER_ALL,
        tau=mean_over_cells(list(taus[:, None]))[0].ravel(),
        low=low, high=high, low_90=low_90, high_90=high_90,
        p=p.ravel(), p_holm=adjusted(p, useful, about).ravel(),
        p_layers=p_of_relabelling(cells).ravel() if within else np.nan,
        rho=mean_over_cells([cell.spearman(within=within)[None] for cell in cells])[0].ravel(),
        cells=(~np.isnan(taus)).sum(axis=0).ravel(), tasks=tasks,
    )  # fmt: skip
    table["verdict"] = [
        verdict(row.p_holm, (row.low, row.high), (row.low_90, row.high_90))
        for row in table.itertuples()
    ]
    useful_rows = np.repeat(useful, len(OUTCOMES)) & table["tau"].notna()
    return table[useful_rows].reset_index(drop=True)


def predictors_by_outcomes(about: Mapping[str, Predictor]) -> pd.DataFrame:
    """The first columns of a comparison: a row a predictor and outcome.

    Args:
        about: The P predictors by name.

    Returns:
        ``predictor``, ``label``, ``group`` and ``outcome``, in the order of a (P, Q) array.
    """
    known = [(name, one.label, one.group) for name, one in about.items()]
    names = pd.DataFrame(known, columns=["predictor", "label", "group"])
    return names.merge(pd.Series(list(OUTCOMES), name="outcome"), how="cross")


def adjusted(p: Array, useful: NDArray[np.bool_], about: Mapping[str, Predictor]) -> Array:
    """P values adjusted by Holm for each outcome, over what is known before training.

    Args:
        p: (P, Q).
        useful: (P,), which predictors tell anything apart; the others are not judged.
        about: The P predictors by name. Those of the group "ceiling" are no part of the family.

    Returns:
        (P, Q); NaN where a predictor is not judged, and as it was for a ceiling.
    """
    before = np.array([one.group != "ceiling" for one in about.values()])
    judged = np.where(before[:, None], np.nan, p)
    for place in range(p.shape[1]):
        judged[useful & before, place] = holm(p[useful & before, place])
    return judged


def p_of_relabelling(cells: Sequence[TaskCell]) -> Array:
    """The p value of the mean tau at equal size if which layer is which were chance.

    Args:
        cells: From ``task_cells``.

    Returns:
        (P, Q), from all relabellings of layers, the same in all tasks of an arm; NaN where an arm
        has not all choices of a size.
    """
    arms = by_arm(cells)
    if not all(own[0].has_every_choice for own in arms.values()):
        return np.full((len(cells[0].predictors[0]), len(OUTCOMES)), np.nan)
    return p_of_moving_alike(
        [
            (orders_of_relabelling(own[0].layers), [cell.measures(within=True) for cell in own])
            for own in arms.values()
        ]
    )


def tells_apart(measures: Measures) -> NDArray[np.bool_]:
    """Which predictors order any two choices of a stratum.

    Args:
        measures: Of one cell.

    Returns:
        (P,).
    """
    signs = Pairs(measures.strata).signs(measures.predictors)
    return np.any(np.nan_to_num(signs) != 0, axis=1)
