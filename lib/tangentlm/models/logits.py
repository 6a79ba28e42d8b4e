"""The logits of many rows, and where to compute them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tangentlm.batches import select_rows, unpadded_batches
from tangentlm.errors import InputError


@torch.no_grad()
def logits_of(model: nn.Module, batch: Mapping[str, Tensor], batch_size: int = 64) -> Tensor:
    """The logits of many rows, computed in batches of rows of one length.

    Args:
        model: ``model(**batch) -> (N, C)``.
        batch: Tensors with leading axis N.
        batch_size: Rows at a time.

    Returns:
        (N, C), on the CPU, in the rows' order.
    """
    device = next(model.parameters()).device
    logits: Tensor | None = None
    for index in unpadded_batches(batch, batch_size):
        rows = {name: tensor.to(device) for name, tensor in select_rows(batch, index).items()}
        part = model(**rows).cpu()
        if logits is None:
            logits = part.new_zeros(len(next(iter(batch.values()))), part.shape[1])
        logits[index] = part
    if logits is None:
        raise InputError("no rows to compute logits of")
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
