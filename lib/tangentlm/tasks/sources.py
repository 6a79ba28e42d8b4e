"""Where the rows of a task come from: a data folder, the project's own assets, or the hub."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass
from pathlib import Path

from tangentlm.errors import InputError, unknown_name
from tangentlm.params import project_root
from tangentlm.tasks.task import Hub, Task

DATA_VARIABLE = "TANGENTLM_DATA"
"""The environment variable that names a data folder."""


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
    return read_rows(jsonl_file(folder, part), task)


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
    return [jsonl_file(folder, part) for part in ("train", "test")]


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


def jsonl_file(folder: Path, stem: str) -> Path:
    """The file of JSON lines of a part, plain or compressed.

    Args:
        folder: A task's folder.
        stem: ``"train"`` or ``"test"``.

    Returns:
        The file.

    Raises:
        InputError: If there is none.
    """
    for suffix in (".jsonl", ".jsonl.gz"):
        if (folder / (stem + suffix)).is_file():
            return folder / (stem + suffix)
    raise InputError(f"{folder} has neither {stem}.jsonl nor {stem}.jsonl.gz")


def read_rows(path: Path, task: Task) -> list[Example]:
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
