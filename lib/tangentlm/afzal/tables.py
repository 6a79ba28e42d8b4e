"""The paper's tables and Figure 1 in their own layout, ours beside them."""

from __future__ import annotations

import pandas as pd

from tangentlm.afzal.fine_tunings import ALL_LAYERS, CONTROL
from tangentlm.afzal.ledger import KAPPA, MEASURES, reported
from tangentlm.analysis.verdicts import NOT_RUN

_LOSSES = [name for name in MEASURES.values() if name != KAPPA]


def table_1(ledger: pd.DataFrame) -> pd.DataFrame:
    """Condition number, losses and accuracy for each choice of layers, the paper's beside ours.

    Args:
        ledger: From ``tangentlm.afzal.ledger.compare``.

    Returns:
        ``task``, ``layers``, and for each measure the paper's and ours: of the condition number the
        median and range over heads and draws, of the others the mean and range over seeds, in
        words; ``trained``, what the others of ours are of.
    """
    first = ledger[ledger["table"] == "Table 1"]
    keys = ["title", "choice"]
    by = first.set_index([*keys, "quantity"])
    digits = dict.fromkeys(_LOSSES, "{:.4f}") | {"evaluation accuracy": "{:.2f}", KAPPA: "{:,.10g}"}
    rows = []
    for title, choice in first[keys].drop_duplicates().itertuples(index=False):
        row = {"task": title, "layers": choice}
        for quantity in (KAPPA, *_LOSSES):
            cell = by.loc[title, choice, quantity]
            row[f"{quantity}, paper"] = digits[quantity].format(cell["paper"])  # as printed
            row[f"{quantity}, ours"] = in_words(*cell[["ours", "low", "high"]])
        rows.append(row | {"trained": _model_of(by.loc[title, choice, _LOSSES[0]])})
    return pd.DataFrame(rows)


def _model_of(cell: pd.Series) -> str:
    return "" if pd.isna(cell["ours"]) else str(cell["reason"]).removeprefix("another model: ")


def own_table(own: pd.DataFrame) -> pd.DataFrame:
    """Our fine-tunings at the choices that stand for the paper's, for all our tasks.

    Args:
        own: From ``tangentlm.afzal.fine_tunings.in_paper_words``.

    Returns:
        ``task``, ``model``, ``choice`` (the paper's words), ``subset`` (our layers), ``kappa``,
        ``train loss``, ``evaluation loss`` and ``evaluation accuracy`` (mean and range over seeds,
        in words) and ``seeds``. Tasks with no more than the control and all layers are left out.
    """
    if own.empty:
        return pd.DataFrame()
    few = own["choice"].isin([CONTROL, ALL_LAYERS])
    wide = ~few.groupby([own["title"], own["model"]]).transform("all")
    rows = own[wide].rename(columns={"title": "task"})
    table = rows[["task", "model", "choice", "subset"]].copy()
    names = {"kappa": "kappa", "train_loss": "train loss", "eval_loss": "evaluation loss"}
    for column, words in (names | {"accuracy": "evaluation accuracy"}).items():
        spread = rows[[column, f"{column}_low", f"{column}_high"]]
        cells = [in_words(*values) for values in spread.itertuples(index=False)]
        table[words] = ["" if cell == NOT_RUN else cell for cell in cells]
    return table.assign(seeds=rows["seeds"]).reset_index(drop=True)


def in_words(median: float, low: float, high: float) -> str:
    """A median and its range, for a table.

    Example:
        >>> in_words(12.3, 9.87, 1234.0)
        '12.3 (9.87 to 1,230)'

    Args:
        median: Or the mean; NaN where nothing was run.
        low: The least value.
        high: The largest.

    Returns:
        Words with three digits each; without a range where it has no width.
    """
    if pd.isna(median):
        return NOT_RUN
    if low == high:
        return _three_digits(median)
    return f"{_three_digits(median)} ({_three_digits(low)} to {_three_digits(high)})"


def _three_digits(value: float) -> str:
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:.3g}"


def table_2(seconds: pd.DataFrame) -> pd.DataFrame:
    """Seconds of fine-tuning and of kernels.

    Args:
        seconds: From ``tangentlm.afzal.measurements.seconds``.

    Returns:
        The paper's seconds and their ``ratio``; ours of the keys' kernel alone, of one pass for all
        five choices and how many times as long that is (``ratio_ours``), for how many samples of
        how many tokens.
    """
    paper = reported(2).rename(columns={"task": "title"})
    paper["ratio"] = paper["fine_tuning_seconds"] / paper["ntk_seconds"]
    if seconds.empty:
        return paper
    both = paper.merge(seconds, on="title", how="left")
    return both.assign(ratio_ours=both["all_subsets_seconds"] / both["one_subset_seconds"])


FIGURE_1 = {
    "mean_train_loss": "(a) mean loss of training", "train_loss": "(b) train loss",
    "accuracy": "(c) evaluation accuracy",
}  # fmt: skip
"""The panels of Figure 1. What the paper draws in (a), the loss over steps, has no printed numbers;
its mean over all steps says how fast it falls."""


def figure_1() -> pd.DataFrame:
    """The points of Figure 1: (b) of queries and values, (c) of keys, layers {0,5,11}.

    Returns:
        ``panel``, ``task``, ``kappa`` and ``value``. Of panel (a), the convergence over steps, the
        paper prints no number.
    """
    table = reported(1)
    table = table[table["lora_layers"] == "0+5+11"]
    parts = []
    for projections, column, panel in (
        ("query+value", "train_loss", "train_loss"), ("key", "eval_accuracy", "accuracy"),
    ):  # fmt: skip
        rows = table[table["lora_projections"] == projections]
        points = {"task": rows["task"], "kappa": rows["condition_number"], "value": rows[column]}
        parts.append(pd.DataFrame({"panel": FIGURE_1[panel], **points}))
    return pd.concat(parts, ignore_index=True)


def own_figure_1(own: pd.DataFrame, model: str = "pocket") -> pd.DataFrame:
    """Our points of Figure 1: tasks of two classes, queries and values of all layers.

    Args:
        own: From ``tangentlm.afzal.fine_tunings.in_paper_words``.
        model: Whose.

    Returns:
        As ``figure_1``, with the three panels, of means over seeds; empty where nothing was run.
    """
    if own.empty:
        return pd.DataFrame()
    # More classes have a kernel of more outputs, so its condition number is another measure.
    rows = own[(own["model"] == model) & (own["choice"] == ALL_LAYERS) & (own["num_classes"] == 2)]
    rows = rows.dropna(subset=["kappa", *FIGURE_1])
    parts = [
        pd.DataFrame(
            {"panel": panel, "task": rows["title"], "kappa": rows["kappa"], "value": rows[column]}
        )
        for column, panel in FIGURE_1.items()
    ]
    return pd.concat(parts, ignore_index=True)


def within_tasks() -> pd.DataFrame:
    """The same measures over all choices of layers, as distances from the task's mean.

    Returns:
        ``panel`` (an outcome), ``task``, ``kappa``, and ``value``, less the mean of the task.
    """
    table = reported(1)
    parts = []
    for column, words in MEASURES.items():
        if column == "condition_number":
            continue
        value = table[column] - table.groupby("task")[column].transform("mean")
        parts.append(
            pd.DataFrame(
                {
                    "panel": f"{words}, less the task's mean", "task": table["task"],
                    "kappa": table["condition_number"], "value": value,
                }
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)
