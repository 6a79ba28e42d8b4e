"""The loss on whole words, to compare models that cut text into different tokens.

A loss a token says nothing across tokenizers. So words are hidden whole, all their tokens at once,
and every model is asked for the same words.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tangentlm.errors import InputError
from tangentlm.pretrain.probes import Filler
from tangentlm.tasks.prompts import word_tokens

_WORD = re.compile(r"[A-Za-z]+")
_WORDS_READ = 90
HIDDEN = 4
"""Words hidden in a text at once, at most."""


@dataclass(frozen=True)
class WordLoss:
    """How well a model finds hidden words.

    Attributes:
        loss: Mean of -log p(word), in nats; p is the product over the word's tokens.
        accuracy: Share of words whose every token is the likeliest.
        hidden: How many words were hidden.
    """

    loss: float
    accuracy: float
    hidden: int


def word_loss(filler: Filler, texts: Sequence[str]) -> WordLoss:
    """Hide some words in every text and ask the model for them.

    Which ones are hidden depends on the text alone, so every model is asked the same. A word of
    several tokens has as many masks, which are predicted at once and independently; so the model
    is told how many there are, and not which go together.

    Args:
        filler: The model.
        texts: Documents; their first words are read.

    Returns:
        Loss and accuracy.

    Raises:
        InputError: If no text has a word to hide.
    """
    losses: list[float] = []
    right = 0
    for text in texts:
        read = text.split(" ")[:_WORDS_READ]
        places = [i for i, word in enumerate(read) if i and _WORD.fullmatch(word)]
        places = sorted(sorted(places, key=lambda i: _rank(text, i))[:HIDDEN])
        if not places:
            continue
        targets = [word_tokens(filler.tokenizer, read[i]) for i in places]
        for i, tokens in zip(places, targets, strict=True):
            read[i] = filler.tokenizer.mask_token * len(tokens)
        found = filler.at_masks(" ".join(read))
        lengths = [len(tokens) for tokens in targets]
        if len(found) != sum(lengths):  # the text holds a mask of its own, or was cut
            continue
        for expected, tokens in zip(found.split(lengths), targets, strict=True):
            here = torch.tensor(tokens)
            losses.append(-float(expected[torch.arange(len(here)), here].sum()))
            right += bool((expected.argmax(dim=1) == here).all())
    if not losses:
        raise InputError("no text has a word to hide")
    return WordLoss(sum(losses) / len(losses), right / len(losses), len(losses))


def _rank(text: str, place: int) -> bytes:
    return hashlib.sha256(f"{place}\n{text}".encode()).digest()
