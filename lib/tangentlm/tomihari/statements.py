"""The claims of Tomihari and Sato, each as a number and the bounds between which it holds.

The same number is taken of the paper's printed means where it prints them. Controls of ours stand
beside the claims that they belong to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tangentlm.tomihari import measurements
from tangentlm.tomihari.evidence import (
    Evidence,
    Ours,
    Paper,
    printed,
    printed_difference,
    printed_kernels,
    printed_ratio,
)
from tangentlm.tomihari.measurements import AT_FT_RATE, MAIN
from tangentlm.tomihari.statistics import (
    at_large_norms,
    equal_loss_ratio,
    log_ratio,
    norm_rises,
    of_method,
    slopes,
)

PROPORTIONAL = 0.95
"""The cosine from which LoRA's F counts as a multiple of F; the bound is ours."""


@dataclass(frozen=True)
class Claim:
    """A statement of the paper.

    Attributes:
        name: Its number here, and what it is called.
        says: What the paper says, in our words, and what the number is.
        where: Table, figure or section of the paper.
        ours: From our tables to a number for each data set and seed.
        low: The least value for which the claim holds.
        high: The largest.
        paper: The same number of the paper's means, by data set; none where it prints none.
    """

    name: str
    says: str
    where: str
    ours: Ours
    low: float
    high: float
    paper: Paper | None = None


def _diff_ratio(rate: str) -> Ours:
    return lambda e: log_ratio(
        of_method(e.test, "Diff", "LP-FT", rate), of_method(e.test, "Diff", "FT")
    )


def _fisher(reading: str, *, shifted: bool) -> Ours:
    def ratio(e: Evidence) -> pd.Series:
        table = e.shifted if shifted else e.test
        return log_ratio(of_method(table, reading, "LP-FT"), of_method(table, reading, "FT"))

    return ratio


def _improvement(kind: str, name: str) -> Ours:
    return lambda e: e.error(kind, name, "without") - e.error(kind, name, "scaled")


def _ahead_of_all(improvements: dict[str, pd.Series]) -> pd.Series:
    """LP-FT's improvement minus the best of the others."""
    table = pd.concat(improvements, axis=1)
    others = table.drop(columns="LP-FT").max(axis=1, skipna=False)
    return table["LP-FT"] - others


def _most_improved(e: Evidence) -> pd.Series:
    return _ahead_of_all(
        {name: _improvement("ECE", name)(e) for name in measurements.METHODS.values()}
    )


def _most_improved_in_print(table: pd.DataFrame) -> pd.Series:
    return _ahead_of_all(
        {
            name: printed(table, (14, 15), name, "ECE improvement")
            for name in measurements.METHODS.values()
        }
    )


def _between(e: Evidence) -> pd.Series:
    """How far the NTK's test accuracy is inside those of P and F; below zero it is outside."""
    P, F, K = (
        e.kernel("kernels", "test", kernel=kernel, method="" if kernel == "P" else "LP-FT")
        for kernel in ("P", "F", "NTK")
    )
    return pd.concat([F - K, K - P], axis=1).min(axis=1, skipna=False)


def _diagonal(e: Evidence) -> pd.Series:
    """log(diagonal / other pairs) of F's trace norms beyond that of P's."""
    maps = measurements.kernels(e.study, "class_maps")
    if maps.empty:
        return of_method(maps, "", "")
    means = (
        maps.assign(method=maps["method"].fillna(""))
        .groupby(["dataset", "seed", "method", "kernel"])[["diagonal", "between"]]
        .mean()
    )
    stands_out = np.log(means["diagonal"] / means["between"])
    found = stands_out.unstack(["method", "kernel"])
    return found["FT", "F"] - found["", "P"]


def _ft_ratio(start: str, samples: str, way: str) -> Ours:
    def value(e: Evidence) -> pd.Series:
        method = "FT" if start.startswith("random") else "LP-FT"
        return e.kernel(
            "ft_ratios", "ft_ratio", method=method, start=start, samples=samples, way=way
        )

    return value


def _minus(first: Ours, second: Ours) -> Ours:
    return lambda e: first(e) - second(e)


INFINITE = math.inf
LEARNS = "0 FT learns the task"
_IN = ("CB", "RTE", "SST-2", "Amazon")
_OUT = ("Dynasent", "SemEval", "SST-5")
CLAIMS = (
    Claim(
        LEARNS, "FT is right more often than the most frequent answer (points).", "our condition",
        lambda e: of_method(e.runs, "test_score", "FT") - of_method(e.runs, "majority_test", "FT"),
        0.0, INFINITE,
    ),
    Claim(
        "1 LP grows the norm", "log |V_LP| / |V_initial| > 0", "Table 13",
        lambda e: log_ratio(
            of_method(e.runs, "probe_norm", "FT"), of_method(e.runs, "initial_norm", "FT")
        ),
        0.0, INFINITE, printed_ratio(13, "LP", "Pre-trained", "Norm(C)"),
    ),
    Claim(
        "2 LP grows it more than FT", "log |V_LP| / |V_FT| > 0", "Table 13",
        lambda e: log_ratio(
            of_method(e.runs, "probe_norm", "FT"), of_method(e.runs, "tuned_norm", "FT")
        ),
        0.0, INFINITE, printed_ratio(13, "LP", "FT", "Norm(C)"),
    ),
    Claim(
        "3a FT grows the norm", "log |V_FT| / |V_initial| > 0", "Table 13",
        lambda e: log_ratio(
            of_method(e.runs, "tuned_norm", "FT"), of_method(e.runs, "initial_norm", "FT")
        ),
        0.0, INFINITE, printed_ratio(13, "FT", "Pre-trained", "Norm(C)"),
    ),
    Claim(
        "3b it grows with the epochs", "Spearman's correlation of |V| and the epoch > 0",
        "Figures 1 and 4", lambda e: norm_rises(e.traces), 0.0, INFINITE,
    ),
    Claim(
        "4a LP-FT moves features less, paper's rates", "log Diff of LP-FT / FT < 0", "Table 12",
        _diff_ratio(MAIN), -INFINITE, 0.0, printed_ratio(12, "LP-FT", "FT", "Diff(F)"),
    ),
    Claim(
        "4b the same at one rate", "the same, LP-FT at FT's rate", "our control",
        _diff_ratio(AT_FT_RATE), -INFINITE, 0.0,
    ),
    Claim(
        "4c the same at one training loss", "the same of training features, one rate",
        "our control", lambda e: equal_loss_ratio(e.traces), -INFINITE, 0.0,
    ),
    Claim(
        "4d of it the norm", "log Diff of a random head at LP's norm / FT < 0", "our control",
        lambda e: log_ratio(
            of_method(e.test, "Diff", "ft-from-random-at-lp-norm", AT_FT_RATE),
            of_method(e.test, "Diff", "FT"),
        ),
        -INFINITE, 0.0,
    ),
    Claim(
        "4e of it the direction", "log Diff of LP's head at the initial norm / FT < 0",
        "our control",
        lambda e: log_ratio(
            of_method(e.test, "Diff", "ft-from-lp-at-initial-norm", AT_FT_RATE),
            of_method(e.test, "Diff", "FT"),
        ),
        -INFINITE, 0.0,
    ),
    Claim(
        "5 LP-LoRA moves them less than LoRA", "log Diff of LP-LoRA / LoRA < 0", "Table 12",
        lambda e: log_ratio(
            of_method(e.test, "Diff", "LP-LoRA"), of_method(e.test, "Diff", "LoRA")
        ),
        -INFINITE, 0.0, printed_ratio(12, "LP-LoRA", "LoRA", "Diff(F)"),
    ),
    Claim(
        "6 LP-FT keeps the cosines", "CS of LP-FT - FT > 0", "Tables 1 and 11",
        lambda e: of_method(e.test, "CS", "LP-FT") - of_method(e.test, "CS", "FT"),
        0.0, INFINITE, printed_difference((1, 11), "LP-FT", "FT", ("CS(F)",)),
    ),
    Claim(
        "7a lower FDR in distribution", "log FDR of LP-FT / FT < 0, with a shrunk S_W",
        "Tables 1 and 11", _fisher("FDR_shrunk", shifted=False), -INFINITE, 0.0,
        printed_ratio((1, 11), "LP-FT", "FT", "FDR(F)", _IN),
    ),
    Claim(
        "7b the same, cross-fitted", "the same reading on samples that did not fit it",
        "our control", _fisher("FDR_cross-fitted", shifted=False), -INFINITE, 0.0,
    ),
    Claim(
        "8a higher FDR out of distribution", "log FDR of LP-FT / FT > 0, with a shrunk S_W",
        "Table 11", _fisher("FDR_shrunk", shifted=True), 0.0, INFINITE,
        printed_ratio(11, "LP-FT", "FT", "FDR(F)", _OUT),
    ),
    Claim(
        "8b the same, cross-fitted", "the same reading on samples that did not fit it",
        "our control", _fisher("FDR_cross-fitted", shifted=True), 0.0, INFINITE,
    ),
    Claim(
        "9a a larger norm moves them less: random head", "slope of log Diff over log |V0| < 0",
        "Figures 3, 10, 11", lambda e: slopes(e.scaling, "random"), -INFINITE, 0.0,
    ),
    Claim(
        "9b the same: LP's head", "slope of log Diff over log |V0| < 0",
        "Figures 3, 10, 11", lambda e: slopes(e.scaling, "lp"), -INFINITE, 0.0,
    ),
    Claim(
        "10 LP-FT below FT at equal, large norms", "log Diff of LP-FT / FT < 0 from |V0| = 10 on",
        "Figures 3, 10, 11", lambda e: at_large_norms(e.scaling), -INFINITE, 0.0,
    ),
    Claim(
        "11 F has the larger rank", "rank of FT's F - rank of P > 0", "Tables 2 and 9",
        lambda e: e.kernel("kernels", "rank", method="FT", kernel="F")
        - e.kernel("kernels", "rank", method="", kernel="P"),
        1.0, INFINITE, printed_kernels(("FT", "FT_E"), ("-", "Pre-train_E"), "Rank"),
    ),
    Claim(
        "12a F classifies better than P", "test accuracy of LP-FT's F - P > 0", "Tables 2 and 9",
        lambda e: e.kernel("kernels", "test", method="LP-FT", kernel="F")
        - e.kernel("kernels", "test", method="", kernel="P"),
        0.0, INFINITE, printed_kernels(("LP-FT", "FT_E"), ("-", "Pre-train_E"), "Acc test"),
    ),
    Claim(
        "12b the NTK is between", "how far its accuracy is inside those of P and F, >= 0",
        "Tables 2 and 9", _between, 0.0, INFINITE,
    ),
    Claim(
        "13a LP-FT has the larger FT ratio", "FT ratio of LP-FT - FT > 0", "Tables 2 and 9",
        _minus(_ft_ratio("lp", "all", "kernel"), _ft_ratio("random", "all", "kernel")),
        0.0, INFINITE, printed_kernels(("LP-FT", ""), ("FT", ""), "FT Ratio"),
    ),
    Claim(
        "13b the same at the initial norm", "FT ratio of LP's head at the initial norm - FT > 0",
        "our control",
        _minus(
            _ft_ratio("lp-at-initial-norm", "all", "kernel"), _ft_ratio("random", "all", "kernel")
        ),
        0.0, INFINITE,
    ),
    Claim(
        "13c a random head at LP's norm", "FT ratio of a random head at LP's norm - FT > 0",
        "our control",
        _minus(
            _ft_ratio("random-at-lp-norm", "all", "kernel"), _ft_ratio("random", "all", "kernel")
        ),
        0.0, INFINITE,
    ),
    Claim(
        "13d where LP was not fitted", "FT ratio of LP-FT - FT > 0 on samples LP has not seen",
        "our control",
        _minus(_ft_ratio("lp", "others", "one step"), _ft_ratio("random", "others", "one step")),
        0.0, INFINITE,
    ),
    Claim(
        "14 LoRA's F is a multiple of F",
        f"cosine with the F of the weights that LoRA adapts > {PROPORTIONAL:g} (our bound)",
        "Figures 2 and 7", lambda e: e.kernel("lora", "adapted", method="LoRA"),
        PROPORTIONAL, INFINITE,
    ),
    Claim(
        "15 F's diagonal stands out", "log (diagonal / other pairs) of F's trace norms - P's > 0",
        "Figures 8 and 9", _diagonal, 0.0, INFINITE,
    ),
    Claim(
        "16a LP-FT has the larger ECE", "ECE of LP-FT - FT > 0 (points)", "Tables 3, 14, 15",
        lambda e: e.error("ECE", "LP-FT", "without") - e.error("ECE", "FT", "without"),
        0.0, INFINITE, printed_difference((14, 15), "LP-FT", "FT", ("ECE w/o TS",)),
    ),
    Claim(
        "16b and the larger MCE", "MCE of LP-FT - FT > 0 (points)", "Tables 3, 14, 15",
        lambda e: e.error("MCE", "LP-FT", "without") - e.error("MCE", "FT", "without"),
        0.0, INFINITE, printed_difference((14, 15), "LP-FT", "FT", ("MCE w/o TS",)),
    ),
    Claim(
        "17 temperature scaling helps LP-FT", "ECE without - with > 0 (points)",
        "Tables 3, 14, 15", _improvement("ECE", "LP-FT"), 0.0, INFINITE,
        lambda table: printed(table, (14, 15), "LP-FT", "ECE improvement"),
    ),
    Claim(
        "18 it helps LP-FT most", "improvement of ECE: LP-FT - best of the others > 0 (points)",
        "Section 5.4", _most_improved,
        0.0, INFINITE, _most_improved_in_print,
    ),
    Claim(
        "19 LP-FT is right more often", "accuracy of LP-FT - FT > 0 (points)", "Table 8",
        lambda e: of_method(e.test, "accuracy", "LP-FT") - of_method(e.test, "accuracy", "FT"),
        0.0, INFINITE, printed_difference(8, "LP-FT", "FT", ("accuracy", "matthews")),
    ),
    Claim(
        "20 out of distribution, too", "accuracy of LP-FT - FT > 0 (points)", "Table 10",
        lambda e: of_method(e.shifted, "accuracy", "LP-FT")
        - of_method(e.shifted, "accuracy", "FT"),
        0.0, INFINITE, printed_difference(10, "LP-FT", "FT", ("accuracy",), _OUT),
    ),
    Claim(
        "21 the residual is smaller after LP", "mean |delta| of LP - of a random head < 0",
        "Section 4.2",
        lambda e: of_method(e.runs, "residual_probe", "FT")
        - of_method(e.runs, "residual_random", "FT"),
        -INFINITE, 0.0,
    ),
)  # fmt: skip
