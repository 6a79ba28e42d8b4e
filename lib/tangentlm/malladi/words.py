"""The result in words: a sentence, a table of claims, and how sure one can be of each."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from tangentlm.analysis.estimates import MIN_COUNT, Estimate
from tangentlm.analysis.several import ALPHA
from tangentlm.analysis.verdicts import FAILS, HOLDS, NOT_RUN, UNDECIDED
from tangentlm.malladi.baselines import against_baselines
from tangentlm.malladi.behavior import behavior_by_means, number_of_tasks
from tangentlm.malladi.claims import CLAIMS, Claim, Term
from tangentlm.malladi.estimating import of_paper, of_runs
from tangentlm.malladi.judging import Setting, all_of, headlines, together
from tangentlm.malladi.learned import on_settings

GAP = Claim(
    "the kernel scores as SGD does", "", "Table 2", (Term(1.0, "K-SGD"), Term(-1.0, "SGD-FT"))
)
IN_SHORT = tuple(claim for claim in CLAIMS if claim.name != "K-A-SignGD solves the task")
"""The claims of the table in short; Table 1 judges Adam by the other sign kernel."""
PAPER_COUNT = 8
"""Of 14 tasks the paper says that they show kernel behaviour."""
MORE_ROWS = "only more test rows, or paired ones, would decide"


def with_interval(value: float, low: float, high: float) -> str:
    """A number and its interval.

    Example:
        >>> with_interval(2.49, -1.0, 6.04)
        '+2.5 (-1.0 to +6.0)'

    Args:
        value: The number.
        low: The lower end; NaN where there is none.
        high: The upper end.

    Returns:
        Both in words, with signs.
    """
    ends = "" if math.isnan(low) else f" ({low:+.1f} to {high:+.1f})"
    return f"{value:+.1f}{ends}"


def how_sure(row: Mapping[str, Any]) -> str:
    """What a verdict rests on, and what it would take.

    Args:
        row: With ``p``, ``p_together``, ``half``, ``margin`` and ``splits_to_decide``.

    Returns:
        One line.
    """
    if pd.isna(row.get("p")):
        return ""
    alone, all_together = row["p"] < ALPHA, row["p_together"] < ALPHA
    sure = "sure" if all_together else "sure by itself only" if alone else "not sure"
    line = (
        f"{sure} (p {_p(row['p'])}, all claims together {_p(row['p_together'])}): "
        f"{row['margin']:.1f} from the bound, ± {row['half']:.1f}"
    )
    if alone:
        return line
    splits = row["splits_to_decide"]
    return f"{line}; {MORE_ROWS if pd.isna(splits) else f'{splits:.0f} splits would decide'}"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0")


def claims_in_words(
    table: pd.DataFrame, learned: Collection[Setting], baselines: pd.DataFrame
) -> pd.DataFrame:
    """The table in short: at most twelve claims, the paper, ours, the verdict, how sure.

    Args:
        table: From ``measurements``.
        learned: The tasks and k that our model learns.
        baselines: From ``baseline_scores``.

    Returns:
        ``claim``, ``says``, ``paper`` (what the rule gives on the paper's own numbers), ``ours``,
        ``verdict``, ``how sure``, ``sure together``: whether it passes Holm's procedure, and
        ``link``: where on the paper's page its numbers are.
    """
    found = headlines(table, learned, IN_SHORT)
    rows = [
        {**_claim_row(row), "link": f"#{claim.shown}"}
        for claim, row in zip(IN_SHORT, found.to_dict("records"), strict=True)
    ]
    rows.insert(4, _behavior_row(table, learned))
    return pd.DataFrame([*rows, _baseline_row(baselines, learned)])


def _claim_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    paper = ""
    if not pd.isna(row["paper"]):
        ends = with_interval(row["paper"], row["paper_low"], row["paper_high"])
        paper = f"{ends}: {row['paper_verdict']}"
    ours = "no run on a task that is learned"
    if row["verdict"] != NOT_RUN:
        tasks = f"{row['tasks']} task" + ("s" if row["tasks"] > 1 else "")
        ours = f"{with_interval(row['value'], row['low'], row['high'])}, {tasks}"
    return {
        "claim": row["claim"],
        "says": row["says"],
        "paper": paper or "not printed",
        "ours": ours,
        "verdict": row["verdict"],
        "how sure": how_sure(row),
        "sure together": bool(row["p_together"] < ALPHA),
    }


def _behavior_row(table: pd.DataFrame, learned: Collection[Setting]) -> dict[str, Any]:
    """How many tasks show the properties of Table 1, along Adam, by one rule on both."""
    paper = number_of_tasks(behavior_by_means(), "Adam")
    ours = behavior_by_means(on_settings(table, learned))
    count, along_sgd = (number_of_tasks(ours, along) for along in ("Adam", "SGD"))
    return {
        "claim": "most tasks show kernel behaviour",
        "says": f"The properties of Table 1, all that were measured, on {PAPER_COUNT} of 14 tasks.",
        "paper": f"{_count(paper)} along Adam: {_of_count(paper)}",
        "ours": f"{_count(count)} along Adam (along SGD {_count(along_sgd)})"
        if count["tasks"]
        else "no task is learned",
        "verdict": _of_count(count) if count["tasks"] else NOT_RUN,
        "how sure": "the counts that the means leave open; no test" if count["tasks"] else "",
        "sure together": False,
        "link": "#malladi-table-1",
    }


def _of_count(found: Mapping[str, float]) -> str:
    """Whether at least the share of tasks shows it that the paper says."""
    least = found["tasks"] * PAPER_COUNT / 14
    return HOLDS if found["low"] >= least else FAILS if found["high"] < least else UNDECIDED


def _count(found: Mapping[str, float]) -> str:
    shows = f"{found['shows']:.0f} ({found['low']:.0f} to {found['high']:.0f})"
    return f"{shows} of {found['tasks']:.0f} tasks"


def _baseline_row(scores: pd.DataFrame, learned: Collection[Setting]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "claim": "the kernel beats what knows less",
        "says": "Our control: it is ahead of every null baseline.",
        "paper": "not in the paper",
        "ours": "no run on a task that is learned",
        "verdict": NOT_RUN,
        "how sure": "",
        "sure together": False,
        "link": "#malladi-baselines",
    }
    found = against_baselines(scores) if len(scores) else pd.DataFrame()
    if found.empty:
        return row
    found = on_settings(found, learned)
    found = found[found["low"].notna()]
    if found.empty:
        return row
    words = {"kernel is ahead": HOLDS, "kernel is behind": FAILS}
    verdicts = found["verdict"].map(words).fillna(UNDECIDED)
    of_tasks = [all_of(verdicts[group.index]) for _, group in found.groupby("title")]
    nearest = found.loc[found["lead"].idxmin()]
    return row | {
        "ours": f"ahead of all on {of_tasks.count(HOLDS)} of {len(of_tasks)} tasks",
        "verdict": all_of(of_tasks),
        "how sure": f"nearest: {nearest['baseline']} on {nearest['title']}, lead "
        + with_interval(nearest["lead"], nearest["low"], nearest["high"]),
    }


def in_one_sentence(table: pd.DataFrame, learned: Collection[Setting], claims: pd.DataFrame) -> str:
    """What was found.

    Args:
        table: From ``measurements``.
        learned: The tasks and k that our model learns.
        claims: From ``claims_in_words``.

    Returns:
        A sentence, in Markdown.
    """
    return f"{gap_in_words(table, learned)}; {_the_verdicts(claims)}."


def gap_in_words(table: pd.DataFrame, learned: Collection[Setting]) -> str:
    """What kernel regression scores beside SGD fine-tuning, ours and the paper's.

    Args:
        table: From ``measurements``.
        learned: The tasks and k that our model learns.

    Returns:
        A sentence without its full stop.
    """
    paper = together(of_paper(GAP))
    counted = [one for one in of_runs(table, GAP) if (one.title, one.k) in learned]
    counted = [one for one in counted if one.splits >= MIN_COUNT]
    ours = together(counted)
    if ours is None or paper is None:
        return "Nothing was run on a task that is learned"
    titles = ", ".join(dict.fromkeys(one.title for one in counted))
    return (
        f"Where our small model learns the task ({titles}), kernel regression scores "
        f"{_of(ours)} than SGD fine-tuning; in the paper, with RoBERTa-base on all tasks, "
        f"{_of(paper)}"
    )


def _the_verdicts(claims: pd.DataFrame) -> str:
    counts = claims["verdict"].value_counts()
    stood, fell, undecided, untested = (
        int(counts.get(name, 0)) for name in (HOLDS, FAILS, UNDECIDED, NOT_RUN)
    )
    together_stood = int((claims["verdict"].eq(HOLDS) & claims["sure together"]).sum())
    return (
        f"of {len(claims)} claims we find {stood} true when each is judged alone, and "
        f"{together_stood} when all are judged together; {fell} wrong, {undecided} undecided, and "
        f"{untested} not run on such a task"
    )


def _of(gap: Estimate) -> str:
    """A gap in words, e.g. "3.9 points (2.8 to 5.0) less"."""
    interval = gap.interval()
    side = "less" if gap.mean < 0 else "more"
    ends = sorted((interval.low, interval.high), key=abs)
    sign = -1 if gap.mean < 0 else 1
    known = "" if math.isnan(interval.low) else f" ({sign * ends[0]:.1f} to {sign * ends[1]:.1f})"
    return f"{abs(gap.mean):.1f} points{known} {side}"
