"""How the norm of a linear head grows when it is trained with the cross-entropy.

For f(x) = V phi(x) + b with rows v_k, and tau_ki the angle between v_k and phi(x_i), the logit is
f_k(x_i) = |v_k| |phi(x_i)| cos tau_ki + b_k. So the mean loss of N samples has the derivatives

* by the norm of a row, its direction fixed: dL / d|v_k| =
  (1 / N) sum_i (sigma_k(x_i) - 1[y_i = k]) |phi(x_i)| cos tau_ki. Equation 3 of Tomihari and Sato
  is this, but with a right side that does not depend on k (see the errata);
* by the scale s of the whole weight, at s = 1: dL / ds = -(1 / N) sum_i <delta_i, V phi(x_i)>, with
  delta_i = onehot(y_i) - sigma(x_i).

Under gradient flow d|V|^2 / dt = -2 dL / ds. The bias is no part of the norm.
"""

from __future__ import annotations

import math

from scipy.optimize import brentq
from torch import Tensor

from tangentlm.theory.first_step import residuals


def cosines(V: Tensor, phi: Tensor) -> Tensor:
    """The cosine of the angle tau_ki between every row of the head and every feature vector.

    Args:
        V: The head's weight, (C, h).
        phi: Features, (N, h).

    Returns:
        (N, C).
    """
    features, rows = (vectors / vectors.norm(dim=1, keepdim=True) for vectors in (phi, V))
    return features @ rows.T


def row_norm_gradient(V: Tensor, b: Tensor, phi: Tensor, labels: Tensor) -> Tensor:
    """How the mean loss changes with the norm of each row, its direction fixed: dL / d|v_k|.

    Example:
        >>> import torch
        >>> V, phi, labels = torch.eye(2), torch.eye(2), torch.tensor([0, 1])
        >>> row_norm_gradient(V, torch.zeros(2), phi, labels)  # -(1 - sigma) / 2
        tensor([-0.1345, -0.1345])

    Args:
        V: The head's weight, (C, h).
        b: Its bias, (C,).
        phi: The features of the samples, (N, h).
        labels: (N,).

    Returns:
        (C,), in nats a unit of the norm.
    """
    delta = residuals(phi @ V.T + b, labels)
    lengths = phi.norm(dim=1, keepdim=True)
    return -(delta * lengths * cosines(V, phi)).mean(dim=0)


def norm_growth(V: Tensor, b: Tensor, phi: Tensor, labels: Tensor) -> float:
    """How fast |V|^2 grows under gradient flow: (2 / N) sum_i <delta_i, V phi(x_i)>.

    It does not depend on whether the features are trained, too.

    Args:
        V: The head's weight, (C, h).
        b: Its bias, (C,).
        phi: The features of the samples, (N, h).
        labels: (N,).

    Returns:
        The growth; for one step of gradient descent with a small rate eta, times eta.
    """
    delta = residuals(phi @ V.T + b, labels)
    return float(2 * (delta * (phi @ V.T)).sum(dim=1).mean())


def best_scale(V: Tensor, b: Tensor, phi: Tensor, labels: Tensor) -> float:
    """The scale of V, b held, at which the mean loss of the samples is smallest.

    The norm of V grows where it is above 1 and shrinks where it is below, since the loss is convex
    in the scale. Where V alone separates the samples, every scale is too small: it is infinite.

    Args:
        V: The head's weight, (C, h).
        b: Its bias, (C,).
        phi: The features of the samples, (N, h).
        labels: (N,).

    Returns:
        The scale, not negative.
    """
    slopes = phi @ V.T

    def derivative(scale: float) -> float:
        return -float((residuals(scale * slopes + b, labels) * slopes).sum())

    if derivative(0.0) >= 0:
        return 0.0
    own = slopes.gather(1, labels[:, None])[:, 0]
    if bool((own >= slopes.amax(dim=1)).all()):
        return math.inf
    high = 1.0
    while derivative(high) < 0:
        high *= 2
    return float(brentq(derivative, 0.0, high))
