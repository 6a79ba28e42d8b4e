"""The first-order Taylor model of a network around its pre-trained parameters.

f_lin(x; theta) = f(x; theta_0) + <grad f(x; theta_0), theta - theta_0>, the model of Appendix B.2
of Malladi-v1, computed exactly by one Jacobian-vector product a batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from tangentlm.batches import Batch, row_selection, unpadded_batches
from tangentlm.errors import InputError

State = Mapping[str, Tensor]


def _displacement(model: nn.Module, start: State, end: State) -> dict[str, Tensor]:
    """Theta - theta_0 for every parameter by name; a tied parameter once."""
    names = [name for name, _ in model.named_parameters()]
    for name in names:
        for state in (start, end):
            if name not in state:
                raise InputError(f"the state has no parameter {name!r} of the model")
    return {name: end[name] - start[name] for name in names}


def linearized_logits(
    model: nn.Module, start: State, end: State, batch: Mapping[str, Tensor], batch_size: int = 32
) -> Tensor:
    """The Taylor model's logits at parameters ``end``, expanded around ``start``.

    Args:
        model: ``model(**batch) -> (N, C)`` with attention that has a forward-mode derivative
            (eager); its own parameters are neither used nor changed.
        start: theta_0, a state dict.
        end: theta, a state dict.
        batch: Tensors with leading axis N.
        batch_size: Rows at a time.

    Padding is cut as by ``logits_of``, unless the Taylor model sees it.

    Returns:
        f(x; theta_0) + J(x; theta_0) (theta - theta_0), shape (N, C), on the CPU.

    Example:
        A linear layer is its own Taylor model:

        >>> import torch
        >>> from tangentlm.finetune.taylor import linearized_logits
        >>> model, batch = torch.nn.Linear(4, 2).eval(), {"input": torch.randn(5, 4)}
        >>> start = model.state_dict()
        >>> end = {name: value + 1 for name, value in start.items()}
        >>> linear = linearized_logits(model, start, end, batch) - model(**batch)
        >>> torch.allclose(linear[:, 0], batch["input"].sum(dim=1) + 1, atol=1e-5)
        True
    """
    device = next(model.parameters()).device
    tangent = {n: t.to(device) for n, t in _displacement(model, start, end).items()}
    origin = {name: start[name].to(device) for name in tangent}

    def taylor(rows: Batch) -> Tensor:
        on_device = {name: tensor.to(device) for name, tensor in rows.items()}

        def outputs(parameters: dict[str, Tensor]) -> Tensor:
            return functional_call(model, parameters, (), on_device)

        with torch.no_grad():
            value, change = jvp(outputs, (origin,), (tangent,))  # type: ignore[misc]
        return (value + change).cpu()

    was_training = model.training
    model.eval()
    select = row_selection([batch], taylor)
    order = list(unpadded_batches(batch, batch_size))
    parts = [taylor(select(batch, index)) for index in order]
    model.train(was_training)
    return torch.cat(parts)[torch.cat(order).argsort()]
