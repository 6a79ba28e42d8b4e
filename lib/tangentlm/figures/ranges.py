"""Many values with their ranges, a row each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tangentlm.errors import InputError
from tangentlm.figures.style import COLOURS, INK, subplots


def ranges(
    table: pd.DataFrame,
    *,
    panel: str,
    group: str,
    label: str,
    band: tuple[float, float] | None = None,
    **axis: Any,
) -> Figure:
    """A point and a line for each row, from top to bottom, a panel below another.

    Args:
        table: Columns ``row`` (its name), ``value``, ``low`` and ``high``, and the two below.
        panel: The column whose values have a panel each.
        group: The column that gives the colour.
        label: What stands at the horizontal axis, which all panels share.
        band: The ends of a range that is shaded in every panel.
        **axis: Settings of all axes, e.g. ``xscale="log"``.

    Returns:
        The figure.

    Raises:
        InputError: If the table has no rows.
    """
    if table.empty:
        raise InputError("no ranges to draw")
    counts = table[panel].value_counts(sort=False)
    colour_of = {
        name: COLOURS[number % len(COLOURS)] for number, name in enumerate(table[group].unique())
    }
    figure, axes = subplots(
        len(counts), 1, figsize=(7.4, 0.8 + 0.24 * len(table)), sharex=True, squeeze=False,
        gridspec_kw={"height_ratios": list(counts)},
    )  # fmt: skip
    for name, one in zip(counts.index, axes[:, 0], strict=True):
        rows = table[table[panel] == name].iloc[::-1]
        if band is not None:
            one.axvspan(*band, color=INK, alpha=0.12, linewidth=0)
        colours, places = list(rows[group].map(colour_of)), np.arange(len(rows))
        one.hlines(places, rows["low"], rows["high"], colors=colours, linewidth=1.4)
        one.scatter(rows["value"], places, color=colours, s=18, zorder=3)
        one.set_yticks(places, rows["row"], fontsize=7)
        one.set_title(name, fontsize=9, loc="left")
        one.set(**axis)
    axes[-1, 0].set_xlabel(label)
    return figure
