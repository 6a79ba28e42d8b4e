"""Line plots: columns of a table over another one."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from tangentlm.figures.style import INK, MARKERS, subplots


def lines(
    table: pd.DataFrame,
    x: str,
    ys: Mapping[str, str],
    *,
    labels: tuple[str, str],
    band: tuple[float, float, str] | None = None,
    **axis: Any,
) -> Figure:
    """Several columns of a table over one, with markers.

    Args:
        table: The data; a table without rows gives a figure that says "not run".
        x: The column for the horizontal axis.
        ys: The columns that are drawn, each with its name in the legend.
        labels: What stands at the horizontal and at the vertical axis.
        band: From where to where on the horizontal axis a band is shaded, and its legend entry.
        **axis: Further settings of the axes, e.g. ``xscale="log"``.

    Returns:
        The figure.
    """
    figure, axes = subplots()
    if table.empty:
        axes.text(0.5, 0.5, "not run", ha="center", transform=axes.transAxes)
        ys = {}
    for (column, label), marker in zip(ys.items(), cycle(MARKERS), strict=False):
        axes.plot(table[x], table[column], marker=marker, markersize=4, label=label)
    if band is not None:
        axes.axvspan(band[0], band[1], color=INK, alpha=0.2, linewidth=0, label=band[2])
    axes.set(xlabel=labels[0], ylabel=labels[1], **axis)
    if len(ys) > 1 or band is not None:
        axes.legend()
    return figure


def training_curves(table: pd.DataFrame) -> Figure:
    """Training loss and dev score along fine-tuning, a line for each grid point.

    Args:
        table: Columns ``point``, ``step``, ``train_loss``, ``dev_score``.

    Returns:
        The figure.
    """
    figure, (left, right) = subplots(1, 2, figsize=(7.4, 3.2))
    for point, rows in table.groupby("point", sort=False):
        left.plot(rows["step"], rows["train_loss"], label=point)
        right.plot(rows["step"], rows["dev_score"], label=point)
    left.set(xlabel="step", ylabel="training loss (nats)")
    right.set(xlabel="step", ylabel="dev score (%)")
    right.legend(fontsize=8)
    return figure


def pretraining_curve(
    table: pd.DataFrame, chance: float | None = None, *, over: Literal["tokens", "step"] = "tokens"
) -> Figure:
    """The loss of a pre-training over the tokens seen, or over the steps.

    Args:
        table: Columns ``tokens`` or ``step``, ``loss`` and, where it was measured,
            ``held_out_loss``; without rows where the training ended before its first point.
        chance: The loss that word frequencies alone give, where it is known.
        over: The column of the horizontal axis.

    Returns:
        The figure.
    """
    figure, axes = subplots()
    if not table.empty:
        x = table["tokens"] / 1e6 if over == "tokens" else table["step"]
        axes.plot(x, table["loss"], linewidth=1, label="training")
        if "held_out_loss" in table:
            axes.plot(x, table["held_out_loss"], MARKERS[0], markersize=5, label="held out")
    if chance is not None:
        axes.axhline(chance, color=INK, linewidth=1, linestyle="--", label="word frequencies alone")
    name = "million tokens seen" if over == "tokens" else "step"
    axes.set(xlabel=name, ylabel="loss (nats a masked token)")
    if not table.empty or chance is not None:
        axes.legend()
    return figure
