"""Predictors that know the kernel and the labels: how well kernel regression would do.

All are of M, T and N of ``CentredKernel``, n samples, and of one eigendecomposition
M = sum lambda_i u_i u_i^T. With a ridge s, G = (M + s I)^-1.

Ridges are shares of the mean eigenvalue (``RIDGES``), so that no factor before the kernel counts;
each criterion takes the ridge that is best by itself: the largest evidence, the least leave-one-out
error, the least GCV. None of them looks at samples beyond the n.
There is no intercept: with unequal classes the kernel has to carry their shares, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tangentlm.anticipate.centred import CentredKernel
from tangentlm.errors import InputError
from tangentlm.metrics import alignment, centred
from tangentlm.solvers import block_leave_one_out, generalised_cross_validation

Array = NDArray[np.float64]

RIDGES = tuple(float(ridge) for ridge in np.logspace(-4, 2, 13))
"""The ridges that are tried, in units of tr M / N."""


def gradient_norm(kernel: CentredKernel) -> float:
    """The squared norm of the loss gradient before training, chi K chi / n^2.

    The loss is the mean cross-entropy, chi its derivative. The number is the rate at which gradient
    flow starts to lower the loss (Jacot et al. 2018).

    Args:
        kernel: The kernel, the labels and the logits.

    Returns:
        A number, 0 at least.
    """
    chi = kernel.residual.ravel()
    return float(chi @ kernel.matrix @ chi) / kernel.samples**2


def linearised_loss(kernel: CentredKernel, time: float) -> float:
    """What is left of the targets after a time, sum_i e^(-2 t lambda_i / n) (u_i . T)^2 / n.

    Gradient flow of the mean of |f - y|^2 / 2 over samples, with the kernel as it is before
    training: f' = -M (f - y) / n.

    Args:
        kernel: The kernel and its targets.
        time: t; of gradient descent, learning rate times number of steps.

    Returns:
        The mean of |T|^2 over samples at time 0, and less from then on.

    Raises:
        InputError: If the time is negative.
    """
    if not 0 <= time < np.inf:
        raise InputError(f"time = {time} must be 0 at least")
    left = np.exp(-2 * time * kernel.spectrum.values / kernel.samples)
    return float(left @ kernel.projections) / kernel.samples


def common_time(kernel: CentredKernel, steps: int) -> float:
    """A time that many steps take at a rate that is stable for this kernel: t = steps n / lambda_1.

    Gradient descent is stable up to twice the rate n / lambda_1. To compare choices of layers, take
    the time of all layers for each of them, as one rate serves all of them in training.

    Args:
        kernel: That of all layers.
        steps: How many.

    Returns:
        A time for ``linearised_loss``.

    Raises:
        InputError: If ``steps`` is not positive.
    """
    if steps < 1:
        raise InputError(f"steps = {steps} must be positive")
    return steps * kernel.samples / float(kernel.spectrum.values[-1])


def target_alignment(kernel: CentredKernel) -> float:
    """The cosine of M and T T^T, both centred over samples, over all pairs of outputs.

    For one output the centred alignment of Cortes et al. (2012).

    Args:
        kernel: The kernel and its targets.

    Returns:
        From -1 to 1.

    Raises:
        InputError: If centring leaves nothing of M or of T.
    """
    values = kernel.values.transpose(1, 3, 0, 2)
    wanted = np.einsum("ia,jb->abij", kernel.targets, kernel.targets)
    for what, one in {"kernel": values, "targets": wanted}.items():
        if np.abs(centred(one)).max() <= 1e-12 * np.abs(one).max():
            raise InputError(f"the {what} are the same for all samples; they align with nothing")
    return alignment(values, wanted)


def evidence(eigenvalues: Array, projections: Array, ridge: float) -> float:
    """The log evidence of a Gaussian process, a row: -log(T G T / N) / 2 + log|G| / (2 N).

    T ~ Normal(0, v (M + s I)), with the variance v at its most likely value, T G T / N. The term
    -(1 + log 2 pi) / 2 is left out (Rasmussen and Williams 2006, equation 2.30).

    Args:
        eigenvalues: Those of M, (N,).
        projections: (u_i . T)^2, (N,).
        ridge: s, positive.

    Returns:
        The log evidence over N, without its constant.

    Raises:
        InputError: If a shifted eigenvalue is not positive, or T is zero.
    """
    shifted = eigenvalues + ridge
    if not shifted.min() > 0:
        raise InputError(f"ridge = {ridge} does not make the kernel positive definite")
    variance = float((projections / shifted).mean())
    if not variance > 0:
        raise InputError("the targets are zero, so no kernel explains them")
    return float(-np.log(variance) / 2 - np.log(shifted).mean() / 2)


@dataclass(frozen=True)
class BestRidges:
    """What kernel regression reaches by each criterion, at the ridge that is best by it.

    Attributes:
        evidence: The largest ``evidence``.
        loo_error: The least mean of |r_i|^2 over samples, r_i the leave-one-out residual.
        loo_accuracy: The share of samples told rightly by the fits without them, at the ridge of
            the least ``loo_error``.
        gcv: The least ``generalised_cross_validation``, per row of T.
    """

    evidence: float
    loo_error: float
    loo_accuracy: float
    gcv: float


def best_ridges(kernel: CentredKernel, ridges: tuple[float, ...] = RIDGES) -> BestRidges:
    """Try all ridges by all criteria, with one eigendecomposition.

    Args:
        kernel: The kernel and its targets.
        ridges: In units of the mean eigenvalue, tr M / N.

    Returns:
        The best by each criterion.

    Raises:
        InputError: If there is no ridge, or one is not positive.
    """
    if not (ridges and min(ridges) > 0):
        raise InputError(f"ridges must be positive numbers, not {ridges}")
    spectrum, outputs = kernel.spectrum, kernel.values.shape[1]
    added = [ridge * kernel.mean_eigenvalue for ridge in ridges]
    left_out = [block_leave_one_out(spectrum, kernel.targets, s, outputs) for s in added]
    errors = [float((residual**2).sum()) / kernel.samples for residual in left_out]
    best = int(np.argmin(errors))
    return BestRidges(
        evidence=max(evidence(spectrum.values, kernel.projections, s) for s in added),
        loo_error=errors[best],
        loo_accuracy=_accuracy(kernel, left_out[best]),
        gcv=min(generalised_cross_validation(spectrum, kernel.targets, s) for s in added),
    )


def _accuracy(kernel: CentredKernel, residual: Array) -> float:
    """The prediction without a sample is its target less its residual, on top of a f0."""
    decision = kernel.as_outputs(kernel.classes - residual)
    return float((decision.argmax(axis=1) == kernel.labels).mean())
