"""Calls: what one call of the forward reads and returns, and what it adds to the gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tangentlm.kernels.factors import Factor


class NotCoveredError(Exception):
    """No rule says what this call adds to the gradients of its parameters."""


@dataclass(frozen=True)
class Read:
    """A parameter, or some rows of one, or either transposed, as a call reads it.

    Attributes:
        name: The parameter's name.
        tensor: What is read.
        ids: Which rows of the parameter, (K,), or ``None`` for all of it.
        transposed: Whether the tensor, a matrix, is the transposed of these.
    """

    name: str
    tensor: Tensor
    ids: Tensor | None = None
    transposed: bool = False


@dataclass(frozen=True)
class Use:
    """What one call adds to the gradients of one parameter.

    Attributes:
        name: The parameter's name.
        factor: From the derivatives with respect to the call's result, (B, C, *rest), to the
            gradients.
        flops: The multiplications and additions of the call's product, for one backward pass.
    """

    name: str
    factor: Callable[[Tensor], Factor]
    flops: float = 0.0


@dataclass(frozen=True)
class Call:
    """One call of the forward: its inputs by name, its result, and the parameters that it reads.

    Attributes:
        inputs: The call's arguments.
        reads: For the arguments that are parameters, what they are.
        result: What the call returned.
        batch: B, the number of samples.
        signs: Whether the signs of the gradients will be taken.
    """

    inputs: Mapping[str, Any]
    reads: Mapping[str, Read]
    result: Tensor
    batch: int
    signs: bool

    def by_sample(self, tensor: Any, width: int) -> Tensor:
        """A tensor whose leading axis runs over samples, or over their positions in order.

        Args:
            tensor: What the call read or returned.
            width: The size of its last axis, or the product of its last axes.

        Returns:
            (B, S, width).

        Raises:
            NotCoveredError: If the tensor is not made of samples.
        """
        if not isinstance(tensor, Tensor) or tensor.ndim == 0 or len(tensor) % self.batch:
            raise NotCoveredError("an operand has no axis of samples")
        if tensor.numel() % (self.batch * width):
            raise NotCoveredError("an operand has samples for its last axis")
        return tensor.reshape(self.batch, -1, width)
