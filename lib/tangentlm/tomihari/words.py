"""What the controls say, in words: how much of "LP-FT moves features less" is what."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from tangentlm.analysis.verdicts import FAILS, HOLDS, NOT_RUN

CONTROLS = {
    "4a": "LP-FT at the paper's ratio of rates",
    "4b": "LP-FT at FT's own rate",
    "4c": "LP-FT at the same training loss",
    "4d": "a random head at LP's norm",
    "4e": "LP's head at the initial norm",
}
"""The claims whose number is the log of a ratio of changes of features, and what is beside FT."""


def change_ratios(tested: pd.DataFrame) -> pd.DataFrame:
    """How far each control moves the features, over how far FT does.

    Args:
        tested: From ``tangentlm.tomihari.claims.judge_claims``.

    Returns:
        A row for each control and data set: ``beside FT``, ``data``, ``ratio`` with the ends of its
        interval, ``seeds`` and ``verdict`` in words; a control without runs has one row.
    """
    rows = []
    for number, name in CONTROLS.items():
        for row in tested[tested["claim"].str.startswith(f"{number} ")].itertuples():
            rows.append(
                {
                    "beside FT": name, "data": row.dataset, "ratio": _exp(row.value),
                    "low": _exp(row.low), "high": _exp(row.high), "seeds": row.seeds,
                    "verdict": _verdict(str(row.verdict)),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _verdict(verdict: str) -> str:
    words = {HOLDS: "moves them less", FAILS: "does not move them less", NOT_RUN: NOT_RUN}
    return words.get(verdict, f"not told apart ({verdict})")


def control_sentences(ratios: pd.DataFrame, dataset: str) -> str:
    """The controls of one data set as sentences.

    Args:
        ratios: From ``change_ratios``.
        dataset: The paper's name.

    Returns:
        Text; of what was not run it says so.
    """
    own = ratios[ratios["data"] == dataset].set_index("beside FT")
    parts = [_sentence(name, own) for name in CONTROLS.values()]
    return f"**{dataset}.** " + " ".join(parts)


def _sentence(name: str, own: pd.DataFrame) -> str:
    subject = name[0].upper() + name[1:]
    if name not in own.index:
        return f"{subject}: not run."
    row = own.loc[name]
    ends = f" (95 % interval {row['low']:.2g} to {row['high']:.2g})"
    if not math.isfinite(row["low"]):
        ends = f" ({int(row['seeds'])} seed(s), too few for an interval)"
    return f"{subject} moves them by {row['ratio']:.2g} of what FT does{ends}."


def opening(ratios: pd.DataFrame, learned: list[str]) -> str:
    """One sentence for a busy reader.

    Args:
        ratios: From ``change_ratios``.
        learned: The data sets on which FT learns the task.

    Returns:
        Text, with the numbers of the data sets on which FT learns; of all, with a warning, where
        that is known of none.
    """
    run = ratios.dropna(subset="ratio")
    if run.empty:
        return "Nothing was run yet."
    known = run[run["data"].isin(learned)]
    told = run if known.empty else known
    sentences = [
        _opening(number, told[told["beside FT"] == CONTROLS[number]]) for number in ("4a", "4b")
    ]
    warning = "There are too few seeds for a verdict yet." if known.empty else ""
    return " ".join(filter(None, (*sentences, warning)))


def _opening(number: str, rows: pd.DataFrame) -> str:
    start: Mapping[str, str] = {
        "4a": "With the paper's ratio of rates, LP-FT moves the features of test samples by",
        "4b": "At FT's own rate it moves them by",
    }
    if rows.empty:
        return ""
    listed = "; ".join(
        f"{row.ratio:.2g} of what FT does on {row.data} ({_bounds(row)})"
        for row in rows.itertuples()
    )
    return f"{start[number]} {listed}."


def _bounds(row: Any) -> str:
    low, high, seeds = row.low, row.high, int(row.seeds)
    if not math.isfinite(low):
        return f"{seeds} seed(s)"
    return f"{low:.2g} to {high:.2g}, {seeds} seeds"


def _exp(value: float) -> float:
    return math.exp(value) if math.isfinite(value) else math.nan
