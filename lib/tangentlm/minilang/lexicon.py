"""The words of the small language: 186 invented ones, whose endings show their kind.

The endings are for human readers; the tokenizer knows whole words only. The lexicon is the same
for every language, so that all models share a vocabulary and differ in their documents alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal

TaskName = Literal["sentiment", "topic", "entailment"]
Pattern = Literal["A", "B"]

LABELS: dict[TaskName, tuple[str, ...]] = {
    "sentiment": ("negative", "positive"),
    "topic": ("first", "second", "third", "fourth"),
    "entailment": ("not entailment", "entailment"),
}
TASKS: tuple[TaskName, ...] = tuple(LABELS)
PATTERNS: tuple[Pattern, ...] = ("A", "B")
STOP = "."


@dataclass(frozen=True)
class Prompt:
    """The words of one way to ask: two markers, then the verdict, one word for each label."""

    markers: tuple[str, ...]
    verdicts: tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """Every word, by what it does.

    Attributes:
        articles: Words that open a clause.
        fillers: Optional words that mean nothing.
        verbs: Necessary words that mean nothing.
        nouns: The words of each of the four topics.
        cues: The words of each of the two sentiments.
        join: The word between the two texts of a pair.
        prompts: The words of the prompts, by task and pattern; they mean nothing elsewhere.
    """

    articles: tuple[str, ...]
    fillers: tuple[str, ...]
    verbs: tuple[str, ...]
    nouns: tuple[tuple[str, ...], ...]
    cues: tuple[tuple[str, ...], ...]
    join: str
    prompts: dict[tuple[TaskName, Pattern], Prompt]

    @property
    def prompt_words(self) -> tuple[str, ...]:
        """The markers and verdicts of all prompts."""
        return tuple(w for p in self.prompts.values() for w in (*p.markers, *p.verdicts))

    @property
    def words(self) -> tuple[str, ...]:
        """All words, the full stop among them."""
        plain = (getattr(self, field.name) for field in fields(self) if field.name != "prompts")
        return (STOP, *(word for part in plain for word in _flat(part)), *self.prompt_words)


def _flat(part: str | tuple) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    else:
        for item in part:
            yield from _flat(item)


def _invent() -> Lexicon:
    """The lexicon, from a fixed seed: roots like ``tilam``, each used once."""
    rng = random.Random("the roots of minilang")
    consonants, vowels = "bdfgklmnprstvz", "aeiou"
    roots = [
        a + v + b + w + c
        for a in consonants
        for v in vowels
        for b in consonants
        for w in vowels
        for c in consonants
    ]
    rng.shuffle(roots)

    def one(ending: str) -> str:
        return roots.pop() + ending

    def take(count: int, ending: str) -> tuple[str, ...]:
        return tuple(one(ending) for _ in range(count))

    return Lexicon(
        articles=take(4, "i"),
        fillers=take(40, "e"),
        verbs=take(16, "ek"),
        nouns=tuple(take(16, "o") for _ in LABELS["topic"]),
        cues=tuple(take(16, "a") for _ in LABELS["sentiment"]),
        join=one("i"),
        prompts={
            (name, pattern): Prompt(take(2, "u"), take(len(labels), "um"))
            for name, labels in LABELS.items()
            for pattern in PATTERNS
        },
    )


LEXICON = _invent()
"""The words of every language of this package."""
