"""LoRA's share of the kernel of a linear model, and three bounds on its distance to fine-tuning's.

In f(x) = V B x + b the FT-effective component of fine-tuning is F(x, x') = <x, x'> V V^T. LoRA,
B + B' A with B' = 0 at the start and entries of A of variance sigma^2, has <A x, A x'> V V^T, whose
mean over A is sigma^2 r F. Proposition 4.4 of Tomihari and Sato bounds the difference with
probability 1 - 4 exp(-(eps^2 - eps^3) r / 4), for inputs with |x| <= c. Its statement, its proof
and the lemma behind it give three bounds; only the last one is true for all c and sigma.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tangentlm.errors import InputError


class Bounds(NamedTuple):
    """Three bounds on |F_LoRA - sigma^2 r F| of a pair of inputs (Proposition 4.4).

    Attributes:
        statement: c eps |V V^T|, as the proposition is printed.
        proof: c sigma^2 r eps |V V^T|, the last line of its proof.
        corrected: c^2 sigma^2 r eps |V V^T|, as inner products of inputs of norm c need it.
    """

    statement: float
    proof: float
    corrected: float


def ft_effective(V: Tensor, x: Tensor, x2: Tensor) -> Tensor:
    """F of a linear model, <x, x'> V V^T.

    Args:
        V: The head's weight, (C, h).
        x: N inputs, (N, d).
        x2: M inputs, (M, d).

    Returns:
        (N, C, M, C), as kernels have it.
    """
    return torch.einsum("im,cd->icmd", x @ x2.T, V @ V.T)


def lora_ft_effective(V: Tensor, A: Tensor, x: Tensor, x2: Tensor) -> Tensor:
    """F of a linear model that is trained by LoRA, at its start: <A x, A x'> V V^T.

    LoRA's factor alpha / r is 1 here, as in the proposition.

    Args:
        V: The head's weight, (C, h).
        A: LoRA's random matrix, (r, d).
        x: N inputs, (N, d).
        x2: M inputs, (M, d).

    Returns:
        (N, C, M, C).
    """
    return ft_effective(V, x @ A.T, x2 @ A.T)


def bounds(V: Tensor, c: float, sigma: float, rank: int, epsilon: float) -> Bounds:
    """The three bounds, in the Frobenius norm of a C x C block.

    Example:
        >>> import torch
        >>> bounds(torch.eye(1), c=2.0, sigma=0.5, rank=8, epsilon=0.5)
        Bounds(statement=1.0, proof=2.0, corrected=4.0)

    Args:
        V: The head's weight, (C, h).
        c: The largest norm of an input.
        sigma: The standard deviation of the entries of A.
        rank: r.
        epsilon: The relative error.

    Returns:
        The bounds.

    Raises:
        InputError: If a number is not positive.
    """
    given = {"c": c, "sigma": sigma, "rank": rank, "epsilon": epsilon}
    for name, value in given.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} = {value} must be positive")
    size = epsilon * float((V @ V.T).norm())
    scale = sigma**2 * rank
    return Bounds(c * size, c * scale * size, c**2 * scale * size)


def promised_failures(rank: int, epsilon: float) -> float:
    """How often Proposition 4.4 allows its bound to fail: min(1, 4 exp(-(eps^2 - eps^3) r / 4)).

    It is 1, so that nothing is promised, for every epsilon if the rank is below 38.

    Example:
        >>> promised_failures(rank=8, epsilon=0.5)
        1.0

    Args:
        rank: r.
        epsilon: The relative error.

    Returns:
        A probability.
    """
    return math.exp(min(0.0, math.log(4) - (epsilon**2 - epsilon**3) * rank / 4))
