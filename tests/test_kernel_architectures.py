"""``entk`` against autograd on every kind of transformer, head, adapter and padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from oracle import exact, expected_kernel, one_row, relative_error
from small_models import (
    ARCHITECTURES,
    CAUSAL_ARCHITECTURES,
    LABEL_WORDS,
    Direct,
    Mlp,
    Tied,
    Unused,
    causal_model,
    dense_batch,
    masked_lm,
    prompt_batch,
    prompt_model,
    roughen,
    text_batch,
    token_batch,
    with_lora,
)
from tangentlm.kernels import entk
from tangentlm.models.heads import LinearHeadModel, PromptModel

TOLERANCE = 1e-10


def linear_head(architecture: str) -> nn.Module:
    """A linear head that is not at zero, so that the body has a gradient."""
    model = LinearHeadModel(masked_lm(architecture), 3)
    torch.manual_seed(1)
    nn.init.normal_(model.classifier.weight)
    return roughen(model).eval()


def masked_cases(tied: bool):
    return {
        f"{name}-{'tied' if tied else 'untied'}": lambda name=name: (
            roughen(prompt_model(name, classes=3, tied=tied)),
            prompt_batch((9, 5, 7)),
            prompt_batch((6, 8), seed=2),
        )
        for name in ARCHITECTURES
    }


# Every case: a model, N rows and M columns of different lengths. Rules cover all of them.
CASES = {
    "mlp": lambda: (Mlp().eval(), dense_batch(4), dense_batch(3, seed=2)),
    "direct": lambda: (Direct().eval(), dense_batch(4), dense_batch(3, seed=2)),
    "unused": lambda: (Unused().eval(), dense_batch(4), dense_batch(3, seed=2)),
    "tied": lambda: (Tied().eval(), token_batch(4), token_batch(3, seed=2)),
    **masked_cases(tied=True),
    **masked_cases(tied=False),
    **{
        f"{name}-linear-head": lambda name=name: (
            linear_head(name), text_batch((9, 5, 7)), text_batch((6, 8), seed=2),
        )
        for name in ARCHITECTURES
    },
    **{
        f"{name}-{'tied' if tied else 'untied'}": lambda name=name, tied=tied: (
            roughen(causal_model(name, tied=tied)),
            text_batch((9, 5, 7)),
            text_batch((6, 8), seed=2),
        )
        for name in CAUSAL_ARCHITECTURES
        for tied in (True, False)
    },
}  # fmt: skip
BY_AUTOGRAD = {"direct": ("weight",), "unused": ("weight", "muted")}


@pytest.mark.parametrize("name", CASES)
def test_equals_autograd(name):
    model, rows, columns = CASES[name]()
    kernel = exact(model, rows, columns)
    assert kernel.values.dtype == np.float64
    assert kernel.parameters == tuple(name for name, _ in model.named_parameters())
    assert kernel.cost.by_autograd == BY_AUTOGRAD.get(name, ())
    assert relative_error(kernel.values, expected_kernel(model, rows, columns)) <= TOLERANCE
    symmetric = exact(model, rows)
    assert relative_error(symmetric.values, expected_kernel(model, rows)) <= TOLERANCE
    assert np.array_equal(symmetric.matrix(), symmetric.matrix().T)
    crossed = exact(model, rows, rows)
    assert relative_error(crossed.values, symmetric.values) <= 1e-12


@pytest.mark.parametrize("case", ["modernbert-tied", "roberta-tied", "gpt2-tied", "llama-untied"])
def test_padding_contributes_nothing(case):
    model, rows, _ = CASES[case]()
    together = exact(model, rows)
    for i in range(3):
        alone = exact(model, one_row(rows, i)).values
        assert relative_error(together.values[i : i + 1, :, i : i + 1], alone) <= 1e-12


def test_padding_on_the_left_contributes_nothing_where_the_model_lets_it():
    # Rotary positions are relative, so the model does not see how far to the right a text is.
    # (In double precision it is not finite itself on positions that see nothing.)
    model, batch = roughen(causal_model("llama")), text_batch((9, 5, 7))
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    left = {
        name: torch.stack([row.roll(-n) for row, n in zip(tensor, lengths, strict=True)])
        for name, tensor in batch.items()
    }
    assert left["attention_mask"][1].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    kernel = entk(model, left, progress=False)
    assert kernel.cost.by_autograd == ()
    assert relative_error(kernel.values, exact(model, batch).values) <= 1e-4


def test_an_input_full_of_label_words():
    # Each of them gets a gradient as an embedding and as a row of the decoder.
    model, batch = prompt_model("roberta", classes=3), prompt_batch((9, 8))
    ids = batch["input_ids"]
    ordinary = ids > max(LABEL_WORDS)
    ids[ordinary] = torch.tensor(LABEL_WORDS)[torch.arange(int(ordinary.sum())) % 3]
    kernel = exact(model, batch)
    assert kernel.cost.by_autograd == ()
    assert relative_error(kernel.values, expected_kernel(model, batch)) <= TOLERANCE


def test_the_same_label_word_twice():
    model, batch = PromptModel(masked_lm("roberta"), [7, 9, 7]).eval(), prompt_batch()
    values = exact(model, batch).values
    assert relative_error(values, expected_kernel(model, batch)) <= TOLERANCE
    assert np.array_equal(values[:, 0], values[:, 2])


def test_linear_head_at_zero():
    # With a head at zero the body has no gradient: the kernel is that of the head's features.
    model, batch = LinearHeadModel(masked_lm("roberta"), 3).eval(), text_batch()
    kernel = exact(model, batch)
    double = LinearHeadModel(masked_lm("roberta"), 3).eval().double()
    with torch.no_grad():
        hidden = double.body(**batch).last_hidden_state[:, 0]
    expected = np.einsum("ij,cd->icjd", (hidden @ hidden.T + 1).numpy(), np.eye(3))
    assert relative_error(kernel.values, expected) <= TOLERANCE


# --- adapters -------------------------------------------------------------------------------

GPT2_PROJECTIONS = ["c_attn", "c_proj", "c_fc"]
LORA = {
    "one projection": ("roberta", ["query"], {}),
    "two projections": ("roberta", ["query", "value"], {}),
    "one layer": ("roberta", ["query", "value"], {"layers_to_transform": [1]}),
    "a key in one layer and a query in the other": (
        "roberta", r".*layer\.(0\.attention\.self\.query|1\.attention\.self\.key)", {},
    ),
    "everything": ("bert", "all-linear", {}),
    "shared layers": ("albert", ["query", "value", "ffn"], {}),
    "fused projections": ("modernbert", ["Wqkv", "Wo"], {}),
    "stored the other way round": ("gpt2", GPT2_PROJECTIONS, {"fan_in_fan_out": True}),
    "rotary": ("llama", ["q_proj", "v_proj", "down_proj"], {"layers_to_transform": [0]}),
    "with biases": ("roberta", ["query", "value"], {"bias": "all"}),
    "scaled by the root of the rank": ("distilbert", ["q_lin", "v_lin"], {"use_rslora": True}),
}  # fmt: skip
OTHER_ADAPTERS = {
    "on the embedding": ("gpt2", ["wte"], {}),
    "weight-decomposed": ("roberta", ["query"], {"use_dora": True}),
}


def lora_case(architecture, targets, options, **more):
    causal = architecture in CAUSAL_ARCHITECTURES
    model = causal_model(architecture) if causal else prompt_model(architecture)
    make = text_batch if causal else prompt_batch
    return with_lora(roughen(model), targets, **options, **more), make((9, 5, 7)), make((6, 8), 2)


@pytest.mark.parametrize("zero", [False, True], ids=["", "zero"])
@pytest.mark.parametrize("case", LORA)
def test_adapters_alone(case, zero):
    model, rows, columns = lora_case(*LORA[case], zero=zero)
    kernel = exact(model, rows, columns, by="parameter")
    assert kernel.cost.by_autograd == ()
    assert relative_error(kernel.values, expected_kernel(model, rows, columns)) <= TOLERANCE
    for name, group in kernel.groups.items():
        assert "lora_" in name or case == "with biases"
        # As long as the second factor is zero, the first has no gradient.
        if "lora_A" in name:
            assert group.any() != zero
        if "lora_B" in name:
            assert group.any()


@pytest.mark.parametrize("case", ["two projections", "stored the other way round"])
def test_adapters_and_the_model_under_them(case):
    model, rows, columns = lora_case(*LORA[case])
    model.requires_grad_(True)
    kernel = exact(model, rows, columns)
    assert kernel.cost.by_autograd == ()
    assert len(kernel.parameters) > 20
    assert relative_error(kernel.values, expected_kernel(model, rows, columns)) <= TOLERANCE


@pytest.mark.parametrize("case", OTHER_ADAPTERS)
def test_other_adapters_go_by_autograd(case):
    model, rows, columns = lora_case(*OTHER_ADAPTERS[case])
    kernel = exact(model, rows, columns)
    assert kernel.cost.by_autograd
    assert relative_error(kernel.values, expected_kernel(model, rows, columns)) <= TOLERANCE


# --- any texts ------------------------------------------------------------------------------

MODELS = {}


def kept(architecture: str) -> nn.Module:
    if architecture not in MODELS:
        causal = architecture in CAUSAL_ARCHITECTURES
        MODELS[architecture] = roughen(
            causal_model(architecture) if causal else prompt_model(architecture, classes=3)
        )
    return MODELS[architecture]


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    architecture=st.sampled_from(ARCHITECTURES + CAUSAL_ARCHITECTURES),
    lengths=st.lists(st.integers(4, 14), min_size=1, max_size=3).map(tuple),
    others=st.lists(st.integers(4, 14), min_size=1, max_size=2).map(tuple),
    seed=st.integers(0, 99),
)
def test_any_texts(architecture, lengths, others, seed):
    model = kept(architecture)
    make = text_batch if architecture in CAUSAL_ARCHITECTURES else prompt_batch
    rows, columns = make(lengths, seed), make(others, seed + 100)
    kernel = exact(model, rows, columns)
    assert kernel.cost.by_autograd == ()
    assert relative_error(kernel.values, expected_kernel(model, rows, columns)) <= TOLERANCE
