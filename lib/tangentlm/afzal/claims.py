"""What Rahimi Afzal et al. claim, and what numbers say: the paper's own, or ours.

The statistics, their thresholds and the level were set before the runs of the study, but after one
trial on CoLA. A rank correlation decides where its exact p value is below ``LEVEL``: the claim
holds if the sign is the claimed one and fails if it is the other; else it is undecided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tangentlm.afzal.evidence import falling, rank_correlations
from tangentlm.afzal.ledger import reported
from tangentlm.afzal.measurements import CHOICES, seconds
from tangentlm.afzal.theorem import draw_risks
from tangentlm.analysis.verdicts import FAILS, HOLDS, NOT_RUN, UNDECIDED

LEVEL = 0.05
PAPER, OURS, COMPUTED = "the paper's Table 1", "our runs", "random draws"
DRAWS = 300
"""Random kernels for each kind of targets."""


@dataclass(frozen=True)
class Claim:
    """A statement of the paper.

    Attributes:
        name: What a table's row is called.
        says: What the paper says, in our words.
        where: Where it says so.
        evidence: Whose numbers decide.
        judge: From our measurements (``measurements.kappas``) to what is found, and the verdict.
    """

    name: str
    says: str
    where: str
    evidence: str
    judge: Callable[[pd.DataFrame], tuple[str, str]]


def _of_tau(tau: float, p: float, claimed: int) -> str:
    if p >= LEVEL:
        return UNDECIDED
    return HOLDS if tau * claimed > 0 else FAILS


def _within(outcome: str) -> Callable[[pd.DataFrame], tuple[str, str]]:
    def judge(_measured: pd.DataFrame) -> tuple[str, str]:
        row = rank_correlations().set_index("outcome").loc[outcome]
        found = f"mean tau within tasks {row['mean']:+.2f}, p = {row['p']:.2f}"
        return found, _of_tau(row["mean"], row["p"], int(row["claimed"]))

    return judge


def _across(outcome: str) -> Callable[[pd.DataFrame], tuple[str, str]]:
    def judge(_measured: pd.DataFrame) -> tuple[str, str]:
        row = rank_correlations().set_index("outcome").loc[outcome]
        found = f"tau of four tasks {row['across']:+.2f}, p = {row['p_across']:.2f}"
        return found, _of_tau(row["across"], row["p_across"], int(row["claimed"]))

    return judge


def _bound(which: str) -> Callable[[pd.DataFrame], tuple[str, str]]:
    def judge(_measured: pd.DataFrame) -> tuple[str, str]:
        kinds = ("random", "top", "bottom")
        tables = [draw_risks(DRAWS, seed=0, targets=targets) for targets in kinds]
        violated = [int(table[f"violates_printed_{which}"].sum()) for table in tables]
        listed = ", ".join(f"{n} ({kind})" for n, kind in zip(violated, kinds, strict=True))
        return f"violated in {listed} of {DRAWS} draws each", FAILS if any(violated) else HOLDS

    return judge


def _smallest_is_zero(measured: pd.DataFrame) -> tuple[str, str]:
    if measured.empty:
        return "", NOT_RUN
    near = measured["smallest"] < measured["sigma"]
    by_choice = near.groupby(measured["choice"]).mean()
    text = ", ".join(f"{name} {100 * by_choice[name]:.0f} %" for name in CHOICES)
    return f"lambda_min below sigma: {text}", HOLDS if near.mean() > 0.9 else FAILS


def _traces_largest(measured: pd.DataFrame) -> tuple[str, str]:
    """With lambda_min at zero, kappa is 1 + lambda_max / sigma."""
    if measured.empty:
        return "", NOT_RUN
    expected = 1 + measured["largest"] / measured["sigma"]
    ratio = (expected / measured["kappa"]).median()
    found = f"1 + lambda_max / sigma is {ratio:.1f} times kappa (median)"
    return found, HOLDS if ratio < 1.1 else FAILS


def _printed_order(_measured: pd.DataFrame) -> tuple[str, str]:
    tasks = falling()
    return f"kappa falls as layers are added for {', '.join(tasks)}", FAILS if tasks else HOLDS


NEARLY = 1.1
"""The largest factor at which two condition numbers are nearly the same."""


def _samples_suffice(measured: pd.DataFrame) -> tuple[str, str]:
    """Over draws of 32, kappa varies by a factor; the paper's effect between choices is one."""
    if measured.empty:
        return "", NOT_RUN
    by = measured.groupby(["run", "kernel", "head"])["kappa"]
    spread = (by.max() / by.min())[by.size() > 1]
    same = (spread < NEARLY).mean()
    found = (
        f"largest over least of {int(by.size().max())} draws: {spread.median():.2f} (median), "
        f"below {NEARLY:g} for {100 * same:.0f} % of the kernels"
    )
    return found, HOLDS if same == 1 else FAILS if same == 0 else UNDECIDED


def _cheaper(_measured: pd.DataFrame) -> tuple[str, str]:
    printed = reported(2)
    ratio = printed["fine_tuning_seconds"] / printed["ntk_seconds"]
    ours = seconds()
    found = f"printed: {ratio.min():.0f} to {ratio.max():.0f} times as long"
    if not ours.empty:
        least, most = ours["one_subset_seconds"].min(), ours["one_subset_seconds"].max()
        found += f"; our kernels take {least:.0f} to {most:.0f} s, our fine-tuning was not run"
    return found, NOT_RUN


CLAIMS = (
    Claim(
        "Theorem 1, lower bound", "R is at least s |y|^2 / (s + lambda_max).", "equation (10)",
        COMPUTED, _bound("low"),
    ),
    Claim(
        "Theorem 1, upper bound", "R is at most s |y|^2 / (s + lambda_min).", "equation (10)",
        COMPUTED, _bound("high"),
    ),
    *(
        Claim(
            f"{outcome}, {where}", f"A larger condition number goes with {more} {outcome}.", place,
            PAPER, judge(outcome),
        )
        for where, place, judge in (
            ("choices of layers", "Table 1", _within), ("tasks", "Figure 1", _across),
        )
        for outcome, more in (
            ("train loss", "more"), ("evaluation loss", "more"), ("evaluation accuracy", "less"),
        )
    ),
    Claim(
        "lambda_min is close to zero", "Beside sigma, the smallest eigenvalue is nothing.",
        "Section 4.1", OURS, _smallest_is_zero,
    ),
    Claim(
        "kappa traces lambda_max", "So kappa is 1 + lambda_max / sigma.", "Section 4.1", OURS,
        _traces_largest,
    ),
    Claim(
        "Table 1 fits that", "Then kappa cannot fall where layers are added.", "derived", PAPER,
        _printed_order,
    ),
    Claim(
        "32 samples suffice", "Another draw of 32 samples gives nearly the same kappa.",
        "Section 4.1", OURS, _samples_suffice,
    ),
    Claim(
        "the kernel is cheap", "It takes a fraction of the time of fine-tuning.", "Table 2", OURS,
        _cheaper,
    ),
)  # fmt: skip


def judge_claims(measured: pd.DataFrame) -> pd.DataFrame:
    """Every claim of the paper with its verdict.

    Args:
        measured: From ``measurements.kappas``; of it the kernels of SGD with masked padding count.

    Returns:
        ``claim``, ``says``, ``where``, ``evidence``, ``found`` and ``verdict``, a row each.
    """
    if not measured.empty:
        measured = measured[(measured["pads"] == "masked") & (measured["formula"] == "sgd")]
    rows = []
    for claim in CLAIMS:
        found, verdict = claim.judge(measured)
        rows.append((claim.name, claim.says, claim.where, claim.evidence, found, verdict))
    columns = ["claim", "says", "where", "evidence", "found", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def added_layers(measured: pd.DataFrame) -> pd.DataFrame:
    """Whether lambda_max, and kappa, ever fall in our runs where layers are added.

    Args:
        measured: From ``measurements.kappas``.

    Returns:
        For each pair of choices of which one contains the other: ``smaller``, ``larger``,
        ``count`` of heads and draws, and in percent how often ``largest`` and ``kappa`` fall.
    """
    keys = ["run", "head", "draw"]
    rows = []
    for less, more in ((0, 2), (1, 2), (2, 3)):
        pair = [
            measured[measured["choice"] == CHOICES[place]].set_index(keys) for place in (less, more)
        ]
        fell = {
            name: 100 * float(np.mean(pair[1][name] < pair[0][name].reindex(pair[1].index)))
            for name in ("largest", "kappa")
        }
        rows.append(
            {"smaller": CHOICES[less], "larger": CHOICES[more], "count": len(pair[1]), **fell}
        )
    return pd.DataFrame(rows)
