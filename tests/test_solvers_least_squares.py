"""Kernel least squares against closed forms and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge

from solver_problems import PROPERTY, Problem
from tangentlm.errors import InputError
from tangentlm.kernels import Kernel
from tangentlm.solvers import KernelLeastSquares, Spectrum


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
    # With a spectrum the solution comes from it, without one from Cholesky.
    with_it = KernelLeastSquares(0.01).fit(p.train, p.y, spectrum=spectrum)
    without = KernelLeastSquares(0.01).fit(p.train, p.y)
    np.testing.assert_allclose(with_it.alpha_, without.alpha_, rtol=1e-9, atol=1e-12)
    assert with_it.rank_ == without.rank_


def test_indefinite_kernel_is_solved_where_cholesky_cannot():
    p = Problem(outputs=1)
    matrix = p.matrix - 0.5 * p.ridge * np.eye(p.n)
    norm = np.linalg.norm(matrix, 2)
    solver = KernelLeastSquares(0.1).fit(matrix[:, None, :, None], p.y)
    expected = np.linalg.solve(matrix + 0.1 * norm * np.eye(p.n), p.target[:, 0])
    assert np.linalg.eigvalsh(matrix + 0.1 * norm * np.eye(p.n)).min() < 0
    np.testing.assert_allclose(solver.alpha_[:, 0], expected, rtol=1e-8)


def test_round_off_in_the_symmetry_is_accepted():
    p = Problem(outputs=2)
    noise = 1e-7 * np.random.default_rng(5).normal(size=p.train.shape)
    solver = KernelLeastSquares(0.1).fit(p.train + noise, p.y)
    exact = KernelLeastSquares(0.1).fit(p.train, p.y)
    np.testing.assert_allclose(solver.alpha_, exact.alpha_, atol=1e-6)


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


def test_asymmetric_kernel_is_refused():
    p = Problem(outputs=2)
    for solver in (KernelLeastSquares(), KernelLeastSquares(0.1)):
        with pytest.raises(InputError, match="not symmetric"):
            solver.fit(p.signed_train, p.y)
