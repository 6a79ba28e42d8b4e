"""Nested cross-validation: what is chosen is chosen inside the training rows of each fold.

Folds are stratified by class, and rows of one group, near-duplicates, are never on both sides
(``StratifiedGroupKFold`` of scikit-learn). All learners see the same folds, so they are paired.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold

from tangentlm.errors import InputError
from tangentlm.forecast.learners import Learner

Rows = NDArray[np.int64]
Split = tuple[Rows, Rows]
"""Rows to learn from and rows to judge on."""


@dataclass(frozen=True)
class Fold:
    """One fold, with the splits of its training rows that choose the strength.

    Attributes:
        train: Rows to learn from.
        test: Rows to judge on.
        inner: Splits of ``train``; none where its rows are too few to be split.
    """

    train: Rows
    test: Rows
    inner: tuple[Split, ...]


def splits_of(labels: Rows, groups: Rows, rows: Rows, count: int, seed: int) -> list[Split]:
    """Some rows in folds.

    Args:
        labels: Of all rows, (N,).
        groups: Of all rows, (N,).
        rows: The rows to split.
        count: How many folds; fewer where there are fewer groups, or no class has so many rows.
        seed: Of the folds.

    Returns:
        A split a fold; none where the rows are one group, or no class has two.
    """
    held = len(np.unique(groups[rows]))
    count = min(count, held, int(np.bincount(labels[rows]).max()))
    if count < 2:
        return []
    folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class of fewer rows than folds is in some folds only: the scores then say so.
        warnings.filterwarnings("ignore", message="The least populated class")
        parts = list(folds.split(rows, labels[rows], groups[rows]))
    return [(rows[train], rows[test]) for train, test in parts if len(train) and len(test)]


def folds_of(labels: Rows, groups: Rows, *, outer: int, inner: int, seed: int) -> list[Fold]:
    """All rows in folds, and the training rows of each in folds again.

    Args:
        labels: (N,).
        groups: (N,).
        outer: How many folds.
        inner: How many inside the training rows of each.
        seed: Of all.

    Returns:
        The folds.

    Raises:
        InputError: If there are too few rows.
    """
    parts = splits_of(labels, groups, np.arange(len(labels)), outer, seed)
    if not parts:
        raise InputError(
            f"{len(labels)} rows, {len(np.unique(groups))} of them no near-duplicates of another, "
            "are too few to hold any out"
        )
    return [
        Fold(train, test, tuple(splits_of(labels, groups, train, inner, seed)))
        for train, test in parts
    ]


def chosen_strength(learner: Learner, labels: Rows, inner: Sequence[Split]) -> float:
    """The strength of the most right answers in the inner folds; ties go to the most regularised.

    Without inner folds all tie.

    Args:
        learner: What is tried.
        labels: Of all rows, (N,).
        inner: Splits of the training rows.

    Returns:
        One of its strengths.
    """
    right = np.zeros(len(learner.strengths))
    for train, other in inner:
        told = learner.predict(train, labels[train], other, learner.strengths)
        right += (told == labels[other]).sum(axis=1)
    return learner.strengths[int(right.argmax())]


def nested_predictions(learner: Learner, labels: Rows, folds: Sequence[Fold]) -> Rows:
    """The class of every row by a fit that saw neither it nor its group.

    Args:
        learner: What learns.
        labels: (N,).
        folds: Whose test rows are all rows, each once.

    Returns:
        (N,).
    """
    predicted = np.full(len(labels), -1)
    for fold in folds:
        strength = chosen_strength(learner, labels, fold.inner)
        told = learner.predict(fold.train, labels[fold.train], fold.test, [strength])
        predicted[fold.test] = told[0]
    return predicted


def macro_f1(labels: Rows, predictions: Rows) -> float:
    """The mean over classes of F1, and over repeats.

    Args:
        labels: (N,).
        predictions: (repeats, N).

    Returns:
        Percent.
    """
    scores = [f1_score(labels, told, average="macro", zero_division=0) for told in predictions]
    return 100 * float(np.mean(scores))
