"""Typed, validated parameters of every experiment and study.

Papermill accepts misspelt parameters with a warning and YAML 1.1 reads ``1e-5`` as text. So
every experiment hands its parameters to a model of this module first: unknown names are refused
with the nearest known one, and numbers are numbers before anything is computed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from tangentlm.errors import InputError, unknown_name

PositiveRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A learning rate."""


def project_root() -> Path:
    """The folder that holds ``params``, ``assets``, ``book`` and ``results``.

    It is ``TANGENTLM_ROOT`` where that is set, else the checkout from which the library was
    installed (editable).

    Returns:
        An absolute path.

    Raises:
        InputError: If no ``params`` folder is there.
    """
    root = Path(os.environ.get("TANGENTLM_ROOT") or Path(__file__).resolve().parents[2])
    if not (root / "params").is_dir():
        raise InputError(
            f"no folder 'params' in {root}; set TANGENTLM_ROOT to a checkout of the book"
        )
    return root


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Args:
        path: The file.

    Returns:
        The mapping, its keys being strings.

    Raises:
        InputError: If the file is not valid YAML or holds no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path.name} holds no 'name: value' lines")
    return {str(key): value for key, value in content.items()}


class Strict(BaseModel):
    """A frozen model that refuses unknown names and explains itself in one line."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_numbers(cls, value: object, info: ValidationInfo) -> object:
        """Refuse yes and no where a number is meant; YAML reads them as true and false."""
        field = cls.model_fields[str(info.field_name)]
        values = value if isinstance(value, list | tuple) else [value]
        if field.annotation is not bool and any(isinstance(item, bool) for item in values):
            raise ValueError("is a yes or no, not what is meant here")
        return value

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Validate ``values``, turning the first problem into one clear line.

        Args:
            values: The values by name.
            where: What is validated, for the message, e.g. ``"kernel run"``.

        Returns:
            The validated model.

        Raises:
            InputError: If a name is unknown or a value has the wrong type or range.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            # A misspelt name explains a missing one, so it is told first.
            found = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
            problem = _explain(found[0], cls)
            raise InputError(f"{where}: {problem}") from None


def _explain(error: ErrorDetails, model: type[BaseModel]) -> str:
    """One problem that pydantic found, in one line."""
    path = [str(part) for part in error["loc"]]
    name = ".".join(path) or "value"
    if error["type"] == "extra_forbidden":
        known = model
        for part in path[:-1]:
            inner = [
                a for a in get_args(known.model_fields[part].annotation) if a is not type(None)
            ]
            known = inner[0] if inner else known.model_fields[part].annotation  # type: ignore[assignment]
        return str(unknown_name("parameter", path[-1], known.model_fields))
    if error["type"] == "missing":
        return f"{name} is missing"
    if not path:
        return error["msg"].removeprefix("Value error, ")
    return f"{name} = {error['input']!r}: {error['msg'].removeprefix('Value error, ')}"


class Grid(Strict):
    """A named grid of hyperparameters, from ``params/grids/<name>.yaml``.

    ``steps`` and ``evaluate_every`` count in units of kC: Malladi et al. train for 32kC steps
    and validate every 4kC steps (Appendix A.3 of Malladi-v1).
    """

    about: str
    sgd_learning_rate: tuple[PositiveRate, ...]
    adam_learning_rate: tuple[PositiveRate, ...]
    batch_size: tuple[PositiveInt, ...]
    steps: int = Field(ge=1)
    evaluate_every: int = Field(ge=1)
    regularization: tuple[NonNegativeFloat, ...]
    f0_scale: tuple[PositiveFloat, ...]
    gamma: tuple[PositiveFloat, ...]

    def of_solver(self, default: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, ...]]:
        """The values of a solver's hyperparameters.

        Args:
            default: The solver's own grid; where that leaves out zero, the solver cannot have it.

        Returns:
            The values of each, from this grid.
        """
        return {
            name: tuple(v for v in getattr(self, name) if v or 0.0 in own)
            for name, own in default.items()
        }


class Run(Strict):
    """What every experiment's run has: a task, a model, a split and a place to write to."""

    experiment: ClassVar[str]
    method_parameter: ClassVar[str]

    task: str
    model: str = "pocket"
    head: Literal["prompt", "linear"] = "prompt"
    k: int = Field(default=16, ge=1)
    seed: int = Field(default=13, ge=0)
    test_size: int = Field(default=1000, ge=1)
    grid: str = "quick"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    data: str | None = None
    out: str | None = None

    @property
    def method(self) -> str:
        """The short name of what is run, e.g. ``sgd`` for the SGD kernel."""
        return str(getattr(self, self.method_parameter))

    @property
    def name(self) -> str:
        """The run's name for people, e.g. ``reviews-k16-s13-sgd``."""
        head = "" if self.head == "prompt" else f"-{self.head}"
        model = "" if self.model == "pocket" else f"{Path(self.model).name}-"
        return f"{model}{self.task}-k{self.k}-s{self.seed}-{self.method}{head}"

    def folder(self, study: str) -> Path:
        """Where this run of a study lives once it is done: ``runs/<study>/<experiment>/<run>``."""
        return project_root() / "runs" / study / self.experiment / self.name

    def output_folder(self) -> Path:
        """Where this run writes: ``out``, or a folder of its own in the study ``local``."""
        return Path(self.out) if self.out else self.folder("local")

    def identity(self) -> dict[str, Any]:
        """The parameters that decide the result: all but where it is written and read."""
        return self.model_dump(mode="json", exclude={"out", "data"})


class KernelRun(Run):
    """One run of ``book/experiments/kernel``: an eNTK and its kernel regression."""

    experiment: ClassVar[str] = "kernel"
    method_parameter: ClassVar[str] = "formula"
    formula: Literal["sgd", "signgd", "asymmetric-signgd"] = "sgd"
    solver: Literal["least-squares", "logistic", "rows-logistic", "asymmetric"] = "least-squares"

    @model_validator(mode="before")
    @classmethod
    def _solver_of_formula(cls, values: Any) -> Any:
        usual = isinstance(values, dict) and values.get("solver") in (None, "least-squares")
        if usual and values.get("formula") == "asymmetric-signgd":
            return {**values, "solver": "asymmetric"}
        return values

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.formula == "asymmetric-signgd") != (self.solver == "asymmetric"):
            raise ValueError(f"the {self.solver} solver is not for {self.formula} kernels")
        return self

    @property
    def method(self) -> str:
        """The formula, and the solver where it is not the usual one, e.g. ``sgd-logistic``."""
        usual = self.solver in ("least-squares", "asymmetric")
        return self.formula if usual else f"{self.formula}-{self.solver}"


class FineTuneRun(Run):
    """One run of ``book/experiments/finetune``: fine-tuning over a grid, chosen on dev.

    ``learning_rate`` and ``batch_size``, one value or several, replace those of the grid.
    """

    experiment: ClassVar[str] = "finetune"
    method_parameter: ClassVar[str] = "optimizer"
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: tuple[PositiveRate, ...] | None = None
    batch_size: tuple[PositiveInt, ...] | None = None

    @field_validator("learning_rate", "batch_size", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, int | float | str) else value

    @field_validator("learning_rate", "batch_size")
    @classmethod
    def _not_empty(cls, values: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if values == ():
            raise ValueError("is empty")
        return values


RUNS: dict[str, type[Run]] = {run.experiment: run for run in (KernelRun, FineTuneRun)}
"""The parameter model of every experiment, by the experiment's name."""


def make_run(experiment: str, values: Mapping[str, Any]) -> Run:
    """The validated run of an experiment.

    Args:
        experiment: A name in ``RUNS``.
        values: Its parameters by name.

    Returns:
        The run.

    Raises:
        InputError: If the experiment, a parameter, the task, the model or the grid is unknown,
            or a value is wrong.
    """
    if experiment not in RUNS:
        raise unknown_name("experiment", experiment, RUNS)
    run = RUNS[experiment].parse(values, f"{experiment} run")
    named_file("task", run.task)
    if not Path(run.model).is_dir():
        named_file("model", run.model)
    load_grid(run.grid)
    return run


def run_from_notebook(experiment: str, namespace: Mapping[str, Any]) -> Run:
    """The validated run from a notebook whose only variables so far are its parameters.

    Papermill writes whatever it was given into the notebook, misspelt or not, so every plain
    value in the notebook's namespace counts as a parameter.

    Args:
        experiment: A name in ``RUNS``.
        namespace: The notebook's ``globals()``.

    Returns:
        The run.
    """
    plain = (str, int, float, bool, list, tuple, dict, type(None))
    values = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_") and name not in {"In", "Out"} and isinstance(value, plain)
    }
    return make_run(experiment, values)


def load_grid(name: str) -> Grid:
    """The grid ``params/grids/<name>.yaml``.

    Args:
        name: The grid's name, e.g. ``"malladi"``.

    Returns:
        The grid.

    Raises:
        InputError: If there is no such grid or its file is wrong.
    """
    return Grid.parse(read_yaml(named_file("grid", name)), f"grid {name}")


def names(kind: str) -> list[str]:
    """The names of a kind of parameter file, ``params/<kind>s/<name>.yaml``.

    Args:
        kind: ``"task"``, ``"model"`` or ``"grid"``.

    Returns:
        Sorted names.
    """
    return sorted(path.stem for path in (project_root() / "params" / f"{kind}s").glob("*.yaml"))


def named_file(kind: str, name: str) -> Path:
    """The parameter file of that name.

    Args:
        kind: ``"task"``, ``"model"`` or ``"grid"``.
        name: Its name.

    Returns:
        The file.

    Raises:
        InputError: If there is none, with the nearest name that there is.
    """
    if name not in names(kind):
        raise unknown_name(kind, name, names(kind))
    return project_root() / "params" / f"{kind}s" / f"{name}.yaml"


def list_studies() -> list[str]:
    """The names of the studies in ``params/studies``.

    Returns:
        Sorted names.
    """
    return sorted(p.name for p in (project_root() / "params" / "studies").iterdir() if p.is_dir())


def load_study(name: str) -> list[Run]:
    """Every run of the study ``params/studies/<name>``, in a fixed order.

    A study's folder has one file for each experiment. A parameter whose value is a list is
    swept; the runs are the product of all sweeps.

    Args:
        name: The study's name, e.g. ``"quick"``.

    Returns:
        The validated runs.

    Raises:
        InputError: If the study is unknown, a file is wrong, or two runs have the same name.
    """
    if name not in list_studies():
        raise unknown_name("study", name, list_studies())
    runs: list[Run] = []
    for path in sorted((project_root() / "params" / "studies" / name).glob("*.yaml")):
        sweep = {
            key: value if isinstance(value, list) else [value]
            for key, value in read_yaml(path).items()
        }
        for values in itertools.product(*sweep.values()):
            runs.append(make_run(path.stem, dict(zip(sweep, values, strict=True))))
    if not runs:
        raise InputError(f"study {name} has no runs")
    folders = [run.folder(name) for run in runs]
    twice = next((f for f in folders if folders.count(f) > 1), None)
    if twice is not None:
        raise InputError(f"study {name}: two runs are named {twice.parent.name}/{twice.name}")
    return runs


def digest(value: object) -> str:
    """A SHA-256 hex digest of any JSON value, the same on every machine.

    Args:
        value: Anything that ``json`` can write.

    Returns:
        64 hexadecimal digits.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
