"""The examples of docstrings do what they show."""

import doctest
import importlib

import pytest

from tangentlm.params import project_root

LIBRARY = project_root() / "lib"
WITH_EXAMPLES = [
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts)
    for path in sorted(LIBRARY.rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried
    assert not failed


@pytest.mark.parametrize(
    "name",
    [
        "solvers.least_squares", "solvers.logistic", "solvers.rows_logistic",
        "solvers.asymmetric", "solvers.selection", "finetune.loop", "finetune.search",
        "finetune.adaptation", "tasks.task", "tasks.splits", "tasks.variants", "models.heads",
        "models.few_shot", "theory.linear_networks", "theory.first_step", "analysis.intervals",
    ],
)  # fmt: skip
def test_what_a_user_calls_has_an_example(name):
    assert f"tangentlm.{name}" in WITH_EXAMPLES
