"""Models that map a batch to (N, C) logits, made from any masked language model.

Two heads: ``"prompt"`` reads the logits of the label words at the mask (prompt-based
fine-tuning, Section 2 of Malladi-v1), ``"linear"`` is a linear layer on the first token
(standard fine-tuning). Nothing here depends on the architecture: the body is whatever the
checkpoint calls its base model, and the masked-LM head runs on one position only.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from tangentlm.models.checkpoints import load_masked_lm, load_tokenizer
from tangentlm.tasks import Task
from tangentlm.tasks.prompts import label_word_ids


class LabelWordDecoder(nn.Module):
    """The rows of a masked-LM decoder that belong to the label words.

    It shares the decoder's parameters (and so stays tied to the embedding where the decoder is),
    but multiplies C rows instead of the whole vocabulary.
    """

    def __init__(self, decoder: nn.Linear, word_ids: list[int]) -> None:
        super().__init__()
        self.weight = decoder.weight
        self.bias = decoder.bias
        self.register_buffer("word_ids", torch.tensor(word_ids), persistent=False)
        self.word_ids: Tensor

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits of the label words.

        Args:
            hidden: (..., h).

        Returns:
            (..., C).
        """
        bias = None if self.bias is None else self.bias[self.word_ids]
        return nn.functional.linear(hidden, self.weight[self.word_ids], bias)


class PromptModel(nn.Module):
    """The logits of the label words at the mask: f(s) = Phi^T h_[MASK](s), shape (N, C)."""

    def __init__(self, masked_lm: Any, word_ids: list[int]) -> None:
        super().__init__()
        masked_lm.set_output_embeddings(
            LabelWordDecoder(masked_lm.get_output_embeddings(), word_ids)
        )
        self.masked_lm = masked_lm
        self.num_classes = len(word_ids)

    def forward(self, input_ids: Tensor, mask_position: Tensor, **inputs: Tensor) -> Tensor:
        """Logits of the label words.

        Args:
            input_ids: (N, T).
            mask_position: (N,), where each row's mask is.
            **inputs: The rest of the batch, e.g. ``attention_mask``.

        Returns:
            (N, C).
        """
        rows = torch.arange(len(input_ids), device=input_ids.device)

        def keep_mask(_module: nn.Module, _args: object, output: Any) -> Any:
            # The head is applied position by position, so only the mask's position is needed.
            hidden = output.last_hidden_state
            output.last_hidden_state = hidden[rows, mask_position].unsqueeze(1)
            return output

        hook = self.masked_lm.base_model.register_forward_hook(keep_mask)
        try:
            logits = self.masked_lm(input_ids=input_ids, **inputs).logits
        finally:
            hook.remove()
        return logits.squeeze(1)


class LinearHeadModel(nn.Module):
    """A linear layer on the first token: f(s) = Gamma h_[CLS](s) + b, shape (N, C)."""

    def __init__(self, masked_lm: Any, num_classes: int) -> None:
        super().__init__()
        self.body = masked_lm.base_model
        self.classifier = nn.Linear(masked_lm.config.hidden_size, num_classes)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)
        self.num_classes = num_classes

    def forward(self, input_ids: Tensor, **inputs: Tensor) -> Tensor:
        """Logits of the classes.

        Args:
            input_ids: (N, T).
            **inputs: The rest of the batch, e.g. ``attention_mask``.

        Returns:
            (N, C).
        """
        hidden = self.body(input_ids=input_ids, **inputs).last_hidden_state
        return self.classifier(hidden[:, 0])


def load_model(
    name: str, task: Task, head: Literal["prompt", "linear"] = "prompt"
) -> PromptModel | LinearHeadModel:
    """A model of a task: ``model(**batch) -> (N, C)`` logits, in eval mode.

    Example:
        >>> from tangentlm.tasks import load_task
        >>> load_model("pocket", load_task("reviews")).num_classes
        2

    Args:
        name: A name of ``params/models``, or a folder that holds a masked-LM.
        task: The task, which gives the label words or the number of classes.
        head: ``"prompt"``: label-word logits at the mask; ``"linear"``: a linear layer, at
            zero, on the first token.

    Returns:
        The model.

    Raises:
        InputError: If the model is unknown or unfit, or a label word is not one token.
    """
    if head == "linear":
        return LinearHeadModel(load_masked_lm(name), task.num_classes).eval()
    word_ids = label_word_ids(task, load_tokenizer(name))
    return PromptModel(load_masked_lm(name), word_ids).eval()
