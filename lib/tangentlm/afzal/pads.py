"""Padding: left out by the attention, read by it as text, or read and embedded twice.

The paper fills texts up to 512 tokens and does not say what its model is told of it. Without a mask
every position is attended. And where a model is handed embedded tokens instead of their numbers, so
that one can differentiate by them, it takes them for word embeddings and embeds them again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tangentlm.batches import Batch, num_samples
from tangentlm.errors import InputError, unknown_name

TWICE = "twice-embedded"
PADS = ("masked", "attended", TWICE)
"""The attention leaves padding out, reads it as if it were text, or does so for tokens that are
embedded twice."""


def with_pads(batch: Batch, how: str, length: int | None = None) -> Batch:
    """A batch whose padding is left out by the attention, or read by it.

    Args:
        batch: ``input_ids`` and ``attention_mask``, (N, T), padded on the right.
        how: One of ``PADS``.
        length: How long the rows become, where padding is read; that of the batch by default.

    Returns:
        The batch itself, or one in which every position counts as text. What stands there is the
        token that the batch pads with (0 if it pads nowhere). ``"twice-embedded"`` has the batch
        of ``"attended"``; the rest is the model's (see ``EmbeddedTwice``).

    Raises:
        InputError: If there is no such way, or the rows are longer than the length.
    """
    if how not in PADS:
        raise unknown_name("pads", how, PADS)
    if how == "masked":
        return batch
    ids, mask = batch["input_ids"], batch["attention_mask"]
    length = ids.shape[1] if length is None else length
    if length < ids.shape[1]:
        raise InputError(f"rows of {ids.shape[1]} tokens do not fit into a length of {length}")
    padding = ids[mask == 0]
    token = int(padding[0]) if len(padding) else 0
    longer = ids.new_full((num_samples(batch), length), token)
    longer[:, : ids.shape[1]] = ids
    return {"input_ids": longer, "attention_mask": torch.ones_like(longer)}


class EmbeddedTwice(nn.Module):
    """A body that embeds its tokens and takes the result for word embeddings.

    So positions and token types are added twice where the body adds them, and what it normalises
    is normalised twice.
    """

    def __init__(self, body: Any) -> None:
        super().__init__()
        if not isinstance(getattr(body, "embeddings", None), nn.Module):
            raise InputError("a body without a layer named embeddings cannot embed twice")
        self.body = body

    def forward(self, input_ids: Tensor, **inputs: Tensor) -> Any:
        """What the body makes of the embedded tokens.

        Args:
            input_ids: (N, T).
            **inputs: The rest of the batch, e.g. ``attention_mask``.

        Returns:
            The body's outputs.
        """
        return self.body(inputs_embeds=self.body.embeddings(input_ids), **inputs)
