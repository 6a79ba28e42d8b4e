"""The loss on hidden words: which words, where, and what a model makes of them."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import nn

from tangentlm.errors import InputError
from tangentlm.params import make_run
from tangentlm.pretrain import Filler
from tangentlm.pretrain.words import HIDDEN, word_loss
from tangentlm.tasks.prompts import word_tokens
from tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer("words")
TEXTS = [
    "the film was great and the food was terrible",
    "It was great and it was not great . It was the film",
    "a dull plot",
]


class Asked(nn.Module):
    """Gives one word probability ``p`` everywhere, the rest share what is left; notes its input."""

    def __init__(self, word: str, p: float) -> None:
        super().__init__()
        size = len(TOKENIZER)
        logits = torch.full((size,), math.log((1 - p) / (size - 1)))
        logits[TOKENIZER.convert_tokens_to_ids(word)] = math.log(p)
        self.logits = nn.Parameter(logits)
        self.seen: list[torch.Tensor] = []

    def forward(self, input_ids):
        self.seen.append(input_ids[0])
        logits = self.logits.expand(*input_ids.shape, -1)
        return type("Output", (), {"logits": logits})()


def test_loss_and_accuracy_are_of_the_hidden_words():
    model = Asked("was", 0.5)
    found = word_loss(Filler(model, TOKENIZER), TEXTS)
    mask = TOKENIZER.mask_token_id
    hidden = Counter()
    for row, text in zip(model.seen, TEXTS, strict=False):
        ids = TOKENIZER(text)["input_ids"]
        assert len(ids) == len(row)
        places = (row == mask).nonzero()[:, 0].tolist()
        assert 1 <= len(places) <= HIDDEN
        assert 1 not in places  # the first word has no blank before it
        hidden.update(TOKENIZER.convert_ids_to_tokens([ids[place] for place in places]))
    total = sum(hidden.values())
    assert found.hidden == total
    assert found.accuracy == pytest.approx(hidden["was"] / total)
    other = math.log((len(TOKENIZER) - 1) / 0.5)
    expected = (hidden["was"] * math.log(2) + (total - hidden["was"]) * other) / total
    assert found.loss == pytest.approx(expected, rel=1e-5)


def test_every_model_is_asked_the_same():
    one, other = Asked("was", 0.5), Asked("film", 0.9)
    for model in (one, other):
        word_loss(Filler(model, TOKENIZER), TEXTS)
    assert all(torch.equal(a, b) for a, b in zip(one.seen, other.seen, strict=True))


def test_a_text_with_a_mask_of_its_own_is_left_out():
    model = Asked("was", 0.5)
    whole = word_loss(Filler(model, TOKENIZER), TEXTS)
    again = word_loss(Filler(model, TOKENIZER), [*TEXTS, "it <mask> was great"])
    assert again == whole


@pytest.mark.parametrize("texts", [[], ["plot"], ["a 3rd 9/10"]])
def test_nothing_to_hide_is_refused(texts):
    with pytest.raises(InputError, match="no text has a word to hide"):
        word_loss(Filler(Asked("was", 0.5), TOKENIZER), texts)


def test_a_word_of_several_tokens_is_the_product_of_them():
    tokenizer = tiny_tokenizer("bytes")
    pieces = len(word_tokens(tokenizer, "unforgettable"))
    assert pieces > 1
    model = Asked("was", 0.5)
    model.logits = nn.Parameter(torch.zeros(len(tokenizer)))
    found = word_loss(Filler(model, tokenizer), ["so unforgettable"])
    assert (model.seen[0] == tokenizer.mask_token_id).sum() == pieces
    assert found.hidden == 1
    assert found.loss == pytest.approx(pieces * math.log(len(tokenizer)))


def test_a_probe_is_named_after_its_model():
    assert make_run("probe", {}).name == "pocket-k16-s13"
    assert make_run("probe", {"model": "run:lab/mine-w64", "k": 64}).name == "mine-w64-k64-s13"
    with pytest.raises(InputError, match="did you mean 'pocket'"):
        make_run("probe", {"model": "pokcet"})
    here, there = ({"corpus": place, "data": place, "out": place} for place in ("here", "there"))
    assert make_run("probe", here).parameters() == make_run("probe", there).parameters()
