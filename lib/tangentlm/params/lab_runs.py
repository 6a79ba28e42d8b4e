"""The parameters of runs that pre-train a masked-LM, or look into one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from tangentlm.params.base import ModelRun, Run, check_model
from tangentlm.params.files import project_root
from tangentlm.params.grids import load_grid
from tangentlm.params.recipes import Parametrization, Recipe, load_recipe
from tangentlm.params.strict import PositiveRate, digest
from tangentlm.params.task_runs import method_name


class RecipeRun(Run):
    """What a run that trains a model from scratch has.

    ``width``, and ``steps`` or ``minutes``, replace those of the recipe. ``after_training`` names
    the parameters that only what follows the training reads.
    """

    after_training: ClassVar[frozenset[str]] = frozenset()

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
        """Refuse an unknown recipe or start, or a recipe that this run's width does not fit."""
        start = self.resolved.start
        if start is not None:
            check_model(start)

    def deciding(self) -> dict[str, Any]:
        """The parameters that decide the result, with the recipe's values."""
        values = super().deciding()
        for name in ("width", "steps", "minutes"):  # they are in the recipe's values
            del values[name]
        return values | {"recipe": self.resolved.values_that_decide(without={"about"})}

    def checkpoint_folder(self, text_checksum: str) -> Path:
        """Where this training writes its checkpoints, outside of any study.

        Args:
            text_checksum: Of the text.

        Returns:
            A folder that only the same training on the same text shares.
        """
        recipe = self.resolved.model_dump(mode="json", exclude_defaults=True)
        identity = self.parameters()
        for name in self.after_training:
            del identity[name]
        same = [identity, recipe, text_checksum]
        folder = project_root() / "runs" / ".checkpoints"
        return folder / f"{self.name}-{digest(same)[:12]}"


class PretrainRun(RecipeRun):
    """One run of ``book/experiments/pretrain``: a masked-LM trained from scratch on text."""

    experiment: ClassVar[str] = "pretrain"
    version: ClassVar[int] = 1
    headline: ClassVar[str] = "held-out loss {held_out_loss:.3f} after {tokens:,.0f} tokens"
    computes_kernels: ClassVar[bool] = False
    method_parameter: ClassVar[str] = "parametrization"
    elsewhere: ClassVar[frozenset[str]] = frozenset({"out", "corpus"})

    recipe: str = "tiny"
    corpus: str | None = "bundled"


class ProbeRun(ModelRun):
    """One run of ``book/experiments/probe``: what a masked-LM knows."""

    experiment: ClassVar[str] = "probe"
    version: ClassVar[int] = 1
    headline: ClassVar[str] = "{word_loss:.3f} nats a word, {minimal_pairs:.1f} % of pairs"
    computes_kernels: ClassVar[bool] = False
    elsewhere: ClassVar[frozenset[str]] = frozenset({"out", "corpus", "data"})

    k: int = Field(default=16, ge=1)
    test_size: int = Field(default=1000, ge=1)
    corpus: str | None = "bundled"
    data: str | None = None

    @property
    def name(self) -> str:
        """The run's name for people, e.g. ``pocket-k16-s13``."""
        return f"{self.model.rpartition('/')[2]}-k{self.k}-s{self.seed}"


class MinilangRun(RecipeRun):
    """One run of ``book/experiments/minilang``: a model of the generated language, and its tasks.

    ``natural`` says which of the two prompts of every task pre-training contains, ``cue_strength``
    how clearly words show what a text is about. With a ``model``, nothing is trained: it must be
    one of just this language. Every task is fine-tuned once for each ``clip``, the largest norm of
    a gradient; ``None`` leaves gradients alone. ``trajectory_samples`` is as for ``FineTuneRun``.
    """

    experiment: ClassVar[str] = "minilang"
    version: ClassVar[int] = 1
    headline: ClassVar[str] = "held-out loss {held_out_loss:.3f} after {documents:,.0f} documents"
    method_parameter: ClassVar[str] = "natural"
    after_training: ClassVar[frozenset[str]] = frozenset(
        {"k", "test_size", "grid", "clip", "trajectory_samples"}
    )
    later: ClassVar[Mapping[str, object]] = {"clip": [1.0], "trajectory_samples": 0}

    recipe: str = "minilang"
    model: str | None = "minilang"
    natural: Literal["A", "B", "both", "none"] = "A"
    cue_strength: float = Field(default=0.85, gt=0, le=1)
    k: int = Field(default=16, ge=1)
    test_size: int = Field(default=500, ge=1)
    grid: str = "quick"
    clip: tuple[PositiveRate | None, ...] = Field(default=(1.0,), min_length=1)
    trajectory_samples: int = Field(default=4, ge=0)

    @property
    def name(self) -> str:
        """The run's name for people, e.g. ``minilang-w64-s0-standard-A-85``."""
        given = "" if self.model is None else "-given"
        return f"{super().name}-{self.natural}-{100 * self.cue_strength:.0f}{given}"

    def deciding(self) -> dict[str, Any]:
        """The parameters that decide the result, with the values of recipe and grid."""
        grid = load_grid(self.grid)
        methods = [method_name("sgd", "full", clip) for clip in self.clip]
        tuning = {method: grid.tuning_values(method) for method in methods}
        values = grid.regression_values() | tuning.pop("sgd", {}) | tuning
        return super().deciding() | {"grid": values}

    def check_names(self) -> None:
        """Refuse an unknown recipe, model or grid, or a width that does not fit."""
        super().check_names()
        load_grid(self.grid)
        if self.model is not None:
            check_model(self.model)
