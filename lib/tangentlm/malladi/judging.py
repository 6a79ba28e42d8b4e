"""Verdicts on the claims: on every task and k, on all tasks together, of our runs and of the paper.

A claim *holds* where the whole 95 % interval of its sum does what it says, *fails* where none of it
does, and is *undecided* otherwise; for two bounds that is equivalence by two one-sided tests. Each
verdict has its power: half of the interval's width, the distance of the estimate to the nearest
bound (its margin), and how many splits would decide it. A rule that cannot recover from the
paper's numbers what the paper says of them is no rule to judge us by, so each is asked of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

import pandas as pd

from tangentlm.analysis.estimates import (
    MIN_COUNT,
    Estimate,
    mean_of_independent,
    mean_on_the_same_rows,
)
from tangentlm.analysis.several import holm
from tangentlm.analysis.verdicts import FAILS, HOLDS, NOT_RUN, UNDECIDED, VERDICTS
from tangentlm.malladi.claims import CLAIMS, Claim
from tangentlm.malladi.estimating import Found, of_paper, of_runs

Setting = tuple[str, int]
"""The title of a task, and k."""
_OF_CLAIM = ["claim", "says", "where", "least", "most", "unit"]
_OF_TASK = ["task", "k", "splits", "value", "low", "high", "half", "margin", "splits_to_decide"]
_OF_TASK += ["rows", "p", "verdict"]


def judge_claims(table: pd.DataFrame, claims: Sequence[Claim] = CLAIMS) -> pd.DataFrame:
    """Every claim on every task and k that our runs can test it on.

    Args:
        table: From ``measurements``.
        claims: The claims.

    Returns:
        ``claim``, ``says``, ``where``, ``least`` and ``most`` (between which it holds), ``unit``;
        ``task``, ``k``, ``splits``; ``value`` (the mean of the sum) with its interval (``low``,
        ``high``); the power: ``half`` of the interval's width, ``margin`` and ``splits_to_decide``;
        how the test ``rows`` were taken in; ``p``, ``p_together`` (Holm, over all rows) and
        ``verdict``. A claim without runs has one row, "not run".
    """
    return _judged([(claim, of_runs(table, claim)) for claim in claims])


def judge_paper(claims: Sequence[Claim] = CLAIMS) -> pd.DataFrame:
    """What the same rules say of the numbers that the paper prints.

    Args:
        claims: The claims.

    Returns:
        As ``judge_claims``.
    """
    return _judged([(claim, of_paper(claim)) for claim in claims])


def _judged(found: Iterable[tuple[Claim, list[Found]]]) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for claim, ones in found:
        about = _about(claim)
        if not ones:
            rows.append({**about, "verdict": NOT_RUN})
        for one in ones:
            facts = {"task": one.title, "k": one.k, "splits": one.splits, "rows": one.rows}
            rows.append({**about, **facts, **power(one.estimate, claim)})
    judged = pd.DataFrame(rows).reindex(columns=[*_OF_CLAIM, *_OF_TASK])
    return judged.assign(p_together=holm(judged["p"].astype(float)))


def _about(claim: Claim) -> dict[str, object]:
    return {"claim": claim.name, **{name: getattr(claim, name) for name in _OF_CLAIM[1:]}}


def power(estimate: Estimate, claim: Claim) -> dict[str, object]:
    """An estimate of a claim's sum, its verdict, and what it would take to decide it.

    Args:
        estimate: Of the sum.
        claim: The claim.

    Returns:
        ``value``, ``low``, ``high``, ``half``, ``margin``, ``splits_to_decide``, ``p`` and
        ``verdict``.
    """
    interval = estimate.interval()
    bounds = claim.least, claim.most
    return {
        "value": estimate.mean,
        "low": interval.low,
        "high": interval.high,
        "half": interval.half,
        "margin": min(abs(estimate.mean - bound) for bound in bounds if math.isfinite(bound)),
        "splits_to_decide": estimate.splits_to_decide(*bounds),
        "p": estimate.p_value(*bounds),
        "verdict": interval.verdict(*bounds),
    }


def together(found: Iterable[Found]) -> Estimate | None:
    """The mean of a claim's sum over tasks, these and no others.

    Args:
        found: The claim on tasks and k.

    Returns:
        First the mean over the k of a task, then over tasks; ``None`` where nothing has as many
        splits as an interval needs.
    """
    enough = sorted((one for one in found if one.splits >= MIN_COUNT), key=lambda one: one.title)
    of_tasks = [
        mean_on_the_same_rows([one.estimate for one in of_task])
        for _, of_task in groupby(enough, key=lambda one: one.title)
    ]
    return mean_of_independent(of_tasks) if of_tasks else None


def headlines(
    table: pd.DataFrame, learned: Collection[Setting], claims: Sequence[Claim] = CLAIMS
) -> pd.DataFrame:
    """A row for each claim: the rule on the paper's numbers, and on those of our runs that count.

    Args:
        table: From ``measurements``.
        learned: The tasks and k that our model learns (``learned_settings``): elsewhere a kernel
            that scores as fine-tuning does says nothing.
        claims: The claims.

    Returns:
        ``claim``, ``says``, ``where``, ``unit``; for the paper ``paper`` (the mean over tasks),
        ``paper_low``, ``paper_high`` and ``paper_verdict``; for ours ``value``, ``low``, ``high``,
        ``half``, ``margin``, ``splits_to_decide``, ``p``, ``p_together`` (Holm, over claims),
        ``verdict``, how many ``tasks`` and ``settings`` (tasks and k) there are, and on how many of
        the settings it ``holds`` and ``fails`` alone.
    """
    rows: list[dict[str, object]] = []
    for claim in claims:
        paper = together(of_paper(claim))
        row = _about(claim)
        if paper is not None:
            of_the_paper = power(paper, claim)
            row |= {"paper": paper.mean, "paper_verdict": of_the_paper["verdict"]}
            row |= {f"paper_{end}": of_the_paper[end] for end in ("low", "high")}
        ours = [one for one in of_runs(table, claim) if (one.title, one.k) in learned]
        ours = [one for one in ours if one.splits >= MIN_COUNT]
        mean = together(ours)
        row |= {"verdict": NOT_RUN} if mean is None else power(mean, claim)
        alone = [power(one.estimate, claim)["verdict"] for one in ours]
        row |= {"tasks": len({one.title for one in ours}), "settings": len(ours)}
        row |= {"holds": alone.count(HOLDS), "fails": alone.count(FAILS)}
        rows.append(row)
    found = pd.DataFrame(rows)
    for column in ("p", "splits_to_decide", "value", "low", "high", "half", "margin"):
        if column not in found:
            found[column] = math.nan
    return found.assign(p_together=holm(found["p"].astype(float)))


def all_of(verdicts: Iterable[str]) -> str:
    """The verdict on several statements that have to hold together.

    Args:
        verdicts: One each.

    Returns:
        ``HOLDS`` if every one does, ``FAILS`` as soon as one fails, ``NOT_RUN`` if none was run,
        ``UNDECIDED`` otherwise.
    """
    found = list(verdicts)
    if FAILS in found:
        return FAILS
    if not found or set(found) == {NOT_RUN}:
        return NOT_RUN
    return HOLDS if set(found) == {HOLDS} else UNDECIDED


def counts_by_verdict(judged: pd.DataFrame) -> pd.DataFrame:
    """For every claim, on how many tasks and k it holds and fails.

    Args:
        judged: From ``judge_claims`` or ``judge_paper``.

    Returns:
        ``claim``, ``says``, ``where``, and the numbers of tasks and k by verdict.
    """
    about = ["claim", "says", "where"]
    counts = judged.groupby([*about, "verdict"], sort=False).size().unstack(fill_value=0)
    return counts.reindex(columns=list(VERDICTS), fill_value=0).reset_index()
