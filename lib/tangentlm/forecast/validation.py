"""Which outputs of a forecast can be trusted: the records of study ``forecast``, over tasks.

A number is computed for each task from all of its splits; splits of a task share rows, so only
tasks count as independent. The interval of the mean is Student's t over tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from tangentlm.analysis.intervals import interval_of_mean, interval_of_share
from tangentlm.analysis.verdicts import FAILS, UNDECIDED, Interval
from tangentlm.forecast.bars import BARS, PASSES, TOO_WIDE, Bar
from tangentlm.params import ForecastValidationRun, load_study
from tangentlm.studies.collect import read_collected, read_collected_table

STUDY, EXPERIMENT = "forecast", "forecast_validation"
WITHIN = 0.25
"""How far predicted seconds may be from measured ones, relative to these."""
LONG_ENOUGH = 10
"""Words from which on a copy has to be found."""
TABLES = ("intervals", "suspects", "copies", "times")


@dataclass(frozen=True)
class Records:
    """What was measured, each table with the column ``task``.

    Attributes:
        runs: A row a run.
        intervals: A row for each interval of a forecast, with the column ``inside``.
        suspects: A row a split.
        copies: A row for each run, edit and length.
        times: A row for each run and prediction.
        planned: How many runs the study has.
    """

    runs: pd.DataFrame
    intervals: pd.DataFrame
    suspects: pd.DataFrame
    copies: pd.DataFrame
    times: pd.DataFrame
    planned: int

    @property
    def tasks(self) -> int:
        """How many tasks there are records of."""
        return self.runs["task"].nunique() if len(self.runs) else 0


@dataclass(frozen=True)
class Judged:
    """An output after its test.

    Attributes:
        bar: What it promised.
        what: Which of several, e.g. ``"probe"``; empty where there is one.
        tasks: Over how many tasks.
        count: How many single measurements.
        found: The mean over tasks; ``None`` where nothing was measured.
        wilson: Of coverage, the interval that one would have if all splits were independent.
        verdict: As ``Bar.verdict`` says.
    """

    bar: Bar
    what: str
    tasks: int
    count: int
    found: Interval | None
    wilson: Interval | None
    verdict: str

    @property
    def follows(self) -> str:
        """What follows for the report."""
        return {
            PASSES: "stays", TOO_WIDE: "stays: too careful", FAILS: "the report warns of it",
            UNDECIDED: "the report says so",
        }.get(self.verdict, "the report says that it is not tested")  # fmt: skip


def read_records() -> Records:
    """The records of the study, as collected.

    Returns:
        Tables; empty ones where nothing was run.
    """
    planned = [run for run in load_study(STUDY) if isinstance(run, ForecastValidationRun)]
    runs = read_collected(STUDY, EXPERIMENT)
    if len(runs):  # a row of smaller forecasts would say nothing of those that are planned
        runs = runs[runs["train_size"].isin({run.train_size for run in planned})]
    tasks = dict(zip(runs["run"], runs["task"], strict=True)) if len(runs) else {}
    found = {}
    for name in TABLES:
        table = read_collected_table(STUDY, f"{EXPERIMENT}-{name}")
        if len(table):
            table = table.assign(task=table["run"].map(tasks)).dropna(subset=["task"])
        found[name] = table
    intervals = found["intervals"]
    if len(intervals):
        inside = intervals["truth"].between(intervals["low"], intervals["high"])
        found["intervals"] = intervals.assign(inside=100.0 * inside)
    return Records(runs, **found, planned=len(planned))


def judged(records: Records) -> list[Judged]:
    """Every output beside its bar.

    Args:
        records: What was measured.

    Returns:
        In the order of ``BARS``; coverage once for each way, difference or curve.
    """
    found = []
    for bar in BARS:
        if bar.is_coverage:
            found += _coverages(bar, records.intervals)
        else:
            values = _MEASURES[bar.key](records)
            found.append(_judged(bar, "", values.dropna(subset=["value"])))
    return found


def _coverages(bar: Bar, intervals: pd.DataFrame) -> list[Judged]:
    if intervals.empty or not (intervals["output"] == bar.key).any():
        return [Judged(bar, "", 0, 0, None, None, bar.verdict(None, 0))]
    own = intervals[intervals["output"] == bar.key].rename(columns={"inside": "value"})
    return [_judged(bar, str(what), rows) for what, rows in own.groupby("what", sort=False)]


def _judged(bar: Bar, what: str, values: pd.DataFrame) -> Judged:
    """The mean over tasks of the means of ``value``."""
    if values.empty:
        return Judged(bar, what, 0, 0, None, None, bar.verdict(None, 0))
    by_task = values.groupby("task")["value"].mean()
    found = interval_of_mean(by_task)
    if bar.unit == "%":
        found = Interval(found.estimate, max(found.low, 0.0), min(found.high, 100.0))
    wilson = None
    if bar.is_coverage:
        share = interval_of_share(int((values["value"] > 0).sum()), len(values))
        wilson = Interval(100 * share.estimate, 100 * share.low, 100 * share.high)
    verdict = bar.verdict(found, len(by_task))
    return Judged(bar, what, len(by_task), len(values), found, wilson, verdict)


def _values(table: pd.DataFrame, value: Callable[[pd.DataFrame], pd.Series]) -> pd.DataFrame:
    """The tasks and a value for each row of a table; none of an empty one."""
    if table.empty:
        return pd.DataFrame(columns=["task", "value"])
    return pd.DataFrame({"task": table["task"], "value": value(table).astype(float)})


def _listed(records: Records) -> pd.DataFrame:
    """The splits on which a forecast would list suspects."""
    rows = records.suspects
    return rows[rows["listed"] == 1] if len(rows) else rows


def _of_copies(records: Records, least: int, whole: tuple[str, ...]) -> pd.DataFrame:
    """The share of copies that were found, of ``planted`` or of ``found`` and ``wrong``."""
    rows = records.copies
    if rows.empty:
        return _values(rows, lambda table: table["found"])
    own = rows[rows["words"] >= least]
    sums = own.groupby(["run", "task"], as_index=False)[["planted", "found", "wrong"]].sum()
    return _values(sums, lambda table: 100 * table["found"] / table[list(whole)].sum(axis=1))


def _in_time(records: Records, itself: bool) -> pd.DataFrame:
    rows = records.times
    if len(rows):
        rows = rows[(rows["what"] == "the forecast itself") == itself]
    return _values(
        rows,
        lambda t: 100.0 * ((t["predicted_seconds"] / t["measured_seconds"] - 1).abs() <= WITHIN),
    )


_MEASURES: dict[str, Callable[[Records], pd.DataFrame]] = {
    "left_out": lambda r: _values(r.suspects, lambda t: t["left_out"] - t["held_out"]),
    "auroc": lambda r: _values(_listed(r), lambda t: t["auroc"]),
    "beside_cleanlab": lambda r: _values(_listed(r), lambda t: t["auroc"] - t["cleanlab_auroc"]),
    "copies_found": lambda r: _of_copies(r, LONG_ENOUGH, ("planted",)),
    "copies_right": lambda r: _of_copies(r, 0, ("found", "wrong")),
    "steps": lambda r: _in_time(r, itself=False),
    "minutes": lambda r: _in_time(r, itself=True),
}
"""A value for each row, by the bar's key."""


def doubts(found: list[Judged]) -> tuple[str, ...]:
    """What a report has to say of outputs that did not pass.

    Args:
        found: As ``judged`` gives them.

    Returns:
        A sentence for each that fails or is undecided; one for all that are not tested yet.
    """
    wanting: dict[tuple[Bar, str, int], list[str]] = {}
    for one in found:
        if one.verdict in (FAILS, UNDECIDED) and one.found is not None:
            which = f" ({one.what})" if one.what else ""
            value = f"{one.found.estimate:.3g} {one.bar.unit}".rstrip() + which
            wanting.setdefault((one.bar, one.verdict, one.tasks), []).append(value)
    sentences = [
        f"Whether it keeps its promise: {bar.output}. On {tasks} tasks whose answers were known, "
        f"{bar.measured} was {', '.join(values)} instead of {bar.in_words}"
        f"{'' if verdict == FAILS else ', which may be chance'}."
        for (bar, verdict, tasks), values in wanting.items()
    ]
    known = (PASSES, TOO_WIDE, FAILS, UNDECIDED)
    untested = list(dict.fromkeys(one.bar.output for one in found if one.verdict not in known))
    if untested:
        sentences.append(
            "Whether these outputs hold what they promise, since they have not been tested on "
            f"enough tasks: {'; '.join(untested)}."
        )
    return tuple(sentences)
