"""The words that a number gets beside a claim, each in one place."""

HOLDS = "holds"
FAILS = "fails"
UNDECIDED = "undecided"
NOT_RUN = "not run"
NOT_TOLD_APART = "not told apart"
REPRODUCED = "reproduced"
DIFFERS = "differs"


def too_few(unit: str = "splits") -> str:
    """The verdict where there are fewer values than an interval needs.

    Args:
        unit: What there is one value of, in the plural: ``"splits"``, ``"tasks"``, ``"seeds"``.

    Returns:
        E.g. ``"too few splits"``.
    """
    return f"too few {unit}"


VERDICTS = (HOLDS, FAILS, UNDECIDED, too_few(), NOT_RUN)
"""The verdicts on a claim, in the order in which tables show them."""
