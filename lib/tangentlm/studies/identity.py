"""What decides a run's result, and how a record says so.

A run's identity has five parts. Three are checksums: of its parameters, with the values of the
grid, recipe and task that they name; of the data it reads; of the model it starts from. Two are
versions, integers that stand in the code beside what they speak of: the experiment's, in its class
of ``tangentlm.params``, and the engine's, ``tangentlm.kernels.VERSION``. Whoever changes what a run
computes raises the version; the golden-number tests fail until that is done. Where code lies and
how it is written is no part of an identity, so moving it makes no run stale.

What cannot be known here is not guessed: a data set or a model that is not at hand is left out of
the comparison, and the study's dry run says so. The label words of other tasks, which a tokenizer
is trained to know, are no part either: a new task does not make every model stale.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Self

from tangentlm.errors import InputError
from tangentlm.models.asking import asked_task
from tangentlm.models.checkpoints import checkpoint_location, list_models, load_checkpoint
from tangentlm.models.packages import checksum
from tangentlm.params import (
    RUN_PREFIX,
    ConditionRun,
    ForecastRun,
    ForecastValidationRun,
    LayersRun,
    MinilangRun,
    PretrainRun,
    ProbeRun,
    Run,
    TaskRun,
    WholeTaskRun,
    digest,
    file_digest,
    list_studies,
    load_study,
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
_FROM_HUB = "hub:"
"""What the checksum of rows that are not downloaded begins with: that of where they are."""
_DIGITS = 16
_WITH_MODEL = (
    TaskRun
    | ProbeRun
    | MinilangRun
    | WholeTaskRun
    | ConditionRun
    | LayersRun
    | ForecastRun
    | ForecastValidationRun
)
"""Runs that begin with a model by name."""
_TASK_FIELDS = {"template", "label_words", "metric", "max_length"}
"""What of a task decides a number; its rows have a checksum of their own."""


@dataclass(frozen=True)
class Identity:
    """What decides a run's result.

    Attributes:
        parameters: Checksum of the parameters, and of what they name.
        data: Checksum of the rows or the text that is read.
        model: Checksum of the model that the run starts from.
        experiment: The experiment's version.
        engine: The engine's version; 0 for an experiment that computes no kernel.
    """

    parameters: str
    data: str
    model: str
    experiment: int
    engine: int

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in asdict(self).items())

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The identity that a record or a collected row holds as text.

        Args:
            text: As ``str`` writes it.

        Returns:
            The identity, or ``None`` if the text is of another kind, e.g. from an older record.
        """
        parts = dict(part.partition("=")[::2] for part in text.split())
        versions = (parts.get("experiment", ""), parts.get("engine", ""))
        if list(parts) != list(cls.__dataclass_fields__) or not all(map(str.isdigit, versions)):
            return None
        return cls(
            parameters=parts["parameters"],
            data=parts["data"],
            model=parts["model"],
            experiment=int(parts["experiment"]),
            engine=int(parts["engine"]),
        )

    def differences(self, recorded: Identity) -> list[str]:
        """Why a record does not stand for the run that has this identity.

        Args:
            recorded: The identity in the record.

        Returns:
            A few words for each part that differs; what is unknown here differs from nothing.
        """
        now, then = asdict(self), asdict(recorded)
        return [
            f"{name} {then[name]} -> {now[name]}" if isinstance(now[name], int) else f"other {name}"
            for name in now
            if now[name] != then[name] and name not in self.not_compared(recorded)
        ]

    def not_compared(self, recorded: Identity) -> list[str]:
        """The parts that nobody can compare: unknown here, or rows of the hub with rows of a file.

        Args:
            recorded: The identity in the record.

        Returns:
            Their names.
        """
        now, then = asdict(self), asdict(recorded)
        from_hub = [str(parts["data"]).startswith(_FROM_HUB) for parts in (now, then)]
        return [
            name
            for name, value in now.items()
            if value == UNKNOWN or (name == "data" and any(from_hub) and not all(from_hub))
        ]

    @property
    def unknown(self) -> list[str]:
        """The parts that cannot be compared here."""
        return [name for name, value in asdict(self).items() if value == UNKNOWN]


def identity(run: Run) -> Identity:
    """What decides a run's result, as things stand now.

    Args:
        run: The run.

    Returns:
        Its identity.
    """
    from tangentlm.kernels import VERSION

    values = run.deciding()
    values.pop("model", None)  # its weights have a checksum; its name decides nothing
    if isinstance(run, TaskRun):
        values["task"] = _asked(run).model_dump(mode="json", include=_TASK_FIELDS)
    if isinstance(run, WholeTaskRun):
        task = load_task(run.task)
        values["task"] = {"max_length": run.max_length or task.max_length}
        values.pop("max_length")
    if isinstance(run, LayersRun):
        task = load_task(run.task, **run.length)
        asked = _TASK_FIELDS if run.head == "prompt" else {"max_length"}
        values["task"] = task.model_dump(mode="json", include=asked)
        values.pop("max_length")
    return Identity(
        parameters=_short({"experiment": run.experiment, **values}),
        data=_data(run),
        model=_model(run),
        experiment=run.version,
        engine=VERSION if run.computes_kernels else 0,
    )


def _asked(run: TaskRun) -> Task:
    """The task as its model is asked; a model that is not at hand is unknown anyway."""
    try:
        return asked_task(run)
    except InputError:
        return task_of(run)


def _short(value: object) -> str:
    return digest(value)[:_DIGITS]


def _data(run: Run) -> str:
    """The checksum of what a run reads."""
    if isinstance(run, TaskRun):
        task = task_of(run)
        if not has_rows(task, run.data):
            hub = None if task.hub is None else task.hub.model_dump(mode="json")
            return UNKNOWN if hub is None else _FROM_HUB + _short(hub)
        return _split_checksum(task, run.k, run.seed, run.data, run.test_size)
    if isinstance(run, WholeTaskRun):
        tasks = [run.task, *getattr(run, "shifted", ())]
        if not all(has_rows(load_task(name), run.data) for name in tasks):
            return UNKNOWN
        return _short([_whole_checksum(run, name) for name in tasks])
    if isinstance(run, ConditionRun):
        if not has_rows(load_task(run.task), run.data):
            return UNKNOWN
        rows = draw_rows(load_task(run.task), run.pool, run.seed, data=run.data)
        return _short([row.text_a for row in rows] + [row.text_b for row in rows])
    if isinstance(run, LayersRun):
        return _two_parts_checksum(run, run.train_size)
    if isinstance(run, ForecastValidationRun):
        return _two_parts_checksum(run, run.pool_size)
    if isinstance(run, ForecastRun):
        if not all(path.exists() for path in run.files):
            return UNKNOWN
        return _short([file_digest(file) for path in run.files for file in _all_files(path)])
    if isinstance(run, PretrainRun | ProbeRun):
        from tangentlm.pretrain.corpus import open_corpus
        from tangentlm.pretrain.probes import probes_file

        try:
            corpus = open_corpus(run.corpus).checksum
        except InputError:
            return UNKNOWN
        tasks = _tasks_at_hand(run.data) if isinstance(run, ProbeRun) else []
        return _short([corpus, file_digest(probes_file()), *tasks])
    return NONE


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
    checksum = load_split(task, k, seed, data=data, test_size=test_size).checksum
    return checksum[:_DIGITS]


@cache
def _whole_checksum(run: WholeTaskRun, name: str) -> str:
    split = load_whole(
        load_task(name), train_size=run.train_size, dev_size=run.dev_size,
        test_size=run.test_size, data=run.data,
    )  # fmt: skip
    return split.checksum if name == run.task else digest([asdict(row) for row in split.test])


def _two_parts_checksum(run: LayersRun | ForecastValidationRun, train_size: int) -> str:
    task = load_task(run.task)
    if not has_rows(task, run.data):
        return UNKNOWN
    parts = draw_two_parts(task, train_size, run.test_size, run.seed, data=run.data)
    return _short([[asdict(row) for row in part] for part in parts])


def _model(run: Run) -> str:
    """The checksum of the model that a run starts from."""
    if isinstance(run, PretrainRun):
        start = run.resolved.start
        return NONE if start is None else _model_checksum(start)
    if not isinstance(run, _WITH_MODEL) or run.model is None:
        return NONE
    return _model_checksum(run.model)


def _model_checksum(model: str) -> str:
    maker = maker_of(model)
    if maker is not None:
        # What a run of ours made is known by that run, wherever its weights are.
        made = identity(maker)
        return UNKNOWN if made.unknown else _short(str(made))
    package = load_checkpoint(model).package if model in list_models() else None
    if package is not None:
        return checksum(package)[:_DIGITS]
    try:
        location, revision = checkpoint_location(model)
    except InputError:
        return UNKNOWN
    if not Path(location).is_dir():
        return _short([location, revision])
    return _short([[path.name, file_digest(path)] for path in _weights(Path(location))])


def maker_of(model: str) -> PretrainRun | None:
    """The run of a study of ours that makes a model.

    Args:
        model: A model's name.

    Returns:
        The pre-training, or ``None`` if no run of a study makes it.
    """
    if not model.startswith(RUN_PREFIX):
        return None
    study, _, name = model.removeprefix(RUN_PREFIX).partition("/")
    if study not in list_studies():
        return None
    makers = (run for run in load_study(study) if isinstance(run, PretrainRun))
    return next((run for run in makers if run.name == name), None)


def _weights(folder: Path) -> Iterable[Path]:
    """The files of a model: not its card, nor folders and hidden files."""
    files = (path for path in folder.iterdir() if path.is_file() and path.suffix != ".md")
    return sorted(path for path in files if not path.name.startswith("."))
