"""Which column of a table holds the texts and which the labels: as told, or as its name says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tangentlm.errors import InputError, unknown_name

TEXT_NAMES = (
    "text", "text_a", "text1", "sentence", "sentence1", "premise", "question1", "review", "comment",
    "tweet", "content", "body", "message", "document", "post", "utterance", "query", "question",
    "description", "abstract", "headline", "title", "input",
)  # fmt: skip
"""Names of columns of texts, the likelier first."""

LABEL_NAMES = (
    "label", "labels", "target", "class", "category", "sentiment", "topic", "intent", "emotion",
    "gold", "gold_label", "polarity", "tag", "rating", "stars", "score", "spam", "y",
)  # fmt: skip
"""Names of columns of labels, the likelier first."""

PAIR_NAMES = {
    "text_a": "text_b", "text1": "text2", "sentence1": "sentence2", "premise": "hypothesis",
    "question1": "question2",
}  # fmt: skip
"""The name of the second text, by that of the first."""

_SHOWN = 12


@dataclass(frozen=True)
class Columns:
    """The columns that are read.

    Attributes:
        text: Of the texts.
        pair: Of the second texts, if there are any.
        label: Of the labels; ``None`` where there is none and there may be none.
        notes: What was guessed, a sentence each.
    """

    text: str
    pair: str | None
    label: str | None
    notes: tuple[str, ...]

    @property
    def named(self) -> dict[str, str]:
        """The columns that there are, by the names that ``read_labelled`` has for them."""
        named = {"text_column": self.text, "pair_column": self.pair, "label_column": self.label}
        return {name: column for name, column in named.items() if column is not None}


def find_columns(
    names: Sequence[str],
    *,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    may_lack_labels: bool = False,
) -> Columns:
    r"""The columns of texts and labels; what is not told is guessed by the names.

    A column is a candidate if it is called like one of ``TEXT_NAMES`` or ``LABEL_NAMES``, whatever
    the case, or else if one of its words is (``"Review Text"``, ``"class_label"``). The candidate
    whose name stands earlier there is taken, and among equals the earlier column. A second text is
    looked for only where the first one was guessed.

    Example:
        >>> found = find_columns(["id", "Tweet", "Comment", "Class"])
        >>> found.text, found.pair, found.label
        ('Comment', None, 'Class')
        >>> print(*found.notes, sep="\n")
        The labels are those of column 'Class' (a guess by its name).
        The texts are those of column 'Comment', not of 'Tweet' (a guess by their names).

    Args:
        names: All columns.
        text: The column of texts, if it is known.
        pair: That of the second texts.
        label: That of the labels.
        may_lack_labels: Whether a table without a column of labels will do.

    Returns:
        The columns.

    Raises:
        InputError: If a column does not exist, none can be guessed, or two are the same.
    """
    lacks_labels = may_lack_labels and not _has_labels(names, label)
    told = {
        "text": None if text is None else _named(text, names),
        "pair": None if pair is None else _named(pair, names),
        "label": None if label is None or lacks_labels else _named(label, names),
    }
    chosen = [name for name in told.values() if name is not None]
    if len(set(chosen)) < len(chosen):
        raise InputError(f"texts and labels need a column each, not {', '.join(map(repr, chosen))}")
    free = [name for name in names if name not in chosen]
    notes = [_without_labels(names, label)] if lacks_labels else []

    def guess(what: str, known: Sequence[str]) -> str:
        candidates = _candidates(free, known)
        if not candidates:
            raise InputError(
                f"no column is called like a column of {what}; name it with {what[:-1]}_column "
                f"(--{what[:-1]}-column); the columns are {_shown(names)}"
            )
        first, *others = candidates
        free.remove(first)
        instead = f", not of {' or '.join(map(repr, others))}" if others else ""
        names_say = "their names" if others else "its name"
        notes.append(f"The {what} are those of column {first!r}{instead} (a guess by {names_say}).")
        return first

    label_found = None if lacks_labels else told["label"] or guess("labels", LABEL_NAMES)
    text_found = told["text"] or guess("texts", TEXT_NAMES)
    pair_found = told["pair"]
    if text is None and pair is None:
        pair_found = _partner(text_found, free)
        if pair_found:
            notes.append(f"The second texts are those of column {pair_found!r} (a guess).")
    return Columns(text_found, pair_found, label_found, tuple(notes))


def _has_labels(names: Sequence[str], label: str | None) -> bool:
    """Whether there is the column of labels that is told, or one that is called like one."""
    if label is None:
        return bool(_candidates(names, LABEL_NAMES))
    return label.strip().lower() in {name.lower() for name in names}


def _without_labels(names: Sequence[str], label: str | None) -> str:
    """A sentence on a table in which no column of labels is found."""
    if label is None:
        return "It has no column of labels."
    alike = _candidates(names, LABEL_NAMES)
    instead = f", and column {alike[0]!r} is not taken instead" if alike else ""
    return f"It has no column {label!r}, so no labels are read{instead}."


def _named(name: str, names: Sequence[str]) -> str:
    """The column of this name, whatever its case where that is clear."""
    alike = [known for known in names if known.lower() == name.strip().lower()]
    if name in names:
        return name
    if len(alike) == 1:
        return alike[0]
    raise unknown_name("column", name, names)


def _words(name: str) -> list[str]:
    """The words of a column's name, e.g. of ``"ReviewText"`` or ``"review-text"``."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[\W_]+", parted.lower()) if word]


def _plain(name: str) -> str:
    """The name as those above are written, e.g. ``"sentence1"`` of ``"Sentence 1"``."""
    return re.sub(r"_(?=\d)", "", "_".join(_words(name)))


def _candidates(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """The columns that are called like this; the likelier first."""
    exact = {name: _plain(name) for name in names}
    found = [name for name in names if exact[name] in known]
    if found:
        return sorted(found, key=lambda name: known.index(exact[name]))
    ranks = {
        name: min((known.index(word) for word in _words(name) if word in known), default=None)
        for name in names
        if not {"id", "ids", "index"} & set(_words(name))
    }
    return sorted((name for name in ranks if ranks[name] is not None), key=lambda n: ranks[n] or 0)


def _partner(text: str, names: Sequence[str]) -> str | None:
    second = PAIR_NAMES.get(_plain(text))
    return next((name for name in names if _plain(name) == second), None)


def _shown(names: Sequence[str]) -> str:
    """The names for an error, not more and not longer than a line bears."""
    short = [repr(name if len(name) <= 30 else name[:27] + "...") for name in names[:_SHOWN]]
    return ", ".join(short) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
