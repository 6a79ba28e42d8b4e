"""The claims of Tomihari and Sato, each as a number and the bounds between which it holds.

The same number is taken of the paper's printed means where it prints them. Controls of ours stand
beside the claims that they belong to.
"""

from __future__ import annotations

import math

from tangentlm.tomihari.claim import Claim
from tangentlm.tomihari.compared import (
    ahead_of_luck,
    answers,
    between,
    between_in_print,
    diagonal,
    fisher,
    ft_ratio,
    improvement,
    larger_rank,
    minus,
    most_improved,
    most_improved_in_print,
    moves,
)
from tangentlm.tomihari.evidence import (
    printed,
    printed_difference,
    printed_half,
    printed_kernels,
    printed_ratio,
)
from tangentlm.tomihari.measurements import AT_FT_RATE, AT_TENTH
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
CLOSE = 0.3
"""The relative error up to which it counts as the expected multiple, which is about what that
cosine leaves of a kernel that is scaled best; the bound is ours."""

LAST_DIGIT = 0.005
"""Half of the last digit of an accuracy in print: what is as good as F is between, too."""


INFINITE = math.inf
LEARNS = "0a FT learns the task"
LORA_LEARNS = "0b LoRA learns the task"
FOR_ANSWERS = 100
"""Test rows from which on answers are compared: on CB's 56 a single one is worth 1.8 points."""
MORE_THAN_FEATURES = 800
"""Test rows from which on there are more of them than features, in our model (384) and the paper's
(768); with fewer, a Fisher ratio that is taken on the rows that fit it is noise."""
_IN = ("CB", "RTE", "SST-2", "Amazon")
SHIFTED = ("Dynasent", "SemEval", "SST-5")
"""Where models that were trained on Amazon are tested, too, as the paper writes them."""
CLAIMS = (
    Claim(
        LEARNS, "FT is right more often than the most frequent answer (points).", "our condition",
        ahead_of_luck("FT"),
        0.0, INFINITE,
    ),
    Claim(
        LORA_LEARNS, "LoRA is right more often than the most frequent answer (points).",
        "our condition", ahead_of_luck("LoRA"), 0.0, INFINITE,
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
        moves("LP-FT"), -INFINITE, 0.0, printed_ratio(12, "LP-FT", "FT", "Diff(F)"),
    ),
    Claim(
        "4b the same at one rate", "the same, LP-FT at FT's rate", "our control",
        moves("LP-FT", AT_FT_RATE), -INFINITE, 0.0,
    ),
    Claim(
        "4c the same at one training loss", "the same of training features, one rate",
        "our control", lambda e: equal_loss_ratio(e.traces, "LP-FT"), -INFINITE, 0.0,
    ),
    Claim(
        "4d of it the norm", "log Diff of a random head at LP's norm / FT < 0", "our control",
        moves("ft-from-random-at-lp-norm", AT_FT_RATE), -INFINITE, 0.0,
    ),
    Claim(
        "4e of it the direction", "log Diff of LP's head at the initial norm / FT < 0",
        "our control",
        moves("ft-from-lp-at-initial-norm", AT_FT_RATE), -INFINITE, 0.0,
    ),
    Claim(
        "4f of it the rate", "log Diff of a random head at a tenth of the rate / FT < 0",
        "our control",
        moves("FT", AT_TENTH), -INFINITE, 0.0,
    ),
    Claim(
        "4g the norm at one training loss", "as 4c, of a random head at LP's norm / FT",
        "our control", lambda e: equal_loss_ratio(e.traces, "ft-from-random-at-lp-norm"),
        -INFINITE, 0.0,
    ),
    Claim(
        "5 LP-LoRA moves them less than LoRA", "log Diff of LP-LoRA / LoRA < 0", "Table 12",
        moves("LP-LoRA", than="LoRA"), -INFINITE, 0.0,
        printed_ratio(12, "LP-LoRA", "LoRA", "Diff(F)"), learner="LoRA",
    ),
    Claim(
        "6 LP-FT keeps the cosines", "CS of LP-FT - FT > 0", "Tables 1 and 11",
        answers("test", "CS"),
        0.0, INFINITE, printed_difference((1, 11), "LP-FT", "FT", ("CS(F)",)),
    ),
    Claim(
        "7a lower FDR in distribution", "log FDR of LP-FT / FT < 0, with a shrunk S_W",
        "Tables 1 and 11", fisher("FDR_shrunk", shifted=False), -INFINITE, 0.0,
        printed_ratio((1, 11), "LP-FT", "FT", "FDR(F)", _IN), rows=MORE_THAN_FEATURES,
    ),
    Claim(
        "7b the same, cross-fitted", "the same reading on samples that did not fit it",
        "our control", fisher("FDR_cross-fitted", shifted=False), -INFINITE, 0.0,
    ),
    Claim(
        "8a higher FDR out of distribution", "log FDR of LP-FT / FT > 0, with a shrunk S_W",
        "Table 11", fisher("FDR_shrunk", shifted=True), 0.0, INFINITE,
        printed_ratio(11, "LP-FT", "FT", "FDR(F)", SHIFTED), rows=MORE_THAN_FEATURES,
    ),
    Claim(
        "8b the same, cross-fitted", "the same reading on samples that did not fit it",
        "our control", fisher("FDR_cross-fitted", shifted=True), 0.0, INFINITE,
    ),
    Claim(
        "9a a larger norm moves them less: random head", "slope of log Diff over log |V0| < 0",
        "Figures 3, 10", lambda e: slopes(e.scaling, "random"), -INFINITE, 0.0,
    ),
    Claim(
        "9b the same: LP's head", "slope of log Diff over log |V0| < 0",
        "Figures 3, 10", lambda e: slopes(e.scaling, "lp"), -INFINITE, 0.0,
    ),
    Claim(
        "9c with LoRA: random head", "slope of log Diff over log |V0| < 0", "Figure 11",
        lambda e: slopes(e.scaling, "random, LoRA"), -INFINITE, 0.0, learner="LoRA",
    ),
    Claim(
        "9d with LoRA: LP's head", "slope of log Diff over log |V0| < 0", "Figure 11",
        lambda e: slopes(e.scaling, "lp, LoRA"), -INFINITE, 0.0, learner="LoRA",
    ),
    Claim(
        "10 LP-FT below FT at equal, large norms", "log Diff of LP-FT / FT < 0 from |V0| = 10 on",
        "Figures 3, 10, 11", lambda e: at_large_norms(e.scaling), -INFINITE, 0.0,
    ),
    Claim(
        "11a F has the larger rank", "rank of FT's F - rank of P > 0, tolerance of float32",
        "Tables 2 and 9", larger_rank("rank"),
        1.0, INFINITE, printed_kernels(("FT", "FT_E"), ("-", "Pre-train_E"), "Rank"),
    ),
    Claim(
        "11b the same, by a coarser tolerance", "rank of FT's F - rank of P > 0, tolerance 0.001",
        "Tables 2 and 9", larger_rank("rank_small"), 1.0, INFINITE,
        printed_kernels(("FT", "FT_E"), ("-", "Pre-train_E"), "Rank"),
    ),
    Claim(
        "12a F classifies better than P", "test accuracy of LP-FT's F - P > 0", "Tables 2 and 9",
        lambda e: e.kernel("kernels", "test", method="LP-FT", kernel="F")
        - e.kernel("kernels", "test", method="", kernel="P"),
        0.0, INFINITE, printed_kernels(("LP-FT", "FT_E"), ("-", "Pre-train_E"), "Acc test"),
    ),
    Claim(
        "12b the NTK is between", "how far its accuracy is inside those of P and F, >= 0",
        "Tables 2 and 9", between, -LAST_DIGIT, INFINITE, between_in_print,
    ),
    Claim(
        "13a LP-FT has the larger FT ratio", "FT ratio of LP-FT - FT > 0", "Tables 2 and 9",
        minus(ft_ratio("lp", "all", "kernel"), ft_ratio("random", "all", "kernel")),
        0.0, INFINITE, printed_kernels(("LP-FT", ""), ("FT", ""), "FT Ratio"),
    ),
    Claim(
        "13b the same at the initial norm", "FT ratio of LP's head at the initial norm - FT > 0",
        "our control",
        minus(
            ft_ratio("lp-at-initial-norm", "all", "kernel"), ft_ratio("random", "all", "kernel")
        ),
        0.0, INFINITE,
    ),
    Claim(
        "13c a random head at LP's norm", "FT ratio of a random head at LP's norm - FT > 0",
        "our control",
        minus(
            ft_ratio("random-at-lp-norm", "all", "kernel"), ft_ratio("random", "all", "kernel")
        ),
        0.0, INFINITE,
    ),
    Claim(
        "13d where LP was not fitted", "FT ratio of LP-FT - FT > 0 on samples LP has not seen",
        "our control",
        minus(ft_ratio("lp", "others", "one step"), ft_ratio("random", "others", "one step")),
        0.0, INFINITE,
    ),
    Claim(
        "13e there, a random head at LP's norm", "FT ratio of that head - FT > 0, same samples",
        "our control",
        minus(
            ft_ratio("random-at-lp-norm", "others", "one step"),
            ft_ratio("random", "others", "one step"),
        ),
        0.0, INFINITE,
    ),
    Claim(
        "14a LoRA's F is a multiple of F",
        f"cosine of both with centred samples, of the weights that LoRA adapts, > {PROPORTIONAL:g} "
        "(our bound)",
        "Figures 2 and 7", lambda e: e.kernel("lora", "centred_adapted", method="LoRA"),
        PROPORTIONAL, INFINITE,
    ),
    Claim(
        "14b it is the expected multiple", f"relative error < {CLOSE:g} (our bound)",
        "Proposition 4.4", lambda e: e.kernel("lora", "error", method="LoRA"), -INFINITE, CLOSE,
    ),
    Claim(
        "15 F's diagonal stands out", "log (diagonal / other pairs) of F's trace norms - P's > 0",
        "Figures 8 and 9", diagonal, 0.0, INFINITE,
    ),
    Claim(
        "16a LP-FT has the larger ECE", "ECE of LP-FT - FT > 0 (points)", "Tables 3, 14, 15",
        lambda e: e.error("ECE", "LP-FT", "without") - e.error("ECE", "FT", "without"),
        0.0, INFINITE, printed_difference((14, 15), "LP-FT", "FT", ("ECE w/o TS",)),
        printed_half((14, 15), "LP-FT", "FT", ("ECE w/o TS",)), rows=FOR_ANSWERS,
    ),
    Claim(
        "16b and the larger MCE", "MCE of LP-FT - FT > 0 (points)", "Tables 3, 14, 15",
        lambda e: e.error("MCE", "LP-FT", "without") - e.error("MCE", "FT", "without"),
        0.0, INFINITE, printed_difference((14, 15), "LP-FT", "FT", ("MCE w/o TS",)),
        printed_half((14, 15), "LP-FT", "FT", ("MCE w/o TS",)), rows=FOR_ANSWERS,
    ),
    Claim(
        "17 temperature scaling helps LP-FT", "ECE without - with > 0 (points)",
        "Tables 3, 14, 15", improvement("ECE", "LP-FT"), 0.0, INFINITE,
        lambda table: printed(table, (14, 15), "LP-FT", "ECE improvement"), rows=FOR_ANSWERS,
    ),
    Claim(
        "18 it helps LP-FT most", "improvement of ECE: LP-FT - best of the others > 0 (points)",
        "Section 5.4", most_improved,
        0.0, INFINITE, most_improved_in_print, rows=FOR_ANSWERS,
    ),
    Claim(
        "19a LP-FT is right more often", "accuracy of LP-FT - FT > 0 (points)", "Table 8",
        answers("test", "accuracy"),
        0.0, INFINITE, printed_difference(8, "LP-FT", "FT", ("accuracy", "matthews")),
        printed_half(8, "LP-FT", "FT", ("accuracy", "matthews")), rows=FOR_ANSWERS,
    ),
    Claim(
        "19b the same at one rate", "accuracy of LP-FT at FT's rate - FT > 0 (points)",
        "our control", answers("test", "accuracy", AT_FT_RATE),
        0.0, INFINITE, rows=FOR_ANSWERS,
    ),
    Claim(
        "20a out of distribution, too", "accuracy of LP-FT - FT > 0 (points)", "Table 10",
        answers("shifted", "accuracy"),
        0.0, INFINITE, printed_difference(10, "LP-FT", "FT", ("accuracy",), SHIFTED),
        printed_half(10, "LP-FT", "FT", ("accuracy",)), rows=FOR_ANSWERS,
    ),
    Claim(
        "20b the same at one rate", "accuracy of LP-FT at FT's rate - FT > 0 (points)",
        "our control", answers("shifted", "accuracy", AT_FT_RATE),
        0.0, INFINITE, rows=FOR_ANSWERS,
    ),
    Claim(
        "21 the residual is smaller after LP", "mean |delta| of LP - of a random head < 0",
        "Section 4.2",
        lambda e: of_method(e.runs, "residual_probe", "FT")
        - of_method(e.runs, "residual_random", "FT"),
        -INFINITE, 0.0,
    ),
)  # fmt: skip
