"""What a model reads in a text before any training: features of its layers, words at the mask."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tangentlm.batches import Batch
from tangentlm.models.classification_head import ClassificationModel
from tangentlm.models.heads import PromptModel
from tangentlm.models.logits import logits_of


class _AllLayers(nn.Module):
    """The hidden states of all layers where the head reads, one after another, (N, L h)."""

    def __init__(self, model: PromptModel | ClassificationModel) -> None:
        super().__init__()
        self.body: Any = (
            model.masked_lm.base_model if isinstance(model, PromptModel) else model.body
        )

    def forward(
        self, input_ids: Tensor, mask_position: Tensor | None = None, **inputs: Tensor
    ) -> Tensor:
        _, *layers = self.body(
            input_ids=input_ids, output_hidden_states=True, **inputs
        ).hidden_states
        rows = torch.arange(len(input_ids), device=input_ids.device)
        place = torch.zeros_like(rows) if mask_position is None else mask_position
        return torch.cat([hidden[rows, place] for hidden in layers], dim=1)


class _Words(nn.Module):
    """The probabilities of all words at the mask, (N, V)."""

    def __init__(self, model: PromptModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, **batch: Tensor) -> Tensor:
        read: list[Tensor] = []
        decoder = self.model.masked_lm.get_output_embeddings()
        hook = decoder.register_forward_pre_hook(lambda _module, args: read.append(args[0]))
        try:
            self.model(**batch)
        finally:
            hook.remove()
        logits = nn.functional.linear(read[0], decoder.weight, decoder.bias)
        return logits.squeeze(1).softmax(dim=1)


def read_features(model: PromptModel | ClassificationModel, batch: Batch) -> dict[str, Tensor]:
    """Hidden states at the mask or, without a prompt, at the first token.

    Args:
        model: A masked language model with a prompt, or a body with a classification head.
        batch: N samples, encoded for it.

    Returns:
        ``"last"``: those of the last layer; ``"mean"``: the mean over all layers, without the
        embeddings. Each (N, h).
    """
    body = _AllLayers(model)
    hidden = logits_of(body.eval(), batch)
    layers = hidden.reshape(len(hidden), -1, body.body.config.hidden_size)
    return {"last": layers[:, -1], "mean": layers.mean(dim=1)}


def read_words(model: PromptModel, batch: Batch) -> Tensor:
    """What a masked language model expects at the mask, among all words of its vocabulary.

    Example:
        >>> from tangentlm.models.few_shot import few_shot
        >>> shots = few_shot("reviews", model="pocket-xs", k=2, test_size=4, device="cpu")
        >>> words = read_words(shots.model, shots.part("train").batch)
        >>> len(words), bool((words.sum(dim=1) - 1).abs().max() < 1e-5)
        (4, True)

    Args:
        model: A masked language model with a prompt.
        batch: N samples, encoded for it.

    Returns:
        Probabilities, (N, V).
    """
    return logits_of(_Words(model).eval(), batch)
