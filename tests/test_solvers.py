"""Kernel solvers against closed forms and scikit-learn, their invariances and refusals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, f1_score

from tangentlm.errors import InputError, NonFiniteError
from tangentlm.kernels import Kernel
from tangentlm.solvers import (
    KernelLeastSquares,
    Spectrum,
    difference,
    labels_of_decision,
    score,
    select,
)

PROPERTY = settings(derandomize=True, deadline=None, max_examples=25, database=None)


class Problem:
    """Features of N training and M other samples, C outputs each, with labels and logits."""

    def __init__(self, n=8, m=5, outputs=3, width=40, seed=0) -> None:
        random = np.random.default_rng(seed)
        self.n, self.m, self.outputs = n, m, outputs
        self.features = random.normal(size=(n, outputs, width))
        self.others = random.normal(size=(m, outputs, width))
        self.train = np.einsum("icp,jdp->icjd", self.features, self.features)
        self.test = np.einsum("icp,jdp->icjd", self.features, self.others)
        self.y = np.arange(n) % max(outputs, 2)
        self.y_test = random.integers(0, max(outputs, 2), size=m)
        self.f0 = random.normal(size=(n, outputs))
        self.f0_test = random.normal(size=(m, outputs))

    @property
    def target(self) -> np.ndarray:
        return 2.0 * self.y[:, None] - 1 if self.outputs == 1 else np.eye(self.outputs)[self.y]

    @property
    def matrix(self) -> np.ndarray:
        """The training kernel with C N scalar samples, one by one."""
        size = self.n * self.outputs
        flat = np.empty((size, size))
        for i, c, j, d in np.ndindex(self.train.shape):
            flat[i * self.outputs + c, j * self.outputs + d] = self.train[i, c, j, d]
        return flat

    @property
    def ridge(self) -> float:
        """The operator norm of the training kernel."""
        return float(np.linalg.norm(self.matrix, 2))


@pytest.fixture(params=[1, 2, 4], ids=lambda c: f"{c}-outputs")
def problem(request):
    return Problem(outputs=request.param)


STRENGTHS = (0.0, 0.01, 1.0)


# --- what it computes -----------------------------------------------------------------------


@pytest.mark.parametrize("scale", [np.inf, 10.0, 0.5])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_equals_the_closed_form(problem, strength, scale):
    p = problem
    size = p.n * p.outputs
    offset = p.f0 / scale
    alpha = np.linalg.solve(
        p.matrix + strength * p.ridge * np.eye(size), (p.target - offset).reshape(size)
    )
    expected = p.test.reshape(size, -1).T @ alpha + (p.f0_test / scale).reshape(-1)
    solver = KernelLeastSquares(strength, scale).fit(p.train, p.y, p.f0)
    np.testing.assert_allclose(solver.alpha_.reshape(size), alpha, rtol=1e-7, atol=1e-10)
    decision = solver.decision_function(p.test, p.f0_test)
    assert decision.shape == (p.m, p.outputs)
    np.testing.assert_allclose(decision.reshape(-1), expected, rtol=1e-7, atol=1e-10)
    assert solver.rank_ == size
    assert np.array_equal(solver.classes_, np.arange(max(p.outputs, 2)))


@pytest.mark.parametrize("strength", [0.001, 1.0])
def test_equals_ridge_regression_on_the_features(problem, strength):
    p = problem
    width = p.features.shape[2]
    ridge = Ridge(alpha=strength * p.ridge, fit_intercept=False, solver="cholesky", tol=1e-12)
    ridge.fit(p.features.reshape(-1, width), p.target.reshape(-1))
    expected = ridge.predict(p.others.reshape(-1, width)).reshape(p.m, p.outputs)
    decision = KernelLeastSquares(strength).fit(p.train, p.y).decision_function(p.test)
    np.testing.assert_allclose(decision, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("strength", [0.001, 1.0])
def test_equals_kernel_ridge_of_sklearn(problem, strength):
    p = problem
    other = KernelRidge(alpha=strength * p.ridge, kernel="precomputed")
    other.fit(p.matrix, p.target.reshape(-1))
    expected = other.predict(p.test.reshape(p.n * p.outputs, -1).T).reshape(p.m, p.outputs)
    decision = KernelLeastSquares(strength).fit(p.train, p.y).decision_function(p.test)
    np.testing.assert_allclose(decision, expected, rtol=1e-8, atol=1e-10)


def test_offset_is_the_regression_of_the_residual(problem):
    # h = f0 / s + regression of Y - f0 / s: on the training samples, unregularised, it is Y.
    p = problem
    solver = KernelLeastSquares(0.0, 2.0).fit(p.train, p.y, p.f0)
    np.testing.assert_allclose(solver.decision_function(p.train, p.f0), p.target, atol=1e-9)
    # With an infinite scale f0 is not looked at, whatever it holds.
    plain = KernelLeastSquares(0.1).fit(p.train, p.y).decision_function(p.test)
    ignoring = KernelLeastSquares(0.1, np.inf).fit(p.train, p.y, np.full_like(p.f0, 1e9))
    assert np.array_equal(ignoring.decision_function(p.test, p.f0_test), plain)


@pytest.mark.parametrize("outputs", [1, 3])
def test_singular_kernel_gives_the_interpolant_of_least_norm(outputs):
    p = Problem(n=8, outputs=outputs, width=40)
    # Samples 4 to 7 repeat 0 to 3, labels too, so the kernel has half its rank.
    repeat = np.arange(8) % 4
    features, y = p.features[repeat], p.y[repeat]
    train = np.einsum("icp,jdp->icjd", features, features)
    test = np.einsum("icp,jdp->icjd", features, p.others)
    target = 2.0 * y[:, None] - 1 if outputs == 1 else np.eye(outputs)[y]
    solver = KernelLeastSquares(0.0).fit(train, y)
    assert solver.rank_ == 4 * outputs == np.linalg.matrix_rank(train.reshape(8 * outputs, -1))
    np.testing.assert_allclose(solver.decision_function(train), target, atol=1e-9)
    width = features.shape[2]
    weights = np.linalg.pinv(features.reshape(-1, width)) @ target.reshape(-1)
    expected = (p.others.reshape(-1, width) @ weights).reshape(p.m, outputs)
    np.testing.assert_allclose(solver.decision_function(test), expected, atol=1e-9)
    pseudo = np.linalg.pinv(train.reshape(8 * outputs, -1), hermitian=True) @ target.reshape(-1)
    np.testing.assert_allclose(solver.alpha_.reshape(-1), pseudo, atol=1e-9)


def test_contradicting_labels_of_a_repeated_sample_are_averaged():
    kernel = np.ones((2, 1, 2, 1))
    solver = KernelLeastSquares(0.0).fit(kernel, [0, 1])
    assert solver.rank_ == 1
    np.testing.assert_allclose(solver.decision_function(kernel), 0.0, atol=1e-12)


def test_kernel_object_and_array_agree():
    p = Problem(outputs=2)
    kernel = Kernel(p.train, "sgd", "full", ("weight",))
    test = Kernel(p.test, "sgd", "full", ("weight",))
    expected = KernelLeastSquares(0.1).fit(p.train, p.y).decision_function(p.test)
    solver = KernelLeastSquares(0.1).fit(kernel, p.y)
    assert np.array_equal(solver.decision_function(test), expected)


def test_spectrum_at_hand_gives_the_same_solution(problem):
    p = problem
    spectrum = Spectrum.of(p.train)
    assert spectrum.operator_norm == pytest.approx(p.ridge, rel=1e-10)
    assert (np.diff(spectrum.values) >= 0).all()
    with_it = KernelLeastSquares(0.01).fit(p.train, p.y, spectrum=spectrum)
    assert np.array_equal(with_it.alpha_, KernelLeastSquares(0.01).fit(p.train, p.y).alpha_)


def test_round_off_in_the_symmetry_is_accepted():
    p = Problem(outputs=2)
    noise = 1e-7 * np.random.default_rng(5).normal(size=p.train.shape)
    solver = KernelLeastSquares(0.1).fit(p.train + noise, p.y)
    exact = KernelLeastSquares(0.1).fit(p.train, p.y)
    np.testing.assert_allclose(solver.alpha_, exact.alpha_, atol=1e-6)


# --- it is a scikit-learn estimator ---------------------------------------------------------


def test_estimator_of_sklearn():
    p = Problem(outputs=2)
    solver = KernelLeastSquares(regularization=0.1, f0_scale=10.0)
    assert solver.get_params() == {"regularization": 0.1, "f0_scale": 10.0}
    fitted = solver.fit(p.train, p.y, p.f0)
    assert fitted is solver
    copied = clone(solver)
    assert copied.get_params() == solver.get_params()
    assert not hasattr(copied, "alpha_")
    copied.set_params(regularization=0.5, f0_scale=np.inf).fit(p.train, p.y)
    predicted = copied.predict(p.test)
    assert np.array_equal(predicted, copied.decision_function(p.test).argmax(axis=1))
    assert copied.score(p.test, p.y_test) == accuracy_score(p.y_test, predicted)


def test_prediction_of_two_classes_is_the_sign():
    p = Problem(outputs=1)
    solver = KernelLeastSquares(0.1, 5.0).fit(p.train, p.y, p.f0)
    decision = solver.decision_function(p.test, p.f0_test)
    assert np.array_equal(solver.predict(p.test, p.f0_test), decision[:, 0] > 0)
    assert solver.predict(p.test, p.f0_test).dtype == np.int64


# --- invariances ----------------------------------------------------------------------------


@PROPERTY
@given(
    order=st.permutations(range(8)),
    columns=st.permutations(range(5)),
    outputs=st.sampled_from([1, 3]),
    strength=st.sampled_from(STRENGTHS),
)
def test_order_of_samples_does_not_matter(order, columns, outputs, strength):
    p = Problem(outputs=outputs)
    expected = KernelLeastSquares(strength, 3.0).fit(p.train, p.y, p.f0)
    shuffled = KernelLeastSquares(strength, 3.0).fit(
        p.train[order][:, :, order], p.y[order], p.f0[order]
    )
    decision = shuffled.decision_function(p.test[order][:, :, columns], p.f0_test[columns])
    np.testing.assert_allclose(
        decision, expected.decision_function(p.test, p.f0_test)[columns], rtol=1e-7, atol=1e-9
    )


@PROPERTY
@given(order=st.permutations(range(4)), strength=st.sampled_from(STRENGTHS))
def test_order_of_classes_permutes_the_outputs(order, strength):
    p = Problem(outputs=4)
    order = np.array(order)
    expected = KernelLeastSquares(strength, 3.0).fit(p.train, p.y, p.f0)
    renamed = KernelLeastSquares(strength, 3.0).fit(
        p.train[:, order][:, :, :, order], np.argsort(order)[p.y], p.f0[:, order]
    )
    decision = renamed.decision_function(p.test[:, order][:, :, :, order], p.f0_test[:, order])
    np.testing.assert_allclose(
        decision, expected.decision_function(p.test, p.f0_test)[:, order], rtol=1e-7, atol=1e-9
    )


@PROPERTY
@given(
    exponent=st.floats(-8, 8), outputs=st.sampled_from([1, 3]), strength=st.sampled_from(STRENGTHS)
)
def test_scale_of_the_kernel_does_not_matter(exponent, outputs, strength):
    p = Problem(outputs=outputs)
    factor = 10.0**exponent
    expected = KernelLeastSquares(strength, 3.0).fit(p.train, p.y, p.f0)
    scaled = KernelLeastSquares(strength, 3.0).fit(factor * p.train, p.y, p.f0)
    np.testing.assert_allclose(
        scaled.decision_function(factor * p.test, p.f0_test),
        expected.decision_function(p.test, p.f0_test),
        rtol=1e-7,
        atol=1e-9,
    )
    assert scaled.rank_ == expected.rank_


@PROPERTY
@given(
    features=arrays(np.float64, (6, 3, 2), elements=st.integers(-5, 5).map(float)).filter(
        lambda a: np.abs(a).sum() > 0
    ),
    strength=st.sampled_from([0.01, 0.5]),
)
def test_any_positive_semidefinite_kernel_is_solved(features, strength):
    # Small integers give repeated, zero and collinear samples; ridge keeps it well posed.
    train = np.einsum("icp,jdp->icjd", features, features)
    y = np.arange(6) % 3
    solver = KernelLeastSquares(strength).fit(train, y)
    matrix = train.reshape(18, 18)
    residual = np.eye(3)[y].reshape(-1) - matrix @ solver.alpha_.reshape(-1)
    ridge = strength * np.linalg.norm(matrix, 2)
    np.testing.assert_allclose(ridge * solver.alpha_.reshape(-1), residual, atol=1e-9)
    assert solver.rank_ == 18


@PROPERTY
@given(
    decision=arrays(np.float64, (7, 2), elements=st.integers(-3, 3).map(float)),
)
def test_difference_decides_like_the_two_logits(decision):
    assert np.array_equal(labels_of_decision(difference(decision)), labels_of_decision(decision))


# --- select ---------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
@pytest.mark.parametrize("seed", range(4))
def test_select_picks_the_best_point(seed, metric):
    p = Problem(n=12, m=16, outputs=1, width=20, seed=seed)
    strengths, scales = (0.0, 0.01, 0.1, 1.0), (0.5, 2.0, np.inf)
    chosen = select(
        p.train, p.y, p.test, p.y_test, f0_train=p.f0, f0_dev=p.f0_test,
        regularization=strengths, f0_scale=scales, metric=metric,
    )  # fmt: skip
    points = {}
    for strength, scale in itertools.product(strengths, scales):
        solver = KernelLeastSquares(strength, scale).fit(p.train, p.y, p.f0)
        decision = solver.decision_function(p.test, p.f0_test)
        loss = float(np.mean((decision[:, 0] - (2 * p.y_test - 1)) ** 2))
        points[strength, scale] = score(p.y_test, decision[:, 0] > 0, metric), -loss
    assert len(chosen.table) == len(points)
    for row in chosen.table:
        points_there, loss_there = points[row["regularization"], row["f0_scale"]]
        assert row["dev_score"] == points_there
        assert row["dev_loss"] == pytest.approx(-loss_there)
        assert 0 < row["rank"] <= p.n
    best = max(points, key=points.__getitem__)
    assert (chosen.solver.regularization, chosen.solver.f0_scale) == best
    assert chosen.dev_score == points[best][0]
    again = KernelLeastSquares(*best).fit(p.train, p.y, p.f0)
    assert np.array_equal(chosen.solver.alpha_, again.alpha_)


def test_ties_in_the_score_go_to_the_smaller_loss():
    # Every regularisation classifies rightly; the more of it, the further from the targets.
    y = np.array([0, 1, 0, 1])
    features = np.where(y == 1, 1.0, -1.0)[:, None] * np.ones((4, 1))
    kernel = np.einsum("ip,jp->ij", features, features)[:, None, :, None]
    for strengths in [(0.0, 0.1, 1.0), (1.0, 0.1, 0.0)]:
        chosen = select(kernel, y, kernel, y, regularization=strengths, f0_scale=(np.inf,))
        assert [row["dev_score"] for row in chosen.table] == [100.0] * 3
        assert chosen.solver.regularization == 0.0


def test_multi_class_select_uses_one_hot_targets():
    p = Problem(outputs=3)
    chosen = select(p.train, p.y, p.train, p.y, regularization=(0.0,), f0_scale=(np.inf,))
    assert chosen.dev_score == 100.0
    assert chosen.table[0]["dev_loss"] == pytest.approx(0.0, abs=1e-18)


def test_empty_grid_is_refused():
    p = Problem(outputs=1)
    with pytest.raises(InputError, match="grid"):
        select(p.train, p.y, p.test, p.y_test, regularization=(), f0_scale=(np.inf,))


# --- refusals -------------------------------------------------------------------------------

P = Problem(n=4, m=3, outputs=2)
FIT_REFUSALS = {
    "asymmetric": (lambda: KernelLeastSquares().fit(P.train + P.train[::-1], P.y), "not symmetric"),
    "rectangular": (lambda: KernelLeastSquares().fit(P.test, P.y), "does not fit"),
    "f0 missing": (lambda: KernelLeastSquares(0.0, 10.0).fit(P.train, P.y), "needs .* f0"),
    "f0 shape": (
        lambda: KernelLeastSquares(0.0, 10.0).fit(P.train, P.y, P.f0[:, :1]),
        r"f0 has shape \(4, 1\), expected \(4, 2\)",
    ),
    "matrix": (lambda: KernelLeastSquares().fit(P.matrix, P.y), r"\(N, C, M, C\)"),
    "outputs differ": (lambda: KernelLeastSquares().fit(P.train[..., :1], P.y), r"\(N, C, M, C\)"),
    "too few labels": (lambda: KernelLeastSquares().fit(P.train, P.y[:3]), "does not fit 3 labels"),
    "one-hot labels": (lambda: KernelLeastSquares().fit(P.train, np.eye(2)[P.y]), "label"),
    "label too large": (lambda: KernelLeastSquares().fit(P.train, P.y + 1), "0 to 1"),
    "negative label": (lambda: KernelLeastSquares().fit(P.train, P.y - 1), "0 to 1"),
    "label of two classes": (
        lambda: KernelLeastSquares().fit(P.train[:, :1, :, :1], [0, 1, 2, 1]),
        "0 to 1",
    ),
    "negative regularization": (
        lambda: KernelLeastSquares(-0.1).fit(P.train, P.y),
        "regularization must be >= 0",
    ),
    "zero scale": (lambda: KernelLeastSquares(0.1, 0.0).fit(P.train, P.y, P.f0), "f0_scale > 0"),
    "negative scale": (lambda: KernelLeastSquares(0.1, -1.0).fit(P.train, P.y, P.f0), "f0_scale"),
}
PREDICT_REFUSALS = {
    "other samples": (lambda s: s.decision_function(P.test[:2], P.f0_test), "does not fit"),
    "other outputs": (lambda s: s.decision_function(P.test[:, :1, :, :1], P.f0_test), "does not"),
    "matrix": (lambda s: s.decision_function(P.matrix, P.f0_test), r"\(N, C, M, C\)"),
    "f0 missing": (lambda s: s.decision_function(P.test), "needs .* f0"),
    "f0 of others": (
        lambda s: s.predict(P.test, P.f0),
        r"f0 has shape \(4, 2\), expected \(3, 2\)",
    ),
}


@pytest.mark.parametrize(("fit", "message"), FIT_REFUSALS.values(), ids=FIT_REFUSALS)
def test_fit_refuses(fit, message):
    with pytest.raises(InputError, match=message) as caught:
        fit()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("predict", "message"), PREDICT_REFUSALS.values(), ids=PREDICT_REFUSALS)
def test_prediction_refuses(predict, message):
    solver = KernelLeastSquares(0.1, 10.0).fit(P.train, P.y, P.f0)
    with pytest.raises(InputError, match=message):
        predict(solver)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_numbers_do_not_come_out(bad):
    solver = KernelLeastSquares(0.1, 10.0).fit(P.train, P.y, P.f0)
    test = P.test.copy()
    test[0, 0, 0, 0] = bad
    with pytest.raises(NonFiniteError, match="not finite"):
        solver.decision_function(test, P.f0_test)
    train = P.train.copy()
    train[0, 0, 0, 0] = bad
    with pytest.raises((NonFiniteError, ValueError)):
        KernelLeastSquares(0.1).fit(train, P.y)


# --- scores and labels ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_score_is_that_of_sklearn_in_percent(seed):
    random = np.random.default_rng(seed)
    y, predicted = random.integers(0, 2, size=(2, 30))
    assert score(y, predicted) == pytest.approx(100 * accuracy_score(y, predicted))
    assert score(y, predicted, "accuracy") == pytest.approx(100 * np.mean(y == predicted))
    assert score(y, predicted, "f1") == pytest.approx(100 * f1_score(y, predicted))
    hits = np.sum((y == 1) & (predicted == 1))
    assert score(y, predicted, "f1") == pytest.approx(200 * hits / (y.sum() + predicted.sum()))


@pytest.mark.parametrize(
    ("decision", "labels"),
    [
        ([[0.1], [-0.1], [0.0]], [1, 0, 0]),
        ([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [1, 0, 0]),
        ([[0.0, 1.0, 2.0], [3.0, 1.0, 2.0], [0.0, 1.0, 1.0]], [2, 0, 1]),
    ],
)
def test_labels_of_decision(decision, labels):
    assert labels_of_decision(np.array(decision)).tolist() == labels


def test_difference():
    logits = [[1.0, 3.0], [0.5, -0.5]]
    assert difference(logits).tolist() == [[2.0], [-1.0]]
    assert difference(np.float32(logits)).dtype == np.float64
