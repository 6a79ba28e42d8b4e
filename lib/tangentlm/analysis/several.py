"""Many statements at once: what is left of single verdicts where some are wrong by chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

ALPHA = 0.05
"""A p value below this decides, alone or adjusted."""


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """P-values for many statements judged together (Holm's step-down procedure).

    The chance that any of those below 0.05 is wrong is at most 5 %, however they depend on each
    other.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]

    Args:
        p_values: One a statement, (N,); NaN for a statement that could not be tested.

    Returns:
        The adjusted ones in the same order: the i-th smallest of N times N - i + 1, and never less
        than those before; NaN stays.
    """
    given = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    times = np.arange(len(order), 0, -1)
    adjusted = np.full(given.shape, np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(given[order] * times))
    return adjusted
