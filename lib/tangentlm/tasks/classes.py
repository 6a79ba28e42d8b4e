"""The classes that a column of labels means: one class for one label, however it is written."""

from __future__ import annotations

import numbers
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tangentlm.errors import InputError

MISSING = ("", "nan", "NaN", "<NA>", "#N/A")
"""What a label that is missing may be written like; ``None`` or ``NA`` may well be classes."""

_LIKE_MISSING = ("na", "n/a", "none", "null")
_WHOLE = re.compile(r"[+-]?\d{1,15}(\.0*)?")
_LEADING_ZERO = re.compile(r"[+-]?0\d")
_SHOWN = 5
_MANY_NUMBERS = 20
"""With more different numbers than this, some of them no whole ones, none is a class."""


def class_name(value: Any) -> str | None:
    """The name of the class that a label means.

    Example:
        >>> [class_name(value) for value in ("0", 0, 0.0, " 0.0 ", False, "FALSE", "007", 0.5)]
        ['0', '0', '0', '0', 'false', 'false', '007', '0.5']
        >>> [class_name(value) for value in (None, float("nan"), " ", "None")]
        [None, None, None, 'None']

    Args:
        value: The label as a file has it.

    Returns:
        The name; ``None`` if the label is missing.
    """
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return None
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        value = repr(float(value)) if float(value) % 1 else f"{float(value):.0f}"
    text = str(value).strip()
    if text in MISSING:
        return None
    if _WHOLE.fullmatch(text) and not _LEADING_ZERO.match(text):
        return str(int(float(text)))
    return text.lower() if text.lower() in {"true", "false"} else text


def in_order(found: Sequence[str], known: Sequence[str] = ()) -> tuple[str, ...]:
    """The classes in their order: a known one, else numbers by size and names by alphabet.

    Example:
        >>> in_order(["10", "9", "10"]), in_order(["pos", "neg"]), in_order(["b", "a"], ["b", "a"])
        (('9', '10'), ('neg', 'pos'), ('b', 'a'))

    Args:
        found: The class of each row.
        known: All classes in the order that the file gives them.

    Returns:
        Those that occur.
    """
    occurring = set(found)
    if known:
        return tuple(name for name in known if name in occurring)
    if _are_numbers(occurring):
        return tuple(sorted(occurring, key=lambda name: (float(name), name)))
    return tuple(sorted(occurring))


def _are_numbers(names: set[str]) -> bool:
    try:
        return all(np.isfinite(float(name)) for name in names)
    except ValueError:
        return False


def check_classes(found: Sequence[str], column: str) -> None:
    """Refuse labels that are no classes.

    Args:
        found: The class of each row.
        column: The column of the labels, for errors.

    Raises:
        InputError: If there are fewer than two rows or classes, more than two classes and as many
            as half the rows, or many different numbers, some of which are not whole.
    """
    names = set(found)
    if len(found) < 2:
        raise InputError(f"labelled texts: {len(found)}; at least two are needed")
    if len(names) < 2:
        raise InputError(
            f"all {len(found)} labels of column {column!r} are {found[0]!r}; "
            "a task needs two classes"
        )
    are_numbers = _are_numbers(names)
    continuous = are_numbers and len(names) > _MANY_NUMBERS and any(float(n) % 1 for n in names)
    if continuous or (len(names) > 2 and 2 * len(names) >= len(found)):
        kind = "a number to predict" if are_numbers else "a text or a name"
        raise InputError(
            f"column {column!r} has {len(names)} different values in {len(found)} rows: "
            f"it looks like {kind}, not a class"
        )


def about_classes(labels: Sequence[Any], found: Sequence[str]) -> list[str]:
    """What a reader should know of the classes, a sentence each.

    Args:
        labels: The labels as the file has them.
        found: The class of each.

    Returns:
        Sentences on spellings that were joined, classes that may be one, and classes of one text.
    """
    spellings: dict[str, dict[str, None]] = defaultdict(dict)
    for label, name in zip(labels, found, strict=True):
        spellings[name][repr(label)] = None
    joined = [
        f"{_listed(list(ways))} are {name!r}" for name, ways in spellings.items() if len(ways) > 1
    ]
    counts = Counter(found)
    like_missing = [repr(name) for name in sorted(counts) if name.lower() in _LIKE_MISSING]
    alone = [repr(name) for name in sorted(counts) if counts[name] == 1]
    alike: dict[str, list[str]] = defaultdict(list)
    for name in sorted(counts):
        alike[name.casefold()].append(repr(name))
    notes = []
    if joined:
        shown = "; ".join([*joined[:_SHOWN], *(["..."] if len(joined) > _SHOWN else [])])
        notes.append(f"Labels that are written in several ways are one class: {shown}.")
    if like_missing:
        notes.append(f"Read as a class, not as a missing label: {_listed(like_missing)}.")
    if {"false", "true"} & set(counts) and {"0", "1"} & set(counts):
        notes.append("Some labels are true or false and some 0 or 1; they are kept apart.")
    if len(alone) == 1:
        notes.append(f"Class {alone[0]} has one text, so no cross-validation can test it.")
    elif alone:
        notes.append(
            f"Classes {_listed(alone)} have one text each, so no cross-validation can test them."
        )
    notes += [
        f"The classes {_listed(group)} differ in case alone and are kept apart."
        for group in alike.values()
        if len(group) > 1
    ]
    return notes


def _listed(words: Sequence[str]) -> str:
    """The words in a sentence, not more than it bears."""
    if len(words) > _SHOWN:
        return f"{', '.join(words[:_SHOWN])} and {len(words) - _SHOWN} more"
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
