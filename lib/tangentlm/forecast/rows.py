"""What a forecast says of single rows: doubts about labels, near-duplicates, predictions.

A row's number is where it stands in the user's file, as ``read_labelled`` counts.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Neighbour:
    """A row near another one.

    Attributes:
        row: Row of the file.
        text: Its text.
        label: Its class's name.
        cosine: Of the kernel, from -1 to 1.
    """

    row: int
    text: str
    label: str
    cosine: float


@dataclass(frozen=True)
class Suspect:
    """A row whose label the other rows speak against; a rank, not a verdict.

    Attributes:
        row: Row of the file.
        text: Its text.
        label: The label that it has.
        suggested: The class that kernel regression on all other rows gives it.
        score: How far the suggested class is ahead of the label it has, in that regression's
            values (targets are 1 for a row's class and 0 for others, centred).
        against: The nearest rows of other classes, nearest first.
    """

    row: int
    text: str
    label: str
    suggested: str
    score: float
    against: tuple[Neighbour, ...]


@dataclass(frozen=True)
class Suspects:
    """Suspected labels, most suspicious first.

    Attributes:
        rows: The suspects.
        accuracy: Leave-one-out accuracy of kernel regression, percent.
        majority: The majority's share, percent.
        reason: Why there is no list: the predictor is too near the majority to accuse anyone.
        doubted: How many rows the regression calls something else, listed or not.
    """

    rows: tuple[Suspect, ...]
    accuracy: float
    majority: float
    reason: str | None = None
    doubted: int = 0


@dataclass(frozen=True)
class Duplicates:
    """Rows that are nearly the same text.

    Attributes:
        rows: Rows of the file, two at least.
        texts: Their texts.
        labels: Their classes' names; ``None`` for a row of the test file that has none.
        similarity: The least similarity of any link that holds the group together: Jaccard
            similarity of character shingles, from 0 to 1.
        disagree: Whether their labels differ.
        in_test: For each row whether it is of the test file (its number then counts there).
    """

    rows: tuple[int, ...]
    texts: tuple[str, ...]
    labels: tuple[str | None, ...]
    similarity: float
    disagree: bool
    in_test: tuple[bool, ...]


@dataclass(frozen=True)
class Pull:
    """What one training row adds to a prediction.

    Attributes:
        row: Row of the file.
        text: Its text.
        label: Its class's name.
        value: alpha_i K(x, x_i), for the predicted class.
    """

    row: int
    text: str
    label: str
    value: float


@dataclass(frozen=True)
class Prediction:
    """Kernel regression on one row of the test file.

    Attributes:
        row: Row of the test file.
        text: Its text.
        label: Its class's name in the test file; ``None`` where the file has none.
        predicted: The predicted class's name.
        values: The regression's values, one a class: targets are 1 for a row's class and 0 for
            others, centred.
        margin: The largest value less the second.
        offset: What belongs to no row: the classes' mean, so that the pulls of *all* rows and the
            offset sum to the predicted class's value.
        towards: The rows that pull most towards the predicted class, most first.
        away: The rows that pull most away from it, most first.
        others: What all training rows that are not named add.
    """

    row: int
    text: str
    label: str | None
    predicted: str
    values: tuple[float, ...]
    margin: float
    offset: float
    towards: tuple[Pull, ...]
    away: tuple[Pull, ...]
    others: float


@dataclass(frozen=True)
class Predictions:
    """Predictions for a test file.

    Attributes:
        name: The file's name.
        rows: One a row.
        accuracy: Percent, where the file has labels.
        low: The interval's lower end.
        high: Its upper end.
        notes: What was guessed, dropped or cut; which rows are also in the training file.
    """

    name: str
    rows: tuple[Prediction, ...]
    accuracy: float | None
    low: float | None
    high: float | None
    notes: tuple[str, ...]
