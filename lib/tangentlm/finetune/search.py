"""A grid of fine-tunings from one start; the best on dev is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn
from tqdm import tqdm

from tangentlm.batches import Labelled
from tangentlm.errors import InputError, NonFiniteError
from tangentlm.finetune.loop import MAX_GRADIENT_NORM, FineTuned, Schedule, fine_tune, snapshot
from tangentlm.finetune.trajectory import Trajectory
from tangentlm.params import Adaptation, Grid, Optimizer, TrainingPrecision, method_name


def grid_schedules(
    grid: Grid,
    optimizer: Optimizer,
    shots: int,
    seed: int,
    *,
    adaptation: Adaptation = "full",
    learning_rate: Sequence[float] | None = None,
    batch_size: Sequence[int] | None = None,
    clip: float | None = MAX_GRADIENT_NORM,
    precision: TrainingPrecision = "float32",
) -> list[Schedule]:
    """A fine-tuning for every point of a grid.

    Args:
        grid: Learning rates, batch sizes, and steps in units of ``shots``.
        optimizer: Of every fine-tuning.
        shots: kC, the number of training examples.
        seed: Of every fine-tuning.
        adaptation: With the optimizer, whose learning rates and batch sizes.
        learning_rate: Instead of the grid's.
        batch_size: Instead of the grid's.
        clip: The largest norm of a gradient, or ``None``; a part of the method.
        precision: Of the products in training.

    Returns:
        The schedules.

    Raises:
        InputError: If the grid has no values for the method, and none are given.
    """
    values = grid.tuning_values(
        method_name(optimizer, adaptation, clip),
        learning_rate=learning_rate,
        batch_size=batch_size,
    )
    steps, every = grid.steps * shots, grid.evaluate_every * shots
    return [
        Schedule(optimizer, rate, size, steps, every, seed, clip, precision)
        for rate in values["learning_rate"]
        for size in values["batch_size"]
    ]


@dataclass
class Search:
    """The best fine-tuning of a grid, and how every point did; a diverged point has no score."""

    best: FineTuned
    table: list[dict[str, float | str | None]]
    traces: list[FineTuned] = field(repr=False)


def search(
    model: nn.Module,
    train: Labelled,
    dev: Labelled,
    schedules: Sequence[Schedule],
    *,
    metric: str = "accuracy",
    trajectory: Trajectory | None = None,
    progress: bool = True,
) -> Search:
    """Fine-tune from the same start with every schedule; the best on dev is left in the model.

    Example:
        >>> from tangentlm.models.few_shot import few_shot
        >>> from tangentlm.params import FineTuneRun
        >>> shots = few_shot(FineTuneRun(task="reviews", k=2, test_size=4, device="cpu"))
        >>> schedules = [Schedule("sgd", rate, 2, 4, 2, seed=13) for rate in (0.01, 0.05)]
        >>> found = search(
        ...     shots.model, shots.part("train"), shots.part("dev"), schedules, progress=False
        ... )
        >>> [row["learning_rate"] for row in found.table]
        [0.01, 0.05]

    Args:
        model: Trained in place; its present state is the start of every fine-tuning.
        train: Training samples.
        dev: Samples that choose checkpoint and schedule.
        schedules: One for each point of the grid.
        metric: What is best; equal scores are decided by the dev loss.
        trajectory: As for ``fine_tune``.
        progress: Whether to show progress bars.

    Returns:
        The best one, a table of all, and their traces.

    Raises:
        InputError: If the grid is empty.
        NonFiniteError: If every point of the grid diverged.
    """
    if not schedules:
        raise InputError("the grid of learning rates and batch sizes is empty")
    start = snapshot(model)
    done: list[FineTuned] = []
    table: list[dict[str, float | str | None]] = []
    for schedule in tqdm(schedules, desc="grid", unit="point", disable=not progress, leave=False):
        point = {"learning_rate": schedule.learning_rate, "batch_size": schedule.batch_size}
        model.load_state_dict(start)
        try:
            tuned = fine_tune(
                model, train, dev, schedule, metric=metric, trajectory=trajectory, progress=progress
            )
        except NonFiniteError as error:
            table.append({**point, "dev_score": None, "dev_loss": None, "note": str(error)})
            continue
        done.append(tuned)
        table.append(
            {
                **point,
                "dev_score": tuned.dev_score,
                "dev_loss": tuned.dev_loss,
                "best_step": tuned.best_step,
                "clipped_share": tuned.clipped_share,
                "gradient_norm": tuned.gradient_norm,
                "note": "",
            }
        )
    if not done:
        raise NonFiniteError(f"every point of the grid diverged; first: {table[0]['note']}")
    best = max(done, key=lambda tuned: (tuned.dev_score, -tuned.dev_loss))
    model.load_state_dict(best.state)
    model.eval()
    return Search(best, table, done)
