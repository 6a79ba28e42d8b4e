"""The paper's tables and Figure 1 in their own layout, ours beside them."""

from __future__ import annotations

import pandas as pd

from tangentlm.afzal.ledger import KAPPA, MEASURES, reported
from tangentlm.analysis.verdicts import NOT_RUN

_LOSSES = [name for name in MEASURES.values() if name != KAPPA]


def table_1(ledger: pd.DataFrame) -> pd.DataFrame:
    """Condition number, losses and accuracy for each choice of layers.

    Args:
        ledger: From ``tangentlm.afzal.ledger.compare``.

    Returns:
        ``task``, ``layers``, ``paper``, ``ours`` (median and range of the condition number, in
        words), the paper's losses and accuracy, and ``ours, losses``, which are not run.
    """
    first = ledger[ledger["table"] == "Table 1"]
    keys = ["title", "choice"]
    wide = first.set_index([*keys, "quantity"])["paper"].unstack(sort=False)
    kappa = first[first["quantity"] == KAPPA].set_index(keys)
    digits = dict.fromkeys(_LOSSES, "{:.4f}") | {"evaluation accuracy": "{:.2f}", KAPPA: "{:,.10g}"}
    for quantity, form in digits.items():
        wide[quantity] = wide[quantity].map(form.format)  # as printed
    table = wide.reset_index().rename(columns={"title": "task", "choice": "layers", KAPPA: "paper"})
    ours = [in_words(*kappa.loc[key, ["ours", "low", "high"]]) for key in wide.index]
    return table.assign(ours=ours, **{"ours, losses": NOT_RUN})[
        ["task", "layers", "paper", "ours", *_LOSSES, "ours, losses"]
    ]


def in_words(median: float, low: float, high: float) -> str:
    """A median and its range, for a table.

    Example:
        >>> in_words(12.3, 9.87, 1234.0)
        '12.3 (9.87 to 1,230)'

    Args:
        median: NaN where nothing was run.
        low: The least value.
        high: The largest.

    Returns:
        Words with three digits each.
    """
    if pd.isna(median):
        return NOT_RUN
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
        five choices, for how many samples of how many tokens; our fine-tuning is not run.
    """
    paper = reported(2).rename(columns={"task": "title"})
    paper["ratio"] = paper["fine_tuning_seconds"] / paper["ntk_seconds"]
    if seconds.empty:
        return paper
    return paper.merge(seconds, on="title", how="left").assign(ours_fine_tuning=NOT_RUN)


def figure_1() -> pd.DataFrame:
    """The points of Figure 1: (a, b) of queries and values, (c) of keys, layers {0,5,11}.

    Returns:
        ``panel``, ``task``, ``kappa`` and ``value``. Of panel (a), the convergence over steps, the
        paper prints no number.
    """
    table = reported(1)
    table = table[table["lora_layers"] == "0+5+11"]
    parts = []
    for panel, projections, column in (
        ("(b) train loss, q+v", "query+value", "train_loss"),
        ("(c) evaluation accuracy, k", "key", "eval_accuracy"),
    ):
        rows = table[table["lora_projections"] == projections]
        parts.append(
            pd.DataFrame(
                {
                    "panel": panel, "task": rows["task"], "kappa": rows["condition_number"],
                    "value": rows[column],
                }
            )
        )  # fmt: skip
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
