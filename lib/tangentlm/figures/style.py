"""How the book's figures look, and how a notebook shows them."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats

INK = "#7f7f7f"
"""A grey that can be read on white and on near-black."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""The palette of Okabe and Ito, which the colour-blind can tell apart."""
MARKERS = "os^Dv*"
"""As many as colours, for those who see none."""


def look_of(number: int) -> dict[str, str]:
    """Colour and marker of a group of points.

    Args:
        number: Its place among the groups, from 0.

    Returns:
        Arguments of matplotlib's. Beyond as many groups as colours, a colour comes again with
        another marker.
    """
    again = number // len(COLOURS)
    return {
        "color": COLOURS[number % len(COLOURS)], "marker": MARKERS[(number + again) % len(MARKERS)],
    }  # fmt: skip


def use_style() -> None:
    """Vector figures on a transparent ground, and whole texts in tables, for a notebook."""
    set_matplotlib_formats("svg")
    pd.set_option("display.max_colwidth", None)
    mpl.rcParams.update(
        {
            "figure.figsize": (6.4, 3.6),
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
            "savefig.transparent": True,
            "figure.autolayout": True,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": INK,
            "axes.titlecolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "legend.frameon": False,
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "lines.linewidth": 1.8,
            "axes.prop_cycle": plt.cycler(color=COLOURS),
            "svg.hashsalt": "tangentlm",
            "svg.fonttype": "path",
        }
    )


def subplots(
    *shape: int, figsize: tuple[float, float] | None = None, **options: Any
) -> tuple[Figure, Any]:
    """A figure that a notebook shows once, as the value of its cell, and its axes.

    Args:
        *shape: Rows and columns of axes; without them there is one.
        figsize: Width and height in inches; ``None`` for those of the style.
        **options: Further arguments of ``matplotlib.pyplot.subplots``.

    Returns:
        The figure, and its axes or an array of them.
    """
    figure, axes = plt.subplots(*shape, figsize=figsize, **options)
    plt.close(figure)
    return figure, axes


def panels_in_a_row(
    table: pd.DataFrame, column: str, size: tuple[float, float, float], **options: Any
) -> tuple[Figure, dict[Any, Any]]:
    """A figure with a panel for each value of a column, side by side.

    Args:
        table: What is drawn, one row at least.
        column: The column whose values have a panel each, in the order in which they come.
        size: Inches beside the panels, of a panel's width, and of the height.
        **options: Further arguments of ``subplots``, e.g. ``sharey=True``.

    Returns:
        The figure, and the axes of each value.
    """
    values = list(table[column].unique())
    beside, width, height = size
    figure, axes = subplots(
        1, len(values), figsize=(beside + width * len(values), height), squeeze=False, **options
    )
    return figure, dict(zip(values, axes[0], strict=True))
