"""The first step of fine-tuning, predicted for the logits and for the features.

For a model f(x) = V phi(x) + b and the mean cross-entropy of N samples, one step of gradient
descent on everything changes, to first order in eta (Proposition 4.1, equations 1 and 2 of Tomihari
and Sato),

* the logits by (eta / N) sum_i (P + F)(x, x_i) delta_i,
* the features by (eta / N) sum_i K_phi(x, x_i) V^T delta_i,

with delta_i = onehot(y_i) - softmax(f(x_i)). The paper writes eta for eta / N (see the errata).
K_phi is h x h for every pair of samples, but only its product with V^T delta is needed. That is a
Jacobian-vector product along the negative gradient, so no kernel is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from tangentlm.batches import Batch, Labelled, num_samples, select_rows, unpadded_batches
from tangentlm.errors import InputError, NonFiniteError
from tangentlm.models.heads import LinearHeadModel
from tangentlm.models.linear_probe import PooledFeatures
from tangentlm.models.logits import on_device

_ROWS = 32
"""Rows that are differentiated at one time."""
_HEAD = {"model.classifier.weight", "model.classifier.bias"}


@dataclass(frozen=True)
class FirstStep:
    """The change in one step of gradient descent, to first order, for the learning rate one.

    Attributes:
        features: Of phi, (M, h): (1 / N) sum_i K_phi(x, x_i) V^T delta_i.
        through_head: Of f by the head's own step, (M, C): (1 / N) sum_i P(x, x_i) delta_i.
        through_features: Of f by that of the features, (M, C): (1 / N) sum_i F(x, x_i) delta_i,
            which is V times the change of phi.
    """

    features: Tensor
    through_head: Tensor
    through_features: Tensor

    @property
    def logits(self) -> Tensor:
        """The change of f, (M, C): (1 / N) sum_i (P + F)(x, x_i) delta_i."""
        return self.through_head + self.through_features

    def ft_ratio(self) -> float:
        """The FT ratio of the rows, without their kernel; see ``Decomposition.ft_ratio``.

        Returns:
            The mean over rows of |sum_i F delta_i| / |sum_i (P + F) delta_i|.

        Raises:
            NonFiniteError: If the logits of a row do not change.
        """
        part, whole = (v.norm(dim=1) for v in (self.through_features, self.logits))
        if not whole.all():
            still = int((whole == 0).nonzero()[0, 0])
            raise NonFiniteError(f"the FT ratio of row {still}, whose outputs do not change")
        return float((part / whole).mean())


def residuals(logits: Tensor, labels: Tensor) -> Tensor:
    """The negative output derivative of the samples, delta = onehot(y) - softmax(f).

    Args:
        logits: (N, C).
        labels: (N,).

    Returns:
        (N, C); every row sums to zero.
    """
    return torch.nn.functional.one_hot(labels, logits.shape[1]) - logits.softmax(dim=1)


def first_step(
    model: LinearHeadModel,
    train: Labelled,
    rows: Mapping[str, Tensor],
    delta: Tensor | None = None,
) -> FirstStep:
    """What one full-batch step of gradient descent does to rows (Proposition 4.1).

    It costs a backward pass of the training samples and a forward-mode pass of the rows, however
    many features there are. Everything is computed in the precision of the model.

    Example:
        >>> from tangentlm.models.few_shot import few_shot
        >>> shots = few_shot("topics", k=2, test_size=4, model="pocket-xs", head="linear")
        >>> step = first_step(shots.model, shots.part("train"), shots.part("test").batch)
        >>> step.logits.shape, step.features.shape
        (torch.Size([4, 4]), torch.Size([4, 64]))

    Args:
        model: A model with a linear head, in eval mode; it is not changed. Of its body the
            parameters that require a gradient move; its head always does.
        train: The N samples of the step.
        rows: The M samples whose change is wanted.
        delta: (N, C) in the place of the model's own residuals, to change the head and nothing
            else.

    Returns:
        The changes for eta = 1.

    Raises:
        InputError: If the shape of delta does not fit.
    """
    if delta is not None and delta.shape != (len(train), model.num_classes):
        wanted = (len(train), model.num_classes)
        raise InputError(f"delta has shape {tuple(delta.shape)}, not (N, C) = {wanted}")
    extractor = PooledFeatures(model)
    step, phi_train, delta = _step_of_the_body(extractor, train, delta)
    phi, features = _along(extractor, step, rows)
    through_head = (phi @ phi_train.T + 1) @ delta / len(train)
    V = model.classifier.weight.detach().cpu()
    return FirstStep(features, through_head, features @ V.T)


def _step_of_the_body(
    extractor: PooledFeatures, train: Labelled, given: Tensor | None
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """How the body moves, and the features and residuals of the training samples.

    Args:
        extractor: The features of the model.
        train: The N samples.
        given: Their residuals, if they are not the model's own.

    Returns:
        (1 / N) sum_i (d f(x_i) / d theta)^T delta_i for every parameter theta of the body that
        moves; phi, (N, h); delta, (N, C).
    """
    head = extractor.model.classifier
    moving = {n: p for n, p in extractor.named_parameters() if p.requires_grad and n not in _HEAD}
    total = {name: torch.zeros_like(p) for name, p in moving.items()}
    phi = head.weight.new_zeros(len(train), head.in_features, device="cpu")
    delta = phi.new_zeros(len(train), head.out_features) if given is None else given.to(phi)
    for index in unpadded_batches(train.batch, _ROWS):
        part = select_rows(train.batch, index)
        features = on_device(extractor, part)
        logits = head(features)
        phi[index] = features.detach().cpu()
        if given is None:
            delta[index] = residuals(logits.detach().cpu(), train.labels[index])
        weighted = (logits * delta[index].to(logits)).sum() / len(train)
        gradients = torch.autograd.grad(weighted, list(moving.values()), allow_unused=True)
        for name, gradient in zip(moving, gradients, strict=True):
            if gradient is not None:
                total[name] += gradient
    return total, phi, delta


def _along(
    extractor: PooledFeatures, step: Mapping[str, Tensor], rows: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """The features of rows and their derivative along a step of the parameters, (M, h) each."""
    weight = extractor.model.classifier.weight
    origin = {name: extractor.get_parameter(name).detach() for name in step}
    phi = weight.new_zeros(num_samples(rows), weight.shape[1], device="cpu")
    change = torch.zeros_like(phi)
    # Of torch's own attention kernels, only this one has a forward-mode derivative.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        for index in unpadded_batches(rows, _ROWS):
            part = {k: v.to(weight.device) for k, v in select_rows(rows, index).items()}

            def outputs(parameters: dict[str, Tensor], part: Batch = part) -> Tensor:
                return functional_call(extractor, parameters, (), part)

            value, moved = jvp(outputs, (origin,), (dict(step),))  # type: ignore[misc]
            phi[index], change[index] = value.cpu(), moved.cpu()
    return phi, change
