"""A byte-level BPE of the text, in which certain words are single tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any

from tangentlm.errors import InputError
from tangentlm.models.tokenizers import SPECIAL_TOKENS, as_fast_tokenizer
from tangentlm.tasks import list_tasks, load_task

_FIRST_REPEATS, _MOST_REPEATS = 20_000, 20_000_000


def train_tokenizer(
    documents: Callable[[], Iterable[str]],
    size: int,
    words: Sequence[str] = (),
    *,
    max_length: int = 512,
) -> Any:
    """Train a byte-level BPE on documents.

    A pair of symbols is merged the earlier, the more often it occurs, so a word becomes one token
    if it occurs often enough. ``words`` are therefore repeated beside the text, ever more often
    until each is a single token with its leading blank.

    Args:
        documents: Called for every pass over the text.
        size: Entries of the vocabulary, special tokens included.
        words: Words that must be single tokens, e.g. all label words.
        max_length: The longest row of the model, in tokens.

    Returns:
        A fast tokenizer of transformers with ``<s>``, ``<pad>``, ``</s>``, ``<unk>``, ``<mask>``.

    Raises:
        InputError: If the vocabulary is too small for the words.
    """
    # What does not fit without any text will not fit beside it either.
    tokenizer = _train((f" {word}" for word in words), size)
    fits = _first_split(tokenizer, words) is None
    repeats = _FIRST_REPEATS
    while fits and repeats <= _MOST_REPEATS:
        extra = chain.from_iterable(repeat(f" {word}", repeats) for word in words)
        tokenizer = _train(chain(documents(), extra), size)
        if _first_split(tokenizer, words) is None:
            return as_fast_tokenizer(tokenizer, model_max_length=max_length, padding_side="right")
        repeats *= 10
    split = _first_split(tokenizer, words)
    raise InputError(f"a vocabulary of {size} is too small to hold {split!r} as one token")


def _first_split(tokenizer: Any, words: Sequence[str]) -> str | None:
    """The first word that is more than one token, if there is one."""
    for word in words:
        if len(tokenizer.encode(f" {word}", add_special_tokens=False)) != 1:
            return word
    return None


def _train(text: Iterator[str], size: int) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from tokenizers.processors import RobertaProcessing

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[
            # The mask takes the blank before it, so that "was <mask>." reads like "was great."
            AddedToken(token, lstrip=token == "<mask>", special=True)
            for token in SPECIAL_TOKENS.values()
        ],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text, trainer)
    ids = {token: number for number, token in enumerate(SPECIAL_TOKENS.values())}
    tokenizer.post_processor = RobertaProcessing(
        ("</s>", ids["</s>"]), ("<s>", ids["<s>"]), add_prefix_space=False
    )
    return tokenizer


def label_words_of_all_tasks() -> list[str]:
    """The label words of every task in ``params/tasks``.

    Returns:
        Sorted words.
    """
    return sorted({word for name in list_tasks() for word in load_task(name).label_words})
