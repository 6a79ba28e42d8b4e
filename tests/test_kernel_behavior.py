"""Everything that is measured of one task against computations of its own."""

from __future__ import annotations

import copy
import functools
import json

import numpy as np
import pytest
import torch
from torch.func import functional_call, jvp

from tangentlm.batches import Labelled, select_rows
from tangentlm.errors import NonFiniteError
from tangentlm.finetune.behavior import KernelBehavior, measure_kernel_behavior
from tangentlm.finetune.loop import Schedule
from tangentlm.finetune.search import search
from tangentlm.kernels import entk
from tangentlm.kernels.reference import reference_entk
from tangentlm.models.heads import LinearHeadModel, PromptModel
from tangentlm.params import load_grid
from tangentlm.solvers import select
from tangentlm.tasks.prompts import encode_prompts, encode_texts, label_word_ids, labels_of
from tiny import tiny_examples, tiny_masked_lm, tiny_task, tiny_tokenizer

GRID = load_grid("quick")
SIZES = {"train": 6, "dev": 5, "test": 21}
SCHEDULES = tuple(Schedule("sgd", rate, 2, 12, 4, 3) for rate in (0.03, 0.1))
SEED_OF = {2: 0, 3: 1}
"""Of the weights; with these, fine-tuning gains something on three classes."""
NAMES = {
    "zero_shot", "chi", "chi_worst", "chi_max", "kernel", "finetuned", "linearized",
    "linearization_share", "logit_change", "linearization_error", "explained_change",
    "kernel_distance", "kernel_distance_frobenius", "kernel_scale", "kernel_scaled_error",
    "kernel_cka", "best_learning_rate", "best_step", "clipped_share", "gradient_norm",
    "step_change", "step_error", "feature_change",
}  # fmt: skip


def fresh_model(classes):
    task, tokenizer = tiny_task(pair=classes == 3), tiny_tokenizer()
    masked_lm = tiny_masked_lm("roberta", seed=SEED_OF[classes])
    return PromptModel(masked_lm, label_word_ids(task, tokenizer)).eval()


@functools.cache
def samples(classes, encoder=encode_prompts):
    """Training, dev and test samples."""
    pair = classes == 3
    examples = tiny_examples(pair, sum(SIZES.values()))
    parts, first = {}, 0
    for name, size in SIZES.items():
        some = examples[first : first + size]
        parts[name] = Labelled(encoder(tiny_task(pair), tiny_tokenizer(), some), labels_of(some))
        first += size
    return parts


def measured(model, classes, schedules=SCHEDULES, **options):
    parts = samples(classes)
    return measure_kernel_behavior(
        model, parts["train"], parts["dev"], parts["test"], schedules, GRID,
        progress=False, **options,
    )  # fmt: skip


@torch.no_grad()
def row_by_row(model, batch, function=None):
    """What a function, by default the model, gives for every row alone, (N, C)."""
    function = function or (lambda row: model(**row))
    rows = [select_rows(batch, slice(i, i + 1)) for i in range(len(batch["input_ids"]))]
    return torch.cat([function(row) for row in rows])


def accuracy(logits, labels):
    return 100 * float((logits.argmax(dim=1) == labels).double().mean())


@functools.cache
def case(classes):
    """The measures, the model before, and the model after a fine-tuning of our own."""
    model, before = fresh_model(classes), fresh_model(classes)
    found = measured(model, classes)
    after, parts = copy.deepcopy(before), samples(classes)
    best = search(after, parts["train"], parts["dev"], SCHEDULES, progress=False).best
    return found, model, before, after, best


@pytest.mark.parametrize("classes", [2, 3])
def test_before_fine_tuning(classes):
    found, _, before, _, _ = case(classes)
    test = samples(classes)["test"]
    logits = row_by_row(before, test.batch)
    assert found.zero_shot == pytest.approx(accuracy(logits, test.labels))
    chi = 1 - logits.double().softmax(dim=1)[range(len(test)), test.labels]
    np.testing.assert_allclose(found.chi_by_example, chi, atol=1e-6)
    assert found.chi == pytest.approx(float(chi.mean()), abs=1e-6)
    # The largest tenth of 21 are two.
    assert found.chi_worst == pytest.approx(float(chi.topk(2).values.mean()), abs=1e-6)
    assert found.chi < found.chi_worst < 1


@pytest.mark.parametrize("classes", [2, 3])
def test_fine_tuning_is_the_search_s_and_stays_in_the_model(classes):
    found, model, _, after, best = case(classes)
    test = samples(classes)["test"]
    assert found.finetuned == pytest.approx(accuracy(row_by_row(after, test.batch), test.labels))
    assert (found.best_learning_rate, found.best_step) == (
        best.schedule.learning_rate, best.best_step,
    )  # fmt: skip
    assert not model.training
    for name, value in after.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=1e-6)


def taylor_logits(before, after, batch):
    start = dict(before.named_parameters())
    change = {name: value - start[name] for name, value in after.named_parameters()}

    def linear(row):
        value, slope = jvp(
            lambda parameters: functional_call(before, parameters, (), row), (start,), (change,)
        )
        return value + slope

    return row_by_row(before, batch, linear)


@pytest.mark.parametrize("classes", [2, 3])
def test_linearization(classes):
    found, _, before, after, _ = case(classes)
    test = samples(classes)["test"]
    start, end = row_by_row(before, test.batch), row_by_row(after, test.batch)
    taylor = taylor_logits(before, after, test.batch)
    assert found.linearized == pytest.approx(accuracy(taylor, test.labels))
    error = float((end - taylor).norm() / (end - start).norm())
    assert found.linearization_error == pytest.approx(error, rel=1e-3)
    assert 0.001 < error < 2
    explained = 1 - float((end - taylor).square().sum() / (end - start).square().sum())
    assert found.explained_change == pytest.approx(explained, rel=1e-3)
    assert found.logit_change == pytest.approx(
        float((end - start).square().mean().sqrt()), rel=1e-4
    )
    gain = found.finetuned - found.zero_shot
    share = (found.linearized - found.zero_shot) / gain if gain > 0 else None
    assert found.linearization_share == (None if share is None else pytest.approx(share))


def test_a_case_has_a_gain_to_recover():
    found = case(3)[0]
    assert found.finetuned > found.zero_shot
    assert found.linearization_share is not None


@pytest.mark.parametrize("classes", [2, 3])
def test_kernel_distance_is_that_of_the_training_kernels(classes):
    found, _, before, after, _ = case(classes)
    train = samples(classes)["train"].batch
    outputs = "difference" if classes == 2 else "full"
    K, K_after = (
        reference_entk(copy.deepcopy(model).double(), train, outputs=outputs)
        for model in (before, after)
    )
    expected = np.mean(np.abs(K_after / K - 1))
    assert found.kernel_distance == pytest.approx(expected, rel=1e-2)
    K, K_after = (entk(m, train, outputs=outputs, progress=False).values for m in (before, after))
    assert found.kernel_distance == pytest.approx(np.mean(np.abs(K_after / K - 1)), rel=1e-4)
    of_norms = np.linalg.norm(K_after - K) / np.linalg.norm(K)
    assert found.kernel_distance_frobenius == pytest.approx(of_norms, rel=1e-4)
    (scale,), (missed,), *_ = np.linalg.lstsq(K.reshape(-1, 1), K_after.ravel(), rcond=None)
    assert found.kernel_scale == pytest.approx(scale, rel=1e-4)
    relative = np.sqrt(missed) / np.linalg.norm(K_after)
    assert found.kernel_scaled_error == pytest.approx(relative, rel=1e-4)
    assert 0.5 < found.kernel_cka <= 1


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
def test_kernel_regression_of_two_classes(metric):
    found = case(2)[0] if metric == "accuracy" else measured(fresh_model(2), 2, metric="f1")
    # Kernels of all logits; the difference of the two is made here.
    K, f0, parts = kernels_of(2)
    sign = np.array([-1.0, 1.0])
    K = {name: np.einsum("icjd,c,d->ij", k, sign, sign)[:, None, :, None] for name, k in K.items()}
    f0 = {name: (f @ sign)[:, None] for name, f in f0.items()}
    decision = chosen_decision(K, f0, parts, metric)
    predicted, labels = (decision[:, 0] > 0).astype(int), parts["test"].labels.numpy()
    if metric == "accuracy":
        expected = 100 * np.mean(predicted == labels)
    else:
        expected = 200 * (predicted & labels).sum() / (predicted.sum() + labels.sum())
    assert found.kernel == pytest.approx(expected)


def test_kernel_regression_of_three_classes():
    decision = chosen_decision(*kernels_of(3), "accuracy")
    labels = samples(3)["test"].labels.numpy()
    assert case(3)[0].kernel == pytest.approx(100 * np.mean(decision.argmax(axis=1) == labels))


@functools.cache
def kernels_of(classes):
    """Kernels and logits of the fresh model by their definition, in double precision."""
    model, parts = fresh_model(classes).double(), samples(classes)
    train = parts["train"].batch
    K = {name: reference_entk(model, train, part.batch) for name, part in parts.items()}
    f0 = {name: row_by_row(model, part.batch).numpy() for name, part in parts.items()}
    return K, f0, parts


def chosen_decision(K, f0, parts, metric):
    chosen = select(
        K["train"], parts["train"].labels.numpy(), K["dev"], parts["dev"].labels.numpy(),
        f0_train=f0["train"], f0_dev=f0["dev"], metric=metric,
        regularization=GRID.regularization, f0_scale=GRID.f0_scale,
    )  # fmt: skip
    return chosen.solver.decision_function(K["test"], f0["test"])


@pytest.mark.parametrize("classes", [2, 3])
def test_metrics_are_the_numbers_without_the_array(classes):
    found = case(classes)[0]
    metrics = found.metrics()
    assert set(metrics) == NAMES == set(KernelBehavior.__dataclass_fields__) - {"chi_by_example"}
    assert json.loads(json.dumps(metrics)) == metrics
    assert {type(value) for value in metrics.values()} <= {float, int, type(None)}
    assert "chi_by_example" not in repr(found)


def test_f1_is_the_metric_of_every_score():
    found, labels = measured(fresh_model(2), 2, metric="f1"), samples(2)["test"].labels
    predicted = row_by_row(fresh_model(2), samples(2)["test"].batch).argmax(dim=1)
    expected = 200 * int((predicted & labels).sum()) / int(predicted.sum() + labels.sum())
    assert found.zero_shot == pytest.approx(expected)


def test_a_model_that_does_not_move():
    found = measured(fresh_model(2), 2, [Schedule("sgd", 1e-30, 2, 4, 2, 0)])
    assert found.linearized == found.finetuned == found.zero_shot
    assert found.linearization_share is None
    assert found.linearization_error is None
    assert found.explained_change is None
    assert found.logit_change == 0.0
    assert found.kernel_distance == 0.0
    assert json.loads(json.dumps(found.metrics())) == found.metrics()


@pytest.mark.parametrize("count", [1, 9, 19])
def test_the_worst_tenth_of_few_examples_is_the_worst(count):
    parts = samples(2)
    test = Labelled(
        select_rows(parts["test"].batch, slice(count)), parts["test"].labels[:count]
    )  # fmt: skip
    schedules = [Schedule("sgd", 1e-3, 2, 1, 1, 0)]
    found = measure_kernel_behavior(
        fresh_model(2), parts["train"], parts["dev"], test, schedules, GRID, progress=False
    )
    assert found.chi_worst == found.chi_by_example.max()
    assert found.chi_by_example.shape == (count,)


def test_a_point_of_the_grid_that_diverges_is_left_out():
    schedules = [Schedule("sgd", rate, 2, 12, 4, 3) for rate in (1e30, 0.03, 0.1)]
    assert measured(fresh_model(2), 2, schedules).metrics() == case(2)[0].metrics()


def test_a_grid_that_diverges_everywhere_is_an_error():
    schedules = [Schedule("sgd", rate, 2, 4, 2, 0) for rate in (1e30, 1e31)]
    with pytest.raises(NonFiniteError, match="every point of the grid diverged"):
        measured(fresh_model(2), 2, schedules)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_linear_head_at_zero(classes):
    """Its kernel between different classes is exactly zero, and has no relative distance."""
    torch.manual_seed(0)
    model = LinearHeadModel(tiny_masked_lm("roberta"), classes).eval()
    before, parts = copy.deepcopy(model), samples(classes, encode_texts)
    found = measure_kernel_behavior(
        model, parts["train"], parts["dev"], parts["test"], SCHEDULES, GRID, progress=False
    )
    assert (found.chi, found.chi_worst) == pytest.approx([1 - 1 / classes] * 2)
    outputs = "difference" if classes == 2 else "full"
    K, K_after = (
        entk(m, parts["train"].batch, outputs=outputs, progress=False).values
        for m in (before, model)
    )
    some = K != 0
    assert some.mean() == pytest.approx(1 if classes == 2 else 1 / 3)
    expected = np.mean(np.abs(K_after[some] / K[some] - 1))
    assert found.kernel_distance == pytest.approx(expected, rel=1e-4)


def test_what_is_measured_along_the_way_is_that_of_its_only_step():
    """Definition D.3 of one step: the change of the logits, in units of the largest chi."""
    model, parts = fresh_model(2), samples(2)
    rows = select_rows(parts["test"].batch, slice(3))
    before = copy.deepcopy(model)
    found = measured(model, 2, [Schedule("sgd", 0.03, 2, 1, 1, 0)], trajectory_samples=3)
    f_before, f_after = (row_by_row(m, rows).double() for m in (before, model))
    labels = parts["train"].labels
    p = row_by_row(before, parts["train"].batch).double().softmax(dim=1)
    chi_max = float((1 - p[torch.arange(len(labels)), labels]).max())
    change = float((f_after - f_before).square().mean().sqrt()) / chi_max
    assert found.step_change == pytest.approx(change, rel=1e-4)
    assert 0 < found.step_error < 0.5 * found.step_change
    assert 0 < found.feature_change < 1
