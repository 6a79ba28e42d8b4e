"""Forecasts beside their outcomes, from the records of ``forecast_outcome``, with its misses.

What was expected of the chapter's three tasks was written down before the runs; here it is judged.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from tangentlm.forecast.comparison import MAJORITY
from tangentlm.forecast.outcomes import WAYS
from tangentlm.forecast.past import past_tasks
from tangentlm.forecast.ways import Past
from tangentlm.studies.collect import read_collected, read_collected_table

STUDY, SETFIT_STUDY = "forecast", "setfit"
EXPERIMENT = "forecast_outcome"
GOOD, ENOUGH, HOPELESS = "subj", "agnews", "snli"
KERNEL = "kernel regression"
CLEAR = 4.0
"""Points of accuracy that were called a clear difference before the runs."""
FUTILE = 45.0
"""Percent that no way was expected to reach on the hopeless task."""
WEAK = 10.0
"""Points above the largest class that its forecast was expected to stay below."""
_COLUMNS = ["task", "seed", "method", "expected", "low", "high", "outcome", "inside"]


def past_without() -> Past:
    """Past tasks, without the three of the chapter.

    Returns:
        As ``past_tasks``.
    """
    return past_tasks(without=(GOOD, ENOUGH, HOPELESS))


def foretold(past: Past | None = None, study: str = STUDY) -> pd.DataFrame:
    """What was foretold and what came true, a row a run and way.

    Fine-tuning has no forecast of its own; it is foretold as far as past tasks allow: the forecast
    of kernel regression plus the quantiles of 10 and 90 % of what fine-tuning added elsewhere.

    Args:
        past: Past tasks; by default those without the chapter's three.
        study: Whose records are read.

    Returns:
        Columns ``task``, ``seed``, ``method``, ``expected`` with ``low`` and ``high`` (missing
        where nothing was foretold), ``outcome`` and ``inside``; no rows without records.
    """
    runs = read_collected(study, EXPERIMENT)
    if runs.empty:
        return pd.DataFrame(columns=_COLUMNS)
    keys = runs[["run", "task", "seed"]]
    came = read_collected_table(study, f"{EXPERIMENT}-outcomes").merge(keys, on="run")
    came = came.rename(columns={"accuracy": "outcome"}).drop(columns=["low", "high"])
    before = read_collected_table(study, f"{EXPERIMENT}-expected")
    before = before.rename(columns={"accuracy": "expected"})
    both = came.merge(before, on=["run", "method"], how="left")
    quantiles = (past_without() if past is None else past).quantiles
    if quantiles:
        kernel = before[before["method"] == KERNEL].set_index("run")["expected"]
        tuned = both["method"].isin(WAYS)
        for column, quantile in (("low", "10"), ("expected", "50"), ("high", "90")):
            both.loc[tuned, column] = both.loc[tuned, "run"].map(kernel) + quantiles[quantile]
    known = both["low"].notna()
    inside = (both["low"] <= both["outcome"]) & (both["outcome"] <= both["high"])
    return both.assign(inside=inside.where(known))[_COLUMNS]


def with_setfit(table: pd.DataFrame) -> pd.DataFrame:
    """The same with what SetFit reached, of which nothing was foretold.

    Args:
        table: From ``foretold``.

    Returns:
        More rows, if SetFit was run.
    """
    runs = read_collected(SETFIT_STUDY, "setfit_baseline")
    if runs.empty:
        return table
    came = read_collected_table(SETFIT_STUDY, "setfit_baseline-outcomes")
    came = came.merge(runs[["run", "task", "seed"]], on="run")
    came = came.rename(columns={"accuracy": "outcome"})
    return pd.concat([table, came[["task", "seed", "method", "outcome"]]], ignore_index=True)


def judged(table: pd.DataFrame, study: str = STUDY) -> pd.DataFrame:
    """What was expected before the runs, and whether it came true.

    Args:
        table: From ``foretold``.
        study: Whose differences are read.

    Returns:
        Columns ``task``, ``expectation``, ``found`` and ``verdict``: ``"came true"``, ``"missed"``
        or ``"not run"``.
    """
    rows: list[tuple[str, str, str, bool | None]] = []
    for task, judge in ((GOOD, _good), (ENOUGH, _enough), (HOPELESS, _hopeless)):
        of_task = table[table["task"] == task]
        if of_task.empty:
            rows.append((task, "all", "", None))
            continue
        gaps = _differences(study, task)
        means = of_task.groupby("method")["outcome"].mean()
        rows += [(task, what, found, holds) for what, found, holds in judge(means, gaps)]
        for name in (KERNEL, "full fine-tuning"):
            seen = of_task[of_task["method"] == name].dropna(subset="inside")
            right = int(seen["inside"].sum())
            rows.append(
                (
                    task,
                    f"{name} comes out where it was foretold",
                    f"{right} of {len(seen)}",
                    right == len(seen) if len(seen) else None,
                )
            )
    words = {True: "came true", False: "missed", None: "not run"}
    return pd.DataFrame(
        [(*row[:3], words[row[3]]) for row in rows],
        columns=["task", "expectation", "found", "verdict"],
    )


_Judged = Iterable[tuple[str, str, bool]]


def _good(means: pd.Series, gaps: pd.DataFrame) -> _Judged:
    words = means["bag of words"]
    for way in (KERNEL, *WAYS):
        gain = means[way] - words
        yield f"{way} is above a bag of words by {CLEAR:g} points", f"{gain:+.1f}", gain > CLEAR
    ahead = _between(gaps, KERNEL, "probe")
    told = int((ahead["low"] > 0).sum())
    found = f"{told} of {len(ahead)} forecasts"
    yield "the forecast says kernel regression is above the probe", found, told == len(ahead)


def _enough(means: pd.Series, gaps: pd.DataFrame) -> _Judged:
    simple = max(("bag of words", "probe"), key=means.get)
    gain = means[list(WAYS)].max() - means[simple]
    yield (
        f"the best fine-tuning is within {CLEAR:g} points of {simple}",
        f"{gain:+.1f}",
        bool(gain <= CLEAR),
    )
    ahead = _between(gaps, KERNEL, simple)
    alike = int(((ahead["low"] <= 0) & (ahead["high"] >= 0)).sum())
    yield (
        f"the forecast does not tell kernel regression and {simple} apart",
        f"{alike} of {len(ahead)} forecasts",
        alike == len(ahead),
    )


def _hopeless(means: pd.Series, gaps: pd.DataFrame) -> _Judged:
    best = means.idxmax()
    found = f"{best} {means[best]:.1f} %"
    yield f"no way reaches {FUTILE:g} %", found, bool(means[best] < FUTILE)
    above = gaps[gaps["worse"] == MAJORITY]["points"]
    most = above.max() if len(above) else 0.0
    yield (
        f"the forecast's best way is less than {WEAK:g} points above the largest class",
        f"{most:+.1f} at most",
        bool(most < WEAK),
    )


def _differences(study: str, task: str) -> pd.DataFrame:
    """The paired differences of the forecasts of a task."""
    runs = read_collected(study, EXPERIMENT)
    gaps = read_collected_table(study, f"{EXPERIMENT}-differences")
    return gaps.merge(runs.loc[runs["task"] == task, ["run"]], on="run")


def _between(gaps: pd.DataFrame, better: str, worse: str) -> pd.DataFrame:
    return gaps[(gaps["better"] == better) & (gaps["worse"] == worse)]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over the runs of each task and way, in the table's order.

    Args:
        table: From ``foretold`` or ``with_setfit``.

    Returns:
        Columns ``task``, ``method``, ``runs``, ``expected``, ``low`` (the lowest), ``high`` (the
        highest), ``outcome``, ``spread`` (missing for one run) and ``inside``, in words.
    """
    rows = []
    for (task, method), runs in table.groupby(["task", "method"], sort=False):
        known = runs["inside"].dropna()
        rows.append(
            {
                "task": task,
                "method": method,
                "runs": len(runs),
                "expected": runs["expected"].mean(),
                "low": runs["low"].min(),
                "high": runs["high"].max(),
                "outcome": runs["outcome"].mean(),
                "spread": runs["outcome"].std(),
                "inside": f"{int(known.sum())} of {len(known)}" if len(known) else "",
            }
        )
    return pd.DataFrame(rows)


def answer(table: pd.DataFrame, verdicts: pd.DataFrame) -> str:
    """What the page says first, in two sentences.

    Args:
        table: From ``foretold``.
        verdicts: From ``judged``.

    Returns:
        Two sentences, or one where nothing was run.
    """
    if table.empty:
        return "No forecast has been followed by training here yet: *not run*."
    known = table.dropna(subset="inside")
    plain = known[~known["method"].isin(WAYS)]
    tuned = known[known["method"].isin(WAYS)]
    true = int((verdicts["verdict"] == "came true").sum())
    run = int((verdicts["verdict"] != "not run").sum())
    of_tuned = (
        f"{int(tuned['inside'].sum())} of {len(tuned)} fine-tunings came out in the range of past "
        "tasks"
        if len(tuned)
        else "there are no past tasks to foretell fine-tuning from"
    )
    return (
        f"On {table['task'].nunique()} of 3 tasks, {int(plain['inside'].sum())} of {len(plain)} "
        f"held-out scores of ways without training lie in the interval that was foretold, and "
        f"{of_tuned}. Of {run} expectations that were written down before, {true} came true and "
        f"{run - true} were missed."
    )
