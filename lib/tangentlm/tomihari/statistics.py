"""The statistics of the claims: a number for each task and seed, paired within the seed.

A ratio is taken as its logarithm, so that it can be averaged; below zero the first is smaller.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import spearmanr, t

from tangentlm.analysis.estimates import MIN_COUNT
from tangentlm.tomihari.measurements import AT_FT_RATE, MAIN, rate_of

_KEYS = ["dataset", "seed"]
_ALPHA, _POWER = 0.975, 0.8
_ROUND_OFF = 1e-9


def detectable(values: ArrayLike) -> float:
    """The smallest mean that seeds with this spread would tell from zero four times in five.

    (t_0.975 + t_0.8) s / sqrt(n), with Student's t of n - 1 degrees of freedom.

    Args:
        values: One number a seed.

    Returns:
        Its size, in the unit of the values; NaN for fewer values than an interval needs.
    """
    array = np.asarray(values, dtype=np.float64)
    count = len(array)
    if count < MIN_COUNT:
        return math.nan
    quantiles = t.ppf(_ALPHA, count - 1) + t.ppf(_POWER, count - 1)
    return float(quantiles * array.std(ddof=1) / math.sqrt(count))


def varies(values: ArrayLike) -> bool:
    """Whether seeds differ by more than round-off.

    Args:
        values: One number a seed.

    Returns:
        False where nothing is random in them, such as the norm of a probed head.
    """
    array = np.asarray(values, dtype=np.float64)
    return bool(np.ptp(array) > _ROUND_OFF * np.abs(array).max())


def frame(values: pd.Series) -> pd.DataFrame:
    """Values by data set and seed as the statistics hand them on.

    Args:
        values: With the index ``dataset``, ``seed``.

    Returns:
        ``dataset``, ``seed`` and ``value``, without those that are missing.
    """
    present = values.dropna()
    if present.empty:
        return pd.DataFrame(columns=[*_KEYS, "value"])
    return present.rename("value").reset_index()


def of_method(table: pd.DataFrame, column: str, name: str, rate: str = MAIN) -> pd.Series:
    """A column of the runs of a method.

    Args:
        table: From ``tangentlm.tomihari.measurements``.
        column: Which.
        name: The method.
        rate: At which rate, ``MAIN`` or ``AT_FT_RATE``.

    Returns:
        Values with the index ``dataset``, ``seed``.
    """
    if table.empty:
        return pd.Series(dtype=float, index=pd.MultiIndex.from_tuples([], names=_KEYS))
    chosen = table[(table["name"] == name) & table[rate].astype(bool)]
    return chosen.drop_duplicates(_KEYS).set_index(_KEYS)[column]


def log_ratio(first: pd.Series, second: pd.Series) -> pd.Series:
    """log(first / second), where both are.

    Args:
        first: Values by data set and seed.
        second: The same of another method.

    Returns:
        Their log ratios.
    """
    return np.log(first / second)


def tuned_test(table: pd.DataFrame, shifted: bool) -> pd.DataFrame:
    """The rows of tuned models on test samples.

    Args:
        table: From ``measured`` or ``calibrations``.
        shifted: Whether those of other sets than the one that the model was trained on.

    Returns:
        Rows of the table.
    """
    if table.empty:
        return table
    tuned = table[(table["stage"] == "tuned") & ~table["samples"].isin(["train", "dev"])]
    return tuned[(tuned["samples"] != "test") == shifted]


def change_at_equal_loss(first: pd.DataFrame, second: pd.DataFrame) -> tuple[float, float]:
    """How far two fine-tunings have moved their training features when their losses are equal.

    The loss is the smallest that both reach. Between epochs the change is interpolated in the loss.

    Args:
        first: The trace of one, by epoch.
        second: That of the other.

    Returns:
        The two changes.
    """
    level = max(float(one["train_loss"].min()) for one in (first, second))
    found = []
    for one in (first, second):
        losses, moved = one["train_loss"].to_numpy(), one["train_feature_change"].to_numpy()
        after = int(np.flatnonzero(losses <= level)[0])
        if after == 0:
            found.append(float(moved[0]))
            continue
        share = (losses[after - 1] - level) / (losses[after - 1] - losses[after])
        found.append(float(moved[after - 1] + share * (moved[after] - moved[after - 1])))
    return found[0], found[1]


def equal_loss_ratio(traces: pd.DataFrame, name: str) -> pd.Series:
    """log(change of a method / change of FT) at the same training loss and the same rate.

    Args:
        traces: From ``tangentlm.tomihari.measurements.traces``.
        name: The method.

    Returns:
        Values by data set and seed; an infinite one where one of the two starts below every loss
        that the other reaches, and so has not moved at all.
    """
    values = {}
    if not traces.empty:
        same = traces[traces[AT_FT_RATE].astype(bool)]
        for key, rows in same.groupby(_KEYS):
            both = [rows[rows["name"] == one].sort_values("epoch") for one in (name, "FT")]
            if all(len(one) for one in both):
                with np.errstate(divide="ignore"):
                    first, second = np.log(change_at_equal_loss(*both))
                values[key] = first - second
    index = pd.MultiIndex.from_tuples(list(values), names=_KEYS)
    return pd.Series(list(values.values()), index=index, dtype=float)


def norm_rises(traces: pd.DataFrame) -> pd.Series:
    """Spearman's correlation of the head's norm with the epoch, in FT.

    Args:
        traces: From ``tangentlm.tomihari.measurements.traces``.

    Returns:
        Values by data set and seed.
    """
    chosen = traces
    if not traces.empty:
        chosen = traces[(traces["name"] == "FT") & traces[MAIN].astype(bool)]
    if chosen.empty:
        return of_method(pd.DataFrame(), "epoch", "FT")
    return chosen.groupby(_KEYS)[["epoch", "weight_norm"]].apply(
        lambda rows: float(spearmanr(rows["epoch"], rows["weight_norm"]).statistic)
    )


def norm_scaling(table: pd.DataFrame, study_runs: pd.DataFrame) -> pd.DataFrame:
    """The change of test features of heads that were scaled, and of those that were not.

    Args:
        table: From ``measured``.
        study_runs: From ``runs``.

    Returns:
        ``dataset``, ``seed``, ``head`` (``"random"`` or ``"lp"``, with ``", weight alone"`` where
        the bias was not scaled and ``", LoRA"`` with LoRA), ``norm``, ``Diff`` and ``scaled``
        (whether the norm was given); full fine-tuning at FT's rate, and LoRA at LoRA's; on all sets
        that the model was tested on.
    """
    columns = [*_KEYS, "head", "norm", "Diff", "scaled"]
    rows = pd.concat([tuned_test(table, shifted=shifted) for shifted in (False, True)])
    if rows.empty:
        return pd.DataFrame(columns=columns)
    facts = study_runs.set_index("run")[["start_norm", "adaptation", "learning_rate", "model"]]
    both = rows.join(facts, on="run")
    base = both["start"].str.extract(r"^(random|lp)(-(?:scaled|times|weight-scaled):.+)?$")
    lora = both["adaptation"] == "lora"
    method = np.where(lora, "LoRA", "FT")
    paper_rate = functools.cache(rate_of)  # it reads a table, and runs are many
    own = [
        paper_rate(task, name, model)
        for task, name, model in zip(both["task"], method, both["model"], strict=True)
    ]
    alone = np.where(base[1].fillna("").str.startswith("-weight"), ", weight alone", "")
    chosen = both.assign(
        head=base[0] + alone + np.where(lora, ", LoRA", ""),
        scaled=base[1].notna(),
        norm=both["start_norm"],
    )
    at_one_rate = chosen["head"].notna() & (chosen["learning_rate"] == own)
    return chosen[at_one_rate][columns].reset_index(drop=True)


def slopes(scaling: pd.DataFrame, head: str) -> pd.Series:
    """The slope of log Diff over log |V0| of one head, from three norms on.

    Args:
        scaling: From ``norm_scaling``.
        head: ``"random"`` or ``"lp"``.

    Returns:
        Values by data set and seed.
    """
    values = {}
    for key, rows in scaling[scaling["head"] == head].groupby(_KEYS):
        if rows["norm"].nunique() >= MIN_COUNT:
            values[key] = float(np.polyfit(np.log(rows["norm"]), np.log(rows["Diff"]), 1)[0])
    index = pd.MultiIndex.from_tuples(list(values), names=_KEYS)
    return pd.Series(list(values.values()), index=index, dtype=float)


def at_large_norms(scaling: pd.DataFrame, least: float = 10.0) -> pd.Series:
    """log(Diff of LP's head / Diff of a random head) at equal norms, the mean over large ones.

    Args:
        scaling: From ``norm_scaling``.
        least: The smallest norm that counts.

    Returns:
        Values by data set and seed.
    """
    chosen = scaling[scaling["scaled"].astype(bool) & (scaling["norm"] >= 0.999 * least)]
    wide = chosen.assign(norm=chosen["norm"].round(2)).pivot_table(
        index=[*_KEYS, "norm"], columns="head", values="Diff"
    )
    if not {"lp", "random"} <= set(wide):
        return of_method(pd.DataFrame(), "", "")
    return np.log(wide["lp"] / wide["random"]).groupby(_KEYS).mean()


def kernel_value(table: pd.DataFrame, value: str, **same: str | Sequence[str]) -> pd.Series:
    """A column of the kernels' tables.

    Args:
        table: From ``tangentlm.tomihari.measurements.kernels``.
        value: Which column.
        **same: Columns and their values.

    Returns:
        Values by data set and seed; none where older records do not have the column.
    """
    if table.empty or value not in table:
        return of_method(pd.DataFrame(), "", "")
    chosen = pd.Series(True, table.index)
    for column, wanted in same.items():
        chosen &= table[column].fillna("") == wanted
    return table[chosen].drop_duplicates(_KEYS).set_index(_KEYS)[value]
