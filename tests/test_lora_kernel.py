"""The kernel of LoRA at its start against PEFT, its expectation and its bound."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from small_models import Mlp, Tied, dense_batch, prompt_batch, prompt_model, token_batch
from tangentlm.errors import InputError, NonFiniteError
from tangentlm.kernels import (
    Kernel,
    draw_lora,
    entk,
    lora_entk_at_init,
    lora_error,
    lora_expected_scale,
)

EXACT = {"precision": "float64", "progress": False}
RANK, ALPHA = 4, 10.0


def with_peft(model: nn.Module, targets: list[str], init: bool | str = True) -> nn.Module:
    """A copy of the model with PEFT's adapters in it, as they are initialised."""
    torch.manual_seed(1)
    config = LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules=targets, init_lora_weights=init, lora_dropout=0.1
    )
    return inject_adapter_in_model(config, copy.deepcopy(model)).eval()


def matrices_of(adapted: nn.Module) -> dict[str, Tensor]:
    return {
        name: module.lora_A["default"].weight
        for name, module in adapted.named_modules()
        if hasattr(module, "lora_A")
    }


def relative_error(values: np.ndarray, expected: np.ndarray) -> float:
    assert values.shape == expected.shape
    return float(np.abs(values - expected).max() / np.abs(expected).max())


# --- against PEFT ---------------------------------------------------------------------------

TARGETS = {
    "roberta, queries and values": ("roberta", ["query", "value"]),
    "roberta, one layer": ("roberta", ["masked_lm.roberta.encoder.layer.1.attention.self.key"]),
    "roberta, all but the embeddings": ("roberta", ["query", "key", "value", "dense"]),
    "albert, one layer used twice": ("albert", ["query", "ffn"]),
    "modernbert": ("modernbert", ["Wqkv", "mlp.Wo"]),
}


@pytest.mark.parametrize(("architecture", "targets"), TARGETS.values(), ids=TARGETS)
def test_equals_the_kernel_of_peft(architecture, targets):
    model = prompt_model(architecture, classes=3)
    rows, columns = prompt_batch((9, 5, 7)), prompt_batch((6, 8), seed=2)
    adapted = with_peft(model, targets)
    A = matrices_of(adapted)
    for other in (None, columns):
        expected = entk(adapted, rows, other, parameters=lambda name: "lora_" in name, **EXACT)
        kernel = lora_entk_at_init(model, rows, other, A=A, alpha=ALPHA, **EXACT)
        assert relative_error(kernel.values, expected.values) <= 1e-10
    assert kernel.parameters == tuple(f"{name}.weight" for name in A)
    assert kernel.provenance == {"precision": "float64", "lora_alpha": ALPHA}


def test_groups_are_those_of_peft_and_sum_to_the_whole():
    model, rows = prompt_model(), prompt_batch()
    adapted = with_peft(model, ["query", "value"])
    expected = entk(
        adapted, rows, parameters=lambda name: "lora_B" in name, by="parameter", **EXACT
    )
    kernel = lora_entk_at_init(
        model, rows, A=matrices_of(adapted), alpha=ALPHA, by="parameter", **EXACT
    )
    assert len(kernel.groups) == 4
    for name, part in kernel.groups.items():
        same = name.replace("weight", "lora_B.default.weight")
        assert relative_error(part, expected.groups[same]) <= 1e-10
    assert relative_error(sum(kernel.groups.values()), kernel.values) <= 1e-12


@pytest.mark.parametrize("outputs", ["difference", "trace", "diagonal"])
def test_other_outputs_are_those_of_peft(outputs):
    model, rows = prompt_model(), prompt_batch()
    adapted = with_peft(model, ["query", "value"])
    options = {"outputs": outputs, **EXACT}
    expected = entk(adapted, rows, parameters=lambda name: "lora_" in name, **options)
    kernel = lora_entk_at_init(model, rows, A=matrices_of(adapted), alpha=ALPHA, **options)
    assert relative_error(kernel.values, expected.values) <= 1e-10


@pytest.mark.parametrize("memory", [1, 100_000])
def test_any_memory_gives_the_same(memory):
    model, rows = prompt_model(), prompt_batch((9, 5, 7, 6, 8, 9))
    A = draw_lora(model, ["query", "dense"], rank=RANK, seed=0)
    expected = lora_entk_at_init(model, rows, A=A, alpha=ALPHA, **EXACT).values
    values = lora_entk_at_init(model, rows, A=A, alpha=ALPHA, memory=memory, **EXACT).values
    assert relative_error(values, expected) <= 1e-12


class ByHand(Mlp):
    """Its first layer is read in a way that no rule covers, so it goes through autograd."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.einsum("bq,pq->bp", x, self.first.weight) + self.first.bias
        return self.second(torch.tanh(hidden))


def test_a_layer_without_a_rule_is_exact_too():
    A = draw_lora(Mlp(), ["first", "second"], rank=RANK, seed=0)
    expected = lora_entk_at_init(Mlp().eval(), dense_batch(4), A=A, alpha=ALPHA, **EXACT)
    kernel = lora_entk_at_init(ByHand().eval(), dense_batch(4), A=A, alpha=ALPHA, **EXACT)
    assert kernel.cost.by_autograd == ("first.weight",)
    assert relative_error(kernel.values, expected.values) <= 1e-10


# --- how A is drawn ---------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["kaiming-uniform", "gaussian", "isometric"])
def test_a_is_drawn_as_its_expected_scale_says(init):
    model = nn.Sequential(nn.Linear(300, 5), nn.Linear(5, 500))
    A = draw_lora(model, ["0"], rank=32, seed=0, init=init)["0"]
    assert (A.shape, A.dtype) == ((32, 300), torch.float32)
    scale = lora_expected_scale(32, ALPHA, 300, init)
    assert float((ALPHA / 32) ** 2 * A.square().sum() / 300) == pytest.approx(scale, rel=0.05)
    assert abs(float(A.mean())) < 4 * float(A.std()) / A.numel() ** 0.5
    assert (float(A.abs().max()) <= 300**-0.5) is (init == "kaiming-uniform")


def test_a_depends_on_the_seed_and_the_layer_alone():
    model = prompt_model()
    both = draw_lora(model, ["query", "value"], rank=3, seed=5)
    values = draw_lora(model, ["value"], rank=3, seed=5)
    assert len(both) == 4
    assert len(values) == 2
    assert all(torch.equal(A, both[name]) for name, A in values.items())
    others = draw_lora(model, ["value"], rank=3, seed=6)
    drawn = [*both.values(), *others.values()]
    assert not any(torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])


# --- expectation and bound ------------------------------------------------------------------


class Tokens(nn.Module):
    """Two linear layers of different width that see every position."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(12, 24)
        self.second = nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x))).square().mean(dim=1)


def tokens_batch() -> dict[str, Tensor]:
    return {"x": torch.randn(4, 5, 12, generator=torch.Generator().manual_seed(2))}


def trials(init: str, count: int) -> tuple[np.ndarray, Kernel]:
    """LoRA's kernels of many seeds, and that of the weights, by weight."""
    model, rows = Tokens().eval(), tokens_batch()
    weights = ["first.weight", "second.weight"]
    whole = entk(model, rows, parameters=weights, by="parameter", **EXACT)
    kernels = [
        lora_entk_at_init(
            model, rows, alpha=ALPHA, **EXACT,
            A=draw_lora(model, ["first", "second"], rank=RANK, seed=seed, init=init),
        ).matrix()
        for seed in range(count)
    ]  # fmt: skip
    return np.stack(kernels), whole


@pytest.mark.parametrize("init", ["kaiming-uniform", "isometric"])
def test_mean_is_the_expected_multiple_of_each_layers_kernel_and_errors_are_bounded(init):
    kernels, whole = trials(init, count=150)
    scales = np.array([lora_expected_scale(RANK, ALPHA, d_in, init) for d_in in (12, 24)])
    parts = np.stack([part.reshape(8, 8) for part in whole.groups.values()])
    expected = np.einsum("l,lij->ij", scales, parts)
    assert relative_error(kernels.mean(axis=0), expected) <= 0.15
    delta = 0.2
    norms = np.sqrt(np.stack([part.diagonal() for part in parts], axis=1))
    bound = lora_error(RANK, delta, norms, scales=scales)
    worst = (np.abs(kernels - expected) / bound).max(axis=(1, 2))
    assert np.mean(worst > 1) <= delta
    assert np.quantile(worst, 0.9) >= 0.15  # the bound says something


def test_with_the_papers_a_a_large_rank_gives_the_kernel_of_the_weights():
    model, rows = Tokens().eval(), tokens_batch()
    A = draw_lora(model, ["first"], rank=40_000, seed=0, init="isometric")
    kernel = lora_entk_at_init(model, rows, A=A, alpha=40_000, **EXACT)
    expected = entk(model, rows, parameters=["first.weight"], **EXACT)
    assert relative_error(kernel.values, expected.values) <= 0.05


# --- refusals -------------------------------------------------------------------------------


class Decoded(Tied):
    """A linear layer that shares its weight with the embedding, and one used twice over."""

    def forward(self, ids: Tensor) -> Tensor:
        hidden = torch.tanh(self.middle(self.embedding(ids).mean(dim=1)))
        return self.decoder(hidden @ self.middle.weight)[:, :3]


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        (["midle"], {}, "unknown target 'midle'; did you mean 'middle'"),
        (["embedding"], {}, "embedding has to be nn.Linear, not Embedding"),
        (["decoder"], {}, "only owner of its weight; embedding has it"),
        (["middle"], {"rank": 0}, "rank = 0"),
        (["middle"], {"init": "kaiming"}, "unknown init 'kaiming'; did you mean 'kaiming-uniform'"),
    ],
)
def test_a_that_cannot_be_drawn_is_refused(targets, options, message):
    with pytest.raises(InputError, match=message):
        draw_lora(Tied(), targets, **{"rank": RANK, "seed": 0, **options})


@pytest.mark.parametrize(
    ("A", "options", "message"),
    [
        ({"midle": torch.zeros(2, 6)}, {}, "unknown layer 'midle'; did you mean 'middle'"),
        ({"embedding": torch.zeros(2, 6)}, {}, "embedding has to be nn.Linear"),
        ({"decoder": torch.zeros(2, 6)}, {}, "only owner of its weight; embedding has it"),
        ({"middle": torch.zeros(2, 5)}, {}, r"A of middle has shape \(2, 5\), not \(r, 6\)"),
        ({"middle": torch.zeros(6)}, {}, r"A of middle has shape \(6,\)"),
        ({"middle": torch.ones(2, 6)}, {"alpha": 0.0}, "alpha = 0.0 must be positive"),
        ({"middle": torch.ones(2, 6)}, {"precision": "float46"}, "did you mean 'float64'"),
        ({"middle": torch.ones(2, 6)}, {}, "middle.weight is used in other ways"),
        ({}, {}, "no parameter"),
    ],
)
def test_wrong_input_is_refused(A, options, message):
    with pytest.raises(InputError, match=message):
        lora_entk_at_init(
            Decoded().eval(), token_batch(3), A=A, progress=False, **{"alpha": ALPHA, **options}
        )


def test_infinite_a_is_refused():
    A = {"first": torch.full((2, 5), float("inf"))}
    with pytest.raises(NonFiniteError, match="sample 0 of the rows"):
        lora_entk_at_init(Mlp().eval(), dense_batch(4), A=A, alpha=ALPHA, progress=False)
