"""Runs in two stages: their parameters and identities, the trace, and which checkpoint is kept."""

import pytest
import torch

from small_models import text_batch
from tangentlm.batches import Labelled
from tangentlm.errors import InputError
from tangentlm.finetune.loop import Schedule, fine_tune
from tangentlm.models.heads import LinearHeadModel
from tangentlm.params import load_study, make_run, scaled_start
from tangentlm.studies.identity import identity
from tangentlm.tomihari.embedding import embedded
from tangentlm.tomihari.trace import EpochTrace, features_and_logits
from tiny import tiny_masked_lm


def run(**values):
    return make_run("two_stage", {"task": "reviews", "device": "cpu", **values})


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, "reviews-s13-lp-ft-lr5e-05"),
        ({"start": "random", "model": "minilm", "seed": 1001}, "minilm-reviews-s1001-ft-lr5e-05"),
        ({"start": "random", "adaptation": "lora"}, "reviews-s13-lora-lr5e-05"),
        ({"adaptation": "lora", "optimizer": "sgd"}, "reviews-s13-lp-lora-sgd-lr5e-05"),
        ({"start": "lp-scaled:0.5"}, "reviews-s13-ft-from-lp-scaled-0.5-lr5e-05"),
    ],
)
def test_names(values, name):
    assert run(**values).name == name


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"start": "lpp"}, "unknown start of the head 'lpp'; did you mean 'lp'"),
        ({"start": "lp-scaled:0"}, "norm 0"),
        ({"start": "lp-scaled:x"}, "unknown start"),
        ({"shifted": ["rewiews"]}, "did you mean 'reviews'"),
        ({"epoch": 3}, "did you mean 'epochs'"),
    ],
)
def test_wrong_parameters_are_refused(values, match):
    with pytest.raises(InputError, match=match):
        run(**values)


def test_scaled_starts():
    assert scaled_start("random-weight-scaled:10") == ("random", "weight-scaled", 10.0)
    assert scaled_start("lp-times:0.5") == ("lp", "times", 0.5)
    assert scaled_start("random-at-lp-norm") is None


def test_identity_is_of_what_a_run_reads():
    one = identity(run())
    assert identity(run(rank=4)) == one  # full fine-tuning has no rank
    assert identity(run(adaptation="lora", rank=4)) != identity(run(adaptation="lora"))
    assert identity(run(train_size=50)).data != one.data
    assert identity(run(seed=14)).data == one.data  # the seed draws no rows
    assert identity(run(max_length=128)) == one  # the task's own
    assert identity(run(max_length=64)) != one
    assert identity(run(shifted=["reviews"])).data != one.data
    assert one.engine == 0


def test_the_study_names_every_run_once():
    runs = load_study("two-stage")
    assert len({one.name for one in runs}) == len(runs)
    assert {one.seed for one in runs} == {1001, 2002, 3003}


def problem():
    model = LinearHeadModel(tiny_masked_lm("roberta"), 2).eval()
    lengths = tuple(4 + i % 6 for i in range(24))
    samples = Labelled(text_batch(lengths, seed=1), torch.arange(24) % 2)
    return model, samples


def test_trace_measures_head_and_features():
    model, samples = problem()
    trace = EpochTrace(model, samples, samples, at_most=10)
    (start,) = trace.rows
    assert start["train_loss"] == pytest.approx(0.6931, abs=1e-3)  # a head at zero
    assert start["weight_norm"] == start["train_feature_change"] == 0
    with torch.no_grad():
        model.classifier.weight[0].fill_(2.0)
        model.classifier.bias[1] = 3.0
    trace(7, model)
    row = trace.rows[1]
    width = model.classifier.in_features
    assert row["step"] == 7
    assert row["row_0"] == pytest.approx(2 * width**0.5)
    assert row["weight_norm"] == pytest.approx(row["row_0"])
    assert row["bias_norm"] == pytest.approx(3)
    assert row["dev_feature_change"] == 0
    _, logits = features_and_logits(model, samples)
    assert row["dev_logit_norm"] == pytest.approx(float(logits.norm(dim=1).mean()))
    right = (logits.argmax(dim=1) == samples.labels).double().mean()
    assert row["dev_accuracy"] == pytest.approx(100 * float(right))


@pytest.mark.parametrize(("ties", "kept"), [("first", 1), ("loss", 3)])
def test_of_equal_scores_the_first_or_the_smaller_loss_is_kept(ties, kept, monkeypatch):
    losses = iter([0.5, 0.6, 0.4])
    monkeypatch.setattr("tangentlm.finetune.loop.evaluate", lambda *_a: (50.0, next(losses)))
    model, samples = problem()
    schedule = Schedule("sgd", 1e-3, batch_size=8, steps=3, evaluate_every=1, seed=0)
    tuned = fine_tune(model, samples, samples, schedule, ties=ties, progress=False)
    assert tuned.best_step == kept


def test_rows_of_the_head_are_drawn_at_the_length_of_features():
    features = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    short = embedded(features, [0, 1] * 10, torch.eye(2, 5))
    long = embedded(features, [0, 1] * 10, 100 * torch.eye(2, 5))
    assert len(short) == 22
    assert short["is_row"].sum() == 2
    assert short[["x", "y"]].to_numpy() == pytest.approx(long[["x", "y"]].to_numpy(), abs=1e-3)
