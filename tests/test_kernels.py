"""``entk``: which parameters count, what stays as it was, and what is refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from oracle import exact, expected_kernel, relative_error
from small_models import (
    Mlp,
    Tied,
    Unused,
    dense_batch,
    prompt_batch,
    prompt_model,
    token_batch,
)
from tangentlm.errors import InputError, NonFiniteError
from tangentlm.kernels import Kernel, entk, tiles
from tangentlm.kernels import run as runs
from tangentlm.kernels.passes import Passes


def mlp_kernel(**options) -> Kernel:
    return exact(Mlp().eval(), dense_batch(4), **options)


# --- parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        (lambda name: "weight" in name, ("first.weight", "second.weight")),
        (["second.bias"], ("second.bias",)),
        (("second.bias", "first.weight"), ("second.bias", "first.weight")),
        (None, ("first.weight", "first.bias", "second.weight", "second.bias")),
    ],
)
def test_only_the_chosen_parameters_count(parameters, names):
    kernel = mlp_kernel(parameters=parameters)
    assert kernel.parameters == names
    expected = expected_kernel(Mlp().eval(), dense_batch(4), names=lambda name: name in names)
    assert relative_error(kernel.values, expected) <= 1e-10


def test_parts_of_the_parameters_sum_to_the_whole():
    model, rows = prompt_model("albert"), prompt_batch()
    parts = [
        exact(model, rows, parameters=lambda name, inside=inside: ("encoder" in name) is inside)
        for inside in (True, False)
    ]
    whole = exact(model, rows)
    assert sorted(parts[0].parameters + parts[1].parameters) == sorted(whole.parameters)
    assert relative_error(parts[0].values + parts[1].values, whole.values) <= 1e-12


def test_frozen_parameters_do_not_count():
    model = Mlp().eval()
    model.first.requires_grad_(False)
    kernel = exact(model, dense_batch(4))
    assert kernel.parameters == ("second.weight", "second.bias")
    assert relative_error(kernel.values, expected_kernel(model, dense_batch(4))) <= 1e-10


def test_tied_parameter_counts_once():
    model = Tied().eval()
    kernel = exact(model, token_batch(4))
    assert "decoder.weight" not in kernel.parameters
    assert kernel.parameters.count("embedding.weight") == 1


@pytest.mark.parametrize("names", [["unused"], ["muted"], ["unused", "muted"]])
def test_parameters_without_effect_give_zero(names):
    kernel = exact(Unused().eval(), dense_batch(4), dense_batch(3, seed=2), parameters=names)
    assert kernel.values.shape == (4, 3, 3, 3)
    assert kernel.parameters == tuple(names)
    assert not kernel.values.any()


# --- samples --------------------------------------------------------------------------------


def test_dataset_in_torch_format_works_as_rows():
    datasets = pytest.importorskip("datasets")
    model, batch = prompt_model(), prompt_batch()
    columns = {name: tensor.tolist() for name, tensor in batch.items()}
    dataset = datasets.Dataset.from_dict(columns)
    expected = exact(model, batch).values
    torch_format = dataset.with_format("torch")
    options = {"precision": "float64", "progress": False}
    assert np.array_equal(entk(model, torch_format, **options).values, expected)
    crossed = entk(model, torch_format, torch_format, **options).values
    assert relative_error(crossed, expected) <= 1e-12
    with pytest.raises(InputError, match="torch format"):
        entk(model, dataset, **options)


def test_tokenizer_output_works_as_rows():
    from transformers import BatchEncoding

    model, batch = prompt_model(), prompt_batch()
    assert np.array_equal(exact(model, BatchEncoding(batch)).values, exact(model, batch).values)


# --- what stays as it was -------------------------------------------------------------------


def state_of(model: nn.Module) -> dict[str, object]:
    """All of a model and of torch that a kernel might change."""
    return {
        "parameters": {
            name: (p.dtype, p.requires_grad, p.data_ptr(), p.detach().clone(), p._version)
            for name, p in model.named_parameters()
        },
        "gradients": {
            name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()
        },
        "buffers": {name: (b.dtype, b.clone()) for name, b in model.named_buffers()},
        "training": [module.training for module in model.modules()],
        "hooks": [
            len(hooks)
            for module in model.modules()
            for hooks in (
                module._forward_hooks, module._forward_pre_hooks, module._backward_hooks,
                module._backward_pre_hooks, module._state_dict_hooks,
            )
        ],
        "hooks of tensors": [p._backward_hooks for p in model.parameters()],
        "random": torch.get_rng_state(),
        "gradient mode": torch.is_grad_enabled(),
        "type": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
    }  # fmt: skip


def assert_equal(left: object, right: object) -> None:
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_equal(left[key], right[key])
    elif isinstance(left, tuple):
        for first, second in zip(left, right, strict=True):
            assert_equal(first, second)
    elif isinstance(left, Tensor):
        assert torch.equal(left, right)
    else:
        assert left == right


def half_frozen() -> nn.Module:
    """With gradients of an earlier step, and a part that is frozen."""
    model = prompt_model()
    model(**prompt_batch()).sum().backward()
    for name, parameter in model.named_parameters():
        if "layer.0" in name:
            parameter.requires_grad_(False)
            parameter.grad = None
    return model


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"precision": "float64"},
        {"precision": "bfloat16x3", "formula": "signgd", "by": "layer"},
        {"outputs": "trace", "memory": 100_000},
    ],
)
def test_model_is_left_as_it_was(options):
    model, batch = half_frozen(), prompt_batch()
    before, samples = state_of(model), {name: tensor.clone() for name, tensor in batch.items()}
    embedding = model.masked_lm.get_input_embeddings().weight
    entk(model, batch, progress=False, **options)
    assert_equal(before, state_of(model))
    assert_equal(samples, batch)
    assert model.masked_lm.get_output_embeddings().weight is embedding


def test_model_is_left_as_it_was_after_a_failure():
    class Late(Mlp):
        """Fails at the fifth call, which is after the check."""

        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            if self.calls == 5:
                raise ValueError("late")
            return super().forward(x)

    model = Late().eval()
    before = state_of(model)
    with pytest.raises(ValueError, match="late"):
        exact(model, dense_batch(4))
    assert_equal(before, state_of(model))


def test_gradient_mode_of_the_caller_does_not_matter():
    with torch.no_grad():
        values = exact(Mlp().eval(), dense_batch(4)).values
    assert np.array_equal(values, mlp_kernel().values)


def test_model_can_be_trained_after_a_kernel_in_another_precision():
    model, batch = Mlp().eval(), dense_batch(4)
    exact(model, batch)
    model(**batch).sum().backward()
    fresh = Mlp()
    fresh(**batch).sum().backward()
    for p, q in zip(model.parameters(), fresh.parameters(), strict=True):
        assert p.grad.dtype == torch.float32
        assert torch.equal(p.grad, q.grad)


# --- refusals -------------------------------------------------------------------------------


REFUSALS = {
    "formula": ({"formula": "sdg"}, "unknown formula 'sdg'; did you mean 'sgd'"),
    "outputs": ({"outputs": "diference"}, "unknown outputs 'diference'; did you mean 'difference'"),
    "precision": ({"precision": "float46"}, "unknown precision 'float46'; did you mean 'float64'"),
    "by": ({"by": "layers"}, "unknown by 'layers'; did you mean 'layer'"),
    "parameter": (
        {"parameters": ["second.wieght"]},
        "unknown parameter 'second.wieght'; did you mean 'second.weight'",
    ),
    "no parameter": ({"parameters": lambda name: False}, "no parameter"),
    "difference of three classes": ({"outputs": "difference"}, "2 classes, not 3"),
}


def test_frozen_parameter_is_refused_by_what_it_is():
    model, name = Mlp().eval(), "second.weight"
    model.get_parameter(name).requires_grad_(False)
    with pytest.raises(InputError, match=r"'second.weight' is frozen \(requires_grad=False\)") as e:
        entk(model, dense_batch(4), parameters=name, progress=False)
    assert "\n" not in str(e.value)
    # What the message says includes it.
    assert f"model.get_parameter('{name}').requires_grad_()" in str(e.value)
    model.get_parameter(name).requires_grad_()
    assert entk(model, dense_batch(4), parameters=name, progress=False).parameters == (name,)


@pytest.mark.parametrize(("options", "message"), REFUSALS.values(), ids=REFUSALS)
def test_wrong_option_is_refused(options, message):
    with pytest.raises(InputError, match=message) as caught:
        entk(Mlp().eval(), dense_batch(4), progress=False, **options)
    assert "\n" not in str(caught.value)


BAD_SAMPLES = {
    "list": ({"x": [[0.0] * 5]}, "'x' is no tensor"),
    "array": ({"x": np.zeros((2, 5))}, "'x' is no tensor"),
    "lengths": ({"x": torch.zeros(2, 5), "mask": torch.zeros(3, 5)}, "common leading axis"),
    "no rows": ({"x": torch.zeros(0, 5)}, "leading axis"),
    "nothing": ({}, "leading axis"),
    "scalar": ({"x": torch.zeros(2, 5), "scale": torch.tensor(2.0)}, "leading axis"),
}


@pytest.mark.parametrize("place", ["rows", "columns"])
@pytest.mark.parametrize(("samples", "message"), BAD_SAMPLES.values(), ids=BAD_SAMPLES)
def test_wrong_samples_are_refused(samples, message, place):
    rows, columns = (samples, None) if place == "rows" else (dense_batch(2), samples)
    with pytest.raises(InputError, match=f"{place}: .*{message}"):
        entk(Mlp().eval(), rows, columns, progress=False)


def test_training_mode_is_refused():
    with pytest.raises(InputError, match="training mode"):
        entk(Mlp().train(), dense_batch(4), progress=False)


def test_frozen_model_is_refused():
    with pytest.raises(InputError, match="no parameter"):
        entk(Mlp().eval().requires_grad_(False), dense_batch(4), progress=False)


class Shapeless(Mlp):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sum(dim=1)


def test_outputs_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"shape \(N, C\)"):
        entk(Shapeless().eval(), dense_batch(4), progress=False)


# --- what is not finite ---------------------------------------------------------------------


def with_word(batch: dict[str, Tensor], sample: int, word: int = 39) -> dict[str, Tensor]:
    """A word that one sample alone has."""
    batch["input_ids"] = batch["input_ids"].where(batch["input_ids"] != word, word - 1)
    batch["input_ids"][sample, 4] = word
    return batch


FORMULAS = ["sgd", "signgd", "asymmetric-signgd"]


@pytest.mark.parametrize(
    ("formula", "precision"),
    [("sgd", "float64"), ("signgd", "float32"), ("asymmetric-signgd", "bfloat16x3")],
)
def test_nan_names_the_sample_and_the_module(formula, precision):
    model = prompt_model()
    with torch.no_grad():
        model.masked_lm.get_input_embeddings().weight[39] = float("nan")
    options = {"precision": precision, "formula": formula, "progress": False}
    before = state_of(model)["parameters"]
    fine = {name: tensor[:2] for name, tensor in with_word(prompt_batch(), 2).items()}
    assert entk(model, fine, **options).values.any()
    for sample in (0, 1, 2):  # The longest, the shortest, and neither.
        batch = with_word(prompt_batch(), sample)
        where = rf"output 0 of sample {sample} of the {{}}, first in .*\.word_embeddings$"
        with pytest.raises(NonFiniteError, match=where.format("rows")):
            entk(model, batch, **options)
        with pytest.raises(NonFiniteError, match=where.format("rows")):
            entk(model, batch, fine, **options)
        with pytest.raises(NonFiniteError, match=where.format("columns")):
            entk(model, fine, batch, **options)
    after = state_of(model)["parameters"]
    assert [entry[:3] for entry in before.values()] == [entry[:3] for entry in after.values()]


def test_nan_names_the_output():
    model = Mlp().eval()
    with torch.no_grad():
        model.second.bias[1] = float("inf")
    with pytest.raises(NonFiniteError, match=r"output 1 of sample 0 of the rows, first in second$"):
        exact(model, dense_batch(4))


@pytest.mark.parametrize("sample", [0, 3, 5])
def test_nan_names_its_sample_wherever_it_stands(sample):
    batch = dense_batch(6)
    batch["x"][sample, 1] = float("nan")
    for rows, columns, place in [(batch, None, "rows"), (dense_batch(3), batch, "columns")]:
        with pytest.raises(
            NonFiniteError, match=f"of sample {sample} of the {place}, first in first$"
        ):
            exact(Mlp().eval(), rows, columns)


def test_nan_outside_of_every_module_is_the_models():
    class Outside(Mlp):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / (x[:, :1] > -1)

    batch = dense_batch(4)
    batch["x"][:, 0] = torch.tensor([0.0, 0.0, -2.0, 0.0])
    with pytest.raises(
        NonFiniteError, match="output 0 of sample 2 of the rows, first in the model"
    ):
        exact(Outside().eval(), batch)


def test_nan_in_a_long_job_is_found_at_once(monkeypatch):
    passes = []
    compute = Passes.factors

    def counted(self, batch, *args, **options):
        passes.append(len(next(iter(batch.values()))))
        return compute(self, batch, *args, **options)

    monkeypatch.setattr(Passes, "factors", counted)
    monkeypatch.setitem(tiles._BATCH_SAMPLES, "cpu", 5)
    batch = dense_batch(100)
    batch["x"][7, 2] = float("nan")
    with pytest.raises(NonFiniteError, match="sample 7 of the rows"):
        exact(Mlp().eval(), batch)
    assert passes == [2, 5, 5]


class Steep(torch.autograd.Function):
    """The identity, with a derivative that is not finite where it is told so."""

    @staticmethod
    def forward(x: Tensor, where: Tensor, value: float) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, ctx.where, ctx.value = inputs

    @staticmethod
    def backward(ctx, d: Tensor) -> tuple[Tensor, None, None]:
        return d.masked_fill(ctx.where & (d != 0), ctx.value), None, None


class Cliff(Mlp):
    """One output of which the derivative is not finite for samples with a large first input."""

    def __init__(self, value: float = float("inf")) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        where = (x[:, :1] > 5.0) & (torch.arange(3) == 1)
        return Steep.apply(super().forward(x), where, self.value)


def with_large(batch: dict[str, Tensor], sample: int) -> dict[str, Tensor]:
    x = batch["x"].clone()
    x[sample, 0] = 9.0
    return {"x": x}


@pytest.mark.parametrize("outputs", ["full", "trace", "diagonal"])
@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_gradient_that_is_not_finite_names_sample_output_and_parameter(value, formula, outputs):
    model, rows = Cliff(value).eval(), dense_batch(6)
    broken = with_large(rows, 3)
    options = {"formula": formula, "outputs": outputs}
    assert exact(model, rows, **options).values.any()
    where = r"the gradient of output 1 of sample 3 of the {} with respect to (first|second)\."
    with pytest.raises(NonFiniteError, match=where.format("rows")):
        exact(model, broken, **options)
    with pytest.raises(NonFiniteError, match=where.format("rows")):
        exact(model, broken, rows, **options)
    with pytest.raises(NonFiniteError, match=where.format("columns")):
        exact(model, rows, broken, **options)
    for parameter in ("first.bias", "second.weight"):
        with pytest.raises(NonFiniteError, match=f"output 1 of sample 3 of the rows .*{parameter}"):
            exact(model, broken, parameters=[parameter], **options)


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("sample", [0, 3, 5])
def test_root_of_zero_names_the_sample(sample, formula):
    class Root(Mlp):
        """Features that are roots of zero, for samples with a large first input."""

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.first(x)
            large = (x[:, 0] > 5.0).nonzero()[:, 0]
            zero = hidden[large] - hidden[large].detach()
            return self.second(hidden.index_copy(0, large, zero.sqrt()))

    model = Root().eval()
    where = rf"the gradient of output 0 of sample {sample} of the rows with respect to first\."
    with pytest.raises(NonFiniteError, match=where):
        exact(model, with_large(dense_batch(6), sample), formula=formula)


@pytest.mark.parametrize("formula", FORMULAS)
def test_gradient_by_autograd_that_is_not_finite_is_named(formula):
    class Transposed(Cliff):
        def forward(self, x: Tensor) -> Tensor:
            where = (x[:, :1] > 5.0) & (torch.arange(3) == 1)
            return Steep.apply(x @ self.first.weight.T[:, :3], where, self.value)

    model, rows = Transposed().eval(), dense_batch(6)
    assert exact(model, rows, formula=formula).cost.by_autograd == ("first.weight",)
    with pytest.raises(NonFiniteError, match=r"output 1 of sample 3 .*first\.weight"):
        exact(model, with_large(rows, 3), formula=formula)


def test_overflow_of_the_kernel_alone_names_the_entry():
    class Large(Mlp):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * torch.where(x[:, :1] > 5, 1e30, 1.0)

    model, rows = Large().eval(), dense_batch(6)
    rows["x"][3, 0] = 9.0
    with pytest.raises(NonFiniteError, match=r"sample 3 of the rows.*sample 3 of the columns"):
        entk(model, rows, progress=False)
    assert np.isfinite(exact(model, rows).values).all()


# --- progress -------------------------------------------------------------------------------


@pytest.fixture
def bars(monkeypatch):
    """All progress bars, as they were closed."""
    closed = []

    class Bar(runs.tqdm):
        def close(self) -> None:
            if not self.disable and all(self is not bar for bar in closed):
                closed.append(self)
            super().close()

    monkeypatch.setattr(runs, "tqdm", Bar)
    return closed


@pytest.mark.parametrize("columns", [None, dense_batch(7, seed=2)])
@pytest.mark.parametrize("formula", ["sgd", "asymmetric-signgd"])
@pytest.mark.parametrize("memory", [None, 5_000, 1])
def test_progress_ends_at_its_end(columns, formula, memory, bars, capsys, tmp_path):
    for _ in range(2):  # The second time all tiles are read.
        entk(
            Mlp().eval(), dense_batch(8), columns, formula=formula, memory=memory,
            cache=tmp_path / "cache", progress=True,
        )  # fmt: skip
    assert len(bars) == 2
    assert all(bar.n == bar.total > 0 for bar in bars)
    written = capsys.readouterr()
    assert "eNTK" in written.err
    assert written.out == ""


def test_quiet_without_progress(capfd, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        entk(Mlp().eval(), dense_batch(8), memory=5_000, cache=tmp_path, progress=False)
        entk(prompt_model(), prompt_batch(), precision="float64", progress=False)
    assert capfd.readouterr() == ("", "")
