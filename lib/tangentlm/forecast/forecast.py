"""From a plan to what may be said of a task before any training: ``compute(prepare(texts))``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tangentlm.forecast.answer import answer_of, cannot_say
from tangentlm.forecast.bootstrap import DRAWS, Bootstrap
from tangentlm.forecast.comparison import Comparison, outcome_of
from tangentlm.forecast.layers import layers_of
from tangentlm.forecast.learners import BagOfWords, KernelRegression, Probe
from tangentlm.forecast.near_duplicates import joined, near_duplicates
from tangentlm.forecast.past import past_tasks
from tangentlm.forecast.picture import picture_of
from tangentlm.forecast.plan import INNER_FOLDS
from tangentlm.forecast.predictions import both_files, predictions_for
from tangentlm.forecast.prepare import Clock, Prepared
from tangentlm.forecast.problem import MAX_LENGTH, Problem, about_model
from tangentlm.forecast.representers import representers
from tangentlm.forecast.result import Data, Forecast, ModelFacts, Settings
from tangentlm.forecast.suspects import cosines, find_suspects
from tangentlm.forecast.validation import doubts, judged, read_records
from tangentlm.forecast.ways import Cost

Array = NDArray[np.float64]


def compute(prepared: Prepared, *, progress: bool = True) -> Forecast:
    """Compute what was planned: what may be said of a task before any training.

    Example:
        >>> from tangentlm.forecast.prepare import prepare
        >>> from tangentlm.tasks.labelled_texts import LabelledTexts
        >>> things = "film meal room walk song book game show ride view".split()
        >>> texts = tuple(f"a {word} {thing}" for thing in things for word in ("dull", "fine"))
        >>> mine = LabelledTexts(texts, None, (0, 1) * 10, ("bad", "good"), tuple(range(20)), ())
        >>> prepared = prepare(mine, model="pocket-xs", budget=0.1, progress=False)
        >>> words = compute(prepared, progress=False).scores[1]
        >>> words.method, words.accuracy, words.low < 90
        ('bag of words', 100.0, True)

    Args:
        prepared: What ``prepare`` gave.
        progress: Whether to show progress bars.

    Returns:
        Scores with intervals, curves, suspects, costs and the rest.
    """
    problem, tested, clock = prepared.problem, prepared.tested, prepared.clock
    texts = problem.texts
    labels, classes = np.array(texts.labels), len(texts.classes)
    with clock.timing("near-duplicates"):
        groups, duplicates = near_duplicates(texts, tested)
    with clock.timing("features"):
        features = problem.features(texts)
    with clock.timing("zero-shot"):
        zero_shot = problem.zero_shot(texts) if problem.prompted else None
    with clock.timing("kernel"):
        kernel, columns, parts = _kernels(prepared, progress)
    with clock.timing("suspects"):
        alike = cosines(kernel)
        suspects = find_suspects(texts, kernel, groups, alike)
    with clock.timing("layers"):
        layers = layers_of(kernel, parts, labels, classes, groups)
    predictions = None
    if tested is not None:
        with clock.timing("predictions"):
            found = representers(kernel, columns, labels, classes, groups)
            predictions = predictions_for(texts, tested, found, duplicates)
    with clock.timing("cross-validation"):
        words, probe = BagOfWords(tuple(joined(texts))), Probe(features)
        learners = (words, probe, KernelRegression(kernel, classes))
        comparison = Comparison(labels, groups, learners, classes, prepared.seed)
        comparison.run(prepared.plan.repeats, clock.started + 60 * prepared.budget, progress)
    with clock.timing("intervals"):
        bootstrap = Bootstrap.of(groups, prepared.seed)
        outcome = outcome_of(comparison, zero_shot, problem.reason, bootstrap)
    data, settings, past = _data(prepared), _settings(prepared, comparison), past_tasks()
    scores, differences, curve = outcome.scores, outcome.differences, outcome.curve
    return Forecast(
        data=data,
        model=_facts(problem),
        settings=settings,
        scores=scores,
        differences=differences,
        curve=curve,
        kernel=picture_of(texts, alike, prepared.seed),
        suspects=suspects,
        duplicates=duplicates,
        layers=layers,
        costs=(*_own_costs(problem, features, clock), *prepared.costs),
        past=past,
        predictions=predictions,
        answer=answer_of(scores, differences, curve, suspects, duplicates, past),
        cannot=(*cannot_say(data, settings, scores), *doubts(judged(read_records()))),
    )


def _kernels(prepared: Prepared, progress: bool) -> tuple[Array, Array, dict[str, Array]]:
    """The kernel of the training rows, that between them and the test rows, and its layers."""
    texts = prepared.problem.texts
    every = both_files(texts, prepared.tested)
    whole, parts = prepared.problem.kernel(every, grouped=True, progress=progress)
    train = slice(len(texts.texts))
    test = slice(len(texts.texts), None)
    return whole[train, train], whole[train, test], {n: k[train, train] for n, k in parts.items()}


def _data(prepared: Prepared) -> Data:
    texts = prepared.problem.texts
    counts = np.bincount(texts.labels, minlength=len(texts.classes))
    return Data(
        texts.name, len(texts.texts), texts.classes, tuple(map(int, counts)),
        texts.pairs is not None, texts.notes,
    )  # fmt: skip


def _settings(prepared: Prepared, comparison: Comparison) -> Settings:
    plan, made, clock, reduced = (
        prepared.plan, comparison.repeats, prepared.clock, prepared.reduced,
    )  # fmt: skip
    if made < plan.repeats:
        reduced += (
            f"Cross-validation was stopped after {made} of {plan.repeats} repeats, as the budget "
            "was used up.",
        )
    return Settings(
        prepared.seed, made, comparison.folds, INNER_FOLDS, DRAWS, prepared.budget,
        plan.least / 60, plan.seconds / 60, clock.elapsed / 60, reduced, dict(clock.parts),
    )  # fmt: skip


def _facts(problem: Problem) -> ModelFacts:
    if problem.words:
        kernel = (
            f"The gradients of the logits of {', '.join(map(repr, problem.words))} in the prompt "
            f"{problem.task.template!r} with respect to all parameters, summed over the contrasts "
            "between the words; one kernel for all classes, which knows no label."
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
