"""Lines of several methods, a panel side by side for each data set."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from tangentlm.errors import InputError
from tangentlm.figures.style import look_of, panels_in_a_row


def panel_lines(
    table: pd.DataFrame,
    x: str,
    y: str,
    by: str,
    panel: str,
    *,
    labels: tuple[str, str],
    marks: pd.DataFrame | None = None,
    **axis: Any,
) -> Figure:
    """Mean and standard deviation over a number, a line a method and a panel a data set.

    Args:
        table: One row a measurement; several with the same ``x``, ``by`` and ``panel`` are its
            spread.
        x: The column of the horizontal axis, numbers.
        y: The column of the vertical axis.
        by: The column of the method.
        panel: The column whose values have a panel each.
        labels: What stands at the horizontal and at the vertical axis.
        marks: Columns ``panel``, ``by`` and ``x`` by their names in the table: a dashed vertical
            line in the method's colour at each of its rows.
        **axis: Further settings of the axes, e.g. ``xscale="log"``.

    Returns:
        The figure.

    Raises:
        InputError: If the table has no rows.
    """
    if table.empty:
        raise InputError(f"no measurement of {y} over {x} to draw")
    methods = list(table[by].unique())
    figure, panels = panels_in_a_row(table, panel, (1.9, 2.7, 3.3), sharey=True)
    for name, one in panels.items():
        for number, method in enumerate(methods):
            rows = table[(table[panel] == name) & (table[by] == method)]
            look = look_of(number)
            of_x = rows.groupby(x)[y]
            one.errorbar(
                list(of_x.groups), of_x.mean(), yerr=of_x.std().fillna(0), markersize=3.5,
                capsize=2, label=method, **look,
            )  # fmt: skip
            if marks is not None:
                own = marks[(marks[panel] == name) & (marks[by] == method)]
                for place in own[x]:
                    one.axvline(place, linestyle="--", linewidth=1, color=look["color"])
        one.set(title=name, xlabel=labels[0], **axis)
    figure.axes[0].set_ylabel(labels[1])
    if len(methods) > 1:
        figure.axes[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
