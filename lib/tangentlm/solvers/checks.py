"""What a solver refuses: arguments of a wrong shape, type or range, and NaN or infinity."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tangentlm.errors import InputError, NonFiniteError

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


def as_kernel(values: Any) -> Array:
    """The values of a ``Kernel`` or of an array, as float64.

    Args:
        values: Shape (N, C, M, C).

    Returns:
        Contiguous, so that its matrix is a view.

    Raises:
        InputError: If the shape is not that of a kernel, or nothing is in it.
        NonFiniteError: If an entry is NaN or infinite.
    """
    array = np.ascontiguousarray(getattr(values, "values", values), dtype=np.float64)
    if array.ndim != 4 or array.shape[1] != array.shape[3]:
        raise InputError(f"a kernel has shape (N, C, M, C), not {array.shape}")
    if array.size == 0:
        raise InputError(f"the kernel is empty: its shape is {array.shape}")
    check_finite(array, "kernel entry", ("row", "output", "column", "output"))
    return array


def as_training_kernel(values: Any) -> Array:
    """A kernel of samples with themselves.

    Args:
        values: Shape (N, C, N, C).

    Returns:
        As ``as_kernel``.

    Raises:
        InputError: If rows and columns differ in number.
    """
    kernel = as_kernel(values)
    if kernel.shape[0] != kernel.shape[2]:
        raise InputError(f"kernel {kernel.shape} does not fit: training needs (N, C, N, C)")
    return kernel


def matrix_of(kernel: Array) -> Array:
    """The kernel of C N scalar samples, sample-major.

    Args:
        kernel: (N, C, M, C).

    Returns:
        (NC, MC).
    """
    return kernel.reshape(kernel.shape[0] * kernel.shape[1], -1)


def as_labels(y: ArrayLike, samples: int, outputs: int) -> Labels:
    """Labels 0 to C-1, and 0 or 1 where there is one output.

    Args:
        y: (N,).
        samples: How many there must be.
        outputs: C.

    Returns:
        (N,), int64.

    Raises:
        InputError: If their type, number or range is another.
    """
    labels = np.asarray(y)
    classes = max(outputs, 2)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"labels must be integers of shape (N,), not {labels.dtype} {labels.shape}"
        )
    if len(labels) != samples:
        raise InputError(f"a kernel of {samples} samples does not fit {len(labels)} labels")
    if not (labels.min() >= 0 and labels.max() < classes):
        raise InputError(f"labels must be in 0 to {classes - 1}")
    return labels.astype(np.int64)


def as_logits(f0: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Pre-trained logits.

    Args:
        f0: (N, C).
        shape: What their shape must be.

    Returns:
        (N, C), float64.

    Raises:
        InputError: If the shape is another.
        NonFiniteError: If one is NaN or infinite.
    """
    logits = np.asarray(f0, dtype=np.float64)
    if logits.shape != shape:
        raise InputError(f"f0 has shape {logits.shape}, expected {shape}")
    check_finite(logits, "f0", ("sample", "output"))
    return logits


def check_finite(array: Array, what: str, axes: tuple[str, ...]) -> None:
    """Refuse NaN and infinity.

    Args:
        array: What is looked at.
        what: Its name in the message.
        axes: The names of its axes.

    Raises:
        NonFiniteError: With the place of the first such entry.
    """
    finite = np.isfinite(array)
    if not finite.all():
        place = np.argwhere(~finite)[0]
        where = ", ".join(f"{axis} {index}" for axis, index in zip(axes, place, strict=True))
        raise NonFiniteError(f"{what} of {where} is not finite")


def check_positive(name: str, value: Any, *, zero: bool = False, infinity: bool = False) -> None:
    """Refuse a hyperparameter that is not a positive number.

    Args:
        name: Its name in the message.
        value: Its value.
        zero: Whether zero is allowed.
        infinity: Whether infinity is.

    Raises:
        InputError: If it is negative, NaN or no number.
    """
    good = isinstance(value, Real) and (
        0 < float(value) < np.inf or (zero and value == 0) or (infinity and value == np.inf)
    )
    if not good:
        bound = ">= 0" if zero else "> 0"
        raise InputError(f"{name} must be a number {bound}, not {value!r}")
