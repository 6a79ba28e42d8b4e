"""Predictors that know the kernel's eigenvalues, and no labels.

Eigenvalues are those of M, the kernel of centred outputs (see ``CentredKernel``); for two classes
it is half the kernel of the difference f_1 - f_0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tangentlm.afzal.condition import SAMPLES, SIGMA, condition_number, draw_samples
from tangentlm.errors import InputError

Array = NDArray[np.float64]

DRAWS = 8
"""How many draws of the paper's 32 samples are measured."""
RELATIVE = 1e-2
"""What is added to the eigenvalues as a share of their mean, where no absolute number is."""


def kappa(kernel: ArrayLike, sigma: float = SIGMA, *, relative: bool = False) -> float:
    """The median condition number of draws of 32 samples, as Rahimi Afzal et al. measure it.

    (lambda_max + sigma) / (lambda_min + sigma) grows with the number of samples, so it is taken
    of as many as the paper has (all, where there are fewer).

    Args:
        kernel: (n, C, n, C), e.g. ``CentredKernel.values``.
        sigma: As for ``condition_number``.
        relative: As for ``condition_number``.

    Returns:
        A number, 1 at least.

    Raises:
        InputError: As for ``condition_number``.
    """
    values = np.asarray(kernel, dtype=np.float64)
    count = min(SAMPLES, len(values))
    found = []
    for draw in range(DRAWS):
        chosen = draw_samples(len(values), count, draw)
        part = values[chosen][:, :, chosen]
        size = part.shape[0] * part.shape[1]
        found.append(condition_number(part.reshape(size, size), sigma, relative=relative))
    return float(np.median(found))


def entropy_rank(eigenvalues: ArrayLike) -> float:
    """The exponential of the spectrum's entropy (Roy and Vetterli 2007).

    It is exp(-sum p_i log p_i) with p_i = lambda_i / sum lambda.

    Example:
        >>> round(entropy_rank([2.0, 2.0, 2.0, 0.0]), 6)
        3.0

    Args:
        eigenvalues: (N,), none negative.

    Returns:
        From 1, one direction, to N, all alike.

    Raises:
        InputError: If an eigenvalue is negative, or all are zero.
    """
    values = _checked(eigenvalues)
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def effective_dimension(eigenvalues: ArrayLike, ridge: float) -> float:
    """The degrees of freedom of the ridge fit, sum lambda_i / (lambda_i + s) (Zhang 2005).

    Example:
        >>> effective_dimension([1.0, 1.0, 0.0], ridge=1.0)
        1.0

    Args:
        eigenvalues: (N,), none negative.
        ridge: s, positive.

    Returns:
        From 0 to N.

    Raises:
        InputError: If an eigenvalue is negative, all are zero, or the ridge is not positive.
    """
    values = _checked(eigenvalues)
    if not 0 < ridge < np.inf:
        raise InputError(f"ridge = {ridge} must be positive")
    return float((values / (values + ridge)).sum())


def _checked(eigenvalues: ArrayLike) -> Array:
    values = np.asarray(eigenvalues, dtype=np.float64)
    if values.ndim != 1 or not (np.isfinite(values).all() and values.sum() > 0):
        raise InputError("eigenvalues must be finite numbers (N,) that are not all zero")
    if values.min() < 0:
        raise InputError(f"an eigenvalue is negative: {values.min():.3g}")
    return values
