"""LoRA's share in a linear model, against autograd and many draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tangentlm.errors import InputError
from tangentlm.theory.lora_share import bounds, ft_effective, lora_ft_effective, promised_failures

C, H, D, RANK = 3, 4, 5, 2


@pytest.fixture
def setting():
    generator = torch.Generator().manual_seed(0)
    shapes = {"V": (C, H), "B": (H, D), "A": (RANK, D), "x": (2, D), "x2": (3, D)}
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }


def kernel(f, x: Tensor, x2: Tensor, weight: Tensor) -> Tensor:
    """<df_c(x) / dW, df_d(x') / dW> by autograd."""
    jacobians = []
    for rows in (x, x2):
        of_rows = [torch.autograd.functional.jacobian(lambda W, r=r: f(W, r), weight) for r in rows]
        jacobians.append(torch.stack(of_rows).flatten(2))
    return torch.einsum("icp,jdp->icjd", *jacobians)


def test_fine_tuning_is_that_of_autograd(setting):
    V, B, x, x2 = (setting[name] for name in ("V", "B", "x", "x2"))
    expected = kernel(lambda W, r: V @ W @ r, x, x2, B)
    torch.testing.assert_close(ft_effective(V, x, x2), expected)


def test_lora_is_that_of_autograd_at_its_start(setting):
    V, B, A, x, x2 = (setting[name] for name in ("V", "B", "A", "x", "x2"))
    start = torch.zeros(H, RANK, dtype=torch.float64)
    of_b = kernel(lambda W, r: V @ (B + W @ A) @ r, x, x2, start)
    of_a = kernel(lambda W, r: V @ (B + start @ W) @ r, x, x2, A)
    assert not of_a.any()
    torch.testing.assert_close(lora_ft_effective(V, A, x, x2), of_b)


@pytest.mark.parametrize(
    ("c", "scale", "true"),
    [(1.0, 1.0, "111"), (1.0, 100.0, "011"), (10.0, 1.0, "001"), (10.0, 0.01, "101")],
)
def test_only_the_corrected_bound_holds_always(c, scale, true):
    rank, epsilon = 1000, 0.3
    random = np.random.default_rng(1)
    sigma = (scale / rank) ** 0.5
    V, x = torch.ones(1, 1, dtype=torch.float64), np.zeros((1, 2))
    x[0, 0] = c
    found = []
    for _ in range(300):
        A = torch.from_numpy(random.normal(0, sigma, (rank, 2)))
        x_t = torch.from_numpy(x)
        difference = lora_ft_effective(V, A, x_t, x_t) - scale * ft_effective(V, x_t, x_t)
        found.append(float(difference.norm()))
    held = [np.mean(np.array(found) <= bound) for bound in bounds(V, c, sigma, rank, epsilon)]
    assert promised_failures(rank, epsilon) < 1e-5
    assert "".join("1" if share == 1 else "0" for share in held) == true


def test_the_promise_is_that_of_the_paper():
    expected = 4 * np.exp(-(0.5**2 - 0.5**3) * 200 / 4)
    assert promised_failures(200, 0.5) == pytest.approx(expected)
    every = [promised_failures(37, epsilon) for epsilon in np.linspace(0.01, 0.99, 99)]
    assert set(every) == {1.0}
    assert promised_failures(38, 2 / 3) < 1


@pytest.mark.parametrize("name", ["c", "sigma", "rank", "epsilon"])
def test_a_number_that_is_not_positive_is_refused(name):
    given = {"c": 1.0, "sigma": 1.0, "rank": 1, "epsilon": 1.0, name: 0}
    with pytest.raises(InputError, match=f"{name} = 0 must be positive"):
        bounds(torch.eye(2), **given)
