"""The attention's projections: which linear layers make queries, keys, values and the output.

LoRA is put on some projections of some layers. Where one matrix makes queries, keys and values,
``split_projections`` gives each its own rows: the same function, and LoRA on the keys is then LoRA
on a layer of its own (its B has the rows of the keys alone).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from tangentlm.errors import InputError, unknown_name

_ENDINGS = {
    "query": ("query", "q_proj", "q_lin"),
    "key": ("key", "k_proj", "k_lin"),
    "value": ("value", "v_proj", "v_lin"),
    "output": ("attention.output.dense", "attn.Wo", "attn.o_proj", "out_lin"),
}
PROJECTIONS = tuple(_ENDINGS)
"""The four projections of an attention, in the order in which they come."""
_FUSED = "Wqkv"
"""ModernBERT's one matrix: the rows of the queries, then of the keys, then of the values."""


class SplitProjections(nn.Module):
    """Queries, keys and values from three layers, one after another in the last axis."""

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        self.query, self.key, self.value = map(_linear, *_rows_in_three(fused))

    def forward(self, hidden: Tensor) -> Tensor:
        """What the fused layer gives.

        Args:
            hidden: (..., d).

        Returns:
            (..., 3 d).
        """
        return torch.cat([layer(hidden) for layer in self.children()], dim=-1)


def split_projections(model: nn.Module) -> nn.Module:
    """Give queries, keys and values layers of their own where one layer makes them all.

    Example:
        >>> from tangentlm.models.checkpoints import load_pretrained
        >>> body = split_projections(load_pretrained("pocket-xs").base_model)
        >>> projection_layers(body, layers=[0], projections=["key"])
        ['layers.0.attn.Wqkv.key']

    Args:
        model: A model of transformers, or one that holds it; changed in place.

    Returns:
        The model, which computes what it did.
    """
    for module in list(model.modules()):
        fused = getattr(module, _FUSED, None)
        if isinstance(fused, nn.Linear):
            setattr(module, _FUSED, SplitProjections(fused).train(module.training))
    return model


def projection_layers(
    model: nn.Module,
    layers: Iterable[int] | None = None,
    projections: Sequence[str] = ("query", "value"),
) -> list[str]:
    """The names of the linear layers that make some projections of some layers.

    Args:
        model: A model whose projections are layers of their own (see ``split_projections``), with
            LoRA or without.
        layers: Which layers, counted from 0; all by default.
        projections: Which of ``PROJECTIONS``.

    Returns:
        Names, as ``draw_lora`` takes them, layer by layer.

    Raises:
        InputError: If the model has no such layer or projection.
    """
    for projection in projections:
        if projection not in PROJECTIONS:
            raise unknown_name("projection", projection, PROJECTIONS)
    found: dict[tuple[int, str], str] = {}
    for name, module in model.named_modules():
        place = layer_and_projection(name)
        # PEFT keeps the layer that it adapts as base_layer.
        if place is not None and isinstance(getattr(module, "base_layer", module), nn.Linear):
            found[place] = name
    if not found:
        raise InputError("this model has no projections of an attention that are known by name")
    depth = 1 + max(layer for layer, _ in found)
    names = []
    for layer in range(depth) if layers is None else layers:
        if not 0 <= layer < depth:
            raise InputError(f"this model has the layers 0 to {depth - 1}, no layer {layer}")
        for projection in projections:
            if (layer, projection) not in found:
                raise InputError(f"layer {layer} has no {projection} of its own")
            names.append(found[layer, projection])
    return names


def layer_and_projection(name: str) -> tuple[int, str] | None:
    """Which projection a module is, by its name.

    Example:
        >>> layer_and_projection("encoder.layer.5.attention.self.query")
        (5, 'query')

    Args:
        name: Its name in the model.

    Returns:
        The layer's number and one of ``PROJECTIONS``; ``None`` for anything else.
    """
    layer = next((int(part) for part in name.split(".") if part.isdigit()), None)
    if layer is None:
        return None
    for projection, endings in _ENDINGS.items():
        if any(f".{name}".endswith(f".{ending}") for ending in endings):
            return layer, projection
    return None


def _rows_in_three(fused: nn.Linear) -> tuple[Sequence[Tensor], Sequence[Tensor | None]]:
    weights = fused.weight.detach().chunk(3)
    return weights, [None] * 3 if fused.bias is None else fused.bias.detach().chunk(3)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A layer with these parameters."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None).to(weight)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer
