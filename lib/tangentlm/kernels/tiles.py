"""Tiles: the kernel of many samples in pieces that fit into a memory budget.

A tile is the kernel of some rows and some columns. Its factors (see ``passes``) are held, its
gradients are not. Rows stay while columns stream past: the factors of a tile of rows are made
once and those of the columns once for each tile of rows, so passes cost (N + M R) (1 + C)
forwards for R tiles of rows, and memory depends on neither N nor M.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tangentlm.errors import NonFiniteError
from tangentlm.kernels.contract import Contraction
from tangentlm.kernels.factors import Factor, nothing, num_bytes, written_out
from tangentlm.kernels.limits import Limits
from tangentlm.kernels.passes import NonFiniteOutputError, Passes
from tangentlm.kernels.samples import Samples

_BATCH_SAMPLES = {"cpu": 256, "cuda": 1024}
MOST_PADDING = 0.1
"""The part of a batch that may be padding."""

Values = NDArray[np.float64]


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


@dataclass
class TileEngine:
    """Computes tiles of a kernel.

    Attributes:
        passes: Makes factors.
        contraction: Contracts them.
        groups: The parameters of every group; the kernel is computed for each group apart.
        outputs: ``"full"``, ``"difference"``, ``"trace"`` or ``"diagonal"``.
        limits: What is held at one time.
        num_outputs: C of the kernel.
        padding: The part of a pass that may be padding.
        advance: Told of every sample that has gone through a pass.
        peak_bytes: The most bytes of factors held so far.
    """

    passes: Passes
    contraction: Contraction
    groups: Mapping[str, Sequence[str]]
    outputs: str
    limits: Limits
    num_outputs: int
    padding: float = MOST_PADDING
    advance: Callable[[int], object] = lambda count: None
    peak_bytes: int = 0
    _kept: tuple[tuple[int, ...], TileFactors] | None = None

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
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _out_of_memory(error) or self.limits.smallest:
                    raise
                self.forget()
                self.limits = self.limits.halved()
            if self.passes.device.type == "cuda":
                torch.cuda.empty_cache()
            warnings.warn(
                f"memory ran out; going on with half as much at one time: {self.limits}",
                stacklevel=2,
            )

    def forget(self) -> None:
        """Let go of the factors that are kept from tile to tile."""
        self._kept = self.contraction.last = None

    def _tile(self, rows: Samples, i: list[int], columns: Samples, j: list[int]) -> Values:
        bands = []
        for piece in rows.split(i, self.limits.rows):
            left = self._rows(rows, piece)
            parts = []
            for other in columns.split(j, self.limits.columns):
                same = columns is rows and other == piece
                right = left if same else self.factors(columns, other)
                self.peak_bytes = max(self.peak_bytes, left.nbytes + (not same) * right.nbytes)
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
        device = self.passes.device.type
        count = _BATCH_SAMPLES[device]
        made = TileFactors(list(index), [], [])
        for piece in samples.batches(index, self.limits.batch, count, self.padding):
            batch = samples.take(piece)
            try:
                made.passes.append(self.passes.factors(batch))
            except NonFiniteOutputError as error:
                raise self.locate(samples, piece[error.sample]) from None
            made.sizes.append(len(piece))
            self.advance(len(piece))
        # The sign of a NaN is zero and that of infinity one: what is wrong would not show.
        culprit = _culprit(made, samples) if self.passes.signs else None
        if culprit is not None:
            raise culprit
        return made

    def locate(self, samples: Samples, sample: int) -> NonFiniteError:
        """The error for a sample whose output is not finite.

        Args:
            samples: The rows or the columns.
            sample: Which of them.

        Returns:
            An error that names it, the output, and the module where it began.
        """
        batch = samples.take([sample])
        with torch.no_grad():
            bad = (~torch.isfinite(self.passes.outputs(batch)[0])).nonzero().flatten().tolist()
        return NonFiniteError(
            f"output {bad[0] if bad else 0} of sample {sample} of the {samples.name}, "
            f"first in {self.passes.first_non_finite(batch)}"
        )

    def _contract(
        self, left: TileFactors, right: TileFactors, rows: Samples, columns: Samples
    ) -> Values:
        n, m = len(left.samples), len(right.samples)
        tiles = []
        for names in self.groups.values():
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
        parameter = self.passes.parameters[name]
        left: list[Factor] = [written_out(f, parameter) for f in rows]
        return left, left if rows is columns else [written_out(f, parameter) for f in columns]

    def _blocks(self, name: str, rows: list[Factor], columns: list[Factor]) -> Tensor:
        """One parameter's (n C, m C); for single outputs (C, n, m)."""
        if self.outputs in ("full", "difference"):
            return self.contraction(name, rows, columns)
        blocks = []
        for c in range(rows[0].tensors[-1].shape[1]):
            left = [factor.output(c) for factor in rows]
            right = left if rows is columns else [factor.output(c) for factor in columns]
            blocks.append(self.contraction(name, left, right))
        return torch.stack(blocks)

    def _shaped(self, total: Tensor | float, n: int, m: int) -> Values:
        """(n, C, m, C) in float64 on the CPU."""
        outputs = self.num_outputs
        if isinstance(total, float):
            return np.zeros((n, outputs, m, outputs))
        array: Values = total.cpu().numpy()
        if self.outputs == "trace":
            return array.sum(axis=0)[:, None, :, None]
        if self.outputs == "diagonal":
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
