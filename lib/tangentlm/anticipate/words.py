"""What the comparison says: sentences that are right whatever it finds, and a figure's rows."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from tangentlm.analysis.bootstrap import LEAST_UNITS
from tangentlm.analysis.several import ALPHA
from tangentlm.analysis.verdicts import UNDECIDED
from tangentlm.anticipate.ceilings import ALL_LAYERS, ANOTHER_RUN, KNOWN, RANDOM
from tangentlm.anticipate.comparing import ADDS, AGAINST, MARGIN, NOTHING
from tangentlm.anticipate.outcomes import EARLY, OUTCOMES
from tangentlm.anticipate.predictors import PREDICTORS

PRIMARY = "eval_loss"
KAPPA = "kappa"
GROUPS = {
    "baseline": "trivial baselines", "spectrum": "spectrum of the kernel",
    "labels": "kernel and labels", "features": "features", "ceiling": "not known before training",
}  # fmt: skip
_OF_KAPPA = {
    ADDS: "says something of how fine-tuning ends",
    AGAINST: "says something of how fine-tuning ends, and the opposite of what is claimed",
    NOTHING: f"says next to nothing of how fine-tuning ends, less than $|\\tau|$ = {MARGIN:g}",
    UNDECIDED: "may or may not say something of how fine-tuning ends; these runs do not decide it",
}


def answer(equal: pd.DataFrame, every: pd.DataFrame, done: int, runs: int) -> str:
    """The answer to the page's question, in two sentences.

    Args:
        equal: From ``compare`` at equal size.
        every: From ``compare`` over all choices.
        done: Of how many runs there is a record.
        runs: Of how many there will be.

    Returns:
        Markdown; it also says how many runs are missing.
    """
    missing = f" **{done} of {runs} runs are done.**" if done < runs else ""
    if _too_few(equal):
        tasks = int(equal["tasks"].max()) if len(equal) else 0
        return (
            f"Not known yet.{missing} Two seeds of both kinds of runs are there for {tasks} of the "
            f"{LEAST_UNITS} tasks that an interval needs at least."
        )
    primary = equal[equal["outcome"] == PRIMARY].set_index("predictor")
    return f"{_of_kappa(primary)} {_of_the_others(primary, every)}{missing}"


def conclusions(equal: pd.DataFrame, limits: pd.DataFrame, regret: pd.DataFrame) -> list[str]:
    """What a practitioner may take from the numbers, a sentence each.

    Args:
        equal: From ``compare`` at equal size.
        limits: From ``ceilings`` at equal size.
        regret: From ``regrets``.

    Returns:
        Sentences in Markdown; none where there are too few tasks for an interval.
    """
    if _too_few(equal):
        return []
    said = [_of_choosing(arm, own) for arm, own in regret.groupby("arm", sort=False)]
    primary = equal[equal["outcome"] == PRIMARY]
    early = primary[primary["predictor"] == EARLY]
    best = primary[primary["group"] != "ceiling"].nlargest(1, "tau").iloc[0]
    another = limits[(limits["outcome"] == PRIMARY) & (limits["label"] == ANOTHER_RUN)].iloc[0]
    known = limits[(limits["outcome"] == PRIMARY) & (limits["label"] == KNOWN)].iloc[0]
    said.append(
        "Evaluation loss, choices of equal size: the best of what is known before training is "
        f"{best.label} ({tau_in_words(best)}). "
        + "".join(
            f"An eighth of the training reaches {tau_in_words(row)}, and "
            for row in early.itertuples()
        )
        + f"another training run {tau_in_words(another)}; the noise between seeds leaves "
        f"{known.tau:.2f} to a predictor that knows the expected loss of every choice."
    )
    return [*said, *_of_other_outcomes(equal)]


def between_tasks(across: pd.DataFrame) -> list[str]:
    """What tells tasks apart, beside the condition number: for a user who has several.

    Args:
        across: From ``across_tasks``.

    Returns:
        A sentence in Markdown, of the accuracy; none where there are too few tasks.
    """
    if _too_few(across):
        return []
    accuracy = across[across["outcome"] == "accuracy"]
    before = accuracy[accuracy["group"] != "ceiling"]
    best = before.nlargest(1, "tau").iloc[0]
    kappa = "".join(
        f"; the condition number has {tau_in_words(row)}"
        for row in before[before["predictor"] == KAPPA].itertuples()
    )
    return [
        f"Between tasks ({best.tasks:.0f}, all layers adapted), of {len(before)} quantities "
        f"{best.label} orders the accuracy best ({tau_in_words(best)}, p {best.p_holm:.3f} "
        f"by Holm){kappa}."
    ]


def tau_in_words(row: object) -> str:
    """A tau with its interval.

    Example:
        >>> tau_in_words(pd.Series({"tau": 0.123, "low": -0.05, "high": 0.3}))
        '+0.12, 95 % interval -0.05 to +0.30'

    Args:
        row: With ``tau``, ``low`` and ``high``.

    Returns:
        Words; without an interval where there are too few tasks for one.
    """
    tau, low, high = (getattr(row, name) for name in ("tau", "low", "high"))
    if pd.isna(low):
        return f"{tau:+.2f}, too few tasks for an interval"
    return f"{tau:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}"


def rows_of_figure(parts: Sequence[pd.DataFrame], outcomes: Sequence[str]) -> pd.DataFrame:
    """The rows of a forest plot: predictors in their order, in groups, a panel an outcome.

    Args:
        parts: From ``compare``, ``ceilings`` and ``across_tasks``.
        outcomes: Names of ``OUTCOMES``.

    Returns:
        ``panel``, ``group``, ``row``, ``view``, ``value``, ``low`` and ``high``.
    """
    table = pd.concat([part for part in parts if len(part)], ignore_index=True)
    order = {one.label: place for place, one in enumerate(PREDICTORS.values())}
    groups = list(GROUPS)
    table = table.assign(
        place=[order.get(label, len(order)) for label in table["label"]],
        number=[groups.index(group) for group in table["group"]],
        view=[list(outcomes).index(o) if o in outcomes else -1 for o in table["outcome"]],
    )
    table = table[table["view"] >= 0].sort_values(["number", "place", "view"], kind="stable")
    return pd.DataFrame(
        {
            "panel": [OUTCOMES[name].label for name in table["outcome"]],
            "group": table["group"].map(GROUPS), "row": table["label"], "view": table["scope"],
            "value": table["tau"], "low": table["low"], "high": table["high"],
        }
    )  # fmt: skip


def _too_few(equal: pd.DataFrame) -> bool:
    return equal.empty or bool(equal["tasks"].max() < LEAST_UNITS)


def _of_kappa(primary: pd.DataFrame) -> str:
    if KAPPA not in primary.index:
        return "Of the condition number nothing is recorded yet."
    row = primary.loc[KAPPA]
    text = (
        f"At a fixed number of layers, the condition number of LoRA's kernel "
        f"{_OF_KAPPA[row['verdict']]} (evaluation loss: Kendall's $\\tau$ = {tau_in_words(row)}, "
        f"{row['tasks']:.0f} tasks"
    )
    if row["verdict"] in (ADDS, AGAINST) and row["p_layers"] >= ALPHA:
        text += f"; with the layers relabelled by chance p = {row['p_layers']:.2f}"
    return text + ")."


def _of_the_others(primary: pd.DataFrame, every: pd.DataFrame) -> str:
    others = primary[(primary["group"] != "ceiling") & (primary.index != KAPPA)]
    adding = others[others["verdict"] == ADDS].sort_values("tau", ascending=False)
    if adding.empty:
        text = (
            f"None of {len(others)} other quantities is shown to say more of the evaluation loss "
            "than the number of layers"
        )
    else:
        first = ", ".join(f"{row.label} {row.tau:+.2f}" for row in adding.head(3).itertuples())
        verb, more = ("says", "") if len(adding) == 1 else ("say", "first of all ")
        text = (
            "Of the evaluation loss, "
            f"{len(adding)} of {len(others)} other quantities {verb} more than the number of "
            f"layers ({more if len(adding) > 3 else ''}{first}), {_stricter(adding['p_layers'])}"
        )
    if len(every):
        alone = every[(every["predictor"] == "layers") & (every["outcome"] == PRIMARY)]
        for row in alone.itertuples():
            text += f"; over all choices, the number of layers has $\\tau$ = {tau_in_words(row)}"
    return text + "."


def _of_other_outcomes(equal: pd.DataFrame) -> list[str]:
    """What adds something for the secondary outcomes; no sentence where nothing does."""
    others = equal[equal["outcome"].ne(PRIMARY) & equal["group"].ne("ceiling")]
    adding = others[others["verdict"] == ADDS].sort_values("tau", ascending=False)
    parts = [
        f"for the {OUTCOMES[str(outcome)].label} "
        + ", ".join(f"{row.label} {row.tau:+.2f}" for row in own.itertuples())
        for outcome, own in adding.groupby("outcome", sort=False)
    ]
    if not parts:
        return []
    listed = "; ".join(parts)
    return [f"By the same rule, these add something at equal size: {listed}. They are secondary."]


def _stricter(p_layers: pd.Series) -> str:
    """How many of the findings stand if which layer is which is taken for chance."""
    firm = int((p_layers < ALPHA).sum())
    if len(p_layers) == 1:
        return f"and it {'stands' if firm else 'does not stand'} if the layers are relabelled"
    return f"of which {firm} {'stands' if firm == 1 else 'stand'} if the layers are relabelled"


def _of_choosing(arm: object, own: pd.DataFrame) -> str:
    """Regret of one arm: a random choice, all layers, and the best predictor."""
    by = own.set_index("label")["regret"]
    before = own[(own["group"] != "ceiling") & ~own["label"].isin([RANDOM, ALL_LAYERS])]
    text = f"{arm}: a random choice misses the best by {by[RANDOM]:.1f} points of accuracy"
    if ALL_LAYERS in by:
        text += f", all layers by {by[ALL_LAYERS]:.1f}"
    if len(before):
        best = before.nsmallest(1, "regret").iloc[0]
        text += (
            f", the most fortunate of {len(before)} predictors ({best.label}) by {best.regret:.1f}"
        )
    if ANOTHER_RUN in by:
        text += f", and a choice by another training run by {by[ANOTHER_RUN]:.1f}"
    return text + "."
