import collections
import gzip
import json
import os
import subprocess
import sys
import warnings

import datasets
import pandas as pd
import pytest

from tangentlm.errors import InputError
from tangentlm.tasks import (
    Example,
    Split,
    Task,
    at_most_per_class,
    has_rows,
    load_split,
    load_task,
    load_whole,
    read_part,
)

SHOTS = 3
ROWS = [
    {"text_a": f"text {i}", "text_b": f"pair {i}", "label": i % 3}
    for i in range(3 * 2 * SHOTS + 12)
]

# The toy task's test rows are training rows, too; what is said of that has a test of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.* in the training rows")


def refused(match, call, *args, **keywords):
    with pytest.raises(InputError, match=match) as caught:
        call(*args, **keywords)
    assert "\n" not in str(caught.value)


def toy_task(pair=False, **changes):
    return Task(
        **{
            "name": "toy",
            "title": "Toy",
            "labels": ("no", "maybe", "yes"),
            "template": "{text_a} {mask} {text_b}" if pair else "{text_a} {mask}",
            "label_words": ("No", "Maybe", "Yes"),
            **changes,
        }
    )


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    """A data folder with the task "toy"."""
    write(tmp_path / "data" / "toy" / "train.jsonl", ROWS)
    write(tmp_path / "data" / "toy" / "test.jsonl", ROWS[:9])
    return tmp_path / "data"


def labels_of(examples):
    return collections.Counter(example.label for example in examples)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
@pytest.mark.parametrize("pair", [False, True])
def test_folder_of_json_lines(tmp_path, suffix, pair):
    write(tmp_path / "toy" / f"train{suffix}", ROWS)
    write(tmp_path / "toy" / f"test{suffix}", ROWS[:9])
    split = load_split(toy_task(pair), SHOTS, 13, data=tmp_path)
    expected = {
        Example(row["text_a"], row["text_b"] if pair else None, row["label"]) for row in ROWS[:9]
    }
    assert set(split.test) == expected
    assert (split.source, split.drawn) == ("folder", "seed")


def test_compression_changes_no_split(folder, tmp_path):
    for part, rows in (("train", ROWS), ("test", ROWS[:9])):
        write(tmp_path / "packed" / "toy" / f"{part}.jsonl.gz", rows)
    plain = load_split(toy_task(), SHOTS, 13, data=folder)
    packed = load_split(toy_task(), SHOTS, 13, data=tmp_path / "packed")
    assert plain.checksum == packed.checksum


@pytest.mark.parametrize("seed", [13, 21])
def test_split_is_disjoint_and_balanced(folder, seed):
    split = load_split(toy_task(), SHOTS, seed, data=folder)
    assert labels_of(split.train) == labels_of(split.dev) == {0: SHOTS, 1: SHOTS, 2: SHOTS}
    assert not set(split.train) & set(split.dev)
    assert {(e.text_a, e.label) for e in (*split.train, *split.dev)} <= {
        (row["text_a"], row["label"]) for row in ROWS
    }


@pytest.mark.parametrize("name", ["reviews", "topics", "inference"])
def test_bundled_split_is_disjoint_and_balanced(name):
    task = load_task(name)
    split = load_split(task, 16, 13)
    per_class = dict.fromkeys(range(task.num_classes), 16)
    assert labels_of(split.train) == labels_of(split.dev) == per_class
    assert not set(split.train) & set(split.dev)
    assert not {*split.train, *split.dev} & set(split.test)
    assert (split.source, split.drawn) == ("bundled", "seed")


def test_split_is_the_same_on_every_machine():
    split = load_split(load_task("reviews"), 16, 13)
    assert split.checksum == "c81f2de61af359e9101d6af1aa2410da080e1eaa91296ec656c623d0a8d56b65"


def test_seeds_draw_different_rows_and_the_same_test():
    task = load_task("reviews")
    splits = [load_split(task, 16, seed, test_size=50) for seed in (13, 21, 42, 87, 100)]
    assert len({split.checksum for split in splits}) == 5
    assert len({frozenset(split.train) for split in splits}) == 5
    assert len({split.test for split in splits}) == 1


def test_smaller_test_is_the_beginning_of_a_larger_one():
    task = load_task("topics")
    whole, capped = (load_split(task, 2, 13, test_size=size).test for size in (1000, 30))
    assert len(whole) == 200
    assert whole[:30] == capped


def test_environment_names_the_data_folder(folder, monkeypatch):
    monkeypatch.setenv("TANGENTLM_DATA", str(folder))
    assert load_split(toy_task(), SHOTS, 13).source == "folder"
    assert load_split(load_task("reviews"), 2, 13).source == "bundled"
    refused("unknown task 'sst2'", load_split, load_task("sst2"), 2, 13)


def test_argument_overrides_the_environment_and_the_bundled_rows(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TANGENTLM_DATA", str(tmp_path / "gone"))
    rows = [{"text_a": f"mine {i}", "label": i % 2} for i in range(8)]
    for part in ("train", "test"):
        write(folder / "reviews" / f"{part}.jsonl", rows)
    split = load_split(load_task("reviews"), 2, 13, data=folder)
    assert split.source == "folder"
    assert all(example.text_a.startswith("mine") for example in split.test)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_ready_made_split_is_used_where_there_is_one(folder, suffix):
    train = [{"text_a": f"ready {i}", "label": i % 3} for i in range(3)]
    dev = [{"text_a": f"other {i}", "label": i % 3} for i in range(3)]
    write(folder / "toy" / "kshot" / f"1-13.train{suffix}", train)
    write(folder / "toy" / "kshot" / f"1-13.dev{suffix}", dev)
    ready = load_split(toy_task(), 1, 13, data=folder)
    assert [example.text_a for example in ready.train] == ["ready 0", "ready 1", "ready 2"]
    assert [example.text_a for example in ready.dev] == ["other 0", "other 1", "other 2"]
    assert ready.drawn == "file"
    for k, seed in ((1, 21), (2, 13)):
        drawn = load_split(toy_task(), k, seed, data=folder)
        assert drawn.drawn == "seed"
        assert drawn.test == ready.test
        assert all(example.text_a.startswith("text") for example in drawn.train)


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({"train": [0, 1, 2], "dev": [0, 1]}, r"1-13\.dev: class 2 \(yes\) has 0 examples, 1"),
        ({"train": [0, 2, 2], "dev": [0, 1, 2]}, r"1-13\.train: class 1 \(maybe\)"),
        ({"train": [0, 1, 2]}, r"neither 1-13\.dev\.jsonl nor 1-13\.dev\.jsonl\.gz"),
        ({"train": [0, 1, 3], "dev": [0, 1, 2]}, r"1-13\.train\.jsonl, line 3: label 3"),
    ],
)
def test_wrong_ready_made_split_is_refused(folder, files, match):
    for part, labels in files.items():
        rows = [{"text_a": f"{part} {i}", "label": label} for i, label in enumerate(labels)]
        write(folder / "toy" / "kshot" / f"1-13.{part}.jsonl", rows)
    refused(match, load_split, toy_task(), 1, 13, data=folder)


GOOD = '{"text_a": "a", "label": 0}'


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ('{"text_a": ', "not JSON"),
        ("a\t0", "not JSON"),
        ('["a", 0]', "not an object"),
        ('{"label": 0}', "text_a is missing"),
        ('{"text_a": 3, "label": 0}', "text_a is missing or no text"),
        ('{"text_a": null, "label": 0}', "text_a is missing or no text"),
        ('{"text_a": "a"}', "label None is not in 0 to 2"),
        ('{"text_a": "a", "label": 3}', "label 3 is not in 0 to 2"),
        ('{"text_a": "a", "label": -1}', "label -1 is not in 0 to 2"),
        (
            '{"text_a": "a", "label": "3"}',
            "label '3' is not in 0 to 2, nor a name of no, maybe, yes",
        ),
        (
            '{"text_a": "a", "label": "No"}',
            "label 'No' is not in 0 to 2, nor a name of no, maybe, yes",
        ),
        ('{"text_a": "a", "label": 0.5}', "label 0.5 is not in 0 to 2"),
        ('{"text_a": "a", "label": ""}', "label '' is not in 0 to 2"),
        ('{"text_a": "a", "label": [0]}', r"label \[0\] is not in 0 to 2"),
        ('{"text_a": "a", "label": true}', "label True is not in 0 to 2"),
        ('{"text_a": "a", "label": false}', "label False is not in 0 to 2"),
    ],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_wrong_line_is_refused_by_file_and_line(folder, part, line, match):
    (folder / "toy" / f"{part}.jsonl").write_text(f"{GOOD}\n{line}\n")
    refused(rf"{part}\.jsonl, line 2: {match}", load_split, toy_task(), 1, 13, data=folder)


def test_second_text_of_a_pair_is_needed(folder):
    (folder / "toy" / "train.jsonl").write_text(GOOD)
    refused("line 1: text_b is missing", load_split, toy_task(pair=True), 1, 13, data=folder)


def test_empty_text_is_a_text(folder):
    rows = [{"text_a": "", "label": label} for label in (0, 1, 2) * 2]
    write(folder / "toy" / "train.jsonl", rows)
    assert len(load_split(toy_task(), 1, 13, data=folder).train) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.jsonl", b"\xff\xfe" + GOOD.encode() + b"\n"),
        ("train.jsonl.gz", GOOD.encode()),
        ("train.jsonl.gz", gzip.compress(GOOD.encode())[:-9]),
    ],
    ids=["no UTF-16", "not gzip", "cut gzip"],
)
def test_unreadable_file_is_refused_by_name(folder, name, content):
    (folder / "toy" / "train.jsonl").unlink()
    (folder / "toy" / name).write_bytes(content)
    refused(name, load_split, toy_task(), 1, 13, data=folder)


# What a folder may hold instead of JSON lines with numbers, one line for each of ROWS[:3].
FORMS = {
    "byte-order mark": ("jsonl", "\ufeff" + "".join(json.dumps(row) + "\n" for row in ROWS[:3])),
    "blank lines": ("jsonl", "\n\r\n".join(map(json.dumps, ROWS[:3])) + "\n\n  \n"),
    "text and fractions": (
        "jsonl",
        "".join(
            json.dumps(row | {"label": label}) + "\n"
            for row, label in zip(ROWS, ("0", 1.0, " 2.0 "), strict=False)
        ),
    ),
    "names": (
        "jsonl",
        "".join(
            json.dumps(row | {"label": label}) + "\n"
            for row, label in zip(ROWS, ("no", " maybe", "yes"), strict=False)
        ),
    ),
    "array": ("json", json.dumps(ROWS[:3], indent=2)),
    "csv": (
        "csv",
        'label,text_a,text_b\r\n0,"text 0",pair 0\r\n'
        'maybe,text 1,pair 1\r\n2,text 2,"pair 2"\r\n\r\n',
    ),
    "tsv": (
        "tsv",
        "text_a\ttext_b\tlabel\ntext 0\tpair 0\t0\n"
        "text 1\tpair 1\t1\ntext 2\tpair 2\tyes\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_folder_in_other_forms(folder, form, packed):
    (folder / "toy" / "train.jsonl").unlink()
    ending, text = FORMS[form]
    data, ending = (
        (gzip.compress(text.encode()), f"{ending}.gz") if packed else (text.encode(), ending)
    )
    (folder / "toy" / f"train.{ending}").write_bytes(data)
    for pair in (False, True):
        expected = [
            Example(row["text_a"], row["text_b"] if pair else None, row["label"])
            for row in ROWS[:3]
        ]
        assert read_part(toy_task(pair), "train", folder) == expected


def test_folder_of_parquet(folder):
    (folder / "toy" / "train.jsonl").unlink()
    pd.DataFrame(ROWS).to_parquet(folder / "toy" / "train.parquet")
    rows = read_part(toy_task(pair=True), "train", folder)
    assert rows == [Example(**row) for row in ROWS]


@pytest.mark.parametrize(
    ("names", "expected"), [(("yes", "no", "maybe"), [2, 0, 1]), (("Y", "N", "M"), [0, 1, 2])]
)
def test_names_of_classes_in_parquet_tell_their_order(folder, names, expected):
    (folder / "toy" / "train.jsonl").unlink()
    features = {"text_a": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    data = datasets.Dataset.from_dict(
        {"text_a": [*"abc"], "label": [0, 1, 2]}, features=datasets.Features(features)
    )
    data.to_parquet(folder / "toy" / "train.parquet")
    assert [row.label for row in read_part(toy_task(), "train", folder)] == expected


@pytest.mark.parametrize("part", ["train", "dev"])
def test_ready_made_split_may_be_a_csv(folder, part):
    for name in ("train", "dev"):
        lines = [f"{name} {i},{i}\n" for i in range(3)]
        text = "text_a,label\n" + "".join(lines)
        (folder / "toy" / "kshot").mkdir(exist_ok=True)
        (folder / "toy" / "kshot" / f"1-13.{name}.csv").write_text(text)
    ready = load_split(toy_task(), 1, 13, data=folder)
    assert ready.drawn == "file"
    assert [row.text_a for row in getattr(ready, part)] == [f"{part} {i}" for i in range(3)]


def test_wrong_row_of_a_csv_is_refused_by_its_number(folder):
    (folder / "toy" / "train.jsonl").unlink()
    (folder / "toy" / "train.csv").write_text("text_a,label\n\na,0\nb,4\n")
    refused(r"train\.csv, row 4: label '4' is not", load_split, toy_task(), 1, 13, data=folder)


def test_number_that_may_be_a_name_is_refused(folder):
    task = toy_task(labels=("1", "2", "3"))
    line = '{"text_a": "a", "label": %s}\n'
    (folder / "toy" / "train.jsonl").write_text(line % 1 + line % '"3"' + line % '"0"')
    assert [row.label for row in read_part(task, "train", folder)] == [1, 2, 0]
    (folder / "toy" / "train.jsonl").write_text(line % '"1"')
    match = "line 1: label '1' is the number of one class, the name of another"
    refused(match, read_part, task, "train", folder)


def test_truth_values_are_names_alone(folder):
    task = toy_task(labels=("True", "maybe", "false"))
    lines = "".join(f'{{"text_a": "a", "label": {label}}}\n' for label in ("true", '"False"', 1))
    (folder / "toy" / "train.jsonl").write_text(lines)
    assert [row.label for row in read_part(task, "train", folder)] == [0, 2, 1]


def test_other_encoding_is_read_with_a_warning(folder):
    path = folder / "toy" / "train.jsonl"
    path.write_bytes(GOOD.encode() + b'\n{"text_a": "caf\xe9", "label": 0}\n')
    with pytest.warns(
        UserWarning, match=r"train\.jsonl: The file is not UTF-8 \(line 2\); .*Windows"
    ):
        rows = read_part(toy_task(), "train", folder)
    assert [row.text_a for row in rows] == ["a", "café"]


def test_half_of_a_character_is_replaced_with_a_warning(folder):
    line = '{"text_a": "a \\ud83d b", "label": 0}\n'
    (folder / "toy" / "train.jsonl").write_text(line * 2 + GOOD)
    with pytest.warns(UserWarning, match="halves of characters were replaced in 2 texts"):
        rows = read_part(toy_task(), "train", folder)
    assert [row.text_a for row in rows] == ["a \ufffd b", "a \ufffd b", "a"]


def test_test_rows_among_the_training_rows_are_told_once(folder):
    write(folder / "toy" / "train.jsonl", ROWS[9:])
    rows = [
        {"text_a": "TEXT  10 ", "text_b": "pair 10", "label": 0},
        {"text_a": "text 11", "text_b": "another", "label": 0},
        {"text_a": "text 12", "text_b": "Pair 12", "label": 0},
        {"text_a": "text 1", "text_b": "pair 1", "label": 0},
    ]
    write(folder / "toy" / "test.jsonl", rows)
    task = toy_task(pair=True)
    with pytest.warns(UserWarning, match="toy: 2 test rows are in the training rows"):
        load_split(task, 1, 13, data=folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_split(task, 1, 21, data=folder)
        load_whole(task, data=folder)


def test_no_test_row_of_a_bundled_task_is_a_training_row():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("reviews", "topics", "inference"):
            load_whole(load_task(name))


def test_files_are_read_as_utf8_whatever_the_locale(folder):
    rows = [{"text_a": f"café {i}", "label": i % 2} for i in range(8)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "reviews").mkdir()
    for part in ("train", "test"):
        (folder / "reviews" / f"{part}.jsonl").write_text(text, encoding="utf-8")
    code = (
        "from tangentlm.tasks import load_split, load_task;"
        f"print(load_split(load_task('reviews'), 2, 13, data={str(folder)!r}).checksum)"
    )
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | locale, capture_output=True, text=True
    )
    here = load_split(load_task("reviews"), 2, 13, data=folder).checksum
    assert (done.stdout.strip(), done.returncode) == (here, 0), done.stderr


@pytest.mark.parametrize(
    ("k", "match"),
    [
        (1, r"k = 1 .*class 1 \(maybe\) has 1 examples, 2 are needed"),
        (1000, r"k = 1000 .*class 0 \(no\) has 10 examples, 2000 are needed"),
    ],
)
def test_class_with_too_few_examples_is_named(folder, k, match):
    rows = [row for row in ROWS if row["label"] != 1]
    write(folder / "toy" / "train.jsonl", [*rows, ROWS[1]])
    refused(match, load_split, toy_task(), k, 13, data=folder)


def test_a_task_may_have_a_short_dev_part(folder):
    rows = [row for row in ROWS if row["label"] != 1] + [row for row in ROWS if row["label"] == 1][
        :3
    ]
    write(folder / "toy" / "train.jsonl", rows)
    refused("has 3 examples, 4 are needed", load_split, toy_task(), 2, 13, data=folder)
    split = load_split(toy_task(short_dev=True), 2, 13, data=folder)
    count = {name: [e.label for e in getattr(split, name)].count(1) for name in ("train", "dev")}
    assert count == {"train": 2, "dev": 1}
    assert [e.label for e in split.dev].count(0) == 2
    refused("3 examples, 4", load_split, toy_task(short_dev=True), 3, 13, data=folder)


def test_a_task_may_have_a_short_train_part(folder):
    of_one = [row for row in ROWS if row["label"] == 1][:3]
    write(folder / "toy" / "train.jsonl", [row for row in ROWS if row["label"] != 1] + of_one)
    task = toy_task(short_dev=True, short_train=True)
    for k, (train, dev) in {2: (2, 1), 3: (3, 0), 4: (3, 0)}.items():
        split = load_split(task, k, 13, data=folder)
        labels = [[example.label for example in part] for part in (split.train, split.dev)]
        assert [part.count(1) for part in labels] == [train, dev]
        assert [part.count(0) for part in labels] == [k, k]
    write(folder / "toy" / "train.jsonl", [row for row in ROWS if row["label"] != 1])
    refused("has 0 examples, 1 are needed", load_split, task, 2, 13, data=folder)


def test_exactly_2k_examples_are_enough(folder):
    write(folder / "toy" / "train.jsonl", ROWS[: 3 * 2 * SHOTS])
    split = load_split(toy_task(), SHOTS, 13, data=folder)
    assert len(set(split.train) | set(split.dev)) == 3 * 2 * SHOTS


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("tory", ".", "data folder .*unknown task 'tory'; did you mean 'toy'"),
        ("toy", "gone", "the data folder .*gone does not exist"),
        ("toy", "toy/test.jsonl", "the data folder .*test.jsonl does not exist"),
    ],
)
def test_wrong_data_folder_is_refused(folder, name, data, match):
    refused(match, load_split, toy_task(name=name), 1, 13, data=folder / data)


@pytest.mark.parametrize("part", ["train", "test"])
def test_missing_file_is_refused(folder, part):
    (folder / "toy" / f"{part}.jsonl").unlink()
    refused(
        rf"has neither {part}\.jsonl nor {part}\.jsonl\.gz",
        load_split,
        toy_task(),
        1,
        13,
        data=folder,
    )


def test_task_that_is_nowhere_is_refused():
    refused("task toy has no hub data set; set TANGENTLM_DATA", load_split, toy_task(), 1, 13)


def test_checksum_depends_on_every_row(folder):
    split = load_split(toy_task(), SHOTS, 13, data=folder)
    write(folder / "toy" / "test.jsonl", [*ROWS[:8], {"text_a": "text 8.", "label": 2}])
    assert load_split(toy_task(), SHOTS, 13, data=folder).checksum != split.checksum


HUB_ROWS = [
    {
        "premise": f"premise {i}",
        "hypothesis": f"hypothesis {i}",
        "gold": i % 3,
        "word": "NMY"[i % 3],
    }
    for i in range(12)
]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A function that writes a data set as the hub has them and gives its folder."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def make(rows, kind="json", parts=("train", "test")):
        folder = tmp_path / "hub"
        folder.mkdir()
        for part in parts:
            data = datasets.Dataset.from_list(rows)
            getattr(data, f"to_{kind}")(str(folder / f"{part}.{kind}"))
        return str(folder)

    yield make
    datasets.enable_progress_bars()


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_hub_s_columns_become_examples(hub, kind):
    path = hub(HUB_ROWS, kind)
    columns = {"text_a": "premise", "text_b": "hypothesis", "label": "gold"}
    split = load_split(toy_task(pair=True, hub={"path": path, **columns}), 2, 13)
    assert set(split.test) == {
        Example(row["premise"], row["hypothesis"], row["gold"]) for row in HUB_ROWS
    }
    assert (split.source, split.drawn) == (f"hub: {path}", "seed")
    assert labels_of(split.train) == labels_of(split.dev) == {0: 2, 1: 2, 2: 2}


def test_single_text_leaves_the_other_column_out(hub):
    columns = {"path": hub(HUB_ROWS), "text_a": "hypothesis", "label": "gold"}
    split = load_split(toy_task(hub=columns), 2, 13)
    assert {(e.text_a, e.text_b) for e in split.test} == {
        (row["hypothesis"], None) for row in HUB_ROWS
    }


def test_hub_s_parts_can_have_other_names(hub):
    path = hub(HUB_ROWS, parts=("train", "validation"))
    columns = {"path": path, "text_a": "premise", "label": "gold", "test": "validation"}
    assert len(load_split(toy_task(hub=columns), 2, 13).test) == 12


def test_label_values_map_in_the_order_of_the_labels(hub):
    columns = {"path": hub(HUB_ROWS), "text_a": "premise", "label": "word", "values": [*"YNM"]}
    split = load_split(toy_task(hub=columns), 2, 13)
    by_text = {example.text_a: example.label for example in split.test}
    assert [by_text[f"premise {i}"] for i in range(3)] == [1, 2, 0]


def test_numbers_can_be_label_values(hub):
    rows = [{"premise": f"premise {i}", "stars": i % 3 + 1} for i in range(12)]
    columns = {"path": hub(rows), "text_a": "premise", "label": "stars", "values": ["1", "2", "3"]}
    split = load_split(toy_task(hub=columns), 2, 13)
    by_text = {example.text_a: example.label for example in split.test}
    assert [by_text[f"premise {i}"] for i in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("column", "values", "match"),
    [
        ("word", ["N", "M", "Z"], "row 2: label 'Y' is not in"),
        ("word", None, "row 0: label 'N' is not in"),
        ("gold", ["1", "2", "3"], "row 0: label '0' is not in"),
    ],
)
def test_label_that_is_no_value_is_refused(hub, column, values, match):
    columns = {"path": hub(HUB_ROWS), "text_a": "premise", "label": column, "values": values}
    refused(f"train, {match}", load_split, toy_task(hub=columns), 1, 13)


def test_rows_without_a_gold_label_are_left_out(hub):
    rows = [*HUB_ROWS, {**HUB_ROWS[0], "gold": -1, "premise": "no label"}]
    columns = {"path": hub(rows), "text_a": "premise", "label": "gold"}
    split = load_split(toy_task(hub=columns), 2, 13)
    assert len(split.test) == 12
    assert all(e.text_a != "no label" for e in (*split.train, *split.dev, *split.test))


@pytest.mark.parametrize(
    ("changes", "nearest"),
    [
        ({"text_a": "premis"}, "premise"),
        ({"text_b": "hypotesis"}, "hypothesis"),
        ({"label": "golden"}, "gold"),
    ],
)
def test_unknown_column_is_refused_with_the_nearest(hub, changes, nearest):
    columns = {"path": hub(HUB_ROWS), "text_a": "premise", "text_b": "hypothesis", "label": "gold"}
    task = toy_task(pair=True, hub=columns | changes)
    refused(f"unknown column of .*did you mean '{nearest}'", load_split, task, 1, 13)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("path", ["{tmp}/gone", "no-such-owner/no-such-data", "stanfordnlp/sst2"])
def test_hub_out_of_reach_is_refused(tmp_path, path):
    columns = {"path": path.format(tmp=tmp_path), "text_a": "text"}
    refused("task toy: cannot load .*set TANGENTLM_DATA", load_split, toy_task(hub=columns), 1, 13)


def test_unknown_part_is_refused(hub):
    columns = {"path": hub(HUB_ROWS), "text_a": "premise", "label": "gold", "test": "tst"}
    refused("cannot load .*tst", load_split, toy_task(hub=columns), 1, 13)


# --- rows without a split -------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 4, 10, 100])
def test_at_most_so_many_of_a_class_are_taken(k):
    counts = {0: 12, 1: 3, 2: 7}
    rows = [Example(f"text {c} {i}", None, c) for c, n in counts.items() for i in range(n)]
    taken = at_most_per_class(rows, toy_task(), k, 13)
    assert labels_of(taken) == {c: min(n, k) for c, n in counts.items()}
    assert len(set(taken)) == len(taken)
    assert set(taken) <= set(rows)


def test_what_is_taken_depends_on_seed_and_rows_alone():
    rows = [Example(f"text {i}", None, i % 3) for i in range(60)]
    taken = at_most_per_class(rows, toy_task(), 5, 13)
    assert at_most_per_class(rows, toy_task(), 5, 13) == taken
    assert set(at_most_per_class(rows, toy_task(), 5, 21)) != set(taken)
    assert [row.label for row in taken] != sorted(row.label for row in taken)
    # A larger sample has all of a smaller one, in the same order.
    larger = at_most_per_class(rows, toy_task(), 8, 13)
    assert [row for row in larger if row in taken] == taken


def test_what_is_taken_is_what_a_split_takes(folder):
    split = load_split(toy_task(), SHOTS, 13, data=folder)
    rows = read_part(toy_task(), "train", folder)
    assert tuple(at_most_per_class(rows, toy_task(), SHOTS, 13)) == split.train


def test_rows_are_at_hand_where_a_folder_has_them(folder, monkeypatch):
    hub = toy_task(hub={"path": "some/where", "text_a": "text"})
    assert not has_rows(toy_task())
    assert not has_rows(hub)  # it would need a network
    assert has_rows(toy_task(), folder)
    assert has_rows(hub, folder)
    assert not has_rows(toy_task(name="toi"), folder)
    assert not has_rows(toy_task(), folder / "nowhere")
    monkeypatch.setenv("TANGENTLM_DATA", str(folder))
    assert has_rows(toy_task())
    assert has_rows(hub)
    assert not has_rows(toy_task(name="toi"))


def test_rows_of_a_bundled_task_are_at_hand_but_not_in_another_folder(folder):
    reviews = load_task("reviews")
    assert has_rows(reviews)
    assert not has_rows(reviews, folder)


def test_facts_of_a_split_are_what_a_record_says_of_it():
    one, other = Example("one", None, 0), Example("other", "more", 1)
    split = Split((one, other), (one,), (other, one, one), "folder", "file")
    assert split.facts == {
        "split": split.checksum,
        "source": "folder",
        "drawn": "file",
        "train": 2,
        "dev": 1,
        "test": 3,
    }
    assert json.loads(json.dumps(split.facts)) == split.facts
