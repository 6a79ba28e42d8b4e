"""``forecast``: from a file of labelled texts to what may be said of it before any training."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tangentlm.errors import InputError
from tangentlm.forecast.answer import answer_of, cannot_say
from tangentlm.forecast.bootstrap import DRAWS, Bootstrap
from tangentlm.forecast.comparison import Comparison, outcome_of
from tangentlm.forecast.cost import training_costs
from tangentlm.forecast.layers import layers_of
from tangentlm.forecast.learners import BagOfWords, KernelRegression, Probe
from tangentlm.forecast.near_duplicates import joined, near_duplicates
from tangentlm.forecast.past import past_tasks
from tangentlm.forecast.picture import picture_of
from tangentlm.forecast.plan import (
    FOLDS,
    INNER_FOLDS,
    MOST_ROWS,
    MOST_TEST_ROWS,
    Plan,
    Timings,
    extrapolated,
    make_plan,
    sample_rows,
)
from tangentlm.forecast.predictions import both_files, predictions_for
from tangentlm.forecast.problem import MAX_LENGTH, Problem, about_model, make_problem
from tangentlm.forecast.representers import representers
from tangentlm.forecast.result import Cost, Data, Forecast, ModelFacts, Settings
from tangentlm.forecast.ridge import CentredRidge
from tangentlm.forecast.suspects import cosines, find_suspects
from tangentlm.tasks.labelled_texts import LabelledTexts, read_labelled

Array = NDArray[np.float64]

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


def forecast(
    data: str | Path | LabelledTexts,
    *,
    columns: Mapping[str, str] | None = None,
    model: str = "pocket",
    test: str | Path | LabelledTexts | None = None,
    template: str | None = None,
    label_words: Sequence[str] | None = None,
    budget: float = 10.0,
    seed: int = 13,
    progress: bool = True,
) -> Forecast:
    """What may be said of a task before any training.

    Args:
        data: A file of labelled texts, or what was read from one.
        columns: Where the file's columns are, as ``read_labelled`` takes them, e.g.
            ``{"label_column": "stars"}``; guessed by default.
        model: A name of ``params/models``, or a folder that holds a model.
        test: A file to predict, with the same columns.
        template: The prompt, with ``{text_a}``, ``{mask}`` and, for pairs, ``{text_b}``.
        label_words: A word a class, each one token of the model, in the order of the classes; by
            default the classes' names, where they are such words.
        budget: Minutes that it may take.
        seed: All that is random follows it.
        progress: Whether to print the plan and show progress bars.

    Returns:
        Scores with intervals, curves, suspects, costs and the rest.

    Raises:
        InputError: If the file cannot be read, has one class only or too few rows, or the model,
            the template or a label word is not as it must be.

    Example:
        >>> from tangentlm.forecast.forecast import forecast
        >>> found = forecast("reviews.csv", budget=2)  # doctest: +SKIP
        >>> found.answer[0]  # doctest: +SKIP
        'Without fine-tuning, ...'
    """
    prepared = prepare(
        data, columns=columns, model=model, test=test, template=template, label_words=label_words,
        budget=budget, seed=seed, progress=progress,
    )  # fmt: skip
    return compute(prepared, progress=progress)


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
        progress: Whether to print what was read and what is planned.

    Returns:
        What ``compute`` needs.

    Raises:
        InputError: As ``forecast``.
    """
    if not budget > 0:
        raise InputError(f"a budget has to be some minutes, not {budget!r}")
    clock = Clock()
    name, every = _read(data, columns)
    _check(every)
    test_name, tested = _read(test, columns) if test is not None else ("", None)
    if tested is not None and (tested.pairs is None) != (every.pairs is None):
        raise InputError(f"{name} and {test_name} differ: one has pairs of texts, the other none")
    if progress:
        print(f"{name}: {len(every.texts):,} rows, {len(every.classes)} classes.", *every.notes,
              f"Loading {model} and timing a few rows.", sep="\n", flush=True)  # fmt: skip
    texts, reduced = _sampled(every, MOST_ROWS, seed, "")
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


def compute(prepared: Prepared, *, progress: bool = True) -> Forecast:
    """Compute what was planned.

    Args:
        prepared: What ``prepare`` gave.
        progress: Whether to show progress bars.

    Returns:
        The forecast.
    """
    problem, tested, names = prepared.problem, prepared.tested, prepared.names
    plan, clock, budget, seed = prepared.plan, prepared.clock, prepared.budget, prepared.seed
    costs, reduced = prepared.costs, prepared.reduced
    texts = problem.texts
    labels, classes, count = np.array(texts.labels), len(texts.classes), len(texts.texts)
    with clock.timing("near-duplicates"):
        groups, duplicates = near_duplicates(texts, tested)
    with clock.timing("features"):
        features = problem.features(texts)
    with clock.timing("zero-shot"):
        zero_shot = problem.zero_shot(texts) if problem.prompted else None
    with clock.timing("kernel"):
        whole, groups_of_layers = problem.kernel(
            both_files(texts, tested), grouped=True, progress=progress
        )
    kernel = whole[:count, :count]
    parts = {name: part[:count, :count] for name, part in groups_of_layers.items()}
    with clock.timing("suspects"):
        alike = cosines(kernel)
        suspects = find_suspects(texts, kernel, groups, alike)
    with clock.timing("layers"):
        layers = layers_of(kernel, parts, labels, classes, groups)
    predictions = None
    if tested is not None:
        with clock.timing("predictions"):
            found = representers(kernel, whole[:count, count:], labels, classes, groups)
            predictions = predictions_for(names[1], texts, tested, found, duplicates)
    with clock.timing("cross-validation"):
        learners = (BagOfWords(tuple(joined(texts))), Probe(features), _regression(kernel, classes))
        comparison = Comparison(labels, groups, learners, classes, seed)
        comparison.run(plan.repeats, clock.started + 60 * budget, progress)
    if comparison.repeats < plan.repeats:
        reduced += (
            f"Cross-validation was stopped after {comparison.repeats} of {plan.repeats} repeats, "
            "as the budget was used up.",
        )
    with clock.timing("intervals"):
        bootstrap = Bootstrap.of(groups, seed)
        outcome = outcome_of(comparison, zero_shot, problem.reason, bootstrap)
    past = past_tasks()
    facts = Data(
        names[0], count, texts.classes, tuple(map(int, np.bincount(labels, minlength=classes))),
        texts.pairs is not None, texts.notes,
    )  # fmt: skip
    settings = Settings(
        seed, comparison.repeats, comparison.folds, INNER_FOLDS, DRAWS, budget,
        plan.seconds / 60, clock.elapsed / 60, reduced, dict(clock.parts),
    )  # fmt: skip
    return Forecast(
        data=facts,
        model=_facts(problem),
        settings=settings,
        scores=outcome.scores,
        differences=outcome.differences,
        curve=outcome.curve,
        kernel=picture_of(texts, alike, seed),
        suspects=suspects,
        duplicates=duplicates,
        layers=layers,
        costs=(*_own_costs(problem, features, clock), *costs),
        past=past,
        predictions=predictions,
        answer=answer_of(
            outcome.scores, outcome.differences, outcome.curve, suspects, duplicates, past
        ),
        cannot=cannot_say(facts, settings, outcome.scores),
    )


def _read(
    data: str | Path | LabelledTexts, columns: Mapping[str, str] | None
) -> tuple[str, LabelledTexts]:
    if isinstance(data, LabelledTexts):
        return "texts", data
    return Path(data).name, read_labelled(data, **(columns or {}))


def _check(texts: LabelledTexts) -> None:
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


def _regression(kernel: Array, classes: int) -> KernelRegression:
    return KernelRegression(kernel, classes)


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
    learners = (BagOfWords(tuple(joined(texts))), Probe(chance), _regression(kernel, classes))
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
    from tangentlm.forecast.problem import layer_name

    return len({layer_name(name) for name, _ in problem.traced.named_parameters()})


def _facts(problem: Problem) -> ModelFacts:
    if problem.prompted:
        kernel = (
            "The gradients of the label words' logits with respect to all parameters, summed over "
            "the contrasts between the words; one kernel for all classes."
        )
    else:
        kernel = (
            f"The gradients of {problem.reader.num_classes} random linear outputs on the mean "
            "hidden state with respect to all parameters, summed; one kernel for all classes, "
            "which knows no label."
        )
    return ModelFacts(
        name=problem.name,
        about=about_model(problem.name),
        parameters=sum(parameter.numel() for parameter in problem.traced.parameters()),
        features=f"The mean hidden state of each text, cut at {MAX_LENGTH} tokens.",
        kernel=kernel,
        template=problem.task.template if problem.prompted else None,
        label_words=problem.task.label_words if problem.prompted else (),
    )


def _own_costs(problem: Problem, features: Array, clock: Clock) -> tuple[Cost, Cost]:
    """What the probe and kernel regression took here."""
    count, width = features.shape
    classes = len(problem.texts.classes)
    probe = clock.parts["features"] / 60
    kernel = (clock.parts["kernel"] + clock.parts["suspects"]) / 60
    return (
        Cost(
            "probe", None, 0, probe, features.nbytes / 2**20, classes * (width + 1),
            "As it took here: the features of all rows; fitting takes little beside.",
        ),
        Cost(
            "kernel regression", None, 0, kernel, 3 * 8 * count**2 / 2**20, classes * count,
            "As it took here: the kernel of all rows by layer, and one choice of the ridge; memory "
            "is that of three kernels.",
        ),
    )  # fmt: skip
