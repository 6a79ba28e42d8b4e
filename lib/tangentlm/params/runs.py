"""The parameters of one run of each experiment."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from tangentlm.errors import unknown_name
from tangentlm.params.files import named_file, project_root
from tangentlm.params.grids import load_grid
from tangentlm.params.recipes import Parametrization, Recipe, load_recipe
from tangentlm.params.strict import PositiveRate, Strict, digest

Prompt = Literal["manual", "null", "unrelated"]
"""How a task is asked; see ``tangentlm.tasks.with_prompt``."""


RUN_PREFIX = "run:"
"""What the name of a model of the project's own runs begins with: ``run:<study>/<run>``."""


def check_model(name: str) -> None:
    """Refuse the name of a model that is neither a parameter file, a folder nor a run.

    Args:
        name: As for ``tangentlm.models.load_model``.

    Raises:
        InputError: With the nearest name that there is.
    """
    if not Path(name).is_dir() and not name.startswith(RUN_PREFIX):
        named_file("model", name)


class Run(Strict):
    """What every experiment's run has: a seed, a device and a place to write to."""

    experiment: ClassVar[str]
    method_parameter: ClassVar[str]
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

    def identity(self) -> dict[str, Any]:
        """The parameters that decide the result: all but where it is written and read."""
        return self.model_dump(mode="json", exclude=set(self.elsewhere))

    def check_names(self) -> None:
        """Refuse a name that has no parameter file, with the nearest that has one."""


class TaskRun(Run):
    """What a run on a few-shot task has: a task, a model, a split and a grid."""

    elsewhere: ClassVar[frozenset[str]] = frozenset({"out", "data"})

    task: str
    model: str = "pocket"
    head: Literal["prompt", "linear"] = "prompt"
    prompt: Prompt = "manual"
    k: int = Field(default=16, ge=1)
    test_size: int = Field(default=1000, ge=1)
    grid: str = "quick"
    data: str | None = None

    @property
    def name(self) -> str:
        """The run's name for people, e.g. ``reviews-k16-s13-sgd``."""
        head = "" if self.head == "prompt" else f"-{self.head}"
        prompt = "" if self.prompt == "manual" else f"-{self.prompt}"
        model = "" if self.model == "pocket" else f"{Path(self.model).name}-"
        return f"{model}{self.task}-k{self.k}-s{self.seed}-{self.method}{head}{prompt}"

    def check_names(self) -> None:
        """Refuse an unknown task, model or grid, with the nearest that is known."""
        named_file("task", self.task)
        check_model(self.model)
        load_grid(self.grid)


class KernelRun(TaskRun):
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


class FineTuneRun(TaskRun):
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


class NaturalTaskRun(TaskRun):
    """One run of ``book/experiments/natural_tasks``: is the task natural, and what follows."""

    experiment: ClassVar[str] = "natural_tasks"
    method_parameter: ClassVar[str] = "optimizer"
    optimizer: Literal["sgd", "adam"] = "sgd"


class RecipeRun(Run):
    """What a run that trains a model from scratch has.

    ``width``, and ``steps`` or ``minutes``, replace those of the recipe.
    """

    recipe: str
    width: PositiveInt | None = None
    parametrization: Parametrization = "standard"
    steps: PositiveInt | None = None
    minutes: PositiveRate | None = None

    @property
    def resolved(self) -> Recipe:
        """The recipe with this run's own width and budget."""
        return load_recipe(self.recipe).replaced(self.width, self.steps, self.minutes)

    @property
    def name(self) -> str:
        """The run's name for people, e.g. ``pocket-w256-s0-standard``."""
        return f"{self.recipe}-w{self.resolved.width}-s{self.seed}-{self.parametrization}"

    def check_names(self) -> None:
        """Refuse an unknown recipe, or one that this run's width does not fit."""
        _ = self.resolved

    def checkpoint_folder(self, text_checksum: str) -> Path:
        """Where this training writes its checkpoints, outside of any study.

        Args:
            text_checksum: Of the text.

        Returns:
            A folder that only the same training on the same text shares.
        """
        recipe = self.resolved.model_dump(mode="json", exclude_defaults=True)
        same = [self.identity(), recipe, text_checksum]
        folder = project_root() / "runs" / ".checkpoints"
        return folder / f"{self.name}-{digest(same)[:12]}"


class PretrainRun(RecipeRun):
    """One run of ``book/experiments/pretrain``: a masked-LM trained from scratch on text."""

    experiment: ClassVar[str] = "pretrain"
    method_parameter: ClassVar[str] = "parametrization"
    elsewhere: ClassVar[frozenset[str]] = frozenset({"out", "corpus"})

    recipe: str = "tiny"
    corpus: str | None = "bundled"


class ProbeRun(Run):
    """One run of ``book/experiments/probe``: what a masked-LM knows."""

    experiment: ClassVar[str] = "probe"
    method_parameter: ClassVar[str] = "model"
    elsewhere: ClassVar[frozenset[str]] = frozenset({"out", "corpus", "data"})

    model: str = "pocket"
    k: int = Field(default=16, ge=1)
    test_size: int = Field(default=1000, ge=1)
    corpus: str | None = "bundled"
    data: str | None = None

    @property
    def name(self) -> str:
        """The run's name for people, e.g. ``pocket-k16-s13``."""
        return f"{self.model.rpartition('/')[2]}-k{self.k}-s{self.seed}"

    def check_names(self) -> None:
        """Refuse an unknown model, with the nearest that is known."""
        check_model(self.model)


class MinilangRun(RecipeRun):
    """One run of ``book/experiments/minilang``: a model of the generated language, and its tasks.

    ``natural`` says which of the two prompts of every task pre-training contains, ``cue_strength``
    how clearly words show what a text is about. With a ``model``, nothing is trained: it must be
    one of just this language.
    """

    experiment: ClassVar[str] = "minilang"
    method_parameter: ClassVar[str] = "natural"

    recipe: str = "minilang"
    model: str | None = "minilang"
    natural: Literal["A", "B", "both", "none"] = "A"
    cue_strength: float = Field(default=0.85, gt=0, le=1)
    k: int = Field(default=16, ge=1)
    test_size: int = Field(default=500, ge=1)
    grid: str = "quick"

    @property
    def name(self) -> str:
        """The run's name for people, e.g. ``minilang-w64-s0-standard-A-85``."""
        given = "" if self.model is None else "-given"
        return f"{super().name}-{self.natural}-{100 * self.cue_strength:.0f}{given}"

    def check_names(self) -> None:
        """Refuse an unknown recipe, model or grid, or a width that does not fit."""
        super().check_names()
        load_grid(self.grid)
        if self.model is not None:
            check_model(self.model)


RUNS: dict[str, type[Run]] = {
    run.experiment: run
    for run in (KernelRun, FineTuneRun, NaturalTaskRun, PretrainRun, ProbeRun, MinilangRun)
}
"""The parameter model of every experiment, by the experiment's name."""


def make_run(experiment: str, values: Mapping[str, Any]) -> Run:
    """The validated run of an experiment.

    Args:
        experiment: A name in ``RUNS``.
        values: Its parameters by name.

    Returns:
        The run.

    Raises:
        InputError: If the experiment, a parameter or a name in it is unknown, or a value is
            wrong.
    """
    if experiment not in RUNS:
        raise unknown_name("experiment", experiment, RUNS)
    run = RUNS[experiment].parse(values, f"{experiment} run")
    run.check_names()
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
