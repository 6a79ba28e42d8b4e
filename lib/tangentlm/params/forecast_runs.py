"""The parameters of runs that forecast what training will be worth on a file of texts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from tangentlm.errors import InputError
from tangentlm.params.base import Run, check_model
from tangentlm.params.files import project_root
from tangentlm.params.strict import PositiveRate


class ForecastRun(Run):
    """One run of ``book/experiments/forecast``: a file of labelled texts, before any training.

    ``file`` and ``test`` are looked for in the project's folder, if they are not absolute.
    ``budget`` is in minutes; a small one makes repeats fewer.
    """

    experiment: ClassVar[str] = "forecast"
    version: ClassVar[int] = 1
    method_parameter: ClassVar[str] = "model"
    elsewhere: ClassVar[frozenset[str]] = frozenset({"out", "file", "test"})

    file: str = "assets/tasks/topics/train.jsonl"
    test: str | None = "assets/tasks/topics/test.jsonl"
    text_column: str | None = None
    pair_column: str | None = None
    label_column: str | None = None
    model: str = "pocket"
    template: str | None = None
    label_words: tuple[str, ...] | None = None
    budget: PositiveRate = 10.0

    @property
    def name(self) -> str:
        """The run's name for people, e.g. ``topics-train-s13``."""
        model = "" if self.model == "pocket" else f"{Path(self.model).name}-"
        file = "-".join(Path(self.file).with_suffix("").parts[-2:])
        plain = re.sub(r"[^\w.-]+", "-", file).strip("-.")
        return f"{model}{plain}-s{self.seed}"

    @property
    def files(self) -> list[Path]:
        """The files that are read, the one to learn from first."""
        return [project_root() / name for name in (self.file, self.test) if name is not None]

    def check_names(self) -> None:
        """Refuse an unknown model, with the nearest that is known, or a file that is not there."""
        check_model(self.model)
        for path in self.files:
            if not path.exists():
                raise InputError(f"no file {path}")
