"""The stationarity of linear probing, with scikit-learn's logistic regression."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from small_models import masked_lm, text_batch
from tangentlm.batches import Labelled
from tangentlm.errors import InputError
from tangentlm.models.heads import LinearHeadModel
from tangentlm.models.linear_probe import PooledFeatures, fit_linear_probe
from tangentlm.models.logits import logits_of
from tangentlm.theory.first_step import first_step, residuals
from tangentlm.theory.probe_stationarity import heads_part, kappa, stationarity_error


def fitted(classes: int, inverse_penalty: float):
    """A probe in float64 as V, b, features, residuals, and features that it was not fitted to."""
    X, y = make_classification(
        80, 10, n_informative=6, n_classes=classes, random_state=0, flip_y=0.2
    )
    train, labels = torch.from_numpy(X[:50]), torch.from_numpy(y[:50])
    probe = LogisticRegression(C=inverse_penalty, tol=1e-10, max_iter=10_000).fit(train, labels)
    V, b = torch.from_numpy(probe.coef_), torch.from_numpy(probe.intercept_)
    if classes == 2:
        V, b = torch.cat([-V, V]) / 2, torch.cat([-b, b]) / 2
    delta = residuals(train @ V.T + b, labels)
    return V, b, train, delta, torch.from_numpy(X[50:])


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("inverse_penalty", [0.1, 10.0])
def test_the_heads_part_is_kappa_times_the_logits_without_bias(classes, inverse_penalty):
    V, _, train, delta, others = fitted(classes, inverse_penalty)
    constant = kappa(inverse_penalty, classes)
    assert stationarity_error(V, train, delta, constant) < 1e-6
    kernel = (others @ train.T + 1)[:, :, None] * delta[None]  # P(x, x_i) delta_i
    torch.testing.assert_close(heads_part(others, train, delta), kernel.sum(dim=1))
    expected = constant * others @ V.T
    torch.testing.assert_close(
        heads_part(others, train, delta), expected, rtol=0, atol=1e-4 * float(expected.abs().max())
    )


def test_another_constant_or_another_head_is_noticed():
    V, b, train, delta, _ = fitted(2, 1.0)
    assert stationarity_error(V, train, delta, 1.0) > 1e-3  # the constant of three classes
    labels = (delta[:, 1] > 0).long()
    scaled = residuals(train @ (2 * V).T + b, labels)
    assert stationarity_error(2 * V, train, scaled, kappa(1.0, 2)) > 1e-3


def test_the_librarys_probe_is_stationary_for_some_constant():
    """Whatever penalty cross-validation has chosen, P delta is a multiple of V phi."""
    model = LinearHeadModel(masked_lm("roberta"), 3, "mean").eval().double()
    batch = text_batch(tuple(range(5, 14)) * 2)
    train = Labelled(batch, torch.arange(18) % 3)
    fit_linear_probe(model, train)
    V = model.classifier.weight.detach()
    logits_without_bias = logits_of(PooledFeatures(model), batch) @ V.T
    head = first_step(model, train, batch).through_head
    cosine = (head * logits_without_bias).sum() / head.norm() / logits_without_bias.norm()
    assert float(cosine) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("inverse_penalty", "classes"), [(0.0, 3), (np.inf, 3), (1.0, 1)])
def test_what_is_out_of_range_is_refused(inverse_penalty, classes):
    with pytest.raises(InputError):
        kappa(inverse_penalty, classes)
