"""Logistic regression with the rows of the kernel as features."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import StratifiedKFold

from tangentlm.errors import InputError
from tangentlm.solvers.base import KernelSolver
from tangentlm.solvers.checks import (
    Array,
    Labels,
    as_labels,
    as_training_kernel,
    check_positive,
)
from tangentlm.solvers.labels import one_hot
from tangentlm.solvers.newton_logistic import minima
from tangentlm.solvers.spectrum import Spectrum

FOLDS = 5
STRENGTHS = np.logspace(-4, 4, 10)
"""The weights of the loss that scikit-learn tries."""
INDEPENDENT = 1e-6
"""Rows whose smallest singular value is a larger part of the largest are linearly independent."""


class KernelRowsLogistic(KernelSolver):
    """Logistic regression with the rows of K + lambda ||K||_op I as features.

    This is what the code of Malladi et al. calls kernel logistic regression, and Tomihari and Sato
    took it over: scikit-learn's ``LogisticRegressionCV`` with an intercept, the penalty
    |alpha|^2 / 2 on the coefficients of the rows, whose strength is chosen among ten by five-fold
    cross-validation. The papers' own problem, with the penalty alpha^T K alpha and without an
    intercept, is ``KernelLogistic``. Here the scale of the kernel matters: beside entries as large
    as those of a raw eNTK the penalty hardly counts. On such rows scikit-learn's optimiser stops
    far from the minimum; here all fits reach it (see ``tangentlm.solvers.newton_logistic``).

    C outputs are C N scalar samples, each with N C features, one class against the rest; the
    outputs of a sample can fall in different folds. Pre-trained logits are not used.

    Example:
        >>> import numpy as np
        >>> y = np.arange(10) // 5
        >>> K = ((y[:, None] == y) + np.eye(10)).reshape(10, 1, 10, 1)
        >>> KernelRowsLogistic().fit(K, y).predict(K).tolist()
        [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]

    Args:
        regularization: lambda, in units of the kernel's operator norm; added to the training
            kernel alone.

    Attributes:
        alpha_: Coefficients of the rows, shape (N, C).
        intercept_: b, added to every decision.
        strength_: The chosen weight of the loss, scikit-learn's C.
        classes_: The labels 0 to C-1.
    """

    GRID: ClassVar = {"regularization": (0.0, 0.001, 0.01, 0.1, 1.0)}

    f0_scale = np.inf

    def __init__(self, regularization: float = 0.0) -> None:
        self.regularization = regularization

    def fit(
        self,
        K: ArrayLike,
        y: ArrayLike,
        f0: ArrayLike | None = None,
        spectrum: Spectrum | None = None,
    ) -> Self:
        """Fit the coefficients of the rows.

        Args:
            K: Kernel of the training samples, symmetric, (N, C, N, C).
            y: Labels 0 to C-1 (0 and 1 where C = 1), (N,).
            f0: Not used, as in the authors' code; here so that solvers can take each other's place.
            spectrum: The kernel's decomposition, if it is at hand.

        Returns:
            Itself; a ``ConvergenceWarning`` says if a minimum was not reached.

        Raises:
            InputError: If shapes do not fit, a label or ``regularization`` is out of range, the
                kernel is not symmetric, or samples are too few for five folds.
            NonFiniteError: If the kernel is not finite.
        """
        check_positive("regularization", self.regularization, zero=True)
        kernel = as_training_kernel(K)
        shape = kernel.shape[:2]
        target = one_hot(as_labels(y, *shape), shape[1]).ravel().astype(np.int64)
        fewest = np.bincount(target, minlength=2).min()
        if fewest < FOLDS:
            raise InputError(f"{FOLDS} folds need {FOLDS} samples on each side, not {fewest}")
        spectrum = spectrum or Spectrum.of(kernel)
        # The rows in the kernel's own coordinates, of which those of round-off are dropped.
        values = spectrum.values + self.regularization * spectrum.operator_norm
        sizes = np.abs(values)
        kept = sizes > len(sizes) * np.finfo(np.float64).eps * sizes.max()
        vectors = spectrum.vectors[:, kept]
        rows, independent = vectors * values[kept], bool(sizes.min() > INDEPENDENT * sizes.max())
        chosen = _choose(rows, target, independent)
        *_, minimum = minima(rows, target, STRENGTHS[: chosen + 1], independent)
        self.alpha_ = (vectors @ minimum[:-1]).reshape(shape)
        self.intercept_ = float(minimum[-1])
        self.strength_ = float(STRENGTHS[chosen])
        self.classes_ = np.arange(max(shape[1], 2))
        return self

    def loss(self, decision: Array, labels: Labels) -> float:
        """Mean binary cross entropy of the C M scalar samples.

        Args:
            decision: (M, C).
            labels: (M,).

        Returns:
            The mean over samples and outputs.
        """
        target = one_hot(labels, decision.shape[1])
        return float(np.mean(np.logaddexp(0, decision) - decision * target))

    def diagnostics(self) -> dict[str, float]:
        """The strength that cross-validation chose.

        Returns:
            ``strength``.
        """
        return {"strength": self.strength_}

    def _evaluate(self, kernel: Array) -> Array:
        return super()._evaluate(kernel) + self.intercept_


def _choose(rows: Array, target: Labels, independent: bool) -> int:
    """The strength that classifies best what a fit has not seen; of equals the first.

    Args:
        rows: Features, (N, P).
        target: Labels 0 and 1, (N,).
        independent: Whether the rows are linearly independent.

    Returns:
        Its place among the strengths.
    """
    accuracy = np.zeros(len(STRENGTHS))
    for seen, held_out in StratifiedKFold(FOLDS).split(rows, target):
        fits = minima(rows[seen], target[seen], STRENGTHS, independent)
        for place, minimum in enumerate(fits):
            positive = rows[held_out] @ minimum[:-1] + minimum[-1] > 0
            accuracy[place] += np.mean(positive == target[held_out])
    return int(accuracy.argmax())
