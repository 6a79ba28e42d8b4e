"""Tables of a study's runs, and links to their rows and pages."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import HTML

from tangentlm.params import BOOK_STUDIES, list_studies, project_root
from tangentlm.report.tables import table_of
from tangentlm.studies.collected import read_collected, results_folder
from tangentlm.studies.records import NOTEBOOK

_RUN_COLUMNS = (
    "task",
    "model",
    "k",
    "seed",
    "head",
    "prompt",
    "method",
    "grid",
    "grid_points",
    "steps",
    "best_learning_rate",
    "test_size",
    "test_score",
    "dev_score",
    "zero_shot_test",
    "seconds",
    "peak_bytes",
    "threads",
    "device",
    "torch",
    "transformers",
    "revision",
)


_SPLITS_SIDE_BY_SIDE = ("task", "k", "head", "prompt", "method", "model")


def run_anchor(study: str, experiment: str, run: str) -> str:
    """The id of a run's row on the page of runs.

    Args:
        study: The study.
        experiment: The experiment.
        run: The run's name.

    Returns:
        An HTML id.
    """
    return f"{study}-{experiment}-{run}"


def run_page(study: str, experiment: str, run: str) -> Path | None:
    """The executed notebook of a run, where it is part of the book.

    Args:
        study: The study.
        experiment: The experiment.
        run: The run's name.

    Returns:
        Its path from the project's root, or ``None``.
    """
    path = Path("runs") / study / experiment / run / NOTEBOOK
    return path if study in BOOK_STUDIES and (project_root() / path).is_file() else None


def collected_studies() -> list[str]:
    """The studies that have collected results.

    Returns:
        Their names.
    """
    return [name for name in list_studies() if any(results_folder(name).glob("*.csv"))]


def runs_table(study: str, experiment: str, to_root: str = "..") -> HTML:
    """Every run of a study's experiment, sortable, each with an anchor; splits side by side.

    Args:
        study: The study.
        experiment: The experiment.
        to_root: The way from the page to the book's root.

    Returns:
        The table.
    """
    runs = read_collected(study, experiment)
    columns = [name for name in _RUN_COLUMNS if name in runs and runs[name].notna().any()]
    alike = [name for name in _SPLITS_SIDE_BY_SIDE if name in runs]
    runs = runs.sort_values([*alike, "seed"]) if alike else runs
    head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in ("run", *columns))
    body = []
    for row in runs.to_dict("records"):
        name = html.escape(str(row["run"]))
        page = run_page(study, experiment, row["run"])
        link = f'<a href="{to_root}/{page.with_suffix(".html")}">{name}</a>' if page else name
        cells = "".join(f"<td>{_cell(column, row[column])}</td>" for column in columns)
        anchor = run_anchor(study, experiment, row["run"])
        body.append(f'<tr id="{anchor}"><td>{link}</td>{cells}</tr>')
    return table_of(head, body, "sortable")


def _cell(column: str, value: Any) -> str:
    if pd.isna(value):
        return ""
    if column == "peak_bytes":
        return f"{value / 2**30:.1f} GiB"
    if column == "best_learning_rate":
        return f"{float(value):g}"
    if isinstance(value, float):
        return f"{value:.1f}"
    return html.escape(str(value))


def link_to_run(runs_page: str, study: str, experiment: str, run: str) -> str:
    """The address of a run's row.

    Args:
        runs_page: Where the table of runs is.
        study: The study.
        experiment: The experiment.
        run: The run's name.

    Returns:
        A relative address.
    """
    return f"{runs_page}#{run_anchor(study, experiment, run)}"
