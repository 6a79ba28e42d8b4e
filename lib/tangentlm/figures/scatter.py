"""Points in the plane, by class."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from tangentlm.errors import InputError
from tangentlm.figures.style import look_of, panels_in_a_row


def scatter_panels(table: pd.DataFrame, names: Mapping[int, str]) -> Figure:
    """Samples and directions of classes as points, a panel a stage.

    Args:
        table: Columns ``panel``, ``x``, ``y``, ``label`` and ``is_row``: a direction is drawn large
            and with a dark edge.
        names: The classes by label.

    Returns:
        The figure.

    Raises:
        InputError: If the table has no rows.
    """
    if table.empty:
        raise InputError("no points to draw")
    figure, panels = panels_in_a_row(table, "panel", (0.0, 3.4, 3.2))
    for panel, one in panels.items():
        for label, rows in table[table["panel"] == panel].groupby("label"):
            style = look_of(int(str(label)))
            of_head = rows["is_row"].astype(bool)
            one.scatter(
                rows["x"][~of_head], rows["y"][~of_head], s=14, alpha=0.7,
                label=names[int(str(label))], **style,
            )  # fmt: skip
            one.scatter(rows["x"][of_head], rows["y"][of_head], s=130, edgecolors="black", **style)
        one.set(xticks=[], yticks=[], title=panel)
    figure.axes[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
