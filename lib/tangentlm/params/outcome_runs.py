"""The parameters of runs that follow a forecast by training, on rows nobody has seen."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, PositiveInt

from tangentlm.params.base import TaskModelRun
from tangentlm.params.strict import PositiveRate


class OutcomeRun(TaskModelRun):
    """What a run has that learns from some rows of a task and is tested on many others.

    ``train_size`` rows and at most ``test_size`` others are drawn from the task's training part
    with ``seed``, so runs of one task and seed have the same rows.
    """

    train_size: int = Field(default=60, ge=20)
    test_size: PositiveInt = 200
    batch_size: PositiveInt = 16

    @property
    def name(self) -> str:
        """The run's name for people, e.g. ``pocket-subj-s13``."""
        return f"{Path(self.model).name}-{self.task}-s{self.seed}"


class ForecastOutcomeRun(OutcomeRun):
    """One run of ``book/experiments/forecast_outcome``: a forecast, and what training then reached.

    Of ``train_size`` rows, a part ``dev_share`` chooses rates and checkpoints and the others are
    trained on. ``budget`` is the forecast's, in minutes; a forecast that it cuts is not the same on
    every machine, so it is large.
    """

    experiment: ClassVar[str] = "forecast_outcome"
    version: ClassVar[int] = 1
    headline: ClassVar[str] = (
        "fine-tuned {full:.1f}, LoRA {lora:.1f}, kernel regression {kernel_regression:.1f}"
    )

    model: str = "pocket-xs"
    dev_share: float = Field(default=0.2, gt=0, lt=1)
    epochs: PositiveInt = 4
    full_rates: tuple[PositiveRate, ...] = Field(default=(1e-4, 4e-4), min_length=1)
    lora_rates: tuple[PositiveRate, ...] = Field(default=(1e-3, 4e-3), min_length=1)
    budget: PositiveRate = 120.0


class SetFitRun(OutcomeRun):
    """One run of ``book/experiments/setfit_baseline``: SetFit on a ``ForecastOutcomeRun``'s rows.

    ``pairs`` is SetFit's number of iterations: for every row so many pairs of its class and so many
    of two classes.
    """

    experiment: ClassVar[str] = "setfit_baseline"
    version: ClassVar[int] = 1
    headline: ClassVar[str] = (
        "test {test_score:.1f} (a head on the untrained encoder {probe_test:.1f})"
    )
    computes_kernels: ClassVar[bool] = False

    model: str = "minilm"
    pairs: PositiveInt = 2
    learning_rate: PositiveRate = 2e-5
