"""The FT ratio from one linearised step, where the kernel would be too large.

sum_j (P + F)(x, x_j) delta_j is J(x) g: the change of f(x) along g = sum_j J(x_j)^T delta_j, which
is minus the gradient of the summed cross-entropy. One backward pass gives g, and one forward-mode
pass J(x) g for all x; with g of the feature extractor alone it is sum_j F(x, x_j) delta_j. That
costs three passes a sample, where the kernel costs C of them and a product for every pair.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, jvp

from tangentlm.batches import Labelled, select_rows, unpadded_batches
from tangentlm.errors import NonFiniteError

Array = NDArray[np.float64]

_ROWS = 32


def linearised_changes(
    model: nn.Module, train: Labelled, *, head: str = "classifier"
) -> tuple[Array, Array]:
    """sum_j P(x, x_j) delta_j and sum_j F(x, x_j) delta_j for every training sample x.

    Args:
        model: ``model(**batch) -> (N, C)`` whose last step is the linear layer ``head``; in eval
            mode, with attention that has a forward-mode derivative. Parameters that require no
            gradient have no part in it.
        train: N samples, over which the sum runs as well.
        head: The name of that layer.

    Returns:
        Two arrays (N, C).
    """
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    g = {name: torch.zeros_like(p) for name, p in parameters.items()}
    order = list(unpadded_batches(train.batch, _ROWS))
    for index in order:
        logits = model(**select_rows(train.batch, index))
        loss = nn.functional.cross_entropy(logits, train.labels[index], reduction="sum")
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                g[name] -= gradient
    of_head = {name: name.startswith(f"{head}.") for name in parameters}
    changes = []
    for wanted in (True, False):
        tangent = {n: t if of_head[n] == wanted else torch.zeros_like(t) for n, t in g.items()}
        parts = [_along(model, parameters, tangent, train, index) for index in order]
        whole = torch.cat(parts)[torch.cat(order).argsort()]
        changes.append(whole.double().numpy())
    return changes[0], changes[1]


def _along(
    model: nn.Module,
    parameters: dict[str, nn.Parameter],
    tangent: dict[str, Tensor],
    train: Labelled,
    index: Tensor,
) -> Tensor:
    rows = select_rows(train.batch, index)
    origin = {name: p.detach() for name, p in parameters.items()}
    with torch.no_grad():
        _, change = jvp(  # type: ignore[misc]
            lambda values: functional_call(model, values, (), rows), (origin,), (tangent,)
        )
    return change


def ft_ratio(through_head: Array, through_features: Array) -> dict[str, float]:
    """The FT ratio of two changes.

    Example:
        >>> ft_ratio(np.array([[3.0, 0.0]]), np.array([[1.0, 0.0]]))["ft_ratio"]
        0.25

    Args:
        through_head: sum P delta, (N, C).
        through_features: sum F delta, (N, C).

    Returns:
        ``ft_ratio``, the mean of |sum F delta| / |sum (P + F) delta|, and the means of
        |sum P delta| and |sum F delta|, ``pretrain`` and ``finetune``.

    Raises:
        NonFiniteError: If the outputs of a sample do not change.
    """
    of_head, of_features, both = (
        np.linalg.norm(change, axis=1)
        for change in (through_head, through_features, through_head + through_features)
    )
    if not both.all():
        raise NonFiniteError("the FT ratio of a sample whose outputs do not change")
    return {
        "ft_ratio": float((of_features / both).mean()),
        "pretrain": float(of_head.mean()),
        "finetune": float(of_features.mean()),
    }
