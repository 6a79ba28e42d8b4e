"""Across tasks: does what is known before training order the tasks of one model?

Here a choice is a task, with LoRA on all layers. Tasks differ in everything, so a predictor stands
beside what needs no model at all, the number of classes.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from tangentlm.analysis.bootstrap import DRAWS, bootstrap_interval, bootstrap_taus
from tangentlm.analysis.permutations import (
    PERMUTATIONS,
    Measures,
    mean_over_cells,
    orders_within,
    p_of_moving_alike,
)
from tangentlm.anticipate.comparing import adjusted, predictors_by_outcomes, tells_apart
from tangentlm.anticipate.outcomes import OUTCOMES
from tangentlm.anticipate.predictors import PREDICTORS, Predictor
from tangentlm.tasks import load_task

CLASSES = Predictor("number of classes", "baseline", -1, "C")
KNOWN = {"classes": CLASSES, **PREDICTORS}
ACROSS = "tasks of one model"


def across_tasks(
    table: pd.DataFrame, *, draws: int = DRAWS, permutations: int = PERMUTATIONS
) -> pd.DataFrame:
    """The rank correlation over tasks of every predictor with every outcome, mean over models.

    Only tasks that all models have count. Outcomes are means over seeds, and so are the ranks of a
    predictor among all runs of its model. The interval is that of drawing tasks, the same for all
    models; in the test the tasks are shuffled, the same for all models.

    Args:
        table: From ``outcomes.choices``; the rows with all layers count.
        draws: Of the bootstrap.
        permutations: Of the shuffling.

    Returns:
        A row a predictor and outcome: ``predictor``, ``label``, ``group``, ``outcome``, ``scope``,
        ``tau`` (positive where the predictor is right), ``low`` and ``high`` (95 %), ``p``,
        ``p_holm``, ``models`` (that have it) and ``tasks``; a predictor that tells no two tasks
        apart has no row, and it is empty where fewer than three tasks are there.
    """
    names, of_models = _measures_of_models(table)
    if not of_models:
        return pd.DataFrame()
    models = list(of_models.values())
    tasks = len(models[0].strata)
    taus = [one.taus() for one in models]
    drawn = mean_over_cells([bootstrap_taus(m.predictors, m.outcomes, draws) for m in models])
    low, high = bootstrap_interval(drawn.reshape(draws, -1), tasks)
    shuffled = orders_within(np.zeros(tasks), permutations, np.random.default_rng(0))
    p = p_of_moving_alike([(np.concatenate([[np.arange(tasks)], shuffled]), models)])
    about = {name: KNOWN[name] for name in names}
    useful = np.any([tells_apart(one) for one in models], axis=0)
    found = predictors_by_outcomes(about).assign(
        scope=ACROSS, tau=mean_over_cells(taus)[0].ravel(), low=low, high=high, p=p.ravel(),
        p_holm=adjusted(p, useful, about).ravel(),
        models=(~np.isnan(np.array(taus)[:, 0])).sum(axis=0).ravel(), tasks=tasks,
    )  # fmt: skip
    return found[np.repeat(useful, len(OUTCOMES))].reset_index(drop=True)


def across_by_model(table: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """The rank correlation over tasks with one outcome, model by model.

    Args:
        table: As for ``across_tasks``.
        outcome: A name of ``OUTCOMES``.

    Returns:
        A row a predictor: ``label`` and a column a model, empty where a model has no such
        predictor or it tells no two tasks apart; the same tasks as in ``across_tasks``.
    """
    names, of_models = _measures_of_models(table)
    place = list(OUTCOMES).index(outcome)
    taus = {
        model: np.where(tells_apart(one), one.taus()[0][:, place], np.nan)
        for model, one in of_models.items()
    }
    labels = [KNOWN[name].label for name in names]
    return pd.DataFrame({"label": labels, **taus}).dropna(how="all", subset=list(taus))


def _measures_of_models(table: pd.DataFrame) -> tuple[list[str], dict[str, Measures]]:
    """Names of predictors, and what each model knows and reaches; none below three tasks."""
    if table.empty:
        return [], {}
    rows = _with_all_layers(table)
    tasks = _of_all_models(rows)
    if len(tasks) < 3:
        return [], {}
    rows = rows[rows["task"].isin(tasks)]
    rows = rows.assign(classes=rows["task"].map({t: load_task(t).num_classes for t in tasks}))
    names = [name for name in KNOWN if name in rows]
    by_model = rows.groupby("model", sort=False)
    return names, {str(model): _measures(own, names, tasks) for model, own in by_model}


def _with_all_layers(table: pd.DataFrame) -> pd.DataFrame:
    """One row a model, task and seed; runs that went through threes alone have none."""
    rows = table[table["choices"] != "threes"]
    rows = rows[rows["size"] == rows.groupby("model")["size"].transform("max")]
    return rows.drop_duplicates(["model", "task", "seed"])


def _of_all_models(rows: pd.DataFrame) -> list[str]:
    models = rows["model"].nunique()
    counts = rows.groupby("task")["model"].nunique()
    return [str(task) for task in counts.index[counts == models]]


def _measures(own: pd.DataFrame, names: list[str], tasks: list[str]) -> Measures:
    """Of one model: ranks of predictors and outcomes of each task, means over seeds."""

    def means(values: pd.Series) -> np.ndarray:
        return values.groupby(own["task"]).mean().loc[tasks].to_numpy(float)

    known = [
        np.full(len(tasks), np.nan)
        if own[name].isna().any()
        else means(pd.Series(rankdata(KNOWN[name].better * own[name]), own.index))
        for name in names
    ]
    reached = [means(outcome.better * own[name]) for name, outcome in OUTCOMES.items()]
    return Measures(np.round(known, 9), np.round(reached, 9), np.zeros(len(tasks)))
