"""What the parameters of every run have, whatever the experiment."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from tangentlm.params.files import named_file, project_root
from tangentlm.params.strict import Strict

RUN_PREFIX = "run:"
"""What the name of a model of the project's own runs begins with: ``run:<study>/<run>``."""


def check_model(name: str) -> None:
    """Refuse the name of a model that is neither a parameter file, a folder nor a run.

    Args:
        name: As for ``tangentlm.models.heads.load_model``.

    Raises:
        InputError: With the nearest name that there is.
    """
    if not Path(name).is_dir() and not name.startswith(RUN_PREFIX):
        named_file("model", name)


class Run(Strict):
    """What every experiment's run has: a seed, a device and a place to write to."""

    experiment: ClassVar[str]
    version: ClassVar[int]
    """Raise it when the experiment's numbers change: its finished runs are then run again."""
    computes_kernels: ClassVar[bool] = True
    """Whether the version of the kernels' engine decides its numbers, too."""
    method_parameter: ClassVar[str]
    headline: ClassVar[str]
    """One line for people about a finished run, in which its record's metrics are filled in."""
    elsewhere: ClassVar[frozenset[str]] = frozenset({"out"})
    """Parameters that say where to read and write and decide no result."""

    seed: int = Field(default=13, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    out: str | None = None

    @property
    def method(self) -> str:
        """The short name of what is run, e.g. ``sgd`` for the SGD kernel."""
        return str(getattr(self, self.method_parameter))

    @property
    @abstractmethod
    def name(self) -> str:
        """The run's name for people."""

    def folder(self, study: str) -> Path:
        """Where this run of a study lives once it is done: ``runs/<study>/<experiment>/<run>``."""
        return project_root() / "runs" / study / self.experiment / self.name

    def output_folder(self) -> Path:
        """Where this run writes: ``out``, or a folder of its own in the study ``local``."""
        return Path(self.out) if self.out else self.folder("local")

    def parameters(self) -> dict[str, Any]:
        """The parameters that decide the result: all but where it is written and read."""
        return self.model_dump(mode="json", exclude=set(self.elsewhere))

    def deciding(self) -> dict[str, Any]:
        """The same, with the values of the files that they name instead of the names."""
        return self.values_that_decide(without=self.elsewhere)

    def check_names(self) -> None:
        """Refuse a name that has no parameter file, with the nearest that has one."""


class ModelRun(Run):
    """A run that begins with a model."""

    method_parameter: ClassVar[str] = "model"

    model: str = "pocket"

    @property
    def unusual_model(self) -> str:
        """What a run's name says of its model: nothing of the bundled one, e.g. ``minilm-``."""
        return "" if self.model == "pocket" else f"{Path(self.model).name}-"

    def check_names(self) -> None:
        """Refuse an unknown model, with the nearest that is known."""
        super().check_names()
        check_model(self.model)


class TaskModelRun(ModelRun):
    """A run that begins with a model and reads a task's rows, from ``data`` or the usual folder."""

    elsewhere: ClassVar[frozenset[str]] = frozenset({"out", "data"})

    task: str
    data: str | None = None

    @property
    def prefix(self) -> str:
        """What most runs' names begin with: model, task and seed, e.g. ``minilm-cb-s13``."""
        return f"{self.unusual_model}{self.task}-s{self.seed}"

    def check_names(self) -> None:
        """Refuse an unknown task or model, with the nearest that is known."""
        named_file("task", self.task)
        super().check_names()
