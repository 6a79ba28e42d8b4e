"""What is planted and has to be found: wrong labels, and copies of texts with a few edits."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tangentlm.forecast.cross_validation import chosen_strength, splits_of
from tangentlm.forecast.learners import Probe
from tangentlm.forecast.near_duplicates import joined, near_duplicates
from tangentlm.forecast.plan import FOLDS, INNER_FOLDS, rows_of
from tangentlm.forecast.representers import representers
from tangentlm.forecast.suspects import find_suspects, left_out_values, suspicion
from tangentlm.forecast.trial import Pool
from tangentlm.tasks.labelled_texts import LabelledTexts

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Edit = Callable[[list[str], np.random.Generator], list[str]]
"""Changes the words of a text."""

WORDS = (1, 5, 10, 20)
"""The least number of words of each class of lengths."""


def with_flips(labels: Rows, classes: int, share: float, rng: np.random.Generator) -> Rows:
    """Labels of which some are wrong.

    Example:
        >>> wrong = with_flips(np.zeros(20, int), 3, 0.1, np.random.default_rng(0))
        >>> int((wrong != 0).sum())
        2

    Args:
        labels: (N,).
        classes: C; every other class is as likely.
        share: Of the rows, whose labels become wrong.
        rng: The draw.

    Returns:
        (N,).
    """
    flipped = rng.choice(len(labels), round(share * len(labels)), replace=False)
    wrong: Rows = labels.copy()
    wrong[flipped] = (labels[flipped] + rng.integers(1, classes, len(flipped))) % classes
    return wrong


def found_flips(score: Array, flipped: NDArray[np.bool_]) -> tuple[float, float]:
    """How well a score finds flipped labels.

    Args:
        score: Larger where a label is more suspicious, (N,).
        flipped: Which labels are wrong, (N,), some but not all.

    Returns:
        The area under the curve (a flip comes before another row so often), and the share of flips
        among as many rows of the largest scores as there are flips.
    """
    first = np.argsort(-score, kind="stable")[: int(flipped.sum())]
    return float(roc_auc_score(flipped, score)), float(flipped[first].mean())


def self_confidence(features: Array, labels: Rows, seed: int) -> Array:
    """The default score of cleanlab (``get_label_quality_scores``): the probability of the label.

    Of logistic regression on the same features as the probe's, by cross-validation, with a strength
    that is chosen as the probe's.

    Args:
        features: (N, h).
        labels: As given, (N,).
        seed: Of the folds.

    Returns:
        (N,): small where a label is suspicious.
    """
    probabilities = given_probabilities(features, labels, seed)
    names = np.unique(labels)
    confidence: Array = probabilities[np.arange(len(labels)), np.searchsorted(names, labels)]
    return confidence


def given_probabilities(features: Array, labels: Rows, seed: int) -> Array:
    """The probabilities of the classes by fits that did not see the row.

    Args:
        features: (N, h).
        labels: (N,).
        seed: Of the folds.

    Returns:
        (N, C'), one column for each class that there is, in order.
    """
    probe, every = Probe(features), np.arange(len(labels))
    inner = splits_of(labels, every, every, INNER_FOLDS, seed)
    strength = chosen_strength(probe, labels, inner)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Of a class with fewer rows than folds some fits know nothing: its probability is zero.
        warnings.simplefilter("ignore")
        told: Array = cross_val_predict(model, features, labels, cv=folds, method="predict_proba")
    return told


def _upper(words: list[str], _rng: np.random.Generator) -> list[str]:
    return [word.upper() for word in words]


def _punctuated(words: list[str], rng: np.random.Generator) -> list[str]:
    place = int(rng.integers(len(words)))
    return [*words[:place], words[place] + ",", *words[place + 1 :], "!"]


def _swapped(words: list[str], rng: np.random.Generator) -> list[str]:
    """Two letters beside each other change places, in a word where that can be seen."""
    open_to = [
        (i, j)
        for i, word in enumerate(words)
        for j in range(len(word) - 1)
        if word[j].isalnum() and word[j + 1].isalnum() and word[j].lower() != word[j + 1].lower()
    ]
    if not open_to:
        return words
    i, j = open_to[int(rng.integers(len(open_to)))]
    word = words[i]
    return [*words[:i], word[:j] + word[j + 1] + word[j] + word[j + 2 :], *words[i + 1 :]]


def _dropped(words: list[str], rng: np.random.Generator) -> list[str]:
    place = int(rng.integers(len(words)))
    return words[:place] + words[place + 1 :] if len(words) > 1 else words


def _all_edits(words: list[str], rng: np.random.Generator) -> list[str]:
    for edit in (_upper, _punctuated, _swapped, _dropped):
        words = edit(words, rng)
    return words


EDITS: dict[str, Edit] = {
    "upper case": _upper,
    "punctuation": _punctuated,
    "letters swapped": _swapped,
    "a word dropped": _dropped,
    "all four": _all_edits,
}
"""How a copy differs from its original."""


def with_copies(texts: LabelledTexts, edit: str, rng: np.random.Generator) -> LabelledTexts:
    """Texts, and after them a copy of each with a few edits; of a pair the first text is edited.

    Args:
        texts: N texts.
        edit: One of ``EDITS``.
        rng: Which letters and words.

    Returns:
        2 N texts.
    """
    copies = tuple(" ".join(EDITS[edit](text.split(), rng)) for text in texts.texts)
    return dataclasses.replace(
        texts,
        texts=texts.texts + copies,
        pairs=None if texts.pairs is None else texts.pairs * 2,
        labels=texts.labels * 2,
        rows=tuple(range(1, 2 * len(copies) + 1)),
    )


def found_copies(texts: LabelledTexts, edit: str, rng: np.random.Generator) -> list[dict[str, int]]:
    """How many planted copies are grouped with their original, and with what else.

    What was grouped with the original before, by chance or because it is a duplicate in the data,
    counts as the original.

    Args:
        texts: N texts.
        edit: One of ``EDITS``.
        rng: Which letters and words.

    Returns:
        For each class of lengths: ``words`` (the least number), ``planted``, ``found`` and
        ``wrong``, the pairs of a copy and a row that is not its original.
    """
    count = len(texts.texts)
    before = near_duplicates(texts)[0]
    after = near_duplicates(with_copies(texts, edit, rng))[0]
    found = after[:count] == after[count:]
    # The group of a copy, as one of the originals; what else is in it, original or copy, is wrong.
    together = after[count:, None] == after[None, :]
    strange = before[:, None] != np.concatenate([before, before])[None, :]
    wrong = (together & strange).sum(axis=1)
    lengths = np.array([len(text.split()) for text in joined(texts)])
    bins = np.searchsorted(WORDS, lengths, side="right") - 1
    return [
        {
            "words": least,
            "planted": int((bins == place).sum()),
            "found": int(found[bins == place].sum()),
            "wrong": int(wrong[bins == place].sum()),
        }
        for place, least in enumerate(WORDS)
        if (bins == place).any()
    ]


def judged_suspects(pool: Pool, rows: Rows, share: float, seed: int) -> dict[str, float]:
    """Leaving one out beside held-out rows, and what is found of labels that were made wrong.

    Args:
        pool: The pool.
        rows: The labelled rows.
        share: Of labels that are made wrong.
        seed: Of flips and folds.

    Returns:
        ``left_out`` and ``held_out`` accuracy of kernel regression in percent, with true labels;
        with wrong ones ``listed``, whether a forecast would list suspects, ``auroc`` and
        ``precision`` of their score, and the same of cleanlab's default score.
    """
    texts, labels, classes = rows_of(pool.texts, rows), pool.labels[rows], pool.classes
    groups = near_duplicates(texts)[0]
    kernel, columns = pool.kernel[np.ix_(rows, rows)], pool.kernel[np.ix_(rows, pool.held_out)]
    left_out = left_out_values(kernel, labels, classes, groups).argmax(axis=1)
    held_out = representers(kernel, columns, labels, classes, groups).predicted
    wrong = with_flips(labels, classes, share, np.random.default_rng(seed))
    doubtful = dataclasses.replace(texts, labels=tuple(map(int, wrong)))
    own = suspicion(left_out_values(kernel, wrong, classes, groups), wrong)
    other = -self_confidence(pool.features[rows], wrong, seed)
    auroc, precision = found_flips(own, wrong != labels)
    cleanlab_auroc, cleanlab_precision = found_flips(other, wrong != labels)
    return {
        "left_out": 100 * float((left_out == labels).mean()),
        "held_out": 100 * float((held_out == pool.labels[pool.held_out]).mean()),
        "listed": int(find_suspects(doubtful, kernel, groups).reason is None),
        "auroc": auroc,
        "precision": precision,
        "cleanlab_auroc": cleanlab_auroc,
        "cleanlab_precision": cleanlab_precision,
    }
