"""A corpus as tokens: its tokenizer, its documents and what is held out of them, kept on disk."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tangentlm.errors import InputError
from tangentlm.models.checkpoints import load_tokenizer
from tangentlm.params import digest, project_root
from tangentlm.pretrain.corpus import Corpus, is_held_out
from tangentlm.pretrain.packed_rows import Documents, Tokens, join
from tangentlm.pretrain.probes import load_probes
from tangentlm.pretrain.vocabulary import label_words_of_all_tasks, train_tokenizer
from tangentlm.tasks import searched_label_words

_ENCODED_AT_ONCE = 2000
_FORMAT = 2
"""Of the files under ``runs/.corpora``; another number makes them anew."""
_ROOMY = 16384
"""From so many entries on, the searched label words are single tokens as well."""


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


def _groups(items: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    iterator = iter(items)
    while group := list(islice(iterator, _ENCODED_AT_ONCE)):
        yield group
