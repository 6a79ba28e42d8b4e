"""Bars: parts of a whole, and how often a value occurs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tangentlm.errors import InputError
from tangentlm.figures.style import COLOURS, subplots


def stacked_bars(table: pd.DataFrame, label: str) -> Figure:
    """Horizontal bars, one a row of the table, made of its columns one after another.

    Args:
        table: Parts of each bar, in columns. Rows with two levels of index stand in groups.
        label: What stands at the horizontal axis.

    Returns:
        The figure.

    Raises:
        InputError: If the table has no rows or no columns.
    """
    if table.empty:
        raise InputError(f"no bars to draw: the table has shape {table.shape}")
    keys = [key if isinstance(key, tuple) else ("", key) for key in table.index]
    groups = list(dict.fromkeys(group for group, _ in keys))
    places = np.array([i + 0.7 * groups.index(group) for i, (group, _) in enumerate(keys)])
    figure, axes = subplots(figsize=(7.2, 1.1 + 0.3 * (places[-1] + 1)))
    left = np.zeros(len(table))
    for number, column in enumerate(table.columns):
        axes.barh(
            places,
            table[column],
            left=left,
            height=0.8,
            color=COLOURS[number % len(COLOURS)],
            hatch="//" if number >= len(COLOURS) else None,
            label=str(column),
        )
        left = left + table[column].to_numpy(dtype=float)
    axes.set_yticks(places, [f"{group}  {bar}".strip() for group, bar in keys])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel=label, xlim=(min(0.0, float(left.min())), float(left.max())))
    rows = min(len(table.columns), 6)
    axes.legend(fontsize=8, ncols=rows, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    return figure


def histogram(values: NDArray[np.float64], label: str, bins: NDArray[np.float64]) -> Figure:
    """How often values fall into bins.

    Args:
        values: One number an example.
        label: What stands at the horizontal axis.
        bins: The edges between which values are counted.

    Returns:
        The figure.
    """
    figure, axes = subplots()
    axes.hist(values, bins=bins.tolist(), color=COLOURS[0])
    axes.set(xlabel=label, ylabel="examples")
    return figure
