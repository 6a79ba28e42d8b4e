"""Named grids of hyperparameters: ``params/grids/<name>.yaml``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from tangentlm.errors import unknown_name
from tangentlm.params.files import named_file, read_yaml
from tangentlm.params.strict import PositiveRate, Strict


class FineTuneGrid(Strict):
    """The learning rates and batch sizes that are tried for one method of fine-tuning."""

    learning_rate: tuple[PositiveRate, ...]
    batch_size: tuple[PositiveInt, ...]


class Grid(Strict):
    """A named grid of hyperparameters, from ``params/grids/<name>.yaml``.

    ``finetune`` has the values of each method, named as ``FineTuneRun.method``, e.g. ``sgd-lora``.
    ``steps`` and ``evaluate_every`` count in units of kC: Malladi et al. train for 32kC steps
    and validate every 4kC steps (Appendix A.3 of Malladi-v1).
    """

    about: str
    finetune: dict[str, FineTuneGrid]
    steps: int = Field(ge=1)
    evaluate_every: int = Field(ge=1)
    regularization: tuple[NonNegativeFloat, ...]
    f0_scale: tuple[PositiveFloat, ...]
    gamma: tuple[PositiveFloat, ...]

    def of_method(self, method: str) -> FineTuneGrid:
        """The values of a method of fine-tuning.

        Args:
            method: Its name, e.g. ``"sgd"`` or ``"adam-lora"``.

        Returns:
            Learning rates and batch sizes.

        Raises:
            InputError: If the grid has none for it.
        """
        if method not in self.finetune:
            raise unknown_name("fine-tuning method in the grid", method, self.finetune)
        return self.finetune[method]

    def tuning_values(
        self,
        method: str,
        *,
        learning_rate: Sequence[float] | None = None,
        batch_size: Sequence[int] | None = None,
    ) -> dict[str, Any]:
        """All that fine-tuning with a method reads.

        Args:
            method: As for ``of_method``.
            learning_rate: Instead of the grid's.
            batch_size: Instead of the grid's.

        Returns:
            ``learning_rate``, ``batch_size``, ``steps`` and ``evaluate_every``.

        Raises:
            InputError: If the grid has no values for the method, and none are given.
        """
        if learning_rate is None or batch_size is None:
            own = self.of_method(method)
            learning_rate = learning_rate or own.learning_rate
            batch_size = batch_size or own.batch_size
        return {
            "learning_rate": tuple(learning_rate),
            "batch_size": tuple(batch_size),
            "steps": self.steps,
            "evaluate_every": self.evaluate_every,
        }

    def regression_values(self) -> dict[str, Any]:
        """All that kernel regression reads: ``regularization``, ``f0_scale`` and ``gamma``."""
        return self.model_dump(mode="json", include={"regularization", "f0_scale", "gamma"})

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
