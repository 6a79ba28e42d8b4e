"""Predictions of kernel regression, each as a sum over training rows: alpha_i K(x, x_i), exactly.

K is the kernel of features that are centred on the training rows, as the regression sees them. The
values of all training rows and the class's mean, which belongs to no row, sum to the prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tangentlm.forecast.ridge import CentredRidge, best_ridge, centred_scale

Array = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Representers:
    """Kernel regression fitted on all training rows, read on others.

    Attributes:
        values: The regression's values, (M, C).
        pulls: alpha_ic K(x, x_i) for the predicted class c of each x, (M, N).
        offsets: The mean target of each class, (C,).
    """

    values: Array
    pulls: Array
    offsets: Array

    @property
    def predicted(self) -> Rows:
        """The class of the largest value, (M,)."""
        labels: Rows = self.values.argmax(axis=1)
        return labels


def representers(
    kernel: Array, columns: Array, labels: Rows, classes: int, groups: Rows
) -> Representers:
    """Fit on all training rows, with the ridge of the best left-out accuracy, and read others.

    Args:
        kernel: K of the training rows, (N, N).
        columns: K between training rows and others, (N, M).
        labels: (N,).
        classes: C.
        groups: Near-duplicates, which are left out together, (N,).

    Returns:
        Values and their parts.
    """
    fit = CentredRidge.of(kernel)
    ridge = best_ridge(fit, labels, classes, centred_scale(kernel), groups)
    targets = np.eye(classes)[labels]
    alpha = fit.coefficients(targets, ridge)
    centred = fit.centred_columns(columns)
    offsets = targets.mean(axis=0)
    values = offsets + centred.T @ alpha
    pulls = centred.T * alpha[:, values.argmax(axis=1)].T
    return Representers(values, pulls, offsets)


def strongest(pulls: Array, count: int) -> tuple[list[int], list[int]]:
    """The rows that pull most towards a prediction and most away from it.

    Example:
        >>> strongest(np.array([0.1, -0.4, 0.3, 0.0]), 2)
        ([2, 0], [1])

    Args:
        pulls: Of one prediction, (N,).
        count: How many at most.

    Returns:
        Rows with a value above zero, largest first; rows with one below, smallest first.
    """
    order = np.argsort(-pulls, kind="stable")
    towards = [int(i) for i in order[:count] if pulls[i] > 0]
    away = [int(i) for i in order[::-1][:count] if pulls[i] < 0]
    return towards, away
