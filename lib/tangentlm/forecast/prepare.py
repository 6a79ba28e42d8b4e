"""Before a forecast: look at the texts, load the model, time a little of everything, and plan."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tangentlm.errors import InputError
from tangentlm.forecast.comparison import Comparison
from tangentlm.forecast.cost import training_costs
from tangentlm.forecast.learners import BagOfWords, KernelRegression, Probe
from tangentlm.forecast.near_duplicates import joined, near_duplicates
from tangentlm.forecast.plan import (
    FOLDS,
    LEAST_ROWS,
    MOST_ROWS,
    MOST_TEST_ROWS,
    Plan,
    Timings,
    extrapolated,
    line,
    make_plan,
    sample_rows,
)
from tangentlm.forecast.problem import Problem, layer_name, make_problem
from tangentlm.forecast.ridge import CentredRidge
from tangentlm.forecast.ways import Cost
from tangentlm.tasks.labelled_texts import LabelledTexts

Array = NDArray[np.float64]

FEWEST = 10
"""Rows, near-duplicates counted once, below which nothing is said."""
PILOT = (8, 32)
"""Rows whose kernels are timed for the plan."""
MOST_TIMED = 500
"""Rows at most with which a fold of cross-validation is timed for the plan."""


@dataclass
class Clock:
    """Seconds since the start, and those of each part.

    Attributes:
        started: By ``time.perf_counter``.
        parts: Seconds by part.
    """

    started: float = field(default_factory=time.perf_counter)
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    @contextmanager
    def timing(self, part: str) -> Generator[None]:
        """Take the time of a part.

        Args:
            part: Its name.

        Yields:
            Nothing.
        """
        before = time.perf_counter()
        try:
            yield
        finally:
            self.parts[part] = time.perf_counter() - before


@dataclass(frozen=True)
class Prepared:
    """A forecast that is planned; nothing is computed yet but what the plan needs.

    Attributes:
        problem: The rows that will be used, and the model.
        tested: The rows of the test file.
        plan: How many rows and repeats.
        costs: What training would cost.
        clock: The time that was used so far.
        budget: Minutes.
        seed: All that is random follows it.
        reduced: What was made smaller, a sentence each.
    """

    problem: Problem
    tested: LabelledTexts | None
    plan: Plan
    costs: tuple[Cost, ...]
    clock: Clock
    budget: float
    seed: int
    reduced: tuple[str, ...]

    def __str__(self) -> str:
        repeats = "once" if self.plan.repeats == 1 else f"{self.plan.repeats} times"
        return (
            f"Seed {self.seed}; {self.plan.rows} rows, {len(self.problem.texts.classes)} classes; "
            f"cross-validation of {FOLDS} folds, {repeats}; about {self.plan.seconds / 60:.1f} "
            f"minutes in all, of {self.budget:g} that are allowed and {self.plan.least / 60:.1f} "
            "that are needed at least."
        )


def prepare(
    texts: LabelledTexts,
    test: LabelledTexts | None = None,
    *,
    model: str = "pocket",
    template: str | None = None,
    label_words: Sequence[str] | None = None,
    budget: float = 10.0,
    seed: int = 13,
    most_rows: int = MOST_ROWS,
    progress: bool = True,
    started: float | None = None,
) -> Prepared:
    """Load the model, time a little of everything, and plan.

    Args:
        texts: Texts to learn from, see ``read_files``.
        test: Texts to predict.
        model: A name of ``params/models``, or a folder that holds a model.
        template: The prompt, with ``{text_a}``, ``{mask}`` and, for pairs, ``{text_b}``.
        label_words: A word a class, each one token of the model, in the order of the classes; by
            default the classes' names, where they are such words.
        budget: Minutes that the whole forecast may take.
        seed: All that is random follows it.
        most_rows: Of more rows a stratified sample is used.
        progress: Whether to print what was read and what is planned.
        started: From when on the budget counts, by ``time.perf_counter``; by default from now.

    Returns:
        What ``compute`` needs.

    Raises:
        InputError: If there is one class only or too few texts, or the model, the template or a
            label word is not as it must be.
    """
    if not budget > 0:
        raise InputError(f"a budget has to be some minutes, not {budget!r}")
    clock = Clock() if started is None else Clock(started)
    if test is not None and (test.pairs is None) != (texts.pairs is None):
        raise InputError(
            f"{texts.name} and {test.name} differ: one has pairs of texts, the other none"
        )
    if progress:
        print(*_said(texts), *([] if test is None else _said(test)), sep="\n")
    texts, reduced = _sampled(texts, most_rows, seed)
    _check(texts)
    if test is not None:
        test, more = _sampled(test, MOST_TEST_ROWS, seed)
        reduced += more
    if progress:
        print(f"Loading {model} and timing a few rows.", flush=True)
    with clock.timing("model"):
        words = None if label_words is None else tuple(label_words)
        problem = make_problem(texts, model, template=template, label_words=words, seed=seed)
    with clock.timing("training steps"):
        costs = training_costs(problem, seed)
    with clock.timing("plan"):
        plan = _plan(problem, test, budget, clock, seed)
    problem = replace(problem, texts=sample_rows(texts, plan.rows, seed))
    prepared = Prepared(
        problem, test, plan, costs, clock, budget, seed, (*reduced, *plan.reduced),
    )  # fmt: skip
    if progress:
        print(*prepared.reduced, prepared, sep="\n", flush=True)
    return prepared


def _said(texts: LabelledTexts) -> list[str]:
    """What is printed of texts."""
    classes = f", {len(texts.classes)} classes" if texts.classes else ""
    return [f"{texts.name}: {len(texts.texts):,} rows{classes}.", *texts.notes]


def _check(texts: LabelledTexts) -> None:
    """Refuse what no forecast can be made of, before anything takes long."""
    rows = len(texts.texts)
    if rows < FEWEST:
        raise InputError(f"a forecast needs {FEWEST} rows at least, and here are {rows}")
    different = len(np.unique(near_duplicates(texts)[0]))
    if different < FEWEST:
        raise InputError(
            f"a forecast needs {FEWEST} rows at least that are no near-duplicates of each other, "
            f"and of {rows} rows here are {different}"
        )
    found = np.unique(texts.labels)
    if len(found) < 2:
        raise InputError(
            f"a forecast needs rows of two classes, and here is {len(found)}: "
            f"{texts.classes[found[0]]!r}"
        )


def _sampled(texts: LabelledTexts, most: int, seed: int) -> tuple[LabelledTexts, tuple[str, ...]]:
    sample = sample_rows(texts, most, seed)
    if sample is texts:
        return texts, ()
    return sample, (
        f"A sample of {most} of the {len(texts.texts)} rows of {texts.name} is used, stratified by "
        "class.",
    )


def _plan(
    problem: Problem, tested: LabelledTexts | None, budget: float, clock: Clock, seed: int
) -> Plan:
    texts, count = problem.texts, len(problem.texts.texts)

    def of_kernel(rows: int) -> float:
        started = time.perf_counter()
        part = sample_rows(texts, rows, seed)
        problem.features(part)
        problem.kernel(part, grouped=True)
        return time.perf_counter() - started

    of_kernel(2)  # the first call of all is slower
    small, large = (min(rows, count) for rows in PILOT)
    passes, products = (
        extrapolated(of_kernel, small, large) if large > small else (of_kernel(count) / count, 0.0)
    )
    most = min(count, MOST_TIMED)

    def of_repeat(rows: int) -> float:
        return _of_chance(sample_rows(texts, rows, seed), seed).seconds_a_repeat()

    folds, fits = (
        line(of_repeat, LEAST_ROWS, most) if most > LEAST_ROWS else (0.0, of_repeat(most) / most)
    )
    kernel = _chance(most, seed)[1]
    started = time.perf_counter()
    CentredRidge.of(kernel)
    # Suspects, predictions and each layer: a decomposition, and the inverses of all ridges.
    solves = (time.perf_counter() - started) * 4 * (2 + _layers(problem)) / most**3
    test = 0 if tested is None else len(tested.texts)
    timings = Timings(clock.elapsed, passes, products, folds, fits, solves, count, test)
    return make_plan(timings, 60 * budget)


def _of_chance(texts: LabelledTexts, seed: int) -> Comparison:
    """Cross-validation with features and a kernel of chance, which takes as long as with others."""
    features, kernel = _chance(len(texts.texts), seed)
    classes = len(texts.classes)
    learners = (
        BagOfWords(tuple(joined(texts))),
        Probe(features),
        KernelRegression(kernel, classes),
    )
    labels, groups = np.array(texts.labels), np.arange(len(texts.labels))
    return Comparison(labels, groups, learners, classes, seed)


def _chance(count: int, seed: int) -> tuple[Array, Array]:
    features = np.random.default_rng(seed).normal(size=(count, 64))
    return features, features @ features.T + np.eye(count)


def _layers(problem: Problem) -> int:
    return len({layer_name(name) for name, _ in problem.traced.named_parameters()})
