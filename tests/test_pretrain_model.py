"""Fresh models of a recipe: their sizes, roles, initial scales and rates."""

from __future__ import annotations

import functools

import pytest
import torch

from tangentlm.errors import InputError
from tangentlm.models.checkpoints import load_pretrained
from tangentlm.params import Recipe
from tangentlm.pretrain import loop, masked_logits, new_model, parameter_groups, roles
from toy_text import fresh, packed, tiny_recipe, tokenizer_of

ARCHITECTURES = ("modernbert", "roberta", "bert")
WIDTHS = (16, 32, 64)


def refused(match, call, *args, **keywords):
    with pytest.raises(InputError, match=match) as caught:
        call(*args, **keywords)
    assert "\n" not in str(caught.value)


def rms(tensor):
    return float(tensor.detach().double().square().mean().sqrt())


# --- the model of a recipe ------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_is_as_its_recipe_says(architecture):
    recipe = tiny_recipe(architecture, depth=3, width=24, head_width=8, feed_forward=2.5)
    model, tokenizer = fresh(recipe), tokenizer_of()
    config = model.config
    assert config.model_type == architecture
    assert config.vocab_size == len(tokenizer)
    assert (config.num_hidden_layers, config.hidden_size) == (3, 24)
    assert (config.num_attention_heads, config.intermediate_size) == (3, 60)
    for name in ("bos", "pad", "eos"):
        assert getattr(config, f"{name}_token_id") == getattr(tokenizer, f"{name}_token_id")
    for name, value in recipe.settings.items():
        assert getattr(config, name) == value
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert next(model.parameters()).dtype == torch.float32


@pytest.mark.parametrize("parametrization", ["standard", "mup"])
def test_weights_depend_on_the_seed_alone(parametrization):
    recipe = tiny_recipe(width=32)
    torch.manual_seed(5)
    one = fresh(recipe, parametrization, seed=1).state_dict()
    torch.manual_seed(6)
    same = fresh(recipe, parametrization, seed=1).state_dict()
    other = fresh(recipe, parametrization, seed=2).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    name = "model.embeddings.tok_embeddings.weight"
    assert not torch.equal(one[name], other[name])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("modernbrt", "unknown architecture 'modernbrt'; did you mean 'modernbert'"),
        ("robrta", "unknown architecture 'robrta'; did you mean 'roberta'"),
    ],
)
def test_an_unknown_architecture_is_refused_with_the_nearest(name, message):
    recipe = tiny_recipe().model_copy(update={"architecture": name})
    refused(message, fresh, recipe)


@pytest.mark.parametrize("architecture", ["t5", "gpt2", "no-such-thing"])
def test_what_is_no_masked_lm_is_refused(architecture):
    refused("unknown architecture", fresh, tiny_recipe().model_copy(
        update={"architecture": architecture}))  # fmt: skip


def test_a_decoder_that_is_not_tied_is_refused(monkeypatch):
    from tangentlm.pretrain import architecture

    build = architecture._build

    def untied(recipe, tokenizer):
        model = build(recipe, tokenizer)
        decoder = model.get_output_embeddings()
        decoder.weight = torch.nn.Parameter(decoder.weight.detach().clone())
        return model

    monkeypatch.setattr(architecture, "_build", untied)
    refused("architecture modernbert: the decoder is not tied", fresh, tiny_recipe())


def test_a_model_without_a_norm_before_its_decoder_has_no_place_for_the_multiplier():
    recipe = tiny_recipe("bert")
    model = fresh(recipe)
    model.cls.predictions.transform.LayerNorm = torch.nn.Identity()
    refused("BertForMaskedLM has no norm before its decoder", roles, model, recipe, tokenizer_of())


@pytest.mark.parametrize(
    ("architecture", "name", "value"),
    [
        ("modernbert", "initializer_cutoff_factor", "wide"),
        ("modernbert", "initializer_cutoff_factor", 3),
        ("modernbert", "local_attention", "eight"),
        ("modernbert", "global_attn_every_n_layers", 0),
        ("modernbert", "hidden_activation", "gelux"),
        ("modernbert", "rope_parameters", {"x": 1}),
        ("modernbert", "num_hidden_layers", 3),
        ("modernbert", "dtype", "float23"),
        ("bert", "hidden_act", 3),
        ("bert", "hidden_dropout_prob", 7.0),
        ("bert", "max_position_embeddings", -1),
        ("roberta", "layer_norm_eps", "small"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_architecture(architecture, name, value):
    recipe = tiny_recipe(architecture)
    recipe = recipe.model_copy(update={"settings": {**recipe.settings, name: value}})
    refused(f"^settings of a {architecture} recipe: ", fresh, recipe)


def test_an_unknown_setting_is_refused_with_the_nearest():
    recipe = tiny_recipe("modernbert")
    recipe = recipe.model_copy(update={"settings": {"locl_attention": 16}})
    match = "setting of a modernbert recipe 'locl_attention'; did you mean 'local_attention'"
    refused(match, fresh, recipe)


# --- roles ----------------------------------------------------------------------------------

HIDDEN = {
    "modernbert": ("attn.Wqkv.weight", "attn.Wo.weight", "mlp.Wi.weight", "mlp.Wo.weight",
                   "head.dense.weight"),
    "roberta": ("query.weight", "key.weight", "value.weight", "output.dense.weight",
                "intermediate.dense.weight", "lm_head.dense.weight"),
    "bert": ("query.weight", "key.weight", "value.weight", "output.dense.weight",
             "intermediate.dense.weight", "transform.dense.weight"),
}  # fmt: skip
OUTPUT = {
    "modernbert": {"head.norm.weight"},
    "roberta": {"lm_head.layer_norm.weight", "lm_head.layer_norm.bias"},
    "bert": {"cls.predictions.transform.LayerNorm.weight",
             "cls.predictions.transform.LayerNorm.bias"},
}  # fmt: skip


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_roles_of_parameters(architecture):
    recipe = tiny_recipe(architecture)
    model = fresh(recipe)
    found = roles(model, recipe, tokenizer_of())
    assert list(found) == [name for name, _ in model.named_parameters()]
    assert {name for name, role in found.items() if role == "output"} == OUTPUT[architecture]
    for name, role in found.items():
        if role != "output":
            assert role == ("hidden" if name.endswith(HIDDEN[architecture]) else "input"), name
    embeddings = [name for name in found if "embeddings" in name]
    assert embeddings
    assert {found[name] for name in embeddings} == {"input"}


# --- scales and rates, Table 10 -------------------------------------------------------------

# How scale and rate of a role grow with the width n: as n to the power of this.
MUP = {"input": (0.0, 0.0), "hidden": (-0.5, -1.0), "output": (-1.0, -1.0)}
STANDARD = dict.fromkeys(MUP, (0.0, 0.0))
POWERS = {"mup": MUP, "standard": STANDARD}


def measured(architecture, width, parametrization):
    """Role, parameter, rate and weight decay by name."""
    recipe = tiny_recipe(architecture, width=width, base_width=16, weight_decay=0.02)
    model = fresh(recipe, parametrization)
    groups = parameter_groups(model, recipe, tokenizer_of(), parametrization)
    of = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert len(of) == sum(len(group["params"]) for group in groups)
    return {
        name: (role, model.get_parameter(name), *of[id(model.get_parameter(name))])
        for name, role in roles(model, recipe, tokenizer_of()).items()
    }


@pytest.mark.parametrize("parametrization", ["mup", "standard"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scales_and_rates_over_widths_are_those_of_the_table(architecture, parametrization):
    tables = {width: measured(architecture, width, parametrization) for width in WIDTHS}
    for name, (role, narrow, *_) in tables[16].items():
        scale_power, rate_power = POWERS[parametrization][role]
        for width in WIDTHS:
            _, parameter, rate, decay = tables[width][name]
            # Five standard deviations of the ratio of two RMS of so many random numbers.
            margin = 5 * (0.5 / narrow.numel() + 0.5 / parameter.numel()) ** 0.5
            expected = rms(narrow) * (width / 16) ** scale_power
            assert rms(parameter) == pytest.approx(expected, rel=margin), (name, width)
            assert rate == pytest.approx(3e-3 * (width / 16) ** rate_power, rel=1e-12)
            # The product of rate and decay, which AdamW multiplies weights by, has no width.
            shrinking = 3e-3 * 0.02 if parameter.ndim > 1 else 0.0
            assert rate * decay == pytest.approx(shrinking, rel=1e-12)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_mup_is_standard_at_the_base_width(architecture):
    recipe = tiny_recipe(architecture, width=32, base_width=32)
    one, other = fresh(recipe), fresh(recipe, "mup")
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, other.get_parameter(name))
    for parametrization in ("mup", "standard"):
        groups = parameter_groups(one, recipe, tokenizer_of(), parametrization)
        assert {group["lr"] for group in groups} == {recipe.learning_rate}
        assert {group["weight_decay"] for group in groups} == {0.0, recipe.weight_decay}
        assert sum(len(group["params"]) for group in groups) == len(list(one.parameters()))


def test_mup_below_the_base_width_makes_scales_and_rates_larger():
    recipe = tiny_recipe(width=16, base_width=64)
    standard, mup = fresh(recipe), fresh(recipe, "mup")
    factor = {"input": 1, "hidden": 2, "output": 4}
    for name, role in roles(mup, recipe, tokenizer_of()).items():
        expected = standard.get_parameter(name) * factor[role]
        torch.testing.assert_close(mup.get_parameter(name), expected)
    rates = {g["lr"] for g in parameter_groups(mup, recipe, tokenizer_of(), "mup")}
    assert rates == {recipe.learning_rate, 4 * recipe.learning_rate}


# --- what muP is for: the coordinate check --------------------------------------------------


@functools.cache
def coordinates(width, parametrization, steps=4):
    """RMS of the logits at the start, and of the change of states and logits by Adam's steps."""
    recipe = tiny_recipe(width=width, base_width=32, head_width=16, learning_rate=4e-3)
    tokenizer = tokenizer_of()
    model = new_model(recipe, tokenizer, 0, parametrization)
    groups = parameter_groups(model, recipe, tokenizer, parametrization)
    optimizer = torch.optim.AdamW(groups)
    rows = packed(length=16)
    probe = rows.batch(100, 8, 0.2)

    @torch.no_grad()
    def look():
        seen = []
        decoder = model.get_output_embeddings()
        body = model.base_model.register_forward_hook(
            lambda _module, _args, output: seen.append(output.last_hidden_state)
        )
        head = model.head.dense.register_forward_hook(
            lambda _module, _args, output: seen.append(output)
        )
        logits = decoder(model.head(model.base_model(probe.input_ids).last_hidden_state))
        body.remove()
        head.remove()
        return [*seen, logits]

    before = look()
    for step in range(steps):
        batch = rows.batch(step, 16, 0.2)
        logits = masked_logits(model, batch.input_ids, batch.masked)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, batch.targets).backward()
        optimizer.step()
    changes = [rms(after - b) for after, b in zip(look(), before, strict=True)]
    return rms(before[-1]), changes


def test_changes_by_training_are_of_one_size_at_every_width_with_mup():
    widths = (64, 128, 256)
    mup = [coordinates(width, "mup") for width in widths]
    standard = [coordinates(width, "standard") for width in widths]
    for place in range(3):
        changes = [change[place] for _, change in mup]
        assert max(changes) / min(changes) < 2
    grown = [change[-1] for _, change in standard]
    assert grown[2] > 2 * grown[0]
    assert grown[0] < grown[1] < grown[2]


def test_logits_at_the_start_shrink_with_the_width_with_mup():
    mup = [coordinates(width, "mup")[0] for width in (64, 128, 256)]
    standard = [coordinates(width, "standard")[0] for width in (64, 128, 256)]
    # Of n independent terms of size 1/n: as 1 / sqrt(n), where the standard ones grow as sqrt(n).
    for narrow, wide in ((0, 1), (1, 2)):
        assert mup[wide] / mup[narrow] == pytest.approx(0.5**0.5, rel=0.15)
        assert standard[wide] / standard[narrow] == pytest.approx(2**0.5, rel=0.15)


# --- a start from another model's encoder ---------------------------------------------------


@pytest.fixture
def encoder(tmp_path):
    """A folder with a BERT encoder that has no language-model head, and a tokenizer."""
    from transformers import BertModel

    folder = tmp_path / "encoder"
    torch.manual_seed(3)
    BertModel(fresh(tiny_recipe("bert")).config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer_of().save_pretrained(folder)
    return str(folder)


def test_a_start_gives_the_body_and_leaves_the_head_new(encoder):
    recipe = tiny_recipe("bert", start=encoder)
    started, plain = fresh(recipe), fresh(tiny_recipe("bert"))
    body = load_pretrained(encoder).state_dict()
    for name, tensor in started.base_model.state_dict().items():
        assert torch.equal(tensor, body[name])
    assert started.get_output_embeddings().weight is started.get_input_embeddings().weight
    head = "cls.predictions.transform.dense.weight"
    assert torch.equal(started.state_dict()[head], plain.state_dict()[head])


def test_a_start_that_is_a_masked_model_gives_its_head_too(tmp_path):
    folder = str(tmp_path / "masked")
    given = fresh(tiny_recipe("bert"), seed=8)
    given.save_pretrained(folder)
    started = fresh(tiny_recipe("bert", start=folder), seed=1).state_dict()
    for name, tensor in given.state_dict().items():
        assert torch.equal(started[name], tensor)


def test_a_start_has_its_rate_and_the_head_another(encoder):
    recipe = tiny_recipe("bert", start=encoder, start_rate=0.25, learning_rate=0.008)
    model = fresh(recipe)
    groups = parameter_groups(model, recipe, tokenizer_of(), "standard")
    body = set(model.base_model.parameters())
    for group in groups:
        assert group["lr"] == (0.002 if group["started"] else 0.008)
        assert all((p in body) is group["started"] for p in group["params"])
    assert {group["started"] for group in groups} == {True, False}


def test_a_frozen_start_stands_still_until_its_share_is_over(encoder, tmp_path):
    recipe = tiny_recipe("bert", start=encoder, frozen=0.5, steps=8, warmup=0.0, decay=0.0)
    moved = []

    def step(model, optimizer, batch, number, device):
        before = [p.detach().clone() for p in model.base_model.parameters()]
        loss = true_step(model, optimizer, batch, number, device)
        after = model.base_model.parameters()
        moved.append(any(not torch.equal(a, b) for a, b in zip(after, before, strict=True)))
        return loss

    true_step = loop.training_step
    model = fresh(recipe)
    groups = parameter_groups(model, recipe, tokenizer_of(), "standard")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "training_step", step)
        loop.pretrain(model, groups, packed(), packed(seed=1), recipe, tmp_path, progress=False)
    assert moved == [False] * 4 + [True] * 4


def test_a_start_of_another_shape_is_refused(encoder):
    recipe = tiny_recipe("bert", start=encoder, width=32)
    refused("which has another shape: .*word_embeddings.*", fresh, recipe)
    refused("start_rate and frozen are for a recipe with a start", tiny_recipe_refused)


def tiny_recipe_refused():
    Recipe.parse({**tiny_recipe().model_dump(), "frozen": 0.5}, "recipe")
