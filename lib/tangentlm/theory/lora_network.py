"""LoRA on the middle layer of the three-layer linear network, of any width and rank.

f(xi) = V^T (W + B A) U xi with B = 0 at the start; only A and B are trained. Appendix D.6 of
Malladi-v1 sets sizes and rates so that this shows kernel behaviour in the infinite width: a rank
in proportion to the width, entries of A of size 1 / sqrt(n), and the rates that Table 10 has for a
hidden layer.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tangentlm.errors import unknown_name
from tangentlm.theory.linear_networks import MUP, LinearNetwork, Optimizer


class LoraNetwork(NamedTuple):
    """A frozen network and the matrices A (r, n) and B (n, r) beside its middle layer."""

    frozen: LinearNetwork
    A: Tensor
    B: Tensor

    def outputs(self, xi: Tensor) -> Tensor:
        """The outputs V^T (W + B A) U xi.

        Args:
            xi: Inputs (d_in, m).

        Returns:
            (m,).
        """
        U, W, V = self.frozen
        x = U @ xi
        f: Tensor = (V.T @ (W @ x + self.B @ (self.A @ x)))[0]
        return f

    def kernels(self, xi: Tensor) -> tuple[Tensor, Tensor]:
        """The kernels of A and of B, whose gradients are (B^T V) x^T and V (A x)^T.

        Args:
            xi: Inputs (d_in, m).

        Returns:
            K_A and K_B, (m, m).
        """
        U, _, V = self.frozen
        x = U @ xi
        seen, back = self.A @ x, self.B.T @ V
        return (back * back).sum() * (x.T @ x), (V * V).sum() * (seen.T @ seen)


def add_lora(network: LinearNetwork, rank: int, variance: float, seed: int) -> LoraNetwork:
    """LoRA at its start.

    Args:
        network: What is adapted, and stays as it is.
        rank: r.
        variance: Of the entries of A.
        seed: Of A.

    Returns:
        The network with a Gaussian A, and B = 0.
    """
    n = len(network.W)
    random = torch.Generator().manual_seed(seed)
    A = torch.randn(rank, n, generator=random, dtype=torch.float64) * variance**0.5
    return LoraNetwork(network, A, A.new_zeros(n, rank))


def train_lora(
    network: LoraNetwork,
    inputs: Tensor,
    targets: Tensor,
    rate: float,
    optimizer: Optimizer = "sgd",
) -> list[float]:
    """One step an example, in order; A and B are changed in place. The loss is (f - y)^2 / 2.

    Example:
        >>> from tangentlm.theory.linear_networks import MUP, initialise
        >>> lora = add_lora(initialise(64, 4, MUP["sgd"], seed=0), 8, 1 / 64, seed=0)
        >>> inputs = torch.ones(4, 5).double() / 2
        >>> chi = train_lora(lora, inputs, lora.outputs(inputs) + 1, rate=1.0)
        >>> abs(chi[-1]) < abs(chi[0])
        True

    Args:
        network: Its A and B are changed.
        inputs: (d_in, T), a column a step.
        targets: What f should be, (T,).
        rate: The learning rate of A and of B.
        optimizer: The update rule; Adam with an epsilon far below every gradient but zero.

    Returns:
        The output derivatives chi_1, ..., chi_T, each before its step.

    Raises:
        InputError: If the optimizer is not known.
    """
    if optimizer not in MUP:
        raise unknown_name("optimizer", optimizer, MUP)
    (U, _, V), A, B = network
    adam = torch.optim.Adam([A, B], lr=rate, eps=1e-30) if optimizer == "adam" else None
    chis = []
    for xi, y in zip(inputs.T[:, :, None], targets, strict=True):
        x = U @ xi
        chi = float(network.outputs(xi)[0] - y)
        of_A, of_B = chi * (B.T @ V) @ x.T, chi * V @ (A @ x).T
        if adam:
            A.grad, B.grad = of_A, of_B
            adam.step()
        else:
            for matrix, gradient in ((A, of_A), (B, of_B)):
                step = gradient.sign() if optimizer == "signgd" else gradient
                matrix.sub_(step, alpha=rate)
        chis.append(chi)
    return chis
