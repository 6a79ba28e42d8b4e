"""Kernel regression with regularised logistic loss."""

from __future__ import annotations

import itertools
import warnings
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import expit, logsumexp, softmax
from sklearn.exceptions import ConvergenceWarning

from tangentlm.errors import InputError
from tangentlm.solvers.base import KernelSolver
from tangentlm.solvers.checks import Array, Labels, as_labels, as_training_kernel, check_positive
from tangentlm.solvers.labels import one_hot
from tangentlm.solvers.spectrum import TOLERANCE, Spectrum

GRADIENT = 1e-10
"""A fit has converged when no entry of the gradient is larger; a sample adds 1 to it at most."""

MAX_ITERATIONS = 100


class KernelLogistic(KernelSolver):
    """Kernel regression with logistic loss and the penalty of the kernel's own function space.

    It minimises, over h(x) = K(x, X) alpha + f0(x) / s,

        sum_i loss(h(x_i), y_i) + (lambda ||K||_op / 2) alpha^T K alpha

    (Appendix A.3 of Malladi-v1, with a sum over samples for its mean). The loss is the cross
    entropy of softmax(h(x_i)), whose classes the kernel couples, or of the sigmoid of
    h = f_1 - f_0 where there is one output. lambda is in the unit that it has in
    ``KernelLeastSquares``, whose solution minimises half the squared distances with the same
    penalty; the scale of the kernel does not matter. At the minimum
    K alpha = K (Y - p) / (lambda ||K||_op), with Y one-hot and p the predicted probabilities.

    The problem is solved in the kernel's principal components, h = Phi w + f0 / s with
    K / ||K||_op = Phi Phi^T and penalty lambda |w|^2 / 2, by Newton's method with conjugate
    gradients and step halving: the Hessian Phi^T W Phi + lambda I has a condition number below
    1 + 1 / lambda, whatever the kernel.

    Example:
        >>> import numpy as np
        >>> K = np.array([[2.0, 1, 0], [1, 2, 0], [0, 0, 1]]).reshape(3, 1, 3, 1)
        >>> solver = KernelLogistic(regularization=0.1).fit(K, [1, 1, 0])
        >>> solver.predict(K).tolist()
        [1, 1, 0]

    Args:
        regularization: lambda > 0: without a penalty, separable samples have no minimum.
        f0_scale: s; infinity means that f0 is not used.

    Attributes:
        alpha_: Dual coefficients, shape (N, C).
        n_iter_: Newton steps that were taken.
        classes_: The labels 0 to C-1.
    """

    GRID: ClassVar = {
        "regularization": (0.001, 0.01, 0.1, 1.0),
        "f0_scale": (10.0, 100.0, 1000.0, 10000.0, np.inf),
    }

    def __init__(self, regularization: float = 1.0, f0_scale: float = np.inf) -> None:
        self.regularization = regularization
        self.f0_scale = f0_scale

    def fit(
        self,
        K: ArrayLike,
        y: ArrayLike,
        f0: ArrayLike | None = None,
        spectrum: Spectrum | None = None,
    ) -> Self:
        """Minimise the penalised loss.

        Args:
            K: Kernel of the training samples, symmetric and positive semidefinite, (N, C, N, C).
            y: Labels 0 to C-1 (0 and 1 where C = 1), (N,).
            f0: Pre-trained logits, (N, C); needed unless ``f0_scale`` is infinite.
            spectrum: The kernel's decomposition, if it is at hand.

        Returns:
            Itself; a ``ConvergenceWarning`` says if the minimum was not reached.

        Raises:
            InputError: If shapes do not fit, a label or hyperparameter is out of range, or the
                kernel is not symmetric, not positive semidefinite, or zero.
            NonFiniteError: If the kernel or ``f0`` is not finite.
        """
        check_positive("regularization", self.regularization)
        check_positive("f0_scale", self.f0_scale, infinity=True)
        kernel = as_training_kernel(K)
        shape = kernel.shape[:2]
        target = one_hot(as_labels(y, *shape), shape[1])
        offset = self._offset(f0, shape)
        spectrum = spectrum or Spectrum.of(kernel)
        components, eigenvalues = _principal_components(spectrum)
        weights, self.n_iter_ = _minimize(components, target, offset, self.regularization)
        self.alpha_ = (components @ (weights / eigenvalues)).reshape(shape)
        self.classes_ = np.arange(max(shape[1], 2))
        return self

    def loss(self, decision: Array, labels: Labels) -> float:
        """Mean cross entropy.

        Args:
            decision: (M, C).
            labels: (M,).

        Returns:
            The mean over samples.
        """
        return _cross_entropy(decision, one_hot(labels, decision.shape[1])) / len(labels)

    def diagnostics(self) -> dict[str, float]:
        """How many Newton steps were taken.

        Returns:
            ``iterations``.
        """
        return {"iterations": self.n_iter_}


def _principal_components(spectrum: Spectrum) -> tuple[Array, Array]:
    """Phi with Phi Phi^T = K / ||K||_op and its eigenvalues of K, without those of round-off."""
    norm = spectrum.operator_norm
    if spectrum.values[-1] <= 0 or spectrum.values[0] < -TOLERANCE * norm:
        raise InputError(
            "the logistic loss needs a positive semidefinite training kernel; eigenvalues are "
            f"{spectrum.values[0]:.3g} to {spectrum.values[-1]:.3g}"
        )
    kept = spectrum.values > len(spectrum.values) * np.finfo(np.float64).eps * norm
    eigenvalues = spectrum.values[kept]
    return spectrum.vectors[:, kept] * np.sqrt(eigenvalues / norm), eigenvalues


def _minimize(
    components: Array, target: Array, offset: Array, regularization: float
) -> tuple[Array, int]:
    """The weights w at the minimum, and the Newton steps that it took."""

    def logits_of(weights: Array) -> Array:
        return offset + (components @ weights).reshape(offset.shape)

    def objective(weights: Array) -> float:
        penalty = regularization * float(weights @ weights) / 2
        return _cross_entropy(logits_of(weights), target) + penalty

    weights = np.zeros(components.shape[1])
    for iteration in itertools.count():
        p = _probabilities(logits_of(weights))
        gradient = components.T @ (p - target).ravel() + regularization * weights
        if np.abs(gradient).max() <= GRADIENT:
            return weights, iteration
        if iteration == MAX_ITERATIONS:
            break
        step = _newton_step(components, p, gradient, regularization)
        here, slope, length = objective(weights), gradient @ step, 1.0
        # The last term lets a full step through where the decrease drowns in round-off.
        while objective(weights + length * step) > here + 1e-4 * length * slope + 1e-12 * here:
            length /= 2
        weights = weights + length * step
    warnings.warn(
        f"the logistic loss did not converge in {iteration} Newton steps with regularization "
        f"= {regularization}: the gradient is {np.abs(gradient).max():.1e}",
        ConvergenceWarning,
        stacklevel=3,
    )
    return weights, iteration


def _newton_step(components: Array, p: Array, gradient: Array, regularization: float) -> Array:
    """-(Phi^T W Phi + lambda I)^-1 gradient, as exactly as a step that is repeated needs it."""

    def hessian(vector: Array) -> Array:
        change = (components @ vector).reshape(p.shape)
        curved = p * change
        if p.shape[1] == 1:
            curved -= p * curved
        else:
            curved -= p * curved.sum(axis=1, keepdims=True)
        return components.T @ curved.ravel() + regularization * vector

    size = len(gradient)
    operator = LinearOperator((size, size), matvec=hessian, dtype=np.float64)
    return cg(operator, -gradient, rtol=1e-3)[0]


def _probabilities(logits: Array) -> Array:
    """Of label 1 where there is one output, else of every class."""
    return expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1)


def _cross_entropy(logits: Array, target: Array) -> float:
    """Summed over samples."""
    normalizer = np.logaddexp(0, logits) if logits.shape[1] == 1 else logsumexp(logits, axis=1)
    return float(normalizer.sum() - np.sum(logits * target))
