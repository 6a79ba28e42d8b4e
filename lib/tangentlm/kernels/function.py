"""The function whose kernel is computed, and its gradients by autograd, one sample at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from tangentlm.batches import Selection, distinct, num_samples, select_rows
from tangentlm.errors import InputError, NonFiniteError
from tangentlm.kernels.precision import Products

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Function:
    """A function of samples and parameters: a model, or the difference of its two outputs.

    Attributes:
        model: ``model(**batch) -> (N, C)``.
        parameters: The parameters that count, by name.
        difference: Whether the one output is f_1 - f_0.
        products: How matrices are multiplied.
        signs: Whether the signs of the gradients will be taken.
        select: How one sample of a batch is taken alone.
    """

    model: nn.Module
    parameters: Mapping[str, nn.Parameter]
    difference: bool
    products: Products
    signs: bool = False
    select: Selection = select_rows

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

    def precise(self) -> Self:
        """The same in float32 or better: what the check compares with autograd.

        Returns:
            Passes.
        """
        double = self.products.precision == "float64"
        return replace(self, products=Products("float64" if double else "float32"))

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

    def weighed_gradient(self, batch: Batch) -> Sequence[Tensor]:
        """The gradient of a weighed sum of all outputs, to see whether padding changes it.

        Args:
            batch: Any samples.

        Returns:
            For every parameter that counts a tensor of its shape.
        """
        with torch.enable_grad():
            outputs = self.outputs(batch)
            if not outputs.requires_grad:
                return [outputs.new_zeros(1)]
            return torch.autograd.grad(
                outputs, list(self.parameters.values()), distinct(outputs), allow_unused=True,
                materialize_grads=True,
            )  # fmt: skip

    def non_finite(self, sample: Batch, name: str) -> NonFiniteError:
        """The error for a sample whose output is not finite.

        Args:
            sample: A batch of this one sample.
            name: What it is called.

        Returns:
            An error that names it, the output, and the innermost module where it began.
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
                outputs = self.outputs(sample)[0]
        finally:
            for handle in handles:
                handle.remove()
        bad = (~torch.isfinite(outputs)).nonzero().flatten().tolist()
        place = found[0] if found else "the model"
        return NonFiniteError(f"output {bad[0] if bad else 0} of {name}, first in {place}")


def _note_non_finite(found: list[str], name: str, output: object) -> None:
    if isinstance(output, Tensor) and not torch.isfinite(output).all():
        found.append(name)
