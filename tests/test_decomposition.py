"""P and F of Tomihari and Sato against their definitions, and the measures made of them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from small_models import Mlp, Tied, dense_batch, masked_lm, prompt_batch, token_batch
from tangentlm.errors import InputError, NonFiniteError
from tangentlm.kernels import (
    Decomposition,
    Kernel,
    decompose,
    entk,
    feature_entk,
    numerical_rank,
    trace_norms,
)
from tangentlm.metrics import output_derivative
from tangentlm.models.heads import LinearHeadModel

EXACT = {"precision": "float64", "progress": False}


def linear_head(architecture: str, classes: int = 3) -> LinearHeadModel:
    """A linear head that is not at zero any more, as after linear probing."""
    model = LinearHeadModel(masked_lm(architecture), classes).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.classifier.parameters():
        nn.init.normal_(parameter, generator=generator)
    return model


def text_batch(lengths: tuple[int, ...], seed: int = 1) -> dict[str, Tensor]:
    return {k: v for k, v in prompt_batch(lengths, seed).items() if k != "mask_position"}


def stack(bias: bool = True, features: int = 20) -> nn.Module:
    """A head inside of another module, with or without a bias, on more than 16 features."""

    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(2)
            self.layers = nn.Sequential(
                nn.Linear(5, features), nn.Tanh(), nn.Linear(features, 3, bias=bias)
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x)

    return Nested().eval()


# Every case: a model, its head, N rows and M columns.
CASES = {
    "roberta": lambda: (
        linear_head("roberta"), "classifier", text_batch((9, 5, 7)), text_batch((6, 8), seed=2),
    ),
    "albert": lambda: (
        linear_head("albert"), "classifier", text_batch((9, 5)), text_batch((6, 8), seed=2),
    ),
    "mlp": lambda: (Mlp().eval(), "second", dense_batch(4), dense_batch(3, seed=2)),
    "nested": lambda: (stack(), "layers.2", dense_batch(4), dense_batch(3, seed=2)),
    "no bias": lambda: (stack(bias=False), "layers.2", dense_batch(4), dense_batch(3, seed=2)),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]()


def relative_error(values: np.ndarray, expected: np.ndarray) -> float:
    assert values.shape == expected.shape
    return float(np.abs(values - expected).max() / np.abs(expected).max())


def features_of(model: nn.Module, head: str, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Phi, (N, h), and its derivatives with respect to the extractor's parameters, (N, h, P)."""
    double = copy.deepcopy(model).double()
    seen = []
    double.get_submodule(head).register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    parameters = {n: p.detach() for n, p in double.named_parameters() if not n.startswith(head)}
    samples = []
    for i in range(len(next(iter(batch.values())))):
        row = {k: v[i : i + 1].double() if v.is_floating_point() else v[i : i + 1]
               for k, v in batch.items()}  # fmt: skip
        if "attention_mask" in row:
            used = int(row["attention_mask"].sum())
            row = {k: v[:, :used] for k, v in row.items()}

        def phi(values: dict[str, Tensor], row: dict[str, Tensor] = row) -> tuple[Tensor, Tensor]:
            seen.clear()
            functional_call(double, values, (), row)
            return seen[0][0], seen[0][0]

        derivatives, value = jacrev(phi, has_aux=True)(parameters)
        flat = torch.cat([d.reshape(len(value), -1) for d in derivatives.values()], dim=1)
        samples.append((value.detach(), flat.detach()))
    values, derivatives = zip(*samples, strict=True)
    return torch.stack(values), torch.stack(derivatives)


# --- the two components -----------------------------------------------------------------------


def test_components_are_those_of_the_definition(case):
    model, head, rows, columns = case
    layer = model.get_submodule(head)
    (phi, J), (phi2, J2) = (features_of(model, head, batch) for batch in (rows, columns))
    parts = decompose(model, rows, columns, head=head, **EXACT)
    inner = (phi @ phi2.T + (layer.bias is not None)).numpy()
    P = np.einsum("ij,cd->icjd", inner, np.eye(layer.out_features))
    assert relative_error(parts.pretrain.values, P) <= 1e-10
    V = layer.weight.detach().double()
    F = torch.einsum("ck,ikp,jlp,dl->icjd", V, J, J2, V).numpy()
    assert relative_error(parts.finetune.values, F) <= 1e-10
    assert not parts.pretrain.values[:, 0, :, 1].any()


def test_components_are_the_kernels_of_their_parameters_and_sum_to_the_whole(case):
    model, head, rows, _ = case
    parts = decompose(model, rows, head=head, **EXACT)
    whole = entk(model, rows, **EXACT)
    for part, in_head in ((parts.pretrain, True), (parts.finetune, False)):
        expected = entk(
            model, rows, parameters=lambda n, h=in_head: n.startswith(head) is h, **EXACT
        )
        assert relative_error(part.values, expected.values) <= 1e-10
        assert part.parameters == expected.parameters
        assert (part.formula, part.outputs) == ("sgd", "full")
    total = parts.total
    assert relative_error(total.values, whole.values) <= 1e-10
    assert sorted(total.parameters) == sorted(whole.parameters)
    assert np.array_equal(sum(total.groups.values()), total.values)


def test_a_head_at_zero_has_no_part_in_the_features():
    model, rows = LinearHeadModel(masked_lm("roberta"), 3).eval(), text_batch((9, 5, 7))
    parts = decompose(model, rows, **EXACT)
    assert not parts.finetune.values.any()
    assert relative_error(parts.pretrain.values, entk(model, rows, **EXACT).values) <= 1e-12
    assert parts.ft_ratio(np.ones((3, 3))) == 0.0
    assert numerical_rank(parts.finetune, 1e-6) == 0


def test_f_grows_with_the_square_of_the_head_and_p_not_at_all():
    model, rows = stack(), dense_batch(4)
    before = decompose(model, rows, head="layers.2", **EXACT)
    with torch.no_grad():
        model.layers[2].weight *= 4
    after = decompose(model, rows, head="layers.2", **EXACT)
    assert np.array_equal(after.pretrain.values, before.pretrain.values)
    assert relative_error(after.finetune.values, 16 * before.finetune.values) <= 1e-12


def test_f_comes_by_layer_and_for_chosen_parameters():
    model, rows = linear_head("roberta"), text_batch((9, 5, 7))
    whole = decompose(model, rows, **EXACT)
    assert whole.finetune.groups == {}
    split = decompose(model, rows, by="layer", **EXACT)
    assert {"body.encoder.layer.0", "body.encoder.layer.1"} < set(split.finetune.groups)
    assert relative_error(sum(split.finetune.groups.values()), whole.finetune.values) <= 1e-12
    some = decompose(model, rows, parameters=lambda n: "layer.1." in n, **EXACT)
    expected = split.finetune.groups["body.encoder.layer.1"]
    assert relative_error(some.finetune.values, expected) <= 1e-12
    assert np.array_equal(some.pretrain.values, whole.pretrain.values)
    assert all("layer.1." in name for name in some.finetune.parameters)


def test_a_frozen_body_has_no_f():
    model = stack()
    model.layers[0].requires_grad_(False)
    parts = decompose(model, dense_batch(4), head="layers.2", by="layer", **EXACT)
    assert (parts.finetune.parameters, parts.finetune.groups) == ((), {})
    assert not parts.finetune.values.any()
    assert parts.ft_ratio(np.ones((4, 3))) == 0.0


def test_any_memory_gives_the_same():
    model, rows = linear_head("roberta"), text_batch((9, 5, 7, 6))
    expected, parts = decompose(model, rows, **EXACT), decompose(model, rows, memory=1, **EXACT)
    assert relative_error(parts.finetune.values, expected.finetune.values) <= 1e-12
    assert relative_error(parts.pretrain.values, expected.pretrain.values) <= 1e-12


# --- the kernel of the features ---------------------------------------------------------------


def test_feature_kernel_is_the_trace_over_features(case):
    model, head, rows, columns = case
    (_, J), (_, J2) = (features_of(model, head, batch) for batch in (rows, columns))
    kernel = feature_entk(model, rows, columns, head=head, **EXACT)
    expected = torch.einsum("ikp,jkp->ij", J, J2)[:, None, :, None].numpy()
    assert relative_error(kernel.values, expected) <= 1e-10
    assert not any(name.startswith(head) for name in kernel.parameters)
    assert kernel.outputs == "trace"


def test_feature_kernel_is_the_expected_f_of_a_random_head():
    model, rows = stack(), dense_batch(4)
    model.layers[2].weight.requires_grad_(False)  # it plays no part
    expected = feature_entk(model, rows, head="layers.2", **EXACT).values[:, 0, :, 0]
    # The rows of an orthogonal matrix are as good as all heads.
    total = np.zeros((4, 4))
    for row in torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(0)))[0]:
        with torch.no_grad():
            model.layers[2].weight[0] = row
        F = entk(model, rows, parameters=lambda name: "layers.0" in name, **EXACT)
        total += F.values[:, 0, :, 0]
    assert relative_error(total, expected) <= 1e-6  # the rows are in float32


def test_feature_kernel_leaves_the_model_and_counts_its_cost():
    model, rows = stack(), dense_batch(4)
    before = model(**rows)
    whole = feature_entk(model, rows, head="layers.2", **EXACT)
    assert torch.equal(model(**rows), before)
    few = stack(features=16)
    one = feature_entk(few, rows, head="layers.2", **EXACT)
    assert whole.cost.flops > one.cost.flops
    assert whole.cost.seconds > 0
    with pytest.raises(InputError, match="no parameter"):
        feature_entk(model, rows, head="layers.2", parameters=["layers.2.bias"], **EXACT)


# --- measures ---------------------------------------------------------------------------------


def by_hand(P: np.ndarray, F: np.ndarray, shape: tuple[int, ...]) -> Decomposition:
    return Decomposition(
        Kernel(P.reshape(shape), "sgd", "full", ("V",)),
        Kernel(F.reshape(shape), "sgd", "full", ("phi",)),
    )


def test_ft_ratio_by_hand():
    # Two rows, one column, C = 2. Row 0: F delta = (3, 4), (P + F) delta = (6, 8): half.
    # Row 1: F delta = (0, 2), (P + F) delta = (1, 2): 2 / sqrt 5.
    F = np.array([[3.0, 0.0], [4.0, 0.0], [0.0, 7.0], [2.0, 7.0]])
    P = np.array([[3.0, 0.0], [4.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    parts = by_hand(P, F, (2, 2, 1, 2))
    expected = (0.5 + 2 / np.sqrt(5)) / 2
    assert parts.ft_ratio([[1.0, 0.0]]) == pytest.approx(expected)
    assert parts.ft_ratio([[-10.0, 0.0]]) == pytest.approx(expected)
    assert by_hand(-0.5 * F, F, (2, 2, 1, 2)).ft_ratio([[1.0, 1.0]]) == pytest.approx(2.0)


def test_ft_ratio_is_that_of_a_step_of_gradient_descent():
    model, rows, labels = Mlp().eval().double(), dense_batch(6), torch.tensor([0, 1, 2, 0, 1, 2])
    batch = {"x": rows["x"].double()}
    delta = -output_derivative(model(**batch).detach().numpy(), labels.numpy())

    def change(moved: str) -> np.ndarray:
        stepped = copy.deepcopy(model)
        loss = nn.functional.cross_entropy(stepped(**batch), labels, reduction="sum")
        loss.backward()
        with torch.no_grad():
            for name, p in stepped.named_parameters():
                p -= 1e-6 * p.grad if moved in name else 0.0
            return (stepped(**batch) - model(**batch)).norm(dim=1).numpy()

    expected = np.mean(change("first") / change("."))
    parts = decompose(model, rows, head="second", **EXACT)
    assert parts.ft_ratio(delta) == pytest.approx(expected, rel=1e-4)


def test_ft_ratio_without_meaning_is_refused():
    parts = decompose(Mlp().eval(), dense_batch(4), head="second", **EXACT)
    with pytest.raises(InputError, match=r"delta has shape \(3, 4\), not \(M, C\) = \(4, 3\)"):
        parts.ft_ratio(np.ones((3, 4)))
    with pytest.raises(NonFiniteError, match="row 0"):
        parts.ft_ratio(np.zeros((4, 3)))


def test_numerical_rank_counts_singular_values_relative_to_the_largest():
    values = np.diag([100.0, 1.0, -0.5, 1e-9]).reshape(2, 2, 2, 2)
    kernel = Kernel(values, "sgd", "full", ())
    ranks = [numerical_rank(kernel, tolerance) for tolerance in (0.1, 0.007, 0.003, 1e-12)]
    assert ranks == [1, 2, 3, 4]
    parts = decompose(stack(), dense_batch(8), head="layers.2", **EXACT)
    for tolerance in (1e-1, 1e-3, 1e-5):
        assert numerical_rank(parts.pretrain, tolerance) % 3 == 0


def test_trace_norms_of_blocks():
    blocks = np.array([[[[3.0, 0.0], [0.0, -4.0]], [[0.0, 2.0], [0.0, 0.0]]]])  # (1, 2, C, C)
    kernel = Kernel(blocks.transpose(0, 2, 1, 3), "sgd", "full", ())
    np.testing.assert_allclose(trace_norms(kernel), [[7.0, 2.0]])


# --- refusals ---------------------------------------------------------------------------------


class Softmax(Mlp):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(dim=1)


class Twice(Mlp):
    def forward(self, x: Tensor) -> Tensor:
        self.second(torch.zeros(len(x), 7, dtype=x.dtype))
        return super().forward(x)


def frozen_head() -> nn.Module:
    model = Mlp()
    model.second.bias.requires_grad_(False)
    return model


HEADS = {
    "unknown": (Mlp, "secnd", "unknown layer 'secnd'; did you mean 'second'"),
    "not linear": (stack, "layers", "layers has to be nn.Linear, not Sequential"),
    "not the last": (Mlp, "first", "outputs are not those of first"),
    "something after": (Softmax, "second", "outputs are not those of second"),
    "used twice": (Twice, "second", "outputs are not those of second"),
}


@pytest.mark.parametrize("compute", [decompose, feature_entk])
@pytest.mark.parametrize(("make", "head", "message"), HEADS.values(), ids=HEADS)
def test_what_is_no_linear_head_is_refused(compute, make, head, message):
    model, rows = make().eval(), dense_batch(4)
    before = model(**rows)
    with pytest.raises(InputError, match=message):
        compute(model, rows, head=head, progress=False)
    assert torch.equal(model(**rows), before)


def test_head_without_a_kernel_of_its_own_is_refused():
    with pytest.raises(InputError, match=r"second\.bias does not require a gradient"):
        decompose(frozen_head().eval(), dense_batch(4), head="second", progress=False)
    with pytest.raises(InputError, match="only owner of its weight; embedding has it"):
        decompose(Tied().eval(), token_batch(4), head="decoder", progress=False)
