"""What is read from a model before training is what transformers itself says, row by row."""

import numpy as np
import pytest
import torch

from tangentlm.anticipate.readings import read_features, read_words
from tangentlm.finetune.chosen_lora import with_lora
from tangentlm.kernels import draw_lora
from tangentlm.models.checkpoints import load_masked_lm
from tangentlm.models.classification_head import load_classification_model
from tangentlm.models.few_shot import few_shot
from tangentlm.models.projections import projection_layers, split_projections


@pytest.fixture(scope="module")
def shots():
    return few_shot("reviews", model="pocket-xs", k=3, test_size=4, device="cpu")


@pytest.fixture(scope="module")
def batch(shots):
    return shots.part("train").batch


def row_by_row(batch):
    """Each row without any padding, and where its mask is."""
    for i, used in enumerate(batch["attention_mask"].sum(dim=1).tolist()):
        yield batch["input_ids"][i : i + 1, :used], int(batch["mask_position"][i])


@torch.no_grad()
def hidden_states(batch, place=None):
    """(N, L, h), from a model loaded anew."""
    model = load_masked_lm("pocket-xs")
    found = []
    for ids, mask in row_by_row(batch):
        states = model(input_ids=ids, output_hidden_states=True).hidden_states[1:]
        found.append(torch.stack([h[0, mask if place is None else place] for h in states]))
    return torch.stack(found).numpy()


def test_features_are_hidden_states_at_the_mask(shots, batch):
    expected = hidden_states(batch)
    found = read_features(shots.model, batch)
    np.testing.assert_allclose(found["last"], expected[:, -1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["mean"], expected.mean(axis=1), rtol=1e-4, atol=1e-5)


def test_without_a_prompt_they_are_those_of_the_first_token(batch):
    model = load_classification_model("pocket-xs", 2)
    layers = projection_layers(model)
    with_lora(model, draw_lora(model, layers, rank=2, seed=0), 2.0)
    unasked = {name: rows for name, rows in batch.items() if name != "mask_position"}
    found = read_features(model, unasked)
    np.testing.assert_allclose(found["last"], hidden_states(batch, 0)[:, -1], rtol=1e-4, atol=1e-5)


def test_words_are_those_of_the_whole_vocabulary(shots, batch):
    model, expected = load_masked_lm("pocket-xs"), []
    for ids, mask in row_by_row(batch):
        with torch.no_grad():
            expected.append(model(input_ids=ids).logits[0, mask].softmax(dim=0).numpy())
    found = read_words(shots.model, batch)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)
    # LoRA at its start changes nothing.
    split_projections(shots.model)
    adapted = with_lora(
        shots.model, draw_lora(shots.model, projection_layers(shots.model), rank=2, seed=0), 2.0
    )
    np.testing.assert_allclose(read_words(adapted, batch), found, rtol=1e-3, atol=1e-7)
