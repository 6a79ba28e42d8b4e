"""ECE and MCE, without and with temperature scaling (Tables 3, 14 and 15 of Tomihari and Sato).

Temperature scaling divides logits by a T that minimises the cross-entropy on validation samples
(Guo et al., 2017); it is the same as dividing the head, weight and bias, by T. The paper searches T
by Adam from T = 1; in 1 / T the loss is convex, so here its minimum is found outright, with 1 / T
in [0.01, 100]: a validation set that is classified without an error has none at a finite T.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from torchmetrics.functional.classification import binary_calibration_error

from tangentlm.errors import unknown_name

Array = NDArray[np.float64]

BINS = 15
BOUNDS = (0.01, 100.0)
"""Of 1 / T."""
RESAMPLES = 400
_NORMS: dict[str, Literal["l1", "max"]] = {"ECE": "l1", "MCE": "max"}


def calibration_error(logits: ArrayLike, labels: ArrayLike, kind: str = "ECE") -> float:
    """How far confidence is from accuracy, in percent, over 15 bins of confidence.

    A bin has its upper edge, as in Guo et al. (2017). torchmetrics gives it to the next bin, and so
    a bin of its own to a confidence of exactly 1, which float32 reaches; here a confidence counts
    as the next smaller number, which makes its bins the ones that are meant.

    Example:
        >>> round(calibration_error([[0.0, 0.0], [0.0, 0.0]], [0, 0]), 6)
        50.0

    Args:
        logits: (N, C).
        labels: (N,).
        kind: ``"ECE"``: the mean over samples of |accuracy - confidence| of their bin; ``"MCE"``:
            its largest value over bins, which is a single bin's, often of few samples.

    Returns:
        0 to 100.

    Raises:
        InputError: If the kind is unknown.
    """
    confidence, right = _confidence(logits, labels)
    return _error(confidence, right, kind)


def _confidence(logits: ArrayLike, labels: ArrayLike) -> tuple[Array, NDArray[np.int64]]:
    probabilities = softmax(np.asarray(logits, dtype=np.float64), axis=1)
    right = probabilities.argmax(axis=1) == np.asarray(labels)
    return probabilities.max(axis=1), right.astype(np.int64)


def _error(confidence: Array, right: NDArray[np.int64], kind: str) -> float:
    if kind not in _NORMS:
        raise unknown_name("calibration error", kind, _NORMS)
    below = torch.from_numpy(np.nextafter(confidence, 0.0))
    error = binary_calibration_error(
        below, torch.from_numpy(right), n_bins=BINS, norm=_NORMS[kind], validate_args=False
    )
    return 100 * float(error)


def negative_log_likelihood(
    logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0
) -> float:
    """The mean cross-entropy at a temperature.

    Args:
        logits: (N, C).
        labels: (N,).
        temperature: T.

    Returns:
        Nats a sample.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    chosen = log_softmax(scaled, axis=1)[np.arange(len(scaled)), np.asarray(labels)]
    return -float(chosen.mean())


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature with the smallest cross-entropy.

    Args:
        logits: Of the validation samples, (N, C).
        labels: (N,).

    Returns:
        T, between 0.01 and 100.
    """
    found = minimize_scalar(
        lambda log: negative_log_likelihood(logits, labels, float(np.exp(-log))),
        bounds=np.log(BOUNDS),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return float(np.exp(-found.x))


@dataclass(frozen=True)
class Calibration:
    """An error without and with temperature scaling, each with the ends of a bootstrap interval.

    Attributes:
        kind: ``"ECE"`` or ``"MCE"``.
        without: In percent, of the model as it is.
        scaled: In percent, at the temperature of the validation samples.
        without_low: The lower end of its 95 % interval over resampled test samples.
        without_high: The upper end.
        scaled_low: The same with scaling.
        scaled_high: The upper end.
        improvement_low: The same of the error without scaling less the one with it, both of the
            same resampled samples.
        improvement_high: The upper end.
    """

    kind: str
    without: float
    scaled: float
    without_low: float
    without_high: float
    scaled_low: float
    scaled_high: float
    improvement_low: float
    improvement_high: float


def calibration(
    logits: ArrayLike, labels: ArrayLike, temperature: float, *, seed: int = 0
) -> list[Calibration]:
    """ECE and MCE of test samples without and with temperature scaling.

    Args:
        logits: Of the test samples, (N, C).
        labels: (N,).
        temperature: From ``fit_temperature``.
        seed: Of the resampling.

    Returns:
        Both errors. The temperature is not drawn anew, so its own uncertainty is not in the
        intervals.
    """
    draws = np.random.default_rng(seed).integers(
        len(np.asarray(labels)), size=(RESAMPLES, len(np.asarray(labels)))
    )
    samples = [_confidence(np.asarray(logits) / T, labels) for T in (1.0, temperature)]
    found = []
    for kind in _NORMS:
        values = [_error(*both, kind) for both in samples]
        drawn = np.array(
            [[_error(c[draw], right[draw], kind) for draw in draws] for c, right in samples]
        )
        ends = [
            float(end)
            for errors in (drawn[0], drawn[1], drawn[0] - drawn[1])
            for end in np.quantile(errors, (0.025, 0.975))
        ]
        found.append(Calibration(kind, *values, *ends))
    return found
