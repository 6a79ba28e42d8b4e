"""What a forecast says of ways to solve a task: what they reach, cost, and reached elsewhere.

Shares (accuracies, macro-F1) are in percent and differences in points. ``low`` and ``high`` are the
ends of an interval of 95 %.
"""

from __future__ import annotations

from dataclasses import dataclass


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
