"""Predictions for a test file, each with the training rows that pull it either way."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tangentlm.analysis.intervals import interval_of_share
from tangentlm.forecast.near_duplicates import joined, label_name
from tangentlm.forecast.representers import Representers, strongest
from tangentlm.forecast.rows import Duplicates, Prediction, Predictions, Pull
from tangentlm.tasks.labelled_texts import LabelledTexts

Array = NDArray[np.float64]

PULLS = 5
"""Training rows that are named on either side of a prediction."""


def both_files(train: LabelledTexts, test: LabelledTexts | None) -> LabelledTexts:
    """The texts of both files, one after another; the test file's labels play no part.

    Args:
        train: N texts.
        test: M texts, or none.

    Returns:
        N + M texts; those of the test file have the label 0.
    """
    if test is None:
        return train
    pairs = None if train.pairs is None else train.pairs + (test.pairs or ())
    return dataclasses.replace(
        train,
        texts=train.texts + test.texts,
        pairs=pairs,
        labels=train.labels + (0,) * len(test.texts),
        rows=train.rows + test.rows,
    )


def predictions_for(
    train: LabelledTexts,
    test: LabelledTexts,
    found: Representers,
    duplicates: Sequence[Duplicates],
) -> Predictions:
    """Kernel regression's predictions for a test file.

    Args:
        train: The N training texts.
        test: The M test texts.
        found: The regression on them.
        duplicates: Groups of near-duplicates of both files.

    Returns:
        Predictions, with the accuracy on rows that have a label.
    """
    shown, predicted = joined(test), found.predicted
    rows = []
    for i, values in enumerate(found.values):
        pulls = found.pulls[i]
        towards, away = strongest(pulls, PULLS)
        named = [*towards, *away]
        largest = np.sort(values)[::-1]
        rows.append(
            Prediction(
                row=test.rows[i],
                text=shown[i],
                label=label_name(test, i),
                predicted=train.classes[predicted[i]],
                values=tuple(map(float, values)),
                margin=float(largest[0] - largest[1]),
                offset=float(found.offsets[predicted[i]]),
                towards=_pulls(train, pulls, towards),
                away=_pulls(train, pulls, away),
                others=float(pulls.sum() - pulls[named].sum()),
            )
        )
    known = [row for row in rows if row.label is not None]
    notes = list(test.notes)
    shared = sum(sum(g.in_test) for g in duplicates if 0 < sum(g.in_test) < len(g.rows))
    if shared:
        notes.append(f"{shared} of its rows are near-duplicates of training rows.")
    strange = sorted({str(row.label) for row in known} - set(train.classes))
    if strange:
        notes.append(f"Classes that no training row has: {', '.join(strange)}.")
    if not known:
        return Predictions(test.name, tuple(rows), None, None, None, tuple(notes))
    right = interval_of_share(sum(row.label == row.predicted for row in known), len(known))
    accuracy, low, high = (100 * value for value in (right.estimate, right.low, right.high))
    return Predictions(test.name, tuple(rows), accuracy, low, high, tuple(notes))


def _pulls(train: LabelledTexts, pulls: Array, rows: Sequence[int]) -> tuple[Pull, ...]:
    texts = joined(train)
    return tuple(
        Pull(train.rows[i], texts[i], train.classes[train.labels[i]], float(pulls[i])) for i in rows
    )
