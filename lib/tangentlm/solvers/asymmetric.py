"""Kernel regression with an asymmetric kernel."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigvalsh, svd

from tangentlm.errors import InputError, unknown_name
from tangentlm.solvers.base import KernelSolver
from tangentlm.solvers.checks import (
    Array,
    Labels,
    as_labels,
    as_training_kernel,
    check_positive,
    matrix_of,
)
from tangentlm.solvers.labels import plus_minus

READINGS = ("offset", "label")


class AsymmetricLeastSquares(KernelSolver):
    """Least squares with K(x, x') = <phi_s(x), phi_t(x')>, as He et al. (2022) solve it.

    The coefficients solve the system of Appendix A.3 of Malladi-v1,

        [ I / gamma   H         ] [ alpha ]   [ r ]
        [ H^T         I / gamma ] [ beta  ] = [ r ],    H_ij = y_i K(x_i, x_j) y_j,   r = 1,

    and the predictor is its f_s(x) = K(x, X) (beta * y), to which f0(x) / s is added. The
    solution is a stationary point, not a minimum: the matrix has the eigenvalues
    1 / gamma +- sigma, with sigma the singular values of H, and is indefinite as soon as gamma
    times the largest sigma exceeds 1. For a symmetric positive semidefinite kernel alpha = beta,
    and f_s is the kernel regression on -1 and +1 with ridge 1 / gamma.

    **Which kernel.** For the eNTK of sign descent, a step on x_j changes f(x) by the inner product
    of the gradient at x and the sign of the gradient at x_j: the evaluated sample is plain, the
    training sample signed. ``entk`` has plain rows and signed columns, so the training samples
    are the *columns* here, for training and for evaluation, unlike in the other solvers:

        K = entk(model, everything, train, formula="asymmetric-signgd").values    # (M, C, N, C)
        solver.fit(K[in_train], y).decision_function(K[in_test])

    A kernel with training rows, entk(model, train, everything), is another one and not the
    transpose of this. It is refused where its shape gives it away, which it does not where there
    are as many evaluated samples as training samples. Nor do its numbers have to: on the right
    side |<g, sign(g')>| <= |g|_1 = <g, sign(g)>, so that no entry of a training kernel's row
    exceeds the one on the diagonal, and one that does proves the wrong side signed. But rows of
    the wrong side pass as well where no gradient is much larger than another. Hence values are
    not looked at here, and which side is signed is the caller's to know.

    **Several classes.** H presupposes labels -1 and +1: a label 0 would take its sample out of the
    system. So the C N scalar samples are labelled one class against the rest, y_ic = +1 where
    c is the class of x_i and -1 elsewhere, and the prediction is the largest output.

    **f0.** The paper does not say where f0 enters the system. With ``f0_as="offset"`` the errors
    of He et al. are those of the whole predictor, 1 - y_i (f_s(x_i) + f0(x_i) / s): H has the
    labels, as in the paper, and r = 1 - y * f0 / s. With ``f0_as="label"``, as in the authors'
    code, y - f0 / s takes the place of y in H and in f_s, and r = 1. Then f_s fits
    1 / (y - f0 / s) instead of y - f0 / s: a training sample that is fitted exactly is predicted
    as y + 2 f0 / s to first order, and not as y. With s infinite the two are the same.

    Example:
        >>> import numpy as np
        >>> K = np.array([[2.0, 1, 0], [0, 1, 0], [0, 0, 1]]).reshape(3, 1, 3, 1)
        >>> solver = AsymmetricLeastSquares(gamma=10.0).fit(K, [1, 1, 0])
        >>> solver.predict(np.array([1.0, 1, 0]).reshape(1, 1, 3, 1)).tolist()
        [1]

    Args:
        gamma: Weight of the squared errors; as in the paper it is no pure number but has the unit
            of 1 / K, so that gamma / c does for c K what gamma does for K.
        regularization: lambda; K + lambda ||K||_op I replaces the training kernel (Table 3).
        f0_scale: s; infinity means that f0 is not used.
        f0_as: ``"offset"`` or ``"label"``.

    Attributes:
        alpha_: The system's alpha, shape (N, C).
        beta_: Its beta, (N, C).
        coefficients_: beta * y, of the columns of K, (N, C).
        rank_: The rank of the system that was used, at most 2 N C; less where some sigma equals
            1 / gamma, and then the solution is the least-squares one of least norm.
        classes_: The labels 0 to C-1.
    """

    GRID: ClassVar = {
        "regularization": (0.0, 0.001, 0.01, 0.1, 1.0),
        "gamma": (0.01, 0.1, 1.0, 10.0),
        "f0_scale": (10.0, 100.0, 1000.0, 10000.0, np.inf),
    }

    EVALUATED_AXIS: ClassVar = 0

    def __init__(
        self,
        gamma: float = 1.0,
        regularization: float = 0.0,
        f0_scale: float = np.inf,
        f0_as: Literal["offset", "label"] = "offset",
    ) -> None:
        self.gamma = gamma
        self.regularization = regularization
        self.f0_scale = f0_scale
        self.f0_as = f0_as

    def fit(
        self,
        K: ArrayLike,
        y: ArrayLike,
        f0: ArrayLike | None = None,
        systems: Systems | None = None,
    ) -> Self:
        """Solve the system.

        Args:
            K: Kernel of the training samples, rows phi_s and columns phi_t, (N, C, N, C).
            y: Labels 0 to C-1 (0 and 1 where C = 1), (N,).
            f0: Pre-trained logits, (N, C); needed unless ``f0_scale`` is infinite.
            systems: The kernel's decompositions, if they are at hand.

        Returns:
            Itself.

        Raises:
            InputError: If shapes do not fit, or a label or hyperparameter is out of range.
            NonFiniteError: If the kernel or ``f0`` is not finite.
        """
        check_positive("gamma", self.gamma)
        check_positive("regularization", self.regularization, zero=True)
        check_positive("f0_scale", self.f0_scale, infinity=True)
        if self.f0_as not in READINGS:
            raise unknown_name("f0_as", self.f0_as, READINGS)
        kernel = as_training_kernel(K)
        shape = kernel.shape[:2]
        sign = plus_minus(as_labels(y, *shape), shape[1])
        offset = self._offset(f0, shape)
        if self.f0_as == "offset":
            label, margin = sign, 1 - sign * offset
        else:
            label, margin = sign - offset, np.ones(shape)
        systems = systems or Systems(kernel)
        decomposition = systems.decompose(self.regularization, label.ravel())
        alpha, beta, self.rank_ = _solve(decomposition, margin.ravel(), 1 / self.gamma)
        self.alpha_, self.beta_ = alpha.reshape(shape), beta.reshape(shape)
        self.coefficients_ = self.beta_ * label
        self.classes_ = np.arange(max(shape[1], 2))
        return self

    def loss(self, decision: Array, labels: Labels) -> float:
        """Mean squared distance to -1 and +1.

        Args:
            decision: (M, C).
            labels: (M,).

        Returns:
            The mean over samples and outputs.
        """
        return float(np.mean((decision - plus_minus(labels, decision.shape[1])) ** 2))

    def diagnostics(self) -> dict[str, float]:
        """The rank of the system that was used.

        Returns:
            ``rank``.
        """
        return {"rank": self.rank_}

    @staticmethod
    def prepare(kernel: ArrayLike) -> Systems:
        """What fits to one kernel with different hyperparameters can share.

        Args:
            kernel: Kernel of the training samples, (N, C, N, C).

        Returns:
            The last argument of ``fit``.
        """
        return Systems(kernel)

    def _evaluate(self, kernel: Array) -> Array:
        train = self.coefficients_.shape
        if kernel.shape[2:] != train:
            swapped = "; its axes are swapped" if kernel.shape[:2] == train else ""
            raise InputError(
                f"kernel {kernel.shape} does not fit {train} coefficients{swapped}: rows are the "
                "evaluated samples and columns the training samples, entk(model, evaluated, train)"
            )
        return (matrix_of(kernel) @ self.coefficients_.ravel()).reshape(kernel.shape[:2])


class Systems:
    """Singular value decompositions of H for one training kernel; the latest is kept.

    With ``f0_as="offset"`` one serves all gamma and f0 scales.
    """

    def __init__(self, kernel: ArrayLike) -> None:
        self.matrix = matrix_of(as_training_kernel(kernel))
        self._key: tuple[float, bytes] | None = None

    @cached_property
    def operator_norm(self) -> float:
        """The largest singular value of the kernel."""
        # The largest singular value is exact in the Gram matrix too, and comes three times faster.
        return float(np.sqrt(eigvalsh(self.matrix.T @ self.matrix)[-1]))

    def decompose(self, regularization: float, label: Array) -> tuple[Array, Array, Array]:
        """The decomposition of H = diag(y) (K + lambda ||K||_op I) diag(y).

        Args:
            regularization: lambda.
            label: y, (NC,).

        Returns:
            Left singular vectors, singular values, and right singular vectors, transposed.
        """
        key = (regularization, label.tobytes())
        if key != self._key:
            system = label[:, None] * self.matrix * label
            if regularization > 0:
                ridge = regularization * self.operator_norm
                system[np.diag_indices_from(system)] += ridge * label**2
            self._decomposition = svd(system)
            self._key = key
        return self._decomposition


def _solve(
    decomposition: tuple[Array, Array, Array], margin: Array, diagonal: float
) -> tuple[Array, Array, int]:
    """alpha, beta and the rank, by the eigenvectors (u, +-v) / sqrt 2 of the system's matrix."""
    left, sigma, right = decomposition
    eigenvalues = np.stack([diagonal + sigma, diagonal - sigma])
    tolerance = eigenvalues.size * np.finfo(np.float64).eps * eigenvalues[0].max()
    kept = np.abs(eigenvalues) > tolerance
    u, v = left.T @ margin, right @ margin
    projected = np.stack([u + v, u - v]) / 2
    even, odd = np.divide(projected, eigenvalues, out=np.zeros_like(projected), where=kept)
    return left @ (even + odd), right.T @ (even - odd), int(kept.sum())
