"""What a training needs to go on exactly where it was killed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tangentlm.errors import InputError

CHECKPOINT = "checkpoint.pt"


@dataclass
class TrainingState:
    """How far a training is, and what it has measured so far.

    Attributes:
        step: Steps done. The data's position is the step, for order and masks depend on it alone.
        seconds: Seconds of training so far, those before a kill included.
        curve: What was measured along the way; one mapping a point.
        losses: The losses since the last point of the curve.
    """

    step: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def save(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, state: TrainingState
) -> None:
    """Write a checkpoint; a kill while it is written leaves the one before it whole.

    Args:
        folder: Where it goes.
        model: Its parameters are saved.
        optimizer: Its state is saved.
        state: How far the training is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{CHECKPOINT}.part"
    torch.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "progress": vars(state),
            "random": torch.get_rng_state(),
            "random_of_gpus": torch.cuda.get_rng_state_all(),
        },
        part,
    )
    part.replace(folder / CHECKPOINT)


def restore(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> TrainingState:
    """Take up the checkpoint of a folder, if there is one.

    Args:
        folder: Where it may be.
        model: Its parameters are replaced.
        optimizer: Its state is replaced.

    Returns:
        How far the training was; a fresh ``TrainingState`` where there is no checkpoint.

    Raises:
        InputError: If the checkpoint cannot be read or is of another model.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return TrainingState()
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["random"])
        if len(saved["random_of_gpus"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(saved["random_of_gpus"])
        return TrainingState(**saved["progress"])
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the checkpoint {path} cannot be taken up ({first}); remove it to start anew"
        ) from error


def discard(folder: Path) -> None:
    """Remove the checkpoint of a training whose model and record are written.

    Args:
        folder: Where it is.
    """
    shutil.rmtree(folder, ignore_errors=True)
