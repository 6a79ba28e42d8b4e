"""Tables of the book, as HTML: the paper's value beside ours, with spread, seeds and runs."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd
from IPython.display import HTML
from itables import JavascriptFunction, to_html_datatable

NOT_RUN_CELL = '<td class="not-run">not run</td>'

# A cell is sorted by the number that it begins with, whatever else it shows.
_BY_FIRST_NUMBER = JavascriptFunction("""function (cell, use) {
  if (use !== "sort" && use !== "type") return cell;
  const number = parseFloat(cell.replace(/<[^>]*>/g, ""));
  return isNaN(number) ? null : number;
}""")
# An address may end in the id of a row that is on another page of the table, or searched away. This
# is set up by the first drawing, since itables does not hand on an ``initComplete`` of its user's.
_SHOW_LINKED_ROW = JavascriptFunction("""function () {
  const table = this.api();
  if (table.ready()) return;
  const show = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    const rows = table.rows({ search: "none" }).data().toArray();
    const place = rows.findIndex((cells) => cells[0].includes(`id="${id}"`));
    if (!id || place < 0) return;
    table.search("").draw().page(Math.floor(place / table.page.len())).draw("page");
    location.replace(location.href);
  };
  addEventListener("hashchange", show);
  table.ready(show);
}""")


def table_of(head: str, body: Sequence[str]) -> HTML:
    """A table that scrolls sideways where it is too wide.

    Args:
        head: The header cells, as HTML.
        body: The rows, as HTML.

    Returns:
        The table.
    """
    return HTML(
        f'<div class="table-scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def folded(table: HTML, title: str, label: str = "") -> HTML:
    """A long table that its reader opens.

    Args:
        table: The table.
        title: What stands there while it is folded.
        label: What a link to it ends in. It is inside, so that the link opens the table.

    Returns:
        The folded table.
    """
    inside = f'<div id="{label}">{table.data}</div>' if label else table.data
    return HTML(
        f'<details class="folded"><summary>{html.escape(title)}</summary>{inside}</details>'
    )


def searchable(cells: pd.DataFrame, numbers: Collection[str]) -> HTML:
    """A table to search, to sort and to leaf through, which needs no network.

    Its page calls ``itables.init_notebook_mode(all_interactive=False)`` first. An address that
    ends in the id of an element in the first column leads to that row, on whatever page it is.

    Args:
        cells: Every cell as HTML.
        numbers: The columns that are sorted by the number with which their cells begin.

    Returns:
        The table.
    """
    places = [place for place, name in enumerate(cells) if name in numbers]
    return HTML(
        to_html_datatable(
            cells,
            connected=False,
            allow_html=True,
            maxBytes=0,
            columnDefs=[{"targets": places, "render": _BY_FIRST_NUMBER, "className": "dt-right"}],
            drawCallback=_SHOW_LINKED_ROW,
            autoWidth=False,
            text_in_header_can_be_selected=False,  # so a click on it sorts
        )
    )


def readable(
    rows: pd.DataFrame,
    names: Mapping[str, str] | None = None,
    *,
    links: Mapping[str, str] | None = None,
) -> HTML:
    """Some columns of a table under names for people; "not run" where there are no rows.

    Args:
        rows: Any table.
        names: The heading of each column that is shown; one that is missing stays empty. By
            default every column under its own name.
        links: Of columns whose cells lead somewhere the column that says where; empty is nowhere.

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
    written = [[_readable_cell(value) for value in row] for row in shown.itertuples(index=False)]
    for column, addresses in (links or {}).items():
        place = list(names).index(column)
        for row, address in zip(written, rows[addresses], strict=True):
            if address and row[place]:
                row[place] = f'<a href="{html.escape(address)}">{row[place]}</a>'
    body = [
        "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True))
        for row in written
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
