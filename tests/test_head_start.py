"""Starts of a linear head, and linear probing as Tomihari and Sato do it, against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegressionCV

from small_models import text_batch
from tangentlm.batches import Labelled
from tangentlm.errors import InputError
from tangentlm.models.head_start import (
    INITIAL_STD,
    Head,
    head_start,
    probed_head,
    random_head,
)
from tangentlm.models.heads import LinearHeadModel
from tangentlm.models.linear_probe import PooledFeatures, probe_iterations, probe_path
from tangentlm.models.logits import logits_of
from tangentlm.tasks import load_task, load_whole, read_part
from tiny import tiny_masked_lm


def problem(classes):
    model = LinearHeadModel(tiny_masked_lm("roberta"), classes).eval()
    count = 12 * classes
    lengths = tuple(int(n) for n in np.random.default_rng(0).integers(4, 12, count))
    labels = torch.arange(count) % classes
    return model, Labelled(text_batch(lengths, seed=1), labels)


@pytest.mark.parametrize("classes", [2, 3])
def test_probe_is_that_of_scikit_learn_with_folds_in_order(classes):
    model, train = problem(classes)
    head, strength = probed_head(model, train)
    features = logits_of(PooledFeatures(model), train.batch).double().numpy()
    theirs = LogisticRegressionCV(
        Cs=10, cv=5, scoring="accuracy", max_iter=5000, tol=1e-4, use_legacy_attributes=False,
        l1_ratios=(0.0,),
    ).fit(features, train.labels.numpy())  # fmt: skip
    assert strength == pytest.approx(float(np.ravel(theirs.C_)[0]))
    expected = theirs.decision_function(features)
    logits = features @ head.weight.double().numpy().T + head.bias.double().numpy()
    found = logits[:, 1] - logits[:, 0] if classes == 2 else logits
    assert found == pytest.approx(expected, abs=1e-4)
    if classes == 2:  # one row is the other's opposite, so F has at most rank N
        assert torch.equal(head.weight[0], -head.weight[1])
        norm = np.linalg.norm(theirs.coef_) / math.sqrt(2)
        assert head.norm == pytest.approx(norm, rel=1e-5)
    else:  # multinomial rows sum to zero
        assert head.weight.sum(dim=0).abs().max() < 1e-4


def test_probing_leaves_the_model_as_it_is():
    model, train = problem(3)
    random_head(model, 5).put_in(model)
    before = Head.of(model)
    probed_head(model, train)
    assert torch.equal(Head.of(model).weight, before.weight)


def test_random_head_is_that_of_roberta():
    model = LinearHeadModel(tiny_masked_lm("roberta"), 3)
    model.classifier = torch.nn.Linear(768, 3)
    drawn = random_head(model, 1001)
    assert drawn.norm == pytest.approx(INITIAL_STD * math.sqrt(3 * 768), rel=0.05)  # .96
    assert not drawn.bias.any()
    assert torch.equal(drawn.weight, random_head(model, 1001).weight)
    assert not torch.equal(drawn.weight, random_head(model, 2002).weight)


DRAWN = Head(torch.tensor([[1.0, 2.0], [2.0, 0.0]]), torch.zeros(2))
PROBE = Head(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.tensor([1.0, -1.0]))


@pytest.mark.parametrize(
    ("name", "direction", "norm", "bias"),
    [
        ("random", DRAWN, 3.0, 0.0),
        ("lp", PROBE, 5.0, 1.0),
        ("random-at-lp-norm", DRAWN, 5.0, 0.0),
        ("lp-at-initial-norm", PROBE, 3.0, 0.6),
        ("lp-scaled:10", PROBE, 10.0, 2.0),
        ("random-scaled:0.3", DRAWN, 0.3, 0.0),
        ("lp-times:10", PROBE, 50.0, 10.0),
        ("lp-weight-scaled:10", PROBE, 10.0, 1.0),
    ],
)
def test_named_starts(name, direction, norm, bias):
    head = head_start(name, DRAWN, PROBE)
    assert head.norm == pytest.approx(norm)
    assert head.weight / head.norm == pytest.approx(direction.weight / direction.norm)
    assert float(head.bias[0]) == pytest.approx(bias)


def test_unknown_start_and_zero_head_are_refused():
    with pytest.raises(InputError, match="unknown start of the head 'pl'"):
        head_start("pl", DRAWN, PROBE)
    with pytest.raises(InputError, match="no direction"):
        Head(torch.zeros(2, 2), torch.zeros(2)).at_norm(1.0)


def test_temperature_scaling_is_a_scaled_head():
    model, train = problem(3)
    model.double()
    head, _ = probed_head(model, train)
    head.put_in(model)
    logits = logits_of(model, train.batch)
    head.times(1 / 2.5).put_in(model)
    assert logits_of(model, train.batch).numpy() == pytest.approx(logits.numpy() / 2.5, abs=1e-9)


def test_path_and_iterations_lead_to_the_probe():
    model, train = problem(3)
    head, strength = probed_head(model, train)
    path = probe_path(model, train)
    norms = [point["norm"] for point in path]
    assert norms == sorted(norms)
    (chosen,) = [point for point in path if point["C"] == pytest.approx(strength)]
    assert chosen["norm"] == pytest.approx(head.norm, rel=0.05)
    iterations = probe_iterations(model, train, strength, [1, 5000])
    assert iterations[0]["iterations"] == 1
    assert iterations[-1]["norm"] == pytest.approx(head.norm, rel=0.05)


def test_whole_split_is_the_files_order_and_no_seed_changes_it():
    task = load_task("reviews")
    rows = read_part(task, "train")
    split = load_whole(task, test_size=30)
    assert [*split.train, *split.dev] == rows
    assert len(split.train) == 9 * len(rows) // 10
    some = load_whole(task, train_size=40, dev_size=7, test_size=30)
    assert some.train == split.train[:40]
    assert some.dev == split.dev[:7]
    assert some.test == split.test
    assert some.checksum != split.checksum
