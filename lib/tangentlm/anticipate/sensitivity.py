"""How much of the condition number's tau hangs on a choice of the analysis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tangentlm.analysis.permutations import mean_over_cells
from tangentlm.analysis.strata import stratified_taus
from tangentlm.anticipate.ceilings import controls
from tangentlm.anticipate.cells import TaskCell, arm_name, by_arm, task_cells
from tangentlm.anticipate.outcomes import OUTCOMES, main_rate

KAPPA = "kappa"
_RUN = ["model", "choices", "task", "seed"]
_NONE = np.full(len(OUTCOMES), np.nan)


def sensitivity(
    table: pd.DataFrame, trained: pd.DataFrame, with_head: pd.DataFrame
) -> pd.DataFrame:
    """Kendall's tau of the condition number at equal size, in other ways.

    Args:
        table: From ``outcomes.choices``, of all learning rates.
        trained: From ``outcomes.trained``.
        with_head: From ``outcomes.choices`` with the kernel of adapters and head.

    Returns:
        A row a way: ``way``, a column an outcome, and ``cells``; empty where there is no cell.
    """
    cells = task_cells(main_rate(table), [KAPPA])
    if not cells:
        return pd.DataFrame()
    rows = [
        _row("as the hypothesis says", cells),
        _row("Spearman instead of Kendall", cells, spearman=True),
        _row("tasks in which a choice of layers beats the control", _better(cells, trained)),
    ]
    for name, cells_of in by_arm(cells).items():
        rows.append(_row(f"{name} alone", cells_of))
    head = task_cells(main_rate(with_head), [KAPPA])
    rows += [_row(f"{name}, head in the kernel", own) for name, own in by_arm(head).items()]
    main = main_rate(table)
    others = table[~table["run"].isin(main["run"])]
    for (model, rate), other in others.groupby(["model", "learning_rate"]):
        same = main.merge(other[_RUN].drop_duplicates(), on=_RUN)
        for way, part in (
            (f"another rate, {rate:g}", other),
            ("the same runs at the main rate", same),
        ):
            rows.append(_row(f"{model}: {way}", task_cells(part, [KAPPA], least_seeds=1)))
    return pd.DataFrame(rows)


def agreement_of_rates(table: pd.DataFrame) -> pd.DataFrame:
    """Whether another learning rate orders choices of equal size alike.

    Args:
        table: From ``outcomes.trained`` or ``choices``.

    Returns:
        A row a model, rate and outcome: ``model``, ``rate``, ``outcome``, ``tau`` (the mean over
        tasks, of runs with the same seed at the main rate and at this one), ``tasks`` and ``runs``;
        empty where there is one rate.
    """
    if table.empty:
        return pd.DataFrame()
    chosen = table[table["size"] > 0]
    main = main_rate(chosen)
    others = chosen[~chosen["run"].isin(main["run"])]
    rows = []
    for (model, rate), other in others.groupby(["model", "learning_rate"]):
        both = main.merge(other, on=[*_RUN, "subset", "size", "title"], suffixes=("", "_other"))
        for outcome in OUTCOMES:
            taus = [
                stratified_taus([own[outcome]], [own[f"{outcome}_other"]], own["size"])[0, 0]
                for _, own in both.groupby(["task", "seed"])
            ]
            if taus:
                found = float(np.mean(taus))
                rows.append((model, rate, outcome, found, both["task"].nunique(), len(taus)))
    return pd.DataFrame(rows, columns=["model", "rate", "outcome", "tau", "tasks", "runs"])


def _row(way: str, cells: Sequence[TaskCell], *, spearman: bool = False) -> dict[str, object]:
    """The mean over cells for every outcome; NaN where there is none."""
    values = [
        cell.spearman(within=True) if spearman else cell.measures(within=True).taus()[0]
        for cell in cells
    ]
    means = mean_over_cells([value[None] for value in values])[0, 0] if values else _NONE
    return {"way": way, **dict(zip(OUTCOMES, means, strict=True)), "cells": len(cells)}


def _better(cells: Sequence[TaskCell], trained: pd.DataFrame) -> list[TaskCell]:
    """The cells whose best choice has a higher accuracy than the control."""
    about = controls(main_rate(trained))
    won = about[about["best"] > about["control"]]
    arms = [arm_name(*pair) for pair in zip(won["model"], won["choices"], strict=True)]
    names = set(zip(arms, won["title"], strict=True))
    return [cell for cell in cells if (cell.arm, cell.task) in names]
