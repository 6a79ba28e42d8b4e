"""What was foretold as bars, what came true as points."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from tangentlm.errors import InputError
from tangentlm.figures.style import COLOURS, panels_in_a_row


def foretold_panels(table: pd.DataFrame, label: str) -> Figure:
    """Intervals as bars and outcomes as points for each way, a panel a task.

    Args:
        table: Columns ``panel``, ``method``, ``seed``, ``low`` and ``high`` (missing where nothing
            was foretold) and ``outcome``; a row a run and way.
        label: What stands at the horizontal axes.

    Returns:
        The figure; of several runs of a way each has its own line.

    Raises:
        InputError: If the table has no rows.
    """
    if table.empty:
        raise InputError("no forecasts to draw")
    methods = list(table["method"].unique())[::-1]
    seeds = list(table["seed"].unique())
    size = (0.9, 2.5, 0.9 + 0.34 * len(methods))
    figure, panels = panels_in_a_row(table, "panel", size, sharey=True)
    for name, one in panels.items():
        rows = table[table["panel"] == name]
        apart = 0.5 / len(seeds)
        places = [
            methods.index(method) - apart * (seeds.index(seed) - (len(seeds) - 1) / 2)
            for method, seed in zip(rows["method"], rows["seed"], strict=True)
        ]
        told = one.hlines(
            places, rows["low"], rows["high"], colors=COLOURS[0], linewidth=5, alpha=0.4
        )
        came = one.scatter(rows["outcome"], places, color=COLOURS[1], s=14, zorder=3)
        one.set_yticks(range(len(methods)), methods)
        one.set_title(name, fontsize=10)
        one.set_xlabel(label)
    figure.axes[-1].legend(
        [told, came], ["foretold", "came true"], loc="upper left", bbox_to_anchor=(1, 1), fontsize=8
    )
    return figure
