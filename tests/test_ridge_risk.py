import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.kernel_ridge import KernelRidge

from tangentlm.errors import InputError
from tangentlm.theory.ridge_risk import objective, risk_bounds, shift_of, training_risk


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    G = rng.normal(size=(7, 5))  # lambda_min is zero
    return G @ G.T, rng.normal(size=7)


@pytest.mark.parametrize("shift", [1e-4, 0.3, 50.0])
def test_the_risk_is_that_of_scikit_learns_regression(problem, shift):
    K, y = problem
    fitted = KernelRidge(alpha=shift, kernel="precomputed").fit(K, y)
    expected = np.mean((y - fitted.predict(K)) ** 2)
    assert training_risk(K, y, shift) == pytest.approx(expected, rel=1e-8)
    low, high = risk_bounds(K, y, shift)
    assert low <= expected <= high


def test_the_bounds_are_reached_at_the_end_eigenvectors(problem):
    K, _ = problem
    _, vectors = np.linalg.eigh(K)
    for place, end in ((-1, 0), (0, 1)):
        y = 3.0 * vectors[:, place]
        assert training_risk(K, y, 0.1) == pytest.approx(risk_bounds(K, y, 0.1)[end], rel=1e-6)


def test_n_sigma_makes_the_objective_least(problem):
    K, y = problem
    sigma = 0.1

    def of_weights(a):
        return np.mean((K @ a - y) ** 2) + sigma * a @ K @ a

    least = minimize(of_weights, np.zeros(7), method="BFGS", options={"gtol": 1e-10}).fun
    assert objective(K, y, shift_of(sigma, 7), sigma) == pytest.approx(least, rel=1e-6)
    assert objective(K, y, sigma, sigma) > 1.05 * least


@pytest.mark.parametrize(
    ("K", "y", "shift"), [(np.eye(2), np.ones(3), 1.0), (np.eye(2), np.ones(2), 0.0)]
)
def test_what_is_no_regression_is_refused(K, y, shift):
    with pytest.raises(InputError):
        training_risk(K, y, shift)
