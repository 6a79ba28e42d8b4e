"""Tables of separated values: separator, quotation marks, and the line that is broken."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from tangentlm.errors import InputError

_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}


def read_separated(text: str, path: Path, form: str) -> tuple[pd.DataFrame, list[str]]:
    """The table of a CSV or TSV, all its values as text.

    Args:
        text: The whole text.
        path: Its file, for errors.
        form: ``".tsv"``, where tabs are to be expected, or ``".csv"``.

    Returns:
        The table, its index the rows of the file, of which the names of the columns are the first;
        and what was found out, a sentence each.

    Raises:
        InputError: If it is no text, a row has more values than there are columns, two columns have
            one name, or a quotation mark is never closed; it names the line.
    """
    table = text.lstrip("\r\n")
    if "\0" in lines_of(table)[0]:
        raise InputError(f"{path} begins with NUL characters: it is no text; save it as UTF-8")
    skipped = len(lines_of(text)) - len(lines_of(table))
    separator = _separator(table, form)
    quoted = '"' not in table or _marks_quote(table, separator)
    try:
        # Read with the names as the first row: pandas takes one value too many for an index.
        cells = pd.read_csv(
            io.StringIO(table, newline=""), sep=separator, header=None, dtype=str,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            keep_default_na=False, skip_blank_lines=False, skipinitialspace=True,
        )  # fmt: skip
    except pd.errors.ParserError as error:
        raise InputError(f"{path}, {_place(str(error), table, separator, skipped)}") from None
    cells.index = pd.RangeIndex(1 + skipped, 1 + skipped + len(cells))
    cells = cells[(cells != "").any(axis=1)]  # blank lines are no rows
    names = [str(name).strip() for name in cells.iloc[0]]
    for name, count in Counter(filter(None, names)).items():
        if count > 1:
            raise InputError(f"{path}: {count} columns are called {name!r}")
    notes = []
    frame = cells.iloc[1:].copy()
    frame.columns = pd.Index([name or f"column {i}" for i, name in enumerate(names, start=1)])
    if separator != {".csv": ",", ".tsv": "\t"}[form] and len(names) > 1:
        notes.append(f"The columns are separated by {_SEPARATORS[separator]}.")
    if not quoted:
        notes.append("Quotation marks are read as part of the texts.")
    return frame, notes


def lines_of(text: str) -> list[str]:
    """The lines of a file's text, whatever ends them.

    Args:
        text: The text.

    Returns:
        Its lines without their ends.
    """
    # Not ``splitlines``: a text may hold other ends of lines than a file has.
    return re.split(r"\r\n|\n|\r", text)


def _separator(text: str, form: str) -> str:
    """The separator that cuts the first row into most columns; among equals that of the form."""
    order = sorted(_SEPARATORS, key=lambda separator: (form == ".tsv") != (separator == "\t"))

    def columns(separator: str) -> int:
        return len(next(_numbered_rows(text, separator))[1])

    return max(order, key=columns)


def _marks_quote(text: str, separator: str) -> bool:
    """Whether quotation marks enclose values, as they do in all but some files with tabs."""
    # There a mark may be a letter like others, and a lone one would take the lines after it into
    # its value. It is so if every line is a row by itself, and is not one where marks enclose.
    lines = [line for line in lines_of(text) if line]
    if separator != "\t" or len({line.count(separator) for line in lines}) > 1:
        return True
    try:
        rows = [row for _, row in _numbered_rows(text, separator, strict=True) if row]
    except csv.Error:
        return False
    return len(rows) == len(lines)


def _numbered_rows(
    text: str, separator: str, strict: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """The rows, each with the line in which it begins; pandas does not tell the lines."""
    limit = csv.field_size_limit(len(text) + 1)
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=separator,
            strict=strict,
            skipinitialspace=True,
        )
        line = 1
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    finally:
        csv.field_size_limit(limit)


def _place(error: str, text: str, separator: str, skipped: int) -> str:
    """Where a table is broken; pandas counts rows, but people see lines."""
    begins = [line + skipped for line, _ in _numbered_rows(text, separator)]
    fields = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", error)
    if fields:
        expected, row, found = map(int, fields.groups())
        return (
            f"line {begins[row - 1]}: {found} values for {expected} columns; "
            f"a text that holds {separator!r} has to stand in quotation marks"
        )
    opened = re.search(r"EOF inside string starting at row (\d+)", error)
    if opened:
        return f"line {begins[int(opened[1])]}: a quotation mark is opened and never closed"
    return f"not a table ({' '.join(error.split())})"
