"""Suspected labels: rows that kernel regression on all other rows would call something else.

A row is judged by a fit without it and its near-duplicates. The score is how far another class is
ahead of its label there. It is an order in which to look, and no probability: a regression that is
right on 80 % of the rows doubts 20 % of them, wrong labels or none. Where it is hardly better than
the majority, it accuses nobody.

The accuracy of leaving one out is a little too high, because it chose the ridge itself: the best of
six is the best partly by luck. On four tasks with 64 rows it was 2.5 to 5 points above held-out
rows so, and within half a point of them, in the mean, at ridges that were fixed beforehand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tangentlm.analysis.intervals import interval_of_share
from tangentlm.forecast.near_duplicates import joined
from tangentlm.forecast.ridge import CentredRidge, best_ridge, centred_scale
from tangentlm.forecast.rows import Neighbour, Suspect, Suspects
from tangentlm.tasks.labelled_texts import LabelledTexts

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

MOST = 50
"""Rows that are listed at most."""
NEIGHBOURS = 3
LEAST_GAIN = 0.25
"""Of the way from the majority's share to 100 %, the part that the lower end of the accuracy has to
have gone for a list to be given."""


def left_out_values(kernel: Array, labels: Rows, classes: int, groups: Rows) -> Array:
    """Kernel regression's values of every row from a fit without its group, at the best ridge.

    Args:
        kernel: (N, N).
        labels: (N,).
        classes: C.
        groups: (N,).

    Returns:
        (N, C).
    """
    fit = CentredRidge.of(kernel)
    ridge = best_ridge(fit, labels, classes, centred_scale(kernel), groups)
    return fit.left_out(np.eye(classes)[labels], ridge, groups)


def suspicion(values: Array, labels: Rows) -> Array:
    """How far the best other class is ahead of a row's own.

    Example:
        >>> suspicion(np.array([[0.9, 0.1], [0.75, 0.25]]), np.array([0, 1])).tolist()
        [-0.8, 0.5]

    Args:
        values: Of fits without each row, (N, C).
        labels: (N,).

    Returns:
        (N,): above zero where a row would be called something else.
    """
    rows = np.arange(len(labels))
    others = values.copy()
    others[rows, labels] = -np.inf
    ahead: Array = others.max(axis=1) - values[rows, labels]
    return ahead


def cosines(kernel: Array) -> Array:
    """The cosines of a kernel's centred features.

    Args:
        kernel: (N, N).

    Returns:
        (N, N); zero for a row whose features are the mean.
    """
    means = kernel.mean(axis=0)
    centred = kernel - means - means[:, None] + means.mean()
    sizes = np.sqrt(np.diag(centred).clip(min=0))
    scale = np.outer(sizes, sizes)
    return np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 0).clip(-1, 1)


def find_suspects(
    texts: LabelledTexts, kernel: Array, groups: Rows, alike: Array | None = None
) -> Suspects:
    """The rows whose label the others speak against.

    Args:
        texts: N texts.
        kernel: (N, N).
        groups: (N,).
        alike: The kernel's cosines, where they are at hand.

    Returns:
        At most ``MOST``, most suspicious first; none, with a reason, where the regression is
        hardly better than the majority.
    """
    labels = np.array(texts.labels)
    values = left_out_values(kernel, labels, len(texts.classes), groups)
    right = int((values.argmax(axis=1) == labels).sum())
    accuracy, majority = right / len(labels), float(np.bincount(labels).max() / len(labels))
    low = interval_of_share(right, len(labels)).low
    if low < majority + LEAST_GAIN * (1 - majority):
        reason = (
            f"Kernel regression tells {100 * accuracy:.0f} % of left-out rows rightly (at least "
            f"{100 * low:.0f} %), too little above the {100 * majority:.0f} % of the largest class "
            "for its doubts about labels to mean much."
        )
        return Suspects((), 100 * accuracy, 100 * majority, reason, len(labels) - right)
    score = suspicion(values, labels)
    alike = cosines(kernel) if alike is None else alike
    shown = joined(texts)
    order = [int(i) for i in np.argsort(-score, kind="stable")[:MOST] if score[i] > 0]
    found = []
    for i in order:
        nearest = [int(j) for j in np.argsort(-alike[i], kind="stable") if labels[j] != labels[i]]
        against = tuple(
            Neighbour(texts.rows[j], shown[j], texts.classes[labels[j]], float(alike[i, j]))
            for j in nearest[:NEIGHBOURS]
        )
        told = texts.classes[int(values[i].argmax())]
        own = texts.classes[labels[i]]
        found.append(Suspect(texts.rows[i], shown[i], own, told, float(score[i]), against))
    return Suspects(tuple(found), 100 * accuracy, 100 * majority, None, len(labels) - right)
