"""The leave-one-out residuals against as many fits, one without each sample."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from solver_problems import Problem
from tangentlm.errors import InputError
from tangentlm.solvers.leave_one_out import block_leave_one_out, generalised_cross_validation
from tangentlm.solvers.spectrum import Spectrum


def refitted(M, T, ridge, outputs):
    """Fit without each sample in turn, by a plain solve."""
    targets, rows = T.reshape(-1, outputs), np.arange(len(M)).reshape(-1, outputs)
    residuals = np.empty_like(targets)
    for i in range(len(targets)):
        out, kept = rows[i], np.delete(rows, i, axis=0).ravel()
        coefficients = np.linalg.solve(
            M[np.ix_(kept, kept)] + ridge * np.eye(len(kept)), T.ravel()[kept]
        )
        residuals[i] = targets[i] - M[np.ix_(out, kept)] @ coefficients
    return residuals


def centring(samples, outputs):
    """P: takes the mean over outputs from every sample."""
    return np.kron(np.eye(samples), np.eye(outputs) - 1 / outputs)


@pytest.mark.parametrize("outputs", [1, 2, 4])
@pytest.mark.parametrize("width", [5, 60], ids=["low rank", "full rank"])
@pytest.mark.parametrize("ridge", [1e-3, 1.0, 50.0])
def test_residuals_are_those_of_fits_without_each_sample(outputs, width, ridge):
    p = Problem(n=9, outputs=outputs, width=width)
    found = block_leave_one_out(p.matrix, p.target, ridge, outputs)
    np.testing.assert_allclose(found, refitted(p.matrix, p.target, ridge, outputs), rtol=1e-7)
    again = block_leave_one_out(Spectrum.of(p.train), p.target.ravel(), ridge, outputs)
    np.testing.assert_allclose(again, found, rtol=1e-9)


@pytest.mark.parametrize("ridge", [1e-6, 1e-2, 1.0])
def test_they_are_exact_for_a_kernel_that_centring_makes_singular(ridge):
    p = Problem(n=9, outputs=3)
    P = centring(9, 3)
    M, T = P @ p.matrix @ P, p.target - 1 / 3
    found = block_leave_one_out(M, T, ridge, 3)
    np.testing.assert_allclose(found, refitted(M, T, ridge, 3), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.sum(axis=1), 0, atol=1e-9)


def test_single_rows_are_those_of_scikit_learn():
    p = Problem(n=15, outputs=1, width=8)
    features, target = p.features[:, 0], p.target[:, 0]
    theirs = RidgeCV(alphas=[0.7], fit_intercept=False, store_cv_results=True).fit(features, target)
    found = block_leave_one_out(features @ features.T, target, 0.7, 1)
    np.testing.assert_allclose(found[:, 0] ** 2, theirs.cv_results_[:, 0], rtol=1e-8)


def test_cross_validation_of_equal_leverages_is_leave_one_out():
    # All rows of a circulant kernel are alike, so every G_ii is their mean.
    row = 0.5 ** np.minimum(np.arange(10), 10 - np.arange(10))
    M = np.array([np.roll(row, shift) for shift in range(10)])
    T = np.random.default_rng(0).normal(size=10)
    error = (block_leave_one_out(M, T, 0.3, 1) ** 2).mean()
    assert generalised_cross_validation(M, T, 0.3) == pytest.approx(error, rel=1e-10)


def test_cross_validation_is_its_definition_and_knows_no_rotation():
    p = Problem(n=8, outputs=2, width=6)
    T, ridge = p.target.ravel(), 0.4
    influence = p.matrix @ np.linalg.inv(p.matrix + ridge * np.eye(16))
    left = np.eye(16) - influence
    expected = (np.linalg.norm(left @ T) ** 2 / 16) / (np.trace(left) / 16) ** 2
    assert generalised_cross_validation(p.matrix, T, ridge) == pytest.approx(expected, rel=1e-9)
    Q = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))[0]
    rotated = generalised_cross_validation(Q @ p.matrix @ Q.T, Q @ T, ridge)
    assert rotated == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ridge": 0.0}, "ridge = 0.0 does not make"),
        ({"ridge": float("nan")}, "ridge = nan"),
        ({"outputs": 5}, "no multiple of outputs = 5"),
        ({"T": np.ones(7)}, "16 rows does not fit 7"),
        ({"T": np.full(16, np.inf)}, "target is not finite"),
        ({"M": np.ones((3, 4))}, "training needs"),
        ({"M": np.ones(4)}, r"\(N C, N C\), not \(4,\)"),
        ({"M": np.full((16, 16), np.nan)}, "not finite"),
        ({"M": np.triu(np.ones((16, 16)))}, "not symmetric"),
    ],
)
def test_what_is_refused(change, message):
    p = Problem(n=8, outputs=2, width=3)
    given = {"M": p.matrix, "T": p.target, "ridge": 0.1, "outputs": 2} | change
    if given["ridge"] == 0:  # of low rank, and one eigenvalue below zero by round-off
        given["M"] = p.matrix - 1e-9 * np.eye(16)
    with pytest.raises(InputError, match=message):
        block_leave_one_out(**given)
