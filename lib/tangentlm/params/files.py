"""Where the parameter files are: ``params/<kind>s/<name>.yaml`` of a checkout of the book."""

from __future__ import annotations

import os
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
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path.name} holds no 'name: value' lines")
    return {str(key): value for key, value in content.items()}


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
    if name not in names(kind):
        raise unknown_name(kind, name, names(kind))
    return project_root() / "params" / f"{kind}s" / f"{name}.yaml"
