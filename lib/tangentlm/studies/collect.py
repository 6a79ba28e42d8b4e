"""The collected results of a study: ``results/<study>/*.csv``, made of its runs' records.

These tables are what the book is built from, and what is committed. The folders of the runs are
not, so the tables also remember: a run whose row has the run's identity is done, on whatever
machine it was, and rows of runs that have no folder here stay until the run is done anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from tangentlm.errors import InputError, unknown_name
from tangentlm.params import RUNS, Run, project_root
from tangentlm.studies.identity import identity
from tangentlm.studies.records import read_record


def collect(study: str, runs: list[Run]) -> dict[str, pd.DataFrame]:
    """The records of a study's done runs, a table for each experiment.

    Args:
        study: E.g. ``"pocket"``.
        runs: All runs of the study, done or not.

    Returns:
        A data frame for each experiment, one row a run; nested metrics stay in the records.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        record = _record(run, study)
        if record is None:
            continue
        rows.setdefault(run.experiment, []).append(
            {
                "study": study,
                "run": run.name,
                "method": run.method,
                "identity": record["identity"],
                **flat(record, ("parameters", "metrics", "inputs", "cost", "environment")),
            }
        )
    return {experiment: pd.DataFrame(table) for experiment, table in rows.items()}


def flat(record: Mapping[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    """The plain values of some parts of a record, as a row of a table has them.

    Args:
        record: The record.
        parts: ``"parameters"``, ``"metrics"`` and so on.

    Returns:
        Values by name, of several parts the last one's; tables inside are left out.
    """
    return {
        name: value
        for part in parts
        for name, value in record[part].items()
        if not isinstance(value, dict | list)
    }


def collect_tables(study: str, runs: list[Run]) -> dict[str, pd.DataFrame]:
    """The tables inside the records of a study's done runs, each joined over the runs.

    Args:
        study: E.g. ``"pocket"``.
        runs: All runs of the study, done or not.

    Returns:
        A data frame for each metric that is a list, named ``<experiment>-<metric>``, with the
        run's name in the column ``run``: of a list of rows its rows, of a list of numbers one row
        with the numbers in columns ``0``, ``1`` and so on.
    """
    tables: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        for name, rows in tables_of(_record(run, study) or {}).items():
            tables.setdefault(name, []).extend(rows)
    return {name: pd.DataFrame(rows) for name, rows in tables.items() if rows}


def tables_of(record: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The tables inside a record, as ``collect_tables`` joins them.

    Args:
        record: A run's record; may be empty.

    Returns:
        Rows with the column ``run`` by ``<experiment>-<metric>``.
    """
    tables: dict[str, list[dict[str, Any]]] = {}
    for metric, value in record.get("metrics", {}).items():
        if not isinstance(value, list) or not value:
            continue
        name = f"{record['experiment']}-{metric}"
        if isinstance(value[0], dict):
            tables[name] = [{"run": record["run"], **row} for row in value]
        elif isinstance(value[0], int | float):
            tables[name] = [{"run": record["run"], **{str(i): x for i, x in enumerate(value)}}]
    return tables


def results_folder(study: str) -> Path:
    """Where the collected results of a study are: ``results/<study>``.

    Args:
        study: E.g. ``"pocket"``.

    Returns:
        A path that may not exist.
    """
    return project_root() / "results" / study


def _record(run: Run, study: str) -> dict[str, Any] | None:
    """A run's record, unless its row is of the present identity and the record is of another."""
    record = read_record(run.folder(study))
    row = collected_identity(run, study)
    if record is None or row is None or row == record["identity"]:
        return record
    return None if row == str(identity(run)) else record


def write_collected(study: str, runs: list[Run]) -> list[Path]:
    """Write ``results/<study>/<experiment>.csv``, and the tables inside, from the records.

    Rows that were collected before, of runs of the study that have no record here, are kept.

    Args:
        study: E.g. ``"pocket"``.
        runs: All runs of the study, done or not.

    Returns:
        The files written.
    """
    folder = results_folder(study)
    folder.mkdir(parents=True, exist_ok=True)
    recorded = collect(study, runs)
    paths = []
    for name, table in {**recorded, **collect_tables(study, runs)}.items():
        path = folder / f"{name}.csv"
        before = _read(path)
        if len(before):
            experiment = name.split("-")[0]
            place = {run.name: i for i, run in enumerate(runs) if run.experiment == experiment}
            elsewhere = ~before["run"].isin(recorded[experiment]["run"])
            kept = before[elsewhere & before["run"].isin(place)]
            table = pd.concat([table, kept], ignore_index=True)
            table = table.sort_values("run", key=lambda names: names.map(place), kind="stable")
        # Written aside and renamed: rows that are nowhere else must not be lost halfway.
        part = path.with_suffix(".part")
        table.to_csv(part, index=False)
        part.rename(path)
        paths.append(path)
    return paths


def collected_identity(run: Run, study: str) -> str | None:
    """The identity that a run had when it was collected, as text.

    Args:
        run: The run.
        study: Its study.

    Returns:
        As ``str(Identity)`` writes it, or ``None`` if the run was not collected.
    """
    path = results_folder(study) / f"{run.experiment}.csv"
    if not path.is_file():
        return None
    status = path.stat()
    return _identities(path, status.st_size, status.st_mtime_ns).get(run.name)


@cache
def _identities(path: Path, _size: int, _mtime: int) -> dict[str, str]:
    table = _parsed(path, dtype=str, keep_default_na=False)
    if "run" not in table:
        raise InputError(f"{path} is not a table of results: it has no column 'run'")
    twice = table["run"][table["run"].duplicated()]
    if len(twice):
        raise InputError(f"{path}: run {twice.iloc[0]} has two rows")
    identities = table.get("identity", pd.Series("", table.index))
    return dict(zip(table["run"], identities, strict=True))


def read_collected_table(study: str, name: str) -> pd.DataFrame:
    """A table from inside the records of a study's runs.

    Args:
        study: E.g. ``"pocket"``.
        name: ``<experiment>-<metric>``, e.g. ``"pretrain-curve"``.

    Returns:
        Its rows with the column ``run``; empty, with no columns, where nothing was collected.
    """
    path = results_folder(study) / f"{name}.csv"
    return _read(path)


def read_benchmark(name: str, device: str = "cpu") -> pd.DataFrame:
    """The rows that a benchmark wrote to ``results/benchmarks``.

    Args:
        name: Its part, e.g. ``"speed"``.
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        A row a measurement; empty, with no columns, where it has not been run.
    """
    return _read(project_root() / "results" / "benchmarks" / device / f"{name}.csv")


def read_collected(study: str, experiment: str, folder: Path | None = None) -> pd.DataFrame:
    """The collected results of an experiment in a study.

    Args:
        study: E.g. ``"pocket"``.
        experiment: E.g. ``"kernel"``.
        folder: Where the study's records are; by default those of the project.

    Returns:
        One row a run; empty, with no columns, where nothing was collected. The ``seconds`` of a
        training that was resumed are those of all its processes, not of the last one alone.

    Raises:
        InputError: If the experiment is unknown.
    """
    if experiment not in RUNS:
        raise unknown_name("experiment", experiment, RUNS)
    runs = _read((folder or results_folder(study)) / f"{experiment}.csv")
    if "training_seconds" in runs:
        runs["seconds"] = runs[["seconds", "training_seconds"]].max(axis=1)
    return runs


def as_usual(runs: pd.DataFrame, usual: Mapping[str, str]) -> pd.DataFrame:
    """The runs that leave some parameters as they usually are.

    Records from before a parameter existed say nothing of it; they ran with what is usual.

    Args:
        runs: From ``read_collected``.
        usual: Values by parameter, e.g. ``{"labels": "given"}``.

    Returns:
        The rows with these values.
    """
    for column, value in usual.items():
        if column in runs:
            runs = runs[runs[column].fillna(value) == value]
    return runs


def _read(path: Path) -> pd.DataFrame:
    """A collected table, if there is one; only an empty cell is missing, "null" is a prompt."""
    if not path.is_file():
        return pd.DataFrame()
    return _parsed(path, keep_default_na=False, na_values=[""])


def _parsed(path: Path, **options: Any) -> pd.DataFrame:
    """A table; whatever is wrong with its file is one clear line."""
    try:
        table: pd.DataFrame = pd.read_csv(path, **options)
    except (ValueError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"{path} is not a table of results: {first}") from None
    return table
