"""A model in float64 throughout, for checks that single precision would blur.

``model.double()`` alone does not do that: the eager attention takes its softmax in single
precision, and ModernBERT rotates its queries and keys in it. A difference quotient then has a noise
of about 1e-7, which hides every change that is smaller.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from tangentlm.models.heads import LinearHeadModel, PromptModel

Model = TypeVar("Model", LinearHeadModel, PromptModel)


def in_double_precision(model: Model) -> Model:
    """Turn a model into float64, with its attention and rotations.

    The attention becomes torch's own (``"sdpa"``). Models of lower precision that are loaded in the
    same process compute what they did before.

    Example:
        >>> from tangentlm.models.heads import load_model
        >>> from tangentlm.tasks import load_task
        >>> model = in_double_precision(load_model("pocket-xs", load_task("topics"), "linear"))
        >>> model.classifier.weight.dtype
        torch.float64

    Args:
        model: A model with a prompt head or a linear head; changed in place.

    Returns:
        The model.
    """
    from transformers.models.modernbert import modeling_modernbert

    modeling_modernbert.apply_rotary_pos_emb = _rotated
    body = model.body if isinstance(model, LinearHeadModel) else model.masked_lm
    body.set_attn_implementation("sdpa")
    return model.double()


def _rotated(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1
) -> tuple[Tensor, Tensor]:
    """ModernBERT's rotation, in single precision or better: its own is in single precision."""
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    exact = torch.promote_types(q.dtype, torch.float32)
    turned = (x.to(exact) * cos + _half_turned(x.to(exact)) * sin for x in (q, k))
    first, second = (x.to(q.dtype) for x in turned)
    return first, second


def _half_turned(x: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=-1)
    return torch.cat((-right, left), dim=-1)
