"""The coordinate check: does a parametrization do what it says?

In the maximal-update parametrization the coordinates of every activation are of order one, and so
is their change by a few steps of training, at every width. In the standard parametrization the
change grows with the width. Plotted over the width, one is flat and the other is not
(Yang et al. 2022, Appendix D.1, who check each implementation so).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from tangentlm.params import Parametrization, Recipe
from tangentlm.pretrain.architecture import new_model, parameter_groups
from tangentlm.pretrain.loop import BETAS, masked_logits
from tangentlm.pretrain.packed_rows import MaskedBatch, PackedRows


def coordinate_check(
    recipe: Recipe,
    tokenizer: Any,
    rows: PackedRows,
    widths: Sequence[int],
    *,
    parametrizations: Sequence[Parametrization] = ("standard", "mup"),
    steps: int = 4,
    seeds: Sequence[int] = (0, 1, 2),
) -> pd.DataFrame:
    """The size of every layer's activations, and of their change by a few steps, over the width.

    The rate is the recipe's peak from the first step on, without dropout, which would count as a
    change; all products are in float32.

    Args:
        recipe: Its width is replaced.
        tokenizer: The vocabulary.
        rows: The first ``steps`` batches are trained on, the next one is looked at.
        widths: Multiples of the recipe's head width.
        parametrizations: Which to compare.
        steps: Steps of AdamW.
        seeds: Of the initial weights.

    Returns:
        Columns ``parametrization``, ``width``, ``seed``, ``layer`` (``embedding``, ``layer 1`` and
        so on, ``head``, ``logits``), ``at_start`` (root mean square of the activations) and
        ``change`` (root mean square of their change).
    """
    seen = rows.batch(steps, recipe.batch_size, recipe.masked)
    table = []
    for parametrization in parametrizations:
        for width in widths:
            for seed in seeds:
                one = recipe.replaced(width, None, None)
                model = new_model(one, tokenizer, seed, parametrization).eval()
                groups = parameter_groups(model, one, tokenizer, parametrization)
                before = activations(model, seen)
                _train(model, groups, rows, one, steps)
                after = activations(model, seen)
                table += [
                    {
                        "parametrization": parametrization,
                        "width": width,
                        "seed": seed,
                        "layer": layer,
                        "at_start": _rms(start),
                        "change": _rms(after[layer] - start),
                    }
                    for layer, start in before.items()
                ]
    return pd.DataFrame(table)


@torch.no_grad()
def activations(masked_lm: Any, batch: MaskedBatch) -> dict[str, Tensor]:
    """What every layer of a masked-LM returns for a batch.

    Args:
        masked_lm: A masked-LM whose body has a list of layers.
        batch: B rows of T tokens, K of them masked.

    Returns:
        ``embedding``, ``layer 1``, ``layer 2`` and so on of shape (B, T, n), ``head`` (K, n), which
        the decoder reads, and ``logits`` (K, V).
    """
    layers = next(m for m in masked_lm.base_model.modules() if isinstance(m, nn.ModuleList))
    found: dict[str, Tensor] = {}
    hooks = []
    for number, layer in enumerate(layers, start=1):

        def keep(_module: nn.Module, args: Any, output: Any, number: int = number) -> None:
            if number == 1:
                found["embedding"] = args[0]
            found[f"layer {number}"] = output[0] if isinstance(output, tuple) else output

        hooks.append(layer.register_forward_hook(keep))
    decoder = masked_lm.get_output_embeddings()
    hooks.append(decoder.register_forward_pre_hook(lambda _m, args: found.update(head=args[0])))
    try:
        logits = masked_logits(masked_lm, batch.input_ids, batch.masked)
    finally:
        for hook in hooks:
            hook.remove()
    return {**found, "logits": logits}


def _train(
    model: Any, groups: list[dict[str, Any]], rows: PackedRows, recipe: Recipe, steps: int
) -> None:
    optimizer = torch.optim.AdamW(groups, betas=BETAS)
    for step in range(steps):
        batch = rows.batch(step, recipe.batch_size, recipe.masked)
        logits = masked_logits(model, batch.input_ids, batch.masked)
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, batch.targets).backward()
        optimizer.step()


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
