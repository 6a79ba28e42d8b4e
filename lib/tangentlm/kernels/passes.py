"""Passes: one forward and C backward passes give the factors of every parameter, for a batch.

The forward runs inside a ``Recorder``, so each use of a parameter is known with its inputs. Output
c is summed over the batch and differentiated with respect to the results of all those uses; as
samples do not see each other, that is the derivative of each sample's own output. No gradient of
a parameter is formed: a backward pass costs as much as a forward one, not twice. Before factors
count, those of two samples are compared with autograd (see ``check``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tangentlm.batches import Selection, num_samples, select_rows
from tangentlm.errors import InputError, NonFiniteError
from tangentlm.kernels.factors import Factor, Rows, merge
from tangentlm.kernels.precision import Products
from tangentlm.kernels.recorder import Recorder
from tangentlm.kernels.rules import Rule

Batch = Mapping[str, Tensor]

_NOISE = 64.0
"""A sign counts above this many times machine epsilon, relative to the gradient's largest entry."""


class UncoveredUseError(Exception):
    """A parameter that passed the check is used in another way in a later batch."""

    def __init__(self, names: set[str]) -> None:
        super().__init__(", ".join(sorted(names)))
        self.names = names


@dataclass
class Passes:
    """The factors of any batch: which model, which of its outputs, which parameters.

    Attributes:
        model: ``model(**batch) -> (N, C)``.
        parameters: The parameters that count, by name.
        difference: Whether the one output is f_1 - f_0.
        products: How matrices are multiplied.
        signs: Whether the signs of the gradients will be taken.
        select: How one sample of a batch is taken alone.
        by_autograd: The parameters that go through exact autograd.
        flops: Floating-point operations of all passes so far, those of the products of the
            passes with parameters (attention's own products, and what is no product, not counted).
        autograd_seconds: What the passes of ``by_autograd`` took so far.
        repeated: Parameters that the latest pass looked up once for all samples (see ``Recorder``).
        ways: How the latest pass used each parameter (see ``Recorder``).
        checked: The ways that a check has seen.
    """

    model: nn.Module
    parameters: Mapping[str, nn.Parameter]
    difference: bool
    products: Products
    signs: bool = False
    select: Selection = select_rows
    by_autograd: set[str] = field(default_factory=set)
    flops: float = 0.0
    autograd_seconds: float = 0.0
    repeated: set[str] = field(default_factory=set)
    ways: set[tuple[str, Rule, int]] = field(default_factory=set)
    checked: set[tuple[str, Rule, int]] = field(default_factory=set)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def outputs(self, batch: Batch) -> Tensor:
        """The outputs whose gradients make the kernel.

        Args:
            batch: B samples, on any device.

        Returns:
            (B, C); C = 1 for the difference of two logits.
        """
        logits = self.logits(batch)
        return logits[:, 1:] - logits[:, :1] if self.difference else logits

    def logits(self, batch: Batch) -> Tensor:
        """What the model returns.

        Args:
            batch: B samples, on any device, in any floating-point type.

        Returns:
            (B, C).
        """
        first = next(self.model.parameters())
        inputs = {
            name: tensor.to(first.device, first.dtype if tensor.is_floating_point() else None)
            for name, tensor in batch.items()
        }
        with self.products.in_model():
            logits: Tensor = self.model(**inputs)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != num_samples(batch):
            raise InputError("the model must map a batch of N samples to a tensor of shape (N, C)")
        return logits

    def factors(self, batch: Batch, checking: bool = False) -> dict[str, Factor]:
        """The gradients of every output of every sample, as factors.

        Args:
            batch: B samples.
            checking: Whether they will be compared with those of autograd.

        Returns:
            A factor for every parameter that the outputs depend on.

        Raises:
            UncoveredUseError: If a parameter has no rule, or is used in a way that no check has
                seen, and is not in ``by_autograd`` yet.
            NonFiniteError: If an output is not finite.
        """
        ruled = {n: p for n, p in self.parameters.items() if n not in self.by_autograd}
        recorder = Recorder(ruled, num_samples(batch), self.signs, self.products.replaced)
        self.repeated, self.ways = recorder.repeated, recorder.ways
        with torch.enable_grad():
            with recorder:
                outputs = self.outputs(batch)
            unchecked = set() if checking else {way[0] for way in recorder.ways - self.checked}
            if recorder.uncovered | unchecked:
                raise UncoveredUseError(recorder.uncovered | unchecked)
            if not torch.isfinite(outputs).all():
                raise NonFiniteOutputError(int((~torch.isfinite(outputs)).nonzero()[0, 0]))
            with self.products.in_model():
                derivatives = _derivatives(outputs, recorder)
        found: dict[str, list[Factor]] = {}
        while derivatives:  # Each derivative is let go of once its factor is made.
            (_, use), d = recorder.uses.pop(), derivatives.pop()
            self.flops += use.flops * (1 + outputs.shape[1])
            if d is not None:
                found.setdefault(use.name, []).append(use.factor(d))
        factors = {n: merge(f, tuple(self.parameters[n].shape)) for n, f in found.items()}
        return factors | self._by_autograd(batch)

    def _by_autograd(self, batch: Batch) -> dict[str, Factor]:
        """The gradients of the parameters that no rule covers, one sample at a time."""
        names = [name for name in self.parameters if name in self.by_autograd]
        if not names:
            return {}
        started = time.perf_counter()
        rows: dict[str, list[Tensor]] = {name: [] for name in names}
        for sample in range(num_samples(batch)):
            for name, gradients in self.gradients(batch, sample, names).items():
                rows[name].append(gradients)
        stacked = {name: self._clean(torch.stack(gradients)) for name, gradients in rows.items()}
        factors: dict[str, Factor] = {name: _as_rows(g) for name, g in stacked.items() if g.any()}
        self.autograd_seconds += time.perf_counter() - started
        return factors

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

    def gradients(self, batch: Batch, sample: int, names: Sequence[str]) -> dict[str, Tensor]:
        """The gradients of one sample, alone and by autograd.

        Args:
            batch: B samples.
            sample: Which of them.
            names: Parameters.

        Returns:
            For each parameter the gradients of all outputs, (C, *shape).
        """
        parameters = [self.parameters[name] for name in names]
        with torch.enable_grad():
            outputs = self.outputs(self.select(batch, slice(sample, sample + 1)))[0]
            if not outputs.requires_grad:  # No parameter has any effect.
                return {n: self.parameters[n].new_zeros(len(outputs), *self.parameters[n].shape)
                        for n in names}  # fmt: skip
            found = [
                torch.autograd.grad(
                    output, parameters, retain_graph=c + 1 < len(outputs), allow_unused=True,
                    materialize_grads=True,
                )
                for c, output in enumerate(outputs)
            ]  # fmt: skip
        return {
            name: torch.stack([gradients[i] for gradients in found]) for i, name in enumerate(names)
        }

    def weighed_gradient(self, batch: Batch) -> Tensor:
        """The gradient of a weighed sum of all outputs, to see whether padding changes it.

        Args:
            batch: Any samples.

        Returns:
            (P,), of all parameters that count.

        Raises:
            InputError: If the outputs are not (N, C).
        """
        parameters = list(self.parameters.values())
        with torch.enable_grad():
            outputs = self.outputs(batch)
            # Different weights: in a plain sum the outputs of a softmax would cancel.
            weights = torch.arange(1, outputs.shape[1] + 1, device=outputs.device).sqrt()
            total = (outputs * weights).sum()
            if not total.requires_grad:
                return outputs.new_zeros(1)
            gradient = torch.autograd.grad(
                total, parameters, allow_unused=True, materialize_grads=True
            )
        return torch.cat([part.flatten() for part in gradient])

    def first_non_finite(self, batch: Batch) -> str:
        """Where a forward first leaves the finite numbers.

        Args:
            batch: One sample whose output is not finite.

        Returns:
            The name of the innermost such module, or ``"the model"``.
        """
        found: list[str] = []
        handles = [
            module.register_forward_hook(
                lambda _module, _args, out, name=name: _note_non_finite(found, name, out)
            )
            for name, module in self.model.named_modules()
            if name
        ]
        try:
            with torch.no_grad():
                self.outputs(batch)
        finally:
            for handle in handles:
                handle.remove()
        return found[0] if found else "the model"


def _note_non_finite(found: list[str], name: str, output: object) -> None:
    if isinstance(output, Tensor) and not torch.isfinite(output).all():
        found.append(name)


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
