"""The ways without training beside each other: scores, paired differences, learning curves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tangentlm.forecast.bootstrap import Bootstrap
from tangentlm.forecast.cross_validation import Fold, folds_of, macro_f1, nested_predictions
from tangentlm.forecast.learners import Learner
from tangentlm.forecast.learning_curve import FRACTIONS, curve_of, sizes_of, thinned
from tangentlm.forecast.plan import FOLDS, INNER_FOLDS
from tangentlm.forecast.ways import CurvePoint, Difference, Score

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

MAJORITY, ZERO_SHOT = "majority", "zero-shot"
ORDER = (MAJORITY, "bag of words", ZERO_SHOT, "probe", "kernel regression")
PAIRS = (
    ("probe", "bag of words"),
    ("kernel regression", "bag of words"),
    ("kernel regression", "probe"),
)
"""Which differences are of interest, beside that of the best way and the majority."""


@dataclass
class Comparison:
    """What repeated nested cross-validation has found so far.

    Attributes:
        labels: (N,).
        groups: Near-duplicates, (N,).
        learners: What learns.
        classes: C.
        seed: The folds' seeds follow it.
        fractions: Parts of the training rows at which curves are measured, beside all of them.
        folds: Outer folds that could be made.
        told: By method the classes of all rows, one array a repeat.
        thinned: By method and number of training rows likewise.
    """

    labels: Rows
    groups: Rows
    learners: Sequence[Learner]
    classes: int
    seed: int
    fractions: Sequence[float] = FRACTIONS
    folds: int = 0
    told: dict[str, list[Rows]] = field(default_factory=dict)
    thinned: dict[str, dict[int, list[Rows]]] = field(default_factory=dict)

    @property
    def repeats(self) -> int:
        """How many repeats were made."""
        return max(map(len, self.told.values()), default=0)

    def run(self, repeats: int, deadline: float, progress: bool) -> None:
        """Repeat cross-validation, as often as planned or as time allows, but once at least.

        Args:
            repeats: How often.
            deadline: By ``time.perf_counter``: no repeat begins that would end after it.
            progress: Whether to show a progress bar.
        """
        started = time.perf_counter()
        for repeat in tqdm(
            range(repeats), disable=not progress, leave=False, desc="cross-validation"
        ):
            each = (time.perf_counter() - started) / max(repeat, 1)
            if repeat and time.perf_counter() + each > deadline:
                break
            self._repeat(self.seed + repeat)

    def _repeat(self, seed: int) -> None:
        folds = self.folds_of(seed)
        self.folds = len(folds)
        whole = min(len(fold.train) for fold in folds)
        wanted = sizes_of(whole, self.classes, self.fractions)
        sizes = {size: self.thin(folds, size, seed) for size in wanted}
        for learner in self.learners:
            told = nested_predictions(learner, self.labels, folds)
            self.told.setdefault(learner.name, []).append(told)
            curve = self.thinned.setdefault(learner.name, {})
            curve.setdefault(whole, []).append(told)
            for size, fewer in sizes.items():
                told = nested_predictions(learner, self.labels, fewer)
                curve.setdefault(size, []).append(told)

    def folds_of(self, seed: int) -> list[Fold]:
        """The folds of one repeat.

        Args:
            seed: Of the folds.

        Returns:
            The folds.
        """
        return folds_of(self.labels, self.groups, outer=FOLDS, inner=INNER_FOLDS, seed=seed)

    def thin(self, folds: Sequence[Fold], size: int, seed: int) -> list[Fold]:
        """The folds of one repeat with fewer training rows.

        Args:
            folds: The folds.
            size: Training rows that are kept.
            seed: Of the repeat.

        Returns:
            The folds.
        """
        return [thinned(fold, size, self.labels, self.groups, INNER_FOLDS, seed) for fold in folds]

    def seconds_a_repeat(self) -> float:
        """What one repeat takes, from one of its folds, whose answers are not used.

        Returns:
            Seconds.
        """
        folds = self.folds_of(self.seed)
        # Making folds takes a share of the time, too, and is once for all learners.
        started = time.perf_counter()
        sizes = sizes_of(min(len(fold.train) for fold in folds), self.classes, self.fractions)
        for one in [folds[:1], *(self.thin(folds[:1], size, self.seed) for size in sizes)]:
            for learner in self.learners:
                nested_predictions(learner, self.labels, one)
        return (time.perf_counter() - started) * len(folds)


@dataclass(frozen=True)
class Outcome:
    """Which rows each way tells rightly.

    Attributes:
        scores: One a way, in the order of ``ORDER``.
        differences: Those of ``PAIRS``, and the best way less the majority.
        curve: Learning curves.
        best: The name of the best way; the majority's where none is better.
    """

    scores: tuple[Score, ...]
    differences: tuple[Difference, ...]
    curve: tuple[CurvePoint, ...]
    best: str


def outcome_of(
    comparison: Comparison, zero_shot: Array | None, reason: str | None, bootstrap: Bootstrap
) -> Outcome:
    """Scores, differences and curves.

    Args:
        comparison: What cross-validation found.
        zero_shot: Logits of the label words, (N, C); ``None`` where there are none.
        reason: Why there are none.
        bootstrap: The draws.

    Returns:
        All of them, with intervals.
    """
    labels = comparison.labels
    told: dict[str, Rows] = {name: np.array(rows) for name, rows in comparison.told.items()}
    told[MAJORITY] = np.full((1, len(labels)), np.bincount(labels).argmax())
    if zero_shot is not None:
        told[ZERO_SHOT] = zero_shot.argmax(axis=1)[None]
    right = {name: rows == labels for name, rows in told.items()}
    scores = []
    for name in ORDER:
        if name not in told:
            scores.append(Score(name, reason=reason))
            continue
        found = bootstrap.accuracy(right[name])
        fitted = name in comparison.told
        scores.append(
            Score(
                name, found.estimate, found.low, found.high, macro_f1(labels, told[name]),
                repeats=comparison.repeats if fitted else 0,
                folds=comparison.folds if fitted else 0,
            )
        )  # fmt: skip
    best = max(right, key=lambda name: (right[name].mean(), name == MAJORITY))
    pairs = [*PAIRS, *([] if best == MAJORITY else [(best, MAJORITY)])]
    differences = []
    for better, worse in pairs:
        gap = bootstrap.difference(right[better], right[worse])
        differences.append(Difference(better, worse, gap.estimate, gap.low, gap.high))
    points: list[CurvePoint] = []
    for name, sizes in comparison.thinned.items():
        rows = {size: np.array(each) == labels for size, each in sizes.items()}
        points += curve_of(name, rows, len(labels), bootstrap)
    return Outcome(tuple(scores), tuple(differences), tuple(points), best)
