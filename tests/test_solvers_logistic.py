"""Kernel logistic regression, and the one on kernel rows, against scikit-learn and scipy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

from solver_problems import Problem
from tangentlm.errors import InputError
from tangentlm.solvers import (
    KernelLogistic,
    KernelRowsLogistic,
    difference,
    logistic,
    newton_logistic,
)


def probabilities(decision):
    return expit(decision) if decision.shape[1] == 1 else softmax(decision, axis=1)


def one_hot(p):
    return p.y[:, None] if p.outputs == 1 else np.eye(p.outputs)[p.y]


# --- the penalty of the function space -------------------------------------------------------


@pytest.mark.parametrize("strength", [0.001, 0.1])
def test_two_classes_equal_sklearn_on_the_features(strength):
    p = Problem(outputs=1)
    other = LogisticRegression(
        C=1 / (strength * p.ridge), fit_intercept=False, tol=1e-12, max_iter=10000
    )
    other.fit(p.features[:, 0], p.y)
    decision = KernelLogistic(strength).fit(p.train, p.y).decision_function(p.test)
    expected = other.decision_function(p.others[:, 0])
    np.testing.assert_allclose(decision[:, 0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("strength", [0.001, 0.1])
def test_several_classes_equal_multinomial_sklearn_on_the_features(strength):
    # A class has weights of its own where the kernel of different outputs is zero.
    p = Problem(outputs=1, n=12, m=7)
    y, eye = np.arange(12) % 3, np.eye(3)
    train = np.einsum("ij,cd->icjd", p.matrix, eye)
    test = np.einsum("ij,cd->icjd", p.test[:, 0, :, 0], eye)
    other = LogisticRegression(
        C=1 / (strength * p.ridge), fit_intercept=False, tol=1e-12, max_iter=10000
    )
    other.fit(p.features[:, 0], y)
    decision = KernelLogistic(strength).fit(train, y).decision_function(test)
    expected = other.decision_function(p.others[:, 0])
    np.testing.assert_allclose(decision, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [np.inf, 0.5])
def test_coupled_classes_equal_a_minimisation_over_weights(scale):
    p = Problem(outputs=3)
    mu = 0.01 * p.ridge

    def objective(weights):
        decision = p.features @ weights + p.f0 / scale
        residual = softmax(decision, axis=1) - one_hot(p)
        loss = -log_softmax(decision, axis=1)[np.arange(p.n), p.y].sum()
        gradient = np.einsum("ic,icp->p", residual, p.features) + mu * weights
        return loss + mu * weights @ weights / 2, gradient

    start = np.zeros(p.features.shape[2])
    best = minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-9})
    solver = KernelLogistic(0.01, scale).fit(p.train, p.y, p.f0)
    decision = solver.decision_function(p.test, p.f0_test)
    np.testing.assert_allclose(decision, p.others @ best.x + p.f0_test / scale, atol=1e-6)


@pytest.mark.parametrize("scale", [np.inf, 1.0, 0.01])
@pytest.mark.parametrize("strength", [1e-6, 0.01, 10.0])
@pytest.mark.parametrize("outputs", [1, 2, 4])
def test_coefficients_are_the_residuals_at_the_minimum(outputs, strength, scale):
    # K (p - Y + mu alpha) = 0 with p the probabilities of the decision itself.
    p = Problem(outputs=outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solver = KernelLogistic(strength, scale).fit(p.train, p.y, p.f0)
    predicted = probabilities(solver.decision_function(p.train, p.f0))
    residual = one_hot(p) - predicted
    np.testing.assert_allclose(strength * p.ridge * solver.alpha_, residual, atol=1e-7)
    assert 0 < solver.n_iter_ < 60
    assert np.array_equal(solver.classes_, np.arange(max(outputs, 2)))


def test_repeated_samples_with_other_labels_share_a_probability():
    # A kernel of rank one: the decision is the one number that splits the labels three to one.
    kernel = np.ones((4, 1, 4, 1))
    solver = KernelLogistic(1e-9).fit(kernel, [0, 1, 1, 1])
    np.testing.assert_allclose(expit(solver.decision_function(kernel)), 0.75, atol=1e-6)


def test_two_classes_equal_their_difference():
    # The same penalty: lambda is in units of the operator norm, which the two kernels do not share.
    p = Problem(outputs=2)
    sign = np.array([-1.0, 1.0])
    train = np.einsum("icjd,c,d->ij", p.train, sign, sign)[:, None, :, None]
    test = np.einsum("icjd,c,d->ij", p.test, sign, sign)[:, None, :, None]
    mu = 0.05 * p.ridge
    full = KernelLogistic(0.05, 2.0).fit(p.train, p.y, p.f0)
    half = KernelLogistic(mu / np.linalg.norm(train[:, 0, :, 0], 2), 2.0)
    half.fit(train, p.y, difference(p.f0))
    np.testing.assert_allclose(
        half.decision_function(test, difference(p.f0_test)),
        difference(full.decision_function(p.test, p.f0_test)),
        atol=1e-7,
    )


def test_strong_penalty_leaves_the_pretrained_logits():
    p = Problem(outputs=3)
    solver = KernelLogistic(1e9, 2.0).fit(p.train, p.y, p.f0)
    np.testing.assert_allclose(
        solver.decision_function(p.test, p.f0_test), p.f0_test / 2, atol=1e-7
    )


def test_lack_of_convergence_is_said(monkeypatch):
    p = Problem(outputs=3)
    monkeypatch.setattr(logistic, "MAX_ITERATIONS", 1)
    with pytest.warns(ConvergenceWarning, match=r"not converge in 1 Newton steps .*= 0\.01"):
        solver = KernelLogistic(0.01).fit(p.train, p.y)
    assert solver.n_iter_ == 1


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (Problem(outputs=2).signed_train, "not symmetric"),
        (Problem(outputs=2).train * -1, "positive semidefinite"),
        (np.diag(np.arange(-1.0, 15.0)).reshape(8, 2, 8, 2), "eigenvalues are -1 to 14"),
        (np.zeros((8, 2, 8, 2)), "positive semidefinite"),
    ],
    ids=["asymmetric", "negative", "indefinite", "zero"],
)
def test_kernel_without_a_minimum_is_refused(kernel, message):
    with pytest.raises(InputError, match=message):
        KernelLogistic(0.1).fit(kernel, np.arange(8) % 2)


@pytest.mark.parametrize("strength", [0.0, np.inf])
def test_logistic_loss_needs_a_penalty(strength):
    p = Problem(outputs=1)
    with pytest.raises(InputError, match="regularization must be a number > 0"):
        KernelLogistic(strength).fit(p.train, p.y)


# --- kernel rows as features -----------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.0, 0.1])
@pytest.mark.parametrize("outputs", [1, 3])
def test_rows_equal_the_cross_validation_of_sklearn(outputs, strength):
    p = Problem(n=24, m=9, outputs=outputs, width=10, seed=3)
    train, test = p.train / p.ridge, p.test / p.ridge
    rows = train.reshape(24 * outputs, -1) + strength * np.eye(24 * outputs)
    other = LogisticRegressionCV(max_iter=10000, random_state=0, tol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        other.fit(rows, one_hot(p).ravel())
    expected = other.decision_function(test.reshape(24 * outputs, -1).T).reshape(9, outputs)
    solver = KernelRowsLogistic(strength).fit(train, p.y)
    assert solver.strength_ == other.C_[0]
    decision = solver.decision_function(test)
    np.testing.assert_allclose(decision, expected, atol=2e-3 * np.abs(expected).max())
    labels = decision[:, 0] > 0 if outputs == 1 else decision.argmax(axis=1)
    assert np.array_equal(solver.predict(test), labels)


@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.parametrize("strength", [0.0, 0.1])
@pytest.mark.parametrize("outputs", [1, 3])
def test_rows_of_any_size_reach_the_minimum_of_sklearn(outputs, strength, size):
    # The same problem in another unit, in which scikit-learn reaches it, too.
    p = Problem(n=24, m=9, outputs=outputs, seed=3)
    train, test = size / p.ridge * p.train, size / p.ridge * p.test
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solver = KernelRowsLogistic(strength).fit(train, p.y)
    rows = p.matrix / p.ridge + strength * np.eye(24 * outputs)
    other = LogisticRegression(
        C=solver.strength_ * size**2, solver="newton-cholesky", tol=1e-12, max_iter=1000
    )
    other.fit(rows, one_hot(p).ravel())
    columns = test.reshape(24 * outputs, -1).T / size
    expected = other.decision_function(columns).reshape(9, outputs)
    decision = solver.decision_function(test)
    np.testing.assert_allclose(decision, expected, atol=1e-4 * np.abs(expected).max())


def test_rows_as_large_as_those_of_an_entk_are_fitted_to_their_minimum():
    # Where all samples can be told apart, a gradient that scikit-learn takes for none is left.
    p = Problem(n=20, outputs=3, width=300)
    kernel = 1e3 + 10 * p.train
    solver = KernelRowsLogistic().fit(kernel, p.y)
    matrix = kernel.reshape(60, 60)
    residual = (one_hot(p) - expit(solver.decision_function(kernel))).ravel()
    dual = solver.strength_ * residual
    size = np.abs(solver.alpha_).max()
    np.testing.assert_allclose(matrix @ dual, solver.alpha_.ravel(), atol=1e-4 * size)
    assert abs(dual.sum()) < 1e-6 * np.abs(dual).sum()


def test_rows_of_twins_with_both_labels_are_undecided():
    p = Problem(n=20, outputs=1)
    twice = np.r_[0:20, 0:5]
    y = np.r_[p.y, 1 - p.y[:5]]
    kernel = 100 * p.train[twice][:, :, twice]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solver = KernelRowsLogistic().fit(kernel, y)
    assert solver.strength_ == 1e-4  # More weight on the loss classifies no better.
    decision = solver.decision_function(kernel)[:, 0]
    np.testing.assert_allclose(decision[:5], decision[20:], atol=1e-8)
    assert np.abs(decision[:5]).max() < 0.1
    assert np.array_equal(decision[5:20] > 0, y[5:20] == 1)


def test_rows_of_zeros_leave_the_intercept():
    solver = KernelRowsLogistic().fit(np.zeros((15, 1, 15, 1)), np.arange(15) % 3 // 2)
    assert not solver.alpha_.any()
    assert solver.intercept_ == pytest.approx(np.log(5 / 10))


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_minima_by_samples_and_by_features_are_the_same(size):
    random = np.random.default_rng(0)
    features, y = size * random.normal(size=(12, 30)), np.arange(12) % 2
    strengths = np.logspace(-3, 3, 7)
    pairs = [newton_logistic.minima(features, y, strengths, way) for way in (True, False)]
    for strength, *both in zip(strengths, *pairs, strict=True):
        other = LogisticRegression(
            C=strength * size**2, solver="newton-cholesky", tol=1e-13, max_iter=1000
        ).fit(features / size, y)
        expected = np.append(other.coef_ / size, other.intercept_)
        for found in both:
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * abs(expected).max())


@pytest.mark.parametrize("independent", [True, False])
def test_lack_of_convergence_of_a_minimum_is_said(monkeypatch, independent):
    p = Problem(outputs=1)
    monkeypatch.setattr(newton_logistic, "MAX_ITERATIONS", 1)
    with pytest.warns(ConvergenceWarning, match="not converge in 1 Newton steps with a penalty"):
        list(newton_logistic.minima(p.features[:, 0], p.y, [1e4], independent))


def test_rows_do_not_look_at_the_pretrained_logits():
    p = Problem(n=12, outputs=1)
    plain = KernelRowsLogistic().fit(p.train, p.y)
    given = KernelRowsLogistic().fit(p.train, p.y, 1e9 * p.f0)
    assert np.array_equal(
        given.decision_function(p.test, p.f0_test), plain.decision_function(p.test)
    )
    assert "f0_scale" not in plain.get_params()


def test_rows_need_five_samples_of_a_class():
    p = Problem(n=9, outputs=1)
    with pytest.raises(InputError, match="5 folds need 5 samples on each side, not 4"):
        KernelRowsLogistic().fit(p.train, p.y)
