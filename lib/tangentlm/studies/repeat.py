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
from tangentlm.studies.collect import flat, read_collected
from tangentlm.studies.execution import check, execute_in
from tangentlm.studies.identity import identity
from tangentlm.studies.records import read_record

_SECONDS = "seconds"


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
    found = differences(row.iloc[0].to_dict(), record)
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
    for column, value in flat(record, ("parameters", "metrics", "inputs")).items():
        if column == "device" or "seconds" in column:  # the row holds the machine's
            continue
        before = row.get(column)
        if pd.isna(before) and value is None:
            continue
        if pd.isna(before):
            lines.append(f"{column}: nothing -> {value}")
        elif not same_value(before, value):
            lines.append(f"{column}: {before} -> {value}")
    return lines


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
