"""What a forecast is made of: plain numbers, texts and lists, which JSON holds as they are.

Shares (accuracies, macro-F1) are in percent and differences in points. ``low`` and ``high`` are the
ends of an interval of 95 %. A row's number is where it stands in the user's file, as
``read_labelled`` counts. What could not be computed is ``None``, and a field ``reason`` beside it
says why; nothing is left out in silence.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Data:
    """What was read.

    Attributes:
        name: The file's name, without its folder.
        count: Rows that were used.
        classes: The classes' names, in the order of the labels 0 to C-1.
        counts: Rows of each class, in the same order.
        pairs: Whether a row has two texts.
        notes: What was guessed, dropped or cut, a sentence each.
    """

    name: str
    count: int
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    pairs: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ModelFacts:
    """Which model was looked at, and what its kernel is of.

    Attributes:
        name: As the user gave it.
        about: What the model is, a sentence.
        parameters: How many numbers it has.
        features: What the probe reads, a sentence.
        kernel: What the kernel is of, a sentence.
        template: The prompt, or ``None`` where none was used.
        label_words: The label words, in the order of the classes; empty where none were used.
    """

    name: str
    about: str
    parameters: int
    features: str
    kernel: str
    template: str | None
    label_words: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """How the forecast was made.

    Attributes:
        seed: The seed that all others come from.
        repeats: How often cross-validation was repeated, each time with other folds.
        folds: Folds of the outer cross-validation.
        inner_folds: Folds that choose hyperparameters, inside the training part of each fold.
        bootstrap: Draws of the bootstrap.
        budget: Minutes that it might take.
        least: Minutes that the smallest forecast was expected to take, from short timings.
        expected: Minutes that this one was expected to take.
        taken: Minutes that it took.
        reduced: What was made smaller so as to fit the budget, a sentence each.
        seconds: Seconds that each part took, by its name.
    """

    seed: int
    repeats: int
    folds: int
    inner_folds: int
    bootstrap: int
    budget: float
    least: float
    expected: float
    taken: float
    reduced: tuple[str, ...]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Score:
    """How well a way without training does on held-out rows.

    Attributes:
        method: ``"majority"``, ``"bag of words"``, ``"zero-shot"``, ``"probe"`` or ``"kernel
            regression"``.
        accuracy: Percent, mean over repeats; ``None`` where it was not computed.
        low: The interval's lower end.
        high: Its upper end.
        macro_f1: Percent, the mean over classes and repeats.
        repeats: Repeats of cross-validation; 0 where nothing is fitted.
        folds: Folds of each; 0 where nothing is fitted.
        reason: Why it was not computed.
    """

    method: str
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    macro_f1: float | None = None
    repeats: int = 0
    folds: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class Difference:
    """A paired difference of two ways on the same held-out rows, in points.

    Attributes:
        better: The way that is expected to be better.
        worse: The one that it is compared with.
        points: The difference of their accuracies.
        low: The interval's lower end.
        high: Its upper end.
    """

    better: str
    worse: str
    points: float
    low: float
    high: float


@dataclass(frozen=True)
class CurvePoint:
    """One point of a learning curve.

    Attributes:
        method: As in ``Score``.
        n: Rows to learn from.
        accuracy: Percent.
        low: The interval's lower end.
        high: Its upper end.
        extrapolated: Whether a power law says it, and no measurement does.
    """

    method: str
    n: int
    accuracy: float
    low: float
    high: float
    extrapolated: bool


@dataclass(frozen=True)
class KernelPicture:
    """The kernel of some rows, in the order of their classes.

    Attributes:
        values: (n, n), cosines k(i, j) / sqrt(k(i, i) k(j, j)) of the kernel; n at most 200.
        rows: Rows of the file.
        texts: Their texts; of a pair both, with `` | `` between them.
        labels: Their classes' names.
        note: What is shown, a sentence.
    """

    values: tuple[tuple[float, ...], ...]
    rows: tuple[int, ...]
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class Neighbour:
    """A row near another one.

    Attributes:
        row: Row of the file.
        text: Its text.
        label: Its class's name.
        cosine: Of the kernel, from -1 to 1.
    """

    row: int
    text: str
    label: str
    cosine: float


@dataclass(frozen=True)
class Suspect:
    """A row whose label the other rows speak against; a rank, not a verdict.

    Attributes:
        row: Row of the file.
        text: Its text.
        label: The label that it has.
        suggested: The class that kernel regression on all other rows gives it.
        score: How far the suggested class is ahead of the label it has, in that regression's
            values (targets are 1 for a row's class and 0 for others, centred).
        against: The nearest rows of other classes, nearest first.
    """

    row: int
    text: str
    label: str
    suggested: str
    score: float
    against: tuple[Neighbour, ...]


@dataclass(frozen=True)
class Suspects:
    """Suspected labels, most suspicious first.

    Attributes:
        rows: The suspects.
        accuracy: Leave-one-out accuracy of kernel regression, percent.
        majority: The majority's share, percent.
        reason: Why there is no list: the predictor is too near the majority to accuse anyone.
        doubted: How many rows the regression calls something else, listed or not.
    """

    rows: tuple[Suspect, ...]
    accuracy: float
    majority: float
    reason: str | None = None
    doubted: int = 0


@dataclass(frozen=True)
class Duplicates:
    """Rows that are nearly the same text.

    Attributes:
        rows: Rows of the file, two at least.
        texts: Their texts.
        labels: Their classes' names; ``None`` for a row of the test file that has none.
        similarity: The least similarity of any link that holds the group together: Jaccard
            similarity of character shingles, from 0 to 1.
        disagree: Whether their labels differ.
        in_test: For each row whether it is of the test file (its number then counts there).
    """

    rows: tuple[int, ...]
    texts: tuple[str, ...]
    labels: tuple[str | None, ...]
    similarity: float
    disagree: bool
    in_test: tuple[bool, ...]


@dataclass(frozen=True)
class Layer:
    """What one group of parameters gives to the kernel; a description, not a ranking of targets.

    Attributes:
        name: E.g. ``"embedding"``, ``"layer 3"`` or ``"head"``.
        share: Of the kernel's trace, percent.
        alignment: Centred alignment of its kernel with the labels, from -1 to 1.
        without: Leave-one-out accuracy of kernel regression without it, percent.
    """

    name: str
    share: float
    alignment: float
    without: float


@dataclass(frozen=True)
class Cost:
    """What a way would take here.

    Attributes:
        way: ``"probe"``, ``"kernel regression"``, ``"LoRA"`` or ``"full fine-tuning"``.
        seconds_a_step: Of one step; ``None`` where there are no steps.
        steps: How many.
        minutes: In all; ``None`` where it could not be measured.
        memory: Peak, in MiB, of weights, gradients, states of the optimizer and activations;
            ``None`` where it is not known.
        trained: How many numbers are trained.
        how: How this was found, a sentence; or why it was not.
    """

    way: str
    seconds_a_step: float | None
    steps: int
    minutes: float | None
    memory: float | None
    trained: int
    how: str


@dataclass(frozen=True)
class PastTask:
    """A task of the project's records: what was known before training, and what training reached.

    Attributes:
        task: Its name.
        runs: How many splits the means are over.
        kernel: Accuracy of kernel regression, percent.
        probe: Accuracy of a linear probe, percent; ``None`` where no record has it.
        finetuned: Accuracy after fine-tuning, percent.
    """

    task: str
    runs: int
    kernel: float | None
    probe: float | None
    finetuned: float


@dataclass(frozen=True)
class Past:
    """How far fine-tuning came out above kernel regression on past tasks.

    Attributes:
        rows: The tasks.
        quantiles: Quantiles of fine-tuning minus kernel regression over tasks, in points, by their
            percentage: ``{"10": ..., "50": ..., "90": ...}``; empty without records.
        note: Where the records come from, and how they differ from this task.
    """

    rows: tuple[PastTask, ...]
    quantiles: dict[str, float]
    note: str


@dataclass(frozen=True)
class Pull:
    """What one training row adds to a prediction.

    Attributes:
        row: Row of the file.
        text: Its text.
        label: Its class's name.
        value: alpha_i K(x, x_i), for the predicted class.
    """

    row: int
    text: str
    label: str
    value: float


@dataclass(frozen=True)
class Prediction:
    """Kernel regression on one row of the test file.

    Attributes:
        row: Row of the test file.
        text: Its text.
        label: Its class's name in the test file; ``None`` where the file has none.
        predicted: The predicted class's name.
        values: The regression's values, one a class: targets are 1 for a row's class and 0 for
            others, centred.
        margin: The largest value less the second.
        offset: What belongs to no row: the classes' mean, so that the pulls of *all* rows and the
            offset sum to the predicted class's value.
        towards: The rows that pull most towards the predicted class, most first.
        away: The rows that pull most away from it, most first.
        others: What all training rows that are not named add.
    """

    row: int
    text: str
    label: str | None
    predicted: str
    values: tuple[float, ...]
    margin: float
    offset: float
    towards: tuple[Pull, ...]
    away: tuple[Pull, ...]
    others: float


@dataclass(frozen=True)
class Predictions:
    """Predictions for a test file.

    Attributes:
        name: The file's name.
        rows: One a row.
        accuracy: Percent, where the file has labels.
        low: The interval's lower end.
        high: Its upper end.
        notes: What was guessed, dropped or cut; which rows are also in the training file.
    """

    name: str
    rows: tuple[Prediction, ...]
    accuracy: float | None
    low: float | None
    high: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Forecast:
    """What may be said of a task before any training.

    Attributes:
        data: What was read.
        model: Which model was looked at.
        settings: How: seeds, repeats, minutes.
        scores: One a method, in the order majority, bag of words, zero-shot, probe, kernel
            regression.
        differences: Probe less bag of words, kernel regression less either, best less majority.
        curve: Learning curves, measured and extrapolated.
        kernel: The kernel as a picture.
        suspects: Suspected labels.
        duplicates: Groups of near-duplicates, largest first.
        layers: Where the kernel lives, in the model's order.
        costs: What the ways would take here.
        past: Past tasks.
        predictions: For the test file; ``None`` without one.
        answer: Three sentences.
        cannot: What this forecast cannot say, a sentence each.
    """

    data: Data
    model: ModelFacts
    settings: Settings
    scores: tuple[Score, ...]
    differences: tuple[Difference, ...]
    curve: tuple[CurvePoint, ...]
    kernel: KernelPicture
    suspects: Suspects
    duplicates: tuple[Duplicates, ...]
    layers: tuple[Layer, ...]
    costs: tuple[Cost, ...]
    past: Past
    predictions: Predictions | None
    answer: tuple[str, str, str]
    cannot: tuple[str, ...]

    def to_json(self) -> str:
        """The forecast as JSON text; what is not finite is ``null``.

        Returns:
            Text, with the fields' names as keys.
        """
        return json.dumps(_plain(asdict(self)), ensure_ascii=True, indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
