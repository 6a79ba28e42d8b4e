"""The growth of a head's norm, against autograd, difference quotients and a general minimiser."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from tangentlm.theory.head_growth import best_scale, cosines, norm_growth, row_norm_gradient

N, H, C = 40, 5, 3


@pytest.fixture
def problem():
    """A head, features and labels that the head does not separate."""
    generator = torch.Generator().manual_seed(1)
    V, b, phi = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((C, H), (C,), (N, H))
    )
    teacher = torch.randn(C, H, generator=generator, dtype=torch.float64)
    noise = torch.randn(N, C, generator=generator, dtype=torch.float64)
    return V + teacher, b, phi, (phi @ teacher.T + 2 * noise).argmax(dim=1)


def loss(V: Tensor, b: Tensor, phi: Tensor, labels: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(phi @ V.T + b, labels)


def test_cosines_are_those_of_the_angles(problem):
    V, _, phi, _ = problem
    expected = torch.nn.functional.cosine_similarity(phi[:, None], V[None], dim=2)
    torch.testing.assert_close(cosines(V, phi), expected)


def test_derivative_by_a_rows_norm_is_that_of_finite_differences(problem):
    V, b, phi, labels = problem
    found = row_norm_gradient(V, b, phi, labels)
    for k in range(C):
        values = []
        for by in (1e-5, -1e-5):
            changed = V.clone()
            changed[k] *= 1 + by / V[k].norm()
            values.append(float(loss(changed, b, phi, labels)))
        assert float(found[k]) == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-9)


def test_the_right_side_in_print_is_n_times_the_sum_over_rows(problem):
    V, b, phi, labels = problem
    sigma, lengths = (phi @ V.T + b).softmax(dim=1), phi.norm(dim=1)
    printed = 0.0
    for i, y in enumerate(labels.tolist()):
        for k in range(C):
            factor = sigma[i, k] - (1 if k == y else 0)
            printed += float(factor * lengths[i] * cosines(V, phi)[i, k])
    rows = row_norm_gradient(V, b, phi, labels)
    assert printed == pytest.approx(N * float(rows.sum()))
    assert float(rows.std()) > 0.01  # so that no row's derivative is the printed one


def test_growth_is_that_of_gradient_flow(problem):
    V, b, phi, labels = problem
    V.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(V, b, phi, labels), V)
    expected = -2 * float((V.detach() * gradient).sum())
    assert norm_growth(V.detach(), b, phi, labels) == pytest.approx(expected)


@pytest.mark.parametrize("scale", [0.05, 0.5, 5.0])
def test_best_scale_is_a_minimum_and_tells_the_sign_of_the_growth(problem, scale):
    V, b, phi, labels = problem
    found = best_scale(scale * V, b, phi, labels)
    expected = minimize_scalar(
        lambda s: float(loss(s * scale * V, b, phi, labels)), bounds=(0, 100), method="bounded",
        options={"xatol": 1e-10},
    ).x  # fmt: skip
    assert found == pytest.approx(expected, rel=1e-4)
    assert np.sign(norm_growth(scale * V, b, phi, labels)) == np.sign(found - 1)


def test_a_separated_sample_wants_no_end_and_a_wrong_head_nothing():
    V, b = torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    phi = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert best_scale(V, b, phi, torch.tensor([0, 1])) == math.inf
    assert best_scale(V, b, phi, torch.tensor([1, 0])) == 0.0
