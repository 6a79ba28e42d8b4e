"""Kernel behaviour along a fine-tuning, as Definition D.3 of Malladi-v1 has it.

Not between start and end but at every evaluation: was the step that led there linear, and are the
gradients what they were before training?
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tangentlm.batches import Batch, Labelled, select_rows
from tangentlm.errors import InputError
from tangentlm.finetune.taylor import linearized_logits
from tangentlm.metrics import true_label_derivative
from tangentlm.models.logits import logits_of

LARGEST = {
    "step_change": "step_change",
    "step_error": "step_error",
    "feature_change": "feature_change_median",
}
"""What is told of a whole fine-tuning: the largest along the way of these measurements."""


class Trajectory:
    """What Definition D.3 speaks of, on a few fixed inputs; give it to ``fine_tune``.

    Everything is in units of chi_max, the largest output derivative of a training sample before
    fine-tuning. A measurement costs 2 N C backward passes of one row and holds two more copies of
    the parameters.

    Example:
        >>> from tangentlm.finetune.loop import Schedule, fine_tune
        >>> from tangentlm.models.few_shot import few_shot
        >>> shots = few_shot("reviews", model="pocket-xs", k=2, test_size=4, device="cpu")
        >>> train, dev = shots.part("train"), shots.part("dev")
        >>> trajectory = Trajectory(shots.model, train, shots.part("test").batch)
        >>> schedule = Schedule("sgd", 0.01, batch_size=2, steps=4, evaluate_every=2, seed=13)
        >>> tuned = fine_tune(
        ...     shots.model, train, dev, schedule, trajectory=trajectory, progress=False
        ... )
        >>> [sorted(point)[2:6] for point in tuned.trace][0]
        ['feature_change', 'feature_change_median', 'step', 'step_change']
    """

    def __init__(self, model: nn.Module, train: Labelled, inputs: Batch) -> None:
        """Remember the start.

        Args:
            model: ``model(**batch) -> (N, C)`` before fine-tuning; what requires a gradient counts.
            train: The training samples, for chi_max.
            inputs: The fixed inputs, N rows.

        Raises:
            InputError: If there is no input.
        """
        if not len(next(iter(inputs.values()))):
            raise InputError("kernel behaviour is measured on one input at least")
        f0 = logits_of(model, train.batch).double().numpy()
        self.chi_max = float(true_label_derivative(f0, train.labels.numpy()).max())
        self._inputs = inputs
        self._start = _trained(model)
        self._before: dict[str, Tensor] = {}
        self._logits_before = torch.empty(0)

    def before(self, model: nn.Module) -> None:
        """Remember the parameters before a step that will be measured.

        Args:
            model: The model, theta_(t-1).
        """
        self._before = _state(model)
        self._logits_before = _logits(model, self._inputs)

    def after(self, model: nn.Module) -> dict[str, float]:
        """Measure the step since ``before``, and the gradients.

        Args:
            model: The model, theta_t.

        Returns:
            ``step_change``: the root mean square over inputs and outputs of
            (f_t - f_(t-1)) / chi_max; ``step_error``: that of its difference to
            <grad f_(t-1), theta_t - theta_(t-1)> / chi_max (Linearization); ``feature_change``:
            |grad_M f_t - grad_M f_0|^2 over the largest |grad_M f_0|^2 of any input, and of this
            the largest over parameters M, inputs and outputs (Fixed Features);
            ``feature_change_median``: the median over M instead. A parameter that had no gradient
            before has no such ratio.
        """
        linear = linearized_logits(model, self._before, _state(model), self._inputs).double()
        logits = _logits(model, self._inputs)
        moved = logits - self._logits_before
        missed = logits - linear
        self._before = {}
        change = self._feature_change(model)
        return {
            "step_change": float(moved.square().mean().sqrt()) / self.chi_max,
            "step_error": float(missed.square().mean().sqrt()) / self.chi_max,
            "feature_change": float(change.max()),
            "feature_change_median": float(change.median()),
        }

    def _feature_change(self, model: nn.Module) -> Tensor:
        """The largest ratio of every parameter M that has one."""
        was_training = model.training
        model.eval()
        device = next(model.parameters()).device
        changes, sizes = [], []
        for index in range(len(next(iter(self._inputs.values())))):
            row = select_rows(self._inputs, slice(index, index + 1))
            row = {name: tensor.to(device) for name, tensor in row.items()}
            now, then = (_gradients(model, p, row) for p in (_trained(model), self._start))
            changes.append([_squares(b, a) for a, b in zip(then, now, strict=True)])
            sizes.append([_squares(a) for a in then])
        model.train(was_training)
        # (inputs, outputs, parameters)
        changed, size = (
            torch.stack([torch.stack(of_input) for of_input in part]).amax(dim=0)
            for part in (changes, sizes)
        )
        ratio = torch.where(size > 0, changed / size, torch.nan)
        largest = ratio.nan_to_num(-1.0).amax(dim=0)
        return largest[largest >= 0]


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def _trained(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def _logits(model: nn.Module, batch: Batch) -> Tensor:
    was_training = model.training
    model.eval()
    logits = logits_of(model, batch).double()
    model.train(was_training)
    return logits


def _gradients(
    model: nn.Module, parameters: Mapping[str, Tensor], row: Batch
) -> list[tuple[Tensor, ...]]:
    """The gradient of every output of one row, a tensor a parameter."""
    leaves = {name: p.detach().requires_grad_() for name, p in parameters.items()}
    (outputs,) = functional_call(model, leaves, (), row)
    return [
        torch.autograd.grad(
            f, list(leaves.values()), retain_graph=True, allow_unused=True, materialize_grads=True
        )
        for f in outputs
    ]


def _squares(gradient: tuple[Tensor, ...], other: tuple[Tensor, ...] | None = None) -> Tensor:
    """The squared norm of each tensor, or of its difference to another, on the CPU."""
    if other is not None:
        gradient = tuple(a - b for a, b in zip(gradient, other, strict=True))
    return torch.stack([part.square().sum().double().cpu() for part in gradient])
