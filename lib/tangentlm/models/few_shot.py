"""Everything that an experiment starts from: task, split, model, and the encoded samples."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tangentlm.batches import Batch, Labelled, select_rows
from tangentlm.errors import InputError, unknown_name
from tangentlm.models.asking import asked_task
from tangentlm.models.checkpoints import load_tokenizer
from tangentlm.models.heads import LinearHeadModel, PromptModel, load_model
from tangentlm.models.linear_probe import fit_linear_probe
from tangentlm.models.logits import pick_device
from tangentlm.params import KernelRun, TaskRun
from tangentlm.tasks import Split, Task, load_split
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
        labels: Their labels; of train and dev in another order if the run's are shuffled.
        parts: Where ``"train"``, ``"dev"`` and ``"test"`` lie in the batch; of a whole task also
            the test rows of shifted tasks, by their names.
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
            name: One of ``parts``.

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
        rows, used = (self.batch[name][:count] for name in ("input_ids", "attention_mask"))
        return [self.tokenizer.decode(row[of.bool()]) for row, of in zip(rows, used, strict=True)]


def few_shot(run: TaskRun | str, **parameters: Any) -> FewShot:
    """Load what a run computes with; a linear head is at the linear-probing solution.

    Example:
        >>> from tangentlm.models.logits import logits_of
        >>> shots = few_shot("reviews", k=4, test_size=10, device="cpu")
        >>> train = shots.part("train")
        >>> logits_of(shots.model, train.batch).shape, train.labels.shape
        (torch.Size([8, 2]), torch.Size([8]))

    Args:
        run: Its parameters, or the name of a task.
        **parameters: Beside the name of a task, what is not as usual: ``k``, ``seed``, ``model``,
            ``head``, ``pooling``, ``prompt``, ``labels``, ``data``, ``test_size`` or ``device``, as
            ``TaskRun`` has them.

    Returns:
        Task, split, model and encoded samples.

    Raises:
        InputError: If a parameter is unknown, or the data, the model or a label word is not as it
            must be.
    """
    if isinstance(run, str):
        run = _run_of(run, parameters)
    elif parameters:
        raise InputError("few_shot takes parameters beside a task's name; a run has its own")
    task = asked_task(run)
    split = load_split(task, run.k, run.seed, data=run.data, test_size=run.test_size)
    tokenizer = load_tokenizer(run.model)
    model = load_model(run.model, task, run.head, run.pooling).to(pick_device(run.device))
    samples = [*split.train, *split.dev, *split.test]
    n, m = len(split.train), len(split.dev)
    parts = {"train": slice(0, n), "dev": slice(n, n + m), "test": slice(n + m, len(samples))}
    batch = encode(task, tokenizer, samples, run.head)
    labels = labels_of(samples)
    if run.labels == "shuffled":
        _shuffle(labels, (parts["train"], parts["dev"]), run.seed)
    shots = FewShot(task, split, tokenizer, model, batch, labels, parts)
    if isinstance(model, LinearHeadModel):
        fit_linear_probe(model, shots.part("train"))
    return shots


def every_test_row(run: TaskRun, shots: FewShot) -> Labelled:
    """All test rows that a task has, not those alone that a run scores.

    Args:
        run: The run.
        shots: Its few-shot problem.

    Returns:
        The rows, as the run's model reads them.
    """
    split = load_split(shots.task, run.k, run.seed, data=run.data, test_size=sys.maxsize)
    batch = encode(shots.task, shots.tokenizer, split.test, run.head)
    return Labelled(batch, labels_of(split.test))


def _shuffle(labels: Tensor, parts: Iterable[slice], seed: int) -> None:
    """Give each part's labels another order, in place: what is left of the task is their number."""
    generator = torch.Generator().manual_seed(seed)
    for part in parts:
        order = torch.randperm(part.stop - part.start, generator=generator)
        labels[part] = labels[part][order]


def _run_of(task: str, parameters: dict[str, Any]) -> TaskRun:
    for name in parameters:
        if name not in TaskRun.model_fields:
            raise unknown_name("parameter", name, TaskRun.model_fields)
    run = KernelRun.parse({"task": task, **parameters}, "few_shot")  # any run on a task would do
    run.check_names()
    return run
