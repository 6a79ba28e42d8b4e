"""How a model is asked for the classes, and why it may not be.

With a prompt, a model is asked which label word fits best. It can be if it predicts words and knows
each label word as one token; without label words of the user's the classes' names serve, where they
are such words.
"""

from __future__ import annotations

from typing import Any

from tangentlm.errors import InputError
from tangentlm.tasks import Task
from tangentlm.tasks.prompts import label_word_ids, word_tokens

_TEMPLATES = {False: "{text_a} It was {mask}.", True: "{text_a} ? {mask} , {text_b}"}
_CAUSAL_TEMPLATES = {
    False: "{text_a}\nAnswer: {mask}",
    True: "{text_a}\n{text_b}\nAnswer: {mask}",
}


def usual_template(kind: str, *, pairs: bool) -> str:
    """The prompt where the user gives none.

    Example:
        >>> usual_template("masked", pairs=False)
        '{text_a} It was {mask}.'

    Args:
        kind: The model's, as ``model_kind`` tells it.
        pairs: Whether a row has two texts.

    Returns:
        A template.
    """
    return (_CAUSAL_TEMPLATES if kind == "causal" else _TEMPLATES)[pairs]


def why_unasked(task: Task, tokenizer: Any, kind: str, *, given: bool) -> str | None:
    """Why a model cannot be asked for the classes.

    Args:
        task: Classes, template and label words; these are the classes' names by default.
        tokenizer: The model's.
        kind: The model's, as ``model_kind`` tells it.
        given: Whether the user named the label words.

    Returns:
        A clause; ``None`` where it can be asked.
    """
    if kind == "encoder":
        return "the model has no language-model head, so it cannot be asked"
    if given:
        return unfit(task, tokenizer)
    if not all(any(map(str.isalpha, name)) for name in task.labels):
        return "the classes' names are no words, and no label words were given"
    wrong = unfit(task, tokenizer)
    return None if wrong is None else f"{wrong}, and no other label words were given"


def unfit(task: Task, tokenizer: Any) -> str | None:
    """What is wrong with a task's label words for a model.

    Args:
        task: Its label words.
        tokenizer: The model's.

    Returns:
        A clause; ``None`` where nothing is wrong.
    """
    for word in task.label_words:
        tokens = word_tokens(tokenizer, word)
        if len(tokens) != 1 or tokens[0] == tokenizer.unk_token_id:
            return f"the model does not know {word!r} as one word (one token)"
    try:
        label_word_ids(task, tokenizer)
    except InputError as error:
        return str(error).removeprefix(f"task {task.name}: ")
    return None
