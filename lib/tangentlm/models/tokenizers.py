"""The special tokens of the project's own tokenizers, and such a tokenizer for transformers."""

from __future__ import annotations

from typing import Any

SPECIAL_TOKENS = {
    "bos_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
"""In the order of their ids, 0 to 4."""


def as_fast_tokenizer(core: Any, **settings: Any) -> Any:
    """A tokenizer of the package ``tokenizers`` as one of transformers.

    Args:
        core: It has the special tokens, and puts a row in ``<s> ... </s>``.
        **settings: Further ones of ``PreTrainedTokenizerFast``.

    Returns:
        A fast tokenizer.
    """
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        cls_token=SPECIAL_TOKENS["bos_token"],
        sep_token=SPECIAL_TOKENS["eos_token"],
        **SPECIAL_TOKENS,
        **settings,
    )
