"""``Kernel``: its shape, its names, and its file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from oracle import exact
from small_models import Mlp, dense_batch
from tangentlm.errors import InputError, NonFiniteError
from tangentlm.kernels import Kernel


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


@pytest.mark.parametrize("by", [None, "parameter"])
def test_save_and_load(tmp_path, by):
    kernel = exact(Mlp().eval(), dense_batch(4), dense_batch(3, seed=2), by=by)
    kernel.save(tmp_path / "kernel.safetensors")
    loaded = Kernel.load(tmp_path / "kernel.safetensors", formula="sgd", precision="float64")
    assert np.array_equal(loaded.values, kernel.values)
    assert loaded.values.dtype == np.float64
    names = ("formula", "outputs", "parameters", "provenance")
    assert [getattr(loaded, n) for n in names] == [getattr(kernel, n) for n in names]
    assert loaded.cost is None
    assert list(loaded.groups) == list(kernel.groups)
    assert len(loaded.groups) == (4 if by else 0)
    assert all(np.array_equal(loaded.groups[n], kernel.groups[n]) for n in kernel.groups)


def test_groups_may_have_any_names(tmp_path):
    names = ("values", "group-1", "group-0", "", "kernel", "tête / a.b\n", "checksum")
    groups = {name: np.full((2, 1, 3, 1), float(i)) for i, name in enumerate(names)}
    kernel = Kernel(sum(groups.values()), "sgd", "trace", (), {"groups": 3}, groups=groups)
    kernel.save(tmp_path / "kernel.safetensors")
    loaded = Kernel.load(tmp_path / "kernel.safetensors")
    assert tuple(loaded.groups) == names
    assert all(np.array_equal(loaded.groups[name], groups[name]) for name in names)
    assert loaded.provenance == {"groups": 3}


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


@pytest.mark.parametrize("position", range(8, 8 * 3 * 12, 40))
def test_damaged_values_are_refused(tmp_path, position):
    # From the end: those of two groups and the values.
    path = tmp_path / "kernel.safetensors"
    values = np.random.default_rng(0).normal(size=(2, 2, 3, 1)).reshape(2, 1, 6, 1)
    Kernel(2 * values, "sgd", "trace", (), groups={"a": values, "b": values}).save(path)
    Kernel.load(path)
    content = bytearray(path.read_bytes())
    content[-position] ^= 0x01
    path.write_bytes(content)
    with pytest.raises(InputError, match="checksum"):
        Kernel.load(path)


def test_no_single_damaged_byte_goes_unnoticed(tmp_path):
    values = np.full((1, 1, 1, 1), 2.5)
    kernel = Kernel(
        values, "sgd", "full", ("a.weight",), {"task": "reviews"}, groups={"a": values.copy()}
    )
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
