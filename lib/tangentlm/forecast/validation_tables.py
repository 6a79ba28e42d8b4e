"""The validation of forecasts in words and tables, for its page of the book."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from tangentlm.analysis.verdicts import FAILS, UNDECIDED, Interval
from tangentlm.forecast.bars import LEAST_TASKS, PASSES, TOO_WIDE
from tangentlm.forecast.validation import Judged, Records


def summary(records: Records, outputs: Sequence[Judged]) -> str:
    """The answer, whatever was run.

    Args:
        records: What was measured.
        outputs: As ``judged`` gives them.

    Returns:
        Two or three sentences.
    """
    ran = f"{records.tasks} of {records.planned} tasks were run"
    if not records.tasks:
        return (
            f"**{ran}**, so no output of a forecast has passed a test yet, and every report says "
            "so."
        )
    covered = [one for one in outputs if one.bar.key == "score" and one.found is not None]
    scores = ", ".join(f"{one.what} {_mean(one)}" for one in covered)
    contained = f"Intervals of 95 % contained the accuracy on new rows this often: {scores}."
    if records.tasks < LEAST_TASKS:
        return f"**{ran}**, which is too few to decide anything. {contained}"
    named = {
        verdict: [_name(one) for one in outputs if one.verdict == verdict]
        for verdict in (PASSES, TOO_WIDE, FAILS, UNDECIDED)
    }
    counts = [f"{len(named[PASSES])} passed the test that was written down before"]
    counts += [
        f"{words}: {', '.join(named[verdict])}"
        for verdict, words in ((TOO_WIDE, "too wide"), (FAILS, "failed"))
        if named[verdict]
    ]
    counts.append(f"{len(named[UNDECIDED])} are undecided")
    untested = len(outputs) - sum(map(len, named.values()))
    if untested:
        counts.append(f"{untested} could not be judged")
    return f"Of {len(outputs)} outputs of a forecast {'; '.join(counts)} ({ran}). {contained}"


def in_words(outputs: Sequence[Judged]) -> pd.DataFrame:
    """Every output, what was promised, what was measured, and what follows.

    Args:
        outputs: As ``judged`` gives them.

    Returns:
        A row for each, all cells as text.
    """
    return pd.DataFrame(
        [
            {
                "output": _name(one),
                "what is measured": one.bar.measured,
                "bar": one.bar.in_words,
                "mean over tasks": _mean(one) if one.found else "",
                "interval": _ends(one.found, one.bar.unit),
                "if splits were independent": _ends(one.wilson, one.bar.unit),
                "tasks": str(one.tasks),
                "measurements": str(one.count),
                "verdict": one.verdict,
                "what follows": one.follows,
            }
            for one in outputs
        ]
    )


def covered_by_task(records: Records) -> pd.DataFrame:
    """How often the intervals of accuracies contain what is true, task by task.

    Args:
        records: What was measured.

    Returns:
        A row a task, a column a way, percent; empty where nothing was run.
    """
    if records.intervals.empty:
        return pd.DataFrame()
    scores = records.intervals[records.intervals["output"] == "score"]
    ways = list(dict.fromkeys(scores["what"]))
    table = scores.pivot_table(index="task", columns="what", values="inside")[ways]
    return table.rename_axis(columns=None).add_suffix(" (%)").reset_index()


def found_by_length(records: Records) -> pd.DataFrame:
    """The share of planted copies that were found, by edit and by the least number of words.

    Args:
        records: What was measured.

    Returns:
        A row an edit, a column a length, percent; empty where nothing was run.
    """
    if records.copies.empty:
        return pd.DataFrame()
    sums = records.copies.groupby(["edit", "words"], sort=False)[["planted", "found"]].sum()
    shares = (100 * sums["found"] / sums["planted"]).unstack("words").sort_index(axis=1)
    shares.columns = [f"from {words} words (%)" for words in shares.columns]
    return shares.reset_index()


def _name(one: Judged) -> str:
    return f"{one.bar.output}: {one.what}" if one.what else one.bar.output


def _mean(one: Judged) -> str:
    return "" if one.found is None else f"{one.found.estimate:.3g} {one.bar.unit}".rstrip()


def _ends(interval: Interval | None, unit: str) -> str:
    if interval is None or pd.isna(interval.low):
        return ""
    return f"{interval.low:.3g} to {interval.high:.3g} {unit}".rstrip()
