"""The kernel of LoRA while its dropout is live, as in a model that nobody put into eval mode.

LoRA's branch is (alpha / r) B A d(x), where d leaves out each entry of x with probability p and
divides the others by 1 - p. At B = 0 nothing else of the model knows of d. So the gradient of B is
linear in d(x), and its expectation is the gradient without dropout. But a mask is drawn at every
call, so the kernel is another one at every call, and it is not even symmetric where the gradients
of its rows and those of its columns have masks of their own.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tangentlm.batches import num_samples, select_rows

Array = NDArray[np.float64]


def live_gradients(
    model: nn.Module, rows: Mapping[str, torch.Tensor], layers: Iterable[str], *, rate: float,
    seed: int,
) -> dict[str, Array]:  # fmt: skip
    """The gradients of f_1 - f_0 by LoRA's matrices B, with masks of dropout of their own.

    Args:
        model: From ``with_lora``, at its start, with two outputs; all else in it is in eval mode.
        rows: N samples.
        layers: Names of layers with LoRA.
        rate: p, from 0 to below 1.
        seed: Of the masks.

    Returns:
        (N, P) for each layer, P the entries of its B.
    """
    names = list(layers)
    weights = [_adapter(model, name).lora_B["default"].weight for name in names]
    found: list[list[Array]] = []
    device = weights[0].device
    with (
        _live(model, names, rate),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
    ):
        torch.manual_seed(seed)
        for sample in range(num_samples(rows)):
            # One sample at a time, without padding: each has masks of its own.
            one = select_rows(rows, slice(sample, sample + 1))
            logits = model(**{name: tensor.to(device) for name, tensor in one.items()})[0]
            gradients = torch.autograd.grad(logits[1] - logits[0], weights)
            found.append([g.double().flatten().cpu().numpy() for g in gradients])
    return {name: np.stack([of[place] for of in found]) for place, name in enumerate(names)}


def live_kernels(
    model: nn.Module, rows: Mapping[str, torch.Tensor], layers: Iterable[str], *, rate: float,
    seed: int,
) -> dict[str, Array]:  # fmt: skip
    """The kernel of each layer from two passes over the samples: one for rows, one for columns.

    Args:
        model: As for ``live_gradients``.
        rows: N samples.
        layers: Names of layers with LoRA.
        rate: Dropout's p.
        seed: Of the masks; each has two sets of its own.

    Returns:
        (N, N) for each layer, asymmetric where p > 0. That of several layers is their sum.
    """
    names = list(layers)
    first, second = (
        live_gradients(model, rows, names, rate=rate, seed=2 * seed + which) for which in (0, 1)
    )
    return {name: first[name] @ second[name].T for name in names}


def _adapter(model: nn.Module, name: str) -> Any:
    return model.get_submodule(name)


@contextmanager
def _live(model: nn.Module, layers: Iterable[str], rate: float) -> Generator[None, None, None]:
    """Dropout of LoRA's branch in some layers, and nowhere else."""
    before = {name: _adapter(model, name).lora_dropout["default"] for name in layers}
    try:
        for name in before:
            _adapter(model, name).lora_dropout["default"] = nn.Dropout(rate).train()
        yield
    finally:
        for name, module in before.items():
            _adapter(model, name).lora_dropout["default"] = module
