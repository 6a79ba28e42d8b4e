"""The page of a forecast: complete, escaped, readable by machines, and in nobody's way."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from made_up_forecast import made_up_forecast
from tangentlm.errors import InputError
from tangentlm.forecast import report
from tangentlm.forecast.drawing import Scale
from tangentlm.forecast.pictures import Interval, dot_plot, learning_curves, packed_kernel
from tangentlm.forecast.result import Forecast, KernelPicture
from tangentlm.forecast.rows import Suspects
from tangentlm.forecast.ways import Past
from tangentlm.studies.records import environment

MADE = environment("cpu")
VOID = {"meta", "br", "link", "img", "input", "hr"}
SECTIONS = (
    "answer", "scores", "curve", "past", "costs", "suspects", "duplicates", "predictions", "kernel",
    "layers", "data", "cannot", "how",
)  # fmt: skip
AWKWARD = (
    "<script>alert('mine')</script> \"double\" 'single' & &amp; </textarea>",
    "</script><!-- <script> ]]> </style>",
    "nothing \x00 and a bell \x07 and \x85",
    "שלום עולם",
    "\u202eturned around",
    "flags and families 🎉 👩‍👩‍👧",
    "x" * 100_000,
    "words and words " * 6_250,
    "half \ud800 a pair",
    "   ",
    "a line\nand\tanother\r\n",
    "{{ 7 * 7 }} {% raw %} ${7 * 7}",
)


class Tree(HTMLParser):
    """Reads a page and refuses one whose elements do not close in order."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.texts, self.scripts = [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.open)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.scripts if self.open[-1:] == ["script"] else self.texts).append(data)

    def all(self, tag):
        return [given for name, given, _ in self.elements if name == tag]


@pytest.fixture(scope="module")
def plain():
    return Tree(report.page(made_up_forecast(), MADE))


@pytest.fixture(scope="module")
def awkward_page():
    classes = ("<b>bad</b>", "a\x00" * 200, "טוב")
    return report.page(made_up_forecast(AWKWARD, classes, rows=200), MADE)


# --- what is there ------------------------------------------------------------------------------


def test_every_section_is_there_and_can_be_reached(plain):
    assert tuple(given["id"] for given in plain.all("section")) == SECTIONS
    assert len(plain.all("h2")) == len(SECTIONS)
    ids = {given["id"] for _, given, _ in plain.elements if "id" in given}
    targets = {given["href"].removeprefix("#") for given in plain.all("a")}
    assert set(SECTIONS) <= targets <= ids


def test_the_answer_comes_first(plain):
    text = " ".join(plain.texts)
    forecast = made_up_forecast()
    places = [text.index(sentence) for sentence in (*forecast.answer, "74.4", *forecast.cannot)]
    assert places[:3] == sorted(places[:3])
    assert text.index("gets 74.4") < text.index("Macro-F1") < text.index(forecast.cannot[0])


def test_what_the_dataclass_says_is_on_the_page(plain):
    text = " ".join(" ".join(plain.texts).split()).replace("\u00a0", " ")
    for words in (
        "60 texts", "4.1 million parameters", "no template was given", "2 rows without a label",
        "From the study pocket", "4 × 5 folds", "+10.6", "−1.4 to 6.3", "Five timed steps",
        "Not measured: the package is not here.", "1.8 GiB", "test row 17", "disagree",
        "Row 2 is also in the training file.", "repeated 4 times instead of 10", "1,000 draws",
        "label words bad , so , good", f"torch {MADE['torch']}", MADE["revision"], "10 min allowed",
    ):  # fmt: skip
        assert words in text, words


def test_a_page_without_a_test_file_has_no_predictions():
    tree = Tree(report.page(made_up_forecast(predictions=False), MADE))
    assert [g["id"] for g in tree.all("section")] == [s for s in SECTIONS if s != "predictions"]
    assert "#predictions" not in {given["href"] for given in tree.all("a")}


def test_what_was_not_computed_is_said_and_breaks_nothing():
    full = made_up_forecast()
    empty = replace(
        full,
        scores=tuple(replace(s, accuracy=None, reason="too few rows") for s in full.scores),
        differences=(), curve=(), layers=(), duplicates=(),
        kernel=KernelPicture((), (), (), (), "The rows are too few."),
        suspects=Suspects((), 40.0, 41.0, "No better than the majority."),
        past=Past((), {}, "No records are here."),
    )  # fmt: skip
    tree = Tree(report.page(empty, MADE))
    text = " ".join(tree.texts)
    assert tree.all("svg") == tree.all("canvas") == []
    for words in ("too few rows", "The rows are too few.", "No better than the majority.",
                  "No records are here.", "No near-duplicates", "no learning curve",
                  "was not split"):  # fmt: skip
        assert words in text, words


def test_numbers_that_are_not_finite_are_dashes():
    full = made_up_forecast()
    nan = float("nan")
    page = report.page(
        replace(
            full,
            curve=(replace(full.curve[0], low=nan), *full.curve[1:]),
            layers=(replace(full.layers[0], share=nan, without=nan), *full.layers[1:]),
            differences=(replace(full.differences[0], points=nan, low=nan, high=nan),),
        ),
        MADE,
    )
    Tree(page)
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)


def test_long_lists_are_cut_and_say_so(monkeypatch):
    monkeypatch.setattr(report, "ROWS", 3)
    text = " ".join(" ".join(Tree(report.page(made_up_forecast(), MADE)).texts).split())
    assert "The first 3 of 12 suspects are here; all are in the JSON file" in text
    assert "The first 3 of 6 rows, those that are least sure," in text


# --- what a user may write ----------------------------------------------------------------------


def test_a_user_s_text_makes_no_element(awkward_page, plain):
    tree = Tree(awkward_page)
    known = {tag for tag, _, _ in plain.elements}
    assert {tag for tag, _, _ in tree.elements} <= known
    assert len(tree.all("script")) == len(plain.all("script")) == 2
    assert not any(name.startswith("on") for _, given, _ in tree.elements for name in given)
    shown = " ".join(tree.texts)
    for text in (AWKWARD[0], AWKWARD[1], AWKWARD[3], AWKWARD[5], AWKWARD[11], "<b>bad</b>"):
        assert text in shown, text


def test_what_no_page_can_hold_is_made_visible(awkward_page):
    awkward_page.encode("utf-8")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", awkward_page)
    for words in ("nothing ␀ and a bell ␇", "half � a pair", "�turned around", "(empty)",
                  "a line and another"):  # fmt: skip
        assert words in awkward_page, words


def test_user_texts_are_isolated(awkward_page):
    inside = [(text, tree) for text, tree in texts_with_parents(awkward_page) if "שלום" in text]
    assert inside
    assert all(parents[-1] in ("bdi", "script") for _, parents in inside)


def texts_with_parents(page):
    found = []

    class Watching(Tree):
        def handle_data(self, data):
            found.append((data, tuple(self.open)))
            super().handle_data(data)

    Watching(page)
    return found


def test_a_long_text_is_short_and_more_of_it_is_under_the_mouse(awkward_page):
    assert len(awkward_page) < 400_000
    titles = [given["title"] for given in Tree(awkward_page).all("bdi") if "title" in given]
    assert titles
    assert max(map(len, titles)) < 1600
    assert any(title.startswith("x" * 1000) for title in titles)
    assert "x" * 240 + " … (100,000 characters)" in awkward_page


@pytest.mark.parametrize(
    ("text", "longest", "short"),
    [
        ("as it is", 8, "as it is"),
        ("  much\n white\tspace ", 40, "much white space"),
        ("one two", 3, "one … (7 characters)"),
        (" " * 100 + "far", 5, " … (103 characters)"),
        ("", 5, ""),
    ],
)
def test_a_text_is_shortened(text, longest, short):
    assert report.shortened(text, longest) == short


# --- the kernel ---------------------------------------------------------------------------------


def unpacked(data, n):
    numbers = np.frombuffer(base64.b64decode(data["values"]), dtype="<u2")
    kernel = np.zeros((n, n))
    kernel[np.triu_indices(n)] = data["low"] + numbers / 65535 * (data["high"] - data["low"])
    return np.maximum(kernel, kernel.T) if data["low"] >= 0 else kernel + np.triu(kernel, 1).T


def test_the_kernel_can_be_read_back(awkward_page):
    (held,) = (text for text in Tree(awkward_page).scripts if '"values"' in text)
    data = json.loads(held)
    forecast = made_up_forecast(rows=200)
    assert len(held) < 150_000
    assert np.abs(unpacked(data, 200) - np.array(forecast.kernel.values)).max() < 2e-5
    assert data["rows"] == list(range(200))
    assert data["low"] <= data["from"] < data["to"] <= data["high"]
    assert not set("<>&") & set(held)
    assert data["texts"][0] == AWKWARD[0]


@pytest.mark.parametrize("values", [[[1.0]], [[1.0, 1.0], [1.0, 1.0]], [[1.0, None], [None, 1.0]]])
def test_a_kernel_without_a_range_is_packed(values):
    data = packed_kernel(values)
    assert np.isfinite([data[name] for name in ("low", "high", "from", "to")]).all()
    assert unpacked(data, len(values)) == pytest.approx(np.ones((len(values),) * 2))


# --- who reads it -------------------------------------------------------------------------------


def test_the_page_needs_nothing_else(plain):
    page = report.page(made_up_forecast(), MADE)
    assert not re.search(r"https?:|url\(|@import|<link|\ssrc=|fetch\(|import\(", page)


def test_those_who_see_nothing_hear_everything(plain):
    assert plain.all("html") == [{"lang": "en"}]
    assert len(plain.all("caption")) == len(plain.all("table")) > 8
    heads = [given for tag, given, parents in plain.elements if tag == "th" and "thead" in parents]
    assert all(given.get("scope") == "col" for given in heads)
    for picture in [*plain.all("svg"), *plain.all("canvas")]:
        assert picture["role"] == "img"
        assert len(picture["aria-label"]) > 60
    assert len(plain.all("svg")) == 5
    assert any(
        "kernel regression: 74.4 (68.0 to 80.1)" in given["aria-label"]
        for given in plain.all("svg")
    )


def colours(block):
    return dict(re.findall(r"--(\w+): (#\w{6})", block))


def luminance(colour):
    parts = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("block", range(3), ids=["light", "dark", "print"])
def test_colours_stand_out_from_their_ground(block):
    """WCAG 2: 4.5 for words, 3 for what is drawn."""
    style = resources.files("tangentlm.forecast").joinpath("page/report.css").read_text("utf-8")
    found = colours(re.findall(r":root \{(.*?)\}", style, re.DOTALL)[block])

    def contrast(one, other):
        dark, light = sorted((luminance(found[one]), luminance(found[other])))
        return (light + 0.05) / (dark + 0.05)

    assert {"ground", "panel", "ink", "quiet", "link", *(f"c{n}" for n in range(5))} <= set(found)
    for ground in ("ground", "panel"):
        assert all(contrast(words, ground) >= 4.5 for words in ("ink", "quiet", "link"))
        assert all(contrast(f"c{n}", ground) >= 3 for n in range(5))


# --- pictures -----------------------------------------------------------------------------------


def test_a_scale_puts_its_ends_at_the_ends():
    scale = Scale(10, 1000, 40, 440, logarithmic=True)
    assert [scale.at(value) for value in (10, 100, 1000)] == [40, 240, 440]
    assert Scale(0, 10, 200, 0).at(2.5) == 150
    ticks = Scale(33.3, 71.9, 0, 1).ticks()
    assert len(ticks) >= 3
    assert min(ticks) >= 33.3
    assert max(ticks) <= 71.9


def test_what_is_extrapolated_is_drawn_otherwise():
    points = json.loads(made_up_forecast().to_json())["curve"]
    every = learning_curves(points)
    measured = learning_curves([point for point in points if not point["extrapolated"]])
    assert every.count('class="curve') == 6
    assert every.count("beyond") == 6  # a dashed curve and its band for each of three ways
    assert every.count("hollow") == 6
    assert "beyond" not in measured
    assert "hollow" not in measured
    assert "extrapolated" in every


def test_a_dot_plot_of_one_value_without_an_interval():
    Tree(dot_plot([Interval("<only>", 50.0, None, None)], "axis", "About."))


# --- files --------------------------------------------------------------------------------------


def test_the_json_is_the_dataclass(tmp_path):
    forecast = made_up_forecast(AWKWARD)
    page, beside = report.write_report(forecast, tmp_path / "report.html")
    held = json.loads(beside.read_text(encoding="utf-8"))
    assert held.pop("made_by") == "tangentlm forecast"
    assert held.pop("environment")["torch"] == MADE["torch"]
    assert held == json.loads(forecast.to_json())
    assert set(held) == {field.name for field in fields(Forecast)}
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


@pytest.mark.parametrize("name", ["report.html", "report.json"])
def test_a_file_of_another_origin_is_not_replaced(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name}' is no report of this command"):
        report.write_report(made_up_forecast(), tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_report_replaces_a_report(tmp_path):
    path = tmp_path / "report.html"
    report.write_report(made_up_forecast(), path)
    report.write_report(replace(made_up_forecast(), cannot=("Something new.",)), path)
    assert "Something new." in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("reason", [None, "too weak"])
def test_the_accuracy_of_leaving_one_out_is_said_to_flatter(reason):
    made = made_up_forecast()
    made = replace(made, suspects=replace(made.suspects, reason=reason))
    assert report.page(made, MADE).count("Leaving one out flatters a little") == 1


def test_what_was_made_smaller_stands_below_the_answer():
    made = made_up_forecast()
    before = report.page(made, MADE).partition('<section id="scores">')[0]
    assert all(sentence in before for sentence in made.settings.reduced)


def test_a_page_that_fails_leaves_the_one_before(tmp_path):
    path = tmp_path / "report.html"
    report.write_report(made_up_forecast(), path)
    before = path.read_bytes(), path.with_suffix(".json").read_bytes()
    broken = made_up_forecast()
    object.__setattr__(broken, "past", None)
    with pytest.raises(TypeError):
        report.write_report(broken, path)
    assert (path.read_bytes(), path.with_suffix(".json").read_bytes()) == before


def test_an_interruption_leaves_no_half_of_a_page(tmp_path, monkeypatch):
    def interrupted(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        report.write_report(made_up_forecast(), tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("report.json", "has to end in .html"),
        ("report", "has to end in .html"),
        ("missing/report.html", "no folder"),
    ],
)
def test_a_wrong_place_is_refused(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        report.check_place(tmp_path / name)
