"""Tiles: the kernel of many samples in pieces that fit into a memory budget.

A tile is the kernel of some rows and some columns. Its factors (see ``passes``) are held, its
gradients are not. Rows stay while columns stream past: the factors of a tile of rows are made
once and those of the columns once for each tile of rows, so passes cost (N + M R) (1 + C)
forwards for R tiles of rows, and memory depends on neither N nor M.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tangentlm.errors import NonFiniteError
from tangentlm.kernels.check import Checked
from tangentlm.kernels.contract import Contraction
from tangentlm.kernels.factors import Factor, nothing, num_bytes, written_out
from tangentlm.kernels.job import Job
from tangentlm.kernels.kernel import KernelCost, Values
from tangentlm.kernels.passes import NonFiniteOutputError, UncoveredUseError
from tangentlm.kernels.plan import Plan
from tangentlm.kernels.samples import Samples

_BATCH_SAMPLES = {"cpu": 256, "cuda": 1024}


@dataclass
class TileFactors:
    """The factors of some samples: for each pass a factor for every parameter."""

    samples: list[int]
    sizes: list[int]
    passes: list[dict[str, Factor]]

    def of(self, name: str) -> list[Factor] | None:
        """The factors of one parameter, or ``None`` where no sample depends on it.

        Args:
            name: The parameter.

        Returns:
            One for each pass.
        """
        like = next((made[name] for made in self.passes if name in made), None)
        if like is None:
            return None
        return [
            made[name] if name in made else nothing(like, size)
            for made, size in zip(self.passes, self.sizes, strict=True)
        ]

    @property
    def nbytes(self) -> int:
        """The memory that they take."""
        return num_bytes([factor for made in self.passes for factor in made.values()])


class TileEngine:
    """Computes tiles of a kernel, and keeps what it learns and what it costs.

    Args:
        job: What to compute.
        checked: What is known about the model; a later batch may show more.
        plan: What is held at one time; less once memory ran out.
        advance: Told of every sample that has gone through a pass.
    """

    def __init__(
        self,
        job: Job,
        checked: Checked,
        plan: Plan,
        advance: Callable[[int], object] = lambda count: None,
    ) -> None:
        self.job = job
        self.contraction = Contraction(job.formula, job.passes.products)
        self._checked = checked
        self._limits = plan.limits
        self._advance = advance
        self._passes_flops = checked.flops
        self._autograd_seconds = checked.autograd_seconds
        self._peak_bytes = 0
        self._kept: tuple[tuple[int, ...], TileFactors] | None = None

    def cost(self) -> KernelCost:
        """What everything so far has cost.

        Returns:
            The cost, with the time since the job began.
        """
        contraction, names = self.contraction, self.job.passes.parameters
        products = contraction.gradients_flops + contraction.products_flops
        return KernelCost(
            seconds=time.perf_counter() - self.job.began,
            flops=self._passes_flops + products,
            peak_bytes=self._peak_bytes,
            passes_flops=self._passes_flops,
            gradients_flops=contraction.gradients_flops,
            by_gram=tuple(name for name in names if name in contraction.gram),
            by_autograd=tuple(name for name in names if name in self._checked.by_autograd),
            autograd_seconds=self._autograd_seconds,
        )

    def tile(self, rows: Samples, i: list[int], columns: Samples, j: list[int]) -> Values:
        """The kernel of some rows and columns, in pieces as small as memory asks for.

        Args:
            rows: All rows.
            i: Which of them, n.
            columns: All columns; the very same object for the symmetric kernel.
            j: Which of them, m.

        Returns:
            For each group (n, C, m, C); float64.

        Raises:
            NonFiniteError: If a gradient is not finite, naming sample, output and parameter.
        """
        while True:
            try:
                return self._tile(rows, i, columns, j)
            except UncoveredUseError as error:
                self._learn(error)
                continue
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _out_of_memory(error) or self._limits.smallest:
                    raise
                self._forget()
                self._limits = self._limits.halved()
            if self.job.passes.device.type == "cuda":
                torch.cuda.empty_cache()
            warnings.warn(
                f"memory ran out; going on with half as much at one time: {self._limits}",
                stacklevel=2,
            )

    def pieces(self, samples: Samples) -> Iterator[TileFactors]:
        """The factors of all rows or of all columns, as many at a time as fit into memory.

        Args:
            samples: The rows or the columns.

        Yields:
            The factors of some of them.
        """
        # One side alone is held, so it has the memory of both.
        tokens = self._limits.rows + self._limits.columns
        for piece in samples.split(samples.by_length(), tokens):
            made = None
            while made is None:
                try:
                    made = self.factors(samples, piece)
                except UncoveredUseError as error:
                    self._learn(error)
            self._peak_bytes = max(self._peak_bytes, made.nbytes)
            yield made

    def _learn(self, error: UncoveredUseError) -> None:
        """A use that the first batch did not show: what is done so far was right."""
        self._checked = self._checked.through_autograd(error.names)
        self._forget()  # The factors are of another form now.

    def _forget(self) -> None:
        """Let go of what is kept from tile to tile."""
        self._kept = None
        self.contraction.forget()

    def _tile(self, rows: Samples, i: list[int], columns: Samples, j: list[int]) -> Values:
        bands = []
        for piece in rows.split(i, self._limits.rows):
            left = self._rows(rows, piece)
            parts = []
            for other in columns.split(j, self._limits.columns):
                same = columns is rows and other == piece
                right = left if same else self.factors(columns, other)
                self._peak_bytes = max(self._peak_bytes, left.nbytes + (not same) * right.nbytes)
                parts.append(self._contract(left, right, rows, columns))
            bands.append(np.concatenate(parts, axis=3))
        return np.concatenate(bands, axis=1)

    def _rows(self, rows: Samples, piece: list[int]) -> TileFactors:
        """The factors of rows, kept for the next tile of columns."""
        if self._kept is None or self._kept[0] != tuple(piece):
            self._kept = None
            self._kept = tuple(piece), self.factors(rows, piece)
        return self._kept[1]

    def factors(self, samples: Samples, index: list[int]) -> TileFactors:
        """The factors of some samples, made in passes of about one length.

        Args:
            samples: The rows or the columns.
            index: Which of them, the longest first.

        Returns:
            The factors.

        Raises:
            NonFiniteError: If an output is not finite, naming the sample.
        """
        passes, checked = self.job.passes, self._checked
        count = _BATCH_SAMPLES[passes.device.type]
        result = TileFactors(list(index), [], [])
        for piece in samples.batches(index, self._limits.batch, count, checked.padding):
            try:
                made = passes.factors(samples.take(piece), checked.by_autograd, checked.ways)
            except NonFiniteOutputError as error:
                raise passes.non_finite(*samples.one(piece[error.sample])) from None
            result.passes.append(made.factors)
            result.sizes.append(len(piece))
            self._passes_flops += made.flops
            self._autograd_seconds += made.autograd_seconds
            self._advance(len(piece))
        # The sign of a NaN is zero and that of infinity one: what is wrong would not show.
        culprit = _culprit(result, samples) if passes.signs else None
        if culprit is not None:
            raise culprit
        return result

    def _contract(
        self, left: TileFactors, right: TileFactors, rows: Samples, columns: Samples
    ) -> Values:
        n, m = len(left.samples), len(right.samples)
        tiles = []
        for names in self.job.groups.values():
            total: Tensor | float = 0.0
            for name in names:
                first = left.of(name)
                second = first if left is right else right.of(name)
                if first is not None and second is not None:
                    first, second = self._alike(name, first, second)
                    total = total + self._blocks(name, first, second)
            tiles.append(self._shaped(total, n, m))
        values = np.stack(tiles)
        if not np.isfinite(values).all():
            _, i, c, j, d = np.argwhere(~np.isfinite(values))[0]
            raise (
                _culprit(left, rows)
                or _culprit(right, columns)
                or NonFiniteError(
                    f"the kernel of output {c} of sample {left.samples[i]} of the {rows.name} and "
                    f"output {d} of sample {right.samples[j]} of the columns: the products overflow"
                )
            )
        return values

    def _alike(
        self, name: str, rows: list[Factor], columns: list[Factor]
    ) -> tuple[list[Factor], list[Factor]]:
        """Factors of one form: a model may use a parameter in other ways from batch to batch."""
        if len({(type(f), getattr(f, "transposed", False)) for f in (*rows, *columns)}) == 1:
            return rows, columns
        parameter = self.job.passes.parameters[name]
        left: list[Factor] = [written_out(f, parameter) for f in rows]
        return left, left if rows is columns else [written_out(f, parameter) for f in columns]

    def _blocks(self, name: str, rows: list[Factor], columns: list[Factor]) -> Tensor:
        """One parameter's (n C, m C); for single outputs (C, n, m)."""
        if self.job.outputs in ("full", "difference"):
            return self.contraction(name, rows, columns)
        blocks = []
        for c in range(rows[0].tensors[-1].shape[1]):
            left = [factor.output(c) for factor in rows]
            right = left if rows is columns else [factor.output(c) for factor in columns]
            blocks.append(self.contraction(name, left, right))
        return torch.stack(blocks)

    def _shaped(self, total: Tensor | float, n: int, m: int) -> Values:
        """(n, C, m, C) in float64 on the CPU."""
        outputs = self.job.num_outputs
        if isinstance(total, float):
            return np.zeros((n, outputs, m, outputs))
        array: Values = total.cpu().numpy()
        if self.job.outputs == "trace":
            return array.sum(axis=0)[:, None, :, None]
        if self.job.outputs == "diagonal":
            values = np.zeros((n, outputs, m, outputs))
            each = np.arange(outputs)
            # Indexed axes come first: (C, n, m), as the blocks are.
            values[:, each, :, each] = array
            return values
        return array.reshape(n, outputs, m, outputs)


def _out_of_memory(error: Exception) -> bool:
    known = ("out of memory", "can't allocate memory", "not enough memory")
    sure = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return sure or any(text in str(error) for text in known)


def _culprit(made: TileFactors, samples: Samples) -> NonFiniteError | None:
    """The error for the first gradient that is not finite, if there is one."""
    start = 0
    for factors, size in zip(made.passes, made.sizes, strict=True):
        for name, factor in factors.items():
            for tensor in factor.tensors:
                bad = (~torch.isfinite(tensor)).nonzero()
                if len(bad):
                    sample = made.samples[start + int(bad[0, 0])]
                    # An input, (B, S, q), has no axis of outputs; every output meets it.
                    output = (
                        f"output {int(bad[0, 1])}" if tensor is factor.tensors[-1] else "outputs"
                    )
                    return NonFiniteError(
                        f"the gradient of {output} of sample {sample} of the {samples.name} "
                        f"with respect to {name}"
                    )
        start += size
    return None
