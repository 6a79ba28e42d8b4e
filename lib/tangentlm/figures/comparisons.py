"""Comparisons: what was measured of several methods or choices, with its spread."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pandas.api.types import is_numeric_dtype

from tangentlm.analysis.verdicts import Interval
from tangentlm.errors import InputError
from tangentlm.figures.style import COLOURS, INK, look_of, panels_in_a_row, subplots


def point_panels(table: pd.DataFrame, label: str) -> Figure:
    """Points with ranges for several methods on each task, a panel a row.

    Args:
        table: Columns ``panel``, ``task``, ``method``, ``value``, ``low`` and ``high``.
        label: What stands at the vertical axes.

    Returns:
        The figure.

    Raises:
        InputError: If the table has no rows.
    """
    if table.empty:
        raise InputError("no points to draw")
    panels, tasks = list(table["panel"].unique()), list(table["task"].unique())
    methods = list(table["method"].unique())
    figure, axes = subplots(
        len(panels), 1, figsize=(7.4, 0.6 + 1.9 * len(panels)), sharex=True, squeeze=False
    )
    for name, one in zip(panels, axes[:, 0], strict=True):
        for number, method in enumerate(methods):
            rows = table[(table["panel"] == name) & (table["method"] == method)]
            shift = 0.2 * (number - (len(methods) - 1) / 2)
            one.errorbar(
                [tasks.index(task) + shift for task in rows["task"]],
                rows["value"],
                yerr=[rows["value"] - rows["low"], rows["high"] - rows["value"]],
                linestyle="none",
                markersize=4,
                capsize=2,
                label=method,
                **look_of(number),
            )
        one.set_title(name, fontsize=10)
        one.set_ylabel(label)
    axes[-1, 0].set_xticks(range(len(tasks)), tasks, rotation=30, ha="right")
    axes[0, 0].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def claim_panels(tested: pd.DataFrame, label: str) -> Figure:
    """The statistic of each claim on each task, a panel a claim; where it holds the ground is grey.

    Args:
        tested: From ``tangentlm.malladi.judging.judge_claims``; claims without runs are left out.
        label: What stands at the vertical axes.

    Returns:
        The figure.

    Raises:
        InputError: If nothing was run.
    """
    run = tested.dropna(subset="value")
    methods = "k = " + run["k"].astype(int).astype(str)
    figure = point_panels(run.assign(panel=run["claim"], method=methods), label)
    limits = run.drop_duplicates("claim")[["least", "most"]].itertuples(index=False)
    for axes, (least, most) in zip(figure.axes, limits, strict=True):
        bottom, top = axes.get_ylim()
        axes.axhspan(max(least, bottom), min(most, top), color="grey", alpha=0.15, zorder=0)
        axes.set_ylim(bottom, top)
    return figure


def spread_lines(
    table: pd.DataFrame, x: str, y: str, by: str, *, labels: tuple[str, str]
) -> Figure:
    """Mean and standard deviation of a measurement at every value of a setting, a line a method.

    Args:
        table: One row a measurement; several with the same ``x`` and ``by`` are its spread.
        x: The column of the setting, numbers or names. Its values stand side by side, in order.
        y: The column of the measurement.
        by: The column of the method.
        labels: What stands at the horizontal and at the vertical axis.

    Returns:
        The figure.

    Raises:
        InputError: If the table has no rows.
    """
    if table.empty:
        raise InputError(f"no measurement of {y} over {x} to draw")
    figure, axes = subplots(figsize=(7.2, 3.6))
    places = {value: place for place, value in enumerate(sorted(table[x].unique()))}
    methods = list(table[by].unique())
    for number, method in enumerate(methods):
        of_x = table[table[by] == method].groupby(x)[y]
        shift = 0.09 * (number - (len(methods) - 1) / 2)
        axes.errorbar(
            [places[value] + shift for value in of_x.groups],
            of_x.mean(),
            yerr=of_x.std().fillna(0),
            # Between names there is no line to draw.
            linestyle="-" if is_numeric_dtype(table[x]) else "none",
            markersize=4,
            capsize=3,
            label=method,
            **look_of(number),
        )
    names = [value if isinstance(value, str) else f"{value:g}" for value in places]
    axes.set_xticks(range(len(places)), names)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def unit_lines(
    table: pd.DataFrame,
    x: str,
    y: str,
    by: str,
    *,
    panel: str,
    unit: str,
    labels: tuple[str, str],
) -> Figure:
    """A faint line for every unit over a setting, and their mean, a colour a method.

    Args:
        table: One row a measurement; several with the same setting and unit are averaged.
        x: The column of the setting, numbers on a logarithmic axis of base 2.
        y: The column of the measurement.
        by: The column of the method.
        panel: The column whose values have a panel each, side by side.
        unit: The column of the unit, e.g. the task.
        labels: What stands at the horizontal and at the vertical axis.

    Returns:
        The figure.

    Raises:
        InputError: If the table has no rows.
    """
    if table.empty:
        raise InputError(f"no measurement of {y} over {x} to draw")
    figure, panels = panels_in_a_row(table, panel, (7.4, 0.0, 3.4), sharey=True, sharex=True)
    for name, one in panels.items():
        here = table[table[panel] == name]
        for number, (method, rows) in enumerate(here.groupby(by, sort=False)):
            lines = rows.pivot_table(index=x, columns=unit, values=y)
            look = look_of(number)
            one.plot(lines.index, lines, color=look["color"], linewidth=0.7, alpha=0.35)
            one.plot(lines.mean(axis=1), linewidth=2.4, label=method, **look)
        one.set_xscale("log", base=2)
        one.set_xticks(sorted(table[x].unique()), [f"{v:g}" for v in sorted(table[x].unique())])
        one.minorticks_off()
        one.set(xlabel=labels[0], title=name)
    figure.axes[0].set_ylabel(labels[1])
    figure.axes[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def differences(table: pd.DataFrame, *, labels: tuple[str, str]) -> Figure:
    """What each of several choices changes: a share, and a difference with its interval.

    Args:
        table: ``share``, ``mean`` and ``interval`` (half its width; a row without one has its mean
            alone); the index names the rows.
        labels: What stands at the horizontal and at the vertical axis.

    Returns:
        The figure.

    Raises:
        InputError: If the table has no rows.
    """
    if table.empty:
        raise InputError("no differences to draw")
    figure, (left, right) = subplots(
        1, 2, figsize=(7.4, 0.9 + 0.3 * len(table)), sharey=True, width_ratios=(2, 3)
    )
    places = np.arange(len(table))
    left.barh(places, table["share"], height=0.6, color=COLOURS[0])
    clear = np.array(
        [
            Interval(row.mean, row.mean - row.interval, row.mean + row.interval).excludes(0.0)
            for row in table[["mean", "interval"]].itertuples()
        ]
    )
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
