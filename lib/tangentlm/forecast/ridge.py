"""Kernel ridge regression with an intercept: fits, predictions, and fits without some rows.

The labels are one-hot, T of shape (N, C); one kernel K (N, N) serves all classes. With
H = I - 11^T / N, the features are centred, K~ = H K H, and

    alpha = (K~ + lambda I)^-1 H T,     f(x) = mean(T) + K~(x, X) alpha.

It is the least-squares fit whose intercept bears no penalty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from tangentlm.errors import InputError

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

RIDGES = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
"""Ridges that are tried, in units of the mean diagonal of the centred kernel."""


def centred_scale(kernel: Array) -> float:
    """The mean diagonal of H K H, the unit of ridges; it knows no labels.

    Args:
        kernel: (N, N).

    Returns:
        tr(H K H) / N.

    Raises:
        InputError: If the kernel does not tell any two rows apart.
    """
    scale = float((np.trace(kernel) - kernel.sum() / len(kernel)) / len(kernel))
    if not scale > 1e-12 * np.abs(kernel).max():
        raise InputError("the kernel is the same for all rows, so nothing can be learned from it")
    return scale


@dataclass(frozen=True)
class CentredRidge:
    """One decomposition of H K H, which all ridges share.

    Attributes:
        values: Eigenvalues of H K H, (N,).
        vectors: Its eigenvectors, (N, N).
        row_means: Means of the rows of K, (N,).
    """

    values: Array
    vectors: Array
    row_means: Array

    @classmethod
    def of(cls, kernel: Array) -> CentredRidge:
        """Decompose a training kernel.

        Args:
            kernel: K of the N training rows, (N, N), symmetric.

        Returns:
            What every ridge is solved with.
        """
        means = kernel.mean(axis=0)
        centred = kernel - means - means[:, None] + means.mean()
        values, vectors = eigh((centred + centred.T) / 2, driver="evd")
        return cls(values.clip(min=0.0), vectors, means)

    def coefficients(self, targets: Array, ridge: float) -> Array:
        """The coefficients alpha.

        Args:
            targets: T, (N, C).
            ridge: lambda, above zero.

        Returns:
            (N, C); each column sums to zero.
        """
        centred = targets - targets.mean(axis=0)
        inner = (self.vectors.T @ centred) / (self.values + ridge)[:, None]
        alpha: Array = self.vectors @ inner
        return alpha

    def centred_columns(self, columns: Array) -> Array:
        """K~(X, x): the kernel of centred features between training rows and others.

        Args:
            columns: K(X, x), (N, M).

        Returns:
            (N, M).
        """
        centred: Array = (
            columns - columns.mean(axis=0) - self.row_means[:, None] + self.row_means.mean()
        )
        return centred

    def predicted(self, targets: Array, ridge: float, columns: Array) -> Array:
        """The values f of other rows.

        Args:
            targets: T, (N, C).
            ridge: lambda.
            columns: K(X, x), (N, M).

        Returns:
            (M, C).
        """
        alpha = self.coefficients(targets, ridge)
        fitted: Array = targets.mean(axis=0) + self.centred_columns(columns).T @ alpha
        return fitted

    def left_out(self, targets: Array, ridge: float, groups: Rows | None = None) -> Array:
        """The values f of every row from a fit without its group, exactly and without a refit.

        With G = H (K~ + lambda I)^-1 H the residuals of a group are (G_gg)^-1 (G T)_g; the fit
        without it has an intercept of its own.

        Args:
            targets: T, (N, C).
            ridge: lambda.
            groups: The group of each row, (N,); by default every row is its own.

        Returns:
            (N, C).
        """
        inverse = (self.vectors / (self.values + ridge)) @ self.vectors.T
        # H commutes with the matrix, whose eigenvector 1 has the eigenvalue 1 / lambda.
        G = inverse - 1 / (ridge * len(inverse))
        error = self.coefficients(targets, ridge)
        residuals = error / np.diag(G)[:, None]
        for group in _larger(groups):
            residuals[group] = np.linalg.solve(G[np.ix_(group, group)], error[group])
        left_out: Array = targets - residuals
        return left_out


def _larger(groups: Rows | None) -> list[Rows]:
    """The rows of each group that has more than one."""
    if groups is None:
        return []
    names, counts = np.unique(groups, return_counts=True)
    return [np.flatnonzero(groups == name) for name in names[counts > 1]]


def best_ridge(
    ridge: CentredRidge, labels: Rows, classes: int, scale: float, groups: Rows | None = None
) -> float:
    """The ridge of the best left-out accuracy; ties go to the larger one.

    Args:
        ridge: The decomposed kernel.
        labels: (N,).
        classes: C.
        scale: The unit of ridges, see ``centred_scale``.
        groups: As for ``CentredRidge.left_out``.

    Returns:
        lambda.
    """
    targets = np.eye(classes)[labels]
    tried = [scale * relative for relative in RIDGES]
    right = [(ridge.left_out(targets, r, groups).argmax(axis=1) == labels).mean() for r in tried]
    return max(zip(right, tried, strict=True))[1]
