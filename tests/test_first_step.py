"""One step of fine-tuning: logits and features against kernels, real steps and autograd."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from small_models import masked_lm, text_batch
from tangentlm.batches import Labelled, select_rows
from tangentlm.errors import InputError, NonFiniteError
from tangentlm.kernels import decompose
from tangentlm.metrics import output_derivative
from tangentlm.models.heads import LinearHeadModel
from tangentlm.theory.first_step import FirstStep, first_step, residuals

CLASSES = 3
LABELS = torch.tensor([0, 2, 1, 2])
TRAIN = text_batch((9, 5, 7, 6))
ROWS = text_batch((6, 8, 6), seed=2)


@pytest.fixture(params=["roberta", "albert"])
def model(request):
    """A model in float64 with a head that is not at zero."""
    made = LinearHeadModel(masked_lm(request.param), CLASSES, "mean").eval().double()
    generator = torch.Generator().manual_seed(3)
    for parameter in made.classifier.parameters():
        nn.init.normal_(parameter, generator=generator)
    return made


@pytest.fixture
def train():
    return Labelled(TRAIN, LABELS)


def one(batch: dict[str, Tensor], i: int) -> dict[str, Tensor]:
    return select_rows(batch, slice(i, i + 1))


def feature_jacobian(model: LinearHeadModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Phi, (n, h), and its derivatives by the body's parameters, (n, h, P)."""
    body = {n: p.detach() for n, p in model.named_parameters() if n.startswith("body")}
    kept = copy.deepcopy(model)
    kept.forward = kept.features
    samples = []
    for i in range(len(batch["input_ids"])):
        row = one(batch, i)
        by_name = jacrev(lambda values, row=row: functional_call(kept, values, (), row)[0])(body)
        with torch.no_grad():
            phi = model.features(**row)[0]
        samples.append((phi, torch.cat([j.flatten(1) for j in by_name.values()], dim=1)))
    values, jacobians = zip(*samples, strict=True)
    return torch.stack(values), torch.stack(jacobians)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> bool:
    assert actual.shape == expected.shape
    return float((actual - expected).norm()) <= tolerance * float(expected.norm())


def test_residuals_are_minus_the_output_derivative():
    logits = torch.randn(4, CLASSES, dtype=torch.float64)
    expected = -output_derivative(logits, LABELS)
    assert np.allclose(residuals(logits, LABELS), expected, atol=1e-15)


def test_changes_are_those_of_the_definition(model, train):
    """Equations 1 and 2 with the whole h x h kernel of the features."""
    V = model.classifier.weight.detach()
    (phi, J), (phi_x, J_x) = (feature_jacobian(model, batch) for batch in (TRAIN, ROWS))
    delta = residuals(phi @ V.T + model.classifier.bias.detach(), LABELS)
    kernel = torch.einsum("xap,ibp->xiab", J_x, J)
    N = len(LABELS)
    step = first_step(model, train, ROWS)
    assert close(step.features, torch.einsum("xiab,ib->xa", kernel, delta @ V) / N)
    assert close(step.through_head, (phi_x @ phi.T + 1) @ delta / N)
    F = V @ kernel @ V.T
    assert close(step.through_features, torch.einsum("xicd,id->xc", F, delta) / N)
    assert close(step.logits, step.through_head + step.through_features)


def test_changes_are_those_of_the_kernels(model, train):
    parts = decompose(model, ROWS, TRAIN, precision="float64", progress=False)
    with torch.no_grad():
        logits = torch.cat([model(**one(TRAIN, i)) for i in range(len(LABELS))])
    delta = -output_derivative(logits, LABELS)
    step = first_step(model, train, ROWS)
    for kernel, change in (
        (parts.pretrain, step.through_head),
        (parts.finetune, step.through_features),
    ):
        expected = np.einsum("icjd,jd->ic", kernel.values, delta) / len(LABELS)
        assert close(change, torch.from_numpy(expected))
    assert step.ft_ratio() == pytest.approx(parts.ft_ratio(delta), rel=1e-9)


def changes_of_a_real_step(model, eta):
    """What one step of torch's SGD on the mean loss does to the logits and features of ROWS."""
    moved = copy.deepcopy(model)
    optimizer = torch.optim.SGD(moved.parameters(), eta)
    nn.functional.cross_entropy(moved(**TRAIN), LABELS).backward()
    optimizer.step()
    with torch.no_grad():
        return moved(**ROWS) - model(**ROWS), moved.features(**ROWS) - model.features(**ROWS)


def test_the_error_of_a_real_step_is_of_second_order(model, train):
    step = first_step(model, train, ROWS)
    errors = []
    for eta in (1e-4, 1e-3):
        logits, features = changes_of_a_real_step(model, eta)
        errors.append(
            [
                float((logits - eta * step.logits).norm()),
                float((features - eta * step.features).norm()),
            ]
        )
    assert np.log10(errors[1]) - np.log10(errors[0]) == pytest.approx([2, 2], abs=0.05)


def test_given_residuals_take_the_place_of_the_models_own(model, train):
    delta = torch.randn(len(LABELS), CLASSES, dtype=torch.float64)
    step = first_step(model, train, ROWS, delta)
    with torch.no_grad():
        model.classifier.weight *= 10
    larger = first_step(model, train, ROWS, delta)
    assert close(larger.features, 10 * step.features)
    assert close(larger.through_features, 100 * step.through_features)
    assert close(larger.through_head, step.through_head)


def test_frozen_parameters_of_the_body_do_not_move(model, train):
    model.body.requires_grad_(False)
    model.body.get_input_embeddings().weight.requires_grad_()
    step = first_step(model, train, ROWS)
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    parts = decompose(model, ROWS, TRAIN, parameters=names, precision="float64", progress=False)
    with torch.no_grad():
        delta = residuals(model(**TRAIN), LABELS)
    expected = np.einsum("icjd,jd->ic", parts.finetune.values, delta) / len(LABELS)
    assert close(step.through_features, torch.from_numpy(expected))


def test_what_is_not_right_is_refused(model, train):
    with pytest.raises(InputError, match=r"\(4, 2\), not \(N, C\) = \(4, 3\)"):
        first_step(model, train, ROWS, torch.ones(4, 2))
    still = FirstStep(torch.ones(2, 5), torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(NonFiniteError, match="row 0"):
        still.ft_ratio()
