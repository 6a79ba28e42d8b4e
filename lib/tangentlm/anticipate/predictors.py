"""All predictors by name: what they are, in which direction each is claimed to predict better.

The one place that says which way a number points: ``Predictor.better`` is +1 where a larger value
is claimed to go with better fine-tuning (a lower loss, a higher accuracy), -1 where a smaller one
is. Multiplied by it, all point the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from tangentlm.anticipate import features as of_features
from tangentlm.anticipate.centred import CentredKernel
from tangentlm.anticipate.labels import (
    best_ridges,
    gradient_norm,
    linearised_loss,
    target_alignment,
)
from tangentlm.anticipate.source_labels import leep, nce
from tangentlm.anticipate.spectrum import RELATIVE, effective_dimension, entropy_rank, kappa
from tangentlm.errors import InputError, unknown_name

Group = Literal["baseline", "spectrum", "labels", "features", "ceiling"]


@dataclass(frozen=True)
class Predictor:
    """A number that is known before training, or nearly so.

    Attributes:
        label: Its name for people.
        group: What it is computed from. A ``ceiling`` is not known before training.
        better: +1 or -1, see above.
        formula: In the notation of ``CentredKernel``.
        source: A key of the book's bibliography, where it has a source of its own.
    """

    label: str
    group: Group
    better: Literal[1, -1]
    formula: str
    source: str | None = None


_OF_SUBSETS = {
    "layers": Predictor("number of layers", "baseline", 1, "|S|"),
    "parameters": Predictor("trained parameters", "baseline", 1, "their number"),
    "mean_depth": Predictor("mean depth", "baseline", 1, "mean of S"),
    "kappa": Predictor(
        "condition number", "spectrum", -1, "(lambda_max + 1e-4) / (lambda_min + 1e-4), n = 32",
        "afzal2024spectrum",
    ),
    "kappa_relative": Predictor(
        "condition number, relative", "spectrum", -1,
        "(lambda_max + s) / (lambda_min + s), s = tr M / (100 N), n = 32", "afzal2024spectrum",
    ),
    "lambda_max": Predictor("largest eigenvalue", "spectrum", 1, "lambda_max"),
    "trace": Predictor("trace", "spectrum", 1, "tr M"),
    "entropy_rank": Predictor(
        "entropy rank", "spectrum", 1, "exp(-sum p_i log p_i), p_i = lambda_i / tr M",
        "roy2007effective",
    ),
    "effective_dimension": Predictor(
        "effective dimension", "spectrum", 1, "sum lambda_i / (lambda_i + s), s = tr M / (100 N)",
        "zhang2005learning",
    ),
    "gradient_norm": Predictor("gradient norm", "labels", 1, "chi K chi / n^2", "jacot2018neural"),
    "linearised_loss": Predictor(
        "linearised training loss", "labels", -1, "sum e^(-2 t lambda_i / n) (u_i T)^2 / n",
        "jacot2018neural",
    ),
    "alignment": Predictor(
        "centred alignment", "labels", 1, "cos(H M H, H T T^T H)", "cortes2012algorithms"
    ),
    "loo_error": Predictor(
        "leave-one-out error", "labels", -1, "min_s sum |(G_ii)^-1 (G T)_i|^2 / n",
        "rasmussen2006gaussian",
    ),
    "loo_accuracy": Predictor(
        "leave-one-out accuracy", "labels", 1, "at the same s", "rasmussen2006gaussian"
    ),
    "gcv": Predictor(
        "generalised cross-validation", "labels", -1, "min_s N |G T|^2 / (tr G)^2",
        "golub1979generalized",
    ),
    "evidence": Predictor(
        "Gaussian-process evidence", "labels", 1,
        "max_s -log(T G T / N) / 2 + log|G| / (2 N)", "rasmussen2006gaussian",
    ),
}  # fmt: skip
_OF_FEATURES = {
    "probe": Predictor("linear probe, cross-validated", "features", 1, "accuracy"),
    "knn": Predictor("nearest neighbours, leave-one-out", "features", 1, "accuracy"),
    "logme": Predictor(
        "LogME", "features", 1, "mean_c max log p(y_c | F, alpha, beta) / n", "you2021logme"
    ),
    "h_score": Predictor(
        "H-score, shrunk", "features", 1, "(1 - a) tr(S_a^-1 cov E[f | y])", "ibrahim2021newer"
    ),
    "trans_rate": Predictor(
        "TransRate", "features", 1, "R(Z) - sum_c n_c / n R(Z_c)", "huang2022frustratingly"
    ),
    "parc": Predictor(
        "PARC", "features", 1, "Spearman of 1 - corr of features and labels", "bolya2021scalable"
    ),
    "gbc": Predictor("GBC", "features", 1, "-sum exp(-D_bc), classes b != c", "pandy2022gbc"),
}
FEATURES_OF = {"last": "last layer", "mean": "mean layer"}
"""Whose features they are: the last layer's, or the mean of all layers'."""
_OF_SOURCE_LABELS = {
    "nce": Predictor("NCE", "features", 1, "-H(Y | Z), Z the likeliest token", "tran2019nce"),
    "leep": Predictor("LEEP", "features", 1, "mean log sum_z p(y | z) theta_z", "nguyen2020leep"),
}
PREDICTORS: dict[str, Predictor] = {
    **_OF_SUBSETS,
    **{
        f"{name}_{which}": Predictor(
            f"{one.label} ({said})", one.group, one.better, one.formula, one.source
        )
        for which, said in FEATURES_OF.items()
        for name, one in _OF_FEATURES.items()
    },
    **_OF_SOURCE_LABELS,
    "early_train_loss": Predictor(
        "training loss early on", "ceiling", -1, "mean over the first eighth of the steps"
    ),
}
"""Every predictor by the name that records have for it."""


def kernel_predictors(
    kernel: ArrayLike, labels: ArrayLike, logits: ArrayLike, *, layers: Sequence[int],
    parameters: int, time: float,
) -> dict[str, float]:  # fmt: skip
    """All predictors of one choice of layers: baselines, and what its kernel says.

    Args:
        kernel: K of what is trained, on the n training samples, (n, C, n, C), C of two at least.
        labels: (n,), 0 to C - 1.
        logits: Before training, (n, C).
        layers: S, the layers that are trained, counted from 0.
        parameters: How many parameters are trained.
        time: For ``linearised_loss``; the same for all choices that are compared, e.g. from
            ``common_time``.

    Returns:
        Numbers by the names of ``PREDICTORS``, groups ``baseline``, ``spectrum`` and ``labels``.

    Raises:
        InputError: If an argument is wrong; see ``CentredKernel.of``.
        NonFiniteError: If the kernel or the logits are not finite.
    """
    if not layers or min(layers) < 0:
        raise InputError(f"layers {list(layers)} must be numbers of layers, one at least")
    if parameters < 1:
        raise InputError(f"parameters = {parameters} must be positive")
    centred = CentredKernel.of(kernel, labels, logits)
    values = centred.spectrum.values
    best = best_ridges(centred)
    return {
        "layers": float(len(layers)),
        "parameters": float(parameters),
        "mean_depth": float(np.mean(layers)),
        "kappa": kappa(centred.values),
        "kappa_relative": kappa(centred.values, RELATIVE, relative=True),
        "lambda_max": float(values[-1]),
        "trace": float(values.sum()),
        "entropy_rank": entropy_rank(values),
        "effective_dimension": effective_dimension(values, RELATIVE * centred.mean_eigenvalue),
        "gradient_norm": gradient_norm(centred),
        "linearised_loss": linearised_loss(centred, time),
        "alignment": target_alignment(centred),
        "loo_error": best.loo_error,
        "loo_accuracy": best.loo_accuracy,
        "gcv": best.gcv,
        "evidence": best.evidence,
    }


def feature_predictors(
    features: Mapping[str, ArrayLike], labels: ArrayLike, probabilities: ArrayLike | None = None
) -> dict[str, float]:
    """All predictors of one task and one model that know no kernel.

    Args:
        features: (n, d) by names of ``FEATURES_OF``, e.g. ``{"last": ..., "mean": ...}``.
        labels: (n,).
        probabilities: Of all tokens at the mask, (n, V); ``None`` where the model has no masked
            language model's head, and then NCE and LEEP are left out.

    Returns:
        Numbers by the names of ``PREDICTORS``, group ``features``.

    Raises:
        InputError: If an argument is wrong.
        NonFiniteError: If a feature or probability is not finite.
    """
    found: dict[str, float] = {}
    for which, values in features.items():
        if which not in FEATURES_OF:
            raise unknown_name("features", which, FEATURES_OF)
        found |= {
            f"probe_{which}": of_features.probe_accuracy(values, labels),
            f"knn_{which}": of_features.neighbour_accuracy(values, labels),
            f"logme_{which}": of_features.logme(values, labels),
            f"h_score_{which}": of_features.h_score(values, labels),
            f"trans_rate_{which}": of_features.trans_rate(values, labels),
            f"parc_{which}": of_features.parc(values, labels),
            f"gbc_{which}": of_features.gbc(values, labels),
        }
    if probabilities is not None:
        found |= {"nce": nce(probabilities, labels), "leep": leep(probabilities, labels)}
    return found
