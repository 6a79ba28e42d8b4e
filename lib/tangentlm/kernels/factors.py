"""Factors: the gradients of many samples with respect to one parameter, in their smallest form.

A batch of B samples with C outputs has B C gradients of every parameter. Written out, those of a
weight of shape (p, q) take B C p q numbers. The forms here hold the same gradients exactly:

=========  ==========================================  ==========================
form       gradient of output c of sample b            numbers
=========  ==========================================  ==========================
``Outer``  sum_s d[b,c,s] (outer product) x[b,s]       B S (C p + q)
``Rows``   row ids[b,s] gets d[b,c,s], summed over s   B C S q
``Dense``  values[b,c]                                 B C p q
=========  ==========================================  ==========================

S counts positions: the tokens of a sample at which the parameter is used, over all its uses. So a
layer whose weights are used many times (ALBERT), or an embedding that is also the decoder, is one
factor with more positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Outer:
    """Sums of outer products over positions: what a linear layer's weight has for a gradient.

    Attributes:
        x: The layer's inputs, (B, S, q).
        d: The output's derivatives with respect to the layer's outputs, (B, C, S, p).
        transposed: Whether the parameter is stored as (q, p), like the ``Conv1D`` of GPT-2.
    """

    x: Tensor
    d: Tensor
    transposed: bool = False

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that the factor holds."""
        return self.x, self.d

    def output(self, c: int) -> Outer:
        """The factor of one output alone.

        Args:
            c: Which of the C outputs.

        Returns:
            A view with C = 1.
        """
        return Outer(self.x, self.d[:, c : c + 1], self.transposed)

    def sample(self, b: int) -> Outer:
        """The factor of one sample alone.

        Args:
            b: Which of the B samples.

        Returns:
            A view with B = 1.
        """
        return Outer(self.x[b : b + 1], self.d[b : b + 1], self.transposed)

    def dense(self, shape: Shape) -> Tensor:
        """The gradients themselves.

        Args:
            shape: The parameter's shape.

        Returns:
            (B, C, *shape).
        """
        gradient = torch.einsum("bcsp,bsq->bcpq", self.d, self.x)
        return (gradient.transpose(2, 3) if self.transposed else gradient).reshape(
            *self.d.shape[:2], *shape
        )

    def compressed(self) -> Outer:
        """Without the positions that no output depends on.

        Padding is such a position, and in the last layer of a model that reads one position
        all others are, for all that is not a key or a value: there the gradient has rank one.

        Returns:
            The same gradients, with as many positions as the busiest sample needs.
        """
        used = (self.d != 0).any(dim=3).any(dim=1)  # (B, S)
        needed = max(int(used.sum(dim=1).max()), 1)
        if needed == used.shape[1]:
            return self
        # A stable sort brings the used positions to the front, in their order.
        order = used.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :needed]
        x = self.x.gather(1, order[:, :, None].expand(-1, -1, self.x.shape[2]))
        index = order[:, None, :, None].expand(-1, self.d.shape[1], -1, self.d.shape[3])
        return Outer(x, self.d.gather(2, index), self.transposed)

    def as_rows(self) -> Rows:
        """The same gradients, as the few rows of the parameter that are not zero.

        For a decoder of which the outputs are a few label words, these are the words' rows.

        Returns:
            Rows, the same ids for every sample.
        """
        ids = (self.d != 0).flatten(0, 2).any(dim=0).nonzero()[:, 0]
        vectors = torch.einsum("bcsk,bsq->bckq", self.d[..., ids], self.x)
        return Rows(ids.expand(len(self.x), -1), vectors)


@dataclass(frozen=True)
class Rows:
    """Few rows of a large parameter: what an embedding has for a gradient.

    Attributes:
        ids: Which row of the parameter, (B, S); an id may occur several times.
        d: What is added to that row, (B, C, S, q).
    """

    ids: Tensor
    d: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that the factor holds."""
        return self.ids, self.d

    def output(self, c: int) -> Rows:
        """The factor of one output alone.

        Args:
            c: Which of the C outputs.

        Returns:
            A view with C = 1.
        """
        return Rows(self.ids, self.d[:, c : c + 1])

    def sample(self, b: int) -> Rows:
        """The factor of one sample alone.

        Args:
            b: Which of the B samples.

        Returns:
            A view with B = 1.
        """
        return Rows(self.ids[b : b + 1], self.d[b : b + 1])

    def dense(self, shape: Shape) -> Tensor:
        """The gradients themselves.

        Args:
            shape: The parameter's shape.

        Returns:
            (B, C, *shape).
        """
        return self.on(torch.arange(shape[0], device=self.ids.device)).reshape(
            *self.d.shape[:2], *shape
        )

    def on(self, wanted: Tensor) -> Tensor:
        """The gradients of some rows of the parameter.

        Args:
            wanted: Ids of rows, sorted, without repetition, (U,).

        Returns:
            (B, C, U, q).
        """
        batch, outputs, _, width = self.d.shape
        place = torch.searchsorted(wanted, self.ids.contiguous()).clamp(max=len(wanted) - 1)
        known = wanted[place] == self.ids
        # What is not wanted goes to one more row, which is cut off.
        place = torch.where(known, place, len(wanted))
        result = self.d.new_zeros(batch, outputs, len(wanted) + 1, width)
        index = place[:, None, :, None].expand(-1, outputs, -1, width)
        return result.scatter_add_(2, index, self.d)[:, :, :-1]


@dataclass(frozen=True)
class Dense:
    """Gradients written out: those of vectors, and of whatever no rule covers.

    Attributes:
        values: (B, C, number of entries).
    """

    values: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that the factor holds."""
        return (self.values,)

    def output(self, c: int) -> Dense:
        """The factor of one output alone.

        Args:
            c: Which of the C outputs.

        Returns:
            A view with C = 1.
        """
        return Dense(self.values[:, c : c + 1])

    def sample(self, b: int) -> Dense:
        """The factor of one sample alone.

        Args:
            b: Which of the B samples.

        Returns:
            A view with B = 1.
        """
        return Dense(self.values[b : b + 1])

    def dense(self, shape: Shape) -> Tensor:
        """The gradients themselves.

        Args:
            shape: The parameter's shape.

        Returns:
            (B, C, *shape).
        """
        return self.values.reshape(*self.values.shape[:2], *shape)


Factor = Outer | Rows | Dense


def merge(factors: Sequence[Factor], shape: Shape) -> Factor:
    """One factor for all uses of a parameter: gradients of several uses add up.

    Args:
        factors: One for each use, of the same samples.
        shape: The parameter's shape.

    Returns:
        Their sum, in the smallest form that can hold it.
    """
    if len(factors) == 1:
        return factors[0]
    outer = [factor for factor in factors if isinstance(factor, Outer)]
    if len(outer) == len(factors) and len({factor.transposed for factor in outer}) == 1:
        x = torch.cat([factor.x for factor in outer], dim=1)
        d = torch.cat([factor.d for factor in outer], dim=2)
        return Outer(x, d, outer[0].transposed)
    if not any(isinstance(f, Dense) or (isinstance(f, Outer) and f.transposed) for f in factors):
        rows = [f.as_rows() if isinstance(f, Outer) else f for f in factors]
        ids = torch.cat([factor.ids for factor in rows if isinstance(factor, Rows)], dim=1)
        d = torch.cat([factor.d for factor in rows if isinstance(factor, Rows)], dim=2)
        return Rows(ids, d)
    total = sum(factor.dense(shape) for factor in factors)
    assert isinstance(total, Tensor)
    return Dense(total.reshape(*total.shape[:2], -1))


def written_out(factor: Factor, parameter: Tensor) -> Dense:
    """The same gradients in the form that holds any.

    Args:
        factor: Gradients.
        parameter: What they are with respect to.

    Returns:
        The gradients themselves.
    """
    return Dense(factor.dense(tuple(parameter.shape)).reshape(*factor.tensors[-1].shape[:2], -1))


def nothing(like: Factor, batch: int) -> Factor:
    """The factor of samples whose outputs do not depend on the parameter.

    Args:
        like: A factor of the same parameter, of other samples.
        batch: B.

    Returns:
        Gradients that are all zero, in the same form.
    """
    if isinstance(like, Outer):
        x, d = like.x[:1, :1], like.d[:1, :, :1]
        zero = x.new_zeros(batch, *x.shape[1:]), d.new_zeros(batch, *d.shape[1:])
        return Outer(*zero, like.transposed)
    if isinstance(like, Rows):
        d = like.d[:1, :, :0]
        return Rows(like.ids.new_zeros(batch, 0), d.new_zeros(batch, *d.shape[1:]))
    return Dense(like.values.new_zeros(batch, *like.values.shape[1:]))


def num_bytes(factors: Sequence[Factor]) -> int:
    """The memory that factors take; a tensor that several of them share counts once.

    Args:
        factors: Any factors.

    Returns:
        Bytes.
    """
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for factor in factors
        for tensor in factor.tensors
    }
    return sum(storages.values())
