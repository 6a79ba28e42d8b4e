"""The logits of many rows, and where to compute them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

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
        >>> import torch
        >>> from tangentlm.models.logits import logits_of
        >>> logits_of(torch.nn.Linear(4, 2).eval(), {"input": torch.randn(5, 4)}).shape
        torch.Size([5, 2])
    """
    if select is None and not model.training:  # Dropout would look like an effect of padding.
        select = row_selection([batch], partial(on_device, model))
    select = select or select_rows
    logits: Tensor | None = None
    for index in unpadded_batches(batch, batch_size):
        part = on_device(model, select(batch, index)).cpu()
        if logits is None:
            logits = part.new_zeros(len(next(iter(batch.values()))), part.shape[1])
        logits[index] = part
    if logits is None:
        raise InputError("no rows to compute logits of")
    return logits


def on_device(model: nn.Module, rows: Batch) -> Tensor:
    """The logits of rows, wherever they are.

    Args:
        model: ``model(**batch) -> (N, C)``.
        rows: Tensors with leading axis N.

    Returns:
        (N, C), on the model's device.
    """
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
