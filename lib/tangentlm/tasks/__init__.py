"""Tasks: what is asked, where the rows are, and which of them a few-shot split has.

* ``task``: a task, its prompt and its label words;
* ``variants``: the same task asked in another way;
* ``sources``: its rows, from a data folder, the project's assets or the hub;
* ``splits``: k rows a class to train on, k as dev, and a test set;
* ``labelled_texts``: texts with labels from a file as people have it (imports pandas), with
  ``tables`` and ``separated`` (the file's form), ``columns`` (which are which), ``classes`` (labels
  however they are written) and ``letters``;
* ``prompts``: from rows to batches of tokens, with ``plain_text``, by which nothing in a text is a
  special token (imports torch).

What imports torch or pandas is not handed on here.
"""

from tangentlm.tasks.sources import DATA_VARIABLE, Example, has_rows, read_part, row_files
from tangentlm.tasks.splits import Split, at_most_per_class, load_split, load_whole
from tangentlm.tasks.task import Hub, Task, for_causal_model, list_tasks, load_task, probed_tasks
from tangentlm.tasks.variants import (
    UNRELATED_WORDS,
    searched_label_words,
    task_of,
    with_prompt,
)

__all__ = [
    "DATA_VARIABLE",
    "UNRELATED_WORDS",
    "Example",
    "Hub",
    "Split",
    "Task",
    "at_most_per_class",
    "for_causal_model",
    "has_rows",
    "list_tasks",
    "load_split",
    "load_task",
    "load_whole",
    "probed_tasks",
    "read_part",
    "row_files",
    "searched_label_words",
    "task_of",
    "with_prompt",
]
