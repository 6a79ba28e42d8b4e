"""Forecasts: parts against brute-force refits and scikit-learn, and a tiny one from end to end."""

from __future__ import annotations

import dataclasses
import itertools
import json
import warnings
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tangentlm.errors import InputError
from tangentlm.forecast import answer
from tangentlm.forecast import prepare as planning
from tangentlm.forecast.bootstrap import Bootstrap
from tangentlm.forecast.comparison import Comparison
from tangentlm.forecast.cross_validation import folds_of, nested_predictions
from tangentlm.forecast.forecast import compute
from tangentlm.forecast.layers import layers_of
from tangentlm.forecast.learners import BagOfWords, KernelRegression, Probe
from tangentlm.forecast.learning_curve import curve_of, power_law, stratified_order, thinned
from tangentlm.forecast.near_duplicates import groups_of, links, near_duplicates
from tangentlm.forecast.past import past_tasks
from tangentlm.forecast.plan import (
    LEAST_ROWS,
    MOST_REPEATS,
    MOST_ROWS,
    MOST_TEST_ROWS,
    RESERVE,
    Timings,
    extrapolated,
    line,
    make_plan,
    sample_rows,
)
from tangentlm.forecast.prepare import prepare
from tangentlm.forecast.problem import PLAIN_WORDS, make_problem
from tangentlm.forecast.representers import representers
from tangentlm.forecast.ridge import CentredRidge, centred_scale
from tangentlm.forecast.rows import Duplicates, Suspect, Suspects
from tangentlm.forecast.suspects import find_suspects, left_out_values, suspicion
from tangentlm.forecast.ways import CurvePoint, Difference, Past, PastTask, Score
from tangentlm.tasks import load_task, read_part
from tangentlm.tasks.labelled_texts import LabelledTexts


def made_up(count: int, classes: int = 3, width: int = 12, apart: float = 1.5, seed: int = 0):
    """Features around a mean for each class, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    features = rng.normal(size=(count, width)) + apart * rng.normal(size=(classes, width))[labels]
    return features, labels


def texts_of(labels, texts=None) -> LabelledTexts:
    count = len(labels)
    return LabelledTexts(
        tuple(texts or (f"text number {i}" for i in range(count))), None,
        tuple(int(label) for label in labels), tuple(f"class {c}" for c in range(max(labels) + 1)),
        tuple(range(count)), (),
    )  # fmt: skip


def ridge_with_intercept(features, targets, ridge):
    """The primal: weights and intercept by the normal equations, no penalty on the intercept."""
    count, width = features.shape
    design = np.hstack([features, np.ones((count, 1))])
    penalty = ridge * np.diag([1.0] * width + [0.0])
    return np.linalg.solve(design.T @ design + penalty, design.T @ targets)


def reviews(count: int) -> LabelledTexts:
    task = load_task("reviews")
    rows = read_part(task, "train")[:count]
    return LabelledTexts(
        tuple(row.text_a for row in rows), None, tuple(row.label for row in rows), task.labels,
        tuple(range(count)), (),
    )  # fmt: skip


class TestRidge:
    def test_is_the_primal_fit_with_a_free_intercept(self):
        features, labels = made_up(30)
        targets, other = np.eye(3)[labels], made_up(7, seed=1)[0]
        primal = ridge_with_intercept(features, targets, 0.7)
        fit = CentredRidge.of(features @ features.T)
        found = fit.predicted(targets, 0.7, features @ other.T)
        np.testing.assert_allclose(found, np.hstack([other, np.ones((7, 1))]) @ primal, atol=1e-10)

    @pytest.mark.parametrize("grouped", [False, True])
    def test_left_out_values_are_those_of_refits(self, grouped):
        features, labels = made_up(24)
        groups = np.arange(24) // 3 if grouped else np.arange(24)
        targets = np.eye(3)[labels]
        fit = CentredRidge.of(features @ features.T)
        found = fit.left_out(targets, 0.3, groups if grouped else None)
        for group in np.unique(groups):
            out = groups == group
            primal = ridge_with_intercept(features[~out], targets[~out], 0.3)
            refit = np.hstack([features[out], np.ones((out.sum(), 1))]) @ primal
            np.testing.assert_allclose(found[out], refit, atol=1e-9)

    def test_a_kernel_that_tells_nothing_apart_is_refused(self):
        with pytest.raises(InputError, match="same for all rows"):
            centred_scale(np.ones((5, 5)))


class TestRepresenters:
    def test_they_sum_to_the_values_of_a_refit(self):
        features, labels = made_up(40)
        other = made_up(9, seed=2)[0]
        kernel, columns = features @ features.T, features @ other.T
        found = representers(kernel, columns, labels, 3, np.arange(40))
        total = found.pulls.sum(axis=1) + found.offsets[found.predicted]
        np.testing.assert_allclose(total, found.values.max(axis=1), atol=1e-10)

    def test_each_is_a_coefficient_times_the_kernel_of_centred_features(self):
        features, labels = made_up(25)
        other = made_up(4, seed=2)[0]
        found = representers(features @ features.T, features @ other.T, labels, 3, np.arange(25))
        mean = features.mean(axis=0)
        centred = (other - mean) @ (features - mean).T
        coefficients = found.pulls / centred
        # A row's coefficient for one class is the same for every prediction of that class.
        for told in np.unique(found.predicted):
            same = coefficients[found.predicted == told]
            np.testing.assert_allclose(same, same[:1].repeat(len(same), axis=0), rtol=1e-6)


class TestNearDuplicates:
    TEXTS = (
        "The film was a delight from its first minute to its last.",
        "the film was  a delight, from its first minute to its last!!",
        "The film was a delight from its first minute to its very last.",
        "I would not recommend this hotel to anybody at all.",
        "A",
        "B",
        "...",
    )

    def test_planted_edits_are_found(self):
        found = near_duplicates(texts_of([0, 0, 1, 1, 0, 1, 0], self.TEXTS))[1]
        assert [group.rows for group in found] == [(0, 1, 2)]
        assert found[0].disagree
        assert 0.7 <= found[0].similarity < 1

    def test_similarity_is_that_of_sets(self):
        first, second, similarity = links(self.TEXTS, threshold=0.01)
        for i, j, value in zip(first, second, similarity, strict=True):
            from tangentlm.forecast.near_duplicates import normalised, shingles

            a, b = (shingles(normalised(self.TEXTS[k])) for k in (i, j))
            assert value == pytest.approx(len(a & b) / len(a | b))

    def test_links_through_others_make_one_group(self):
        groups = groups_of(5, np.array([0, 1]), np.array([1, 4]))
        assert groups[0] == groups[1] == groups[4] != groups[2]
        assert len(set(groups)) == 3

    def test_rows_of_the_test_file_are_marked(self):
        train, test = (texts_of([0], [text]) for text in self.TEXTS[:2])
        groups, found = near_duplicates(train, test)
        assert len(groups) == 1
        assert found[0].in_test == (False, True)

    def test_a_row_without_a_label_contradicts_none(self):
        train, test = (texts_of([0], [text]) for text in self.TEXTS[:2])
        (found,) = near_duplicates(train, dataclasses.replace(test, labels=(-1,)))[1]
        assert found.labels == (train.classes[0], None)
        assert not found.disagree

    def test_a_group_is_never_on_both_sides(self):
        labels = np.arange(60) % 2
        groups = np.arange(60) // 4
        for fold in folds_of(labels, groups, outer=5, inner=3, seed=0):
            assert not set(groups[fold.train]) & set(groups[fold.test])
            for train, other in fold.inner:
                assert not set(groups[train]) & set(groups[other])
                assert set(train) | set(other) == set(fold.train)


class TestCrossValidation:
    def test_it_is_that_of_scikit_learn(self):
        features, labels = made_up(90, apart=0.5)
        groups = np.arange(90)
        learner = Probe(features)
        found = nested_predictions(
            learner, labels, folds_of(labels, groups, outer=5, inner=3, seed=7)
        )
        inner = StratifiedGroupKFold(3, shuffle=True, random_state=7)
        outer = StratifiedGroupKFold(5, shuffle=True, random_state=7)
        expected = np.empty(90, dtype=int)
        for train, test in outer.split(features, labels, groups):
            pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
            grid = {"logisticregression__C": list(learner.strengths)}
            search = GridSearchCV(pipeline, grid, cv=inner, scoring="accuracy", refit=_pooled)
            search.fit(features[train], labels[train], groups=groups[train])
            expected[test] = search.best_estimator_.predict(features[test])
        assert (found == expected).mean() > 0.98  # solvers started elsewhere may differ on a tie

    def test_noise_is_not_learned(self):
        features = np.random.default_rng(0).normal(size=(200, 30))
        labels = np.random.default_rng(1).integers(2, size=200)
        folds = folds_of(labels, np.arange(200), outer=5, inner=3, seed=0)
        for learner in (Probe(features), KernelRegression(features @ features.T, 2)):
            right = (nested_predictions(learner, labels, folds) == labels).mean()
            assert abs(right - 0.5) < 0.12

    def test_a_class_of_one_row_is_no_end(self):
        features, labels = made_up(40, classes=2)
        labels = labels.copy()
        labels[7] = 2
        texts = tuple(f"word{label} and more" for label in labels)
        learners = (BagOfWords(texts), Probe(features), KernelRegression(features @ features.T, 3))
        comparison = Comparison(labels, np.arange(40), learners, 3, seed=0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            comparison.run(1, np.inf, progress=False)
        assert all((told[0] >= 0).all() for told in comparison.told.values())

    def test_too_few_rows_are_refused_and_few_are_not(self):
        labels = np.array([0, 1, 0, 1])
        with pytest.raises(InputError, match="too few"):
            folds_of(labels, np.zeros(4, dtype=int), outer=5, inner=3, seed=0)
        features = made_up(4, classes=2)[0]
        folds = folds_of(labels, np.array([0, 0, 1, 1]), outer=5, inner=3, seed=0)
        assert [fold.inner for fold in folds] == [(), ()]
        assert set(nested_predictions(Probe(features), labels, folds)) <= {0, 1}


def _pooled(results) -> int:
    """The candidate of the most right answers over all folds, ties to the first."""
    return int(np.asarray(results["mean_test_score"]).round(12).argmax())


class TestIntervals:
    def test_they_are_as_wide_as_those_of_a_binomial(self):
        right = np.random.default_rng(0).random((1, 400)) < 0.8
        found = Bootstrap.of(np.arange(400), seed=0).accuracy(right)
        expected = 1.96 * 100 * np.sqrt(right.mean() * (1 - right.mean()) / 400)
        assert found.half == pytest.approx(expected, rel=0.1)

    def test_duplicates_are_no_evidence(self):
        right = np.repeat(np.random.default_rng(0).random(50) < 0.7, 8)[None]
        wide = Bootstrap.of(np.arange(400) // 8, seed=0).accuracy(right)
        narrow = Bootstrap.of(np.arange(400), seed=0).accuracy(right)
        assert wide.half > 2 * narrow.half

    def test_all_right_is_no_certainty(self):
        found = Bootstrap.of(np.arange(30), seed=0).accuracy(np.ones((3, 30), dtype=bool))
        assert found.high == 100
        assert 80 < found.low < 95

    def test_differences_are_paired(self):
        rng = np.random.default_rng(0)
        first = rng.random((4, 300)) < 0.6
        second = first.copy()
        second[:, :6] = ~second[:, :6]
        found = Bootstrap.of(np.arange(300), seed=0).difference(first, second)
        assert found.half < 2.5


class TestLearningCurve:
    def test_a_known_power_law_is_found(self):
        sizes = [25, 50, 100, 200]
        errors = np.array([[0.05 + n**-0.4 for n in sizes]])
        found = power_law(sizes, errors, [400, 800])
        np.testing.assert_allclose(found[0], [0.05 + n**-0.4 for n in (400, 800)], atol=2e-3)

    def test_intervals_hold_the_truth_of_a_power_law(self):
        sizes, rows = (40, 80, 160, 320), 400
        held = 0
        for seed in range(20):
            rng = np.random.default_rng(seed)
            right = {n: rng.random((3, rows)) < 0.9 - 1.2 * n**-0.5 for n in sizes}
            points = curve_of("probe", right, rows, Bootstrap.of(np.arange(rows), seed))
            last = points[-1]
            assert last.extrapolated
            assert last.n == 4 * rows
            held += last.low <= 100 * (0.9 - 1.2 * last.n**-0.5) <= last.high
        assert held >= 17

    def test_what_gets_worse_is_not_extrapolated_below_a_constant(self):
        found = power_law([10, 20, 40], np.array([[0.3, 0.4, 0.5]]), [160])
        assert found[0, 0] == pytest.approx(0.4)

    def test_fewer_rows_are_part_of_more_and_stratified(self):
        labels = np.array([0] * 60 + [1] * 30)
        order = stratified_order(labels, seed=3)
        assert sorted(order) == list(range(90))
        for size in (15, 30, 60):
            assert abs(labels[order[:size]].mean() - 1 / 3) < 0.07
        fold = folds_of(labels, np.arange(90), outer=3, inner=3, seed=0)[0]
        few, more = (thinned(fold, n, labels, np.arange(90), 3, seed=1) for n in (20, 40))
        assert set(few.train) < set(more.train) < set(fold.train)
        assert (few.test == fold.test).all()


class TestSuspects:
    def test_planted_flips_come_first(self):
        features, labels = made_up(200, classes=2, apart=0.8)
        flipped = np.random.default_rng(5).choice(200, 20, replace=False)
        wrong = labels.copy()
        wrong[flipped] = 1 - wrong[flipped]
        kernel = features @ features.T
        score = suspicion(left_out_values(kernel, wrong, 2, np.arange(200)), wrong)
        assert roc_auc_score(np.isin(np.arange(200), flipped), score) > 0.85
        found = find_suspects(texts_of(wrong), kernel, np.arange(200))
        assert found.reason is None
        assert len({row.row for row in found.rows[:10]} & set(flipped)) >= 7
        worst = found.rows[0]
        assert all(near.label != worst.label for near in worst.against)
        assert worst.suggested != worst.label

    def test_a_regression_at_chance_accuses_nobody(self):
        features = np.random.default_rng(0).normal(size=(100, 10))
        labels = np.random.default_rng(1).integers(2, size=100)
        found = find_suspects(texts_of(labels), features @ features.T, np.arange(100))
        assert found.rows == ()
        assert "too little above" in str(found.reason)


class TestLayers:
    def test_the_part_that_has_the_labels_is_missed(self):
        features, labels = made_up(80, classes=2, width=6, apart=2.0)
        noise = np.random.default_rng(3).normal(size=(80, 6))
        parts = {"good": features @ features.T, "noise": noise @ noise.T}
        good, bad = layers_of(sum(parts.values()), parts, labels, 2, np.arange(80))
        assert good.share + bad.share == pytest.approx(100)
        assert good.alignment > 3 * abs(bad.alignment)
        assert good.without < bad.without


class TestPlan:
    TIMINGS = Timings(20.0, 0.1, 1e-4, folds=4.0, fits=0.072, solves=8e-8, rows=500)

    @pytest.mark.parametrize("budget", [60.0, 150.0, 400.0, 4000.0])
    def test_it_fits_a_budget(self, budget):
        plan = make_plan(self.TIMINGS, budget)
        assert plan.seconds <= RESERVE * budget
        assert plan.repeats >= 1
        complete = plan.rows == 500 and plan.repeats == MOST_REPEATS
        assert complete == (plan.reduced == ())

    def test_rows_go_only_once_repeats_are_gone(self):
        assert make_plan(self.TIMINGS, 60.0).repeats == 1
        assert make_plan(self.TIMINGS, 60.0).rows < 500
        assert make_plan(self.TIMINGS, 400.0).rows == 500

    def test_a_budget_too_small_for_anything_is_said_with_the_least_that_is_needed(self):
        plan = make_plan(self.TIMINGS, 10.0)
        least = 20 + 0.1 * 64 + 1e-4 * 64**2 + 4 + 0.072 * 64 + 8e-8 * 64**3
        assert plan.seconds == plan.least == pytest.approx(least)
        assert plan.reduced[-1].startswith("The budget of 0.167 minutes is too small")
        assert f"needs {least / 60:.1f} minutes at least" in plan.reduced[-1]
        assert make_plan(self.TIMINGS, 4000.0).least == plan.least
        few = dataclasses.replace(self.TIMINGS, rows=20)
        assert make_plan(few, 4000.0).least == few.seconds(20, 1)

    def test_two_timings_give_both_coefficients(self):
        found = extrapolated(lambda n: 0.2 * n + 0.01 * n * n, 8, 32)
        assert found == pytest.approx((0.2, 0.01))
        assert line(lambda n: 3 + 0.2 * n, 64, 500) == pytest.approx((3, 0.2))

    @pytest.mark.parametrize("few", [0.01, 9.0, 20.0])
    def test_no_timing_is_below_nothing(self, few):
        start, each = line(lambda n: few if n == 64 else 10.0, 64, 500)
        assert min(start, each) >= 0
        assert start + 500 * each == pytest.approx(10)

    def test_a_sample_is_stratified_and_keeps_the_files_rows(self):
        texts = texts_of([0] * 80 + [1] * 20)
        sample = sample_rows(texts, 50, seed=0)
        assert sum(sample.labels) == pytest.approx(10, abs=1)
        assert list(sample.rows) == sorted(sample.rows)
        assert sample.texts == tuple(texts.texts[row] for row in sample.rows)


class TestProblem:
    def test_with_words_the_kernel_is_that_of_the_centred_logits(self):
        from tangentlm.kernels import entk
        from tangentlm.models.heads import load_model
        from tangentlm.tasks.prompts import encode

        task = load_task("topics")
        rows = read_part(task, "train")[:5]
        texts = LabelledTexts(
            tuple(row.text_a for row in rows), None, tuple(row.label for row in rows),
            task.labels, tuple(range(5)), (),
        )  # fmt: skip
        words = task.label_words
        problem = make_problem(texts, "pocket-xs", template=task.template, label_words=words)
        found, parts = problem.kernel(texts, grouped=True)
        from tangentlm.models.checkpoints import load_tokenizer

        full = entk(
            load_model("pocket-xs", task),
            encode(problem.task, load_tokenizer("pocket-xs"), rows),
            progress=False,
        ).values
        C = len(words)
        P = np.eye(C) - 1 / C
        expected = np.einsum("icjd,cd->ij", full, P)
        np.testing.assert_allclose(found, expected, rtol=1e-3)
        np.testing.assert_allclose(sum(parts.values()), found, rtol=1e-5)
        assert list(parts) == ["embedding", "layer 1", "layer 2", "layer 3", "layer 4", "head"]

    def test_names_that_are_no_words_give_a_kernel_of_plain_ones(self):
        texts = dataclasses.replace(reviews(4), classes=("0", "1"))
        problem = make_problem(texts, "pocket-xs")
        assert not problem.prompted
        assert problem.words == PLAIN_WORDS
        assert "no words" in str(problem.reason)
        unknown = make_problem(dataclasses.replace(texts, classes=("good", "qwertz")), "pocket-xs")
        assert unknown.reason == (
            "the model does not know 'qwertz' as one word (one token), and no other label words "
            "were given"
        )
        with pytest.raises(InputError):
            problem.zero_shot(texts)
        named = make_problem(reviews(4), "pocket-xs", label_words=PLAIN_WORDS)
        np.testing.assert_allclose(problem.kernel(texts)[0], named.kernel(texts)[0], rtol=1e-5)

    def test_a_model_that_knows_no_such_words_gets_a_random_head(self):
        problem = make_problem(reviews(4), "minilang")
        assert problem.words == ()
        kernel, parts = problem.kernel(reviews(4), grouped=True)
        other = make_problem(reviews(4), "minilang", seed=14).kernel(reviews(4))[0]
        assert kernel.shape == (4, 4)
        assert "head" in parts
        assert not np.allclose(kernel, other)

    def test_words_that_are_asked_for_have_to_be_tokens(self):
        with pytest.raises(InputError, match="one token"):
            make_problem(reviews(4), "pocket-xs", label_words=("antidisestablishment", "good"))


class TestAnswer:
    SCORES = (
        Score("majority", 50.0, 45.0, 55.0, 33.0),
        Score("probe", 52.0, 46.0, 58.0, 52.0, 10, 5),
        Score("kernel regression", 51.0, 45.0, 57.0, 51.0, 10, 5),
    )
    NOBODY = Suspects((), 51.0, 50.0, "too weak")

    def differences(self, kernel: float, best: float, words: float = 0.0, probe: float = 0.0):
        return (
            Difference("kernel regression", "probe", kernel, kernel - 3, kernel + 3),
            Difference("kernel regression", "bag of words", -words, -words - 3, 3 - words),
            Difference(
                "probe", "bag of words", probe - words, probe - words - 3, probe - words + 3
            ),
            Difference("probe", "majority", best, best - 3, best + 3),
        )

    @pytest.mark.parametrize("best", [-1.0, 2.0, 2.99])
    def test_a_difference_whose_interval_holds_zero_is_not_claimed(self, best):
        first, second, _ = answer.answer_of(
            self.SCORES, self.differences(best, best), (), self.NOBODY, (), Past((), {}, "")
        )
        assert "cannot be told from" in first
        assert "cannot be told apart" in second

    def test_one_that_leaves_it_out_is(self):
        first, second, _ = answer.answer_of(
            self.SCORES, self.differences(5.0, 5.0), (), self.NOBODY, (), Past((), {}, "")
        )
        assert "cannot" not in first + second
        assert "5.0 points (2.0 to 8.0)" in first
        third = answer.answer_of(
            self.SCORES, self.differences(-5.0, 5.0), (), self.NOBODY, (), Past((), {}, "")
        )[1]
        assert "speaks for more than a probe" in third
        assert "5.0 points (2.0 to 8.0)" in third
        assert "bag of words" not in third

    @pytest.mark.parametrize("words", [2.0, 4.0])
    def test_words_that_do_better_are_named(self, words):
        second = answer.answer_of(
            self.SCORES, self.differences(5.0, 5.0, words), (), self.NOBODY, (), Past((), {}, "")
        )[1]
        assert ("a bag of words, which needs none, is 4.0 points" in second) == (words > 3)
        assert ("worth its cost" in second) == (words < 3)

    def test_words_that_a_probe_beats_are_no_reason(self):
        differences = self.differences(-9.0, 9.0, words=4.0, probe=9.0)
        second = answer.answer_of(self.SCORES, differences, (), self.NOBODY, (), Past((), {}, ""))[
            1
        ]
        assert "more than a probe of frozen features: it is 9.0 points" in second

    def test_no_sentence_is_longer_than_can_be_read(self):
        quantiles = Past((PastTask("a", 3, 50.0, None, 60.0),), {"10": -1, "50": 1, "90": 5}, "")
        rows = tuple(Suspect(i, "text", "a", "b", 0.1, ()) for i in range(50))
        curve = [CurvePoint("probe", n, 52.0, 46.0, 58.0, extrapolated=n > 200) for n in (200, 800)]
        same = (Duplicates((1, 2), ("x", "x"), ("a", "b"), 1.0, True, (False, False)),)
        for kernel, words in itertools.product([-5.0, 0.0, 5.0], [0.0, 4.0]):
            found = answer.answer_of(
                self.SCORES, self.differences(kernel, 0.0, words), curve,
                Suspects(rows, 60.0, 50.0, None, 90), same, quantiles,
            )  # fmt: skip
            assert max(len(sentence.split()) for sentence in found) <= 55


@pytest.mark.parametrize("task", ["agnews", "sst2", "mr"])
def test_past_tasks_are_means_of_paired_splits(task):
    """Against rows chosen by name: there null prompts and shuffled labels have a suffix."""
    import pandas as pd

    from tangentlm.params import project_root

    past = past_tasks()
    assert len(past.rows) >= 10
    row = next(row for row in past.rows if row.task == task)
    folder = project_root() / "results" / "pocket"
    kernel, tuned = (
        pd.read_csv(folder / f"{name}.csv").set_index("run").filter(regex=pattern, axis=0)
        for name, pattern in (
            ("kernel", rf"^{task}-k\d+-s\d+-sgd$"),
            ("finetune", rf"^{task}-k\d+-s\d+-adam$"),
        )
    )
    splits = [
        frame.set_index(["k", "seed"])["test_accuracy"].rename(name)
        for name, frame in (("kernel", kernel), ("tuned", tuned))
    ]
    both = pd.concat(splits, axis=1).dropna()
    assert len(both) == row.runs
    assert row.kernel == pytest.approx(both["kernel"].mean())
    assert row.finetuned == pytest.approx(both["tuned"].mean())
    assert past.quantiles["10"] < past.quantiles["90"]


def test_without_records_there_are_no_past_tasks(tmp_path):
    assert past_tasks(tmp_path).quantiles == {}


@pytest.mark.slow
def test_a_forecast_from_end_to_end():
    texts = reviews(40)
    test = dataclasses.replace(reviews(44), rows=tuple(range(44)))
    prepared = prepare(texts, test, model="pocket-xs", budget=0.4, progress=False)
    found = compute(prepared, progress=False)
    assert [score.method for score in found.scores] == [
        "majority", "bag of words", "zero-shot", "probe", "kernel regression",
    ]  # fmt: skip
    assert all(s.reason or s.low <= s.accuracy <= s.high for s in found.scores)
    assert found.data.count == 40 == sum(found.data.counts)
    assert len(found.kernel.values) == 40
    assert sum(layer.share for layer in found.layers) == pytest.approx(100)
    assert [cost.way for cost in found.costs][2:] == ["LoRA", "full fine-tuning"]
    assert found.costs[3].trained > found.costs[2].trained > 0
    assert len(found.predictions.rows) == 44
    for row in found.predictions.rows:
        total = row.offset + row.others + sum(p.value for p in (*row.towards, *row.away))
        assert total == pytest.approx(max(row.values))
    assert any(any(group.in_test) for group in found.duplicates)
    again = json.loads(found.to_json())
    assert again["answer"] == list(found.answer)
    assert len(found.answer) == 3


@pytest.mark.slow
def test_seeds_decide_everything():
    texts = reviews(24)
    first, second = (
        compute(
            prepare(texts, model="pocket-xs", budget=0.2, progress=False, seed=5), progress=False
        )
        for _ in range(2)
    )
    assert first.suspects == second.suspects
    assert first.scores[2] == second.scores[2]
    if first.settings.repeats == second.settings.repeats:
        assert first.scores == second.scores
        assert first.curve == second.curve


@dataclasses.dataclass(frozen=True)
class Weightless:
    """A problem whose features and kernel take no time."""

    texts: LabelledTexts
    traced: ClassVar = torch.nn.Linear(1, 1)

    def features(self, _texts):
        return None

    def kernel(self, _texts, *, grouped):
        return None


def test_a_plan_for_many_rows_times_cross_validation_on_few_and_says_what_was_read(
    monkeypatch, capsys
):
    timed = []

    def seconds(comparison):
        timed.append(len(comparison.labels))
        return 1 + 0.01 * len(comparison.labels)

    monkeypatch.setattr(Comparison, "seconds_a_repeat", seconds)
    monkeypatch.setattr(
        planning, "make_problem", lambda texts, *_model, **_options: Weightless(texts)
    )
    monkeypatch.setattr(planning, "training_costs", lambda _problem, _seed: ())
    letters = np.random.default_rng(0).choice([*"abcdefgh"], (2500, 30))
    many = dataclasses.replace(
        texts_of([0, 1] * 1250), texts=tuple(map("".join, letters)), notes=("A note.",)
    )
    test = dataclasses.replace(many, notes=("Another note.",), name="new.csv")
    plan = prepare(many, test, model="any", budget=1e6).plan
    assert timed == [LEAST_ROWS, planning.MOST_TIMED]
    assert (plan.rows, plan.repeats) == (MOST_ROWS, MOST_REPEATS)
    assert plan.seconds >= MOST_REPEATS * seconds(SimpleNamespace(labels=range(MOST_ROWS)))
    first, *said = capsys.readouterr().out.splitlines()
    assert first == "texts: 2,500 rows, 2 classes."
    assert said[:3] == ["A note.", "new.csv: 2,500 rows, 2 classes.", "Another note."]
    assert said[3].startswith("Loading any")
    assert said[4:6] == [
        f"A sample of {most} of the 2500 rows of {name} is used, stratified by class."
        for most, name in ((MOST_ROWS, "texts"), (MOST_TEST_ROWS, "new.csv"))
    ]


def test_one_class_is_refused():
    texts = dataclasses.replace(reviews(12), labels=(0,) * 12)
    with pytest.raises(InputError, match="two classes"):
        prepare(texts, model="pocket-xs", progress=False)


def test_a_handful_of_rows_is_refused():
    with pytest.raises(InputError, match="10 rows at least"):
        prepare(reviews(9), model="pocket-xs", progress=False)
