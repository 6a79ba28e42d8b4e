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


def draw_two_parts(
    task: Task, train: int, test: int, seed: int, *, data: str | Path | None = None
) -> tuple[list[Example], list[Example]]:
    """Rows to train on and rows to test on, both from a task's training part.

    Many tasks have fewer than a thousand test rows; their training parts have more. A row that
    comes twice counts once, so no test row is one that is trained on.

    Example:
        >>> from tangentlm.tasks import load_task
        >>> parts = draw_two_parts(load_task("reviews"), 32, 100, seed=0)
        >>> [len(part) for part in parts]
        [32, 100]

    Args:
        task: A task that is bundled or in the data folder.
        train: How many rows to train on.
        test: At most so many others.
        seed: Of the draw.
        data: The data folder; overrides the variable.

    Returns:
        The two parts, each in the order of the draw.

    Raises:
        InputError: If the rows are not at hand, or too few.
    """
    texts = {(row.text_a, row.text_b): row for row in read_part(task, "train", data)}
    if len(texts) <= train:
        raise InputError(
            f"task {task.name} has {len(texts)} different training rows: with {train} to train on "
            "none is left to test on"
        )
    count = min(train + test, len(texts))
    drawn = random.Random(seed).sample(list(texts.values()), count)
    return drawn[:train], drawn[train:]
