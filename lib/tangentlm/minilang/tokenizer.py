"""The tokenizer of the small language: one token a word."""

from __future__ import annotations

from typing import Any

from tangentlm.minilang.lexicon import LEXICON

SPECIAL = {
    "bos_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
"""The special tokens, in the order of their ids 0 to 4."""


def make_tokenizer() -> Any:
    """A fast tokenizer of transformers that has every word and puts a row in ``<s> ... </s>``.

    Returns:
        The tokenizer; ``save_pretrained`` writes some 10 kB.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {token: number for number, token in enumerate((*SPECIAL.values(), *LEXICON.words))}
    core = Tokenizer(models.WordLevel(ids, unk_token=SPECIAL["unk_token"]))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    start, end = SPECIAL["bos_token"], SPECIAL["eos_token"]
    core.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B {end}",
        special_tokens=[(start, ids[start]), (end, ids[end])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        cls_token=start,
        sep_token=end,
        model_input_names=["input_ids", "attention_mask"],
        **SPECIAL,
    )
