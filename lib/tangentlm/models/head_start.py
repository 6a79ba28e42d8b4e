"""Where the linear head of a fine-tuning starts: at random, or at the linear-probing solution.

Tomihari and Sato compare a random head, V ~ N(0, 0.02^2) and b = 0, with that of linear probing
(LP). The two differ in direction and in norm; the other starts have the one of the one and the
other of the other:

* ``random`` and ``lp``;
* ``random-at-lp-norm`` and ``lp-at-initial-norm``: the direction, at the Frobenius norm of the
  other start;
* ``<random or lp>-scaled:<s>``: V <- s V / |V|, and b by the same factor (their Figures 3, 10, 11);
  ``-times:<s>``: V and b times s; ``-weight-scaled:<s>``: as ``scaled``, but b stays.

Scaling V and b by 1 / T is temperature scaling (Section 4.6).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tangentlm.batches import Labelled
from tangentlm.errors import InputError, unknown_name
from tangentlm.models.heads import LinearHeadModel
from tangentlm.models.linear_probe import fit_linear_probe
from tangentlm.params import scaled_start
from tangentlm.params.two_stage_runs import STARTS

INITIAL_STD = 0.02
"""Of the entries of a random head, as RoBERTa's configuration has it."""


@dataclass(frozen=True)
class Head:
    """A linear head.

    Attributes:
        weight: V, (C, h).
        bias: b, (C,).
    """

    weight: Tensor
    bias: Tensor

    @property
    def norm(self) -> float:
        """The Frobenius norm of V."""
        return float(self.weight.double().norm())

    def times(self, factor: float, *, bias: bool = True) -> Head:
        """The head times a factor.

        Args:
            factor: Above zero.
            bias: Whether b is scaled, too; else it stays.

        Returns:
            Another head.
        """
        return Head(self.weight * factor, self.bias * factor if bias else self.bias)

    def at_norm(self, norm: float, *, bias: bool = True) -> Head:
        """The head with another norm of V: V <- norm V / |V|.

        Example:
            >>> Head(torch.tensor([[3.0, 4.0]]), torch.ones(1)).at_norm(10.0).bias
            tensor([2.])

        Args:
            norm: The Frobenius norm.
            bias: As for ``times``.

        Returns:
            Another head.

        Raises:
            InputError: If the head is zero.
        """
        if self.norm == 0:
            raise InputError("a head of norm 0 has no direction")
        return self.times(norm / self.norm, bias=bias)

    def put_in(self, model: LinearHeadModel) -> None:
        """Make it the head of a model.

        Args:
            model: Changed in place.
        """
        with torch.no_grad():
            model.classifier.weight.copy_(self.weight)
            model.classifier.bias.copy_(self.bias)

    @classmethod
    def of(cls, model: LinearHeadModel) -> Head:
        """The head of a model.

        Args:
            model: With a linear head.

        Returns:
            A copy.
        """
        layer = model.classifier
        return cls(layer.weight.detach().clone(), layer.bias.detach().clone())


def random_head(model: LinearHeadModel, seed: int) -> Head:
    """A head with V ~ N(0, 0.02^2) and b = 0.

    Args:
        model: Gives the shape.
        seed: Of the draw.

    Returns:
        The head; the model stays as it is.
    """
    generator = torch.Generator().manual_seed(seed)
    layer = model.classifier
    drawn = torch.empty(layer.weight.shape).normal_(0.0, INITIAL_STD, generator=generator)
    return Head(drawn.to(layer.weight), torch.zeros_like(layer.bias.detach()))


def probed_head(
    model: LinearHeadModel, train: Labelled, strength: float | None = None
) -> tuple[Head, float]:
    """The linear-probing solution as Tomihari and Sato find it.

    Args:
        model: Gives the features; it stays as it is.
        train: Training samples.
        strength: C, the weight of the loss; by default cross-validation chooses it.

    Returns:
        The head, and C.
    """
    before = Head.of(model)
    strength = fit_linear_probe(model, train, shuffled=False, strength=strength)
    probe = Head.of(model)
    before.put_in(model)
    return probe, strength


def head_start(name: str, drawn: Head, probe: Head) -> Head:
    """The head of a named start.

    Example:
        >>> drawn = Head(torch.tensor([[1.0], [0.0]]), torch.zeros(2))
        >>> probe = Head(torch.tensor([[0.0], [4.0]]), torch.ones(2))
        >>> head_start("random-at-lp-norm", drawn, probe).norm
        4.0
        >>> head_start("lp-scaled:2", drawn, probe).bias
        tensor([0.5000, 0.5000])

    Args:
        name: One of ``tangentlm.params.two_stage_runs.STARTS``, or a scaled one (see the module).
        drawn: From ``random_head``.
        probe: From ``probed_head``.

    Returns:
        The head.

    Raises:
        InputError: If there is no such start.
    """
    own = {"random": drawn, "lp": probe}
    if name in own:
        return own[name]
    if name == "random-at-lp-norm":
        return drawn.at_norm(probe.norm)
    if name == "lp-at-initial-norm":
        return probe.at_norm(drawn.norm)
    scaled = scaled_start(name)
    if scaled is None:
        raise unknown_name("start of the head", name, STARTS)
    base, how, number = scaled
    if how == "times":
        return own[base].times(number)
    return own[base].at_norm(number, bias=how == "scaled")
