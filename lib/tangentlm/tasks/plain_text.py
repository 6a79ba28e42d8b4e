"""A user's text stays text: what looks like a special token in it is never one.

A tokenizer takes ``<mask>``, ``[SEP]`` or ``<|endoftext|>`` for its special token wherever it
stands. In a text that people wrote it is a word like others and is cut like them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def tokens_of_texts(
    tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None = None, **settings: Any
) -> Any:
    """What a tokenizer makes of texts, but no special token of a text.

    Texts without anything that looks special are read by the tokenizer as they are. In the others
    it is told to cut special tokens like words. A vocabulary of words knows ``<mask>`` as a word
    all the same, so there a blank is set after its first letter.

    Args:
        tokenizer: A tokenizer of transformers.
        texts: N texts.
        pairs: The second texts, if each row is a pair.
        **settings: Handed on; the special tokens they ask for around a text are set as ever.

    Returns:
        What the tokenizer returns.
    """
    special = _special_words(tokenizer)
    if any(word in text for text in (*texts, *(pairs or ())) for word in special):
        known = [word for word in special if _is_one_word(tokenizer, word)]
        texts = [_parted(text, known) for text in texts]
        pairs = None if pairs is None else [_parted(text, known) for text in pairs]
        settings["split_special_tokens"] = True
    return tokenizer(list(texts), pairs, **settings)


def _special_words(tokenizer: Any) -> list[str]:
    """The spellings of all special tokens, also of those that have no role."""
    added = tokenizer.added_tokens_decoder.values()
    return sorted({*tokenizer.all_special_tokens, *(str(t) for t in added if t.special)})


def _is_one_word(tokenizer: Any, word: str) -> bool:
    """Whether the tokenizer makes a special token of this word even when told not to."""
    ids = tokenizer(word, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    special = tokenizer.convert_tokens_to_ids(word)
    return special in ids and special != tokenizer.unk_token_id


def _parted(text: str, words: Sequence[str]) -> str:
    for word in words:
        text = text.replace(word, f"{word[0]} {word[1:]}")
    return text
