"""Many estimates with their intervals, in groups, each under several views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tangentlm.errors import InputError
from tangentlm.figures.style import INK, look_of, panels_in_a_row

_ROW, _GAP = 0.2, 0.24
"""Inches of a row, and how far the views of a row stand apart, in rows."""


def forest(table: pd.DataFrame, views: Sequence[str], *, label: str, margin: float = 0.0) -> Figure:
    """A row for each name, with a point and a line for each view; panels side by side.

    Args:
        table: Columns ``panel``, ``group``, ``row`` (the name), ``view``, ``value``, ``low`` and
            ``high`` (NaN where there is no interval). Groups and rows stand in the order in which
            they come, each group under its name.
        views: The values of ``view`` in the order of their colours and markers.
        label: What stands at the horizontal axes.
        margin: Half the width of the grey ground about zero.

    Returns:
        The figure.

    Raises:
        InputError: If the table has no rows.
    """
    if table.empty:
        raise InputError("no estimates to draw")
    lines: list[tuple[str, str]] = []
    for group in table["group"].unique():
        names = table["row"][table["group"] == group].unique()
        lines += [(group, ""), *((group, name) for name in names)]
    place = {line: len(lines) - number for number, line in enumerate(lines)}
    size = (3.0, 2.4, 1.0 + _ROW * len(lines))
    figure, panels = panels_in_a_row(table, "panel", size, sharey=True)
    for panel, one in panels.items():
        one.axvspan(-margin, margin, color="grey", alpha=0.15, linewidth=0)
        one.axvline(0.0, color=INK, linewidth=0.8)
        for number, name in enumerate(views):
            rows = table[(table["panel"] == panel) & (table["view"] == name)]
            shift = _GAP * ((len(views) - 1) / 2 - number)
            heights = np.array(
                [place[g, r] for g, r in zip(rows["group"], rows["row"], strict=True)]
            )
            look = look_of(number)
            one.hlines(
                heights + shift, rows["low"], rows["high"], colors=look["color"], linewidth=1.3
            )
            one.scatter(rows["value"], heights + shift, s=14, zorder=3, label=name, **look)
        one.set_title(panel, fontsize=9, loc="left")
        one.set(xlabel=label, ylim=(0.2, len(lines) + 0.8))
    first = figure.axes[0]
    first.set_yticks(list(place.values()), [name or group for group, name in lines], fontsize=7)
    for (_, name), tick in zip(lines, first.get_yticklabels(), strict=True):
        tick.set_fontweight("normal" if name else "bold")
    for one in panels.values():
        one.tick_params(axis="y", length=0)
    if len(views) > 1:
        first.legend(fontsize=8, ncols=len(views), loc="lower left", bbox_to_anchor=(0, 1.04))
    return figure
