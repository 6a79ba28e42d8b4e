"""Some rows of a task's training part, drawn without looking at their labels."""

from __future__ import annotations

import random
from pathlib import Path

from tangentlm.errors import InputError
from tangentlm.tasks.sources import Example, read_part
from tangentlm.tasks.task import Task


def draw_rows(
    task: Task, count: int, seed: int, *, data: str | Path | None = None
) -> list[Example]:
    """So many training rows of a task, each as likely as any other.

    Example:
        >>> from tangentlm.tasks import load_task
        >>> len(draw_rows(load_task("reviews"), 32, seed=0))
        32

    Args:
        task: A task that is bundled or in the data folder.
        count: How many.
        seed: Of the draw.
        data: The data folder; overrides the variable.

    Returns:
        Different rows, in the order of the draw.

    Raises:
        InputError: If the rows are not at hand, or too few.
    """
    rows = read_part(task, "train", data)
    if len(rows) < count:
        raise InputError(f"task {task.name} has {len(rows)} training rows, fewer than {count}")
    return random.Random(seed).sample(rows, count)
