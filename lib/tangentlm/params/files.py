"""Where the parameter files are: ``params/<kind>s/<name>.yaml`` of a checkout of the book."""

from __future__ import annotations

import os
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from tangentlm.errors import InputError, unknown_name


def project_root() -> Path:
    """The folder that holds ``params``, ``assets``, ``book`` and ``results``.

    It is ``TANGENTLM_ROOT`` where that is set, else the checkout from which the library was
    installed (editable).

    Returns:
        An absolute path.

    Raises:
        InputError: If no ``params`` folder is there.
    """
    root = Path(os.environ.get("TANGENTLM_ROOT") or Path(__file__).resolve().parents[3])
    if not (root / "params").is_dir():
        raise InputError(
            f"no folder 'params' in {root}; set TANGENTLM_ROOT to a checkout of the book"
        )
    return root


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Args:
        path: The file.

    Returns:
        The mapping, its keys being strings.

    Raises:
        InputError: If the file is not valid YAML or holds no mapping.
    """
    content = deepcopy(_parsed(path, path.read_text(encoding="utf-8")))
    if not isinstance(content, dict):
        raise InputError(f"{path.name} holds no 'name: value' lines")
    return {str(key): value for key, value in content.items()}


@lru_cache(maxsize=256)  # a study reads the same grid for each of its runs
def _parsed(path: Path, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from None


def names(kind: str) -> list[str]:
    """The names of a kind of parameter file, ``params/<kind>s/<name>.yaml``.

    Args:
        kind: ``"task"``, ``"model"`` or ``"grid"``.

    Returns:
        Sorted names.
    """
    return sorted(path.stem for path in (project_root() / "params" / f"{kind}s").glob("*.yaml"))


def named_file(kind: str, name: str) -> Path:
    """The parameter file of that name.

    Args:
        kind: ``"task"``, ``"model"`` or ``"grid"``.
        name: Its name.

    Returns:
        The file.

    Raises:
        InputError: If there is none, with the nearest name that there is.
    """
    folder = project_root() / "params" / f"{kind}s"
    path = folder / f"{name}.yaml"
    if path.parent != folder or not path.is_file():
        raise unknown_name(kind, name, names(kind))
    return path
