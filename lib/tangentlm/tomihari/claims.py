"""Verdicts on the claims of Tomihari and Sato.

Each claim is a number for each data set and seed, paired within the seed; its mean has a 95 %
interval (Student's t over seeds). It holds where the whole interval is between two bounds, fails
where none of it is, and is undecided otherwise. The same number is taken of the paper's printed
means, so that both stand side by side. Before the claims stands a condition of ours: where FT
learns nothing, it is no wonder that it moves little. Of many verdicts some are wrong by chance, so
all of them are judged together, too (Holm).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tangentlm.analysis.estimates import Estimate
from tangentlm.analysis.several import holm
from tangentlm.analysis.verdicts import FAILS, HOLDS, NOT_RUN, VERDICTS, Interval, too_few
from tangentlm.tomihari import measurements
from tangentlm.tomihari.claim import SEEDS
from tangentlm.tomihari.evidence import Evidence
from tangentlm.tomihari.statements import CLAIMS, LEARNS, LORA_LEARNS, SHIFTED
from tangentlm.tomihari.statistics import detectable, frame, varies

NO_RATIO = "no comparison"
"""The verdict where one of two numbers is zero with every seed, so that they have no ratio, or
where algebra alone gives them."""
TOO_FEW_ROWS = "too few test rows"
CONDITIONS = {"FT": LEARNS, "LoRA": LORA_LEARNS}
"""What has to hold of a method before its claims are judged on a data set."""
STAR = "*"
"""Behind a data set for which every seed gives the same number: its verdict is of these rows."""


def judge_claims(study: str) -> pd.DataFrame:
    """Every claim, for every data set that it can be tested on.

    Args:
        study: The study whose runs are ours.

    Returns:
        ``claim``, ``says``, ``where``, ``least`` and ``most`` (between which it holds),
        ``dataset``, ``seeds``, ``value`` (the mean), ``low``, ``high``, ``detectable``, ``verdict``
        and ``p`` (of that verdict, below 0.05 exactly where it is decided, and missing where all
        seeds give the same number: there is no chance in it to be measured); a claim without runs
        has one row, "not run". Seeds without a finite number are left out; where there are no
        others the verdict is "no comparison". Where a data set has too few test rows for the claim
        that is the verdict, without a p.
    """
    evidence = Evidence.of(study)
    sizes = _test_rows(evidence)
    rows: list[dict[str, object]] = []
    for claim in CLAIMS:
        about = {
            "claim": claim.name, "says": claim.says, "where": claim.where,
            "least": claim.low, "most": claim.high,
        }  # fmt: skip
        values = frame(claim.ours(evidence))
        if values.empty:
            rows.append({**about, "verdict": NOT_RUN})
        for dataset, group in values.groupby("dataset", sort=False):
            finite = group["value"][np.isfinite(group["value"])]
            if finite.empty:
                rows.append({**about, "dataset": dataset, "verdict": NO_RATIO})
                continue
            estimate = Estimate.of_splits(finite)
            mean = estimate.interval()
            enough = sizes.get(dataset, claim.rows) >= claim.rows
            known = enough and varies(finite)
            rows.append(
                {
                    **about, "dataset": dataset, "seeds": len(finite), "value": mean.estimate,
                    "low": mean.low, "high": mean.high, "detectable": detectable(finite),
                    "verdict": claim.verdict(mean) if enough else TOO_FEW_ROWS,
                    "p": estimate.p_value(claim.low, claim.high) if known else np.nan,
                }
            )  # fmt: skip
    of_claim = ["claim", "says", "where", "least", "most"]
    of_task = ["dataset", "seeds", "value", "low", "high", "detectable", "verdict", "p"]
    return pd.DataFrame(rows).reindex(columns=[*of_claim, *of_task])


def _test_rows(evidence: Evidence) -> dict[str, int]:
    """How many test rows each data set has, where the tables say so."""
    tables = [table for table in (evidence.test, evidence.shifted) if "count" in table]
    if not tables:
        return {}
    return dict(pd.concat(tables).groupby("dataset")["count"].min())


def gate(tested: pd.DataFrame) -> pd.DataFrame:
    """The claims on the data sets on which FT learns, judged alone and all together.

    Claims about LoRA need LoRA to learn. The sets to which a model was only carried over count
    where FT learns Amazon, on which it was trained.

    Args:
        tested: From ``judge_claims``.

    Returns:
        Some of its rows, all of the conditions before the claims, with ``p_together``: adjusted by
        Holm over all that are shown but the conditions.
    """
    condition = tested["claim"].isin(CONDITIONS.values())
    shown = tested["dataset"].isna() | condition
    for learner in CONDITIONS:
        learned = where_it_learns(tested, learner)
        shifted = SHIFTED if "Amazon" in learned else ()
        own = tested["claim"].isin([c.name for c in CLAIMS if c.learner == learner])
        shown |= own & tested["dataset"].isin([*learned, *shifted])
    family = tested["p"].where(shown & ~condition).astype(float)
    return tested.assign(p_together=holm(family))[shown]


def paper_says() -> pd.DataFrame:
    """The same numbers, of the paper's own means.

    Returns:
        ``claim``, ``dataset``, ``value``, ``holds`` (whether the mean is between the bounds), and
        where the paper prints standard deviations ``low``, ``high`` and ``verdict``: what Welch's
        95 % interval of its five seeds allows to say.
    """
    printed_numbers = measurements.reported()
    rows = []
    for claim in CLAIMS:
        if claim.paper is None:
            continue
        halves = None if claim.paper_half is None else claim.paper_half(printed_numbers)
        for dataset, value in claim.paper(printed_numbers).dropna().items():
            row = {
                "claim": claim.name, "dataset": dataset, "value": value,
                "holds": claim.allows(value),
            }  # fmt: skip
            if halves is not None:
                spread = Interval(value, value - halves[dataset], value + halves[dataset])
                row |= {"low": spread.low, "high": spread.high, "verdict": claim.verdict(spread)}
            rows.append(row)
    return pd.DataFrame(rows)


def where_it_learns(tested: pd.DataFrame, learner: str = "FT") -> list[str]:
    """The data sets on which FT learns the task, or LoRA.

    Args:
        tested: From ``judge_claims``.
        learner: ``"FT"`` or ``"LoRA"``.

    Returns:
        Their names.
    """
    condition = tested["claim"] == CONDITIONS[learner]
    learned = tested[condition & (tested["verdict"] == HOLDS)]
    return list(learned["dataset"])


def claims_in_short(tested: pd.DataFrame) -> pd.DataFrame:
    """For every claim what the paper's means say, and on how many data sets it holds with us.

    Args:
        tested: From ``judge_claims``; the sets on which FT does not learn are left out before.

    Returns:
        ``claim``, ``says``, ``where``, ``paper`` (on how many data sets it is true of the means,
        e.g. "8 of 9"), ``beyond chance`` (on how many its spread carries it, where it prints one)
        and the names of our data sets by verdict, with a star where no seed changes the number.
    """
    counts = {
        claim: {
            "paper": f"{rows['holds'].sum()} of {len(rows)}",
            "beyond chance": ""
            if rows["verdict"].isna().all()
            else str(rows["verdict"].eq(HOLDS).sum()),
        }
        for claim, rows in paper_says().groupby("claim")
    }
    names = [*(v for v in VERDICTS if v != too_few()), too_few(SEEDS), NO_RATIO, TOO_FEW_ROWS]
    same = tested["verdict"].isin((HOLDS, FAILS)) & tested["p"].isna()
    starred = tested["dataset"].astype("string") + STAR
    tested = tested.assign(dataset=tested["dataset"].where(~same, starred))
    rows = []
    for claim in CLAIMS:
        own = tested[tested["claim"] == claim.name]
        by_verdict = {
            name: ", ".join(own[own["verdict"] == name]["dataset"].dropna()) for name in names
        }
        if own.empty:
            by_verdict[NOT_RUN] = "where FT learns"
        elif own["verdict"].eq(NOT_RUN).any():
            by_verdict[NOT_RUN] = "all"
        rows.append(
            {
                "claim": claim.name, "says": claim.says, "where": claim.where,
                **counts.get(claim.name, {"paper": "", "beyond chance": ""}), **by_verdict,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
