"""Near-duplicates: texts that share most of their character shingles.

The similarity of two texts is Jaccard's, |A and B| / |A or B|, of their sets of five-character
shingles, once case, punctuation and runs of white space are taken away. Of a long text the first
2,000 characters count. Rows that are linked, also through others, are one group; a group is never
on both sides of a cross-validation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from tangentlm.forecast.rows import Duplicates
from tangentlm.tasks.labelled_texts import LabelledTexts

Rows = NDArray[np.int64]
Array = NDArray[np.float64]

SHINGLE = 5
"""Characters of a shingle."""
LONGEST = 2000
"""Characters of a text that count."""
THRESHOLD = 0.7
"""From which similarity on two texts are linked."""
_BLOCK = 256
"""Rows whose similarities are held at one time."""


def normalised(text: str) -> str:
    """A text as duplicates are compared: letters and digits alone, lower case, single blanks.

    Example:
        >>> normalised("  It's  GREAT!! ")
        'it s great'

    Args:
        text: Any text.

    Returns:
        The text; itself without outer blanks where no letter or digit is in it.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = " ".join(re.findall(r"\w+", folded))
    return words or folded.strip()


def shingles(text: str) -> set[str]:
    """The shingles of a normalised text; of a shorter one, itself.

    Args:
        text: As ``normalised`` gives it.

    Returns:
        One shingle at least.
    """
    text = text[:LONGEST]
    return {text[i : i + SHINGLE] for i in range(max(len(text) - SHINGLE + 1, 1))}


def links(texts: Sequence[str], threshold: float = THRESHOLD) -> tuple[Rows, Rows, Array]:
    """The pairs of texts that are at least so similar.

    Example:
        >>> first, second, similarity = links(["A fine film, this.", "a FINE film this", "Bad."])
        >>> first.tolist(), second.tolist(), similarity.tolist()
        ([0], [1], [1.0])

    Args:
        texts: N texts.
        threshold: The least Jaccard similarity.

    Returns:
        Rows i < j of each pair, and their similarity.
    """
    matrix = _incidence(texts)
    sizes = np.asarray(matrix.sum(axis=1)).ravel()
    found: list[tuple[Rows, Rows, Array]] = []
    for start in range(0, len(texts), _BLOCK):
        common = coo_array(matrix[start : start + _BLOCK] @ matrix.T)
        first, second = common.coords[0] + start, common.coords[1]
        similarity = common.data / (sizes[first] + sizes[second] - common.data)
        kept = (similarity >= threshold) & (first < second)
        found.append((first[kept], second[kept], similarity[kept]))
    first, second, similarity = (np.concatenate(part) for part in zip(*found, strict=True))
    return first, second, similarity


def _incidence(texts: Sequence[str]) -> csr_array:
    """Which shingles each text has, (N, number of shingles)."""
    known: dict[str, int] = {}
    columns = [
        sorted(known.setdefault(shingle, len(known)) for shingle in sorted(shingles(text)))
        for text in map(normalised, texts)
    ]
    ends = np.cumsum([0, *map(len, columns)])
    flat = np.concatenate(columns)
    return csr_array((np.ones(len(flat)), flat, ends), shape=(len(texts), len(known)))


def groups_of(count: int, first: Rows, second: Rows) -> Rows:
    """The group of each row: rows that links connect have one number.

    Args:
        count: N.
        first: One row of each link.
        second: The other.

    Returns:
        (N,), numbers from 0.
    """
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(count, count))
    groups: Rows = connected_components(graph, directed=False)[1].astype(np.int64)
    return groups


def joined(texts: LabelledTexts) -> list[str]:
    """The text of each row; of a pair both, with `` | `` between them.

    Args:
        texts: N texts.

    Returns:
        N texts.
    """
    if texts.pairs is None:
        return list(texts.texts)
    return [f"{a} | {b}" for a, b in zip(texts.texts, texts.pairs, strict=True)]


def label_name(texts: LabelledTexts, row: int) -> str | None:
    """The class's name of a row.

    Args:
        texts: The texts.
        row: Place, from 0.

    Returns:
        Its name; ``None`` where the file has no labels.
    """
    return texts.classes[texts.labels[row]] if texts.labels[row] >= 0 else None


def near_duplicates(
    texts: LabelledTexts, test: LabelledTexts | None = None
) -> tuple[Rows, tuple[Duplicates, ...]]:
    """The groups of near-duplicates, of a file and of a test file beside it.

    Args:
        texts: N texts.
        test: M further texts, with the same classes.

    Returns:
        The group of each of the N texts, (N,), and all groups of two at least, largest first.
    """
    parts = [texts] if test is None else [texts, test]
    every = [text for part in parts for text in joined(part)]
    rows = [row for part in parts for row in part.rows]
    labels = [label_name(part, row) for part in parts for row in range(len(part.labels))]
    first, second, similarity = links(every)
    groups = groups_of(len(every), first, second)
    found = []
    for group in np.flatnonzero(np.bincount(groups) > 1):
        members = np.flatnonzero(groups == group)
        names = tuple(labels[i] for i in members)
        found.append(
            Duplicates(
                rows=tuple(rows[i] for i in members),
                texts=tuple(every[i] for i in members),
                labels=names,
                similarity=float(similarity[groups[first] == group].min()),
                disagree=len(set(names) - {None}) > 1,
                in_test=tuple(bool(i >= len(texts.texts)) for i in members),
            )
        )
    found.sort(key=lambda group: (-len(group.rows), group.rows))
    return groups[: len(texts.texts)], tuple(found)
