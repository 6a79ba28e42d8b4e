"""What the figures draw: the data in their artists, labels, legends; and what they refuse."""

from __future__ import annotations

import base64
import html
import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import LogNorm, to_hex

from tangentlm import figures
from tangentlm.errors import InputError

LABELS = ("across", "up")


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def ticks(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def axes_labels(axes):
    return axes.get_xlabel(), axes.get_ylabel()


def image(axes):
    return np.ma.filled(axes.get_images()[0].get_array(), np.nan)


def written(axes):
    """The text of every cell, by its row and column."""
    return {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in axes.texts}


def error_bars(axes):
    """Points, ends of their error bars and colour of every ``errorbar`` call."""
    for container in axes.containers:
        line, _, (bars,) = container.lines
        ends = [segment for segment in bars.get_segments() if len(segment)]
        yield line.get_xydata(), np.array(ends), to_hex(line.get_color())


# --- shown once, with their data ------------------------------------------------------------


def test_a_figure_is_shown_as_a_value_alone():
    figures.histogram(np.zeros(3), "x", np.array([0.0, 1.0]))
    assert plt.get_fignums() == []


def test_data_link_holds_the_table():
    table = pd.DataFrame({"task": ["a, b", 'c"d'], "score": [0.25, 1.5]})
    link = figures.data_link(table, "scores").data
    assert 'download="scores.csv"' in link
    assert "2 rows" in link
    (encoded,) = re.findall(r"base64,([^\"]+)", html.unescape(link))
    text = base64.b64decode(encoded).decode()
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(text)), table)


# --- curves ---------------------------------------------------------------------------------


def test_lines_are_the_columns():
    table = pd.DataFrame({"n": [1, 10, 100], "a": [3.0, 2.0, 1.0], "b": [0.5, 0.25, 0.0]})
    ys = {"a": "first", "b": "second"}
    (axes,) = figures.lines(table, "n", ys, labels=LABELS, xscale="log").axes
    for line, column in zip(axes.lines, ys, strict=True):
        assert np.array_equal(line.get_xydata(), table[["n", column]])
    assert legend(axes) == ["first", "second"]
    assert axes_labels(axes) == LABELS
    assert axes.get_xscale() == "log"


def test_more_lines_than_markers_are_drawn():
    table = pd.DataFrame({name: [1.0, 2.0] for name in "xabcdefgh"})
    (axes,) = figures.lines(table, "x", {c: c for c in "abcdefgh"}, labels=LABELS).axes
    assert legend(axes) == list("abcdefgh")


def test_one_line_needs_a_legend_for_a_band_alone():
    table = pd.DataFrame({"n": [1, 2], "a": [3.0, 2.0]})
    (plain,) = figures.lines(table, "n", {"a": "first"}, labels=LABELS).axes
    assert plain.get_legend() is None
    (axes,) = figures.lines(table, "n", {"a": "first"}, labels=LABELS, band=(1, 1.5, "here")).axes
    assert legend(axes) == ["first", "here"]
    (band,) = axes.patches
    assert (band.get_x(), band.get_width()) == (1, 0.5)


def test_lines_of_what_was_not_run_say_so():
    table = pd.DataFrame()
    (axes,) = figures.lines(table, "n", {"a": "first", "b": "second"}, labels=LABELS).axes
    assert not axes.lines
    assert [text.get_text() for text in axes.texts] == ["not run"]


def test_training_curves_have_a_line_a_grid_point():
    table = pd.DataFrame(
        {
            "point": ["lr 2", "lr 2", "lr 1"],
            "step": [10, 20, 10],
            "train_loss": [0.7, 0.5, 0.6],
            "dev_score": [50.0, 75.0, 62.5],
        }
    )
    left, right = figures.training_curves(table).axes
    for axes, column in ((left, "train_loss"), (right, "dev_score")):
        for line, point in zip(axes.lines, ["lr 2", "lr 1"], strict=True):
            rows = table[table["point"] == point]
            assert np.array_equal(line.get_xydata(), rows[["step", column]])
    assert legend(right) == ["lr 2", "lr 1"]


# --- comparisons ----------------------------------------------------------------------------


def test_spread_lines_stand_side_by_side():
    table = pd.DataFrame(
        {
            "lambda": [0.1, 0.1, 0.001, 0.1],
            "score": [60.0, 70.0, 50.0, 80.0],
            "method": ["a", "a", "a", "b"],
        }
    )
    (axes,) = figures.spread_lines(table, "lambda", "score", "method", labels=LABELS).axes
    assert ticks(axes.xaxis) == ["0.001", "0.1"]
    assert legend(axes) == ["a", "b"]
    assert axes_labels(axes) == LABELS
    first, second = error_bars(axes)
    np.testing.assert_allclose(first[0], [[-0.045, 50], [0.955, 65]])
    spread = np.std([60, 70], ddof=1)
    np.testing.assert_allclose(first[1][:, :, 1], [[50, 50], [65 - spread, 65 + spread]])
    np.testing.assert_allclose(second[0], [[1.045, 80]])


def test_panel_lines_have_a_panel_a_data_set_and_dashed_marks():
    table = pd.DataFrame(
        {
            "norm": [1.0, 1.0, 10.0, 1.0],
            "Diff": [60.0, 70.0, 50.0, 80.0],
            "head": ["a", "a", "a", "b"],
            "data": ["X", "X", "X", "Y"],
        }
    )
    marks = pd.DataFrame({"norm": [3.0], "head": ["b"], "data": ["Y"]})
    figure = figures.panel_lines(
        table, "norm", "Diff", "head", "data", labels=LABELS, marks=marks, xscale="log"
    )
    left, right = figure.axes
    assert [left.get_title(), right.get_title()] == ["X", "Y"]
    assert (left.get_xlabel(), left.get_ylabel()) == LABELS
    assert legend(right) == ["a", "b"]
    assert {axes.get_xscale() for axes in figure.axes} == {"log"}
    first = next(error_bars(left))
    np.testing.assert_allclose(first[0], [[1, 65], [10, 50]])
    spread = np.std([60, 70], ddof=1)
    np.testing.assert_allclose(first[1][0][:, 1], [65 - spread, 65 + spread])
    dashed = [line for line in right.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == [3.0]
    colours = [colour for _, _, colour in error_bars(right)]
    assert to_hex(dashed[0].get_color()) == colours[1]


def test_differences_beyond_their_interval_stand_out():
    table = pd.DataFrame(
        {"share": [10.0, 20.0, 5.0], "mean": [1.0, -3.0, 0.5], "interval": [2.0, 1.0, np.nan]},
        index=["small", "clear", "alone"],
    )
    left, right = figures.differences(table, labels=LABELS).axes
    assert [bar.get_width() for bar in left.patches] == [10, 20, 5]
    assert ticks(left.yaxis) == ["small", "clear", "alone"]
    assert left.yaxis_inverted()
    assert (left.get_xlabel(), right.get_xlabel()) == LABELS
    within, beyond = error_bars(right)
    assert within[0].tolist() == [[1, 0], [0.5, 2]]
    assert beyond[0].tolist() == [[-3, 1]]
    assert beyond[1][0, :, 0].tolist() == [-4, -2]
    assert within[2] == figures.INK
    assert beyond[2] == figures.COLOURS[1].lower()


# --- bars -----------------------------------------------------------------------------------


def test_histogram_counts_into_the_bins():
    values = np.array([0.1, 0.2, 0.9, 1.5])
    (axes,) = figures.histogram(values, "chi", np.array([0.0, 0.5, 1.0, 2.0])).axes
    assert [bar.get_height() for bar in axes.patches] == [2, 1, 1]
    assert axes_labels(axes) == ("chi", "examples")


def test_stacked_bars_begin_where_the_last_part_ended():
    table = pd.DataFrame({"weight": [1.0, 2.0], "bias": [0.5, -0.25]}, index=["one", "two"])
    (axes,) = figures.stacked_bars(table, "share").axes
    weight, bias = axes.containers
    assert [(bar.get_x(), bar.get_width()) for bar in weight] == [(0, 1), (0, 2)]
    assert [(bar.get_x(), bar.get_width()) for bar in bias] == [(1, 0.5), (2, -0.25)]
    assert legend(axes) == ["weight", "bias"]
    assert ticks(axes.yaxis) == ["one", "two"]
    assert axes.yaxis_inverted()
    assert axes.get_xlabel() == "share"
    assert axes.get_xlim() == (0, 1.75)


def test_stacked_bars_of_two_levels_stand_in_groups():
    index = pd.MultiIndex.from_tuples([("sgd", "a"), ("sgd", "b"), ("signgd", "a")])
    (axes,) = figures.stacked_bars(pd.DataFrame({"part": [1.0, 2.0, 3.0]}, index=index), "").axes
    assert ticks(axes.yaxis) == ["sgd  a", "sgd  b", "signgd  a"]
    np.testing.assert_allclose(np.diff(axes.get_yticks()), [1.0, 1.7])


def test_parts_beyond_the_palette_are_hatched():
    parts = pd.DataFrame([np.ones(8)], columns=list("abcdefgh"))
    (axes,) = figures.stacked_bars(parts, "share").axes
    assert [bool(bar.get_hatch()) for bar in axes.patches] == 6 * [False] + 2 * [True]


# --- matrices -------------------------------------------------------------------------------


def test_kernel_matrix_is_centred_scaled_and_sorted_by_label():
    features = np.random.default_rng(0).normal(size=(5, 2, 9))
    labels = np.array([1, 0, 1, 0, 0])
    values = np.einsum("icp,jdp->icjd", features, features)
    axes, bar = figures.kernel_matrix(values, labels, ["no", "yes"]).axes
    centre = np.eye(5) - 1 / 5
    centred = centre @ np.einsum("icjc->ij", values) @ centre
    scale = np.sqrt(np.diag(centred))
    order = [1, 3, 4, 0, 2]
    np.testing.assert_allclose(image(axes), (centred / np.outer(scale, scale))[order][:, order])
    assert ticks(axes.xaxis) == ticks(axes.yaxis) == ["no", "yes"]
    assert axes.get_xticks().tolist() == [1.0, 3.5]
    assert [line.get_ydata()[0] for line in axes.lines[::2]] == [2.5]
    assert "centred" in bar.get_ylabel()


def test_selection_grid_has_a_cell_a_point():
    table = pd.DataFrame(
        {
            "regularization": [0.1, 0.1, 1.0, 1.0],
            "f0_scale": [np.inf, 10.0, np.inf, 10.0],
            "dev_score": [50.0, 62.5, np.nan, 75.0],
        }
    )
    axes, bar = figures.selection_grid(table, "regularization", "f0_scale").axes
    np.testing.assert_array_equal(image(axes), [[62.5, 50], [75, np.nan]])
    assert written(axes) == {
        (0, 0): "62.5", (0, 1): "50.0", (1, 0): "75.0", (1, 1): "diverged",
    }  # fmt: skip
    assert (ticks(axes.xaxis), ticks(axes.yaxis)) == (["10", "inf"], ["0.1", "1"])
    assert axes_labels(axes) == ("f0 scale", "regularization")
    assert bar.get_ylabel() == "dev score"


def test_heat_map_is_the_table():
    table = pd.DataFrame([[1.0, np.nan], [3.0, 4.0]], index=["a", "b"], columns=["p", "q"])
    figure = figures.heat_map(table, "size", axes_labels=LABELS, text="{:.1f}")
    axes, bar = figure.axes
    np.testing.assert_array_equal(image(axes), table)
    assert written(axes) == {(0, 0): "1.0", (1, 0): "3.0", (1, 1): "4.0"}
    assert (ticks(axes.xaxis), ticks(axes.yaxis)) == (["p", "q"], ["a", "b"])
    assert axes_labels(axes) == LABELS
    assert bar.get_ylabel() == "size"
    assert axes.get_images()[0].get_clim() == (1, 4)


def test_logarithmic_colours_leave_a_zero_empty():
    axes, _ = figures.heat_map(pd.DataFrame([[0.0, 0.01], [-1.0, 10.0]]), "size", log=True).axes
    np.testing.assert_array_equal(image(axes), [[np.nan, 0.01], [np.nan, 10.0]])
    norm = axes.get_images()[0].norm
    assert isinstance(norm, LogNorm)
    assert (norm.vmin, norm.vmax) == (0.01, 10)
    assert not axes.texts


def test_diverging_colours_are_symmetric_and_cells_outlined():
    table = pd.DataFrame([[-3.0, 1.0, np.nan]])
    axes, _ = figures.heat_map(table, "size", diverging=True).axes
    assert axes.get_images()[0].get_clim() == (-3, 3)
    assert [patch.get_xy() for patch in axes.patches] == [(-0.5, -0.5), (0.5, -0.5)]


def test_matrix_product_shows_both_factors_and_what_they_make():
    left, right = np.random.default_rng(0).normal(size=(2, 3, 3))
    factors, names = (left[:, :2], right[:2]), ("d", "x", "gradient")
    shown = figures.matrix_product(factors, names).axes
    for axes, matrix in zip(shown[::2], (*factors, factors[0] @ factors[1]), strict=True):
        np.testing.assert_allclose(image(axes), matrix)
        low, high = axes.get_images()[0].get_clim()
        assert low == -high
    titles = [axes.get_title() for axes in shown[::2]]
    assert titles == ["d\n3 x 2", "x\n2 x 3", "gradient\n3 x 3"]
    assert [axes.texts[0].get_text() for axes in shown[1::2]] == ["×", "="]


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "draw",
    [
        lambda table: figures.spread_lines(table, "x", "y", "by", labels=LABELS),
        lambda table: figures.panel_lines(table, "x", "y", "by", "panel", labels=LABELS),
        lambda table: figures.differences(table, labels=LABELS),
        lambda table: figures.stacked_bars(table, "share"),
        lambda table: figures.selection_grid(table, "x", "y"),
        lambda table: figures.heat_map(table, "size"),
        lambda table: figures.heat_map(pd.DataFrame([[np.nan, np.inf]]), "size"),
        lambda table: figures.heat_map(pd.DataFrame([[0.0, -1.0]]), "size", log=True),
        lambda table: figures.matrix_product((np.ones((0, 2)), np.ones((2, 3))), ("", "", "")),
        lambda table: figures.matrix_product((np.ones((3, 2)), np.ones((3, 2))), ("", "", "")),
    ],
    ids=[
        "spread lines", "panel lines", "differences", "stacked bars", "selection grid", "heat map",
        "no finite number", "no positive number", "empty factor", "factors do not fit",
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(draw):
    with pytest.raises(InputError, match="to draw"):
        draw(pd.DataFrame())
    assert plt.get_fignums() == []


def test_a_setting_of_names_has_its_names_and_no_lines():
    table = pd.DataFrame(
        {"task": ["a", "b"] * 2, "y": [1.0, 2.0, 3.0, 4.0], "m": ["u", "u", "v", "v"]}
    )
    (axes,) = figures.spread_lines(table, "task", "y", "m", labels=("task", "y")).axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a", "b"]
    assert {line.get_linestyle() for line in axes.lines if len(line.get_xdata()) == 2} <= {"None"}


def test_twelve_groups_look_different():
    table = pd.DataFrame({"x": range(12), "y": range(12), "g": list("abcdefghijkl"), "p": "one"})
    (axes,) = figures.relations(table, "x", "y", "g", panel="p", label="x").axes
    assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == 12


def test_a_forest_has_a_row_for_each_name_under_its_group_and_a_colour_for_each_view():
    table = pd.DataFrame(
        [
            ("p", "first", "a", "two", 0.5, 0.4, 0.6), ("p", "second", "b", "one", -0.5, -1.0, 0.0),
            ("p", "second", "b", "two", 0.25, np.nan, np.nan), ("q", "first", "a", "one", 1, 1, 1),
        ],
        columns=["panel", "group", "row", "view", "value", "low", "high"],
    )  # fmt: skip
    left, right = figures.forest(table, ["one", "two"], label="tau", margin=0.2).axes
    assert ticks(left.yaxis) == ["first", "a", "second", "b"]
    assert legend(left) == ["one", "two"]
    assert [axes.get_title(loc="left") for axes in (left, right)] == ["p", "q"]
    height = dict(zip(ticks(left.yaxis), left.get_yticks(), strict=True))
    one, two = (c.get_offsets() for c in left.collections if isinstance(c, PathCollection))
    assert one.tolist() == [[-0.5, pytest.approx(height["b"], abs=0.3)]]
    assert two[:, 0].tolist() == [0.5, 0.25]
    assert two[:, 1].tolist() == pytest.approx([height["a"], height["b"]], abs=0.3)
    lines = [c.get_segments()[0] for c in left.collections if isinstance(c, LineCollection)]
    assert [line[:, 0].tolist() for line in lines] == [[-1.0, 0.0], [0.4, 0.6]]
    with pytest.raises(InputError, match="no estimates"):
        figures.forest(table[:0], ["one"], label="tau")
