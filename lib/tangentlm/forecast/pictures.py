"""The pictures of a forecast's page: intervals, learning curves, layers, past tasks, the kernel."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from tangentlm.forecast.drawing import Drawing, Scale, margin_for

METHODS = ("kernel regression", "probe", "bag of words", "zero-shot", "majority")
"""The ways without training; the place of each decides its colour and its mark."""
WIDTH = 480.0
ROW = 26.0


@dataclass(frozen=True)
class Interval:
    """One row of a dot plot.

    Attributes:
        name: What stands at its left.
        value: The dot; ``None`` where there is none.
        low: The lower end of the interval.
        high: Its upper end.
        series: A number that decides colour and mark.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    series: int = 0

    @property
    def words(self) -> str:
        """The row in words."""
        if self.value is None:
            return f"{self.name}: not computed"
        if self.low is None or self.high is None:
            return f"{self.name}: {self.value:.1f}"
        return f"{self.name}: {self.value:.1f} ({self.low:.1f} to {self.high:.1f})"


def series(method: str) -> int:
    """The number that decides a method's colour and mark.

    Args:
        method: As in ``Score``.

    Returns:
        Its place in ``METHODS``; for another one the place behind them.
    """
    return METHODS.index(method) if method in METHODS else len(METHODS)


def dot_plot(
    rows: Sequence[Interval], axis: str, about: str, *, reference: float | None = None
) -> Markup:
    """Dots with their intervals, one row each.

    Args:
        rows: The rows, from the top.
        axis: What the axis shows.
        about: What the picture shows, for its description.
        reference: Where a line stands that everything is compared with.

    Returns:
        The picture.
    """
    margin, names = margin_for([row.name for row in rows])
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None]
    across = _around([*ends, *([] if reference is None else [reference])], margin, WIDTH - 14)
    bottom = ROW * len(rows) + 8
    drawing = Drawing(WIDTH, bottom + 36, f"{about} {'; '.join(row.words for row in rows)}.")
    _ticks_below(drawing, across, bottom, axis)
    if reference is not None:
        drawing.line(across.at(reference), 2, across.at(reference), bottom, "reference")
    for place, (row, name) in enumerate(zip(rows, names, strict=True)):
        y = ROW * (place + 0.5) + 4
        drawing.text(margin - 8, y + 4, name, "end")
        if row.value is None:
            drawing.text(margin + 4, y + 4, "not computed", "quiet")
            continue
        if row.low is not None and row.high is not None:
            drawing.line(across.at(row.low), y, across.at(row.high), y, f"bar s{row.series}")
        drawing.mark(across.at(row.value), y, row.series, f"mark s{row.series}", row.words)
    return drawing.markup()


def learning_curves(points: Sequence[Mapping[str, Any]]) -> Markup:
    """Learning curves: what was measured is solid, what a power law says is dashed.

    Args:
        points: As ``CurvePoint``, in any order.

    Returns:
        The picture.
    """
    methods = [name for name in METHODS if any(point["method"] == name for point in points)]
    sizes = sorted({int(point["n"]) for point in points})
    ends = [point[end] for point in points for end in ("low", "high", "accuracy")]
    ends = [end for end in ends if end is not None]
    up = _around(ends, 250, 30)
    across = Scale(sizes[0], max(sizes[-1], 2 * sizes[0]), 44, WIDTH - 16, logarithmic=True)
    drawing = Drawing(WIDTH, 290, f"Learning curves. {_curves_in_words(points, methods)}")
    for value in up.ticks():
        drawing.line(44, up.at(value), WIDTH - 16, up.at(value), "grid")
        drawing.text(38, up.at(value) + 4, f"{value:g}", "end quiet")
    taken = -100.0
    for size in sizes:
        if across.at(size) - taken > 34:
            taken = across.at(size)
            drawing.line(taken, 250, taken, 254, "axis")
            drawing.text(taken, 267, f"{size:,}", "middle quiet")
    drawing.text((44 + WIDTH) / 2, 284, "rows to learn from", "middle quiet")
    drawing.line(44, 250, WIDTH - 16, 250, "axis")
    left = 44.0
    for name in methods:
        _one_curve(drawing, across, up, [point for point in points if point["method"] == name])
        drawing.mark(left + 4, 14, series(name), f"mark s{series(name)}", name)
        drawing.text(left + 13, 18, name)
        left += margin_for([name])[0] + 22
    return drawing.markup()


def _one_curve(
    drawing: Drawing, across: Scale, up: Scale, points: Sequence[Mapping[str, Any]]
) -> None:
    ordered = sorted(points, key=lambda point: (point["n"], point["extrapolated"]))
    measured = [point for point in ordered if not point["extrapolated"]]
    beyond = [point for point in ordered if point["extrapolated"]]
    number = series(ordered[0]["method"])
    for some, style in ((measured, ""), ([*measured[-1:], *beyond], " beyond")):
        if len(some) < 2:
            continue
        edge = [(across.at(point["n"]), up.at(point["high"])) for point in some]
        edge += [(across.at(point["n"]), up.at(point["low"])) for point in reversed(some)]
        drawing.path([*edge, edge[0]], f"band s{number}{style}")
        line = [(across.at(point["n"]), up.at(point["accuracy"])) for point in some]
        drawing.path(line, f"curve s{number}{style}")
    for point in ordered:
        hover = (
            f"{point['method']}, {point['n']:,} rows: {point['accuracy']:.1f} "
            f"({point['low']:.1f} to {point['high']:.1f})"
            f"{', extrapolated' if point['extrapolated'] else ''}"
        )
        style = f"mark s{number}{' hollow' if point['extrapolated'] else ''}"
        drawing.mark(across.at(point["n"]), up.at(point["accuracy"]), number, style, hover)


def _curves_in_words(points: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> str:
    said = []
    for name in methods:
        own = sorted((p for p in points if p["method"] == name), key=lambda point: point["n"])
        first, last = own[0], own[-1]
        kind = " (extrapolated)" if last["extrapolated"] else ""
        said.append(
            f"{name}: {first['accuracy']:.1f} % with {first['n']:,} rows, "
            f"{last['accuracy']:.1f} % with {last['n']:,}{kind}."
        )
    return " ".join(said)


def layer_bars(layers: Sequence[Mapping[str, Any]]) -> Markup:
    """A bar for each layer: its share of the kernel's trace.

    Args:
        layers: As ``Layer``.

    Returns:
        The picture.
    """
    margin, names = margin_for([layer["name"] for layer in layers])
    across = Scale(0, 1.05 * max(layer["share"] for layer in layers) or 1, margin, WIDTH - 40)
    bottom = 20.0 * len(layers) + 6
    said = "; ".join(f"{layer['name']}: {layer['share']:.1f} %" for layer in layers)
    drawing = Drawing(WIDTH, bottom + 36, f"Bars, the share of the kernel's trace. {said}.")
    _ticks_below(drawing, across, bottom, "share of the kernel's trace (%)")
    for place, (layer, name) in enumerate(zip(layers, names, strict=True)):
        y, end = 20.0 * place + 4, across.at(layer["share"])
        drawing.text(margin - 8, y + 12, name, "end")
        drawing.add(
            "rect", "fill s0", f"{layer['name']}: {layer['share']:.1f} %",
            x=margin, y=y, width=round(end - margin, 1), height=14,
        )  # fmt: skip
        drawing.text(end + 5, y + 12, f"{layer['share']:.1f}", "quiet")
    return drawing.markup()


def past_tasks(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """What kernel regression had forecast on past tasks, joined to what fine-tuning reached.

    Args:
        rows: As ``PastTask``; those without a forecast are left out here, and are in the table.

    Returns:
        The picture.
    """
    known = sorted((row for row in rows if row["kernel"] is not None), key=lambda r: r["kernel"])
    margin, names = margin_for([row["task"] for row in known])
    across = _around([row[end] for row in known for end in ("kernel", "finetuned")], margin,
                     WIDTH - 14)  # fmt: skip
    top, bottom = 22.0, 20.0 * len(known) + 30
    said = "; ".join(f"{r['task']}: {r['kernel']:.1f} to {r['finetuned']:.1f}" for r in known)
    drawing = Drawing(WIDTH, bottom + 36, f"From kernel regression to fine-tuning. {said}.")
    _ticks_below(drawing, across, bottom, "accuracy (%)", top=top)
    left = margin
    for number, style, word in ((0, "mark s0 hollow", "kernel regression, the forecast"),
                                (1, "mark s2", "after fine-tuning")):  # fmt: skip
        drawing.mark(left + 4, 10, number, style, word)
        drawing.text(left + 13, 14, word)
        left += margin_for([word], 40)[0] + 18
    for place, (row, name) in enumerate(zip(known, names, strict=True)):
        y = 20.0 * place + top + 14
        hover = f"{row['task']}: {row['kernel']:.1f} forecast, {row['finetuned']:.1f} reached"
        drawing.text(margin - 8, y + 4, name, "end")
        drawing.line(across.at(row["kernel"]), y, across.at(row["finetuned"]), y, "join")
        drawing.mark(across.at(row["kernel"]), y, 0, "mark s0 hollow", hover)
        drawing.mark(across.at(row["finetuned"]), y, 1, "mark s2", hover)
    return drawing.markup()


def packed_kernel(values: Sequence[Sequence[float | None]]) -> dict[str, Any]:
    """A symmetric kernel in few bytes: its upper triangle, row by row, in 16 bits a value.

    Args:
        values: (n, n), symmetric; what is missing counts as the least value.

    Returns:
        ``low`` and ``high``, which the numbers 0 and 65,535 stand for; ``from`` and ``to``, between
        which colours run (nineteen values of twenty off the diagonal lie there); and ``values``,
        little-endian, in base 64.
    """
    matrix = np.array(values, dtype=float)
    corner = np.triu_indices(len(matrix))
    kept = matrix[corner]
    low, high = float(np.nanmin(kept)), float(np.nanmax(kept))
    kept = np.where(np.isnan(kept), low, kept)
    numbers = np.round((kept - low) / (high - low or 1) * 65535).astype("<u2")
    off = kept[corner[0] != corner[1]]
    start, end = np.quantile(off, [0.025, 0.975]) if off.size else (low, high)
    return {
        "low": low,
        "high": high,
        "from": float(start),
        "to": float(end),
        "values": base64.b64encode(numbers.tobytes()).decode("ascii"),
    }


def _around(values: Sequence[float], start: float, end: float) -> Scale:
    """A scale that has all values in it, and a little room."""
    low, high = min(values), max(values)
    room = max(0.06 * (high - low), 0.5)
    return Scale(low - room, high + room, start, end)


def _ticks_below(
    drawing: Drawing, across: Scale, bottom: float, axis: str, *, top: float = 2
) -> None:
    for value in across.ticks():
        drawing.line(across.at(value), top, across.at(value), bottom, "grid")
        drawing.text(across.at(value), bottom + 15, f"{value:g}", "middle quiet")
    drawing.line(across.start, bottom, across.end, bottom, "axis")
    drawing.text((across.start + across.end) / 2, bottom + 31, axis, "middle quiet")
