"""How much of "LP-FT moves features less" is the norm of the head, its direction, and the rate.

Four heads at FT's rate make a table of two by two: a random or a probed direction, at the initial
norm or at that of the probe. In logarithms the way from FT to LP-FT is a sum,

    log(Diff of LP-FT / Diff of FT) = norm + direction + rate.

The norm's part is the mean of what it changes for either direction, the direction's the mean of
what it changes at either norm; both together lead from FT to LP-FT at FT's rate, and the rate's
part from there to LP-FT at its own. How much one of the two changes what the other does is in
neither part; it is the interaction, and a large one says that the two cannot be told apart.
"""

from __future__ import annotations

import math

import pandas as pd

from tangentlm.analysis.intervals import interval_of_mean
from tangentlm.tomihari.evidence import Evidence
from tangentlm.tomihari.measurements import AT_FT_RATE, MAIN
from tangentlm.tomihari.statistics import frame, log_ratio, of_method

PARTS = ("norm", "direction", "rate", "all three", "interaction")


def change_shares(evidence: Evidence) -> pd.DataFrame:
    """The factors that lead from FT's change of test features to LP-FT's.

    Args:
        evidence: The tables of a study.

    Returns:
        A row for each data set that has all five trainings, and each of ``PARTS``: ``dataset``,
        ``part``, ``factor`` (below 1 features move less), ``low`` and ``high`` (95 %, Student's t
        of the logarithms over seeds), ``seeds`` and, of the norm, ``norm_ratio``: LP's over that of
        the random head. The factors of norm, direction and rate multiply to that of all three.
    """
    rows = []
    for part, logs in parts(evidence).items():
        for dataset, of_seeds in frame(logs).groupby("dataset", sort=False):
            mean = interval_of_mean(of_seeds["value"])
            factor, low, high = (math.exp(v) for v in (mean.estimate, mean.low, mean.high))
            rows.append((dataset, part, factor, low, high, len(of_seeds)))
    table = pd.DataFrame(rows, columns=["dataset", "part", "factor", "low", "high", "seeds"])
    norms = (of_method(evidence.runs, norm, "FT") for norm in ("probe_norm", "initial_norm"))
    ratios = log_ratio(*norms).groupby("dataset").mean().map(math.exp)
    of_norm = table["dataset"].map(ratios).where(table["part"] == "norm")
    return table.assign(norm_ratio=of_norm.astype(float))


def parts(evidence: Evidence) -> dict[str, pd.Series]:
    """The summands of the logarithm, by data set and seed.

    Args:
        evidence: The tables of a study.

    Returns:
        One series for each of ``PARTS``.
    """

    def log_change(name: str, rate: str = AT_FT_RATE) -> pd.Series:
        return of_method(evidence.test, "Diff", name, rate).map(math.log)

    random, probed = log_change("FT"), log_change("LP-FT")
    long = log_change("ft-from-random-at-lp-norm")  # the random direction at the probe's norm
    short = log_change("ft-from-lp-at-initial-norm")
    norm = (long - random + probed - short) / 2
    direction = (short - random + probed - long) / 2
    rate = log_change("LP-FT", MAIN) - probed
    found = (norm, direction, rate, norm + direction + rate, probed - long - short + random)
    return dict(zip(PARTS, found, strict=True))
