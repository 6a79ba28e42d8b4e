"""The check: the gradients of two samples by the rules beside those of autograd.

Nothing is taken on trust. Before anything else two samples of different lengths go through the
model together, and the gradients that follow from the factors are compared, parameter by
parameter, with those of autograd for each of them alone. A parameter that fails (because the model
uses it in a way that no rule describes, or because samples of a batch do see each other) goes
through exact autograd, sample by sample.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tangentlm.batches import num_samples
from tangentlm.kernels.factors import Factor
from tangentlm.kernels.passes import Batch, Passes, UncoveredUseError

_AGREEMENT = 1e4
"""The check passes below this many times machine epsilon, relative to the gradient's norm."""


def check(passes: Passes, batch: Batch) -> tuple[dict[str, Factor], set[str]]:
    """Find the parameters that the rules do not get right, sample by sample of a batch.

    Parameters without a rule go to ``passes.by_autograd`` at once.

    Args:
        passes: Makes the factors; told of the ways of use that were checked.
        batch: Two samples or more; each is compared with itself alone.

    Returns:
        The factors of the batch, and the parameters whose gradients are wrong.

    Raises:
        NonFiniteError: If an output is not finite.
    """
    while True:
        try:
            factors = passes.factors(batch, checking=True)
            break
        except UncoveredUseError as error:
            passes.by_autograd |= error.names
        except (RuntimeError, IndexError, ValueError):
            if not passes.repeated:
                raise
            # Rows that are repeated for every sample have another shape, which may not fit.
            passes.by_autograd |= passes.repeated
    passes.checked |= passes.ways
    wrong: set[str] = set()
    for sample in range(num_samples(batch)):
        wrong |= _wrong(passes, batch, sample, factors)
    return factors, wrong


def _wrong(passes: Passes, batch: Batch, sample: int, factors: Mapping[str, Factor]) -> set[str]:
    """The parameters whose gradients for one sample of a batch are not those of it alone."""
    names = [name for name in passes.parameters if name not in passes.by_autograd]
    expected = passes.gradients(batch, sample, names) if names else {}
    largest = max((float(g.norm()) for g in expected.values()), default=0.0)
    wrong = set()
    for name, gradient in expected.items():
        off = gradient.norm()
        if name in factors:
            off = (_sample(factors[name], sample, gradient) - gradient).norm()
        tolerance = _AGREEMENT * torch.finfo(gradient.dtype).eps
        # What is below the round-off of the whole gradient cannot be told from zero.
        if not float(off) <= tolerance * (float(gradient.norm()) + 1e-3 * largest):
            wrong.add(name)
    return wrong


def _sample(factor: Factor, sample: int, like: Tensor) -> Tensor:
    """The gradients of one sample of a factor, (C, *shape)."""
    return factor.sample(sample).dense(tuple(like.shape[1:]))[0]
