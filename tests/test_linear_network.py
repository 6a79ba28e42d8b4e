"""The three-layer linear network against autograd, torch.func and closed forms, in float64."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch.func import functional_call, jacrev, jvp

from tangentlm.errors import InputError
from tangentlm.figures.power_laws import power_laws
from tangentlm.theory.linear_networks import (
    BASE,
    MUP,
    NTK,
    STANDARD,
    LinearNetwork,
    changes,
    initialise,
    kernel,
    kernel_training,
    learning_rates,
    size,
    train,
)

N, D_IN, STEPS = 24, 3, 5
RATES = (0.7, 0.05, 0.02)
OPTIMIZERS = ["sgd", "signgd", "adam"]


def some(m: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(100 + seed)
    return torch.randn(D_IN, m, generator=random, dtype=torch.float64)


def network(seed: int = 0) -> LinearNetwork:
    return initialise(N, D_IN, MUP["sgd"], seed)


def outputs(weights, xi: torch.Tensor) -> torch.Tensor:
    U, W, V = weights
    return (V.T @ W @ U @ xi)[0]


def assert_close(actual, expected, rtol=1e-10):
    expected = torch.as_tensor(expected, dtype=torch.float64)
    actual = torch.as_tensor(actual, dtype=torch.float64)
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=1e-14)


# --- the network and its gradients ------------------------------------------------------------


def test_activations_and_gradients_are_those_of_autograd():
    net, xi = network(), some(4)
    x, h, f = net.activations(xi)
    assert_close(x, net.U @ xi)
    assert_close(h, net.W @ x)
    assert_close(f, outputs(net, xi))
    jacobian = jacrev(outputs)(tuple(net), xi)
    for (left, right), dense in zip(net.gradients(xi), jacobian, strict=True):
        left, right = left.expand(-1, 4), right.expand(-1, 4)
        assert_close(torch.einsum("im,jm->mij", left, right), dense)


@pytest.mark.parametrize("optimizer", ["sgd", "signgd"])
def test_the_kernel_is_the_weighted_product_of_jacobians(optimizer):
    net, xi, xi_t = network(), some(4), some(3, seed=1)
    expected = torch.zeros(4, 3, dtype=torch.float64)
    jacobians = zip(RATES, jacrev(outputs)(net, xi), jacrev(outputs)(net, xi_t), strict=True)
    for eta, J, J_t in jacobians:
        phi = J_t if optimizer == "sgd" else J_t.sign()
        expected += eta * torch.einsum("aij,bij->ab", J, phi)
    assert_close(kernel(net, xi, xi_t, RATES, optimizer), expected)


# --- training ---------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_is_that_of_torch_with_autograd(optimizer):
    net, inputs, targets = network(), some(STEPS), torch.linspace(-1, 2, STEPS).double()
    weights = [M.clone().requires_grad_() for M in net]
    groups = [{"params": [M], "lr": eta} for M, eta in zip(weights, RATES, strict=True)]
    kind = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
    reference = kind(groups, eps=1e-16) if optimizer == "adam" else kind(groups)
    expected = []
    for i in range(STEPS):
        f = outputs(weights, inputs[:, [i]])[0]
        expected.append((f - targets[i]).item())
        reference.zero_grad()
        (0.5 * (f - targets[i]) ** 2).backward()
        if optimizer == "signgd":
            for M in weights:
                M.grad.sign_()
        reference.step()
    assert_close(train(net, inputs, targets, RATES, optimizer), expected)
    for M, one in zip(net, weights, strict=True):
        assert_close(M, one.detach())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_rate_of_zero_freezes_a_matrix(optimizer):
    net = network()
    start = net.copy()
    train(net, some(STEPS), torch.ones(STEPS).double(), (0.1, 0.0, 0.1), optimizer)
    assert torch.equal(net.W, start.W)
    assert not torch.equal(net.U, start.U)
    assert not torch.equal(net.V, start.V)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(InputError, match="unknown optimizer 'lion'"):
        train(network(), some(1), torch.ones(1).double(), RATES, "lion")


def test_one_step_with_a_frozen_output_is_the_expansion_of_appendix_d5():
    # The last term has f(xi_0), the output for the input that was trained on.
    net, xi_0, xi = network(), some(1), some(4, seed=1)
    start, y = net.copy(), torch.ones(1).double()
    eta_U, eta_W = 0.3, 0.2
    (chi,) = train(net, xi_0, y, (eta_U, eta_W, 0.0))
    back, V2 = (start.W.T @ start.V).square().sum(), start.V.square().sum()
    inner, f, f_0 = (xi_0.T @ xi)[0], outputs(start, xi), outputs(start, xi_0)
    hidden = ((start.U @ xi_0).T @ start.U @ xi)[0]
    expected = f - eta_U * chi * back * inner - eta_W * chi * V2 * hidden
    expected += eta_U * eta_W * chi**2 * V2 * inner * f_0
    assert_close(outputs(net, xi), expected)


@pytest.mark.parametrize("optimizer", ["sgd", "signgd"])
def test_the_kernel_tells_all_where_the_output_is_linear_in_what_is_trained(optimizer):
    net, inputs, targets = network(), some(STEPS), torch.linspace(-1, 2, STEPS).double()
    xi, rates = some(4, seed=1), (0.0, 0.0, 0.03)
    predicted = kernel_training(net, xi, inputs, targets, rates, optimizer)
    train(net, inputs, targets, rates, optimizer)
    assert_close(predicted, outputs(net, xi))


@pytest.mark.parametrize("optimizer", ["sgd", "signgd"])
def test_what_the_kernel_leaves_out_of_one_step_is_of_second_order(optimizer):
    errors = []
    for factor in (1e-3, 1e-4):
        net, rates = network(), tuple(factor * eta for eta in RATES)
        arguments = some(1), torch.ones(1).double(), rates, optimizer
        predicted = kernel_training(net, some(4, seed=1), *arguments)
        train(net, *arguments)
        errors.append(size(outputs(net, some(4, seed=1)) - predicted))
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.05)


# --- measures ---------------------------------------------------------------------------------


def test_changes_are_those_of_dense_gradients_and_of_torch_func():
    before, after, xi = network(0), network(1), some(4)
    found = changes(before, after, xi, RATES, "signgd")
    moves = tuple(b - a for a, b in zip(before, after, strict=True))
    for name, move in zip("UWV", moves, strict=True):
        assert_close(found[name], move.square().mean().sqrt())
    for name, old, new in zip("xhf", before.activations(xi), after.activations(xi), strict=True):
        assert_close(found[name], (new - old).square().mean().sqrt())
    worst = []
    for J_0, J_t in zip(jacrev(outputs)(before, xi), jacrev(outputs)(after, xi), strict=True):
        moved = (J_t - J_0).square().sum((1, 2)).max()
        worst.append(moved / J_0.square().sum((1, 2)).max())
    assert_close(found["features"], max(worst).sqrt())
    K_0, K_t = (kernel(net, xi, xi, RATES, "signgd") for net in (before, after))
    assert_close(found["kernel"], (K_t - K_0).norm() / K_0.norm())
    f_0, first_order = jvp(lambda *weights: outputs(weights, xi), tuple(before), moves)
    assert_close(found["taylor"], size(outputs(after, xi) - f_0 - first_order))


def test_small_changes_are_measured_to_many_digits():
    before, xi = network(), some(4)
    direction = network(1)
    ratio = []
    for step in (1e-6, 1e-7):
        after = LinearNetwork(*(M + step * D for M, D in zip(before, direction, strict=True)))
        ratio.append(changes(before, after, xi, RATES)["features"] / step)
    assert ratio[0] == pytest.approx(ratio[1], rel=1e-5)


def test_size_is_the_norm_over_the_root_of_the_number():
    assert size(torch.tensor([[3.0, 4.0], [0.0, 0.0]])) == pytest.approx(2.5)


# --- scalings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_all_scalings_agree_at_the_base_width(optimizer):
    nets = [initialise(BASE, D_IN, scaling, 3) for scaling in (MUP[optimizer], NTK, STANDARD)]
    rates = [learning_rates(BASE, 0.1, one, optimizer) for one in (MUP[optimizer], NTK, STANDARD)]
    for other in nets[1:]:
        assert all(torch.equal(M, M_2) for M, M_2 in zip(nets[0], other, strict=True))
    assert rates[0] == rates[1] == rates[2]


@pytest.mark.parametrize("scaling", [MUP["sgd"], MUP["adam"], NTK, STANDARD])
def test_sizes_and_rates_follow_the_width(scaling):
    narrow, wide = (initialise(n, 64, scaling, 0) for n in (BASE, 16 * BASE))
    slow, fast = (learning_rates(n, 0.1, scaling, "sgd") for n in (BASE, 16 * BASE))
    for i in range(3):
        spread = wide[i].std() / narrow[i].std()
        assert spread == pytest.approx(16 ** scaling.initial[i], rel=0.3)
        assert fast[i] / slow[i] == pytest.approx(16 ** scaling.rate[i])


def test_table_10_at_the_base_width():
    net = initialise(BASE, 200, MUP["sgd"], 0)
    assert net.U.std() == pytest.approx(1, rel=0.05)
    assert net.W.std() == pytest.approx(BASE**-0.5, rel=0.1)
    assert net.V.std() == pytest.approx(1 / BASE, rel=0.4)
    assert learning_rates(BASE, 0.1, MUP["sgd"], "sgd") == pytest.approx(
        (0.1 * BASE, 0.1, 0.1 / BASE)
    )
    for optimizer in ("signgd", "adam"):
        rates = learning_rates(BASE, 0.1, MUP[optimizer], optimizer)
        assert rates == pytest.approx((0.1, 0.1 / BASE, 0.1 / BASE))


def test_the_ntk_scaling_is_the_network_with_multipliers_by_lemma_d6():
    class WithMultipliers(torch.nn.Module):
        """f = (v / sqrt n)^T (w / sqrt n) u xi, up to constants, every w of size 1, one rate."""

        def __init__(self, net: LinearNetwork):
            super().__init__()
            self.sizes = [1.0, BASE**-0.5 * (N / BASE) ** -0.5, BASE**-1.0 * (N / BASE) ** -0.5]
            for name, M, s in zip("uwv", net, self.sizes, strict=True):
                self.register_parameter(name, torch.nn.Parameter(M / s))

        def forward(self, xi):
            a, b, c = self.sizes
            return outputs((a * self.u, b * self.w, c * self.v), xi)

    net, inputs, targets = initialise(N, D_IN, NTK, 0), some(STEPS), torch.ones(STEPS).double()
    model = WithMultipliers(net)
    # Lemma D.6 for SGD: a multiplier A and the rate C are the rate A^2 C without a multiplier.
    at_n = learning_rates(N, 0.1, NTK, "sgd")
    groups = [
        {"params": [p], "lr": eta / s**2}
        for p, eta, s in zip(model.parameters(), at_n, model.sizes, strict=True)
    ]
    # The rates of the network with multipliers do not depend on the width.
    expected = [0.1 * BASE * 1, 0.1 * BASE, 0.1 * BASE]
    assert [group["lr"] for group in groups] == pytest.approx(expected)
    reference = torch.optim.SGD(groups)
    for i in range(STEPS):
        reference.zero_grad()
        (0.5 * (model(inputs[:, [i]])[0] - targets[i]) ** 2).backward()
        reference.step()
    train(net, inputs, targets, at_n)
    with torch.no_grad():
        assert_close(outputs(net, some(4, 1)), functional_call(model, {}, (some(4, 1),)))


# --- the figure -------------------------------------------------------------------------------


def test_power_laws_draws_seeds_means_and_guides():
    rows = [
        {"n": n, "seed": s, "value": (1 + s) * n**-0.5, "what": what, "panel": panel}
        for n in (2, 4, 8)
        for s in (0, 1)
        for what in ("a", "b")
        for panel in ("left", "right")
    ]
    figure = power_laws(
        pd.DataFrame(rows),
        "n",
        "value",
        "what",
        panel="panel",
        slopes={("left", "a"): -0.5},
        labels=("n", "size"),
    )
    left, right = figure.axes
    # Two seeds and a mean a method, and a guide where a power is predicted.
    assert len(right.lines) == 2 * 3
    assert len(left.lines) == 2 * 3 + 1
    assert left.get_xscale() == left.get_yscale() == "log"
    guide = next(line for line in left.lines if line.get_linestyle() == "--")
    assert guide.get_ydata()[-1] / guide.get_ydata()[0] == pytest.approx(0.5)


def test_power_laws_refuses_an_empty_table():
    empty = pd.DataFrame(columns=["n", "seed", "value", "what", "panel"])
    with pytest.raises(InputError, match="no measurement"):
        power_laws(empty, "n", "value", "what", panel="panel", slopes={}, labels=("n", "size"))
