"""What Tomihari and Sato measure of features phi(x): CS, Diff and FDR (Tables 1, 11 and 12).

The paper gives no formulas. Its numbers decide between readings: the pre-trained model has a CS, so
it is between samples and not between before and after; FDR falls with the number of samples as a
ratio with an inverse does, and is noise where that number is below h, the number of features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh

from tangentlm.errors import InputError, unknown_name

Array = NDArray[np.float64]

SHRINKAGE = 1e-3
"""Of ``"shrunk"`` and ``"cross-fitted"``: what is added to S_W, in units of its mean eigenvalue."""
FISHER_FORMS = ("shrunk", "pinv", "trace", "cross-fitted")
"""The readings of Fisher's discriminant ratio, the primary one first."""


def pairwise_cosine(features: ArrayLike) -> float:
    """CS: the mean cosine of the features of two different samples.

    Example:
        >>> pairwise_cosine([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
        0.3333333333333333

    Args:
        features: (N, h), N at least 2.

    Returns:
        A number between -1 and 1.
    """
    rows = _features(features)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    count = len(unit)
    # The sum over all pairs is the squared norm of the sum; those of a sample with itself are 1.
    return float((np.sum(unit.sum(axis=0) ** 2) - count) / (count * (count - 1)))


def feature_change(before: ArrayLike, after: ArrayLike) -> tuple[float, float]:
    """Diff: how far features have moved, absolute and relative.

    Example:
        >>> feature_change([[3.0, 4.0]], [[3.0, 5.0]])
        (1.0, 0.2)

    Args:
        before: phi_0, (N, h).
        after: phi, (N, h).

    Returns:
        The mean of |phi(x) - phi_0(x)| (the paper's), and that of the same over |phi_0(x)|.
    """
    first, second = _features(before), _features(after)
    moved = np.linalg.norm(second - first, axis=1)
    return float(moved.mean()), float((moved / np.linalg.norm(first, axis=1)).mean())


def scatter(features: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    """S_W and S_B, the scatter within and between classes.

    Args:
        features: (N, h).
        labels: (N,).

    Returns:
        S_W, the sum over samples of (phi - m_y)(phi - m_y)^T, and S_B, the sum over classes c of
        n_c (m_c - m)(m_c - m)^T; both (h, h).
    """
    rows, classes = _features(features), np.asarray(labels)
    names, place, counts = np.unique(classes, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise InputError("Fisher's ratio needs samples of two classes at least")
    means = np.array([rows[place == c].mean(axis=0) for c in range(len(names))])
    within = rows - means[place]
    between = (means - rows.mean(axis=0)) * np.sqrt(counts)[:, None]
    return within.T @ within, between.T @ between


def fisher_ratio(features: ArrayLike, labels: ArrayLike, form: str = "shrunk") -> float:
    """FDR, Fisher's discriminant ratio tr(S_W^-1 S_B).

    With fewer samples than features S_W has no inverse, and every reading that has one is noise:
    the directions in which a class does not vary are those of the few samples.

    Example:
        >>> round(fisher_ratio([[0.0], [2.0], [10.0], [12.0]], [0, 0, 1, 1], "trace"), 6)
        25.0

    Args:
        features: (N, h).
        labels: (N,), of two classes at least.
        form: ``"shrunk"``: S_W + 10^-3 tr(S_W) / h I for S_W; ``"pinv"``: with its pseudo-inverse;
            ``"trace"``: tr(S_B) / tr(S_W); ``"cross-fitted"``: the ratio, on one half of the
            samples, along the discriminant directions of the other, the mean of both ways.

    Returns:
        The ratio.

    Raises:
        InputError: If the form is unknown, or there is one class only.
    """
    if form == "cross-fitted":
        return _cross_fitted(_features(features), np.asarray(labels))
    within, between = scatter(features, labels)
    if form == "pinv":
        return float(np.trace(np.linalg.pinv(within, hermitian=True) @ between))
    if form == "trace":
        return float(np.trace(between) / np.trace(within))
    if form != "shrunk":
        raise unknown_name("form of Fisher's ratio", form, FISHER_FORMS)
    return float(np.trace(np.linalg.solve(_shrunk(within), between)))


def _shrunk(within: Array) -> Array:
    size = len(within)
    return within + SHRINKAGE * np.trace(within) / size * np.eye(size)


def _cross_fitted(rows: Array, labels: NDArray[np.int64]) -> float:
    # Every other sample of each class, so that both halves have all classes.
    order = np.argsort(labels, kind="stable")
    halves = [np.sort(order[start::2]) for start in (0, 1)]
    ratios = []
    for fitted, seen in (halves, halves[::-1]):
        within, between = scatter(rows[fitted], labels[fitted])
        dimensions = len(np.unique(labels[fitted])) - 1
        _, vectors = eigh(between, _shrunk(within), subset_by_index=_last(len(within), dimensions))
        within, between = scatter(rows[seen] @ vectors, labels[seen])
        ratios.append(np.trace(np.linalg.pinv(within, hermitian=True) @ between))
    return float(np.mean(ratios))


def _last(size: int, count: int) -> tuple[int, int]:
    return (size - count, size - 1)


def _features(features: ArrayLike) -> Array:
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2:
        raise InputError(f"features have shape (N, h), not {rows.shape}")
    return rows
