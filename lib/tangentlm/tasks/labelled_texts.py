"""Texts with labels, read from a file as people have it: what was guessed or left out is said."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tangentlm.errors import InputError
from tangentlm.tasks.classes import about_classes, check_classes, class_name, in_order
from tangentlm.tasks.columns import Columns, find_columns
from tangentlm.tasks.letters import CONTROL, LONE_SURROGATE, has_letters, whole_letters
from tangentlm.tasks.tables import Table, read_table

_SHOWN = 5
_LONGEST = 40
"""Characters of a value that an error shows."""


@dataclass(frozen=True)
class LabelledTexts:
    """N texts, or pairs of texts, each with its class.

    Attributes:
        texts: The N texts.
        pairs: The second text of each pair; ``None`` where a row has one text.
        labels: The class of each text, in 0 to C-1; -1 where it is not known, see ``read_texts``.
        classes: The C names of the classes.
        rows: Where each text stands in the file: the line of a file of JSON lines, else the row,
            counted as a spreadsheet does: the names of a CSV's columns are row 1.
        notes: What was guessed, converted and left out, a sentence each.
        columns: The file's columns, as ``read_labelled`` takes them; none without a file.
        name: The file's name, without its folder.
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    rows: tuple[int, ...]
    notes: tuple[str, ...]
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    name: str = "texts"


def read_labelled(
    path: str | Path,
    *,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
) -> LabelledTexts:
    r"""The labelled texts of a file or of a folder that ``datasets`` saved.

    CSV with any usual separator, TSV, JSON lines, JSON and Parquet, each plain or as ``.gz``. Rows
    without a label and rows with an empty text are left out and counted. A class that has one text
    is kept and named in a note.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, "mine.csv")
        ...     _ = file.write_text("Review;Class\nfine;1\ndull;0\n;1\nlovely;1.0\n")
        ...     mine = read_labelled(file)
        >>> mine.texts, mine.labels, mine.classes, mine.rows
        (('fine', 'dull', 'lovely'), (1, 0, 1), ('0', '1'), (2, 3, 5))
        >>> print(*mine.notes, sep="\n")
        The columns are separated by semicolons.
        The labels are those of column 'Class' (a guess by its name).
        The texts are those of column 'Review' (a guess by its name).
        1 row has an empty text and is left out: 4.
        Labels that are written in several ways are one class: '1' and '1.0' are '1'.
        Class '0' has one text, so no cross-validation can test it.

    Args:
        path: The file or folder.
        text_column: The column of the texts; guessed if it is not given, see ``find_columns``.
        pair_column: The column of the second texts of pairs.
        label_column: The column of the labels.

    Returns:
        The rows in the file's order.

    Raises:
        InputError: If the file is missing or malformed, a column is not found, or the labels are
            not classes.
    """
    return _read(path, text_column, pair_column, label_column, may_lack_labels=False)


def read_texts(
    path: str | Path,
    *,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
) -> LabelledTexts:
    r"""The texts of a file to predict, with labels where it has them.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, "new.csv")
        ...     _ = file.write_text("review\nfine\ndull\n")
        ...     new = read_texts(file)
        >>> new.texts, new.labels
        (('fine', 'dull'), (-1, -1))

    Args:
        path: The file or folder, as for ``read_labelled``.
        text_column: The column of the texts.
        pair_column: The column of the second texts of pairs.
        label_column: The column of the labels, which may be missing.

    Returns:
        The rows in the file's order; those without a label are kept, with -1.

    Raises:
        InputError: If the file is missing, malformed or without texts, or a column of texts is not
            found.
    """
    return _read(path, text_column, pair_column, label_column, may_lack_labels=True)


def _read(
    path: str | Path,
    text: str | None,
    pair: str | None,
    label: str | None,
    *,
    may_lack_labels: bool,
) -> LabelledTexts:
    table = read_table(path)
    with _naming(path):
        columns = _columns_of(table, text, pair, label, may_lack_labels)
    known = table.class_names.get(columns.label or "", ())
    given = (
        pd.Series(None, index=table.frame.index, dtype=object)
        if columns.label is None
        else table.frame[columns.label]
    )
    read = {"class": _each(lambda value: _class_of(value, known), given, path, table.unit)}
    sides = {"text": columns.text} | ({"pair": columns.pair} if columns.pair else {})
    for side, column in sides.items():
        read[side] = _each(_text_of, table.frame[column], path, table.unit)
    rows = pd.DataFrame(read, index=given.index, dtype=object)
    unlabelled = rows["class"].isna() & (not may_lack_labels)
    empty = ~rows[list(sides)].map(has_letters).all(axis=1) & ~unlabelled
    kept = rows[~unlabelled & ~empty]
    of_rows = [None if pd.isna(name) else name for name in kept["class"]]
    found = [name for name in of_rows if name is not None]
    with _naming(path):
        if may_lack_labels and kept.empty:
            raise InputError("no row has a text")
        if not may_lack_labels:
            check_classes(found, columns.label or "")
    classes = in_order(found, known)
    notes = [
        *table.notes,
        *columns.notes,
        *_left_out(unlabelled, "no label", table.unit),
        *_left_out(empty, "an empty text", table.unit),
        *_about_letters(table.frame.loc[kept.index, list(sides.values())]),
        *([] if may_lack_labels else about_classes(given[kept.index].tolist(), found)),
    ]
    return LabelledTexts(
        texts=tuple(kept["text"]),
        pairs=tuple(kept["pair"]) if columns.pair else None,
        labels=tuple(-1 if name is None else classes.index(name) for name in of_rows),
        classes=classes,
        rows=tuple(map(int, kept.index)),
        notes=tuple(notes),
        columns=columns.named,
        name=Path(path).name,
    )


def _columns_of(
    table: Table, text: str | None, pair: str | None, label: str | None, may_lack_labels: bool
) -> Columns:
    """The columns; where they cannot be found, whether the file has names for them at all."""
    names = list(table.frame.columns)
    try:
        return find_columns(
            names, text=text, pair=pair, label=label, may_lack_labels=may_lack_labels
        )
    except InputError:
        again = [name for name in names if table.named_by_row and (table.frame[name] == name).any()]
        if not again:
            raise
        raise InputError(
            f"the first row has no names of columns, as {again[0][:_LONGEST]!r} stands in its "
            "column again; write a row of names above it, e.g. 'text' and 'label'"
        ) from None


def _each(convert: Callable[[Any], Any], values: pd.Series, path: str | Path, unit: str) -> list:
    """What each value of a column becomes; an error names its row."""
    converted = []
    for place, value in zip(values.index, values.tolist(), strict=True):
        with _naming(f"{path}, {unit} {place}, column {values.name!r}"):
            converted.append(convert(value))
    return converted


@contextmanager
def _naming(where: object) -> Generator[None]:
    """Say in an error where it was."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _text_of(value: Any) -> str:
    """A value as a text without blanks around it; empty if it is missing."""
    if isinstance(value, str):
        return whole_letters(value.strip())
    if not pd.api.types.is_scalar(value) or isinstance(value, bytes):
        raise InputError(f"{str(value)[:_LONGEST]!r} is not a text")
    return "" if pd.isna(value) else str(value)


def _class_of(label: Any, known: Sequence[str]) -> str | None:
    """The class of a label, or of its number where the file has the names: -1 is none of them."""
    if isinstance(label, list | tuple | dict | np.ndarray):
        raise InputError(f"{str(label)[:_LONGEST]} is not a single label")
    name = class_name(label)
    if name is None or not known:
        return None if name is None else whole_letters(name)
    if name == "-1":
        return None
    if name.isdecimal() and int(name) < len(known):
        return known[int(name)]
    if name in known:
        return name
    raise InputError(
        f"{name!r} is no class: the file has names for the numbers 0 to {len(known) - 1} alone"
    )


def _left_out(which: pd.Series, why: str, unit: str) -> list[str]:
    """A sentence on rows that are left out, if there are any."""
    places = which.index[which].tolist()
    if not places:
        return []
    shown = ", ".join(map(str, places[:_SHOWN]))
    if len(places) > _SHOWN:
        shown += f" and {len(places) - _SHOWN} more"
    if len(places) == 1:
        return [f"1 {unit} has {why} and is left out: {shown}."]
    return [f"{len(places)} {unit}s have {why} and are left out: {shown}."]


def _about_letters(texts: pd.DataFrame) -> list[str]:
    """Sentences on texts with letters that are none."""
    notes = []
    joined = [" ".join(map(str, values)) for values in texts.itertuples(index=False)]
    broken = sum(map(bool, map(LONE_SURROGATE.search, joined)))
    if broken:
        notes.append(f"Halves of characters were replaced in {_texts(broken)}.")
    control = sum(map(bool, map(CONTROL.search, joined)))
    if control:
        notes.append(f"Control characters stand in {_texts(control)}; they are read as they are.")
    return notes


def _texts(count: int) -> str:
    return "1 text" if count == 1 else f"{count} texts"
