"""The parameters of runs on chosen layers: what is known before training, and what it reaches."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from tangentlm.params.base import TaskModelRun
from tangentlm.params.strict import PositiveRate

Choices = Literal["every", "threes", "all"]
"""Every subset of layers but the empty one, all subsets of three layers, or all layers alone."""


class LayersRun(TaskModelRun):
    """What a run has that puts LoRA on the queries and values of chosen layers of a model.

    ``train_size`` rows to train on and at most ``test_size`` others are drawn from the task's
    training part with ``seed``, which also draws LoRA's matrices A and a classification head. With
    ``head = "prompt"`` a masked language model is asked and no head is trained; with
    ``"classification"`` a random head is, beside the adapters.
    """

    method_parameter: ClassVar[str] = "choices"

    model: str = "pocket-xs"
    head: Literal["prompt", "classification"] = "prompt"
    choices: Choices = "every"
    train_size: int = Field(default=64, ge=2)
    test_size: PositiveInt = 1000
    max_length: int | None = Field(default=None, ge=8)
    rank: PositiveInt = 8
    alpha: PositiveRate = 8.0

    @property
    def length(self) -> dict[str, int]:
        """The longest row, as ``load_task`` takes it: given here, or the task's own."""
        return {} if self.max_length is None else {"max_length": self.max_length}

    @property
    def name(self) -> str:
        """The run's name for people, e.g. ``minilm-sst2-s13-threes-classification``."""
        head = "" if self.head == "prompt" else f"-{self.head}"
        return f"{self.prefix}-{self.method}{head}"


class LayerTrainingRun(LayersRun):
    """One run of ``book/experiments/layer_training``: fine-tuning of every choice of layers.

    One rate for all choices, falling linearly to zero.
    """

    experiment: ClassVar[str] = "layer_training"
    version: ClassVar[int] = 1
    headline: ClassVar[str] = "best {best:.1f}, all layers {all_layers:.1f}"
    computes_kernels: ClassVar[bool] = False

    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: PositiveRate = 4e-3
    batch_size: PositiveInt = 16
    steps: PositiveInt = 32
    clip: PositiveRate | None = 1.0

    @model_validator(mode="after")
    def _has_an_eighth(self) -> Self:
        if self.steps % 8:
            raise ValueError("steps has to be a multiple of 8, since an eighth of them is early")
        return self

    @property
    def name(self) -> str:
        """The same, with the rate, e.g. ``sst2-s13-every-lr0.004``."""
        return f"{super().name}-lr{self.learning_rate:g}"


class AnticipateRun(LayersRun):
    """One run of ``book/experiments/anticipate``: what is known of every choice before training.

    ``steps`` are those of the linearised training, whose loss is one of the predictors.
    """

    experiment: ClassVar[str] = "anticipate"
    version: ClassVar[int] = 1
    headline: ClassVar[str] = "predictors of {choices_known} choices of layers"

    steps: PositiveInt = 128
