"""The table of predictors, and all of them at once."""

import re

import numpy as np
import pytest

from tangentlm.anticipate.predictors import (
    FEATURES_OF,
    PREDICTORS,
    feature_predictors,
    kernel_predictors,
)
from tangentlm.errors import InputError
from tangentlm.params import project_root
from test_predictors_features import sample
from test_predictors_spectrum import problem

SUBSET = {"layers": [0, 2], "parameters": 64, "time": 1.0}
UNITS = {"lambda_max": 1, "trace": 1, "gradient_norm": 1, "kappa": None, "linearised_loss": None}
"""By which power of a factor before the kernel a predictor grows; None: it depends."""


def named(*groups):
    return {name for name, one in PREDICTORS.items() if one.group in groups}


def test_every_predictor_has_its_place():
    kernel, labels, logits = problem()
    found = kernel_predictors(kernel, labels, logits, **SUBSET)
    assert set(found) == named("baseline", "spectrum", "labels")
    assert found["layers"] == 2
    assert found["parameters"] == 64
    assert found["mean_depth"] == 1.0
    F, y = sample()
    tokens = np.full((24, 3), 1 / 3)
    found = feature_predictors(dict.fromkeys(FEATURES_OF, F), y, tokens)
    assert set(found) == named("features")
    assert set(feature_predictors({"last": F}, y)) == {n for n in found if n.endswith("_last")}
    assert named("ceiling") == {"early_train_loss"}
    assert all(np.isfinite(list(found.values())))


def test_sources_are_in_the_bibliography():
    text = (project_root() / "book/references.bib").read_text(encoding="utf-8")
    keys = set(re.findall(r"^@\w+\{([^,]+),", text, re.MULTILINE))
    assert {one.source for one in PREDICTORS.values() if one.source} <= keys


@pytest.mark.parametrize("outputs", [2, 4])
def test_the_names_of_classes_do_not_count(outputs):
    kernel, labels, logits = problem(outputs=outputs)
    order = np.random.default_rng(3).permutation(outputs)
    place = np.argsort(order)
    one = kernel_predictors(kernel, labels, logits, **SUBSET)
    other = kernel_predictors(
        kernel[:, order][:, :, :, order], place[labels], logits[:, order], **SUBSET
    )
    assert other == pytest.approx(one, rel=1e-8)


def test_what_all_outputs_have_in_common_does_not_count():
    kernel, labels, logits = problem()
    random = np.random.default_rng(4)
    shared = random.normal(size=(12, 7))
    common = (shared @ shared.T)[:, None, :, None] + np.zeros_like(kernel)
    one = kernel_predictors(kernel, labels, logits, **SUBSET)
    other = kernel_predictors(
        kernel + common, labels, logits + random.normal(size=(12, 1)), **SUBSET
    )
    assert other == pytest.approx(one, rel=1e-8)


def test_a_factor_before_the_kernel_counts_only_where_it_must():
    kernel, labels, logits = problem()
    one = kernel_predictors(kernel, labels, logits, **SUBSET)
    other = kernel_predictors(100 * kernel, labels, logits, **SUBSET)
    for name, value in one.items():
        power = UNITS.get(name, 0)
        if power is not None:
            assert other[name] == pytest.approx(100**power * value, rel=1e-7), name


def test_a_kernel_of_more_layers_is_larger_by_every_measure_of_size():
    first, labels, logits = problem(width=9)
    both = first + problem(width=9, seed=1)[0]
    less, more = (kernel_predictors(K, labels, logits, **SUBSET) for K in (first, both))
    for name in ("lambda_max", "trace", "entropy_rank", "gradient_norm"):
        assert more[name] > less[name]
    assert more["linearised_loss"] < less["linearised_loss"]


def test_what_is_better_when_small():
    assert {n for n, one in PREDICTORS.items() if one.better < 0} == {
        "kappa", "kappa_relative", "linearised_loss", "loo_error", "gcv", "early_train_loss",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": []}, r"layers \[\] must be numbers of layers"),
        ({"layers": [-1]}, r"layers \[-1\] must be numbers of layers"),
        ({"parameters": 0}, "parameters = 0"),
        ({"time": -1.0}, "time = -1"),
    ],
)
def test_facts_that_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        kernel_predictors(*problem(), **(SUBSET | change))


def test_features_of_an_unknown_layer_are_refused():
    F, y = sample()
    with pytest.raises(InputError, match="did you mean 'last'"):
        feature_predictors({"lst": F}, y)
