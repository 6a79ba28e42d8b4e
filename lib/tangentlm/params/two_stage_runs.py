"""The parameters of runs that fine-tune in two stages, and of the kernels at their starts."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from tangentlm.errors import unknown_name
from tangentlm.params.base import TaskModelRun
from tangentlm.params.files import named_file
from tangentlm.params.strict import PositiveRate

STARTS = ("random", "lp", "random-at-lp-norm", "lp-at-initial-norm")
"""The starts of a linear head, see ``tangentlm.models.head_start``."""
_SCALED = re.compile(r"(random|lp)-(scaled|times|weight-scaled):(\d+(?:\.\d+)?)")


def scaled_start(name: str) -> tuple[str, str, float] | None:
    """The parts of the name of a start whose norm is given.

    Example:
        >>> scaled_start("lp-scaled:5")
        ('lp', 'scaled', 5.0)

    Args:
        name: E.g. ``"random-scaled:10"``.

    Returns:
        The start that is scaled, how, and the number; ``None`` for the name of another start.
    """
    found = _SCALED.fullmatch(name)
    return None if found is None else (found[1], found[2], float(found[3]))


class WholeTaskRun(TaskModelRun):
    """What a run on a whole task has, as Tomihari and Sato split it.

    Of the training rows, in their order, the last tenth is for validation; ``train_size`` and
    ``dev_size`` are the most that is taken of either part, from its beginning. The seed changes no
    row: it draws the head, LoRA's matrices, the order of the batches and the dropout.
    """

    train_size: PositiveInt | None = None
    dev_size: PositiveInt | None = None
    test_size: PositiveInt = 1000
    max_length: int | None = Field(default=None, ge=8)
    rank: PositiveInt = 8
    alpha: PositiveRate = 8.0


class TwoStageRun(WholeTaskRun):
    """One run of ``book/experiments/two_stage``: fine-tuning from a named start of the head.

    ``shifted`` names tasks with the same labels on whose test rows the model is tested, too;
    ``trace_size`` is how many training rows are looked at after every epoch, and ``embedded`` how
    many test samples are drawn by t-SNE.
    """

    experiment: ClassVar[str] = "two_stage"
    version: ClassVar[int] = 1
    headline: ClassVar[str] = "test {test_score:.1f} (linear probing {probe_test:.1f})"
    computes_kernels: ClassVar[bool] = False
    method_parameter: ClassVar[str] = "start"

    start: str = "lp"
    adaptation: Literal["full", "lora"] = "full"
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: PositiveRate = 5e-5
    batch_size: PositiveInt = 8
    epochs: PositiveInt = 10
    clip: PositiveRate | None = 1.0
    shifted: tuple[str, ...] = ()
    trace_size: PositiveInt = 256
    embedded: int = Field(default=0, ge=0)

    @property
    def method(self) -> str:
        """The paper's name where it has one, e.g. ``lp-lora``; else the start stands behind it."""
        way = "ft" if self.adaptation == "full" else "lora"
        usual = {"random": way, "lp": f"lp-{way}"}
        return usual.get(self.start, f"{way}-from-{self.start.replace(':', '-')}")

    @property
    def name(self) -> str:
        """The run's name for people, e.g. ``reviews-s1001-lp-ft-lr5e-05``."""
        optimizer = "" if self.optimizer == "adam" else f"-{self.optimizer}"
        return f"{self.prefix}-{self.method}{optimizer}-lr{self.learning_rate:g}"

    def deciding(self) -> dict[str, Any]:
        """The parameters that decide the result; LoRA's only where there is LoRA."""
        values = super().deciding()
        if self.adaptation == "full":
            del values["rank"], values["alpha"]
        return values

    def check_names(self) -> None:
        """Refuse an unknown task, model or shifted task."""
        super().check_names()
        for name in self.shifted:
            named_file("task", name)

    @field_validator("start")
    @classmethod
    def _known_start(cls, value: str) -> str:
        if value not in STARTS and scaled_start(value) is None:
            forms = ("random-scaled:<norm>", "lp-scaled:<norm>", "lp-times:<factor>")
            raise ValueError(str(unknown_name("start of the head", value, (*STARTS, *forms))))
        return value

    @model_validator(mode="after")
    def _norm_above_zero(self) -> Self:
        scaled = scaled_start(self.start)
        if scaled is not None and scaled[2] == 0:
            raise ValueError("a head of norm 0 has no direction")
        return self


class HeadKernelsRun(WholeTaskRun):
    """One run of ``book/experiments/head_kernels``: P and F at the starts of fine-tuning.

    ``train_size`` is the number of samples whose kernel it is, ``test_size`` that of the test
    samples; the head is probed on the same training samples.
    """

    experiment: ClassVar[str] = "head_kernels"
    version: ClassVar[int] = 2
    headline: ClassVar[str] = "kernels of {train} training samples"

    @property
    def name(self) -> str:
        """The run's name for people, e.g. ``minilm-cb-s1001``."""
        return self.prefix
