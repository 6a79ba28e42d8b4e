"""After a forecast: what is learned from what, what chooses, and what came true, by hand."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from tangentlm import figures
from tangentlm.errors import InputError
from tangentlm.forecast import came_true
from tangentlm.forecast.came_true import answer, foretold, judged, summary, with_setfit
from tangentlm.forecast.near_duplicates import near_duplicates
from tangentlm.forecast.outcomes import (
    Outcome,
    asked,
    draw_texts,
    held_out,
    near_in,
    train_and_test,
)
from tangentlm.forecast.past import past_tasks
from tangentlm.forecast.predictions import both_files
from tangentlm.forecast.problem import make_problem
from tangentlm.forecast.representers import representers
from tangentlm.forecast.setfit import setfit_outcomes
from tangentlm.forecast.ways import Past
from tangentlm.params import make_run
from tangentlm.studies.checks import check
from tangentlm.studies.identity import identity

TINY = {
    "task": "reviews", "model": "pocket-xs", "train_size": 20, "test_size": 30, "epochs": 1,
    "full_rates": [1e-4, 4e-3], "lora_rates": [4e-3],
}  # fmt: skip


@pytest.fixture(scope="module")
def run():
    return make_run("forecast_outcome", TINY)


@pytest.fixture(scope="module")
def drawn(run):
    task, train, test = draw_texts(run)
    return make_problem(train, run.model, seed=run.seed, **asked(run, task)), train, test


def test_no_test_row_is_one_that_is_learned_from(run, drawn):
    _, train, test = drawn
    assert (len(train.texts), len(test.texts)) == (20, 30)
    assert not set(train.texts) & set(test.texts)
    again = draw_texts(
        make_run("setfit_baseline", {"task": "reviews", "train_size": 20, "test_size": 30})
    )
    assert again[1:] == (train, test)  # SetFit learns from the same rows


def test_the_interval_of_an_outcome_is_wilsons():
    found = Outcome.of("any", np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 1]))
    ends = binomtest(4, 5).proportion_ci(0.95, method="wilson")
    assert (found.accuracy, found.low, found.high) == pytest.approx(
        (80, 100 * ends.low, 100 * ends.high)
    )


def test_held_out_ways_without_training(run, drawn):
    problem, train, test = drawn
    found = {outcome.method: outcome.accuracy for outcome in held_out(problem, test, run.seed)}
    truth = np.array(test.labels)
    majority = np.bincount(train.labels).argmax()
    assert found["majority"] == pytest.approx(100 * (truth == majority).mean())
    # The kernel of all rows with all rows gives what that with the training rows alone gives.
    kernel, _ = problem.kernel(both_files(train, test))
    groups = near_duplicates(train)[0]
    regression = representers(kernel[:20, :20], kernel[:20, 20:], np.array(train.labels), 2, groups)
    assert found["kernel regression"] == pytest.approx(100 * (regression.predicted == truth).mean())
    zero_shot = problem.zero_shot(test).argmax(axis=1)
    assert found["zero-shot"] == pytest.approx(100 * (zero_shot == truth).mean())
    assert set(found) == {"majority", "bag of words", "zero-shot", "probe", "kernel regression"}


def test_labels_of_test_rows_choose_nothing(run, drawn):
    problem, _, test = drawn
    outcomes, trainings = train_and_test(run, problem, test)
    turned = dataclasses.replace(test, labels=tuple(1 - label for label in test.labels))
    others, again = train_and_test(run, problem, turned)
    assert again == trainings
    for outcome, other in zip(outcomes, others, strict=True):
        assert outcome.accuracy + other.accuracy == pytest.approx(100)
    assert [outcome.method for outcome in outcomes] == ["LoRA", "full fine-tuning"]
    full = [t for t in trainings if t.method == "full fine-tuning"]
    assert [t.learning_rate for t in full] == [1e-4, 4e-3]
    best = max(full, key=lambda t: (t.dev_score, -t.dev_loss))
    assert [t.chosen for t in full] == [t is best for t in full]
    lora = next(t for t in trainings if t.method == "LoRA")
    assert lora.parameters < full[0].parameters / 10


def test_near_duplicates_in_the_test_rows_are_counted(drawn):
    _, train, test = drawn
    before = near_in(train, test)
    copy = train.texts[0] + " !"
    more = dataclasses.replace(
        test, texts=(copy, *test.texts[1:]), labels=(train.labels[0], *test.labels[1:])
    )
    assert near_in(train, more) == before + 1


def test_the_identity_knows_rows_rates_and_model(run):
    mine = identity(run)
    assert not mine.unknown
    for other in ({"seed": 21}, {"full_rates": [1e-4]}, {"model": "pocket-s"}):
        assert identity(make_run("forecast_outcome", {**TINY, **other})) != mine
    setfit = make_run("setfit_baseline", {"task": "reviews", "model": "pocket-xs"})
    assert identity(setfit).engine == 0


def test_what_cannot_work_is_refused_before_it_starts(run):
    check([run])
    with pytest.raises(InputError, match="none is left to test on"):
        check([make_run("forecast_outcome", {**TINY, "train_size": 100_000})])
    with pytest.raises(InputError, match="reviews"):
        make_run("forecast_outcome", {**TINY, "task": "review"})


@pytest.mark.skipif(find_spec("setfit") is not None, reason="SetFit is installed")
def test_without_its_package_setfit_says_what_to_install():
    setfit = make_run("setfit_baseline", {"task": "reviews", "model": "pocket-xs"})
    for use in (lambda: setfit_outcomes(setfit), lambda: check([setfit])):
        with pytest.raises(InputError, match=r"pip install .tangentlm\[setfit\]"):
            use()


def test_past_tasks_without_some():
    every, fewer = past_tasks(), past_tasks(without=("subj", "snli", "no such task"))
    left = [row for row in every.rows if row.task not in ("subj", "snli")]
    assert list(fewer.rows) == left
    gains = [row.finetuned - row.kernel for row in left]
    assert fewer.quantiles["50"] == pytest.approx(float(np.median(gains)))


SCORES = {"majority": 50, "bag of words": 70, "probe": 60, "kernel regression": 80}
REACHED = {**SCORES, "LoRA": 82, "full fine-tuning": 84}


@pytest.fixture
def records(monkeypatch):
    """Made-up records of two tasks: on the hopeless one nothing is above chance."""
    tables = {
        "forecast_outcome": [
            {"run": "a", "task": "subj", "seed": 13}, {"run": "b", "task": "snli", "seed": 13},
        ],
        "forecast_outcome-expected": [
            {"run": "a", "method": m, "accuracy": v, "low": v - 5, "high": v + 5}
            for m, v in SCORES.items()
        ]
        + [
            {"run": "b", "method": m, "accuracy": 34, "low": 30, "high": 38} for m in SCORES
        ],
        "forecast_outcome-outcomes": [
            {"run": "a", "method": m, "accuracy": v + 3, "low": 0, "high": 100}
            for m, v in REACHED.items()
        ]
        + [
            {"run": "b", "method": m, "accuracy": 46 if m == "probe" else 33, "low": 0, "high": 9}
            for m in REACHED
        ],
        "forecast_outcome-differences": [
            {"run": "a", "better": "kernel regression", "worse": "probe", "points": 9, "low": 1},
            {"run": "b", "better": "probe", "worse": "majority", "points": 4, "low": 1},
        ],
        "setfit_baseline": [{"run": "s", "task": "subj", "seed": 13}],
        "setfit_baseline-outcomes": [{"run": "s", "method": "SetFit", "accuracy": 90.0}],
    }  # fmt: skip
    frames = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    for read in ("read_collected", "read_collected_table"):
        monkeypatch.setattr(came_true, read, lambda _study, name: frames[name].copy())
    return frames


PAST = Past((), {"10": -1.0, "50": 2.0, "90": 6.0}, "")


def test_what_was_foretold_beside_what_came(records):
    table = foretold(PAST)
    of_subj = table[table["task"] == "subj"].set_index("method")
    assert of_subj.loc["probe", ["expected", "low", "high", "outcome"]].tolist() == [60, 55, 65, 63]
    # Fine-tuning: kernel regression's 80 and what past tasks added.
    full = of_subj.loc["full fine-tuning", ["low", "expected", "high", "outcome"]]
    assert full.tolist() == [79, 82, 86, 87]
    assert not of_subj.loc["full fine-tuning", "inside"]
    assert of_subj.loc["LoRA", "inside"]
    without = foretold(Past((), {}, "")).set_index("method")
    assert without.loc[["LoRA", "full fine-tuning"], "inside"].isna().all()


def test_expectations_are_judged_and_misses_are_told(records):
    table = foretold(PAST)
    verdicts = judged(table).set_index(["task", "expectation"])["verdict"]
    subj, snli = verdicts.loc["subj"], verdicts.loc["snli"]
    assert subj["kernel regression is above a bag of words by 4 points"] == "came true"
    assert subj["full fine-tuning is above a bag of words by 4 points"] == "came true"
    assert subj["the forecast says kernel regression is above the probe"] == "came true"
    assert subj["full fine-tuning comes out where it was foretold"] == "missed"
    assert snli["no way reaches 45 %"] == "missed"
    most = "the forecast's best way is less than 10 points above the largest class"
    assert snli[most] == "came true"
    assert verdicts.loc["agnews"].tolist() == ["not run"]
    text = answer(table, judged(table))
    assert "On 2 of 3 tasks" in text
    # Of the ways without training the probe on snli alone is outside.
    assert "7 of 8 held-out scores" in text
    run = verdicts[verdicts != "not run"]
    missed = (run == "missed").sum()
    assert f"{len(run) - missed} came true and {missed} were missed" in text


def test_setfit_stands_beside_without_a_forecast(records):
    both = with_setfit(foretold(PAST))
    means = summary(both).set_index(["task", "method"])
    assert means.loc[("subj", "SetFit"), "outcome"] == 90
    assert means.loc[("subj", "SetFit"), "inside"] == ""
    assert means.loc[("subj", "probe"), "inside"] == "1 of 1"
    assert np.isnan(means.loc[("subj", "probe"), "spread"])
    drawing = figures.foretold_panels(both.assign(panel=both["task"]), "accuracy (%)")
    assert [axes.get_title() for axes in drawing.axes] == ["subj", "snli"]


def test_without_records_the_page_says_so(monkeypatch):
    for read in ("read_collected", "read_collected_table"):
        monkeypatch.setattr(came_true, read, lambda *_: pd.DataFrame())
    table = with_setfit(foretold(PAST))
    verdicts = judged(table)
    assert table.empty
    assert set(verdicts["verdict"]) == {"not run"}
    assert "not run" in answer(table, verdicts)
    assert summary(table).empty
    with pytest.raises(InputError, match="no forecasts"):
        figures.foretold_panels(table, "accuracy (%)")
