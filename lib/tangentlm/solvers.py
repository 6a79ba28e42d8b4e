"""Kernel solvers: scikit-learn estimators on precomputed kernels of shape (N, C, M, C).

C outputs are treated as C N scalar samples (Appendix A.3 of Malladi-v1). A kernel with C = 1 is
that of the difference f_1 - f_0 of two classes; its targets are -1 and +1. For C > 1 the targets
are one-hot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score, f1_score

from tangentlm.errors import InputError, NonFiniteError

Array = NDArray[np.float64]


@dataclass
class Spectrum:
    """The eigendecomposition of a symmetric training kernel, shared by a grid of solvers."""

    values: Array
    vectors: Array

    @classmethod
    def of(cls, kernel: Array) -> Spectrum:
        """Decompose a kernel.

        Args:
            kernel: Symmetric, shape (N, C, N, C).

        Returns:
            Its eigenvalues, ascending, and eigenvectors.

        Raises:
            InputError: If the kernel is not symmetric.
        """
        matrix = kernel.reshape(kernel.shape[0] * kernel.shape[1], -1)
        scale = np.abs(matrix).max(initial=0.0)
        if matrix.shape[0] != matrix.shape[1] or np.abs(matrix - matrix.T).max() > 1e-4 * scale:
            raise InputError("the training kernel is not symmetric; it needs an asymmetric solver")
        values, vectors = eigh((matrix + matrix.T) / 2)
        return cls(values, vectors)

    @property
    def operator_norm(self) -> float:
        """The largest absolute eigenvalue."""
        return float(np.abs(self.values).max())


class KernelLeastSquares(ClassifierMixin, BaseEstimator):
    """Kernel regression with squared loss: alpha = (K + lambda ||K||_op I)^+ (Y - f0 / s).

    The predictor is h(x) = K(x, X) alpha + f0(x) / s (Appendix A.3 of Malladi-v1, solver as in
    the authors' code): the labels are fitted on top of the pre-trained logits f0, scaled by s.

    Args:
        regularization: lambda, in units of the kernel's operator norm.
        f0_scale: s; infinity means that f0 is not used.

    Attributes:
        alpha_: Dual coefficients, shape (N, C).
        rank_: The rank that was used; less than N C where lambda = 0 and the kernel is singular,
            and then the solution is the least-squares one of least norm.
        classes_: The labels 0 to C-1.
    """

    def __init__(self, regularization: float = 0.0, f0_scale: float = np.inf) -> None:
        self.regularization = regularization
        self.f0_scale = f0_scale

    def fit(
        self,
        K: ArrayLike,
        y: ArrayLike,
        f0: ArrayLike | None = None,
        spectrum: Spectrum | None = None,
    ) -> Self:
        """Solve for the dual coefficients.

        Args:
            K: Kernel of the training samples, (N, C, N, C).
            y: Labels 0 to C-1 (0 and 1 where C = 1), (N,).
            f0: Pre-trained logits, (N, C); needed unless ``f0_scale`` is infinite.
            spectrum: The kernel's decomposition, if it is at hand.

        Returns:
            Itself.

        Raises:
            InputError: If shapes do not fit or a hyperparameter is out of range.
        """
        kernel = _kernel(K)
        labels = np.asarray(y)
        if not self.regularization >= 0 or not self.f0_scale > 0:
            raise InputError("regularization must be >= 0 and f0_scale > 0")
        if kernel.shape[0] != kernel.shape[2] or len(labels) != kernel.shape[0]:
            raise InputError(f"kernel {kernel.shape} does not fit {len(labels)} labels")
        spectrum = spectrum or Spectrum.of(kernel)
        target = _targets(labels, kernel.shape[1]) - self._offset(f0, kernel.shape[:2])
        shifted = spectrum.values + self.regularization * spectrum.operator_norm
        tolerance = len(shifted) * np.finfo(np.float64).eps * spectrum.operator_norm
        kept = np.abs(shifted) > tolerance
        inverse = np.divide(1.0, shifted, out=np.zeros_like(shifted), where=kept)
        projected = spectrum.vectors.T @ target.reshape(-1)
        self.alpha_ = (spectrum.vectors @ (inverse * projected)).reshape(target.shape)
        self.rank_ = int(kept.sum())
        self.classes_ = np.arange(max(kernel.shape[1], 2))
        return self

    def decision_function(self, K: ArrayLike, f0: ArrayLike | None = None) -> Array:
        """The fitted function on M columns.

        Args:
            K: Kernel between the training samples and M others, (N, C, M, C).
            f0: Pre-trained logits of the M samples, (M, C).

        Returns:
            (M, C).

        Raises:
            NonFiniteError: If a prediction is not finite.
        """
        kernel = _kernel(K)
        if kernel.shape[:2] != self.alpha_.shape:
            raise InputError(f"kernel {kernel.shape} does not fit {self.alpha_.shape} coefficients")
        decision = np.einsum("icjd,ic->jd", kernel, self.alpha_, optimize=True)
        decision = decision + self._offset(f0, decision.shape)
        if not np.isfinite(decision).all():
            raise NonFiniteError("a prediction of the kernel regression is not finite")
        return decision

    def predict(self, K: ArrayLike, f0: ArrayLike | None = None) -> NDArray[np.int64]:
        """The predicted labels of M columns.

        Args:
            K: (N, C, M, C).
            f0: (M, C).

        Returns:
            (M,).
        """
        return labels_of_decision(self.decision_function(K, f0))

    def _offset(self, f0: ArrayLike | None, shape: tuple[int, ...]) -> Array:
        """f0 / s, or zero where s is infinite."""
        if np.isinf(self.f0_scale):
            return np.zeros(shape)
        if f0 is None:
            raise InputError(f"f0_scale = {self.f0_scale} needs the pre-trained logits f0")
        logits = np.asarray(f0, dtype=np.float64)
        if logits.shape != shape:
            raise InputError(f"f0 has shape {logits.shape}, expected {shape}")
        return logits / self.f0_scale


def _kernel(values: Any) -> Array:
    """The values of a ``Kernel`` or an array, checked."""
    array = np.asarray(getattr(values, "values", values), dtype=np.float64)
    if array.ndim != 4 or array.shape[1] != array.shape[3]:
        raise InputError(f"a kernel has shape (N, C, M, C), not {array.shape}")
    return array


def _targets(labels: NDArray[Any], outputs: int) -> Array:
    """-1 and +1 for one output, one-hot rows for several; (N, C)."""
    classes = max(outputs, 2)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"labels must be integers of shape (N,), not {labels.dtype} {labels.shape}"
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise InputError(f"labels must be in 0 to {classes - 1}")
    if outputs == 1:
        return np.where(labels == 1, 1.0, -1.0)[:, None]
    return np.eye(outputs)[labels]


def labels_of_decision(decision: Array) -> NDArray[np.int64]:
    """The label that a decision stands for.

    Args:
        decision: (M, C); with C = 1 the logit difference f_1 - f_0.

    Returns:
        (M,).
    """
    if decision.shape[1] == 1:
        return (decision[:, 0] > 0).astype(np.int64)
    return decision.argmax(axis=1)


def difference(logits: ArrayLike) -> Array:
    """f_1 - f_0 of two-class logits, as kernels with ``outputs="difference"`` need it.

    Args:
        logits: (N, 2).

    Returns:
        (N, 1).

    Raises:
        InputError: If there are not two classes.
    """
    array = np.asarray(logits, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise InputError(f"the difference of logits is for shape (N, 2), not {array.shape}")
    return array[:, 1:] - array[:, :1]


def score(y: ArrayLike, predicted: ArrayLike, metric: str = "accuracy") -> float:
    """Performance in percent, as the papers print it.

    Args:
        y: True labels, (M,).
        predicted: Predicted labels, (M,).
        metric: ``"accuracy"``, or ``"f1"`` of label 1.

    Returns:
        0 to 100.
    """
    value = f1_score(y, predicted) if metric == "f1" else accuracy_score(y, predicted)
    return 100.0 * float(value)


@dataclass
class Selection:
    """The grid point that did best on dev, its solver, and how every point did."""

    solver: KernelLeastSquares
    dev_score: float
    table: list[dict[str, float]] = field(default_factory=list)


def select(
    K_train: ArrayLike,
    y_train: ArrayLike,
    K_dev: ArrayLike,
    y_dev: ArrayLike,
    *,
    f0_train: ArrayLike | None = None,
    f0_dev: ArrayLike | None = None,
    regularization: Sequence[float] = (0.0, 0.001, 0.01, 0.1, 1.0),
    f0_scale: Sequence[float] = (10.0, 100.0, 1000.0, 10000.0, np.inf),
    metric: str = "accuracy",
) -> Selection:
    """Choose regularisation and f0 scale on the dev split (grid of Table 3 of Malladi-v1).

    Ties in the score, which are many on a small dev split, go to the smaller squared loss.

    Args:
        K_train: (N, C, N, C).
        y_train: (N,).
        K_dev: (N, C, M, C).
        y_dev: (M,).
        f0_train: Pre-trained logits, (N, C).
        f0_dev: Pre-trained logits, (M, C).
        regularization: Values of lambda, in units of the operator norm.
        f0_scale: Values of s.
        metric: ``"accuracy"`` or ``"f1"``.

    Returns:
        The best solver, fitted, with the whole table.
    """
    train, dev = _kernel(K_train), _kernel(K_dev)
    labels = np.asarray(y_dev)
    spectrum = Spectrum.of(train)
    target = _targets(labels, train.shape[1])
    best: tuple[tuple[float, float], KernelLeastSquares] | None = None
    table = []
    for scale in f0_scale:
        for strength in regularization:
            solver = KernelLeastSquares(strength, scale).fit(train, y_train, f0_train, spectrum)
            decision = solver.decision_function(dev, f0_dev)
            points = score(labels, labels_of_decision(decision), metric)
            loss = float(np.mean((decision - target) ** 2))
            table.append(
                {
                    "regularization": strength,
                    "f0_scale": scale,
                    "dev_score": points,
                    "dev_loss": loss,
                    "rank": solver.rank_,
                }
            )
            if best is None or (points, -loss) > best[0]:
                best = ((points, -loss), solver)
    if best is None:
        raise InputError("the grid has no points")
    return Selection(best[1], best[0][0], table)
