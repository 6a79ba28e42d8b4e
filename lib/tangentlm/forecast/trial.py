"""Forecasts put to the test: some rows of a pool are labelled, the others say what is true.

A run of the experiment ``forecast_validation`` computes features and one kernel of its pool. Every
split is a forecast of its labelled rows, with the functions of a real one, and is compared with the
same ways trained on all of these rows and judged on held-out ones. The classes have numbers for
names, so nothing is asked of the model, and the kernel is the same for every task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tangentlm.forecast.bootstrap import Bootstrap
from tangentlm.forecast.comparison import MAJORITY, Comparison, outcome_of
from tangentlm.forecast.cross_validation import Fold, nested_predictions, splits_of
from tangentlm.forecast.learners import BagOfWords, KernelRegression, Learner, Probe
from tangentlm.forecast.learning_curve import FRACTIONS
from tangentlm.forecast.near_duplicates import joined, near_duplicates
from tangentlm.forecast.plan import INNER_FOLDS, rows_of
from tangentlm.forecast.problem import Problem, make_problem
from tangentlm.params import ForecastValidationRun
from tangentlm.tasks import Example, load_task
from tangentlm.tasks.labelled_texts import LabelledTexts
from tangentlm.tasks.pools import draw_two_parts

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Measured = dict[str, str | int | float]
"""A row of a table."""


@dataclass(frozen=True)
class Pool:
    """Rows that may be labelled, then held-out rows, with all that a forecast of some needs.

    Attributes:
        problem: Texts and model.
        size: M, how many rows may be labelled; they come first.
        features: Of all rows, (N, h).
        kernel: Between rows that may be labelled and all rows, (M, N).
    """

    problem: Problem
    size: int
    features: Array
    kernel: Array

    @property
    def texts(self) -> LabelledTexts:
        """All N texts."""
        return self.problem.texts

    @property
    def labels(self) -> Rows:
        """All labels, (N,)."""
        return np.array(self.texts.labels)

    @property
    def classes(self) -> int:
        """C."""
        return len(self.texts.classes)

    @property
    def held_out(self) -> Rows:
        """The rows that are never labelled."""
        return np.arange(self.size, len(self.texts.texts))

    def learners(self, rows: Rows) -> tuple[Learner, ...]:
        """The ways that learn, on some rows and, after them, the held-out rows.

        Args:
            rows: n rows that may be labelled.

        Returns:
            Bag of words, probe and kernel regression, as a forecast has them.
        """
        every = np.concatenate([rows, self.held_out])
        return (
            BagOfWords(tuple(joined(rows_of(self.texts, every)))),
            Probe(self.features[every]),
            KernelRegression(self.kernel[np.ix_(rows, every)], self.classes),
        )


def load_pool(run: ForecastValidationRun) -> Pool:
    """Draw a run's rows, and compute their features and their kernel.

    Example:
        >>> run = ForecastValidationRun(
        ...     task="reviews", model="pocket-xs", train_size=16, test_size=20
        ... )
        >>> pool = load_pool(run)
        >>> pool.kernel.shape, len(pool.held_out)
        ((32, 52), 20)

    Args:
        run: Its parameters.

    Returns:
        The pool.

    Raises:
        InputError: If the rows or the model are not at hand.
    """
    task = load_task(run.task)
    pool, others = draw_two_parts(task, run.pool_size, run.test_size, run.seed, data=run.data)
    texts = numbered(pool + others, task.num_classes)
    problem = make_problem(texts, run.model, seed=run.seed, max_length=run.max_length)
    labelled, held_out = (
        rows_of(texts, rows)
        for rows in (np.arange(len(pool)), np.arange(len(pool), len(texts.texts)))
    )
    kernel = np.hstack([problem.kernel(labelled, of)[0] for of in (None, held_out)])
    return Pool(problem, len(pool), problem.features(texts), kernel)


def numbered(examples: Sequence[Example], classes: int) -> LabelledTexts:
    """Examples as texts of a file whose classes have numbers for names.

    Args:
        examples: N examples.
        classes: C.

    Returns:
        N texts.
    """
    return LabelledTexts(
        texts=tuple(row.text_a for row in examples),
        pairs=None if examples[0].text_b is None else tuple(str(row.text_b) for row in examples),
        labels=tuple(row.label for row in examples),
        classes=tuple(map(str, range(classes))),
        rows=tuple(range(1, len(examples) + 1)),
        notes=(),
    )


def parts_of(size: int, each: int, count: int, seed: int) -> list[Rows]:
    """Random parts of a pool; as many as fit are of one shuffle and have no row in common.

    Example:
        >>> parts = parts_of(6, 3, 4, seed=0)
        >>> len(parts), sorted(np.concatenate(parts[:2]).tolist())
        (4, [0, 1, 2, 3, 4, 5])

    Args:
        size: Rows of the pool.
        each: Rows of a part.
        count: Parts.
        seed: Of the shuffles.

    Returns:
        The rows of each part.
    """
    rng = np.random.default_rng(seed)
    found: list[Rows] = []
    for _ in range(math.ceil(count / (size // each))):
        order = rng.permutation(size)
        found += [order[start : start + each] for start in range(0, size - each + 1, each)]
    return found[:count]


def held_out_accuracies(pool: Pool, rows: Rows, seed: int) -> dict[str, float]:
    """What the ways that a forecast compares reach on held-out rows, trained on all labelled ones.

    Args:
        pool: The pool.
        rows: The labelled rows, (n,).
        seed: Of the inner folds, which choose the strength.

    Returns:
        Percent by method.
    """
    labels, count = pool.labels, len(rows)
    every = np.concatenate([labels[rows], labels[pool.held_out]])
    groups, train = near_duplicates(rows_of(pool.texts, rows))[0], np.arange(count)
    inner = tuple(splits_of(every, groups, train, INNER_FOLDS, seed))
    fold = Fold(train, np.arange(count, len(every)), inner)
    found = {MAJORITY: np.full(len(every), np.bincount(labels[rows]).argmax())}
    for learner in pool.learners(rows):
        found[learner.name] = nested_predictions(learner, every, [fold])
    return {name: _accuracy(told[count:], every[count:]) for name, told in found.items()}


def judged_forecast(pool: Pool, rows: Rows, repeats: int, seed: int) -> list[Measured]:
    """The scores and differences of a forecast beside what is true.

    Args:
        pool: The pool.
        rows: The labelled rows.
        repeats: Of cross-validation.
        seed: Of folds and draws.

    Returns:
        ``output``, ``what``, ``n``, ``estimate``, ``low``, ``high`` and ``truth``, a row a number.
    """
    comparison, bootstrap = _compared(pool, rows, repeats, seed, ())
    outcome = outcome_of(comparison, None, pool.problem.reason, bootstrap)
    truth = held_out_accuracies(pool, rows, seed)
    n = len(rows)
    judged = [
        _judged("score", own.method, n, (own.accuracy, own.low, own.high), truth[own.method])
        for own in outcome.scores
        if own.method in truth
    ]
    for own in outcome.differences:
        name = "best" if own.worse == MAJORITY else own.better
        true = truth[own.better] - truth[own.worse]
        interval = (own.points, own.low, own.high)
        judged.append(_judged("difference", f"{name} − {own.worse}", n, interval, true))
    return judged


def judged_curve(
    pool: Pool, rows: Rows, repeats: int, seed: int, truth: dict[str, float]
) -> list[Measured]:
    """What a learning curve says of the whole pool, from some rows of it.

    Args:
        pool: The pool.
        rows: The rows that the forecast knows.
        repeats: Of cross-validation.
        seed: Of folds and draws.
        truth: What the ways reach with the labels of the whole pool, percent.

    Returns:
        As ``judged_forecast``, a row a method; none where the forecast extrapolates no curve.
    """
    comparison, bootstrap = _compared(pool, rows, repeats, seed, FRACTIONS)
    points = outcome_of(comparison, None, pool.problem.reason, bootstrap).curve
    return [
        _judged("curve", p.method, p.n, (p.accuracy, p.low, p.high), truth[p.method])
        for p in points
        if p.extrapolated and p.n == pool.size
    ]


def _compared(
    pool: Pool, rows: Rows, repeats: int, seed: int, fractions: tuple[float, ...]
) -> tuple[Comparison, Bootstrap]:
    groups = near_duplicates(rows_of(pool.texts, rows))[0]
    comparison = Comparison(
        pool.labels[rows], groups, pool.learners(rows), pool.classes, seed, fractions=fractions
    )
    comparison.run(repeats, math.inf, progress=False)
    return comparison, Bootstrap.of(groups, seed)


def _judged(
    output: str, what: str, n: int, interval: tuple[float | None, ...], truth: float
) -> Measured:
    estimate, low, high = (round(float(value or 0.0), 4) for value in interval)
    return {
        "output": output, "what": what, "n": n, "estimate": estimate, "low": low, "high": high,
        "truth": round(truth, 4),
    }  # fmt: skip


def _accuracy(told: Rows, labels: Rows) -> float:
    return 100 * float((told == labels).mean())
