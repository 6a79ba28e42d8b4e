"""Few-shot data: three sources, one function, the same split on every machine.

A split is k examples a class to train on, k more a class as dev, and a capped test set. Rows are
drawn in the order of a SHA-256 of the seed, the row's number and its text, so a split depends on
no library's random numbers.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tangentlm.errors import InputError, unknown_name
from tangentlm.params import digest, project_root
from tangentlm.tasks import Hub, Task

DATA_VARIABLE = "TANGENTLM_DATA"
"""The environment variable that names a data folder."""


@dataclass(frozen=True)
class Example:
    """One text, or a pair of texts, with its label in 0 to C-1."""

    text_a: str
    text_b: str | None
    label: int


@dataclass(frozen=True)
class Split:
    """A few-shot split.

    Attributes:
        train: k examples of each class.
        dev: k other examples of each class.
        test: The test examples, capped.
        source: Where the rows came from, for people.
        drawn: Who drew the k-shot rows: ``"file"`` (ready-made split) or ``"seed"``.
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
    are not bundled; it has ``<task>/train.jsonl[.gz]`` and ``test.jsonl[.gz]`` and, where
    somebody drew the split already, ``<task>/kshot/<k>-<seed>.{train,dev}.jsonl[.gz]``. A
    bundled task is read from ``assets/tasks``. Anything else comes from the hub.

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
    folder = _folder_of(task, data)
    if folder is None:
        assert task.hub is not None
        train_rows, test_rows = _read_hub(task, task.hub)
        source = f"hub: {task.hub.path}"
    else:
        train_rows = _read_rows(_jsonl(folder, "train"), task)
        test_rows = _read_rows(_jsonl(folder, "test"), task)
        source = "bundled" if task.bundled and data is None else "folder"
    ready = None if folder is None else _ready_split(folder / "kshot", k, seed, task)
    train, dev = ready or _draw(train_rows, task, k, seed)
    test = _ordered(test_rows, "test")[:test_size]
    return Split(train, dev, tuple(test), source, "file" if ready else "seed")


def read_part(task: Task, part: str, data: str | Path | None = None) -> list[Example]:
    """All rows of one part of a task that is in a folder or bundled.

    Args:
        task: The task.
        part: ``"train"`` or ``"test"``.
        data: The data folder; overrides the variable.

    Returns:
        The rows in the file's order.

    Raises:
        InputError: If there is no such file, or a row is malformed.
    """
    folder = _folder_of(task, data)
    if folder is None:
        raise InputError(f"task {task.name} is in no folder; set {DATA_VARIABLE}")
    return _read_rows(_jsonl(folder, part), task)


def has_rows(task: Task, data: str | Path | None = None) -> bool:
    """Whether the rows of a task are at hand without a network.

    Args:
        task: The task.
        data: The data folder; overrides the variable.

    Returns:
        True if the task is bundled or in the data folder.
    """
    try:
        folder = _folder_of(task, data)
    except InputError:
        return False
    return folder is not None


def _folder_of(task: Task, data: str | Path | None) -> Path | None:
    if data is None and task.bundled:
        return project_root() / "assets" / "tasks" / task.name
    root = data or os.environ.get(DATA_VARIABLE)
    if not root:
        if task.hub is None:
            raise InputError(
                f"task {task.name} has no hub data set; set {DATA_VARIABLE} to a folder"
            )
        return None
    if not Path(root).is_dir():
        raise InputError(f"the data folder {root} does not exist")
    folder = Path(root) / task.name
    if not folder.is_dir():
        known = [path.name for path in Path(root).iterdir() if path.is_dir()]
        raise InputError(f"data folder {root}: {unknown_name('task', task.name, known)}")
    return folder


def _jsonl(folder: Path, stem: str) -> Path:
    for suffix in (".jsonl", ".jsonl.gz"):
        if (folder / (stem + suffix)).is_file():
            return folder / (stem + suffix)
    raise InputError(f"{folder} has neither {stem}.jsonl nor {stem}.jsonl.gz")


def _read_rows(path: Path, task: Task) -> list[Example]:
    """The examples of one JSON-lines file; an error names file and line."""
    rows: list[Example] = []
    number = 0
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise InputError(f"{path}, line {number}: not an object with text_a and label")
                rows.append(_example(row, task, f"{path}, line {number}"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {number}: not JSON ({error.msg})") from None
    except (UnicodeDecodeError, EOFError, OSError) as error:
        raise InputError(f"{path} cannot be read after line {number}: {error}") from None
    return rows


def _example(row: dict[str, object], task: Task, where: str) -> Example:
    texts = ("text_a", "text_b") if task.is_pair else ("text_a",)
    for name in texts:
        # An empty text is real: the LM-BFF splits of CR have some.
        if not isinstance(row.get(name), str):
            raise InputError(f"{where}: {name} is missing or no text")
    label = row.get("label")
    if (
        not isinstance(label, int)
        or isinstance(label, bool)
        or label not in range(len(task.labels))
    ):
        raise InputError(f"{where}: label {label!r} is not in 0 to {task.num_classes - 1}")
    return Example(str(row["text_a"]), str(row["text_b"]) if task.is_pair else None, label)


def _ready_split(
    folder: Path, k: int, seed: int, task: Task
) -> tuple[tuple[Example, ...], tuple[Example, ...]] | None:
    if not any(folder.glob(f"{k}-{seed}.train.jsonl*")):
        return None
    parts = []
    for name in ("train", "dev"):
        rows = _read_rows(_jsonl(folder, f"{k}-{seed}.{name}"), task)
        _require(rows, task, k, f"{folder.parent.name}/kshot/{k}-{seed}.{name}")
        parts.append(tuple(rows))
    return parts[0], parts[1]


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
    _require(rows, task, k + as_dev, f"{task.name}, k = {k} to train and {as_dev} as dev")
    ordered = _ordered(rows, f"seed {seed}")
    by_class = [[row for row in ordered if row.label == c] for c in range(task.num_classes)]
    chosen = {id(row): "train" for group in by_class for row in group[:k]}
    chosen |= {id(row): "dev" for group in by_class for row in group[k : 2 * k]}
    train = tuple(row for row in ordered if chosen.get(id(row)) == "train")
    dev = tuple(row for row in ordered if chosen.get(id(row)) == "dev")
    return train, dev


def _read_hub(task: Task, hub: Hub) -> tuple[list[Example], list[Example]]:
    """Train and test rows through ``datasets``; rows without a gold label (-1) are left out."""
    import datasets

    parts = []
    for part in (hub.train, hub.test):
        try:
            loaded = datasets.load_dataset(hub.path, hub.config, split=part, revision=hub.revision)
        except Exception as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"task {task.name}: cannot load {hub.path} from the hub ({first}); "
                f"without a network set {DATA_VARIABLE} to a data folder"
            ) from error
        columns = [name for name in (hub.text_a, hub.text_b, hub.label) if name]
        for name in columns:
            if name not in loaded.column_names:
                raise unknown_name(f"column of {hub.path}", name, loaded.column_names)
        parts.append(
            [
                _example(_hub_row(row, hub), task, f"{hub.path}, {part}, row {number}")
                for number, row in enumerate(loaded)
                if row[hub.label] != -1
            ]
        )
    return parts[0], parts[1]


def _hub_row(row: dict[str, object], hub: Hub) -> dict[str, object]:
    label = row[hub.label]
    if hub.values:
        text = str(label)
        label = hub.values.index(text) if text in hub.values else text
    return {
        "text_a": row[hub.text_a],
        "text_b": row[hub.text_b] if hub.text_b else None,
        "label": label,
    }
