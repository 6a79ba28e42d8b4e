"""The loss on whole words, to compare models that cut text into different tokens.

A loss a token says nothing across tokenizers. So words are hidden that are one token in every model
that is compared: the most frequent ones of the text, each with the blank before it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from tangentlm.errors import InputError
from tangentlm.pretrain.probes import Filler

_WORD = re.compile(r"[A-Za-z]+")
_WORDS_READ = 90
HIDDEN = 4
"""Words hidden in a text at once, at most."""


@dataclass(frozen=True)
class WordLoss:
    """How well a model finds hidden words.

    Attributes:
        loss: Mean of -log p(word), in nats.
        accuracy: Share of words that are the likeliest token.
        hidden: How many words were hidden.
    """

    loss: float
    accuracy: float
    hidden: int


def frequent_words(texts: Iterable[str], count: int) -> list[str]:
    """The words that occur most often after a blank.

    Args:
        texts: Documents.
        count: How many words.

    Returns:
        Words of letters alone, the most frequent first.
    """
    counts = Counter(
        word for text in texts for word in text.split(" ")[1:] if _WORD.fullmatch(word)
    )
    return [word for word, _ in counts.most_common(count)]


def word_loss(filler: Filler, texts: Sequence[str], words: Sequence[str]) -> WordLoss:
    """Hide some of the given words in every text and ask the model for them.

    Which ones are hidden depends on the text alone, so every model is asked the same.

    Args:
        filler: The model.
        texts: Documents; their first words are read.
        words: Words that are one token of the model after a blank.

    Returns:
        Loss and accuracy.

    Raises:
        InputError: If a word is several tokens, or no text has a word to hide.
    """
    token_of = {word: filler.token(word) for word in words}
    losses: list[float] = []
    right = 0
    for text in texts:
        read = text.split(" ")[:_WORDS_READ]
        places = [i for i, word in enumerate(read) if i and word in token_of]
        places = sorted(sorted(places, key=lambda i: _rank(text, i))[:HIDDEN])
        if not places:
            continue
        targets = torch.tensor([token_of[read[i]] for i in places])
        for i in places:
            read[i] = filler.tokenizer.mask_token
        found = filler.at_masks(" ".join(read))
        if len(found) != len(targets):  # the text holds a mask of its own, or was cut
            continue
        losses += (-found[torch.arange(len(targets)), targets]).tolist()
        right += int((found.argmax(dim=1) == targets).sum())
    if not losses:
        raise InputError("no text has a word to hide")
    return WordLoss(sum(losses) / len(losses), right / len(losses), len(losses))


def _rank(text: str, place: int) -> bytes:
    return hashlib.sha256(f"{place}\n{text}".encode()).digest()
