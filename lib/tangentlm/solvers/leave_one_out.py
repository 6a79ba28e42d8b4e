"""What kernel ridge regression would predict of each training sample without it, from one solve.

With G = (M + s I)^-1 the fit of targets T is M G T. A sample has C rows of M, one for each output.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tangentlm.errors import InputError
from tangentlm.solvers.checks import Array
from tangentlm.solvers.spectrum import Spectrum


def block_leave_one_out(M: ArrayLike | Spectrum, T: ArrayLike, ridge: float, outputs: int) -> Array:
    """r_i = (G_ii)^-1 (G T)_i: target less prediction of sample i by the fit without sample i.

    All C outputs of a sample are left out together. The block form of a classical identity for
    ridge regression (Rasmussen and Williams 2006, equation 5.12, for single rows). It is exact for
    a singular M, too, e.g. one whose outputs are centred, as long as the ridge is positive.

    Example:
        Two samples that know nothing of each other: without a sample, its prediction is zero.

        >>> block_leave_one_out([[2.0, 0.0], [0.0, 1.0]], [1.0, -1.0], ridge=0.1, outputs=1)
        array([[ 1.],
               [-1.]])

    Args:
        M: Symmetric kernel of the samples, (N C, N C), sample-major; or its decomposition.
        T: Targets, (N, C) or (N C,).
        ridge: s, what is added to the diagonal; the same number in the fits without a sample.
        outputs: C.

    Returns:
        Residuals, (N, C).

    Raises:
        InputError: If shapes do not fit, an entry is not finite, M is not symmetric, or M + s I is
            not positive definite.
    """
    spectrum, targets, shifted = _checked(M, T, ridge)
    if outputs < 1 or len(targets) % outputs:
        raise InputError(f"{len(targets)} targets are no multiple of outputs = {outputs}")
    vectors = spectrum.vectors.reshape(-1, outputs, len(targets))
    blocks = (vectors / shifted) @ vectors.transpose(0, 2, 1)
    solved = spectrum.vectors @ ((spectrum.vectors.T @ targets) / shifted)
    residuals = np.linalg.solve(blocks, solved.reshape(-1, outputs, 1))
    return np.asarray(residuals[:, :, 0], dtype=np.float64)


def generalised_cross_validation(M: ArrayLike | Spectrum, T: ArrayLike, ridge: float) -> float:
    """GCV = N |G T|^2 / (tr G)^2, N rows: leave-one-out with each G_ii replaced by their mean.

    Unlike the leave-one-out error it does not change when samples are rotated into each other
    (Golub, Heath and Wahba 1979). Directions that neither M nor T has, as centring
    leaves, have to be taken out before: they would count in N and in the trace.

    Example:
        >>> generalised_cross_validation([[2.0, 0.0], [0.0, 2.0]], [1.0, -1.0], ridge=0.5)
        1.0

    Args:
        M: As for ``block_leave_one_out``.
        T: As there.
        ridge: As there.

    Returns:
        An estimate of the mean squared error of a row.

    Raises:
        InputError: As there.
    """
    spectrum, targets, shifted = _checked(M, T, ridge)
    solved = (spectrum.vectors.T @ targets) / shifted
    return float(len(targets) * (solved @ solved) / (1 / shifted).sum() ** 2)


def _checked(M: ArrayLike | Spectrum, T: ArrayLike, ridge: float) -> tuple[Spectrum, Array, Array]:
    """The decomposition of M, flat targets, and the eigenvalues of M + s I."""
    targets = np.asarray(T, dtype=np.float64).ravel()
    spectrum = M if isinstance(M, Spectrum) else _decomposed(M)
    values = spectrum.values
    if values.shape != targets.shape:
        raise InputError(f"a kernel of {len(values)} rows does not fit {len(targets)} targets")
    if not np.isfinite(targets).all():
        raise InputError("a target is not finite")
    if not (np.isfinite(ridge) and values.min() + ridge > 0):
        raise InputError(
            f"ridge = {ridge} does not make the kernel positive definite; its least eigenvalue is "
            f"{values.min():.3g}"
        )
    return spectrum, targets, values + ridge


def _decomposed(M: ArrayLike) -> Spectrum:
    matrix = np.asarray(M, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.size:
        raise InputError(f"a kernel of samples and outputs is (N C, N C), not {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise InputError("the kernel has an entry that is not finite")
    return Spectrum.of(matrix[:, None, :, None])
