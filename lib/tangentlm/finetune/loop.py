"""Few-shot fine-tuning as Malladi et al. do it, with hyperparameters chosen on dev.

Schedule (Appendix A.3 of Malladi-v1): 32kC steps, dev evaluated every 4kC, the best checkpoint
kept. Linear decay of the learning rate to zero, no warm-up and no weight decay are in Appendix A.3
of Malladi. The papers do not mention gradient clipping; the authors' code clips the norm at 1, and
that is the default here. Where it binds at every step, SGD is normalised gradient descent, so the
share of steps at which it does is kept, with the norms.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from tangentlm.batches import Batch, Labelled, Selection, distinct, row_selection
from tangentlm.errors import NonFiniteError
from tangentlm.finetune.optimizers import make_optimizer
from tangentlm.finetune.trajectory import Trajectory
from tangentlm.metrics import score
from tangentlm.models.logits import logits_of, on_device
from tangentlm.params import Optimizer, TrainingPrecision

MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class Schedule:
    """How one fine-tuning goes: optimizer, rate, batch, steps, evaluations and its random seed.

    A gradient longer than ``clip`` is shortened to that; ``None`` leaves every gradient as it is.
    With ``precision="bfloat16"`` the products of training round their operands to that.
    """

    optimizer: Optimizer
    learning_rate: float
    batch_size: int
    steps: int
    evaluate_every: int
    seed: int
    clip: float | None = MAX_GRADIENT_NORM
    precision: TrainingPrecision = "float32"


@dataclass
class FineTuned:
    """The best checkpoint of one fine-tuning and its trace.

    Attributes:
        schedule: How it was trained.
        state: The parameters at the best evaluation (a state dict on the CPU).
        dev_score: The dev score there, in percent.
        dev_loss: The dev cross-entropy there; it decides between equal scores.
        best_step: After how many steps that was.
        trace: For every evaluation: step, training loss since the last one, dev score and loss,
            and what a ``Trajectory`` measured.
        gradient_norms: For every step, before clipping.
        batch_losses: For every step, the loss of its minibatch before the step.
    """

    schedule: Schedule
    state: dict[str, Tensor] = field(repr=False)
    dev_score: float
    dev_loss: float
    best_step: int
    trace: list[dict[str, float]]
    gradient_norms: list[float] = field(repr=False)
    batch_losses: list[float] = field(repr=False, default_factory=list)

    @property
    def gradient_norm(self) -> float:
        """The median over all steps."""
        return statistics.median(self.gradient_norms)

    @property
    def clipped_share(self) -> float:
        """The share of steps at which the gradient was shortened."""
        clip = self.schedule.clip
        return 0.0 if clip is None else statistics.fmean(n > clip for n in self.gradient_norms)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of a model's state on the CPU.

    Args:
        model: Any module.

    Returns:
        Its state dict, detached and cloned.
    """
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def _gradient(model: nn.Module, rows: Batch) -> Sequence[Tensor]:
    """The gradient of the logits, to see whether padding changes it."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    logits = on_device(model, rows)
    return torch.autograd.grad(
        logits, parameters, distinct(logits), allow_unused=True, materialize_grads=True
    )


def _minibatches(size: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Endless minibatches: shuffled epochs, the last short batch of each included."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(size, generator=generator).split(batch_size)


def evaluate(
    model: nn.Module, samples: Labelled, metric: str, select: Selection | None = None
) -> tuple[float, float]:
    """Score and mean cross-entropy of a model, in eval mode.

    Args:
        model: ``model(**batch) -> (N, C)``.
        samples: What it is scored on.
        metric: ``"accuracy"`` or ``"f1"``.
        select: How rows are selected, as for ``logits_of``.

    Returns:
        The score in percent, and the loss in nats.
    """
    was_training = model.training
    model.eval()
    logits = logits_of(model, samples.batch, select=select)
    model.train(was_training)
    loss = float(nn.functional.cross_entropy(logits, samples.labels))
    return score(samples.labels.numpy(), logits.argmax(dim=1).numpy(), metric), loss


def fine_tune(
    model: nn.Module,
    train: Labelled,
    dev: Labelled,
    schedule: Schedule,
    *,
    metric: str = "accuracy",
    ties: Literal["loss", "first"] = "loss",
    observe: Callable[[int, nn.Module], None] | None = None,
    trajectory: Trajectory | None = None,
    progress: bool = True,
) -> FineTuned:
    """Fine-tune what requires a gradient and keep the checkpoint that is best on dev.

    The model is left at its last step, not at the best one. Dropout is as the model's
    configuration says, drawn from the schedule's seed like the order of the samples. A minibatch
    has no more padding than it needs, unless the model sees padding (see ``row_selection``).

    Example:
        >>> from tangentlm.models.few_shot import few_shot
        >>> from tangentlm.params import FineTuneRun
        >>> shots = few_shot(FineTuneRun(task="reviews", k=2, test_size=4, device="cpu"))
        >>> schedule = Schedule("sgd", 0.05, batch_size=2, steps=4, evaluate_every=2, seed=13)
        >>> start = snapshot(shots.model)
        >>> tuned = fine_tune(
        ...     shots.model, shots.part("train"), shots.part("dev"), schedule, progress=False
        ... )
        >>> [point["step"] for point in tuned.trace]
        [2, 4]

        What its Taylor model says of the test samples:

        >>> from tangentlm.finetune.taylor import linearized_logits
        >>> test = shots.part("test").batch
        >>> linearized_logits(shots.model, start, tuned.state, test).shape
        torch.Size([4, 2])

    Args:
        model: ``model(**batch) -> (N, C)``; trained in place.
        train: Training samples.
        dev: Samples that choose the checkpoint.
        schedule: How to train.
        metric: What is best.
        ties: Of checkpoints with equal scores, whether that of the smaller loss is kept or the
            first.
        observe: Called with the step and the model at every evaluation, to measure a path.
        trajectory: Measures kernel behaviour at every evaluation; the trace has what it finds.
        progress: Whether to show a progress bar.

    Returns:
        The best checkpoint and the trace.

    Raises:
        NonFiniteError: If the loss or the gradient is not finite, naming the step.
    """
    device = next(model.parameters()).device
    torch.manual_seed(schedule.seed)
    optimizer = make_optimizer(model, schedule.optimizer, schedule.learning_rate)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / schedule.steps)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    rounded = schedule.precision == "bfloat16"
    batches = _minibatches(len(train), schedule.batch_size, schedule.seed)
    best: FineTuned | None = None
    trace: list[dict[str, float]] = []
    losses: list[float] = []
    every_loss: list[float] = []
    norms: list[float] = []
    model.eval()
    select = row_selection(
        [train.batch, dev.batch], partial(on_device, model), partial(_gradient, model)
    )
    model.train()
    for step in tqdm(
        range(1, schedule.steps + 1),
        disable=not progress,
        leave=False,
        unit="step",
        desc=f"{schedule.optimizer} {schedule.learning_rate:g} x {schedule.batch_size}",
    ):
        index = next(batches)
        rows = {k: v.to(device) for k, v in select(train.batch, index).items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=rounded):
            logits = model(**rows)
        loss = nn.functional.cross_entropy(
            logits.to(parameters[0].dtype), train.labels[index].to(device)
        )
        if not bool(torch.isfinite(loss)):
            raise NonFiniteError(
                f"the loss at step {step} (samples {index.tolist()}; {schedule.optimizer}, "
                f"learning rate {schedule.learning_rate:g}) is not finite"
            )
        losses.append(float(loss.detach()))
        every_loss.append(losses[-1])
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, schedule.clip or math.inf)
        if not bool(torch.isfinite(norm)):  # the sign of NaN is 0, so SignGD would go on
            raise NonFiniteError(
                f"the gradient at step {step} (samples {index.tolist()}; {schedule.optimizer}, "
                f"learning rate {schedule.learning_rate:g}) is not finite"
            )
        norms.append(float(norm))
        evaluated = step % schedule.evaluate_every == 0 or step == schedule.steps
        if evaluated and trajectory is not None:
            trajectory.before(model)
        optimizer.step()
        decay.step()
        if not evaluated:
            continue
        dev_score, dev_loss = evaluate(model, dev, metric, select)
        if not math.isfinite(dev_loss):
            raise NonFiniteError(f"the dev loss after step {step} is not finite")
        trace.append(
            {
                "step": step,
                "train_loss": sum(losses) / len(losses),
                "dev_score": dev_score,
                "dev_loss": dev_loss,
                **({} if trajectory is None else trajectory.after(model)),
            }
        )
        losses = []
        if observe is not None:
            observe(step, model)
        if best is None or (
            (dev_score, -dev_loss) > (best.dev_score, -best.dev_loss)
            if ties == "loss"
            else dev_score > best.dev_score
        ):
            best = FineTuned(
                schedule, snapshot(model), dev_score, dev_loss, step, trace, norms, every_loss
            )
    model.eval()
    assert best is not None
    return best
