"""The bounds hold in random trials, are not far from what is seen, and invert one another."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from scipy.stats import chi2
from torch import nn

from tangentlm.errors import InputError
from tangentlm.kernels.bounds import (
    distinct_entries,
    lora_error,
    lora_expected_scale,
    malladi_failure_probability,
    projection_dimension,
    projection_error,
    projection_failure_probability,
)

ENTRIES = {
    "gaussian": lambda rng, shape: rng.standard_normal(shape),
    "rademacher": lambda rng, shape: rng.choice([-1.0, 1.0], shape),
    "uniform": lambda rng, shape: rng.uniform(-math.sqrt(3), math.sqrt(3), shape),
    "sparse": lambda rng, shape: math.sqrt(3) * rng.choice([-1, 0, 0, 0, 0, 1.0], shape),
}
PARAMETERS, DIMENSION, TRIALS, DELTA = 20, 16, 4000, 0.1
RANK, ALPHA = 8, 16


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def inner_product_errors(kind: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """|<Pu, Pv> - <u, v>| of many projections with entries of variance 1/k."""
    rng = np.random.default_rng(1)
    P = ENTRIES[kind](rng, (TRIALS, DIMENSION, len(u))) / math.sqrt(DIMENSION)
    return np.abs(np.einsum("tk,tk->t", P @ u, P @ v) - u @ v)


@pytest.mark.parametrize("kind", ENTRIES)
@pytest.mark.parametrize("angle", [0.0, 0.4, math.pi / 2, math.pi], ids="angle {:.1f}".format)
@pytest.mark.parametrize("spread", [1, PARAMETERS], ids=["one parameter", "all parameters"])
def test_inner_products_fail_as_seldom_as_promised(kind, angle, spread):
    rng = np.random.default_rng(0)
    u = unit(np.where(np.arange(PARAMETERS) < spread, rng.standard_normal(PARAMETERS), 0.0))
    other = rng.standard_normal(PARAMETERS)
    v = math.cos(angle) * u + math.sin(angle) * unit(other - (other @ u) * u)
    errors = inner_product_errors(kind, u, v)
    for epsilon in (0.2, 0.5, 0.8, 1.2):
        assert np.mean(errors >= epsilon) <= projection_failure_probability(DIMENSION, epsilon)


@pytest.mark.parametrize("dimension", [64, 1000])
@pytest.mark.parametrize("delta", [0.1, 0.01, 1e-6])
def test_the_bound_is_near_the_exact_law_of_a_length(dimension, delta):
    """For u = v and Gaussian entries, k |Pu|^2 / |u|^2 is chi-squared with k degrees of freedom."""

    def exact(epsilon: float) -> float:
        law = chi2(dimension)
        return law.sf(dimension * (1 + epsilon)) + law.cdf(dimension * (1 - epsilon))

    epsilon = projection_error(dimension, delta)
    assert exact(epsilon) <= delta <= exact(epsilon / 1.8)


def test_a_projected_kernel_stays_within_the_bound():
    rng = np.random.default_rng(2)
    samples, dimension, trials = 12, 200, 300
    gradients = rng.standard_normal((samples, 50)) * rng.uniform(0.1, 10, (samples, 1))
    kernel = gradients @ gradients.T
    scale = np.sqrt(np.outer(kernel.diagonal(), kernel.diagonal()))
    worst = np.empty(trials)
    for trial in range(trials):
        projected = gradients @ rng.standard_normal((50, dimension)) / math.sqrt(dimension)
        worst[trial] = (np.abs(projected @ projected.T - kernel) / scale).max()
    bound = projection_error(dimension, DELTA, distinct_entries(samples))
    assert np.mean(worst > bound) <= DELTA
    assert bound <= 2 * np.quantile(worst, 1 - DELTA)


@pytest.mark.parametrize("dimension", [1, 8, 1000, 10**6])
@pytest.mark.parametrize("pairs", [1, 528, 10**9])
@pytest.mark.parametrize("delta", [1e-9, 0.05, 0.9])
def test_error_dimension_and_probability_invert_one_another(dimension, pairs, delta):
    epsilon = projection_error(dimension, delta, pairs)
    assert projection_failure_probability(dimension, epsilon, pairs) == pytest.approx(delta)
    assert projection_dimension(epsilon * (1 + 1e-9), delta, pairs) == dimension
    needed = projection_dimension(0.1, delta, pairs)
    assert projection_failure_probability(needed, 0.1, pairs) <= delta
    assert projection_failure_probability(needed - 1, 0.1, pairs) > delta


def test_never_larger_than_the_paper_and_falling_where_the_paper_rises():
    epsilons = np.linspace(0.01, 3.0, 100)
    for dimension in (8, 100, 5000):
        ours = [projection_failure_probability(dimension, e, distinct_entries(5)) for e in epsilons]
        paper = [malladi_failure_probability(dimension, e, 5) for e in epsilons]
        assert (np.array(ours) <= paper).all()
        assert (np.diff(ours) <= 0).all()
    assert malladi_failure_probability(200, 0.9, 5) > malladi_failure_probability(200, 0.66, 5)
    assert malladi_failure_probability(10**6, 1.0, 5) == 1.0


def test_lemma_e3_as_printed_fails_for_uniform_entries():
    u = unit(np.ones(PARAMETERS))
    rng = np.random.default_rng(3)
    A = rng.uniform(-1, 1, (200, 2000, PARAMETERS))
    lengths = ((A @ u) ** 2).mean(axis=1)
    assert lengths.mean() == pytest.approx(1 / 3, rel=0.01)
    assert np.mean(np.abs(lengths - 1) >= 0.5) == 1.0
    assert malladi_failure_probability(2000, 0.5, 1) < 1e-20


def test_remark_e6_promises_too_much_for_a_large_error():
    def left(error: float, samples: int) -> float:
        dimension = math.ceil(20 * math.log(samples) / error**2)
        return malladi_failure_probability(dimension, error, samples)

    assert left(0.1, 1000) == pytest.approx(4 * 1000 ** (0.5 - 3), rel=0.02)
    assert left(0.6, 1000) == 1.0


def lora_trials(init: str, trials: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """K_LoRA of many A, its expectation, the norms, and the factors, for three layers.

    Each layer sees several positions, so K_l(i, j) is sum_st <dh_s, dh_t> <x_s, x_t>.
    """
    rng = np.random.default_rng(4)
    samples, positions, d_out = 6, 5, 4
    kernels = np.zeros((trials, samples, samples))
    expected = np.zeros((samples, samples))
    norms, scales = [], []
    for d_in in (12, 12, 48):
        x = rng.standard_normal((samples, positions, d_in)) * rng.uniform(0.3, 3)
        dh = rng.standard_normal((samples, positions, d_out))
        dW = np.einsum("ipo,ipn->ion", dh, x)
        scale = lora_expected_scale(RANK, ALPHA, d_in, init)
        if init == "kaiming-uniform":
            limit = 1 / math.sqrt(d_in)
            A = rng.uniform(-limit, limit, (trials, RANK, d_in))
        else:
            A = rng.standard_normal((trials, RANK, d_in)) / RANK
        reduced = ALPHA / RANK * np.einsum("trn,ipn->tipr", A, x)
        dB = np.einsum("ipo,tipr->tior", dh, reduced)
        kernels += np.einsum("tior,tjor->tij", dB, dB)
        expected += scale * np.einsum("ion,jon->ij", dW, dW)
        norms.append(np.linalg.norm(dW, axis=(1, 2)))
        scales.append(scale)
    return kernels, expected, np.stack(norms, axis=1), np.array(scales)


@pytest.mark.parametrize("init", ["kaiming-uniform", "gaussian"])
def test_lora_kernels_stay_within_the_bound(init):
    kernels, expected, norms, scales = lora_trials(init, trials=2000)
    np.testing.assert_allclose(kernels.mean(axis=0), expected, atol=0.05 * expected.max())
    bound = lora_error(RANK, DELTA, norms, scales=scales)
    worst = (np.abs(kernels - expected) / bound).max(axis=(1, 2))
    assert np.mean(worst > 1) <= DELTA
    # The gradients of several positions span several directions, which their norms do not tell.
    assert np.quantile(worst, 1 - DELTA) >= 1 / 4


def test_lora_bound_of_rectangles_and_of_one_layer():
    rng = np.random.default_rng(5)
    rows, columns = rng.uniform(1, 2, (3, 4)), rng.uniform(1, 2, (5, 4))
    bound = lora_error(RANK, DELTA, rows, columns)
    products = rows[:, None] * columns
    share = math.log(2 * 15 / DELTA) / RANK
    by_hand = 2 * np.linalg.norm(products, axis=2) * math.sqrt(share) + 2 * products.max(2) * share
    np.testing.assert_allclose(bound, by_hand)
    one = lora_error(RANK, DELTA, [[1.0]])
    assert projection_error(RANK, DELTA) <= one[0, 0] <= 1.2 * projection_error(RANK, DELTA)


@pytest.mark.parametrize(
    ("rank", "alpha", "init", "expected"),
    [
        (8, 16, "kaiming-uniform", 0.0138889),
        (8, 8, "kaiming-uniform", 0.00347222),
        (8, 8, "isometric", 1.0),
        (8, 16, "gaussian", 0.5),
    ],
)
def test_expected_scales(rank, alpha, init, expected):
    assert lora_expected_scale(rank, alpha, 768, init) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("peft_name", "init"), [(True, "kaiming-uniform"), ("gaussian", "gaussian")]
)
def test_peft_draws_a_as_assumed(peft_name, init):
    torch.manual_seed(0)
    d_in, rank, alpha = 500, 16, 4
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=["0"], init_lora_weights=peft_name)
    layer = inject_adapter_in_model(config, nn.Sequential(nn.Linear(d_in, 3)))[0]
    A = layer.lora_A["default"].weight
    assert layer.lora_B["default"].weight.abs().max() == 0
    seen = layer.scaling["default"] ** 2 * A.square().sum().item() / d_in
    assert seen == pytest.approx(lora_expected_scale(rank, alpha, d_in, init), rel=0.05)


def test_counts_of_entries():
    assert distinct_entries(32) == 528
    assert distinct_entries(32, 1000) == 32000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: distinct_entries(0), "rows = 0"),
        (lambda: distinct_entries(2, 1.5), "columns = 1.5"),
        (lambda: projection_failure_probability(0, 0.1), "dimension = 0"),
        (lambda: projection_failure_probability(8, -0.1), "epsilon = -0.1"),
        (lambda: projection_failure_probability(8, math.nan), "epsilon = nan"),
        (lambda: projection_failure_probability(8, 0.1, pairs=0), "pairs = 0"),
        (lambda: projection_error(8, 0.0), "delta = 0.0"),
        (lambda: projection_error(8, 1.0), "delta = 1.0"),
        (lambda: projection_dimension(0.0, 0.1), "epsilon = 0.0"),
        (lambda: projection_dimension(0.1, math.nan), "delta = nan"),
        (lambda: malladi_failure_probability(8, 0.1, 0), "samples = 0"),
        (lambda: lora_error(0, 0.1, [[1.0]]), "rank = 0"),
        (lambda: lora_error(8, 0.1, [1.0]), "row_norms has shape"),
        (lambda: lora_error(8, 0.1, [[-1.0]]), "row_norms must be finite and not negative"),
        (lambda: lora_error(8, 0.1, [[1.0]], [[math.inf]]), "column_norms must be finite"),
        (lambda: lora_error(8, 0.1, [[1.0, 1.0]], [[1.0]]), "not of the same layers"),
        (lambda: lora_error(8, 0.1, [[1.0, 1.0]], scales=[1.0, 1.0, 1.0]), "not of the same"),
        (lambda: lora_error(8, 0.1, [[1.0]], scales=0.0), "scales must be positive"),
        (lambda: lora_expected_scale(8, 0, 768), "alpha = 0"),
        (lambda: lora_expected_scale(8, 16, 768, "kaiming"), "did you mean 'kaiming-uniform'"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
