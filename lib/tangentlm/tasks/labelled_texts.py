"""Texts with labels, read from a file as people have it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LabelledTexts:
    """N texts, or pairs of texts, each with its class.

    Attributes:
        texts: The N texts.
        pairs: The second text of each pair; ``None`` where a row has one text.
        labels: The class of each text, in 0 to C-1.
        classes: The C names of the classes.
        rows: Where each text stands in the file, for people.
        notes: What was guessed, converted and left out, a sentence each.
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    rows: tuple[int, ...]
    notes: tuple[str, ...]


def read_labelled(
    path: str | Path,
    *,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
) -> LabelledTexts:
    """The labelled texts of a file."""
    raise NotImplementedError
