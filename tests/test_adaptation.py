"""LoRA and the random subspace against PEFT, explicit matrices and autograd."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.func import functional_call

from small_models import prompt_batch, prompt_model, text_batch
from tangentlm.batches import Labelled
from tangentlm.errors import InputError
from tangentlm.finetune.adaptation import IntrinsicModel, adapted, adapted_kernel, lora_targets
from tangentlm.finetune.loop import Schedule, fine_tune, snapshot
from tangentlm.finetune.taylor import linearized_logits
from tangentlm.kernels import entk
from tangentlm.kernels.projection import Projection
from tangentlm.models.heads import LinearHeadModel
from tangentlm.models.logits import logits_of
from tangentlm.models.parts import head, untie
from tiny import tiny_masked_lm

DIMENSION = 12


def linear_model(seed: int = 0):
    """A linear head away from zero."""
    torch.manual_seed(seed)
    model = LinearHeadModel(tiny_masked_lm("roberta"), 3).eval()
    torch.nn.init.normal_(model.classifier.weight, std=0.1)
    return model


def matrix_of(model, seed):
    """P by parameter, (entries, k), in float64."""
    projection = Projection(DIMENSION, seed)
    return {
        name: torch.from_numpy(projection.signs(name, 0, p.numel())) / DIMENSION**0.5
        for name, p in model.named_parameters()
    }


# --- LoRA -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "targets"),
    [
        ("roberta", ["query", "value"]), ("bert", ["query", "value"]),
        ("albert", ["query", "value"]), ("distilbert", ["q_lin", "v_lin"]),
        ("modernbert", ["Wqkv"]),
    ],
)  # fmt: skip
def test_lora_adapts_queries_and_values_and_starts_at_the_model(architecture, targets):
    model, batch = prompt_model(architecture), prompt_batch()
    before = logits_of(model, batch)
    assert lora_targets(model) == targets
    network = adapted(model, "lora", rank=2, alpha=4.0, seed=3)
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    assert all(any(f".{target}." in name for target in targets) for name in trained)
    assert torch.equal(logits_of(network, batch), before)


def test_an_architecture_without_known_targets_is_refused():
    model = prompt_model("roberta")
    model.masked_lm.config.model_type = "unheard-of"
    with pytest.raises(InputError, match="no LoRA targets are known for the architecture unheard"):
        adapted(model, "lora")


@pytest.mark.parametrize("head", ["prompt", "linear"])
def test_the_lora_kernel_is_that_of_what_lora_trains(head):
    model = prompt_model() if head == "prompt" else linear_model()
    rows = prompt_batch() if head == "prompt" else text_batch((9, 5, 7))
    kernel = adapted_kernel(model, "lora", rows, rank=2, alpha=4.0, seed=3)
    network = adapted(model, "lora", rank=2, alpha=4.0, seed=3)
    expected = entk(network, rows, progress=False)
    scale = abs(expected.values).max()
    assert kernel.values == pytest.approx(expected.values, abs=1e-5 * scale)


def authors_network(model, **lora):
    """LoRA as in the authors' code: a decoder of its own; all frozen but LoRA and the head."""
    head = model.masked_lm.get_output_embeddings()
    rows = head.weight[head.word_ids].detach().clone().requires_grad_()
    bias = None if head.bias is None else head.bias[head.word_ids].detach().clone().requires_grad_()
    network = adapted(model, "lora", **lora)
    others = [
        p
        for name, p in network.named_parameters()
        if "lm_head" in name and "decoder" not in name and "embedding" not in name
    ]
    lora_matrices = [p for name, p in network.named_parameters() if "lora_" in name]

    def logits(row):
        hidden = []
        decoder = network.masked_lm.get_output_embeddings()
        hook = decoder.register_forward_pre_hook(lambda _, args: hidden.append(args[0]))
        network(**row)
        hook.remove()
        return torch.nn.functional.linear(hidden[0], rows, bias).reshape(-1)

    return logits, [*lora_matrices, *others, rows, *([] if bias is None else [bias])]


@pytest.mark.parametrize("classes", [2, 3])
def test_the_lora_kernel_with_a_trained_head_is_that_of_autograd(classes):
    lora = {"rank": 2, "alpha": 4.0, "seed": 3}
    rows = prompt_batch()
    logits, parameters = authors_network(prompt_model("roberta", classes=classes).double(), **lora)
    for parameter in parameters:
        parameter.requires_grad_()
    gradients = []
    for index in range(len(rows["input_ids"])):
        outputs = logits({name: tensor[index : index + 1] for name, tensor in rows.items()})
        of_outputs = [
            torch.autograd.grad(f, parameters, retain_graph=True, materialize_grads=True,
                                allow_unused=True)
            for f in outputs
        ]  # fmt: skip
        gradients.append(torch.stack([torch.cat([g.ravel() for g in one]) for one in of_outputs]))
    G = torch.stack(gradients)
    expected = torch.einsum("icp,jdp->icjd", G, G).numpy()
    kernel = adapted_kernel(
        prompt_model("roberta", classes=classes), "lora", rows, train_head=True, **lora
    )
    assert kernel.values == pytest.approx(expected, abs=1e-5 * abs(expected).max())
    frozen = adapted_kernel(prompt_model("roberta", classes=classes), "lora", rows, **lora)
    assert abs(kernel.values - frozen.values).max() > 0.1 * abs(expected).max()


@pytest.mark.parametrize("architecture", ["roberta", "bert", "modernbert", "distilbert"])
def test_lora_trains_the_prompt_s_head_where_that_is_asked(architecture):
    model, batch = prompt_model(architecture), prompt_batch()
    before = logits_of(model, batch)
    network = adapted(model, "lora", rank=2, seed=3, train_head=True)
    assert torch.equal(logits_of(network, batch), before)
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    body = {id(p) for p in network.masked_lm.base_model.parameters()}
    for name, parameter in network.named_parameters():
        assert (name in trained) == ("lora_" in name or id(parameter) not in body)
    decoder = network.masked_lm.get_output_embeddings()
    assert decoder.weight.requires_grad
    assert not network.masked_lm.get_input_embeddings().weight.requires_grad
    expected = entk(network, batch, progress=False).values
    kernel = adapted_kernel(
        prompt_model(architecture), "lora", batch, rank=2, seed=3, train_head=True
    )
    assert kernel.values == pytest.approx(expected, abs=1e-5 * abs(expected).max())


def test_an_untied_head_is_untied_once():
    model = prompt_model("roberta")
    untie(model)
    names, decoder = head(model), model.masked_lm.get_output_embeddings()
    untie(model)
    assert head(model) == names
    assert model.masked_lm.get_output_embeddings() is decoder


def test_lora_trains_the_linear_head_too():
    network = adapted(linear_model(), "lora", rank=2)
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert {"classifier.weight", "classifier.bias"} < trained


# --- the random subspace --------------------------------------------------------------------


def test_theta_is_the_start_plus_p_z():
    model, batch = prompt_model(), prompt_batch()
    reference = copy.deepcopy(model).double()
    network = IntrinsicModel(model, DIMENSION, seed=5).double()
    with torch.no_grad():
        network.z.copy_(torch.linspace(-1e-2, 1e-2, DIMENSION))
    P = matrix_of(reference, 5)
    moved = {
        name: p + (P[name] @ network.z.detach()).view(p.shape)
        for name, p in reference.named_parameters()
    }
    expected = functional_call(reference, moved, (), batch)
    assert torch.allclose(network(**batch), expected, rtol=1e-10, atol=1e-12)


def test_the_gradient_of_z_is_the_projected_gradient():
    model, batch = prompt_model(), prompt_batch()
    reference = copy.deepcopy(model).double()
    network = IntrinsicModel(model, DIMENSION, seed=5).double()
    network(**batch).sum().backward()
    reference(**batch).sum().backward()
    P = matrix_of(reference, 5)
    expected = sum(
        p.grad.flatten() @ P[name] for name, p in reference.named_parameters() if p.grad is not None
    )
    assert torch.allclose(network.z.grad, expected, rtol=1e-9, atol=1e-12)
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["z"]


def test_its_kernel_is_that_of_the_subspace():
    model, rows = prompt_model(), prompt_batch()
    kernel = adapted_kernel(model, "intrinsic", rows, dimension=DIMENSION, seed=5)
    network = IntrinsicModel(model, DIMENSION, seed=5)
    gradients = []
    for index in range(len(rows["input_ids"])):
        logits = network(**{name: tensor[index : index + 1] for name, tensor in rows.items()})
        of_logits = [torch.autograd.grad(f, network.z, retain_graph=True)[0] for f in logits[0]]
        gradients.append(torch.stack(of_logits))
    G = torch.stack(gradients)
    expected = torch.einsum("ick,jdk->icjd", G, G).numpy()
    assert kernel.values == pytest.approx(expected, abs=1e-4 * float(abs(expected).max()))


@pytest.mark.parametrize("adaptation", ["full", "lora", "intrinsic"])
def test_training_moves_only_what_is_adapted_and_its_taylor_model_follows(adaptation):
    batch = prompt_batch((9, 5, 7, 8))
    samples = Labelled(batch, torch.tensor([0, 1, 1, 0]))
    network = adapted(
        prompt_model(classes=2), adaptation, rank=2, dimension=DIMENSION, seed=1
    ).eval()
    start = snapshot(network)
    schedule = Schedule("sgd", 1e-2, 2, 6, 3, 13)
    tuned = fine_tune(network, samples, samples, schedule, progress=False)
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    assert all(torch.equal(start[name], tuned.state[name]) for name in frozen)
    assert (adaptation == "full") == (not frozen)
    network.load_state_dict(tuned.state)
    moved = logits_of(network, batch) - logits_of_state(network, start, batch)
    taylor = linearized_logits(network, start, tuned.state, batch)
    linear = taylor - logits_of_state(network, start, batch)
    assert moved.norm() > 0
    assert (moved - linear).norm() < 0.2 * moved.norm()


def logits_of_state(network, state, batch):
    other = copy.deepcopy(network)
    other.load_state_dict(state)
    return logits_of(other, batch)


# --- what there is not ----------------------------------------------------------------------


@pytest.mark.parametrize("adaptation", ["lora", "intrinsic"])
def test_sign_kernels_are_of_all_parameters_only(adaptation):
    with pytest.raises(InputError, match=f"no signgd kernel of the adaptation {adaptation}"):
        adapted_kernel(prompt_model(), adaptation, prompt_batch(), formula="signgd")
