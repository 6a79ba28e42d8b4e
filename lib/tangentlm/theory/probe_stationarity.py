"""What linear probing leaves to the head: next to nothing, by its own optimality.

Logistic regression, as scikit-learn has it, minimises (1/2) |W|^2 + C_reg sum_i loss_i and does
not penalise the bias. At the minimum the gradient is zero. So, with
delta_i = onehot(y_i) - softmax(f(x_i)),

    sum_i delta_i phi(x_i)^T = kappa V   and   sum_i delta_i = 0,

where V = W and kappa = 1 / C_reg. For two classes W is one vector w, V has the rows -w/2 and +w/2,
and kappa = 2 / C_reg. So the head's part of the first step of fine-tuning (Proposition 4.1 of
Tomihari and Sato) on the samples of the probe is

    sum_i P(x, x_i) delta_i = kappa V phi(x)

for every x: small where the penalty is weak. That alone raises the FT ratio of a probed head; how
far it rises depends on the features' part F, whose residuals may shrink with kappa, too.
"""

from __future__ import annotations

import math

from torch import Tensor

from tangentlm.errors import InputError


def kappa(inverse_penalty: float, num_classes: int) -> float:
    """The constant of the probe: 1 / C_reg, or 2 / C_reg for two classes with the rows -w/2, +w/2.

    Example:
        >>> kappa(10.0, 3), kappa(10.0, 2)
        (0.1, 0.2)

    Args:
        inverse_penalty: C_reg, scikit-learn's ``C``.
        num_classes: C.

    Returns:
        kappa.

    Raises:
        InputError: If the penalty is not positive or there are fewer than two classes.
    """
    if not (math.isfinite(inverse_penalty) and inverse_penalty > 0):
        raise InputError(f"inverse_penalty = {inverse_penalty} must be positive")
    if num_classes < 2:
        raise InputError(f"num_classes = {num_classes} must be two or more")
    return (2 if num_classes == 2 else 1) / inverse_penalty


def heads_part(phi: Tensor, phi_train: Tensor, delta: Tensor) -> Tensor:
    """The head's part of the change of the logits, sum_i P(x, x_i) delta_i.

    P(x, x') = (<phi(x), phi(x')> + 1) I, so no kernel of the model is needed.

    Args:
        phi: The features of M samples, (M, h).
        phi_train: Those of the N training samples, (N, h).
        delta: Their residuals, (N, C).

    Returns:
        (M, C), for the rate N (the step of a mean loss has 1 / N).
    """
    return phi @ (phi_train.T @ delta) + delta.sum(dim=0)


def stationarity_error(V: Tensor, phi_train: Tensor, delta: Tensor, kappa: float) -> float:
    """How far a head is from the minimum of its probe's objective.

    Example:
        >>> import torch
        >>> V, phi, delta = torch.eye(2), torch.eye(2), torch.tensor([[0.2, -0.2], [-0.2, 0.2]])
        >>> round(stationarity_error(V - 0.5, phi, delta, kappa=0.4), 6)
        0.0

    Args:
        V: The head's weight, (C, h).
        phi_train: The features that it was fitted to, (N, h).
        delta: Their residuals under the head, (N, C).
        kappa: The constant of the probe.

    Returns:
        |sum_i delta_i phi(x_i)^T - kappa V| and |sum_i delta_i| as one number, relative to the
        sizes that the sums would have if nothing cancelled.
    """
    gradient = (delta.T @ phi_train - kappa * V).square().sum() + delta.sum(dim=0).square().sum()
    sizes = delta.norm(dim=1)
    scale = (sizes * phi_train.norm(dim=1)).sum().square() + sizes.sum().square()
    return float((gradient / scale).sqrt())
