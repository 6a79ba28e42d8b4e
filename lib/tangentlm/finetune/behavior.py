"""One model, one task: does fine-tuning behave like its kernel?

Everything that Definitions 2.1 to 2.4 and 3.6 of Malladi-v1 speak of, measured for one few-shot
problem: how far from solved the task is before fine-tuning, what the kernel regression makes of it,
what fine-tuning makes of it, and whether the two are the same (linearization, fixed features).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tangentlm.batches import Labelled, select_rows
from tangentlm.finetune.loop import Schedule, snapshot
from tangentlm.finetune.search import search
from tangentlm.finetune.taylor import linearized_logits
from tangentlm.finetune.trajectory import LARGEST, Trajectory
from tangentlm.kernels import entk
from tangentlm.metrics import (
    kernel_distances,
    kernel_similarity,
    linearization_share,
    logit_linearization,
    score,
    true_label_derivative,
    worst_tenth,
)
from tangentlm.models.logits import logits_of
from tangentlm.params import Grid
from tangentlm.solvers import KernelLeastSquares, difference, labels_of_decision, select

Array = NDArray[np.float64]


@dataclass(frozen=True)
class KernelBehavior:
    """What was measured; scores are in percent, on the test split.

    Attributes:
        zero_shot: Score before fine-tuning.
        chi: Mean of 1 - softmax(f)_y before fine-tuning (Definition 2.1).
        chi_worst: The same for the worst tenth of the test examples: Definition 3.6 speaks of
            every downstream example, not of their mean.
        chi_max: And for the one example that is worst, which is what it speaks of.
        kernel: Score of the kernel regression.
        finetuned: Score of fine-tuning.
        linearized: Score of the Taylor model at the fine-tuned parameters.
        linearization_share: The share of the gain that the Taylor model recovers; ``None`` where
            fine-tuning gained nothing.
        logit_change: Root mean square of ``f_FT - f_0`` over all test logits.
        linearization_error: ``|f_FT - f_Taylor| / |f_FT - f_0|`` over all test logits; ``None``
            where fine-tuning moved nothing.
        explained_change: 1 minus the square of that, the share of the logits' change that the
            Taylor model explains.
        kernel_distance: Mean of ``|K_FT - K_0| / |K_0|`` over the entries of the training kernel
            that are not zero; a linear head at zero has no kernel between two classes. One entry
            near zero can decide it.
        kernel_distance_frobenius: The ratio of the norms instead, which it cannot.
        kernel_scale: The multiple of K_0 that is closest to K_FT.
        kernel_scaled_error: How far it then is, relative to K_FT; ``None`` if that is zero.
        kernel_cka: The alignment of the two kernels, centred.
        best_learning_rate: Of the fine-tuning chosen on dev.
        best_step: Where it was best.
        clipped_share: The share of its steps at which the gradient was shortened.
        gradient_norm: The median norm of its gradients, before that.
        step_change: Along it, the largest change of the logits in a step, in units of the largest
            output derivative of a training sample before (Definition D.3); this and the next two
            on a few test samples, at every evaluation (see ``finetune.trajectory``), or ``None``.
        step_error: The largest error of a step's Taylor model, in the same units.
        feature_change: The largest change of the gradients, the median over parameters.
        chi_by_example: ``1 - softmax(f)_y`` of every test example, (M,).
    """

    zero_shot: float
    chi: float
    chi_worst: float
    chi_max: float
    kernel: float
    finetuned: float
    linearized: float
    linearization_share: float | None
    logit_change: float
    linearization_error: float | None
    explained_change: float | None
    kernel_distance: float
    kernel_distance_frobenius: float
    kernel_scale: float
    kernel_scaled_error: float | None
    kernel_cka: float | None
    best_learning_rate: float
    best_step: int
    clipped_share: float
    gradient_norm: float
    step_change: float | None
    step_error: float | None
    feature_change: float | None
    chi_by_example: Array = field(repr=False)

    def metrics(self) -> dict[str, Any]:
        """The numbers by name, as a record holds them."""
        return {name: value for name, value in vars(self).items() if name != "chi_by_example"}


def measure_kernel_behavior(
    model: nn.Module,
    train: Labelled,
    dev: Labelled,
    test: Labelled,
    schedules: Sequence[Schedule],
    grid: Grid,
    *,
    metric: str = "accuracy",
    trajectory_samples: int = 4,
    progress: bool = True,
) -> KernelBehavior:
    """Compute kernels, fine-tune, and compare.

    Hyperparameters of both methods are chosen on dev. The model is left fine-tuned.

    Args:
        model: ``model(**batch) -> (N, C)`` logits, in eval mode.
        train: Training samples.
        dev: Samples that choose.
        test: Samples that are scored.
        schedules: The grid of fine-tunings.
        grid: The kernel regression's hyperparameters.
        metric: ``"accuracy"`` or ``"f1"``.
        trajectory_samples: On how many test samples Definition D.3 is measured along the way; 0
            leaves that out.
        progress: Whether to show progress bars.

    Returns:
        All measures.

    Raises:
        NonFiniteError: If every fine-tuning of the grid diverged.
    """
    y = test.labels.numpy()
    parts = {"train": train, "dev": dev, "test": test}
    f0 = {name: logits_of(model, part.batch).double().numpy() for name, part in parts.items()}
    kernel_score, K_before = _kernel_regression(model, parts, f0, grid, metric)
    pretrained = snapshot(model)
    trajectory = None
    if trajectory_samples:
        inputs = select_rows(test.batch, slice(trajectory_samples))
        trajectory = Trajectory(model, train, inputs)
    found = search(
        model, train, dev, schedules, metric=metric, trajectory=trajectory, progress=progress
    ).best
    after = logits_of(model, test.batch).double().numpy()
    taylor = linearized_logits(model, pretrained, found.state, test.batch).double().numpy()
    scores = [score(y, logits.argmax(axis=1), metric) for logits in (f0["test"], taylor, after)]
    chi = true_label_derivative(f0["test"], y)
    K_after = entk(model, train.batch, outputs=_outputs(f0["test"]), progress=False).values
    distances = kernel_distances(K_before, K_after)
    similar = kernel_similarity(K_before, K_after)
    linear = logit_linearization(f0["test"], taylor, after)
    return KernelBehavior(
        zero_shot=scores[0],
        chi=float(chi.mean()),
        chi_worst=worst_tenth(chi),
        chi_max=float(chi.max()),
        kernel=kernel_score,
        finetuned=scores[2],
        linearized=scores[1],
        linearization_share=linearization_share(*scores),
        logit_change=linear.change,
        linearization_error=linear.error,
        explained_change=linear.explained,
        kernel_distance=distances["elementwise"],
        kernel_distance_frobenius=distances["frobenius"],
        kernel_scale=similar.scale,
        kernel_scaled_error=similar.scaled_error,
        kernel_cka=similar.cka,
        best_learning_rate=found.schedule.learning_rate,
        best_step=found.best_step,
        clipped_share=found.clipped_share,
        gradient_norm=found.gradient_norm,
        **_largest(found.trace),
        chi_by_example=chi,
    )


def _outputs(logits: Array) -> str:
    """Of two classes only the difference of the logits matters."""
    return "difference" if logits.shape[1] == 2 else "full"


def _largest(trace: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """What is largest along the way of what Definition D.3 asks of every step, if measured."""
    return {
        name: max((point[of] for point in trace if of in point), default=None)
        for name, of in LARGEST.items()
    }


def _kernel_regression(
    model: nn.Module,
    parts: Mapping[str, Labelled],
    f0: Mapping[str, Array],
    grid: Grid,
    metric: str,
) -> tuple[float, Array]:
    """The test score of the kernel regression chosen on dev, and the training kernel."""
    train, dev, test = (parts[name] for name in ("train", "dev", "test"))
    outputs = _outputs(f0["train"])
    if outputs == "difference":
        f0 = {name: difference(logits) for name, logits in f0.items()}
    K = {
        name: entk(
            model,
            train.batch,
            None if name == "train" else part.batch,
            outputs=outputs,
            progress=False,
        ).values
        for name, part in parts.items()
    }
    values: dict[str, Any] = dict(grid.of_solver(KernelLeastSquares.GRID))
    chosen = select(
        K["train"],
        train.labels.numpy(),
        K["dev"],
        dev.labels.numpy(),
        f0_train=f0["train"],
        f0_dev=f0["dev"],
        metric=metric,
        **values,
    )
    decision = chosen.solver.decision_function(K["test"], f0["test"])
    return score(test.labels.numpy(), labels_of_decision(decision), metric), K["train"]
