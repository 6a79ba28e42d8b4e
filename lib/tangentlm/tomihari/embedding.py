"""Figures 5 and 6 of Tomihari and Sato: features and rows of the head in the plane, by t-SNE."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

PERPLEXITY = 15.0


def embedded(features: ArrayLike, labels: ArrayLike, weight: ArrayLike) -> pd.DataFrame:
    """Samples and rows of the head as points of the plane.

    The rows of a head after linear probing may be several times as long as features, and then lie
    far from all of them whatever their direction. So each is scaled to the mean norm of features.

    Args:
        features: (N, h).
        labels: (N,).
        weight: V, (C, h).

    Returns:
        ``x``, ``y``, ``label`` and ``is_row``: N rows of samples, then C of the head.
    """
    from sklearn.manifold import TSNE

    samples, rows = (np.asarray(a, dtype=np.float64) for a in (features, weight))
    size = np.linalg.norm(samples, axis=1).mean()
    rows = rows * size / np.linalg.norm(rows, axis=1, keepdims=True)
    points = np.vstack([samples, rows])
    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    plane = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(points)
    return pd.DataFrame(
        {
            "x": plane[:, 0].astype(float),
            "y": plane[:, 1].astype(float),
            "label": [*np.asarray(labels).tolist(), *range(len(rows))],
            "is_row": [False] * len(samples) + [True] * len(rows),
        }
    )
