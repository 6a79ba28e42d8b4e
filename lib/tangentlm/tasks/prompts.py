"""From examples to batches of tokens: the prompt is never cut, the text is.

A prompt is tokenised piece by piece, so the pieces of the template always stand whole and only
the texts are shortened (the longer one first). Every row has exactly one mask: what looks like one
in a text is read as text.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tangentlm.batches import Batch
from tangentlm.errors import InputError
from tangentlm.tasks.plain_text import tokens_of_texts
from tangentlm.tasks.sources import Example
from tangentlm.tasks.task import Task


def word_tokens(tokenizer: Any, word: str) -> list[int]:
    """The tokens of a word as it stands after a blank, which is how a mask is filled.

    Args:
        tokenizer: A tokenizer of transformers.
        word: The word.

    Returns:
        Token ids.
    """
    return list(tokenizer(" " + word, add_special_tokens=False)["input_ids"])


def label_word_ids(task: Task, tokenizer: Any) -> list[int]:
    """The token of each label word, with the leading blank where the tokenizer marks blanks.

    Args:
        task: The task, with C label words.
        tokenizer: A tokenizer of transformers.

    Returns:
        C token ids, in the order of the labels.

    Raises:
        InputError: If a label word is not exactly one known token of the model, a special one, or
            two are the same token.
    """
    ids: list[int] = []
    for word in task.label_words:
        tokens = word_tokens(tokenizer, word)
        if len(tokens) != 1 or tokens[0] == tokenizer.unk_token_id:
            shown = tokenizer.convert_ids_to_tokens(tokens)
            raise InputError(
                f"task {task.name}: label word {word!r} is {len(tokens)} tokens {shown} "
                f"of this model; a label word must be one token"
            )
        if tokens[0] in tokenizer.all_special_ids:
            raise InputError(f"task {task.name}: label word {word!r} is a special token")
        if tokens[0] in ids:
            first = ids.index(tokens[0])
            raise InputError(
                f"task {task.name}: {task.label_words[first]!r} of class {task.labels[first]!r} "
                f"and {word!r} of class {task.labels[len(ids)]!r} are one token of this model; "
                f"each class needs a token of its own"
            )
        ids.append(tokens[0])
    return ids


@dataclass(frozen=True)
class _Piece:
    kind: Literal["literal", "text_a", "text_b", "mask"]
    text: str = ""


def _pieces(template: str) -> list[_Piece]:
    """The template cut at its fields; white space goes with the text after it, none to the mask."""
    pieces: list[_Piece] = []
    for literal, field, _, _ in string.Formatter().parse(template):
        words = literal.rstrip()
        space = literal[len(words) :]
        if words:
            pieces.append(_Piece("literal", words))
        if field == "mask":
            pieces.append(_Piece("mask"))
        elif field is not None:
            pieces.append(_Piece("text_a" if field == "text_a" else "text_b", space))
    return pieces


def encode_prompts(task: Task, tokenizer: Any, examples: Sequence[Example]) -> Batch:
    """The prompted rows of some examples, padded to the longest.

    With a mask token a row has one mask, and its place is where the label word is read. Without
    one, the model is causal: the row ends where the label word would come next, and what the model
    expects there is read at the row's last token.

    Args:
        task: The task, whose template and maximum length are used.
        tokenizer: A tokenizer of transformers.
        examples: N examples.

    Returns:
        ``input_ids``, ``attention_mask`` of shape (N, T) and ``mask_position`` of shape (N,).

    Raises:
        InputError: If the tokenizer has no mask token and the template does not end with the mask,
            the prompt alone is too long, or the tokenizer finds a mask in a text all the same.
    """
    if not examples:
        raise InputError(f"task {task.name}: no examples to encode")
    mask = tokenizer.mask_token_id
    pieces = _pieces(task.template)
    if mask is None and pieces.pop().kind != "mask":
        raise InputError(
            f"task {task.name}: this tokenizer has no mask token, so the label word has to come "
            f"last; the template {task.template!r} does not end with {{mask}}"
        )
    fixed = {
        p: [mask] if p.kind == "mask" else tokenizer(p.text, add_special_tokens=False)["input_ids"]
        for p in pieces
        if p.kind in {"mask", "literal"}
    }
    start, end = _special_tokens(tokenizer)
    end = [] if mask is None else end
    room = task.max_length - len(start) - len(end) - sum(len(fixed.get(p, ())) for p in pieces)
    if room < 1:
        raise InputError(f"task {task.name}: the prompt alone is longer than {task.max_length}")
    filled = {
        p: tokens_of_texts(
            tokenizer,
            [p.text + (getattr(example, p.kind) or "") for example in examples],
            add_special_tokens=False,
        )["input_ids"]
        for p in pieces
        if p not in fixed
    }
    rows = []
    for number in range(len(examples)):
        texts = {piece: list(tokens[number]) for piece, tokens in filled.items()}
        _shorten(texts, room)
        parts = fixed | texts
        row = [*start, *(token for piece in pieces for token in parts[piece]), *end]
        if mask is not None and row.count(mask) != 1:
            raise InputError(f"task {task.name}, row {number}: the text holds a mask token itself")
        rows.append(row)
    batch = _pad(rows, tokenizer)
    lengths = batch["attention_mask"].sum(dim=1)
    masks = (batch["input_ids"] == mask).int().argmax(dim=1) if mask is not None else lengths - 1
    return batch | {"mask_position": masks}


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and after a single text."""
    word = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    first = next(i for i in range(len(whole)) if whole[i : i + len(word)] == word)
    return whole[:first], whole[first + len(word) :]


def _parts_pairs(tokenizer: Any) -> bool:
    """Whether the tokenizer puts anything between the texts of a pair."""
    word = tokenizer("a", add_special_tokens=False)["input_ids"]
    start, end = _special_tokens(tokenizer)
    pair: list[int] = tokenizer("a", "a")["input_ids"]
    return pair != [*start, *word, *word, *end]


def _shorten(texts: Mapping[Any, list[int]], room: int) -> None:
    """Cut the end of the longer text until both fit."""
    excess = sum(map(len, texts.values())) - room
    for _ in range(max(excess, 0)):
        max(texts.values(), key=len).pop()


def encode_texts(task: Task, tokenizer: Any, examples: Sequence[Example]) -> Batch:
    """The rows without a prompt, as standard fine-tuning reads them.

    A pair is two texts with the tokenizer's own mark between them, or, where it has none, like that
    of a causal model, a new line.

    Args:
        task: The task, whose maximum length is used.
        tokenizer: A tokenizer of transformers.
        examples: N examples.

    Returns:
        ``input_ids`` and ``attention_mask`` of shape (N, T).
    """
    first: list[str] = [example.text_a for example in examples]
    second = [example.text_b or "" for example in examples] if task.is_pair else None
    if second is not None and not _parts_pairs(tokenizer):
        first = [f"{a}\n{b}" for a, b in zip(first, second, strict=True)]
        second = None
    encoded = tokens_of_texts(
        tokenizer, first, second, truncation="longest_first", max_length=task.max_length
    )
    batch = _pad(encoded["input_ids"], tokenizer)
    if "token_type_ids" in encoded:
        segments = _pad(encoded["token_type_ids"], tokenizer)["input_ids"]
        batch["token_type_ids"] = segments * batch["attention_mask"]
    return batch


def _pad(rows: Sequence[Sequence[int]], tokenizer: Any) -> Batch:
    """Rows of token ids to tensors, padded on the right."""
    # Not by ``tokenizer.pad``: it takes longer, and refuses tokenizers without a padding token.
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    tokens = [torch.tensor(row, dtype=torch.long) for row in rows]
    ones = [torch.ones_like(row) for row in tokens]
    return {
        "input_ids": pad_sequence(tokens, batch_first=True, padding_value=pad),
        "attention_mask": pad_sequence(ones, batch_first=True),
    }


def labels_of(examples: Iterable[Example]) -> Tensor:
    """The labels of some examples.

    Args:
        examples: N examples.

    Returns:
        Integers of shape (N,).
    """
    return torch.tensor([example.label for example in examples])


def encode(task: Task, tokenizer: Any, examples: Any, head: str = "prompt") -> Batch:
    """The batch that a model with this head reads.

    Args:
        task: The task.
        tokenizer: The model's tokenizer.
        examples: N examples.
        head: ``"prompt"`` or ``"linear"``.

    Returns:
        Tensors with leading axis N.
    """
    encoder = encode_prompts if head == "prompt" else encode_texts
    return encoder(task, tokenizer, examples)
