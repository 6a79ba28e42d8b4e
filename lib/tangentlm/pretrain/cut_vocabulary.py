"""A masked-LM with the part of its vocabulary that a text uses; what is kept stays as it was.

A small encoder is mostly embedding, and most of a large vocabulary is rare. A word whose entry goes
is read in pieces that stay.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tangentlm.errors import InputError
from tangentlm.pretrain.packed_rows import Tokens


def entries_to_keep(
    tokenizer: Any, tokens: Tokens, size: int, words: Sequence[str] = ()
) -> list[int]:
    """The most frequent entries of a text, with those that no vocabulary can do without.

    Args:
        tokenizer: A WordPiece tokenizer of transformers.
        tokens: A text in its entries.
        size: How many entries stay.
        words: Words whose entry stays, such as label words.

    Returns:
        Ids in rising order: special tokens, single characters, ``words``, and the most frequent.

    Raises:
        InputError: If a word is not one entry, or ``size`` is too small for what must stay.
    """
    vocabulary = tokenizer.get_vocab()
    needed = set(tokenizer.all_special_ids)
    needed |= {at for entry, at in vocabulary.items() if len(entry.removeprefix("##")) == 1}
    for word in words:
        ids = tokenizer(word, add_special_tokens=False)["input_ids"]
        if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
            raise InputError(f"the word {word!r} is not one entry of the vocabulary")
        needed.add(ids[0])
    if len(needed) > size:
        raise InputError(f"{size} entries are too few: {len(needed)} must stay")
    counts = np.bincount(tokens, minlength=len(tokenizer))
    frequent = [int(at) for at in np.argsort(-counts, kind="stable") if int(at) not in needed]
    return sorted([*needed, *frequent[: size - len(needed)]])


def cut_vocabulary(masked_lm: Any, tokenizer: Any, keep: Sequence[int]) -> tuple[Any, Any]:
    """A BERT masked-LM and its tokenizer with some entries alone.

    Args:
        masked_lm: The model, with a tied decoder; not changed.
        tokenizer: Its WordPiece tokenizer.
        keep: Ids of entries, from ``entries_to_keep``.

    Returns:
        A model whose logits are the old ones at the kept entries, wherever a text has only these;
        and the tokenizer, whose ids are places in ``keep``.
    """
    from transformers import BertTokenizer

    kept = torch.tensor(list(keep))
    model = copy.deepcopy(masked_lm)
    embedding = model.get_input_embeddings()
    smaller = nn.Embedding.from_pretrained(
        embedding.weight.detach()[kept].clone(),
        freeze=False,
        padding_idx=list(keep).index(tokenizer.pad_token_id),
    )
    bias = nn.Parameter(masked_lm.get_output_embeddings().bias.detach()[kept].clone())
    model.set_input_embeddings(smaller)
    decoder = nn.Linear(smaller.embedding_dim, len(kept))
    decoder.weight, decoder.bias = smaller.weight, bias
    model.set_output_embeddings(decoder)
    model.cls.predictions.bias = bias
    model.config.vocab_size = len(kept)
    model.config.pad_token_id = smaller.padding_idx
    entries = tokenizer.convert_ids_to_tokens(kept.tolist())
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "vocab.txt"
        file.write_text("\n".join(entries) + "\n", encoding="utf-8")
        cut = BertTokenizer.from_pretrained(scratch, do_lower_case=True)
    cut.model_max_length = tokenizer.model_max_length
    return model.eval(), cut
