"""What other test rows would have done to a score: the variance that no number of splits removes.

All splits of a task are judged on the same test rows. Where it is known which rows each run told
rightly, the rows are paired: two runs that are wrong on the same rows differ by less than their
scores could. Where only scores are known, each has the variance of a share, and a difference the
sum of both, which is too much rather than too little as long as runs err on the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tangentlm.errors import InputError

RIGHT = "x"
"""The letter of a row that was told rightly, as ``tangentlm.metrics.right_or_wrong`` writes it."""


def variance_of_share(percent: float, rows: int) -> float:
    """The variance of a share of test rows: p (100 - p) / M, in squared points.

    Args:
        percent: The share p, in percent: an accuracy; of F1 it is an approximation.
        rows: M.

    Returns:
        The variance.
    """
    return percent * (100.0 - percent) / rows


def variance_of_unpaired(
    weights: Sequence[float], percents: Sequence[float], rows: Sequence[int]
) -> float:
    """The variance of a weighted sum of scores, as if each had test rows of its own.

    Args:
        weights: Of the sum.
        percents: The scores, in percent.
        rows: On how many rows each was measured.

    Returns:
        The variance, in squared points.
    """
    parts = zip(weights, percents, rows, strict=True)
    return sum(w * w * variance_of_share(p, m) for w, p, m in parts)


def variance_of_paired(weights: Sequence[float], right: Sequence[ArrayLike]) -> float:
    """The variance of a weighted sum of accuracies over splits and rows, with the rows paired.

    It is what a bootstrap converges to that draws rows anew, the same for all splits and methods:
    every row has a mean over splits of the weighted sum, and the variance is that of their mean.

    Example:
        Two runs that are right and wrong on the same rows differ by nothing, on whatever rows:

        >>> same = [[True, False, True, True]]
        >>> variance_of_paired([1.0, -1.0], [same, same])
        0.0

    Args:
        weights: Of the sum, one for each method.
        right: For each method which rows it told rightly, (splits, M).

    Returns:
        The variance, in squared points.

    Raises:
        InputError: If the methods were not measured on the same splits and rows.
    """
    arrays = [np.asarray(array, dtype=np.float64) for array in right]
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise InputError(f"rows of shapes {sorted(shapes)} cannot be paired")
    of_rows = sum(w * 100 * array.mean(axis=0) for w, array in zip(weights, arrays, strict=True))
    return float(np.var(of_rows, ddof=1)) / arrays[0].shape[1]


def variance_of_difference(
    percents: tuple[float, float], rows: int, letters: tuple[Sequence[str], Sequence[str]]
) -> float:
    """The variance of the difference of two scores that comes from the test rows they share.

    Example:
        Where it is not known which rows are right, each score counts as if it had rows of its own:

        >>> unknown = ([float("nan")], [float("nan")])
        >>> round(variance_of_difference((50.0, 50.0), 500, unknown))
        10

    Args:
        percents: The two mean scores.
        rows: How many test rows there are.
        letters: Of each score a text for every split, a letter a row (see ``rows_told_rightly``);
            missing where records do not say.

    Returns:
        The variance, in squared points.
    """
    weights = [1.0, -1.0]
    if all(isinstance(text, str) for texts in letters for text in texts):
        return variance_of_paired(weights, [rows_told_rightly(texts) for texts in letters])
    return variance_of_unpaired(weights, percents, [rows, rows])


def rows_told_rightly(letters: Sequence[str]) -> NDArray[np.bool_]:
    """Which rows were told rightly, from what the records of runs hold.

    Args:
        letters: A text for each split, a letter a row.

    Returns:
        (splits, M).
    """
    return np.array([[letter == RIGHT for letter in text] for text in letters])
