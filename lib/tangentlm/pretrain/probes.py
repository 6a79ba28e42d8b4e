"""What a masked-LM knows, measured so that a person believes it: fillings and minimal pairs.

The sentences are the project's own, in ``assets/probes.yaml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd
import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from tangentlm.errors import InputError
from tangentlm.params import Strict, project_root, read_yaml
from tangentlm.tasks.prompts import word_tokens

FIELD = "{mask}"
_LONGEST = 512
"""Tokens that are read where a tokenizer knows no limit of its model."""


class MinimalPairs(Strict):
    """Sentences with one gap each and two words for it, of which one is right.

    Attributes:
        about: What must be known to tell them apart.
        items: Sentence, right word, wrong word.
    """

    about: str
    items: tuple[tuple[str, str, str], ...] = Field(min_length=1)


class Probes(Strict):
    """Sentences that probe a masked-LM.

    Attributes:
        about: Where they come from.
        fillings: Sentences whose gap the model fills freely.
        pairs: Minimal pairs by phenomenon.
    """

    about: str
    fillings: tuple[str, ...]
    pairs: dict[str, MinimalPairs]

    @field_validator("fillings")
    @classmethod
    def _one_gap(cls, sentences: tuple[str, ...]) -> tuple[str, ...]:
        for sentence in sentences:
            if sentence.count(FIELD) != 1:
                raise ValueError(f"{sentence!r} needs one {FIELD}")
        return sentences

    @model_validator(mode="after")
    def _one_gap_in_pairs(self) -> Self:
        self._one_gap(tuple(item[0] for pairs in self.pairs.values() for item in pairs.items))
        return self

    @property
    def words(self) -> list[str]:
        """Every right or wrong word, sorted: they must be single tokens."""
        items = (item for pairs in self.pairs.values() for item in pairs.items)
        return sorted({word for _, right, wrong in items for word in (right, wrong)})


def probes_file() -> Path:
    """Where the sentences are.

    Returns:
        ``assets/probes.yaml``.
    """
    return project_root() / "assets" / "probes.yaml"


def load_probes() -> Probes:
    """The sentences of ``assets/probes.yaml``.

    Returns:
        Fillings and minimal pairs.

    Raises:
        InputError: If the file is wrong.
    """
    return Probes.parse(read_yaml(probes_file()), "probes")


@dataclass(frozen=True)
class Filler:
    """A masked-LM and its tokenizer, ready to fill gaps."""

    masked_lm: Any
    tokenizer: Any

    @torch.no_grad()
    def at_masks(self, text: str) -> Tensor:
        """What the model expects at every mask of a text.

        Args:
            text: Text with K mask tokens; what the model is too short for is cut off.

        Returns:
            Log-probabilities in nats, of shape (K, V).
        """
        limit = min(int(self.tokenizer.model_max_length), _LONGEST)
        encoded = self.tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
        ids = encoded["input_ids"]
        device = next(self.masked_lm.parameters()).device
        logits: Tensor = self.masked_lm(input_ids=ids.to(device)).logits[0]
        at = (ids[0] == self.tokenizer.mask_token_id).nonzero()[:, 0]
        return logits[at.to(device)].float().log_softmax(dim=1).cpu()

    def log_probabilities(self, sentence: str) -> Tensor:
        """What the model expects in the gap.

        Args:
            sentence: Text with one ``{mask}``.

        Returns:
            Log-probabilities in nats, of shape (V,).
        """
        before, after = sentence.split(FIELD)
        return self.at_masks(before.rstrip() + self.tokenizer.mask_token + after)[0]

    def token(self, word: str) -> int:
        """The token of a word after a blank.

        Args:
            word: The word.

        Returns:
            Its id.

        Raises:
            InputError: If it is several tokens.
        """
        ids = word_tokens(self.tokenizer, word)
        if len(ids) != 1:
            raise InputError(f"{word!r} is {len(ids)} tokens of this model, not one")
        return ids[0]


def fillings(filler: Filler, sentences: tuple[str, ...], count: int = 5) -> pd.DataFrame:
    """The likeliest words for the gap of each sentence.

    Args:
        filler: The model.
        sentences: Text with one ``{mask}`` each.
        count: Words a sentence.

    Returns:
        Columns ``sentence`` and ``fillings`` (words with their probabilities, the likeliest first).
    """
    rows = []
    for sentence in sentences:
        top = filler.log_probabilities(sentence).exp().topk(count)
        words = [
            f"{filler.tokenizer.decode([token]).strip()} ({probability:.2f})"
            for probability, token in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        ]
        rows.append({"sentence": sentence.replace(FIELD, "____"), "fillings": ", ".join(words)})
    return pd.DataFrame(rows)


def minimal_pairs(filler: Filler, pairs: dict[str, MinimalPairs]) -> pd.DataFrame:
    """How often the right word is the likelier one; guessing gives 50 %.

    Args:
        filler: The model.
        pairs: Minimal pairs by phenomenon.

    Returns:
        Columns ``phenomenon``, ``pairs``, ``right`` (how many), ``accuracy`` (percent).
    """
    rows = []
    for name, phenomenon in pairs.items():
        right = 0
        for sentence, good, bad in phenomenon.items:
            scores = filler.log_probabilities(sentence)
            right += int(scores[filler.token(good)] > scores[filler.token(bad)])
        total = len(phenomenon.items)
        rows.append(
            {"phenomenon": name, "pairs": total, "right": right, "accuracy": 100 * right / total}
        )
    return pd.DataFrame(rows)
