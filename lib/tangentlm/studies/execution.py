"""Executing one run: a papermill execution of its experiment's template.

Papermill writes to a scratch folder. Only a run that ended well is moved, at once and whole, to
``runs/<study>/<experiment>/<run>``.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tangentlm.errors import InputError, unknown_name
from tangentlm.params import Run, load_study, make_run, project_root
from tangentlm.studies.checks import check
from tangentlm.studies.collect import collected_identity
from tangentlm.studies.records import IDENTITY_VARIABLE, NOTEBOOK, RECORD, read_record

_TORNADO = {"loggers": {"tornado": {"level": "CRITICAL"}}}
_QUIET = ["--log-level=50", f"--IPKernelApp.logging_config={_TORNADO}"]
"""A kernel logs nothing: it may trip over its own sockets while it is shut down."""


def template(experiment: str) -> Path:
    """The notebook that an experiment's runs execute.

    Args:
        experiment: E.g. ``"kernel"``.

    Returns:
        ``book/experiments/<experiment>.py``.
    """
    return project_root() / "book" / "experiments" / f"{experiment}.py"


def execute(study: str, experiment: str, name: str, identity: str | None = None) -> None:
    """Execute one run of a study with papermill.

    Args:
        study: E.g. ``"pocket"``.
        experiment: E.g. ``"kernel"``.
        name: The run's name.
        identity: What decides the run's result, as text, where that is known already.

    Raises:
        InputError: If there is no such run, or it failed; the message names the notebook that
            shows where.
    """
    runs = {f"{run.experiment}/{run.name}": run for run in load_study(study)}
    if f"{experiment}/{name}" not in runs:
        raise unknown_name(f"run of study {study}", f"{experiment}/{name}", runs)
    run = runs[f"{experiment}/{name}"]
    if identity is None:
        from tangentlm.studies.identity import identity as identity_of

        identity = str(identity_of(run))
    _execute_and_place(study, run, identity)
    _report(study, run, runs)


def execute_local(experiment: str, parameters: Sequence[str]) -> Path:
    """Execute one run with parameters of the user's own, in ``runs/local``.

    Args:
        experiment: E.g. ``"kernel"``.
        parameters: ``name=value`` each, the value in YAML.

    Returns:
        The run's folder; if the same run is there already, nothing is executed.

    Raises:
        InputError: If a parameter is unknown or wrong, or the run fails.
    """
    from tangentlm.studies.done import standing
    from tangentlm.studies.identity import identity

    run = make_run(experiment, _values(parameters))
    if run.out is not None:
        raise InputError("out: this command writes to runs/local/<experiment>/<run>")
    folder = run.folder("local")
    before = standing(run, "local").state == "done"
    if not before:
        check([run])
        _execute_and_place("local", run, str(identity(run)), progress_bar=sys.stderr.isatty())
    record = read_record(folder)
    assert record is not None
    print(
        f"{run.experiment}/{run.name}: {run.headline.format_map(record['metrics'])}"
        f"{' (done before; delete its folder to run it again)' if before else ''}\n"
        f"see {folder / NOTEBOOK}"
    )
    return folder


def _values(parameters: Sequence[str]) -> dict[str, Any]:
    """The values of ``name=value``, read as YAML."""
    values: dict[str, Any] = {}
    for given in parameters:
        name, equals, text = given.partition("=")
        if not (name and equals):
            raise InputError(f"{given!r} is not name=value")
        if name in values:
            raise InputError(f"{name} is given twice")
        try:
            values[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", None) or "no value"
            raise InputError(f"{name} = {text!r} is not valid YAML: {problem}") from None
    return values


def _execute_and_place(study: str, run: Run, identity: str, *, progress_bar: bool = False) -> None:
    """Execute a run in a scratch folder and move it, at once and whole, to its own.

    A run that fails leaves its notebook under ``.failed``, and what was there before stays.
    """
    base = project_root() / "runs" / study
    scratch = base / ".scratch" / run.experiment / run.name
    failed = base / ".failed" / run.experiment / f"{run.name}.ipynb"
    problem = execute_in(scratch, run, identity, progress_bar=progress_bar)
    if problem is not None:
        failed.parent.mkdir(parents=True, exist_ok=True)
        if (scratch / NOTEBOOK).is_file():
            (scratch / NOTEBOOK).replace(failed)
        shutil.rmtree(scratch)
        name = f"{study}/{run.experiment}/{run.name}"
        raise InputError(f"run {name} failed: {problem}; see {failed}")
    folder = run.folder(study)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)
    shutil.rmtree(stale_folder(study, run), ignore_errors=True)
    failed.unlink(missing_ok=True)


def stale_folder(study: str, run: Run) -> Path:
    """Where a stale run waits until it was done anew: hours of work are not deleted before.

    Args:
        study: E.g. ``"pocket"``.
        run: One of its runs.

    Returns:
        A folder under ``runs/<study>/.stale``.
    """
    return project_root() / "runs" / study / ".stale" / run.experiment / run.name


def execute_in(scratch: Path, run: Run, identity: str, *, progress_bar: bool = False) -> str | None:
    """Execute a run's template in a folder of its own, which is emptied first.

    Args:
        scratch: The folder; it will hold the notebook, the record and arrays.
        run: The run.
        identity: What decides its result, for the record.
        progress_bar: Whether to show how many cells are done.

    Returns:
        What went wrong, in one line, or ``None``.
    """
    import jupytext
    import papermill
    from papermill.exceptions import PapermillExecutionError

    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    os.environ[IDENTITY_VARIABLE] = identity
    given = run.model_dump(mode="json", exclude_defaults=True) | {"out": str(scratch)}
    try:
        papermill.execute_notebook(
            jupytext.read(template(run.experiment)),
            str(scratch / NOTEBOOK),
            parameters=given,
            kernel_name="python3",
            cwd=str(project_root()),
            progress_bar=progress_bar,
            autosave_cell_every=0,
            extra_arguments=_QUIET,
        )
    except PapermillExecutionError as error:
        return f"{error.ename}: {' '.join(str(error.evalue).split())}"
    return None if (scratch / RECORD).is_file() else "it wrote no record"


def _report(study: str, run: Run, runs: Mapping[str, Run]) -> None:
    """One line for people about a run that is done."""
    record = read_record(run.folder(study)) or {}
    done = sum(
        (other.folder(study) / RECORD).is_file() or collected_identity(other, study) is not None
        for other in runs.values()
    )
    print(
        f"[{done:>{len(str(len(runs)))}}/{len(runs)}] {run.experiment}/{run.name}: "
        f"{run.headline.format_map(record['metrics'])}, "
        f"{record['cost']['seconds']:.0f} s",
        flush=True,
    )
