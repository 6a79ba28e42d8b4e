"""Everything that an experiment starts from: task, split, model, and the encoded samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tangentlm.batches import Batch, Labelled, select_rows
from tangentlm.models.checkpoints import load_tokenizer
from tangentlm.models.heads import LinearHeadModel, PromptModel, load_model
from tangentlm.models.linear_probe import fit_linear_probe
from tangentlm.models.logits import pick_device
from tangentlm.params import TaskRun
from tangentlm.tasks import Split, Task, load_split, task_of
from tangentlm.tasks.prompts import encode, labels_of


@dataclass(frozen=True)
class FewShot:
    """A few-shot problem, ready to compute with.

    Attributes:
        task: What is asked, in the prompt that the run names.
        split: The texts and labels.
        tokenizer: The model's tokenizer.
        model: ``model(**batch) -> (N, C)``, in eval mode, on its device.
        batch: All samples, train, dev and test one after another.
        labels: Their labels.
        parts: Where ``"train"``, ``"dev"`` and ``"test"`` lie in the batch.
    """

    task: Task
    split: Split
    tokenizer: Any
    model: PromptModel | LinearHeadModel
    batch: Batch
    labels: Tensor
    parts: dict[str, slice]

    def part(self, name: str) -> Labelled:
        """The samples of one part, without the padding that only others need.

        Args:
            name: ``"train"``, ``"dev"`` or ``"test"``.

        Returns:
            Batch and labels.
        """
        index = self.parts[name]
        return Labelled(select_rows(self.batch, index), self.labels[index])

    def texts(self, count: int) -> list[str]:
        """The first rows as the model reads them.

        Args:
            count: How many.

        Returns:
            Decoded rows without padding.
        """
        rows = self.batch["input_ids"][:count]
        return [self.tokenizer.decode(row[row != self.tokenizer.pad_token_id]) for row in rows]


def few_shot(run: TaskRun) -> FewShot:
    """Load what a run computes with; a linear head is at the linear-probing solution.

    Example:
        >>> from tangentlm.models.logits import logits_of
        >>> from tangentlm.params import KernelRun
        >>> shots = few_shot(KernelRun(task="reviews", k=4, test_size=10, device="cpu"))
        >>> train = shots.part("train")
        >>> logits_of(shots.model, train.batch).shape, train.labels.shape
        (torch.Size([8, 2]), torch.Size([8]))

    Args:
        run: The parameters: a task, a model, a head, k, a seed and where the data is.

    Returns:
        Task, split, model and encoded samples.

    Raises:
        InputError: If the data, the model or a label word is not as it must be.
    """
    task = task_of(run)
    split = load_split(task, run.k, run.seed, data=run.data, test_size=run.test_size)
    tokenizer = load_tokenizer(run.model)
    model = load_model(run.model, task, run.head).to(pick_device(run.device))
    samples = [*split.train, *split.dev, *split.test]
    n, m = len(split.train), len(split.dev)
    parts = {"train": slice(0, n), "dev": slice(n, n + m), "test": slice(n + m, len(samples))}
    batch = encode(task, tokenizer, samples, run.head)
    shots = FewShot(task, split, tokenizer, model, batch, labels_of(samples), parts)
    if isinstance(model, LinearHeadModel):
        fit_linear_probe(model, shots.part("train"))
    return shots
