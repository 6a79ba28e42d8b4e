"""The parameters of runs on a few-shot task."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from tangentlm.params.base import TaskModelRun
from tangentlm.params.grids import load_grid
from tangentlm.params.strict import PositiveRate

Adaptation = Literal["full", "lora", "intrinsic"]
"""What fine-tuning moves; see ``tangentlm.finetune.adaptation.adapted``."""
Optimizer = Literal["sgd", "adam", "signgd"]
Prompt = Literal["manual", "null", "unrelated", "searched", "searched-once", "published"]
"""How a task is asked; see ``tangentlm.tasks.with_prompt``."""


def method_name(
    optimizer: Optimizer,
    adaptation: Adaptation,
    clip: float | None = 1.0,
    *,
    train_head: bool = False,
) -> str:
    """The name of a method of fine-tuning: its optimizer, and what is unusual about it.

    Args:
        optimizer: The optimizer.
        adaptation: What moves; all parameters, unless the name says another.
        clip: The largest norm of a gradient; 1, unless the name says another.
        train_head: Whether LoRA's prompt head is trained, too.

    Returns:
        E.g. ``"sgd"``, ``"adam-lora"``, ``"sgd-lora-head"`` or ``"sgd-unclipped"``.
    """
    clipped = "" if clip == 1 else "-unclipped" if clip is None else f"-clip{clip:g}"
    return f"{optimizer}{_moves(adaptation, train_head)}{clipped}"


def _moves(adaptation: Adaptation, train_head: bool) -> str:
    moves = "" if adaptation == "full" else f"-{adaptation}"
    return f"{moves}-head" if train_head else moves


class TaskRun(TaskModelRun):
    """What a run on a few-shot task has: a task, a model, a split and a grid.

    ``pooling`` is what a linear head reads; by default what is usual for the model. With
    ``labels = "shuffled"`` train and dev have their labels in another order: a control, which can
    learn nothing of the task.
    """

    headline: ClassVar[str] = "test {test_score:.1f} (zero-shot {zero_shot_test:.1f})"
    later: ClassVar[Mapping[str, object]] = {"pooling": None, "labels": "given"}

    head: Literal["prompt", "linear"] = "prompt"
    pooling: Literal["first", "mean", "last"] | None = None
    prompt: Prompt = "manual"
    labels: Literal["given", "shuffled"] = "given"
    k: int = Field(default=16, ge=1)
    test_size: int = Field(default=1000, ge=1)
    grid: str = "quick"

    @model_validator(mode="after")
    def _pools_for_a_linear_head(self) -> Self:
        if self.pooling is not None and self.head != "linear":
            raise ValueError("pooling is for head = 'linear' only")
        return self

    def deciding(self) -> dict[str, Any]:
        """The parameters that decide the result, with the grid's values."""
        values = super().deciding()
        return values | {"grid": self.grid_values()}

    @abstractmethod
    def grid_values(self) -> dict[str, Any]:
        """What of the grid this run reads, by name."""

    @property
    def name(self) -> str:
        """The run's name for people, e.g. ``reviews-k16-s13-sgd``."""
        pooling = f"-{self.pooling}" if self.pooling else ""
        head = "" if self.head == "prompt" else f"-{self.head}{pooling}"
        prompt = "" if self.prompt == "manual" else f"-{self.prompt}"
        labels = "" if self.labels == "given" else f"-{self.labels}"
        rows = f"{self.unusual_model}{self.task}-k{self.k}-s{self.seed}"
        return f"{rows}-{self.method}{head}{prompt}{labels}"

    def check_names(self) -> None:
        """Refuse an unknown task, model or grid, with the nearest that is known."""
        super().check_names()
        load_grid(self.grid)


class AdaptedRun(TaskRun):
    """What a run has whose fine-tuning, or kernel, may be of LoRA or of a random subspace.

    ``rank`` and ``alpha`` are LoRA's, ``dimension`` is that of the subspace. With ``train_head``
    LoRA's prompt head is trained outright, as in the authors' code; a linear head always is.
    """

    later: ClassVar[Mapping[str, object]] = {**TaskRun.later, "train_head": False}

    adaptation: Adaptation = "full"
    rank: PositiveInt = 8
    alpha: PositiveRate = 16.0
    dimension: PositiveInt = 200
    train_head: bool = False

    @model_validator(mode="after")
    def _trains_a_prompt_head(self) -> Self:
        if self.train_head and (self.adaptation, self.head) != ("lora", "prompt"):
            raise ValueError("train_head is for adaptation = 'lora' with head = 'prompt' only")
        return self


class KernelRun(AdaptedRun):
    """One run of ``book/experiments/kernel``: an eNTK and its kernel regression.

    Some runs are controls, which say what a score is worth. Of ``layers`` other than ``"all"`` only
    the parameters of a part of the model count (see ``tangentlm.models.parts``). The formulas
    ``"constant"`` and ``"bag-of-words"`` read no gradient at all. ``decoder = "untied"`` gives the
    decoder of a language model a weight of its own. With ``solver = "every"`` the record has what
    every solver makes of the kernel, and the scores are those of least squares. The output
    derivative is measured on the test rows that are scored, or on all that the task has.
    """

    later: ClassVar[Mapping[str, object]] = {
        **AdaptedRun.later,
        "layers": "all",
        "decoder": "tied",
        "chi_rows": "scored",
    }
    experiment: ClassVar[str] = "kernel"
    version: ClassVar[int] = 1
    method_parameter: ClassVar[str] = "formula"
    formula: Literal["sgd", "signgd", "asymmetric-signgd", "constant", "bag-of-words"] = "sgd"
    layers: Literal["all", "last", "embedding", "head"] = "all"
    decoder: Literal["tied", "untied"] = "tied"
    solver: Literal["least-squares", "logistic", "rows-logistic", "asymmetric", "every"] = (
        "least-squares"
    )
    chi_rows: Literal["scored", "all"] = "scored"

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
        if self.adaptation != "full" and self.formula != "sgd":
            raise ValueError(f"the {self.formula} kernel is for adaptation = 'full' only")
        if self.adaptation != "full" and self.layers != "all":
            raise ValueError(f"layers = {self.layers!r} is for adaptation = 'full' only")
        if self.reads_no_gradient and self.layers != "all":
            raise ValueError(f"the {self.formula} kernel reads no gradient, so it has no layers")
        if self.decoder == "untied" and (self.head != "prompt" or self.reads_no_gradient):
            raise ValueError("decoder = 'untied' is for kernels of gradients with head = 'prompt'")
        return self

    @property
    def reads_no_gradient(self) -> bool:
        """Whether the kernel is one of the inputs alone."""
        return self.formula in ("constant", "bag-of-words")

    @property
    def method(self) -> str:
        """The formula, and what is unusual, e.g. ``sgd-lora-logistic`` or ``sgd-last-layer``."""
        layers = {"all": "", "last": "-last-layer"}.get(self.layers, f"-{self.layers}-alone")
        decoder = "" if self.decoder == "tied" else f"-{self.decoder}"
        usual = self.solver in ("least-squares", "asymmetric")
        solver = "" if usual else f"-{self.solver}"
        moves = _moves(self.adaptation, self.train_head)
        return self.formula + moves + layers + decoder + solver

    @property
    def name(self) -> str:
        """As of every run on a task; also which rows the output derivative is of, if unusual."""
        return super().name + ("" if self.chi_rows == "scored" else f"-chi-{self.chi_rows}")

    def grid_values(self) -> dict[str, Any]:
        """The values that the kernel regression tries."""
        return load_grid(self.grid).regression_values()


TrainingPrecision = Literal["float32", "bfloat16"]
"""The precision of products in training; parameters and their updates are in float32."""


class FineTuneRun(AdaptedRun):
    """One run of ``book/experiments/finetune``: fine-tuning over a grid, chosen on dev.

    ``learning_rate`` and ``batch_size``, one value or several, replace those of the grid. ``clip``
    is the largest norm of a gradient, 1 in the authors' code; ``None`` leaves gradients alone.
    ``precision`` is that of the products in training; all that is measured is in float32. How
    far the kernel moved is measured between at most ``distance_samples`` training samples, and as
    many test samples: that takes time with the square of it. On ``trajectory_samples`` test samples
    Definition D.3 of Malladi-v1 is measured along the way, at every evaluation; 0 leaves that out.
    """

    experiment: ClassVar[str] = "finetune"
    version: ClassVar[int] = 1
    later: ClassVar[Mapping[str, object]] = {
        **AdaptedRun.later,
        "distance_samples": 64,
        "clip": 1.0,
        "precision": "float32",
        "trajectory_samples": 0,
    }
    method_parameter: ClassVar[str] = "optimizer"
    optimizer: Optimizer = "sgd"
    learning_rate: tuple[PositiveRate, ...] | None = None
    batch_size: tuple[PositiveInt, ...] | None = None
    clip: PositiveRate | None = 1.0
    precision: TrainingPrecision = "float32"
    distance_samples: PositiveInt = 64
    trajectory_samples: NonNegativeInt = 4

    @property
    def method(self) -> str:
        """See ``method_name``, e.g. ``adam-lora`` or ``sgd-unclipped``."""
        return method_name(self.optimizer, self.adaptation, self.clip, train_head=self.train_head)

    @property
    def _tuned_as(self) -> str:
        """The method of the grid whose values are tried: LoRA's, with its head trained or not."""
        return method_name(self.optimizer, self.adaptation, self.clip)

    def deciding(self) -> dict[str, Any]:
        """The parameters that decide the result, with the values that are tried."""
        values = super().deciding()
        del values["learning_rate"], values["batch_size"]  # they are in the grid's values
        return values

    def grid_values(self) -> dict[str, Any]:
        """The values that fine-tuning tries, and for how long."""
        return load_grid(self.grid).tuning_values(
            self._tuned_as, learning_rate=self.learning_rate, batch_size=self.batch_size
        )

    def check_names(self) -> None:
        """Refuse an unknown task, model or grid, or a grid without this method."""
        super().check_names()
        if self.learning_rate is None or self.batch_size is None:
            load_grid(self.grid).of_method(self._tuned_as)

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
    """One run of ``book/experiments/natural_tasks``: is the task natural, and what follows.

    ``trajectory_samples`` is as for ``FineTuneRun``.
    """

    experiment: ClassVar[str] = "natural_tasks"
    version: ClassVar[int] = 1
    later: ClassVar[Mapping[str, object]] = {
        **TaskRun.later,
        "clip": 1.0,
        "trajectory_samples": 0,
    }
    method_parameter: ClassVar[str] = "optimizer"
    optimizer: Optimizer = "sgd"
    clip: PositiveRate | None = 1.0
    trajectory_samples: NonNegativeInt = 4

    @property
    def method(self) -> str:
        """See ``method_name``, e.g. ``sgd-unclipped``."""
        return method_name(self.optimizer, "full", self.clip)

    def grid_values(self) -> dict[str, Any]:
        """The values that fine-tuning and the kernel regression try."""
        grid = load_grid(self.grid)
        return grid.regression_values() | grid.tuning_values(self.method)
