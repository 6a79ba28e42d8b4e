"""Rules: how the gradient of a parameter follows from what a call reads and what it returns.

A model's forward reads its parameters in calls such as ``linear(x, weight, bias)``. Each rule
takes one such call, of a batch of B samples, and says what the call adds to the gradients of the
parameters in it, given d, the derivatives of the outputs with respect to the call's result y:

===============  ==============================  ========================================
call             y, for a position s             gradient, a sum over the positions
===============  ==============================  ========================================
``linear``       W x_s + b                       W: d_s x_s^T;  b: d_s
``matmul``       x_s W (``addmm``: + b)          W: x_s d_s^T;  b: d_s
``embedding``    row id_s of E                   row id_s of E: d_s
``layer_norm``   w * n(x_s) + b                  w: d_s * n(x_s);  b: d_s
``rms_norm``     w * n(x_s)                      w: d_s * n(x_s)
``mul``          w * x_s                         w: d_s * x_s
``add``          x_s + b                         b: d_s
``W[ids]``       rows ids of W, read by linear   row ids_k of W: d_sk x_s
``x W[ids]^T``   the same                        the same
``W[ids]``       x_s + rows ids of W             row ids_k of W: d_sk
===============  ==============================  ========================================

A call that no rule covers makes its parameters go through exact autograd, one backward pass a
sample and output; so does one whose rule fails the check on a first batch (see ``check``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tangentlm.kernels.factors import Dense, Factor, Outer, Rows
from tangentlm.kernels.forward_calls import Call, NotCoveredError, Read, Use

_CANCELLED = 1000.0
"""A sum counts as zero below this many times machine epsilon times the sum of its absolutes."""


def _positions(d: Tensor, width: int) -> Tensor:
    """(B, C, *rest) to (B, C, S, width)."""
    return d.reshape(*d.shape[:2], -1, width)


def _total(terms: Tensor, signs: bool) -> Dense:
    """The sum over positions; where signs will be taken, what cancels to round-off is zero.

    The gradient of a key's bias is zero, because a softmax does not see what is added to all its
    inputs. In floating point the terms cancel to noise of either sign, which a sign kernel would
    count in full.

    Args:
        terms: (B, C, S, p).
        signs: Whether signs will be taken.

    Returns:
        (B, C, p).
    """
    total = terms.sum(dim=2)
    if signs:
        noise = terms.abs().sum(dim=2) * (_CANCELLED * torch.finfo(terms.dtype).eps)
        total.masked_fill_(total.abs() < noise, 0.0)  # what is infinite stays so
    return Dense(total)


def _weight(read: Read, x: Tensor, p: int, transposed: bool = False) -> Use:
    """The weight of y_s = W x_s: outer products of derivatives and inputs.

    Returns:
        The use.

    Raises:
        NotCoveredError: If rows of the weight were selected where it is stored the other way round.
    """
    flops = 2.0 * x.numel() * p
    transposed = transposed != read.transposed
    if transposed and read.ids is not None:
        raise NotCoveredError("selected rows of a weight that is stored the other way round")

    def factor(d: Tensor) -> Factor:
        outer = Outer(x, _positions(d, p), transposed).compressed()
        if read.ids is None:
            return outer
        vectors = torch.einsum("bcsk,bsq->bckq", outer.d, outer.x)
        return Rows(read.ids.expand(len(x), -1), vectors)

    return Use(read.name, factor, flops)


def _shift(read: Read, signs: bool) -> Use:
    """The bias of y_s = ... + b: the sum of the derivatives."""
    if read.transposed:
        raise NotCoveredError("a shift by a transposed matrix")

    def factor(d: Tensor) -> Factor:
        total = _total(_positions(d, read.tensor.numel()), signs).values
        if read.ids is None:
            return Dense(total)
        rows = total.reshape(*total.shape[:2], len(read.ids), -1)
        return Rows(read.ids.expand(len(total), -1), rows)

    return Use(read.name, factor)


def _scale(read: Read, x: Tensor, signs: bool) -> Use:
    """The scale of y_s = w * x_s; x is (B, S, p)."""
    if read.ids is not None or read.transposed:
        raise NotCoveredError("a scale made of selected rows, or a transposed one")
    return Use(read.name, lambda d: _total(_positions(d, x.shape[2]) * x[:, None], signs))


def linear(call: Call) -> list[Use]:
    """``linear(input, weight, bias)``.

    Args:
        call: The call.

    Returns:
        A use of each parameter in it.
    """
    uses = []
    if weight := call.reads.get("weight"):
        if weight.tensor.ndim != 2:
            raise NotCoveredError("a layer of one output and no axis for it")
        p, q = weight.tensor.shape
        uses.append(_weight(weight, call.by_sample(call.inputs["input"], q), p))
    if bias := call.reads.get("bias"):
        call.by_sample(call.result, bias.tensor.numel())
        uses.append(_shift(bias, call.signs))
    return uses


def matmul(call: Call) -> list[Use]:
    """``matmul(input, weight)`` and ``addmm(bias, input, weight)``: weights stored as (q, p).

    Args:
        call: The call.

    Returns:
        A use of each parameter in it.

    Raises:
        NotCoveredError: If the parameter is the left operand, is no matrix, or is scaled.
    """
    if call.inputs.get("beta", 1) != 1 or call.inputs.get("alpha", 1) != 1:
        raise NotCoveredError("a scaled product")
    uses = []
    if weight := call.reads.get("weight"):
        one_row = weight.tensor.ndim == 1 and weight.ids is not None
        if weight.tensor.ndim != 2 and not one_row:
            raise NotCoveredError("a product with something else than a matrix or a row of one")
        q, p = weight.tensor.shape[0], weight.tensor.shape[1:].numel()
        x = call.by_sample(call.inputs["input"], q)
        uses.append(_weight(weight, x, p, transposed=not one_row))
    if bias := call.reads.get("bias"):
        if bias.tensor.ndim != 1:
            raise NotCoveredError("a shift by something else than a vector")
        call.by_sample(call.result, bias.tensor.numel())
        uses.append(_shift(bias, call.signs))
    if "input" in call.reads:
        raise NotCoveredError("the parameter is the left operand")
    return uses


def embedding(call: Call) -> list[Use]:
    """``embedding(input, weight, padding_idx, ...)``, or ``weight[input]`` with ids of samples.

    Args:
        call: The call; its result has the samples for its leading axis.

    Returns:
        A use of the embedding.

    Raises:
        NotCoveredError: If gradients are scaled by frequency, or rows renormalised.
    """
    weight = call.reads["weight"]
    if (
        call.inputs.get("scale_grad_by_freq")
        or call.inputs.get("max_norm")
        or weight.ids is not None
        or weight.transposed
    ):
        raise NotCoveredError("an embedding with scaled gradients, or made of rows or columns")
    width = weight.tensor.shape[1]
    ids = call.inputs["input"].expand(call.result.shape[:-1])
    ids = ids.reshape(call.batch, -1)
    padding = call.inputs.get("padding_idx")

    def factor(d: Tensor) -> Factor:
        d = _positions(d, width)
        if padding is not None:
            d = d.masked_fill((ids == padding % len(weight.tensor))[:, None, :, None], 0.0)
        return Rows(ids, d)

    return [Use(weight.name, factor)]


def norm(call: Call) -> list[Use]:
    """``layer_norm`` and ``rms_norm``: a scale, and a shift, of what is normalised.

    Args:
        call: The call; its input ``normalized`` is the result without weight and bias.

    Returns:
        A use of each parameter in it.
    """
    uses = []
    if weight := call.reads.get("weight"):
        normalized = call.by_sample(call.inputs["normalized"](), weight.tensor.numel())
        uses.append(_scale(weight, normalized, call.signs))
    if bias := call.reads.get("bias"):
        call.by_sample(call.result, bias.tensor.numel())
        uses.append(_shift(bias, call.signs))
    return uses


def _trailing(read: Read, result: Tensor) -> int:
    """The number of entries of a parameter that fills the last axes of a result, or is one number.

    Returns:
        How many.

    Raises:
        NotCoveredError: If it is broadcast in another way.
    """
    shape = tuple(read.tensor.shape)
    fills = len(shape) < result.ndim and tuple(result.shape[result.ndim - len(shape) :]) == shape
    if not (fills or read.tensor.numel() == 1):
        raise NotCoveredError("a parameter is broadcast over some of its own axes")
    return read.tensor.numel()


def mul(call: Call) -> list[Use]:
    """``a * b``, one of them a parameter that is the same for all samples.

    Args:
        call: The call, with inputs ``input`` and ``other``.

    Returns:
        A use of the parameter.

    Raises:
        NotCoveredError: If both operands are parameters.
    """
    (side, read), *more = call.reads.items()
    if more:
        raise NotCoveredError("a product of two parameters")
    width = _trailing(read, call.result)
    factor = call.inputs["other" if side == "input" else "input"]
    if not isinstance(factor, Tensor):
        factor = torch.as_tensor(factor, dtype=call.result.dtype, device=call.result.device)
    other = call.by_sample(factor.detach().expand(call.result.shape), width)
    return [_scale(read, other, call.signs)]


def add(call: Call) -> list[Use]:
    """``a + b``, one of them a parameter that is the same for all samples.

    Args:
        call: The call, with inputs ``input`` and ``other``.

    Returns:
        A use of the parameter.

    Raises:
        NotCoveredError: If both operands are parameters, or one is scaled.
    """
    if call.inputs.get("alpha", 1) != 1 or len(call.reads) > 1:
        raise NotCoveredError("a scaled sum, or one of two parameters")
    (read,) = call.reads.values()
    call.by_sample(call.result, _trailing(read, call.result))
    return [_shift(read, call.signs)]


@dataclass(frozen=True)
class Rule:
    """A rule, and the names of the arguments of the functions that it is for."""

    apply: Callable[[Call], list[Use]]
    arguments: tuple[str, ...]


_LINEAR = Rule(linear, ("input", "weight", "bias"))
_MATMUL = Rule(matmul, ("input", "weight"))
_ADDMM = Rule(matmul, ("bias", "input", "weight"))
_EMBEDDING = Rule(
    embedding, ("input", "weight", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq")
)
_LAYER_NORM = Rule(norm, ("input", "normalized_shape", "weight", "bias", "eps"))
_RMS_NORM = Rule(norm, ("input", "normalized_shape", "weight", "eps"))
_MUL = Rule(mul, ("input", "other"))
_ADD = Rule(add, ("input", "other"))

RULES: dict[Any, Rule] = {
    functional.linear: _LINEAR,
    torch.matmul: _MATMUL, torch.mm: _MATMUL, Tensor.matmul: _MATMUL, Tensor.mm: _MATMUL,
    Tensor.__matmul__: _MATMUL, torch.addmm: _ADDMM, Tensor.addmm: _ADDMM,
    functional.embedding: _EMBEDDING,
    functional.layer_norm: _LAYER_NORM, torch.layer_norm: _LAYER_NORM,
    functional.rms_norm: _RMS_NORM, torch.rms_norm: _RMS_NORM,
    torch.mul: _MUL, Tensor.mul: _MUL, Tensor.__mul__: _MUL, Tensor.__rmul__: _MUL,
    torch.add: _ADD, Tensor.add: _ADD, Tensor.__add__: _ADD, Tensor.__radd__: _ADD,
}  # fmt: skip
"""Which rule covers a call of which function."""
