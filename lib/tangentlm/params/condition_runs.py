"""The parameters of runs that measure condition numbers of LoRA's kernel."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from tangentlm.params.base import TaskModelRun
from tangentlm.params.strict import PositiveRate


class ConditionRun(TaskModelRun):
    """One run of ``book/experiments/condition``: the condition numbers of one task and model.

    ``pool`` samples are drawn with ``seed``, and of these ``draws`` times ``samples``; each draw is
    measured with ``heads`` random heads. ``layers`` are the first, the middle and the last that
    LoRA is put on, the paper's 0, 5 and 11. With ``pads = "attended"`` every row is filled up to
    ``max_length``, and the model reads what it is filled with.
    """

    experiment: ClassVar[str] = "condition"
    version: ClassVar[int] = 1
    method_parameter: ClassVar[str] = "formula"

    formula: Literal["sgd", "signgd", "asymmetric-signgd"] = "sgd"
    pads: Literal["masked", "attended"] = "masked"
    layers: tuple[int, int, int] = (0, 2, 3)
    pool: PositiveInt = 64
    samples: int = Field(default=32, ge=2)
    heads: PositiveInt = 8
    draws: PositiveInt = 8
    max_length: int = Field(default=512, ge=8)
    rank: PositiveInt = 8
    alpha: PositiveRate = 8.0
    sigma: PositiveRate = 1e-4

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.samples > self.pool:
            raise ValueError(f"samples = {self.samples} cannot be drawn from pool = {self.pool}")
        if sorted(set(self.layers)) != list(self.layers):
            raise ValueError("layers have to be three in ascending order")
        return self

    @property
    def name(self) -> str:
        """The run's name for people, e.g. ``minilm-cola-s13-sgd-attended``."""
        pads = "" if self.pads == "masked" else f"-{self.pads}"
        return f"{self.prefix}-{self.method}{pads}"
