"""Theorem 1 of Rahimi Afzal et al. as it is printed, beside what is true.

Printed: s |y|^2 / (s + lambda_max) <= R <= s |y|^2 / (s + lambda_min). The square and the 1/n are
missing (see ``tangentlm.theory.ridge_risk``). The upper bound is true all the same, n (s +
lambda_min) / s times too large; the lower one is false.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from tangentlm.theory.ridge_risk import objective, risk_bounds, shift_of, training_risk

TARGETS = ("random", "top", "bottom")
"""Targets of a draw: normal, or the eigenvector of the largest or smallest eigenvalue."""
_ROUND_OFF = 1e-6
"""A bound is violated beyond so much of it: where lambda_max is 1e8 times sigma, a lambda_min of
zero is zero but for some 1e-8 sigma."""


def printed_bounds(K: ArrayLike, y: ArrayLike, shift: float) -> tuple[float, float]:
    """The bounds of equation (10).

    Example:
        The counterexample, n = lambda = y = 1, has a risk of 1e-8, far below the bound:

        >>> low, _ = printed_bounds([[1.0]], [1.0], 1e-4)
        >>> low > 1000 * training_risk([[1.0]], [1.0], 1e-4)
        True

    Args:
        K: Symmetric kernel, (n, n).
        y: Targets, (n,).
        shift: The paper's sigma.

    Returns:
        Lower and upper bound as printed.
    """
    values, targets = np.linalg.eigvalsh(np.asarray(K)), np.asarray(y, dtype=np.float64)
    size = shift * float(targets @ targets)
    return float(size / (shift + values[-1])), float(size / (shift + values[0]))


def draw_risks(draws: int, *, n: int = 8, seed: int = 0, targets: str = "random") -> pd.DataFrame:
    """Risks and bounds of random kernels, which tell whether a bound is one.

    A kernel is G G^T / n with normal G of n rows and up to 2 n columns, times a power of ten
    from 1e-3 to 1e3; sigma is a power of ten from 1e-4 to 10.

    Args:
        draws: How many.
        n: Samples of a kernel.
        seed: Of the draws.
        targets: One of ``TARGETS``.

    Returns:
        A row a draw: ``risk``, the bounds ``low`` and ``high``, those printed (``printed_low``,
        ``printed_high``), ``kappa``, ``shift``, and whether the risk lies outside (``violates``,
        ``violates_printed_low``, ``violates_printed_high``).
    """
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(draws):
        G = rng.normal(size=(n, rng.integers(1, 2 * n + 1)))
        K = 10.0 ** rng.uniform(-3, 3) * G @ G.T / n
        shift = 10.0 ** rng.uniform(-4, 1)
        values, vectors = np.linalg.eigh(K)
        y = {"random": rng.normal(size=n), "top": vectors[:, -1], "bottom": vectors[:, 0]}[targets]
        kappa = (values[-1] + shift) / (max(values[0], 0.0) + shift)
        bounds = (*risk_bounds(K, y, shift), *printed_bounds(K, y, shift))
        rows.append((training_risk(K, y, shift), *bounds, kappa, shift))
    columns = ["risk", "low", "high", "printed_low", "printed_high", "kappa", "shift"]
    table = pd.DataFrame(rows, columns=columns)
    risk, more, less = table["risk"], 1 + _ROUND_OFF, 1 - _ROUND_OFF
    return table.assign(
        violates=(risk < table["low"] * less) | (risk > table["high"] * more),
        violates_printed_low=risk < table["printed_low"] * less,
        violates_printed_high=risk > table["printed_high"] * more,
    )


def draw_objectives(draws: int, *, n: int = 8, seed: int = 0) -> pd.DataFrame:
    """The objective of equation (6) at what equation (9) offers, and with n sigma on the diagonal.

    Args:
        draws: How many kernels G G^T / n with normal G, (n, n), normal targets, and sigma a power
            of ten from 1e-4 to 1.
        n: Samples of a kernel.
        seed: Of the draws.

    Returns:
        A row a draw: ``sigma``, ``printed`` and ``least``.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(draws):
        G, y, sigma = rng.normal(size=(n, n)), rng.normal(size=n), 10.0 ** rng.uniform(-4, 0)
        K = G @ G.T / n
        least = objective(K, y, shift_of(sigma, n), sigma)
        rows.append((sigma, objective(K, y, sigma, sigma), least))
    return pd.DataFrame(rows, columns=["sigma", "printed", "least"])
