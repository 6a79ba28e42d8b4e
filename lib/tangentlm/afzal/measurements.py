"""Our runs in the words of the paper's tables."""

from __future__ import annotations

import pandas as pd

from tangentlm.studies.collect import read_collected, read_collected_table
from tangentlm.tasks import load_task

CHOICES = ("q+v {0}", "q+v {11}", "q+v {0,11}", "q+v {0,5,11}", "k {0,5,11}")
"""The paper's choices of layers and projections, as ``paper_subsets`` orders ours."""
STUDY = "afzal"
_ABOUT = ["run", "task", "model", "formula", "pads", "max_length", "dropout", "samples", "sigma"]
_ABOUT += ["mean_tokens"]
LENGTH = 512
"""The paper's: its texts are cut to so many tokens, and filled up to so many."""


def kappas(study: str = STUDY) -> pd.DataFrame:
    """Every condition number of a study, beside what it was measured of.

    Args:
        study: A study with runs of the experiment ``condition``.

    Returns:
        A row a choice of layers, head and draw: ``task`` and its ``title``, ``model``, ``formula``,
        ``pads``, ``max_length``, ``dropout``, ``samples``, ``sigma``, ``run``, ``kernel`` (the
        choice with our layers), ``choice`` (the paper's words for it), ``head``, ``draw``,
        ``kappa``, ``largest``, ``smallest``, ``trace`` and ``mean_tokens``; empty where nothing was
        run.
    """
    rows, runs = read_collected_table(study, "condition-kappa"), _runs(study)
    if rows.empty or runs.empty:
        return pd.DataFrame()
    every = rows.merge(runs[_ABOUT], on="run")
    place = every.groupby("run")["kernel"].transform(lambda names: pd.factorize(names)[0])
    titles = {name: load_task(name).title for name in every["task"].unique()}
    return every.assign(choice=place.map(dict(enumerate(CHOICES))), title=every["task"].map(titles))


def with_options(
    rows: pd.DataFrame, *, pads: str = "masked", formula: str = "sgd", dropout: float = 0.0,
    max_length: int = LENGTH,
) -> pd.DataFrame:  # fmt: skip
    """Those of rows of runs that have some options; the defaults are those of our Table 1.

    Args:
        rows: From ``kappas``; may be empty.
        pads: As in ``ConditionRun``, like the others.
        formula: Which kernel.
        dropout: LoRA's live dropout.
        max_length: Of a text.

    Returns:
        Some of the rows.
    """
    if rows.empty:
        return rows
    chosen = (rows["pads"] == pads) & (rows["formula"] == formula)
    return rows[chosen & (rows["dropout"] == dropout) & (rows["max_length"] == max_length)]


def _runs(study: str) -> pd.DataFrame:
    """A study's runs; those from before there was dropout had none."""
    runs = read_collected(study, "condition")
    if runs.empty:
        return runs
    return runs.assign(dropout=runs["dropout"].fillna(0.0) if "dropout" in runs else 0.0)


def spread_of(kappa: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Median and range of the condition number over heads and draws.

    Args:
        kappa: From ``kappas``.
        by: Columns that say what is kept apart, e.g. ``["title", "choice"]``.

    Returns:
        Columns ``by``, ``ours`` (the median), ``low`` and ``high`` (the least and the largest),
        ``count``, ``heads`` and ``draws``.
    """
    if kappa.empty:
        return pd.DataFrame(columns=[*by, "ours", "low", "high", "count", "heads", "draws"])
    grouped = kappa.groupby(by, sort=False)
    found = grouped["kappa"].agg(ours="median", low="min", high="max", count="size")
    return found.assign(
        heads=grouped["head"].nunique(), draws=grouped["draw"].nunique()
    ).reset_index()


def seconds(study: str = STUDY) -> pd.DataFrame:
    """What one pass over a pool took, for all choices of layers and for the keys alone.

    Args:
        study: As for ``kappas``.

    Returns:
        ``title``, ``pool`` (samples), ``mean_tokens``, ``all_subsets_seconds`` and
        ``one_subset_seconds`` of the runs at the defaults; empty where nothing was run.
    """
    runs = with_options(_runs(study))
    if runs.empty:
        return pd.DataFrame()
    titles = [load_task(name).title for name in runs["task"]]
    columns = ["title", "pool", "mean_tokens", "all_subsets_seconds", "one_subset_seconds"]
    return runs.assign(title=titles)[columns].reset_index(drop=True)
