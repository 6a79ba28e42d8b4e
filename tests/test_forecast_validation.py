"""Forecasts put to the test: what is planted and found, statistics, and a tiny run."""

from __future__ import annotations

import dataclasses
from unittest import mock

import jupytext
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from sklearn.linear_model import LogisticRegression

from made_up_study import MadeUpStudy
from tangentlm.analysis.verdicts import FAILS, NOT_RUN, UNDECIDED, Interval, too_few
from tangentlm.errors import InputError
from tangentlm.forecast import planted, trial
from tangentlm.forecast.bars import BARS, PASSES, TOO_WIDE
from tangentlm.forecast.validation import Records, doubts, judged, read_records
from tangentlm.forecast.validation_tables import in_words, summary
from tangentlm.params import ForecastValidationRun, load_study, make_run, project_root
from tangentlm.studies.identity import identity
from tangentlm.tasks.labelled_texts import LabelledTexts

SMALL = {"task": "reviews", "model": "pocket-xs", "train_size": 16, "test_size": 24}
BY_KEY = {bar.key: bar for bar in BARS}


@pytest.fixture(scope="module")
def pool():
    return trial.load_pool(ForecastValidationRun(**SMALL))


def texts_of(texts, labels=None) -> LabelledTexts:
    labels = labels or (0, 1) * len(texts)
    return LabelledTexts(
        tuple(texts), None, tuple(labels[: len(texts)]), ("0", "1"), tuple(range(len(texts))), ()
    )


class TestParameters:
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"task": "review"}, "reviews"),
            ({"model": "poket"}, "pocket"),
            ({"train_size": 4}, "train_size"),
            ({"flipped": 0.0}, "flipped"),
            ({"split": 3}, "splits"),
        ],
    )
    def test_wrong_ones_are_refused(self, values, message):
        with pytest.raises(InputError, match=message):
            make_run("forecast_validation", {"task": "reviews", **values})

    def test_a_run_is_named_for_people(self):
        assert ForecastValidationRun(task="cr", model="pocket").name == "cr-s13"
        assert ForecastValidationRun(task="cr", model="pocket-s").name == "pocket-s-cr-s13"

    def test_the_identity_knows_rows_model_and_length(self):
        run = ForecastValidationRun(**SMALL)
        own = identity(run)

        def other(**changes):
            return identity(run.model_copy(update=changes))

        assert other(data=None, out="x") == own
        assert other(seed=14).data != own.data
        assert other(test_size=25).data != own.data
        assert other(model="pocket").model != own.model
        assert other(max_length=16).parameters != own.parameters
        assert other(splits=3).parameters != own.parameters

    def test_the_study_is_of_sixteen_tasks(self):
        runs = [r for r in load_study("forecast") if isinstance(r, ForecastValidationRun)]
        assert len({run.task for run in runs}) == len(runs) == 16
        assert {(run.train_size, run.splits, run.test_size) for run in runs} == {(128, 20, 1000)}


class TestPool:
    def test_parts_of_a_shuffle_have_no_row_in_common(self):
        parts = trial.parts_of(32, 16, 5, seed=1)
        assert len(parts) == 5
        for first, second in ((0, 1), (2, 3)):
            assert sorted([*parts[first], *parts[second]]) == list(range(32))
        assert sorted(parts[0]) != sorted(parts[2])

    def test_the_kernel_is_that_of_one_computation(self, pool):
        whole = pool.problem.kernel(pool.texts)[0]
        assert pool.kernel.shape == (32, 56)
        assert np.abs(pool.kernel - whole[:32]).max() < 1e-5 * np.abs(whole).max()
        assert pool.texts.classes == ("0", "1")
        assert not pool.problem.prompted

    def test_what_is_true_is_a_refit(self, pool):
        """The probe's held-out accuracy, by scikit-learn and the strength that wins."""
        rows = np.arange(16)
        found = trial.held_out_accuracies(pool, rows, seed=0)
        features, labels, held = pool.features, pool.labels, pool.held_out
        mean, std = features[rows].mean(0), features[rows].std(0)
        seen, unseen = ((features[r] - mean) / std for r in (rows, held))
        scores = [
            100 * LogisticRegression(C=C, max_iter=2000).fit(seen, labels[rows])
            .score(unseen, labels[held])
            for C in (1e-4, 1e-3, 1e-2, 0.1, 1.0)
        ]  # fmt: skip
        assert min(abs(found["probe"] - score) for score in scores) < 1e-9
        majority = np.bincount(labels[rows]).argmax()
        assert found["majority"] == pytest.approx(100 * (labels[held] == majority).mean())

    def test_a_forecast_sees_the_labelled_rows_alone(self, pool):
        """Other held-out labels change what is true, and nothing of what is said."""
        other = dataclasses.replace(
            pool.texts,
            labels=tuple(pool.texts.labels[:32]) + tuple(1 - y for y in pool.texts.labels[32:]),
        )
        turned = dataclasses.replace(pool, problem=dataclasses.replace(pool.problem, texts=other))
        rows = np.arange(16)
        here, there = (trial.judged_forecast(p, rows, repeats=1, seed=0) for p in (pool, turned))
        told = ("output", "what", "n", "estimate", "low", "high")
        assert [[row[k] for k in told] for row in here] == [[row[k] for k in told] for row in there]
        for own, opposite in zip(here, there, strict=True):
            if own["output"] == "score":
                assert own["truth"] == pytest.approx(100 - opposite["truth"])
        whats = [row["what"] for row in here if row["output"] == "score"]
        assert whats == ["majority", "bag of words", "probe", "kernel regression"]

    def test_a_curve_is_of_a_quarter_and_says_what_the_pool_brings(self, pool):
        """Eight rows are too few for a curve; with many there is one point a way."""
        assert trial.judged_curve(pool, np.arange(8), 1, 0, {}) == []
        truth = trial.held_out_accuracies(pool, np.arange(32), seed=0)
        run = ForecastValidationRun(**(SMALL | {"train_size": 100, "test_size": 20}))
        large = trial.load_pool(run)
        found = trial.judged_curve(large, np.arange(50), 1, 0, truth)
        assert [row["n"] for row in found] == [200] * 3
        assert all(row["low"] <= row["estimate"] <= row["high"] for row in found)


class TestPlanted:
    def test_so_many_labels_are_wrong_and_each_other_class_is_as_likely(self):
        labels = np.arange(600) % 3
        wrong = planted.with_flips(labels, 3, 0.1, np.random.default_rng(0))
        flipped = wrong != labels
        assert flipped.sum() == 60
        steps = np.bincount((wrong - labels)[flipped] % 3, minlength=3)
        assert steps[0] == 0
        assert min(steps[1:]) > 15

    def test_what_is_found_of_flips(self):
        flipped = np.array([True, False, False, True])
        assert planted.found_flips(np.array([4.0, 1.0, 2.0, 3.0]), flipped) == (1.0, 1.0)
        assert planted.found_flips(np.array([4.0, 1.0, 3.0, 2.0]), flipped) == (0.75, 0.5)

    def test_self_confidence_is_the_default_score_of_cleanlab(self):
        rank = pytest.importorskip("cleanlab.rank")
        rng = np.random.default_rng(0)
        labels = np.arange(60) % 3
        features = rng.normal(size=(60, 5)) + labels[:, None]
        probabilities = planted.given_probabilities(features, labels, seed=0)
        expected = rank.get_label_quality_scores(labels, probabilities)
        assert planted.self_confidence(features, labels, seed=0) == pytest.approx(expected)

    def test_self_confidence_is_of_fits_without_the_row(self):
        """A row far on the wrong side has a low one, though a fit with it would follow it."""
        rng = np.random.default_rng(0)
        labels = np.arange(40) % 2
        features = rng.normal(size=(40, 60)) + 3 * labels[:, None]
        labels[0] = 1
        confidence = planted.self_confidence(features, labels, seed=0)
        assert confidence.argmin() == 0
        assert confidence.shape == (40,)

    @pytest.mark.parametrize("edit", planted.EDITS)
    def test_edits_change_little(self, edit):
        text = "a quiet film that grows on you with every turn of its plot"
        made = planted.with_copies(texts_of([text] * 5), edit, np.random.default_rng(0))
        assert made.texts[:5] == (text,) * 5
        assert len(made.texts) == len(made.labels) == 10
        for copy in made.texts[5:]:
            assert copy != text
            assert abs(len(copy) - len(text)) < 10

    def test_a_word_of_one_letter_has_nothing_to_swap(self):
        rng = np.random.default_rng(0)
        assert planted.EDITS["letters swapped"](["a", "!!", "oo"], rng) == ["a", "!!", "oo"]
        assert planted.EDITS["a word dropped"](["one"], rng) == ["one"]

    def test_copies_are_found_and_what_was_alike_before_is_not_wrong(self):
        rng = np.random.default_rng(0)
        words = np.array([f"{chr(97 + i)}{chr(98 + i)}{chr(99 + i)}xyz" for i in range(20)])
        long = [" ".join(rng.permutation(words)) for _ in range(6)]
        twice = texts_of([*long, long[0], "tiny one"])
        rows = {row["words"]: row for row in planted.found_copies(twice, "a word dropped", rng)}
        assert set(rows) == {1, 20}
        assert rows[20] == {"words": 20, "planted": 7, "found": 7, "wrong": 0}
        assert rows[1] == {"words": 1, "planted": 1, "found": 0, "wrong": 0}

    def test_a_copy_that_is_like_another_row_is_wrong(self, monkeypatch):
        first, other = "one two three four five six", "seven eight nine ten eleven twelve"
        monkeypatch.setitem(planted.EDITS, "into the other", lambda _words, _rng: other.split())
        rng = np.random.default_rng(0)
        (row,) = planted.found_copies(texts_of([first, other]), "into the other", rng)
        # The first copy lies with the other text and its copy, and that one with the first copy.
        assert row == {"words": 5, "planted": 2, "found": 1, "wrong": 3}

    def test_suspects_of_a_split(self, pool):
        found = planted.judged_suspects(pool, np.arange(16), 0.2, seed=0)
        assert set(found) == {
            "left_out", "held_out", "listed", "auroc", "precision", "cleanlab_auroc",
            "cleanlab_precision",
        }  # fmt: skip
        assert all(0 <= value <= 100 for value in found.values())


def made_up(tasks=16, splits=20, inside=0.94, seed=0, **changes) -> Records:
    """Records in which every output is as good as it has to be, but for what is changed."""
    rng = np.random.default_rng(seed)
    names = [f"task {i}" for i in range(tasks)]
    runs = pd.DataFrame({"run": names, "task": names})
    shares = {"score": inside, "difference": inside, "curve": inside, **changes}
    each = [
        {"run": name, "task": name, "output": output, "what": "probe", "inside": 100.0 * right}
        for name in names
        for output in ("score", "difference", "curve")
        for right in np.arange(splits) < round(splits * shares[output])
    ]
    suspects = pd.DataFrame([
        {
            "run": name, "task": name, "listed": 1, "auroc": shares.get("auroc", 0.85),
            "cleanlab_auroc": 0.85, "precision": 0.5, "cleanlab_precision": 0.5, "held_out": 80.0,
            "left_out": 80 + shares.get("left_out", 0) + rng.normal(),
        }
        for name in names for _ in range(splits)
    ])  # fmt: skip
    copies = pd.DataFrame([
        {"run": n, "task": n, "edit": "x", "words": words, "planted": 100, "wrong": 1,
         "found": shares.get("found", 95) if words >= 10 else 5}
        for n in names for words in (1, 10, 20)
    ])  # fmt: skip
    times = pd.DataFrame([
        {"run": n, "task": n, "what": what, "predicted_seconds": shares.get("seconds", 1.1),
         "measured_seconds": 1.0}
        for n in names for what in ("LoRA", "the forecast itself")
    ])  # fmt: skip
    return Records(runs, pd.DataFrame(each), suspects, copies, times, planned=16)


class TestStatistics:
    def test_good_records_pass(self):
        found = judged(made_up())
        assert [one.bar.key for one in found] == [bar.key for bar in BARS]
        assert {one.verdict for one in found} == {PASSES}
        assert doubts(found) == ()
        score = found[0]
        assert (score.tasks, score.count) == (16, 320)
        assert score.found.estimate == pytest.approx(95)
        assert 90 < score.wilson.low < 95 < score.wilson.high < 98

    @pytest.mark.parametrize(
        ("changes", "key", "verdict"),
        [
            ({"score": 0.7}, "score", FAILS),
            ({"curve": 1.0}, "curve", TOO_WIDE),
            ({"left_out": 5}, "left_out", FAILS),
            ({"auroc": 0.6}, "auroc", FAILS),
            ({"auroc": 0.8}, "beside_cleanlab", FAILS),
            ({"found": 60}, "copies_found", FAILS),
            ({"seconds": 1.3}, "steps", FAILS),
            ({"seconds": 0.74}, "minutes", FAILS),
        ],
    )
    def test_each_bar_can_be_missed(self, changes, key, verdict):
        found = {one.bar.key: one for one in judged(made_up(**changes))}
        assert found[key].verdict == verdict
        said = doubts(list(found.values()))
        assert any(found[key].bar.output in line for line in said) == (verdict == FAILS)

    def test_tasks_are_what_counts(self):
        """Half of the tasks always, half never: the mean of 50 has a wide interval, by hand."""
        good, bad = made_up(8, inside=1.0), made_up(8, inside=0.0, seed=1)
        both = dataclasses.replace(
            good,
            intervals=pd.concat(
                [good.intervals, bad.intervals.assign(task="other " + bad.intervals["task"])]
            ),
        )
        score = judged(both)[0]
        values = np.repeat([0.0, 100.0], 8)
        half = t.ppf(0.975, 15) * values.std(ddof=1) / 4
        assert score.found.estimate == 50
        assert score.found.low == pytest.approx(50 - half)
        assert score.wilson.high - score.wilson.low < half

    def test_undecided_where_the_interval_reaches_the_bar(self):
        bar = BY_KEY["score"]
        assert bar.verdict(Interval(88, 84, 92), 16) == UNDECIDED
        assert bar.verdict(Interval(88, 86, 89.9), 16) == FAILS
        assert bar.verdict(Interval(90, 70, 99), 16) == PASSES
        assert bar.verdict(Interval(98, 97.5, 99), 16) == TOO_WIDE
        assert bar.verdict(Interval(94, 92, 96), 7) == too_few("tasks")
        assert BY_KEY["left_out"].verdict(Interval(3, 2.5, 3.5), 16) == FAILS
        assert bar.in_words == "90 to 97 %"
        assert BY_KEY["auroc"].in_words == "at least 0.75"

    def test_suspects_count_where_a_list_is_given(self):
        records = made_up()
        held_back = records.suspects["task"] == "task 0"
        suspects = records.suspects.assign(
            listed=(~held_back).astype(int), auroc=np.where(held_back, 0.1, 0.85)
        )
        found = {
            one.bar.key: one for one in judged(dataclasses.replace(records, suspects=suspects))
        }
        assert found["auroc"].tasks == 15
        assert found["auroc"].found.estimate == pytest.approx(0.85)

    def test_without_records_nothing_is_said_to_pass(self, tmp_path, monkeypatch):
        study = MadeUpStudy(tmp_path)
        monkeypatch.setenv("TANGENTLM_ROOT", str(study.root))
        records = read_records()
        assert (records.tasks, records.planned) == (0, 16)
        found = judged(records)
        assert {one.verdict for one in found} == {NOT_RUN}
        (said,) = doubts(found)
        assert all(bar.output in said for bar in BARS)

    def test_collected_tables_are_read(self, tmp_path, monkeypatch):
        study = MadeUpStudy(tmp_path)
        monkeypatch.setenv("TANGENTLM_ROOT", str(study.root))
        write(made_up(3), study)
        read = read_records()
        assert read.tasks == 3
        assert judged(read)[0].found.estimate == pytest.approx(95)
        assert {one.verdict for one in judged(read)} == {too_few("tasks")}


def test_forecasts_of_another_size_do_not_count(tmp_path, monkeypatch):
    study = MadeUpStudy(tmp_path)
    monkeypatch.setenv("TANGENTLM_ROOT", str(study.root))
    write(made_up(), study, train_size=64)
    records = read_records()
    assert records.tasks == 0
    assert {one.verdict for one in judged(records)} == {NOT_RUN}


def write(records: Records, study: MadeUpStudy, train_size: int = 128) -> None:
    """The records as they are collected."""
    folder = study.root / "results" / "forecast"
    folder.mkdir()
    runs = records.runs.assign(seconds=1.0, device="cpu", train_size=train_size)
    runs.to_csv(folder / "forecast_validation.csv", index=False)
    intervals = records.intervals.drop(columns=["task", "inside"]).assign(
        truth=50.0, low=40.0, high=np.where(records.intervals["inside"] > 0, 60.0, 45.0)
    )
    intervals.to_csv(folder / "forecast_validation-intervals.csv", index=False)
    for name in ("suspects", "copies", "times"):
        table = getattr(records, name).drop(columns="task")
        table.to_csv(folder / f"forecast_validation-{name}.csv", index=False)


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (0, "no output of a forecast has passed a test yet"),
        (1, "too few to decide anything. Intervals of 95 % contained"),
        (3, "too few to decide anything. Intervals of 95 % contained"),
        (16, "Intervals of 95 % contained"),
    ],
)
def test_the_page_is_right_whatever_was_run(tasks, said, tmp_path, monkeypatch, capsys):
    study = MadeUpStudy(tmp_path)
    page = project_root() / "book" / "results" / "forecast.py"
    monkeypatch.setenv("TANGENTLM_ROOT", str(study.root))
    if tasks:
        write(made_up(tasks), study)
    shown = []
    variables = {"__name__": "page"}
    cells = [cell for cell in jupytext.read(page).cells if cell.cell_type == "code"]
    with mpl.rc_context({"backend": "agg"}), mock.patch("IPython.display.display", shown.append):
        for cell in cells[:-1]:  # the last tells what the page cost
            exec(cell.source, variables)
    words = [text.data for text in shown]
    assert f"{tasks} of 16 tasks were run" in words[0]
    assert ("Of 10 outputs of a forecast 10 passed" in words[0]) == (tasks == 16)
    assert said in words[0]


def test_a_summary_names_what_did_not_pass():
    records = made_up(score=0.7, curve=1.0)
    said = summary(records, judged(records))
    assert "Of 10 outputs of a forecast 8 passed" in said
    assert "0 are undecided" in said
    assert "too wide: learning curve at four times the rows: probe" in said
    assert "failed: accuracy with its interval: probe" in said
    (row,) = [
        row for row in in_words(judged(records)).to_dict("records") if row["verdict"] == FAILS
    ]
    assert row["bar"] == "90 to 97 %"
    assert row["what follows"] == "the report warns of it"
