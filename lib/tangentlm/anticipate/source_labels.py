"""Predictors that read a pre-trained classifier's own labels: of a masked LM, its vocabulary.

theta_iz is the probability that the model gives to token z at the mask of sample i. Both measure
how well classes could be told from tokens on the very samples that they are computed from: with
more tokens than samples they flatter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tangentlm.errors import InputError
from tangentlm.solvers.checks import as_labels, check_finite

Array = NDArray[np.float64]


def leep(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """LEEP: the mean over samples of log sum_z p(y_i | z) theta_iz (Nguyen et al. 2020, eq. 2).

    p(y | z) is estimated from the samples, too: sum over i of class y of theta_iz, over all i.

    Example:
        Two tokens that tell the classes apart, and two that do not:

        >>> leep([[1.0, 0.0], [0.0, 1.0]], [0, 1])
        0.0
        >>> round(leep([[0.5, 0.5], [0.5, 0.5]], [0, 1]), 4)
        -0.6931

    Args:
        probabilities: theta, (n, V), rows that sum to 1.
        labels: (n,).

    Returns:
        At most 0.

    Raises:
        InputError: If shapes do not fit, or rows are no probabilities.
    """
    theta, one_hot = _checked(probabilities, labels)
    joint = one_hot.T @ theta
    seen = joint.sum(axis=0) > 0
    given = joint[:, seen] / joint[:, seen].sum(axis=0)
    expected = theta[:, seen] @ given.T
    return float(np.log((expected * one_hot).sum(axis=1)).mean())


def nce(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """NCE: -H(Y | Z), the negative conditional entropy of classes given tokens (Tran et al. 2019).

    z_i is the likeliest token of sample i; H(Y | Z) = -sum_yz p(y, z) log p(y | z).

    Example:
        >>> nce([[0.9, 0.1], [0.2, 0.8]], [0, 1])
        0.0

    Args:
        probabilities: theta, (n, V), rows that sum to 1.
        labels: (n,).

    Returns:
        At most 0.

    Raises:
        InputError: As for ``leep``.
    """
    theta, one_hot = _checked(probabilities, labels)
    _, tokens = np.unique(theta.argmax(axis=1), return_inverse=True)
    joint = one_hot.T @ np.eye(tokens.max() + 1)[tokens] / len(theta)
    given = joint / joint.sum(axis=0)
    occur = joint > 0
    return float((joint[occur] * np.log(given[occur])).sum())


def _checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    theta = np.asarray(probabilities, dtype=np.float64)
    if theta.ndim != 2 or not theta.size:
        raise InputError(f"probabilities of source labels have shape (n, V), not {theta.shape}")
    check_finite(theta, "probability", ("sample", "source label"))
    if theta.min() < 0 or np.abs(theta.sum(axis=1) - 1).max() > 1e-3:
        raise InputError("a row of probabilities has to be positive and to sum to 1")
    classes = int(np.max(labels, initial=0)) + 1
    return theta, np.eye(classes)[as_labels(labels, len(theta), classes)]
