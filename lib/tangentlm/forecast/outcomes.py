"""After a forecast: what its ways, and fine-tuning, reach on rows that nobody has seen.

The ways without training learn from all rows. Fine-tuning learns from most of them; the others
choose the learning rate and the checkpoint, and no test row chooses anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tangentlm.analysis.intervals import interval_of_share
from tangentlm.batches import Labelled, rows_as_given
from tangentlm.errors import InputError
from tangentlm.finetune.adaptation import adapted
from tangentlm.finetune.loop import FineTuned, Schedule, fine_tune
from tangentlm.forecast.comparison import MAJORITY, ZERO_SHOT
from tangentlm.forecast.cross_validation import chosen_strength, splits_of
from tangentlm.forecast.learners import BagOfWords, Learner, Probe
from tangentlm.forecast.near_duplicates import joined, near_duplicates
from tangentlm.forecast.plan import FOLDS
from tangentlm.forecast.predictions import both_files
from tangentlm.forecast.problem import Problem
from tangentlm.forecast.representers import representers
from tangentlm.kernels import entk
from tangentlm.models.checkpoints import model_kind
from tangentlm.models.heads import LinearHeadModel, load_model
from tangentlm.models.linear_probe import fit_linear_probe
from tangentlm.models.logits import logits_of, pick_device
from tangentlm.params import ForecastOutcomeRun, OutcomeRun
from tangentlm.tasks import Example, Task, load_task
from tangentlm.tasks.labelled_texts import LabelledTexts
from tangentlm.tasks.pools import draw_two_parts

Rows = NDArray[np.int64]
WAYS: Mapping[str, Any] = {"LoRA": "lora", "full fine-tuning": "full"}
"""How fine-tuning is called, and what ``adapted`` calls it."""
EVALUATIONS = 5
"""How often a training looks at dev."""


@dataclass(frozen=True)
class Outcome:
    """What a way reached on test rows.

    Attributes:
        method: As a forecast or ``WAYS`` calls it, or another name.
        accuracy: Percent.
        low: The end of Wilson's interval of 95 %, which knows of the test rows alone.
        high: Its other end.
    """

    method: str
    accuracy: float
    low: float
    high: float

    @classmethod
    def of(cls, method: str, told: Rows, labels: Rows) -> Outcome:
        """The outcome of some predictions.

        Example:
            >>> Outcome.of("SetFit", np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0])).accuracy
            75.0

        Args:
            method: The way's name.
            told: Predicted classes, (M,).
            labels: True ones, (M,).

        Returns:
            The share of right ones, in percent.
        """
        found = interval_of_share(int((told == labels).sum()), len(labels))
        return cls(method, 100 * found.estimate, 100 * found.low, 100 * found.high)


@dataclass(frozen=True)
class Trained:
    """One training, and what dev said of it.

    Attributes:
        method: One of ``WAYS``.
        learning_rate: Its rate.
        dev_score: The best accuracy on dev, percent.
        dev_loss: The loss there, nats.
        best_step: After how many steps that was.
        parameters: How many numbers were trained.
        chosen: Whether it is the best of its way on dev, and so the one that was tested.
    """

    method: str
    learning_rate: float
    dev_score: float
    dev_loss: float
    best_step: int
    parameters: int
    chosen: bool


def texts_of(task: Task, rows: Sequence[Example]) -> LabelledTexts:
    """Rows of a task as a file of labelled texts has them.

    Args:
        task: Gives the classes' names.
        rows: N rows.

    Returns:
        The texts; rows are counted from 1.
    """
    return LabelledTexts(
        texts=tuple(row.text_a for row in rows),
        pairs=tuple(row.text_b or "" for row in rows) if task.is_pair else None,
        labels=tuple(row.label for row in rows),
        classes=tuple(task.labels),
        rows=tuple(range(1, len(rows) + 1)),
        notes=(),
    )


def draw_texts(run: OutcomeRun) -> tuple[Task, LabelledTexts, LabelledTexts]:
    """The rows of a run.

    Args:
        run: Its parameters.

    Returns:
        The task, the texts to learn from, and those to test on.

    Raises:
        InputError: If the rows are not at hand, or too few.
    """
    task = load_task(run.task)
    train, test = draw_two_parts(task, run.train_size, run.test_size, run.seed, data=run.data)
    return task, texts_of(task, train), texts_of(task, test)


def asked(run: OutcomeRun, task: Task) -> dict[str, Any]:
    """How a model is asked, as ``forecast`` takes it: an encoder is not.

    Args:
        run: Names the model.
        task: The task.

    Returns:
        ``template`` and ``label_words``, or nothing.

    Raises:
        InputError: If the model is causal: a task's template is not one for it.
    """
    kind = model_kind(run.model)
    if kind == "causal":
        raise InputError(f"model {run.model} is causal; this experiment is one for encoders")
    if kind == "encoder":
        return {}
    return {"template": task.template, "label_words": task.label_words}


def near_in(train: LabelledTexts, test: LabelledTexts) -> int:
    """How many test rows are near-duplicates of a row that is learned from.

    Args:
        train: N texts.
        test: M texts.

    Returns:
        Their number.
    """
    groups = near_duplicates(train, test)[1]
    return sum(sum(group.in_test) for group in groups if not all(group.in_test))


def held_out(
    problem: Problem, test: LabelledTexts, seed: int, *, progress: bool = False
) -> list[Outcome]:
    """What the ways of a forecast reach on test rows, when they learn from all rows of the file.

    What each way chooses, it chooses by cross-validation inside the file, as in the forecast;
    kernel regression by leaving out, as the forecast's predictions do.

    Args:
        problem: N texts to learn from, and the model.
        test: M texts.
        seed: Of the folds.
        progress: Whether to show a progress bar.

    Returns:
        Majority, bag of words, zero-shot (where the model is asked), probe and kernel regression.
    """
    train = problem.texts
    labels, truth = np.array(train.labels), np.array(test.labels)
    groups = near_duplicates(train)[0]
    every = both_files(train, test)
    told = {MAJORITY: np.full(len(truth), np.bincount(labels).argmax())}
    inner = splits_of(labels, groups, np.arange(len(labels)), FOLDS, seed)
    rows, others = np.arange(len(labels)), np.arange(len(labels), len(every.texts))
    learners: list[Learner] = [BagOfWords(tuple(joined(every))), Probe(problem.features(every))]
    for learner in learners:
        strength = chosen_strength(learner, labels, inner)
        told[learner.name] = learner.predict(rows, labels, others, [strength])[0]
    if problem.prompted:
        told[ZERO_SHOT] = problem.zero_shot(test).argmax(axis=1)
    head = "prompt" if problem.prompted else "linear"
    kernel = entk(
        problem.traced, problem.batch(every, head), problem.batch(train, head),
        outputs="trace", progress=progress,
    ).values[:, 0, :, 0]  # fmt: skip
    own, columns = kernel[: len(labels)], kernel[len(labels) :].T
    found = representers((own + own.T) / 2, columns, labels, len(train.classes), groups)
    told["kernel regression"] = found.predicted
    return [Outcome.of(method, predicted, truth) for method, predicted in told.items()]


def train_and_test(
    run: ForecastOutcomeRun, problem: Problem, test: LabelledTexts, *, progress: bool = False
) -> tuple[list[Outcome], list[Trained]]:
    """What LoRA and full fine-tuning reach on test rows.

    The texts' first rows are trained on, the last choose. With a prompt nothing is added to the
    model; without, a linear head on the mean hidden state starts at the linear-probing solution.

    Args:
        run: Its rates, epochs and seed.
        problem: Texts to learn from, and the model.
        test: M texts.
        progress: Whether to show progress bars.

    Returns:
        An outcome a way, and all trainings that dev chose among.
    """
    head = "prompt" if problem.prompted else "linear"
    every = Labelled(problem.batch(problem.texts, head), torch.tensor(problem.texts.labels))
    count = len(every) - max(1, round(run.dev_share * len(every)))
    train, dev = (_part(every, rows) for rows in (slice(count), slice(count, None)))
    tested = problem.batch(test, head)
    steps = run.epochs * -(-count // run.batch_size)
    outcomes, trainings = [], []
    rates_of = {"LoRA": run.lora_rates, "full fine-tuning": run.full_rates}
    for way, rates in rates_of.items():
        tuned: dict[float, FineTuned] = {}
        for rate in rates:
            network = _start(run, problem, train, way)
            schedule = Schedule(
                "adam", rate, run.batch_size, steps, max(1, steps // EVALUATIONS), run.seed
            )
            tuned[rate] = fine_tune(network, train, dev, schedule, progress=progress)
        best = max(tuned, key=lambda rate: (tuned[rate].dev_score, -tuned[rate].dev_loss))
        parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
        trainings += [
            Trained(way, rate, t.dev_score, t.dev_loss, t.best_step, parameters, rate == best)
            for rate, t in tuned.items()
        ]
        network.load_state_dict(tuned[best].state)
        told = logits_of(network, tested).argmax(dim=1).numpy()
        outcomes.append(Outcome.of(way, told, np.array(test.labels)))
    return outcomes, trainings


def _part(samples: Labelled, rows: slice) -> Labelled:
    return Labelled(rows_as_given(samples.batch, rows), samples.labels[rows])


def _start(run: ForecastOutcomeRun, problem: Problem, train: Labelled, way: str) -> torch.nn.Module:
    """The model as a training starts it."""
    if problem.prompted:
        model = load_model(run.model, problem.task)
    else:
        model = load_model(run.model, problem.task, "linear", "mean")
    if isinstance(model, LinearHeadModel):
        fit_linear_probe(model, train)
    return adapted(model, WAYS[way], seed=run.seed).to(pick_device(run.device))
