"""The kernel of some rows as a picture, class by class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tangentlm.forecast.learning_curve import stratified_order
from tangentlm.forecast.near_duplicates import joined
from tangentlm.forecast.result import KernelPicture
from tangentlm.tasks.labelled_texts import LabelledTexts

Array = NDArray[np.float64]

MOST_SHOWN = 200


def picture_of(texts: LabelledTexts, alike: Array, seed: int) -> KernelPicture:
    """The cosines of at most 200 rows, in the order of their classes.

    Args:
        texts: N texts.
        alike: The kernel's cosines, (N, N).
        seed: Of the rows that are shown, where there are more.

    Returns:
        The picture.
    """
    labels = np.array(texts.labels)
    kept = np.sort(stratified_order(labels, seed)[:MOST_SHOWN])
    order = kept[np.argsort(labels[kept], kind="stable")]
    shown = joined(texts)
    return KernelPicture(
        values=tuple(tuple(map(float, row)) for row in alike[np.ix_(order, order)].round(4)),
        rows=tuple(texts.rows[i] for i in order),
        texts=tuple(shown[i] for i in order),
        labels=tuple(texts.classes[labels[i]] for i in order),
        note=f"Cosines of centred features of {len(order)} of {len(labels)} rows, class by class.",
    )
