"""A collected run executed again, and every number compared with its row."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Mapping
from typing import Any

import pandas as pd

from tangentlm.errors import InputError, unknown_name
from tangentlm.params import load_study, project_root
from tangentlm.studies.checks import check
from tangentlm.studies.collect import flat, read_collected, read_collected_table, tables_of
from tangentlm.studies.execution import execute_in
from tangentlm.studies.identity import identity
from tangentlm.studies.records import read_record

_SECONDS = "seconds"
_OF_THE_ROW = {"study", "run", "method", "identity"}
"""Columns that are no part of a record."""


def repeat(study: str, name: str) -> int:
    """Execute a run of a study again, and say what differs from its collected row.

    Args:
        study: E.g. ``"pocket"``.
        name: ``<experiment>/<run>``.

    Returns:
        0 if every parameter, metric and checksum is the same to the last digit, 1 otherwise.

    Raises:
        InputError: If there is no such run or row, or the run fails.
    """
    runs = {f"{run.experiment}/{run.name}": run for run in load_study(study)}
    if name not in runs:
        raise unknown_name(f"run of study {study}", name, runs)
    run = runs[name]
    rows = read_collected(study, run.experiment)
    row = rows[rows["run"] == run.name] if len(rows) else rows
    if row.empty:
        raise InputError(f"{study}/{name} was not collected, so there is nothing to compare with")
    check([run])
    scratch = project_root() / "runs" / study / ".repeated" / name
    problem = execute_in(scratch, run, str(identity(run)), progress_bar=sys.stderr.isatty())
    if problem is not None:
        raise InputError(f"run {study}/{name} failed: {problem}; see {scratch}")
    record = read_record(scratch)
    assert record is not None
    found = differences(row.iloc[0].to_dict(), record) + table_differences(study, record)
    for line in found:
        print(line)
    seconds = record["cost"][_SECONDS]
    verdict = "differs" if found else "the same to the last digit"
    print(f"{study}/{name}: {verdict} ({seconds:.0f} s, then {row.iloc[0][_SECONDS]:.0f} s)")
    shutil.rmtree(scratch)
    return int(bool(found))


def differences(row: Mapping[Any, Any], record: Mapping[str, Any]) -> list[str]:
    """What a record says otherwise than a collected row; cost and machine may differ.

    Args:
        row: The row, by column.
        record: A record of the same run.

    Returns:
        A line for each column.
    """
    lines = []
    said = flat(record, ("parameters", "metrics", "inputs"))
    for column, value in said.items():
        if column == "device" or "seconds" in column:  # the row holds the machine's
            continue
        if column not in row:
            continue  # it came later; that a parameter is as before, the identity says
        before = row.get(column)
        if pd.isna(before) and value is None:
            continue
        if pd.isna(before):
            lines.append(f"{column}: nothing -> {value}")
        elif not same_value(before, value):
            lines.append(f"{column}: {before} -> {value}")
    known = said | flat(record, ("cost", "environment"))
    lines += [
        f"{column}: {before} -> nothing"
        for column, before in row.items()
        if not (column in known or column in _OF_THE_ROW or "seconds" in column or pd.isna(before))
    ]
    return lines


def table_differences(study: str, record: Mapping[str, Any]) -> list[str]:
    """What the tables inside a record say otherwise than the collected ones.

    Args:
        study: E.g. ``"pocket"``.
        record: A record of a run that was collected.

    Returns:
        A line for each table.
    """
    lines = []
    for name, now in tables_of(record).items():
        before = read_collected_table(study, name)
        before = before[before["run"] == record["run"]] if len(before) else before
        if len(before) != len(now):
            lines.append(f"table {name}: {len(before)} rows -> {len(now)}")
            continue
        pairs = [
            (column, old, new)
            for column in now[0]
            if column in before and "seconds" not in column
            for old, new in zip(before[column], (row[column] for row in now), strict=True)
        ]
        other = {c for c, old, new in pairs if not (_none(old, new) or same_value(old, new))}
        if other:
            lines.append(f"table {name}: other values of {', '.join(sorted(other))}")
    return lines


def _none(before: Any, now: Any) -> bool:
    return bool(pd.isna(before)) and (now is None or now == "")


def same_value(before: Any, now: Any) -> bool:
    """Whether a cell of a table holds a value.

    Args:
        before: The cell: text or a number.
        now: The value.

    Returns:
        Whether they are the same text, or the same number to the last digit.
    """
    if str(before) == str(now):
        return True
    try:
        return math.isclose(float(before), float(now), rel_tol=0.0)
    except (TypeError, ValueError):
        return False
