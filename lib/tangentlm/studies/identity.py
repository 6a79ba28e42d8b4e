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
from pathlib import Path
from typing import Self

from tangentlm.errors import InputError
from tangentlm.models.checkpoints import checkpoint_location, list_models, load_checkpoint
from tangentlm.models.packages import checksum
from tangentlm.params import (
    RUN_PREFIX,
    MinilangRun,
    ModelRun,
    PretrainRun,
    Run,
    file_digest,
    list_studies,
    load_study,
)
from tangentlm.studies.reads import DIGITS, FROM_HUB, NONE, UNKNOWN, asked, data_of, short


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
        from_hub = [str(parts["data"]).startswith(FROM_HUB) for parts in (now, then)]
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
    task = asked(run)
    if task is not None:
        values["task"] = task
        if "max_length" in task:
            values.pop("max_length", None)  # the run's own, or the task's
    return Identity(
        parameters=short({"experiment": run.experiment, **values}),
        data=data_of(run),
        model=_model(run),
        experiment=run.version,
        engine=VERSION if run.computes_kernels else 0,
    )


def _model(run: Run) -> str:
    """The checksum of the model that a run starts from."""
    if isinstance(run, PretrainRun):
        start = run.resolved.start
        return NONE if start is None else _model_checksum(start)
    if isinstance(run, ModelRun | MinilangRun) and run.model is not None:
        return _model_checksum(run.model)
    return NONE


def _model_checksum(model: str) -> str:
    maker = maker_of(model)
    if maker is not None:
        # What a run of ours made is known by that run, wherever its weights are.
        made = identity(maker)
        return UNKNOWN if made.unknown else short(str(made))
    package = load_checkpoint(model).package if model in list_models() else None
    if package is not None:
        return checksum(package)[:DIGITS]
    try:
        location, revision = checkpoint_location(model)
    except InputError:
        return UNKNOWN
    if not Path(location).is_dir():
        return short([location, revision])
    return short([[path.name, file_digest(path)] for path in _weights(Path(location))])


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
