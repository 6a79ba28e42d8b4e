"""The tables of Malladi et al. in their own layout: the paper, ours, and the difference."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from IPython.display import HTML

from tangentlm.analysis.verdicts import COMPATIBLE, DIFFERS
from tangentlm.malladi.claims import TUNING_AND_KERNEL
from tangentlm.malladi.ledger import PAPER_SEEDS
from tangentlm.malladi.measurements import PERFORMANCE, measurements, summary
from tangentlm.malladi.properties import COUNTED
from tangentlm.report.run_tables import link_to_run
from tangentlm.report.tables import NOT_RUN_CELL, searchable, spread, table_of
from tangentlm.tasks import load_task

_ROWS = ["setting", "prompt", "k", "method"]


def paper_table(
    ledgers: Mapping[str, pd.DataFrame],
    table: str | Sequence[str],
    *,
    version: str = "malladi2023-icml",
    only: Mapping[str, Any] | None = None,
    runs_page: str = "../runs.html",
) -> HTML:
    """A table of the paper, with a line for each study of ours and one for its difference.

    Args:
        ledgers: From ``tangentlm.malladi.ledger.compare``, by the words for whose runs they are.
        table: The paper's name of the table, or of the tables to join, e.g. ``"Table 2a"``.
        version: Which version of the paper.
        only: Columns of the ledger and the values that are shown.
        runs_page: Where the table of runs is, from the page.

    Returns:
        Methods down, tasks across; a study without any run for the table is said below it.
    """
    names = [table] if isinstance(table, str) else list(table)
    shown = {who: _chosen(ledger, names, version, only or {}) for who, ledger in ledgers.items()}
    first = next(iter(shown.values()))
    tasks = list(dict.fromkeys(first["title"]))
    parts = [name for name in _ROWS if first[name].nunique() > 1 or name == "method"]
    with_runs = {who: rows for who, rows in shown.items() if rows["ours"].notna().any()}
    head = "".join(f"<th>{name}</th>" for name in (*parts, "", *tasks))
    body = []
    for names_of_row, _ in first.groupby(_ROWS, sort=False):
        row = dict(zip(_ROWS, names_of_row, strict=True))
        body += _lines(row, parts, tasks, first, with_runs, runs_page)
    missing = [who for who in shown if who not in with_runs]
    note = f'<p class="not-run">{html.escape(", ".join(missing))}: not run.</p>' if missing else ""
    return HTML(str(table_of(head, body).data) + note)


def _chosen(
    ledger: pd.DataFrame, names: list[str], version: str, only: Mapping[str, Any]
) -> pd.DataFrame:
    rows = ledger[(ledger["version"] == version) & ledger["table"].isin(names)]
    for column, value in only.items():
        rows = rows[rows[column] == value]
    return rows


def _lines(
    row: Mapping[str, Any],
    parts: Sequence[str],
    tasks: Sequence[str],
    paper: pd.DataFrame,
    studies: Mapping[str, pd.DataFrame],
    runs_page: str,
) -> list[str]:
    """The lines of one method: the paper's, and two for each study."""
    height = 1 + 2 * len(studies)
    names = "".join(f'<th rowspan="{height}">{html.escape(str(row[part]))}</th>' for part in parts)
    cells = [_paper_cell(_cell(paper, row, task)) for task in tasks]
    lines = [f"<tr>{names}<td>paper</td>{''.join(cells)}</tr>"]
    for who, ledger in studies.items():
        found = [_cell(ledger, row, task) for task in tasks]
        ours = "".join(_our_cell(cell, runs_page) for cell in found)
        differences = "".join(_difference_cell(cell) for cell in found)
        lines.append(f"<tr><td>{html.escape(who)}</td>{ours}</tr>")
        lines.append(f'<tr class="difference"><td>difference</td>{differences}</tr>')
    return lines


def _cell(ledger: pd.DataFrame, row: Mapping[str, Any], task: str) -> pd.Series | None:
    same = ledger["title"] == task
    for column, value in row.items():
        same &= ledger[column] == value
    found = ledger[same]
    return None if found.empty else found.iloc[0]


def _paper_cell(cell: pd.Series | None) -> str:
    if cell is None:
        return "<td></td>"
    return f"<td>{spread(cell['paper_mean'], cell['paper_std'], _digits(cell))}</td>"


def _our_cell(cell: pd.Series | None, runs_page: str) -> str:
    if cell is None:
        return "<td></td>"
    if pd.isna(cell["ours"]):
        return '<td class="not-run">not run</td>'
    text = spread(cell["ours"], cell["ours_std"], _digits(cell))
    run = str(cell["runs"]).split()[0]
    href = link_to_run(runs_page, cell["study"], cell["experiment"], run)
    seeds = int(cell["seeds"])
    few = "" if seeds == PAPER_SEEDS else f' <span class="spread">{seeds} seed(s)</span>'
    return f'<td><a href="{href}">{text}</a>{few}</td>'


def with_first_run(rows: pd.DataFrame, study: str, runs_page: str = "../runs.html") -> pd.DataFrame:
    """A table with the address of the first run behind each row, as ``address``.

    Args:
        rows: With the ``experiment`` and the name of that ``run``.
        study: Whose they are.
        runs_page: Where the table of runs is, from the page.

    Returns:
        The rows with one column more.
    """
    if rows.empty:
        return rows
    pairs = zip(rows["experiment"], rows["run"], strict=True)
    return rows.assign(address=[link_to_run(runs_page, study, *pair) for pair in pairs])


def with_runs(
    behavior: pd.DataFrame, table: pd.DataFrame, study: str, runs_page: str = "../runs.html"
) -> pd.DataFrame:
    """The rows of Table 1 by means, with the address of the first run behind each number.

    Args:
        behavior: From ``tangentlm.malladi.behavior.behavior_by_means``.
        table: From ``tangentlm.malladi.measurements.measurements``, of ours.
        study: Whose they are.
        runs_page: Where the table of runs is, from the page.

    Returns:
        The rows with ``solves_run``, ``linear_run``, ``fixed_run`` and ``derived_run``; empty where
        there is no such run.
    """
    if behavior.empty:
        return behavior
    manual = (table["prompt"] == "manual") & table["k"].isin(COUNTED)
    first = table[manual].drop_duplicates(["title", "method"]).set_index(["title", "method"])

    def address(title: str, method: str) -> str:
        if (title, method) not in first.index:
            return ""
        row = first.loc[title, method]
        return link_to_run(runs_page, study, row["experiment"], row["run"])

    behind = {
        optimizer: {"solves": kernel, "linear": tuning, "fixed": tuning, "derived": "K-A-SignGD"}
        for optimizer, (tuning, kernel) in TUNING_AND_KERNEL.items()
    }
    pairs = list(zip(behavior["task"], behavior["optimizer"], strict=True))
    return behavior.assign(
        **{
            f"{name}_run": [address(task, behind[along][name]) for task, along in pairs]
            for name in ("solves", "linear", "fixed", "derived")
        }
    )


def _difference_cell(cell: pd.Series | None) -> str:
    if cell is None or pd.isna(cell["ours"]):
        return "<td></td>"
    mark = {COMPATIBLE: " =", DIFFERS: " ≠"}.get(cell["verdict"], "")
    return f"<td>{cell['difference']:+.{_digits(cell)}f}{mark}</td>"


def _digits(cell: pd.Series) -> int:
    return 1 if cell["quantity"] == "performance" else 2


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
                    _mean_cell(table, study, task, shots, method, runs_page)
                    for study, table in ours.items()
                )
                body.append(f"<tr><td>{title}</td><td>{shots}</td><td>{method}</td>{cells}</tr>")
    return table_of(head, body)


def _mean_cell(
    ours: pd.DataFrame, study: str, task: str, k: int, method: str, runs_page: str
) -> str:
    if ours.empty:
        return NOT_RUN_CELL
    shots = 0 if method == "zero-shot" else k
    same = (ours["task"] == task) & (ours["k"] == shots) & (ours["method"] == method)
    found = ours[same & (ours["quantity"] == PERFORMANCE) & (ours["prompt"] == "manual")]
    if found.empty:
        return NOT_RUN_CELL
    row = found.iloc[0]
    links = " ".join(
        f'<a href="{link_to_run(runs_page, study, row["experiment"], run)}">{seed}</a>'
        for run, seed in zip(row["runs"].split(), row["seed_list"].split(), strict=True)
    )
    return (
        f'<td>{spread(row["mean"], row["std"])} <br><span class="spread">seeds {links}</span></td>'
    )


def ledger_table(ledger: pd.DataFrame, runs_page: str = "../runs.html") -> HTML:
    """The ledger as a searchable table; a number of ours links to its first run.

    Args:
        ledger: From ``tangentlm.malladi.ledger.compare``.
        runs_page: Where the table of runs is, from the page.

    Returns:
        The table.
    """
    facts = ["table", "title", "k", "setting", "prompt", "method", "quantity"]
    ours = ["verdict", "reason"]
    words = ledger[[*facts, *ours]].map(lambda value: html.escape(str(value)))
    numbers = pd.DataFrame(
        [_ledger_numbers(row, runs_page) for _, row in ledger.iterrows()], index=ledger.index
    )
    cells = pd.concat([words[facts], numbers, words[ours]], axis="columns")
    return searchable(cells.rename(columns={"title": "task"}), ["k", *numbers])


def _ledger_numbers(row: pd.Series, runs_page: str) -> dict[str, str]:
    digits = _digits(row)
    cells = {f"paper ({PAPER_SEEDS} seeds)": spread(row["paper_mean"], row["paper_std"], digits)}
    if pd.isna(row["ours"]):
        empty = {"seeds": "0", "difference": "", "tolerance": ""}
        return {**cells, "ours": '<span class="not-run">not run</span>', **empty}
    href = link_to_run(runs_page, row["study"], row["experiment"], row["runs"].split()[0])
    return {
        **cells,
        "ours": f'<a href="{href}">{spread(row["ours"], row["ours_std"], digits)}</a>',
        "seeds": str(int(row["seeds"])),
        "difference": f"{row['difference']:+.{digits}f}",
        "tolerance": "" if pd.isna(row["tolerance"]) else f"{row['tolerance']:.{digits}f}",
    }
