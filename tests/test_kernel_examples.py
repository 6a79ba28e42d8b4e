"""The examples in the docstrings of the engine run, and every public function has one."""

from __future__ import annotations

import doctest
import inspect
import sys

import pytest

from tangentlm import kernels

MODULES = [
    *sorted(n for n in sys.modules if n.startswith("tangentlm.kernels.")),
    "tangentlm.batches", "tangentlm.models.logits", "tangentlm.finetune.taylor",
]  # fmt: skip
DESCRIBED = {"KernelCost", "PublishedKernel", "Decomposition"}  # What functions return.


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    __import__(name)
    failed, _ = doctest.testmod(sys.modules[name])
    assert failed == 0


@pytest.mark.parametrize("name", kernels.__all__)
def test_everything_public_has_an_example(name):
    thing = getattr(kernels, name)
    if callable(thing) and name not in DESCRIBED:
        assert "Example:" in inspect.getdoc(thing)
