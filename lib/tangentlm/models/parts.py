"""Parts of a model: whose gradients a kernel counts that is to say what the rest is worth.

In most language models the decoder's weight is the embedding's. To speak of one of the two alone,
``untie`` gives the decoder a weight of its own; the logits stay what they were.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from tangentlm.errors import InputError
from tangentlm.models.heads import LabelWordDecoder, LinearHeadModel, PromptModel

Model = PromptModel | LinearHeadModel
Part = Literal["all", "last", "embedding", "head"]
"""What of a model counts: everything, its last layer, its embedding or its head."""


def parameters_of(model: Model, part: Part) -> list[str] | None:
    """The parameters of a part of a model.

    Example:
        >>> from tangentlm.models.heads import load_model
        >>> from tangentlm.tasks import load_task
        >>> model = load_model("pocket-xs", load_task("reviews"))
        >>> parameters_of(model, "embedding")[0]
        'masked_lm.model.embeddings.tok_embeddings.weight'

    Args:
        model: The model. For its embedding or its head alone, its decoder is untied.
        part: Which part.

    Returns:
        Names, as ``entk`` takes them; ``None`` for all.

    Raises:
        InputError: If the model has no list of layers, so none is the last.
    """
    if part == "all":
        return None
    if part == "last":
        return last_layer(model)
    untie(model)
    return embedding(model) if part == "embedding" else head(model)


def last_layer(model: Model) -> list[str]:
    """The parameters of a model's last layer, the one before its head.

    Example:
        >>> from tangentlm.models.heads import load_model
        >>> from tangentlm.tasks import load_task
        >>> last_layer(load_model("pocket-xs", load_task("reviews")))[-1]
        'masked_lm.model.layers.3.mlp.Wo.weight'

    Args:
        model: A model of a language model or encoder.

    Returns:
        Names, as ``entk`` takes them.

    Raises:
        InputError: If the model has no list of layers.
    """
    stacks = {name: m for name, m in model.named_modules() if isinstance(m, nn.ModuleList)}
    if not stacks:
        raise InputError("this model has no list of layers, so none is the last")
    longest = max(stacks, key=lambda name: len(stacks[name]))
    return _below(model, f"{longest}.{len(stacks[longest]) - 1}")


def embedding(model: Model) -> list[str]:
    """The parameters between the tokens and the first layer: of words, positions, and their norm.

    Args:
        model: The model.

    Returns:
        Names, as ``entk`` takes them.
    """
    name, body = _body(model)
    words = body.get_input_embeddings()
    (inside,) = [child for child, m in body.named_children() if words in set(m.modules())]
    return _below(model, f"{name}.{inside}")


def head(model: Model) -> list[str]:
    """The parameters after the body: of a language-model head or of a linear layer.

    Args:
        model: The model; of a tied decoder only the bias is the head's own.

    Returns:
        Names, as ``entk`` takes them.
    """
    body = set(_below(model, _body(model)[0]))
    return [name for name, _ in model.named_parameters() if name not in body]


def untie(model: Model) -> None:
    """Give the decoder a weight of its own, in place: the rows of the label words.

    A linear head has no decoder, and an untied one stays as it is.

    Args:
        model: The model.
    """
    if isinstance(model, LinearHeadModel):
        return
    masked_lm: Any = model.masked_lm
    tied = masked_lm.get_output_embeddings()
    if not isinstance(tied, LabelWordDecoder):
        return
    word_ids: Tensor = tied.word_ids
    rows = tied.weight[word_ids].detach()
    own = nn.Linear(rows.shape[1], rows.shape[0], tied.bias is not None)
    own.weight = nn.Parameter(rows.clone())
    if tied.bias is not None:
        own.bias = nn.Parameter(tied.bias[word_ids].detach().clone())
    masked_lm.set_output_embeddings(own.train(model.training))


def _body(model: Model) -> tuple[str, Any]:
    """The body, which both kinds of models hold, and its name."""
    body = model.body if isinstance(model, LinearHeadModel) else model.masked_lm.base_model
    (name,) = [name for name, module in model.named_modules() if module is body]
    return name, body


def _below(model: Model, prefix: str) -> list[str]:
    return [name for name, _ in model.named_parameters() if name.startswith(f"{prefix}.")]
