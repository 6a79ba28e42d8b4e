"""What a run leaves behind, and how records become tables."""

from __future__ import annotations

import json
import platform
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from made_up_study import METRICS, SPLIT
from tangentlm.errors import NonFiniteError
from tangentlm.params import KernelRun
from tangentlm.report.notes import cost_note, page_cost_note
from tangentlm.studies.records import IDENTITY_VARIABLE, peak_memory, read_record, write_record


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "some" / "where"


def kernel_run(out, **changes) -> KernelRun:
    return KernelRun(task="reviews", k=2, out=str(out), **changes)


def written(out, metrics=METRICS, **options) -> dict:
    write_record(kernel_run(out), SPLIT.facts, metrics, **options)
    record = read_record(out)
    assert record is not None
    return record


# --- a record -------------------------------------------------------------------------------


def test_round_trip(out, monkeypatch):
    monkeypatch.setenv(IDENTITY_VARIABLE, "abc123")
    path = write_record(kernel_run(out), SPLIT.facts, METRICS)
    assert path == out / "record.json"
    record = read_record(out)
    assert record == json.loads(path.read_text(encoding="utf-8"))
    assert set(record) == {
        "experiment", "run", "identity", "parameters", "metrics", "inputs", "cost",
        "environment",
    }  # fmt: skip
    assert record["experiment"] == "kernel"
    assert record["run"] == "reviews-k2-s13-sgd"
    assert record["identity"] == "abc123"
    assert record["metrics"] == METRICS
    assert [p.name for p in out.iterdir()] == ["record.json"]


def test_parameters_are_those_that_decide_the_result(out):
    parameters = written(out)["parameters"]
    assert parameters == kernel_run("elsewhere", data="a/folder").parameters()
    assert parameters["formula"] == "sgd"
    assert parameters["k"] == 2
    assert "out" not in parameters
    assert "data" not in parameters


def test_inputs_say_what_the_data_was(out):
    inputs = written(out)["inputs"]
    assert inputs == {
        "split": SPLIT.checksum, "source": "bundled", "drawn": "seed",
        "train": 2, "dev": 2, "test": 1,
    }  # fmt: skip
    assert re.fullmatch(r"[0-9a-f]{64}", inputs["split"])


def test_cost_is_time_and_memory(out):
    cost = written(out)["cost"]
    assert set(cost) == {"seconds", "peak_bytes"}
    assert cost["seconds"] > 0
    assert 2**20 < cost["peak_bytes"] <= peak_memory()


def test_environment_says_where_it_ran(out):
    environment = written(out)["environment"]
    for package in ("torch", "transformers", "datasets", "numpy", "tangentlm"):
        assert environment[package] == version(package)
    assert environment["python"] == platform.python_version()
    assert environment["threads"] == torch.get_num_threads()
    assert environment["device"]
    assert re.fullmatch(r"[0-9a-f]{12}\+?|unknown", environment["revision"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", environment["finished"])


def test_revision_outside_a_checkout_is_unknown(out, tmp_path, monkeypatch):
    (tmp_path / "params").mkdir()
    monkeypatch.setenv("TANGENTLM_ROOT", str(tmp_path))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert written(out)["environment"]["revision"] == "unknown"


def test_numpy_numbers_and_nested_metrics_are_written_plainly(out):
    metrics = {
        "score": np.float32(0.5), "rank": np.int64(3), "sure": np.bool_(True), "none": None,
        "table": [{"rate": np.float64(0.1), "score": None}], "pair": (1, 2),
    }  # fmt: skip
    assert written(out, metrics)["metrics"] == {
        "score": 0.5, "rank": 3, "sure": True, "none": None,
        "table": [{"rate": 0.1, "score": None}], "pair": [1, 2],
    }  # fmt: skip


def test_an_empty_cell_of_a_table_is_null(out):
    table = pd.DataFrame({"task": ["a", "b"], "rows": [1, 2], "score": [0.5, float("nan")]})
    assert written(out, {"table": table, "none": table[:0]})["metrics"] == {
        "table": [
            {"task": "a", "rows": 1, "score": 0.5},
            {"task": "b", "rows": 2, "score": None},
        ],
        "none": [],
    }


def test_arrays_are_kept_bit_for_bit(out):
    arrays = {"logits": torch.randn(3, 2), "values": np.arange(4) / 3, "labels": [1, 0]}
    record = written(out, arrays=arrays)
    assert "arrays" not in record
    with np.load(out / "arrays.npz") as kept:
        assert set(kept) == set(arrays)
        assert np.array_equal(kept["logits"], arrays["logits"].numpy())
        assert kept["logits"].dtype == np.float32
        assert np.array_equal(kept["values"], arrays["values"])
        assert kept["labels"].tolist() == [1, 0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), np.float32("nan")])
@pytest.mark.parametrize(
    ("place", "name"),
    [
        (lambda bad: {"test_score": bad}, r"metrics\.test_score"),
        (lambda bad: {"table": [{"loss": 1.0}, {"loss": bad}]}, r"metrics\.table\[1\]\.loss"),
        (lambda bad: {"scores": {"dev": (1.0, bad)}}, r"metrics\.scores\.dev\[1\]"),
    ],
)
def test_a_number_that_is_not_finite_is_refused_by_its_name(out, place, name, bad):
    with pytest.raises(NonFiniteError, match=rf"{name} = .* cannot enter a record"):
        write_record(kernel_run(out), SPLIT.facts, {"fine": 1.0, **place(bad)}, arrays={"a": [1]})
    assert not (out / "record.json").exists()
    assert read_record(out) is None
    assert [path.name for path in out.rglob("*")] == []


def test_what_json_cannot_hold_leaves_no_record(out):
    with pytest.raises(TypeError):
        write_record(kernel_run(out), SPLIT.facts, {"model": object()})
    assert read_record(out) is None


def test_read_record_of_a_run_that_is_not_done(tmp_path):
    assert read_record(tmp_path) is None
    assert read_record(tmp_path / "nowhere") is None
    (tmp_path / "record.part").write_text("{", encoding="utf-8")
    assert read_record(tmp_path) is None


def test_writing_again_replaces_the_record(out):
    written(out)
    assert written(out, {"test_score": 80.0})["metrics"] == {"test_score": 80.0}
    assert [p.name for p in out.iterdir()] == ["record.json"]


def test_cost_notes_are_measured(out):
    path = write_record(kernel_run(out), SPLIT.facts, METRICS)
    record = json.loads(path.read_text(encoding="utf-8"))
    record["cost"] = {"seconds": 83.4, "peak_bytes": 3 * 2**29}
    path.write_text(json.dumps(record), encoding="utf-8")
    assert "took 83 s and 1.5 GiB" in cost_note(path).data
    assert re.search(r"took \d+ s and \d+\.\d GiB", page_cost_note().data)
