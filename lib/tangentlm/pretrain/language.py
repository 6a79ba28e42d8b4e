"""Masked rows of the generated language: one document a row, made when it is needed."""

from __future__ import annotations

from typing import Any

import torch

from tangentlm.minilang import LEXICON, Language
from tangentlm.pretrain.packed_rows import MaskedBatch, step_seed


class LanguageRows:
    """Documents of a language as masked batches; every step has new documents.

    Each row is one document between ``<s>`` and ``</s>``, padded to the longest of its batch. The
    verdicts of all prompts are masked with a probability of their own, wherever they stand, for
    nothing else in a document asks for its latents so plainly.
    """

    def __init__(
        self, language: Language, tokenizer: Any, length: int, seed: int, masked_verdicts: float
    ) -> None:
        self.length = length
        self._masked_verdicts = masked_verdicts
        words = [word for prompt in LEXICON.prompts.values() for word in prompt.verdicts]
        self._verdicts = torch.tensor(tokenizer.convert_tokens_to_ids(words))
        self.count = 2**40  # there is no end of documents
        self._language = language
        self._tokenizer = tokenizer
        self._seed = seed

    def batch(self, step: int, size: int, share: float) -> MaskedBatch:
        """The masked batch of a step.

        Args:
            step: The step, from 0.
            size: Documents, B.
            share: The probability that a word that is no verdict is masked.

        Returns:
            The batch; at least one word is masked.
        """
        seed = step_seed(self._seed, step)
        texts = list(self._language.documents(size, seed))
        encoded = self._tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=self.length,
            return_tensors="pt",
            return_special_tokens_mask=True,
        )
        rows, mask = encoded["input_ids"], encoded["attention_mask"]
        words = encoded["special_tokens_mask"] == 0
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.rand(rows.shape, generator=generator).masked_fill(~words, 2.0)
        shares = torch.where(torch.isin(rows, self._verdicts), self._masked_verdicts, share)
        masked = drawn < shares
        masked.view(-1)[drawn.argmin()] = True
        hidden = rows.masked_fill(masked, self._tokenizer.mask_token_id)
        return MaskedBatch(hidden, masked, rows[masked], mask)
