"""The parameters of runs that measure condition numbers of LoRA's kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from tangentlm.params.base import TaskModelRun
from tangentlm.params.strict import PositiveRate


class ConditionRun(TaskModelRun):
    """One run of ``book/experiments/condition``: the condition numbers of one task and model.

    ``pool`` samples are drawn with ``seed``, and of these ``draws`` times ``samples``; each draw is
    measured with ``heads`` random heads. ``layers`` are the first, the middle and the last that
    LoRA is put on, the paper's 0, 5 and 11. With ``pads = "attended"`` every row is filled up to
    ``max_length``, and the model reads what it is filled with; with ``"twice-embedded"`` it does so
    and embeds its input twice. ``dropout`` is LoRA's rate, live in the kernel's gradients.
    """

    experiment: ClassVar[str] = "condition"
    version: ClassVar[int] = 1
    headline: ClassVar[str] = "kappa of the keys {kappa_keys:.3g}"
    method_parameter: ClassVar[str] = "formula"
    later: ClassVar[Mapping[str, object]] = {"dropout": 0.0}

    formula: Literal["sgd", "signgd", "asymmetric-signgd"] = "sgd"
    pads: Literal["masked", "attended", "twice-embedded"] = "masked"
    layers: tuple[int, int, int] = (0, 2, 3)
    pool: PositiveInt = 64
    samples: int = Field(default=32, ge=2)
    heads: PositiveInt = 8
    draws: PositiveInt = 8
    max_length: int = Field(default=512, ge=8)
    rank: PositiveInt = 8
    alpha: PositiveRate = 8.0
    sigma: PositiveRate = 1e-4
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.samples > self.pool:
            raise ValueError(f"samples = {self.samples} cannot be drawn from pool = {self.pool}")
        if sorted(set(self.layers)) != list(self.layers):
            raise ValueError("layers have to be three in ascending order")
        if self.dropout and self.formula != "sgd":
            raise ValueError(f"dropout goes with formula = sgd alone, not with {self.formula}")
        return self

    @property
    def name(self) -> str:
        """The run's name for people, e.g. ``minilm-cola-s13-sgd-attended``."""
        pads = "" if self.pads == "masked" else f"-{self.pads}"
        usual = type(self).model_fields["max_length"].default
        length = "" if self.max_length == usual else f"-length{self.max_length}"
        dropout = f"-dropout{self.dropout:g}" if self.dropout else ""
        return f"{self.prefix}-{self.method}{pads}{length}{dropout}"
