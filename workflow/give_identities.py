"""Give collected rows that were made before identities their identity, once.

    TANGENTLM_DATA=/path/to/data TANGENTLM_CORPUS=/path/to/text python workflow/give_identities.py

A row gets the present identity of the run of its name where every parameter in it is the run's, and
the checksum of the data in it is that of the data at hand. Every other row is named and left as it
is, so that the run is stale. The script was run when ``tangentlm.studies.identity`` took the place
of the hashing of source files; before that, runs of every kind were repeated and compared.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pandas as pd

from tangentlm.params import RUNS, PretrainRun, ProbeRun, Run, list_studies, load_study
from tangentlm.pretrain.corpus import open_corpus
from tangentlm.studies.collect import results_folder
from tangentlm.studies.identity import UNKNOWN, identity
from tangentlm.studies.repeat import same_value

OLD, NEW = "fingerprint", "identity"
OVERWRITTEN = {"device": "the machine", "rank": "the kernel's", "steps": "those done"}
"""Columns in which a row holds something else than the parameter of that name."""


def problem(row: Mapping[Any, Any], run: Run) -> str | None:
    """Why a row is not the present run's, or ``None``."""
    for name, value in run.parameters().items():
        # A list stands in no cell.
        if name in OVERWRITTEN or name not in row or isinstance(value, list):
            continue
        if not (pd.isna(row[name]) and value is None) and not same_value(row[name], value):
            return f"{name} is {row[name]}, not {value}"
    now = identity(run)
    if UNKNOWN in (now.data, now.model):
        return f"{', '.join(now.unknown)} not at hand"
    if (
        isinstance(run, PretrainRun | ProbeRun)
        and row["corpus"] != open_corpus(run.corpus).checksum
    ):
        return "other text"
    split = row.get("split")
    if isinstance(split, str) and not split.startswith(now.data):
        return "other data"
    return None


def give(study: str, experiment: str) -> tuple[int, list[str]]:
    """The rows of an experiment that got an identity, and those that did not, with the reason."""
    path = results_folder(study) / f"{experiment}.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    runs = {run.name: run for run in load_study(study) if run.experiment == experiment}
    identities: list[str] = []
    left: list[str] = []
    for row in table.to_dict("records"):
        run = runs.get(row["run"])
        why = "no such run in the study" if run is None else problem(row, run)
        if why is not None:
            left.append(f"{study}/{experiment}/{row['run']}: {why}")
        identities.append("" if why or run is None else str(identity(run)))
    table = table.drop(columns=[OLD, NEW], errors="ignore")
    table.insert(3, NEW, identities)
    table.to_csv(path, index=False)
    return sum(map(bool, identities)), left


def main() -> int:
    """Go through every collected experiment; 1 if a row was left without an identity."""
    all_left = []
    for study in list_studies():
        for experiment in RUNS:
            if (results_folder(study) / f"{experiment}.csv").is_file():
                given, left = give(study, experiment)
                print(f"{study}/{experiment}: {given} rows, {len(left)} left")
                all_left += left
    print("\n".join(all_left))
    return int(bool(all_left))


if __name__ == "__main__":
    sys.exit(main())
