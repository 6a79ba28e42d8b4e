"""A task as the kind of a model is asked: where the mask is, or where the text ends."""

from __future__ import annotations

from tangentlm.errors import InputError
from tangentlm.models.checkpoints import model_kind
from tangentlm.params import TaskRun
from tangentlm.tasks import Task, for_causal_model, task_of


def asked_task(run: TaskRun) -> Task:
    """The task of a run, as the kind of its model is asked.

    Args:
        run: A run on a task.

    Returns:
        The task with the run's prompt; of a causal model, with the template that ends with the
        label word.

    Raises:
        InputError: If task or model is unknown, the task has no such template, or the prompt is
            one for masked language models.
    """
    task = task_of(run)
    if run.head != "prompt" or model_kind(run.model) != "causal":
        return task
    if run.prompt.startswith("searched"):
        raise InputError(f"model {run.model} is causal; prompts were searched for masked models")
    if run.prompt == "published":
        raise InputError(
            f"model {run.model} is causal; the published prompts are for masked models"
        )
    return for_causal_model(task)
