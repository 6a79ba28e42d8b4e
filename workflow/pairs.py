"""Write the .md twin (MyST) of every .py page (percent format) whose cells have changed.

The direction is one way, .py to .md: jupytext's own sync decides by time stamps and can drop an
edit in silence.
"""

from __future__ import annotations

from pathlib import Path

import jupytext

from tangentlm.params import project_root

Cells = list[tuple[str, str, list[str]]]


def pages() -> list[Path]:
    """Every page of the book in percent format."""
    return sorted((project_root() / "book").rglob("*.py"))


def cells(path: Path) -> Cells:
    """Type, source and tags of every cell of a page."""
    notebook = jupytext.read(path)
    return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]


def main() -> None:
    """Write the twins that differ."""
    for page in pages():
        twin = page.with_suffix(".md")
        if not twin.is_file() or cells(twin) != cells(page):
            jupytext.write(jupytext.read(page), twin, fmt="md:myst")
            print(f"wrote {twin.relative_to(project_root())}")


if __name__ == "__main__":
    main()
