"""Tasks: where a task's data is, its prompt, its label words and its metric.

Prompts and label words are those of Table 2 of Malladi-v1; label words stand in the order of the
data's labels, which is not everywhere the order in which the paper prints them.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tangentlm.errors import InputError
from tangentlm.params import Strict, named_file, names, read_yaml


class Hub(Strict):
    """A data set of the Hugging Face hub that loads without a loading script.

    ``values`` are the entries of the label column in the order of the task's labels, where that
    column does not simply hold 0 to C-1 in that order.
    """

    path: str
    config: str | None = None
    revision: str | None = None
    train: str = "train"
    test: str = "test"
    text_a: str
    text_b: str | None = None
    label: str = "label"
    values: tuple[str, ...] | None = None


class Task(Strict):
    """A few-shot classification task.

    Attributes:
        name: Its name, e.g. ``"sst2"``, also the folder's name in a data folder.
        title: Its name in print, e.g. ``"SST-2"``.
        labels: What the labels 0 to C-1 mean.
        template: The prompt, with ``{text_a}``, ``{text_b}`` for pairs, and one ``{mask}``.
        causal: The prompt for models that only read on, ending with ``{mask}``: the label word is
            what comes next. ``None`` where ``template`` ends so itself, or nobody wrote one.
        label_words: The C words that may fill the mask, in the order of the labels.
        metric: What test performance means: accuracy, or F1 of label 1.
        max_length: The longest row in tokens; texts are cut to fit, never the prompt.
        short_dev: Whether a class with fewer than 2k examples may have fewer than k as dev, but at
            least one; elsewhere it is refused.
        short_train: Whether a class with fewer than k examples may have them all in train and none
            in dev.
        bundled: Whether the project ships the task in ``assets/tasks``.
        probed: Whether the experiment that probes a language model asks it; not the tasks that came
            after its runs.
        hub: Where the data is on the hub, if it is there.
        note: What a reader should know.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    template: str
    causal: str | None = None
    label_words: tuple[str, ...]
    metric: Literal["accuracy", "f1"] = "accuracy"
    max_length: int = Field(default=128, ge=8)
    short_dev: bool = False
    short_train: bool = False
    bundled: bool = False
    probed: bool = True
    hub: Hub | None = None
    note: str = ""

    @property
    def num_classes(self) -> int:
        """C, the number of classes."""
        return len(self.labels)

    @property
    def is_pair(self) -> bool:
        """Whether an example is a pair of texts."""
        return "{text_b}" in self.template

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.labels) < 2:
            raise ValueError("a task needs at least two labels")
        if len(self.label_words) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels but {len(self.label_words)} label words")
        if len(set(self.labels)) < len(self.labels) or not all(map(str.strip, self.labels)):
            raise ValueError(f"each label needs a name of its own, not {list(self.labels)}")
        _check_label_words(self.labels, self.label_words)
        _check_template(self.template)
        if self.causal is not None:
            _check_template(self.causal)
            if not self.causal.endswith("{mask}"):
                raise ValueError("the causal template has to end with {mask}")
            if ("{text_b}" in self.causal) != self.is_pair:
                raise ValueError("the causal template and the template need the same texts")
        if self.metric == "f1" and self.num_classes != 2:
            raise ValueError("F1 is for two classes")
        return self


def _check_label_words(labels: Sequence[str], words: Sequence[str]) -> None:
    """Refuse a class without a word, and two classes with one: its predictions would be ties."""
    owner: dict[str, str] = {}
    for label, word in zip(labels, map(str.strip, words), strict=True):
        if not word:
            raise ValueError(f"the label word of class {label!r} is empty")
        if word in owner:
            raise ValueError(f"classes {owner[word]!r} and {label!r} have one label word, {word!r}")
        owner[word] = label


def _check_template(template: str) -> None:
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"the template {template!r} has an unpaired brace ({error})") from None
    fields = [name for _, name, _, _ in parsed if name is not None]
    plain = not any(form or conversion for _, _, form, conversion in parsed)
    allowed = ({"text_a", "mask"}, {"text_a", "text_b", "mask"})
    if set(fields) not in allowed or len(fields) != len(set(fields)) or not plain:
        raise ValueError("the template needs {text_a}, {mask} and, for pairs, {text_b}, once each")


def for_causal_model(task: Task) -> Task:
    """The task as a causal language model is asked: its template is the causal one.

    Args:
        task: The task.

    Returns:
        The task, with a template that ends with ``{mask}``.

    Raises:
        InputError: If it has none.
    """
    if task.template.endswith("{mask}"):
        return task
    if task.causal is None:
        raise InputError(
            f"task {task.name} has no template for causal models; give it 'causal', a template "
            "that ends with {mask}"
        )
    return Task.parse({**task.model_dump(), "template": task.causal}, f"task {task.name}")


def list_tasks() -> list[str]:
    """The names of the tasks in ``params/tasks``.

    Returns:
        Sorted names.
    """
    return names("task")


def probed_tasks() -> list[str]:
    """The names of the tasks that the experiment on language models, ``probe``, asks.

    Returns:
        Sorted names.
    """
    return [name for name in list_tasks() if load_task(name).probed]


def load_task(name: str, **changes: Any) -> Task:
    """The task ``params/tasks/<name>.yaml``.

    Example:
        >>> load_task("sst2").label_words
        ('terrible', 'great')
        >>> load_task("sst2", label_words=["bad", "good"]).label_words
        ('bad', 'good')

    Args:
        name: The task's name, e.g. ``"sst2"``.
        **changes: Fields to replace, e.g. another ``template``.

    Returns:
        The task.

    Raises:
        InputError: If the task is unknown or its file is wrong.
    """
    values = read_yaml(named_file("task", name))
    return Task.parse({"name": name, **values, **changes}, f"task {name}")
