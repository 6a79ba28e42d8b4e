"""What was foretold as bars, what came true as points."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from tangentlm.errors import InputError
from tangentlm.figures.style import COLOURS, subplots


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
    panels, methods = list(table["panel"].unique()), list(table["method"].unique())[::-1]
    seeds = list(table["seed"].unique())
    figure, axes = subplots(
        1, len(panels), figsize=(0.9 + 2.5 * len(panels), 0.9 + 0.34 * len(methods)),
        sharey=True, squeeze=False,
    )  # fmt: skip
    for name, one in zip(panels, axes[0], strict=True):
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
    axes[0, -1].legend(
        [told, came], ["foretold", "came true"], loc="upper left", bbox_to_anchor=(1, 1), fontsize=8
    )
    return figure
