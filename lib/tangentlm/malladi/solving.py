"""What the paper's ambiguities about the solver are worth, in points."""

from __future__ import annotations

import pandas as pd

from tangentlm.analysis.intervals import interval_of_mean
from tangentlm.studies.collect import read_collected, read_collected_table

USUAL = "least squares"


def solver_points(study: str) -> pd.DataFrame:
    """Every solver, and the untied decoder, beside least squares on the same split.

    Args:
        study: A study of kernels with ``solver: every``.

    Returns:
        A row a choice: ``choice``, ``splits`` (of all tasks), ``tasks``, the mean difference in
        ``points`` with its interval over tasks (``low``, ``high``), the ``largest`` difference of a
        task, either way, and the ``experiment`` and name of its first ``run``. Empty where nothing
        was run.
    """
    runs, table = read_collected(study, "kernel"), read_collected_table(study, "kernel-solvers")
    if runs.empty or table.empty:
        return pd.DataFrame()
    same = ["task", "k", "seed"]
    every = table.merge(runs[["run", *same, "decoder"]], on="run")
    every["decoder"] = every["decoder"].fillna("tied")
    usual = every[(every["solver"] == USUAL) & (every["decoder"] == "tied")]
    both = every.merge(usual[[*same, "test_score"]], on=same, suffixes=("", "_usual"))
    untied = both["decoder"] == "untied"
    both = both[~untied | (both["solver"] == USUAL)]
    both["choice"] = both["solver"].mask(both["decoder"] == "untied", "untied decoder")
    both["points"] = both["test_score"] - both["test_score_usual"]
    rows = []
    for choice, group in both[both["choice"] != USUAL].groupby("choice", sort=False):
        of_tasks = group.groupby("task")["points"].mean()
        mean = interval_of_mean(of_tasks)
        rows.append(
            {
                "choice": choice,
                "splits": len(group),
                "tasks": len(of_tasks),
                "points": mean.estimate,
                "low": mean.low,
                "high": mean.high,
                "largest": of_tasks[of_tasks.abs().idxmax()],
                "experiment": "kernel",
                "run": group["run"].iloc[0],
            }
        )
    return pd.DataFrame(rows)
