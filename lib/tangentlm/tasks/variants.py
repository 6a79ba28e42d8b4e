"""A task asked in another way: a null prompt, unrelated label words, a searched prompt."""

from __future__ import annotations

import csv
import json
from typing import Any

from tangentlm.errors import InputError
from tangentlm.params import Prompt, TaskRun, project_root
from tangentlm.tasks.task import Task, load_task, probed_tasks

PRINTED_SPLIT = 42
"""The split of Table E.1 of Gao et al. (2021), whose top results Malladi et al. take."""
UNRELATED_WORDS = ("house", "water", "paper", "night", "table", "river")
"""Label words that have nothing to do with any task's classes."""


def with_prompt(task: Task, prompt: Prompt, seed: int = 13) -> Task:
    """The task asked in another way.

    Example:
        >>> with_prompt(load_task("sst2"), "null").template
        '{text_a} {mask}'
        >>> with_prompt(load_task("sst2"), "unrelated").label_words
        ('house', 'water')

    Args:
        task: The task with its manual prompt.
        prompt: ``"manual"``: as it is; ``"null"``: the texts and then the mask, with no other word
            (Logan IV et al. 2022), with the same label words; ``"unrelated"``: the manual
            template, with label words that have nothing to do with the classes; ``"searched"``:
            template and label words that Gao et al. (2021) found by search with RoBERTa-large on
            the split itself; ``"searched-once"``: those of ``PRINTED_SPLIT`` for every split;
            ``"published"``: the manual template as the ICML version of Malladi et al. prints it,
            with a blank before the question mark.
        seed: The few-shot split; a search has a result for each.

    Returns:
        The task.

    Raises:
        InputError: If the task has more classes than there are unrelated words, nobody searched
            a prompt for the task and split, or both versions print the same prompt.
    """
    if prompt == "manual":
        return task
    values = task.model_dump()
    if prompt == "searched":
        values |= _searched(task, seed)
    elif prompt == "searched-once":
        values |= _searched(task, PRINTED_SPLIT)
    elif prompt == "published":
        values["template"] = task.template.replace("{text_a}?", "{text_a} ?")
        if values["template"] == task.template:
            raise InputError(f"task {task.name}: both versions of the paper print one prompt")
    elif prompt == "null":
        values["template"] = "{text_a} {text_b} {mask}" if task.is_pair else "{text_a} {mask}"
    elif task.num_classes > len(UNRELATED_WORDS):
        raise InputError(f"task {task.name}: only {len(UNRELATED_WORDS)} unrelated label words")
    else:
        values["label_words"] = UNRELATED_WORDS[: task.num_classes]
    return Task.parse(values, f"task {task.name}")


def searched_label_words() -> list[str]:
    """The best label words of every split that Gao et al. (2021) searched, for our tasks.

    Returns:
        Sorted words.
    """
    titles = {load_task(name).title.casefold() for name in probed_tasks()}
    best = (r for r in _search_results() if r["rank"] == "1" and r["task"].casefold() in titles)
    return sorted({word for row in best for word in json.loads(row["label_words"]).values()})


def _search_results() -> list[dict[str, str]]:
    path = project_root() / "results" / "reported" / "lmbff_searched_prompts.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _searched(task: Task, seed: int) -> dict[str, Any]:
    """The best template and the best label words of a split, each searched beside a manual one."""
    of_task = [r for r in _search_results() if r["task"].casefold() == task.title.casefold()]
    best = next((r for r in of_task if r["seed"] == str(seed) and r["rank"] == "1"), None)
    if best is None:
        known = sorted({int(row["seed"]) for row in of_task})
        found = f"only for the splits {known}" if known else "for none of its splits"
        raise InputError(f"task {task.name}: a prompt was searched {found}, not for {seed}")
    words: dict[str, str] = json.loads(best["label_words"])
    numbers = [str(label) for label in range(task.num_classes)]
    labels = [label.replace(" ", "_") for label in task.labels]
    names = numbers if "0" in words else labels
    return {
        "template": best["template_readable"],
        "label_words": tuple(words[name] for name in names),
    }


def task_of(run: TaskRun) -> Task:
    """The task of a run, asked with the run's prompt.

    Args:
        run: A run on a task.

    Returns:
        The task.
    """
    return with_prompt(load_task(run.task), run.prompt, run.seed)
