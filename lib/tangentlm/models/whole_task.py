"""A whole task, ready to fine-tune a model with a linear head on."""

from __future__ import annotations

from tangentlm.errors import InputError
from tangentlm.models.checkpoints import load_tokenizer
from tangentlm.models.few_shot import FewShot
from tangentlm.models.heads import load_model
from tangentlm.models.logits import pick_device
from tangentlm.params import WholeTaskRun
from tangentlm.tasks import Example, load_task, load_whole
from tangentlm.tasks.prompts import encode, labels_of


def whole_task(run: WholeTaskRun, shifted: tuple[str, ...] = ()) -> FewShot:
    """Load what a run on a whole task computes with; the linear head is at zero.

    Example:
        >>> from tangentlm.params import HeadKernelsRun
        >>> task = whole_task(HeadKernelsRun(task="reviews", test_size=20, device="cpu"))
        >>> {name: len(task.part(name)) for name in task.parts}
        {'train': 252, 'dev': 28, 'test': 20}

    Args:
        run: Its parameters.
        shifted: Tasks with the same labels, whose test rows are parts of their names.

    Returns:
        Task, split, model and encoded samples; the model reads the first token.

    Raises:
        InputError: If data or model is not as it must be, or a shifted task has other labels.
    """
    length = {} if run.max_length is None else {"max_length": run.max_length}
    task = load_task(run.task, **length)
    split = load_whole(
        task, train_size=run.train_size, dev_size=run.dev_size, test_size=run.test_size,
        data=run.data,
    )  # fmt: skip
    samples: list[Example] = []
    parts = {}
    of_parts = {"train": split.train, "dev": split.dev, "test": split.test}
    for name in shifted:
        other = load_task(name)
        if other.labels != task.labels:
            raise InputError(f"tasks {run.task} and {name} have other labels")
        of_parts[name] = load_whole(other, test_size=run.test_size, data=run.data).test
    for name, rows in of_parts.items():
        parts[name] = slice(len(samples), len(samples) + len(rows))
        samples += rows
    tokenizer = load_tokenizer(run.model)
    model = load_model(run.model, task, "linear").to(pick_device(run.device))
    batch = encode(task, tokenizer, samples, "linear")
    return FewShot(task, split, tokenizer, model, batch, labels_of(samples), parts)
