"""The check: the gradients of two samples by the rules beside those of autograd.

Nothing is taken on trust. Before anything else two samples of different lengths go through the
model together, and the gradients that follow from the factors are compared, parameter by
parameter, with those of autograd for each of them alone. A parameter that fails (because the model
uses it in a way that no rule describes, or because samples of a batch do see each other) goes
through exact autograd, sample by sample. What is found is ``Checked``. A later batch may show a use
which the first did not; then a run goes on with another ``Checked``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from tangentlm.batches import num_samples
from tangentlm.kernels.factors import Factor, num_bytes
from tangentlm.kernels.function import Batch
from tangentlm.kernels.passes import NonFiniteOutputError, Passes, UncoveredUseError, Way
from tangentlm.kernels.samples import Samples

MOST_PADDING = 0.1
"""The part of a batch that may be padding."""
_AGREEMENT = 1e4
"""The check passes below this many times machine epsilon, relative to the gradient's norm."""


@dataclass(frozen=True)
class Checked:
    """What is known about a model on some samples.

    Attributes:
        by_autograd: The parameters that go through exact autograd.
        ways: The ways of use that were compared with autograd.
        padding: The part of a pass that may be padding.
        token_bytes: The bytes of the factors of one token.
        flops: The operations of the passes of the check.
        autograd_seconds: What their gradients by autograd took.
    """

    by_autograd: frozenset[str] = frozenset()
    ways: frozenset[Way] = frozenset()
    padding: float = MOST_PADDING
    token_bytes: float = 1.0
    flops: float = 0.0
    autograd_seconds: float = 0.0

    def through_autograd(self, names: AbstractSet[str]) -> Self:
        """The same with more parameters that go through autograd.

        Args:
            names: The parameters.

        Returns:
            What is known then.
        """
        return replace(self, by_autograd=self.by_autograd | names)


@dataclass(frozen=True)
class _Pair:
    """The check of two samples: the factors, and the parameters whose gradients are wrong."""

    index: list[int]
    factors: Mapping[str, Factor]
    wrong: set[str]


def check(passes: Passes, *sides: Samples) -> Checked:
    """Find what the rules do not cover, and how much memory a token's factors take.

    Args:
        passes: Makes factors.
        *sides: The rows, and the columns where they are others: these may be padded where rows
            are not.

    Returns:
        What is known then.

    Raises:
        NonFiniteError: If an output is not finite, naming the sample.
    """
    precise, checked = passes.precise(), Checked()
    for samples in sides:
        checked = _check_samples(precise, samples, checked)
    return checked


def _check_samples(passes: Passes, samples: Samples, checked: Checked) -> Checked:
    """The check of two rows, or of two columns."""
    order = samples.by_length()
    pair: _Pair | None = None
    with contextlib.suppress(NonFiniteOutputError):  # Padding may be to blame.
        pair, checked = _check_pair(passes, samples, [order[0], order[-1]], checked)
    if pair is None or pair.wrong:
        # Some models do not give a padded sample what it gets alone; then batches have one
        # length each, as this pair has (the same sample twice if need be).
        alike = [i for i in order if samples.lengths[i] == samples.lengths[order[0]]]
        ends = [alike[0], alike[-1]]
        try:
            unpadded, checked = _check_pair(passes, samples, ends, checked)
        except NonFiniteOutputError as error:
            raise passes.non_finite(*samples.one(ends[error.sample])) from None
        if pair is None or len(unpadded.wrong) < len(pair.wrong):
            checked, pair = replace(checked, padding=0.0), unpadded
    tokens = float(samples.lengths[pair.index].max()) * len(pair.index)
    token_bytes = num_bytes(list(pair.factors.values())) / tokens
    checked = replace(checked, token_bytes=max(checked.token_bytes, token_bytes))
    return checked.through_autograd(pair.wrong)


def _check_pair(
    passes: Passes, samples: Samples, index: list[int], checked: Checked
) -> tuple[_Pair, Checked]:
    """Two samples together, each compared with itself alone.

    Returns:
        What was found, and what is known then.
    """
    batch = samples.take(index)
    while True:
        try:
            made = passes.factors(batch, checked.by_autograd, checking=True)
            break
        except UncoveredUseError as error:
            checked = checked.through_autograd(error.names)
    checked = replace(
        checked,
        ways=checked.ways | made.ways,
        flops=checked.flops + made.flops,
        autograd_seconds=checked.autograd_seconds + made.autograd_seconds,
    )
    ruled = [name for name in passes.parameters if name not in checked.by_autograd]
    wrong: set[str] = set()
    for sample in range(num_samples(batch)):
        wrong |= _wrong(passes, batch, sample, ruled, made.factors)
    return _Pair(index, made.factors, wrong), checked


def _wrong(
    passes: Passes, batch: Batch, sample: int, names: list[str], factors: Mapping[str, Factor]
) -> set[str]:
    """The parameters whose gradients for one sample of a batch are not those of it alone."""
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
