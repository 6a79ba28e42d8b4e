"""Linear probing: the head of standard fine-tuning at the best linear classifier of the features.

Malladi et al. start standard fine-tuning, and compute its kernel, at this solution: a head at zero
would have no kernel beyond its own. As their code does, it is logistic regression with its penalty
chosen by cross-validation on the training samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold
from torch import Tensor, nn

from tangentlm.batches import Labelled
from tangentlm.errors import InputError
from tangentlm.models.heads import LinearHeadModel
from tangentlm.models.logits import logits_of

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


def fit_linear_probe(model: LinearHeadModel, train: Labelled) -> None:
    """Set the linear head to the linear-probing solution.

    Args:
        model: The model; its head is changed in place.
        train: Training samples, at least two of every class for the penalty to be chosen (one of
            each: scikit-learn's default penalty).

    Raises:
        InputError: If a class has no training sample.
    """
    features = logits_of(PooledFeatures(model), train.batch).double().numpy()
    labels = train.labels.numpy()
    counts = np.bincount(labels, minlength=model.num_classes)
    if not counts.all():
        raise InputError(f"class {int(counts.argmin())} has no training sample for the probe")
    probe = _probe(int(counts.min())).fit(features, labels)
    weight, bias = probe.coef_, probe.intercept_
    if model.num_classes == 2:  # one decision value, shared between the two logits
        weight, bias = np.vstack([-weight, weight]) / 2, np.array([-bias[0], bias[0]]) / 2
    with torch.no_grad():
        model.classifier.weight.copy_(torch.from_numpy(weight))
        model.classifier.bias.copy_(torch.from_numpy(bias))


def _probe(smallest_class: int) -> Any:
    if smallest_class < 2:
        return LogisticRegression(max_iter=_MAX_ITERATIONS)
    folds = StratifiedKFold(min(_FOLDS, smallest_class), shuffle=True, random_state=0)
    return LogisticRegressionCV(
        cv=folds,
        max_iter=_MAX_ITERATIONS,
        scoring="accuracy",
        use_legacy_attributes=False,
        l1_ratios=(0.0,),
    )
