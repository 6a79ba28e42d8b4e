"""Two-class logistic regression with an intercept, by Newton's method.

With features X, (N, P), labels y of 0 and 1 and a weight c of the loss, it minimises

    c sum_i loss(f_i, y_i) + |w|^2 / 2,    f = X w + b.

Newton's method does not see the scale of the features. A gradient does, and where the loss can be
made as small as one likes, as with most kernels, a small one says little about how far the minimum
is: scikit-learn, which stops by the gradient, can stop far away.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve, qr, solve_triangular
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning

from tangentlm.solvers.checks import Array, Labels

DECREASE = 1e-8
"""The last Newton step promises a smaller decrease, relative to the penalty: the loss may be one
that no fit can avoid."""
ROUND_OFF = 1e-12
"""A smaller decrease, relative to the objective, cannot be told from none."""
LEAST = 1e-12
"""A probability of the true label that counts as zero."""

MAX_ITERATIONS = 100


def minima(
    features: Array, target: Labels, strengths: Sequence[float] | Array, independent: bool
) -> Iterator[Array]:
    """The minimum for each weight of the loss, each found from the ones before it.

    Args:
        features: X, (N, P).
        target: y, (N,), with both labels in it.
        strengths: Weights c of the loss, ascending in equal ratios.
        independent: Whether the samples' features are linearly independent to working precision.
            Then a step solves N equations, else it decomposes a matrix of N + P rows.

    Yields:
        The weights w and, last, the intercept b, (P + 1,).
    """
    columns = np.column_stack([features, np.ones(len(features))])
    products = features @ features.T if independent else None
    found = [np.zeros(columns.shape[1])]
    for strength in strengths:
        start = found[-1]
        if len(found) > 2:
            # On the line through the last two: half the steps that it takes from the last.
            start = 2 * found[-1] - found[-2]
        found.append(_minimum(columns, products, target, 1 / strength, start))
        yield found[-1]


def _minimum(
    columns: Array, products: Array | None, target: Labels, penalty: float, start: Array
) -> Array:
    """Newton's method with step halving; the penalty is 1 / c."""
    sign = 2 * target - 1
    penalties = np.append(np.full(columns.shape[1] - 1, penalty), 0.0)

    def objective(point: Array, logits: Array) -> float:
        loss = np.logaddexp(0, -sign * logits).sum()
        return float(loss + penalties @ point**2 / 2)

    point, logits = start, columns @ start
    for _ in range(MAX_ITERATIONS):
        # To full precision where a sample is all but certainly right. One that is utterly wrong
        # has next to no curvature and pulls all the same: then some is assumed.
        right, wrong = expit(sign * logits), expit(-sign * logits)
        right = np.maximum(right, LEAST)
        root, residual = np.sqrt(right * wrong), sign * wrong
        pulled = root * logits + sign * np.sqrt(wrong / right)
        if products is None:
            step = _by_features(columns, root, pulled, penalties) - point
        else:
            step = _by_samples(columns, products, root, pulled, penalty) - point
        change = columns @ step
        slope = float((penalties * point) @ step - residual @ change)
        here, length = objective(point, logits), 1.0
        while (
            objective(point + length * step, logits + length * change)
            > here + 1e-4 * length * slope + ROUND_OFF * here
        ):
            length /= 2
        point, logits = point + length * step, logits + length * change
        if -slope <= DECREASE * float(penalties @ point**2) / 2 + ROUND_OFF * here:
            return point
    warnings.warn(
        f"the logistic loss did not converge in {MAX_ITERATIONS} Newton steps with a penalty of "
        f"{penalty:.3g}: the last one promised a decrease of {-slope:.1e} from {here:.3g}",
        ConvergenceWarning,
        stacklevel=2,
    )
    return point


def _by_features(columns: Array, root: Array, pulled: Array, penalties: Array) -> Array:
    """Where a Newton step leads: the least squares of R Z v = pulled with the penalties.

    It is found from a triangle, whose condition number is the root of that of the Hessian.

    Args:
        columns: Z = [X, 1], (N, P + 1).
        root: The diagonal of R, the root of the loss' curvature D, (N,).
        pulled: R f + R^-1 (y - p), (N,).
        penalties: 1 / c for each weight, and 0 for the intercept, (P + 1,).

    Returns:
        w and b, (P + 1,).
    """
    loss = np.column_stack([root[:, None] * columns, pulled])
    penalty = np.column_stack([np.diag(np.sqrt(penalties)), np.zeros(len(penalties))])
    stacked = np.concatenate([loss, penalty])
    triangle = qr(stacked, mode="r", overwrite_a=True, check_finite=False)[0][: len(penalties)]
    return solve_triangular(triangle[:, :-1], triangle[:, -1], check_finite=False)


def _by_samples(
    columns: Array, products: Array, root: Array, pulled: Array, penalty: float
) -> Array:
    """The same for independent samples, by a system of samples instead of features.

    With w = X^T R u it is (R G R + penalty) u + b R 1 = pulled, and 1^T R u = 0.

    Args:
        columns: Z = [X, 1], (N, P + 1).
        products: G = X X^T, (N, N).
        root: The diagonal of R, (N,).
        pulled: R f + R^-1 (y - p), (N,).
        penalty: 1 / c.

    Returns:
        w and b, (P + 1,).
    """
    system = products * root[:, None]
    system *= root
    system[np.diag_indices_from(system)] += penalty
    # The transpose is laid out as LAPACK wants it, and is decomposed in place.
    factor = cho_factor(system.T, lower=True, overwrite_a=True, check_finite=False)
    sides = np.column_stack([pulled, root])
    first, second = cho_solve(factor, sides, check_finite=False).T
    intercept = root @ first / (root @ second)
    point = (root * (first - intercept * second)) @ columns
    point[-1] = intercept
    return point
