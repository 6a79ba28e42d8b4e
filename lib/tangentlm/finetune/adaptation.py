"""What fine-tuning moves: all parameters, LoRA's matrices, or coordinates of a random subspace.

LoRA: W + (alpha / r) B A with B = 0 at the start (Section C of Malladi-v1; Hu et al. 2022), through
PEFT. IntrinsicDimension: theta = theta_0 + P z with a fixed random P (Definition E.1 of Malladi-v1;
Li et al. 2018), with the same P as ``intrinsic_dimension_entk``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tangentlm.batches import Batch
from tangentlm.errors import InputError
from tangentlm.finetune.chosen_lora import with_lora
from tangentlm.kernels import (
    Kernel,
    draw_lora,
    entk,
    intrinsic_dimension_entk,
    lora_entk_at_init,
)
from tangentlm.kernels.projection import Projection
from tangentlm.models.heads import LinearHeadModel, PromptModel
from tangentlm.models.parts import head, untie
from tangentlm.params import Adaptation

TaskModel = PromptModel | LinearHeadModel
_ROWS_AT_ONCE = 2**17
"""Rows of P that are floats at one time."""
_TARGETS = {"modernbert": ["Wqkv"], "albert": ["query", "value"], "distilbert": ["q_lin", "v_lin"]}
"""Queries and values, as in Hu et al.; ModernBERT keeps them in one matrix with the keys."""


def lora_targets(model: TaskModel) -> list[str]:
    """The attention weights that LoRA adapts: queries and values.

    Args:
        model: A model with a prompt head or a linear head.

    Returns:
        Names as PEFT's ``target_modules`` has them.

    Raises:
        InputError: If neither PEFT nor this module knows them for the architecture.
    """
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN

    kind = str(_body(model).config.model_type)
    if kind not in _TARGETS and kind not in KNOWN:
        raise InputError(f"no LoRA targets are known for the architecture {kind}")
    return list(_TARGETS.get(kind) or KNOWN[kind])


def _body(model: TaskModel) -> Any:
    return model.masked_lm if isinstance(model, PromptModel) else model.body


def adapted(
    model: TaskModel,
    adaptation: Adaptation,
    *,
    rank: int = 8,
    alpha: float = 16.0,
    dimension: int = 200,
    seed: int = 0,
    train_head: bool = False,
) -> nn.Module:
    """The model as fine-tuning trains it; at the start its logits are those of the model.

    Example:
        >>> from tangentlm.models.heads import load_model
        >>> from tangentlm.tasks import load_task
        >>> model = load_model("pocket", load_task("reviews"))
        >>> network = adapted(model, "lora", rank=8)
        >>> all("lora" in name for name, p in network.named_parameters() if p.requires_grad)
        True

    Args:
        model: A model with a prompt head or a linear head; changed in place.
        adaptation: ``"full"``: the model itself; ``"lora"``: LoRA on queries and values, with the
            start of ``draw_lora`` (a linear head is trained, too); ``"intrinsic"``: an
            ``IntrinsicModel``.
        rank: LoRA's r.
        alpha: LoRA's alpha.
        dimension: k of IntrinsicDimension.
        seed: Of LoRA's matrices A, or of P.
        train_head: With ``"lora"`` and a prompt head, whether the head is trained outright, too, in
            weights of its own (``untie``), as the code of Malladi et al. does.

    Returns:
        ``model(**batch) -> (N, C)``, of which only what is trained requires a gradient.

    Raises:
        InputError: If the architecture's targets are not known, or an argument is out of range.
    """
    if adaptation == "lora":
        return _with_lora(model, rank, alpha, seed, train_head)
    if adaptation == "intrinsic":
        return IntrinsicModel(model, dimension, seed).train(model.training)
    return model


def adapted_kernel(
    model: TaskModel,
    adaptation: Adaptation,
    rows: Batch,
    columns: Batch | None = None,
    *,
    formula: str = "sgd",
    outputs: str = "full",
    rank: int = 8,
    alpha: float = 16.0,
    dimension: int = 200,
    seed: int = 0,
    train_head: bool = False,
    parameters: Sequence[str] | None = None,
) -> Kernel:
    """The kernel of a fine-tuning at its start, of what ``adapted`` trains.

    Args:
        model: A model with a prompt head or a linear head, without adapters.
        adaptation: As for ``adapted``.
        rows: N samples.
        columns: M samples; ``None`` means the symmetric kernel of the rows.
        formula: As for ``entk``; only ``"sgd"`` but for ``"full"``.
        outputs: As for ``entk``.
        rank: LoRA's r.
        alpha: LoRA's alpha.
        dimension: k of IntrinsicDimension.
        seed: As for ``adapted``: the same seed gives the kernel of the same fine-tuning.
        train_head: As for ``adapted``, which gives the model its own head in place.
        parameters: With ``"full"``, the names of those that count; all by default.

    Returns:
        The kernel, with values of shape (N, C, M, C).

    Raises:
        InputError: If the adaptation has no kernel of the formula, or as for ``entk``.
    """
    if adaptation == "full":
        return entk(model, rows, columns, formula=formula, outputs=outputs, parameters=parameters)
    if formula != "sgd":
        raise InputError(f"there is no {formula} kernel of the adaptation {adaptation}")
    if adaptation == "intrinsic":
        return intrinsic_dimension_entk(
            model, rows, columns, dimension=dimension, seed=seed, outputs=outputs
        )
    outright = _head_trained_outright(model, train_head)
    A = draw_lora(model, lora_targets(model), rank=rank, seed=seed)
    kernel = lora_entk_at_init(model, rows, columns, A=A, alpha=alpha, outputs=outputs)
    if not outright:
        return kernel
    of_head = entk(model, rows, columns, outputs=outputs, parameters=outright)
    return replace(
        kernel,
        values=kernel.values + of_head.values,
        parameters=(*kernel.parameters, *of_head.parameters),
    )


def _head_trained_outright(model: TaskModel, train_head: bool) -> list[str]:
    """What is trained beside LoRA's matrices: a linear head always, a prompt's if that is asked."""
    if isinstance(model, PromptModel) and not train_head:
        return []
    untie(model)
    return head(model)


def _with_lora(model: TaskModel, rank: int, alpha: float, seed: int, train_head: bool) -> nn.Module:
    outright = _head_trained_outright(model, train_head)
    with_lora(model, draw_lora(model, lora_targets(model), rank=rank, seed=seed), alpha)
    for name in outright:
        model.get_parameter(name).requires_grad_(True)
    return model


class IntrinsicModel(nn.Module):
    """A model that is trained in k random directions: theta = theta_0 + P z (Definition E.1).

    P has independent entries +-1/sqrt(k), those of ``tangentlm.kernels.projection.Projection``, and
    is kept as one byte an entry. A step costs some 4 k operations a parameter beside the model's.
    """

    def __init__(self, model: nn.Module, dimension: int, seed: int) -> None:
        super().__init__()
        projection = Projection(dimension, seed)
        named = list(model.named_parameters())
        for _, parameter in named:
            parameter.requires_grad_(False)
        self.model = model
        self._names = [name for name, _ in named]
        self._shapes = [parameter.shape for _, parameter in named]
        # A file of weights can make P again, so P is no part of the state.
        signs = [
            torch.from_numpy(projection.signs(name, 0, parameter.numel(), "int8"))
            for name, parameter in named
        ]
        self.register_buffer("signs", torch.cat(signs).to(named[0][1].device), persistent=False)
        self.signs: Tensor
        self.z = nn.Parameter(named[0][1].new_zeros(dimension))

    def forward(self, **batch: Tensor) -> Tensor:
        """The logits at theta_0 + P z.

        Args:
            **batch: What the model reads.

        Returns:
            (N, C).
        """
        moved: Tensor = _Project.apply(self.z, self.signs)
        sizes = [shape.numel() for shape in self._shapes]
        origin = dict(self.model.named_parameters())
        parameters = {
            name: origin[name] + part.view(shape)
            for name, shape, part in zip(self._names, self._shapes, moved.split(sizes), strict=True)
        }
        logits: Tensor = functional_call(self.model, parameters, (), batch)
        return logits


class _Project(torch.autograd.Function):
    """P z, from signs of one byte; floats of a block at a time, which are not kept."""

    @staticmethod
    def forward(z: Tensor, signs: Tensor) -> Tensor:
        return torch.cat([block @ z for block in _blocks(signs, z.dtype)]) * len(z) ** -0.5

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        context.signs = inputs[1]

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        total = gradient.new_zeros(context.signs.shape[1])
        parts = gradient.split(_ROWS_AT_ONCE)
        for part, block in zip(parts, _blocks(context.signs, gradient.dtype), strict=True):
            total += part @ block
        return total * len(total) ** -0.5, None

    @staticmethod
    def jvp(context: Any, *tangents: Tensor | None) -> Tensor:
        assert tangents[0] is not None
        moved: Tensor = _Project.forward(tangents[0], context.signs)
        return moved


def _blocks(signs: Tensor, dtype: torch.dtype) -> Iterator[Tensor]:
    for block in signs.split(_ROWS_AT_ONCE):
        yield block.to(dtype)
