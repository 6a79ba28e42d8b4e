"""What decides a run's result: its identity."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from project_copy import edit
from tangentlm import kernels
from tangentlm.params import (
    FineTuneRun,
    KernelRun,
    MinilangRun,
    NaturalTaskRun,
    PretrainRun,
    ProbeRun,
)
from tangentlm.pretrain.probes import probes_file
from tangentlm.studies.identity import NONE, UNKNOWN, Identity, identity

KERNEL = KernelRun(task="reviews", k=2, test_size=10)
TUNING = FineTuneRun(task="reviews", k=2, test_size=10)


@pytest.mark.parametrize(
    "other",
    [
        KernelRun(task="reviews", k=2, test_size=10, solver="logistic"),
        KernelRun(task="reviews", k=2, test_size=10, head="linear"),
        KernelRun(task="reviews", k=2, test_size=10, device="cpu"),
        KernelRun(task="reviews", k=2, test_size=10, prompt="null"),
        KernelRun(task="reviews", k=2, test_size=10, formula="signgd"),
        KernelRun(task="reviews", k=2, test_size=10, adaptation="lora"),
        TUNING,
    ],
    ids=lambda run: f"{run.experiment}-{run.name}-{run.grid}-{run.device}",
)
def test_a_parameter_changes_the_parameters_alone(other):
    one, two = identity(KERNEL), identity(other)
    assert one.parameters != two.parameters
    assert (one.data, one.model) == (two.data, two.model)
    assert one.differences(two) == ["other parameters"]


@pytest.mark.parametrize("change", [{"k": 3}, {"test_size": 11}, {"seed": 21}, {"task": "topics"}])
def test_the_split_decides(change):
    assert identity(KERNEL.model_copy(update=change)).data != identity(KERNEL).data


def test_it_reads_as_text_and_comes_back():
    text = str(identity(KERNEL))
    assert text.startswith("parameters=")
    assert text.endswith(f" experiment={KernelRun.version} engine={kernels.VERSION}")
    assert Identity.parse(text) == identity(KERNEL)
    for other in ("", "0" * 64, "parameters=1 data=2"):
        assert Identity.parse(other) is None


def test_the_place_of_output_and_data_decides_nothing(tmp_path):
    assert identity(KERNEL.model_copy(update={"out": str(tmp_path)})) == identity(KERNEL)


@pytest.mark.parametrize(
    ("old", "new", "kernel", "tuning"),
    [
        ("regularization: [1.0e-4", "regularization: [2.0e-4", True, False),
        ("steps:", "# steps\nsteps:", False, False),
        ("about:", "about: Other words.\n#", False, False),
    ],
)
def test_what_a_run_reads_of_its_grid_decides(root, old, new, kernel, tuning):
    before = [identity(run) for run in (KERNEL, TUNING)]
    path = root / "params" / "grids" / "quick.yaml"
    first = next(
        line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith(old[:6])
    )
    if old.startswith("regularization"):
        edit(path, first, "regularization: [0.123]")
    else:
        edit(path, old, new)
    after = [identity(run) for run in (KERNEL, TUNING)]
    assert [a != b for a, b in zip(before, after, strict=True)] == [kernel, tuning]


def test_another_optimizer_s_rates_decide_nothing(root):
    sgd, adam = TUNING, TUNING.model_copy(update={"optimizer": "adam"})
    before = [identity(run).parameters for run in (sgd, adam)]
    path = root / "params" / "grids" / "quick.yaml"
    text = path.read_text(encoding="utf-8")
    start = text.index("adam:")
    path.write_text(
        text[:start] + text[start:].replace("learning_rate: [", "learning_rate: [0.5, ", 1)
    )
    after = [identity(run).parameters for run in (sgd, adam)]
    assert [a != b for a, b in zip(before, after, strict=True)] == [False, True]


def test_rates_that_are_given_are_those_of_a_grid(root):
    """A grid's name and where its values stand decide nothing; the values do."""
    values = TUNING.grid_values()
    given = TUNING.model_copy(update={n: values[n] for n in ("learning_rate", "batch_size")})
    assert identity(given) == identity(TUNING)
    shutil.copy(root / "params/grids/quick.yaml", root / "params/grids/copy.yaml")
    assert identity(TUNING.model_copy(update={"grid": "copy"})) == identity(TUNING)


def test_the_task_s_prompt_decides_and_its_title_does_not(root):
    path = root / "params" / "tasks" / "reviews.yaml"
    before = identity(KERNEL)
    edit(path, "max_length: 128", "max_length: 64")
    assert identity(KERNEL).parameters != before.parameters
    edit(path, "max_length: 64", "max_length: 128")
    edit(path, "title: ", "title: Another ")
    assert identity(KERNEL) == before


def test_the_model_s_weights_decide_and_its_card_does_not(tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    run = KernelRun(task="reviews", k=2, model=str(folder))
    before = identity(run)
    (folder / "README.md").write_text("about", encoding="utf-8")
    assert identity(run) == before
    (folder / "model.safetensors").write_bytes(b"other weights")
    assert before.differences(identity(run)) == ["other model"]


def test_the_data_decide_not_their_place(root, tmp_path):
    def folder(name: str, text: str) -> str:
        place = tmp_path / name / "reviews"
        shutil.copytree(root / "assets" / "tasks" / "reviews", place)
        first = json.dumps({"text_a": text, "label": 0}) + "\n"
        path = place / "test.jsonl"
        path.write_text(first + path.read_text(encoding="utf-8"), encoding="utf-8")
        return str(place.parent)

    one, same, other = (folder(*pair) for pair in [("1", "x"), ("2", "x"), ("3", "y")])
    found = [identity(KernelRun(task="reviews", k=2, data=data)) for data in (one, same, other)]
    assert found[0] == found[1]
    assert found[0].differences(found[2]) == ["other data"]


def test_what_is_not_at_hand_is_unknown_and_differs_from_nothing():
    run = KernelRun(task="sst2", k=16)
    now = identity(run)
    assert now.data.startswith("hub:")  # where the rows would come from
    recorded = Identity(now.parameters, "0123456789abcdef", now.model, now.experiment, now.engine)
    assert now.differences(recorded) == recorded.differences(now) == []
    assert now.not_compared(recorded) == ["data"]
    assert now.not_compared(now) == []
    unknown = Identity(now.parameters, UNKNOWN, now.model, now.experiment, now.engine)
    assert unknown.differences(recorded) == []
    # What a record does not know is no reason to trust it once the data are there.
    assert recorded.differences(unknown) == ["other data"]


def test_rows_of_the_hub_are_known_by_where_they_are(root):
    before = identity(KernelRun(task="sst2", k=16))
    edit(root / "params" / "tasks" / "sst2.yaml", "path: ", "path: someone/else-")
    assert identity(KernelRun(task="sst2", k=16)).differences(before) == ["other data"]


def test_the_name_of_a_model_decides_nothing(root):
    named = KERNEL.model_copy(update={"model": str(root / "assets" / "pocket")})
    assert identity(named) == identity(KERNEL)


def test_a_model_of_our_own_without_its_text_is_not_compared(root):
    study = root / "params" / "studies" / "mine"
    study.mkdir()
    (study / "pretrain.yaml").write_text("recipe: tiny\nsteps: 40\ncorpus: null\n")
    now = identity(KernelRun(task="reviews", k=2, model=f"run:mine/{PretrainRun().name}"))
    assert now.unknown == ["model"]


@pytest.mark.parametrize(
    "run",
    [
        KERNEL,
        TUNING,
        NaturalTaskRun(task="reviews", k=2),
        PretrainRun(),
        ProbeRun(),
        MinilangRun(model=None),
    ],
    ids=lambda run: run.experiment,
)
def test_a_raised_version_makes_a_run_another(run, monkeypatch):
    before = identity(run)
    assert before.experiment == run.version
    monkeypatch.setattr(type(run), "version", run.version + 1)
    now = identity(run)
    assert now.differences(before) == [f"experiment {run.version - 1} -> {run.version}"]
    monkeypatch.setattr(kernels, "VERSION", kernels.VERSION + 1)
    computes = run.experiment not in ("pretrain", "probe")
    assert (identity(run).engine != now.engine) is computes


def test_a_parameter_that_came_later_changes_nothing_at_its_old_value(monkeypatch):
    before = identity(KERNEL)
    monkeypatch.setattr(KernelRun, "later", {"alpha": 16.0})
    without = identity(KERNEL)
    assert without.parameters != before.parameters  # it is no part any more
    assert identity(KERNEL.model_copy(update={"alpha": 8.0})).parameters != without.parameters


# --- pre-training ---------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "text.txt").write_text("a line\nanother line\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"width": 64}, {"steps": 5}, {"minutes": 5.0}, {"parametrization": "mup"},
     {"device": "cpu"}, {"recipe": "pocket"}],
    ids=str,
)  # fmt: skip
def test_a_pretraining_depends_on_every_parameter(corpus, change):
    first = identity(PretrainRun(corpus=str(corpus)))
    other = identity(PretrainRun(corpus=str(corpus), **change))
    assert first.differences(other) == ["other parameters"]
    assert first.model == NONE


def test_a_pretraining_depends_on_the_text_not_on_its_place(corpus, tmp_path, monkeypatch):
    first = identity(PretrainRun(corpus=str(corpus)))
    monkeypatch.setenv("TANGENTLM_CORPUS", str(corpus))
    assert identity(PretrainRun(corpus=None, out="x")) == first
    moved = tmp_path / "moved"
    shutil.copytree(corpus, moved)
    assert identity(PretrainRun(corpus=str(moved))) == first
    (moved / "text.txt").write_text("a line\nyet another line\n", encoding="utf-8")
    assert identity(PretrainRun(corpus=str(moved))).differences(first) == ["other data"]


def test_a_pretraining_depends_on_the_values_of_its_recipe(root, corpus):
    run = PretrainRun(recipe="pocket", corpus=str(corpus))
    before = identity(run)
    path = root / "params" / "recipes" / "pocket.yaml"
    edit(path, "about:", "about: Other words.\n#")
    assert identity(run) == before
    edit(path, "depth:", "depth: 7\n#")
    assert identity(run).differences(before) == ["other parameters"]


def test_a_pretraining_depends_on_the_probes(corpus, tmp_path, monkeypatch):
    run = PretrainRun(corpus=str(corpus))
    before = identity(run)
    probes = tmp_path / "probes.yaml"
    shutil.copy(probes_file(), probes)
    with probes.open("a", encoding="utf-8") as file:
        file.write("\n# more\n")
    monkeypatch.setattr("tangentlm.pretrain.probes.probes_file", lambda: probes)
    assert identity(run).differences(before) == ["other data"]


def test_a_text_that_is_not_at_hand_is_unknown():
    assert identity(PretrainRun(corpus=None)).unknown == ["data"]


def test_a_model_of_our_own_is_known_by_the_run_that_makes_it(root):
    study = root / "params" / "studies" / "mine"
    study.mkdir()
    (study / "pretrain.yaml").write_text("recipe: tiny\nsteps: 40\n", encoding="utf-8")
    run = KernelRun(task="reviews", k=2, model=f"run:mine/{PretrainRun().name}")
    before = identity(run)
    assert UNKNOWN not in (before.model, before.data)
    edit(study / "pretrain.yaml", "steps: 40", "steps: 41")
    assert identity(run).differences(before) == ["other model"]
    assert identity(run.model_copy(update={"model": "run:mine/nobody"})).model == UNKNOWN
