"""Learning curves: refits on fewer rows, and a power law for more.

Up to the number of rows that there are, a point is a measurement: the training rows of each fold
are thinned, the test rows stay. Beyond, error(n) = a + b n^-c with a, b >= 0 is fitted to the
points; every draw of the bootstrap has a fit of its own, and their spread is the interval. It holds
as far as the law does, which the points cannot promise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tangentlm.forecast.bootstrap import Bootstrap
from tangentlm.forecast.cross_validation import Fold, splits_of
from tangentlm.forecast.ways import CurvePoint

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

FRACTIONS = (1 / 8, 1 / 4, 1 / 2)
"""Parts of the training rows that a curve is measured at, beside all of them."""
MULTIPLES = (1, 2, 4)
"""Multiples of the rows that there are, to which a curve is extrapolated."""
EXPONENTS = np.arange(0.1, 2.01, 0.05)
"""Exponents c that are tried."""
_LEAST = 4
"""Rows a class, on average, below which nothing is measured."""


def sizes_of(training: int, classes: int, fractions: Sequence[float] = FRACTIONS) -> list[int]:
    """The sizes at which a curve is measured, without the whole.

    Args:
        training: Training rows of a fold.
        classes: C.
        fractions: Parts of the training rows.

    Returns:
        Ascending.
    """
    sizes = {round(training * fraction) for fraction in fractions}
    return sorted(size for size in sizes if size >= _LEAST * classes)


def thinned(fold: Fold, size: int, labels: Rows, groups: Rows, inner: int, seed: int) -> Fold:
    """A fold with fewer training rows; with one seed, fewer rows are part of more.

    Args:
        fold: The fold.
        size: How many training rows to keep.
        labels: Of all rows, (N,).
        groups: Of all rows, (N,).
        inner: Inner folds.
        seed: Of which rows are kept.

    Returns:
        The fold, with the same test rows.
    """
    kept = np.sort(fold.train[stratified_order(labels[fold.train], seed)[:size]])
    return Fold(kept, fold.test, tuple(splits_of(labels, groups, kept, inner, seed)))


def stratified_order(labels: Rows, seed: int) -> Rows:
    """An order in which each beginning has the classes in their shares, as nearly as can be.

    Args:
        labels: (n,).
        seed: Of the order within each class.

    Returns:
        Places in ``labels``, (n,).
    """
    rng = np.random.default_rng(seed)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        place[rng.permutation(rows)] = (np.arange(len(rows)) + rng.uniform()) / len(rows)
    order: Rows = np.argsort(place, kind="stable")
    return order


def power_law(sizes: Sequence[int], errors: Array, wanted: Sequence[int]) -> Array:
    """Errors at other sizes, by the least-squares fit of a + b n^-c with a, b >= 0.

    Example:
        >>> n = np.array([25, 100, 400])
        >>> (power_law(n, (0.1 + n**-0.5)[None], [2500]) * 100).round().tolist()
        [[12.0]]

    Args:
        sizes: S numbers of rows.
        errors: Measured errors of B draws, (B, S).
        wanted: W numbers of rows.

    Returns:
        (B, W).
    """
    n, beyond = np.asarray(sizes, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    best = np.full(len(errors), np.inf)
    fitted = np.empty((len(errors), len(beyond)))
    for exponent in EXPONENTS:
        x = n**-exponent
        a, b = _line(x, errors)
        loss = ((errors - a[:, None] - b[:, None] * x) ** 2).sum(axis=1)
        better = loss < best
        best[better] = loss[better]
        fitted[better] = (a[:, None] + b[:, None] * beyond**-exponent)[better]
    return fitted


def _line(x: Array, errors: Array) -> tuple[Array, Array]:
    """The line a + b x with a, b >= 0 of least squares, for each row of errors."""
    mean = errors.mean(axis=1)
    spread = x - x.mean()
    b = errors @ spread / (spread @ spread)
    a = mean - b * x.mean()
    # Where one would be negative it is zero, and the other fitted alone.
    through = errors @ x / (x @ x)
    b = np.where(a < 0, through, b)
    a = np.where(a < 0, 0.0, a)
    return np.where(b < 0, mean, a), np.where(b < 0, 0.0, b)


def curve_of(
    method: str, right: dict[int, NDArray[np.bool_]], rows: int, bootstrap: Bootstrap
) -> list[CurvePoint]:
    """The points of a curve, measured and, with three sizes at least, extrapolated.

    Args:
        method: Its name.
        right: By number of training rows, of every repeat and row whether it is right,
            (repeats, N).
        rows: N, whose multiples are extrapolated to.
        bootstrap: The draws.

    Returns:
        Points, by ascending n.
    """
    points = []
    for size, values in sorted(right.items()):
        found = bootstrap.accuracy(values)
        points.append(CurvePoint(method, size, found.estimate, found.low, found.high, False))
    if len(right) < 3:
        return points
    sizes = sorted(right)
    wanted = [multiple * rows for multiple in MULTIPLES]
    measured = np.array([[100 * (1 - right[size].mean()) for size in sizes]])
    drawn = np.stack([100 - bootstrap.draws_of(right[size]) for size in sizes], axis=1)
    centre = 100 - power_law(sizes, measured, wanted)[0]
    ends = np.percentile(100 - power_law(sizes, drawn, wanted), [2.5, 97.5], axis=0)
    for n, value, low, high in zip(wanted, centre, *ends, strict=True):
        inside = (min(float(low), float(value)), max(float(high), float(value)))
        points.append(CurvePoint(method, n, float(value), *inside, True))
    return points
