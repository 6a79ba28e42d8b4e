"""What all kernel solvers have in common: pre-trained logits, decisions, predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from tangentlm.errors import InputError
from tangentlm.solvers.checks import Array, Labels, as_kernel, as_logits, check_finite, matrix_of
from tangentlm.solvers.labels import labels_of_decision
from tangentlm.solvers.spectrum import Spectrum


class KernelSolver(ClassifierMixin, BaseEstimator, ABC):
    """A classifier on precomputed kernels, of the form h(x) = sum_i K(x_i, x) alpha_i + f0(x) / s.

    A kernel of C outputs has C N scalar samples (Appendix A.3 of Malladi-v1); ``alpha_`` has one
    coefficient for each, shape (N, C).
    """

    GRID: ClassVar[Mapping[str, tuple[float, ...]]]
    """The values that the paper's Table 3 tries for each hyperparameter."""

    EVALUATED_AXIS: ClassVar[int] = 2
    """The axis of a kernel that ``decision_function`` evaluates on; the other is training."""

    f0_scale: float

    @abstractmethod
    def fit(
        self, K: ArrayLike, y: ArrayLike, f0: ArrayLike | None = None, shared: Any = None, /
    ) -> Self:
        """Solve on the training samples; ``shared`` is what ``prepare`` gave for this kernel."""

    @abstractmethod
    def loss(self, decision: Array, labels: Labels) -> float:
        """The mean loss, without the penalty, that ``fit`` minimises."""

    @abstractmethod
    def diagnostics(self) -> dict[str, float]:
        """What the fit has to say about itself, by name."""

    @staticmethod
    def prepare(kernel: ArrayLike) -> Any:
        """What fits to one kernel with different hyperparameters can share.

        Args:
            kernel: Kernel of the training samples, (N, C, N, C).

        Returns:
            The last argument of ``fit``.
        """
        return Spectrum.of(kernel)

    def decision_function(self, K: ArrayLike, f0: ArrayLike | None = None) -> Array:
        """The fitted function on M samples.

        Args:
            K: Kernel between the training samples and M others, (N, C, M, C).
            f0: Pre-trained logits of the M samples, (M, C).

        Returns:
            (M, C).

        Raises:
            InputError: If a shape does not fit the training samples, or ``f0`` is missing.
            NonFiniteError: If the kernel, ``f0`` or a prediction is not finite.
        """
        check_is_fitted(self)
        decision = self._evaluate(as_kernel(K))
        decision = decision + self._offset(f0, decision.shape)
        check_finite(decision, "prediction", ("sample", "output"))
        return decision

    def predict(self, K: ArrayLike, f0: ArrayLike | None = None) -> Labels:
        """The predicted labels of M samples.

        Args:
            K: As ``decision_function``.
            f0: As ``decision_function``.

        Returns:
            (M,).
        """
        return labels_of_decision(self.decision_function(K, f0))

    def _evaluate(self, kernel: Array) -> Array:
        if kernel.shape[:2] != self.alpha_.shape:
            raise InputError(f"kernel {kernel.shape} does not fit {self.alpha_.shape} coefficients")
        return (self.alpha_.ravel() @ matrix_of(kernel)).reshape(kernel.shape[2:])

    def _offset(self, f0: ArrayLike | None, shape: tuple[int, ...]) -> Array:
        """f0 / s, or zero where s is infinite."""
        if np.isinf(self.f0_scale):
            return np.zeros(shape)
        if f0 is None:
            raise InputError(f"f0_scale = {self.f0_scale} needs the pre-trained logits f0")
        return as_logits(f0, shape) / self.f0_scale
