"""CS, Diff, FDR, ECE, MCE and temperatures against closed forms and other libraries."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import log_loss
from sklearn.metrics.pairwise import cosine_similarity
from torchmetrics.functional.classification import multiclass_calibration_error

from tangentlm.errors import InputError
from tangentlm.tomihari.calibration import (
    BOUNDS,
    calibration,
    calibration_error,
    fit_temperature,
    negative_log_likelihood,
)
from tangentlm.tomihari.features import (
    FISHER_FORMS,
    feature_change,
    fisher_ratio,
    pairwise_cosine,
    scatter,
)

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(60, 6)) + np.repeat(np.eye(3, 6), 20, axis=0)
LABELS = np.repeat(np.arange(3), 20)
LOGITS = 3 * RANDOM.normal(size=(400, 3))
ANSWERS = RANDOM.integers(3, size=400)


def test_cosine_is_the_mean_over_pairs_of_different_samples():
    all_pairs = cosine_similarity(FEATURES)
    expected = all_pairs[~np.eye(len(FEATURES), dtype=bool)].mean()
    assert pairwise_cosine(FEATURES) == pytest.approx(expected)
    assert pairwise_cosine(np.ones((4, 2))) == pytest.approx(1)


def test_change_is_absolute_and_relative():
    moved = FEATURES + np.array([3.0, 4.0, 0, 0, 0, 0])
    absolute, relative = feature_change(FEATURES, moved)
    assert absolute == pytest.approx(5)
    assert relative == pytest.approx((5 / np.linalg.norm(FEATURES, axis=1)).mean())


def test_scatter_within_and_between_make_the_whole():
    within, between = scatter(FEATURES, LABELS)
    centred = FEATURES - FEATURES.mean(axis=0)
    assert within + between == pytest.approx(centred.T @ centred)


def test_fisher_ratio_with_many_samples():
    within, between = scatter(FEATURES, LABELS)
    exact = np.trace(np.linalg.inv(within) @ between)
    assert fisher_ratio(FEATURES, LABELS, "pinv") == pytest.approx(exact)
    assert fisher_ratio(FEATURES, LABELS, "shrunk") == pytest.approx(exact, rel=0.01)
    trace = np.trace(between) / np.trace(within)
    assert fisher_ratio(FEATURES, LABELS, "trace") == pytest.approx(trace)


def test_fisher_ratio_of_another_basis_is_the_same():
    basis = RANDOM.normal(size=(6, 6))
    before = fisher_ratio(FEATURES, LABELS, "pinv")
    assert fisher_ratio(FEATURES @ basis, LABELS, "pinv") == pytest.approx(before)


def test_fisher_ratio_of_few_samples_is_noise_but_for_the_cross_fitted():
    noise, labels = RANDOM.normal(size=(40, 200)), np.arange(40) % 2
    found = {form: fisher_ratio(noise, labels, form) for form in FISHER_FORMS}
    assert found["shrunk"] > 100 * found["cross-fitted"]
    assert found["cross-fitted"] < 1


def test_fisher_ratio_refuses():
    with pytest.raises(InputError, match="two classes at least"):
        fisher_ratio(FEATURES, np.zeros(60))
    with pytest.raises(InputError, match="did you mean 'pinv'"):
        fisher_ratio(FEATURES, LABELS, "pinf")


def by_hand(logits, labels, kind):
    """ECE and MCE with bins that own their upper edge, in float64."""
    probabilities = softmax(logits, axis=1)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, 16)
    gaps = []
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            gaps.append((gap, inside.mean()))
    if kind == "MCE":
        return 100 * max(gap for gap, _ in gaps)
    return 100 * sum(gap * share for gap, share in gaps)


@pytest.mark.parametrize("kind", ["ECE", "MCE"])
def test_calibration_errors(kind):
    norm = {"ECE": "l1", "MCE": "max"}[kind]
    theirs = multiclass_calibration_error(
        torch.from_numpy(softmax(LOGITS, axis=1)), torch.from_numpy(ANSWERS), 3, 15, norm
    )
    found = calibration_error(LOGITS, ANSWERS, kind)
    assert found == pytest.approx(by_hand(LOGITS, ANSWERS, kind), abs=1e-6)
    assert found == pytest.approx(100 * float(theirs), abs=1e-4)


@pytest.mark.parametrize("kind", ["ECE", "MCE"])
def test_a_confidence_of_one_is_in_the_last_bin(kind):
    """torchmetrics gives it a bin of its own, which over-confident models fill."""
    logits = np.zeros((40, 2))
    logits[:20, 0], logits[20:, 0] = 800.0, 3.0  # a confidence of 1, and one of .953
    labels = np.array([0] * 16 + [1] * 4 + [0] * 20)
    found = calibration_error(logits, labels, kind)
    assert found == pytest.approx(by_hand(logits, labels, kind), abs=1e-6)
    theirs = multiclass_calibration_error(
        torch.from_numpy(softmax(logits, axis=1)), torch.from_numpy(labels), 2, 15,
        {"ECE": "l1", "MCE": "max"}[kind],
    )  # fmt: skip
    assert abs(found - 100 * float(theirs)) > 1


def test_likelihood_is_that_of_scikit_learn():
    expected = log_loss(ANSWERS, softmax(LOGITS / 2, axis=1))
    assert negative_log_likelihood(LOGITS, ANSWERS, 2.0) == pytest.approx(expected)


def test_temperature_is_the_minimum():
    random = np.random.default_rng(1)
    sure = random.normal(size=(500, 3))
    labels = np.array([random.choice(3, p=p) for p in softmax(sure, axis=1)])
    T = fit_temperature(4 * sure, labels)
    assert pytest.approx(4 * fit_temperature(sure, labels), rel=1e-4) == T
    assert pytest.approx(4, rel=0.3) == T
    least = negative_log_likelihood(4 * sure, labels, T)
    for other in (0.97 * T, 1.03 * T):
        assert negative_log_likelihood(4 * sure, labels, other) > least


def test_temperature_is_bounded_where_nothing_is_wrong():
    """A validation set without errors has no minimum: T would go to zero."""
    logits = np.array([[1.0, 0.0], [0.0, 1.0]] * 10)
    labels = np.array([0, 1] * 10)
    # From some 1 / T on the loss is zero in float64, so the search may stop there.
    assert 1 / BOUNDS[1] * 0.99 <= fit_temperature(logits, labels) <= 0.1


def test_the_interval_of_an_improvement_pairs_both_errors():
    same, _ = calibration(LOGITS, ANSWERS, 1.0)
    assert same.improvement_low == same.improvement_high == 0
    T = 3.0
    found, _ = calibration(LOGITS, ANSWERS, T)
    draws = np.random.default_rng(0).integers(len(ANSWERS), size=(400, len(ANSWERS)))
    gains = [
        by_hand(LOGITS[draw], ANSWERS[draw], "ECE")
        - by_hand(LOGITS[draw] / T, ANSWERS[draw], "ECE")
        for draw in draws
    ]
    ends = (found.improvement_low, found.improvement_high)
    assert ends == pytest.approx(np.quantile(gains, (0.025, 0.975)), abs=0.02)


def test_scaling_changes_no_answer_and_has_intervals():
    T = fit_temperature(LOGITS, ANSWERS)
    ece, mce = calibration(LOGITS, ANSWERS, T)
    assert (ece.kind, mce.kind) == ("ECE", "MCE")
    assert ece.without == pytest.approx(calibration_error(LOGITS, ANSWERS))
    assert ece.scaled == pytest.approx(calibration_error(LOGITS / T, ANSWERS))
    assert ece.without_low < ece.without < ece.without_high
    assert mce.without >= ece.without
    assert calibration(LOGITS, ANSWERS, T) == [ece, mce]
    with pytest.raises(InputError, match="did you mean 'ECE'"):
        calibration_error(LOGITS, ANSWERS, "ECEE")
