"""Measures of kernel behaviour against autograd and hand-made numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tangentlm.errors import InputError
from tangentlm.kernels import Kernel
from tangentlm.metrics import (
    alignment,
    centred,
    gain_of_taylor_model,
    kernel_distance,
    kernel_distances,
    kernel_similarity,
    linearization_share,
    logit_linearization,
    mean_output_derivative,
    output_derivative,
    worst_tenth,
)

PROPERTY = settings(derandomize=True, deadline=None, max_examples=25, database=None)


def some_logits(n: int = 7, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return 3 * random.normal(size=(n, classes)), random.integers(0, classes, size=n)


# --- the derivative of the loss by the outputs ----------------------------------------------


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e-6])
def test_output_derivative_is_that_of_the_cross_entropy(classes, scale):
    logits, labels = some_logits(classes=classes)
    outputs = torch.tensor(scale * logits, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(outputs, torch.tensor(labels), reduction="sum")
    (expected,) = torch.autograd.grad(loss, outputs)
    chi = output_derivative(scale * logits, labels)
    np.testing.assert_allclose(chi, expected.numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(chi.sum(axis=1), 0.0, atol=1e-12)


def test_output_derivative_takes_tensors_and_leaves_them_alone():
    logits, labels = some_logits()
    tensor = torch.tensor(logits, dtype=torch.float32)
    before = tensor.clone()
    chi = output_derivative(tensor, torch.tensor(labels))
    assert chi.dtype == np.float64
    assert torch.equal(tensor, before)
    np.testing.assert_allclose(chi, output_derivative(logits, labels), atol=1e-6)


def test_mean_output_derivative_is_that_of_the_true_label():
    logits, labels = some_logits()
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.mean([1 - probability[i, label] for i, label in enumerate(labels)])
    assert mean_output_derivative(logits, labels) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("logits", "labels", "expected"),
    [
        ([[0.0, 0.0]], [1], 0.5),
        ([[0.0, 0.0, 0.0, 0.0]], [2], 0.75),
        ([[50.0, -50.0]], [0], 0.0),
        ([[50.0, -50.0]], [1], 1.0),
        ([[50.0, -50.0], [50.0, -50.0]], [0, 1], 0.5),
    ],
)
def test_mean_output_derivative_says_how_far_from_solved(logits, labels, expected):
    assert mean_output_derivative(logits, labels) == pytest.approx(expected, abs=1e-12)


@PROPERTY
@given(
    logits=arrays(np.float64, (5, 3), elements=st.floats(-30, 30)),
    labels=st.lists(st.integers(0, 2), min_size=5, max_size=5),
    shift=st.floats(-100, 100),
)
def test_a_shift_of_all_logits_changes_nothing(logits, labels, shift):
    chi = output_derivative(logits, labels)
    np.testing.assert_allclose(output_derivative(logits + shift, labels), chi, atol=1e-9)
    assert 0 <= mean_output_derivative(logits, labels) <= 1


# --- the distance of two kernels ------------------------------------------------------------


KERNEL = np.random.default_rng(0).normal(size=(3, 2, 4, 2))


@pytest.mark.parametrize(
    ("after", "distance"),
    [(KERNEL, 0.0), (2 * KERNEL, 1.0), (0 * KERNEL, 1.0), (-KERNEL, 2.0), (1.25 * KERNEL, 0.25)],
)
def test_kernel_distance(after, distance):
    assert kernel_distance(KERNEL, after) == pytest.approx(distance)


def test_kernel_distance_is_the_mean_over_entries():
    # Relative changes of 0, 1 and 3, whatever the sizes and signs of the entries.
    assert kernel_distance([1.0, -10.0, 0.1], [1.0, 0.0, -0.2]) == pytest.approx(4 / 3)


@PROPERTY
@given(exponent=st.floats(-10, 10))
def test_kernel_distance_has_no_unit(exponent):
    after = KERNEL + 0.3
    factor = 10.0**exponent
    expected = kernel_distance(KERNEL, after)
    assert kernel_distance(factor * KERNEL, factor * after) == pytest.approx(expected)


@pytest.mark.parametrize("columns", [3, 5])
def test_kernel_similarity_is_that_of_its_definition(columns):
    random = np.random.default_rng(1)
    first, second = random.normal(size=(2, 3, 2, columns, 2)) + 1
    found = kernel_similarity(first, second)
    (scale,), (missed,), *_ = np.linalg.lstsq(first.reshape(-1, 1), second.ravel(), rcond=None)
    assert found.scale == pytest.approx(scale)
    assert found.scaled_error == pytest.approx(np.sqrt(missed) / np.linalg.norm(second))
    # Each pair of outputs has a kernel of its own; they are centred one by one.
    H = {n: np.eye(n) - 1 / n for n in (3, columns)}
    pairs = [
        np.array([H[3] @ K[:, c, :, d] @ H[columns] for c in range(2) for d in range(2)])
        for K in (first, second)
    ]
    cosine = np.sum(pairs[0] * pairs[1]) / np.sqrt(np.prod([np.sum(p**2) for p in pairs]))
    assert found.cka == pytest.approx(cosine)


def test_a_kernel_that_vanishes_is_not_at_a_distance_but_has_a_small_scale():
    small = 1e-3 * KERNEL
    assert kernel_distances(KERNEL, small)["elementwise"] < 1  # "fixed", by both thresholds
    found = kernel_similarity(KERNEL, small)
    assert found.scale == pytest.approx(1e-3)
    assert found.scaled_error == pytest.approx(0, abs=1e-12)
    assert found.cka == pytest.approx(1)
    nothing = kernel_similarity(KERNEL, 0 * KERNEL)
    assert (nothing.scale, nothing.scaled_error, nothing.cka) == (0.0, None, None)


def test_similarity_of_kernels_that_have_none():
    constant = kernel_similarity(np.ones_like(KERNEL), KERNEL)
    assert constant.scale == pytest.approx(KERNEL.mean())
    assert constant.cka is None
    with pytest.raises(InputError, match="the kernel is zero"):
        kernel_similarity(0 * KERNEL, KERNEL)
    with pytest.raises(InputError, match="cannot be compared"):
        kernel_similarity(KERNEL, KERNEL[:2])


def test_logits_of_a_taylor_model_that_is_exact_useless_or_worse():
    before = some_logits()[0]
    after = before + 1 + some_logits(7, 4)[0]
    exact, useless, worse = (
        logit_linearization(before, line, after) for line in (after, before, 3 * before - 2 * after)
    )
    assert exact.change == pytest.approx(np.sqrt(np.mean((after - before) ** 2)))
    assert (exact.error, exact.explained) == (0.0, 1.0)
    assert (useless.error, useless.explained) == (1.0, 0.0)
    assert worse.error == pytest.approx(3)
    assert worse.explained == pytest.approx(-8)
    still = logit_linearization(before, before, before)
    assert (still.change, still.error, still.explained) == (0.0, None, None)


def test_kernel_distance_takes_kernels():
    first, second = (Kernel(values, "sgd", "full", ()) for values in (KERNEL, 3 * KERNEL))
    assert kernel_distance(first, second) == pytest.approx(2.0)
    assert kernel_distance(first, 3 * KERNEL) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (KERNEL, KERNEL[:2], "cannot be compared"),
        (KERNEL, KERNEL.reshape(-1), "cannot be compared"),
        ([1.0, 0.0], [1.0, 1.0], "zero entry"),
    ],
)
def test_kernel_distance_refuses(before, after, message):
    with pytest.raises(InputError, match=message):
        kernel_distance(before, after)


# --- how much of the gain the Taylor model recovers -----------------------------------------


@pytest.mark.parametrize(
    ("pretrained", "linearized", "finetuned", "share"),
    [
        (50.0, 75.0, 100.0, 0.5),
        (50.0, 50.0, 100.0, 0.0),
        (50.0, 100.0, 100.0, 1.0),
        (50.0, 40.0, 100.0, -0.2),
        (50.0, 100.0, 90.0, 1.25),
        (50.0, 60.0, 50.0, None),
        (50.0, 60.0, 40.0, None),
    ],
)
def test_linearization_share(pretrained, linearized, finetuned, share):
    value = linearization_share(pretrained, linearized, finetuned)
    assert value == (None if share is None else pytest.approx(share))


# --- four readings of a relative distance -----------------------------------------------------


def test_kernel_distances_by_hand():
    before, after = np.array([[2.0, -1.0], [0.0, 4.0]]), np.array([[3.0, -1.0], [5.0, 2.0]])
    found = kernel_distances(before, after)
    assert found["elementwise"] == pytest.approx((0.5 + 0 + 0.5) / 3)
    assert found["median"] == 0.5
    assert found["ratio"] == pytest.approx((1 + 0 + 5 + 2) / 7)
    assert found["frobenius"] == pytest.approx(np.sqrt(30) / np.sqrt(21))


def test_one_small_entry_decides_the_elementwise_distance_alone():
    before = np.ones((10, 10))
    before[0, 0] = 1e-6
    found = kernel_distances(before, np.ones((10, 10)) * 1.01)
    assert found["elementwise"] > 1000
    assert max(found["median"], found["ratio"], found["frobenius"]) < 0.2


def test_kernels_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError, match="cannot be compared"):
        kernel_distances(np.ones(3), np.ones(4))
    with pytest.raises(InputError, match="the kernel is zero"):
        kernel_distances(np.zeros(3), np.ones(3))


# --- what tells samples apart ----------------------------------------------------------------


def test_centring_takes_off_what_all_samples_have_in_common():
    random = np.random.default_rng(0)
    gradients = random.normal(size=(3, 6, 20)) + 10
    kernels = gradients @ gradients.transpose(0, 2, 1)
    H = np.eye(6) - 1 / 6
    assert np.allclose(centred(kernels), H @ kernels @ H)
    apart = gradients - gradients.mean(axis=1, keepdims=True)
    assert np.allclose(centred(kernels), apart @ apart.transpose(0, 2, 1))


def test_alignment_is_the_cosine_of_what_is_left():
    labels = np.array([1.0, 1, -1, -1])
    of_labels = np.outer(labels, labels)
    assert alignment(5 + 3 * of_labels, of_labels) == pytest.approx(1)
    assert alignment(np.outer([1.0, -1, 1, -1], [1.0, -1, 1, -1]), of_labels) == pytest.approx(0)


@pytest.mark.parametrize(
    ("scores", "category"),
    [
        ((60.0, 61.0, 60.0), "gained nothing"), ((60.0, 50.0, 55.0), "gained nothing"),
        ((60.0, 65.0, 70.0), "recovered"), ((60.0, 64.9, 70.0), "lost"),
        ((60.0, 50.0, 70.0), "lost"),
    ],
)  # fmt: skip
def test_the_gain_of_a_taylor_model_is_always_in_a_category(scores, category):
    assert gain_of_taylor_model(linearization_share(*scores)) == category


@pytest.mark.parametrize(("count", "expected"), [(1, 0.0), (9, 8.0), (19, 18.0), (40, 37.5)])
def test_the_worst_tenth_is_one_value_at_least(count, expected):
    values = np.random.default_rng(0).permutation(count)
    assert worst_tenth(values) == expected
