"""What Malladi et al. claim, as statements that numbers can contradict.

Before them stands a condition of ours: where fine-tuning learns nothing, a kernel that matches it
says nothing.

A claim is tested task by task and k by k. Its statistic is a number for each split, paired within
the split; its mean has a 95 % interval (Student's t over splits). The claim holds where the whole
interval does what it says, fails where none of it does, and is undecided otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from tangentlm.analysis.intervals import interval_of_mean
from tangentlm.analysis.verdicts import HOLDS, NOT_RUN, VERDICTS
from tangentlm.malladi.measurements import PERFORMANCE
from tangentlm.studies.collect import read_collected_table

SIMILAR = 4.0
"""Points within which two methods count as comparable. The paper says so of SGD and Adam; of other
pairs it says "similar", and the same margin is ours."""
SOLVES = 0.90
"""The share of fine-tuning's performance from which the kernel solves a task."""
SENTIMENT = ("sst2", "mr", "cr")
PROMPTED = (*SENTIMENT, "qnli", "rte", "qqp")
"""The tasks of Figure 1."""
MANUAL_PROMPT = {"setting": "prompt", "prompt": "manual"}
_STANDARD = {"setting": "standard", "prompt": ""}
_NULL = {"setting": "prompt", "prompt": "null"}
_KEYS = ["task", "title", "k", "seed"]


@dataclass(frozen=True)
class Claim:
    """A statement of the paper.

    Attributes:
        name: What a table's row is called.
        says: What the paper says, in our words.
        where: Table or section of the ICML version.
        statistic: From measurements to a column ``value`` for each task, k and split.
        low: The least value of the statistic for which the claim holds.
        high: The largest.
    """

    name: str
    says: str
    where: str
    statistic: Callable[[pd.DataFrame], pd.DataFrame]
    low: float
    high: float


def scores(table: pd.DataFrame, method: str, quantity: str = PERFORMANCE, **same: str) -> pd.Series:
    """A quantity of a method; its performance is in the tasks' own metrics.

    Args:
        table: From ``measurements``.
        method: The paper's name.
        quantity: One of those that ``measurements`` names.
        **same: Further columns and their values, e.g. ``setting="prompt"``.

    Returns:
        Values with the index task, title, k, seed.
    """
    if table.empty:
        return pd.Series(dtype=float)
    chosen = (table["method"] == method) & (table["quantity"] == quantity)
    for column, value in same.items():
        chosen &= table[column] == value
    # A task scored by F1 has its accuracy as well, which comes after it.
    return table[chosen].drop_duplicates(_KEYS).set_index(_KEYS)["value"]


def points_ahead(
    table: pd.DataFrame, first: str, second: str, same: Mapping[str, str] = MANUAL_PROMPT
) -> pd.DataFrame:
    """How many points a method is ahead of another, split by split.

    Args:
        table: From ``measurements``.
        first: The paper's name of the method that may be ahead.
        second: And of the other one.
        same: Setting and prompt, which both methods share.

    Returns:
        ``task``, ``title``, ``k``, ``seed`` and ``value``, for the splits that both have.
    """
    return _frame(scores(table, first, **same) - scores(table, second, **same))


def _frame(values: pd.Series) -> pd.DataFrame:
    present = values.dropna()
    if present.empty:
        return pd.DataFrame(columns=[*_KEYS, "value"])
    return present.rename("value").reset_index()


def _gap_grows(
    table: pd.DataFrame, other: Mapping[str, str], tasks: tuple[str, ...]
) -> pd.DataFrame:
    """By how much fine-tuning is further ahead of the kernel than with the manual prompt."""

    def gap(same: Mapping[str, str]) -> pd.Series:
        return scores(table, "SGD-FT", **same) - scores(table, "K-SGD", **same)

    grows = _frame(gap(other) - gap(MANUAL_PROMPT))
    return grows[grows["task"].isin(tasks)]


def _solved(table: pd.DataFrame, kernel: str, tuning: str) -> pd.DataFrame:
    """The kernel's performance beyond the share of fine-tuning's that solves a task."""
    return _frame(
        scores(table, kernel, **MANUAL_PROMPT) - SOLVES * scores(table, tuning, **MANUAL_PROMPT)
    )


def _learned(table: pd.DataFrame, tuning: str) -> pd.DataFrame:
    """Accuracy beyond that of the model before, and of always giving the most frequent answer."""
    accuracy = {"metric": "accuracy", **MANUAL_PROMPT}
    right = scores(table, tuning, **accuracy)
    if right.empty:
        return _frame(right)
    zero_shot = scores(table, "zero-shot", **accuracy).groupby("task").mean()
    counted = read_collected_table("data", "tasks").reindex(columns=["task", "most_frequent"])
    known = pd.concat([zero_shot, counted.set_index("task")["most_frequent"]], axis=1).max(axis=1)
    return _frame(right - known.reindex(right.index, level="task"))


def _solving(kernel: str, tuning: str) -> Claim:
    return Claim(
        f"{kernel} solves the task",
        f"The kernel reaches {100 * SOLVES:.0f} % of what {tuning} reaches.",
        "Table 1",
        lambda table: _solved(table, kernel, tuning),
        0.0,
        math.inf,
    )


def _comparing(
    name: str, first: str, second: str, where: str, *, whose: str = "our margin"
) -> Claim:
    return Claim(
        name,
        f"{first} and {second} differ by at most {SIMILAR:g} points ({whose}).",
        where,
        lambda table: points_ahead(table, first, second),
        -SIMILAR,
        SIMILAR,
    )


LEARNS = "SGD-FT learns the task"
CLAIMS = (
    Claim(
        LEARNS,
        "SGD-FT is more often right than the model before it and than the most frequent answer.",
        "our condition",
        lambda table: _learned(table, "SGD-FT"),
        0.0,
        math.inf,
    ),
    Claim(
        "prompting is needed",
        "Without a prompt, fine-tuning is further ahead of the kernel than with one.",
        "Figure 1, Table 6",
        lambda table: _gap_grows(table, _STANDARD, PROMPTED),
        0.0,
        math.inf,
    ),
    _solving("K-SGD", "SGD-FT"),
    _solving("K-A-SignGD", "Adam-FT"),
    _comparing(
        "SGD is as good as Adam", "SGD-FT", "Adam-FT", "Section 6, Table 2", whose="the paper's"
    ),
    _comparing("SignGD is as good as Adam", "SignGD-FT", "Adam-FT", "Table 10"),
    _comparing("LoRA is as good as full fine-tuning", "SGD-LoRA-FT", "SGD-FT", "Table 12"),
    _comparing("LoRA keeps the kernel", "K-LoRA-SGD", "K-SGD", "Table 12"),
    Claim(
        "null prompts lose the kernel",
        "On sentiment, the kernel falls further behind fine-tuning with a null prompt.",
        "Table 9",
        lambda table: _gap_grows(table, _NULL, SENTIMENT),
        0.0,
        math.inf,
    ),
)


def judge_claims(table: pd.DataFrame) -> pd.DataFrame:
    """Every claim, for every task and k that it can be tested on.

    Args:
        table: From ``measurements``.

    Returns:
        ``claim``, ``says``, ``where``, ``least`` and ``most`` (between which it holds), ``task``,
        ``k``, ``splits``, ``value`` (the mean of the statistic), ``low``, ``high`` and ``verdict``;
        a claim without runs has one row, "not run".
    """
    rows: list[dict[str, object]] = []
    for claim in CLAIMS:
        about = {
            "claim": claim.name, "says": claim.says, "where": claim.where,
            "least": claim.low, "most": claim.high,
        }  # fmt: skip
        values = claim.statistic(table)
        if values.empty:
            rows.append({**about, "verdict": NOT_RUN})
        for (title, k), group in _in_order(values, table).groupby(["title", "k"], sort=False):
            mean = interval_of_mean(group["value"])
            rows.append(
                {
                    **about, "task": title, "k": k, "splits": len(group),
                    "value": mean.estimate, "low": mean.low, "high": mean.high,
                    "verdict": mean.verdict(claim.low, claim.high),
                }
            )  # fmt: skip
    of_claim = ["claim", "says", "where", "least", "most"]
    of_task = ["task", "k", "splits", "value", "low", "high", "verdict"]
    return pd.DataFrame(rows).reindex(columns=[*of_claim, *of_task])


def _in_order(values: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The tasks as they come in the measurements; a difference may have sorted them by name."""
    if values.empty:
        return values
    place = {title: i for i, title in enumerate(table["title"].unique())}
    return values.sort_values("title", key=lambda titles: titles.map(place), kind="stable")


def where_it_learns(tested: pd.DataFrame) -> pd.DataFrame:
    """The claims on those tasks and k on which fine-tuning learns the task.

    Args:
        tested: From ``judge_claims``.

    Returns:
        Rows of the table.
    """
    learned = tested[(tested["claim"] == LEARNS) & (tested["verdict"] == HOLDS)]
    return tested.merge(learned[["task", "k"]], on=["task", "k"])


def claims_in_short(tested: pd.DataFrame) -> pd.DataFrame:
    """For every claim, on how many tasks it holds and fails.

    Args:
        tested: From ``judge_claims``.

    Returns:
        ``claim``, ``says``, ``where``, and the numbers of tasks and k by verdict.
    """
    about = ["claim", "says", "where"]
    counts = tested.groupby([*about, "verdict"], sort=False).size().unstack(fill_value=0)
    return counts.reindex(columns=list(VERDICTS), fill_value=0).reset_index()
