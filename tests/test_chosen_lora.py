"""LoRA on chosen layers and projections, RoBERTa's head, and the kernels of subsets of layers."""

import copy

import numpy as np
import pytest
import torch
import transformers as tf
from peft import LoraConfig, TaskType, get_peft_model
from torch.func import functional_call, jacrev

import small_models
from tangentlm.batches import select_rows
from tangentlm.errors import InputError
from tangentlm.finetune.chosen_lora import kernel_by_layer, of_layers, with_lora
from tangentlm.kernels import draw_lora, entk, lora_entk_at_init
from tangentlm.models.classification_head import ClassificationModel
from tangentlm.models.projections import (
    PROJECTIONS,
    layer_and_projection,
    projection_layers,
    split_projections,
)

ARCHITECTURES = ("roberta", "bert", "distilbert", "modernbert")


def batch():
    rows = small_models.prompt_batch()
    return {name: rows[name] for name in ("input_ids", "attention_mask")}


def model_of(architecture, seed=0):
    pretrained = small_models.roughen(small_models.masked_lm(architecture))
    return ClassificationModel(pretrained, 2, seed).double().eval()


def jacobian(network, names):
    """The gradients of the logits by some parameters, (N, C, ...) each, in float64.

    Row by row without padding, of which ModernBERT makes NaN in float64.
    """
    chosen = {name: network.get_parameter(name).detach() for name in names}
    rows = [select_rows(batch(), slice(i, i + 1)) for i in range(len(batch()["input_ids"]))]
    found = [jacrev(lambda v, r=row: functional_call(network, v, (), r))(chosen) for row in rows]
    return {name: torch.cat([of_row[name] for of_row in found]).detach() for name in names}


def flat_jacobian(network, names):
    """The same in one matrix, (N, C, P)."""
    return torch.cat([part.flatten(2) for part in jacobian(network, names).values()], dim=2)


def by_autograd(network, names):
    """The full kernel of some parameters."""
    flat = flat_jacobian(network, names)
    return torch.einsum("icp,jdp->icjd", flat, flat).numpy()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_has_four_projections_a_layer(architecture):
    model = model_of(architecture)
    names = projection_layers(model, projections=PROJECTIONS)
    assert [layer_and_projection(name) for name in names] == [
        (layer, projection) for layer in range(2) for projection in PROJECTIONS
    ]
    for name in names:
        assert model.get_submodule(name).weight.shape == (16, 16)


def test_split_projections_compute_what_the_fused_layer_did():
    pretrained = small_models.roughen(small_models.masked_lm("modernbert")).double()
    row = select_rows(batch(), slice(0, 1))
    before = pretrained(**row).logits
    fused = pretrained.model.layers[0].attn.Wqkv.weight.clone()
    after = split_projections(pretrained)(**row).logits
    assert torch.allclose(before, after, rtol=1e-10)
    key = pretrained.get_submodule("model.layers.0.attn.Wqkv.key")
    assert torch.equal(key.weight, fused[16:32])


def test_lora_on_the_rows_of_the_keys_is_that_of_a_fused_matrix():
    """dB of the keys is the rows of the keys of the gradient of the fused matrix, times A^T."""
    model = model_of("modernbert")
    fused = copy.deepcopy(model)
    for layer in fused.body.layers:
        parts = layer.attn.Wqkv
        whole = torch.nn.Linear(16, 48, bias=False).double()
        whole.weight.data = torch.cat([part.weight.data for part in parts.children()])
        layer.attn.Wqkv = whole
    (name,) = projection_layers(model, [1], ["key"])
    A = draw_lora(model, [name], rank=3, seed=0)
    weight = name.removesuffix(".key") + ".weight"
    dB = 2.0 * jacobian(fused, [weight])[weight][:, :, 16:32] @ A[name].double().T
    expected = torch.einsum("icmr,jdmr->icjd", dB, dB).numpy()
    network = with_lora(model, A, alpha=6.0).double()
    found = kernel_by_layer(network, batch(), [name], precision="float64").values
    assert np.allclose(found, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("architecture", ["roberta", "modernbert"])
def test_one_call_has_the_kernels_of_all_subsets(architecture):
    model = model_of(architecture)
    names = projection_layers(model, projections=PROJECTIONS)
    A = draw_lora(model, names, rank=3, seed=1)
    network = with_lora(copy.deepcopy(model), A, alpha=5.0).double()
    kernel = kernel_by_layer(network, batch(), names, precision="float64")
    for subset in (names[:1], names[1::3], names):
        alone = with_lora(copy.deepcopy(model), {n: A[n] for n in subset}, alpha=5.0).double()
        # All that PEFT trains, the matrices A included; no adapter is elsewhere.
        trained = [n for n, p in alone.named_parameters() if p.requires_grad]
        assert len(trained) == 2 * len(subset)
        expected = by_autograd(alone, trained)
        assert np.allclose(of_layers(kernel, subset), expected, rtol=1e-8, atol=1e-14)
    again = lora_entk_at_init(model, batch(), A=A, alpha=5.0, precision="float64", progress=False)
    assert np.allclose(kernel.values, again.values, rtol=1e-9, atol=1e-14)


def test_signs_are_those_of_the_gradients():
    model = model_of("roberta")
    names = projection_layers(model, [0, 1], ["key"])
    network = with_lora(model, draw_lora(model, names, rank=2, seed=0), alpha=2.0).double()
    kernel = kernel_by_layer(
        network, batch(), names, formula="asymmetric-signgd", precision="float64"
    )
    flat = flat_jacobian(network, [f"{n}.lora_B.default.weight" for n in names])
    expected = torch.einsum("icp,jdp->icjd", flat, flat.sign()).numpy()
    assert np.allclose(kernel.values, expected, rtol=1e-9, atol=1e-14)


def test_the_head_may_be_in_the_kernel():
    network = model_of("roberta")
    names = projection_layers(network, [0])
    network = with_lora(network, draw_lora(network, names, rank=2, seed=0), alpha=2.0).double()
    for parameter in network.classifier.parameters():
        parameter.requires_grad_()
    kernel = kernel_by_layer(network, batch(), [*names, "classifier."], precision="float64")
    head = [n for n, _ in network.named_parameters() if n.startswith("classifier.")]
    expected = by_autograd(network, head)
    assert np.allclose(of_layers(kernel, ["classifier."]), expected, rtol=1e-9, atol=1e-12)


def test_the_head_is_that_of_transformers():
    config = small_models.masked_lm("roberta").config
    theirs = tf.RobertaForSequenceClassification(config).double().eval()
    ours = ClassificationModel(theirs, 2, 0).double().eval()
    ours.classifier.load_state_dict(theirs.classifier.state_dict())
    assert torch.allclose(ours(**batch()), theirs(**batch()).logits, atol=1e-12)


def test_the_paper_counts_the_same_parameters():
    """36,864 of LoRA on the keys of three layers and 592,130 of the head: Table 2."""
    config = tf.RobertaConfig(
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=8,
        vocab_size=10, max_position_embeddings=8,
    )  # fmt: skip
    model = ClassificationModel(tf.RobertaModel(config), 2, 0)
    names = projection_layers(model, [0, 5, 11], ["key"])
    head = sum(p.numel() for p in model.classifier.parameters())
    network = with_lora(model, draw_lora(model, names, rank=8, seed=0), alpha=8.0)
    lora = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert (lora, head, lora + head) == (36_864, 592_130, 628_994)


def test_the_start_is_that_of_peft_for_classification():
    """get_peft_model adapts the same layers, with B = 0, and A from the same distribution."""
    config = small_models.masked_lm("roberta").config
    theirs = tf.RobertaForSequenceClassification(config)
    targets = projection_layers(theirs, [0], ["query", "value"])
    options = LoraConfig(task_type=TaskType.SEQ_CLS, r=4, lora_alpha=8, target_modules=targets)
    names = projection_layers(theirs, [0])
    A = draw_lora(theirs, names, rank=4, seed=0)
    peft = get_peft_model(theirs, options)
    found = {n: p for n, p in peft.named_parameters() if "lora_" in n}
    assert len(found) == 4
    for name, parameter in found.items():
        if "lora_B" in name:
            assert not parameter.any()
        else:
            assert parameter.abs().max() <= 1 / np.sqrt(16)
    assert all(matrix.abs().max() <= 1 / np.sqrt(16) for matrix in A.values())


def test_a_head_is_drawn_anew_from_its_seed():
    model = model_of("bert", seed=3)
    first = model.classifier.dense.weight.clone()
    model.draw_head(4)
    assert not torch.equal(model.classifier.dense.weight, first)
    model.draw_head(3)
    assert torch.equal(model.classifier.dense.weight, first)
    assert float(first.detach().std()) == pytest.approx(
        0.2, rel=0.2
    )  # the small models' initializer_range


@pytest.mark.parametrize(
    ("layers", "projections", "message"),
    [
        ([2], ["key"], "layers 0 to 1, no layer 2"),
        ([-1], ["key"], "no layer -1"),
        ([0], ["keys"], "did you mean 'key'"),
    ],
)
def test_unknown_layers_and_projections_are_refused(layers, projections, message):
    with pytest.raises(InputError, match=message):
        projection_layers(model_of("roberta"), layers, projections)


def test_a_model_without_known_projections_is_refused():
    with pytest.raises(InputError, match="no projections"):
        projection_layers(torch.nn.Linear(2, 2))


def test_a_fused_layer_is_not_taken_for_a_projection():
    fused = small_models.masked_lm("modernbert")
    with pytest.raises(InputError, match="no query of its own"):
        projection_layers(fused, [0])


def test_a_subset_has_to_be_of_the_kernels_layers():
    model = model_of("roberta")
    names = projection_layers(model, [0])
    network = with_lora(model, draw_lora(model, names, rank=2, seed=0), alpha=2.0).double()
    kernel = kernel_by_layer(network, batch(), names, precision="float64")
    with pytest.raises(InputError, match="unknown layer"):
        of_layers(kernel, ["body.encoder.layer.1.attention.self.query"])
    only_a = entk(network, batch(), parameters=lambda n: "lora_A" in n, progress=False)
    assert not only_a.values.any()
