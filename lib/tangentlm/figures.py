"""Figures of the book: readable in light and dark, by the colour-blind, with their data as CSV."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib_inline.backend_inline import set_matplotlib_formats
from numpy.typing import NDArray

INK = "#7f7f7f"
"""A grey that can be read on white and on near-black."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""The palette of Okabe and Ito, which the colour-blind can tell apart."""


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


def _subplots(
    *shape: int, figsize: tuple[float, float] | None = None, **options: Any
) -> tuple[Figure, Any]:
    """A figure that a notebook shows once, as the value of its cell, and its axes."""
    figure, axes = plt.subplots(*shape, figsize=figsize, **options)
    plt.close(figure)
    return figure, axes


def data_link(table: pd.DataFrame, name: str) -> HTML:
    """A link to download a figure's data; the data is in the page itself.

    Args:
        table: The data.
        name: The file's name without its ending.

    Returns:
        A link to display.
    """
    encoded = base64.b64encode(table.to_csv(index=False).encode()).decode()
    return HTML(
        f'<a class="data-link" download="{name}.csv" href="data:text/csv;base64,{encoded}">'
        f"Data of the figure ({name}.csv, {len(table)} rows)</a>"
    )


def kernel_matrix(
    values: NDArray[np.float64], labels: Sequence[int], names: Sequence[str]
) -> Figure:
    """The centred training kernel as a picture, samples sorted by label, scaled to unit diagonal.

    A kernel of gradients has a large common part (every gradient points partly the same way),
    which would hide the classes; centring, H K H with H = I - 11^T / N, takes it off.

    Args:
        values: Kernel of shape (N, C, N, C); for C > 1 the trace over outputs is shown.
        labels: (N,).
        names: The labels' names.

    Returns:
        The figure.
    """
    trace = np.einsum("icjc->ij", values)
    centred = trace - trace.mean(axis=0) - trace.mean(axis=1)[:, None] + trace.mean()
    scale = np.sqrt(np.diag(centred))
    order = np.argsort(labels, kind="stable")
    shown = (centred / np.outer(scale, scale))[np.ix_(order, order)]
    figure, axes = _subplots(figsize=(4.6, 3.8))
    limit = float(np.quantile(np.abs(shown), 0.95))
    image = axes.imshow(shown, cmap="PuOr", vmin=-limit, vmax=limit)
    counts = np.bincount(labels, minlength=len(names))
    edges = np.cumsum(counts)
    for edge in edges[:-1]:
        axes.axhline(edge - 0.5, color=INK, linewidth=0.8)
        axes.axvline(edge - 0.5, color=INK, linewidth=0.8)
    axes.set_xticks(edges - counts / 2 - 0.5, names)
    axes.set_yticks(edges - counts / 2 - 0.5, names, rotation=90, va="center")
    axes.tick_params(length=0)
    figure.colorbar(image, label="centred kernel, unit diagonal")
    return figure


def selection_grid(table: pd.DataFrame, row: str, column: str, value: str = "dev_score") -> Figure:
    """How every point of a two-dimensional grid did on dev.

    Args:
        table: One row a grid point.
        row: The column of the table that goes down.
        column: The column of the table that goes across.
        value: What is shown.

    Returns:
        The figure.
    """
    pivot = table.pivot(index=row, columns=column, values=value)
    figure, axes = _subplots(figsize=(1.8 + 0.85 * pivot.shape[1], 1.2 + 0.45 * pivot.shape[0]))
    grid = pivot.to_numpy(dtype=float)
    image = axes.imshow(grid, cmap="cividis", aspect="auto")
    middle = (np.nanmin(grid) + np.nanmax(grid)) / 2
    for (i, j), number in np.ndenumerate(grid):
        text = "diverged" if np.isnan(number) else f"{number:.1f}"
        axes.text(
            j, i, text, ha="center", va="center", color="black" if number > middle else "white"
        )
    axes.set_xticks(range(pivot.shape[1]), [f"{v:g}" for v in pivot.columns])
    axes.set_yticks(range(pivot.shape[0]), [f"{v:g}" for v in pivot.index])
    axes.set_xlabel(column.replace("_", " "))
    axes.set_ylabel(row.replace("_", " "))
    figure.colorbar(image, label=value.replace("_", " "))
    return figure


def training_curves(table: pd.DataFrame) -> Figure:
    """Training loss and dev score along fine-tuning, a line for each grid point.

    Args:
        table: Columns ``point``, ``step``, ``train_loss``, ``dev_score``.

    Returns:
        The figure.
    """
    figure, (left, right) = _subplots(1, 2, figsize=(7.4, 3.2))
    for point, rows in table.groupby("point", sort=False):
        left.plot(rows["step"], rows["train_loss"], label=point)
        right.plot(rows["step"], rows["dev_score"], label=point)
    left.set(xlabel="step", ylabel="training loss (nats)")
    right.set(xlabel="step", ylabel="dev score (%)")
    right.legend(fontsize=8)
    return figure


def lines(
    table: pd.DataFrame,
    x: str,
    ys: Mapping[str, str],
    *,
    labels: tuple[str, str],
    band: tuple[float, float, str] | None = None,
    **axis: Any,
) -> Figure:
    """Several columns of a table over one, with markers.

    Args:
        table: The data; a table without rows gives a figure that says "not run".
        x: The column for the horizontal axis.
        ys: Column to legend entry.
        labels: The axes' labels.
        band: From where to where on the horizontal axis a band is shaded, and its legend entry.
        **axis: Further settings of the axes, e.g. ``xscale="log"``.

    Returns:
        The figure.
    """
    figure, axes = _subplots()
    if table.empty:
        axes.text(0.5, 0.5, "not run", ha="center", transform=axes.transAxes)
        ys = {}
    for (column, label), marker in zip(ys.items(), "os^Dv*", strict=False):
        axes.plot(table[x], table[column], marker=marker, markersize=4, label=label)
    if band is not None:
        axes.axvspan(band[0], band[1], color=INK, alpha=0.2, linewidth=0, label=band[2])
    axes.set(xlabel=labels[0], ylabel=labels[1], **axis)
    if len(ys) > 1 or band is not None:
        axes.legend()
    return figure


def spread_lines(
    table: pd.DataFrame, x: str, y: str, by: str, *, labels: tuple[str, str]
) -> Figure:
    """Mean and standard deviation of a measurement at every value of a setting, a line a method.

    Args:
        table: One row a measurement; several with the same ``x`` and ``by`` are its spread.
        x: The column of the setting. Its values stand side by side, in their order.
        y: The column of the measurement.
        by: The column of the method.
        labels: The axes' labels.

    Returns:
        The figure.
    """
    figure, axes = _subplots(figsize=(7.2, 3.6))
    places = {value: place for place, value in enumerate(sorted(table[x].unique()))}
    methods = list(table[by].unique())
    for number, method in enumerate(methods):
        of_x = table[table[by] == method].groupby(x)[y]
        shift = 0.09 * (number - (len(methods) - 1) / 2)
        axes.errorbar(
            [places[value] + shift for value in of_x.groups],
            of_x.mean(),
            yerr=of_x.std().fillna(0),
            marker="os^Dv*"[number % 6],
            markersize=4,
            capsize=3,
            color=COLOURS[number % len(COLOURS)],
            label=method,
        )
    axes.set_xticks(range(len(places)), [f"{value:g}" for value in places])
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def differences(table: pd.DataFrame, *, labels: tuple[str, str]) -> Figure:
    """What each of several choices changes: a share, and a difference with its interval.

    Args:
        table: ``share``, ``mean`` and ``interval`` (half its width; a row without one has its mean
            alone); the index names the rows.
        labels: The axes' labels.

    Returns:
        The figure.
    """
    figure, (left, right) = _subplots(
        1, 2, figsize=(7.4, 0.9 + 0.3 * len(table)), sharey=True, width_ratios=(2, 3)
    )
    places = np.arange(len(table))
    left.barh(places, table["share"], height=0.6, color=COLOURS[0])
    clear = (table["mean"].abs() > table["interval"]).to_numpy()
    for beyond, colour, marker in ((False, INK, "o"), (True, COLOURS[1], "s")):
        right.errorbar(
            table["mean"][clear == beyond],
            places[clear == beyond],
            xerr=table["interval"][clear == beyond],
            fmt=marker,
            color=colour,
            capsize=3,
        )
    right.axvline(0, color=INK, linewidth=0.8)
    left.set_yticks(places, [str(name) for name in table.index])
    left.invert_yaxis()
    for axes, label in zip((left, right), labels, strict=True):
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(label)
    return figure


def histogram(values: NDArray[np.float64], label: str, bins: NDArray[np.float64]) -> Figure:
    """How often values fall into bins.

    Args:
        values: The values.
        label: The horizontal axis' label.
        bins: The bins' edges.

    Returns:
        The figure.
    """
    figure, axes = _subplots()
    axes.hist(values, bins=bins.tolist(), color=COLOURS[0])
    axes.set(xlabel=label, ylabel="examples")
    return figure


def methods_by_task(table: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """Mean and standard deviation of each method on each task.

    Args:
        table: From ``tangentlm.ledger.measured``: ``title``, ``k``, ``method``, ``mean``, ``std``.
        methods: The methods, in order.

    Returns:
        The figure.
    """
    groups = [f"{title}\nk = {k}" for title, k in table[["title", "k"]].drop_duplicates().values]
    figure, axes = _subplots(figsize=(1.6 + 1.3 * len(groups), 3.6))
    width = 0.8 / len(methods)
    for offset, (method, colour) in enumerate(zip(methods, COLOURS, strict=False)):
        rows = table[table["method"] == method]
        names = [f"{row.title}\nk = {row.k}" for row in rows.itertuples()]
        places = [groups.index(name) + (offset - (len(methods) - 1) / 2) * width for name in names]
        axes.errorbar(
            places,
            rows["mean"],
            yerr=rows["std"].fillna(0),
            fmt="os^Dv"[offset % 5],
            color=colour,
            capsize=3,
            label=method,
        )
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel("test performance (%)")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def stacked_bars(table: pd.DataFrame, label: str) -> Figure:
    """Horizontal bars, one a row of the table, made of its columns one after another.

    Args:
        table: Parts of each bar, in columns. Rows with two levels of index stand in groups.
        label: The horizontal axis' label.

    Returns:
        The figure.
    """
    keys = [key if isinstance(key, tuple) else ("", key) for key in table.index]
    groups = list(dict.fromkeys(group for group, _ in keys))
    places = np.array([i + 0.7 * groups.index(group) for i, (group, _) in enumerate(keys)])
    figure, axes = _subplots(figsize=(7.2, 1.1 + 0.3 * (places[-1] + 1)))
    left = np.zeros(len(table))
    for number, column in enumerate(table.columns):
        axes.barh(
            places,
            table[column],
            left=left,
            height=0.8,
            color=COLOURS[number % len(COLOURS)],
            hatch="//" if number >= len(COLOURS) else None,
            label=str(column),
        )
        left = left + table[column].to_numpy(dtype=float)
    axes.set_yticks(places, [f"{group}  {bar}".strip() for group, bar in keys])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel=label, xlim=(min(0.0, float(left.min())), float(left.max())))
    rows = min(len(table.columns), 6)
    axes.legend(fontsize=8, ncols=rows, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    return figure


def heat_map(
    table: pd.DataFrame,
    label: str,
    *,
    axes_labels: tuple[str, str] = ("", ""),
    text: str | None = None,
    log: bool = False,
    diverging: bool = False,
    size: tuple[float, float] = (0.6, 0.32),
) -> Figure:
    """A table as coloured cells; a cell without a number is left empty.

    Args:
        table: The values; index and columns are the ticks.
        label: What the colours stand for.
        axes_labels: Of the horizontal and the vertical axis.
        text: How to write the numbers into the cells, e.g. ``"{:.1f}"``; not at all otherwise.
        log: Whether colours are logarithmic; then a zero is left empty, too.
        diverging: Whether colours are symmetric about zero.
        size: Of a cell, in inches.

    Returns:
        The figure.
    """
    values = table.to_numpy(dtype=float)
    shown = np.where(values > 0, values, np.nan) if log else values
    height, width = values.shape
    figure, axes = _subplots(figsize=(1.9 + size[0] * width, 1.0 + size[1] * height))
    limit = float(np.nanmax(np.abs(shown)))
    lowest = -limit if diverging else float(np.nanmin(shown))
    norm = LogNorm(lowest, limit) if log else Normalize(lowest, limit)
    image = axes.imshow(shown, cmap="PuOr" if diverging else "cividis", norm=norm, aspect="auto")
    for (i, j), number in np.ndenumerate(shown):
        if text and np.isfinite(number):
            red, green, blue, _ = image.cmap(norm(number))
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
            colour = "white" if dark else "black"
            axes.text(j, i, text.format(number), ha="center", va="center", color=colour, fontsize=8)
    for i, j in np.argwhere(np.isfinite(shown)) if diverging else ():
        # What is near zero has nearly the colour of the page.
        axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=INK, lw=0.4))
    axes.set_xticks(range(width), [str(name) for name in table.columns])
    axes.set_yticks(range(height), [str(name) for name in table.index])
    if max(len(str(name)) for name in table.columns) > 10 * size[0]:
        axes.tick_params(axis="x", rotation=90)
    axes.tick_params(length=0, labelsize=8 if min(size) >= 0.2 else 6.5)
    axes.set(xlabel=axes_labels[0], ylabel=axes_labels[1])
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    figure.colorbar(image, label=label)
    return figure


def matrix_product(
    factors: tuple[NDArray[np.float64], NDArray[np.float64]], names: tuple[str, str, str]
) -> Figure:
    """A product of two matrices as a picture: left times right is what they make.

    Each of the three has colours of its own, symmetric about zero.

    Args:
        factors: (p, S) and (S, q).
        names: Titles of left, right and product.

    Returns:
        The figure.
    """
    left, right = factors
    (p, inner), q = left.shape, right.shape[1]
    gap = 0.28 * max(p, q)
    widths = (inner, gap, q, gap, q)
    figure, axes = _subplots(1, 5, figsize=(7.2, 3.4), width_ratios=widths)
    for place, matrix, name in zip(
        (axes[0], axes[2], axes[4]), (left, right, left @ right), names, strict=True
    ):
        limit = float(np.quantile(np.abs(matrix), 0.99))
        place.imshow(matrix, cmap="PuOr", vmin=-limit, vmax=limit, interpolation="nearest")
        place.set_title(f"{name}\n{matrix.shape[0]} x {matrix.shape[1]}", fontsize=9)
        place.set(xticks=[], yticks=[])
        for side in ("top", "right"):
            place.spines[side].set_visible(True)
    for place, sign in zip((axes[1], axes[3]), ("×", "="), strict=True):
        place.axis("off")
        place.text(0.5, 0.5, sign, ha="center", va="center", fontsize=16)
    return figure
