"""The reference method: one backward pass a sample and output, then a matrix product.

It assumes nothing about the model, so it is exact for tied and shared parameters, for parameters
used directly in the forward, and for any architecture. Cost for N rows, M columns, C outputs, P
parameters: (2 N + B M) C backward passes and 2 N M C^2 P FLOPs, where B is the number of row
blocks that the memory budget enforces, and rows are passed once to find which parameters have a
gradient at all; memory is that of one block of gradients, whatever N and M are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from tangentlm.errors import NonFiniteError
from tangentlm.prompts import select_rows

Batch = Mapping[str, Tensor]
_COLUMN_SHARE = 1 / 8
"""The part of the memory budget that is for the gradients of columns."""


@dataclass(frozen=True)
class GradientSource:
    """How gradients are made: the model, which outputs of it, and for which parameters."""

    model: nn.Module
    parameters: Sequence[nn.Parameter]
    difference: bool
    dtype: torch.dtype

    def num_outputs(self, batch: Batch) -> int:
        """C, the number of outputs that the kernel has for one sample."""
        return self._outputs(batch, 0).numel()

    def _outputs(self, batch: Batch, sample: int) -> Tensor:
        device = self.parameters[0].device
        rows = select_rows(batch, slice(sample, sample + 1))
        logits = self.model(**{name: tensor.to(device) for name, tensor in rows.items()})[0]
        return (logits[1] - logits[0]).reshape(1) if self.difference else logits

    def of_sample(self, batch: Batch, sample: int) -> Iterator[list[Tensor]]:
        """The gradients of each output of one sample, a tensor for every parameter.

        Args:
            batch: Tensors with leading axis N.
            sample: Which row.

        Yields:
            For each of the C outputs, the gradients in the order of the parameters.
        """
        outputs = self._outputs(batch, sample)
        for c, output in enumerate(outputs):
            gradients = torch.autograd.grad(
                output, list(self.parameters), retain_graph=c + 1 < len(outputs), allow_unused=True
            )
            yield [
                torch.zeros_like(p) if g is None else g.detach()
                for p, g in zip(self.parameters, gradients, strict=True)
            ]


class Support:
    """Which leading-axis slices of each parameter have a non-zero gradient for some row.

    Slices that are zero for all rows (most of an embedding) contribute exactly nothing, whatever
    the columns are, so they are neither stored nor multiplied.
    """

    def __init__(self, source: GradientSource, rows: Batch) -> None:
        seen = [p.new_zeros(_leading(p), dtype=torch.bool) for p in source.parameters]
        for sample in range(_length(rows)):
            for gradients in source.of_sample(rows, sample):
                for used, gradient in zip(seen, gradients, strict=True):
                    used |= gradient.reshape(len(used), -1).any(dim=1)
        self.slices = [used.nonzero()[:, 0] for used in seen]
        self.size = sum(
            len(index) * (parameter.numel() // _leading(parameter))
            for index, parameter in zip(self.slices, source.parameters, strict=True)
        )

    def gather(self, gradients: Sequence[Tensor], out: Tensor) -> None:
        """Write the supported entries of one gradient, flattened, into ``out``.

        Args:
            gradients: A tensor for every parameter.
            out: (size,), overwritten.
        """
        start = 0
        for index, gradient in zip(self.slices, gradients, strict=True):
            if not len(index):
                continue
            matrix = gradient.reshape(_leading(gradient), -1)
            size = len(index) * matrix.shape[1]
            into = out[start : start + size].view(len(index), -1)
            if len(index) == len(matrix):
                into.copy_(matrix)
            else:
                torch.index_select(matrix, 0, index, out=into)
            start += size


def _leading(parameter: Tensor) -> int:
    return len(parameter) if parameter.ndim else 1


@dataclass
class ReferenceResult:
    """The kernel's values, (N, C, M, C) in float64, its FLOPs and peak bytes of gradients."""

    values: NDArray[np.float64]
    flops: float
    peak_bytes: int


def reference_entk(
    source: GradientSource,
    rows: Batch,
    columns: Batch | None,
    memory: int,
    bar: tqdm[NoReturn],
) -> ReferenceResult:
    """The exact SGD kernel K[i,c,j,d] = <grad f_c(x_i), grad f_d(x_j)> (Definition 2.4).

    Args:
        source: How gradients are made.
        rows: N samples.
        columns: M samples, or ``None`` for the symmetric kernel of the rows.
        memory: Bytes that the gradients held at one time may take.
        bar: Shows how many samples' gradients have gone into the kernel.

    Returns:
        The values in float64 and their cost.
    """
    n = _length(rows)
    m = n if columns is None else _length(columns)
    outputs = source.num_outputs(rows)
    support = Support(source, rows)
    sample_bytes = max(support.size, 1) * outputs * torch.finfo(source.dtype).bits // 8
    block_rows = max(int(memory * (1 - _COLUMN_SHARE)) // sample_bytes, 1)
    block_columns = max(int(memory * _COLUMN_SHARE) // sample_bytes, 1)
    values = np.zeros((n, outputs, m, outputs))
    # Both buffers are reused: touching fresh memory costs as much as a backward pass.
    row_buffer = _buffer(source, min(block_rows, n) * outputs, support)
    column_buffer = _buffer(source, min(block_columns, m) * outputs, support)
    flops = 0.0
    starts = range(0, n, block_rows)
    bar.reset(total=sum(m - (start if columns is None else 0) for start in starts))
    for start in starts:
        stop = min(start + block_rows, n)
        block = _collect(source, rows, range(start, stop), support, row_buffer)
        for left in range(start if columns is None else 0, m, block_columns):
            right = min(left + block_columns, m)
            if columns is None and right <= stop:
                part = block[(left - start) * outputs : (right - start) * outputs]
            else:
                samples = range(left, right)
                part = _collect(source, columns or rows, samples, support, column_buffer)
            product = (block @ part.T).double().cpu().numpy()
            values[start:stop, :, left:right] = product.reshape(
                stop - start, outputs, right - left, outputs
            )
            flops += 2.0 * block.shape[0] * part.shape[0] * support.size
            bar.update(right - left)
    if columns is None:
        matrix = values.reshape(n * outputs, n * outputs)
        values = (np.triu(matrix) + np.triu(matrix, 1).T).reshape(values.shape)
    return ReferenceResult(values, flops, row_buffer.nbytes + column_buffer.nbytes)


def _buffer(source: GradientSource, rows: int, support: Support) -> Tensor:
    device = source.parameters[0].device
    return torch.empty(rows, support.size, dtype=source.dtype, device=device)


def _collect(
    source: GradientSource, batch: Batch, samples: range, support: Support, buffer: Tensor
) -> Tensor:
    """The supported gradients of some samples, sample-major, at the head of ``buffer``.

    Returns:
        A view of the buffer, (samples * C, support).

    Raises:
        NonFiniteError: If a gradient is not finite, naming the sample.
    """
    row = 0
    for sample in samples:
        for gradients in source.of_sample(batch, sample):
            support.gather(gradients, buffer[row])
            # A sum is finite only if its terms are, and costs a tenth of testing each.
            if not math.isfinite(buffer[row].sum()):
                raise NonFiniteError(f"the gradient of sample {sample} is not finite")
            row += 1
    return buffer[:row]


def _length(batch: Batch) -> int:
    return len(next(iter(batch.values())))
