"""Tables of the book, as HTML: the paper's value beside ours, with spread, seeds and runs."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import HTML

from tangentlm.ledger import PAPER_SEEDS, main_results, measured
from tangentlm.params import list_studies, project_root
from tangentlm.records import NOTEBOOK, read_collected, results_folder
from tangentlm.tasks import load_task

NOT_RUN = '<td class="not-run">not run</td>'
_RUN_COLUMNS = (
    "task",
    "model",
    "k",
    "seed",
    "method",
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


BOOK_STUDIES = ("smoke", "quick")
"""The studies whose executed notebooks may be pages of the book."""


def collected_studies() -> list[str]:
    """The studies that have collected results.

    Returns:
        Their names.
    """
    return [name for name in list_studies() if any(results_folder(name).glob("*.csv"))]


def runs_table(study: str, experiment: str, to_root: str = "..") -> HTML:
    """Every run of a study's experiment, sortable, each with an anchor of its own.

    Args:
        study: The study.
        experiment: The experiment.
        to_root: The way from the page to the book's root.

    Returns:
        The table.
    """
    runs = read_collected(study, experiment)
    columns = [name for name in _RUN_COLUMNS if name in runs]
    head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in ("run", *columns))
    body = []
    for row in runs.to_dict("records"):
        name = html.escape(str(row["run"]))
        page = run_page(study, experiment, row["run"])
        link = f'<a href="{to_root}/{page.with_suffix(".html")}">{name}</a>' if page else name
        cells = "".join(f"<td>{_cell(column, row[column])}</td>" for column in columns)
        anchor = run_anchor(study, experiment, row["run"])
        body.append(f'<tr id="{anchor}"><td>{link}</td>{cells}</tr>')
    return _table(head, body, "sortable")


def _cell(column: str, value: Any) -> str:
    if column == "peak_bytes":
        return f"{value / 2**30:.1f} GiB"
    if isinstance(value, float):
        return f"{value:.1f}"
    return html.escape(str(value))


def _table(head: str, body: Sequence[str], kind: str = "") -> HTML:
    return HTML(
        f'<div class="table-scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def readable(rows: pd.DataFrame, names: Mapping[str, str]) -> HTML:
    """Some columns of a table under names for people; "not run" where there are no rows.

    Args:
        rows: Any table.
        names: The heading of each column that is shown; one that is missing stays empty.

    Returns:
        The table, floats with three digits, whole numbers in full.
    """
    if rows.empty:
        return HTML('<p class="not-run">Not run.</p>')
    shown = rows.reindex(columns=list(names))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names.values())
    body = [
        "<tr>" + "".join(f"<td>{_readable_cell(value)}</td>" for value in row) + "</tr>"
        for row in shown.itertuples(index=False)
    ]
    return _table(head, body)


def _readable_cell(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, str | bool):
        return html.escape(str(value))
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"


def paper_beside_ours(
    studies: Mapping[str, str],
    tasks: Sequence[str],
    k: Sequence[int],
    methods: Sequence[str],
    *,
    runs_page: str = "../runs.html",
) -> HTML:
    """Rows of the main results (Table 2a/2b of Malladi, 4a/4b of Malladi-v1), paper beside ours.

    Args:
        studies: The studies whose runs are ours, each with the heading of its column.
        tasks: Names of tasks.
        k: Numbers of examples a class.
        methods: The paper's names of methods, e.g. ``"K-SGD"``.
        runs_page: Where the table of runs is, from the page.

    Returns:
        The table: mean (standard deviation), and behind each of ours its seeds, each a link to
        its run.
    """
    paper = main_results()
    ours = {study: measured(study) for study in studies}
    names = ("task", "k", "method", "paper, RoBERTa-base", *studies.values())
    head = "".join(f"<th>{name}</th>" for name in names)
    body = []
    for task in tasks:
        title = load_task(task).title
        for shots in k:
            for method in methods:
                cells = _paper_cell(paper, title, shots, method)
                for study, table in ours.items():
                    cells += _our_cell(table, study, task, shots, method, runs_page)
                body.append(f"<tr><td>{title}</td><td>{shots}</td><td>{method}</td>{cells}</tr>")
    return _table(head, body)


def _spread(mean: float, std: float) -> str:
    spread = "" if pd.isna(std) else f' <span class="spread">({std:.1f})</span>'
    return f"{mean:.1f}{spread}"


def _paper_cell(paper: pd.DataFrame, title: str, k: int, method: str) -> str:
    found = paper[(paper["task"] == title) & (paper["k"] == k) & (paper["method"] == method)]
    if found.empty:
        return '<td class="not-run">not in the paper</td>'
    row = found.iloc[0]
    return f"<td>{_spread(float(row['mean']), float(row['std']))}</td>"


def _our_cell(
    ours: pd.DataFrame, study: str, task: str, k: int, method: str, runs_page: str
) -> str:
    if ours.empty:
        return NOT_RUN
    found = ours[(ours["task"] == task) & (ours["k"] == k) & (ours["method"] == method)]
    if found.empty:
        return NOT_RUN
    row = found.iloc[0]
    links = " ".join(
        f'<a href="{runs_page}#{run_anchor(study, row["experiment"], run)}">{seed}</a>'
        for run, seed in zip(row["runs"].split(), row["seed_list"].split(), strict=True)
    )
    return (
        f'<td>{_spread(row["mean"], row["std"])} <br><span class="spread">seeds {links}</span></td>'
    )


def ledger_table(ledger: pd.DataFrame) -> HTML:
    """The ledger as a sortable table.

    Args:
        ledger: From ``tangentlm.ledger.compare``.

    Returns:
        The table.
    """
    head = "".join(
        f"<th>{name}</th>"
        for name in (
            "task",
            "k",
            "method",
            f"paper ({PAPER_SEEDS} seeds)",
            "ours",
            "seeds",
            "difference",
            "tolerance",
            "verdict",
            "reason",
        )
    )
    body = []
    for row in ledger.itertuples():
        numbers = [
            "" if pd.isna(value) else f"{value:+.1f}" if signed else f"{value:.1f}"
            for value, signed in ((row.difference, True), (row.tolerance, False))
        ]
        ours = NOT_RUN if pd.isna(row.ours) else f"<td>{_spread(row.ours, row.ours_std)}</td>"
        seeds = 0 if pd.isna(row.seeds) else int(row.seeds)
        body.append(
            f"<tr><td>{row.task}</td><td>{row.k}</td><td>{row.method}</td>"
            f"<td>{_spread(row.paper, row.paper_std)}</td>{ours}<td>{seeds}</td>"
            f"<td>{numbers[0]}</td><td>{numbers[1]}</td><td>{row.verdict}</td>"
            f"<td>{html.escape(row.reason)}</td></tr>"
        )
    return _table(head, body, "sortable")
