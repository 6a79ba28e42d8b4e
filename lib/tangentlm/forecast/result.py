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

from tangentlm.forecast.rows import Duplicates, Predictions, Suspects
from tangentlm.forecast.ways import Cost, CurvePoint, Difference, Past, Score


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
