"""What fits into a budget: how many rows and repeats, from a few short timings.

The kernel's passes grow with the rows and its products with their square, decompositions with the
third power; a repeat of cross-validation, timed on one fold, has a part for every row beside one
that is always there. First the repeats are made fewer, one at least; only where even that is too
much are rows left out, class by class. What was reduced is said, and so is the least that this
machine needs. No output is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tangentlm.forecast.learning_curve import stratified_order
from tangentlm.tasks.labelled_texts import LabelledTexts

Rows = NDArray[np.int64]

MOST_ROWS = 2000
"""Rows above which a stratified sample is used."""
MOST_TEST_ROWS = 1000
"""Rows of a test file above which a stratified sample is used."""
MOST_REPEATS = 10
FOLDS = 5
INNER_FOLDS = 3
LEAST_ROWS = 64
"""A budget cuts no task below so many rows."""
RESERVE = 0.9
"""The part of a budget that a plan may fill."""


@dataclass(frozen=True)
class Timings:
    """Seconds by number of rows, as measured on few.

    Attributes:
        fixed: What does not depend on the rows, e.g. loading and timed training steps.
        passes: Seconds a row: tokens, features, gradients.
        products: Seconds a pair of rows: the kernel's inner products.
        folds: Seconds of one repeat of cross-validation, however few rows there are.
        fits: Seconds a row that come on top, in one repeat.
        solves: Seconds a row cubed: all decompositions of the whole kernel, beside
            cross-validation.
        rows: All rows.
        test: Rows of the test file, which the kernel has, too.
    """

    fixed: float
    passes: float
    products: float
    folds: float
    fits: float
    solves: float
    rows: int
    test: int = 0

    def seconds(self, rows: int, repeats: int) -> float:
        """What a forecast takes.

        Args:
            rows: Rows that are used.
            repeats: Of cross-validation.

        Returns:
            Seconds.
        """
        every = rows + self.test
        of_kernel = self.passes * every + self.products * every**2
        of_repeats = repeats * (self.folds + self.fits * rows)
        return self.fixed + of_kernel + of_repeats + self.solves * rows**3

    @property
    def least(self) -> float:
        """Seconds of the smallest forecast that is made."""
        return self.seconds(min(LEAST_ROWS, self.rows), 1)


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Attributes:
        rows: Rows that are used.
        repeats: Of cross-validation.
        seconds: What that is expected to take.
        least: What the smallest plan would take.
        reduced: What was made smaller, a sentence each.
    """

    rows: int
    repeats: int
    seconds: float
    least: float
    reduced: tuple[str, ...]


def make_plan(timings: Timings, budget: float) -> Plan:
    """The most repeats, and with one repeat the most rows, that fit into a budget.

    Example:
        >>> timings = Timings(10.0, 0.1, 0.0, folds=3.0, fits=0.09, solves=0.0, rows=300)
        >>> make_plan(timings, 240.0).repeats, make_plan(timings, 60.0).rows
        (5, 215)

    Args:
        timings: What things take.
        budget: Seconds.

    Returns:
        The plan. Of a budget that is too small for anything it is the smallest one.
    """
    room = RESERVE * budget
    reduced = []
    rows, repeats = timings.rows, MOST_REPEATS
    while repeats > 1 and timings.seconds(rows, repeats) > room:
        repeats -= 1
    if repeats < MOST_REPEATS:
        reduced.append(
            f"Cross-validation is repeated {repeats} times instead of {MOST_REPEATS}, to fit the "
            "budget."
            if repeats > 1
            else f"Cross-validation is made once, not {MOST_REPEATS} times, to fit the budget."
        )
    while rows > LEAST_ROWS and timings.seconds(rows, repeats) > room:
        rows -= 1
    if rows < timings.rows:
        reduced.append(
            f"A sample of {rows} of {timings.rows} rows is used, stratified by class, to fit the "
            "budget."
        )
    seconds, least = timings.seconds(rows, repeats), timings.least
    if seconds > budget:
        reduced.append(
            f"The budget of {budget / 60:.3g} minutes is too small: this machine needs "
            f"{least / 60:.1f} minutes at least, with this model and these texts."
        )
    return Plan(rows, repeats, seconds, least, tuple(reduced))


def extrapolated(measure: Callable[[int], float], small: int, large: int) -> tuple[float, float]:
    """Seconds a row and a pair of rows, from what two numbers of rows take.

    Args:
        measure: Seconds of so many rows.
        small: Few rows.
        large: More rows.

    Returns:
        a and b of a n + b n^2, neither below zero.
    """
    first, second = measure(small) / small, measure(large) / large
    products = max((second - first) / (large - small), 0.0)
    return max(second - products * large, 0.0), products


def line(measure: Callable[[int], float], small: int, large: int) -> tuple[float, float]:
    """Seconds that are always there and seconds a row, from what two numbers of rows take.

    Args:
        measure: Seconds of so many rows.
        small: Few rows.
        large: More rows.

    Returns:
        a and b of a + b n, neither below zero, which is exact at the larger number.
    """
    first, second = measure(small), measure(large)
    each = min(max((second - first) / (large - small), 0.0), second / large)
    return second - each * large, each


def sample_rows(texts: LabelledTexts, count: int, seed: int) -> LabelledTexts:
    """Some rows of a file, stratified by class, in the file's order.

    Args:
        texts: N texts.
        count: How many to keep.
        seed: Of the draw.

    Returns:
        The texts; all of them where there are no more.
    """
    if count >= len(texts.texts):
        return texts
    order = stratified_order(np.array(texts.labels), seed)
    return rows_of(texts, np.sort(order[:count]))


def rows_of(texts: LabelledTexts, rows: Rows) -> LabelledTexts:
    """Some rows of a file.

    Args:
        texts: N texts.
        rows: Places, from 0.

    Returns:
        Those texts; the classes stay.
    """
    return replace(
        texts,
        texts=tuple(texts.texts[i] for i in rows),
        pairs=None if texts.pairs is None else tuple(texts.pairs[i] for i in rows),
        labels=tuple(texts.labels[i] for i in rows),
        rows=tuple(texts.rows[i] for i in rows),
    )
