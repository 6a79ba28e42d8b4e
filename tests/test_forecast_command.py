"""``tangentlm forecast``, tried as a new user would: what it prints, writes and refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from made_up_forecast import made_up_forecast
from tangentlm.__main__ import main
from tangentlm.errors import InputError
from tangentlm.forecast import forecast, prepare
from tangentlm.params import ForecastRun, load_study, make_run
from tangentlm.studies.identity import UNKNOWN, identity
from tangentlm.tasks import load_task, read_part


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with a small file of two classes."""
    monkeypatch.chdir(tmp_path)
    rows = read_part(load_task("reviews"), "train")
    some = [row for label in (0, 1) for row in [r for r in rows if r.label == label][:12]]
    table = pd.DataFrame({"review": [r.text_a for r in some], "class": [r.label for r in some]})
    table.replace({"class": {0: "bad", 1: "good"}}).to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path


@pytest.fixture
def light(monkeypatch):
    """No model can be loaded, so that what is refused is refused before."""

    def loaded(*_arguments, **_options):
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(prepare, "make_problem", loaded)


def refused(capsys, *arguments):
    """The one line with which the command ends."""
    assert main(["forecast", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tangentlm: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.csv"], "there is no file missing.csv"),
        (["mine.csv", "--model", "poket"], "unknown model 'poket'; did you mean 'pocket'?"),
        (["mine.csv", "--label-column", "clas"], "'clas'; did you mean 'class'?"),
        (["mine.csv", "--out", "mine.csv"], "has to end in .html"),
        (["mine.csv", "--out", "nowhere/report.html"], "no folder 'nowhere'"),
        (["mine.csv", "--test", "missing.csv"], "there is no file missing.csv"),
        (
            ["mine.csv", "--test", "other.csv"],
            "other.csv: unknown column 'review'; did you mean 'r",
        ),
        (["mine.csv", "--model", "pocket-xs", "--template", "no mask"], "the template needs"),
        (["mine.csv", "--model", "pocket-xs", "--label-words", "good"], "1 label word"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(here, capsys, arguments, message):
    (here / "other.csv").write_text("reviews,class\nfine,good\n")
    assert message in refused(capsys, *arguments)
    assert sorted(path.name for path in here.iterdir()) == ["mine.csv", "other.csv"]


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("The same text!", i % 2) for i in range(30)], "and of 30 rows here are 1"),
        ([(f"text of number {i % 9} {i % 9}", i % 2) for i in range(30)], "of 30 rows here are 9"),
        ([(f"{i}", i % 2) for i in range(9)], "needs 10 rows at least, and here are 9"),
        ([(f"{i}", 0) for i in range(30)], "all 30 labels of column 'class' are '0'"),
    ],
)
def test_what_no_forecast_can_be_made_of_is_refused_before_a_model_is_loaded(
    here, capsys, rows, message
):
    pd.DataFrame(rows, columns=["review", "class"]).to_csv(here / "mine.csv", index=False)
    assert message in refused(capsys, "mine.csv")


def test_nothing_is_left_of_a_forecast_that_is_interrupted(here):
    """A real Ctrl-C, sent to another process once it says that it computes."""
    code = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from tangentlm.forecast import forecast, prepare
prepare.prepare = lambda *texts, **options: None
def compute(prepared):
    print("computing", flush=True)
    time.sleep(600)
forecast.compute = compute
from tangentlm.__main__ import main
sys.exit(main(["forecast", "mine.csv"]))
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "computing\n"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=300)
    finally:
        child.kill()
    assert (child.returncode, out, err) == (130, "", "tangentlm: interrupted\n")
    assert [path.name for path in here.iterdir()] == ["mine.csv"]


def test_a_file_of_the_user_s_is_not_replaced_and_nothing_is_read_first(here, capsys):
    (here / "report.json").write_text("{}")
    assert "'report.json' is no report of this command" in refused(capsys, "missing.csv")
    assert (here / "report.json").read_text() == "{}"


@pytest.mark.parametrize(
    "arguments",
    [["--budget", "0"], ["--budget", "nan"], ["--budget", "inf"], ["--budget", "long"],
     ["--seed", "-1"], ["--seed", "1.5"], ["--seed", "99999999999"]],
)  # fmt: skip
def test_a_wrong_option_is_refused(here, capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(["forecast", "mine.csv", *arguments])
    assert caught.value.code == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("tangentlm forecast: error: ")
    assert arguments[0] in last


def test_a_dry_run_prints_the_plan_and_writes_nothing(here, capsys):
    assert main(["forecast", "mine.csv", "--model", "pocket-xs", "--dry-run", "--seed", "5"]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == "mine.csv: 24 rows, 2 classes."
    assert last.startswith("Seed 5; 24 rows, 2 classes; cross-validation of")
    allowed, needed = last.removesuffix(" that are needed at least.").split(" minutes in all, of ")
    assert needed.startswith("10 that are allowed and ")
    assert float(needed.split()[-1]) <= float(allowed.split()[-1])
    assert [path.name for path in here.iterdir()] == ["mine.csv"]


def test_the_answer_and_the_two_files_come_last(here, capsys, monkeypatch):
    found = made_up_forecast()
    given = {}
    monkeypatch.setattr(
        prepare, "prepare", lambda *texts, **options: given.update(options, texts=texts)
    )
    monkeypatch.setattr(forecast, "compute", lambda prepared: found)
    options = ["--label-column", "class", "--label-words", "good, bad", "--budget", "2.5"]
    assert main(["forecast", "mine.csv", *options, "--out", "my.html"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [*found.answer, "", "my.html", "my.json"]
    assert given.pop("started") < time.perf_counter()
    texts, tested = given.pop("texts")
    assert texts.columns == {"text_column": "review", "label_column": "class"}
    assert tested is None
    assert given == {
        "model": "pocket", "template": None, "label_words": ["good", "bad"], "budget": 2.5,
        "seed": 13,
    }  # fmt: skip
    assert json.loads((here / "my.json").read_text())["answer"] == list(found.answer)


@pytest.mark.slow
def test_a_whole_forecast_of_a_small_file(here, capsys):
    assert main(["forecast", "mine.csv", "--model", "pocket-xs", "--test", "mine.csv"]) == 0
    *_, page, beside = capsys.readouterr().out.splitlines()
    assert (page, beside) == ("report.html", "report.json")
    held = json.loads((here / beside).read_text())
    assert held["data"]["counts"] == [12, 12]
    assert len(held["scores"]) == 5
    assert all(sentence in (here / page).read_text() for sentence in held["answer"][:1])


# --- the experiment -----------------------------------------------------------------------------


def test_a_run_is_named_for_people():
    assert make_run("forecast", {}).name == "topics-train-s13"
    other = ForecastRun(file="/data/my file (2).csv", model="minilm", seed=3)
    assert other.name == "minilm-data-my-file-2-s3"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "poket"}, "did you mean 'pocket'"),
        ({"file": "nowhere.csv"}, "no file .*nowhere.csv"),
        ({"budget": 0}, "budget = 0"),
        ({"most_rows": 1}, "most_rows = 1"),
        ({"label_word": ["a"]}, "did you mean 'label_words'"),
    ],
)
def test_wrong_parameters_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        make_run("forecast", values)


def test_the_identity_is_that_of_the_rows_and_the_model(here):
    run = ForecastRun(file=str(here / "mine.csv"), test=None)
    own = identity(run)
    (here / "copy.csv").write_text((here / "mine.csv").read_text())
    assert identity(run.model_copy(update={"file": str(here / "copy.csv")})) == own
    assert identity(run.model_copy(update={"test": str(here / "copy.csv")})).data != own.data
    assert identity(run.model_copy(update={"model": "pocket-s"})).model != own.model
    assert identity(run.model_copy(update={"most_rows": 20})).parameters != own.parameters
    assert identity(run.model_copy(update={"file": str(here / "gone.csv")})).data == UNKNOWN
    with (here / "mine.csv").open("a") as file:
        file.write("one more,pos\n")
    assert identity(run).data != own.data


def test_a_folder_of_rows_has_a_checksum(here):
    folder = here / "saved"
    folder.mkdir()
    (folder / "part.arrow").write_bytes(b"1")
    run = ForecastRun(file=str(folder), test=None)
    before = identity(run).data
    (folder / "part.arrow").write_bytes(b"2")
    assert before != identity(run).data != UNKNOWN


def test_the_smoke_study_has_a_forecast():
    (run,) = (run for run in load_study("smoke") if run.experiment == "forecast")
    assert run.most_rows <= 32
