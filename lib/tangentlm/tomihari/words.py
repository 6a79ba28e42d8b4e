"""What the controls say, in words: how much of "LP-FT moves features less" is what."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from tangentlm.analysis.several import ALPHA
from tangentlm.analysis.verdicts import FAILS, HOLDS, NOT_RUN, Interval
from tangentlm.tomihari.claims import NO_RATIO, TOO_FEW_ROWS, where_it_learns
from tangentlm.tomihari.shares import PARTS

CONTROLS = {
    "4a": "LP-FT at the paper's ratio of rates",
    "4b": "LP-FT at FT's own rate",
    "4c": "LP-FT at the same training loss",
    "4d": "a random head at LP's norm",
    "4e": "LP's head at the initial norm",
    "4f": "a random head at a tenth of the rate",
    "4g": "a random head at LP's norm and the same training loss",
}
"""The claims whose number is the log of a ratio of changes of features, and what is beside FT."""


def change_ratios(tested: pd.DataFrame) -> pd.DataFrame:
    """How far each control moves the features, over how far FT does.

    Args:
        tested: From ``tangentlm.tomihari.claims.judge_claims``.

    Returns:
        A row for each control and data set: ``beside FT``, ``data``, ``ratio`` with the ends of its
        interval, ``seeds`` and ``verdict`` in words; a control without runs has one row.
    """
    rows = []
    for number, name in CONTROLS.items():
        for row in tested[tested["claim"].str.startswith(f"{number} ")].itertuples():
            rows.append(
                {
                    "beside FT": name, "data": row.dataset, "ratio": _exp(row.value),
                    "low": _exp(row.low), "high": _exp(row.high), "seeds": row.seeds,
                    "verdict": _verdict(str(row.verdict)),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _verdict(verdict: str) -> str:
    words = {HOLDS: "moves them less", FAILS: "does not move them less"}
    if verdict in (NOT_RUN, NO_RATIO):
        return verdict
    return words.get(verdict, f"not told apart ({verdict})")


def control_sentences(ratios: pd.DataFrame, dataset: str) -> str:
    """The controls of one data set as sentences.

    Args:
        ratios: From ``change_ratios``.
        dataset: The paper's name.

    Returns:
        Text; of what was not run it says so.
    """
    own = ratios[ratios["data"] == dataset].set_index("beside FT")
    parts = [_sentence(name, own) for name in CONTROLS.values()]
    return f"**{dataset}.** " + " ".join(parts)


def _sentence(name: str, own: pd.DataFrame) -> str:
    subject = name[0].upper() + name[1:]
    if name not in own.index:
        return f"{subject}: not run."
    row = own.loc[name]
    if row["verdict"] == NO_RATIO:
        return f"{subject}: no comparison, as one starts below every loss that the other reaches."
    ends = f" (95 % interval {row['low']:.2g} to {row['high']:.2g})"
    if not math.isfinite(row["low"]):
        ends = f" ({int(row['seeds'])} seed(s), too few for an interval)"
    return f"{subject} moves them by {row['ratio']:.2g} of what FT does{ends}."


def in_short(tested: pd.DataFrame, shares: pd.DataFrame) -> str:
    """What the runs say: how far features move, by what, and whether the answers are better.

    Args:
        tested: From ``tangentlm.tomihari.claims.judge_claims``.
        shares: From ``tangentlm.tomihari.shares.change_shares``.

    Returns:
        A few sentences, of the data sets on which FT learns.
    """
    learned = where_it_learns(tested)
    said = [
        opening(change_ratios(tested), learned),
        reasons_sentence(shares, learned),
        accuracy_sentence(tested, learned),
    ]
    return " ".join(filter(None, said))


def opening(ratios: pd.DataFrame, learned: list[str]) -> str:
    """One sentence for a busy reader.

    Args:
        ratios: From ``change_ratios``.
        learned: The data sets on which FT learns the task.

    Returns:
        Text, with the numbers of the data sets on which FT learns; of all, with a warning, where
        that is known of none.
    """
    run = ratios.dropna(subset="ratio")
    if run.empty:
        return "Nothing was run yet."
    known = run[run["data"].isin(learned)]
    told = run if known.empty else known
    main, one_rate = (told[told["beside FT"] == CONTROLS[number]] for number in ("4a", "4b"))
    others = _unlike(one_rate, main, ["data", "ratio"])
    sentences = [_opening("4a", main), _opening("4b", others)]
    warning = "There are too few seeds for a verdict yet." if known.empty else ""
    return " ".join(filter(None, (*sentences, warning)))


def shares_sentence(shares: pd.DataFrame, dataset: str) -> str:
    """Norm, direction and rate of one data set as sentences.

    Args:
        shares: From ``tangentlm.tomihari.shares.change_shares``.
        dataset: The paper's name.

    Returns:
        Text; where not all trainings were run it says so.
    """
    own = shares[shares["dataset"] == dataset].set_index("part")
    if "all three" not in own.index:
        return f"On {dataset} not all trainings were run that tell norm, direction and rate apart."
    factors = [_factor(part, own.loc[part]) for part in PARTS[:3]]
    text = f"On {dataset} {', '.join(factors[:2])}, and {factors[2]}."
    if not math.isfinite(own.loc["all three", "low"]):
        return f"{text} There are too few seeds to tell any of them from chance."
    less, more = _less(own), [part for part in PARTS[:3] if own.loc[part, "low"] > 1]
    told = [
        f"the {' and the '.join(names)} make{'s' * (len(names) == 1)} features move {what}"
        for names, what in ((less, "less"), (more, "more"))
        if names
    ]
    return f"{text} Beyond chance, {' and '.join(told) if told else 'none of them does anything'}."


def reasons_sentence(shares: pd.DataFrame, learned: list[str]) -> str:
    """Which of norm, direction and rate makes features move less, data set by data set.

    Args:
        shares: From ``tangentlm.tomihari.shares.change_shares``.
        learned: The data sets on which FT learns the task.

    Returns:
        A sentence; empty where no data set has all trainings with seeds enough.
    """
    parts = []
    for dataset in learned:
        own = shares[shares["dataset"] == dataset].set_index("part")
        if "all three" in own.index and math.isfinite(own.loc["all three", "low"]):
            factors = [f"the {part} ({own.loc[part, 'factor']:.2g})" for part in _less(own)]
            parts.append(f"on {dataset} it is {' and '.join(factors) or 'none of the three'}")
    if not parts:
        return ""
    return (
        "Of the head's norm, its direction and the rate, what makes features move less beyond "
        f"chance differs: {'; '.join(parts)}. The numbers are the factors by which each moves them."
    )


def _less(own: pd.DataFrame) -> list[str]:
    return [part for part in PARTS[:3] if own.loc[part, "high"] < 1]


def _factor(part: str, row: pd.Series) -> str:
    if row["factor"] == 1:
        return f"the {part} is the same"
    ends = f" ({row['low']:.2g} to {row['high']:.2g})" if math.isfinite(row["low"]) else ""
    size = row["norm_ratio"]
    given = f", with LP {size:.2g} times that of a random head," if math.isfinite(size) else ""
    return f"the {part}{given} multiplies the move by {row['factor']:.2g}{ends}"


def accuracy_sentence(tested: pd.DataFrame, learned: list[str]) -> str:
    """Whether LP-FT is right more often, so that nobody takes a small move for a better model.

    Args:
        tested: From ``tangentlm.tomihari.claims.judge_claims``.
        learned: The data sets on which FT learns the task.

    Returns:
        Text; empty where nothing is known.
    """
    own, at_one_rate = (
        tested[
            tested["claim"].str.startswith(number)
            & tested["dataset"].isin(learned)
            & (tested["verdict"] != TOO_FEW_ROWS)
        ]
        for number in ("19a ", "19b ")
    )
    if own.empty:
        return ""
    clear = [Interval(row.value, row.low, row.high).excludes(0.0) for row in own.itertuples()]
    told = "" if all(clear) else ", not told from chance" if not any(clear) else ""
    others = _unlike(at_one_rate, own, ["dataset", "value"])
    text = f"The accuracy of LP-FT less that of FT is {_points(own)}{told}"
    return f"{text}; at FT's own rate {_points(others)}." if len(others) else f"{text}."


def _unlike(rows: pd.DataFrame, known: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The rows that say something new: where two rates are equal there is one training."""
    said = set(known[columns].itertuples(index=False, name=None))
    return rows[[row not in said for row in rows[columns].itertuples(index=False, name=None)]]


def _points(rows: pd.DataFrame) -> str:
    return "; ".join(
        f"{row.value:+.1f} points on {row.dataset} ({row.low:+.1f} to {row.high:+.1f})"
        for row in rows.itertuples()
    )


def together_sentence(gated: pd.DataFrame) -> str:
    """How many verdicts stand when all are judged together.

    Args:
        gated: From ``tangentlm.tomihari.claims.gate``.

    Returns:
        A sentence; empty where nothing could be judged.
    """
    family = gated[gated["p_together"].notna()]
    if family.empty:
        return ""
    alone = family[family["p"] < ALPHA]
    firm = alone[alone["p_together"] < ALPHA]
    same = gated[gated["verdict"].isin((HOLDS, FAILS)) & gated["p"].isna()]
    sentence = (
        f"Of {len(family)} verdicts {len(alone)} hold or fail by themselves, and {len(firm)} of "
        f"these stand when all are judged together{_listed(firm)}."
    )
    if same.empty:
        return sentence
    return (
        f"{sentence} Every seed gives the same number for {len(same)} more, so an interval over "
        f"seeds says nothing of them{_listed(same)}."
    )


def validation_sentence(validated: pd.DataFrame, learned: list[str]) -> str:
    """Whether validation rows say the same of what FT learns as test rows do.

    Args:
        validated: From ``tangentlm.tomihari.learned.learned_on_validation``.
        learned: The data sets on which FT learns by the test rows.

    Returns:
        A sentence; empty where nothing was run.
    """
    if validated.empty:
        return ""
    listed = "; ".join(
        f"{row.dataset}: {row.accuracy:.0f} % of {row.rows} rows, where the most frequent answer "
        f"has {row.majority:.0f} % (p = {row.p:.2g})"
        for row in validated.itertuples()
    )
    other = set(validated[validated["learned"].astype(bool)]["dataset"]) ^ set(learned)
    said = f"they would say otherwise of {' and '.join(sorted(other))}" if other else "they agree"
    return f"By the validation rows, the best of all epochs taken in, {said}: {listed}."


def _listed(rows: pd.DataFrame) -> str:
    names = ", ".join(f"{row.claim} ({row.dataset})" for row in rows.itertuples())
    return f": {names}" if names else ""


def _opening(number: str, rows: pd.DataFrame) -> str:
    start: Mapping[str, str] = {
        "4a": "With the paper's ratio of rates, LP-FT moves the features of test samples by",
        "4b": "At FT's own rate it moves them by",
    }
    if rows.empty:
        return ""
    listed = "; ".join(
        f"{row.ratio:.2g} of what FT does on {row.data} ({_bounds(row)})"
        for row in rows.itertuples()
    )
    return f"{start[number]} {listed}."


def _bounds(row: Any) -> str:
    low, high, seeds = row.low, row.high, int(row.seeds)
    if not math.isfinite(low):
        return f"{seeds} seed(s)"
    return f"{low:.2g} to {high:.2g}, {seeds} seeds"


def _exp(value: float) -> float:
    return math.exp(value) if math.isfinite(value) else math.nan
