"""The asymmetric solver: its system, its side, and what it equals for symmetric kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver_problems import PROPERTY, Problem
from tangentlm.errors import InputError
from tangentlm.solvers import AsymmetricLeastSquares, KernelLeastSquares

READINGS = ("offset", "label")


@pytest.fixture(params=[1, 2, 3], ids=lambda c: f"{c}-outputs")
def problem(request):
    return Problem(outputs=request.param)


def signs(p):
    return p.target if p.outputs == 1 else 2 * p.target - 1


def label_and_margin(p, scale, reading):
    """y of the system and its right-hand side."""
    offset = p.f0 / scale
    if reading == "offset":
        return signs(p), 1 - signs(p) * offset
    return signs(p) - offset, np.ones(offset.shape)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("scale", [np.inf, 2.0])
@pytest.mark.parametrize("gamma", [0.01, 3.0])
def test_solution_is_stationary_in_the_features(problem, gamma, scale, reading):
    # The program of He et al.: omega . nu + gamma / 2 (|e|^2 + |h|^2) with the errors
    # e = r - y phi_s . omega and h = r - y phi_t . nu. Its conditions are alpha = gamma e and
    # beta = gamma h, with omega = sum_i beta_i y_i phi_t(x_i), nu = sum_i alpha_i y_i phi_s(x_i).
    p = problem
    solver = AsymmetricLeastSquares(gamma, f0_scale=scale, f0_as=reading)
    solver.fit(p.signed_train, p.y, p.f0)
    label, margin = label_and_margin(p, scale, reading)
    signed = np.sign(p.features)
    omega = np.einsum("ic,ic,icp->p", solver.beta_, label, signed)
    nu = np.einsum("ic,ic,icp->p", solver.alpha_, label, p.features)
    errors = margin - label * (p.features @ omega)
    others = margin - label * (signed @ nu)
    np.testing.assert_allclose(solver.alpha_ / gamma, errors, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(solver.beta_ / gamma, others, rtol=1e-7, atol=1e-9)
    # f_s is omega at the plain features of a sample.
    decision = solver.decision_function(p.signed_test, p.f0_test)
    assert decision.shape == (p.m, p.outputs)
    np.testing.assert_allclose(decision, p.others @ omega + p.f0_test / scale, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("strength", [0.0, 0.1])
def test_solution_solves_the_papers_system(problem, strength, reading):
    p = problem
    size, gamma = p.n * p.outputs, 0.3
    label, margin = label_and_margin(p, 2.0, reading)
    kernel = p.signed_train.reshape(size, size)
    kernel = kernel + strength * np.linalg.norm(kernel, 2) * np.eye(size)
    h = np.diag(label.ravel()) @ kernel @ np.diag(label.ravel())
    eye = np.eye(size) / gamma
    right = np.concatenate([margin.ravel(), margin.ravel()])
    expected = np.linalg.solve(np.block([[eye, h], [h.T, eye]]), right)
    solver = AsymmetricLeastSquares(gamma, strength, 2.0, reading)
    solver.fit(p.signed_train, p.y, p.f0)
    found = np.concatenate([solver.alpha_.ravel(), solver.beta_.ravel()])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert solver.rank_ == 2 * size
    assert np.array_equal(solver.coefficients_, solver.beta_ * label)


def test_reading_of_the_authors_code():
    # Their kernel has signed training rows; the coefficients of the first block predict.
    p = Problem(outputs=1, n=10)
    kernel, gamma = p.signed_train[:, 0, :, 0].T, 0.1
    y = (p.target - p.f0 / 4)[:, 0]
    h = np.outer(y, y) * kernel
    eye = np.eye(10) / gamma
    solution = np.linalg.lstsq(np.block([[eye, h], [h.T, eye]]), np.ones(20), rcond=None)[0]
    expected = p.signed_test[:, 0, :, 0] @ (solution[:10] * y) + p.f0_test[:, 0] / 4
    solver = AsymmetricLeastSquares(gamma, f0_scale=4.0, f0_as="label")
    solver.fit(p.signed_train, p.y, p.f0)
    decision = solver.decision_function(p.signed_test, p.f0_test)
    np.testing.assert_allclose(decision[:, 0], expected, rtol=1e-7)


def test_where_f0_enters_decides_what_is_fitted(problem):
    p = problem
    y, offset = signs(p), 0.1 * p.f0
    fitted = {}
    for reading in READINGS:
        solver = AsymmetricLeastSquares(1e9, f0_scale=10.0, f0_as=reading)
        fitted[reading] = solver.fit(p.signed_train, p.y, p.f0).decision_function(
            p.signed_train, p.f0
        )
    np.testing.assert_allclose(fitted["offset"], y, atol=1e-5)
    np.testing.assert_allclose(fitted["label"], 1 / (y - offset) + offset, atol=1e-5)
    np.testing.assert_allclose(fitted["label"], y + 2 * offset, atol=3 * np.max(offset**2))


def test_readings_agree_without_f0(problem):
    p = problem
    solvers = [AsymmetricLeastSquares(0.5, 0.1, f0_as=reading) for reading in READINGS]
    first, second = (s.fit(p.signed_train, p.y).decision_function(p.signed_test) for s in solvers)
    np.testing.assert_allclose(first, second, rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.01, 1.0])
def test_symmetric_kernel_gives_the_ridge_regression(problem, gamma):
    # alpha = beta and f_s is the regression on -1 and +1 with ridge 1 / gamma.
    p = problem
    solver = AsymmetricLeastSquares(gamma, f0_scale=2.0).fit(p.train, p.y, p.f0)
    size = p.n * p.outputs
    target = (signs(p) - p.f0 / 2).ravel()
    expected = np.linalg.solve(p.matrix + np.eye(size) / gamma, target)
    np.testing.assert_allclose(solver.coefficients_.ravel(), expected, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(solver.alpha_, solver.beta_, rtol=1e-7, atol=1e-10)
    if p.outputs == 1:
        symmetric = KernelLeastSquares(1 / (gamma * p.ridge), 2.0).fit(p.train, p.y, p.f0)
        np.testing.assert_allclose(
            solver.decision_function(p.test.transpose(2, 3, 0, 1), p.f0_test),
            symmetric.decision_function(p.test, p.f0_test),
            rtol=1e-7,
        )


def test_other_side_swaps_alpha_and_beta(problem):
    p = problem
    solver = AsymmetricLeastSquares(0.5, 0.1, 2.0).fit(p.signed_train, p.y, p.f0)
    swapped = AsymmetricLeastSquares(0.5, 0.1, 2.0)
    swapped.fit(p.signed_train.transpose(2, 3, 0, 1), p.y, p.f0)
    np.testing.assert_allclose(swapped.alpha_, solver.beta_, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(swapped.beta_, solver.alpha_, rtol=1e-7, atol=1e-10)
    assert not np.allclose(solver.alpha_, solver.beta_, rtol=1e-2)


def test_singular_system_has_the_solution_of_least_norm():
    # All singular values of a rotation are 1, so gamma = 1 takes half the eigenvalues to zero.
    matrix = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    y = np.array([-1, 1, 1, -1, 1, -1])
    solver = AsymmetricLeastSquares(1.0).fit(matrix[:, None, :, None], (y + 1) // 2)
    h = np.outer(y, y) * matrix
    system = np.block([[np.eye(6), h], [h.T, np.eye(6)]])
    expected = np.linalg.pinv(system, rcond=1e-12) @ np.ones(12)
    assert solver.rank_ == 6 == np.linalg.matrix_rank(system, tol=1e-12)
    found = np.concatenate([solver.alpha_, solver.beta_]).ravel()
    np.testing.assert_allclose(found, expected, atol=1e-12)


@PROPERTY
@given(
    exponent=st.floats(-6, 6), outputs=st.sampled_from([1, 3]), strength=st.sampled_from([0.0, 0.1])
)
def test_scale_of_the_kernel_is_that_of_one_over_gamma(exponent, outputs, strength):
    p = Problem(outputs=outputs)
    factor = 10.0**exponent
    expected = AsymmetricLeastSquares(0.3, strength, 3.0).fit(p.signed_train, p.y, p.f0)
    scaled = AsymmetricLeastSquares(0.3 / factor, strength, 3.0)
    scaled.fit(factor * p.signed_train, p.y, p.f0)
    np.testing.assert_allclose(
        scaled.decision_function(factor * p.signed_test, p.f0_test),
        expected.decision_function(p.signed_test, p.f0_test),
        rtol=1e-6,
        atol=1e-8,
    )


def test_kernel_with_training_rows_is_refused():
    p = Problem(outputs=2)
    solver = AsymmetricLeastSquares().fit(p.signed_train, p.y)
    with pytest.raises(InputError, match="axes are swapped: rows are the evaluated samples"):
        solver.decision_function(p.signed_test.transpose(2, 3, 0, 1))
    with pytest.raises(InputError, match="does not fit") as caught:
        solver.decision_function(p.signed_test[:, :, :4])
    assert "swapped" not in str(caught.value)


def test_entries_beyond_the_diagonal_prove_the_wrong_side_and_their_absence_nothing(problem):
    # What the docstring says about telling the sides apart.
    p = problem

    def beyond(kernel):
        return bool((np.abs(kernel) > np.diag(kernel)[:, None] * (1 + 1e-12)).any())

    for sizes, wrong_side_shows in ((np.linspace(0.1, 10, p.n), True), (np.ones(p.n), False)):
        features = p.features * sizes[:, None, None]
        kernel = np.einsum("icp,jdp->icjd", features, np.sign(features))
        right = kernel.reshape(p.n * p.outputs, -1)
        assert not beyond(right)
        assert beyond(right.T) == wrong_side_shows


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (AsymmetricLeastSquares(0.0), "gamma must be a number > 0, not 0.0"),
        (AsymmetricLeastSquares(np.inf), "gamma"),
        (AsymmetricLeastSquares(f0_as="offsets"), "unknown f0_as 'offsets'; did you mean 'offset'"),
    ],
    ids=["zero gamma", "infinite gamma", "reading"],
)
def test_hyperparameters_are_checked(solver, message):
    p = Problem(outputs=1)
    with pytest.raises(InputError, match=message):
        solver.fit(p.signed_train, p.y)
