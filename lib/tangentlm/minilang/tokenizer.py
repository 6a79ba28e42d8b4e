"""The tokenizer of the small language: one token a word."""

from __future__ import annotations

from typing import Any

from tangentlm.minilang.lexicon import LEXICON
from tangentlm.models.tokenizers import SPECIAL_TOKENS, as_fast_tokenizer


def make_tokenizer() -> Any:
    """A fast tokenizer of transformers that has every word and puts a row in ``<s> ... </s>``.

    Returns:
        The tokenizer; ``save_pretrained`` writes some 10 kB.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    ids = {token: number for number, token in enumerate((*SPECIAL_TOKENS.values(), *LEXICON.words))}
    core = Tokenizer(models.WordLevel(ids, unk_token=SPECIAL_TOKENS["unk_token"]))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    start, end = SPECIAL_TOKENS["bos_token"], SPECIAL_TOKENS["eos_token"]
    core.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B {end}",
        special_tokens=[(start, ids[start]), (end, ids[end])],
    )
    return as_fast_tokenizer(core, model_input_names=["input_ids", "attention_mask"])
