"""Studies: sets of runs, from ``params/studies/<study>/<experiment>.yaml``."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tangentlm.errors import InputError, unknown_name
from tangentlm.params.files import project_root, read_yaml
from tangentlm.params.runs import Run, make_run

BOOK_STUDIES = ("quick", "smoke")
"""Studies whose executed notebooks are pages of the book."""


def list_studies() -> list[str]:
    """The names of the studies in ``params/studies``.

    Returns:
        Sorted names.
    """
    return sorted(p.name for p in (project_root() / "params" / "studies").iterdir() if p.is_dir())


def load_study(name: str) -> list[Run]:
    """Every run of the study ``params/studies/<name>``, in a fixed order.

    A study's folder has one file for each experiment. A parameter whose value is a list is
    swept; the runs are the product of its values with those of the others. A file may hold several
    products: under ``products`` a list of parameters each, added to those of the file.

    Args:
        name: The study's name, e.g. ``"quick"``.

    Returns:
        The validated runs.

    Raises:
        InputError: If the study is unknown, a file is wrong, or two runs have the same name.
    """
    if name not in list_studies():
        raise unknown_name("study", name, list_studies())
    runs: list[Run] = []
    for path in sorted((project_root() / "params" / "studies" / name).glob("*.yaml")):
        shared = read_yaml(path)
        for own in _products(shared.pop("products", [{}]), path):
            runs += _product(path.stem, shared | own)
    if not runs:
        raise InputError(f"study {name} has no runs")
    (twice, count), *_ = Counter(f"{run.experiment}/{run.name}" for run in runs).most_common(1)
    if count > 1:
        raise InputError(f"study {name}: two runs are named {twice}")
    return runs


def _products(products: object, path: Path) -> list[dict[str, Any]]:
    if not isinstance(products, list) or not all(isinstance(own, dict) for own in products):
        raise InputError(f"{path}: products has to be a list of 'name: value' lines")
    return products


def _product(experiment: str, sweep: Mapping[str, Any]) -> list[Run]:
    lists = [value if isinstance(value, list) else [value] for value in sweep.values()]
    return [
        make_run(experiment, dict(zip(sweep, values, strict=True)))
        for values in itertools.product(*lists)
    ]
