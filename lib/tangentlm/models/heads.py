"""Models that map a batch to (N, C) logits, made from any language model or encoder.

Two heads: ``"prompt"`` reads the logits of the label words (prompt-based fine-tuning, Section 2 of
Malladi-v1), at the mask of a masked-LM or after the last token of a causal LM; ``"linear"`` is a
linear layer on one token or on the mean of all (standard fine-tuning). Nothing here depends on the
architecture: the body is whatever the checkpoint calls its base model, and a language-model head
runs on one position only.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from tangentlm.errors import InputError
from tangentlm.models.checkpoints import check_prompted, load_pretrained, load_tokenizer, model_kind
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


class CausalPromptModel(PromptModel):
    """The logits of the label words as a row's next word: f(s) = Phi^T h_T(s), shape (N, C).

    Rows may be padded on either side. Padding on the left is moved to the right, which changes
    nothing for a causal model: a token's position is the number of tokens before it. What all rows
    pad is cut off.
    """

    def forward(
        self,
        input_ids: Tensor,
        mask_position: Tensor,
        attention_mask: Tensor | None = None,
        **inputs: Tensor,
    ) -> Tensor:
        """Logits of the label words.

        Args:
            input_ids: (N, T).
            mask_position: (N,), where each row's last token is.
            attention_mask: (N, T); by default no token is padding.
            **inputs: The rest of the batch.

        Returns:
            (N, C).
        """
        rows = torch.arange(len(input_ids), device=input_ids.device)
        if attention_mask is not None:
            order = attention_mask.argsort(dim=1, descending=True, stable=True)
            order = order[:, : int(attention_mask.sum(dim=1).max())]
            mask_position = attention_mask.cumsum(dim=1)[rows, mask_position] - 1
            input_ids = input_ids.gather(1, order)
            inputs["attention_mask"] = attention_mask.gather(1, order)

        def keep_last(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            # Of the next words, only that after the last token is asked for.
            return (args[0][rows, mask_position].unsqueeze(1), *args[1:])

        hook = self.masked_lm.get_output_embeddings().register_forward_pre_hook(keep_last)
        try:
            logits = self.masked_lm(input_ids=input_ids, use_cache=False, **inputs).logits
        finally:
            hook.remove()
        return logits.squeeze(1)


Pooling = Literal["first", "mean", "last"]
"""What a linear head reads: the first token, the mean over tokens, or the last token."""


class LinearHeadModel(nn.Module):
    """A linear layer on pooled hidden states: f(s) = Gamma h(s) + b, shape (N, C)."""

    def __init__(self, pretrained: Any, num_classes: int, pooling: Pooling = "first") -> None:
        super().__init__()
        self.body = pretrained.base_model
        self.classifier = nn.Linear(pretrained.config.hidden_size, num_classes)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)
        self.num_classes = num_classes
        self.pooling = pooling

    def features(self, input_ids: Tensor, **inputs: Tensor) -> Tensor:
        """What the linear layer reads.

        Args:
            input_ids: (N, T).
            **inputs: The rest of the batch, e.g. ``attention_mask``.

        Returns:
            (N, h).
        """
        hidden: Tensor = self.body(input_ids=input_ids, **inputs).last_hidden_state
        if self.pooling == "first":
            return hidden[:, 0]
        mask = inputs.get("attention_mask", torch.ones_like(input_ids))
        if self.pooling == "last":
            last = mask.cumsum(dim=1).argmax(dim=1)
            return hidden[torch.arange(len(hidden), device=hidden.device), last]
        weights = mask[:, :, None].to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1)

    def forward(self, input_ids: Tensor, **inputs: Tensor) -> Tensor:
        """Logits of the classes.

        Args:
            input_ids: (N, T).
            **inputs: The rest of the batch, e.g. ``attention_mask``.

        Returns:
            (N, C).
        """
        logits: Tensor = self.classifier(self.features(input_ids, **inputs))
        return logits


def untied_head(model: PromptModel) -> list[str]:
    """Give a model a head that shares nothing with its body, as the authors' code has it.

    The rows of the label words become parameters of their own. The logits stay as they are; other
    rows of the decoder never had a gradient.

    Example:
        >>> from tangentlm.tasks import load_task
        >>> untied_head(load_model("pocket-xs", load_task("reviews")))
        ['masked_lm.head.dense.weight', 'masked_lm.head.norm.weight', 'masked_lm.decoder.weight']

    Args:
        model: A model with a prompt head; changed in place.

    Returns:
        The names of the head's parameters, which are all that are not the body's.
    """
    decoder = model.masked_lm.get_output_embeddings()
    if isinstance(decoder, LabelWordDecoder):
        own = nn.Linear(decoder.weight.shape[1], len(decoder.word_ids), decoder.bias is not None)
        own.to(decoder.weight).requires_grad_(decoder.weight.requires_grad).train(decoder.training)
        with torch.no_grad():
            own.weight.copy_(decoder.weight[decoder.word_ids])
            if decoder.bias is not None:
                own.bias.copy_(decoder.bias[decoder.word_ids])
        model.masked_lm.set_output_embeddings(own)
    body = {id(parameter) for parameter in model.masked_lm.base_model.parameters()}
    return [name for name, parameter in model.named_parameters() if id(parameter) not in body]


def last_layer(model: PromptModel | LinearHeadModel) -> list[str]:
    """The parameters of a model's last layer, the one before its head.

    Example:
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
    start = f"{longest}.{len(stacks[longest]) - 1}."
    return [name for name, _ in model.named_parameters() if name.startswith(start)]


def _reads_on(config: Any) -> bool:
    """Whether a model sees only what is before a token, with or without a head."""
    from transformers.models.auto import modeling_auto

    causal = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    masked = modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return config.model_type in causal and config.model_type not in masked


def load_model(
    name: str,
    task: Task,
    head: Literal["prompt", "linear"] = "prompt",
    pooling: Pooling | None = None,
) -> PromptModel | LinearHeadModel:
    """A model of a task: ``model(**batch) -> (N, C)`` logits, in eval mode.

    Example:
        >>> from tangentlm.tasks import load_task
        >>> load_model("pocket", load_task("reviews")).num_classes
        2

    Args:
        name: A name of ``params/models``, or a folder that holds a model.
        task: The task, which gives the label words or the number of classes.
        head: ``"prompt"``: label-word logits at the mask, or after the last token of a causal LM;
            ``"linear"``: a linear layer, at zero.
        pooling: What a linear layer reads: ``"first"``, ``"mean"`` or ``"last"``; by default the
            last token of a causal LM and the first token of any other model.

    Returns:
        The model.

    Raises:
        InputError: If the model is unknown or unfit, a label word is not one token, or the first
            token of a causal model is to be read.
    """
    if head == "linear":
        pretrained = load_pretrained(name)
        usual: Pooling = "last" if _reads_on(pretrained.config) else "first"
        if pooling == "first" and usual == "last":
            raise InputError(f"model {name} is causal: its first token sees nothing but itself")
        return LinearHeadModel(pretrained, task.num_classes, pooling or usual).eval()
    check_prompted(name)
    word_ids = label_word_ids(task, load_tokenizer(name))
    model_class = CausalPromptModel if model_kind(name) == "causal" else PromptModel
    return model_class(load_pretrained(name), word_ids).eval()
