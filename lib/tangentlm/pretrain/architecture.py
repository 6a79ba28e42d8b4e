"""A fresh masked-LM of a recipe, and its two parametrizations.

In the standard parametrization every matrix starts with the same standard deviation and every
parameter has the same learning rate, whatever the width n. In the maximal-update parametrization
(muP; Table 10 of Malladi-v1, the row of Adam) scale and rate depend on the parameter's role:

============  ==========================================  ==============  ===========
role          parameters                                  initial scale   Adam's rate
============  ==========================================  ==============  ===========
input, U      embedding, gains and biases                 1               1
hidden, W     matrices from width to width                1 / sqrt(n)     1 / n
output, V     the decoder                                 1 / n           1 / n
============  ==========================================  ==============  ===========

The decoder is tied to the embedding, so it cannot have a scale of its own. By Lemma D.6 of
Malladi-v1 a multiplier 1/n on a matrix of role U makes it one of role V; the gain of the last norm
before the decoder is that multiplier, and so it starts, and learns, at the scale 1/n.
At ``base_width`` both parametrizations are the same.
"""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import Any, Literal

import torch
from torch import nn

from tangentlm.errors import InputError, unknown_name
from tangentlm.models.checkpoints import load_pretrained
from tangentlm.params import Parametrization, Recipe

Role = Literal["input", "hidden", "output"]
_NORMS = (nn.LayerNorm, nn.RMSNorm)


def new_model(
    recipe: Recipe, tokenizer: Any, seed: int, parametrization: Parametrization = "standard"
) -> Any:
    """A masked-LM with random weights, or with the encoder that the recipe starts from.

    Args:
        recipe: Its architecture, depth and width, and where it starts.
        tokenizer: Gives the vocabulary and the special tokens.
        seed: Of the weights.
        parametrization: ``"standard"`` or ``"mup"``.

    Returns:
        A masked-LM of transformers with a tied decoder.

    Raises:
        InputError: If transformers has no such masked-LM, its decoder is not tied, or the start
            has another shape.
    """
    torch.manual_seed(seed)
    model = _build(recipe, tokenizer)
    if model.get_output_embeddings().weight is not model.get_input_embeddings().weight:
        raise InputError(f"architecture {recipe.architecture}: the decoder is not tied")
    if parametrization == "mup":
        shrink = recipe.base_width / recipe.width
        scale = {"input": 1.0, "hidden": math.sqrt(shrink), "output": shrink}
        for name, role in roles(model, recipe, tokenizer).items():
            with torch.no_grad():
                model.get_parameter(name).mul_(scale[role])
    if recipe.start is not None:
        _take_weights(model, recipe.start)
    return model


def _take_weights(model: Any, start: str) -> None:
    """Give a masked-LM the weights of another, or its body those of an encoder without a head."""
    given = load_pretrained(start)
    taking = model if given.get_output_embeddings() is not None else model.base_model
    weights = (given if taking is model else given.base_model).state_dict()
    own = taking.state_dict()
    unlike = [n for n in own if n not in weights or weights[n].shape != own[n].shape]
    if unlike:
        raise InputError(
            f"the recipe starts from {start}, which has another shape: {unlike[0]} "
            f"({len(unlike)} of {len(own)} tensors differ)"
        )
    taking.load_state_dict({name: weights[name] for name in own})


def _build(recipe: Recipe, tokenizer: Any) -> Any:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModelForMaskedLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    if recipe.architecture not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise unknown_name("architecture", recipe.architecture, MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    # transformers takes an unknown name for a note. Not every good name is listed, so a name is
    # refused where it looks like a slip of one that is. A wrong value may raise anything.
    known = AutoConfig.for_model(recipe.architecture).to_dict()
    for name in recipe.settings:
        if name not in known and get_close_matches(name, known, cutoff=0.85):
            raise unknown_name(f"setting of a {recipe.architecture} recipe", name, known)
    wrong = (TypeError, ValueError, ArithmeticError, AttributeError, LookupError, RuntimeError)
    special = {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id")
        for name in ("bos", "pad", "eos", "cls", "sep")
    }
    try:
        config = AutoConfig.for_model(
            recipe.architecture,
            vocab_size=len(tokenizer),
            hidden_size=recipe.width,
            num_hidden_layers=recipe.depth,
            num_attention_heads=recipe.width // recipe.head_width,
            intermediate_size=recipe.feed_forward_width,
            tie_word_embeddings=True,
            **special,
            **recipe.settings,
        )
        return AutoModelForMaskedLM.from_config(config, attn_implementation="sdpa")
    except (*wrong, StrictDataclassError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(f"settings of a {recipe.architecture} recipe: {reason}") from error


def roles(model: Any, recipe: Recipe, tokenizer: Any) -> dict[str, Role]:
    """The role of every parameter, read off by comparing shapes with a model twice as wide.

    Args:
        model: A masked-LM of the recipe.
        recipe: Its recipe.
        tokenizer: Its tokenizer.

    Returns:
        The role by the parameter's name; the multiplier before the decoder has role ``output``.

    Raises:
        InputError: If there is no norm between the body and the decoder.
    """
    with torch.device("meta"):
        wider = _build(recipe.replaced(2 * recipe.width, None, None), tokenizer)
    multiplier = _last_norm(model)
    found: dict[str, Role] = {}
    for name, parameter in model.named_parameters():
        doubled = wider.get_parameter(name).shape
        growing = sum(a != b for a, b in zip(parameter.shape, doubled, strict=True))
        found[name] = "hidden" if growing == 2 else "input"
        if name.rpartition(".")[0] == multiplier:
            found[name] = "output"
    return found


def _last_norm(model: Any) -> str:
    """The name of the norm whose output the decoder reads."""
    body = f"{model.base_model_prefix}."
    norms = [name for name, module in model.named_modules() if isinstance(module, _NORMS)]
    outside = [name for name in norms if not name.startswith(body)]
    if not outside:
        raise InputError(
            f"{type(model).__name__} has no norm before its decoder, so muP has no place for the "
            f"output multiplier"
        )
    return outside[-1]


def parameter_groups(
    model: Any, recipe: Recipe, tokenizer: Any, parametrization: Parametrization
) -> list[dict[str, Any]]:
    """The parameters in groups for AdamW, each with its own rate and weight decay.

    Weight decay is for matrices only, and what starts from another model's encoder has the
    recipe's ``start_rate``. AdamW multiplies it by the rate; where muP lowers the rate,
    the decay is raised, so that their product depends on no width.

    Args:
        model: The masked-LM.
        recipe: Its recipe.
        tokenizer: Its tokenizer.
        parametrization: ``"standard"`` or ``"mup"``.

    Returns:
        Groups with ``params``, ``lr``, ``weight_decay``, and ``started``: whether they are of the
        encoder that the recipe starts from.
    """
    shrink = recipe.base_width / recipe.width if parametrization == "mup" else 1.0
    factor = {"input": 1.0, "hidden": shrink, "output": shrink}
    body = f"{model.base_model_prefix}."
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, role in roles(model, recipe, tokenizer).items():
        parameter = model.get_parameter(name)
        decay = recipe.weight_decay / factor[role] if parameter.ndim > 1 else 0.0
        started = recipe.start is not None and name.startswith(body)
        rate = factor[role] * (recipe.start_rate if started else 1.0)
        groups.setdefault((rate, decay, started), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": recipe.learning_rate * rate,
            "weight_decay": decay,
            "started": started,
        }
        for (rate, decay, started), parameters in groups.items()
    ]
