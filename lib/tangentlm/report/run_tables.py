"""Tables of a study's runs, and links to their rows and pages."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import HTML

from tangentlm.params import BOOK_STUDIES, list_studies, project_root
from tangentlm.report.tables import searchable
from tangentlm.studies.collect import read_collected, results_folder
from tangentlm.studies.published import STUDY as PUBLISHED
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
    """The studies that have collected results, and the kernels that others published.

    Returns:
        Their names.
    """
    names = [*list_studies(), PUBLISHED]
    return [name for name in names if any(results_folder(name).glob("*.csv"))]


def runs_table(study: str, experiment: str, to_root: str = "..") -> HTML:
    """Every run of a study's experiment, searchable, each with an anchor; splits side by side.

    Args:
        study: The study.
        experiment: The experiment.
        to_root: The way from the page to the book's root.

    Returns:
        The table.
    """
    runs = read_collected(study, experiment)
    alike = [name for name in _SPLITS_SIDE_BY_SIDE if name in runs]
    runs = runs.sort_values([*alike, "seed"]) if alike else runs
    columns = [name for name in _RUN_COLUMNS if name in runs and runs[name].notna().any()]
    cells = {name: [_cell(name, value) for value in runs[name]] for name in columns}
    names = [_name_cell(study, experiment, run, to_root) for run in runs["run"]]
    table = pd.DataFrame({"run": names, **cells})
    numbers = runs[columns].select_dtypes("number").columns
    heads = {name: name.replace("_", " ") for name in columns}
    return searchable(table.rename(columns=heads), [heads[name] for name in numbers])


def _name_cell(study: str, experiment: str, run: str, to_root: str) -> str:
    """The run's name: it bears the row's anchor, and leads to the run's page where there is one."""
    page = run_page(study, experiment, run)
    link = f' href="{to_root}/{page.with_suffix(".html")}"' if page else ""
    return f'<a id="{run_anchor(study, experiment, run)}"{link}>{html.escape(run)}</a>'


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
