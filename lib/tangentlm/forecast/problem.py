"""From texts and a model to what a forecast computes with: features, zero-shot logits, kernel.

One kernel serves all classes. With logits f of C label words it is that of their contrasts, the
C - 1 directions that a softmax sees: k(x, x') = sum over r of <grad g_r(x), grad g_r(x')>, g = f B
with orthonormal columns of B that sum to zero. Without label words f has the logits of two plain
words, whatever the classes are; of a model that predicts no words, g has a few random outputs on
the mean hidden state. None of them knows a label, so one computation serves every fold.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import helmert
from torch import Tensor, nn

from tangentlm.batches import Batch
from tangentlm.errors import InputError
from tangentlm.forecast.asking import unfit, usual_template, why_unasked
from tangentlm.kernels import entk
from tangentlm.models.checkpoints import (
    list_models,
    load_checkpoint,
    load_pretrained,
    load_tokenizer,
    model_kind,
)
from tangentlm.models.heads import LinearHeadModel, load_model
from tangentlm.models.linear_probe import PooledFeatures
from tangentlm.models.logits import logits_of
from tangentlm.tasks import Example, Task
from tangentlm.tasks.labelled_texts import LabelledTexts
from tangentlm.tasks.prompts import encode

Array = NDArray[np.float64]

PLAIN_WORDS = ("good", "bad")
"""What the kernel is of where there are no label words. On SUBJ such a kernel told 84 % of left-out
rows rightly and that of a random head 79 % (300 rows, model pocket), at a quarter of the cost."""
RANDOM_OUTPUTS = 4
"""Outputs of the random head, where the model predicts no words."""
MAX_LENGTH = 128
"""Tokens of a row; longer texts are cut."""


class ContrastModel(nn.Module):
    """The C - 1 contrasts of a model's C logits: what of them a softmax sees."""

    def __init__(self, model: nn.Module, classes: int) -> None:
        super().__init__()
        self.model = model
        basis = torch.from_numpy(helmert(classes).T.copy()).float()
        self.register_buffer("basis", basis, persistent=False)
        self.basis: Tensor

    def forward(self, **batch: Tensor) -> Tensor:
        """The contrasts.

        Args:
            **batch: What the model reads.

        Returns:
            (N, C - 1).
        """
        logits: Tensor = self.model(**batch)
        return logits @ self.basis.to(logits.dtype)


@dataclass(frozen=True)
class Problem:
    """A task and a model, ready to compute with.

    Attributes:
        name: The model's name.
        texts: Texts, labels and classes.
        task: What is asked; its template and label words count only with a prompt.
        prompted: Whether there are label words, each one token of the model.
        reason: Why not, where there are none.
        tokenizer: The model's tokenizer.
        reader: The model whose pooled hidden states the probe reads.
        words: The words that the kernel is of; none where it is of a random head.
        traced: The model whose kernel is computed.
    """

    name: str
    texts: LabelledTexts
    task: Task
    prompted: bool
    reason: str | None
    tokenizer: Any
    reader: LinearHeadModel
    words: tuple[str, ...]
    traced: ContrastModel | LinearHeadModel

    def batch(self, texts: LabelledTexts, head: str) -> Batch:
        """Texts as a model with this head reads them.

        Args:
            texts: The texts.
            head: ``"prompt"`` or ``"linear"``.

        Returns:
            Tensors with leading axis N.
        """
        return encode(self.task, self.tokenizer, examples_of(texts), head)

    def features(self, texts: LabelledTexts) -> Array:
        """The mean hidden state of each text without a prompt.

        Args:
            texts: N texts.

        Returns:
            (N, h).
        """
        features = logits_of(PooledFeatures(self.reader), self.batch(texts, "linear"))
        return np.asarray(features.double().numpy())

    def zero_shot(self, texts: LabelledTexts) -> Array:
        """The logits of the label words, before any training.

        Args:
            texts: N texts.

        Returns:
            (N, C).

        Raises:
            InputError: If there are no label words.
        """
        if not self.prompted or not isinstance(self.traced, ContrastModel):
            raise InputError(str(self.reason))
        logits = logits_of(self.traced.model, self.batch(texts, "prompt"))
        return np.asarray(logits.double().numpy())

    def kernel(
        self,
        texts: LabelledTexts,
        others: LabelledTexts | None = None,
        *,
        grouped: bool = False,
        progress: bool = False,
    ) -> tuple[Array, dict[str, Array]]:
        """The kernel of the traced outputs.

        Args:
            texts: N texts, the rows.
            others: M texts, the columns; by default the rows.
            grouped: Whether to part it by layer.
            progress: Whether to show a progress bar.

        Returns:
            (N, M), and the parts by layer, which sum to it; none unless ``grouped``.
        """
        head = "prompt" if self.words else "linear"
        kernel = entk(
            self.traced,
            self.batch(texts, head),
            None if others is None else self.batch(others, head),
            outputs="trace",
            by=layer_name if grouped else None,
            progress=progress,
        )
        parts = {name: values[:, 0, :, 0] for name, values in kernel.groups.items()}
        return kernel.values[:, 0, :, 0], parts


def make_problem(
    texts: LabelledTexts,
    model: str,
    *,
    template: str | None = None,
    label_words: tuple[str, ...] | None = None,
    seed: int = 13,
    max_length: int = MAX_LENGTH,
) -> Problem:
    """A task and a model, ready to compute with.

    Args:
        texts: Texts, labels and classes, two at least.
        model: A name of ``params/models``, or a folder that holds a model.
        template: The prompt; a plain one by default.
        label_words: One a class, in the order of ``texts.classes``; by default the classes' names,
            where each is one token of the model.
        seed: Of the random head, where the model predicts no words.
        max_length: Tokens of a row; longer texts are cut.

    Returns:
        The problem.

    Raises:
        InputError: If the model is unknown, or template or label words are not as they must be.
    """
    tokenizer = load_tokenizer(model)
    tokenizer.model_max_length = sys.maxsize  # rows are cut here, so it need not warn
    kind = model_kind(model)
    usual = usual_template(kind, pairs=texts.pairs is not None)
    task = Task.parse(
        {
            "name": "forecast",
            "title": "This task",
            "labels": list(texts.classes),
            "template": template or usual,
            "label_words": list(label_words or texts.classes),
            "max_length": max_length,
        },
        "forecast",
    )
    if task.is_pair != (texts.pairs is not None):
        needed = "{text_b}, as the file has pairs" if texts.pairs else "no {text_b}"
        raise InputError(f"the template {task.template!r} needs {needed}")
    reason = why_unasked(task, tokenizer, kind, given=label_words is not None)
    if reason is not None and (label_words is not None or template is not None):
        raise InputError(reason)
    reader = LinearHeadModel(load_pretrained(model), RANDOM_OUTPUTS, "mean").eval()
    words = task.label_words if reason is None else PLAIN_WORDS
    asked = task.model_copy(update={"labels": words, "label_words": words})
    if kind == "encoder" or unfit(asked, tokenizer):
        draw_head(reader, seed)
        return Problem(model, texts, task, False, reason, tokenizer, reader, (), reader)
    traced = ContrastModel(load_model(model, asked), len(words)).eval()
    return Problem(model, texts, task, reason is None, reason, tokenizer, reader, words, traced)


def draw_head(model: LinearHeadModel, seed: int) -> None:
    """Draw a random head, rows from N(0, I / h); the bias is zero.

    Args:
        model: Changed in place.
        seed: Of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    weight = model.classifier.weight
    drawn = torch.empty(weight.shape).normal_(generator=generator)
    with torch.no_grad():
        weight.copy_(drawn / weight.shape[1] ** 0.5)


def examples_of(texts: LabelledTexts) -> list[Example]:
    """Texts as the encoders take them.

    Args:
        texts: N texts.

    Returns:
        N examples.
    """
    pairs = texts.pairs or [None] * len(texts.texts)
    triples = zip(texts.texts, pairs, texts.labels, strict=True)
    return [Example(text, pair, label) for text, pair, label in triples]


def layer_name(parameter: str) -> str:
    """Where in the model a parameter is, in words.

    Example:
        >>> layer_name("model.masked_lm.model.layers.3.mlp.Wo.weight")
        'layer 4'

    Args:
        parameter: Its name.

    Returns:
        ``"embedding"``, ``"layer 1"`` and so on, or ``"head"``, with the norm before it.
    """
    number = next((part for part in parameter.split(".") if part.isdigit()), None)
    if number is not None:
        return f"layer {int(number) + 1}"
    return "embedding" if "embed" in parameter else "head"


def about_model(name: str) -> str:
    """What a model is, in its card's words.

    Args:
        name: As for ``load_model``.

    Returns:
        A sentence.
    """
    return load_checkpoint(name).about if name in list_models() else "A model in a folder."
