"""Samples: a set of rows or columns, cut into pieces by length.

Samples of about one length share a pass, so that little of it is padding; what padding there is
contributes exactly zero. Samples of a model that sees padding stay as they are given, and then all
have one length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tangentlm.batches import Batch, Selection, num_tokens, select_rows


@dataclass(frozen=True)
class Samples:
    """A batch of any size, its name in messages, how it is cut, and its lengths."""

    batch: Mapping[str, Tensor]
    name: str
    select: Selection = select_rows
    lengths: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", num_tokens(self.batch, self.select))

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, index: Sequence[int]) -> Batch:
        """Some samples, to go through the model together.

        Args:
            index: Which.

        Returns:
            Their batch.
        """
        return self.select(self.batch, torch.tensor(index))

    def one(self, sample: int) -> tuple[Batch, str]:
        """One sample alone.

        Args:
            sample: Which.

        Returns:
            Its batch, and its name in messages.
        """
        return self.take([sample]), f"sample {sample} of the {self.name}"

    def by_length(self) -> list[int]:
        """All indices, the longest sample first."""
        return self.lengths.argsort(descending=True, stable=True).tolist()

    def split(self, index: Sequence[int], tokens: int) -> list[list[int]]:
        """Consecutive pieces of at most so many tokens, and at least one sample.

        Args:
            index: Samples.
            tokens: The limit.

        Returns:
            The pieces, about equally large: every one costs its share of work on the other side.
        """
        lengths = self.lengths[index].tolist()
        total, longest = sum(lengths), max(lengths)
        if total > tokens > 2 * longest:
            # A piece ends when it has its share, which one more sample may exceed.
            share = total / math.ceil(total / (tokens - longest))
        else:
            share = float(tokens)
        pieces: list[list[int]] = []
        used = math.inf
        for i, length in zip(index, lengths, strict=True):
            if used >= share or used + length > tokens:
                pieces.append([])
                used = 0.0
            pieces[-1].append(i)
            used += length
        return pieces

    def batches(
        self, index: Sequence[int], tokens: int, count: int, padding: float
    ) -> Iterator[list[int]]:
        """Pieces for one pass each: samples of about one length.

        Args:
            index: Samples, the longest first.
            tokens: At most so many tokens a piece, padding included.
            count: At most so many samples a piece.
            padding: The part of a piece that may be padding.

        Yields:
            The pieces.
        """
        piece: list[int] = []
        used = 0.0
        for i in index:
            length = float(self.lengths[i])
            longest = float(self.lengths[piece[0]]) if piece else length
            size = longest * (len(piece) + 1)
            wasted = size - used - length
            if piece and (size > tokens or len(piece) == count or wasted > padding * size):
                yield piece
                piece, used = [], 0.0
            piece.append(i)
            used += length
        if piece:
            yield piece
