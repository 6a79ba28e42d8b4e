"""Rows to train on, rows to test on, and a model with LoRA on every layer, of which one chooses."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from tangentlm.batches import Labelled
from tangentlm.errors import InputError, unknown_name
from tangentlm.finetune.chosen_lora import with_lora
from tangentlm.kernels import draw_lora
from tangentlm.models.checkpoints import load_tokenizer, model_kind
from tangentlm.models.classification_head import ClassificationModel, load_classification_model
from tangentlm.models.heads import PromptModel, load_model
from tangentlm.models.logits import pick_device
from tangentlm.models.projections import (
    projection_layers,
    split_projections,
)
from tangentlm.params import Choices, LayersRun
from tangentlm.tasks import Task, load_task
from tangentlm.tasks.pools import draw_two_parts
from tangentlm.tasks.prompts import encode, labels_of

Subset = tuple[int, ...]
"""Numbers of layers, ascending; no layer at all is the control."""


@dataclass
class Problem:
    """A task and a model whose layers one chooses for LoRA.

    Attributes:
        task: The task.
        model: With LoRA on the queries and values of all layers, at its start; in eval mode.
        train: The rows to train on.
        test: Other rows of the task.
        start: The parameters that training may change, as they are at the start.
    """

    task: Task
    model: PromptModel | ClassificationModel
    train: Labelled
    test: Labelled
    start: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        trained = {name for name, p in self.model.named_parameters() if p.requires_grad}
        state = self.model.state_dict()
        self.start = {name: state[name].detach().clone() for name in sorted(trained)}

    @property
    def depth(self) -> int:
        """How many layers the model has."""
        return len(self.names()) // 2

    def names(self, subset: Sequence[int] | None = None) -> list[str]:
        """The names of the layers with LoRA that belong to a subset.

        Args:
            subset: Numbers of layers; all by default.

        Returns:
            Queries and values, for ``kernel_by_layer`` and ``of_layers``.
        """
        return projection_layers(self.model, subset)

    def subsets(self, choices: Choices) -> list[Subset]:
        """The subsets of layers that a run goes through, small ones first.

        Args:
            choices: ``"every"``, ``"threes"`` or ``"all"``.

        Returns:
            Without the control.

        Raises:
            InputError: If the model has fewer than three layers and threes are asked for.
        """
        depth = self.depth
        if choices == "threes" and depth < 3:
            raise InputError(f"a model of {depth} layers has no three to choose")
        sizes = {"every": range(1, depth + 1), "threes": [3], "all": [depth]}
        if choices not in sizes:
            raise unknown_name("choices", choices, sizes)
        return [s for size in sizes[choices] for s in itertools.combinations(range(depth), size)]

    @contextmanager
    def chosen(self, subset: Subset) -> Generator[nn.Module]:
        """The model with LoRA on some layers alone, at its start; at its start again afterwards.

        Args:
            subset: Which layers.

        Yields:
            The model; what is not to be trained needs no gradient.
        """
        wanted = set(self.names(subset))
        layers: dict[str, Any] = {name: self.model.get_submodule(name) for name in self.names()}
        self.model.load_state_dict(self.start, strict=False)
        for name, layer in layers.items():
            layer.enable_adapters(name in wanted)
        try:
            yield self.model
        finally:
            for layer in layers.values():
                layer.enable_adapters(True)
            self.model.load_state_dict(self.start, strict=False)
            self.model.eval()


def subset_name(subset: Subset) -> str:
    """How tables call a subset of layers.

    Example:
        >>> subset_name((0, 2, 3)), subset_name(())
        ('0+2+3', 'none')

    Args:
        subset: Numbers of layers.

    Returns:
        The numbers, or ``"none"``.
    """
    return "+".join(map(str, subset)) or "none"


def load_problem(run: LayersRun) -> Problem:
    """Draw a run's rows and put LoRA, and if it has one a head, on its model.

    Example:
        >>> from tangentlm.params import LayerTrainingRun
        >>> run = LayerTrainingRun(task="reviews", model="pocket-xs", train_size=8, test_size=20)
        >>> problem = load_problem(run)
        >>> len(problem.train), len(problem.test), len(problem.subsets("every"))
        (8, 20, 15)

    Args:
        run: Its parameters.

    Returns:
        The problem.

    Raises:
        InputError: If the rows or the model are not at hand or unfit, or the model reads on.
    """
    if model_kind(run.model) == "causal":
        raise InputError(f"model {run.model} is causal; layers are chosen of encoders")
    task = load_task(run.task, **run.length)
    parts = draw_two_parts(task, run.train_size, run.test_size, run.seed, data=run.data)
    network: PromptModel | ClassificationModel
    if run.head == "prompt":
        prompted = load_model(run.model, task)
        assert isinstance(prompted, PromptModel)
        split_projections(prompted)
        network = prompted
    else:
        network = load_classification_model(run.model, task.num_classes, run.seed)
    names = projection_layers(network)
    with_lora(network, draw_lora(network, names, rank=run.rank, seed=run.seed), run.alpha)
    if isinstance(network, ClassificationModel):
        network.classifier.requires_grad_(True)
    network.to(pick_device(run.device))
    tokenizer = load_tokenizer(run.model)
    head = "prompt" if run.head == "prompt" else "linear"
    train, test = (Labelled(encode(task, tokenizer, rows, head), labels_of(rows)) for rows in parts)
    return Problem(task, network, train, test)
