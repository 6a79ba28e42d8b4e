"""The linear-probing solution against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from small_models import text_batch
from tangentlm.batches import Labelled
from tangentlm.errors import InputError
from tangentlm.models.heads import LinearHeadModel
from tangentlm.models.linear_probe import PooledFeatures, fit_linear_probe
from tangentlm.models.logits import logits_of
from tiny import tiny_masked_lm


def samples(per_class: int, classes: int) -> Labelled:
    count = per_class * classes
    random = np.random.default_rng(0)
    batch = text_batch(tuple(int(n) for n in random.integers(4, 12, count)), seed=1)
    return Labelled(batch, torch.arange(count) % classes)


def fitted(classes: int, per_class: int = 6):
    model = LinearHeadModel(tiny_masked_lm("roberta"), classes).eval()
    train = samples(per_class, classes)
    fit_linear_probe(model, train)
    return model, train


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_predicts_as_the_probe(classes):
    model, train = fitted(classes, per_class=1)
    features = logits_of(PooledFeatures(model), train.batch).double().numpy()
    probe = LogisticRegression(max_iter=5000).fit(features, train.labels.numpy())
    expected = probe.decision_function(features)
    logits = logits_of(model, train.batch).double().numpy()
    if classes == 2:
        assert logits[:, 1] - logits[:, 0] == pytest.approx(expected, abs=1e-4)
        assert logits.sum(axis=1) == pytest.approx(0, abs=1e-4)
    else:
        assert logits == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_penalty_is_chosen_and_the_fit_repeats(classes):
    first, train = fitted(classes)
    second, _ = fitted(classes)
    assert torch.equal(first.classifier.weight, second.classifier.weight)
    right = logits_of(first, train.batch).argmax(dim=1) == train.labels
    assert right.float().mean() >= 1 / classes


def test_features_are_what_the_head_reads():
    model, train = fitted(3)
    features = logits_of(PooledFeatures(model), train.batch)
    assert torch.allclose(model.classifier(features), logits_of(model, train.batch), atol=1e-6)


def test_a_class_without_samples_is_refused():
    model = LinearHeadModel(tiny_masked_lm("roberta"), 3)
    train = samples(3, 2)
    with pytest.raises(InputError, match="class 2 has no training sample"):
        fit_linear_probe(model, train)
