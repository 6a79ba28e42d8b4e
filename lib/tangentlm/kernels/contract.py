"""Contractions: the inner products of two sets of gradients, from their factors.

For a weight of shape (p, q), n rows and m columns with C outputs each, and S positions a sample,
there are two exact ways, and the cheaper one is taken, for each parameter and each pair of tiles:

* **Gradients**: write the gradients out, G = sum_s d_s x_s^T, a slice of the weight at a time, and
  multiply them: 2 (n + m) S C p q + 2 n m C^2 p q operations.
* **Gram**: <sum_s d_s x_s^T, sum_t d'_t x'_t^T> = sum_st (x_s . x'_t)(d_s . d'_t), so no gradient
  is ever formed: 2 n m S^2 (q + C p) + 2 n m C^2 S p operations.

Short samples and many outputs make the second cheaper, many samples the first. With one position
(S = 1: a gradient of rank one) the second costs next to nothing. Signs do not factor over a sum,
so sign kernels need the gradients, except at rank one: sign(d x^T) = sign(d) sign(x)^T.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from tangentlm.kernels.factors import Dense, Factor, Outer, Rows
from tangentlm.kernels.precision import Products

_SLICE_BYTES = {"cpu": 16 * 2**20, "cuda": 2**27}
"""Gradients that are written out at one time: on a CPU what its cache holds; on CUDA so few that
sums of products of signs, counted in float32, stay below 2^24 and thus exact."""
_GRAM_BYTES = {"cpu": 64 * 2**20, "cuda": 2**30}
"""The two products of Gram, of all positions of the rows and of some columns."""
_MOVED_BYTES = {"cpu": 2 * 2**20, "cuda": 2**28}
"""What Gram holds between its two steps for several outputs: twice what a core's cache holds."""
_JOINED = 1.25
"""Batches of several outputs are joined while padding makes them at most so much larger."""
_RATES = {"gradients": 0.75, "gram": 0.95, "gram of outputs": 0.6}
"""The rates of the ways' products, relative to that of large square matrices, as measured."""
SIGNED_SIDES = {"sgd": (False, False), "signgd": (True, True), "asymmetric-signgd": (False, True)}
"""Which gradients each formula replaces by their signs: those of the rows, of the columns."""


_Form = TypeVar("_Form", Outer, Rows)


@dataclass
class Contraction:
    """Computes inner products under one formula, and counts what they cost.

    Attributes:
        formula: A key of ``SIGNED_SIDES``.
        products: How matrices are multiplied.
        gradients_flops: Operations that wrote gradients out.
        products_flops: Operations of all other products.
        gram: The parameters that took the way of Gram at least once.
    """

    formula: str
    products: Products
    gradients_flops: float = 0.0
    products_flops: float = 0.0
    gram: set[str] = field(default_factory=set)
    _last: tuple[list[Tensor], Tensor] | None = None  # The latest inputs of Gram, multiplied.

    @property
    def signed(self) -> tuple[bool, bool]:
        """Which sides are signs."""
        return SIGNED_SIDES[self.formula]

    def __call__(self, name: str, rows: Sequence[Factor], columns: Sequence[Factor]) -> Tensor:
        """The inner products of all gradients of one parameter.

        Args:
            name: The parameter.
            rows: Factors of batches of rows, all of one form.
            columns: Factors of batches of columns; the very same list for a symmetric tile.

        Returns:
            (n C, m C), sample-major, in float64.
        """
        if _all(rows, Outer) and _all(columns, Outer):
            return self._outer(name, rows, columns)
        if _all(rows, Rows) and _all(columns, Rows):
            return self._rows(rows, columns)
        left = torch.cat([f.values for f in rows if isinstance(f, Dense)]).flatten(0, 1)
        right = torch.cat([f.values for f in columns if isinstance(f, Dense)]).flatten(0, 1)
        return self._product(left, right)

    def multiply(self, left: Tensor, right: Tensor, signs: tuple[bool, bool]) -> Tensor:
        """A product that counts.

        Args:
            left: (n, k).
            right: (k, m).
            signs: Which of the two are signs.

        Returns:
            (n, m).
        """
        self.products_flops += 2.0 * left.numel() * right.shape[1]
        return self.products(left, right, signs)

    def forget(self) -> None:
        """Let go of the latest inputs of Gram."""
        self._last = None

    def _product(self, left: Tensor, right: Tensor) -> Tensor:
        """Inner products of gradients written out, (n C, k) and (m C, k), which it may change."""
        first, second = self.signed
        if second:  # In place, but where the very same gradients are also wanted without signs.
            right = right.sign() if left is right and not first else right.sign_()
        if first and left is not right:
            left.sign_()
        return self.multiply(left, right.T, self.signed).double()

    def _rows(self, rows: Sequence[Rows], columns: Sequence[Rows]) -> Tensor:
        """Rows of a large parameter: only those that some row and some column share matter."""
        shared = _ids(rows)
        shared = shared[torch.isin(shared, _ids(columns))]
        width, outputs = rows[0].d.shape[3], rows[0].d.shape[1]
        n, m = (outputs * sum(len(f.ids) for f in side) for side in (rows, columns))
        total = rows[0].d.new_zeros(n, m, dtype=torch.float64)
        if not len(shared):
            return total
        for ids in shared.split(self._slice(rows[0].d, (n + m) * width)):
            left = torch.cat([f.on(ids) for f in rows]).flatten(0, 1).flatten(1)
            right = torch.cat([f.on(ids) for f in columns]).flatten(0, 1).flatten(1)
            total += self._product(left, right)
        return total

    def _outer(self, name: str, rows: Sequence[Outer], columns: Sequence[Outer]) -> Tensor:
        rank_one = all(f.x.shape[1] == 1 for f in (*rows, *columns))
        if any(self.signed) and not rank_one:
            return self._gradients(rows, columns)
        if not self._gram_is_cheaper(rows, columns):
            return self._gradients(rows, columns)
        self.gram.add(name)
        if rank_one or rows[0].d.shape[1] == 1:
            return self._gram(rows, columns)
        blocks = _joined(columns)
        return torch.cat(
            [torch.cat([self._gram_of_outputs(r, c) for c in blocks], 1) for r in _joined(rows)]
        )

    def _gram_is_cheaper(self, rows: Sequence[Outer], columns: Sequence[Outer]) -> bool:
        outputs, p, q = rows[0].d.shape[1], rows[0].d.shape[3], rows[0].x.shape[2]
        n, m = (sum(len(f.x) for f in side) for side in (rows, columns))
        s, t = (sum(f.x[..., 0].numel() for f in side) for side in (rows, columns))
        gram = 2.0 * s * t * (q + outputs * p) + 2.0 * n * t * outputs**2 * p
        gradients = 2.0 * (s + t) * outputs * p * q + 2.0 * n * m * outputs**2 * p * q
        rank_one = s == n and t == m
        way = "gram" if outputs == 1 or rank_one else "gram of outputs"
        return gram / _RATES[way] < gradients / _RATES["gradients"]

    def _gram(self, rows: Sequence[Outer], columns: Sequence[Outer]) -> Tensor:
        """The sum of (x_s . x'_t)(d_s . d'_t) over s and t, for one output or one position.

        All positions of all samples go into two products, of inputs and of derivatives; their
        product, entry by entry, is then summed over the positions of each sample.

        Args:
            rows: n samples in batches, S positions each or less.
            columns: m samples.

        Returns:
            (n C, m C).
        """
        outputs = rows[0].d.shape[1]
        d, owner = self._derivatives(rows, self.signed[0])
        parts = []
        for chunk in _chunks(columns, self._slice(d, 2 * len(d), _GRAM_BYTES)):
            inputs = self._inputs(rows, chunk)
            d2, owner2 = self._derivatives(chunk, self.signed[1])
            product = self.products(d, d2.T, self.signed)
            self.products_flops += 2.0 * len(d) * d2.numel()
            if outputs > 1:  # One position: every output meets the same inputs.
                inputs = inputs.repeat_interleave(outputs, 0).repeat_interleave(outputs, 1)
            product *= inputs
            parts.append(_sum_by(owner2, _sum_by(owner, product).T).T)
        return torch.cat(parts, dim=1).double()

    def _inputs(self, rows: Sequence[Outer], columns: Sequence[Outer]) -> Tensor:
        """x_s . x'_t for all positions; query, key and value share it, as they share x."""
        used = [factor.x for factor in (*rows, *columns)]
        if self._last is None or not _same(self._last[0], used):
            x, x2 = (torch.cat([f.x.flatten(0, 1) for f in side]) for side in (rows, columns))
            x, x2 = (v.sign() if s else v for v, s in zip((x, x2), self.signed, strict=True))
            self._last = used, self.products(x, x2.T, self.signed)
            self.products_flops += 2.0 * len(x) * x2.numel()
        return self._last[1]

    def _derivatives(self, factors: Sequence[Outer], signs: bool) -> tuple[Tensor, Tensor]:
        """All derivatives, (K, p), and which sample and output each is of, (K,)."""
        d = torch.cat([f.d.flatten(0, 2) for f in factors])
        count = [f.d.shape[2] for f in factors for _ in range(len(f.d) * f.d.shape[1])]
        each = torch.tensor(count, device=d.device)
        owner = torch.arange(len(each), device=d.device).repeat_interleave(each)
        return (d.sign() if signs else d), owner

    def _gram_of_outputs(self, rows: Outer, columns: Outer) -> Tensor:
        """The same for several outputs: sum_t (x_s . x'_t) d'_t first, then its product with d_s.

        Args:
            rows: n samples.
            columns: m samples.

        Returns:
            (n C, m C).
        """
        (n, s, q), (m, t, _) = rows.x.shape, columns.x.shape
        outputs, p = rows.d.shape[1], rows.d.shape[3]
        inputs = self.products(rows.x.reshape(n * s, q), columns.x.reshape(m * t, q).T)
        inputs = inputs.view(n, s, m, t)
        left = rows.d.reshape(n, outputs, s * p)
        total = rows.d.new_empty(n, outputs, m, outputs, dtype=torch.float64)
        step = self._slice(left, outputs * s * p, _MOVED_BYTES)
        for start in range(0, n, step):
            part = slice(start, start + step)
            some = inputs[part].flatten(0, 1)
            for j in range(m):
                moved = self.products(some[:, j], columns.d[j])  # (C, step s, p)
                moved = moved.view(outputs, -1, s * p).permute(1, 2, 0)
                total[part, :, j] = self.products(left[part], moved)
        self.products_flops += 2.0 * n * s * m * t * (q + outputs * p)
        self.products_flops += 2.0 * n * m * outputs**2 * s * p
        return total.view(n * outputs, m * outputs)

    def _gradients(self, rows: Sequence[Outer], columns: Sequence[Outer]) -> Tensor:
        """Gradients written out, as many outputs of the layer at a time as the cache holds."""
        outputs, p, q = rows[0].d.shape[1], rows[0].d.shape[3], rows[0].x.shape[2]
        n, m = (outputs * sum(len(f.x) for f in side) for side in (rows, columns))
        total = rows[0].d.new_zeros(n, m, dtype=torch.float64)
        same = rows is columns
        step = self._slice(rows[0].d, (n if same else n + m) * q)
        for start in range(0, p, step):
            part = slice(start, min(start + step, p))
            left = self._written_out(rows, part)
            right = left if same else self._written_out(columns, part)
            total += self._product(left, right)
        return total

    def _written_out(self, factors: Sequence[Outer], part: slice) -> Tensor:
        """Some rows of the gradients of a weight, (n C, rows * q)."""
        outputs, q = factors[0].d.shape[1], factors[0].x.shape[2]
        width = part.stop - part.start
        count = sum(len(factor.x) for factor in factors)
        result = factors[0].x.new_empty(count, outputs * width, q)
        start = 0
        for factor in factors:
            batch, _, s, _ = factor.d.shape
            d = factor.d[..., part].transpose(2, 3).reshape(batch, outputs * width, s)
            self.products(d, factor.x, out=result[start : start + batch])
            self.gradients_flops += 2.0 * d.numel() * q
            start += batch
        return result.view(count * outputs, width * q)

    def _slice(self, like: Tensor, entries: int, limits: Mapping[str, int] = _SLICE_BYTES) -> int:
        """How many slices, of so many entries each, fit."""
        limit = limits["cuda" if like.is_cuda else "cpu"]
        return max(limit // (entries * like.element_size()), 1)


def _all(factors: Sequence[Factor], form: type[_Form]) -> TypeGuard[Sequence[_Form]]:
    """Whether all factors are of one form."""
    return all(isinstance(factor, form) for factor in factors)


def _ids(factors: Sequence[Rows]) -> Tensor:
    """The ids of all rows that are touched, sorted."""
    return torch.cat([factor.ids.flatten() for factor in factors]).unique()


def _chunks(factors: Sequence[Outer], positions: int) -> Iterator[list[Outer]]:
    """Consecutive factors, as many as have so many positions together, but at least one."""
    chunk: list[Outer] = []
    room = positions
    for factor in factors:
        size = factor.d[..., 0].numel()
        if chunk and size > room:
            yield chunk
            chunk, room = [], positions
        chunk.append(factor)
        room -= size
    yield chunk


def _joined(factors: Sequence[Outer]) -> list[Outer]:
    """Consecutive batches of about one number of positions, padded to one and joined."""
    groups: list[list[Outer]] = []
    for factor in factors:
        if groups and _padding([*groups[-1], factor]) <= _JOINED:
            groups[-1].append(factor)
        else:
            groups.append([factor])
    joined = []
    for group in groups:
        positions = max(f.x.shape[1] for f in group)
        missing = [(0, 0, 0, positions - f.x.shape[1]) for f in group]
        x = torch.cat([pad(f.x, by) for f, by in zip(group, missing, strict=True)])
        d = torch.cat([pad(f.d, by) for f, by in zip(group, missing, strict=True)])
        joined.append(Outer(x, d, group[0].transposed))
    return joined


def _padding(group: Sequence[Outer]) -> float:
    """How much larger a group is when all of it has the most positions of any."""
    longest = max(f.x.shape[1] for f in group)
    return sum(len(f.x) for f in group) * longest / sum(f.x[..., 0].numel() for f in group)


def _same(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether two lists have the same tensors, or views of the same memory."""
    views = ([(t.data_ptr(), t.shape, t.stride()) for t in side] for side in (first, second))
    return next(views) == next(views)


def _sum_by(owner: Tensor, matrix: Tensor) -> Tensor:
    """The sums of the rows of a matrix that have one owner; owners are 0, 1, ... in order."""
    result = matrix.new_zeros(int(owner[-1]) + 1, matrix.shape[1])
    return result.index_add_(0, owner, matrix)
