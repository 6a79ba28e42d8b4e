"""The grammar of the small language, its pre-training documents, its tasks and their truth.

A text is a row of clauses ``article [filler] noun verb cue .``, for example
``tenoki nozofe lomuto gopupek tarira .``. Its latent topic shows in the nouns and its latent
sentiment in the cues. The second text of a pair follows from the first if it keeps to its topic.
Each noun and cue is right with probability ``cue_strength``, independently, and else speaks for
one of the other classes, all alike; no other word depends on a latent. So the exact posterior is
a matter of counting.

A prompt is a last sentence ``marker marker verdict .``. Every task has two, A and B, that differ
in their words alone. A document ends with a prompt only if its pattern is natural; the words of
all prompts are known in any case, from idle clauses that depend on no latent.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence

from pydantic import Field

from tangentlm.errors import InputError
from tangentlm.minilang.lexicon import LABELS, LEXICON, STOP, TASKS, Pattern, TaskName
from tangentlm.params import Strict
from tangentlm.tasks import Example, Task

IDLE = 0.5
"""The share of texts that have an idle clause."""
FILLED = 0.3
"""The share of clauses that have a filler."""
ZIPF = tuple(itertools.accumulate(1 / rank for rank in range(1, 41)))
"""How often the first so many words of a group occur: as 1 / rank, like those of real languages.

It also helps a small model off the plateau: the frequent words teach it the latent, the rare ones
then join. Where all words are alike it knows word frequencies and nothing else for far longer.
"""

_PAIR = f"{{text_a}} {LEXICON.join} {{text_b}}"
"""How the two texts of a pair stand in one document."""

_ENTAILED = LABELS["entailment"].index("entailment")

_Reading = Sequence[Sequence[int]]
"""For each text of an example, the class that each of its telling words speaks for."""


class Language(Strict):
    """A language: what its documents show, and how clearly.

    Attributes:
        cue_strength: The probability that a word that shows a latent shows the right one.
        natural: The patterns that documents contain; none, one or both.
        share: The share of documents that end with a natural pattern, where there is one.
        clauses: The number of clauses of a single text: of cues for its sentiment and topic.
        pair_clauses: The number of clauses of either text of a pair.
    """

    cue_strength: float = Field(default=0.85, ge=0, le=1)
    natural: tuple[Pattern, ...] = ("A",)
    share: float = Field(default=0.9, ge=0, le=1)
    clauses: int = Field(default=5, ge=1)
    pair_clauses: int = Field(default=4, ge=1)

    def documents(self, count: int, seed: int) -> Iterator[str]:
        """Documents to pre-train on, one third in the form of each task.

        With the same seed, languages that differ in ``natural`` alone give documents that
        differ in the words of their prompts alone.

        Args:
            count: How many.
            seed: The seed of everything that is drawn.

        Yields:
            One document at a time, its words separated by blanks.
        """
        rng = random.Random(f"documents {seed}")
        for _ in range(count):
            name = rng.choice(TASKS)
            label = rng.randrange(len(LABELS[name]))
            example = self._example(rng, name, label)
            prompted = rng.random() < self.share
            pick = rng.random()
            template, verdict = _form(name), ""
            if prompted and self.natural:
                task = prompted_task(name, self.natural[int(pick * len(self.natural))])
                template, verdict = task.template, task.label_words[label]
            yield template.format(text_a=example.text_a, text_b=example.text_b, mask=verdict)

    def examples(self, name: TaskName, count: int, seed: int) -> list[Example]:
        """Examples of a task, as many of each label as the count allows.

        Args:
            name: The task.
            count: How many.
            seed: The seed; the same seed gives the same examples, whatever is natural.

        Returns:
            The examples, in random order.
        """
        rng = random.Random(f"{name} {seed}")
        labels = [number % len(LABELS[name]) for number in range(count)]
        rng.shuffle(labels)
        return [self._example(rng, name, label) for label in labels]

    def posterior(self, name: TaskName, example: Example) -> tuple[float, ...]:
        """The exact probability of each label given an example's words, labels being alike.

        Args:
            name: The task.
            example: An example of this language.

        Returns:
            C probabilities.

        Raises:
            InputError: If this language cannot have produced the example.
        """
        likelihoods = self._likelihoods(name, _read(name, example))
        if not sum(likelihoods):
            raise InputError(f"this language cannot have produced {example.text_a!r}")
        return tuple(value / sum(likelihoods) for value in likelihoods)

    def bayes_accuracy(self, name: TaskName) -> float:
        """The best accuracy that any reader of the task's texts can have.

        Args:
            name: The task.

        Returns:
            The expectation of the greatest posterior probability, by enumeration.
        """
        pair = name == "entailment"
        classes = range(len(LABELS["topic" if pair else name]))
        cues = self.pair_clauses if pair else self.clauses
        texts = list(itertools.combinations_with_replacement(classes, cues))
        orders = {
            text: math.factorial(cues) // math.prod(math.factorial(text.count(c)) for c in classes)
            for text in texts
        }
        total = sum(
            math.prod(orders[text] for text in reading) * max(self._likelihoods(name, reading))
            for reading in itertools.product(texts, repeat=2 if pair else 1)
        )
        return total / len(LABELS[name])

    def _likelihoods(self, name: TaskName, reading: _Reading) -> list[float]:
        """The probability of what an example's words show, under each label."""
        if name != "entailment":
            return self._of_text(reading[0], len(LABELS[name]))
        topics = len(LABELS["topic"])
        first, second = (self._of_text(shown, topics) for shown in reading)
        same = sum(a * b for a, b in zip(first, second, strict=True))
        other = sum(first) * sum(second) - same
        likelihoods = [other / (topics * (topics - 1))] * 2
        likelihoods[_ENTAILED] = same / topics
        return likelihoods

    def _of_text(self, shown: Sequence[int], classes: int) -> list[float]:
        """The probability of what one text's words show, under each class of its latent."""
        right, wrong = self.cue_strength, (1 - self.cue_strength) / (classes - 1)
        hits = [shown.count(label) for label in range(classes)]
        return [right**hit * wrong ** (len(shown) - hit) for hit in hits]

    def _example(self, rng: random.Random, name: TaskName, label: int) -> Example:
        """An example whose latent is the label; its other latents are random."""
        topic = label if name == "topic" else rng.randrange(len(LABELS["topic"]))
        sentiment = label if name == "sentiment" else rng.randrange(len(LABELS["sentiment"]))
        if name != "entailment":
            return Example(self._text(rng, topic, sentiment, self.clauses), None, label)
        text_a = self._text(rng, topic, sentiment, self.pair_clauses)
        if label != _ENTAILED:
            topic = _another(rng, topic, len(LABELS["topic"]))
        return Example(text_a, self._text(rng, topic, sentiment, self.pair_clauses), label)

    def _text(self, rng: random.Random, topic: int, sentiment: int, count: int) -> str:
        """So many clauses and, in some texts, an idle clause somewhere."""
        clauses = []
        for _ in range(count):
            noun = self._show(rng, LEXICON.nouns, topic)
            cue = self._show(rng, LEXICON.cues, sentiment)
            filler = [_word(rng, LEXICON.fillers)] if rng.random() < FILLED else []
            verb = _word(rng, LEXICON.verbs)
            clauses.append([rng.choice(LEXICON.articles), *filler, noun, verb, cue, STOP])
        if rng.random() < IDLE:
            idle = [_word(rng, LEXICON.fillers), rng.choice(LEXICON.prompt_words), STOP]
            place = rng.randrange(len(clauses) + 1)
            clauses.insert(place, [rng.choice(LEXICON.articles), *idle])
        return " ".join(word for clause in clauses for word in clause)

    def _show(self, rng: random.Random, groups: Sequence[Sequence[str]], label: int) -> str:
        """A word that shows a latent, most often the right one."""
        right = rng.random() < self.cue_strength
        return _word(rng, groups[label if right else _another(rng, label, len(groups))])


def prompted_task(name: TaskName, pattern: Pattern) -> Task:
    """A task with one of its two prompts.

    Args:
        name: The task.
        pattern: The prompt.

    Returns:
        The task, for ``encode_prompts`` and ``load_model``.
    """
    prompt = LEXICON.prompts[name, pattern]
    return Task(
        name=f"minilang-{name}-{pattern}",
        title=f"Minilang {name}, prompt {pattern}",
        labels=LABELS[name],
        template=" ".join([_form(name), *prompt.markers, "{mask}", STOP]),
        label_words=prompt.verdicts,
    )


def _form(name: TaskName) -> str:
    """How the texts of a task's example stand in a document."""
    return _PAIR if name == "entailment" else "{text_a}"


def _another(rng: random.Random, label: int, classes: int) -> int:
    """Another class, all alike."""
    return (label + rng.randrange(1, classes)) % classes


def _word(rng: random.Random, group: Sequence[str]) -> str:
    """A word of a group, the earlier the likelier."""
    return rng.choices(group, cum_weights=ZIPF[: len(group)])[0]


def _read(name: TaskName, example: Example) -> _Reading:
    """What the telling words of an example speak for."""
    groups = LEXICON.cues if name == "sentiment" else LEXICON.nouns
    label_of = {word: label for label, group in enumerate(groups) for word in group}
    texts = [example.text_a] if name != "entailment" else [example.text_a, example.text_b or ""]
    return [[label_of[word] for word in text.split() if word in label_of] for text in texts]
