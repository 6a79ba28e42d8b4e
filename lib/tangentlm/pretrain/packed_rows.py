"""From documents to packed rows of tokens, and from rows to masked batches.

A row is the tokenizer's first token, such as ``<s>``, and then ``length - 1`` tokens of the documents one after another, each ended by
its last, such as ``</s>``. In every epoch the documents are put in a new order before they are packed, and the rows
in a new order afterwards, so that a batch does not read one long document. A recipe may
say that an epoch reads some parts of the corpus more than once, or not at all. Orders and masks
depend on the seed and the step alone: a resumed training needs no other memory of its data.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from tangentlm.errors import InputError
from tangentlm.models.checkpoints import load_tokenizer
from tangentlm.params import digest, project_root
from tangentlm.pretrain.corpus import Corpus, is_held_out
from tangentlm.pretrain.probes import load_probes
from tangentlm.pretrain.vocabulary import label_words_of_all_tasks, train_tokenizer
from tangentlm.tasks import searched_label_words

Tokens = NDArray[np.uint16]
_ENCODED_AT_ONCE = 2000
_FORMAT = 2
"""Of the files under ``runs/.corpora``; another number makes them anew."""
_ROOMY = 16384
"""From so many entries on, the searched label words are single tokens as well."""


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


@dataclass(frozen=True)
class Prepared:
    """A corpus as tokens.

    Attributes:
        tokenizer: Trained on its text, or that of the model that the recipe starts from.
        train: The documents to train on.
        held_out: The others.
        checksum: Of the text, and of all that the tokenizer was made of.
    """

    tokenizer: Any
    train: Documents
    held_out: Documents
    checksum: str


def prepare(
    corpus: Corpus,
    vocabulary: int,
    max_length: int,
    *,
    start: str | None = None,
    progress: bool = True,
) -> Prepared:
    """Tokenizer and tokens of a corpus, computed once and kept under ``runs/.corpora``.

    Args:
        corpus: The text.
        vocabulary: Entries of the tokenizer.
        max_length: The longest row of the model, in tokens.
        start: A model whose tokenizer is taken instead of a new one.
        progress: Whether to show what goes on.

    Returns:
        Tokenizer, training documents and held-out documents.

    Raises:
        InputError: If the text cannot be read, nothing is left of it for one of the parts, or the
            tokenizer that is taken has another number of entries.
    """
    from transformers import AutoTokenizer

    given = None if start is None else _tokenizer_of(start, vocabulary)
    searched = searched_label_words() if vocabulary >= _ROOMY else []
    words = sorted({*label_words_of_all_tasks(), *load_probes().words, *searched})
    key_parts = [_FORMAT, corpus.checksum, vocabulary, max_length, words]
    if given is not None:  # which says itself what one token is
        key_parts[-1] = given.backend_tokenizer.to_str()
    key = digest(key_parts)[:16]
    folder = project_root() / "runs" / ".corpora" / key
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Made aside and renamed: two processes may prepare the same text, a killed one leaves none.
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            made = given or _new_tokenizer(corpus, vocabulary, words, max_length, progress)
            _prepare(corpus, made, Path(scratch) / key, progress)
            with contextlib.suppress(OSError):  # the other process was first
                (Path(scratch) / key).rename(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return Prepared(tokenizer, _load(folder, "train"), _load(folder, "held-out"), key)


def _tokenizer_of(start: str, size: int) -> Any:
    """The tokenizer of the model that a recipe starts from."""
    tokenizer = load_tokenizer(start)
    if len(tokenizer) != size:
        raise InputError(
            f"the recipe's vocabulary is {size}, that of {start}, where it starts, {len(tokenizer)}"
        )
    return tokenizer


def _new_tokenizer(
    corpus: Corpus, size: int, words: list[str], max_length: int, progress: bool
) -> Any:
    if progress:
        print(f"Training a tokenizer of {size} entries on {corpus.source}", flush=True)
    return train_tokenizer(
        lambda: (text for text in corpus.documents() if not is_held_out(text)),
        size,
        words,
        max_length=max_length,
    )


def _prepare(corpus: Corpus, tokenizer: Any, folder: Path, progress: bool) -> None:
    """Write a tokenizer and all tokens into a folder."""
    tokenizer.save_pretrained(folder)
    for name, documents in _encode(corpus, tokenizer, progress).items():
        if not len(documents.ends):
            raise InputError(f"corpus {corpus.source}: no document for the part {name}")
        for field, values in vars(documents).items():
            np.save(folder / f"{name}-{field}.npy", values)


def _load(folder: Path, name: str) -> Documents:
    return Documents(*(np.load(folder / f"{name}-{field.name}.npy") for field in fields(Documents)))


def _encode(corpus: Corpus, tokenizer: Any, progress: bool) -> dict[str, Documents]:
    tokens: dict[str, list[Tokens]] = {"train": [], "held-out": []}
    parts: dict[str, list[int]] = {"train": [], "held-out": []}
    documents = tqdm(corpus.documents_by_part(), "encoding", unit="doc", disable=not progress)
    for group in _groups(documents):
        texts = [text for _, text in group]
        encoded = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        for (part, text), ids in zip(group, encoded, strict=True):
            name = "held-out" if is_held_out(text) else "train"
            tokens[name].append(np.array([*ids, tokenizer.sep_token_id], dtype=np.uint16))
            parts[name].append(part)
    return {name: join(tokens[name], parts[name]) for name in tokens}


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


def _groups(items: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    iterator = iter(items)
    while group := list(islice(iterator, _ENCODED_AT_ONCE)):
        yield group
