"""kappa and each of its options against direct computation; Theorem 1 and its bounds."""

import numpy as np
import pandas as pd
import pytest
import torch

import small_models
from tangentlm.afzal.condition import (
    REDUCTIONS,
    condition_number,
    condition_numbers,
    draw_samples,
    reduced,
)
from tangentlm.afzal.pads import with_pads
from tangentlm.afzal.theorem import draw_risks, printed_bounds
from tangentlm.errors import InputError
from tangentlm.finetune.chosen_lora import kernel_by_layer, of_layers, with_lora
from tangentlm.kernels import draw_lora, entk
from tangentlm.models.classification_head import ClassificationModel
from tangentlm.models.projections import projection_layers
from tangentlm.theory.ridge_risk import training_risk


def batch():
    rows = small_models.prompt_batch()
    return {name: rows[name] for name in ("input_ids", "attention_mask")}


def network(alpha=8.0, head_seed=0, projections=("query", "value")):
    pretrained = small_models.roughen(small_models.masked_lm("roberta"))
    model = ClassificationModel(pretrained, 2, head_seed).double().eval()
    names = projection_layers(model, projections=projections)
    A = draw_lora(model, names, rank=4, seed=0)
    return with_lora(model, A, alpha).double(), names


def test_kappa_is_that_of_the_eigenvalues():
    G = np.random.default_rng(0).normal(size=(6, 6))
    K = G @ G.T
    values = np.linalg.eigvalsh(K)
    expected = (values[-1] + 0.1) / (values[0] + 0.1)
    assert condition_number(K, 0.1) == pytest.approx(expected)
    assert condition_number(K, 0.1) == pytest.approx(np.linalg.cond(K + 0.1 * np.eye(6)))


def test_kappa_of_an_asymmetric_kernel_has_singular_values():
    K = np.array([[0.0, 3.0], [-1.0, 0.0]])  # its eigenvalues are imaginary
    assert condition_number(K, 1.0) == pytest.approx(4.0 / 2.0)


def test_a_relative_sigma_is_free_of_scale_and_an_absolute_one_is_not():
    G = np.random.default_rng(1).normal(size=(5, 3))
    K = G @ G.T
    relative = [condition_number(s * K, 0.01, relative=True) for s in (1.0, 100.0)]
    absolute = [condition_number(s * K, 0.01) for s in (1.0, 100.0)]
    assert relative[0] == pytest.approx(relative[1])
    # lambda_min = 0: kappa = 1 + lambda_max / sigma.
    assert absolute[1] - 1 == pytest.approx(100 * (absolute[0] - 1), rel=1e-6)


def test_alpha_is_a_factor_before_the_kernel():
    one, names = network(alpha=4.0)
    two, _ = network(alpha=12.0)
    first, second = (
        kernel_by_layer(n, batch(), names, precision="float64").values for n in (one, two)
    )
    assert np.allclose(second, 9 * first, rtol=1e-9)
    K = [reduced(values) for values in (first, second)]
    assert condition_number(K[1], 1e-4) == pytest.approx(condition_number(K[0], 1e-4 / 9))


@pytest.mark.parametrize(
    ("how", "combine"),
    [
        ("difference", lambda f: f[:, 1:] - f[:, :1]),
        ("logit", lambda f: f[:, 1:]),
        ("sum", lambda f: f.sum(dim=1, keepdim=True)),
    ],
)
def test_a_reduction_is_the_kernel_of_that_output(how, combine):
    """Against the kernel of a model that has that one output."""
    full, names = network()
    values = kernel_by_layer(full, batch(), names, precision="float64").values

    class Combined(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = full

        def forward(self, **rows):
            return combine(self.inner(**rows))

    expected = entk(
        Combined().eval(), batch(), parameters=lambda n: "lora_B" in n, precision="float64",
        progress=False,
    ).matrix()  # fmt: skip
    assert np.allclose(reduced(values, how), expected, rtol=1e-9, atol=1e-14)


def test_trace_and_full_are_sums_and_blocks():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 2, 3, 2))
    blocks = values[:, 0, :, 0] + values[:, 1, :, 1]
    assert np.allclose(reduced(values, "trace"), blocks)
    assert reduced(values, "full")[3, 4] == values[1, 1, 2, 0]
    with pytest.raises(InputError, match="unknown reduce"):
        reduced(values, "mean")
    with pytest.raises(InputError, match="two outputs"):
        reduced(values[:, :1, :, :1])
    assert len(REDUCTIONS) == 5


def test_a_draw_of_a_pool_is_the_kernel_of_its_samples():
    model, names = network()
    pool = reduced(kernel_by_layer(model, batch(), names, precision="float64").values)
    chosen = draw_samples(len(pool), 2, draw=5)
    rows = {name: tensor[torch.from_numpy(chosen)] for name, tensor in batch().items()}
    alone = reduced(kernel_by_layer(model, rows, names, precision="float64").values)
    (row,) = condition_numbers({"all": pool}, [5], count=2, sigma=0.01).to_dict("records")
    assert row["kappa"] == pytest.approx(condition_number(alone, 0.01), rel=1e-6)
    assert row["trace"] == pytest.approx(np.trace(alone))


def test_draws_are_distinct_and_repeat():
    assert list(draw_samples(10, 4, None)) == [0, 1, 2, 3]
    one = draw_samples(10, 4, 3)
    assert len(set(one)) == 4
    assert list(one) == list(draw_samples(10, 4, 3)) != list(draw_samples(10, 4, 4))
    with pytest.raises(InputError, match="cannot be drawn"):
        draw_samples(3, 4, 0)


def test_another_head_gives_another_kernel():
    kernels = []
    for seed in (0, 1):
        model, names = network(head_seed=seed)
        kernels.append(reduced(kernel_by_layer(model, batch(), names).values))
    assert not np.allclose(kernels[0], kernels[1], rtol=0.1)


def test_attended_pads_are_text_and_masked_ones_are_not():
    """Attended padding is the same as the padding tokens standing in the text."""
    model, _names = network()
    rows = batch()
    longer = with_pads(rows, "attended", length=12)
    assert longer["attention_mask"].all()
    assert longer["input_ids"].shape == (len(rows["input_ids"]), 12)
    text = longer["input_ids"][:1]
    with torch.no_grad():
        expected = model(input_ids=text, attention_mask=torch.ones_like(text))
        found = model(**{name: tensor[:1] for name, tensor in longer.items()})
        masked = model(**{name: tensor[:1] for name, tensor in with_pads(rows, "masked").items()})
    assert torch.equal(found, expected)
    assert not torch.allclose(found, masked, rtol=1e-3)
    with pytest.raises(InputError, match="do not fit"):
        with_pads(rows, "attended", length=2)
    with pytest.raises(InputError, match="unknown pads"):
        with_pads(rows, "seen")


def test_the_kernel_of_more_layers_is_larger_in_the_loewner_order():
    model, names = network()
    kernel = kernel_by_layer(model, batch(), names, precision="float64")
    small, large = (reduced(of_layers(kernel, n)) for n in (names[:2], names))
    assert np.linalg.eigvalsh(large - small)[0] > -1e-12
    sizes = [np.linalg.eigvalsh(K)[-1] for K in (small, large)]
    assert sizes[0] <= sizes[1]


@pytest.mark.parametrize("targets", ["random", "top", "bottom"])
def test_the_corrected_bounds_hold_and_the_printed_lower_one_fails(targets):
    table = draw_risks(200, seed=1, targets=targets)
    assert not table["violates"].any()
    assert not table["violates_printed_high"].any()
    assert table["violates_printed_low"].any()
    if targets == "top":
        assert table["violates_printed_low"].all()
        assert np.allclose(table["risk"], table["low"], rtol=1e-6)
    if targets == "bottom":
        assert np.allclose(table["risk"], table["high"], rtol=1e-5)


def test_the_counterexample():
    low, high = printed_bounds([[1.0]], [1.0], 1e-4)
    risk = training_risk([[1.0]], [1.0], 1e-4)
    assert risk == pytest.approx((1e-4 / 1.0001) ** 2)
    assert risk < low == pytest.approx(1e-4 / 1.0001) == high


def test_numbers_come_in_one_table():
    table = condition_numbers({"a": np.eye(4), "b": 2 * np.eye(4)}, [None, 1], count=3)
    assert isinstance(table, pd.DataFrame)
    assert list(table["kernel"]) == ["a", "b", "a", "b"]
    assert np.allclose(table["kappa"], 1)
