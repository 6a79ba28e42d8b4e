"""Other ways to the same kernel that need PyTorch alone, and how far two kernels are apart."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, jacrev, jvp, vjp

from machine import synchronize
from tangentlm.batches import Batch, select_rows

Values = NDArray[np.float64]
Gradient = dict[str, Tensor]


def single(batch: Batch, sample: int) -> Batch:
    """One sample, as a batch of one."""
    return select_rows(batch, slice(sample, sample + 1))


def values_of(model: nn.Module) -> Gradient:
    """A model's parameters, by name; a tied one has one name."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def difference(model: nn.Module, sample: Batch, parameters: Gradient) -> Tensor:
    """The logit f_1 - f_0 of one sample, a function of the parameters."""
    logits: Tensor = functional_call(model, parameters, (), sample)
    return logits[0, 1] - logits[0, 0]


@dataclass(frozen=True)
class Reference:
    """What the reference method gave on a slice, and took for each product.

    Attributes:
        values: (n, m).
        vjp_seconds: For the gradient of one row.
        jvp_seconds: For one entry of the kernel.
    """

    values: Values
    vjp_seconds: float
    jvp_seconds: float

    def seconds(self, rows: int, columns: int) -> float:
        """The time that a kernel of one logit would take.

        Args:
            rows: N.
            columns: M.

        Returns:
            N vector-Jacobian and N M Jacobian-vector products.
        """
        return rows * self.vjp_seconds + rows * columns * self.jvp_seconds


def reference(model: nn.Module, rows: Batch, columns: Batch, device: str) -> Reference:
    """The published way: one VJP a row and logit, one JVP a row-logit and column.

    Args:
        model: ``model(**batch) -> (N, 2)``.
        rows: A few samples.
        columns: A few samples.
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        The kernel of f_1 - f_0 on them, and mean seconds after one product of each kind.
    """
    parameters = values_of(model)

    def gradient(i: int) -> Gradient:
        output, pull, *_ = vjp(partial(difference, model, single(rows, i)), parameters)
        return pull(torch.ones_like(output))[0]

    def entry(tangent: Gradient, j: int) -> Tensor:
        return jvp(partial(difference, model, single(columns, j)), (parameters,), (tangent,))[1]

    entry(gradient(0), 0)
    n, m = len(rows["input_ids"]), len(columns["input_ids"])
    values, vjp_seconds, jvp_seconds = np.zeros((n, m)), 0.0, 0.0
    for i in range(n):
        synchronize(device)
        started = time.perf_counter()
        tangent = gradient(i)
        synchronize(device)
        middle = time.perf_counter()
        values[i] = [float(entry(tangent, j)) for j in range(m)]
        vjp_seconds += middle - started
        jvp_seconds += time.perf_counter() - middle
    return Reference(values, vjp_seconds / n, jvp_seconds / (n * m))


def jacobian_contraction(model: nn.Module, rows: Batch, columns: Batch) -> Values:
    """Each sample's Jacobian by ``torch.func.jacrev``; then all inner products.

    Args:
        model: ``model(**batch) -> (N, 2)``.
        rows: N samples, whose Jacobians are held.
        columns: M samples, one after another.

    Returns:
        The kernel of f_1 - f_0, (N, M).
    """
    parameters = values_of(model)

    def jacobian(batch: Batch, i: int) -> Gradient:
        found: Gradient = jacrev(partial(difference, model, single(batch, i)))(parameters)
        return found

    left = [jacobian(rows, i) for i in range(len(rows["input_ids"]))]
    values = np.zeros((len(left), len(columns["input_ids"])))
    for j in range(values.shape[1]):
        right = jacobian(columns, j)
        for i, gradient in enumerate(left):
            values[i, j] = sum(float(gradient[n].flatten() @ right[n].flatten()) for n in right)
    return values


def errors(values: Values, exact: Values) -> dict[str, Any]:
    """How far a kernel is from the exact one.

    Args:
        values: A kernel.
        exact: The same kernel in double precision.

    Returns:
        The largest error over the largest entry, and the error in the Frobenius norm, relative.
    """
    wrong = values - exact
    return {
        "max_error": float(np.abs(wrong).max() / np.abs(exact).max()),
        "frobenius_error": float(np.linalg.norm(wrong) / np.linalg.norm(exact)),
    }
