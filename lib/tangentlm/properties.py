"""Table 1 of Malladi et al.: which split of which task shows which property of kernel behaviour."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from scipy.stats import binomtest

from tangentlm.behavior import linearization_share
from tangentlm.claims import scores
from tangentlm.ledger import reported
from tangentlm.measurements import DISTANCE

PROPERTIES = {
    "solves": "eNTK solves task",
    "linearization": "Linearization",
    "fixed_features": "Fixed Features",
    "kernel_behavior": "Kernel behavior",
}
"""Our names of the properties, and the paper's."""
METHODS = {
    "SGD": ("SGD-FT", "K-SGD", "SGD-FT (K-SGD before/after)"),
    "Adam": ("Adam-FT", "K-A-SignGD", "Adam-FT (kernel before/after)"),
}
"""For each optimizer its fine-tuning, its kernel, and the distance that its kernel moved."""
_PROMPT = {"setting": "prompt", "prompt": "manual"}


@dataclass(frozen=True)
class Thresholds:
    """When a property counts as present; the papers set these by hand.

    Attributes:
        solves: The kernel reaches at least this share of fine-tuning's performance. 10 % short
            (0.90) in Malladi, 5 % (0.95) in Malladi-v1.
        linearization: The Taylor model recovers at least this share of the improvement.
        distance: The mean relative distance of the kernel's entries is below this: 2.0 in Malladi,
            1.0 in Malladi-v1.
    """

    solves: float = 0.90
    linearization: float = 0.5
    distance: float = 2.0


MALLADI = Thresholds()
MALLADI_V1 = Thresholds(solves=0.95, distance=1.0)


def properties(table: pd.DataFrame, thresholds: Thresholds = MALLADI) -> pd.DataFrame:
    """Which properties hold on which split.

    Args:
        table: From ``measurements``.
        thresholds: When they hold.

    Returns:
        ``optimizer``, ``task``, ``title``, ``k``, ``seed`` and a column of True, False or missing
        for each of ``PROPERTIES``. Where fine-tuning improved nothing there is no improvement to
        recover, and linearization is missing; kernel behaviour is all three.
    """
    frames = [_of_optimizer(table, name, thresholds) for name in METHODS]
    return pd.concat(frames, ignore_index=True)


def _of_optimizer(table: pd.DataFrame, optimizer: str, limits: Thresholds) -> pd.DataFrame:
    tuning, kernel, distance = METHODS[optimizer]
    tuned = scores(table, tuning, **_PROMPT)
    linear = scores(table, f"linearized {tuning}", **_PROMPT)
    zero_shot = scores(table, "zero-shot", **_PROMPT).droplevel("k") if len(table) else tuned
    regression = scores(table, kernel, **_PROMPT)
    moved = pd.Series(dtype=float)
    if len(table):
        chosen = table[(table["method"] == distance) & (table["quantity"] == DISTANCE)]
        moved = chosen.set_index(["task", "title", "k", "seed"])["value"]
    rows = []
    for key, performance in tuned.items():
        task, title, k, seed = key
        start = zero_shot.get((task, title, seed))
        share = None
        if start is not None and key in linear.index:
            share = linearization_share(start, linear[key], performance)
        found = {
            "solves": _at_least(regression.get(key), limits.solves * performance),
            "linearization": _at_least(share, limits.linearization),
            "fixed_features": None if key not in moved.index else moved[key] < limits.distance,
        }
        both = None if None in found.values() else all(found.values())
        facts = {"optimizer": optimizer, "task": task, "title": title, "k": k, "seed": seed}
        rows.append({**facts, **found, "kernel_behavior": both})
    columns = ["optimizer", "task", "title", "k", "seed", *PROPERTIES]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(PROPERTIES, "boolean"))


def _at_least(value: float | None, bound: float) -> bool | None:
    return None if value is None else bool(value >= bound)


def table_1(found: pd.DataFrame) -> pd.DataFrame:
    """On how many splits each property holds, ours beside the paper's.

    Args:
        found: From ``properties``.

    Returns:
        ``optimizer``, ``k``, ``task`` (its title), ``property`` (the paper's name), ``paper`` (of
        5), ``ours``, ``splits`` (on which it could be decided); missing where nothing was run.
    """
    paper = reported("malladi_table1")[["optimizer", "k", "task", "property", "seeds_holding"]]
    paper = paper.rename(columns={"seeds_holding": "paper"}).astype({"k": int, "paper": int})
    long = found.melt(
        id_vars=["optimizer", "k", "title"], value_vars=list(PROPERTIES), var_name="property"
    ).dropna(subset="value")
    ours = (
        long.assign(property=long["property"].map(PROPERTIES))
        .groupby(["optimizer", "k", "title", "property"])["value"]
        .agg(ours="sum", splits="size")
        .reset_index()
        .rename(columns={"title": "task"})
    )
    return paper.merge(ours, on=["optimizer", "k", "task", "property"], how="left")


SHOW_KERNEL_BEHAVIOR = ("SST-2", "SST-5", "MR", "CR", "Subj", "RTE", "MRPC", "QQP")
"""The eight tasks of which Malladi say so, and the five of which they deny it."""
DO_NOT = ("TREC", "MNLI", "SNLI", "QNLI", "MPQA")


def behavior_claims(found: pd.DataFrame) -> pd.DataFrame:
    """What the paper says of single tasks: which show kernel behaviour, and what AG News does.

    A property is present where it holds on most splits. The share of splits has a 95 % interval
    (Wilson); a claim that it is present holds where the interval is above one half, fails where it
    is below, and is undecided otherwise.

    Args:
        found: From ``properties``.

    Returns:
        ``claim``, ``optimizer``, ``task``, ``splits``, ``share``, ``low``, ``high``, ``verdict``.
    """
    claims = [
        ("shows kernel behaviour", "kernel_behavior", True, SHOW_KERNEL_BEHAVIOR, METHODS),
        ("shows no kernel behaviour", "kernel_behavior", False, DO_NOT, METHODS),
        ("is solved by the kernel", "solves", True, ("AG News",), ("Adam",)),
        ("is not linear", "linearization", False, ("AG News",), ("Adam",)),
    ]
    rows = []
    for claim, name, present, tasks, optimizers in claims:
        for optimizer in optimizers:
            for task in tasks:
                same = (found["title"] == task) & (found["optimizer"] == optimizer)
                values = found.loc[same, name].dropna()
                about = {"claim": claim, "optimizer": optimizer, "task": task}
                rows.append({**about, "splits": len(values), **_majority(values, present)})
    return pd.DataFrame(rows)


def _majority(values: pd.Series, present: bool) -> dict[str, object]:
    if values.empty:
        return {"share": None, "low": None, "high": None, "verdict": "not run"}
    count = int(values.sum())
    interval = binomtest(count, len(values)).proportion_ci(method="wilson")
    agrees = interval.low > 0.5 if present else interval.high < 0.5
    contradicts = interval.high < 0.5 if present else interval.low > 0.5
    return {
        "share": count / len(values),
        "low": float(interval.low),
        "high": float(interval.high),
        "verdict": "holds" if agrees else "fails" if contradicts else "undecided",
    }
