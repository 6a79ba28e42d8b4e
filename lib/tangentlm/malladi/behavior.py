"""Kernel behaviour of single tasks by means: Table 1 without its counts of splits.

Table 1 counts on how many of five splits each property holds. From so few splits a share is hardly
known: with three of three its 95 % interval begins at .44. The means behind the counts say more: by
how much, on the mean over splits and over k = 16 and 64, the kernel is above 90 % of fine-tuning,
the Taylor model above half of the way, and the kernel's move below its bound.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tangentlm.analysis.estimates import MIN_COUNT, Estimate, mean_on_the_same_rows
from tangentlm.analysis.verdicts import FAILS, HOLDS, NOT_RUN
from tangentlm.malladi.claims import DERIVED_SOLVES, PROPERTIES_OF, Claim
from tangentlm.malladi.estimating import Found, of_paper, of_runs
from tangentlm.malladi.judging import all_of, power
from tangentlm.malladi.ledger import reported
from tangentlm.malladi.properties import COUNTED, majority

DRAWS = 4000
NAMES = ("solves", "linear", "fixed")
DERIVED = "derived"
SHOWS, DOES_NOT = "shows it", "does not"


def behavior_by_means(table: pd.DataFrame | None = None) -> pd.DataFrame:
    """Which tasks show kernel behaviour, by the means over splits.

    Args:
        table: From ``measurements``; the paper's printed numbers if there is none.

    Returns:
        A row for each optimizer and task: ``optimizer``, ``task``; for each of ``NAMES`` the mean
        distance to its bound (positive where it holds), half of its interval (``..._half``) and its
        verdict (``..._verdict``); how many of the three were ``measured``; what the means alone say
        (``leans``), and the ``verdict`` on all that was measured together. The paper prints no
        Taylor model of SGD, and of some tasks no distance. Along Adam ``derived`` stands beside:
        the first property with the kernel of A-SignGD, which decides nothing.
    """

    def find(claim: Claim) -> list[Found]:
        return of_paper(claim) if table is None else of_runs(table, claim)

    rows = []
    for optimizer, claims in PROPERTIES_OF.items():
        found = [find(claim) for claim in claims]
        beside = find(DERIVED_SOLVES) if optimizer == "Adam" else []
        for title in dict.fromkeys(one.title for ones in found for one in ones):
            derived = _of_property(DERIVED, DERIVED_SOLVES, beside, title)
            of_task = {**_of_task(claims, found, title), **derived}
            rows.append({"optimizer": optimizer, "task": title, **of_task})
    facts = [f"{name}{part}" for name in (*NAMES, DERIVED) for part in ("", "_half", "_verdict")]
    columns = ["optimizer", "task", *facts, "measured", "leans", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _of_task(claims: tuple[Claim, ...], found: list[list[Found]], title: str) -> dict[str, object]:
    row: dict[str, object] = {}
    for name, claim, ones in zip(NAMES, claims, found, strict=True):
        row |= _of_property(name, claim, ones, title)
    measured = [name for name in NAMES if name in row]
    row |= {"measured": len(measured)}
    row |= {"verdict": all_of(str(row[f"{name}_verdict"]) for name in measured)}
    inside = all(float(str(row[name])) >= 0 for name in measured)
    return row | {"leans": (SHOWS if inside else DOES_NOT) if measured else ""}


def _of_property(name: str, claim: Claim, ones: list[Found], title: str) -> dict[str, object]:
    estimate = _over_k(ones, title)
    if estimate is None:
        return {f"{name}_verdict": NOT_RUN}
    found = power(estimate, claim)
    inside = claim.least <= estimate.mean <= claim.most
    margin = float(str(found["margin"])) * (1 if inside else -1)
    return {name: margin, f"{name}_half": found["half"], f"{name}_verdict": found["verdict"]}


def _over_k(ones: list[Found], title: str) -> Estimate | None:
    """The mean over the k of Table 1 of what has splits enough."""
    chosen = [one for one in ones if one.title == title and one.k in COUNTED]
    enough = [one.estimate for one in chosen if one.splits >= MIN_COUNT]
    return mean_on_the_same_rows(enough) if enough else None


def number_of_tasks(behavior: pd.DataFrame, optimizer: str) -> dict[str, float]:
    """How many tasks show kernel behaviour, with what the uncertainty of the means leaves open.

    A task shows it if every property that was measured holds: of 8 of its 14 tasks the paper
    prints no distance of the kernels, and of SGD no Taylor model.

    Args:
        behavior: From ``behavior_by_means``.
        optimizer: ``"SGD"`` or ``"Adam"``.

    Returns:
        ``tasks``, how many of them ``shows`` by the means, and the ends ``low`` and ``high``
        between which 95 % of the counts lie when every mean is drawn anew from its uncertainty.
    """
    of_optimizer = behavior[(behavior["optimizer"] == optimizer) & (behavior["measured"] > 0)]
    margins = of_optimizer[list(NAMES)].to_numpy(dtype=np.float64)
    halves = of_optimizer[[f"{name}_half" for name in NAMES]].to_numpy(dtype=np.float64)
    known = np.isfinite(margins)
    draws = np.random.default_rng(0).standard_normal((DRAWS, *margins.shape))
    drawn = np.nan_to_num(margins) + draws * np.nan_to_num(halves) / 1.96
    counts = ((drawn >= 0) | ~known).all(axis=2).sum(axis=1)
    return {
        "tasks": len(margins),
        "shows": int(((margins >= 0) | ~known).all(axis=1).sum()),
        "low": float(np.quantile(counts, 0.025)),
        "high": float(np.quantile(counts, 0.975)),
    }


def rules_on_the_paper(says: dict[str, bool]) -> pd.DataFrame:
    """What two rules say of the paper's own splits and means, along Adam, beside what it says.

    Args:
        says: The titles of tasks, and whether the paper says that they show kernel behaviour.

    Returns:
        A row a task: ``task``, what the ``paper`` says, ``splits`` (of ten, with all three
        properties), the verdict of the rule on counts (``by_counts``), what the means lean to and
        the verdict of the rule on means (``by_means``).
    """
    counted = reported("malladi_table1")
    counted = counted[(counted["optimizer"] == "Adam") & (counted["property"] == "Kernel behavior")]
    means = behavior_by_means()
    means = means[means["optimizer"] == "Adam"].set_index("task")
    rows = []
    for task, shows in says.items():
        holding = counted.loc[counted["task"] == task, "seeds_holding"].astype(int)
        splits, of = int(holding.sum()), 5 * len(holding)
        by_counts = majority(pd.Series([True] * splits + [False] * (of - splits)), present=True)
        rows.append(
            {
                "task": task,
                "paper": SHOWS if shows else DOES_NOT,
                "splits": f"{splits} of {of}",
                "by_counts": by_counts["verdict"],
                "leans": means.loc[task, "leans"],
                "by_means": means.loc[task, "verdict"],
            }
        )
    return pd.DataFrame(rows)


def recovered(rules: pd.DataFrame) -> dict[str, int]:
    """How many of the paper's statements each rule recovers, and how many it contradicts.

    Args:
        rules: From ``rules_on_the_paper``.

    Returns:
        ``statements``; ``counts_right`` and ``counts_wrong``, ``means_right`` and ``means_wrong``
        of what is decided; ``leans_right`` of what the means lean to.
    """
    shows = rules["paper"] == SHOWS

    def right(verdicts: pd.Series) -> tuple[int, int]:
        decided = verdicts.isin([HOLDS, FAILS])
        same = (verdicts == HOLDS) == shows
        return int((decided & same).sum()), int((decided & ~same).sum())

    by_counts, by_means = right(rules["by_counts"]), right(rules["by_means"])
    return {
        "statements": len(rules),
        "counts_right": by_counts[0],
        "counts_wrong": by_counts[1],
        "means_right": by_means[0],
        "means_wrong": by_means[1],
        "leans_right": int((rules["leans"] == rules["paper"]).sum()),
    }
