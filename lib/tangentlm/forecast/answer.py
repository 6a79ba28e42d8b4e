"""The answer in three sentences, and what a forecast cannot say.

Each sentence follows from numbers by a rule: a difference is claimed only where its interval leaves
zero out, and every number stands beside its interval.
"""

from __future__ import annotations

from collections.abc import Sequence

from tangentlm.forecast.comparison import MAJORITY, ZERO_SHOT
from tangentlm.forecast.result import Data, Settings
from tangentlm.forecast.rows import Duplicates, Suspects
from tangentlm.forecast.ways import CurvePoint, Difference, Past, Score

_NAMES = {
    MAJORITY: "naming the largest class",
    "bag of words": "a bag of words",
    ZERO_SHOT: "the model's own answer to the prompt",
    "probe": "a probe of frozen features",
    "kernel regression": "kernel regression",
}
_GOOD_CLASS = 10
"""Rows of a class below which what is said of it is shaky."""


def answer_of(
    scores: Sequence[Score],
    differences: Sequence[Difference],
    curve: Sequence[CurvePoint],
    suspects: Suspects,
    duplicates: Sequence[Duplicates],
    past: Past,
) -> tuple[str, str, str]:
    """What is reached, which way, and whether labels are the matter.

    Args:
        scores: Of all ways.
        differences: Paired ones.
        curve: Learning curves.
        suspects: Suspected labels.
        duplicates: Near-duplicates.
        past: Past tasks.

    Returns:
        Three sentences.
    """
    return (
        _reached(scores, differences),
        _way(differences, past),
        _labels(scores, curve, suspects, duplicates),
    )


def _reached(scores: Sequence[Score], differences: Sequence[Difference]) -> str:
    by_method = {score.method: score for score in scores}
    majority = by_method[MAJORITY]
    ahead = next((d for d in differences if d.worse == MAJORITY), None)
    if ahead is None:
        return (
            "No way without fine-tuning beats naming the largest class every time, which is right "
            f"on {_share(majority)}."
        )
    best = by_method[ahead.better]
    found = f"Without fine-tuning, {_NAMES[best.method]} is right on {_share(best)}"
    if ahead.low <= 0:
        return (
            f"{found}, which cannot be told from the {majority.accuracy:.0f} % of naming the "
            f"largest class every time: they are {_points(ahead)} apart."
        )
    return f"{found}, {_points(ahead)} more than naming the largest class every time."


def _way(differences: Sequence[Difference], past: Past) -> str:
    kernel, words, probe = (
        next(d for d in differences if (d.better, d.worse) == pair)
        for pair in (
            ("kernel regression", "probe"),
            ("kernel regression", "bag of words"),
            ("probe", "bag of words"),
        )
    )
    if words.high < 0 and probe.low <= 0:
        text = (
            "Nothing here speaks for a language model: a bag of words, which needs none, is "
            f"{_points(_turned(words))} above kernel regression, the first-order picture of "
            "fine-tuning"
        )
    elif kernel.low > 0:
        text = (
            "Fine-tuning may be worth its cost: kernel regression, its first-order picture, is "
            f"{_points(kernel)} above a probe of frozen features"
        )
    elif kernel.high < 0:
        text = (
            "Nothing here speaks for more than a probe of frozen features: it is "
            f"{_points(_turned(kernel))} above kernel regression, the first-order picture of "
            "fine-tuning"
        )
    else:
        apart = _turned(kernel) if kernel.points < 0 else kernel
        text = (
            "Nothing here speaks for more than a probe of frozen features: it and kernel "
            "regression, the first-order picture of fine-tuning, cannot be told apart "
            f"({apart.points:.1f} points, {apart.low:.1f} to {apart.high:.1f})"
        )
    if not past.quantiles:
        return f"{text}."
    low, middle, high = (past.quantiles[q] for q in ("10", "50", "90"))
    return (
        f"{text}; on {len(past.rows)} past few-shot tasks fine-tuning added {middle:+.0f} points "
        f"to kernel regression, {low:+.0f} to {high:+.0f} on four of five."
    )


def _labels(
    scores: Sequence[Score],
    curve: Sequence[CurvePoint],
    suspects: Suspects,
    duplicates: Sequence[Duplicates],
) -> str:
    best = _best(scores)
    ahead = [p for p in curve if p.method == best.method and p.extrapolated]
    measured = [p for p in curve if p.method == best.method and not p.extrapolated]
    if ahead and measured:
        last, now = ahead[-1], measured[-1]
        more = (
            f"If its learning curve goes on as it began, {_NAMES[best.method]} reaches "
            f"{last.accuracy:.0f} % ({last.low:.0f} to {last.high:.0f}) with {last.n} labels, "
            f"after {now.accuracy:.0f} % with {now.n}"
        )
    else:
        more = "What more labels would bring cannot be said from so few rows"
    return f"{more}; {_doubts(suspects)}{_contradictions(duplicates)}."


def _doubts(suspects: Suspects) -> str:
    listed = len(suspects.rows)
    if suspects.reason is not None:
        return "no label is doubted, since kernel regression is too weak here to doubt any"
    if not listed:
        return "the rows speak against no label"
    labels = "1 label" if suspects.doubted == 1 else f"{suspects.doubted} labels"
    which = "" if listed == suspects.doubted else f"{listed} are "
    return (
        f"kernel regression doubts {labels}, perhaps by its own mistake ({which}listed for a "
        "second look)"
    )


def _contradictions(duplicates: Sequence[Duplicates]) -> str:
    disagree = sum(group.disagree for group in duplicates)
    if not disagree:
        return ""
    groups = "group of near-duplicates has" if disagree == 1 else "groups of near-duplicates have"
    return f", and {disagree} {groups} labels that disagree"


def _best(scores: Sequence[Score]) -> Score:
    known = [score for score in scores if score.accuracy is not None]
    return max(known, key=lambda score: (score.accuracy, score.method == MAJORITY))


def _share(score: Score) -> str:
    return f"{score.accuracy:.0f} % of held-out rows ({score.low:.0f} to {score.high:.0f})"


def _points(difference: Difference) -> str:
    low, high = difference.low, difference.high
    return f"{difference.points:.1f} points ({low:.1f} to {high:.1f})"


def _turned(difference: Difference) -> Difference:
    """The same difference the other way round."""
    return Difference(
        difference.worse, difference.better, -difference.points, -difference.high, -difference.low
    )


def cannot_say(data: Data, settings: Settings, scores: Sequence[Score]) -> tuple[str, ...]:
    """What this forecast cannot say.

    Args:
        data: What was read.
        settings: How the forecast was made.
        scores: Of all ways.

    Returns:
        A sentence each.
    """
    sentences = [
        "What fine-tuning will reach: kernel regression is its first-order picture, and past tasks "
        "only say how far the two have been apart elsewhere.",
        "How it will do on texts from elsewhere: all rows are of this file, and new texts may be "
        "others.",
        "Which rank, learning rate or layers are best for LoRA: where the kernel lives is a "
        "description and no ranking.",
        "Whether a suspected label is wrong: the list is an order in which to look, not a reason "
        "to delete.",
        "What happens beyond the rows that there are: the extrapolated curve holds only while its "
        "power law does.",
        "Anything with more certainty than its interval: of ways chosen as the best on the same "
        "rows, the best is a little flattered.",
    ]
    rare = [
        name for name, count in zip(data.classes, data.counts, strict=True) if count < _GOOD_CLASS
    ]
    if rare:
        named = ", ".join(rare[:5]) + (", ..." if len(rare) > 5 else "")
        sentences.append(f"Anything firm of classes with fewer than {_GOOD_CLASS} rows: {named}.")
    for score in scores:
        if score.reason is not None:
            sentences.append(f"What {score.method} would reach: {score.reason}.")
    if settings.repeats == 1:
        sentences.append(
            "How much of the scores is luck of the folds: cross-validation was made once."
        )
    return tuple(sentences)
