"""The FT ratio from one linearised step and from a scaled kernel, against the kernel itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from small_models import masked_lm, text_batch
from tangentlm.batches import Labelled
from tangentlm.errors import NonFiniteError
from tangentlm.kernels import decompose
from tangentlm.metrics import output_derivative
from tangentlm.models.heads import LinearHeadModel
from tangentlm.models.logits import logits_of
from tangentlm.tomihari.components import class_map, ft_ratio_at, kernel_facts, lora_proportion
from tangentlm.tomihari.ft_ratio import ft_ratio, ft_ratio_of_step


def problem(classes=3):
    model = LinearHeadModel(masked_lm("roberta"), classes).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model.classifier.weight.normal_(generator=generator)
        model.classifier.bias.normal_(generator=generator)
    return model, Labelled(text_batch((9, 5, 7, 6, 5, 8)), torch.arange(6) % classes)


def test_one_step_is_the_kernel_times_the_residual():
    model, train = problem()
    parts = decompose(model, train.batch, precision="float64", progress=False)
    delta = -output_derivative(logits_of(model, train.batch).numpy(), train.labels.numpy())
    found = ft_ratio_of_step(model, train)
    for name, kernel in (("pretrain", parts.pretrain), ("finetune", parts.finetune)):
        changes = np.einsum("icjd,jd->ic", kernel.values, delta)
        assert found[name] == pytest.approx(np.linalg.norm(changes, axis=1).mean(), rel=1e-6)
    assert found["ft_ratio"] == pytest.approx(parts.ft_ratio(delta))


def test_a_scaled_head_needs_no_kernel_of_its_own():
    model, train = problem()
    parts = decompose(model, train.batch, precision="float64", progress=False)
    with torch.no_grad():
        model.classifier.weight.mul_(3)
        model.classifier.bias.mul_(3)
    logits = logits_of(model, train.batch).numpy()
    found = ft_ratio_at(parts, logits, train.labels.numpy(), scale=3.0)
    own = decompose(model, train.batch, precision="float64", progress=False)
    delta = -output_derivative(logits, train.labels.numpy())
    assert found["ft_ratio"] == pytest.approx(own.ft_ratio(delta))


def test_a_sample_that_does_not_change_is_refused():
    with pytest.raises(NonFiniteError, match="do not change"):
        ft_ratio(np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]]))


def test_facts_of_a_kernel():
    random = np.random.default_rng(0)
    labels = np.arange(30) % 3
    features = random.normal(size=(30, 8)) + 4 * np.eye(3, 8)[labels]
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3)).double().eval()
    batch = {"input": torch.from_numpy(features)}
    parts = decompose(model, batch, head="1", precision="float64", progress=False)
    facts = kernel_facts(parts.pretrain, parts.pretrain, labels, labels)
    # P is a matrix of N samples times the identity; the matrix has h + 1 dimensions at most.
    assert facts["rank"] == 3 * 9
    assert facts["frobenius"] == pytest.approx(np.linalg.norm(parts.pretrain.matrix()))
    assert facts["train"] == facts["test"] == 100
    assert facts["train_rows"] >= 100 * 2 / 3
    # Every block of P is a number times the identity, whose trace norm is C times the number.
    blocks = class_map(parts.pretrain, labels)
    same = next(row for row in blocks if row["first"] == row["second"] == 0)
    entries = np.diag(parts.pretrain.values[:, 0, :, 0])[labels == 0]
    assert same["diagonal"] == pytest.approx(3 * entries.mean())


def test_proportion_of_a_multiple():
    model, train = problem()
    finetune = decompose(model, train.batch, precision="float64", progress=False).finetune
    expected = 8 * (4 / 8) ** 2 / (3 * 32)
    lora = replace(finetune, values=expected * finetune.values)
    found = lora_proportion(lora, finetune, finetune.values, rank=8, alpha=4.0, d_in=32)
    assert found["expected"] == pytest.approx(expected)
    assert found["error"] == pytest.approx(0, abs=1e-12)
    assert found["factor"] == pytest.approx(1)
    for name in ("adapted", "whole", "centred_adapted", "centred_whole"):
        assert found[name] == pytest.approx(1)


def test_what_does_not_depend_on_the_samples_has_no_centred_cosine():
    model, train = problem()
    finetune = decompose(model, train.batch, precision="float64", progress=False).finetune
    outputs = finetune.values.mean(axis=(0, 2))
    random = np.random.default_rng(0).normal(size=finetune.values.shape)
    flat = outputs[None, :, None, :] + 1e-3 * np.abs(outputs).max() * random
    lora = replace(finetune, values=flat)
    found = lora_proportion(lora, finetune, finetune.values, rank=8, alpha=4.0, d_in=32)
    assert found["adapted"] > 0.8
    assert abs(found["centred_adapted"]) < 0.5
