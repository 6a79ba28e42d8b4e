"""Golden numbers: they are what they were, and a change of numbers does not go unnoticed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

import golden
from golden import check, other_identity
from golden_cases import CASES, Case, EngineCase
from project_copy import edit
from tangentlm import kernels
from tangentlm.finetune import loop as tuning
from tangentlm.finetune import taylor
from tangentlm.kernels.contract import Contraction
from tangentlm.params import RUNS, KernelRun
from tangentlm.pretrain import language, packed_rows, words

BY_NAME = {f"{case.file}/{case.name}": case for case in CASES}
ENGINE = f"VERSION, now {kernels.VERSION}, in lib/tangentlm/kernels/__init__.py"

pytestmark = pytest.mark.usefixtures("root")  # a run may write into its project


def version_of(experiment: str) -> str:
    kind = RUNS[experiment]
    module = kind.__module__.rpartition(".")[2]
    return f"`version` of {kind.__name__}, now {kind.version}, in lib/tangentlm/params/{module}.py"


def test_every_experiment_and_every_formula_has_golden_numbers():
    with_an_extra = {"setfit_baseline"}  # needs a package that the tests do not install
    assert {case.file for case in CASES} == {"engine", *RUNS} - with_an_extra
    assert {case.name for case in CASES if case.file == "engine"} >= set(
        kernels.contract.SIGNED_SIDES
    )
    assert {path.stem for path in golden.FOLDER.iterdir()} == {case.file for case in CASES}
    for file in {case.file for case in CASES}:
        content = json.loads((golden.FOLDER / f"{file}.json").read_text(encoding="utf-8"))
        assert set(content["cases"]) == {case.name for case in CASES if case.file == file}


@pytest.mark.parametrize("name", BY_NAME)
def test_the_identity_is_that_of_the_golden_numbers(name):
    problem = other_identity(BY_NAME[name])
    assert problem is None, problem


@pytest.mark.parametrize("name", BY_NAME)
def test_the_numbers_are_golden(name, tmp_path):
    problem = check(BY_NAME[name], tmp_path)
    assert problem is None, problem


# --- a change is noticed ----------------------------------------------------------------------

Mutation = Callable[[pytest.MonkeyPatch, Path], None]


def one_term_of_the_kernel_subtracted(patch: pytest.MonkeyPatch, _root: Path) -> None:
    whole = Contraction.__call__

    def changed(self, name, *factors):
        one = name.lower().endswith(("head.norm.weight", "layer.1.output.layernorm.weight"))
        return -whole(self, name, *factors) if one else whole(self, name, *factors)

    patch.setattr(Contraction, "__call__", changed)


def one_term_of_the_taylor_model_subtracted(patch: pytest.MonkeyPatch, _root: Path) -> None:
    whole = taylor._displacement

    def changed(*states):
        first, *others = whole(*states).items()
        return dict([(first[0], -first[1]), *others])

    patch.setattr(taylor, "_displacement", changed)


def another_order_of_batches(patch: pytest.MonkeyPatch, _root: Path) -> None:
    def changed(size, batch_size, _seed):
        while True:
            yield from torch.arange(size).split(batch_size)

    patch.setattr(tuning, "_minibatches", changed)


def another_order_of_text(patch: pytest.MonkeyPatch, _root: Path) -> None:
    of_step = packed_rows.step_seed
    for module in (packed_rows, language):
        patch.setattr(module, "step_seed", lambda seed, step: of_step(seed, step + 1))


def no_clipping(patch: pytest.MonkeyPatch, _root: Path) -> None:
    clip = nn.utils.clip_grad_norm_
    patch.setattr(nn.utils, "clip_grad_norm_", lambda parameters, _: clip(parameters, math.inf))


def other_words_hidden(patch: pytest.MonkeyPatch, _root: Path) -> None:
    rank = words._rank
    patch.setattr(words, "_rank", lambda text, place: rank(text, place + 1))


def another_rate_in_the_grid(_patch: pytest.MonkeyPatch, root: Path) -> None:
    edit(root / "params" / "grids" / "quick.yaml", "[1.0e-2, 3.0e-2]", "[1.0e-2, 2.0e-2]")


def another_regularization_in_the_grid(_patch: pytest.MonkeyPatch, root: Path) -> None:
    edit(root / "params" / "grids" / "malladi.yaml", "0.01, 0.1, 1.0]\nf0", "0.02, 0.1, 1.0]\nf0")


@pytest.mark.parametrize(
    ("mutation", "name", "version"),
    [
        (one_term_of_the_kernel_subtracted, "engine/sgd", ENGINE),
        (one_term_of_the_kernel_subtracted, "engine/signgd", ENGINE),
        (one_term_of_the_kernel_subtracted, "engine/asymmetric-signgd", ENGINE),
        (one_term_of_the_kernel_subtracted, "engine/decomposition", ENGINE),
        (one_term_of_the_kernel_subtracted, "kernel/sgd", ENGINE),
        (another_regularization_in_the_grid, "kernel/sgd", version_of("kernel")),
        (one_term_of_the_taylor_model_subtracted, "finetune/sgd", version_of("finetune")),
        (another_order_of_batches, "finetune/sgd", version_of("finetune")),
        (no_clipping, "finetune/sgd", version_of("finetune")),
        (another_rate_in_the_grid, "finetune/sgd", version_of("finetune")),
        (another_order_of_batches, "natural_tasks/sgd", version_of("natural_tasks")),
        (another_order_of_text, "pretrain/standard", version_of("pretrain")),
        (other_words_hidden, "probe/pocket-xs", version_of("probe")),
        (another_order_of_text, "minilang/trained", version_of("minilang")),
    ],
    ids=lambda value: value.__name__ if callable(value) else value.partition(",")[0],
)
def test_a_change_is_noticed_on_every_machine(mutation, name, version, root, tmp_path, monkeypatch):
    case = BY_NAME[name]
    mutation(monkeypatch, root)
    problem = check(case, tmp_path, exact=False)
    assert problem is not None
    assert problem.startswith(f"The numbers of {name} changed:\n")
    assert f"raise {version}, and then: python tests/golden.py --write {case.file}" in problem


# --- what may be written ------------------------------------------------------------------------


class Made(EngineCase):
    """A case whose numbers are what a test says."""

    now: ClassVar[float] = 1.0


@pytest.fixture
def made(tmp_path, monkeypatch) -> Case:
    """A case that is all there is, with its numbers written."""
    case = Made("made", lambda: {"a": Made.now, "b": [1.0, 2.0]})
    monkeypatch.setattr(golden, "CASES", (case,))
    monkeypatch.setattr(golden, "FOLDER", tmp_path / "golden")
    assert "no golden numbers of engine/made yet" in str(other_identity(case))
    assert golden.write("engine", tmp_path) == []
    assert other_identity(case) is None
    assert check(case, tmp_path) is None
    return case


def test_changed_numbers_are_not_written_until_the_version_is_raised(made, tmp_path, monkeypatch):
    path = golden.FOLDER / "engine.json"
    before = path.read_text(encoding="utf-8")
    monkeypatch.setattr(Made, "now", 1.1)
    (problem,) = golden.write("engine", tmp_path)
    assert "a: 1 -> 1.1" in problem
    assert f"raise {ENGINE}" in problem
    assert path.read_text(encoding="utf-8") == before
    before, after = kernels.VERSION, kernels.VERSION + 1
    monkeypatch.setattr(kernels, "VERSION", after)
    assert f"engine {before} -> {after}" in str(other_identity(made))
    assert golden.write("engine", tmp_path) == []
    assert check(made, tmp_path) is None
    assert other_identity(made) is None


def test_numbers_that_are_as_they_were_leave_the_file_as_it_is(made, tmp_path):
    path = golden.FOLDER / "engine.json"
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    before = path.read_bytes()
    assert golden.write("engine", tmp_path) == []
    assert path.read_bytes() == before


def test_only_the_machine_that_wrote_them_is_asked_for_the_last_digits(made, tmp_path, monkeypatch):
    monkeypatch.setattr(Made, "now", 1.0 + 1e-8)
    assert check(made, tmp_path) is not None
    assert check(made, tmp_path, exact=False) is None
    monkeypatch.setattr(golden, "machine", lambda: "another")
    assert check(made, tmp_path) is None


def test_a_number_that_comes_or_goes_is_a_change(made):
    assert golden.changes(made, {"a": [1.0]}) == ["b: 2 numbers -> 0"]
    assert golden.changes(made, {"a": [1.0], "b": [1.0, 2.0], "c": [3.0]}) == ["c: 0 numbers -> 1"]
    (line,) = golden.changes(made, {"a": [1.0], "b": [1.0, float("nan")]})
    assert line == "b: 2 -> nan"


# --- what goes into an identity --------------------------------------------------------------


class WiderRun(KernelRun):
    """The kernel's run with a parameter that came later."""

    temperature: float = 1.0


class WellToldRun(WiderRun):
    """The same, and it says what runs did before."""

    later: ClassVar = {**KernelRun.later, "temperature": 1.0}


def test_a_new_parameter_that_makes_every_run_stale_is_noticed(monkeypatch):
    case = BY_NAME["kernel/sgd"]
    monkeypatch.setitem(RUNS, "kernel", WiderRun)
    problem = str(other_identity(case))
    assert "kernel/sgd are of another identity: parameters" in problem
    assert "name it in `later` of its class" in problem
    monkeypatch.setitem(RUNS, "kernel", WellToldRun)
    assert other_identity(case) is None
