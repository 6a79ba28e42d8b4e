"""LoRA in the linear network, against autograd, torch's optimizers, and Appendix D.6."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from tangentlm.errors import InputError
from tangentlm.theory.linear_networks import MUP, initialise
from tangentlm.theory.lora_network import LoraNetwork, add_lora, train_lora

N, RANK, D_IN = 10, 3, 4
OPTIMIZERS = ("sgd", "signgd", "adam")


def network(n=N, rank=RANK, seed=0):
    return add_lora(initialise(n, D_IN, MUP["sgd"], seed), rank, 1 / n, seed)


def inputs(count, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(D_IN, count, generator=random, dtype=torch.float64)


def output(lora, A, B, xi):
    U, W, V = lora.frozen
    return (V.T @ ((W + B @ A) @ (U @ xi)))[0, 0]


def test_lora_starts_at_the_network():
    lora, xi = network(), inputs(5)
    assert torch.equal(lora.outputs(xi), lora.frozen.activations(xi)[2])
    assert lora.A.shape == (RANK, N)
    assert not lora.B.any()
    wide = add_lora(initialise(400, D_IN, MUP["sgd"], 0), 200, 1 / 400, 0)
    assert float(wide.A.var()) == pytest.approx(1 / 400, rel=0.02)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_is_that_of_autograd(optimizer):
    lora, X, y = network(), inputs(6), torch.linspace(-1, 1, 6).double()
    A, B = (M.clone().requires_grad_() for M in (lora.A, lora.B))
    adam = torch.optim.Adam([A, B], lr=0.05, eps=1e-30)
    expected = []
    for xi, target in zip(X.T[:, :, None], y, strict=True):
        chi = output(lora, A, B, xi) - target
        expected.append(float(chi.detach()))
        gradients = torch.autograd.grad(chi**2 / 2, [A, B])
        if optimizer == "adam":
            A.grad, B.grad = gradients
            adam.step()
            continue
        with torch.no_grad():
            for M, gradient in zip((A, B), gradients, strict=True):
                M -= 0.05 * (gradient.sign() if optimizer == "signgd" else gradient)
    found = train_lora(lora, X, y, 0.05, optimizer)
    assert found == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(lora.A, A.detach())
    torch.testing.assert_close(lora.B, B.detach())


def test_kernels_are_those_of_autograd():
    lora, X = network(), inputs(4, seed=1)
    train_lora(lora, inputs(3), torch.ones(3).double(), 0.3)  # B is no longer zero
    A, B = (M.clone().requires_grad_() for M in (lora.A, lora.B))
    rows = [
        torch.autograd.grad(output(lora, A, B, xi), [A, B], retain_graph=True)
        for xi in X.T[:, :, None]
    ]
    for side, kernel in enumerate(lora.kernels(X)):
        G = torch.stack([row[side].ravel() for row in rows])
        torch.testing.assert_close(kernel, G @ G.T)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(InputError, match="unknown optimizer 'adamw'"):
        train_lora(network(), inputs(1), torch.ones(1).double(), 0.1, "adamw")


# --- Appendix D.6 ---------------------------------------------------------------------------

WIDTHS = (128, 256, 512, 1024)
D = 1 / 2


@functools.cache
def slopes(optimizer, natural=True):
    """Powers of the width of what a short fine-tuning moves; chi is n^-D where it is natural."""
    logs = []
    for n in WIDTHS:
        of_seeds = []
        for seed in range(10):
            lora = network(n, n // 8, seed)
            X, xi = inputs(4, seed), inputs(3, 10 + seed)
            chi = 0.5 * (n / WIDTHS[0]) ** (-D if natural else 0)
            signs = torch.tensor([1.0, -1.0, 1.0, -1.0]).double()
            y = lora.outputs(X) - chi * signs
            A, B, f = lora.A.clone(), lora.B.clone(), lora.outputs(xi)
            K = sum(lora.kernels(xi))
            train_lora(lora, X, y, 0.5 if optimizer == "sgd" else n ** (-1 - D), optimizer)
            first_order = LoraNetwork(lora.frozen, A, lora.B - B).outputs(xi) - f
            moved = lora.outputs(xi) - f
            of_seeds.append([
                float((sum(lora.kernels(xi)) - K).norm() / K.norm()),
                float(moved.norm()) / chi,
                float((moved - first_order).norm() / moved.norm()),
            ])  # fmt: skip
        logs.append(np.log(of_seeds).mean(axis=0))
    return dict(
        zip(("kernel", "change", "error"), np.polyfit(np.log(WIDTHS), logs, 1)[0], strict=True)
    )


@pytest.mark.parametrize(("optimizer", "power"), [("sgd", -2 * D), ("signgd", -D), ("adam", -D)])
def test_lora_of_a_rank_in_proportion_to_the_width_shows_kernel_behaviour(optimizer, power):
    found = slopes(optimizer)
    assert found["change"] == pytest.approx(0, abs=0.2)  # something is learned at every width
    assert found["kernel"] == pytest.approx(power, abs=0.25)
    assert found["error"] == pytest.approx(power, abs=0.25)


def test_it_does_not_for_a_task_that_is_not_natural():
    found = slopes("sgd", natural=False)
    assert abs(found["kernel"]) < 0.25
    assert abs(found["error"]) < 0.25
