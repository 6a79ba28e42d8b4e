"""What noise leaves to be known, and what choosing by a predictor costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tangentlm.analysis.bootstrap import Cell, bootstrap_interval, bootstrap_means
from tangentlm.analysis.choosing import agreement_of_seeds, ceiling_of_mean, top_one_regret
from tangentlm.anticipate.cells import TaskCell, by_arm
from tangentlm.anticipate.comparing import OVER_ALL, WITHIN
from tangentlm.anticipate.outcomes import OUTCOMES
from tangentlm.anticipate.predictors import PREDICTORS

Array = NDArray[np.float64]

ANOTHER_RUN = "another training run"
KNOWN = "the expected outcome"
RANDOM, ALL_LAYERS = "random choice", "all layers"
_ACCURACY = list(OUTCOMES).index("accuracy")


def ceilings(cells: Sequence[TaskCell], *, within: bool) -> pd.DataFrame:
    """How far one training run, or perfect knowledge, would get as a predictor.

    Args:
        cells: From ``task_cells``; over all choices only those count whose choices differ in size.
        within: Whether only choices of equal size are compared.

    Returns:
        Two rows an outcome, with columns as ``compare`` has them: that of another seed (with an
        interval over tasks) and that of the expected outcome (if noise is normal). Empty where
        there is no cell.
    """
    cells = [cell for cell in cells if within or cell.several_sizes]
    if not cells:
        return pd.DataFrame()
    agreements = np.array([_agreements(cell, within=within) for cell in cells])
    low, high = _interval([cell.task for cell in cells], agreements)
    rows = []
    for place, outcome in enumerate(OUTCOMES):
        mean = float(agreements[:, place].mean())
        known = float(np.mean([ceiling_of_mean(mean, cell.seeds) for cell in cells]))
        rows.append((ANOTHER_RUN, outcome, mean, low[place], high[place]))
        rows.append((KNOWN, outcome, known, np.nan, np.nan))
    table = pd.DataFrame(rows, columns=["label", "outcome", "tau", "low", "high"])
    return table.assign(group="ceiling", scope=WITHIN if within else OVER_ALL)


def regrets(cells: Sequence[TaskCell], predictors: Sequence[str]) -> pd.DataFrame:
    """By how many points of accuracy the choice that a predictor puts first misses the best.

    A choice is made with what one seed knows, and it is judged by the mean accuracy with the other
    seeds, so that no predictor is judged by the run that it has seen.

    Args:
        cells: From ``task_cells`` with the same predictors.
        predictors: Their names.

    Returns:
        A row an arm and chooser: ``arm``, ``label``, ``group``, ``regret`` (mean over tasks),
        ``low`` and ``high`` (over tasks; NaN of fewer than five), and ``tasks``. Choosers are the
        predictors, a random choice, all layers where the arm has that choice, and another training
        run.
    """
    choosers: list[tuple[str, str, Callable[[TaskCell, int], Array]]] = [
        (RANDOM, "baseline", lambda cell, _: np.ones(len(cell.subsets))),
        (ALL_LAYERS, "baseline", lambda cell, _: _all_layers(cell)),
        *(
            (PREDICTORS[name].label, PREDICTORS[name].group, _ranks_of(place))
            for place, name in enumerate(predictors)
        ),
        (ANOTHER_RUN, "ceiling", lambda cell, seed: cell.outcomes[seed, _ACCURACY]),
    ]
    rows = []
    for arm, own in by_arm(cells).items():
        costs = np.array([[_cost(cell, scores) for *_, scores in choosers] for cell in own])
        low, high = _interval([cell.task for cell in own], costs)
        means = costs.mean(axis=0)
        for (label, group, _), *ends in zip(choosers, means, low, high, strict=True):
            rows.append((arm, label, group, *ends, len(own)))
    columns = ["arm", "label", "group", "regret", "low", "high", "tasks"]
    return pd.DataFrame(rows, columns=columns).dropna(subset="regret").reset_index(drop=True)


def controls(trained: pd.DataFrame) -> pd.DataFrame:
    """Accuracy without any layer, beside that of the choices of layers.

    Args:
        trained: From ``outcomes.trained``, of one learning rate for each arm.

    Returns:
        A row a model, its choices and task, where there is more than one choice, in percent:
        ``control``, the ``mean`` over choices, the ``worst`` and the ``best`` of them (each a mean
        over seeds), ``of_seeds`` (the standard deviation between seeds of one choice, root mean
        square) and ``seeds``.
    """
    rows = []
    if trained.empty:
        return pd.DataFrame()
    for (model, kind, title), own in trained.groupby(["model", "choices", "title"], sort=False):
        by_choice = own.groupby(["size", "subset"])["accuracy"]
        means, spread = by_choice.mean(), by_choice.var().mean() ** 0.5
        none = means.index.get_level_values("size") == 0
        chosen = means[~none]
        if len(chosen) < 2:
            continue
        ends = (chosen.mean(), chosen.min(), chosen.max(), spread)
        rows.append((model, kind, title, means[none].mean(), *ends, own["seed"].nunique()))
    columns = ["model", "choices", "title", "control", "mean", "worst", "best", "of_seeds", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def _agreements(cell: TaskCell, *, within: bool) -> list[float]:
    strata = cell.sizes if within else np.zeros_like(cell.sizes)
    return [agreement_of_seeds(cell.outcomes[:, q], strata) for q in range(len(OUTCOMES))]


def _interval(tasks: Sequence[str], values: Array) -> tuple[Array, Array]:
    """The interval over tasks of each column's mean."""
    cells = [
        Cell(task, row, row[None], np.ones(1)) for task, row in zip(tasks, values, strict=True)
    ]
    return bootstrap_interval(bootstrap_means(cells), len(set(tasks)))


def _cost(cell: TaskCell, scores: Callable[[TaskCell, int], Array]) -> float:
    """The mean over seeds of the regret, each judged by the other seeds."""
    accuracy = cell.outcomes[:, _ACCURACY]
    costs = [
        top_one_regret(scores(cell, seed), np.delete(accuracy, seed, axis=0).mean(axis=0))
        for seed in range(cell.seeds)
    ]
    return float(np.mean(costs))


def _ranks_of(place: int) -> Callable[[TaskCell, int], Array]:
    """The ranks by a predictor; NaN where it tells no two choices apart, so it chooses nothing."""

    def scores(cell: TaskCell, seed: int) -> Array:
        ranks = cell.predictors[seed, place]
        return np.where(np.ptp(ranks) > 0, ranks, np.nan)

    return scores


def _all_layers(cell: TaskCell) -> Array:
    every = len(frozenset().union(*cell.layers))
    found = cell.sizes == every
    return np.where(found, 1.0, 0.0) if found.any() else np.full(len(found), np.nan)
