"""A pool of samples and a model with LoRA and a random head: all that a kernel is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from tangentlm.afzal.live_dropout import Array, live_kernels
from tangentlm.afzal.pads import TWICE, EmbeddedTwice, with_pads
from tangentlm.batches import Batch
from tangentlm.finetune.chosen_lora import kernel_by_layer, with_lora
from tangentlm.kernels import Kernel, draw_lora
from tangentlm.models.checkpoints import load_tokenizer
from tangentlm.models.classification_head import ClassificationModel, load_classification_model
from tangentlm.models.logits import pick_device
from tangentlm.models.projections import projection_layers
from tangentlm.tasks import load_task
from tangentlm.tasks.pools import draw_rows
from tangentlm.tasks.prompts import encode

HEAD = "classifier."
"""The group of the head in a kernel that has the head in it."""
_OUTPUTS = 2
"""The head's: the kernel knows no labels, so any task can have it."""


@dataclass(frozen=True)
class Pool:
    """Samples of a task, and the model whose kernel it is.

    Attributes:
        model: With LoRA on queries, keys and values of all layers, at its start.
        batch: The samples.
    """

    model: nn.Module
    batch: Batch

    def layers(
        self, layers: Iterable[int] | None = None, projections: Sequence[str] = ("query", "value")
    ) -> list[str]:
        """The groups of the kernel that belong to some projections of some layers.

        Args:
            layers: Numbers of layers; all by default.
            projections: Of ``"query"``, ``"key"`` and ``"value"``.

        Returns:
            Names, for ``of_layers``.
        """
        return projection_layers(self.model, layers, projections)

    def kernel(
        self, head_seed: int, names: Sequence[str], *, formula: str = "sgd",
        outputs: str = "difference", head_in_kernel: bool = False,
    ) -> Kernel:  # fmt: skip
        """The kernel of all samples with one random head, a group for each layer.

        Args:
            head_seed: Which head.
            names: Layers with LoRA, from ``layers``.
            formula: As for ``entk``.
            outputs: As for ``entk``.
            head_in_kernel: Whether the head is trained, too; then it is the group ``HEAD``.

        Returns:
            The kernel.
        """
        self._draw_head(head_seed).classifier.requires_grad_(head_in_kernel)
        groups = [*names, HEAD] if head_in_kernel else names
        return kernel_by_layer(self.model, self.batch, groups, formula=formula, outputs=outputs)

    def live_kernels(self, head_seed: int, names: Sequence[str], rate: float) -> dict[str, Array]:
        """The kernel of each layer with one random head while LoRA's dropout is live.

        Args:
            head_seed: Which head, and which masks.
            names: Layers with LoRA, from ``layers``.
            rate: Dropout's p.

        Returns:
            As ``tangentlm.afzal.live_dropout.live_kernels``, of the difference of the logits.
        """
        model = self._draw_head(head_seed)
        return live_kernels(model, self.batch, names, rate=rate, seed=head_seed)

    def _draw_head(self, seed: int) -> ClassificationModel:
        assert isinstance(self.model, ClassificationModel)
        self.model.draw_head(seed)
        return self.model


def load_pool(
    task: str, model: str = "pocket", *, size: int, seed: int, rank: int = 8, alpha: float = 8.0,
    init: str = "kaiming-uniform", pads: str = "masked", max_length: int | None = None,
    data: str | Path | None = None, device: str = "auto",
) -> Pool:  # fmt: skip
    """Draw samples of a task and put LoRA and a head on a model.

    Example:
        >>> pool = load_pool("reviews", "pocket-xs", size=4, seed=0)
        >>> pool.kernel(0, pool.layers([0], ["key"])).values.shape
        (4, 1, 4, 1)

    Args:
        task: A task of ``params/tasks``.
        model: A model of ``params/models``, or a folder that holds one.
        size: How many samples.
        seed: Of their draw, and of LoRA's matrices A.
        rank: LoRA's r.
        alpha: LoRA's alpha.
        init: How the matrices A are drawn, as ``draw_lora`` takes it.
        pads: One of ``PADS``; padding that is read fills every row up to ``max_length``.
        max_length: Longer texts are cut to so many tokens; the task's own by default.
        data: A data folder; the variable ``TANGENTLM_DATA`` by default.
        device: Where the model is, as ``pick_device`` reads it.

    Returns:
        The pool.

    Raises:
        InputError: If the task's rows or the model are not at hand, or an argument is wrong.
    """
    the_task = load_task(task) if max_length is None else load_task(task, max_length=max_length)
    rows = draw_rows(the_task, size, seed, data=data)
    batch = encode(the_task, load_tokenizer(model), rows, "linear")
    network = load_classification_model(model, _OUTPUTS)
    if pads == TWICE:
        network.body = EmbeddedTwice(network.body)
    names = projection_layers(network, projections=("query", "key", "value"))
    with_lora(network, draw_lora(network, names, rank=rank, seed=seed, init=init), alpha)
    network.to(pick_device(device))
    return Pool(network, with_pads(batch, pads, max_length))


def paper_subsets(pool: Pool, layers: tuple[int, int, int]) -> dict[str, list[str]]:
    """The choices of layers and projections that the paper has, in its words.

    Args:
        pool: Whose layers they are.
        layers: The first, middle and last layer, 0, 5 and 11 in the paper.

    Returns:
        Names of layers by the words for the choice, e.g. ``"q+v {0,5,11}"``; {11} alone is in the
        paper's text, not in its table.
    """
    first, _, last = layers
    chosen = [((first,), "q+v"), ((last,), "q+v"), ((first, last), "q+v"), (layers, "q+v")]
    projections = {"q+v": ("query", "value"), "k": ("key",)}
    return {
        f"{which} {{{','.join(map(str, some))}}}": pool.layers(some, projections[which])
        for some, which in [*chosen, (layers, "k")]
    }
