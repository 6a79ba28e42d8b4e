"""Predictors of features against their definitions, written out or integrated."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, norm, spearmanr
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA

from tangentlm.anticipate.features import (
    gbc,
    h_score,
    logme,
    neighbour_accuracy,
    parc,
    probe_accuracy,
    trans_rate,
)
from tangentlm.anticipate.source_labels import leep, nce
from tangentlm.errors import InputError, NonFiniteError

ALL = (probe_accuracy, neighbour_accuracy, logme, h_score, trans_rate, parc, gbc)


def sample(n=24, d=6, classes=3, apart=1.0, seed=0):
    """Features whose class means are apart, and labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    means = random.normal(size=(classes, d))
    return random.normal(size=(n, d)) + apart * means[labels] + 0.3, labels


@pytest.mark.parametrize("shape", [(24, 4), (12, 30)], ids=["n > d", "n < d"])
def test_logme_is_the_largest_evidence(shape):
    F, y = sample(*shape)

    def least(target):
        def minus(logs):
            alpha, beta = np.exp(np.clip(logs, -20, 30))
            covariance = F @ F.T / alpha + np.eye(len(F)) / beta
            return -multivariate_normal(cov=covariance).logpdf(target)

        starts = [(a, b) for a in (-2.0, 2.0, 6.0) for b in (0.0, 3.0)]
        options = {"xatol": 1e-8, "fatol": 1e-11, "maxiter": 4000}
        return min(
            minimize(minus, start, method="Nelder-Mead", options=options).fun for start in starts
        )

    expected = np.mean([-least((y == c).astype(float)) / len(y) for c in range(3)])
    assert logme(F, y) == pytest.approx(expected, rel=1e-6)


def test_logme_prefers_features_that_tell_the_classes_apart():
    values = [logme(*sample(60, apart=apart)) for apart in (0.0, 1.0, 3.0)]
    assert values == sorted(values)


@pytest.mark.parametrize("shape", [(24, 4), (12, 30)], ids=["n > d", "n < d"])
def test_h_score_is_its_definition(shape):
    F, y = sample(*shape)
    centred = F - F.mean(axis=0)
    fitted = LedoitWolf().fit(F)
    between = np.zeros((F.shape[1], F.shape[1]))
    for c in range(3):
        mean = centred[y == c].mean(axis=0)
        between += (y == c).mean() * np.outer(mean, mean)
    inverse = np.linalg.inv(fitted.covariance_)
    expected = (1 - fitted.shrinkage_) * np.trace(inverse @ between)
    assert h_score(F, y) == pytest.approx(expected, rel=1e-9)


def test_h_score_of_perfect_classes_nears_their_number_less_one():
    # Without noise, and with so many samples that nothing is shrunk, H = tr(I) on two dimensions.
    corners = np.array([[0.0, 1], [1, -1], [-1, -1]])
    y = np.arange(30_000) % 3
    assert h_score(corners[y], y) == pytest.approx(2, rel=1e-2)


@pytest.mark.parametrize("shape", [(24, 4), (12, 30)], ids=["n > d", "n < d"])
def test_trans_rate_is_its_definition(shape):
    F, y = sample(*shape)
    Z = F - F.mean(axis=0)
    Z /= np.sqrt(np.trace(Z @ Z.T))

    def rate(part):
        n, d = part.shape
        return np.linalg.slogdet(np.eye(d) + part.T @ part / (n * 1e-4))[1] / 2

    expected = rate(Z) - sum((y == c).mean() * rate(Z[y == c]) for c in range(3))
    assert trans_rate(F, y) == pytest.approx(expected, rel=1e-9)
    assert trans_rate(1000 * F - 5, y) == pytest.approx(expected, rel=1e-8)


def test_parc_is_its_definition():
    F, y = sample(15, 5)
    reduced = PCA(5, svd_solver="full").fit_transform(F)
    reduced /= reduced.std(axis=0)
    one_hot = np.eye(3)[y]
    features, labels = [], []
    for i in range(15):
        for j in range(i):
            features.append(1 - np.corrcoef(reduced[i], reduced[j])[0, 1])
            labels.append(round(1 - np.corrcoef(one_hot[i], one_hot[j])[0, 1], 6))
    assert parc(F, y) == pytest.approx(spearmanr(features, labels).statistic, rel=1e-9)


def test_parc_leaves_out_components_that_are_round_off():
    F, y = sample(15, 5)
    flat = np.column_stack([F, F @ np.ones(5)])
    assert parc(flat, y) == pytest.approx(parc(flat + 1e-13 * sample(15, 6, seed=1)[0], y))


@pytest.mark.parametrize("d", [1, 2])
def test_gbc_is_the_overlap_of_normal_distributions(d):
    F, y = sample(40, d, classes=3)
    X = PCA(d, svd_solver="full").fit_transform(F)
    means = [X[y == c].mean(axis=0) for c in range(3)]
    deviations = [math.sqrt(((X[y == c] - means[c]) ** 2).mean()) for c in range(3)]

    normals = [[norm(m, s) for m in mean] for mean, s in zip(means, deviations, strict=True)]

    def overlap(b, c):
        along = [
            quad(
                lambda x, k=k: math.sqrt(math.prod(normals[e][k].pdf(x) for e in (b, c))),
                -20, 20, limit=200,
            )[0]
            for k in range(d)
        ]  # fmt: skip
        return math.prod(along)

    expected = -sum(overlap(b, c) for b in range(3) for c in range(3) if b != c)
    assert gbc(F, y) == pytest.approx(expected, rel=1e-7)


def test_gbc_of_a_class_with_one_sample_is_finite():
    F, _ = sample(20)
    assert -2 <= gbc(F, np.array([1] + [0] * 19)) <= 0


def test_neighbours_are_counted_without_the_sample_itself():
    F, y = sample(24, 4, apart=0.7)
    unit = F / np.linalg.norm(F, axis=1, keepdims=True)
    right = 0
    for i in range(24):
        others = [j for j in np.argsort(-unit @ unit[i]) if j != i][:5]
        right += int(np.bincount(y[others]).argmax() == y[i])
    assert neighbour_accuracy(F, y) == pytest.approx(right / 24)
    # Pairs of a kind, one of each class: whoever counts itself is right, all others are wrong.
    pairs = np.repeat(np.eye(2), 2, axis=0)
    assert neighbour_accuracy(pairs[[0, 1, 2]], [0, 1, 1]) == 0


def test_probe_knows_what_can_be_learned_and_what_not():
    F, y = sample(60, 5, classes=2, apart=6.0)
    assert probe_accuracy(F, y) == 1.0
    random = np.random.default_rng(0)
    noise = [probe_accuracy(random.normal(size=(60, 5)), y) for _ in range(2)]
    assert 0.3 < np.mean(noise) < 0.7
    assert probe_accuracy(F, y) == probe_accuracy(F, y)


def test_probe_bears_a_class_with_one_sample():
    F, y = sample(40, 5, classes=2, apart=6.0)
    y[0] = 2
    assert probe_accuracy(F, y) == pytest.approx(39 / 40)


@pytest.mark.parametrize("function", ALL)
def test_an_absent_class_changes_nothing(function):
    F, y = sample(24, 6)
    assert function(F, np.array([1, 4, 7])[y]) == pytest.approx(function(F, y), rel=1e-12)


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.ones(4), [0, 1, 0, 1], r"shape \(n, d\), not \(4,\)"),
        (np.ones((4, 2)), [0, 1, 0], "4 samples does not fit 3"),
        (np.eye(4), [1, 1, 1, 1], "all 4 labels are 0|all 4 labels are 1"),
        (np.eye(4), [0.5, 1, 0, 1], "integers"),
        (np.eye(4), [-1, 1, 0, 1], "labels must be in 0"),
    ],
)
def test_what_all_of_them_refuse(function, features, labels, message):
    with pytest.raises(InputError, match=message):
        function(features, labels)


@pytest.mark.parametrize("function", ALL)
def test_a_feature_that_is_not_finite_is_named(function):
    F, y = sample(6, 2)
    F[4, 1] = np.nan
    with pytest.raises(NonFiniteError, match="sample 4, dimension 1"):
        function(F, y)


@pytest.mark.parametrize("function", [h_score, trans_rate, parc, gbc])
def test_features_that_are_all_the_same_are_refused(function):
    with pytest.raises(InputError, match="same for all samples"):
        function(np.full((6, 3), 0.1), [0, 1, 0, 1, 0, 1])


def test_what_single_predictors_refuse():
    with pytest.raises(InputError, match="all features are zero"):
        logme(np.zeros((4, 2)), [0, 1, 0, 1])
    with pytest.raises(InputError, match="one dimension"):
        parc(np.arange(6.0)[:, None], [0, 1, 0, 1, 0, 1])
    with pytest.raises(InputError, match="three samples of two classes"):
        probe_accuracy(sample(9)[0], [0] * 7 + [1, 1])


THETA = [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]


def test_leep_by_hand():
    # Class 0 is the first two samples: sums over tokens are 1.4, 0.6 of 1.7, 1.3.
    zero, one = (1.4 / 1.7, 0.6 / 1.3), (0.3 / 1.7, 0.7 / 1.3)
    likelihoods = [
        0.8 * zero[0] + 0.2 * zero[1],
        0.6 * zero[0] + 0.4 * zero[1],
        0.3 * one[0] + 0.7 * one[1],
    ]
    expected = sum(map(math.log, likelihoods)) / 3
    assert leep(THETA, [0, 0, 1]) == pytest.approx(expected, rel=1e-12)
    # A token that no sample gives a probability to changes nothing.
    wider = np.column_stack([THETA, np.zeros(3)])
    assert leep(wider, [0, 0, 1]) == pytest.approx(expected, rel=1e-12)


def test_nce_by_hand():
    # Tokens 0, 0, 1. The first token has both classes: H(Y | Z) = 2/3 log 2.
    assert nce(THETA, [0, 1, 1]) == pytest.approx(-2 / 3 * math.log(2), rel=1e-12)
    assert nce(THETA, [0, 0, 1]) == 0
    # Of one token, it is the entropy of the labels.
    assert nce(np.ones((4, 1)), [0, 1, 1, 1]) == pytest.approx(
        0.25 * math.log(0.25) + 0.75 * math.log(0.75)
    )


@pytest.mark.parametrize("function", [leep, nce])
@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (np.ones(3), r"shape \(n, V\)"),
        (np.full((3, 2), 0.4), "sum to 1"),
        ([[1.2, -0.2]] * 3, "positive"),
        (np.full((2, 2), 0.5), "2 samples does not fit 3"),
    ],
)
def test_source_labels_that_are_refused(function, probabilities, message):
    with pytest.raises(InputError, match=message):
        function(probabilities, [0, 1, 1])
