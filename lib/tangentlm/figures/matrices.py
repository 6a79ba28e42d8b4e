"""Matrices and tables as pictures: a colour for every entry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from tangentlm.errors import InputError
from tangentlm.figures.style import INK, subplots
from tangentlm.metrics import centred


def kernel_matrix(
    values: NDArray[np.float64], labels: Sequence[int], names: Sequence[str]
) -> Figure:
    """The centred training kernel as a picture, samples sorted by label, scaled to unit diagonal.

    A kernel of gradients has a large common part (every gradient points partly the same way),
    which would hide the classes; centring, H K H with H = I - 11^T / N, takes it off.

    Args:
        values: Kernel of shape (N, C, N, C); for C > 1 the trace over outputs is shown.
        labels: (N,).
        names: Of label 0, label 1 and so on.

    Returns:
        The figure.
    """
    kernel = centred(np.einsum("icjc->ij", values))
    scale = np.sqrt(np.diag(kernel))
    order = np.argsort(labels, kind="stable")
    shown = (kernel / np.outer(scale, scale))[np.ix_(order, order)]
    figure, axes = subplots(figsize=(4.6, 3.8))
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

    Raises:
        InputError: If the table has no rows.
    """
    if table.empty:
        raise InputError("no grid points to draw")
    pivot = table.pivot(index=row, columns=column, values=value)
    figure, axes = subplots(figsize=(1.8 + 0.85 * pivot.shape[1], 1.2 + 0.45 * pivot.shape[0]))
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

    Raises:
        InputError: If no cell has a number that can be shown.
    """
    values = table.to_numpy(dtype=float)
    shown = np.where(values > 0, values, np.nan) if log else values
    if not np.isfinite(shown).any():
        raise InputError(f"no number to draw: the table has shape {table.shape}")
    height, width = values.shape
    figure, axes = subplots(figsize=(1.9 + size[0] * width, 1.0 + size[1] * height))
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

    Raises:
        InputError: If the matrices do not fit each other, or have no entries.
    """
    left, right = factors
    if left.shape[1] != right.shape[0] or not left.size * right.size:
        raise InputError(f"{left.shape} times {right.shape} is no product to draw")
    (p, inner), q = left.shape, right.shape[1]
    gap = 0.28 * max(p, q)
    widths = (inner, gap, q, gap, q)
    figure, axes = subplots(1, 5, figsize=(7.2, 3.4), width_ratios=widths)
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
