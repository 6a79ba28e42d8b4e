"""The tables of Tomihari and Sato in their own layout: the paper above, ours below."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import pandas as pd
from IPython.display import HTML

from tangentlm.params import TwoStageRun, load_study
from tangentlm.report.run_tables import link_to_run
from tangentlm.report.tables import searchable, table_of
from tangentlm.tomihari import measurements
from tangentlm.tomihari.measurements import PAPER_SEEDS

_KERNEL_NAMES = {"Pre-train_E": "P", "FT_E": "F", "NTK": "NTK", "": ""}


def paper_table(
    ledger: pd.DataFrame,
    table: int | Sequence[int],
    *,
    datasets: Sequence[str] | None = None,
    runs_page: str = "../runs.html",
) -> HTML:
    """A table of the paper: quantities of data sets down, methods across.

    Args:
        ledger: From ``tangentlm.tomihari.ledger.compare``.
        table: Its number, or several to join.
        datasets: Those that are shown; all by default.
        runs_page: Where the table of runs is, from the page.

    Returns:
        Two lines a row: the paper's mean (and standard deviation, where it prints one), and ours.
    """
    chosen = _chosen(ledger, table, datasets)
    methods = list(dict.fromkeys(chosen["method"]))
    head = "".join(f"<th>{name}</th>" for name in ("data", "quantity", "", *methods))
    body = []
    for (dataset, quantity), rows in chosen.groupby(["dataset", "quantity"], sort=False):
        cells = rows.drop_duplicates("method").set_index("method")
        body += _two_lines([str(dataset), str(quantity)], cells, methods, runs_page)
    return table_of(head, body)


def kernel_table(
    ledger: pd.DataFrame, table: int | Sequence[int], *, runs_page: str = "../runs.html"
) -> HTML:
    """Table 2 or 9: kernels down, quantities across.

    Args:
        ledger: From ``tangentlm.tomihari.ledger.compare``.
        table: Its number, or several to join.
        runs_page: Where the table of runs is, from the page.

    Returns:
        Two lines a kernel.
    """
    chosen = _chosen(ledger, table, None)
    quantities = list(dict.fromkeys(chosen["quantity"]))
    head = "".join(f"<th>{name}</th>" for name in ("data", "method", "kernel", "", *quantities))
    body = []
    for (dataset, method, kernel), rows in chosen.groupby(
        ["dataset", "method", "kernel"], sort=False
    ):
        names = [str(dataset), str(method), _KERNEL_NAMES[str(kernel)]]
        body += _two_lines(names, rows.set_index("quantity"), quantities, runs_page)
    return table_of(head, body)


def _chosen(
    ledger: pd.DataFrame, table: int | Sequence[int], datasets: Sequence[str] | None
) -> pd.DataFrame:
    numbers = [table] if isinstance(table, int) else list(table)
    chosen = ledger[ledger["table"].isin(numbers)]
    return chosen if datasets is None else chosen[chosen["dataset"].isin(datasets)]


def _two_lines(
    names: Sequence[str], cells: pd.DataFrame, columns: Sequence[str], runs_page: str
) -> list[str]:
    heads = "".join(f'<th rowspan="2">{html.escape(name)}</th>' for name in names)
    paper, ours = [], []
    for column in columns:
        if column not in cells.index:
            paper.append("<td></td>")
            ours.append("<td></td>")
            continue
        cell = cells.loc[column]
        paper.append(f"<td>{number(cell['paper_mean'], cell['paper_std'])}</td>")
        ours.append(_our_cell(cell, runs_page))
    return [
        f"<tr>{heads}<td>paper</td>{''.join(paper)}</tr>",
        f"<tr><td>ours</td>{''.join(ours)}</tr>",
    ]


def _our_cell(cell: pd.Series, runs_page: str) -> str:
    if pd.isna(cell["ours"]):
        return '<td class="not-run">not run</td>'
    href = link_to_run(runs_page, cell["study"], cell["experiment"], cell["run"])
    text = number(cell["ours"], cell["ours_std"])
    few = "" if cell["seeds"] == PAPER_SEEDS else f", {int(cell['seeds'])} seed(s)"
    return f'<td><a href="{href}">{text}</a><span class="spread">{few}</span></td>'


def number(mean: float, std: float) -> str:
    """A mean with three digits and its standard deviation in brackets, as HTML.

    Example:
        >>> number(24.81, float("nan"))
        '24.8'

    Args:
        mean: The mean.
        std: The standard deviation; NaN where there is none.

    Returns:
        E.g. ``0.336 (0.021)`` with the brackets in small print.
    """
    behind = "" if pd.isna(std) else f' <span class="spread">({std:.2g})</span>'
    return f"{mean:.3g}{behind}"


def hyperparameters(study: str) -> pd.DataFrame:
    """Table 6 beside our rates: a row for each method and data set.

    Args:
        study: The study whose rates are ours.

    Returns:
        ``method``, ``data``, the paper's ``batch`` and ``rate``, and ours where we train on it.
    """
    paper = measurements.reported("tomihari_table6_hyperparameters")
    tasks = {run.task for run in load_study(study) if isinstance(run, TwoStageRun)}
    ours = [
        measurements.rate_of(dataset, method) if dataset in tasks else None
        for dataset, method in zip(paper["dataset"], paper["method"], strict=True)
    ]
    return pd.DataFrame(
        {
            "method": paper["method"],
            "data": paper["dataset"],
            "batch size (paper)": paper["batch_size"],
            "rate (paper)": paper["learning_rate"].map("{:g}".format),
            "rate (ours)": ["" if rate is None else f"{rate:g}" for rate in ours],
        }
    )


def dataset_sizes(study: str) -> pd.DataFrame:
    """Table 7 beside what our runs were trained and tested on.

    Args:
        study: Its name.

    Returns:
        The paper's table, with ``ours`` (train / validation / test) where there are runs.
    """
    paper = measurements.reported("tomihari_table7_datasets")
    runs = measurements.runs(study)
    sizes: dict[str, str] = {}
    if not runs.empty:
        for row in runs.drop_duplicates("dataset").itertuples():
            sizes[str(row.dataset)] = f"{row.train} / {row.dev} / {row.test}"
    return paper.assign(ours=paper["dataset"].map(sizes).fillna("not run"))


def ledger_table(ledger: pd.DataFrame, runs_page: str = "../runs.html") -> HTML:
    """The ledger as a searchable table.

    Args:
        ledger: From ``tangentlm.tomihari.ledger.compare``.
        runs_page: Where the table of runs is, from the page.

    Returns:
        The table.
    """
    facts = ledger[["table", "dataset", "method", "kernel", "quantity"]].astype(str)
    numbers = pd.DataFrame(
        [_ledger_numbers(row, runs_page) for _, row in ledger.iterrows()], index=ledger.index
    )
    cells = pd.concat([facts.map(html.escape), numbers, ledger["verdict"]], axis="columns")
    return searchable(cells, ["table", *numbers])


def _ledger_numbers(row: pd.Series, runs_page: str) -> dict[str, Any]:
    paper = {"paper": number(row["paper_mean"], row["paper_std"])}
    if pd.isna(row["ours"]):
        return {**paper, "ours": '<span class="not-run">not run</span>', "seeds": "0"}
    href = link_to_run(runs_page, row["study"], row["experiment"], row["run"])
    ours = f'<a href="{href}">{number(row["ours"], row["ours_std"])}</a>'
    return {**paper, "ours": ours, "seeds": str(int(row["seeds"]))}
