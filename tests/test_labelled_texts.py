"""Labelled texts as people have them: each messy form, and what is read or said of it."""

import csv
import gzip
import json
import random
import warnings

import datasets
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from tangentlm.errors import InputError
from tangentlm.tasks.classes import class_name
from tangentlm.tasks.columns import find_columns
from tangentlm.tasks.labelled_texts import read_labelled, read_texts
from tangentlm.tasks.tables import read_table

GUESSED = (
    "The labels are those of column 'label' (a guess by its name).",
    "The texts are those of column 'text' (a guess by its name).",
)


def read(folder, name, content, **columns):
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_labelled(path, **columns)


def refused(match, call, *args, **keywords):
    with pytest.raises(InputError, match=match) as caught:
        call(*args, **keywords)
    assert "\n" not in str(caught.value)


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


# Each is four texts, of which the classes are told, so that no class has a single text.
TEXTS = ("fine", "dull, slow", 'a "great" one', "bad\nworse")
ROWS = [{"text": text, "label": name} for text, name in zip(TEXTS, "abab", strict=True)]
FRAME = pd.DataFrame(ROWS)
CSV = FRAME.to_csv(index=False)
FORMS = {
    "commas": ("a.csv", CSV, ()),
    "upper case": ("A.CSV", CSV, ()),
    "all quoted": ("a.csv", FRAME.to_csv(index=False, quoting=csv.QUOTE_ALL), ()),
    "index": ("a.csv", FRAME.to_csv(), ()),
    "byte-order mark": ("a.csv", "\ufeff" + CSV, ()),
    "utf-16": ("a.csv", CSV.encode("utf-16"), ()),
    "utf-16, other way": ("a.csv", b"\xfe\xff" + CSV.encode("utf-16-be"), ()),
    "utf-32": ("a.csv", CSV.encode("utf-32"), ()),
    "blank lines at the end": ("a.csv", CSV + "\n\n \n,\n", ()),
    "no end of the last line": ("a.csv", CSV.rstrip("\n"), ()),
    "packed": ("a.csv.gz", CSV, ()),
    "semicolons": (
        "a.csv",
        FRAME.to_csv(index=False, sep=";"),
        ("The columns are separated by semicolons.",),
    ),
    "tabs": (
        "a.csv",
        FRAME.to_csv(index=False, sep="\t"),
        ("The columns are separated by tabs.",),
    ),
    "bars": ("a.txt", FRAME.to_csv(index=False, sep="|"), ("The columns are separated by bars.",)),
    "commas in a .tsv": ("a.tsv", CSV, ("The columns are separated by commas.",)),
    "tsv": ("a.tsv", FRAME.to_csv(index=False, sep="\t"), ()),
    "blanks after the separators": ("a.csv", CSV.replace(",", ", ").replace("l,  s", "l, s"), ()),
    "json lines": ("a.jsonl", lines(*ROWS), ()),
    "json lines, blank ones": ("a.ndjson", "\n\n".join(map(json.dumps, ROWS)) + "\n\n", ()),
    "json lines as .json": ("a.json", lines(*ROWS), ()),
    "packed json lines": ("a.jsonl.gz", lines(*ROWS), ()),
    "array": ("a.json", "\n" + json.dumps(ROWS, indent=2) + "\n", ()),
    "array on one line": ("a.json", json.dumps(ROWS), ()),
    "columns": ("a.json", json.dumps({"text": TEXTS, "label": [*"abab"]}), ()),
    "columns of pandas": ("a.json", FRAME.to_json(), ()),
    "records of pandas": ("a.json", FRAME.to_json(orient="records"), ()),
    "parquet": ("a.parquet", FRAME.to_parquet(), ()),
    "packed parquet": ("a.parquet.gz", FRAME.to_parquet(), ()),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_the_same_rows(tmp_path, form):
    name, content, notes = FORMS[form]
    found = read(tmp_path, name, content)
    assert found.texts == TEXTS
    assert found.pairs is None
    assert found.labels == (0, 1, 0, 1)
    assert found.classes == ("a", "b")
    assert found.notes == (*notes, *GUESSED)


def test_windows_ends_of_lines(tmp_path):
    found = read(tmp_path, "a.csv", CSV.replace("\n", "\r\n"))
    assert found.texts == (*TEXTS[:3], "bad\r\nworse")
    assert found.rows == (2, 3, 4, 5)
    broken = "text,label\r\n\r\na,1\r\nb,c,0\r\n"
    refused("line 4: 3 values for 2", read, tmp_path, "a.csv", broken)


def test_ends_of_lines_of_old_macs(tmp_path):
    found = read(tmp_path, "a.csv", CSV.replace("\n", "\r"))
    assert found.texts == (*TEXTS[:3], "bad\rworse")
    assert found.rows == (2, 3, 4, 5)


def test_folders_of_datasets(tmp_path):
    names = datasets.ClassLabel(names=["good", "bad", "never"])
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    rows = {"text": [*TEXTS, "no label"], "label": [1, 0, 1, 0, -1]}
    data = datasets.Dataset.from_dict(rows, features=features)
    data.save_to_disk(tmp_path / "one")
    datasets.DatasetDict(test=data.select([0]), train=data).save_to_disk(tmp_path / "two")
    data.to_parquet(tmp_path / "data.parquet")
    dropped = "1 row has no label and is left out: 5."
    part = "Of the parts 'test', 'train' of the folder 'train' is read."
    for name, notes in {"one": (), "two": (part,), "data.parquet": ()}.items():
        found = read_labelled(tmp_path / name)
        assert found.texts == TEXTS
        assert found.labels == (1, 0, 1, 0)
        assert found.classes == ("good", "bad")  # in the order of the file, not of the alphabet
        assert found.rows == (1, 2, 3, 4)
        assert found.notes == (*notes, *GUESSED, dropped)


@pytest.mark.parametrize(
    ("data", "text", "note"),
    [
        (b"text,label\ncaf\xe9,a\nx,b\ny,a\nz,b\n", "café", "line 2); it is read as Windows-1252"),
        (b"text,label\n\x93hi\x94,a\nx,b\ny,a\nz,b\n", "“hi”", "it is read as Windows-1252"),
        (b"text,label\n\x81\xe9,a\nx,b\ny,a\nz,b\n", "\x81é", "it is read as Latin-1"),
        (
            b"text,label\nx,b\n" + "äöüß".encode() + b"\xe9,a\ny,a\nz,b\n",
            "äöüß\ufffd",
            "Bytes that are not UTF-8 were replaced (1, first in line 3).",
        ),
    ],
)
def test_other_encodings_are_said(tmp_path, data, text, note):
    found = read(tmp_path, "a.csv", data)
    assert text in found.texts
    assert note in found.notes[0]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_tabs_with_marks_that_do_not_quote(tmp_path, name):
    """As GLUE has them: a lone mark would swallow the lines after it."""
    texts = ('"a lone mark', "plain", '"one" word', 'and "another', 'the last"', 'in " it')
    rows = "".join(f"{text}\t{'ab'[i % 2]}\n" for i, text in enumerate(texts))
    found = read(tmp_path, name, f"text\tlabel\n{rows}")
    assert found.texts == texts
    assert "Quotation marks are read as part of the texts." in found.notes


BROKEN = {
    "value too many": ("a.csv", 'text,label\na,1\n"b\nc",0\n\nd,e,1\n', "line 6: 3 values for"),
    "blank lines first": ("a.csv", "\n\ntext,label\na,1\nb,c,0\n", "line 5: 3 values for 2"),
    "first row too long": ("a.csv", "text,label\na,b,1\nc,d,0\n", "line 2: 3 values for 2"),
    "open quotation mark": (
        "a.csv",
        'text,label\n"a\nb",1\n"c,0\nd,1\n',
        "line 4: a quotation mark is opened and never closed",
    ),
    "empty": ("a.csv", "", "a.csv is empty"),
    "blank": ("a.jsonl", "\n \n", "a.jsonl is empty"),
    "mark alone": ("a.csv", b"\xef\xbb\xbf", "a.csv is empty"),
    "half a utf-16": ("a.csv", b"\xff\xfet", "line 1: not UTF-16"),
    "no rows": ("a.csv", "text,label\n", "labelled texts: 0; at least two"),
    "one row": ("a.csv", "text,label\na,1\n,0\n", "labelled texts: 1; at least two"),
    "twins": ("a.csv", "text,label,text\na,1,b\n", "2 columns are called 'text'"),
    "other form": ("a.docx", "PK", r"a\.docx ends in none of \.csv, \.tsv, \.jsonl, "),
    "spreadsheet": ("a.XLSX", b"PK\x03\x04", "a.XLSX is a spreadsheet; save it there as CSV"),
    "old spreadsheet": ("a.xls", b"\xd0\xcf\x11\xe0", "a.xls is a spreadsheet; save it there"),
    "spreadsheet in disguise": ("a.csv", b"PK\x03\x04\x14\x00", "is a spreadsheet or a packed fol"),
    "parquet in disguise": ("a.jsonl", FRAME.to_parquet(), "is a file of Parquet, whatever"),
    "picture": ("a.csv", bytes(range(256)) * 9, "begins with NUL characters: it is no text"),
    "utf-16 without a mark": ("a.csv", CSV.encode("utf-16-le"), "begins with NUL characters"),
    "no names": ("a.csv", "fine film,1\ndull,0\nslow,1\nbad,0\n", "no names of columns, as '1' st"),
    "no names, label first": ("a.tsv", "spam\twin\nham\thi\nspam\tbuy\n", "as 'spam' stands"),
    "no ending": ("data", "text,label\na,1\n", "ends in none of"),
    "cut line": ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"\n', "line 2: not JSON"),
    "no object": ("a.jsonl", '{"text": "a", "label": 1}\n\n["b", 1]\n', "line 3: not an object"),
    "no object in an array": ("a.json", '[{"text": "a"}, 3]', "row 2: not an object"),
    "cut array": ("a.json", '[{"text": "a",\n"label": 1},\n{', "line 3: not JSON"),
    "too deep": ("a.json", "[" * 100_000, "not JSON"),
    "too deep a line": ("a.jsonl", "[" * 100_000, "line 1: not JSON"),
    "number too long": ("a.jsonl", '{"label": %s}' % ("9" * 5000), "line 1: not JSON"),
    "one number": ("a.json", "3", "neither a list of objects nor"),
    "one object": ("a.json", '{"text": "a", "label": 1}', "one object, but not a list"),
    "unequal columns": ("a.json", '{"text": ["a", "b"], "label": [1]}', "one object, but not a"),
    "no parquet": ("a.parquet", "text,label\n", "a.parquet is not Parquet"),
    "gzip in disguise": ("a.csv", gzip.compress(CSV.encode()), "is packed by gzip, whatever its"),
    "no text": ("a.jsonl", lines({"text": {"a": 1}, "label": 0}), "line 1, column 'text': .* not"),
    "many labels": ("a.jsonl", lines({"text": "a", "label": [0, 1]}), r"\[0, 1\] is not a single"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_file_ends_in_one_line_that_names_the_place(tmp_path, case):
    name, content, match = BROKEN[case]
    refused(match, read, tmp_path, name, content)


def test_names_that_are_values_too_are_names_where_they_are_known(tmp_path):
    content = "text,spam\nbuy,spam\nhi,ham\nwin,spam\nbye,ham\n"
    assert read(tmp_path, "a.csv", content).classes == ("ham", "spam")
    found = read(tmp_path, "a.csv", content.replace("text", "x"), text_column="x")
    assert found.texts == ("buy", "hi", "win", "bye")
    refused("'x' stands in its column again", read, tmp_path, "a.csv", "x,y\nx,1\na,0\n")
    rows = lines({"x": "x", "y": 1}, {"x": "a", "y": 0})
    refused("no column is called", read, tmp_path, "a.jsonl", rows)


def test_columns_of_parquet_may_have_numbers_for_names(tmp_path):
    frame = pd.DataFrame({0: TEXTS, 1: [*"abab"]})
    frame.to_parquet(tmp_path / "a.parquet")
    found = read_labelled(tmp_path / "a.parquet", text_column="0", label_column="1")
    assert (found.texts, found.labels) == (TEXTS, (0, 1, 0, 1))
    refused("the columns are '0', '1'", read_labelled, tmp_path / "a.parquet")


def test_other_columns_of_parquet_are_no_hindrance(tmp_path):
    others = {"when": pd.date_range("2020", periods=4), "vector": [[0.5, 1.0]] * 4, "n": range(4)}
    FRAME.assign(**others).to_parquet(tmp_path / "a.parquet")
    assert read_labelled(tmp_path / "a.parquet").texts == TEXTS
    for column in ("when", "n"):
        assert len(read_labelled(tmp_path / "a.parquet", text_column=column).texts) == 4
    refused("row 1, column 'vector': .* is not a text", read_labelled, tmp_path / "a.parquet",
            text_column="vector")  # fmt: skip
    refused("row 1, column 'vector': .* is not a single label", read_labelled,
            tmp_path / "a.parquet", label_column="vector")  # fmt: skip


def test_a_number_that_is_no_class_of_the_file_is_named(tmp_path):
    names = datasets.ClassLabel(names=["1", "good"])
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    data = datasets.Dataset.from_dict({"text": TEXTS, "label": [0, 1, 0, 1]}, features=features)
    data.to_parquet(tmp_path / "a.parquet")
    assert read_labelled(tmp_path / "a.parquet").labels == (0, 1, 0, 1)  # 1 is a number first
    schema = parquet.read_schema(tmp_path / "a.parquet")
    for number in (2, -2):
        table = pa.table({"text": TEXTS, "label": [0, 1, number, 1]})
        parquet.write_table(table.replace_schema_metadata(schema.metadata), tmp_path / "b.parquet")
        refused(f"row 3, column 'label': '{number}' is no class: .* numbers 0 to 1 alone",
                read_labelled, tmp_path / "b.parquet")  # fmt: skip
    table = pa.table({"text": TEXTS, "label": ["good", "0", "good", "0"]})
    parquet.write_table(table.replace_schema_metadata(schema.metadata), tmp_path / "c.parquet")
    assert read_labelled(tmp_path / "c.parquet").labels == (1, 0, 1, 0)


def test_missing_and_mistaken_paths_are_refused(tmp_path):
    refused("there is no file .*gone.csv", read_labelled, tmp_path / "gone.csv")
    refused("was not saved by `datasets`", read_labelled, tmp_path)
    (tmp_path / "mine.csv").write_text(CSV)
    near = r"no file .*mnie.csv; did you mean '.*mine.csv'\?"
    refused(near, read_labelled, tmp_path / "mnie.csv")
    refused("`datasets` .but it holds mine.csv: name one file", read_labelled, tmp_path)
    (tmp_path / "a.csv.gz").write_bytes(CSV.encode())
    refused("a.csv.gz cannot be read: Not a gzipped file", read_labelled, tmp_path / "a.csv.gz")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(CSV.encode())[:-9])
    refused("b.csv.gz cannot be read", read_labelled, tmp_path / "b.csv.gz")


# --- texts to predict -----------------------------------------------------------------------


@pytest.mark.parametrize("told", [{}, {"label_column": "label"}])
def test_texts_to_predict_need_no_labels(tmp_path, told):
    FRAME[["text"]].to_csv(tmp_path / "new.csv", index=False)
    new = read_texts(tmp_path / "new.csv", **told)
    assert new.texts == TEXTS
    assert new.labels == (-1,) * 4
    named = "It has no column 'label', so no labels are read."
    assert new.notes[0] == (named if told else "It has no column of labels.")


def test_texts_to_predict_have_the_columns_of_those_to_learn_from(tmp_path):
    content = "Body,kind,text\nfine,a,x\ndull,b,y\ngood,a,z\nbad,b,w\n"
    train = read(tmp_path, "a.csv", content, text_column="body", label_column="kind")
    assert train.columns == {"text_column": "Body", "label_column": "kind"}
    (tmp_path / "new.csv").write_text(content)
    new = read_texts(tmp_path / "new.csv", **train.columns)
    assert (new.texts, new.labels) == (train.texts, train.labels)
    (tmp_path / "other.csv").write_text("Bodies,class,text\nfine,a,x\n")
    refused("unknown column 'Body'; did you mean 'Bodies'", read_texts, tmp_path / "other.csv",
            **train.columns)  # fmt: skip
    (tmp_path / "third.csv").write_text("Body,class\nfine,a\n")
    said = read_texts(tmp_path / "third.csv", **train.columns).notes
    assert said == (
        "It has no column 'kind', so no labels are read, and column 'class' is not taken instead.",
    )


def test_texts_to_predict_keep_the_labels_they_have(tmp_path):
    (tmp_path / "new.csv").write_text("text,label\nfine,b\ndull,\n,b\n")
    new = read_texts(tmp_path / "new.csv")
    assert (new.texts, new.labels, new.classes) == (("fine", "dull"), (0, -1), ("b",))
    (tmp_path / "none.csv").write_text("text,label\n,b\n")
    refused("no row has a text", read_texts, tmp_path / "none.csv")
    refused("unknown column 'txt'; did you mean 'text'", read_texts, tmp_path / "new.csv",
            text_column="txt")  # fmt: skip


# --- columns ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "text", "pair", "label", "notes"),
    [
        (["text", "label"], "text", None, "label", GUESSED[::1]),
        (["Sentence", "TARGET"], "Sentence", None, "TARGET", None),
        (["Review Text", "star-rating"], "Review Text", None, "star-rating", None),
        (["ReviewText", "SentimentLabel"], "ReviewText", None, "SentimentLabel", None),
        (["text_id", "id", "tweet_content", "class"], "tweet_content", None, "class", None),
        (["label_text", "text", "label"], "text", None, "label", None),
        (["Sentence 1", "Sentence_2", "gold"], "Sentence 1", "Sentence_2", "gold", None),
        (["premise", "hypothesis", "label"], "premise", "hypothesis", "label", None),
        (["hypothesis", "text", "premise", "label"], "text", None, "label", None),
        (
            ["comment", "Text", "class", "label"],
            "Text", None, "label",
            (
                "The labels are those of column 'label', not of 'class' (a guess by their names).",
                "The texts are those of column 'Text', not of 'comment' (a guess by their names).",
            ),
        ),
    ],
)  # fmt: skip
def test_columns_are_guessed_by_their_names(names, text, pair, label, notes):
    found = find_columns(names)
    assert (found.text, found.pair, found.label) == (text, pair, label)
    assert len(found.notes) == 2 + (pair is not None)
    assert all(repr(column) in " ".join(found.notes) for column in (text, pair, label) if column)
    assert notes is None or found.notes == notes


def test_order_of_the_columns_changes_no_guess():
    names = ["comment", "text", "class", "label", "id"]
    for seed in range(5):
        found = find_columns(random.Random(seed).sample(names, len(names)))
        assert (found.text, found.label) == ("text", "label")


def test_told_columns_are_taken(tmp_path):
    content = "v1,v2,,,text\nham,fine,,,x\nspam,dull,,,y\nham,good,,,z\nspam,bad,,,t\n"
    found = read(tmp_path, "a.csv", content, text_column="V2", label_column="v1")
    assert found.texts == ("fine", "dull", "good", "bad")
    assert found.classes == ("ham", "spam")
    assert found.notes == ()
    found = read(tmp_path, "a.csv", content, label_column="v1")
    assert found.texts == ("x", "y", "z", "t")
    content = "a,b,label\nx,p,0\ny,q,1\nz,r,0\nt,,1\nu,s,1\n"
    found = read(tmp_path, "a.csv", content, text_column="a", pair_column="b")
    assert found.pairs == ("p", "q", "r", "s")
    assert found.rows == (2, 3, 4, 6)
    assert "1 row has an empty text and is left out: 5." in found.notes


def test_told_text_has_no_guessed_partner():
    names = ["sentence1", "sentence2", "label"]
    assert find_columns(names, text="sentence1").pair is None
    assert find_columns(names, label="label").pair == "sentence2"


@pytest.mark.parametrize(
    ("names", "told", "match"),
    [
        (["text", "label"], {"text": "txt"}, "unknown column 'txt'; did you mean 'text'"),
        (["text", "label"], {"label": "labl"}, "unknown column 'labl'; did you mean 'label'"),
        (["text", "label"], {"pair": "other"}, "unknown column 'other'"),
        (["Text", "TEXT", "label"], {"text": "text"}, "unknown column 'text'"),
        (["text", "label"], {"text": "label"}, "no column is called like a column of labels"),
        (["text", "label"], {"text": "label", "label": "label"}, "need a column each"),
        (
            ["foo", "bar"],
            {},
            "labels; name it with label_column .--label-column.; the columns are 'foo', 'bar'",
        ),
        (
            ["foo", "label"],
            {},
            "texts; name it with text_column .--text-column.; the columns are 'foo', 'label'",
        ),
        (["label"], {}, "of texts"),
        ([f"c{i}" for i in range(40)], {}, "'c11' and 28 more"),
        (
            ["3", "Wall St. Bears claw back into the black again"],
            {},
            "'Wall St. Bears claw back in",
        ),
    ],
)
def test_columns_that_are_not_found_are_refused(names, told, match):
    refused(match, find_columns, names, **told)


# --- labels ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        (["0", 0, 0.0, "0.0", 1, "1", 1.0, " 1 "], ("0", "1"), [0] * 4 + [1] * 4),
        ([True, "true", "TRUE", False, "False", False], ("false", "true"), [1] * 3 + [0] * 3),
        ([True, 1, True, 1], ("1", "true"), [1, 0, 1, 0]),
        ([10**400, "a", 10**400, "a"], (str(10**400), "a"), [0, 1, 0, 1]),
        ([-1, "+1", "-1.0", 1], ("-1", "1"), [0, 1, 0, 1]),
        (["10", "9", 10, 9.0], ("9", "10"), [1, 0, 1, 0]),
        ([0.5, "0.5", 1.5, "1.5"], ("0.5", "1.5"), [0, 0, 1, 1]),
        (["007", "7", "007", "7"], ("007", "7"), [0, 1, 0, 1]),
        ([" pos", "neg", "pos\t", "neg "], ("neg", "pos"), [1, 0, 1, 0]),
        (["größer", "kleiner"] * 2, ("größer", "kleiner"), [0, 1, 0, 1]),
    ],
)
def test_one_class_for_one_label_however_it_is_written(tmp_path, labels, classes, expected):
    rows = [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)]
    found = read(tmp_path, "a.jsonl", lines(*rows))
    assert found.classes == classes
    assert found.labels == tuple(expected)


def test_numbers_are_in_the_order_of_their_size(tmp_path):
    rows = "".join(f"text {i},{label}\n" for i, label in enumerate([10, 9, -2, 9.0, 10, -2] * 2))
    assert read(tmp_path, "a.csv", f"text,label\n{rows}").classes == ("-2", "9", "10")


def test_spellings_of_one_class_are_said(tmp_path):
    rows = [{"text": f"text {i}", "label": label} for i, label in enumerate(["0", 0, 1, 1, 0.0])]
    found = read(tmp_path, "a.jsonl", lines(*rows))
    said = "Labels that are written in several ways are one class: '0', 0 and 0.0 are '0'."
    assert found.notes == (*GUESSED, said)


@pytest.mark.parametrize("value", [None, "", "  ", "nan", "NaN", "<NA>", "#N/A", float("nan")])
def test_missing_labels_are_counted(tmp_path, value):
    assert class_name(value) is None
    labels = ["a", "b", value, "a", "b", value]
    rows = [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)]
    found = read(tmp_path, "a.jsonl", lines(*rows, {"text": "no label at all"}))
    assert found.rows == (1, 2, 4, 5)
    assert found.notes == (*GUESSED, "3 lines have no label and are left out: 3, 6, 7.")


def test_truth_values_beside_numbers_are_kept_apart_and_it_is_said(tmp_path):
    rows = [{"text": f"text {i}", "label": (True, 1, False)[i % 3]} for i in range(9)]
    said = "Some labels are true or false and some 0 or 1; they are kept apart."
    assert read(tmp_path, "a.jsonl", lines(*rows)).notes[-1] == said


def test_words_that_may_mean_nothing_are_classes_and_it_is_said(tmp_path):
    rows = "".join(f"text {i},{label}\n" for i, label in enumerate(["None", "NA", "x"] * 3))
    found = read(tmp_path, "a.csv", f"text,label\n{rows}")
    assert found.classes == ("NA", "None", "x")
    assert found.notes[-1] == "Read as a class, not as a missing label: 'NA' and 'None'."


def test_classes_that_differ_in_case_are_kept_and_said(tmp_path):
    rows = "".join(f"text {i},{label}\n" for i, label in enumerate(["Pos", "pos", "neg"] * 3))
    found = read(tmp_path, "a.csv", f"text,label\n{rows}")
    assert found.classes == ("Pos", "neg", "pos")
    assert found.notes[-1] == "The classes 'Pos' and 'pos' differ in case alone and are kept apart."


def test_class_of_one_is_kept_and_said(tmp_path):
    rows = "".join(f"text {i},{label}\n" for i, label in enumerate("aabbaabc"))
    found = read(tmp_path, "a.csv", f"text,label\n{rows}")
    assert found.classes == ("a", "b", "c")
    assert found.notes[-1] == "Class 'c' has one text, so no cross-validation can test it."


def test_two_rows_are_enough(tmp_path):
    found = read(tmp_path, "a.csv", "text,label\nx,1\ny,0\n")
    assert (found.texts, found.labels) == (("x", "y"), (1, 0))
    assert "Classes '0' and '1' have one text each" in found.notes[-1]


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (["a"] * 5, "all 5 labels of column 'label' are 'a'; a task needs two classes"),
        (["1", "1.0", " 1"], "all 3 labels of column 'label' are '1'"),
        ([i * 0.37 for i in range(40)], "40 different values in 40 rows: .* a number to predict"),
        ([i % 25 / 4 for i in range(500)], "25 different values in 500 rows: .* a number to pred"),
        (range(40), "40 different values in 40 rows: it looks like a number to predict, not a cla"),
        ([f"n{i % 20}" for i in range(40)], "20 different values in 40 rows: .* a text or a name"),
    ],
)
def test_labels_that_are_no_classes_are_refused(tmp_path, labels, match):
    rows = "".join(f"text {i},{label}\n" for i, label in enumerate(labels))
    refused(rf"a\.csv: .*{match}", read, tmp_path, "a.csv", f"text,label\n{rows}")


@pytest.mark.parametrize("labels", [[i % 77 for i in range(400)], [i % 9 / 2 for i in range(200)]])
def test_many_classes_are_classes(tmp_path, labels):
    rows = "".join(f"text {i},{label}\n" for i, label in enumerate(labels))
    found = read(tmp_path, "a.csv", f"text,label\n{rows}")
    assert [float(found.classes[label]) for label in found.labels] == labels


# --- texts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u200b", "\ufeff ", "\x00", None])
def test_empty_texts_are_counted(tmp_path, text):
    texts = ("x", "y", text, "z", text, "t")
    rows = [{"text": value, "label": name} for value, name in zip(texts, "abbaab", strict=True)]
    found = read(tmp_path, "a.jsonl", lines(*rows))
    assert found.texts == ("x", "y", "z", "t")
    assert found.rows == (1, 2, 4, 6)
    assert found.notes == (*GUESSED, "2 lines have an empty text and are left out: 3, 5.")


@pytest.mark.parametrize(
    "text",
    [
        "a <mask> b </s>", "[MASK] [SEP]", "<|endoftext|>", "🙂👩‍🚀", "שלום \u202eabc", "NA",
        "null", "007",
        "x" * 100_000, "é", "a\u2028b\x85c", "'", "\\", "{}", "=1+1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet"])
def test_any_text_is_read_as_it_is(tmp_path, text, name):
    frame = pd.DataFrame({"text": [text, "y", "z", "t"], "label": [*"abab"]})
    content = {
        "a.csv": lambda: frame.to_csv(index=False),
        "a.tsv": lambda: frame.to_csv(index=False, sep="\t"),
        "a.jsonl": lambda: lines(*frame.to_dict("records")),
        "a.json": lambda: frame.to_json(orient="records"),
        "a.parquet": frame.to_parquet,
    }[name]()
    found = read(tmp_path, name, content)
    assert found.texts == (text, "y", "z", "t")
    assert found.notes == GUESSED


def test_half_characters_are_replaced_and_control_characters_said(tmp_path):
    rows = [
        {"text": text, "label": i % 2}
        for i, text in enumerate(
            ["a \ud83d b", "c \x00 d", "e \x1b f", "\ude00", "\U0001f600", "g"]
        )
    ]
    found = read(tmp_path, "a.jsonl", lines(*rows))
    assert found.texts == ("a \ufffd b", "c \x00 d", "e \x1b f", "\ufffd", "\U0001f600", "g")
    assert found.notes[2:] == (
        "Halves of characters were replaced in 2 texts.",
        "Control characters stand in 2 texts; they are read as they are.",
    )
    for text in found.texts:
        text.encode()


def test_half_characters_in_labels_are_replaced(tmp_path):
    rows = [{"text": f"text {i}", "label": label} for i, label in enumerate(["a\ud83d", "b"] * 2)]
    assert read(tmp_path, "a.jsonl", lines(*rows)).classes == ("a\ufffd", "b")


def test_numbers_are_texts_where_texts_are(tmp_path):
    rows = [{"text": value, "label": i % 2} for i, value in enumerate([5, 2.5, True, "x"])]
    assert read(tmp_path, "a.jsonl", lines(*rows)).texts == ("5", "2.5", "True", "x")


def test_rows_are_counted_as_a_spreadsheet_does(tmp_path):
    content = '\ntext,label\n\n"a\nb",x\n,y\nc,y\n\nd,x\ne,y\n'
    found = read(tmp_path, "a.csv", content)
    assert found.rows == (4, 6, 8, 9)
    assert found.notes[-1] == "1 row has an empty text and is left out: 5."
    assert read_table(tmp_path / "a.csv").unit == "row"


def test_many_rows_left_out_are_not_all_listed(tmp_path):
    rows = "".join(f"text {i},{'ab'[i % 2] if i < 4 else ''}\n" for i in range(20))
    found = read(tmp_path, "a.csv", f"text,label\n{rows}")
    assert found.notes[-1] == "16 rows have no label and are left out: 6, 7, 8, 9, 10 and 11 more."


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_what_pandas_writes_is_read_back(tmp_path, seed, separator):
    """Random texts of everything that a table may stumble over."""
    draw = random.Random(seed)
    pieces = [",", ";", "\t", "|", '"', '""', "\n", "'", "word", "é", " ", "🙂", "<s>", "\\"]
    texts = ["".join(draw.choices(pieces, k=8)).strip() + "!" for _ in range(12)]
    frame = pd.DataFrame({"id": range(12), "text": texts, "label": [*"abc"] * 4})
    content = frame.to_csv(index=False, sep=separator)
    assert read(tmp_path, "a.csv", content).texts == tuple(texts)
