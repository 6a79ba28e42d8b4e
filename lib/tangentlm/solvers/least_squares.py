"""Kernel regression with squared loss."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigvalsh

from tangentlm.solvers.base import KernelSolver
from tangentlm.solvers.checks import Array, Labels, as_labels, as_training_kernel, check_positive
from tangentlm.solvers.labels import one_hot, plus_minus
from tangentlm.solvers.spectrum import Spectrum, symmetric_matrix


class KernelLeastSquares(KernelSolver):
    """Kernel regression with squared loss: alpha = (K + lambda ||K||_op I)^+ (Y - f0 / s).

    The predictor is h(x) = K(x, X) alpha + f0(x) / s (Appendix A.3 of Malladi-v1, solver as in
    the authors' code): the labels are fitted on top of the pre-trained logits f0, scaled by s.
    The targets Y are one-hot, or -1 and +1 where there is one output. Centred, they are one-hot
    less 1 / C, so that those of a sample sum to zero, as -1 and +1 do.

    A single fit with lambda > 0 goes by Cholesky. With lambda = 0, or where round-off leaves the
    matrix indefinite, it goes by the eigendecomposition, without the eigenvalues that are zero to
    working precision; so do all fits of a grid, which share one decomposition.

    Example:
        Three training samples, the first two of which are alike, and a new one:

        >>> import numpy as np
        >>> K = np.array([[2.0, 1, 0], [1, 2, 0], [0, 0, 1]]).reshape(3, 1, 3, 1)
        >>> solver = KernelLeastSquares().fit(K, [1, 1, 0])
        >>> solver.alpha_.ravel().round(4).tolist()
        [0.3333, 0.3333, -1.0]
        >>> solver.predict(np.array([1.0, 1, 0]).reshape(3, 1, 1, 1)).tolist()
        [1]

    Args:
        regularization: lambda, in units of the kernel's operator norm.
        f0_scale: s; infinity means that f0 is not used.
        centred: Whether one-hot targets are centred.

    Attributes:
        alpha_: Dual coefficients, shape (N, C).
        rank_: The rank that was used; less than N C where lambda = 0 and the kernel is singular,
            and then the solution is the least-squares one of least norm.
        classes_: The labels 0 to C-1.
    """

    GRID: ClassVar = {
        "regularization": (0.0, 0.001, 0.01, 0.1, 1.0),
        "f0_scale": (10.0, 100.0, 1000.0, 10000.0, np.inf),
    }

    def __init__(
        self, regularization: float = 0.0, f0_scale: float = np.inf, *, centred: bool = False
    ) -> None:
        self.regularization = regularization
        self.f0_scale = f0_scale
        self.centred = centred

    def fit(
        self,
        K: ArrayLike,
        y: ArrayLike,
        f0: ArrayLike | None = None,
        spectrum: Spectrum | None = None,
    ) -> Self:
        """Solve for the dual coefficients.

        Args:
            K: Kernel of the training samples, symmetric, (N, C, N, C).
            y: Labels 0 to C-1 (0 and 1 where C = 1), (N,).
            f0: Pre-trained logits, (N, C); needed unless ``f0_scale`` is infinite.
            spectrum: The kernel's decomposition, if it is at hand.

        Returns:
            Itself.

        Raises:
            InputError: If shapes do not fit, a label or hyperparameter is out of range, or the
                kernel is not symmetric.
            NonFiniteError: If the kernel or ``f0`` is not finite.
        """
        check_positive("regularization", self.regularization, zero=True)
        check_positive("f0_scale", self.f0_scale, infinity=True)
        kernel = as_training_kernel(K)
        shape = kernel.shape[:2]
        target = self._targets(as_labels(y, *shape), shape[1]) - self._offset(f0, shape)
        solution = None
        if spectrum is None and self.regularization > 0:
            solution = _by_cholesky(symmetric_matrix(kernel), target.ravel(), self.regularization)
        if solution is None:
            spectrum = spectrum or Spectrum.of(kernel)
            solution = _by_spectrum(spectrum, target.ravel(), self.regularization)
        alpha, self.rank_ = solution
        self.alpha_ = alpha.reshape(shape)
        self.classes_ = np.arange(max(shape[1], 2))
        return self

    def loss(self, decision: Array, labels: Labels) -> float:
        """Mean squared distance to the targets.

        Args:
            decision: (M, C).
            labels: (M,).

        Returns:
            The mean over samples and outputs.
        """
        return float(np.mean((decision - self._targets(labels, decision.shape[1])) ** 2))

    def diagnostics(self) -> dict[str, float]:
        """The rank that was used.

        Returns:
            ``rank``.
        """
        return {"rank": self.rank_}

    def _targets(self, labels: Labels, outputs: int) -> Array:
        if outputs == 1:
            return plus_minus(labels, outputs)
        return one_hot(labels, outputs) - (1 / outputs if self.centred else 0.0)


def _by_cholesky(matrix: Array, target: Array, regularization: float) -> tuple[Array, int] | None:
    """The solution and its rank, unless the regularised matrix is not positive definite."""
    ridge = regularization * np.abs(eigvalsh(matrix)).max()
    try:
        factor = cho_factor(matrix + ridge * np.eye(len(matrix)))
    except LinAlgError:
        return None
    return cho_solve(factor, target), len(matrix)


def _by_spectrum(spectrum: Spectrum, target: Array, regularization: float) -> tuple[Array, int]:
    """The least-squares solution of least norm, and its rank."""
    shifted = spectrum.values + regularization * spectrum.operator_norm
    tolerance = len(shifted) * np.finfo(np.float64).eps * spectrum.operator_norm
    kept = np.abs(shifted) > tolerance
    inverse = np.divide(1.0, shifted, out=np.zeros_like(shifted), where=kept)
    alpha = spectrum.vectors @ (inverse * (spectrum.vectors.T @ target))
    return alpha, int(kept.sum())
