"""The parameters of runs that forecast what training will be worth, and that test forecasts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from pydantic import Field, PositiveInt

from tangentlm.errors import InputError
from tangentlm.params.base import ModelRun, TaskModelRun
from tangentlm.params.files import project_root
from tangentlm.params.strict import PositiveRate


class ForecastRun(ModelRun):
    """One run of ``book/experiments/forecast``: a file of labelled texts, before any training.

    ``file`` and ``test`` are looked for in the project's folder, if they are not absolute. Of more
    rows than ``most_rows`` a sample is used. ``budget`` is in minutes; a small one makes repeats
    fewer, so that the numbers then depend on the machine.
    """

    experiment: ClassVar[str] = "forecast"
    version: ClassVar[int] = 1
    headline: ClassVar[str] = "{rows} rows, {suspected} suspects, {near_duplicates} near-duplicates"
    elsewhere: ClassVar[frozenset[str]] = frozenset({"out", "file", "test"})

    file: str = "assets/tasks/topics/train.jsonl"
    test: str | None = "assets/tasks/topics/test.jsonl"
    text_column: str | None = None
    pair_column: str | None = None
    label_column: str | None = None
    template: str | None = None
    label_words: tuple[str, ...] | None = None
    most_rows: int = Field(default=100, ge=16)
    budget: PositiveRate = 10.0

    @property
    def name(self) -> str:
        """The run's name for people, e.g. ``topics-train-s13``."""
        file = "-".join(Path(self.file).with_suffix("").parts[-2:])
        plain = re.sub(r"[^\w.-]+", "-", file).strip("-.")
        return f"{self.unusual_model}{plain}-s{self.seed}"

    @property
    def columns(self) -> dict[str, str]:
        """The columns that are named, as ``tangentlm.tasks.labelled_texts`` takes them."""
        names = ("text_column", "pair_column", "label_column")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def files(self) -> list[Path]:
        """The files that are read, the one to learn from first."""
        return [project_root() / name for name in (self.file, self.test) if name is not None]

    def check_names(self) -> None:
        """Refuse an unknown model, with the nearest that is known, or a file that is not there."""
        super().check_names()
        for path in self.files:
            if not path.exists():
                raise InputError(f"no file {path}")


class ForecastValidationRun(TaskModelRun):
    """One run of ``book/experiments/forecast_validation``: forecasts on one task, put to the test.

    A pool of twice ``train_size`` rows and at most ``test_size`` others are drawn from the task's
    training part with ``seed``. ``splits`` times ``train_size`` rows of the pool count as labelled,
    and their forecast is made with ``repeats`` of cross-validation. ``curves`` times a quarter of
    the pool has a learning curve, too. ``flipped`` is the share of labels that are made wrong, and
    ``budget`` that of a whole forecast that is timed, in minutes.
    """

    experiment: ClassVar[str] = "forecast_validation"
    version: ClassVar[int] = 2
    headline: ClassVar[str] = "intervals cover {covered:.0f} %, AUROC of flips {auroc:.2f}"

    model: str = "pocket-xs"
    train_size: int = Field(default=64, ge=16)
    test_size: PositiveInt = 1000
    splits: PositiveInt = 4
    repeats: PositiveInt = 2
    curves: PositiveInt = 2
    flipped: float = Field(default=0.1, gt=0, lt=0.5)
    budget: PositiveRate = 0.1
    max_length: int = Field(default=64, ge=8)

    @property
    def pool_size(self) -> int:
        """Rows that are labelled in one split or another."""
        return 2 * self.train_size

    @property
    def name(self) -> str:
        """The run's name for people, e.g. ``pocket-s-sst2-s13``."""
        return self.prefix
