"""A kernel and its labels without what the cross-entropy does not see: the mean of the outputs.

With P = I - 11^T / C in every sample, M = P K P and T = P onehot(y) - a P f0. Both live in the
outputs that sum to zero, of which there are C - 1, so M has a zero eigenvalue for every sample that
says nothing. Here M and T stand in an orthonormal basis of those outputs: the same other
eigenvalues, norms and residuals, without the zeros. A class has no place of its own in that basis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import helmert

from tangentlm.errors import InputError
from tangentlm.metrics import output_derivative
from tangentlm.solvers import Spectrum
from tangentlm.solvers.checks import as_labels, as_logits, as_training_kernel
from tangentlm.solvers.labels import one_hot
from tangentlm.solvers.spectrum import TOLERANCE

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CentredKernel:
    """M, its decomposition, and what the labels ask of it, for n samples and C classes.

    Attributes:
        values: M, (n, C - 1, n, C - 1).
        labels: y, (n,).
        classes: P onehot(y), (n, C - 1).
        share: a, how much of the logits before training the targets contain: the least-squares
            coefficient of the centred logits, and 0 where that is negative or they are constant.
        targets: T = P onehot(y) - a P f0, (n, C - 1).
        residual: chi = softmax(f0) - onehot(y), (n, C - 1).
    """

    values: Array
    labels: NDArray[np.int64]
    classes: Array
    share: float
    targets: Array
    residual: Array

    @classmethod
    def of(cls, kernel: ArrayLike, labels: ArrayLike, logits: ArrayLike) -> CentredKernel:
        """Centre the outputs.

        Example:
            Two classes are one output, of which the kernel is half that of the difference:

            >>> import numpy as np
            >>> K = np.einsum("ij,cd->icjd", np.eye(2), np.eye(2))
            >>> centred = CentredKernel.of(K, [0, 1], np.zeros((2, 2)))
            >>> centred.matrix.round(6).tolist()
            [[1.0, 0.0], [0.0, 1.0]]
            >>> centred.targets.round(4).tolist()
            [[0.7071], [-0.7071]]

        Args:
            kernel: K of the training samples, (n, C, n, C), C of two at least.
            labels: y, 0 to C - 1, (n,); a class may be missing, but not all except one.
            logits: f0 before training, (n, C).

        Returns:
            What the predictors are computed from.

        Raises:
            InputError: If shapes or labels do not fit, or the kernel is not symmetric.
            NonFiniteError: If the kernel or the logits are not finite.
        """
        K = as_training_kernel(kernel)
        samples, outputs = K.shape[:2]
        if outputs < 2:
            raise InputError("a kernel of one output has none to centre; it needs all C outputs")
        y = as_labels(labels, samples, outputs)
        if y.min() == y.max():
            raise InputError(f"all {samples} labels are {y[0]}; nothing is there to be told apart")
        f0 = as_logits(logits, (samples, outputs))
        basis = helmert(outputs).T
        values = np.einsum("ca,icjd,db->iajb", basis, K, basis, optimize=True)
        classes, start = one_hot(y, outputs) @ basis, f0 @ basis
        size = float((start * start).sum())
        share = max(float((classes * start).sum()) / size, 0.0) if size else 0.0
        residual = output_derivative(f0, y) @ basis
        return cls(values, y, classes, share, classes - share * start, residual)

    @property
    def samples(self) -> int:
        """How many samples there are, n."""
        return len(self.values)

    @property
    def rows(self) -> int:
        """The dimension of M, N = n (C - 1)."""
        return self.values.shape[0] * self.values.shape[1]

    @property
    def matrix(self) -> Array:
        """M, (N, N), sample-major."""
        return self.values.reshape(self.rows, self.rows)

    @cached_property
    def spectrum(self) -> Spectrum:
        """The decomposition of M, ascending, made once for all predictors.

        Float32 may take a zero eigenvalue below zero; it counts as zero.

        Raises:
            InputError: If one is further below zero than by round-off, or M is zero.
        """
        found = Spectrum.of(self.values)
        least, largest = float(found.values[0]), float(found.values[-1])
        if not largest > 0:
            raise InputError("the kernel is zero where outputs are centred")
        if least < -TOLERANCE * largest:
            raise InputError(f"the kernel has the eigenvalue {least:.3g}, which no kernel can have")
        return Spectrum(np.maximum(found.values, 0.0), found.vectors)

    @property
    def mean_eigenvalue(self) -> float:
        """The mean of all eigenvalues, tr M / N: the unit of the ridges."""
        return float(self.spectrum.values.mean())

    @cached_property
    def projections(self) -> Array:
        """(u_i . T)^2 for the eigenvectors u_i of M, (N,)."""
        return np.asarray((self.spectrum.vectors.T @ self.targets.ravel()) ** 2)

    def as_outputs(self, rows: ArrayLike) -> Array:
        """Rows of N numbers as centred outputs of the C classes.

        Args:
            rows: (n, C - 1).

        Returns:
            (n, C), with sums of zero over the classes.
        """
        return np.asarray(rows) @ helmert(self.values.shape[1] + 1)
