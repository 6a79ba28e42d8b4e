"""A masked-LM with part of its vocabulary: what stays, and that it stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

from tangentlm.errors import InputError
from tangentlm.models.checkpoints import load_masked_lm, load_tokenizer
from tangentlm.pretrain.card import save_masked_lm
from tangentlm.pretrain.cut_vocabulary import cut_vocabulary, entries_to_keep

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ENTRIES = [*SPECIAL, "a", "b", "##a", "##b", "cat", "dog", "great", "ab", "terrible", "##ca", "c"]


@pytest.fixture
def tokenizer(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(ENTRIES) + "\n")
    return BertTokenizer.from_pretrained(tmp_path, do_lower_case=True)


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(ENTRIES), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=32,
    )  # fmt: skip
    model = BertForMaskedLM(config).eval()
    with torch.no_grad():  # it begins at zero, where a wrong place would not show
        model.cls.predictions.bias.normal_()
    return model


TEXT = np.array([ENTRIES.index(e) for e in ["cat"] * 5 + ["dog"] * 3 + ["ab"] * 2], dtype=np.uint16)


def test_the_most_frequent_entries_stay_with_those_that_must(tokenizer):
    kept = entries_to_keep(tokenizer, TEXT, 12, ["terrible"])
    must = [*SPECIAL, "a", "b", "##a", "##b", "c", "terrible"]
    assert [ENTRIES[at] for at in kept] == [e for e in ENTRIES if e in must or e == "cat"]


def test_what_must_stay_has_to_fit(tokenizer):
    with pytest.raises(InputError, match="10 entries are too few: 11 must stay"):
        entries_to_keep(tokenizer, TEXT, 10, ["terrible"])
    with pytest.raises(InputError, match="the word 'abba' is not one entry"):
        entries_to_keep(tokenizer, TEXT, 12, ["abba"])


def test_a_cut_model_says_the_same_of_what_it_kept(tokenizer, model, tmp_path):
    kept = entries_to_keep(tokenizer, TEXT, 14, ["great", "terrible"])
    smaller, cut = cut_vocabulary(model, tokenizer, kept)
    texts = ["The cat [MASK] a dog", "great [MASK]"]
    before, after = (each(texts, return_tensors="pt", padding=True) for each in (tokenizer, cut))
    assert cut.convert_ids_to_tokens(after["input_ids"][0]) == tokenizer.convert_ids_to_tokens(
        before["input_ids"][0]
    )
    with torch.no_grad():
        expected, logits = model(**before).logits[..., kept], smaller(**after).logits
    torch.testing.assert_close(logits, expected)
    assert model.config.vocab_size == len(ENTRIES), "the model that was given is changed"
    save_masked_lm(smaller, cut, tmp_path / "saved")
    again = load_masked_lm(str(tmp_path / "saved"))
    assert len(load_tokenizer(str(tmp_path / "saved"))) == 14
    with torch.no_grad():
        torch.testing.assert_close(again(**after).logits, logits, atol=0.02, rtol=0.02)
