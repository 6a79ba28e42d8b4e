"""Masked language modelling: AdamW, warm-up and decay, clipped gradients, exact resume.

Only the logits of masked positions are computed, K x V instead of B T x V.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from tangentlm.errors import NonFiniteError
from tangentlm.params import Recipe
from tangentlm.pretrain.checkpoint import TrainingState, restore, save
from tangentlm.pretrain.packed_rows import MaskedBatch, Rows
from tangentlm.pretrain.schedule import rate_factor

MAX_GRADIENT_NORM = 1.0
BETAS = (0.9, 0.98)
POINT_EVERY = 100
"""Steps between two points of the curve, fewer where the budget is a few steps."""
HELD_OUT_BATCHES = 32
HELD_OUT_EVERY = 20
"""Points of the curve between two measurements on held-out text."""


def masked_logits(
    masked_lm: Any, input_ids: Tensor, masked: Tensor, attention_mask: Tensor | None = None
) -> Tensor:
    """The logits at the masked positions.

    Args:
        masked_lm: A masked-LM of transformers.
        input_ids: (B, T).
        masked: (B, T), true at K positions.
        attention_mask: (B, T), zero at padding; ``None`` where no row is padded.

    Returns:
        (K, V), row by row.
    """

    def keep_masked(_module: nn.Module, _args: object, output: Any) -> Any:
        # The head works position by position, so it needs only these.
        output.last_hidden_state = output.last_hidden_state[masked]
        return output

    hook = masked_lm.base_model.register_forward_hook(keep_masked)
    try:
        logits: Tensor = masked_lm(input_ids=input_ids, attention_mask=attention_mask).logits
    finally:
        hook.remove()
    return logits


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32.

    Args:
        device: A CPU or GPU.

    Returns:
        True if it has instructions for it.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Products in bfloat16 where the device has it, in float32 elsewhere.

    Args:
        device: A CPU or GPU.

    Returns:
        A context.
    """
    if not has_bfloat16(device):
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def loss_of(masked_lm: Any, batch: MaskedBatch, device: torch.device) -> Tensor:
    """Mean cross-entropy at the masked positions, in nats.

    Args:
        masked_lm: The model.
        batch: A masked batch.
        device: Where the model is.

    Returns:
        A scalar.
    """
    return nn.functional.cross_entropy(
        _logits_of(masked_lm, batch, device), batch.targets.to(device)
    )


def _logits_of(masked_lm: Any, batch: MaskedBatch, device: torch.device) -> Tensor:
    mask = batch.attention_mask
    with autocast(device):
        logits = masked_logits(
            masked_lm,
            batch.input_ids.to(device),
            batch.masked.to(device),
            None if mask is None else mask.to(device),
        )
    return logits.float()


@torch.no_grad()
def held_out_loss(
    masked_lm: Any, rows: Rows, recipe: Recipe, device: torch.device
) -> tuple[float, float]:
    """Loss and accuracy at masked positions of held-out text, the same masks every time.

    Args:
        masked_lm: The model.
        rows: Held-out rows.
        recipe: Gives batch size and masked share.
        device: Where the model is.

    Returns:
        Mean cross-entropy in nats, and the share of masked tokens whose likeliest guess is right.
    """
    was_training = masked_lm.training
    masked_lm.eval()
    losses, right, total = 0.0, 0, 0
    for number in range(min(HELD_OUT_BATCHES, max(rows.count // recipe.batch_size, 1))):
        batch = rows.batch(number, recipe.batch_size, recipe.masked)
        logits, targets = _logits_of(masked_lm, batch, device), batch.targets.to(device)
        losses += float(nn.functional.cross_entropy(logits, targets, reduction="sum"))
        right += int((logits.argmax(dim=1) == targets).sum())
        total += len(targets)
    masked_lm.train(was_training)
    return losses / total, right / total


def budget_used(recipe: Recipe, state: TrainingState) -> float:
    """The share of the budget that is used up.

    Args:
        recipe: Has a budget in steps or in minutes.
        state: Steps and seconds so far.

    Returns:
        From 0 to 1.
    """
    if recipe.steps is not None:
        return state.step / recipe.steps
    assert recipe.minutes is not None
    return min(state.seconds / (60 * recipe.minutes), 1.0)


@dataclass(frozen=True)
class Trained:
    """A finished pre-training.

    Attributes:
        state: Steps, seconds and the curve.
        held_out_loss: In nats a masked token.
        held_out_accuracy: Share of masked tokens that are guessed right.
    """

    state: TrainingState
    held_out_loss: float
    held_out_accuracy: float


def pretrain(
    masked_lm: Any,
    groups: list[dict[str, Any]],
    rows: Rows,
    held_out: Rows,
    recipe: Recipe,
    folder: Path,
    *,
    checkpoint_seconds: float = 120.0,
    progress: bool = True,
) -> Trained:
    """Train a masked-LM, or go on with a training that was killed.

    A killed training takes up its last checkpoint and, with a budget in steps, ends at the same
    bits as one that was never killed.

    Args:
        masked_lm: The model, fresh; trained in place.
        groups: Its parameters with their rates, from ``parameter_groups``.
        rows: Training rows.
        held_out: Held-out rows.
        recipe: Budget, batch size, schedule.
        folder: Where checkpoints go.
        checkpoint_seconds: Seconds between two checkpoints.
        progress: Whether to show a bar with loss and tokens per second.

    Returns:
        The curve and the held-out loss.

    Raises:
        NonFiniteError: If a loss is not finite, naming the step.
        InputError: If a checkpoint in the folder cannot be taken up.
    """
    device = next(masked_lm.parameters()).device
    # On a CPU two batched products and a softmax take half the time of the fused attention.
    masked_lm.set_attn_implementation("sdpa" if device.type == "cuda" else "eager")
    optimizer = torch.optim.AdamW(groups, betas=BETAS, fused=True)
    peaks = [group["lr"] for group in groups]
    state = restore(folder, masked_lm, optimizer)
    masked_lm.train()
    saved = started = time.perf_counter()
    before = state.seconds
    every = POINT_EVERY if recipe.steps is None else min(POINT_EVERY, max(recipe.steps // 20, 1))
    bar = tqdm(total=recipe.steps, initial=state.step, unit="step", disable=not progress)
    while (used := budget_used(recipe, state)) < 1:
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * rate_factor(recipe, used)
            if group.get("started"):  # the encoder stands still until the head has learned some
                for parameter in group["params"]:
                    parameter.requires_grad_(used >= recipe.frozen)
        batch = rows.batch(state.step, recipe.batch_size, recipe.masked)
        state.losses.append(training_step(masked_lm, optimizer, batch, state.step, device))
        state.step += 1
        now = time.perf_counter()
        state.seconds = before + now - started
        bar.update()
        if state.step % every == 0:
            _add_point(state, masked_lm, held_out, recipe, device, used)
            point = state.curve[-1]
            speed = point["tokens"] / state.seconds
            bar.set_postfix(loss=f"{point['loss']:.3f}", tokens_per_s=f"{speed:,.0f}")
        if now - saved > checkpoint_seconds:
            save(folder, masked_lm, optimizer, state)
            saved = now
    bar.close()
    save(folder, masked_lm, optimizer, state)
    masked_lm.eval()
    loss, accuracy = held_out_loss(masked_lm, held_out, recipe, device)
    return Trained(state, loss, accuracy)


def training_step(
    masked_lm: Any,
    optimizer: torch.optim.Optimizer,
    batch: MaskedBatch,
    number: int,
    device: torch.device,
) -> float:
    """One step of training: forward, backward, clipping, update.

    Args:
        masked_lm: The model.
        optimizer: Of its parameters.
        batch: What to learn from.
        number: The step, for the error's message.
        device: Where the model is.

    Returns:
        The loss before the step, in nats.

    Raises:
        NonFiniteError: If the loss is not finite.
    """
    loss = loss_of(masked_lm, batch, device)
    value = float(loss.detach())
    if not value < float("inf"):
        raise NonFiniteError(f"the pre-training loss at step {number} is {value}")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
    optimizer.step()
    return value


def _add_point(
    state: TrainingState,
    masked_lm: Any,
    held_out: Rows,
    recipe: Recipe,
    device: torch.device,
    used: float,
) -> None:
    """Add the mean loss since the last point to the curve, and now and then the held-out loss."""
    point = {
        "step": float(state.step),
        "tokens": float(state.step * recipe.tokens_a_step),
        "seconds": state.seconds,
        "learning_rate": recipe.learning_rate * rate_factor(recipe, used),
        "loss": sum(state.losses) / len(state.losses),
    }
    if (len(state.curve) + 1) % HELD_OUT_EVERY == 0:
        point["held_out_loss"], _ = held_out_loss(masked_lm, held_out, recipe, device)
    state.curve.append(point)
    state.losses.clear()
