"""A file as people have it, read as a table: its encoding, its separator, its form.

CSV, TSV, JSON and Parquet go through pandas, folders of ``datasets`` through ``datasets``. What is
found out on the way is said in notes; a file that cannot be read ends in one line that names the
place.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pandas as pd

from tangentlm.errors import InputError
from tangentlm.tasks.separated import lines_of, read_separated

FORMS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
"""The endings of the files that are read; each may be followed by ``.gz``."""

_SAME_FORM = {".tab": ".tsv", ".txt": ".csv", ".ndjson": ".jsonl", ".pq": ".parquet"}
_SPREADSHEETS = {".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers"}
_NO_TEXT = {
    b"PK\x03\x04": "a spreadsheet or a packed folder",
    b"\xd0\xcf\x11\xe0": "a spreadsheet or a document",
    b"PAR1": "a file of Parquet",
    b"\x1f\x8b": "packed by gzip",
}
"""What a file is that begins so, whatever its name says."""
_BYTE_ORDER_MARKS = {
    b"\xef\xbb\xbf": ("utf-8-sig", "UTF-8"),
    b"\xff\xfe\x00\x00": ("utf-32", "UTF-32"),
    b"\x00\x00\xfe\xff": ("utf-32", "UTF-32"),
    b"\xff\xfe": ("utf-16", "UTF-16"),
    b"\xfe\xff": ("utf-16", "UTF-16"),
}


@dataclass(frozen=True)
class Table:
    """A table and how it was read.

    Attributes:
        frame: Its columns; the index says where a row stands in the file.
        unit: What the index counts: ``"line"`` of a file of JSON lines, else ``"row"``. The first
            row of a CSV, with the names of the columns, is row 1, as in a spreadsheet.
        notes: What was found out or replaced, a sentence each.
        class_names: The names of the classes of a column of labels, where the file has them.
        named_by_row: Whether the names of the columns are the first row of the file.
    """

    frame: pd.DataFrame
    unit: str
    notes: tuple[str, ...] = ()
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    named_by_row: bool = False


def read_table(path: str | Path) -> Table:
    """The table in a file of a known form or in a folder that ``datasets`` saved.

    Args:
        path: A file that ends in one of ``FORMS``, also packed as ``.gz``, or a folder.

    Returns:
        The table, with the values as the file has them; those of a CSV are all text.

    Raises:
        InputError: If there is no such file, or its form is unknown or broken.
    """
    path = Path(path)
    if path.is_dir():
        return _read_saved_folder(path)
    if not path.is_file():
        raise _missing(path)
    form = form_of(path)
    if form == ".parquet":
        return _read_parquet(path)
    text, notes = _decode(_read_bytes(path), path)
    if not text.strip():
        raise InputError(f"{path} is empty")
    if form in {".csv", ".tsv"}:
        frame, found = read_separated(text, path, form)
        return Table(frame, "row", (*notes, *found), named_by_row=True)
    if form == ".json":
        return _read_json(text, path, notes)
    return _read_json_lines(text, path, notes)


def _missing(path: Path) -> InputError:
    """An error for a file that is not there, with the nearest name beside it."""
    beside = [file.name for file in path.parent.glob("*")] if path.parent.is_dir() else []
    near = get_close_matches(path.name, beside, n=1)
    hint = f"; did you mean {str(path.with_name(near[0]))!r}?" if near else ""
    return InputError(f"there is no file {path}{hint}")


def form_of(path: Path) -> str:
    """The form that a file's name tells.

    Example:
        >>> form_of(Path("mine.CSV.gz"))
        '.csv'

    Args:
        path: The file.

    Returns:
        One of ``FORMS``.

    Raises:
        InputError: If its ending is another.
    """
    name = path.name.lower().removesuffix(".gz")
    ending = Path(name).suffix
    form = _SAME_FORM.get(ending, ending)
    if ending in _SPREADSHEETS:
        raise InputError(f"{path} is a spreadsheet; save it there as CSV in UTF-8 and name that")
    if form not in FORMS:
        raise InputError(f"{path} ends in none of {', '.join(FORMS)}; save it as one of them")
    return form


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix.lower() == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _decode(data: bytes, path: Path) -> tuple[str, list[str]]:
    """The text of some bytes; one that is no UTF-8 is read as what Windows wrote."""
    for mark, kind in _NO_TEXT.items():
        if data.startswith(mark):
            raise InputError(f"{path} is {kind}, whatever its name says; save it as CSV in UTF-8")
    for mark, (codec, name) in _BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            try:
                return data.decode(codec), []
            except UnicodeDecodeError as error:
                where = f"{path}, line {data[: error.start].count(10) + 1}"
                raise InputError(f"{where}: not {name}, which its first bytes say") from None
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError as error:
        line = data[: error.start].count(10) + 1
    text = data.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    if sum(letter > "\x7f" for letter in text) > 2 * broken:  # other letters are whole
        return text, [f"Bytes that are not UTF-8 were replaced ({broken}, first in line {line})."]
    try:
        text, name = data.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError:
        text, name = data.decode("latin-1"), "Latin-1"
    note = (
        f"The file is not UTF-8 (line {line}); it is read as {name}. If letters with accents look "
        "wrong, save it as UTF-8."
    )
    return text, [note]


# --- JSON ------------------------------------------------------------------------------------


def _read_json(text: str, path: Path, notes: list[str]) -> Table:
    """A list of objects, an object with a list for each column, or, after all, lines."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _read_json_lines(text, path, notes)
        raise InputError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if isinstance(values, dict):
        try:
            columns = pd.DataFrame(values, dtype=object)
        except ValueError:
            raise InputError(f"{path}: one object, but not a list for each column") from None
        columns.index = pd.RangeIndex(1, len(columns) + 1)
        return Table(columns, "row", tuple(notes))
    if not isinstance(values, list):
        raise InputError(f"{path}: neither a list of objects nor an object of lists")
    return Table(_from_objects(values, range(1, len(values) + 1), path, "row"), "row", tuple(notes))


def _read_json_lines(text: str, path: Path, notes: list[str]) -> Table:
    values, numbers = [], []
    for number, line in enumerate(lines_of(text), start=1):
        if line.strip():
            numbers.append(number)
            try:
                values.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                why = getattr(error, "msg", error)
                raise InputError(f"{path}, line {number}: not JSON ({why})") from None
    return Table(_from_objects(values, numbers, path, "line"), "line", tuple(notes))


def _from_objects(
    values: Sequence[Any], numbers: Sequence[int], path: Path, unit: str
) -> pd.DataFrame:
    for number, value in zip(numbers, values, strict=True):
        if not isinstance(value, dict):
            raise InputError(f"{path}, {unit} {number}: not an object with named values")
    # As objects, so that no value is converted: 1 stays 1 beside a missing one.
    return pd.DataFrame(values, index=list(numbers), dtype=object)


# --- binary forms ----------------------------------------------------------------------------


def _read_parquet(path: Path) -> Table:
    from datasets import Features
    from pyarrow import parquet

    data = io.BytesIO(_read_bytes(path))
    try:
        frame = pd.read_parquet(data).reset_index(drop=True)
        schema = parquet.read_schema(data)
    except (ValueError, OSError) as error:  # pyarrow's errors are of these kinds
        raise InputError(f"{path} is not Parquet ({' '.join(str(error).split())})") from None
    written_by_datasets = b"huggingface" in (schema.metadata or {})
    features = Features.from_arrow_schema(schema) if written_by_datasets else {}
    return _with_class_names(frame, features, [])


def _read_saved_folder(path: Path) -> Table:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # whatever a damaged folder leads to
        first = (str(error).splitlines() or [type(error).__name__])[0]
        tables = sorted(file.name for file in path.iterdir() if _has_known_form(file))
        if tables:
            first = f"but it holds {', '.join(tables[:5])}: name one file"
        raise InputError(f"the folder {path} was not saved by `datasets` ({first})") from None
    notes = []
    if isinstance(loaded, datasets.DatasetDict):
        part = "train" if "train" in loaded else next(iter(loaded))
        notes = [f"Of the parts {', '.join(map(repr, loaded))} of the folder {part!r} is read."]
        loaded = loaded[part]
    return _with_class_names(loaded.to_pandas(), loaded.features, notes)


def _has_known_form(path: Path) -> bool:
    try:
        return path.is_file() and bool(form_of(path))
    except InputError:
        return False


def _with_class_names(frame: pd.DataFrame, features: Mapping[str, Any], notes: list[str]) -> Table:
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    frame.columns = pd.Index(map(str, frame.columns))  # pandas may have saved numbers for names
    class_names = {
        column: tuple(feature.names)
        for column, feature in features.items()
        if getattr(feature, "names", None)
    }
    return Table(frame, "row", tuple(notes), class_names)
