"""The formulas, outputs, groups and precisions of ``entk``, by their definitions."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle import FORMULAS, OUTPUTS, contract, exact, jacobian, relative_error
from small_models import (
    Attention,
    Mlp,
    Tied,
    causal_model,
    dense_batch,
    prompt_batch,
    prompt_model,
    roughen,
    text_batch,
    token_batch,
    with_lora,
)
from tangentlm.errors import InputError
from tangentlm.kernels import entk, reference_entk
from tangentlm.kernels.precision import Products

TOLERANCE = 1e-10

# Two classes, so that all outputs exist; a model, N rows, M columns, and what names a key's bias.
CASES = {
    "mlp": lambda: (Mlp(classes=2).eval(), dense_batch(4), dense_batch(3, seed=2), None),
    "tied": lambda: (Tied(classes=2).eval(), token_batch(4), token_batch(3, seed=2), None),
    "roberta": lambda: (*prompted("roberta"), "key.bias"),
    "bert": lambda: (*prompted("bert"), "key.bias"),
    "distilbert": lambda: (*prompted("distilbert"), "k_lin.bias"),
    "albert": lambda: (*prompted("albert"), "key.bias"),
    "modernbert": lambda: (*prompted("modernbert"), None),
    "llama": lambda: (
        roughen(causal_model("llama", classes=2)),
        text_batch((9, 5, 7)),
        text_batch((6, 8), seed=2),
        None,
    ),
    "adapters": lambda: (
        with_lora(prompted()[0], ["query", "value"]),
        *prompted()[1:],
        None,
    ),
}


def prompted(architecture: str = "roberta"):
    model = roughen(prompt_model(architecture, classes=2))
    return model, prompt_batch((9, 5, 7)), prompt_batch((6, 8), seed=2)


@functools.cache
def case(name: str):
    """The model and its batches, and the Jacobians of all parameters but the keys' biases."""
    model, rows, columns, keys = CASES[name]()

    def counts(parameter: str) -> bool:
        return keys is None or not parameter.endswith(keys)

    return model, rows, columns, jacobian(model, rows, counts), jacobian(model, columns, counts)


ALL = [(formula, outputs) for formula in FORMULAS for outputs in OUTPUTS]
SOME = [
    ("sgd", "diagonal"),
    ("signgd", "full"),
    ("signgd", "difference"),
    ("asymmetric-signgd", "trace"),
]


@pytest.mark.parametrize(
    ("name", "formula", "outputs"),
    [
        (name, *options)
        for name in CASES
        for options in (ALL if name in ("mlp", "tied", "roberta") else SOME)
    ],
)
def test_is_what_its_definition_says(name, formula, outputs):
    model, rows, columns, left, right = case(name)
    options = {"formula": formula, "outputs": outputs}
    crossed = exact(model, rows, columns, **options)
    symmetric = exact(model, rows, **options)
    assert (crossed.formula, crossed.outputs) == (formula, outputs)
    assert crossed.cost.by_autograd == symmetric.cost.by_autograd == ()
    assert relative_error(crossed.values, contract(left, right, **options)) <= TOLERANCE
    assert relative_error(symmetric.values, contract(left, left, **options)) <= TOLERANCE
    if formula == "signgd":  # Counts.
        assert np.array_equal(symmetric.values, contract(left, left, **options))


@pytest.mark.parametrize("formula", FORMULAS)
def test_reference_is_what_its_definition_says(formula):
    _, rows, columns, left, right = case("bert")
    for outputs in ("full", "difference"):
        double = roughen(prompt_model("bert", classes=2)).double()
        options = {"formula": formula, "outputs": outputs}
        values = reference_entk(double, rows, columns, **options)
        assert relative_error(values, contract(left, right, **options)) <= TOLERANCE
        values = reference_entk(double, rows, **options)
        assert relative_error(values, contract(left, left, **options)) <= TOLERANCE


@pytest.mark.parametrize("columns", [None, dense_batch(3, seed=2)])
@pytest.mark.parametrize("formula", FORMULAS)
def test_outputs_belong_together(formula, columns):
    model, rows = Mlp().eval(), dense_batch(4)
    full, trace, diagonal = (
        exact(model, rows, columns, formula=formula, outputs=outputs).values
        for outputs in ("full", "trace", "diagonal")
    )
    assert relative_error(trace[:, 0, :, 0], np.einsum("icjc->ij", full)) <= 1e-12
    assert relative_error(diagonal, full * np.eye(3)[None, :, None, :]) <= 1e-12


def test_asymmetric_kernel_has_its_signs_on_the_columns():
    model, rows, columns, left, right = case("mlp")
    plain = exact(model, rows, columns, formula="asymmetric-signgd").values
    swapped = exact(model, columns, rows, formula="asymmetric-signgd").values
    assert relative_error(plain, swapped.transpose(2, 3, 0, 1)) > 0.1
    assert relative_error(swapped, contract(right, left, "asymmetric-signgd")) <= TOLERANCE


# --- gradients that are zero ----------------------------------------------------------------

KEYS = {
    "roberta": "key.bias",
    "bert": "key.bias",
    "distilbert": "k_lin.bias",
    "albert": "key.bias",
}
PRECISIONS = ("float64", "float32", "bfloat16", "bfloat16x3")


@pytest.mark.parametrize(
    ("architecture", "precision"),
    [
        *((architecture, p) for architecture in KEYS for p in ("float64", "float32")),
        ("roberta", "bfloat16"),
        ("roberta", "bfloat16x3"),
    ],
)
def test_biases_of_keys_have_no_sign(architecture, precision):
    # A softmax does not see what is added to all its inputs, so their gradient is zero; what is
    # left of it is round-off, whose signs would count as much as any.
    model, rows, columns = prompted(architecture)
    for others, formula in ((None, "signgd"), (columns, "asymmetric-signgd")):
        kernel = exact(model, rows, others, formula=formula, by="parameter", precision=precision)
        keys = [name for name in kernel.groups if name.endswith(KEYS[architecture])]
        assert keys
        assert not any(kernel.groups[name].any() for name in keys)
        assert all(group.any() for name, group in kernel.groups.items() if name not in keys)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("fused", ["gpt2", "attention"])
def test_the_key_part_of_a_fused_bias_has_no_sign(fused, precision):
    # One vector holds the biases of queries, keys and values; only keys have no gradient.
    if fused == "gpt2":
        model, rows, width = roughen(causal_model("gpt2", classes=2)), text_batch((9, 5, 7)), 16
    else:
        model, rows, width = roughen(Attention(classes=2).eval()), token_batch(4, length=6), 8
    options = {"precision": precision, "by": "parameter", "formula": "signgd", "progress": False}
    kernel = entk(model, rows, **options)
    assert bool(kernel.cost.by_autograd) == (fused == "attention")
    biases = [n for n in kernel.groups if n.endswith(("c_attn.bias", "in_proj_bias"))]
    assert len(biases) == (2 if fused == "gpt2" else 1)
    for name in biases:
        norms = np.einsum("icic->ic", kernel.groups[name])
        assert np.array_equal(norms, np.full_like(norms, 2 * width))


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_key_bias_that_is_added_on_its_own_has_no_sign(precision):
    model, rows = Attention(classes=2).eval(), token_batch(4, length=6)
    options = {"precision": precision, "by": "parameter", "formula": "signgd", "progress": False}
    kernel = entk(model, rows, **options)
    assert "keys" not in kernel.cost.by_autograd
    assert not kernel.groups["keys"].any()


def test_signs_of_single_precision_are_almost_those_of_double():
    model, rows, columns, left, right = case("roberta")
    expected = contract(left, right, "signgd")
    values = entk(model, rows, columns, formula="signgd", progress=False).values
    count = left["full"].shape[2]
    assert np.abs(values - expected).max() <= 1e-3 * count


# --- groups ---------------------------------------------------------------------------------

BY = {
    "parameter": "parameter",
    "layer": "layer",
    "function": lambda name: "bias" if name.endswith("bias") else "other",
    "one": lambda name: "all",
}


@pytest.mark.parametrize(("formula", "outputs"), [*SOME, ("sgd", "full")])
@pytest.mark.parametrize("by", BY)
def test_groups_sum_to_the_kernel(by, formula, outputs):
    model, rows, columns, _, _ = case("roberta")
    options = {"formula": formula, "outputs": outputs}
    whole = exact(model, rows, columns, **options)
    split = exact(model, rows, columns, by=BY[by], **options)
    assert whole.groups == {}
    assert relative_error(split.values, whole.values) <= 1e-12
    assert relative_error(sum(split.groups.values()), whole.values) <= 1e-12
    assert all(group.shape == whole.values.shape for group in split.groups.values())


@pytest.mark.parametrize("formula", FORMULAS)
def test_every_group_is_the_kernel_of_its_parameters(formula):
    model, rows, columns, _, _ = case("albert")
    split = exact(model, rows, columns, by="layer", formula=formula)
    assert len(split.groups) >= 4
    for name, group in split.groups.items():
        only = [n for n in split.parameters if layer(n) == name]
        alone = exact(model, rows, columns, parameters=only, formula=formula).values
        assert relative_error(group, alone) <= 1e-12


def layer(name: str) -> str:
    """The module that a parameter is in, up to the first number."""
    parts = name.split(".")
    numbers = [i for i, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbers[0] + 1] if numbers else parts[:-1])


def test_names_of_groups():
    model, rows = Mlp().eval(), dense_batch(2)
    names = tuple(name for name, _ in model.named_parameters())
    assert tuple(exact(model, rows, by="parameter").groups) == names
    assert tuple(exact(model, rows, by="layer").groups) == ("first", "second")
    assert tuple(exact(model, rows, by=len).groups) == ("12", "10", "13", "11")
    layers = exact(*case("roberta")[:2], by="layer").groups
    assert sum(name.endswith(("layer.0", "layer.1")) for name in layers) == 2


@pytest.mark.parametrize("model", ["roberta", "tied"])
def test_groups_take_no_more_backward_passes(model, monkeypatch):
    model, rows, columns, _, _ = case(model)
    calls = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: (calls.append(1), grad(*a, **k))[1])
    exact(model, rows, columns)
    without = len(calls)
    assert without > 0
    for by in BY.values():
        calls.clear()
        exact(model, rows, columns, by=by)
        assert len(calls) == without


def test_backward_passes_are_few():
    # C for a batch of samples, and those of the check, whatever the number of parameters.
    model, rows = Mlp(classes=2).eval(), dense_batch(50)
    calls = []
    original = torch.autograd.grad
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.autograd, "grad", lambda *a, **k: (calls.append(1), original(*a, **k))[1]
        )
        exact(model, rows)
    check = 2 + 2 * 2
    assert len(calls) <= 2 + check


# --- properties -----------------------------------------------------------------------------

MEMORIES = st.one_of(st.none(), st.integers(1, 400_000))


def some(name: str, rows: int, seed: int):
    """Samples for a model of a few kinds."""
    if name == "mlp":
        return Mlp(classes=2).eval(), dense_batch(rows, seed=seed)
    if name == "tied":
        return Tied(classes=2).eval(), token_batch(rows, seed=seed)
    lengths = tuple(4 + (7 * i + seed) % 9 for i in range(rows))
    return case(name)[0], prompt_batch(lengths, seed)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(["mlp", "tied", "roberta"]),
    formula=st.sampled_from(FORMULAS),
    outputs=st.sampled_from(OUTPUTS),
    memory=MEMORIES,
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_permuted_and_chosen_samples_give_permuted_and_chosen_values(
    name, formula, outputs, memory, seed, data
):
    model, rows = some(name, 5, seed)
    _, columns = some(name, 4, seed + 100)
    i = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))
    j = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    options = {"formula": formula, "outputs": outputs}
    whole = exact(model, rows, columns, **options).values
    part = exact(
        model,
        {k: v[i] for k, v in rows.items()},
        {k: v[j] for k, v in columns.items()},
        memory=memory,
        **options,
    ).values
    assert relative_error(part, whole[i][:, :, j]) <= 1e-11


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(["mlp", "tied", "roberta"]),
    formula=st.sampled_from(["sgd", "signgd"]),
    outputs=st.sampled_from(OUTPUTS),
    memory=MEMORIES,
    seed=st.integers(0, 99),
)
def test_symmetric_kernels_are_positive_semidefinite(name, formula, outputs, memory, seed):
    model, rows = some(name, 6, seed)
    matrix = exact(model, rows, formula=formula, outputs=outputs, memory=memory).matrix()
    assert np.array_equal(matrix, matrix.T)
    values = np.linalg.eigvalsh(matrix)
    assert values[0] >= -1e-10 * values[-1]
    assert values[-1] > 0


# --- precision ------------------------------------------------------------------------------

# The largest errors relative to the largest entry. A processor without bfloat16 multiplies in
# single precision, which is no worse.
LARGEST_ERROR = {"float32": 3e-6, "bfloat16x3": 1e-4, "bfloat16": 6e-2}


@pytest.mark.parametrize("precision", LARGEST_ERROR)
@pytest.mark.parametrize("name", ["mlp", "roberta", "llama"])
def test_precision_is_as_good_as_it_says(name, precision):
    model, rows, columns, left, right = case(name)
    for formula in ("sgd", "asymmetric-signgd"):
        kernel = entk(model, rows, columns, precision=precision, formula=formula, progress=False)
        assert kernel.values.dtype == np.float64
        assert kernel.provenance["precision"] == precision
        assert kernel.cost.by_autograd == ()
        error = relative_error(kernel.values, contract(left, right, formula))
        assert 1e-9 < error <= LARGEST_ERROR[precision]


def random_matrices(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize("stack", [(), (3,)])
def test_products_are_as_good_as_they_say(stack):
    a, b = random_matrices((*stack, 20, 300), (*stack, 300, 30))
    expected = a.double() @ b.double()
    errors = {
        precision: float((Products(precision)(a, b) - expected).norm() / expected.norm())
        for precision in LARGEST_ERROR
    }
    assert errors["float32"] < 1e-6 < errors["bfloat16x3"] < 1e-5
    assert errors["bfloat16"] < 4e-3
    for precision in LARGEST_ERROR:
        out = torch.empty(*stack, 20, 30)
        assert Products(precision)(a, b, out=out) is out
        assert torch.equal(out, Products(precision)(a, b))


@pytest.mark.parametrize("precision", LARGEST_ERROR)
def test_products_of_signs_are_counts(precision):
    a, b = (matrix.sign() for matrix in random_matrices((20, 300), (300, 30)))
    product = Products(precision)(a, b, signs=(True, True))
    assert torch.equal(product.double(), a.double() @ b.double())


@pytest.mark.parametrize("signs", [(True, False), (False, True)])
def test_one_side_of_signs_is_exact_in_two_parts(signs):
    a, b = (
        m.sign() if s else m
        for m, s in zip(random_matrices((20, 300), (300, 30)), signs, strict=True)
    )
    expected = a.double() @ b.double()
    error = (Products("bfloat16x3")(a, b, signs) - expected).norm() / expected.norm()
    assert error < 1e-5


def test_tf32_is_refused_without_a_gpu():
    with pytest.raises(InputError, match=r"tf32.*CUDA"):
        entk(Mlp().eval(), dense_batch(2), precision="tf32", progress=False)


def test_precision_of_products_is_put_back():
    backends = torch.backends.mkldnn.matmul, torch.backends.cuda.matmul
    before = [backend.fp32_precision for backend in backends]
    for precision in PRECISIONS:
        entk(Mlp().eval(), dense_batch(2), precision=precision, progress=False)
        assert [backend.fp32_precision for backend in backends] == before

    class Broken(Mlp):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        entk(Broken().eval(), dense_batch(2), precision="bfloat16", progress=False)
    assert [backend.fp32_precision for backend in backends] == before
