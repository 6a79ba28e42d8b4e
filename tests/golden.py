"""Golden numbers: what makes it safe that a version of an experiment is raised by hand.

A finished run stands for as long as its identity is what it was: its parameters, checksums and two
versions (see ``tangentlm.studies.identity``). So whoever changes a number must change an identity.
The files ``tests/golden/*.json`` hold numbers of tiny inputs, each with the identity that they are
of; ``tests/test_golden.py`` computes both anew and fails where only the numbers changed.

    python tests/golden.py                    compares everything
    python tests/golden.py --write [NAME]     writes the numbers whose identity has changed
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from golden_cases import CASES, Case, Numbers, Version
from project_copy import copy_project

FOLDER = Path(__file__).parent / "golden"

SAME_MACHINE = 1e-9
"""On the machine that wrote them all digits repeat. Below this are the last digits of float64,
which may depend on where in memory an array lies; the last digit of float32 is at 6e-8."""
OTHER_MACHINE = {
    "engine": 1e-5,
    "kernel": 1e-4,
    "finetune": 1e-3,
    "natural_tasks": 1e-3,
    "pretrain": 1e-5,
    "probe": 1e-5,
    "minilang": 1e-3,
    "condition": 1e-4,
    "layer_training": 1e-3,
    "forecast": 1e-2,  # one row of 32 that is told otherwise in one of ten repeats
    "forecast_outcome": 1e-3,
    "forecast_validation": 3e-2,  # a row or two of 80, or of 100, that are told otherwise
    "two_stage": 1e-3,
    "head_kernels": 1e-3,
    "anticipate": 2e-3,
}
"""How far numbers may be off on another processor, relative to the largest of their array.

Another processor adds up float32 sums in another order. With its instructions taken away, so that
AVX-512, AVX2 and SSE code computed the same numbers, they differed by 6e-7 in the engine (sums of
some hundred terms); by 1e-5 in kernel regression (of ill-conditioned kernels, not regularised); by
1e-4 in distances between kernels, and between logits and their Taylor model, both being small
differences of numbers after a training; by 6e-8 in losses of pre-training. The tolerance is about
eight times as much at least. Nor does any number here jump when every weight changes by 1e-6."""

_LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "transformers", "tokenizers")


def machine() -> str:
    """A digest of what decides the last digits: the processor and the libraries that compute."""
    try:
        processor = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        processor = platform.processor()
    lines = [line for line in processor.splitlines() if not re.match(r"cpu MHz|bogomips", line)]
    known = [platform.system(), *lines, *(version(name) for name in _LIBRARIES)]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]


def stored(case: Case) -> dict[str, Any] | None:
    """What the file holds of a case: its ``identity`` and ``numbers``, and of which ``machine``."""
    path = FOLDER / f"{case.file}.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"cases": {}}
    found = content["cases"].get(case.name)
    return None if found is None else {"machine": content["machine"], **found}


def changes(case: Case, found: Numbers, exact: bool = True) -> list[str]:
    """The numbers that are not those of the file, a line each.

    Args:
        case: The case.
        found: Its numbers now.
        exact: Whether the machine that wrote the file may ask for more digits than others.
    """
    golden = stored(case) or {"numbers": {}, "machine": ""}
    same_machine = exact and golden["machine"] == machine()
    tolerance = SAME_MACHINE if same_machine else OTHER_MACHINE[case.file]
    before: Numbers = golden["numbers"]
    lines = []
    for name in [*before, *(name for name in found if name not in before)]:
        then, now = np.array(before.get(name, [])), np.array(found.get(name, []))
        if then.shape != now.shape:
            lines.append(f"{name}: {len(then)} numbers -> {len(now)}")
            continue
        off = np.abs(now - then)
        if not off.max() <= tolerance * np.abs(then).max():
            worst = off.argmax()
            lines.append(f"{name}: {then[worst]:.9g} -> {now[worst]:.9g}")
    return lines


def other_identity(case: Case) -> str | None:
    """What to do where the identity is not that of the file; ``None`` where it is."""
    golden = stored(case)
    if golden is None:
        return f"There are no golden numbers of {_title(case)} yet. {_to_write(case)}"
    before, now = golden["identity"], case.identity()
    other = [f"{n} {before.get(n)} -> {now.get(n)}" for n in now if before.get(n) != now.get(n)]
    if not other:
        return None
    said = f"The golden numbers of {_title(case)} are of another identity: {', '.join(other)}."
    if before.get("parameters") != now.get("parameters"):
        said += (
            "\nThe checksum of its parameters covers their names and the values of grid, recipe "
            "and task. If a parameter is new, name it in `later` of its class (see Strict in "
            "lib/tangentlm/params/strict.py), with the value that means what was done before: else "
            "every finished run counts as stale."
        )
    return f"{said}\n{_to_write(case)}"


def complaint(case: Case, lines: list[str], blamed: Version) -> str:
    """What to do where numbers changed."""
    shown = "".join(f"\n  {line}" for line in lines[:5])
    more = f"\n  and {len(lines) - 5} more" if len(lines) > 5 else ""
    known = other_identity(case)
    if known is None:
        known = "Its identity did not, so finished runs would be taken for something they are not."
    return (
        f"The numbers of {_title(case)} changed:{shown}{more}\n{known}\n"
        f"If what the code computes was meant to change, raise {blamed.name}, now {blamed.value}, "
        f"in {blamed.file}, and then: {_command(case)}"
    )


def check(case: Case, folder: Path, exact: bool = True) -> str | None:
    """Compute a case's numbers and compare them with the file.

    Args:
        case: The case.
        folder: An empty folder.
        exact: As for ``changes``.

    Returns:
        What changed and what to do, or ``None``.
    """
    lines = changes(case, case.numbers(folder), exact)
    return complaint(case, lines, _blamed(case, folder, exact)) if lines else None


def _blamed(case: Case, folder: Path, exact: bool) -> Version:
    """The version to raise: the engine's where its own numbers changed as well."""
    own, *engine = case.versions
    of_engine = [other for other in CASES if other.file == "engine"]
    if engine and any(changes(other, other.numbers(folder), exact) for other in of_engine):
        return engine[0]
    return own


def write(name: str, folder: Path) -> list[str]:
    """Write a file of golden numbers anew, where an identity in it has changed or numbers came in.

    What a run records in addition changes none of its numbers, so it needs no other version.

    Args:
        name: The file's stem.
        folder: A folder for what is computed on the way.

    Returns:
        Complaints: numbers that changed although their identity did not. Then nothing is written.
    """
    cases = [case for case in CASES if case.file == name]
    numbers = {case.name: case.numbers(folder / name / case.name) for case in cases}
    same = [case for case in cases if other_identity(case) is None]
    added = {case.name: _added(case, numbers[case.name]) for case in same}
    changed = {case.name: changes(case, _without(added, case, numbers)) for case in same}
    refused = [
        complaint(case, changed[case.name], _blamed(case, folder, exact=True))
        for case in same
        if changed[case.name]
    ]
    path = FOLDER / f"{name}.json"
    as_before = len(same) == len(cases) and _names(path) == set(numbers)
    if refused or (as_before and not any(added.values())):
        return refused
    content = {
        "machine": machine(),
        "cases": {
            case.name: {"identity": case.identity(), "numbers": numbers[case.name]}
            for case in cases
        },
    }
    # A line for each list, so that a difference shows which numbers changed.
    text = re.sub(
        r"\[[^]]*\]", lambda found: " ".join(found[0].split()), json.dumps(content, indent=1)
    )
    FOLDER.mkdir(exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"wrote tests/golden/{path.name}")
    return []


def _added(case: Case, found: Numbers) -> set[str]:
    """The names of numbers that the file has not."""
    return set(found) - set((stored(case) or {"numbers": {}})["numbers"])


def _without(added: dict[str, set[str]], case: Case, numbers: dict[str, Numbers]) -> Numbers:
    return {n: values for n, values in numbers[case.name].items() if n not in added[case.name]}


def _names(path: Path) -> set[str]:
    return set(json.loads(path.read_text(encoding="utf-8"))["cases"])


def _title(case: Case) -> str:
    return f"{case.file}/{case.name}"


def _command(case: Case) -> str:
    return f"python tests/golden.py --write {case.file}"


def _to_write(case: Case) -> str:
    return f"If that is meant, write the golden numbers anew: {_command(case)}"


def main() -> int:
    """The command line."""
    files = list(dict.fromkeys(case.file for case in CASES))
    parser = argparse.ArgumentParser(description="Compare golden numbers, or write them anew.")
    parser.add_argument("name", nargs="?", choices=files, help="one file; all without it")
    parser.add_argument("--write", action="store_true", help="write where an identity has changed")
    given = parser.parse_args()
    for variable in ("TANGENTLM_DATA", "TANGENTLM_CORPUS"):
        os.environ.pop(variable, None)
    torch.set_num_threads(1)
    complaints: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TANGENTLM_ROOT"] = str(copy_project(Path(scratch) / "project"))
        for name in [given.name] if given.name else files:
            if given.write:
                complaints += write(name, Path(scratch))
                continue
            for case in (case for case in CASES if case.file == name):
                folder = Path(scratch) / name / case.name
                found = [other_identity(case), check(case, folder)]
                complaints += dict.fromkeys(line for line in found if line)
    print("\n\n".join(complaints) or "all golden numbers are as they should be")
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main())
