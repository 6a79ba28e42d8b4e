"""The reference: the definition, written down.

One backward pass a sample and output gives a gradient of all parameters; the kernel is the inner
products of these gradients. Nothing is assumed about the model: samples go through it one by one,
as they are given, padding included. Nothing is saved: (N + M) C backward passes with weight
gradients, 2 N M C^2 P operations and (N + 1) C P numbers of memory. What ``entk`` computes is
compared with this.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tangentlm.batches import rows_as_given, select_rows
from tangentlm.kernels.layer_groups import Parameters, choose

_ZERO = 1e-15
"""Relative to the largest entry of a gradient; in double precision, what is below is round-off."""


def reference_entk(
    model: nn.Module,
    rows: Mapping[str, Tensor],
    columns: Mapping[str, Tensor] | None = None,
    *,
    formula: str = "sgd",
    outputs: str = "full",
    parameters: Parameters = None,
) -> NDArray[np.float64]:
    """The kernel by its definition, slowly (see ``entk`` for the formulas).

    Choose it to check ``entk`` on a few samples, and ``entk`` for everything else.

    Args:
        model: ``model(**batch) -> (N, C)``, in eval mode; for sign formulas in double precision.
        rows: N samples, each computed as it is given. Only where that is not finite, as attention
            over padding alone may be, is its padding cut.
        columns: M samples; ``None`` means the rows.
        formula: ``"sgd"``, ``"signgd"`` or ``"asymmetric-signgd"``.
        outputs: ``"full"`` or ``"difference"``.
        parameters: Which parameters count.

    Returns:
        (N, C, M, C).

    Example:
        >>> import torch
        >>> from tangentlm.kernels import entk, reference_entk
        >>> model, batch = torch.nn.Linear(4, 2).eval(), {"input": torch.eye(4)[:3]}
        >>> expected = reference_entk(model, batch)
        >>> float(abs(entk(model, batch, progress=False).values - expected).max()) < 1e-6
        True
    """
    chosen = list(choose(model, parameters).values())
    left = [_gradients(model, rows, i, chosen, outputs) for i in range(_size(rows))]
    if columns is None:
        right = left
    else:
        right = [_gradients(model, columns, j, chosen, outputs) for j in range(_size(columns))]
    first = [_sign(g) for g in left] if formula == "signgd" else left
    second = right if formula == "sgd" else [_sign(g) for g in right]
    blocks = [[(g @ h.T).double().cpu().numpy() for h in second] for g in first]
    return np.array(blocks).transpose(0, 2, 1, 3)


def _gradients(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    sample: int,
    parameters: list[nn.Parameter],
    outputs: str,
) -> Tensor:
    """The gradients of all outputs of one sample, (C, P)."""
    device = parameters[0].device
    row = rows_as_given(batch, slice(sample, sample + 1))
    with torch.enable_grad():
        logits = model(**{name: tensor.to(device) for name, tensor in row.items()})[0]
        if not torch.isfinite(logits).all():  # Attention over padding alone.
            row = select_rows(batch, slice(sample, sample + 1))
            logits = model(**{name: tensor.to(device) for name, tensor in row.items()})[0]
        values = logits[1:2] - logits[:1] if outputs == "difference" else logits
        if not values.requires_grad:  # No parameter that counts has any effect.
            return values.new_zeros(len(values), sum(p.numel() for p in parameters))
        gradients = [
            torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True,
                                allow_unused=True)
            for value in values
        ]  # fmt: skip
    return torch.stack([torch.cat([g.flatten() for g in gradient]) for gradient in gradients])


def _sign(gradients: Tensor) -> Tensor:
    largest = gradients.abs().amax(dim=1, keepdim=True)
    return gradients.masked_fill(gradients.abs() <= _ZERO * largest, 0.0).sign()


def _size(batch: Mapping[str, Tensor]) -> int:
    return len(next(iter(batch.values())))
