"""Tables of the book, as HTML: the paper's value beside ours, with spread, seeds and runs."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import HTML

from tangentlm.collected import read_collected, results_folder
from tangentlm.ledger import PAPER_SEEDS
from tangentlm.measurements import PERFORMANCE, measurements, summary
from tangentlm.params import list_studies, project_root
from tangentlm.records import NOTEBOOK
from tangentlm.tasks import load_task

NOT_RUN = '<td class="not-run">not run</td>'
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


BOOK_STUDIES = ("smoke", "quick")
"""The studies whose executed notebooks may be pages of the book."""


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


def table_of(head: str, body: Sequence[str], kind: str = "") -> HTML:
    """A table that scrolls sideways where it is too wide.

    Args:
        head: The header cells, as HTML.
        body: The rows, as HTML.
        kind: A class, e.g. ``"sortable"``.

    Returns:
        The table.
    """
    return HTML(
        f'<div class="table-scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def readable(rows: pd.DataFrame, names: Mapping[str, str] | None = None) -> HTML:
    """Some columns of a table under names for people; "not run" where there are no rows.

    Args:
        rows: Any table.
        names: The heading of each column that is shown; one that is missing stays empty. By
            default every column under its own name.

    Returns:
        The table, floats with three digits, whole numbers in full; columns of words are set left.
    """
    if rows.empty:
        return HTML('<p class="not-run">Not run.</p>')
    names = names or {name: name for name in rows.columns}
    shown = rows.reindex(columns=list(names))
    kinds = [' class="words"' if _has_words(shown[column]) else "" for column in shown]
    head = "".join(
        f"<th{kind}>{html.escape(name)}</th>"
        for kind, name in zip(kinds, names.values(), strict=True)
    )
    body = [
        "".join(
            f"<td{kind}>{_readable_cell(value)}</td>"
            for kind, value in zip(kinds, row, strict=True)
        )
        for row in shown.itertuples(index=False)
    ]
    return table_of(head, [f"<tr>{cells}</tr>" for cells in body])


def _has_words(column: pd.Series) -> bool:
    return any(isinstance(value, str) for value in column)


def _readable_cell(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, str | bool):
        return html.escape(str(value))
    whole = float(value).is_integer() or abs(value) >= 1000
    return f"{value:,.0f}" if whole else f"{value:.3g}"


def our_results(
    studies: Mapping[str, str],
    tasks: Sequence[str],
    k: Sequence[int],
    methods: Sequence[str],
    *,
    runs_page: str = "../runs.html",
) -> HTML:
    """What our runs gave with the manual prompt, for tasks that no paper has.

    Args:
        studies: The studies, each with the heading of its column.
        tasks: Names of tasks.
        k: Numbers of examples a class.
        methods: The papers' names of methods, e.g. ``"K-SGD"``.
        runs_page: Where the table of runs is, from the page.

    Returns:
        The table: mean (standard deviation), and behind it the seeds, each a link to its run.
    """
    ours = {study: summary(measurements(study)) for study in studies}
    head = "".join(f"<th>{name}</th>" for name in ("task", "k", "method", *studies.values()))
    body = []
    for task in tasks:
        title = load_task(task).title
        for shots in k:
            for method in methods:
                cells = "".join(
                    _our_cell(table, study, task, shots, method, runs_page)
                    for study, table in ours.items()
                )
                body.append(f"<tr><td>{title}</td><td>{shots}</td><td>{method}</td>{cells}</tr>")
    return table_of(head, body)


def spread(mean: float, std: float, digits: int = 1) -> str:
    """A mean and, in brackets, its standard deviation, as HTML.

    Args:
        mean: The mean.
        std: The standard deviation; NaN where there is none.
        digits: Behind the point.

    Returns:
        E.g. ``88.3 (0.3)``.
    """
    behind = "" if pd.isna(std) else f' <span class="spread">({std:.{digits}f})</span>'
    return f"{mean:.{digits}f}{behind}"


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


def _our_cell(
    ours: pd.DataFrame, study: str, task: str, k: int, method: str, runs_page: str
) -> str:
    if ours.empty:
        return NOT_RUN
    shots = 0 if method == "zero-shot" else k
    same = (ours["task"] == task) & (ours["k"] == shots) & (ours["method"] == method)
    found = ours[same & (ours["quantity"] == PERFORMANCE) & (ours["prompt"] == "manual")]
    if found.empty:
        return NOT_RUN
    row = found.iloc[0]
    links = " ".join(
        f'<a href="{link_to_run(runs_page, study, row["experiment"], run)}">{seed}</a>'
        for run, seed in zip(row["runs"].split(), row["seed_list"].split(), strict=True)
    )
    return (
        f'<td>{spread(row["mean"], row["std"])} <br><span class="spread">seeds {links}</span></td>'
    )


def ledger_table(ledger: pd.DataFrame, runs_page: str = "../runs.html") -> HTML:
    """The ledger as a sortable table; a number of ours links to its first run.

    Args:
        ledger: From ``tangentlm.ledger.compare``.
        runs_page: Where the table of runs is, from the page.

    Returns:
        The table.
    """
    names = ("table", "task", "k", "setting", "prompt", "method", "quantity")
    more = (f"paper ({PAPER_SEEDS} seeds)", "ours", "seeds", "difference", "tolerance", "verdict")
    head = "".join(f"<th>{name}</th>" for name in (*names, *more, "reason"))
    body = []
    for row in ledger.itertuples():
        digits = 1 if row.quantity == PERFORMANCE else 2
        numbers = [
            "" if pd.isna(value) else f"{value:{sign}.{digits}f}"
            for value, sign in ((row.difference, "+"), (row.tolerance, ""))
        ]
        facts = (row.table, row.title, row.k, row.setting, row.prompt, row.method, row.quantity)
        ours = NOT_RUN
        if not pd.isna(row.ours):
            href = link_to_run(runs_page, row.study, row.experiment, row.runs.split()[0])
            text = spread(row.ours, row.ours_std, digits)
            ours = f'<td><a href="{href}">{text}</a></td>'
        seeds = 0 if pd.isna(row.seeds) else int(row.seeds)
        body.append(
            f"<tr>{''.join(f'<td>{html.escape(str(fact))}</td>' for fact in facts)}"
            f"<td>{spread(row.paper_mean, row.paper_std, digits)}</td>{ours}<td>{seeds}</td>"
            f"<td>{numbers[0]}</td><td>{numbers[1]}</td><td>{row.verdict}</td>"
            f"<td>{html.escape(row.reason)}</td></tr>"
        )
    return table_of(head, body, "sortable")
