"""The kernels that the authors of Malladi publish, read without running what a file contains.

Their code, github.com/princeton-nlp/LM-Kernel-FT, links three archives: ``sgd``, ``signgd`` and
``asymmetric_signgd``, computed with RoBERTa-base for 12 tasks, 5 seeds, k = 16 and 64 (``sgd`` for
6 tasks also k = 512). What follows is what that code writes (``src/kernel_trainer.py``).

A run's folder has one file for each split X, ``{X}_kernels_{task}.pt`` with X = train, dev or test
and the task's name in lower case (``train_kernels_sst-2.pt``). Each is a pair, by ``torch.save``:

- The kernel between the training samples and those of X, float64, in eval mode: (N, C, M, C) for
  ``sgd`` and ``signgd``, so train-train (M = N) for X = train and train-eval otherwise. For
  ``asymmetric_signgd`` it is (2, N, C, M, C): at 0 the training gradients are signed, at 1 those
  of X.
- The labels of X, (M,).

Two classes came as one output where ``--binary_classification`` was on, as ``asymmetric_signgd``
demands: the output is f_1 - f_0, C = 1, and the labels are -1.0 and +1.0. Otherwise C is the number
of classes and the labels are integers 0 to C-1. Samples are in the order of the split's file.
Classes are in the order of the authors' processors, for MNLI and SNLI contradiction, entailment,
neutral, which is not the order of ``params/tasks``.

A file says neither formula nor parameters. The authors count every parameter of the prompted model,
the decoder untied from the embedding. Their sign of a gradient that is zero but for round-off
(the bias of an attention key) is that round-off's, so ``signgd`` kernels can be matched only up to
that many entries of +-1.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tangentlm.errors import InputError, unknown_name
from tangentlm.kernels.kernel import Kernel, Values

_SOURCE = "princeton-nlp/LM-Kernel-FT"
_FILE_NAME = re.compile(r"(?P<split>train|dev|test)_kernels_(?P<task>.+)\.pt")
_FORMULAS = ("sgd", "signgd", "asymmetric-signgd")


@dataclass(frozen=True)
class PublishedKernel:
    """A kernel of the authors between the N training samples and the M samples of a split.

    Attributes:
        kernel: The training samples are the rows, the split's are the columns. Its ``parameters``
            are empty, for the file does not name them.
        reversed: For ``"asymmetric-signgd"``, the split's samples are the rows and the training
            samples the columns: the K(x, X) by which Appendix A.3 of Malladi-v1 predicts. On the
            split ``"train"`` it equals ``kernel``. ``None`` for the symmetric formulas.
        labels: The labels of the split's samples, 0 to C-1, or 0 and 1 where C = 1; (M,).
        split: ``"train"``, ``"dev"`` or ``"test"``.
        task: The task as the authors write it in a file's name, e.g. ``"sst-2"``.
    """

    kernel: Kernel
    reversed: Kernel | None
    labels: NDArray[np.int64]
    split: str
    task: str


def load_published_kernel(path: str | os.PathLike[str], formula: str) -> PublishedKernel:
    """Read one of the authors' ``{split}_kernels_{task}.pt`` files.

    Only tensors and tuples of them are read; a file that wants anything else is refused before
    that is even imported.

    Args:
        path: The file, under the name that the authors gave it, which tells split and task.
        formula: ``"sgd"``, ``"signgd"`` or ``"asymmetric-signgd"``: which archive it is from.

    Returns:
        The kernel, as ``entk`` would return it, and the labels.

    Raises:
        InputError: If the file's name, content, shapes, values or labels are not those of the
            authors' kernels, or of another formula.

    Example:
        A file as the authors write it, of four samples with one output:

        >>> import tempfile
        >>> import torch
        >>> from tangentlm.kernels import load_published_kernel
        >>> values = torch.randn(4, 1, 4, 1, dtype=torch.float64)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/train_kernels_sst-2.pt"
        ...     torch.save((values, torch.tensor([-1.0, 1.0, 1.0, -1.0])), path)
        ...     published = load_published_kernel(path, "sgd")
        >>> published.task, published.labels.tolist(), published.kernel.outputs
        ('sst-2', [0, 1, 1, 0], 'difference')
    """
    if formula not in _FORMULAS:
        raise unknown_name("formula", formula, _FORMULAS)
    name = _FILE_NAME.fullmatch(Path(path).name)
    if name is None:
        raise InputError(f"{path} is not named {{train,dev,test}}_kernels_{{task}}.pt")
    split, task = name["split"], name["task"]
    values, targets = _read_pair(path)
    _check_kernel(path, values, formula, split)
    labels = _labels(path, targets, values)

    def kernel(part: Values) -> Kernel:
        outputs = "difference" if part.shape[1] == 1 else "full"
        provenance = {"source": _SOURCE, "split": split, "task": task}
        return Kernel(part, formula, outputs, parameters=(), provenance=provenance)

    if formula != "asymmetric-signgd":
        return PublishedKernel(kernel(values), None, labels, split, task)
    # At 0 the training gradients are signed; the signed samples are the columns of a Kernel.
    swapped = kernel(values[0].transpose(2, 3, 0, 1))
    return PublishedKernel(kernel(values[1]), swapped, labels, split, task)


def _read_pair(path: str | os.PathLike[str]) -> tuple[Values, NDArray[Any]]:
    """The two tensors of a file: the kernel in float64, and the targets."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from None
    except Exception as error:  # a damaged pickle can end in an exception of any type
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if wanted:
            raise InputError(
                f"{path} is refused: it wants {wanted[1]}, and a kernel file holds tensors only"
            ) from None
        raise InputError(f"{path} is damaged or no file of tensors by torch.save") from None
    if not isinstance(content, tuple) or len(content) != 2 or not all(map(_is_plain, content)):
        raise InputError(f"{path} does not hold a pair of tensors (kernel, labels)")
    kernel, targets = content
    if kernel.dtype is not torch.float64 or targets.dtype not in (torch.float32, torch.int64):
        raise InputError(
            f"{path} holds {kernel.dtype} and {targets.dtype}; a kernel file has a float64 kernel "
            "and float32 or int64 labels"
        )
    return kernel.numpy(force=True), targets.numpy(force=True)


def _is_plain(value: object) -> bool:
    """Whether it is a tensor whose entries all lie in memory of their own."""
    if type(value) is not Tensor or value.layout is not torch.strided or value.is_nested:
        return False
    # Strides come from the file too: with strides of zero, a small file could claim a tensor that
    # fills the memory as soon as it is copied.
    stored = value.untyped_storage().nbytes() if value.device.type == "cpu" else 0
    return value.numel() * value.element_size() <= stored


def _check_kernel(path: str | os.PathLike[str], values: Values, formula: str, split: str) -> None:
    """Refuse values that cannot be a kernel of this formula and split."""
    asymmetric = formula == "asymmetric-signgd"
    expected = "(2, N, C, M, C)" if asymmetric else "(N, C, M, C)"
    shape = values.shape[1:] if asymmetric else values.shape
    if values.ndim != 4 + asymmetric or (asymmetric and len(values) != 2) or shape[1] != shape[3]:
        raise InputError(f"{path} has shape {values.shape}; for {formula!r} it is {expected}")
    if 0 in shape:
        raise InputError(f"{path} has shape {values.shape}: it is empty")
    if split == "train" and shape[0] != shape[2]:
        raise InputError(f"{path} has {shape[0]} rows and {shape[2]} columns; train has as many")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise InputError(f"{path} has a value that is not finite, at {tuple(bad[0].tolist())}")
    # An inner product of signs is a whole number; one of real gradients is not.
    whole = bool((values == np.rint(values)).all())
    if whole != (formula == "signgd"):
        seen = "only" if whole else "not only"
        raise InputError(f"{path} has {seen} whole numbers, so its formula is not {formula!r}")


def _labels(
    path: str | os.PathLike[str], targets: NDArray[Any], values: Values
) -> NDArray[np.int64]:
    """The labels as the library counts them, from 0, also for one output."""
    columns, outputs = values.shape[-2:]
    if targets.shape != (columns,):
        raise InputError(f"{path} has labels of shape {targets.shape}, expected ({columns},)")
    known = [-1, 1] if outputs == 1 else list(range(outputs))
    if not np.isin(targets, known).all():
        raise InputError(f"{path} has labels other than {known}, those of {outputs} outputs")
    return (targets == 1 if outputs == 1 else targets).astype(np.int64)
