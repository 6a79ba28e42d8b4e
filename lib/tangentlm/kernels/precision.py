"""Precisions: how the matrix products of a kernel are multiplied.

================  =========================================================================
``float64``       everything in double precision
``float32``       everything in single precision
``tf32``          single precision, products of operands cut to 10 bits, on CUDA only
``bfloat16``      single precision; products may round their operands to 7 bits, with sums in
                  float32: on CUDA they do, a processor does where that is faster for it
``bfloat16x3``    each operand split into two bfloat16 parts, h + l, and three products,
                  h h' + h l' + l h', summed in float32: 16 bits at three times the cost
================  =========================================================================

So ``bfloat16`` is a permission on a CPU: without matrix units for it the products are those of
float32, and as exact. Signs are exact in bfloat16: two sign operands need one such product in
every precision, and where one operand holds signs ``bfloat16x3`` needs two.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tangentlm.errors import InputError, unknown_name

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.float32,
    "bfloat16x3": torch.float32,
}
"""The type of the tensors in each precision."""


def check_precision(name: str, device: torch.device) -> None:
    """Refuse a precision that does not exist, or not on this device.

    Args:
        name: A key of ``DTYPES``.
        device: Where the model is.

    Raises:
        InputError: If it cannot be used.
    """
    if name not in DTYPES:
        raise unknown_name("precision", name, DTYPES)
    if name == "tf32" and device.type != "cuda":
        raise InputError(f"precision 'tf32' exists on CUDA only, not on {device.type}")


@contextlib.contextmanager
def _multiply(mode: str) -> Generator[None]:
    """Set how products of float32 matrices multiply: ``"ieee"``, ``"tf32"`` or ``"bf16"``."""
    backends: Any = torch.backends  # the stubs do not know mkldnn's settings
    cpu, cuda = backends.mkldnn.matmul, backends.cuda.matmul
    before = cpu.fp32_precision, cuda.fp32_precision
    # CUDA has no such mode for bfloat16; there operands are cast instead (``_product``).
    cpu.fp32_precision = "bf16" if mode == "bf16" else "ieee"
    cuda.fp32_precision = "tf32" if mode == "tf32" else "ieee"
    try:
        yield
    finally:
        cpu.fp32_precision, cuda.fp32_precision = before


@dataclass(frozen=True)
class Products:
    """The matrix products of one kernel, all in one precision.

    Attributes:
        precision: A key of ``DTYPES``.
    """

    precision: str = "float32"

    @property
    def dtype(self) -> torch.dtype:
        """The type of the operands and results."""
        return DTYPES[self.precision]

    @property
    def replaced(self) -> Mapping[Any, Callable[..., Any]]:
        """The functions of a model's forward that this precision computes in another way."""
        return {functional.linear: _split_linear} if self.precision == "bfloat16x3" else {}

    @contextlib.contextmanager
    def in_model(self) -> Generator[None]:
        """Within this context the model's own products have the precision.

        ``bfloat16x3`` leaves them in float32, but for its linear layers (see ``replaced``).

        Yields:
            Nothing.
        """
        modes = {"tf32": "tf32", "bfloat16": "bf16"}
        with _multiply(modes.get(self.precision, "ieee")):
            yield

    def __call__(
        self,
        a: Tensor,
        b: Tensor,
        signs: tuple[bool, bool] = (False, False),
        out: Tensor | None = None,
    ) -> Tensor:
        """The product of two matrices, or of two stacks of matrices.

        Args:
            a: (..., n, k).
            b: (..., k, m).
            signs: Which of the two hold nothing but -1, 0 and 1.
            out: Where to write the product to.

        Returns:
            (..., n, m).
        """
        if out is not None and (a.dtype == torch.float64 or self.precision in ("float32", "tf32")):
            with _multiply("tf32" if self.precision == "tf32" else "ieee"):
                return torch.matmul(a, b, out=out)
        if out is not None:
            return out.copy_(self(a, b, signs))
        if a.dtype == torch.float64:
            return a @ b
        if all(signs) or self.precision == "bfloat16":
            return _bfloat16(a, b)
        if self.precision == "bfloat16x3":
            return _three(a, b, signs)
        with _multiply("tf32" if self.precision == "tf32" else "ieee"):
            return a @ b


def _bfloat16(a: Tensor, b: Tensor) -> Tensor:
    """The product of operands rounded to bfloat16, with float32 sums."""
    if a.is_cuda and a.ndim == 2:
        return torch.mm(a.bfloat16(), b.bfloat16(), out_dtype=torch.float32)
    if a.is_cuda:
        return torch.bmm(a.bfloat16(), b.bfloat16(), out_dtype=torch.float32)
    with _multiply("bf16"):
        return a @ b


def _three(a: Tensor, b: Tensor, signs: tuple[bool, bool] = (False, False)) -> Tensor:
    """The product of operands in two bfloat16 parts each; low times low is left out."""
    high_a, high_b = a.bfloat16().to(a.dtype), b.bfloat16().to(b.dtype)
    result = _bfloat16(high_a, high_b)
    if not signs[1]:
        result += _bfloat16(high_a, b - high_b)
    if not signs[0]:
        result += _bfloat16(a - high_a, high_b)
    return result


class _SplitLinear(torch.autograd.Function):
    """``linear`` with the products of its forward and backward in ``bfloat16x3``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer, y = x W^T + b.

        Args:
            ctx: What the backward needs.
            x: (..., q).
            weight: (p, q).
            bias: (p,).

        Returns:
            (..., p).
        """
        ctx.save_for_backward(weight)
        product = _three(x.reshape(-1, x.shape[-1]), weight.T)
        if bias is not None:
            product += bias
        return product.reshape(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None, None]:
        """The derivative with respect to x; those of the parameters come from factors.

        Args:
            ctx: From the forward.
            d: (..., p).

        Returns:
            d W, (..., q), and nothing else.
        """
        (weight,) = ctx.saved_tensors
        product = _three(d.reshape(-1, d.shape[-1]), weight)
        return product.reshape(*d.shape[:-1], weight.shape[1]), None, None


def _split_linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result: Tensor = _SplitLinear.apply(input, weight, bias)
    return result
