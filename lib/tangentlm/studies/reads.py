"""What a run reads, for every kind of run: rows of tasks, files or a corpus, and how it asks them.

A new kind of run that reads something is registered here, and nowhere else: its identity and the
checks before it starts follow from what stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache, singledispatch
from pathlib import Path

from tangentlm.errors import InputError
from tangentlm.models.asking import asked_task
from tangentlm.params import (
    ConditionRun,
    ForecastOutcomeRun,
    ForecastRun,
    ForecastValidationRun,
    LayersRun,
    OutcomeRun,
    PretrainRun,
    ProbeRun,
    Run,
    TaskModelRun,
    TaskRun,
    TwoStageRun,
    WholeTaskRun,
    digest,
    file_digest,
)
from tangentlm.tasks import (
    Task,
    has_rows,
    load_split,
    load_task,
    load_whole,
    probed_tasks,
    row_files,
    task_of,
)
from tangentlm.tasks.pools import draw_rows, draw_two_parts

NONE, UNKNOWN = "none", "unknown"
"""Checksums of what a run does not read, and of what is not at hand."""
FROM_HUB = "hub:"
"""What the checksum of rows that are not downloaded begins with: that of where they are."""
DIGITS = 16
_TASK_FIELDS = {"template", "label_words", "metric", "max_length"}
"""What of a task decides a number; its rows have a checksum of their own."""


def short(value: object) -> str:
    """A checksum of any JSON value, as identities hold it."""
    return digest(value)[:DIGITS]


# --- how a run asks its task ----------------------------------------------------------------


@singledispatch
def asked(run: Run) -> Mapping[str, object] | None:
    """What of its task, beside the rows, decides a run's numbers.

    Args:
        run: The run.

    Returns:
        Values by the task's field; ``None`` where the task's name decides, or there is none.
    """
    return None


@asked.register
def _(run: TaskRun) -> Mapping[str, object]:
    try:
        task = asked_task(run)
    except InputError:  # a model that is not at hand is unknown anyway
        task = task_of(run)
    return task.model_dump(mode="json", include=_TASK_FIELDS)


@asked.register
def _(run: WholeTaskRun) -> Mapping[str, object]:
    return {"max_length": run.max_length or load_task(run.task).max_length}


@asked.register
def _(run: LayersRun) -> Mapping[str, object]:
    fields = _TASK_FIELDS if run.head == "prompt" else {"max_length"}
    return load_task(run.task, **run.length).model_dump(mode="json", include=fields)


@asked.register
def _(run: OutcomeRun) -> Mapping[str, object]:
    return {}


@asked.register
def _(run: ForecastOutcomeRun) -> Mapping[str, object]:
    return load_task(run.task).model_dump(mode="json", include={"template", "label_words"})


# --- whether it is at hand ------------------------------------------------------------------


def data_of(run: Run) -> str:
    """The checksum of what a run reads, for its identity.

    Args:
        run: The run.

    Returns:
        The checksum; ``NONE`` for a run that reads nothing and ``UNKNOWN`` where it is not at hand,
        or ``FROM_HUB`` with where it is.

    Raises:
        InputError: If what is at hand cannot be read, or is too little.
    """
    if _at_hand(run):
        return read_data(run)
    hub = task_of(run).hub if isinstance(run, TaskRun) else None
    return UNKNOWN if hub is None else FROM_HUB + short(hub.model_dump(mode="json"))


@singledispatch
def _at_hand(run: Run) -> bool:
    return True


@_at_hand.register
def _(run: TaskModelRun) -> bool:
    return has_rows(load_task(run.task), run.data)


@_at_hand.register
def _(run: WholeTaskRun) -> bool:
    return all(has_rows(load_task(name), run.data) for name in (run.task, *_shifted(run)))


@_at_hand.register
def _(run: ForecastRun) -> bool:
    return all(path.exists() for path in run.files)


@_at_hand.register
def _(run: PretrainRun | ProbeRun) -> bool:
    from tangentlm.pretrain.corpus import open_corpus

    try:
        open_corpus(run.corpus)
    except InputError:
        return False
    return True


# --- the data -------------------------------------------------------------------------------


@singledispatch
def read_data(run: Run) -> str:
    """Read what a run reads, as a check before it starts.

    Args:
        run: The run.

    Returns:
        Its checksum.

    Raises:
        InputError: If it is not at hand, cannot be read or is too little.
    """
    return NONE


@read_data.register
def _(run: TaskRun) -> str:
    return _split_checksum(task_of(run), run.k, run.seed, run.data, run.test_size)


@read_data.register
def _(run: WholeTaskRun) -> str:
    sizes = (run.train_size, run.dev_size, run.test_size)
    whole, _ = _whole_checksums(run.task, *sizes, run.data)
    return short([whole, *(_whole_checksums(name, *sizes, run.data)[1] for name in _shifted(run))])


@read_data.register
def _(run: ConditionRun) -> str:
    return _pool_checksum(run.task, run.pool, run.seed, run.data)


@read_data.register
def _(run: LayersRun | OutcomeRun) -> str:
    return _two_parts_checksum(run.task, run.train_size, run.test_size, run.seed, run.data)


@read_data.register
def _(run: ForecastValidationRun) -> str:
    return _two_parts_checksum(run.task, run.pool_size, run.test_size, run.seed, run.data)


@read_data.register
def _(run: ForecastRun) -> str:
    run.check_names()
    return short([file_digest(file) for path in run.files for file in _all_files(path)])


@read_data.register
def _(run: PretrainRun) -> str:
    return short(_corpus_and_probes(run.corpus))


@read_data.register
def _(run: ProbeRun) -> str:
    return short([*_corpus_and_probes(run.corpus), *_tasks_at_hand(run.data)])


def _shifted(run: WholeTaskRun) -> tuple[str, ...]:
    """The tasks on whose test rows a run is tested, too."""
    return run.shifted if isinstance(run, TwoStageRun) else ()


def _corpus_and_probes(corpus: str | None) -> list[str]:
    from tangentlm.pretrain.corpus import open_corpus
    from tangentlm.pretrain.probes import probes_file

    return [open_corpus(corpus).checksum, file_digest(probes_file())]


def _all_files(path: Path) -> list[Path]:
    """A file, or all files of a folder."""
    return sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]


def _tasks_at_hand(data: str | None) -> list[object]:
    """What a probe asks: every task whose rows are at hand, and the checksums of these."""
    return [
        [
            task.model_dump(mode="json", include={"name", *_TASK_FIELDS}),
            *(file_digest(file) for file in row_files(task, data)),
        ]
        for task in map(load_task, probed_tasks())
        if has_rows(task, data)
    ]


@cache
def _split_checksum(task: Task, k: int, seed: int, data: str | None, test_size: int) -> str:
    return load_split(task, k, seed, data=data, test_size=test_size).checksum[:DIGITS]


@cache
def _whole_checksums(
    task: str, train: int | None, dev: int | None, test: int, data: str | None
) -> tuple[str, str]:
    """Of all rows of a split, and of its test rows."""
    split = load_whole(load_task(task), train_size=train, dev_size=dev, test_size=test, data=data)
    return split.checksum, digest([asdict(row) for row in split.test])


@cache
def _pool_checksum(task: str, pool: int, seed: int, data: str | None) -> str:
    rows = draw_rows(load_task(task), pool, seed, data=data)
    return short([row.text_a for row in rows] + [row.text_b for row in rows])


@cache
def _two_parts_checksum(task: str, train: int, test: int, seed: int, data: str | None) -> str:
    parts = draw_two_parts(load_task(task), train, test, seed, data=data)
    return short([[asdict(row) for row in part] for part in parts])
