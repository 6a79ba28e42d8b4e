"""One measure over another, in panels with axes of their own."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from tangentlm.errors import InputError
from tangentlm.figures.style import look_of, panels_in_a_row


def relations(
    table: pd.DataFrame,
    x: str,
    y: str,
    group: str,
    *,
    panel: str,
    label: str,
    joined: bool = False,
    **axis: Any,
) -> Figure:
    """A measure over another, a panel for each kind of it and a colour for each group.

    Args:
        table: One row a point.
        x: The column of the horizontal axes.
        y: That of the vertical ones.
        group: The column that gives colour and marker.
        panel: The column whose values have a panel each, side by side; its value stands at the
            vertical axis.
        label: What stands at the horizontal axes.
        joined: Whether a line joins the points of a group, from left to right.
        **axis: Settings of all axes, e.g. ``xscale="log"``.

    Returns:
        The figure.

    Raises:
        InputError: If the table has no rows.
    """
    if table.empty:
        raise InputError("no points to draw")
    groups = list(table[group].unique())
    figure, panels = panels_in_a_row(table, panel, (1.3, 2.8, 3.1))
    for name, one in panels.items():
        for number, member in enumerate(groups):
            rows = table[(table[panel] == name) & (table[group] == member)].sort_values(x)
            one.plot(
                rows[x], rows[y], linestyle="-" if joined else "none", linewidth=0.9, markersize=5,
                label=member, **look_of(number),
            )  # fmt: skip
        one.set(xlabel=label, ylabel=name, **axis)
    figure.axes[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
