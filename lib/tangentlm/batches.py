"""Batches: rows of tensors with one leading axis, their padding and their lengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Batch = dict[str, Tensor]
"""Tensors with leading axis N: ``input_ids``, ``attention_mask`` (N, T), ``mask_position`` (N)."""


@dataclass(frozen=True)
class Labelled:
    """Encoded samples with their labels."""

    batch: Batch
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def select_rows(batch: Mapping[str, Tensor], index: Tensor | slice) -> Batch:
    """Some rows of a batch, without the padding that none of them needs.

    Padding on the right contributes exactly nothing, so cutting it changes no result.

    Args:
        batch: Tensors with leading axis N.
        index: Which rows.

    Returns:
        Those rows; tensors of the mask's shape are cut to the longest of them.
    """
    rows = {name: tensor[index] for name, tensor in batch.items()}
    mask = rows.get("attention_mask")
    if mask is None or not len(mask):
        return rows
    used = mask.bool().any(dim=0).nonzero()
    longest = int(used.max()) + 1 if len(used) else mask.shape[1]
    return {
        name: tensor[:, :longest] if tensor.shape[:2] == mask.shape else tensor
        for name, tensor in rows.items()
    }


def unpadded_batches(batch: Mapping[str, Tensor], batch_size: int) -> Iterator[Tensor]:
    """The rows of a batch in groups of one length, so that no group needs padding.

    Besides saving work this avoids attention over padding alone, which some models turn into
    NaN in float64 (a local window around a padded position sees nothing).

    Args:
        batch: Tensors with leading axis N; without an ``attention_mask`` all rows are alike.
        batch_size: At most so many rows a group.

    Yields:
        Indices of rows.
    """
    count = len(next(iter(batch.values())))
    mask = batch.get("attention_mask")
    lengths = torch.zeros(count) if mask is None else mask.sum(dim=1)
    for length in lengths.unique():
        yield from (lengths == length).nonzero()[:, 0].split(batch_size)


def num_tokens(batch: Mapping[str, Tensor]) -> Tensor:
    """How much of a batch each sample is: its number of tokens.

    Args:
        batch: Tensors with leading axis N.

    Returns:
        (N,): the sums of the attention mask, or ones where there is none.
    """
    mask = batch.get("attention_mask")
    if mask is None or mask.ndim != 2:
        return torch.ones(len(next(iter(batch.values()))))
    return mask.sum(dim=1).clamp(min=1).float().cpu()


def num_samples(batch: Mapping[str, Tensor]) -> int:
    """B, the number of samples in a batch.

    Args:
        batch: Tensors with leading axis B.

    Returns:
        B.
    """
    return len(next(iter(batch.values())))
