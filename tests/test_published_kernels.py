"""Files as the authors' kernel trainer saves them, and files that must not be trusted."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tangentlm.errors import InputError
from tangentlm.kernels.kernel import Kernel
from tangentlm.kernels.published import load_published_kernel
from tangentlm.solvers import KernelLeastSquares

TRAIN, DEV, PARAMETERS = 6, 4, 30


def gradients(samples: int, outputs: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, outputs, PARAMETERS, generator=generator, dtype=torch.float64)


def inner(left: Tensor, right: Tensor) -> Tensor:
    return torch.einsum("icp,jdp->icjd", left, right)


def labels(samples: int, outputs: int) -> Tensor:
    """As the trainer has them: -1.0 and +1.0 for one output, else class numbers."""
    if outputs == 1:
        return (torch.arange(samples) % 2 * 2 - 1).float()
    return torch.arange(samples) % outputs


def written(folder: Path, content: object, split: str = "train", **how) -> Path:
    path = folder / f"{split}_kernels_sst-2.pt"
    torch.save(content, path, **how)
    return path


def sgd_file(folder: Path, **how) -> Path:
    rows = gradients(TRAIN, 1, seed=0)
    return written(folder, (inner(rows, rows), labels(TRAIN, 1)), **how)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("formula", ["sgd", "signgd"])
def test_symmetric_formulas(tmp_path, formula, outputs, zipped):
    rows, columns = gradients(TRAIN, outputs, seed=0), gradients(DEV, outputs, seed=1)
    if formula == "signgd":
        rows, columns = rows.sign(), columns.sign()
    values = inner(rows, columns)
    path = written(
        tmp_path,
        (values, labels(DEV, outputs)),
        split="dev",
        _use_new_zipfile_serialization=zipped,
    )
    published = load_published_kernel(path, formula)
    np.testing.assert_array_equal(published.kernel.values, values.numpy())
    assert published.kernel.values.dtype == np.float64
    assert published.kernel.formula == formula
    assert published.kernel.outputs == ("difference" if outputs == 1 else "full")
    assert published.reversed is None
    assert (published.split, published.task) == ("dev", "sst-2")
    assert published.labels.dtype == np.int64
    assert published.labels.tolist() == [[0, 1, 0, 1], [0, 1, 2, 0]][outputs == 3]


def test_asymmetric_formula_signs_the_columns(tmp_path):
    rows, columns = gradients(TRAIN, 1, seed=0), gradients(DEV, 1, seed=1)
    forward = inner(rows.sign(), columns)
    flipped = inner(columns.sign(), rows).permute(2, 3, 0, 1)
    content = (torch.stack([forward, flipped]), labels(DEV, 1))
    published = load_published_kernel(written(tmp_path, content, "test"), "asymmetric-signgd")
    assert published.reversed is not None
    np.testing.assert_allclose(published.kernel.values, inner(rows, columns.sign()))
    np.testing.assert_allclose(published.reversed.values, inner(columns, rows.sign()))


def test_asymmetric_training_kernel_is_its_own_reverse(tmp_path):
    rows = gradients(TRAIN, 1, seed=0)
    forward = inner(rows.sign(), rows)
    content = (torch.stack([forward, forward.permute(2, 3, 0, 1)]), labels(TRAIN, 1))
    published = load_published_kernel(written(tmp_path, content), "asymmetric-signgd")
    assert published.reversed is not None
    np.testing.assert_array_equal(published.kernel.values, published.reversed.values)


def test_the_solvers_take_it_and_it_can_be_kept(tmp_path):
    published = load_published_kernel(sgd_file(tmp_path), "sgd")
    solver = KernelLeastSquares().fit(published.kernel, published.labels)
    assert solver.predict(published.kernel).tolist() == published.labels.tolist()
    published.kernel.save(tmp_path / "kernel.safetensors")
    again = Kernel.load(tmp_path / "kernel.safetensors", split="train", task="sst-2")
    np.testing.assert_array_equal(again.values, published.kernel.values)


class Malicious:
    """A pickle that makes a folder when it is read, by a function of ``os``."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_file_is_refused_and_does_not_run(tmp_path, zipped, protocol):
    trace = tmp_path / "ran"
    path = written(
        tmp_path,
        (Malicious(trace), labels(TRAIN, 1)),
        _use_new_zipfile_serialization=zipped,
        pickle_protocol=protocol,
    )
    wanted = f"it wants {os.name}.mkdir" if protocol == 2 else "no file of tensors"
    with pytest.raises(InputError, match=wanted):
        load_published_kernel(path, "sgd")
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists(), "the file would have run its code"


def test_numpy_arrays_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"it wants numpy\.\S*_reconstruct"):
        load_published_kernel(written(tmp_path, (np.ones(3), labels(3, 1))), "sgd")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_a_truncated_file_is_refused(tmp_path, zipped):
    path = sgd_file(tmp_path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in range(0, len(whole), len(whole) // 60):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"damaged|refused|cannot be read"):
            load_published_kernel(path, "sgd")


def test_what_is_no_torch_file_is_refused(tmp_path):
    path = tmp_path / "train_kernels_sst-2.pt"
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        load_published_kernel(path, "sgd")
    path.write_text("<html>404 Not Found</html>")
    with pytest.raises(InputError, match="damaged or no file of tensors"):
        load_published_kernel(path, "sgd")


def test_names_and_formulas(tmp_path):
    path = sgd_file(tmp_path)
    with pytest.raises(InputError, match="did you mean 'asymmetric-signgd'"):
        load_published_kernel(path, "asymmetric_signgd")
    logits = path.rename(tmp_path / "train_logits_sst-2.pt")
    with pytest.raises(InputError, match="not named"):
        load_published_kernel(logits, "sgd")


SQUARE = inner(gradients(TRAIN, 1, 0), gradients(TRAIN, 1, 0))
BAD_VALUE = SQUARE.clone()
BAD_VALUE[2, 0, 3, 0] = torch.nan


@pytest.mark.parametrize(
    ("content", "formula", "message"),
    [
        (SQUARE, "sgd", "pair of tensors"),
        ([SQUARE, labels(TRAIN, 1)], "sgd", "pair of tensors"),
        ((SQUARE, labels(TRAIN, 1), 0), "sgd", "pair of tensors"),
        ((SQUARE, 1), "sgd", "pair of tensors"),
        ((SQUARE.to_sparse(), labels(TRAIN, 1)), "sgd", "pair of tensors"),
        ((torch.ones(1).expand(10**6, 1, 10**6, 1), labels(3, 1)), "sgd", "pair of tensors"),
        ((SQUARE.float(), labels(TRAIN, 1)), "sgd", "holds torch.float32 and torch.float32"),
        ((SQUARE[:, 0, :, 0], labels(TRAIN, 1)), "sgd", "it is \\(N, C, M, C\\)"),
        ((SQUARE, labels(TRAIN, 1)), "asymmetric-signgd", "it is \\(2, N, C, M, C\\)"),
        ((SQUARE[None], labels(TRAIN, 1)), "asymmetric-signgd", "it is \\(2, N"),
        ((SQUARE.expand(2, -1, -1, -1, -1).clone(), labels(TRAIN, 1)), "sgd", "for 'sgd'"),
        ((SQUARE.reshape(3, 2, 6, 1), labels(TRAIN, 1)), "sgd", "has shape"),
        ((SQUARE[:0], labels(TRAIN, 1)), "sgd", "empty"),
        ((SQUARE[:4], labels(TRAIN, 1)), "sgd", "4 rows and 6 columns"),
        ((BAD_VALUE, labels(TRAIN, 1)), "sgd", "not finite, at \\(2, 0, 3, 0\\)"),
        ((SQUARE, labels(TRAIN, 1)), "signgd", "not only whole numbers"),
        ((SQUARE.round(), labels(TRAIN, 1)), "sgd", "only whole numbers"),
        ((SQUARE, labels(TRAIN - 1, 1)), "sgd", "labels of shape \\(5,\\)"),
        ((SQUARE, labels(TRAIN, 2)), "sgd", "labels other than \\[-1, 1\\]"),
    ],
)
def test_other_content_is_refused(tmp_path, content, formula, message):
    with pytest.raises(InputError, match=message):
        load_published_kernel(written(tmp_path, content), formula)


def test_class_numbers_must_fit_the_outputs(tmp_path):
    rows = gradients(TRAIN, 2, seed=0)
    content = (inner(rows, rows), labels(TRAIN, 3))
    with pytest.raises(InputError, match=r"labels other than \[0, 1\], those of 2 outputs"):
        load_published_kernel(written(tmp_path, content), "sgd")


def test_a_strided_tensor_is_read_as_it_is(tmp_path):
    rows = gradients(TRAIN, 2, seed=0)
    values = inner(rows, rows).permute(2, 1, 0, 3)
    buffer = io.BytesIO()
    torch.save((values, labels(TRAIN, 2)), buffer)
    path = tmp_path / "train_kernels_mr.pt"
    path.write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(load_published_kernel(path, "sgd").kernel.values, values)
