"""Passes: one forward and C backward passes give the factors of every parameter, for a batch.

The forward runs inside a ``Recorder``, so each use of a parameter is known with its inputs. Output
c is summed over the batch and differentiated with respect to the results of all those uses; as
samples do not see each other, that is the derivative of each sample's own output. No gradient of
a parameter is formed: a backward pass costs as much as a forward one, not twice. Before factors
count, those of two samples are compared with autograd (see ``check``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import torch
from torch import Tensor

from tangentlm.batches import num_samples
from tangentlm.errors import NonFiniteError
from tangentlm.kernels.factors import Factor, Rows, merge
from tangentlm.kernels.function import Batch, Function
from tangentlm.kernels.recorder import Recorder
from tangentlm.kernels.rules import Rule

Way = tuple[str, Rule, int]
"""A way of use: a parameter's name, the rule, and the number of the result's axes."""

_NOISE = 64.0
"""A sign counts above this many times machine epsilon, relative to the gradient's largest entry."""


class UncoveredUseError(Exception):
    """A parameter that passed the check is used in another way in a later batch."""

    def __init__(self, names: set[str]) -> None:
        super().__init__(", ".join(sorted(names)))
        self.names = names


@dataclass(frozen=True)
class Made:
    """What a pass made, and what it took.

    Attributes:
        factors: A factor for every parameter that the outputs depend on.
        ways: How the pass used each parameter (see ``Recorder``).
        flops: Floating-point operations, those of the products of the pass with parameters
            (attention's own products, and what is no product, not counted).
        autograd_seconds: What the gradients by autograd took.
    """

    factors: dict[str, Factor]
    ways: frozenset[Way]
    flops: float
    autograd_seconds: float


@dataclass(frozen=True)
class Passes(Function):
    """The factors of any batch of samples of a function."""

    def factors(
        self,
        batch: Batch,
        by_autograd: AbstractSet[str],
        seen: AbstractSet[Way] = frozenset(),
        checking: bool = False,
    ) -> Made:
        """The gradients of every output of every sample, as factors.

        Args:
            batch: B samples.
            by_autograd: The parameters that go through exact autograd.
            seen: The ways of use that a check has seen.
            checking: Whether the factors will be compared with autograd, so that any way will do.

        Returns:
            The factors.

        Raises:
            UncoveredUseError: If a parameter has no rule, or is used in a way that no check has
                seen, and does not go through autograd yet.
            NonFiniteError: If an output is not finite.
        """
        ruled = {n: p for n, p in self.parameters.items() if n not in by_autograd}
        recorder = Recorder(ruled, num_samples(batch), self.signs, self.products.replaced)
        try:
            return self._made(batch, recorder, by_autograd, None if checking else seen)
        except (RuntimeError, IndexError, ValueError) as error:
            if not (checking and recorder.repeated):
                raise
            # Rows that are repeated for every sample have another shape, which may not fit.
            raise UncoveredUseError(recorder.repeated) from error

    def _made(
        self,
        batch: Batch,
        recorder: Recorder,
        by_autograd: AbstractSet[str],
        seen: AbstractSet[Way] | None,
    ) -> Made:
        with torch.enable_grad():
            with recorder:
                outputs = self.outputs(batch)
            unseen = set() if seen is None else {way[0] for way in recorder.ways - seen}
            if recorder.uncovered | unseen:
                raise UncoveredUseError(recorder.uncovered | unseen)
            if not torch.isfinite(outputs).all():
                raise NonFiniteOutputError(int((~torch.isfinite(outputs)).nonzero()[0, 0]))
            with self.products.in_model():
                derivatives = _derivatives(outputs, recorder)
        found: dict[str, list[Factor]] = {}
        flops = 0.0
        while derivatives:  # Each derivative is let go of once its factor is made.
            (_, use), d = recorder.uses.pop(), derivatives.pop()
            flops += use.flops * (1 + outputs.shape[1])
            if d is not None:
                found.setdefault(use.name, []).append(use.factor(d))
        factors = {n: merge(f, tuple(self.parameters[n].shape)) for n, f in found.items()}
        names = [name for name in self.parameters if name in by_autograd]
        started = time.perf_counter()
        dense = self._by_autograd(batch, names) if names else {}
        seconds = time.perf_counter() - started if names else 0.0
        return Made(factors | dense, frozenset(recorder.ways), flops, seconds)

    def _by_autograd(self, batch: Batch, names: Sequence[str]) -> dict[str, Factor]:
        """The gradients of the parameters that no rule covers, one sample at a time."""
        rows: dict[str, list[Tensor]] = {name: [] for name in names}
        for sample in range(num_samples(batch)):
            for name, gradients in self.gradients(batch, sample, names).items():
                rows[name].append(gradients)
        stacked = {name: self._clean(torch.stack(gradients)) for name, gradients in rows.items()}
        return {name: _as_rows(g) for name, g in stacked.items() if g.any()}

    def _clean(self, gradients: Tensor) -> Tensor:
        """Where signs will be taken, without the round-off of what is zero (see ``rules``).

        The biases of queries, keys and values are often one parameter; so what is small is told
        from the largest entry.

        Args:
            gradients: (B, C, *shape).

        Returns:
            The same shape.
        """
        flat = gradients.reshape(*gradients.shape[:2], -1)
        noise = _NOISE * torch.finfo(flat.dtype).eps * flat.abs().amax(dim=2, keepdim=True)
        clean = flat.masked_fill(flat.abs() < noise, 0.0) if self.signs else flat
        return clean.reshape(gradients.shape)


class NonFiniteOutputError(NonFiniteError):
    """An output of a sample is NaN or infinite."""

    def __init__(self, sample: int) -> None:
        super().__init__(f"an output of sample {sample} of the batch")
        self.sample = sample


def _derivatives(outputs: Tensor, recorder: Recorder) -> list[Tensor | None]:
    """The derivative of every output with respect to the result of every use.

    Args:
        outputs: (B, C).
        recorder: The uses of the forward.

    Returns:
        For each use (B, C, *rest), or ``None`` where no output depends on it.
    """
    edges = list(dict.fromkeys(edge for edge, _ in recorder.uses))
    stacked: list[Tensor | None] = [None] * len(edges)
    batch, count = outputs.shape
    for c in range(count if edges and outputs.requires_grad else 0):
        gradients = torch.autograd.grad(
            outputs[:, c].sum(), edges, retain_graph=c + 1 < count, allow_unused=True
        )
        for i, gradient in enumerate(gradients):
            if gradient is None:
                continue
            gradient = gradient.reshape(batch, -1)
            if count == 1:
                stacked[i] = gradient[:, None]
                continue
            stack = stacked[i]
            if stack is None:
                stack = stacked[i] = gradient.new_zeros(batch, count, gradient.shape[1])
            stack[:, c] = gradient
    by_edge = dict(zip(edges, stacked, strict=True))
    return [by_edge[edge] for edge, _ in recorder.uses]


def _as_rows(gradients: Tensor) -> Rows:
    """Gradients written out, without the rows of the parameter that are zero for all samples.

    Args:
        gradients: (B, C, *shape).

    Returns:
        The same ids for every sample.
    """
    batch, count = gradients.shape[:2]
    matrix = gradients.reshape(batch, count, gradients.shape[2] if gradients.ndim > 2 else 1, -1)
    ids = (matrix != 0).any(dim=3).flatten(0, 1).any(dim=0).nonzero()[:, 0]
    return Rows(ids.expand(batch, -1), matrix[:, :, ids])
