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
from matplotlib.figure import Figure
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


def _subplots(*shape: int, figsize: tuple[float, float] | None = None) -> tuple[Figure, Any]:
    """A figure that a notebook shows once, as the value of its cell, and its axes."""
    figure, axes = plt.subplots(*shape, figsize=figsize)
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
    table: pd.DataFrame, x: str, ys: Mapping[str, str], *, labels: tuple[str, str], **axis: Any
) -> Figure:
    """Several columns of a table over one, with markers.

    Args:
        table: The data.
        x: The column for the horizontal axis.
        ys: Column to legend entry.
        labels: The axes' labels.
        **axis: Further settings of the axes, e.g. ``xscale="log"``.

    Returns:
        The figure.
    """
    figure, axes = _subplots()
    for (column, label), marker in zip(ys.items(), "os^Dv*", strict=False):
        axes.plot(table[x], table[column], marker=marker, markersize=4, label=label)
    axes.set(xlabel=labels[0], ylabel=labels[1], **axis)
    if len(ys) > 1:
        axes.legend()
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
