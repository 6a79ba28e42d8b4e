"""Measurements over the width in a log-log plot, beside the powers that a theory predicts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tangentlm.errors import InputError
from tangentlm.figures.style import INK, look_of, panels_in_a_row


def power_laws(
    table: pd.DataFrame,
    x: str,
    y: str,
    by: str,
    *,
    panel: str,
    slopes: Mapping[tuple[str, str], float],
    labels: tuple[str, str],
) -> Figure:
    """A faint line a seed, their geometric mean, and a dashed line of the predicted slope.

    Args:
        table: One row a measurement, with a column ``seed``; all measurements are positive.
        x: The column for the horizontal axis, logarithmic with base 2.
        y: The column of the measurement, on a logarithmic axis.
        by: The column of what is measured.
        panel: The column whose values have a panel each, side by side.
        slopes: The predicted powers, by panel and value of ``by``, where there is a prediction;
            drawn through the last mean.
        labels: What stands at the horizontal and at the vertical axis.

    Returns:
        The figure.

    Raises:
        InputError: If the table has no rows.
    """
    if table.empty:
        raise InputError(f"no measurement of {y} over {x} to draw")
    kinds = list(table[by].unique())
    figure, panels = panels_in_a_row(table, panel, (7.4, 0.0, 3.4), sharey=True, sharex=True)
    for name, one in panels.items():
        one.set_xscale("log", base=2)
        one.set(yscale="log", xlabel=labels[0])
        one.set_title(name, fontsize=10)
        for kind, rows in table[table[panel] == name].groupby(by, sort=False):
            look = look_of(kinds.index(kind))
            seeds = rows.pivot_table(index=x, columns="seed", values=y)
            mean = np.exp(np.log(seeds).mean(axis=1))
            one.plot(seeds, color=look["color"], linewidth=0.7, alpha=0.3)
            one.plot(mean, markersize=4, linewidth=0, label=kind, **look)
            if (name, kind) in slopes:
                guide = mean.iloc[-1] * (mean.index / mean.index[-1]) ** slopes[name, kind]
                one.plot(mean.index, guide, color=INK, linewidth=1, linestyle="--")
    figure.axes[0].set_ylabel(labels[1])
    figure.axes[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
