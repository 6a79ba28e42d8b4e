"""Measures over a ladder of widths, against numbers made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tangentlm.analysis import ladder, slopes
from tangentlm.figures import unit_lines

WIDTHS = (64, 128, 256)
BY = ["parametrization", "prompt"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Collected results of a ladder whose output derivative is known."""
    (tmp_path / "params").mkdir()
    monkeypatch.setenv("TANGENTLM_ROOT", str(tmp_path))
    random = np.random.default_rng(0)
    models, runs, examples = [], [], []
    for kind in ("standard", "mup"):
        for step, width in enumerate(WIDTHS):
            name = f"l-w{width}-{kind}"
            facts = {"held_out_loss": 4.0 - step, "parameters": width}
            models.append({"run": name, "width": width, "parametrization": kind, **facts})
            for number, task in enumerate(("a", "b", "c", "d")):
                for seed in (1, 2):
                    run = f"{name}-{task}-{seed}"
                    # muP falls by 0.1 a doubling, a little more or less with the task.
                    fall = 0.1 + 0.001 * number if kind == "mup" else 0.01 * (-1) ** number
                    noise = 0.02 * (2 * seed - 3)
                    runs.append(
                        {
                            "run": run, "model": f"run:lad/{name}", "task": task, "seed": seed,
                            "prompt": "manual", "width": width, "method": "sgd",
                            "chi": 0.5 - fall * step + noise, "share": np.nan,
                        }
                    )  # fmt: skip
                    start = np.random.default_rng(number).uniform(0.3, 0.7, 5)
                    sign = -1 if kind == "mup" else random.choice([-1, 1], 5)
                    chi = (start + sign * 0.29 * step / 2).clip(0.05)
                    examples.append({"run": run, **{str(i): x for i, x in enumerate(chi)}})
    for study, name, rows in (
        ("lad", "pretrain", models),
        ("nat", "natural_tasks", runs),
        ("nat", "natural_tasks-chi_by_example", examples),
    ):
        folder = tmp_path / "results" / study
        folder.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    return tmp_path


def test_every_run_stands_beside_the_facts_of_its_model(project):
    table = ladder.ladder_measures("nat", "lad")
    assert len(table) == 2 * len(WIDTHS) * 4 * 2
    assert set(table["parametrization"]) == {"standard", "mup"}
    assert (table["width"].astype(str) == table["model"].str.extract(r"-w(\d+)-")[0]).all()
    assert ladder.ladder_measures("nat", "lad", "sgd-unclipped").empty
    examples = pd.read_csv(project / "results" / "nat" / "natural_tasks-chi_by_example.csv")
    largest = {row[0]: max(row[1:]) for row in examples.itertuples(index=False)}
    assert table["chi_max"].tolist() == [largest[run] for run in table["run"]]
    assert (table["parameters"] == table["width"]).all()


def test_a_measure_that_never_changes_neither_rises_nor_falls(project):
    measures = ladder.ladder_measures("nat", "lad").assign(same=53.1)
    changes = slopes.per_doubling(measures, ["same"], BY)
    assert set(changes["verdict"]) == {"not told apart"}
    assert (changes["change"] == 0).all()


def test_what_one_model_was_not_asked_is_left_out(project):
    path = project / "results" / "nat" / "natural_tasks.csv"
    runs = pd.read_csv(path)
    runs[runs["run"] != "l-w128-mup-b-2"].to_csv(path, index=False)
    table = ladder.ladder_measures("nat", "lad")
    assert len(table) == 2 * len(WIDTHS) * (4 * 2 - 1)
    left = table[(table["task"] == "b") & (table["seed"] == 2)]
    assert left.empty


@pytest.mark.parametrize("missing", ["lad", "nat"])
def test_without_one_of_the_studies_there_is_nothing(project, missing):
    for path in (project / "results" / missing).iterdir():
        path.unlink()
    table = ladder.ladder_measures("nat", "lad")
    assert table.empty
    assert ladder.examples_over_width(table, "nat", BY).empty


def test_the_change_per_doubling_is_the_slope_over_tasks(project):
    table = slopes.per_doubling(ladder.ladder_measures("nat", "lad"), ["chi", "share"], BY)
    assert table["measure"].tolist() == ["chi", "chi"]  # a measure that nobody has is left out
    both = table.set_index("parametrization")
    assert both.loc["mup", "change"] == pytest.approx(-0.1015)
    assert both.loc["mup", "verdict"] == "falls"
    assert both.loc["standard", "change"] == pytest.approx(0)
    assert both.loc["standard", "verdict"] == "not told apart"
    assert (both["tasks"] == 4).all()
    assert both.loc["mup", "low"] < -0.1015 < both.loc["mup", "high"]


def test_too_few_tasks_or_widths_give_no_verdict(project):
    measures = ladder.ladder_measures("nat", "lad")
    two = slopes.per_doubling(measures[measures["task"].isin(["a", "b"])], ["chi"], BY)
    assert set(two["verdict"]) == {"too few tasks"}
    assert slopes.per_doubling(measures[measures["width"] == 64], ["chi"], BY).empty


def test_the_unit_may_be_the_seed(project):
    measures = ladder.ladder_measures("nat", "lad")
    table = slopes.per_doubling(measures, ["chi"], BY, unit="seed")
    assert (table["seeds"] == 2).all()
    assert set(table["verdict"]) == {"too few seeds"}
    words = slopes.changes_in_words(table, {"chi": "derivative"})
    assert words.set_index("parametrization").loc["mup", "derivative"] == "-0.1"


def test_changes_in_words_have_a_row_a_ladder(project):
    measures = ladder.ladder_measures("nat", "lad")
    names = {"chi": "derivative", "share": "nobody has it"}
    words = slopes.changes_in_words(slopes.per_doubling(measures, list(names), BY), names)
    assert words["parametrization"].tolist() == ["standard", "mup"]
    assert list(words.columns[-2:]) == ["tasks", "derivative"]
    of_mup = words.set_index("parametrization").loc["mup", "derivative"]
    assert of_mup.startswith("-0.1 (")
    assert of_mup.endswith(") ↓")


def test_examples_are_followed_one_by_one(project):
    measures = ladder.ladder_measures("nat", "lad")
    table = ladder.examples_over_width(measures, "nat", BY).set_index("parametrization")
    assert (table["examples"] == 4 * 2 * 5).all()
    assert table.loc["mup", "fell"] == 100
    assert 0 < table.loc["standard", "fell"] < 100
    assert table.loc["mup", "hopeless"] == 0
    shares = table[["fell", "fell_always", "solved", "hopeless"]]
    assert ((shares >= 0) & (shares <= 100)).all(axis=None)
    assert (table["fell_always"] <= table["fell"]).all()


def test_a_line_for_every_task_and_one_for_their_mean(project):
    measures = ladder.ladder_measures("nat", "lad")
    figure = unit_lines(
        measures, "width", "chi", "prompt",
        panel="parametrization", unit="task", labels=("width", "output derivative"),
    )  # fmt: skip
    left, right = figure.axes
    assert [axes.get_title() for axes in (left, right)] == ["standard", "mup"]
    assert len(right.lines) == 4 + 1
    mean = right.lines[-1].get_ydata()
    expected = measures[measures["parametrization"] == "mup"].groupby("width")["chi"].mean()
    assert mean == pytest.approx(expected.to_numpy())


def test_two_trainings_are_compared_on_what_both_have(project):
    one = ladder.ladder_measures("nat", "lad")
    other = one[one["task"] != "d"].assign(chi=lambda rows: rows["chi"] - 0.25)
    found = ladder.of_two_trainings(one, other, ["chi"])
    assert found["width"].tolist() == [*WIDTHS, *WIDTHS]
    assert (found["tasks"] == 3).all()
    assert found["difference"].tolist() == pytest.approx([0.25] * 6)
    assert (found["one"] - found["other"]).tolist() == pytest.approx([0.25] * 6)
    assert set(found["verdict"]) == {"larger"}
    assert ladder.of_two_trainings(one, other.iloc[:0], ["chi"]).empty


def test_prompts_are_compared_on_tasks_that_were_asked_in_every_way(project):
    manual = ladder.ladder_measures("nat", "lad")
    both = pd.concat([manual, manual[manual["task"] == "a"].assign(prompt="null")])
    assert set(ladder.asked_in_every_way(both)["task"]) == {"a"}
    assert len(ladder.asked_in_every_way(manual)) == len(manual)
    assert ladder.asked_in_every_way(manual.iloc[:0]).empty
