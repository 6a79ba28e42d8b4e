"""A three-layer linear network of any width: what initial sizes and learning rates do to it.

f(xi) = V^T h(xi) with h = W x and x = U xi is the example of Appendix D.5 of Malladi-v1. Its
gradient by each weight matrix M is an outer product of two vectors, so training, kernel and Taylor
model need no automatic differentiation. Whatever comes once a matrix comes in the order U, W, V.
Inputs are the columns of a matrix (d_in, m). The loss is the squared one, (f - y)^2 / 2, so the
output derivative is chi = f - y.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from tangentlm.errors import unknown_name

Optimizer = Literal["sgd", "signgd", "adam"]
Triple = tuple[float, float, float]
Gradients = tuple[tuple[Tensor, Tensor], ...]

BASE = 32
"""The width at which all scalings give the same network and the same learning rates."""


class Scaling(NamedTuple):
    """Powers of the width n for U, W and V: of initial standard deviations and learning rates."""

    initial: Triple
    rate: Triple


MUP: dict[Optimizer, Scaling] = {
    "sgd": Scaling(initial=(0, -1 / 2, -1), rate=(1, 0, -1)),
    "signgd": Scaling(initial=(0, -1 / 2, -1), rate=(0, -1, -1)),
    "adam": Scaling(initial=(0, -1 / 2, -1), rate=(0, -1, -1)),
}
"""The maximal-update parametrization with all multipliers 1 (Table 10 of Malladi-v1)."""
NTK = Scaling(initial=(0, -1 / 2, -1 / 2), rate=(0, -1, -1))
"""The NTK parametrization for SGD; its multipliers are moved into size and rate by Lemma D.6."""
STANDARD = Scaling(initial=(0, -1 / 2, -1 / 2), rate=(0, 0, 0))
"""The standard parametrization: the initial size is 1 / sqrt(fan in), and no rate knows n."""


class LinearNetwork(NamedTuple):
    """The network f(xi) = V^T W U xi, with U of shape (n, d_in), W (n, n) and V (n, 1)."""

    U: Tensor
    W: Tensor
    V: Tensor

    def copy(self) -> LinearNetwork:
        """The same network with weights of its own."""
        return LinearNetwork(*(M.clone() for M in self))

    def activations(self, xi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the layers compute.

        Args:
            xi: Inputs (d_in, m).

        Returns:
            x = U xi of shape (n, m), h = W x of shape (n, m) and f = V^T h of shape (m,).
        """
        x = self.U @ xi
        h = self.W @ x
        return x, h, (self.V.T @ h)[0]

    def gradients(self, xi: Tensor) -> Gradients:
        """The gradient of f by every weight matrix, as the two factors of an outer product.

        For input i it is column i of the left factor times column i of the right one, transposed.
        A factor with a single column belongs to all inputs.

        Args:
            xi: Inputs (d_in, m).

        Returns:
            (W^T V, xi) for U, (V, x) for W and (h, 1) for V (Appendix D.5).
        """
        x, h, _ = self.activations(xi)
        return (self.W.T @ self.V, xi), (self.V, x), (h, torch.ones_like(xi[:1]))


def initialise(n: int, d_in: int, scaling: Scaling, seed: int) -> LinearNetwork:
    """A network with Gaussian weights: Table 10's sizes at the width BASE, then the scaling's.

    Args:
        n: The width.
        d_in: The number of entries of an input.
        scaling: How the sizes follow the width.
        seed: Of the weights.

    Returns:
        The network, in float64.
    """
    random = torch.Generator().manual_seed(seed)
    sizes = _powers(n, MUP["sgd"].initial, scaling.initial)
    shapes = (n, d_in), (n, n), (n, 1)
    return LinearNetwork(
        *(
            torch.randn(shape, generator=random, dtype=torch.float64).mul_(one)
            for shape, one in zip(shapes, sizes, strict=True)
        )
    )


def learning_rates(n: int, eta: float, scaling: Scaling, optimizer: Optimizer) -> Triple:
    """The learning rates of U, W and V: Table 10's at the width BASE, then the scaling's.

    Args:
        n: The width.
        eta: What all of them are multiplied by.
        scaling: How the rates follow the width.
        optimizer: The optimizer, whose row of the table holds at the width BASE.

    Returns:
        eta_U, eta_W and eta_V.
    """
    u, w, v = _powers(n, MUP[optimizer].rate, scaling.rate)
    return eta * u, eta * w, eta * v


def train(
    network: LinearNetwork,
    inputs: Tensor,
    targets: Tensor,
    rates: Triple,
    optimizer: Optimizer = "sgd",
) -> list[float]:
    """One step an example, in order; the network is changed in place.

    SignGD is Definition 3.1, M <- M - eta_M sign(chi nabla_M f). Adam is the usual one, with an
    epsilon far below every gradient.

    Example:
        >>> network = initialise(64, 4, MUP["sgd"], seed=0)
        >>> rates = learning_rates(64, 0.1, MUP["sgd"], "sgd")
        >>> inputs, targets = torch.ones(4, 5).double() / 2, torch.ones(5).double()
        >>> chi = train(network, inputs, targets, rates)
        >>> abs(chi[-1]) < abs(chi[0])
        True

    Args:
        network: Its weights are changed.
        inputs: (d_in, T), a column a step.
        targets: What f should be, (T,).
        rates: The learning rates of U, W and V; a matrix with the rate zero is frozen.
        optimizer: The update rule.

    Returns:
        The output derivatives chi_1, ..., chi_T, each before its step.

    Raises:
        InputError: If the optimizer is not known.
    """
    if optimizer not in MUP:
        raise unknown_name("optimizer", optimizer, MUP)
    groups = [{"params": [M], "lr": eta} for M, eta in zip(network, rates, strict=True)]
    adam = torch.optim.Adam(groups, eps=1e-16) if optimizer == "adam" else None
    chis = []
    for xi, y in zip(inputs.T[:, :, None], targets, strict=True):
        gradients = network.gradients(xi)
        h = gradients[2][0]
        chi = network.V.T @ h - y
        for M, eta, (left, right) in zip(network, rates, gradients, strict=True):
            if adam:
                M.grad = chi * left @ right.T
            else:
                # The sign of an outer product is the outer product of the signs.
                left, right = _phi(chi * left, optimizer), _phi(right, optimizer)
                M.addmm_(left, right.T, alpha=-eta)
        if adam:
            adam.step()
        chis.append(chi.item())
    return chis


def kernel(
    network: LinearNetwork,
    xi: Tensor,
    xi_t: Tensor,
    rates: Triple,
    optimizer: Optimizer = "sgd",
) -> Tensor:
    """K(xi, xi_t) = sum over M of eta_M <nabla_M f(xi), phi(nabla_M f(xi_t))> (Appendix D.4).

    For SGD phi is the identity, for SignGD and Adam it is the sign.

    Args:
        network: The network.
        xi: Inputs (d_in, m) whose outputs change.
        xi_t: Inputs (d_in, m') that are trained on.
        rates: The learning rates of U, W and V.
        optimizer: The optimizer of which it is the analog.

    Returns:
        The kernel (m, m').
    """
    return _kernel(network.gradients(xi), network.gradients(xi_t), rates, optimizer)


def kernel_training(
    network: LinearNetwork,
    xi: Tensor,
    inputs: Tensor,
    targets: Tensor,
    rates: Triple,
    optimizer: Optimizer = "sgd",
) -> Tensor:
    """What ``train`` would make of the outputs if the kernel at the start were all there is.

    Args:
        network: The network at the start; it is not changed.
        xi: Inputs (d_in, m) whose outputs are wanted.
        inputs: (d_in, T), a column a step.
        targets: (T,).
        rates: The learning rates of U, W and V.
        optimizer: The optimizer; for Adam the kernel analog is that of SignGD.

    Returns:
        The outputs (m,) after T steps of f <- f - phi(chi_t) K(., xi_t) (Theorem D.4).
    """
    steps = inputs.shape[1]
    everything = torch.cat([inputs, xi], dim=1)
    f = network.activations(everything)[2]
    K = kernel(network, everything, inputs, rates, optimizer)
    for t in range(steps):
        f = f - _phi(f[t] - targets[t], optimizer) * K[:, t]
    return f[steps:]


def changes(
    before: LinearNetwork,
    after: LinearNetwork,
    xi: Tensor,
    rates: Triple,
    optimizer: Optimizer = "sgd",
) -> dict[str, float]:
    """How far a training has moved everything.

    Args:
        before: The network with weights theta_0.
        after: The network with weights theta_t.
        xi: The inputs (d_in, m) at which all but the weights is looked at.
        rates: The learning rates in the kernel.
        optimizer: The optimizer of the kernel.

    Returns:
        The sizes of the changes of ``U``, ``W``, ``V``, ``x``, ``h`` and ``f``; ``features``, the
        relative change of the gradient (the root of what Definition D.3 wants to vanish, the
        largest over the matrices); ``kernel``, the relative change of the kernel in the Frobenius
        norm; and ``taylor``, the size of f_t - f_0 - <nabla f_0, theta_t - theta_0>.
    """
    old, new = before.gradients(xi), after.gradients(xi)
    (_, x_0), (h_0, _) = old[1:]
    (_, x_t), (h_t, _) = new[1:]
    f_change = (after.V.T @ h_t - before.V.T @ h_0)[0]
    # <l r^T, M> = (M^T l)^T r, and M^T l has few entries.
    first_order = [
        ((M_t.T @ left - M.T @ left) * right).sum(0)
        for M, M_t, (left, right) in zip(before, after, old, strict=True)
    ]
    K_0, K_t = (_kernel(g, g, rates, optimizer) for g in (old, new))
    pairs = zip(LinearNetwork._fields, before, after, strict=True)
    return {
        **{name: size(M_t - M) for name, M, M_t in pairs},
        "x": size(x_t - x_0),
        "h": size(h_t - h_0),
        "f": size(f_change),
        "features": max(_relative_change(*pair) for pair in zip(old, new, strict=True)),
        "kernel": float((K_t - K_0).norm() / K_0.norm()),
        "taylor": size(f_change - torch.stack(first_order).sum(0)),
    }


def size(values: Tensor) -> float:
    """The coordinate-wise size, ||values|| / sqrt(number of entries) (Appendix D.1)."""
    return values.norm().item() / values.numel() ** 0.5


def _powers(n: int, at_base: Triple, exponents: Triple) -> Triple:
    """BASE to the powers ``at_base``, and from there on n to the powers ``exponents``."""
    u, w, v = (BASE**a * (n / BASE) ** e for a, e in zip(at_base, exponents, strict=True))
    return u, w, v


def _phi(values: Tensor, optimizer: Optimizer) -> Tensor:
    return values if optimizer == "sgd" else values.sign()


def _kernel(of: Gradients, of_t: Gradients, rates: Triple, optimizer: Optimizer) -> Tensor:
    """<l r^T, l' r'^T> = <l, l'> <r, r'>, summed over the matrices."""
    parts = [
        eta * (left.T @ _phi(left_t, optimizer)) * (right.T @ _phi(right_t, optimizer))
        for eta, (left, right), (left_t, right_t) in zip(rates, of, of_t, strict=True)
    ]
    return torch.stack(parts).sum(0)


def _relative_change(old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]) -> float:
    """Max over inputs of ||new - old|| over max of ||old||, of outer products (Definition D.3)."""

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(0)

    (left, right), (left_t, right_t) = old, new
    dl, dr = left_t - left, right_t - right
    # l' r'^T - l r^T = dl r'^T + l dr^T: no difference of large numbers.
    moved = dot(dl, dl) * dot(right_t, right_t) + dot(left, left) * dot(dr, dr)
    moved = moved + 2 * dot(dl, left) * dot(right_t, dr)
    return float((moved.max() / (dot(left, left) * dot(right, right)).max()).sqrt())
