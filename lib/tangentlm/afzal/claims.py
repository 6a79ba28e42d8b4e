"""What Rahimi Afzal et al. claim, and what numbers say: the paper's own, or ours.

The statistics, their thresholds and the level were set before the runs of the study, but after one
trial on CoLA. A rank correlation decides where its exact p value is below ``ALPHA``: the claim
holds if the sign is the claimed one and fails if it is the other; else it is undecided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tangentlm.afzal.evidence import TRAINING_ROWS, falling, largest_in_both, rank_correlations
from tangentlm.afzal.fine_tunings import training_seconds
from tangentlm.afzal.ledger import head_parameters, lora_parameters, reported
from tangentlm.afzal.measurements import CHOICES, with_options
from tangentlm.afzal.theorem import draw_objectives, draw_risks
from tangentlm.analysis.rank_correlation import kendall_tau
from tangentlm.analysis.several import ALPHA
from tangentlm.analysis.verdicts import FAILS, HOLDS, NOT_RUN, UNDECIDED

PAPER, OURS, COMPUTED = "the paper's numbers", "our runs", "random draws"
COUNTED, NOBODY = "counts", "nobody's"
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
    if p >= ALPHA:
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


def _solves(_measured: pd.DataFrame) -> tuple[str, str]:
    table = draw_objectives(DRAWS, seed=0)
    larger = int((table["printed"] > table["least"]).sum())
    found = f"the objective is larger than with n sigma in {larger} of {DRAWS} draws"
    return found, FAILS if larger else HOLDS


def _bounded_by_kappa(_measured: pd.DataFrame) -> tuple[str, str]:
    """If kappa bounded R, R could not be anything between its least and largest at one kappa."""
    drawn, top, bottom = (
        draw_risks(DRAWS, seed=0, targets=targets) for targets in ("random", "top", "bottom")
    )
    tau = kendall_tau(drawn["kappa"], drawn["risk"])
    apart = np.allclose(bottom["risk"] / top["risk"], top["kappa"] ** 2, rtol=1e-6)
    found = f"tau of kappa and R is {tau:+.2f} over {DRAWS} draws"
    if apart:  # the same kernels, other targets
        found += "; at one kappa, R differs by kappa^2 between targets"
    return found, FAILS if tau < 0 else UNDECIDED


def _most_is_head(_measured: pd.DataFrame) -> tuple[str, str]:
    head, lora = head_parameters(768, 2), lora_parameters(768, 8, matrices=3)
    share = 100 * head / (head + lora)
    return f"{head:,} of {head + lora:,}, {share:.0f} %", HOLDS if share > 50 else FAILS


def _hardest_task(_measured: pd.DataFrame) -> tuple[str, str]:
    choices = largest_in_both("CoLA")
    found = f"both are CoLA's at {sum(choices)} of {len(choices)} choices of layers"
    return found, HOLDS if all(choices) else FAILS


def _larger_sets(_measured: pd.DataFrame) -> tuple[str, str]:
    found = ", ".join(f"{task} {rows:,}" for task, rows in TRAINING_ROWS.items())
    least = min(TRAINING_ROWS["Yelp"], TRAINING_ROWS["IMDb"])
    most = max(TRAINING_ROWS["CoLA"], TRAINING_ROWS["SST-2"])
    return f"rows of the usual training sets: {found}", HOLDS if least > most else FAILS


def _not_measured(_measured: pd.DataFrame) -> tuple[str, str]:
    return "", NOT_RUN


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
    """One fine-tuning of ours against the kernels of all choices of layers from one pass."""
    printed = reported(2)
    ratio = printed["fine_tuning_seconds"] / printed["ntk_seconds"]
    ours = training_seconds()
    found = f"printed: {ratio.min():.0f} to {ratio.max():.0f} times as long"
    if ours.empty:
        return found, NOT_RUN
    found += f"; ours: {ours['ratio'].min():.0f} to {ours['ratio'].max():.0f} times"
    return found, HOLDS if (ours["ratio"] > 1).all() else FAILS


CLAIMS = (
    Claim(
        "Theorem 1, lower bound", "R is at least s |y|^2 / (s + lambda_max).", "equation (10)",
        COMPUTED, _bound("low"),
    ),
    Claim(
        "Theorem 1, upper bound", "R is at most s |y|^2 / (s + lambda_min).", "equation (10)",
        COMPUTED, _bound("high"),
    ),
    Claim(
        "kappa bounds the risk", "The empirical risk is bounded by the condition number.",
        "Section 5", COMPUTED, _bounded_by_kappa,
    ),
    Claim(
        "Equation (9) solves equation (6)", "The least is at K + sigma I.", "Section 3", COMPUTED,
        _solves,
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
        "CoLA is largest in both", "CoLA has the largest train loss and condition number.",
        "Section 4.1", PAPER, _hardest_task,
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
        "Table 1 fits a lambda_min of zero", "Then kappa cannot fall where layers are added.",
        "derived", PAPER, _printed_order,
    ),
    Claim(
        "32 samples suffice", "Another draw of 32 samples gives nearly the same kappa.",
        "Section 4.1", OURS, _samples_suffice,
    ),
    Claim(
        "the kernel is cheap", "It takes a fraction of the time of fine-tuning.", "Table 2", OURS,
        _cheaper,
    ),
    Claim(
        "Yelp and IMDb are larger", "They have more rows than CoLA and SST-2, so they take longer.",
        "Section 4.1", COUNTED, _larger_sets,
    ),
    Claim(
        "the head has most parameters", "Most of what is trained is the classifier.", "Section 4.1",
        COUNTED, _most_is_head,
    ),
    Claim(
        "lazy regime", "The kernel hardly changes during fine-tuning.", "Section 4.1", NOBODY,
        _not_measured,
    ),
    Claim(
        "other adapters", "The same serves other methods than LoRA.", "Section 1", NOBODY,
        _not_measured,
    ),
)  # fmt: skip


def judge_claims(measured: pd.DataFrame) -> pd.DataFrame:
    """Every claim of the paper with its verdict.

    Args:
        measured: From ``measurements.kappas``; of it the kernels of SGD with masked padding count.

    Returns:
        ``claim``, ``says``, ``where``, ``evidence``, ``found`` and ``verdict``, a row each.
    """
    measured = with_options(measured)
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
