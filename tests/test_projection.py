"""The kernel of IntrinsicDimension fine-tuning against an explicit P, autograd and its bound."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from small_models import (
    Mlp,
    Tied,
    Unused,
    dense_batch,
    masked_lm,
    prompt_batch,
    prompt_model,
    token_batch,
)
from tangentlm.errors import InputError, NonFiniteError
from tangentlm.kernels import (
    Projection,
    distinct_entries,
    entk,
    intrinsic_dimension_entk,
    project_gradients,
    projection_error,
)
from tangentlm.models.heads import LinearHeadModel

EXACT = {"precision": "float64", "progress": False}


class Stored(nn.Module):
    """A weight stored as (q, p), like that of GPT-2, at several positions; and a scalar."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(5, 3))
        self.scale = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.weight).mean(dim=1) * self.scale


def positions_batch(n: int) -> dict[str, Tensor]:
    return {"x": torch.randn(n, 4, 5, generator=torch.Generator().manual_seed(3))}


# Every case: a model and N samples.
CASES = {
    "mlp": lambda: (Mlp().eval(), dense_batch(4)),
    "unused": lambda: (Unused().eval(), dense_batch(3)),
    "stored transposed": lambda: (Stored().eval(), positions_batch(3)),
    "tied": lambda: (Tied().eval(), token_batch(3)),
    "roberta": lambda: (prompt_model("roberta", classes=3), prompt_batch((9, 5, 7))),
    "modernbert": lambda: (prompt_model("modernbert"), prompt_batch((9, 5))),
}


def gradients(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """By parameter (N, C, entries), by autograd, one sample at a time."""
    model.double()
    parameters = dict(model.named_parameters())
    rows: dict[str, list[list[np.ndarray]]] = {name: [] for name in parameters}
    for i in range(len(next(iter(batch.values())))):
        row = {k: v[i : i + 1].double() if v.is_floating_point() else v[i : i + 1]
               for k, v in batch.items()}  # fmt: skip
        if "attention_mask" in row:
            used = int(row["attention_mask"].sum())
            row |= {k: row[k][:, :used] for k in ("input_ids", "attention_mask")}
        outputs = model(**row)[0]
        found = [
            torch.autograd.grad(
                f, list(parameters.values()), retain_graph=True, materialize_grads=True,
                allow_unused=True,
            )
            for f in outputs
        ]  # fmt: skip
        for p, name in enumerate(parameters):
            rows[name].append([gradient[p].flatten().numpy() for gradient in found])
    return {name: np.array(values) for name, values in rows.items()}


def dense_p(projection: Projection, model: nn.Module) -> dict[str, np.ndarray]:
    return {
        name: projection.signs(name, 0, p.numel()) / math.sqrt(projection.dimension)
        for name, p in model.named_parameters()
    }


def relative_error(values: np.ndarray, expected: np.ndarray) -> float:
    assert values.shape == expected.shape
    return float(np.abs(values - expected).max() / np.abs(expected).max())


# --- P --------------------------------------------------------------------------------------


def test_p_does_not_depend_on_the_blocks_in_which_it_is_made():
    projection = Projection(dimension=300, seed=7)
    whole = projection.signs("a.weight", 0, 50)
    assert whole.shape == (50, 300)
    for first, count in [(0, 1), (3, 20), (49, 1)]:
        part = projection.signs("a.weight", first, count, np.float32)
        assert part.dtype == np.float32
        assert np.array_equal(part, whole[first : first + count])


def test_p_is_the_same_everywhere_and_always():
    signs = Projection(dimension=10, seed=0).signs("weight", 2, 2)
    assert ["".join("+-"[int(s < 0)] for s in row) for row in signs] == [
        "++---+---+", "+--+-----+",
    ]  # fmt: skip


def test_entries_of_p_are_fair_independent_signs():
    names = ("a.weight", "b.weight")
    parts = [Projection(64, seed).signs(name, 0, 500) for seed in (0, 1) for name in names]
    signs = np.concatenate(parts).T  # (k, entries)
    assert np.array_equal(np.unique(signs), [-1.0, 1.0])
    assert abs(signs.mean()) < 4 / math.sqrt(signs.size)
    # Columns of P^T over 64 coin tosses each: no two are alike or opposite.
    correlations = np.triu(np.abs(signs.T @ signs) / 64, k=1)
    assert correlations.max() < 0.85
    assert correlations.sum() / (2000 * 1999 / 2) == pytest.approx(
        math.sqrt(2 / math.pi / 64), rel=0.02
    )


# --- values ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [5, 300])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_equals_the_explicit_projection(case, dimension):
    model, batch = case()
    projected = project_gradients(model, batch, dimension=dimension, seed=3, **EXACT)
    kernel = intrinsic_dimension_entk(model, batch, dimension=dimension, seed=3, **EXACT)
    P = dense_p(Projection(dimension, 3), model)
    expected = sum(g @ P[name] for name, g in gradients(model, batch).items())
    assert relative_error(projected, expected) <= 1e-10
    products = np.einsum("ick,jdk->icjd", expected, expected)
    assert relative_error(kernel.values, products) <= 1e-10
    assert np.array_equal(kernel.matrix(), kernel.matrix().T)
    assert kernel.parameters == tuple(P)
    assert kernel.provenance == {
        "precision": "float64", "intrinsic_dimension": dimension, "projection_seed": 3,
    }  # fmt: skip


class Subspace(nn.Module):
    """f(x; theta_0 + P z): the model of Definition E.1, whose only parameter is z."""

    def __init__(self, model: nn.Module, projection: Projection) -> None:
        super().__init__()
        self.start = {name: p.detach() for name, p in model.named_parameters()}
        self.P = {name: torch.from_numpy(P) for name, P in dense_p(projection, model).items()}
        self.model = [model]  # In a list it is no part of this module.
        self.z = nn.Parameter(torch.zeros(projection.dimension, dtype=torch.float64))

    def forward(self, **batch: Tensor) -> Tensor:
        moved = {n: p + (self.P[n] @ self.z).view(p.shape) for n, p in self.start.items()}
        return functional_call(self.model[0], moved, (), batch)


def test_is_the_kernel_of_training_in_the_subspace():
    model, projection = prompt_model("roberta").double(), Projection(dimension=12, seed=5)
    rows, columns = prompt_batch((9, 5, 7)), prompt_batch((6, 8), seed=2)
    expected = entk(Subspace(model, projection).eval(), rows, columns, **EXACT)
    assert expected.parameters == ("z",)
    kernel = intrinsic_dimension_entk(model, rows, columns, dimension=12, seed=5, **EXACT)
    assert relative_error(kernel.values, expected.values) <= 1e-10


def test_difference_is_that_of_the_logit_difference():
    model, batch = prompt_model(), prompt_batch()
    full = project_gradients(model, batch, dimension=9, seed=0, **EXACT)
    options = {"dimension": 9, "seed": 0, "outputs": "difference", **EXACT}
    difference = project_gradients(model, batch, **options)
    assert relative_error(difference, full[:, 1:] - full[:, :1]) <= 1e-10
    kernel = intrinsic_dimension_entk(model, batch, **options)
    expected = np.einsum("ick,jdk->icjd", difference, difference)
    assert relative_error(kernel.values, expected) <= 1e-12


def test_parts_of_the_parameters_sum_to_the_whole():
    model, batch = Mlp().eval(), dense_batch(4)
    options = {"dimension": 20, "seed": 1, **EXACT}
    parts = [
        project_gradients(model, batch, parameters=lambda n, k=k: n.startswith(k), **options)
        for k in ("first", "second")
    ]
    whole = project_gradients(model, batch, **options)
    assert relative_error(parts[0] + parts[1], whole) <= 1e-12


@pytest.mark.parametrize("memory", [1, 200_000, 600_000])
def test_any_memory_gives_the_same(memory):
    model = LinearHeadModel(masked_lm("roberta"), 3).eval()
    nn.init.normal_(model.classifier.weight)
    batch = prompt_batch((9, 5, 7, 6, 8, 9, 4, 4, 10, 12))
    del batch["mask_position"]
    options = {"dimension": 33, "seed": 2, **EXACT}
    expected = intrinsic_dimension_entk(model, batch, **options)
    kernel = intrinsic_dimension_entk(model, batch, memory=memory, **options)
    assert relative_error(kernel.values, expected.values) <= 1e-12
    assert kernel.cost.peak_bytes < expected.cost.peak_bytes
    if memory > 1:  # below that, one sample is held all the same
        assert kernel.cost.peak_bytes <= memory


def test_blocks_of_any_size_give_the_same(monkeypatch):
    model, batch = prompt_model("roberta"), prompt_batch()
    options = {"dimension": 33, "seed": 2, **EXACT}
    expected = project_gradients(model, batch, **options)
    monkeypatch.setattr("tangentlm.kernels.projection._BLOCK_BYTES", {"cpu": 20_000})
    assert relative_error(project_gradients(model, batch, **options), expected) <= 1e-12


def test_single_precision_is_close_to_double():
    model, batch = prompt_model("roberta"), prompt_batch()
    options = {"dimension": 50, "seed": 2, "progress": False}
    expected = intrinsic_dimension_entk(model, batch, precision="float64", **options).values
    assert relative_error(intrinsic_dimension_entk(model, batch, **options).values, expected) < 1e-4


# --- against the kernel of the gradients themselves -------------------------------------------


def test_stays_within_its_bound_and_nears_the_kernel_as_the_dimension_grows():
    model, rows = Mlp(inputs=20, hidden=30).eval(), dense_batch(8, inputs=20)
    kernel = entk(model, rows, **EXACT).matrix()
    norms = np.sqrt(kernel.diagonal())
    scale = np.outer(norms, norms)
    delta, trials, typical = 0.2, 40, {}
    for dimension in (64, 1024):
        options = {"dimension": dimension, **EXACT}
        errors = np.stack([
            np.abs(intrinsic_dimension_entk(model, rows, seed=seed, **options).matrix() - kernel)
            for seed in range(trials)
        ]) / scale  # fmt: skip
        bound = projection_error(dimension, delta, distinct_entries(len(kernel)))
        worst = errors.max(axis=(1, 2))
        assert np.mean(worst > bound) <= delta
        assert np.median(worst) >= bound / 6  # the bound says something
        typical[dimension] = errors.mean()
    # Sixteen times the dimension, a quarter of the error.
    assert typical[1024] == pytest.approx(typical[64] / 4, rel=0.25)


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimension": 0}, "dimension = 0 must be a positive integer"),
        ({"outputs": "trace"}, "unknown outputs 'trace'"),
        ({"outputs": "difference"}, "2 classes, not 3"),
        ({"precision": "float46"}, "did you mean 'float64'"),
        ({"memory": -1}, "memory = -1"),
    ],
)
@pytest.mark.parametrize("compute", [project_gradients, intrinsic_dimension_entk])
def test_wrong_option_is_refused(compute, options, message):
    options = {"dimension": 8, "seed": 0, "progress": False} | options
    with pytest.raises(InputError, match=message):
        compute(Mlp().eval(), dense_batch(4), **options)


class Root(Mlp):
    """Its outputs are finite, their gradients are not for samples that begin with zero."""

    def forward(self, x: Tensor) -> Tensor:
        return (super().forward(x) * x[:, :1]).abs().sqrt()


@pytest.mark.parametrize("place", ["rows", "columns"])
def test_gradient_that_is_not_finite_is_refused_naming_the_sample(place):
    wrong, fine = dense_batch(4), dense_batch(3)
    wrong["x"][2, 0] = 0.0
    rows, columns = (wrong, fine) if place == "rows" else (fine, wrong)
    with pytest.raises(NonFiniteError, match=f"output 0 of sample 2 of the {place}"):
        intrinsic_dimension_entk(Root().eval(), rows, columns, dimension=8, seed=0, progress=False)
