"""What changes with width: measures of tasks over models that differ in width alone.

Theorem 3.7 of Malladi-v1 is about a limit, so one model says nothing of it. A ladder of models, the
same text in the same order at every width, does. An interval speaks of other tasks where a ladder
has one model a width, of other pre-trainings where it has several seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tangentlm.collected import read_collected, read_collected_table
from tangentlm.ledger import interval
from tangentlm.params import RUN_PREFIX

EXPERIMENT = "natural_tasks"
ARROWS = {"falls": " ↓", "rises": " ↑"}
"""Marks of the changes that are told apart from none."""
_OF_A_CHANGE = ["measure", "change", "low", "high", "verdict"]
_FACTS = ["run", "width", "parametrization", "held_out_loss", "parameters"]


def ladder_measures(study: str, ladder: str) -> pd.DataFrame:
    """The measures of the tasks, beside the facts of the models.

    What has not been asked of every model yet is left out: a mean over other tasks at every width
    would show the tasks, not the width.

    Args:
        study: A study with runs of ``natural_tasks``.
        ladder: The study that pre-trained their models.

    Returns:
        A row for each run of a task, prompt and seed that every model was asked, with ``width``,
        ``parametrization``, ``held_out_loss`` and ``parameters`` of its model; empty where one of
        the studies has not been run.
    """
    runs, models = read_collected(study, EXPERIMENT), read_collected(ladder, "pretrain")
    if runs.empty or models.empty:
        return pd.DataFrame()
    models = models[_FACTS].assign(model=f"{RUN_PREFIX}{ladder}/" + models["run"])
    asked = runs.groupby(["task", "prompt", "seed"])["model"].transform("nunique")
    runs = runs[asked == runs["model"].nunique()]
    return runs.drop(columns="width").merge(models.drop(columns="run"), on="model")


def per_doubling(
    measures: pd.DataFrame, columns: Sequence[str], by: Sequence[str], *, unit: str = "task"
) -> pd.DataFrame:
    """By how much a measure changes when the width doubles.

    For every unit the least-squares slope over log2(width) of its mean; then the mean of the slopes
    over units, with its 95 % interval.

    Args:
        measures: With ``width`` and the columns below.
        columns: The measures.
        by: Columns that name the ladders, e.g. ``["parametrization", "prompt"]``.
        unit: The column of which there is one slope a value: ``"task"`` or ``"seed"``.

    Returns:
        Columns ``by``, ``measure``, ``change``, ``low``, ``high``, ``tasks`` (or ``seeds``) and
        ``verdict``: ``"falls"``, ``"rises"`` or ``"not told apart"`` from no change, or ``"too few
        tasks"``.
    """
    rows = []
    for names, group in measures.groupby(list(by), sort=False):
        means = group.groupby([unit, "width"])[list(columns)].mean()
        for column in columns:
            slopes = means[column].groupby(unit).apply(_slope).dropna()
            if slopes.empty:
                continue
            mean, low, high = interval(slopes)
            facts = (column, mean, low, high, len(slopes), _verdict(low, high, unit))
            rows.append((*names, *facts))
    facts_of = ["measure", "change", "low", "high", f"{unit}s", "verdict"]
    return pd.DataFrame(rows, columns=[*by, *facts_of])


def changes_in_words(changes: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """A row for each ladder, a column for each measure, for people.

    Args:
        changes: From ``per_doubling``.
        names: The measures and their headings.

    Returns:
        The columns that name the ladders, the number of units, and for each measure its change with
        the interval in brackets; an arrow where it is told apart from none.
    """
    keys = changes.columns.difference(_OF_A_CHANGE, sort=False)
    cells = [
        f"{row.change:.2g} ({row.low:.2g} to {row.high:.2g})"
        if math.isfinite(row.low)
        else f"{row.change:.2g}"
        for row in changes.itertuples()
    ]
    marked = changes.assign(cell=cells + changes["verdict"].map(ARROWS).fillna(""))
    wide = marked.set_index([*keys, "measure"])["cell"].unstack(sort=False)
    return wide.rename(columns=names).reset_index()


def _slope(of_widths: pd.Series) -> float:
    """The slope over log2(width) of a series with ``width`` in its index; NaN for one width."""
    present = of_widths.dropna()
    if len(present) < 2:
        return math.nan
    widths = np.log2(present.index.get_level_values("width").to_numpy(dtype=np.float64))
    slope = np.polyfit(widths, present.to_numpy(dtype=np.float64), 1)[0]
    return round(float(slope), 12)  # a slope of zero is not exactly zero


def _verdict(low: float, high: float, unit: str) -> str:
    if math.isnan(low):
        return f"too few {unit}s"
    return "falls" if high < 0 else "rises" if low > 0 else "not told apart"


def examples_over_width(measures: pd.DataFrame, study: str, by: Sequence[str]) -> pd.DataFrame:
    """What single examples do, for Definition 3.6 speaks of every one of them.

    Args:
        measures: From ``ladder_measures``.
        study: The study that they are from.
        by: Columns that name the ladders.

    Returns:
        For every ladder, over all examples of all tasks and seeds: how many ``examples``, and in
        percent those whose output derivative ``fell`` from the narrowest to the widest model, those
        for which it ``fell_always`` (at every step), and those that are ``solved`` (below 0.1) and
        ``hopeless`` (above 0.9) for the widest.
    """
    chi = read_collected_table(study, f"{EXPERIMENT}-chi_by_example")
    if measures.empty or chi.empty:
        return pd.DataFrame()
    chi = chi.set_index("run")
    rows = []
    for names, group in measures.groupby(list(by), sort=False):
        steps = []
        for _, same in group.groupby(["task", "seed"]):
            by_width = same.sort_values("width")
            if by_width["width"].nunique() > 1:
                examples = chi.loc[by_width["run"]].to_numpy(dtype=np.float64).T
                steps.append(examples[~np.isnan(examples).any(axis=1)])
        if not steps:
            continue
        widest = np.concatenate([examples[:, -1] for examples in steps])
        change = np.concatenate([examples[:, -1] - examples[:, 0] for examples in steps])
        always = np.concatenate([(np.diff(examples) < 0).all(axis=1) for examples in steps])
        shares = [100 * float(np.mean(s)) for s in (change < 0, always, widest < 0.1, widest > 0.9)]
        rows.append((*names, len(widest), *shares))
    return pd.DataFrame(
        rows, columns=[*by, "examples", "fell", "fell_always", "solved", "hopeless"]
    )
