"""Linear probing: the head of standard fine-tuning at the best linear classifier of the features.

Malladi et al. start standard fine-tuning, and compute its kernel, at this solution: a head at zero
would have no kernel beyond its own. As their code does, it is logistic regression with its penalty
chosen by cross-validation on the training samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold
from torch import Tensor, nn

from tangentlm.batches import Labelled
from tangentlm.errors import InputError
from tangentlm.models.heads import LinearHeadModel
from tangentlm.models.logits import logits_of

Array = NDArray[np.float64]

STRENGTHS = np.logspace(-4, 4, 10)
"""The weights of the loss that scikit-learn's cross-validation tries."""
_FOLDS = 5
_MAX_ITERATIONS = 5000


class PooledFeatures(nn.Module):
    """What a linear head reads, phi(s) of shape (N, h)."""

    def __init__(self, model: LinearHeadModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, **batch: Tensor) -> Tensor:
        """The features that the linear head reads.

        Args:
            **batch: What the model reads.

        Returns:
            (N, h).
        """
        return self.model.features(**batch)


def fit_linear_probe(
    model: LinearHeadModel,
    train: Labelled,
    *,
    shuffled: bool = True,
    strength: float | None = None,
) -> float:
    """Set the linear head to the linear-probing solution.

    Args:
        model: The model; its head is changed in place.
        train: Training samples, at least two of every class for the penalty to be chosen (one of
            each: scikit-learn's default penalty).
        shuffled: Whether the folds of the cross-validation are drawn at random, or taken in the
            samples' order, as Tomihari and Sato do.
        strength: C, where it is known already.

    Returns:
        C, the weight of the loss beside the penalty |V|^2 / 2, that was chosen.

    Raises:
        InputError: If a class has no training sample.
    """
    features, labels = _features_and_labels(model, train)
    if strength is None:
        probe = _probe(int(np.bincount(labels).min()), shuffled)
    else:
        probe = LogisticRegression(C=strength, max_iter=_MAX_ITERATIONS)
    probe.fit(features, labels)
    weight, bias = head_of_probe(probe.coef_, probe.intercept_)
    with torch.no_grad():
        model.classifier.weight.copy_(torch.from_numpy(weight))
        model.classifier.bias.copy_(torch.from_numpy(bias))
    chosen = probe.C_ if isinstance(probe, LogisticRegressionCV) else probe.C
    return float(np.ravel(chosen)[0])


def probe_path(model: LinearHeadModel, train: Labelled) -> list[dict[str, float]]:
    """What the linear probe is for each weight of the loss that cross-validation tries.

    Args:
        model: The model; its head stays as it is.
        train: Training samples of every class.

    Returns:
        For each of ten weights: ``C``, the norm of V and the training accuracy in percent.
    """
    features, labels = _features_and_labels(model, train)
    path = []
    for C in STRENGTHS:
        probe = LogisticRegression(C=C, max_iter=_MAX_ITERATIONS).fit(features, labels)
        weight, _ = head_of_probe(probe.coef_, probe.intercept_)
        accuracy = 100 * float(probe.score(features, labels))
        path.append({"C": float(C), "norm": float(np.linalg.norm(weight)), "accuracy": accuracy})
    return path


def probe_iterations(
    model: LinearHeadModel, train: Labelled, strength: float, counts: Sequence[int]
) -> list[dict[str, float]]:
    """The linear probe after so many iterations of its solver, lbfgs from a head at zero.

    Args:
        model: The model; its head stays as it is.
        train: Training samples of every class.
        strength: C.
        counts: Numbers of iterations; the solver may need fewer, and then stops.

    Returns:
        For each number: ``iterations``, those that were made, the ``norm`` of V and the training
        ``accuracy`` in percent.
    """
    features, labels = _features_and_labels(model, train)
    rows = []
    for count in counts:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is the purpose
            probe = LogisticRegression(C=strength, max_iter=count).fit(features, labels)
        weight, _ = head_of_probe(probe.coef_, probe.intercept_)
        accuracy = 100 * float(probe.score(features, labels))
        made, norm = int(probe.n_iter_.max()), float(np.linalg.norm(weight))
        rows.append({"iterations": made, "norm": norm, "accuracy": accuracy})
    return rows


def head_of_probe(weight: Array, bias: Array) -> tuple[Array, Array]:
    """The head (C, h) whose logits decide as scikit-learn's probe does.

    Args:
        weight: Its coefficients; of two classes it has one row w.
        bias: Its intercepts.

    Returns:
        The same, but of two classes the rows -w/2 and +w/2: one decision value, shared between the
        two logits.
    """
    if len(weight) > 1:
        return weight, bias
    return np.vstack([-weight, weight]) / 2, np.array([-bias[0], bias[0]]) / 2


def _features_and_labels(model: LinearHeadModel, train: Labelled) -> tuple[Array, Any]:
    features = logits_of(PooledFeatures(model), train.batch).double().numpy()
    labels = train.labels.numpy()
    counts = np.bincount(labels, minlength=model.num_classes)
    if not counts.all():
        raise InputError(f"class {int(counts.argmin())} has no training sample for the probe")
    return features, labels


def _probe(smallest_class: int, shuffled: bool) -> Any:
    if smallest_class < 2:
        return LogisticRegression(max_iter=_MAX_ITERATIONS)
    order: dict[str, Any] = {"shuffle": True, "random_state": 0} if shuffled else {}
    folds = StratifiedKFold(min(_FOLDS, smallest_class), **order)
    return LogisticRegressionCV(
        cv=folds,
        max_iter=_MAX_ITERATIONS,
        scoring="accuracy",
        use_legacy_attributes=False,
        l1_ratios=(0.0,),
    )
