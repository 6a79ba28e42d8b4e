"""``entk`` against autograd, and ``Kernel``: shapes, names, files, refusals."""

from __future__ import annotations

import copy
import importlib
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from small_models import (
    ARCHITECTURES,
    LABEL_WORDS,
    Direct,
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
from tangentlm.kernels import Kernel, entk
from tangentlm.models import LinearHeadModel, PromptModel

ENTK_MODULE = importlib.import_module("tangentlm.kernels.entk")


def one_row(batch: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    """Row ``index`` without its padding."""
    row = {name: tensor[index : index + 1] for name, tensor in batch.items()}
    if "attention_mask" in row:
        used = int(row["attention_mask"].sum())
        row |= {name: row[name][:, :used] for name in ("input_ids", "attention_mask")}
    return row


def jacobian(model: nn.Module, batch: dict[str, Tensor], names=None) -> Tensor:
    """(N, C, P) by ``torch.func``, one sample at a time, in double precision."""
    double = copy.deepcopy(model).double()
    parameters = {name: p.detach() for name, p in double.named_parameters()}
    chosen = {name: p for name, p in parameters.items() if names is None or name in names}
    samples = []
    for index in range(len(next(iter(batch.values())))):
        row = {
            k: v.double() if v.is_floating_point() else v for k, v in one_row(batch, index).items()
        }

        def outputs(values: dict[str, Tensor], row: dict[str, Tensor] = row) -> Tensor:
            return functional_call(double, {**parameters, **values}, (), row)[0]

        parts = jacrev(outputs)(chosen).values()
        samples.append(torch.cat([part.reshape(len(part), -1) for part in parts], dim=1))
    return torch.stack(samples)


def reference(model, rows, columns=None, names=None) -> np.ndarray:
    left = jacobian(model, rows, names)
    right = left if columns is None else jacobian(model, columns, names)
    return torch.einsum("icp,jdp->icjd", left, right).numpy()


def relative_error(values: np.ndarray, expected: np.ndarray) -> float:
    assert values.shape == expected.shape
    return float(np.abs(values - expected).max() / np.abs(expected).max())


def as_double(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}


def exact(model, rows, columns=None, **options) -> Kernel:
    options = {"precision": "float64", "progress": False, **options}
    columns = None if columns is None else as_double(columns)
    return entk(model, as_double(rows), columns, **options)


# Every case: a model, N rows, M columns.
CASES = {
    "mlp": lambda: (Mlp().eval(), dense_batch(4), dense_batch(3, seed=2)),
    "direct-and-scalar": lambda: (Direct().eval(), dense_batch(4), dense_batch(3, seed=2)),
    "unused": lambda: (Unused().eval(), dense_batch(4), dense_batch(3, seed=2)),
    "tied": lambda: (Tied().eval(), token_batch(4), token_batch(3, seed=2)),
    **{
        name: lambda name=name: (
            prompt_model(name, classes=3),
            prompt_batch((9, 5, 7)),
            prompt_batch((6, 8), seed=2),
        )
        for name in ARCHITECTURES
    },
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]()


def mlp_kernel(**options) -> Kernel:
    return exact(Mlp().eval(), dense_batch(4), **options)


# --- values ---------------------------------------------------------------------------------


def test_equals_autograd(case):
    model, rows, columns = case
    names = tuple(name for name, _ in model.named_parameters())
    expected = reference(model, rows, columns)
    kernel = exact(model, rows, columns)
    assert kernel.values.dtype == np.float64
    assert relative_error(kernel.values, expected) <= 1e-10
    assert kernel.parameters == names
    symmetric = exact(model, rows)
    assert relative_error(symmetric.values, reference(model, rows)) <= 1e-10
    matrix = symmetric.matrix()
    assert np.array_equal(matrix, matrix.T)


def test_rows_as_columns_give_the_symmetric_kernel(case):
    model, rows, _ = case
    assert relative_error(exact(model, rows, rows).values, exact(model, rows).values) <= 1e-12


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_contributes_nothing(architecture):
    model, batch = prompt_model(architecture), prompt_batch((9, 5, 7))
    alone = exact(model, one_row(batch, 1))
    together = exact(model, batch)
    assert relative_error(together.values[1:2, :, 1:2], alone.values) <= 1e-12


def test_float32_is_close_to_float64(case):
    model, rows, columns = case
    single = entk(model, rows, columns, progress=False)
    assert single.values.dtype == np.float64
    assert relative_error(single.values, exact(model, rows, columns).values) < 1e-4


@pytest.mark.parametrize("columns", [None, prompt_batch((6, 8), seed=2)])
def test_difference_is_that_of_the_logit_difference(columns):
    model, rows = prompt_model("roberta", classes=2), prompt_batch()
    full = exact(model, rows, columns).values
    expected = full[:, 1, :, 1] - full[:, 1, :, 0] - full[:, 0, :, 1] + full[:, 0, :, 0]
    kernel = exact(model, rows, columns, outputs="difference")
    assert kernel.values.shape == (4, 1, 4 if columns is None else 2, 1)
    assert kernel.outputs == "difference"
    assert relative_error(kernel.values[:, 0, :, 0], expected) <= 1e-10


@pytest.mark.parametrize("columns", [None, dense_batch(9, seed=2)])
# In units of one sample's gradients: single samples, single columns, blocks that end within a
# column block, several column blocks in a row block, and everything at once.
@pytest.mark.parametrize("samples", [0, 1, 2, 3, 8, 13, 20, 30, 1000])
def test_any_memory_budget_gives_the_same_values(samples, columns):
    model, rows = Mlp().eval(), dense_batch(21)
    sample_bytes = 3 * 8 * sum(p.numel() for p in model.parameters())
    memory = max(samples * sample_bytes, 1)
    kernel = exact(model, rows, columns, memory=memory)
    assert relative_error(kernel.values, reference(model, rows, columns)) <= 1e-12
    if samples >= 8:  # below that, one row and one column are held all the same
        assert kernel.cost.peak_bytes <= memory
    assert kernel.cost.flops > 0
    assert kernel.cost.seconds > 0


def test_tiny_memory_with_a_masked_lm():
    model, rows = prompt_model("modernbert"), prompt_batch()
    assert relative_error(exact(model, rows, memory=1).values, exact(model, rows).values) <= 1e-12


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
    expected = reference(Mlp().eval(), dense_batch(4), names=set(names))
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
    names = set(kernel.parameters)
    expected = reference(Mlp().eval(), dense_batch(4), names=names)
    assert relative_error(kernel.values, expected) <= 1e-10


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


def test_linear_head_at_zero():
    # With a head at zero the body has no gradient: the kernel is that of the head's features.
    model = LinearHeadModel(masked_lm("roberta"), 3).eval()
    batch = {name: t for name, t in prompt_batch().items() if name != "mask_position"}
    kernel = exact(model, batch)
    with torch.no_grad():
        hidden = copy.deepcopy(model.body).double()(**batch).last_hidden_state[:, 0]
    features = (hidden @ hidden.T + 1).numpy()
    expected = np.einsum("ij,cd->icjd", features, np.eye(3))
    assert relative_error(kernel.values, expected) <= 1e-10


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


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_model_is_left_as_it_was(precision):
    model, batch = prompt_model(), prompt_batch()
    model(**batch).sum().backward()
    before = {
        name: (p.dtype, p.detach().clone(), None if p.grad is None else p.grad.clone())
        for name, p in model.named_parameters()
    }
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    embedding = model.masked_lm.get_input_embeddings().weight
    entk(model, batch, precision=precision, progress=False)
    assert not model.training
    assert model.masked_lm.get_output_embeddings().weight is embedding
    for name, p in model.named_parameters():
        dtype, value, gradient = before[name]
        assert p.dtype == dtype
        assert p.requires_grad
        assert torch.equal(p, value)
        assert (p.grad is None) == (gradient is None)
        assert gradient is None or torch.equal(p.grad, gradient)
    assert all(torch.equal(b, buffers[name]) for name, b in model.named_buffers())


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


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_nan_weight_is_refused_naming_the_sample(precision):
    model, batch = prompt_model(), prompt_batch()
    batch["input_ids"] = batch["input_ids"].where(batch["input_ids"] != 39, 38)
    batch["input_ids"][2, 5] = 39
    with torch.no_grad():
        model.masked_lm.get_input_embeddings().weight[39] = float("nan")
    options = {"precision": precision, "progress": False}
    fine = {name: tensor[:2] for name, tensor in batch.items()}
    rest = {name: tensor[1:] for name, tensor in batch.items()}
    assert entk(model, fine, **options).values.all()
    for rows, columns, sample in [(batch, None, 2), (batch, fine, 2), (fine, rest, 1)]:
        with pytest.raises(NonFiniteError, match=f"sample {sample} "):
            entk(model, rows, columns, **options)
    # Also after a refusal the model is as it was.
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_nan_in_every_sample_is_refused_naming_the_first():
    model = Mlp().eval()
    with torch.no_grad():
        model.first.weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="sample 0 "):
        entk(model, dense_batch(4), progress=False)


# --- Kernel ---------------------------------------------------------------------------------


def some_kernel() -> Kernel:
    values = np.random.default_rng(0).normal(size=(2, 3, 4, 3))
    return Kernel(values, "sgd", "full", ("a.weight", "a.bias"), {"task": "reviews"})


def test_matrix_is_sample_major():
    kernel = some_kernel()
    matrix = kernel.matrix()
    assert matrix.shape == (6, 12)
    for i, c, j, d in np.ndindex(kernel.values.shape):
        assert matrix[i * 3 + c, j * 3 + d] == kernel.values[i, c, j, d]


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 2), (2, 3, 2, 4)])
def test_kernel_of_another_shape_is_refused(shape):
    with pytest.raises(InputError, match=r"\(N, C, M, C\)"):
        Kernel(np.zeros(shape), "sgd", "full", ())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_kernel_is_refused_naming_the_entry(bad):
    values = np.ones((2, 3, 4, 3))
    values[1, 2, 3, 0] = bad
    with pytest.raises(NonFiniteError, match="row 1, output 2, column 3, output 0"):
        Kernel(values, "sgd", "full", ())


def test_save_and_load(tmp_path):
    kernel = mlp_kernel()
    kernel.save(tmp_path / "kernel.safetensors")
    loaded = Kernel.load(tmp_path / "kernel.safetensors", formula="sgd", precision="float64")
    assert np.array_equal(loaded.values, kernel.values)
    assert loaded.values.dtype == np.float64
    names = ("formula", "outputs", "parameters", "provenance")
    assert [getattr(loaded, n) for n in names] == [getattr(kernel, n) for n in names]
    assert loaded.cost is None


def test_view_of_a_kernel_is_saved_as_it_looks(tmp_path):
    whole = some_kernel()
    part = Kernel(whole.values[::-1, :, 1::2], "sgd", "full", ())
    part.save(str(tmp_path / "kernel.safetensors"))
    assert np.array_equal(Kernel.load(tmp_path / "kernel.safetensors").values, part.values)


@pytest.mark.parametrize(
    "expected",
    [{"formula": "signgd"}, {"outputs": "difference"}, {"task": "topics"}, {"model": "pocket"}],
)
def test_kernel_of_something_else_is_refused(tmp_path, expected):
    some_kernel().save(tmp_path / "kernel.safetensors")
    with pytest.raises(InputError, match=rf"{next(iter(expected))} = .*expected"):
        Kernel.load(tmp_path / "kernel.safetensors", **expected)


def test_damaged_values_are_refused(tmp_path):
    path = tmp_path / "kernel.safetensors"
    some_kernel().save(path)
    content = bytearray(path.read_bytes())
    content[-10] ^= 0x01
    path.write_bytes(content)
    with pytest.raises(InputError, match="checksum"):
        Kernel.load(path)


def test_no_single_damaged_byte_goes_unnoticed(tmp_path):
    kernel = Kernel(np.full((1, 1, 1, 1), 2.5), "sgd", "full", ("a.weight",), {"task": "reviews"})
    path = tmp_path / "kernel.safetensors"
    kernel.save(path)
    whole = path.read_bytes()
    unnoticed, unclear = [], []
    for position in range(len(whole)):
        content = bytearray(whole)
        content[position] ^= 0x02
        path.write_bytes(content)
        try:
            loaded = Kernel.load(path)
        except InputError:
            continue
        except Exception as error:
            unclear.append((position, whole[position : position + 1], error))
        else:
            if loaded != kernel:
                unnoticed.append((position, whole[position : position + 1]))
    assert not unnoticed, f"damage was read as content, at {unnoticed}"
    assert not unclear, f"damage was refused, but not by an InputError, at {unclear}"


NO_KERNELS = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("this is no safetensors file", encoding="utf-8"),
    "pickle": lambda path: torch.save({"values": torch.zeros(1)}, path),
    "truncated": lambda path: (
        some_kernel().save(path),
        path.write_bytes(path.read_bytes()[:-8]),
    ),
    "absent": lambda path: None,
    "other safetensors": lambda path: save_file({"values": np.zeros((1, 1, 1, 1))}, str(path)),
    "other tensors": lambda path: save_file(
        {"weights": np.zeros(3)}, str(path), metadata={"kernel": json.dumps({"formula": "sgd"})}
    ),
    "other metadata": lambda path: save_file(
        {"values": np.zeros((1, 1, 1, 1))}, str(path), metadata={"kernel": json.dumps({})}
    ),
}


@pytest.mark.parametrize("make", NO_KERNELS.values(), ids=NO_KERNELS)
def test_file_that_is_no_kernel_is_refused(tmp_path, make):
    path = tmp_path / "kernel.safetensors"
    make(path)
    with pytest.raises(InputError, match=r"kernel\.safetensors"):
        Kernel.load(path)


# --- cache ----------------------------------------------------------------------------------


@pytest.fixture
def computations(monkeypatch):
    """The kernels that were computed, not read."""
    calls = []
    compute = ENTK_MODULE.reference_entk

    def counted(*args, **options):
        calls.append(args)
        return compute(*args, **options)

    monkeypatch.setattr(ENTK_MODULE, "reference_entk", counted)
    return calls


@pytest.mark.parametrize("columns", [None, dense_batch(3, seed=2)])
def test_cached_kernel_is_read_not_computed(tmp_path, computations, columns):
    options = {"cache": tmp_path / "kernel.safetensors", "progress": False}
    first = entk(Mlp().eval(), dense_batch(4), columns, **options)
    again = entk(Mlp().eval(), dense_batch(4), columns, **options)
    assert len(computations) == 1
    assert np.array_equal(again.values, first.values)
    assert (again.parameters, again.provenance) == (first.parameters, first.provenance)
    without = entk(Mlp().eval(), dense_batch(4), columns, progress=False)
    assert np.array_equal(without.values, first.values)


def other_words() -> nn.Module:
    """The same masked-LM, read out at other label words."""
    return PromptModel(masked_lm("roberta"), [LABEL_WORDS[0], LABEL_WORDS[2]]).eval()


OTHERS = {
    "samples": (prompt_model, lambda: prompt_batch(seed=5), None, {}),
    "order of samples": (
        prompt_model,
        lambda: {name: tensor.flip(0) for name, tensor in prompt_batch().items()},
        None,
        {},
    ),
    "columns": (prompt_model, prompt_batch, lambda: prompt_batch((6, 8)), {}),
    "weights": (lambda: prompt_model(seed=3), prompt_batch, None, {}),
    "label words": (other_words, prompt_batch, None, {}),
    "parameters": (prompt_model, prompt_batch, None, {"parameters": lambda name: "bias" in name}),
    "outputs": (prompt_model, prompt_batch, None, {"outputs": "difference"}),
    "precision": (prompt_model, prompt_batch, None, {"precision": "float64"}),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_cached_kernel_of_something_else_is_refused(tmp_path, computations, other):
    path = tmp_path / "kernel.safetensors"
    entk(prompt_model(), prompt_batch(), cache=path, progress=False)
    content = path.read_bytes()
    model, rows, columns, options = other
    with pytest.raises(InputError, match=r"kernel\.safetensors has \w+ = .*, expected"):
        entk(model(), rows(), columns and columns(), cache=path, progress=False, **options)
    assert len(computations) == 1
    assert path.read_bytes() == content


def test_damaged_cache_is_refused(tmp_path):
    path = tmp_path / "kernel.safetensors"
    entk(Mlp().eval(), dense_batch(4), cache=path, progress=False)
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(InputError, match="checksum"):
        entk(Mlp().eval(), dense_batch(4), cache=path, progress=False)
