"""Options of the kernel that change the model: padding embedded twice, dropout that is live."""

import numpy as np
import pytest
import torch

import small_models
from tangentlm.afzal.condition import condition_number, reduced
from tangentlm.afzal.live_dropout import live_gradients, live_kernels
from tangentlm.afzal.pads import TWICE, EmbeddedTwice, with_pads
from tangentlm.afzal.pools import load_pool, paper_subsets
from tangentlm.errors import InputError
from tangentlm.finetune.chosen_lora import kernel_by_layer, of_layers, with_lora
from tangentlm.kernels import draw_lora
from tangentlm.models.classification_head import ClassificationModel
from tangentlm.models.projections import projection_layers

RANK, ALPHA = 4, 8.0


def batch():
    rows = small_models.prompt_batch()
    return {name: rows[name] for name in ("input_ids", "attention_mask")}


def network(projections=("query", "value")):
    pretrained = small_models.roughen(small_models.masked_lm("roberta"))
    model = ClassificationModel(pretrained, 2, head_seed=0).double().eval()
    names = projection_layers(model, projections=projections)
    A = draw_lora(model, names, rank=RANK, seed=0)
    return with_lora(model, A, ALPHA).double(), names


def difference(model, rows):
    logits = model(**rows)
    return logits[:, 1] - logits[:, 0]


def test_without_dropout_the_live_kernel_is_that_of_entk():
    model, names = network()
    expected = kernel_by_layer(model, batch(), names, precision="float64")
    found = live_kernels(model, batch(), names, rate=0.0, seed=0)
    for name in names:
        assert np.allclose(found[name], reduced(expected.groups[name]), rtol=1e-7, atol=1e-15)


def around(model, rows, name):
    """What enters a layer, (T, d), and the gradient of what it puts out, of one sample."""
    layer, seen = model.get_submodule(name), {}

    def keep(_module, inputs, output):
        seen["x"] = inputs[0][0].detach()
        output.register_hook(lambda gradient: seen.__setitem__("delta", gradient[0]))

    handle = layer.register_forward_hook(keep)
    difference(model, rows).sum().backward()
    handle.remove()
    return seen["x"], seen["delta"], layer.lora_A["default"].weight.detach()


def test_a_gradient_with_live_dropout_is_that_of_its_mask():
    """The masks that were drawn, caught on the way, put into the formula of the gradient of B."""
    model, names = network(projections=["key"])
    name = names[0]
    rows = {key: tensor[:1] for key, tensor in batch().items()}
    caught = []
    plain = torch.nn.functional.dropout

    def catching(x, p, training, inplace=False):
        out = plain(x, p, training, inplace)
        if training:
            caught.append((out / x).detach()[0])
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "dropout", catching)
        found = live_gradients(model, rows, [name], rate=0.5, seed=3)[name]
    (mask,) = caught
    assert sorted(mask.unique().tolist()) == [0.0, 2.0]
    x, delta, A = around(model, rows, name)
    expected = ALPHA / RANK * delta.T @ ((mask * x) @ A.T)
    assert np.allclose(found[0], expected.flatten().numpy(), rtol=1e-7, atol=1e-15)


def test_live_dropout_is_right_in_the_mean_and_asymmetric_each_time():
    """E[K] of two independent passes is the kernel without dropout."""
    model, names = network()
    name = names[-1]
    plain = reduced(kernel_by_layer(model, batch(), [name], precision="float64").values)
    draws = np.stack(
        [live_kernels(model, batch(), [name], rate=0.3, seed=seed)[name] for seed in range(60)]
    )
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    assert (abs(draws.mean(axis=0) - plain) < 5 * error).all()
    assert not np.allclose(draws[0], draws[0].T, rtol=1e-3)
    again = live_kernels(model, batch(), [name], rate=0.3, seed=0)[name]
    assert np.array_equal(again, draws[0])


def test_one_pass_with_live_dropout_adds_to_the_diagonal():
    """An entry's mask has variance p / (1 - p), and all masks are independent."""
    rate, draws = 0.5, 200
    model, names = network()
    name = names[-1]
    rows = {key: tensor[:1] for key, tensor in batch().items()}
    found = [live_gradients(model, rows, [name], rate=rate, seed=s)[name] for s in range(draws)]
    sizes = np.array([float(g[0] @ g[0]) for g in found])
    x, delta, A = around(model, rows, name)
    of_masks = (delta**2).sum(dim=1) @ (x**2) @ (A**2).sum(dim=0)
    plain = (ALPHA / RANK) ** 2 * float(((delta.T @ (x @ A.T)) ** 2).sum())
    added = (ALPHA / RANK) ** 2 * rate / (1 - rate) * float(of_masks)
    error = sizes.std(ddof=1) / np.sqrt(draws)
    assert abs(sizes.mean() - (plain + added)) < 4 * error
    assert added > 4 * error


def test_live_dropout_leaves_the_model_and_the_random_state_as_they_were():
    model, names = network()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    live_gradients(model, batch(), names, rate=0.5, seed=0)
    assert torch.equal(torch.rand(3), expected)
    assert not any(module.training for module in model.modules())
    kernel = kernel_by_layer(model, batch(), names)
    assert np.array_equal(kernel.values, kernel_by_layer(model, batch(), names).values)


def test_twice_embedded_is_the_body_on_embeddings_of_embeddings():
    """Against RoBERTa's own layers, called one by one."""
    pretrained = small_models.roughen(small_models.masked_lm("roberta")).double().eval()
    rows = with_pads(batch(), TWICE, length=11)
    body = pretrained.base_model
    layers = body.embeddings
    positions = torch.arange(11) + layers.padding_idx + 1
    with torch.no_grad():
        found = EmbeddedTwice(body)(**rows).last_hidden_state
        words = layers(rows["input_ids"])
        again = (
            words + layers.position_embeddings(positions) + layers.token_type_embeddings.weight[0]
        )
        expected = body.encoder(layers.LayerNorm(again)).last_hidden_state
        once = body(**rows).last_hidden_state
    assert torch.allclose(found, expected, rtol=1e-8, atol=1e-10)
    assert not torch.allclose(found, once, rtol=1e-2)


def test_twice_embedded_needs_a_layer_that_embeds():
    with pytest.raises(InputError, match="embeddings"):
        EmbeddedTwice(torch.nn.Linear(2, 2))


def test_a_pool_has_every_option():
    pools = {
        pads: load_pool("reviews", "pocket-xs", size=4, seed=0, pads=pads, max_length=48)
        for pads in ("masked", "attended", TWICE)
    }
    kappas = {}
    for pads, pool in pools.items():
        names = paper_subsets(pool, (0, 2, 3))["q+v {0,2,3}"]
        kernel = pool.kernel(0, names)
        kappas[pads] = condition_number(of_layers(kernel, names)[:, 0, :, 0])
        live = pool.live_kernels(0, names, 0.0)
        assert np.allclose(sum(live.values()), kernel.matrix(), rtol=1e-4, atol=1e-6)
    assert pools[TWICE].batch["input_ids"].shape[1] == 48
    assert len({round(kappa, 3) for kappa in kappas.values()}) == 3


def test_lora_may_start_otherwise():
    """A has variance 1 / (3 d), or 1 / r^2, and the kernel is that large in the mean."""
    traces, width = [], None
    for init in ("kaiming-uniform", "gaussian"):
        pool = load_pool("reviews", "pocket-xs", size=4, seed=0, rank=64, init=init)
        names = pool.layers([0])
        width = pool.model.get_submodule(names[0]).in_features
        traces.append(np.trace(pool.kernel(0, names).matrix()))
    assert traces[1] / traces[0] == pytest.approx(3 * width / 64**2, rel=0.2)
