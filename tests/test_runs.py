"""Running studies: what a run depends on, what is refused, what is left alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from project_copy import edit
from tangentlm.__main__ import main
from tangentlm.errors import InputError
from tangentlm.models import checkpoints
from tangentlm.params import (
    BOOK_STUDIES,
    KernelRun,
    PretrainRun,
    load_study,
)
from tangentlm.studies import checks, execution, launch, repeat
from tangentlm.studies.collect import write_collected
from tangentlm.studies.done import standing
from tangentlm.studies.identity import identity
from tangentlm.studies.records import IDENTITY_VARIABLE, read_record, write_record
from tangentlm.tasks import load_split, load_task


def study_of(root: Path, text: str, experiment: str = "kernel", name: str = "mine") -> None:
    path = root / "params" / "studies" / name / f"{experiment}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def command(*arguments: str, root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tangentlm", *arguments],
        capture_output=True, text=True, check=False, cwd=root, timeout=300,
        env=os.environ | {"TANGENTLM_ROOT": str(root), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip


@pytest.fixture
def corpus(tmp_path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "text.txt").write_text("a line\nanother line\n", encoding="utf-8")
    return folder


KERNEL = KernelRun(task="reviews", k=2, test_size=10)


# --- done, stale, to do ---------------------------------------------------------------------


def finish(run, study: str) -> None:
    """Write the record of a run as if it had been executed now."""
    os.environ[IDENTITY_VARIABLE] = str(identity(run))
    split = load_split(load_task(run.task), run.k, run.seed, test_size=run.test_size)
    placed = run.model_copy(update={"out": str(run.folder(study))})
    write_record(placed, split.facts, {"test_score": 50.0, "zero_shot_test": 50.0})


def test_state_of_a_run(root):
    assert standing(KERNEL, "smoke").state == "to do"
    finish(KERNEL, "smoke")
    assert standing(KERNEL, "smoke").state == "done"
    assert standing(KERNEL, "quick").state == "to do"
    edit(root / "params" / "grids" / "quick.yaml", "regularization: [0.0", "regularization: [0.5")
    assert standing(KERNEL, "smoke").state == "stale"


def test_a_collected_run_is_done_without_its_folder(root):
    finish(KERNEL, "mine")
    write_collected("mine", [KERNEL])
    shutil.rmtree(root / "runs")
    assert standing(KERNEL, "mine").state == "collected"
    edit(root / "params" / "grids" / "quick.yaml", "regularization: [0.0", "regularization: [0.5")
    assert standing(KERNEL, "mine").state == "stale"


@pytest.mark.parametrize("study", BOOK_STUDIES)
def test_a_page_of_the_book_needs_its_notebook(root, study):
    finish(KERNEL, study)
    write_collected(study, [KERNEL])
    shutil.rmtree(root / "runs")
    assert standing(KERNEL, study).state == "to do"


def test_a_model_needs_its_folder(root, corpus):
    run = PretrainRun(corpus=str(corpus))
    pretrained(run, run.folder("mine"))
    write_collected("mine", [run])
    shutil.rmtree(root / "runs")
    assert standing(run, "mine").state == "to do"


def pretrained(run, folder: Path) -> None:
    """Write the record of a pre-training as if it had been executed now."""
    os.environ[IDENTITY_VARIABLE] = str(identity(run))
    metrics = {"held_out_loss": 2.34567, "tokens": 1234567}
    write_record(run.model_copy(update={"out": str(folder)}), {"corpus": "sum"}, metrics)


def test_state_of_a_pretraining(root, corpus):
    run = PretrainRun(corpus=str(corpus))
    assert standing(run, "mine").state == "to do"
    pretrained(run, run.folder("mine"))
    assert standing(run, "mine").state == "done"
    (corpus / "more.txt").write_text("more\n", encoding="utf-8")
    assert standing(run, "mine").state == "stale"


def test_a_pretraining_is_executed_and_reported(root, corpus, monkeypatch, capsys):
    study_of(root, f"corpus: {corpus}\nwidth: 64\nsteps: 7\n", "pretrain")
    (run,) = load_study("mine")
    monkeypatch.setattr(
        execution, "execute_in", lambda scratch, run, _, **__: pretrained(run, scratch)
    )
    execution.execute("mine", "pretrain", run.name)
    assert standing(run, "mine").state == "done"
    line = capsys.readouterr().out
    assert line.startswith(f"[1/1] pretrain/{run.name}: held-out loss 2.346 after 1,234,567 tokens")


def test_a_study_of_pretrainings_needs_no_model(root, corpus, monkeypatch):
    study_of(root, f"corpus: {corpus}\nwidth: [64, 128]\n", "pretrain")
    monkeypatch.setattr(checkpoints, "load_masked_lm", lambda *_: pytest.fail("a model was loaded"))

    def snakemake(study: str, *_: object) -> int:
        for run in load_study(study):
            pretrained(run, run.folder(study))
        return 0

    monkeypatch.setattr(launch, "_snakemake", snakemake)
    monkeypatch.setattr(launch, "warm_kernels", nullcontext)
    assert launch.run_study("mine") == 0
    table = pd.read_csv(root / "results" / "mine" / "pretrain.csv")
    assert table["run"].tolist() == ["tiny-w64-s13-standard", "tiny-w128-s13-standard"]
    assert table["held_out_loss"].tolist() == [2.34567] * 2
    assert table["width"].tolist() == [64, 128]


def test_dry_run_lists_what_would_run_and_computes_nothing(root, capsys, monkeypatch):
    monkeypatch.setattr(launch, "_snakemake", lambda *_: pytest.fail("snakemake was called"))
    everything = load_study("smoke")
    done, stale = everything[-1], everything[-2]
    for run in (done, stale):
        if isinstance(run, PretrainRun):
            pretrained(run, run.folder("smoke"))
        else:
            finish(run, "smoke")
    edit(stale.folder("smoke") / "record.json", '"identity": "', '"identity": "0')
    before = sorted(path for path in root.rglob("*") if "assets" not in path.parts)
    assert main(["study", "smoke", "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert f"{len(everything)} runs, 1 done, 1 stale, {len(everything) - 2} to do" in output
    listed = [line.split()[2:] for line in output.splitlines() if "would run" in line]
    expected = {f"{run.experiment}/{run.name}" for run in everything if run != done}
    assert {name for name, *_ in listed} == expected
    assert f"{stale.experiment}/{stale.name} (stale: its record has no identity)" in output
    assert sorted(path for path in root.rglob("*") if "assets" not in path.parts) == before


@pytest.fixture
def started(root, monkeypatch) -> list[str]:
    """The runs that were started, where starting means writing a record."""
    study_of(root, "task: [reviews, topics, inference]\nk: 2\ntest_size: 10\n")
    names: list[str] = []

    def snakemake(study: str, *_: object) -> int:
        for run in load_study(study):
            if not run.folder(study).is_dir() and standing(run, study).state != "collected":
                names.append(run.name)
                if run.task != "inference":
                    finish(run, study)
        return 0

    monkeypatch.setattr(launch, "_snakemake", snakemake)
    monkeypatch.setattr(launch, "warm_kernels", nullcontext)
    return names


def test_only_what_is_not_done_is_run_again(root, started, capsys):
    reviews, topics, inference = load_study("mine")
    for run in (reviews, topics):
        finish(run, "mine")
    edit(topics.folder("mine") / "record.json", '"identity": "', '"identity": "0')
    untouched = (reviews.folder("mine") / "record.json").stat().st_mtime_ns
    assert launch.run_study("mine") == 1
    assert started == [topics.name, inference.name]
    assert (reviews.folder("mine") / "record.json").stat().st_mtime_ns == untouched
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        f"FAILED kernel/{inference.name}: no notebook: it never started"
    ]
    assert "Collected results/mine/kernel.csv" in captured.out
    assert (root / "results" / "mine" / "kernel.csv").read_text().count("\n") == 3


def test_a_study_goes_on_where_only_its_results_are(root, started, capsys):
    reviews, topics, inference = load_study("mine")
    for run in (reviews, topics):
        finish(run, "mine")
    write_collected("mine", [reviews, topics, inference])
    shutil.rmtree(root / "runs")
    edit(root / "results" / "mine" / "kernel.csv", str(identity(topics)), "old")
    finish(inference, "mine")
    assert launch.run_study("mine") == 0
    assert started == [topics.name]
    assert "3 runs, 2 done, 1 stale, 0 to do" in capsys.readouterr().out
    table = pd.read_csv(root / "results" / "mine" / "kernel.csv")
    assert table["run"].tolist() == [reviews.name, topics.name, inference.name]
    assert table["identity"].tolist() == [
        str(identity(run)) for run in (reviews, topics, inference)
    ]


def test_a_study_that_is_done_starts_nothing(root, started, capsys):
    for run in load_study("mine"):
        finish(run, "mine")
    assert launch.run_study("mine") == 0
    assert started == []
    assert "3 runs, 3 done, 0 stale, 0 to do" in capsys.readouterr().out


def test_unknown_run_is_refused_with_the_nearest(root):
    with pytest.raises(InputError, match="did you mean 'kernel/pocket-xs-reviews-k2-s13-sgd'"):
        execution.execute("smoke", "kernel", "pocket-xs-reviews-k2-s13-sdg")
    assert not (root / "runs").exists()


# --- refused before anything is computed ----------------------------------------------------


def two_words(root: Path) -> None:
    edit(root / "params" / "tasks" / "reviews.yaml", '"terrible"', '"terribly awful"')
    study_of(root, "task: reviews\nk: 2\n")


REFUSALS = {
    "study": (lambda root: None, "smokee", "unknown study 'smokee'; did you mean 'smoke'"),
    "task": (
        lambda root: study_of(root, "task: [topics, reveiws]\nk: 2\n"),
        "mine",
        "unknown task 'reveiws'; did you mean 'reviews'",
    ),
    "parameter": (
        lambda root: study_of(root, "task: reviews\nk: 2\nformla: sgd\n"),
        "mine",
        "unknown parameter 'formla'; did you mean 'formula'",
    ),
    "model": (
        lambda root: study_of(root, "task: reviews\nk: 2\nmodel: pockett\n"),
        "mine",
        "unknown model 'pockett'; did you mean 'pocket'",
    ),
    "grid": (
        lambda root: study_of(root, "task: reviews\nk: 2\ngrid: quik\n"),
        "mine",
        "unknown grid 'quik'; did you mean 'quick'",
    ),
    "experiment": (
        lambda root: study_of(root, "task: reviews\nk: 2\n", experiment="kernal"),
        "mine",
        "unknown experiment 'kernal'; did you mean 'kernel'",
    ),
    "k": (
        lambda root: study_of(root, "task: reviews\nk: 100\n"),
        "mine",
        "class 0 (negative) has 140 examples, 200 are needed",
    ),
    "formula": (
        lambda root: study_of(root, "task: reviews\nk: 2\nformula: sdg\n"),
        "mine",
        "formula = 'sdg': Input should be 'sgd'",
    ),
    "optimizer": (
        lambda root: study_of(root, "task: reviews\nk: 2\noptimizer: adma\n", "finetune"),
        "mine",
        "optimizer = 'adma': Input should be 'sgd', 'adam' or 'signgd'",
    ),
    "learning rate": (
        lambda root: study_of(root, "task: reviews\nlearning_rate: fast\n", "finetune"),
        "mine",
        "learning_rate",
    ),
    "label word": (two_words, "mine", "a label word must be one token"),
    "two of a name": (
        lambda root: study_of(root, "task: reviews\nk: [2, 2]\n"),
        "mine",
        "two runs are named kernel/reviews-k2-s13-sgd",
    ),
    "no runs": (
        lambda root: (root / "params" / "studies" / "mine").mkdir(),
        "mine",
        "study mine has no runs",
    ),
    "no corpus": (
        lambda root: study_of(root, "recipe: pocket\ncorpus: null\n", "pretrain"),
        "mine",
        "no corpus: set TANGENTLM_CORPUS",
    ),
    "corpus": (
        lambda root: study_of(root, "corpus: /no/where\n", "pretrain"),
        "mine",
        "the corpus folder /no/where does not exist",
    ),
    "recipe": (
        lambda root: study_of(root, "recipe: pokcet\n", "pretrain"),
        "mine",
        "unknown recipe 'pokcet'; did you mean 'pocket'",
    ),
    "corpus beside a run that would work": (
        lambda root: (
            study_of(root, "task: reviews\nk: 2\n"),
            study_of(root, "steps: 5\ncorpus: null\n", "pretrain"),
        ),
        "mine",
        "no corpus",
    ),
    "not YAML": (lambda root: study_of(root, "task: [reviews\n"), "mine", "not valid YAML"),
}
BY_COMMAND = ("task", "parameter", "model", "k", "formula")


@pytest.mark.parametrize(("prepare", "study", "message"), REFUSALS.values(), ids=REFUSALS)
def test_study_is_refused_in_one_line(root, capsys, prepare, study, message):
    prepare(root)
    assert main(["study", study]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("tangentlm: ")
    assert message in line
    assert not (root / "runs").exists()
    assert not (root / "results").exists()


@pytest.mark.parametrize(
    "name",
    ["study", *(pytest.param(name, marks=pytest.mark.slow) for name in BY_COMMAND)],
)
def test_command_line_refuses_with_status_2(root, name):
    prepare, study, message = REFUSALS[name]
    prepare(root)
    done = command("study", study, root=root)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("tangentlm: ")
    assert message in line
    assert not (root / "runs").exists()


@pytest.mark.parametrize("arguments", [[], ["studdy", "smoke"], ["study"], ["study", "x", "--job"]])
def test_wrong_command_line_exits_with_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: tangentlm" in capsys.readouterr().err


def test_no_project_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TANGENTLM_ROOT", str(tmp_path))
    assert main(["study", "smoke"]) == 2
    assert "set TANGENTLM_ROOT" in capsys.readouterr().err


# --- real executions ------------------------------------------------------------------------


def arrays_of(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "arrays.npz") as kept:
        return {name: kept[name] for name in kept.files}


def is_whole(run) -> bool:
    """Whether a run is done, and left what it should and nothing else."""
    files = sorted(path.name for path in run.folder("mine").iterdir())
    left = list((run.folder("mine").parents[1] / ".scratch").rglob("*.json"))
    return (
        standing(run, "mine").state == "done"
        and files == ["arrays.npz", "notebook.ipynb", "record.json"]
        and not left
    )


@pytest.mark.slow
def test_a_run_twice_is_the_same_bit_for_bit(root, monkeypatch, capsys):
    study_of(root, "task: reviews\nk: 2\ntest_size: 10\ngrid: malladi\n")
    (run,) = load_study("mine")
    name, folder, second = f"kernel/{run.name}", run.folder("mine"), root / "second"
    whole = execution.execute_in

    def kept(scratch: Path, *given: object, **options: object) -> str | None:
        problem = whole(scratch, *given, **options)
        shutil.copytree(scratch, second)
        return problem

    def as_then(scratch: Path, *_given: object, **_options: object) -> None:
        shutil.copytree(second, scratch)

    execution.execute("mine", "kernel", run.name)
    assert f"[1/1] {name}: test " in capsys.readouterr().out
    assert is_whole(run)
    record, arrays = read_record(folder), arrays_of(folder)
    assert record["parameters"] == run.parameters()
    assert record["identity"] == str(identity(run))
    assert arrays.keys() == {"singular_values", "predicted"}
    write_collected("mine", [run])
    monkeypatch.setattr(repeat, "execute_in", kept)
    assert main(["repeat", "mine", name]) == 0
    assert f"mine/{name}: the same to the last digit (" in capsys.readouterr().out
    # A number of the row that is another is told, and nothing else.
    table = root / "results" / "mine" / "kernel.csv"
    rows = pd.read_csv(table, keep_default_na=False, dtype=str)
    rows.assign(dev_score="99.0").to_csv(table, index=False)
    monkeypatch.setattr(repeat, "execute_in", as_then)
    assert main(["repeat", "mine", name]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("dev_score: 99.0 -> ")
    # What the second execution left takes the place of the first's.
    monkeypatch.setattr(execution, "execute_in", as_then)
    execution.execute("mine", "kernel", run.name)
    assert is_whole(run)
    for part in ("experiment", "run", "identity", "parameters", "metrics", "inputs"):
        assert read_record(folder)[part] == record[part]
    again = arrays_of(folder)
    assert again.keys() == arrays.keys()
    for part, array in arrays.items():
        assert array.dtype == again[part].dtype
        assert array.tobytes() == again[part].tobytes()


SMALL_TEMPLATE = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% tags=["parameters"]
task = "reviews"
k = 16
seed = 13
test_size = 1000
out = None

# %%
from tangentlm.params import project_root, run_from_notebook

run = run_from_notebook("kernel", globals())

# %%
from tangentlm.studies.records import write_record
from tangentlm.tasks import load_split, load_task

if run.task == "inference" and (project_root() / "broken").exists():
    raise RuntimeError("the sky fell\\non two lines")
split = load_split(load_task(run.task), run.k, run.seed, test_size=run.test_size)
write_record(run, split.facts, {"test_score": 50.0, "zero_shot_test": 50.0})
"""


@pytest.fixture
def small_template(root) -> None:
    """A template that only writes a record, and fails on one task while a file is there."""
    (root / "book" / "experiments" / "kernel.py").write_text(SMALL_TEMPLATE, encoding="utf-8")


class Launched(NamedTuple):
    """How a study went: its exit status, and what it and everything that it started printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def launched(root, monkeypatch, capfd) -> Callable[..., Launched]:
    """Launches a study from this process, which has imported everything; its runs have theirs."""
    monkeypatch.chdir(root)

    def launch_study(study: str, jobs: int) -> Launched:
        capfd.readouterr()
        status = main(["study", study, "--jobs", str(jobs)])
        return Launched(status, *capfd.readouterr())

    return launch_study


def files_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    # Snakemake adds a hidden file of its own.
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.glob("[!.]*")}


@pytest.mark.slow
def test_a_run_that_fails_is_named_then_tried_again_alone(root, small_template, launched):
    study_of(root, "task: [reviews, inference]\nk: 2\ntest_size: 10\n")
    reviews, inference = load_study("mine")
    notebook = root / "runs" / "mine" / ".failed" / "kernel" / f"{inference.name}.ipynb"
    (root / "broken").touch()
    done = launched("mine", jobs=2)
    assert done.status != 0
    assert f"FAILED kernel/{inference.name}: {notebook.relative_to(root)}" in done.err
    assert "RuntimeError: the sky fell on two lines" in done.err
    assert "Traceback" not in done.err
    assert "RuntimeError" in notebook.read_text(encoding="utf-8")
    assert not inference.folder("mine").exists()
    kept = files_of(reviews.folder("mine"))
    assert kept.keys() == {"record.json", "notebook.ipynb"}
    collected = (root / "results" / "mine" / "kernel.csv").read_text(encoding="utf-8")
    assert reviews.name in collected
    assert inference.name not in collected
    # Whatever broke the run is mended: it alone is run, and its failure is forgotten.
    (root / "broken").unlink()
    done = launched("mine", jobs=2)
    assert done.status == 0, done.err
    assert "FAILED" not in done.err
    assert standing(inference, "mine").state == "done"
    assert not notebook.exists()
    assert files_of(reviews.folder("mine")) == kept
    collected = (root / "results" / "mine" / "kernel.csv").read_text(encoding="utf-8")
    assert inference.name in collected


@pytest.mark.slow
def test_a_row_stands_for_a_run_only_with_its_identity(root, small_template, launched):
    # Collected results are committed, runs are not: a fresh clone has the one without the other.
    study_of(root, "task: reviews\nk: 2\ntest_size: 10\n")
    table = root / "results" / "mine" / "kernel.csv"
    table.parent.mkdir(parents=True)
    (run,) = load_study("mine")
    table.write_text(f"study,run\nmine,{run.name}\nmine,of long ago\n", encoding="utf-8")
    done = launched("mine", jobs=1)
    assert done.status == 0, done.err
    assert standing(run, "mine").state == "done"
    assert pd.read_csv(table)["run"].tolist() == [run.name]
    # Now the row has it; what the study lacks is run, and nothing else.
    shutil.rmtree(root / "runs")
    study_of(root, "task: [reviews, topics]\nk: 2\ntest_size: 10\n")
    before, more = load_study("mine")
    done = launched("mine", jobs=1)
    assert done.status == 0, done.err
    assert "2 runs, 1 done, 0 stale, 1 to do" in done.out
    assert standing(more, "mine").state == "done"
    assert not before.folder("mine").exists()
    assert pd.read_csv(table)["run"].tolist() == [before.name, more.name]


@pytest.mark.slow
def test_a_killed_study_leaves_nothing_half_done_and_goes_on(root, small_template):
    template = root / "book" / "experiments" / "kernel.py"
    edit(template, "write_record(", "import time\n\ntime.sleep(8 * (run.k == 2))\nwrite_record(")
    study_of(root, "task: reviews\nk: [1, 2]\ntest_size: 10\n")
    quick, slow = load_study("mine")
    started = subprocess.Popen(
        [sys.executable, "-m", "tangentlm", "study", "mine", "--jobs", "2"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=root, start_new_session=True,
        env=os.environ | {"TANGENTLM_ROOT": str(root), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while standing(quick, "mine").state != "done" and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert standing(quick, "mine").state == "done"
    assert not slow.folder("mine").exists()
    kept = files_of(quick.folder("mine"))
    done = command("study", "mine", "--jobs", "2", root=root)
    assert done.returncode == 0, done.stderr
    assert standing(slow, "mine").state == "done"
    assert files_of(quick.folder("mine")) == kept


# --- rows and records -----------------------------------------------------------------------


def test_a_row_of_the_present_identity_wins_over_an_older_record(root):
    finish(KERNEL, "mine")
    write_collected("mine", [KERNEL])
    path = KERNEL.folder("mine") / "record.json"
    edit(path, "engine=1", "engine=0")
    edit(path, '"test_score": 50.0', '"test_score": 11.0')
    assert standing(KERNEL, "mine").state == "collected"
    write_collected("mine", [KERNEL])
    row = pd.read_csv(root / "results" / "mine" / "kernel.csv").iloc[0]
    assert row["test_score"] == 50.0
    assert row["identity"] == str(identity(KERNEL))


@pytest.mark.parametrize("text", ["{", "[]", "null"])
def test_a_damaged_record_is_named(root, text):
    finish(KERNEL, "mine")
    (KERNEL.folder("mine") / "record.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"record\.json is damaged"):
        standing(KERNEL, "mine")


@pytest.mark.parametrize("text", ["", "a\n1,2\n1,2,3,4\n", "study,test_score\nmine,1\n"])
def test_a_damaged_table_is_named(root, text):
    path = root / "results" / "mine" / "kernel.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"kernel\.csv is not a table of results"):
        standing(KERNEL, "mine")


def test_two_rows_of_one_run_are_refused(root):
    finish(KERNEL, "mine")
    (path,) = write_collected("mine", [KERNEL])
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines, lines[-1]]) + "\n", encoding="utf-8")
    shutil.rmtree(root / "runs")
    with pytest.raises(InputError, match="has two rows"):
        standing(KERNEL, "mine")


def test_a_stale_run_is_kept_until_it_was_done_anew(root, monkeypatch):
    study_of(root, "task: reviews\nk: 2\ntest_size: 10\n")
    (run,) = load_study("mine")
    finish(run, "mine")
    edit(run.folder("mine") / "record.json", "engine=1", "engine=0")
    monkeypatch.setattr(launch, "_snakemake", lambda *_: 1)
    monkeypatch.setattr(launch, "warm_kernels", nullcontext)
    assert launch.run_study("mine") == 1
    aside = root / "runs" / "mine" / ".stale" / "kernel" / run.name
    assert (aside / "record.json").is_file()
    assert not run.folder("mine").exists()


def test_a_model_whose_training_is_not_done_is_refused(root):
    study_of(root, "recipe: tiny\nsteps: 40\n", "pretrain")
    (maker,) = load_study("mine")
    shutil.copytree(root / "assets" / "pocket-xs", maker.folder("mine") / "model")
    run = KernelRun(task="reviews", k=2, model=f"run:mine/{maker.name}")
    with pytest.raises(InputError, match="its training is to do; make study STUDY=mine"):
        checks.check([run])
