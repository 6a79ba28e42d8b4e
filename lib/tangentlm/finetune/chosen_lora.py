"""LoRA on linear layers of one's choice, and the kernel of what it trains, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tangentlm.batches import Batch
from tangentlm.errors import unknown_name
from tangentlm.kernels import Kernel, entk
from tangentlm.kernels.kernel import Values


def with_lora(model: nn.Module, A: Mapping[str, Tensor], alpha: float) -> nn.Module:
    """Put LoRA on some linear layers: W + (alpha / r) B A, with B = 0 and these A.

    Example:
        >>> from tangentlm.kernels import draw_lora
        >>> from tangentlm.models.classification_head import load_classification_model
        >>> from tangentlm.models.projections import projection_layers
        >>> model = load_classification_model("pocket-xs", 2)
        >>> layers = projection_layers(model, layers=[0, 3], projections=["key"])
        >>> network = with_lora(model, draw_lora(model, layers, rank=8, seed=0), alpha=8.0)
        >>> sum(p.numel() for p in network.parameters() if p.requires_grad)
        2048

    Args:
        model: The model; changed in place. Nothing but the new matrices is trained afterwards.
        A: Matrices (r, d_in) by the layer's name, of one rank, e.g. from ``draw_lora``.
        alpha: LoRA's alpha.

    Returns:
        The model with adapters of PEFT; its outputs are what they were.
    """
    from peft import LoraConfig, inject_adapter_in_model

    rank = len(next(iter(A.values())))
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(A), lora_dropout=0.0)
    was_training = model.training
    inject_adapter_in_model(config, model)
    with torch.no_grad():
        for name, matrix in A.items():
            layer: Any = model.get_submodule(name)
            layer.lora_A["default"].weight.copy_(matrix)
    return model.train(was_training)  # PEFT's own layers come in training mode


def kernel_by_layer(
    model: nn.Module, rows: Batch, layers: Iterable[str], *, formula: str = "sgd",
    outputs: str = "full", precision: str = "float32", memory: int | None = None,
) -> Kernel:  # fmt: skip
    """The kernel of LoRA on some layers, and on each of them, from one call of ``entk``.

    Where B = 0, the kernel of LoRA on a set of layers is the sum of the kernels of its layers: no
    layer's gradient knows of the adapters elsewhere. So this call has the kernels of all subsets
    (see ``of_layers``).

    Args:
        model: From ``with_lora``, at its start.
        rows: N samples.
        layers: Names of layers with LoRA. A name that ends in a dot stands for all parameters
            below it that are trained outright, e.g. ``"classifier."``.
        formula: As for ``entk``.
        outputs: As for ``entk``.
        precision: As for ``entk``.
        memory: As for ``entk``.

    Returns:
        The kernel with a group for each of ``layers``. The matrices A, whose gradient is zero, are
        left out.
    """
    owners: dict[str, str] = {}
    for layer in layers:
        below = layer if layer.endswith(".") else f"{layer}.lora_B."
        owners |= {name: layer for name, _ in model.named_parameters() if name.startswith(below)}
    return entk(
        model, rows, formula=formula, outputs=outputs, parameters=list(owners),
        by=lambda name: owners[name],
        precision=precision, memory=memory, progress=False,
    )  # fmt: skip


def of_layers(kernel: Kernel, layers: Iterable[str]) -> Values:
    """The kernel of LoRA on some of the layers that a kernel was split by.

    Args:
        kernel: From ``kernel_by_layer``.
        layers: Names of its groups, one at least.

    Returns:
        The sum of their kernels, (N, C, N, C).

    Raises:
        InputError: If the kernel has no such group.
    """
    names = list(layers)
    for name in names:
        if name not in kernel.groups:
            raise unknown_name("layer", name, kernel.groups)
    total: Values = sum(kernel.groups[name] for name in names[1:]) + kernel.groups[names[0]]
    return total
