"""From labels to a solver's targets, and from its decisions to labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tangentlm.errors import InputError
from tangentlm.solvers.checks import Array, Labels


def one_hot(labels: Labels, outputs: int) -> Array:
    """Targets 0 and 1.

    Args:
        labels: (N,).
        outputs: C; with C = 1 the target is the label itself.

    Returns:
        (N, C).
    """
    if outputs == 1:
        return labels[:, None].astype(np.float64)
    return np.eye(outputs)[labels]


def plus_minus(labels: Labels, outputs: int) -> Array:
    """Targets -1 and +1, one class against the rest.

    Args:
        labels: (N,).
        outputs: C.

    Returns:
        (N, C).
    """
    return 2 * one_hot(labels, outputs) - 1


def labels_of_decision(decision: Array) -> Labels:
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

    Example:
        >>> difference([[1.0, 3.0], [0.5, -0.5]]).tolist()
        [[2.0], [-1.0]]

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
