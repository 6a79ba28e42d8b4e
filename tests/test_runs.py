"""Running studies: what a run depends on, what is refused, what is left alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tangentlm
from tangentlm import fingerprints, runs
from tangentlm.__main__ import main
from tangentlm.collected import write_collected
from tangentlm.data import load_split
from tangentlm.errors import InputError
from tangentlm.params import FineTuneRun, KernelRun, PretrainRun, load_study, project_root
from tangentlm.records import FINGERPRINT_VARIABLE, read_record, write_record
from tangentlm.tasks import load_task

PACKAGE = Path(tangentlm.__file__).parent


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A project of its own: parameters and templates copied, the large rest linked."""
    home = project_root()
    folder = tmp_path / "project"
    shutil.copytree(home / "params", folder / "params")
    shutil.copytree(home / "book" / "experiments", folder / "book" / "experiments")
    for linked in ("assets", "workflow"):
        (folder / linked).symlink_to(home / linked)
    monkeypatch.setenv("TANGENTLM_ROOT", str(folder))
    monkeypatch.setenv(FINGERPRINT_VARIABLE, "")  # whatever a test sets is taken back
    return folder


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")


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


# --- what a run depends on ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("experiment", "needed", "not_needed"),
    [
        (
            "kernel",
            {"kernels/entk.py", "kernels/kernel.py", "kernels/rules.py", "kernels/lora.py",
             "solvers/__init__.py", "solvers/least_squares.py", "prompts.py", "models.py",
             "params/grids.py"},
            {"runs.py", "__main__.py", "training.py", "linearize.py", "records.py", "errors.py",
             "figures/__init__.py", "figures/matrices.py", "params/runs.py", "params/recipes.py",
             "kernels/decomposition.py", "kernels/published.py"},
        ),
        (
            "finetune",
            {"training.py", "linearize.py", "behavior.py", "solvers/labels.py", "models.py",
             "adaptation.py", "kernels/entk.py"},
            {"runs.py", "__main__.py", "kernel_behavior.py", "solvers/__init__.py"},
        ),
        (
            "pretrain",
            {"pretrain/corpus.py", "pretrain/vocabulary.py",
             "pretrain/rows.py", "pretrain/architecture.py", "pretrain/loop.py",
             "pretrain/checkpoint.py", "pretrain/probes.py", "pretrain/downstream.py",
             "pretrain/card.py", "params/recipes.py", "data.py", "models.py"},
            {"runs.py", "__main__.py", "training.py", "kernels/entk.py"},
        ),
    ],
)  # fmt: skip
def test_source_files_follow_the_imports(experiment, needed, not_needed):
    start = fingerprints.template(experiment)
    files = fingerprints.source_files(start)
    assert start in files
    assert files == sorted(set(files))
    assert all(path.is_file() for path in files)
    names = {path.relative_to(PACKAGE).as_posix() for path in files if path != start}
    assert needed <= names
    assert not names & not_needed


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("import tangentlm.behavior", "behavior.py"),
        ("import os, tangentlm.behavior as b", "behavior.py"),
        ("from tangentlm import behavior", "behavior.py"),
        ("from tangentlm.behavior import kernel_distance", "behavior.py"),
        ("def f():\n    from tangentlm.behavior import kernel_distance", "behavior.py"),
        ("from tangentlm.kernels import entk", "kernels/entk.py"),
        ("from tangentlm.kernels import entk as e", "kernels/rules.py"),
        ("from tangentlm.kernels import reference", "kernels/reference.py"),
        ("import tangentlm.kernels.reference as r", "kernels/reference.py"),
        ("from tangentlm.kernels.reference import Support", "kernels/reference.py"),
        ("from tangentlm.solvers import SOLVERS", "solvers/__init__.py"),
        ("from tangentlm.solvers import SOLVERS", "solvers/logistic.py"),
        ("from tangentlm.params import load_grid", "params/grids.py"),
    ],
)
def test_every_way_to_import_is_followed(tmp_path, line, file):
    start = tmp_path / "page.py"
    start.write_text(f"import json\nfrom collections import abc\n{line}\n", encoding="utf-8")
    files = fingerprints.source_files(start)
    assert PACKAGE / file in files
    assert {path for path in files if not path.is_relative_to(PACKAGE)} == {start}


KERNEL = KernelRun(task="reviews", k=2, test_size=10)


@pytest.mark.parametrize(
    "other",
    [
        KernelRun(task="reviews", k=3, test_size=10),
        KernelRun(task="reviews", k=2, test_size=11),
        KernelRun(task="reviews", k=2, test_size=10, seed=21),
        KernelRun(task="reviews", k=2, test_size=10, grid="malladi"),
        KernelRun(task="reviews", k=2, test_size=10, head="linear"),
        KernelRun(task="reviews", k=2, test_size=10, device="cpu"),
        KernelRun(task="topics", k=2, test_size=10),
        FineTuneRun(task="reviews", k=2, test_size=10),
        FineTuneRun(task="reviews", k=2, test_size=10, learning_rate=0.1),
    ],
    ids=lambda run: f"{run.experiment}-{run.name}-{run.grid}-{run.test_size}-{run.device}",
)
def test_fingerprint_depends_on_every_parameter(other):
    assert fingerprints.fingerprint(other) != fingerprints.fingerprint(KERNEL)


def test_fingerprint_does_not_depend_on_the_place(tmp_path):
    here = fingerprints.fingerprint(KERNEL)
    assert len(here) == 64
    assert here == fingerprints.fingerprint(KERNEL)
    assert here == fingerprints.fingerprint(KERNEL.model_copy(update={"out": str(tmp_path)}))


def add_to(path: Path, more: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(more)


CODE, VALUE = "\nanother = 1\n", "\nanother: 1\n"


@pytest.mark.parametrize(
    ("file", "more", "changes"),
    [
        ("params/grids/quick.yaml", VALUE, True),
        ("params/grids/quick.yaml", "\n# a comment\n", False),
        ("params/grids/malladi.yaml", VALUE, False),
        ("params/tasks/topics.yaml", VALUE, False),
        ("params/studies/smoke/kernel.yaml", VALUE, False),
        ("book/experiments/kernel.py", CODE, True),
        ("book/experiments/kernel.py", "\n# %% [markdown]\n# Another sentence.\n", False),
        ("book/experiments/finetune.py", CODE, False),
    ],
)
def test_fingerprint_depends_on_the_files_of_the_run_alone(root, file, more, changes):
    before = fingerprints.fingerprint(KERNEL)
    add_to(root / file, more)
    assert (fingerprints.fingerprint(KERNEL) != before) is changes


def test_fingerprint_depends_on_the_task(root):
    before = fingerprints.fingerprint(KERNEL)
    path = root / "params" / "tasks" / "reviews.yaml"
    text = path.read_text(encoding="utf-8")
    assert "max_length: 128" in text
    path.write_text(text.replace("max_length: 128", "max_length: 64"), encoding="utf-8")
    assert fingerprints.fingerprint(KERNEL) != before


def test_fingerprint_does_not_depend_on_what_a_grid_says_of_itself(root):
    path = root / "params" / "grids" / "quick.yaml"
    before = fingerprints.fingerprint(KERNEL)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("about: ")
    path.write_text("\n".join(["about: Other words.", *lines[1:]]), encoding="utf-8")
    assert fingerprints.fingerprint(KERNEL) == before


@pytest.mark.parametrize(
    ("file", "more", "kernel", "finetune"),
    [
        ("kernels/rules.py", CODE, True, True),
        ("kernels/rules.py", "# a comment\n", False, False),
        ("kernels/decomposition.py", CODE, False, False),
        ("solvers/logistic.py", CODE, True, False),
        ("params/grids.py", CODE, True, True),
        ("params/task_runs.py", CODE, False, False),
        ("records.py", CODE, False, False),
        ("kernel_behavior.py", CODE, False, False),
        ("training.py", CODE, False, True),
        ("solvers/labels.py", CODE, True, True),
        ("figures/curves.py", CODE, False, False),
        ("runs.py", CODE, False, False),
        ("__main__.py", CODE, False, False),
    ],
)
def test_fingerprint_depends_on_the_library_that_is_used(
    root, tmp_path, monkeypatch, file, more, kernel, finetune
):
    library = tmp_path / "lib" / "tangentlm"
    shutil.copytree(PACKAGE, library, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprints, "__file__", str(library / "fingerprints.py"))
    tuning = FineTuneRun(task="reviews", k=2, test_size=10)
    before = [fingerprints.fingerprint(run) for run in (KERNEL, tuning)]
    add_to(library / file, more)
    after = [fingerprints.fingerprint(run) for run in (KERNEL, tuning)]
    assert [a != b for a, b in zip(after, before, strict=True)] == [kernel, finetune]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("def f():\n    return 1\n", 'def f():\n    """Doc."""\n    return (1)  # why\n', True),
        ('def f():\n    """Doc."""\n', "def f():\n    pass\n", True),
        ('"""Doc."""\nx = 1\n', "x = 1\n", True),
        ('class A:\n    """Doc."""\n    x = 1\n', "class A:\n    x = 1\n", True),
        ("def f():\n    return 1\n", "def f():\n    return 2\n", False),
        ('x = "text"\n', 'x = "other"\n', False),
    ],
)
def test_words_about_code_do_not_make_a_run_stale(root, one, other, same):
    prints = []
    for source in (one, other):
        path = root / "book" / "experiments" / "kernel.py"
        path.write_text(source, encoding="utf-8")
        prints.append(fingerprints.fingerprint(KERNEL))
    assert (prints[0] == prints[1]) is same


def test_fingerprint_depends_on_the_model(root, tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    run = KernelRun(task="reviews", k=2, model=str(folder))
    before = fingerprints.fingerprint(run)
    (folder / "README.md").write_text("about", encoding="utf-8")
    assert fingerprints.fingerprint(run) == before
    (folder / "model.safetensors").write_bytes(b"other weights")
    assert fingerprints.fingerprint(run) != before


def test_fingerprint_depends_on_the_data_not_on_its_place(root, tmp_path):
    def folder(name: str, text: str) -> str:
        place = tmp_path / name / "reviews"
        shutil.copytree(root / "assets" / "tasks" / "reviews", place)
        first = json.dumps({"text_a": text, "label": 0}) + "\n"
        path = place / "test.jsonl"
        path.write_text(first + path.read_text(encoding="utf-8"), encoding="utf-8")
        return str(place.parent)

    one, same, other = (folder(*pair) for pair in [("1", "x"), ("2", "x"), ("3", "y")])
    prints = [
        fingerprints.fingerprint(KernelRun(task="reviews", k=2, data=data))
        for data in (one, same, other)
    ]
    assert prints[0] == prints[1] != prints[2]


@pytest.fixture
def corpus(tmp_path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "text.txt").write_text("a line\nanother line\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"width": 64},
        {"steps": 5},
        {"minutes": 5.0},
        {"parametrization": "mup"},
        {"device": "cpu"},
        {"recipe": "other"},
    ],
    ids=str,
)
def test_fingerprint_of_a_pretraining_depends_on_every_parameter(root, corpus, change):
    recipes = root / "params" / "recipes"
    shutil.copy(recipes / "pocket.yaml", recipes / "other.yaml")
    first = fingerprints.fingerprint(PretrainRun(corpus=str(corpus)))
    assert len(first) == 64
    assert fingerprints.fingerprint(PretrainRun(corpus=str(corpus), **change)) != first


def test_fingerprint_of_a_pretraining_depends_on_the_text_not_on_its_place(
    root, corpus, tmp_path, monkeypatch
):
    first = fingerprints.fingerprint(PretrainRun(corpus=str(corpus)))
    monkeypatch.setenv("TANGENTLM_CORPUS", str(corpus))
    assert fingerprints.fingerprint(PretrainRun(corpus=None, out="x")) == first
    moved = tmp_path / "moved"
    shutil.copytree(corpus, moved)
    assert fingerprints.fingerprint(PretrainRun(corpus=str(moved))) == first
    (moved / "text.txt").write_text("a line\nyet another line\n", encoding="utf-8")
    assert fingerprints.fingerprint(PretrainRun(corpus=str(moved))) != first


@pytest.mark.parametrize(
    ("file", "more", "changes"),
    [
        ("params/recipes/pocket.yaml", VALUE, True),
        ("params/recipes/pocket.yaml", "\n# a comment\n", False),
        ("params/recipes/other.yaml", VALUE, False),
        ("params/grids/quick.yaml", VALUE, False),
        ("book/experiments/pretrain.py", CODE, True),
        ("book/experiments/kernel.py", CODE, False),
    ],
)
def test_fingerprint_of_a_pretraining_depends_on_its_files_alone(root, corpus, file, more, changes):
    recipes = root / "params" / "recipes"
    shutil.copy(recipes / "pocket.yaml", recipes / "other.yaml")
    run = PretrainRun(recipe="pocket", corpus=str(corpus))
    before = fingerprints.fingerprint(run)
    add_to(root / file, more)
    assert (fingerprints.fingerprint(run) != before) is changes


def test_fingerprint_of_a_pretraining_depends_on_the_probes(corpus, tmp_path, monkeypatch):
    run = PretrainRun(corpus=str(corpus))
    before = fingerprints.fingerprint(run)
    probes = tmp_path / "probes.yaml"
    shutil.copy(fingerprints.probes_file(), probes)
    add_to(probes, VALUE)
    monkeypatch.setattr(fingerprints, "probes_file", lambda: probes)
    assert fingerprints.fingerprint(run) != before


# --- done, stale, to do ---------------------------------------------------------------------


def finish(run, study: str) -> None:
    """Write the record of a run as if it had been executed now."""
    os.environ[FINGERPRINT_VARIABLE] = fingerprints.fingerprint(run)
    split = load_split(load_task(run.task), run.k, run.seed, test_size=run.test_size)
    placed = run.model_copy(update={"out": str(run.folder(study))})
    write_record(placed, split.facts, {"test_score": 50.0, "zero_shot_test": 50.0})


def test_state_of_a_run(root):
    assert runs.state(KERNEL, "smoke") == "to do"
    finish(KERNEL, "smoke")
    assert runs.state(KERNEL, "smoke") == "done"
    assert runs.state(KERNEL, "quick") == "to do"
    edit(root / "params" / "grids" / "quick.yaml", "1.0e-2", "2.0e-2")
    assert runs.state(KERNEL, "smoke") == "stale"


def test_a_collected_run_is_done_without_its_folder(root):
    finish(KERNEL, "mine")
    write_collected("mine", [KERNEL])
    shutil.rmtree(root / "runs")
    assert runs.state(KERNEL, "mine") == "collected"
    edit(root / "params" / "grids" / "quick.yaml", "1.0e-2", "2.0e-2")
    assert runs.state(KERNEL, "mine") == "stale"


@pytest.mark.parametrize("study", runs.PAGES)
def test_a_page_of_the_book_needs_its_notebook(root, study):
    finish(KERNEL, study)
    write_collected(study, [KERNEL])
    shutil.rmtree(root / "runs")
    assert runs.state(KERNEL, study) == "to do"


def test_a_model_needs_its_folder(root, corpus):
    run = PretrainRun(corpus=str(corpus))
    pretrained(run, run.folder("mine"))
    write_collected("mine", [run])
    shutil.rmtree(root / "runs")
    assert runs.state(run, "mine") == "to do"


def pretrained(run, folder: Path) -> None:
    """Write the record of a pre-training as if it had been executed now."""
    os.environ[FINGERPRINT_VARIABLE] = fingerprints.fingerprint(run)
    metrics = {"held_out_loss": 2.34567, "tokens": 1234567}
    write_record(run.model_copy(update={"out": str(folder)}), {"corpus": "sum"}, metrics)


def test_state_of_a_pretraining(root, corpus):
    run = PretrainRun(corpus=str(corpus))
    assert runs.state(run, "mine") == "to do"
    pretrained(run, run.folder("mine"))
    assert runs.state(run, "mine") == "done"
    (corpus / "more.txt").write_text("more\n", encoding="utf-8")
    assert runs.state(run, "mine") == "stale"


def test_a_pretraining_is_executed_and_reported(root, corpus, monkeypatch, capsys):
    study_of(root, f"corpus: {corpus}\nwidth: 64\nsteps: 7\n", "pretrain")
    (run,) = load_study("mine")
    monkeypatch.setattr(runs, "_papermill", lambda run, scratch: pretrained(run, scratch))
    runs.execute("mine", "pretrain", run.name)
    assert runs.state(run, "mine") == "done"
    line = capsys.readouterr().out
    assert line.startswith(f"[1/1] pretrain/{run.name}: held-out loss 2.346 after 1,234,567 tokens")


def test_a_study_of_pretrainings_needs_no_model(root, corpus, monkeypatch):
    study_of(root, f"corpus: {corpus}\nwidth: [64, 128]\n", "pretrain")
    monkeypatch.setattr(runs, "load_masked_lm", lambda *_: pytest.fail("a model was loaded"))

    def snakemake(study: str, _jobs: int) -> int:
        for run in load_study(study):
            pretrained(run, run.folder(study))
        return 0

    monkeypatch.setattr(runs, "_snakemake", snakemake)
    assert runs.run_study("mine") == 0
    table = pd.read_csv(root / "results" / "mine" / "pretrain.csv")
    assert table["run"].tolist() == ["tiny-w64-s13-standard", "tiny-w128-s13-standard"]
    assert table["held_out_loss"].tolist() == [2.34567] * 2
    assert table["width"].tolist() == [64, 128]


def test_dry_run_lists_what_would_run_and_computes_nothing(root, capsys, monkeypatch):
    monkeypatch.setattr(runs, "_snakemake", lambda *_: pytest.fail("snakemake was called"))
    everything = load_study("smoke")
    done, stale = everything[-1], everything[-2]
    for run in (done, stale):
        if isinstance(run, PretrainRun):
            pretrained(run, run.folder("smoke"))
        else:
            finish(run, "smoke")
    edit(stale.folder("smoke") / "record.json", '"fingerprint": "', '"fingerprint": "0')
    before = sorted(path for path in root.rglob("*") if "assets" not in path.parts)
    assert main(["study", "smoke", "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert f"{len(everything)} runs, 1 done, 1 stale, {len(everything) - 2} to do" in output
    listed = [line.split()[2:] for line in output.splitlines() if "would run" in line]
    expected = {f"{run.experiment}/{run.name}" for run in everything if run != done}
    assert {name for name, *_ in listed} == expected
    assert [f"{stale.experiment}/{stale.name}", "(stale)"] in listed
    assert sorted(path for path in root.rglob("*") if "assets" not in path.parts) == before


@pytest.fixture
def started(root, monkeypatch) -> list[str]:
    """The runs that were started, where starting means writing a record."""
    study_of(root, "task: [reviews, topics, inference]\nk: 2\ntest_size: 10\n")
    names: list[str] = []

    def snakemake(study: str, _jobs: int) -> int:
        for run in load_study(study):
            if not run.folder(study).is_dir() and runs.state(run, study) != "collected":
                names.append(run.name)
                if run.task != "inference":
                    finish(run, study)
        return 0

    monkeypatch.setattr(runs, "_snakemake", snakemake)
    return names


def test_only_what_is_not_done_is_run_again(root, started, capsys):
    reviews, topics, inference = load_study("mine")
    for run in (reviews, topics):
        finish(run, "mine")
    edit(topics.folder("mine") / "record.json", '"fingerprint": "', '"fingerprint": "0')
    untouched = (reviews.folder("mine") / "record.json").stat().st_mtime_ns
    assert runs.run_study("mine") == 1
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
    edit(root / "results" / "mine" / "kernel.csv", fingerprints.fingerprint(topics), "old")
    finish(inference, "mine")
    assert runs.run_study("mine") == 0
    assert started == [topics.name]
    assert "3 runs, 2 done, 1 stale, 0 to do" in capsys.readouterr().out
    table = pd.read_csv(root / "results" / "mine" / "kernel.csv")
    assert table["run"].tolist() == [reviews.name, topics.name, inference.name]
    assert table["fingerprint"].tolist() == [
        fingerprints.fingerprint(run) for run in (reviews, topics, inference)
    ]


def test_a_study_that_is_done_starts_nothing(root, started, capsys):
    for run in load_study("mine"):
        finish(run, "mine")
    assert runs.run_study("mine") == 0
    assert started == []
    assert "3 runs, 3 done, 0 stale, 0 to do" in capsys.readouterr().out


def test_unknown_run_is_refused_with_the_nearest(root):
    with pytest.raises(InputError, match="did you mean 'kernel/pocket-xs-reviews-k2-s13-sgd'"):
        runs.execute("smoke", "kernel", "pocket-xs-reviews-k2-s13-sdg")
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


@pytest.mark.slow
def test_a_run_twice_is_the_same_bit_for_bit(root, capsys):
    study_of(root, "task: reviews\nk: 2\ntest_size: 10\ngrid: malladi\n")
    (run,) = load_study("mine")
    folder = run.folder("mine")
    records, arrays = [], []
    for _ in range(2):
        runs.execute("mine", run.experiment, run.name)
        assert sorted(path.name for path in folder.iterdir()) == [
            "arrays.npz", "notebook.ipynb", "record.json"
        ]  # fmt: skip
        records.append(read_record(folder))
        arrays.append(arrays_of(folder))
        assert runs.state(run, "mine") == "done"
    assert f"[1/1] kernel/{run.name}: test " in capsys.readouterr().out
    for part in ("experiment", "run", "fingerprint", "parameters", "metrics", "inputs"):
        assert records[0][part] == records[1][part]
    assert records[0]["parameters"] == run.identity()
    assert records[0]["fingerprint"] == fingerprints.fingerprint(run)
    assert arrays[0].keys() == arrays[1].keys() == {"singular_values", "predicted"}
    for name, first in arrays[0].items():
        assert first.dtype == arrays[1][name].dtype
        assert first.tobytes() == arrays[1][name].tobytes()
    assert not list((root / "runs" / "mine" / ".scratch").rglob("*.json"))


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
from tangentlm.data import load_split
from tangentlm.records import write_record
from tangentlm.tasks import load_task

if run.task == "inference" and (project_root() / "broken").exists():
    raise RuntimeError("the sky fell\\non two lines")
split = load_split(load_task(run.task), run.k, run.seed, test_size=run.test_size)
write_record(run, split.facts, {"test_score": 50.0, "zero_shot_test": 50.0})
"""


@pytest.fixture
def small_template(root) -> None:
    """A template that only writes a record, and fails on one task while a file is there."""
    (root / "book" / "experiments" / "kernel.py").write_text(SMALL_TEMPLATE, encoding="utf-8")


def files_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    # Snakemake adds a hidden file of its own.
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.glob("[!.]*")}


@pytest.mark.slow
def test_a_run_that_fails_is_named_then_tried_again_alone(root, small_template):
    study_of(root, "task: [reviews, inference]\nk: 2\ntest_size: 10\n")
    reviews, inference = load_study("mine")
    notebook = root / "runs" / "mine" / ".failed" / "kernel" / f"{inference.name}.ipynb"
    (root / "broken").touch()
    done = command("study", "mine", "--jobs", "2", root=root)
    assert done.returncode != 0
    assert f"FAILED kernel/{inference.name}: {notebook.relative_to(root)}" in done.stderr
    assert "RuntimeError: the sky fell on two lines" in done.stderr
    assert "Traceback" not in done.stderr
    assert "RuntimeError" in notebook.read_text(encoding="utf-8")
    assert not inference.folder("mine").exists()
    kept = files_of(reviews.folder("mine"))
    assert kept.keys() == {"record.json", "notebook.ipynb"}
    collected = (root / "results" / "mine" / "kernel.csv").read_text(encoding="utf-8")
    assert reviews.name in collected
    assert inference.name not in collected
    # Whatever broke the run is mended: it alone is run, and its failure is forgotten.
    (root / "broken").unlink()
    done = command("study", "mine", "--jobs", "2", root=root)
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in done.stderr
    assert runs.state(inference, "mine") == "done"
    assert not notebook.exists()
    assert files_of(reviews.folder("mine")) == kept
    collected = (root / "results" / "mine" / "kernel.csv").read_text(encoding="utf-8")
    assert inference.name in collected


@pytest.mark.slow
def test_a_row_stands_for_a_run_only_with_its_fingerprint(root, small_template):
    # Collected results are committed, runs are not: a fresh clone has the one without the other.
    study_of(root, "task: reviews\nk: 2\ntest_size: 10\n")
    table = root / "results" / "mine" / "kernel.csv"
    table.parent.mkdir(parents=True)
    (run,) = load_study("mine")
    table.write_text(f"study,run\nmine,{run.name}\nmine,of long ago\n", encoding="utf-8")
    done = command("study", "mine", "--jobs", "1", root=root)
    assert done.returncode == 0, done.stderr
    assert runs.state(run, "mine") == "done"
    assert pd.read_csv(table)["run"].tolist() == [run.name]
    # Now the row has it; what the study lacks is run, and nothing else.
    shutil.rmtree(root / "runs")
    study_of(root, "task: [reviews, topics]\nk: 2\ntest_size: 10\n")
    before, more = load_study("mine")
    done = command("study", "mine", "--jobs", "1", root=root)
    assert done.returncode == 0, done.stderr
    assert "2 runs, 1 done, 0 stale, 1 to do" in done.stdout
    assert runs.state(more, "mine") == "done"
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
    while runs.state(quick, "mine") != "done" and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert runs.state(quick, "mine") == "done"
    assert not slow.folder("mine").exists()
    kept = files_of(quick.folder("mine"))
    done = command("study", "mine", "--jobs", "2", root=root)
    assert done.returncode == 0, done.stderr
    assert runs.state(slow, "mine") == "done"
    assert files_of(quick.folder("mine")) == kept
