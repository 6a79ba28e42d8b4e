"""Before a forecast: read the files, load the model, time a little of everything, and plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tangentlm.errors import InputError
from tangentlm.forecast.comparison import Comparison
from tangentlm.forecast.cost import training_costs
from tangentlm.forecast.learners import BagOfWords, KernelRegression, Probe
from tangentlm.forecast.near_duplicates import joined
from tangentlm.forecast.plan import (
    FOLDS,
    MOST_ROWS,
    MOST_TEST_ROWS,
    Plan,
    Timings,
    extrapolated,
    make_plan,
    sample_rows,
)
from tangentlm.forecast.problem import Problem, layer_name, make_problem
from tangentlm.forecast.result import Cost
from tangentlm.forecast.ridge import CentredRidge
from tangentlm.tasks.labelled_texts import LabelledTexts, read_labelled, read_texts

FEWEST = 10
"""Rows below which nothing is said."""
PILOT = (8, 32)
"""Rows whose kernels are timed for the plan."""


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
        names: The names of the file and of the test file.
        plan: How many rows and repeats.
        costs: What training would cost.
        clock: The time that was used so far.
        budget: Minutes.
        seed: All that is random follows it.
        reduced: What was made smaller, a sentence each.
    """

    problem: Problem
    tested: LabelledTexts | None
    names: tuple[str, str]
    plan: Plan
    costs: tuple[Cost, ...]
    clock: Clock
    budget: float
    seed: int
    reduced: tuple[str, ...]

    def __str__(self) -> str:
        minutes = self.plan.seconds / 60
        return (
            f"Seed {self.seed}; {self.plan.rows} rows, {len(self.problem.texts.classes)} classes; "
            f"cross-validation of {FOLDS} folds, {self.plan.repeats} times; about {minutes:.1f} "
            f"minutes in all, of {self.budget:g} that are allowed."
        )


def prepare(
    data: str | Path | LabelledTexts,
    *,
    columns: Mapping[str, str] | None = None,
    model: str = "pocket",
    test: str | Path | LabelledTexts | None = None,
    template: str | None = None,
    label_words: Sequence[str] | None = None,
    budget: float = 10.0,
    seed: int = 13,
    most_rows: int = MOST_ROWS,
    progress: bool = True,
) -> Prepared:
    """Read the files, load the model, time a little of everything, and plan.

    Args:
        data: As for ``forecast``, like all others.
        columns: Where the file's columns are.
        model: A name or a folder.
        test: A file to predict.
        template: The prompt.
        label_words: A word a class.
        budget: Minutes.
        seed: All that is random follows it.
        most_rows: Of more rows a stratified sample is used.
        progress: Whether to print what was read and what is planned.

    Returns:
        What ``compute`` needs.

    Raises:
        InputError: As ``forecast``.
    """
    if not budget > 0:
        raise InputError(f"a budget has to be some minutes, not {budget!r}")
    clock = Clock()
    name, every = _read(data, columns, read_labelled)
    _check(every)
    test_name, tested = _read(test, columns, read_texts) if test is not None else ("", None)
    if tested is not None and (tested.pairs is None) != (every.pairs is None):
        raise InputError(f"{name} and {test_name} differ: one has pairs of texts, the other none")
    if progress:
        said = f"{name}: {len(every.texts):,} rows, {len(every.classes)} classes."
        print(said, *every.notes, f"Loading {model} and timing a few rows.", sep="\n", flush=True)
    texts, reduced = _sampled(every, most_rows, seed, "")
    if tested is not None:
        tested, more = _sampled(tested, MOST_TEST_ROWS, seed, "the test file's ")
        reduced += more
    with clock.timing("model"):
        words = None if label_words is None else tuple(label_words)
        problem = make_problem(texts, model, template=template, label_words=words, seed=seed)
    with clock.timing("training steps"):
        costs = training_costs(problem, seed)
    with clock.timing("plan"):
        plan = _plan(problem, tested, budget, clock, seed)
    problem = replace(problem, texts=sample_rows(texts, plan.rows, seed))
    prepared = Prepared(
        problem, tested, (name, test_name), plan, costs, clock, budget, seed,
        (*reduced, *plan.reduced),
    )  # fmt: skip
    if progress:
        print(*prepared.reduced, prepared, sep="\n", flush=True)
    return prepared


def _read(
    data: str | Path | LabelledTexts,
    columns: Mapping[str, str] | None,
    reader: Callable[..., LabelledTexts],
) -> tuple[str, LabelledTexts]:
    if isinstance(data, LabelledTexts):
        return "texts", data
    return Path(data).name, reader(data, **(columns or {}))


def _check(texts: LabelledTexts) -> None:
    if len(texts.texts) < FEWEST:
        raise InputError(
            f"a forecast needs {FEWEST} rows at least, and here are {len(texts.texts)}"
        )
    found = np.unique(texts.labels)
    if len(found) < 2:
        held = f": {texts.classes[found[0]]!r}" if len(found) else ""
        raise InputError(f"a forecast needs rows of two classes, and here is {len(found)}{held}")


def _sampled(
    texts: LabelledTexts, most: int, seed: int, whose: str
) -> tuple[LabelledTexts, tuple[str, ...]]:
    sample = sample_rows(texts, most, seed)
    if sample is texts:
        return texts, ()
    return sample, (
        f"A sample of {most} of {whose}{len(texts.texts)} rows is used, stratified by class.",
    )


def _plan(
    problem: Problem, tested: LabelledTexts | None, budget: float, clock: Clock, seed: int
) -> Plan:
    texts = problem.texts
    count, labels, classes = len(texts.texts), np.array(texts.labels), len(texts.classes)

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
    # A kernel of chance takes as long to solve with as that of the model.
    chance = np.random.default_rng(seed).normal(size=(count, 64))
    kernel = chance @ chance.T + np.eye(count)
    learners = (BagOfWords(tuple(joined(texts))), Probe(chance), KernelRegression(kernel, classes))
    groups = np.arange(count)
    repeat = Comparison(labels, groups, learners, classes, seed).seconds_a_repeat()
    started = time.perf_counter()
    CentredRidge.of(kernel)
    # Suspects, predictions and each layer: a decomposition, and the inverses of all ridges.
    solves = (time.perf_counter() - started) * 4 * (2 + _layers(problem))
    test = 0 if tested is None else len(tested.texts)
    timings = Timings(clock.elapsed, passes, products, repeat, solves, count, test)
    return make_plan(timings, 60 * budget)


def _layers(problem: Problem) -> int:
    return len({layer_name(name) for name, _ in problem.traced.named_parameters()})
