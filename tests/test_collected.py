"""The collected results of a study, and what they remember of runs done elsewhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from made_up_study import METRICS, SPLIT
from tangentlm.errors import InputError
from tangentlm.params import FineTuneRun, KernelRun, project_root
from tangentlm.studies.collect import (
    collect,
    collected_identity,
    read_benchmark,
    read_collected,
    read_collected_table,
    write_collected,
)
from tangentlm.studies.records import IDENTITY_VARIABLE, write_record


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A project of its own to write runs and results into."""
    shutil.copytree(project_root() / "params", tmp_path / "params")
    (tmp_path / "assets").symlink_to(project_root() / "assets")
    monkeypatch.setenv("TANGENTLM_ROOT", str(tmp_path))
    return tmp_path


def finish(run, study: str, **metrics) -> None:
    values = run.model_dump() | {"out": str(run.folder(study))}
    write_record(type(run)(**values), SPLIT.facts, {**METRICS, **metrics})


RUNS = [
    KernelRun(task="reviews", k=2, seed=13),
    KernelRun(task="reviews", k=2, seed=21),
    FineTuneRun(task="reviews", k=2, optimizer="adam"),
]


def test_collect_has_a_row_for_each_done_run(root):
    finish(RUNS[0], "tiny", table=[{"loss": 1.0}], share=None)
    finish(RUNS[2], "tiny")
    finish(RUNS[1], "another")
    tables = collect("tiny", RUNS)
    assert set(tables) == {"kernel", "finetune"}
    (row,) = tables["kernel"].to_dict("records")
    assert row["study"] == "tiny"
    assert row["run"] == RUNS[0].name
    assert (row["method"], row["task"], row["k"], row["seed"]) == ("sgd", "reviews", 2, 13)
    assert row["test_score"] == 75.0
    assert row["split"] == SPLIT.checksum
    assert row["threads"] == torch.get_num_threads()
    assert row["seconds"] > 0
    assert "table" not in row
    assert tables["finetune"]["method"].tolist() == ["adam"]


def test_nothing_done_gives_no_table(root):
    assert collect("tiny", RUNS) == {}
    assert write_collected("tiny", RUNS) == []
    assert read_collected("tiny", "kernel").empty


def test_collected_tables_are_read_back(root):
    for run in RUNS:
        finish(run, "tiny")
    paths = write_collected("tiny", RUNS)
    assert sorted(os.path.relpath(path, root) for path in paths) == [
        "results/tiny/finetune.csv",
        "results/tiny/kernel.csv",
    ]
    table = read_collected("tiny", "kernel")
    assert table["run"].tolist() == [RUNS[0].name, RUNS[1].name]
    expected = collect("tiny", RUNS)["kernel"]
    pd.testing.assert_frame_equal(table[["seed", "test_score"]], expected[["seed", "test_score"]])


def test_tables_inside_the_records_are_joined_over_the_runs(root):
    finish(RUNS[0], "tiny", curve=[{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}], names=["a"])
    finish(RUNS[1], "tiny", curve=[{"step": 1, "loss": 4.0}])
    finish(RUNS[2], "tiny", curve=[])
    paths = write_collected("tiny", RUNS)
    assert root / "results" / "tiny" / "kernel-curve.csv" in paths
    table = read_collected_table("tiny", "kernel-curve")
    assert table["run"].tolist() == [RUNS[0].name, RUNS[0].name, RUNS[1].name]
    assert table["loss"].tolist() == [3.0, 2.0, 4.0]
    assert read_collected_table("tiny", "finetune-curve").empty


def test_the_null_prompt_is_read_back_as_a_name(root):
    folder = root / "results" / "tiny"
    folder.mkdir(parents=True)
    table = pd.DataFrame({"prompt": ["manual", "null"], "score": [None, 1.0]})
    for name in ("kernel", "kernel-curve"):
        table.to_csv(folder / f"{name}.csv", index=False)
    for back in (read_collected("tiny", "kernel"), read_collected_table("tiny", "kernel-curve")):
        assert back["prompt"].tolist() == ["manual", "null"]
        assert back["score"].isna().tolist() == [True, False]


def test_unknown_experiment_is_refused(root):
    with pytest.raises(InputError, match="unknown experiment 'kernal'"):
        read_collected("tiny", "kernal")


# --- runs that were done elsewhere ----------------------------------------------------------


def forget_folders(root: Path) -> None:
    """What a fresh checkout lacks: the runs, but not the collected results."""
    shutil.rmtree(root / "runs")


def test_rows_of_runs_without_a_folder_are_kept(root):
    curve = [{"step": 1, "loss": 0.1 + 0.2}, {"step": 2, "loss": 1 / 3}]
    for run, value in zip(RUNS[:2], (1 / 3, 2 / 3), strict=True):
        finish(run, "tiny", test_score=value, curve=curve)
    write_collected("tiny", RUNS)
    forget_folders(root)
    finish(RUNS[1], "tiny", test_score=1 / 7, curve=curve[:1], new_metric=5)
    write_collected("tiny", RUNS)
    table = read_collected("tiny", "kernel")
    assert table["run"].tolist() == [RUNS[0].name, RUNS[1].name]
    assert table["test_score"].tolist() == [1 / 3, 1 / 7]
    assert table["new_metric"].isna().tolist() == [True, False]
    curves = read_collected_table("tiny", "kernel-curve")
    assert curves["run"].tolist() == [RUNS[0].name, RUNS[0].name, RUNS[1].name]
    assert curves["loss"].tolist() == [0.1 + 0.2, 1 / 3, 0.1 + 0.2]


def test_rows_stay_in_the_order_of_the_study(root):
    # Two experiments have runs of one name: each table has the order of its own.
    runs = [
        FineTuneRun(task="reviews", k=2, optimizer="sgd"),
        FineTuneRun(task="reviews", k=2, optimizer="adam"),
        KernelRun(task="reviews", k=2),
    ]
    assert runs[0].name == runs[2].name
    for _ in range(2):
        for run in runs:
            finish(run, "tiny")
        write_collected("tiny", runs)
        assert read_collected("tiny", "finetune")["method"].tolist() == ["sgd", "adam"]
        forget_folders(root)


def test_an_experiment_with_nothing_new_keeps_its_table(root):
    finish(RUNS[2], "tiny")
    write_collected("tiny", RUNS)
    path = root / "results" / "tiny" / "finetune.csv"
    before = path.read_bytes()
    forget_folders(root)
    finish(RUNS[0], "tiny")
    write_collected("tiny", RUNS)
    assert path.read_bytes() == before


def test_rows_of_runs_that_left_the_study_are_dropped(root):
    for run in RUNS[:2]:
        finish(run, "tiny")
    write_collected("tiny", RUNS)
    forget_folders(root)
    finish(RUNS[1], "tiny")
    write_collected("tiny", RUNS[1:])
    assert read_collected("tiny", "kernel")["run"].tolist() == [RUNS[1].name]


def test_collecting_twice_changes_nothing(root):
    for run in RUNS:
        finish(run, "tiny", test_score=1 / 3, diverged=None, table=[{"loss": 0.1 + 0.2}])
    before = [path.read_bytes() for path in write_collected("tiny", RUNS)]
    shutil.rmtree(RUNS[0].folder("tiny"))
    assert [path.read_bytes() for path in write_collected("tiny", RUNS)] == before


def test_identities_are_collected(root, monkeypatch):
    assert collected_identity(RUNS[0], "tiny") is None
    monkeypatch.setenv(IDENTITY_VARIABLE, "abc")
    finish(RUNS[0], "tiny")
    write_collected("tiny", RUNS)
    assert collected_identity(RUNS[0], "tiny") == "abc"
    assert collected_identity(RUNS[1], "tiny") is None
    monkeypatch.setenv(IDENTITY_VARIABLE, "12e4")
    finish(RUNS[0], "tiny")
    write_collected("tiny", RUNS)
    assert collected_identity(RUNS[0], "tiny") == "12e4"


def test_a_table_without_identities_remembers_no_identity(root):
    finish(RUNS[0], "tiny")
    (path,) = write_collected("tiny", RUNS)
    pd.read_csv(path).drop(columns="identity").to_csv(path, index=False)
    assert collected_identity(RUNS[0], "tiny") == ""


def test_a_benchmark_that_has_not_been_run_has_no_rows(root):
    folder = root / "results" / "benchmarks" / "cpu"
    folder.mkdir(parents=True)
    (folder / "speed.csv").write_text("method,seconds\nentk,1.5\n")
    assert read_benchmark("speed")["seconds"].tolist() == [1.5]
    assert read_benchmark("speed", "cuda").empty
