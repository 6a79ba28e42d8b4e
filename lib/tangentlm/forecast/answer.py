"""The answer in three sentences, and what a forecast cannot say.

Each sentence follows from numbers by a rule: a difference is claimed only where its interval leaves
zero out, and every number stands beside its interval.
"""

from __future__ import annotations

from collections.abc import Sequence

from tangentlm.forecast.comparison import MAJORITY
from tangentlm.forecast.result import (
    CurvePoint,
    Data,
    Difference,
    Duplicates,
    Past,
    Score,
    Settings,
    Suspects,
)

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
            f"No way without fine-tuning does better than naming the largest class, "
            f"which is right for {_share(majority)} of the rows."
        )
    best = by_method[ahead.better]
    if ahead.low <= 0:
        return (
            f"The best way without fine-tuning, {best.method}, tells {_share(best)} of held-out "
            f"rows rightly, which cannot be told from the {majority.accuracy:.0f} % of the largest "
            f"class (a difference of {_points(ahead)})."
        )
    return (
        f"Without fine-tuning, {best.method} tells {_share(best)} of held-out rows rightly, "
        f"{_points(ahead)} more than naming the largest class does."
    )


def _way(differences: Sequence[Difference], past: Past) -> str:
    kernel, words = (
        next(d for d in differences if (d.better, d.worse) == ("kernel regression", worse))
        for worse in ("probe", "bag of words")
    )
    if kernel.low > 0:
        text = (
            f"Kernel regression, the first-order picture of full fine-tuning, is {_points(kernel)} "
            "above a probe of frozen features, so moving the features may be worth its cost"
        )
    elif kernel.high < 0:
        text = (
            f"A probe of frozen features is {_points(_turned(kernel))} above kernel regression, "
            "the first-order picture of full fine-tuning, so nothing here speaks for more than a "
            "probe"
        )
    else:
        text = (
            "Kernel regression, the first-order picture of full fine-tuning, and a probe of frozen "
            f"features cannot be told apart (a difference of {_points(kernel)}), so nothing here "
            "speaks for more than a probe"
        )
    if words.high < 0:
        text += (
            f"; a bag of words, which needs no model, is {_points(_turned(words))} above "
            "kernel regression"
        )
    if not past.quantiles:
        return f"{text}."
    low, middle, high = (past.quantiles[q] for q in ("10", "50", "90"))
    return (
        f"{text}; on {len(past.rows)} past few-shot tasks fine-tuning "
        f"came out {middle:+.0f} points beside kernel regression in the median, and from "
        f"{low:+.0f} to {high:+.0f} on four of five tasks."
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
            f"Were the learning curve of {best.method} to go on as it began, {last.n} labels would "
            f"bring {last.accuracy:.0f} % ({last.low:.0f} to {last.high:.0f}) instead of the "
            f"{now.accuracy:.0f} % that {now.n} bring"
        )
    else:
        more = "What more labels would bring cannot be said from so few rows"
    disagree = sum(group.disagree for group in duplicates)
    if suspects.reason is not None:
        doubts = "no label is accused, since the regression is too weak to accuse any"
    elif suspects.rows:
        doubts = (
            f"of the {suspects.doubted} rows that kernel regression on the others calls something "
            f"else, by its own mistakes or theirs, the {len(suspects.rows)} most doubtful are "
            "listed for a second look"
        )
    else:
        doubts = "the rows speak against no label"
    if disagree:
        groups = (
            "group of near-duplicates has" if disagree == 1 else "groups of near-duplicates have"
        )
        doubts += f", and {disagree} {groups} labels that disagree"
    return f"{more}; {doubts}."


def _best(scores: Sequence[Score]) -> Score:
    known = [score for score in scores if score.accuracy is not None]
    return max(known, key=lambda score: (score.accuracy, score.method == MAJORITY))


def _share(score: Score) -> str:
    return f"{score.accuracy:.0f} % ({score.low:.0f} to {score.high:.0f})"


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
