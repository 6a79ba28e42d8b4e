"""Where the rows of a task come from: a data folder, the project's own assets, or the hub."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tangentlm.errors import InputError, unknown_name
from tangentlm.params import project_root
from tangentlm.tasks.letters import whole_letters
from tangentlm.tasks.task import Hub, Task

DATA_VARIABLE = "TANGENTLM_DATA"
"""The environment variable that names a data folder."""

_ENDINGS = (
    ".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".json", ".json.gz", ".parquet",
)  # fmt: skip


@dataclass(frozen=True)
class Example:
    """One text, or a pair of texts, with its label in 0 to C-1."""

    text_a: str
    text_b: str | None
    label: int


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
    folder = task_folder(task, data)
    if folder is None:
        raise InputError(f"task {task.name} is in no folder; set {DATA_VARIABLE}")
    return read_rows(part_file(folder, part), task)


def row_files(task: Task, data: str | Path | None = None) -> list[Path]:
    """The files that hold the rows of a task that is in a folder or bundled.

    Args:
        task: E.g. of ``load_task``.
        data: The data folder; overrides the variable.

    Returns:
        Those of the training and the test part.

    Raises:
        InputError: If one is missing.
    """
    folder = task_folder(task, data)
    if folder is None:
        raise InputError(f"task {task.name} is in no folder; set {DATA_VARIABLE}")
    return [part_file(folder, part) for part in ("train", "test")]


def has_rows(task: Task, data: str | Path | None = None) -> bool:
    """Whether the rows of a task are at hand without a network.

    Args:
        task: The task.
        data: The data folder; overrides the variable.

    Returns:
        True if the task is bundled or in the data folder.
    """
    try:
        folder = task_folder(task, data)
    except InputError:
        return False
    return folder is not None


def task_folder(task: Task, data: str | Path | None) -> Path | None:
    """The folder that holds a task's rows; ``None`` where they come from the hub.

    Args:
        task: The task.
        data: The data folder; overrides the variable.

    Returns:
        A folder that exists, or ``None``.

    Raises:
        InputError: If the data folder, or the task in it, is missing.
    """
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


def part_file(folder: Path, stem: str) -> Path:
    """The file of a part: JSON lines if there are any, else CSV, TSV, JSON or Parquet.

    Args:
        folder: A task's folder.
        stem: ``"train"`` or ``"test"``.

    Returns:
        The file.

    Raises:
        InputError: If there is none.
    """
    for ending in _ENDINGS:
        if (folder / (stem + ending)).is_file():
            return folder / (stem + ending)
    raise InputError(
        f"{folder} has neither {stem}.jsonl nor {stem}.jsonl.gz, nor {stem} as .csv, .tsv, .json "
        "or .parquet"
    )


def read_rows(path: Path, task: Task) -> list[Example]:
    """The examples of a file with columns text_a, text_b and label; an error names the row."""
    from tangentlm.tasks.tables import read_table  # needs pandas

    table = read_table(path)
    for note in table.notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    columns = table.frame.astype(object).where(table.frame.notna(), None)
    known = table.class_names.get("label", ())
    if set(known) == set(task.labels):  # then the file's own order counts
        columns["label"] = [
            known[int(label)] if label in range(len(known)) else label for label in columns["label"]
        ]
    halves = sum(
        isinstance(value, str) and value != whole_letters(value)
        for value in columns.to_numpy().flat
    )
    if halves:
        warnings.warn(f"{path}: halves of characters were replaced in {halves} texts", stacklevel=2)
    return [
        _example(row, task, f"{path}, {table.unit} {number}")
        for number, row in zip(columns.index, columns.to_dict("records"), strict=True)
    ]


def _example(row: Mapping[Any, Any], task: Task, where: str) -> Example:
    for name in ("text_a", "text_b") if task.is_pair else ("text_a",):
        # An empty text is real: the LM-BFF splits of CR have some.
        if not isinstance(row.get(name), str):
            raise InputError(f"{where}: {name} is missing or no text")
    text_b = whole_letters(row["text_b"]) if task.is_pair else None
    return Example(whole_letters(row["text_a"]), text_b, _label(row.get("label"), task, where))


def _label(label: Any, task: Task, where: str) -> int:
    """The number of a class, from its number or its name, however they are written."""
    from tangentlm.tasks.classes import class_name

    if type(label) is int and label in range(task.num_classes):  # as most are
        return label
    # A number is never a name, and true is no number; a text, like all of a CSV, may be either.
    readings: list[list[str | None]] = []
    if not isinstance(label, bool):
        readings.append([str(number) for number in range(task.num_classes)])
    if isinstance(label, bool | str):
        readings.append([class_name(known) for known in task.labels])
    name = class_name(label)
    meant = {reading.index(name) for reading in readings if name in reading}
    if len(meant) > 1:
        raise InputError(
            f"{where}: label {label!r} is the number of one class, the name of another"
        )
    if not meant:
        raise InputError(
            f"{where}: label {label!r} is not in 0 to {task.num_classes - 1}, "
            f"nor a name of {', '.join(task.labels)}"
        )
    return meant.pop()


def read_hub(task: Task, hub: Hub) -> tuple[list[Example], list[Example]]:
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
                _hub_example(row, task, hub, f"{hub.path}, {part}, row {number}")
                for number, row in enumerate(loaded)
                if row[hub.label] != -1
            ]
        )
    return parts[0], parts[1]


def _hub_example(row: Mapping[str, Any], task: Task, hub: Hub, where: str) -> Example:
    label = row[hub.label]
    if hub.values:
        if str(label) not in hub.values:
            raise InputError(f"{where}: label {str(label)!r} is not in {', '.join(hub.values)}")
        label = hub.values.index(str(label))
    text_b = row[hub.text_b] if hub.text_b else None
    return _example({"text_a": row[hub.text_a], "text_b": text_b, "label": label}, task, where)
