"""Models that look as if the rules covered them and are not covered: exact all the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from oracle import as_double, exact, expected_kernel, one_row, relative_error
from small_models import Mlp, dense_batch, text_batch, token_batch
from tangentlm.kernels import entk, reference_entk, tiles

TOLERANCE = 1e-10
WIDTH = 6


class Model(nn.Module):
    """Two layers, of which the first is made and used as a test wants it.

    Args:
        first: Makes the module of the first layer.
        use: From the model and the inputs (B, 6) to features (B, 6).
        extra: More parameters, by name and shape.
    """

    def __init__(
        self,
        use: Callable[[Model, Tensor], Tensor],
        first: Callable[[], nn.Module] = lambda: nn.Linear(WIDTH, WIDTH),
        **extra: tuple[int, ...],
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = first()
        self.head = nn.Linear(WIDTH, 3)
        for name, shape in extra.items():
            setattr(self, name, nn.Parameter(torch.randn(shape)))
        self.use = use
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.use(self, x)))


class Sequence(Model):
    """The same for inputs (B, 4, 6), of which features (B, 6) are made."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(len(x), 4, WIDTH))


class EachToken(Sequence):
    """Every output depends on one token alone."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.first(x.reshape(len(x), 4, WIDTH)))[:, :3].sum(dim=2)


def sequences(n: int, seed: int = 1) -> dict[str, Tensor]:
    return dense_batch(n, 4 * WIDTH, seed)


def vectors(n: int, seed: int = 1) -> dict[str, Tensor]:
    return dense_batch(n, WIDTH, seed)


def weight_normed() -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH))


def orthogonal() -> nn.Module:
    return nn.utils.parametrizations.orthogonal(nn.Linear(WIDTH, WIDTH))


def in_place(m: Model, x: Tensor) -> Tensor:
    y = m.first(x)
    y += 1.0
    y.mul_(0.5).sin_()
    return y


def by_token(m: Model, x: Tensor) -> Tensor:
    return m.first(x).sum(dim=1)


def attention(m: Model, x: Tensor) -> Tensor:
    return m.first(x, x, x, need_weights=False)[0].mean(dim=1)


class Doubled(torch.autograd.Function):
    """A linear layer that torch's functions do not show."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return 2 * x @ weight.T

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, d: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return 2 * d @ weight, 2 * d.T @ x


# What is used in a way that no rule covers, and which parameters that makes go by autograd. Under
# "first" are all parameters of the first layer.
UNCOVERED = {
    "the left operand": (Model(lambda m, x: (m.first.weight @ x.T).T), {"first.weight"}),
    "einsum": (
        Model(lambda m, x: torch.einsum("bq,pq->bp", x, m.first.weight)), {"first.weight"},
    ),
    "two parameters joined": (
        Model(lambda m, x: x @ torch.cat([m.a, m.b], dim=1), a=(WIDTH, 2), b=(WIDTH, 4)),
        {"a", "b"},
    ),
    "parameters stacked": (
        Model(lambda m, x: x * torch.stack([m.a, m.b]).sum(dim=0), a=(WIDTH,), b=(WIDTH,)),
        {"a", "b"},
    ),
    "a product of parameters": (
        Model(lambda m, x: x * (m.a * m.b), a=(WIDTH,), b=(WIDTH,)), {"a", "b"},
    ),
    "a part of a parameter": (Model(lambda m, x: x @ m.a[:, :WIDTH], a=(WIDTH, 9)), {"a"}),
    "one row for a scale": (Model(lambda m, x: x * m.a[2], a=(4, WIDTH)), {"a"}),
    "a list of a mask": (
        Model(lambda m, x: (x @ m.a[[True, False] * 3].T).repeat(1, 2), a=(6, WIDTH)),
        {"a"},
    ),
    "columns": (Model(lambda m, x: x @ m.a[:, [3, 1, 0, 2, 2, 4]], a=(WIDTH, 9)), {"a"}),
    "columns of the transposed": (
        Model(lambda m, x: x @ m.a.T[:, [3, 1, 0, 2, 2, 4]], a=(9, WIDTH)), {"a"},
    ),
    "an entry of every row": (Model(lambda m, x: x + m.a[[0, 1, 2, 3, 3, 3], [0] * 6],
                                    a=(4, WIDTH)), {"a"}),
    "rows as inputs": (Model(lambda m, x: x @ m.a[[2, 1, 0, 5, 4, 3]], a=(WIDTH, WIDTH)), {"a"}),
    "rows of rows": (Model(lambda m, x: x @ m.a[:7][[1, 2, 3, 4, 5, 6]].T, a=(9, WIDTH)), {"a"}),
    "a transposed embedding": (
        Model(lambda m, x: functional.embedding((x[:, 0] > 0).long(), m.a.T), a=(WIDTH, 3)), {"a"},
    ),
    "a mask of rows": (
        Model(lambda m, x: x + m.a[torch.tensor([True, False, True])].sum(dim=0), a=(3, WIDTH)),
        {"a"},
    ),
    "a scaled sum": (Model(lambda m, x: torch.add(x, m.a, alpha=3), a=(WIDTH,)), {"a"}),
    "scaled addmm": (
        Model(lambda m, x: torch.addmm(m.a, x, m.b, beta=2, alpha=3), a=(WIDTH,), b=(WIDTH, WIDTH)),
        {"a", "b"},
    ),
    "added in place": (Model(lambda m, x: x.clone().add_(m.a), a=(WIDTH,)), {"a"}),
    "one plus a scale": (Model(lambda m, x: x * (1.0 + m.a), a=(WIDTH,)), {"a"}),
    "the scale of every sample": (Model(lambda m, x: x * m.a[:1], a=(WIDTH,)), {"a"}),
    "weight norm": (Model(lambda m, x: m.first(x), weight_normed), {
        "first.parametrizations.weight.original0", "first.parametrizations.weight.original1",
    }),
    "orthogonal": (Model(lambda m, x: m.first(x), orthogonal), {
        "first.parametrizations.weight.original",
    }),
    "bilinear": (
        Model(lambda m, x: m.first(x, x), lambda: nn.Bilinear(WIDTH, WIDTH, WIDTH)), "first",
    ),
    "a rectifier with a slope": (
        Model(lambda m, x: m.first(x), lambda: nn.PReLU(WIDTH)), "first",
    ),
    "an affine batch norm": (
        Model(lambda m, x: m.first(x), lambda: nn.BatchNorm1d(WIDTH)), "first",
    ),
    "an embedding with scaled gradients": (
        Model(
            lambda m, x: m.first((x[:, :3] > 0).long()).sum(dim=1),
            lambda: nn.Embedding(2, WIDTH, scale_grad_by_freq=True),
        ),
        "first",
    ),
    "a bag of embeddings": (
        Model(lambda m, x: m.first((x[:, :3] > 0).long()), lambda: nn.EmbeddingBag(2, WIDTH)),
        "first",
    ),
    "a custom function": (
        Model(lambda m, x: Doubled.apply(x, m.first.weight)), {"first.weight"},
    ),
}  # fmt: skip
UNCOVERED_OF_SEQUENCES = {
    "a transposed shift": (
        Sequence(lambda m, x: (x + m.a.T).sin().sum(dim=1), a=(WIDTH, 4)), {"a"},
    ),
    "convolution": (
        Sequence(lambda m, x: m.first(x).mean(dim=2), lambda: nn.Conv1d(4, WIDTH, 3)), "first",
    ),
    "attention": (
        Sequence(attention, lambda: nn.MultiheadAttention(WIDTH, 2, batch_first=True)), "first",
    ),
    "attention with the samples second": (
        Sequence(
            lambda m, x: m.first(*[x.transpose(0, 1)] * 3, need_weights=False)[0].mean(dim=0),
            lambda: nn.MultiheadAttention(WIDTH, 2),
        ),
        "first",
    ),
    "recurrent": (
        Sequence(lambda m, x: m.first(x)[0][:, -1], lambda: nn.GRU(WIDTH, WIDTH, batch_first=True)),
        "first",
    ),
    "group norm": (
        Sequence(lambda m, x: m.first(x).sum(dim=1), lambda: nn.GroupNorm(2, 4)), "first",
    ),
}  # fmt: skip
# The rules are wrong here, and only the comparison with autograd can tell: the samples are not
# where they look to be, or see each other.
WRONG = {
    "a table of one vector": (
        Model(lambda m, x: x + m.first(m.a), a=(WIDTH,)), {"a", "first.weight", "first.bias"},
    ),
    "a table of as many vectors as samples": (
        Model(lambda m, x: x + m.first(m.a).sum(dim=0), a=(2, WIDTH)),
        {"a", "first.weight", "first.bias"},
    ),
    "a table of four vectors": (
        Model(lambda m, x: x + m.first(m.a).sum(dim=0), a=(4, WIDTH)),
        {"a", "first.weight", "first.bias"},
    ),
    "a table that is no parameter": (
        Model(lambda m, x: x + m.first(torch.eye(WIDTH)[:4].to(x)).sum(dim=0)),
        {"first.weight", "first.bias"},
    ),
    "a table of three vectors": (
        Model(lambda m, x: x + m.first(m.a).sum(dim=0), a=(3, WIDTH)),
        {"a", "first.weight", "first.bias"},
    ),
    "a norm of a table": (
        Model(lambda m, x: x + m.first(m.a).sum(dim=0), lambda: nn.LayerNorm(WIDTH), a=(3, WIDTH)),
        {"a", "first.weight", "first.bias"},
    ),
    "the mean of the batch": (
        Model(lambda m, x: m.first(x) - 0.5 * m.first(x).mean(dim=0)),
        {"first.weight", "first.bias", "head.weight"},
    ),
    "the largest of the batch": (
        Model(lambda m, x: m.first(x) / m.first(x).abs().max()),
        {"first.weight", "first.bias", "head.weight"},
    ),
    "the largest of the batch, without its gradient": (
        Model(lambda m, x: m.first(x) / m.first(x).abs().max().detach()),
        {"first.weight", "first.bias", "head.weight"},
    ),
    "the samples turned round": (
        Model(lambda m, x: x + m.first(x.flip(0)).flip(0)), {"first.weight", "first.bias"},
    ),
    "the neighbour": (
        Model(lambda m, x: x.roll(1, 0) + m.first(x)),
        {"first.weight", "first.bias", "head.weight"},
    ),
    "positions looked up in one axis": (
        Model(
            lambda m, x: x + m.first(torch.arange(4)).sum(dim=0), lambda: nn.Embedding(5, WIDTH)
        ),
        "first",
    ),
    "one position looked up": (
        Model(lambda m, x: x + m.first(torch.tensor(3)), lambda: nn.Embedding(5, WIDTH)), "first",
    ),
    "positions looked up and reshaped": (
        Model(
            lambda m, x: x + m.first(torch.arange(3)[None]).view(3, WIDTH).sum(dim=0),
            lambda: nn.Embedding(5, WIDTH),
        ),
        "first",
    ),
    "positions looked up and chosen": (
        Model(
            lambda m, x: x + m.first(torch.arange(3)[None])[0].sum(dim=0),
            lambda: nn.Embedding(5, WIDTH),
        ),
        "first",
    ),
    "one row for all": (Model(lambda m, x: x + m.a[torch.tensor(1)], a=(3, WIDTH)), {"a"}),
}  # fmt: skip
WRONG_OF_SEQUENCES = {
    "samples in the second axis": (
        Sequence(lambda m, x: m.first(x.transpose(0, 1)).sum(dim=0)),
        {"first.weight", "first.bias"},
    ),
}  # fmt: skip
# Unusual, and yet the rules get it right.
COVERED = {
    "in place": Model(in_place),
    "two layers of one parameter": Model(lambda m, x: m.first(torch.sin(m.first(x)))),
    "a parameter in two kinds of calls": Model(
        lambda m, x: m.first(x) + functional.embedding((x[:, 0] > 0).long(), m.first.weight)
    ),
    "in both directions": Model(lambda m, x: m.first(x) @ m.first.weight),
    "a scalar twice": Model(lambda m, x: m.first(x * m.a) * m.a, a=()),
    "a scalar as a matrix": Model(lambda m, x: m.first(x) * m.a, a=(1, 1)),
    "rows of a table": Model(
        lambda m, x: x + m.a[torch.arange(3)[None]].sum(dim=1), a=(4, WIDTH)
    ),
    "rows of a table for every sample": Model(
        lambda m, x: x + m.a[(x[:, :3] > 0).long()].sum(dim=1), a=(4, WIDTH)
    ),
    "some rows as a layer, one of them twice": Model(
        lambda m, x: functional.linear(
            x, m.first.weight[torch.tensor([0, 2, 2, 5, 1, 0])], m.first.bias[torch.arange(6)]
        )
    ),
    "transposed": Model(lambda m, x: x @ m.first.weight.T + m.first.bias),
    "transposed in other words": Model(
        lambda m, x: x @ m.first.weight.t() + x @ torch.transpose(m.first.weight, 0, 1)
        + functional.linear(x, m.first.weight.mT) + x @ m.first.weight.transpose(-1, -2)
    ),
    "transposed twice": Model(lambda m, x: x @ m.first.weight.T.T),
    "rows by a list": Model(
        lambda m, x: functional.linear(x, m.a[[3, 7, -1, 3, 0, -9]], m.b[[3, 7, -1, 3, 0, -9]]),
        a=(9, WIDTH), b=(9,),
    ),
    "rows by a list, transposed": Model(
        lambda m, x: x @ m.a[[3, 7, -1, 3, 0, -9]].T + m.b[[3, 7, -1, 3, 0, -9]],
        a=(9, WIDTH), b=(9,),
    ),
    "rows by a list and all columns": Model(
        lambda m, x: x @ m.a[[3, 7, -1, 3, 0, -9], :].T + x @ m.a[[1, 2, 3, 4, 5, 6], ...].T,
        a=(9, WIDTH),
    ),
    "rows by an array": Model(
        lambda m, x: functional.linear(x, m.a[np.array([3, 7, -1, 3, 0, 2], dtype=np.int32)]),
        a=(9, WIDTH),
    ),
    "rows by a tensor, from the end": Model(
        lambda m, x: functional.linear(x, m.a[torch.tensor([-1, -2, 0, 8, 7, -9])]),
        a=(9, WIDTH),
    ),
    "rows by a slice": Model(
        lambda m, x: functional.linear(x, m.a[2:8], m.b[-7:-1]), a=(9, WIDTH), b=(9,)
    ),
    "rows by numbers": Model(
        lambda m, x: torch.stack([x @ m.a[i] + m.b[i] for i in (3, 7, -1, np.int64(3), 0, -9)], 1),
        a=(9, WIDTH), b=(9,),
    ),
    "one row": Model(lambda m, x: x + m.a[2], a=(4, WIDTH)),
    "rows and the whole": Model(
        lambda m, x: functional.linear(functional.linear(x, m.first.weight[[0, 1, 2, 3, 4, -1]]),
                                       m.first.weight)
    ),
    "rows of a tied embedding": Model(
        lambda m, x: m.first((x[:, :3] > 0).long()).sum(dim=1)
        + x @ m.first.weight[[0, -1, 1, 1, -2, 4]].T,
        lambda: nn.Embedding(9, WIDTH),
    ),
    "positions by a slice": Sequence(
        lambda m, x: m.first(x + m.a[: x.shape[1]]).sin().sum(dim=1), a=(7, WIDTH)
    ),
    "padding of an embedding": Model(
        lambda m, x: m.first((x[:, :3] > 0).long()).sum(dim=1),
        lambda: nn.Embedding(2, WIDTH, padding_idx=1),
    ),
    "named arguments": Model(
        lambda m, x: functional.linear(bias=m.first.bias, weight=m.first.weight, input=x)
    ),
    "operands the other way round": Model(
        lambda m, x: torch.addmm(m.a, mat1=x, mat2=m.b) * 2 + torch.mul(m.a, x) + torch.add(m.a, x),
        a=(WIDTH,), b=(WIDTH, WIDTH),
    ),
    "frozen in part": Model(lambda m, x: m.first(x.detach())),
    "a root mean square norm": Model(lambda m, x: m.first(x), lambda: nn.RMSNorm(WIDTH)),
    "a norm of two axes": Sequence(
        lambda m, x: m.first(x).sum(dim=1), lambda: nn.LayerNorm((4, WIDTH))
    ),
    "many tokens": Sequence(by_token),
    "an output for every token": EachToken(by_token),
    "flattened tokens": Sequence(
        lambda m, x: m.first(x.reshape(-1, WIDTH)).view(x.shape).sin().sum(dim=1)
    ),
    "a table added to the tokens": Sequence(
        lambda m, x: (m.first(x) + m.a).sin().sum(dim=1), a=(4, WIDTH)
    ),
}  # fmt: skip


def names_of(model: nn.Module, names: object) -> tuple[str, ...]:
    """Parameters in the model's order; a string stands for a module's."""
    every = [name for name, _ in model.named_parameters()]
    if isinstance(names, str):
        return tuple(name for name in every if name.startswith(f"{names}."))
    return tuple(name for name in every if name in names)


def inputs_of(model: nn.Module):
    return sequences if isinstance(model, Sequence) else vectors


def expected(model: nn.Module, rows, columns=None, **options) -> np.ndarray:
    columns = None if columns is None else as_double(columns)
    try:
        return reference_entk(model.double(), as_double(rows), columns, **options)
    finally:
        model.float()


ALL_WRONG = {**UNCOVERED, **UNCOVERED_OF_SEQUENCES, **WRONG, **WRONG_OF_SEQUENCES}
SIZES = [(5, None), (1, 4), (4, 1), (1, None), (2, 2)]


@pytest.mark.parametrize("name", ALL_WRONG)
def test_exact_by_autograd(name):
    model, names = ALL_WRONG[name]
    make = inputs_of(model)
    for n, m in SIZES:
        rows, columns = make(n), None if m is None else make(m, seed=2)
        kernel = exact(model, rows, columns)
        assert relative_error(kernel.values, expected(model, rows, columns)) <= TOLERANCE
        if max(n, m or 0) > 1:
            assert kernel.cost.by_autograd == names_of(model, names)


@pytest.mark.parametrize("name", COVERED)
def test_exact_without_autograd(name):
    model = COVERED[name]
    make = inputs_of(model)
    for n, m in SIZES:
        rows, columns = make(n), None if m is None else make(m, seed=2)
        kernel = exact(model, rows, columns)
        assert relative_error(kernel.values, expected(model, rows, columns)) <= TOLERANCE
        assert kernel.cost.by_autograd == ()


# --- what the first samples do not show -----------------------------------------------------


class Later(nn.Module):
    """A model that uses its first layer in another way for samples with a large first input.

    Args:
        late: From the model and inputs to what such samples get.
        early: What all others get.
    """

    def __init__(
        self,
        late: Callable[[Later, Tensor], Tensor],
        early: Callable[[Later, Tensor], Tensor] = lambda m, x: m.first(x),
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(WIDTH, WIDTH, bias=False)
        self.table = nn.Parameter(torch.randn(WIDTH))
        self.head = nn.Linear(WIDTH, 3)
        self.early, self.late = early, late
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        large = x[:, :1] > 2.0
        if large.all():
            features = self.late(self, x)
        elif large.any():
            features = torch.where(large, self.late(self, x), self.early(self, x))
        else:
            features = self.early(self, x)
        return self.head(torch.tanh(features + self.table))


def lookup(m: Later, x: Tensor) -> Tensor:
    return functional.embedding((x[:, 1] > 0).long(), m.first.weight)


def both(m: Later, x: Tensor) -> Tensor:
    return m.first(x) + lookup(m, x)


LATER = {
    "transposed": (Later(lambda m, x: x @ m.first.weight.T), True),
    "the other way round": (Later(lambda m, x: x @ m.first.weight), True),
    "as an embedding": (Later(lookup), True),
    "as an input": (Later(lambda m, x: x + m.first(m.table)), True),
    "as a normed input": (Later(lambda m, x: x + functional.layer_norm(m.table, (WIDTH,))), True),
    "for the first time": (Later(lambda m, x: m.first(x), lambda m, x: x), True),
    "no longer": (Later(lambda m, x: x), False),
    "in one way instead of two": (Later(lambda m, x: m.first(x), both), False),
}


@pytest.fixture
def small_passes(monkeypatch):
    """At most three samples a pass."""
    monkeypatch.setitem(tiles._BATCH_SAMPLES, "cpu", 3)


def with_large(n: int, large: list[int], seed: int = 1) -> dict[str, Tensor]:
    x = vectors(n, seed)["x"].clamp(max=1.5)
    x[large, 0] = 3.0
    return {"x": x}


@pytest.mark.parametrize(("formula", "memory"), [("sgd", None), ("asymmetric-signgd", 4_000)])
@pytest.mark.parametrize("name", LATER)
def test_a_use_that_only_a_later_batch_shows(name, formula, memory, small_passes):
    model, by_autograd = LATER[name]
    plain, large = with_large(7, []), with_large(7, [1, 3, 4, 5])  # Three of them are a pass.
    for rows, columns in [(large, None), (plain, large), (large, plain)]:
        kernel = exact(model, rows, columns, memory=memory, formula=formula)
        wanted = expected(model, rows, columns, formula=formula)
        assert relative_error(kernel.values, wanted) <= TOLERANCE
        assert bool(kernel.cost.by_autograd) == by_autograd


class Experts(nn.Module):
    """Every token goes to one of three layers, by its number."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(12, WIDTH)
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids).flatten(0, 1)
        result = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            mine = (ids.flatten() % 3 == number).nonzero()[:, 0]
            if len(mine):
                result = result.index_add(0, mine, torch.tanh(expert(x[mine])))
        return self.head(result.view(*ids.shape, WIDTH).mean(dim=1))


def test_experts_that_see_as_many_tokens_as_there_are_samples():
    # The first and the last sample do not use the third expert; in the batch of all six it gets
    # six tokens, which are not one of each sample.
    ids = torch.tensor([[0, 1], [2, 5], [2, 8], [11, 0], [5, 1], [0, 1]])
    model, batch = Experts().eval(), {"ids": ids}
    kernel = exact(model, batch)
    assert relative_error(kernel.values, expected_kernel(model, batch)) <= TOLERANCE
    assert set(kernel.cost.by_autograd) == set(names_of(model, "experts"))


@pytest.mark.parametrize("seed", range(3))
def test_experts(seed):
    generator = torch.Generator().manual_seed(seed)
    rows, columns = ({"ids": torch.randint(0, 12, (n, 3), generator=generator)} for n in (6, 5))
    model = Experts().eval()
    values = exact(model, rows, columns).values
    assert relative_error(values, expected_kernel(model, rows, columns)) <= TOLERANCE


class Padded(nn.Module):
    """A model that does not look at the mask: padding changes what a sample gets."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(40, WIDTH)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(torch.tanh(self.embedding(input_ids)).mean(dim=1))


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ((20, 19, 18, 20), None),
        ((20, 20), (20, 19, 18, 20)),
        ((20, 19, 18, 20), (20, 20)),
        ((19,), (20, 19, 18, 20)),
        ((5, 20), (19, 18)),
    ],
)
@pytest.mark.filterwarnings("ignore:the model depends on padding")
def test_a_model_that_sees_padding_gets_that_of_its_batch(rows, columns):
    # A sample is computed as it is given, with rows and columns that would share a pass.
    model, rows = Padded().eval(), text_batch(rows)
    columns = None if columns is None else text_batch(columns, seed=2)
    kernel = exact(model, rows, columns)
    assert relative_error(kernel.values, expected(model, rows, columns)) <= TOLERANCE
    assert kernel.cost.by_autograd == ()


class Tokens(nn.Module):
    """A layer on a table of positions that is made anew for the length of the texts."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(12, WIDTH)
        self.positions = nn.Embedding(12, WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) + self.mix(self.positions(torch.arange(ids.shape[1])))
        return self.head(torch.tanh(x).mean(dim=1))


@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_as_many_positions_as_samples(n, length):
    model, rows = Tokens().eval(), token_batch(n, length)
    columns = token_batch(4, length, seed=2)
    for others in (None, columns):
        values = exact(model, rows, others).values
        assert relative_error(values, expected_kernel(model, rows, others)) <= TOLERANCE


def test_samples_without_a_common_token():
    ids = torch.tensor([[0, 1, 2], [2, 3, 3]]), torch.tensor([[4, 5, 6], [7, 4, 8]])
    model, (rows, columns) = Tokens().eval(), ({"ids": i} for i in ids)
    kernel = exact(model, rows, columns, by="parameter")
    assert relative_error(kernel.values, expected_kernel(model, rows, columns)) <= TOLERANCE
    assert not kernel.groups["embedding.weight"].any()


def test_outputs_that_depend_on_no_parameter():
    class Free(Mlp):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :3] + 0 * self.first.weight.detach().sum()

    kernel = exact(Free().eval(), dense_batch(3))
    assert kernel.values.shape == (3, 3, 3, 3)
    assert not kernel.values.any()


def test_both_precisions_find_what_is_wrong():
    model, names = WRONG["the largest of the batch, without its gradient"]
    for precision in ("float32", "bfloat16", "bfloat16x3"):
        kernel = entk(model, vectors(5), precision=precision, progress=False)
        assert kernel.cost.by_autograd == names_of(model, names)
        assert relative_error(kernel.values, expected(model, vectors(5))) <= 1e-2


def test_the_cost_tells_what_autograd_took():
    model, _ = UNCOVERED["bilinear"]
    cost = exact(model, vectors(5)).cost
    assert 0 < cost.autograd_seconds < cost.seconds
    assert f"{cost.autograd_seconds:.1f} s of it in autograd" in str(cost)
    assert str(cost).endswith("first.weight, first.bias")
    cost = exact(COVERED["rows by a list"], vectors(5)).cost
    assert cost.autograd_seconds == 0
    assert "autograd" not in str(cost)


def test_alone_is_as_together():
    # The values of every pair are those of the pair alone, wherever the samples stand.
    model, _ = WRONG["the largest of the batch"]
    rows = vectors(5)
    values = exact(model, rows).values
    for i in range(5):
        alone = exact(model, one_row(rows, i)).values
        assert relative_error(values[i : i + 1, :, i : i + 1], alone) <= 1e-12
