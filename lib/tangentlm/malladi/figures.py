"""Figures 1 and 2 of Malladi et al. as tables to draw, and all of our runs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from tangentlm.malladi.ledger import paper_numbers
from tangentlm.malladi.measurements import PERFORMANCE

FIGURE_1_TASKS = ("SST-2", "MR", "CR", "QNLI", "QQP", "RTE")
"""The tasks of Figure 1."""
FIGURE_2_METHODS = {
    "zero-shot": "zero-shot", "linearized Adam-FT": "Taylor model", "Adam-FT": "Adam-FT",
}  # fmt: skip
"""The three points of Figure 2, and their names on the page."""
COLUMNS = ["panel", "task", "method", "value", "low", "high"]
_ICML = "malladi2023-icml"


def figure_1(measured: pd.DataFrame, who: str, k: int = 64) -> pd.DataFrame:
    """SGD fine-tuning and its kernel, with a prompt and without (Figure 1).

    Args:
        measured: From ``measurements``; may be empty.
        who: Whose runs they are, for the panel's title.
        k: Examples a class.

    Returns:
        ``panel``, ``task``, ``method``, ``value``, ``low`` and ``high``: mean and one standard
        deviation on either side.
    """
    methods = ("SGD-FT", "K-SGD")
    paper = paper_numbers()
    paper = paper[(paper["paper"] == _ICML) & paper["table"].isin(["Table 6a", "Table 6b"])]
    paper = paper[(paper["k"] == k) & paper["method"].isin(methods)]
    parts = [
        _with_range(paper).assign(panel="RoBERTa-base, " + paper["setting"]),
    ]
    if not measured.empty:
        ours = measured[(measured["k"] == k) & measured["method"].isin(methods)]
        ours = ours[ours["prompt"].isin(["manual", ""]) & _own_metric(ours)]
        spread = ours.groupby(["setting", "title", "method"])["value"].agg(["mean", "std"])
        spread = _with_range(spread.reset_index())
        parts.append(spread.assign(panel=f"{who}, " + spread["setting"]))
    return _points(parts, FIGURE_1_TASKS)


def figure_2(measured: pd.DataFrame, who: str, k: int = 64) -> pd.DataFrame:
    """Zero-shot, Taylor model and fine-tuned accuracy (Figure 2).

    Args:
        measured: From ``measurements``; may be empty.
        who: Whose runs they are, for the panel's title.
        k: Examples a class.

    Returns:
        As ``figure_1``. Of our runs the median and the range over splits, as in the paper's
        figure; the paper's own points are the means and standard deviations of its table.
    """
    paper = paper_numbers()
    paper = paper[(paper["paper"] == _ICML) & (paper["table"] == "Table 5")]
    paper = paper[paper["k"].isin([0, k])]
    parts = [_with_range(paper).assign(panel="RoBERTa-base")]
    if not measured.empty:
        ours = measured[measured["k"].isin([0, k]) & measured["method"].isin(FIGURE_2_METHODS)]
        ours = ours[(ours["prompt"] == "manual") & (ours["metric"] == "accuracy")]
        ranges = ours.groupby(["title", "method"])["value"].agg(["median", "min", "max"])
        ranges = ranges.rename(columns={"median": "value", "min": "low", "max": "high"})
        parts.append(ranges.reset_index().assign(panel=who))
    points = _points(parts, None)
    return points.assign(method=points["method"].map(FIGURE_2_METHODS))


def every_task(measured: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Methods on every task that was run with the manual prompt, a panel for each k.

    Args:
        measured: From ``measurements``; may be empty.
        methods: The papers' names; zero-shot numbers stand in every panel.

    Returns:
        As ``figure_1``.
    """
    if measured.empty:
        return pd.DataFrame(columns=COLUMNS)
    ours = measured[measured["method"].isin(methods) & _own_metric(measured)]
    ours = ours[ours["prompt"] == "manual"]
    spread = ours.groupby(["k", "title", "method"])["value"].agg(["mean", "std"])
    spread = _with_range(spread.reset_index())
    tuned = spread[spread["k"] > 0]
    zero_shot = spread[spread["k"] == 0].drop(columns="k")
    zero_shot = zero_shot.merge(tuned[["k", "title"]].drop_duplicates(), on="title")
    both = pd.concat([zero_shot, tuned])
    both["method"] = pd.Categorical(both["method"], methods)
    both["title"] = pd.Categorical(both["title"], ours["title"].unique())
    both = both.sort_values(["k", "method", "title"]).astype({"method": str, "title": str})
    return _points([both.assign(panel="k = " + both["k"].astype(str))], None)


def _with_range(table: pd.DataFrame) -> pd.DataFrame:
    """``value`` with ``low`` and ``high`` from ``mean`` and ``std``, which may be missing."""
    half = table["std"].fillna(0.0)
    return table.assign(value=table["mean"], low=table["mean"] - half, high=table["mean"] + half)


def _own_metric(table: pd.DataFrame) -> pd.Series:
    """Performance in the task's own metric: F1 where there is one, accuracy elsewhere."""
    scored = table[table["quantity"] == PERFORMANCE]
    by_f1 = set(scored.loc[scored["metric"] == "f1", "task"])
    wanted = table["task"].map(lambda task: "f1" if task in by_f1 else "accuracy")
    return (table["quantity"] == PERFORMANCE) & (table["metric"] == wanted)


def _points(parts: list[pd.DataFrame], tasks: tuple[str, ...] | None) -> pd.DataFrame:
    points = pd.concat([part.rename(columns={"title": "task"})[COLUMNS] for part in parts])
    if tasks is not None:
        points = points[points["task"].isin(tasks)]
    return points.reset_index(drop=True)
