"""RoBERTa's head for classification, at random: dense layer, tanh, linear layer on one token.

This is the head that a library puts on a pre-trained encoder for a new task. It knows nothing of
the task, but every gradient of the body passes through it, so a kernel depends on its seed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tangentlm.models.checkpoints import load_pretrained
from tangentlm.models.projections import split_projections

USUAL_DEVIATION = 0.02
"""Of a weight that is drawn, where the configuration has no ``initializer_range``."""


class ClassificationHead(nn.Module):
    """g(h) = U tanh(D h + d) + u, from hidden states h to C logits."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, num_classes)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits of the classes.

        Args:
            hidden: (N, h).

        Returns:
            (N, C).
        """
        logits: Tensor = self.out_proj(torch.tanh(self.dense(hidden)))
        return logits


class ClassificationModel(nn.Module):
    """A body with a random head on its first token: f(s) = U tanh(D h_0(s) + d) + u, (N, C).

    The body's queries, keys and values are layers of their own (see ``split_projections``).
    """

    def __init__(self, pretrained: Any, num_classes: int, head_seed: int) -> None:
        super().__init__()
        self.body = split_projections(pretrained.base_model)
        self.classifier = ClassificationHead(pretrained.config.hidden_size, num_classes)
        self.num_classes = num_classes
        deviation = getattr(pretrained.config, "initializer_range", USUAL_DEVIATION)
        self.deviation = float(deviation)
        self.draw_head(head_seed)

    def draw_head(self, seed: int) -> None:
        """Draw another head: weights from N(0, s^2), s the configuration's; biases are zero.

        Args:
            seed: Which one.
        """
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for layer in (self.classifier.dense, self.classifier.out_proj):
                drawn = torch.empty(layer.weight.shape)
                drawn.normal_(0.0, self.deviation, generator=generator)
                layer.weight.copy_(drawn)
                layer.bias.zero_()

    def forward(self, input_ids: Tensor, **inputs: Tensor) -> Tensor:
        """Logits of the classes.

        Args:
            input_ids: (N, T).
            **inputs: The rest of the batch, e.g. ``attention_mask``.

        Returns:
            (N, C).
        """
        hidden: Tensor = self.body(input_ids=input_ids, **inputs).last_hidden_state
        logits: Tensor = self.classifier(hidden[:, 0])
        return logits


def load_classification_model(
    name: str, num_classes: int, head_seed: int = 0
) -> ClassificationModel:
    """A pre-trained body with a random head, in eval mode.

    Example:
        >>> model = load_classification_model("pocket-xs", 2, head_seed=3)
        >>> [name for name, _ in model.classifier.named_parameters()]
        ['dense.weight', 'dense.bias', 'out_proj.weight', 'out_proj.bias']

    Args:
        name: A name of ``params/models``, or a folder that holds a model.
        num_classes: C.
        head_seed: Of the head's weights.

    Returns:
        The model.

    Raises:
        InputError: If the model is unknown or unfit.
    """
    return ClassificationModel(load_pretrained(name), num_classes, head_seed).eval()
