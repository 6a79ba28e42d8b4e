"""What ``import tangentlm`` gives a user."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

import tangentlm
from tangentlm.errors import InputError
from tangentlm.params import KernelRun

NAMES = {
    "AsymmetricLeastSquares", "InputError", "Kernel", "KernelCost", "KernelLeastSquares",
    "KernelLogistic", "NonFiniteError",
    "KernelRowsLogistic", "decompose", "entk", "few_shot", "fine_tune", "load_model", "load_split",
    "load_task", "select",
}  # fmt: skip
HEAVY = ("torch", "numpy", "pandas", "transformers", "pydantic", "scipy", "sklearn", "matplotlib")


def fresh(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_import_is_light():
    loaded = fresh("import sys, tangentlm; print(*sys.modules)")
    assert not set(HEAVY) & set(loaded)
    assert {name for name in loaded if name.startswith("tangentlm")} == {"tangentlm"}


def test_a_checkpoint_is_found_without_torch():
    loaded = fresh("import sys, tangentlm.models.checkpoints; print(*sys.modules)")
    assert not {"torch", "transformers"} & set(loaded)


def test_every_name_is_there_and_listed():
    assert set(tangentlm.__all__) == NAMES
    assert set(dir(tangentlm)) >= NAMES | {"STARTED", "__doc__"}
    for name in NAMES:
        assert callable(getattr(tangentlm, name)), name


def test_a_name_in_a_fresh_process_is_the_function_and_not_its_module():
    code = (
        "import tangentlm; print(type(tangentlm.entk).__name__, type(tangentlm.few_shot).__name__)"
    )
    assert fresh(code) == ["function", "function"]
    later = "import tangentlm.kernels.entk, tangentlm; print(type(tangentlm.entk).__name__)"
    assert fresh(later) == ["function"]


def test_editors_see_the_same_names():
    """What is imported for type checkers is what is loaded when asked for."""
    tree = ast.parse(Path(tangentlm.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {found.name: line.module for line in block.body for found in line.names}
    assert set(seen) == NAMES
    for name, module in seen.items():
        assert getattr(import_module(module), name) is getattr(tangentlm, name)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(AttributeError, match="unknown name 'entkk'; did you mean 'entk'"):
        _ = tangentlm.entkk
    assert not hasattr(tangentlm, "load_tsk")


# --- few_shot at a prompt -------------------------------------------------------------------


def test_few_shot_of_a_name_is_that_of_a_run():
    run = KernelRun(task="reviews", k=2, seed=21, model="pocket-xs", test_size=5, device="cpu")
    one = tangentlm.few_shot(run)
    other = tangentlm.few_shot(
        "reviews", k=2, seed=21, model="pocket-xs", test_size=5, device="cpu"
    )
    assert (one.task, one.split, one.parts) == (other.task, other.split, other.parts)
    assert torch.equal(one.batch["input_ids"], other.batch["input_ids"])


@pytest.mark.parametrize(
    ("task", "parameters", "message"),
    [
        ("reveiws", {}, "unknown task 'reveiws'; did you mean 'reviews'"),
        ("reviews", {"model": "pockett"}, "unknown model 'pockett'; did you mean 'pocket'"),
        ("reviews", {"sed": 1}, "unknown parameter 'sed'; did you mean 'seed'"),
        ("reviews", {"formula": "sgd"}, "unknown parameter 'formula'"),
        ("reviews", {"k": 0}, "few_shot: k = 0"),
        ("reviews", {"prompt": "nul"}, "prompt = 'nul'"),
        (KernelRun(task="reviews"), {"k": 2}, "a run has its own"),
    ],
)
def test_few_shot_refuses_what_is_wrong(task, parameters, message):
    with pytest.raises(InputError, match=message):
        tangentlm.few_shot(task, **parameters)
