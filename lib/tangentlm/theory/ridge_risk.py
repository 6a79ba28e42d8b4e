"""The training risk of kernel ridge regression, and what the spectrum of the kernel says of it.

With K = sum_i lambda_i u_i u_i^T and f = K (K + s I)^-1 y, the residual is s (K + s I)^-1 y, so

    R = |y - f|^2 / n = (1/n) sum_i (s / (s + lambda_i))^2 (u_i . y)^2.

The minimiser of the mean of squares plus sigma |f|_H^2 has s = n sigma (``shift_of``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tangentlm.errors import InputError

Array = NDArray[np.float64]


def training_risk(K: ArrayLike, y: ArrayLike, shift: float) -> float:
    """R of kernel ridge regression, by its closed form in eigenvectors.

    Example:
        With one sample, lambda = y = 1 and s = 1, half of y is left:

        >>> training_risk([[1.0]], [1.0], 1.0)
        0.25

    Args:
        K: Symmetric kernel, (n, n).
        y: Targets, (n,).
        shift: s, what is added to the diagonal.

    Returns:
        The mean of the squared residuals.

    Raises:
        InputError: If shapes do not fit or s is not positive.
    """
    matrix, targets = _checked(K, y, shift)
    values, vectors = np.linalg.eigh(matrix)
    left = shift / (shift + values) * (vectors.T @ targets)
    return float(left @ left / len(targets))


def risk_bounds(K: ArrayLike, y: ArrayLike, shift: float) -> tuple[float, float]:
    """The least and the largest R that the ends of the spectrum allow.

    (s / (s + lambda_max))^2 |y|^2 / n <= R <= (s / (s + lambda_min))^2 |y|^2 / n. Both are reached,
    where y is the eigenvector of the one end or of the other.

    Args:
        K: Symmetric kernel, (n, n).
        y: Targets, (n,).
        shift: s.

    Returns:
        Lower and upper bound.

    Raises:
        InputError: As for ``training_risk``.
    """
    matrix, targets = _checked(K, y, shift)
    values = np.linalg.eigvalsh(matrix)
    size = float(targets @ targets) / len(targets)
    low, high = (shift / (shift + end) for end in (values[-1], values[0]))
    return float(low**2 * size), float(high**2 * size)


def objective(K: ArrayLike, y: ArrayLike, shift: float, sigma: float) -> float:
    """The mean of squares plus sigma |f|_H^2 at f = K a with a = (K + s I)^-1 y.

    Args:
        K: Symmetric kernel, (n, n).
        y: Targets, (n,).
        shift: s, by which f is found.
        sigma: The weight of the norm.

    Returns:
        The objective; s = n sigma makes it least.

    Raises:
        InputError: As for ``training_risk``.
    """
    matrix, targets = _checked(K, y, shift)
    a = np.linalg.solve(matrix + shift * np.eye(len(targets)), targets)
    residual = matrix @ a - targets
    return float(residual @ residual / len(targets) + sigma * a @ matrix @ a)


def shift_of(sigma: float, n: int) -> float:
    """What the minimiser of the mean of squares plus sigma |f|_H^2 adds to the diagonal.

    Args:
        sigma: The weight of the norm.
        n: The number of samples.

    Returns:
        n sigma.
    """
    return n * sigma


def _checked(K: ArrayLike, y: ArrayLike, shift: float) -> tuple[Array, Array]:
    matrix, targets = np.asarray(K, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if targets.ndim != 1 or matrix.shape != (len(targets), len(targets)):
        raise InputError(f"a kernel (n, n) and targets (n,), not {matrix.shape} {targets.shape}")
    if not shift > 0:
        raise InputError(f"what is added to the diagonal has to be positive, not {shift}")
    return matrix, targets
