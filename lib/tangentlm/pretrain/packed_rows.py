"""From documents to packed rows of tokens, and from rows to masked batches.

A row is the tokenizer's first token, such as ``<s>``, and then ``length - 1`` tokens of the
documents one after another, each ended by its last, such as ``</s>``. In every epoch the documents
are put in a new order before they are packed, and the rows in a new order afterwards, so that a
batch does not read one long document. A recipe may say that an epoch reads some parts of the
corpus more than once, or not at all. Orders and masks depend on the seed and the step alone: a
resumed training needs no other memory of its data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tangentlm.errors import InputError

Tokens = NDArray[np.uint16]


@dataclass(frozen=True)
class Documents:
    """Encoded documents, each ended by ``</s>``.

    Attributes:
        tokens: All of them one after another.
        ends: Where each ends, of shape (documents,).
        parts: The part of the corpus that each is of, of shape (documents,).
    """

    tokens: Tokens
    ends: NDArray[np.int64]
    parts: NDArray[np.uint8]

    def in_order(self, order: NDArray[np.int64]) -> Tokens:
        """The documents' tokens in another order of the documents.

        Args:
            order: Numbers of documents, one as often as it is wanted.

        Returns:
            Tokens.
        """
        starts = np.concatenate([[0], self.ends[:-1]])
        return np.concatenate([self.tokens[starts[d] : self.ends[d]] for d in order])


@dataclass(frozen=True)
class MaskedBatch:
    """Rows of which some tokens are masked.

    Attributes:
        input_ids: (B, T), with ``<mask>`` at the masked positions.
        masked: (B, T), where that is, K positions in all.
        targets: (K,), the tokens that stood there, row by row.
        attention_mask: (B, T), zero at padding; ``None`` where no row is padded.
    """

    input_ids: Tensor
    masked: Tensor
    targets: Tensor
    attention_mask: Tensor | None = None


class Rows(Protocol):
    """An endless sequence of masked batches that depend on nothing but the step.

    Attributes:
        count: How many rows there are before they begin anew.
    """

    count: int

    def batch(self, step: int, size: int, share: float) -> MaskedBatch:
        """The masked batch of a step: ``size`` rows, ``share`` of their tokens masked."""
        ...


class PackedRows:
    """Rows of a fixed length, in an endless order that only the seed decides."""

    def __init__(
        self,
        documents: Documents,
        tokenizer: Any,
        length: int,
        seed: int,
        passes: Sequence[int] | None = None,
    ) -> None:
        """Rows of documents.

        Args:
            documents: The documents.
            tokenizer: Theirs.
            length: Tokens of a row.
            seed: Of orders and masks.
            passes: How often an epoch reads the documents of each part; once by default.

        Raises:
            InputError: If there are fewer tokens than one row has.
        """
        self.length = length
        self._documents = documents
        self._seed = seed
        self._start, self._mask = tokenizer.cls_token_id, tokenizer.mask_token_id
        times = 1 if passes is None else np.array(passes)[documents.parts]
        self._numbers = np.repeat(np.arange(len(documents.ends)), times)
        tokens = int((np.diff(documents.ends, prepend=0) * times).sum())
        self.count = tokens // (length - 1)
        if not self.count:
            raise InputError(f"the text has {tokens} tokens, not one row of {length}")
        self._epoch = lru_cache(maxsize=1)(self._pack)

    def _pack(self, epoch: int) -> Tokens:
        random = np.random.default_rng([self._seed, epoch])
        order = self._numbers[random.permutation(len(self._numbers))]
        stream = self._documents.in_order(order)[: self.count * (self.length - 1)]
        return stream.reshape(self.count, -1)[random.permutation(self.count)]

    def rows(self, first: int, size: int) -> Tensor:
        """Some rows of the endless sequence.

        Args:
            first: The number of the first row.
            size: How many, B.

        Returns:
            Token ids of shape (B, length).
        """
        parts = []
        while size:
            epoch, at = divmod(first, self.count)
            part = self._epoch(epoch)[at : at + size]
            parts.append(part)
            first, size = first + len(part), size - len(part)
        body = np.concatenate(parts).astype(np.int64)
        starts = np.full((len(body), 1), self._start)
        return torch.from_numpy(np.concatenate([starts, body], axis=1))

    def batch(self, step: int, size: int, share: float) -> MaskedBatch:
        """The masked batch of a step.

        Args:
            step: The step, from 0.
            size: Rows, B.
            share: Share of the tokens that is masked; every row has the same number.

        Returns:
            The batch.
        """
        rows = self.rows(step * size, size)
        generator = torch.Generator().manual_seed(step_seed(self._seed, step))
        count = max(round(share * (self.length - 1)), 1)
        # The first token is <s> and is never masked.
        chosen = torch.rand(size, self.length - 1, generator=generator).topk(count).indices + 1
        masked = torch.zeros(rows.shape, dtype=torch.bool).scatter_(1, chosen, True)
        return MaskedBatch(rows.masked_fill(masked, self._mask), masked, rows[masked])


def step_seed(seed: int, step: int) -> int:
    """A seed for everything that is drawn in one step.

    Args:
        seed: The training's seed.
        step: The step.

    Returns:
        A number below 2^63.
    """
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def join(documents: list[Tokens], parts: Sequence[int] | None = None) -> Documents:
    """Documents from their token ids.

    Args:
        documents: The token ids of each, with its ``</s>``.
        parts: The part of the corpus that each is of; the first one by default.

    Returns:
        The documents.
    """
    lengths = np.array([len(document) for document in documents], dtype=np.int64)
    tokens = np.concatenate(documents) if documents else np.empty(0, dtype=np.uint16)
    of_part = np.array(parts if parts is not None else [0] * len(documents), dtype=np.uint8)
    return Documents(tokens, np.cumsum(lengths), of_part)


def unigram_loss(train: Documents, held_out: Documents, vocabulary: int) -> float:
    """The loss of a model that knows how frequent each token is, and nothing else.

    Args:
        train: Where frequencies are counted; each token counts once more than it occurs.
        held_out: Where the loss is measured.
        vocabulary: Number of tokens, V.

    Returns:
        Cross-entropy in nats.
    """
    counts = np.bincount(train.tokens, minlength=vocabulary) + 1
    surprise = -np.log(counts / counts.sum())
    return float(surprise[held_out.tokens].mean())
