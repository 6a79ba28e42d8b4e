"""Two measures of the same things against each other: on the diagonal they agree."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from tangentlm.errors import InputError
from tangentlm.figures.style import INK, look_of, panels_in_a_row


def agreement(
    table: pd.DataFrame, x: str, y: str, group: str, *, panel: str, labels: tuple[str, str]
) -> Figure:
    """A point for each row, a colour and a marker for each group, and the diagonal.

    Args:
        table: One row a point.
        x: The column of the horizontal axis.
        y: That of the vertical one, in the same unit.
        group: The column that gives the colour.
        panel: The column whose values have a panel each, side by side.
        labels: What stands at the axes.

    Returns:
        The figure.

    Raises:
        InputError: If the table has no rows.
    """
    if table.empty:
        raise InputError("no points to draw")
    groups = list(table[group].unique())
    figure, panels = panels_in_a_row(table, panel, (1.4, 2.9, 3.4), sharex=True, sharey=True)
    low, high = table[[x, y]].min().min(), table[[x, y]].max().max()
    for name, one in panels.items():
        one.plot([low, high], [low, high], color=INK, linewidth=0.8)
        for number, member in enumerate(groups):
            rows = table[(table[panel] == name) & (table[group] == member)]
            one.scatter(rows[x], rows[y], s=22, alpha=0.8, label=member, **look_of(number))
        one.set_title(name, fontsize=10)
        one.set_xlabel(labels[0])
        one.set_aspect("equal")
    figure.axes[0].set_ylabel(labels[1])
    figure.axes[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
