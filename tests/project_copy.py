"""A copy of the project that a test may change."""

from __future__ import annotations

import shutil
from pathlib import Path

from tangentlm.params import project_root


def copy_project(folder: Path) -> Path:
    """Copy parameters and templates to a new folder, and link the large rest."""
    home = project_root()
    shutil.copytree(home / "params", folder / "params")
    shutil.copytree(home / "book" / "experiments", folder / "book" / "experiments")
    for linked in ("assets", "workflow"):
        (folder / linked).symlink_to(home / linked)
    return folder


def edit(path: Path, old: str, new: str) -> None:
    """Replace text in a file that must hold it."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")
