"""The command ``tangentlm``, tried as a user would: what it lists, runs, repeats and refuses."""

from __future__ import annotations

import os
import subprocess
import sys

import pandas as pd
import pytest

from project_copy import edit
from tangentlm.__main__ import main
from tangentlm.params import RUNS, list_studies, load_study, names
from tangentlm.studies import execution, repeat
from tangentlm.studies.collect import write_collected
from tangentlm.studies.done import standing
from tangentlm.studies.records import IDENTITY_VARIABLE, RECORD, read_record, write_record
from tangentlm.tasks import list_tasks, load_split, load_task

COMMANDS = ("forecast", "study", "run", "repeat", "list")
TINY = ["task=reviews", "k=2", "model=pocket-xs", "test_size=10", "device=cpu"]
OTHER = [*TINY[:3], "test_size=11", "device=cpu"]
NAME = "kernel/pocket-xs-reviews-k2-s13-sgd"


def said(capsys, *arguments, status=0):
    """What a command that ends with a status prints to standard output, line by line."""
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out.splitlines()


def refused(capsys, *arguments):
    """The one line with which a command is refused."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("tangentlm: ")
    return line


def fake_run(scratch, run, identity, **_options):
    """Writes the record of a run instead of executing it."""
    os.environ[IDENTITY_VARIABLE] = identity
    split = load_split(load_task(run.task), run.k, run.seed, test_size=run.test_size)
    placed = run.model_copy(update={"out": str(scratch)})
    write_record(placed, split.facts, {"test_score": 50.0, "zero_shot_test": 40.0})


@pytest.fixture
def mine(root):
    """A study of one tiny kernel run."""
    path = root / "params" / "studies" / "mine" / "kernel.yaml"
    path.parent.mkdir()
    path.write_text("task: reviews\nk: 2\nmodel: pocket-xs\ntest_size: 10\ndevice: cpu\n")
    return load_study("mine")


# --- help -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    examples = text[text.index("example") :]
    assert f"  tangentlm {command} " in examples


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"\n    {command} " in text for command in COMMANDS)


# --- list -----------------------------------------------------------------------------------


def test_list_says_what_can_be_listed(capsys):
    kinds = said(capsys, "list")
    assert kinds == [
        "tasks", "models", "grids", "recipes", "studies", "experiments", "parameters", "runs"
    ]  # fmt: skip


def test_every_kind_is_listed(capsys):
    expected = {f"{kind}s": names(kind) for kind in ("task", "model", "grid", "recipe")}
    expected |= {"studies": list_studies(), "experiments": sorted(RUNS)}
    assert expected["tasks"] == list_tasks()
    for kind, known in expected.items():
        lines = said(capsys, "list", kind)
        assert [line.split()[0] for line in lines] == known
        if kind != "experiments":
            assert all(len(line.split()) > 1 for line in lines), kind


def test_parameters_of_all_experiments_or_of_one(capsys):
    everything = said(capsys, "list", "parameters")
    assert [line for line in everything if line[0] != " "] == [f"{name}:" for name in RUNS]
    for name, model in RUNS.items():
        head, *lines = said(capsys, "list", "parameters", name)
        assert head == f"{name}:"
        shown = dict(line.strip().split(": ") for line in lines)
        assert set(shown) == set(model.model_fields) - {"out"}
    shown = said(capsys, "list", "parameters", "kernel")
    assert "  task: needed" in shown
    assert "  k: 16" in shown


def test_runs_are_listed_with_their_state(root, capsys):
    runs = load_study("smoke")
    lines = said(capsys, "list", "runs", "smoke")
    assert lines == [f"to do      {run.experiment}/{run.name}" for run in runs]
    run = next(run for run in runs if run.experiment == "kernel")
    fake_run(run.folder("smoke"), run, "")
    assert f"stale      {NAME} (its record has no identity)" in said(
        capsys, "list", "runs", "smoke"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["taks"], "unknown kind 'taks'; did you mean 'tasks'?"),
        (["runs"], "which study's runs? One of afzal, anticipate, "),
        (["runs", "pokcet"], "unknown study 'pokcet'; did you mean 'pocket'?"),
        (["parameters", "kernal"], "unknown experiment 'kernal'; did you mean 'kernel'?"),
        (["tasks", "sst2"], "'sst2': only 'parameters' and 'runs' are listed by a name"),
    ],
)
def test_what_cannot_be_listed_is_refused(arguments, message, capsys):
    assert message in refused(capsys, "list", *arguments)


@pytest.mark.parametrize("arguments", [["list", "parameters"], ["list", "runs", "paper"]])
def test_output_that_nobody_reads_ends_quietly(arguments):
    # `tangentlm list ... | true`: little output fails at the last flush, much of it in between.
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "tangentlm", *arguments],
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=300,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


# --- run ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kernal", *TINY], "unknown experiment 'kernal'; did you mean 'kernel'?"),
        (["kernel", "tsk=reviews"], "unknown parameter 'tsk'; did you mean 'task'?"),
        (["kernel", *TINY, "formla=sgd"], "unknown parameter 'formla'; did you mean 'formula'?"),
        (["kernel", "k=2"], "task is missing"),
        (["kernel", "task=reveiws"], "unknown task 'reveiws'; did you mean 'reviews'?"),
        (["kernel", "task=reviews", "k=two"], "k = 'two': "),
        (["kernel", "task=reviews", "k=1000"], "examples, 2000 are needed"),
        (["kernel", "task=reviews", "k"], "'k' is not name=value"),
        (["kernel", "task=reviews", "=2"], "'=2' is not name=value"),
        (["kernel", "task=reviews", "k=2", "k=4"], "k is given twice"),
        (["finetune", "task=reviews", "learning_rate=[1e-4"], "'[1e-4' is not valid YAML: "),
        (["kernel", "task=reviews", "grid={"], "grid = '{' is not valid YAML: "),
        (["kernel", "task=reviews", "k=\x00"], "is not valid YAML"),
        (["kernel", *TINY, "out=/"], "out: this command writes to runs/local"),
    ],
)
def test_a_run_that_cannot_work_is_refused_at_once(arguments, message, root, monkeypatch, capsys):
    monkeypatch.setattr(execution, "execute_in", lambda *_, **__: pytest.fail("it was executed"))
    assert message in refused(capsys, "run", *arguments)
    assert not (root / "runs").exists()


def test_a_run_is_executed_once(root, monkeypatch, capsys):
    executed = []
    monkeypatch.setattr(
        execution,
        "execute_in",
        lambda scratch, *rest, **options: (
            executed.append(scratch) or fake_run(scratch, *rest, **options)
        ),
    )
    folder = root / "runs" / "local" / NAME
    line, where = said(capsys, "run", "kernel", *TINY)
    assert line == f"{NAME}: test 50.0 (zero-shot 40.0)"
    assert where == f"see {folder / 'notebook.ipynb'}"
    again, where = said(capsys, "run", "kernel", *TINY)
    assert again == f"{line} (done before; delete its folder to run it again)"
    assert len(executed) == 1
    # Another test set has the same name but is another run, which takes the folder's place.
    said(capsys, "run", "kernel", *OTHER)
    assert len(executed) == 2
    assert read_record(folder)["parameters"]["test_size"] == 11
    assert executed[0] != folder


def test_a_run_that_fails_leaves_what_was_there(root, monkeypatch, capsys):
    monkeypatch.setattr(execution, "execute_in", fake_run)
    said(capsys, "run", "kernel", *TINY)
    record = (root / "runs" / "local" / NAME / RECORD).read_bytes()

    def fails(scratch, _run, _identity, **_options):
        scratch.mkdir(parents=True)
        (scratch / "notebook.ipynb").write_text("the cell that failed")
        return "ValueError: no"

    monkeypatch.setattr(execution, "execute_in", fails)
    line = refused(capsys, "run", "kernel", *OTHER)
    failed = root / "runs" / "local" / ".failed" / f"{NAME}.ipynb"
    assert line == f"tangentlm: run local/{NAME} failed: ValueError: no; see {failed}"
    assert failed.read_text() == "the cell that failed"
    assert (root / "runs" / "local" / NAME / RECORD).read_bytes() == record


@pytest.mark.slow
def test_a_tiny_run_from_the_command_line(root):
    done = subprocess.run(
        [sys.executable, "-m", "tangentlm", "run", "kernel", *TINY],
        capture_output=True, text=True, check=False, cwd=root, timeout=300,
        env=os.environ | {"TANGENTLM_ROOT": str(root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    folder = root / "runs" / "local" / NAME
    line, where = done.stdout.splitlines()
    score = read_record(folder)["metrics"]["test_score"]
    assert line.startswith(f"{NAME}: test {score:.1f} (zero-shot ")
    assert where == f"see {folder / 'notebook.ipynb'}"
    assert sorted(path.name for path in folder.iterdir()) == [
        "arrays.npz", "notebook.ipynb", "record.json"
    ]  # fmt: skip


# --- study ----------------------------------------------------------------------------------


def test_a_dry_run_says_why_a_run_is_stale(mine, root, monkeypatch, capsys):
    monkeypatch.setattr(execution, "execute_in", fake_run)
    execution.execute("mine", "kernel", mine[0].name)
    capsys.readouterr()
    assert said(capsys, "study", "mine", "--dry-run") == [
        "Study mine: 1 runs, 1 done, 0 stale, 0 to do."
    ]
    edit(root / "params" / "grids" / "quick.yaml", "regularization: [0.0", "regularization: [0.5")
    assert said(capsys, "study", "mine", "--dry-run") == [
        "Study mine: 1 runs, 0 done, 1 stale, 0 to do.",
        f"  would run {NAME} (stale: other parameters)",
    ]


@pytest.mark.parametrize("jobs", ["0", "-1", "two"])
def test_a_number_of_jobs_that_is_none_is_refused(jobs, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["study", "smoke", f"--jobs={jobs}"])
    assert caught.value.code == 2
    assert f"{jobs!r} is not a number of runs" in capsys.readouterr().err


# --- repeat ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["minee", NAME], "unknown study 'minee'; did you mean 'mine'?"),
        (["mine", NAME + "d"], f"'{NAME}d'; did you mean '{NAME}'?"),
        (["mine", NAME], f"mine/{NAME} was not collected, so there is nothing to compare with"),
    ],
)
def test_what_cannot_be_repeated_is_refused(arguments, message, mine, capsys):
    assert message in refused(capsys, "repeat", *arguments)


def tamper(root, column, value):
    path = root / "results" / "mine" / "kernel.csv"
    table = pd.read_csv(path, keep_default_na=False, dtype=str)
    before = table.loc[0, column] if column in table else None
    table[column] = value
    table.to_csv(path, index=False)
    return before


def test_a_repeat_compares_every_number(root, mine, monkeypatch, capsys):
    monkeypatch.setattr(execution, "execute_in", fake_run)
    monkeypatch.setattr(repeat, "execute_in", fake_run)
    execution.execute("mine", "kernel", mine[0].name)
    write_collected("mine", mine)
    capsys.readouterr()
    (line,) = said(capsys, "repeat", "mine", NAME)
    assert line.startswith(f"mine/{NAME}: the same to the last digit (")
    before = tamper(root, "test_score", "50.000000000000007")
    assert before == "50.0"
    score, verdict = said(capsys, "repeat", "mine", NAME, status=1)
    assert score == "test_score: 50.00000000000001 -> 50.0"
    assert verdict.startswith(f"mine/{NAME}: differs (")
    tamper(root, "test_score", "")
    assert said(capsys, "repeat", "mine", NAME, status=1)[0] == "test_score: nothing -> 50.0"
    tamper(root, "test_score", "50.0")
    tamper(root, "explained_change", "0.25")  # a number that the run does not give any more
    assert said(capsys, "repeat", "mine", NAME, status=1)[0] == "explained_change: 0.25 -> nothing"
    assert standing(mine[0], "mine").state == "done"
    assert not (root / "runs" / "mine" / ".repeated" / NAME).exists()


def test_a_repeat_that_fails_is_named(root, mine, monkeypatch, capsys):
    monkeypatch.setattr(execution, "execute_in", fake_run)
    monkeypatch.setattr(repeat, "execute_in", lambda *_, **__: "ValueError: no")
    execution.execute("mine", "kernel", mine[0].name)
    write_collected("mine", mine)
    capsys.readouterr()
    assert f"run mine/{NAME} failed: ValueError: no; see " in refused(
        capsys, "repeat", "mine", NAME
    )
