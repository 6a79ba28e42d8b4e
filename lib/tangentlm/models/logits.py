"""The logits of many rows, and where to compute them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tangentlm.batches import Batch, Selection, row_selection, select_rows, unpadded_batches
from tangentlm.errors import InputError


@torch.no_grad()
def logits_of(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    batch_size: int = 64,
    select: Selection | None = None,
) -> Tensor:
    """The logits of many rows, computed in batches of rows of one length.

    Padding that an ``attention_mask`` marks is cut, unless the model sees it; then rows are
    computed as they are given, and a warning says so.

    Args:
        model: ``model(**batch) -> (N, C)``.
        batch: Tensors with leading axis N.
        batch_size: Rows at a time.
        select: How rows are selected, where that is known already (see ``row_selection``).

    Returns:
        (N, C), on the CPU, in the rows' order.

    Raises:
        InputError: If the batch has no rows.

    Example:
        >>> import tangentlm
        >>> problem = tangentlm.few_shot("reviews", k=2, seed=13)  # doctest: +SKIP
        >>> logits_of(problem.model, problem.batch).shape  # doctest: +SKIP
    """
    if select is None and not model.training:  # Dropout would look like an effect of padding.
        select = row_selection(lambda rows: [_on_device(model, rows)], batch)
    select = select or select_rows
    logits: Tensor | None = None
    for index in unpadded_batches(batch, batch_size):
        part = _on_device(model, select(batch, index)).cpu()
        if logits is None:
            logits = part.new_zeros(len(next(iter(batch.values()))), part.shape[1])
        logits[index] = part
    if logits is None:
        raise InputError("no rows to compute logits of")
    return logits


def outputs_and_gradient(model: nn.Module, rows: Batch) -> Sequence[Tensor]:
    """What training depends on, to see whether padding changes it.

    Args:
        model: ``model(**batch) -> (N, C)``.
        rows: Tensors with leading axis N.

    Returns:
        The logits, and the gradient of a weighed sum of them. With a head at zero the logits say
        nothing, and with few parameters the gradient may not.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    with torch.enable_grad():
        logits = _on_device(model, rows)
        # Different weights: where the logits of all classes are summed, a softmax's cancel.
        weights = torch.arange(1.0, logits.shape[1] + 1, device=logits.device).sqrt()
        gradient = torch.autograd.grad(
            (logits * weights).sum(), parameters, allow_unused=True, materialize_grads=True
        )
    return logits.detach(), torch.cat([part.flatten() for part in gradient])


def _on_device(model: nn.Module, rows: Batch) -> Tensor:
    device = next(model.parameters()).device
    logits: Tensor = model(**{name: tensor.to(device) for name, tensor in rows.items()})
    return logits


def pick_device(name: str) -> torch.device:
    """The device of a run.

    Args:
        name: ``"auto"`` (a GPU where there is one), ``"cpu"`` or ``"cuda"``.

    Returns:
        The device.

    Raises:
        InputError: If a GPU is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device = 'cuda', but this machine has no GPU that torch can use")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
