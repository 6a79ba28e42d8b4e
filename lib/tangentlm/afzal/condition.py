"""The condition number of Rahimi Afzal et al., with the choices that the paper leaves open.

kappa = (lambda_max + sigma) / (lambda_min + sigma), with sigma = 1e-4 and n = 32 samples, of the
kernel of LoRA's matrices at their start. Two classes give two logits, so that kernel has 2 x 2
blocks; how they become one number is a choice (``REDUCTIONS``), and so are the draw of the samples,
the random head and whether sigma is a number or a share of the kernel's size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from tangentlm.errors import InputError, unknown_name

Array = NDArray[np.float64]

SIGMA = 1e-4
SAMPLES = 32
_WEIGHTS = {"difference": (-1.0, 1.0), "logit": (0.0, 1.0), "sum": (1.0, 1.0)}
REDUCTIONS = (*_WEIGHTS, "trace", "full")
"""The one logit f_1 - f_0, the logit f_1, the sum f_0 + f_1, the sum of the blocks of f_0 and f_1,
or the 2n x 2n matrix of all blocks."""


def reduced(values: ArrayLike, how: str = "difference") -> Array:
    """One matrix from a kernel of two outputs.

    Args:
        values: (N, 2, N, 2).
        how: One of ``REDUCTIONS``.

    Returns:
        (N, N), or (2 N, 2 N) for ``"full"``.

    Raises:
        InputError: If there is no such reduction, or the kernel has not two outputs.
    """
    kernel = np.asarray(values, dtype=np.float64)
    if kernel.ndim != 4 or kernel.shape[1] != 2 or kernel.shape[3] != 2:
        raise InputError(f"a kernel of two outputs has shape (N, 2, N, 2), not {kernel.shape}")
    if how not in REDUCTIONS:
        raise unknown_name("reduce", how, REDUCTIONS)
    if how == "full":
        return kernel.reshape(2 * kernel.shape[0], -1)
    if how == "trace":
        return np.einsum("icjc->ij", kernel)
    weights = np.array(_WEIGHTS[how])
    return np.einsum("icjd,c,d->ij", kernel, weights, weights)


def condition_number(K: ArrayLike, sigma: float = SIGMA, *, relative: bool = False) -> float:
    """kappa(K + sigma I) = (s_max + sigma) / (s_min + sigma), from singular values.

    Those of a kernel are its eigenvalues. An asymmetric kernel has complex eigenvalues, which have
    no order, so its singular values take their place.

    Example:
        >>> condition_number([[3.0, 0.0], [0.0, 1.0]], sigma=1.0)
        2.0

    Args:
        K: (n, n).
        sigma: A positive number, or with ``relative`` a share of the mean eigenvalue, tr K / n:
            then a factor before the kernel changes nothing.
        relative: Whether sigma is such a share.

    Returns:
        A number, 1 at least.

    Raises:
        InputError: If the matrix is not square, or sigma is not positive.
    """
    matrix = np.asarray(K, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"a condition number is that of a square matrix, not {matrix.shape}")
    if not sigma > 0:
        raise InputError(f"sigma = {sigma} must be positive")
    added = sigma * float(np.trace(matrix)) / len(matrix) if relative else sigma
    values = np.linalg.svd(matrix, compute_uv=False)
    return float((values[0] + added) / (values[-1] + added))


def draw_samples(pool: int, count: int, draw: int | None) -> NDArray[np.int64]:
    """Which samples of a pool the kernel is of.

    The kernel of some samples is a block of the kernel of all, so a pool's kernel has as many
    draws as one likes. Draws of one pool have samples in common.

    Args:
        pool: How many there are.
        count: n, how many are drawn.
        draw: The seed of the draw; ``None`` for the first n.

    Returns:
        n distinct indices.

    Raises:
        InputError: If the pool is too small.
    """
    if count > pool:
        raise InputError(f"{count} samples cannot be drawn from {pool}")
    if draw is None:
        return np.arange(count)
    return np.random.default_rng(draw).permutation(pool)[:count]


def condition_numbers(
    kernels: Mapping[str, Array], draws: Iterable[int | None], *, count: int = SAMPLES,
    sigma: float = SIGMA, relative: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """The condition numbers of several kernels for several draws of samples.

    Args:
        kernels: Matrices (N, N) of a pool by name, e.g. of subsets of layers.
        draws: Seeds, or ``None`` for the first samples.
        count: n.
        sigma: As for ``condition_number``.
        relative: As for ``condition_number``.

    Returns:
        ``kernel``, ``draw``, ``kappa``, ``largest`` and ``smallest`` (singular values) and
        ``trace``, a row each.
    """
    rows = []
    for draw in draws:
        for name, matrix in kernels.items():
            chosen = draw_samples(len(matrix), count, draw)
            K = matrix[np.ix_(chosen, chosen)]
            values = np.linalg.svd(K, compute_uv=False)
            kappa = condition_number(K, sigma, relative=relative)
            rows.append((name, draw, kappa, values[0], values[-1], float(np.trace(K))))
    columns = ["kernel", "draw", "kappa", "largest", "smallest", "trace"]
    return pd.DataFrame(rows, columns=columns)
