"""The ways without training that a forecast compares, each with the strengths that it tries.

A learner fits on some rows and decides on others, at all its strengths at once, so that
cross-validation can choose among them inside the training rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tangentlm.forecast.ridge import RIDGES, CentredRidge, centred_scale

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

_MAX_ITERATIONS = 2000


class Learner(Protocol):
    """A way to learn classes from rows.

    Attributes:
        name: As a forecast calls it.
        strengths: What it tries, from the most regularised to the least.
    """

    @property
    def name(self) -> str:
        """As a forecast calls it."""

    @property
    def strengths(self) -> tuple[float, ...]:
        """What it tries, from the most regularised to the least."""

    def predict(self, train: Rows, labels: Rows, other: Rows, strengths: Sequence[float]) -> Rows:
        """Learn from some rows and tell the classes of others.

        Args:
            train: Rows to learn from, (n,).
            labels: Their classes, (n,).
            other: Rows to tell the classes of, (m,).
            strengths: S of the learner's.

        Returns:
            Classes, (S, m).
        """


@dataclass(frozen=True)
class Probe:
    """Logistic regression on features, which the training rows standardise.

    Attributes:
        features: Of all rows, (N, h).
        name: As a forecast calls it.
        strengths: C of scikit-learn: the weight of the loss.
    """

    features: Array
    name: str = "probe"
    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 0.1, 1.0)

    def predict(self, train: Rows, labels: Rows, other: Rows, strengths: Sequence[float]) -> Rows:
        """See ``Learner``."""
        scaler = StandardScaler().fit(self.features[train])
        seen, unseen = (scaler.transform(self.features[rows]) for rows in (train, other))
        return _logistic(seen, labels, unseen, strengths)


@dataclass(frozen=True)
class BagOfWords:
    """Logistic regression on TF-IDF of words and pairs of words, as the training rows have them.

    Attributes:
        texts: Of all rows, N.
        name: As a forecast calls it.
        strengths: C of scikit-learn: the weight of the loss.
    """

    texts: tuple[str, ...]
    name: str = "bag of words"
    strengths: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0)

    def predict(self, train: Rows, labels: Rows, other: Rows, strengths: Sequence[float]) -> Rows:
        """See ``Learner``."""
        # Words of one letter count, too: some languages write a word with one.
        table = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]")
        seen = table.fit_transform([self.texts[row] for row in train])
        unseen = table.transform([self.texts[row] for row in other])
        return _logistic(seen, labels, unseen, strengths)


@dataclass(frozen=True)
class KernelRegression:
    """Kernel ridge regression on one-hot labels with one kernel for all classes.

    Attributes:
        kernel: Of all rows, (N, N); or of the first rows, which alone may be learned from, and all
            rows, (M, N).
        classes: C.
        name: As a forecast calls it.
        strengths: Ridges, in units of the mean diagonal of the centred kernel of the first rows.
    """

    kernel: Array
    classes: int
    name: str = "kernel regression"
    strengths: tuple[float, ...] = tuple(reversed(RIDGES))

    def predict(self, train: Rows, labels: Rows, other: Rows, strengths: Sequence[float]) -> Rows:
        """See ``Learner``."""
        scale = centred_scale(self.kernel[:, : len(self.kernel)])
        fit = CentredRidge.of(self.kernel[np.ix_(train, train)])
        targets = np.eye(self.classes)[labels]
        columns = self.kernel[np.ix_(train, other)]
        decisions = [fit.predicted(targets, scale * ridge, columns) for ridge in strengths]
        return np.array([decision.argmax(axis=1) for decision in decisions])


def _logistic(seen: Any, labels: Rows, unseen: Any, strengths: Sequence[float]) -> Rows:
    """The classes by logistic regression at each strength, each fit started at the last one's."""
    if len(np.unique(labels)) < 2:
        return np.full((len(strengths), unseen.shape[0]), labels[0])
    model = LogisticRegression(max_iter=_MAX_ITERATIONS, warm_start=True)
    told = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the weakest penalty may take long
        for strength in strengths:
            told.append(model.set_params(C=strength).fit(seen, labels).predict(unseen))
    return np.array(told)
