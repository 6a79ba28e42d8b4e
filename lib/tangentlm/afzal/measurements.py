"""Our runs in the words of the paper's tables."""

from __future__ import annotations

import pandas as pd

from tangentlm.studies.collect import read_collected, read_collected_table
from tangentlm.tasks import load_task

CHOICES = ("q+v {0}", "q+v {11}", "q+v {0,11}", "q+v {0,5,11}", "k {0,5,11}")
"""The paper's choices of layers and projections, as ``paper_subsets`` orders ours."""
STUDY = "afzal"


def kappas(study: str = STUDY) -> pd.DataFrame:
    """Every condition number of a study, beside what it was measured of.

    Args:
        study: A study with runs of the experiment ``condition``.

    Returns:
        A row a choice of layers, head and draw: ``task`` and its ``title``, ``model``, ``formula``,
        ``pads``, ``samples``, ``sigma``, ``run``, ``kernel`` (the choice with our layers),
        ``choice`` (the paper's words for it), ``head``, ``draw``, ``kappa``, ``largest``,
        ``smallest``, ``trace`` and ``mean_tokens``; empty where nothing was run.
    """
    rows, runs = read_collected_table(study, "condition-kappa"), read_collected(study, "condition")
    if rows.empty or runs.empty:
        return pd.DataFrame()
    about = runs[["run", "task", "model", "formula", "pads", "samples", "sigma", "mean_tokens"]]
    every = rows.merge(about, on="run")
    place = every.groupby("run")["kernel"].transform(lambda names: pd.factorize(names)[0])
    titles = {name: load_task(name).title for name in every["task"].unique()}
    return every.assign(choice=place.map(dict(enumerate(CHOICES))), title=every["task"].map(titles))


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
        ``one_subset_seconds`` of the runs with masked padding; empty where nothing was run.
    """
    runs = read_collected(study, "condition")
    if runs.empty:
        return pd.DataFrame()
    runs = runs[(runs["pads"] == "masked") & (runs["formula"] == "sgd")]
    titles = [load_task(name).title for name in runs["task"]]
    columns = ["title", "pool", "mean_tokens", "all_subsets_seconds", "one_subset_seconds"]
    return runs.assign(title=titles)[columns].reset_index(drop=True)
