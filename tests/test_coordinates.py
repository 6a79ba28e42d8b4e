"""The coordinate check sees what the layers return, and tells the parametrizations apart."""

from __future__ import annotations

import functools

import pytest
import torch

from tangentlm.pretrain import masked_logits, parameter_groups
from tangentlm.pretrain.coordinate_check import activations, coordinate_check
from tangentlm.pretrain.loop import BETAS
from toy_text import fresh, packed, tiny_recipe, tokenizer_of

ARCHITECTURES = ("modernbert", "bert", "roberta")
NARROW, WIDE = 32, 256
LAYERS = ["embedding", "layer 1", "layer 2", "head", "logits"]


def rms(tensor):
    return float(tensor.double().pow(2).mean().sqrt())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_activations_are_the_hidden_states_of_transformers(architecture):
    model = fresh(tiny_recipe(architecture, depth=3)).eval()
    batch = packed().batch(0, 4, 0.2)
    found = activations(model, batch)
    assert list(found) == ["embedding", "layer 1", "layer 2", "layer 3", "head", "logits"]
    last = []
    layers = model.model.layers if architecture == "modernbert" else model.base_model.encoder.layer
    hook = layers[-1].register_forward_hook(lambda _m, _args, output: last.append(output))
    with torch.no_grad():
        whole = model(input_ids=batch.input_ids, output_hidden_states=True)
    hook.remove()
    embedding, first, second, third = whole.hidden_states
    output = last[0][0] if isinstance(last[0], tuple) else last[0]
    if architecture == "modernbert":  # transformers gives the last states after the last norm
        torch.testing.assert_close(model.model.final_norm(output), third)
    else:
        torch.testing.assert_close(output, third)
    for name, expected in zip(list(found)[:4], (embedding, first, second, output), strict=True):
        torch.testing.assert_close(found[name], expected)
    torch.testing.assert_close(found["logits"], whole.logits[batch.masked])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_head_is_what_the_decoder_reads(architecture):
    model = fresh(tiny_recipe(architecture)).eval()
    batch = packed().batch(0, 4, 0.2)
    found = activations(model, batch)
    assert found["head"].shape == (int(batch.masked.sum()), 16)
    decoder = model.get_output_embeddings()
    logits = torch.nn.functional.linear(found["head"], decoder.weight, decoder.bias)
    torch.testing.assert_close(logits, found["logits"])


def test_no_hook_is_left_even_after_an_error():
    model = fresh(tiny_recipe()).eval()
    batch = packed().batch(0, 4, 0.2)

    def hooks():
        return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]

    before = hooks()
    activations(model, batch)
    assert hooks() == before
    batch.masked.resize_(4, 3)
    with pytest.raises(IndexError):
        activations(model, batch)
    assert hooks() == before


@functools.cache
def table():
    recipe = tiny_recipe(
        width=NARROW, base_width=NARROW, head_width=16, learning_rate=4e-3, batch_size=8
    )
    return coordinate_check(recipe, tokenizer_of(), packed(), (NARROW, WIDE), seeds=(0, 1))


def test_there_is_a_row_for_every_layer_of_every_model():
    found = table()
    assert list(found.columns) == [
        "parametrization", "width", "seed", "layer", "at_start", "change",
    ]  # fmt: skip
    assert len(found) == 2 * 2 * 2 * len(LAYERS)
    for _, part in found.groupby(["parametrization", "width", "seed"]):
        assert list(part["layer"]) == LAYERS
    assert set(found["parametrization"]) == {"standard", "mup"}
    assert (found[["at_start", "change"]] > 0).all(axis=None)


def test_mup_is_flat_and_standard_grows_with_the_width():
    means = table().groupby(["parametrization", "layer", "width"])["change"].mean().unstack()
    growth = means[WIDE] / means[NARROW]
    # The head is what has gone through the multiplier 1 / n of the decoder.
    growth["mup", "head"] *= WIDE / NARROW
    assert growth["mup"].between(1 / 2, 2).all()
    assert growth["standard", "logits"] > 4
    assert growth["standard", "layer 2"] > 2
    assert growth["standard", "layer 1"] > 1.5


def test_both_parametrizations_are_the_same_at_the_base_width():
    found = table().query(f"width == {NARROW}").set_index(["layer", "seed"])
    one, other = (
        found[found["parametrization"] == name].drop(columns="parametrization")
        for name in ("standard", "mup")
    )
    assert one.equals(other)


@pytest.mark.parametrize("architecture", ["modernbert", "bert"])
def test_a_row_is_the_size_of_the_activations_and_of_their_change(architecture):
    """BERT has dropout: it would count as a change, so there is none."""
    recipe = tiny_recipe(architecture, width=32, base_width=16)
    rows, tokenizer = packed(), tokenizer_of()
    found = coordinate_check(
        recipe, tokenizer, rows, (32,), parametrizations=("mup",), steps=2, seeds=(5,)
    ).set_index("layer")
    model = fresh(recipe, "mup", seed=5).eval()
    seen = rows.batch(2, recipe.batch_size, recipe.masked)
    before = activations(model, seen)
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe, tokenizer, "mup"), betas=BETAS)
    for step in range(2):
        batch = rows.batch(step, recipe.batch_size, recipe.masked)
        logits = masked_logits(model, batch.input_ids, batch.masked)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, batch.targets).backward()
        optimizer.step()
    after = activations(model, seen)
    for layer in LAYERS:
        assert found.loc[layer, "at_start"] == pytest.approx(rms(before[layer]), rel=1e-5)
        change = rms(after[layer] - before[layer])
        assert found.loc[layer, "change"] == pytest.approx(change, rel=1e-4)


def test_without_steps_nothing_changes():
    recipe = tiny_recipe("bert")
    found = coordinate_check(recipe, tokenizer_of(), packed(), (16,), steps=0, seeds=(0,))
    assert (found["change"] == 0).all()
