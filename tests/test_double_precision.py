"""A model in float64 throughout, against difference quotients."""

from __future__ import annotations

import copy

import pytest
import torch

from small_models import LABEL_WORDS, masked_lm, prompt_batch
from tangentlm.models.double_precision import in_double_precision
from tangentlm.models.heads import LinearHeadModel, PromptModel

BATCH = prompt_batch((9, 9, 9))
TEXT = {name: BATCH[name] for name in ("input_ids", "attention_mask")}


def linear(architecture: str) -> LinearHeadModel:
    model = LinearHeadModel(masked_lm(architecture), 3, "mean").eval()
    torch.nn.init.normal_(model.classifier.weight)
    return model


@pytest.mark.parametrize("architecture", ["modernbert", "roberta"])
def test_small_changes_are_not_blurred(architecture):
    model = in_double_precision(linear(architecture))
    weight = next(p for n, p in model.named_parameters() if "embeddings" in n)
    logits = model(**TEXT)
    (gradient,) = torch.autograd.grad(logits[0, 0], weight)
    step = 1e-7 * gradient / gradient.norm()
    with torch.no_grad():
        weight += step
        real = float(model(**TEXT)[0, 0] - logits[0, 0])
    expected = float((gradient * step).sum())
    assert real == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("architecture", ["modernbert", "roberta"])
def test_it_is_the_model_of_before(architecture):
    model = linear(architecture)
    with torch.no_grad():
        before = model(**TEXT)
        after = in_double_precision(copy.deepcopy(model))(**TEXT)
        again = model(**TEXT)  # single precision, after another model has been turned
    assert after.dtype == torch.float64
    torch.testing.assert_close(after.float(), before, rtol=1e-4, atol=1e-5)
    assert torch.equal(again, before)


def test_a_prompted_model_is_turned_as_well():
    model = PromptModel(masked_lm("modernbert"), list(LABEL_WORDS)).eval()
    with torch.no_grad():
        before = model(**BATCH)
        after = in_double_precision(model)(**BATCH)
    torch.testing.assert_close(after.float(), before, rtol=1e-4, atol=1e-5)
