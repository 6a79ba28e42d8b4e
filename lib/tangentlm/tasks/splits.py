"""Few-shot data: three sources, one function, the same split on every machine.

A split is k examples a class to train on, k more a class as dev, and a capped test set. Rows are
drawn in the order of a SHA-256 of the seed, the row's number and its text, so a split depends on
no library's random numbers.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tangentlm.errors import InputError
from tangentlm.params import digest
from tangentlm.tasks.sources import (
    DATA_VARIABLE,
    Example,
    part_file,
    read_hub,
    read_rows,
    task_folder,
)
from tangentlm.tasks.task import Task

_COMPARED: set[Path] = set()
"""The folders whose training and test rows were compared."""


@dataclass(frozen=True)
class Split:
    """A few-shot split.

    Attributes:
        train: k examples of each class.
        dev: k other examples of each class.
        test: The test examples, capped.
        source: Where the rows came from, for people.
        drawn: Who drew the rows to train on: ``"file"`` (ready-made split), ``"seed"`` or nobody,
            ``"order"``: all of them in the order of their file.
    """

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    source: str
    drawn: str

    @property
    def checksum(self) -> str:
        """SHA-256 of every text and label in order: what the run's input was."""
        parts = (self.train, self.dev, self.test)
        return digest([[asdict(example) for example in part] for part in parts])

    @property
    def facts(self) -> dict[str, str | int]:
        """What a record says of it."""
        return {
            "split": self.checksum,
            "source": self.source,
            "drawn": self.drawn,
            "train": len(self.train),
            "dev": len(self.dev),
            "test": len(self.test),
        }


def load_split(
    task: Task, k: int, seed: int, *, data: str | Path | None = None, test_size: int = 1000
) -> Split:
    """The k-shot split of a task for a seed.

    A data folder, given by ``data`` or the variable ``TANGENTLM_DATA``, is used for tasks that
    are not bundled; it has ``<task>/train.jsonl`` and ``test.jsonl`` and, where somebody drew the
    split already, ``<task>/kshot/<k>-<seed>.{train,dev}.jsonl``, with text_a, text_b for pairs, and
    label, a class's number or name. They may be CSV, TSV, JSON or Parquet as well, each plain or as
    ``.gz``. A bundled task is read from ``assets/tasks``. Anything else comes from the hub.

    Example:
        >>> from tangentlm.tasks import load_task
        >>> split = load_split(load_task("reviews"), k=16, seed=13, test_size=80)
        >>> len(split.train), len(split.dev), len(split.test)
        (32, 32, 80)

    Args:
        task: The task.
        k: Examples a class, for train and again for dev.
        seed: The split's seed; Malladi et al. use 13, 21, 42, 87 and 100.
        data: The data folder; overrides the variable.
        test_size: At most so many test examples, a fixed sample that no seed changes.

    Returns:
        The split.

    Raises:
        InputError: If the data is missing, malformed, or has too few examples of a class.
    """
    folder = task_folder(task, data)
    if folder is None:
        assert task.hub is not None
        train_rows, test_rows = read_hub(task, task.hub)
        source = f"hub: {task.hub.path}"
    else:
        train_rows = read_rows(part_file(folder, "train"), task)
        test_rows = read_rows(part_file(folder, "test"), task)
        _warn_of_duplicates(folder, train_rows, test_rows)
        source = "bundled" if task.bundled and data is None else "folder"
    ready = None if folder is None else _ready_split(folder / "kshot", k, seed, task)
    train, dev = ready or _draw(train_rows, task, k, seed)
    test = _ordered(test_rows, "test")[:test_size]
    return Split(train, dev, tuple(test), source, "file" if ready else "seed")


def load_whole(
    task: Task,
    *,
    train_size: int | None = None,
    dev_size: int | None = None,
    test_size: int = 1000,
    data: str | Path | None = None,
) -> Split:
    """All of a task, as Tomihari and Sato split it (Appendix A.3.1, Table 7).

    Of the training rows, in their order, the first nine tenths are for training and the rest is for
    validation. No seed changes it.

    Example:
        >>> from tangentlm.tasks import load_task
        >>> split = load_whole(load_task("reviews"), dev_size=20, test_size=80)
        >>> len(split.train), len(split.dev), len(split.test)
        (252, 20, 80)

    Args:
        task: The task, bundled or in a data folder.
        train_size: At most so many rows to train on, the first ones.
        dev_size: At most so many for validation, the first ones.
        test_size: At most so many test rows, the sample of ``load_split``.
        data: The data folder; overrides the variable.

    Returns:
        The split.

    Raises:
        InputError: If the data is missing or malformed, or a class has no row to train on.
    """
    folder = task_folder(task, data)
    if folder is None:
        raise InputError(f"task {task.name} is in no folder; set {DATA_VARIABLE}")
    rows = read_rows(part_file(folder, "train"), task)
    cut = 9 * len(rows) // 10
    train, dev = rows[:cut][:train_size], rows[cut:][:dev_size]
    _require(train, task, 1, f"{task.name}, the first {len(train)} training rows")
    test_rows = read_rows(part_file(folder, "test"), task)
    _warn_of_duplicates(folder, rows, test_rows)
    test = _ordered(test_rows, "test")[:test_size]
    source = "bundled" if task.bundled and data is None else "folder"
    return Split(tuple(train), tuple(dev), tuple(test), source, "order")


def _ready_split(
    folder: Path, k: int, seed: int, task: Task
) -> tuple[tuple[Example, ...], tuple[Example, ...]] | None:
    if not any(folder.glob(f"{k}-{seed}.train.*")):
        return None
    parts = []
    for name in ("train", "dev"):
        rows = read_rows(part_file(folder, f"{k}-{seed}.{name}"), task)
        _require(rows, task, k, f"{folder.parent.name}/kshot/{k}-{seed}.{name}")
        parts.append(tuple(rows))
    return parts[0], parts[1]


def _warn_of_duplicates(folder: Path, train: Iterable[Example], test: Iterable[Example]) -> None:
    """Say once how many test rows are training rows, too, but for case and blanks."""
    if folder in _COMPARED:
        return
    _COMPARED.add(folder)

    def essence(row: Example) -> tuple[str, ...]:
        return tuple(" ".join(text.casefold().split()) for text in (row.text_a, row.text_b or ""))

    known = set(map(essence, train))
    count = sum(essence(row) in known for row in test)
    if count:
        rows = "1 test row is" if count == 1 else f"{count} test rows are"
        warnings.warn(
            f"{folder}: {rows} in the training rows, too, but for case and blanks", stacklevel=3
        )


def _require(rows: Iterable[Example], task: Task, needed: int, where: str) -> None:
    counts = [0] * task.num_classes
    for row in rows:
        counts[row.label] += 1
    for label, count in enumerate(counts):
        if count < needed:
            raise InputError(
                f"{where}: class {label} ({task.labels[label]}) has {count} examples, "
                f"{needed} are needed"
            )


def _ordered(rows: Iterable[Example], key: str) -> list[Example]:
    """The rows in a pseudo-random order that depends on the key and the rows alone."""

    def rank(numbered: tuple[int, Example]) -> bytes:
        number, row = numbered
        text = f"{key}\n{number}\n{row.text_a}\n{row.text_b}\n{row.label}"
        return hashlib.sha256(text.encode()).digest()

    return [row for _, row in sorted(enumerate(rows), key=rank)]


def at_most_per_class(rows: list[Example], task: Task, k: int, seed: int) -> list[Example]:
    """Up to k examples of each class, fewer where a class has fewer.

    Args:
        rows: What to draw from.
        task: Their task.
        k: At most so many of a class.
        seed: Of the draw.

    Returns:
        The examples in a random order.
    """
    ordered = _ordered(rows, f"seed {seed}")
    left = [k] * task.num_classes
    chosen = []
    for row in ordered:
        if left[row.label]:
            left[row.label] -= 1
            chosen.append(row)
    return chosen


def _draw(
    rows: list[Example], task: Task, k: int, seed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    as_dev = 1 if task.short_dev else k
    needed = 1 if task.short_train else k + as_dev
    _require(rows, task, needed, f"{task.name}, k = {k} to train and {as_dev} as dev")
    ordered = _ordered(rows, f"seed {seed}")
    by_class = [[row for row in ordered if row.label == c] for c in range(task.num_classes)]
    chosen = {id(row): "train" for group in by_class for row in group[:k]}
    chosen |= {id(row): "dev" for group in by_class for row in group[k : 2 * k]}
    train = tuple(row for row in ordered if chosen.get(id(row)) == "train")
    dev = tuple(row for row in ordered if chosen.get(id(row)) == "dev")
    return train, dev
