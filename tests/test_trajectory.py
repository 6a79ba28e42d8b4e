"""Definition D.3 along a fine-tuning, against gradients and steps that are written out."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from small_models import Mlp, prompt_batch, prompt_model
from tangentlm.batches import Labelled
from tangentlm.errors import InputError
from tangentlm.finetune.adaptation import adapted
from tangentlm.finetune.loop import Schedule, fine_tune, snapshot
from tangentlm.finetune.trajectory import Trajectory

SCHEDULE = Schedule("sgd", 0.3, 4, 6, 2, 0, clip=None)


def problem(classes=3, count=4, hidden=8):
    torch.manual_seed(0)
    model = Mlp(5, hidden, classes).double().eval()
    batch = {"x": torch.randn(count + 5, 5, dtype=torch.float64)}
    labels = torch.arange(count) % classes
    train = Labelled({"x": batch["x"][:count]}, labels)
    return model, train, {"x": batch["x"][count:]}


def gradients(model, inputs):
    """Of every output of every input by every parameter: {M: (N, C, entries)}."""
    found = {}
    for name, parameter in model.named_parameters():
        rows = []
        for row in inputs["x"]:
            outputs = model(x=row[None])[0]
            of_outputs = [torch.autograd.grad(f, parameter, retain_graph=True)[0] for f in outputs]
            rows.append(torch.stack([g.ravel() for g in of_outputs]))
        found[name] = torch.stack(rows)
    return found


class Linear(nn.Module):
    """One layer, which is its own Taylor model."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x):
        return self.layer(x)


def path_of(model, train):
    """The parameters after every step of plain gradient descent, written out."""
    model = copy.deepcopy(model)
    states = [copy.deepcopy(model)]
    for step in range(SCHEDULE.steps):
        loss = nn.functional.cross_entropy(model(**train.batch), train.labels)
        parameters = list(model.parameters())
        slopes = torch.autograd.grad(loss, parameters)
        rate = SCHEDULE.learning_rate * (1 - step / SCHEDULE.steps)
        with torch.no_grad():
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter -= rate * slope
        states.append(copy.deepcopy(model))
    return states


@pytest.mark.parametrize("classes", [2, 3])
def test_every_evaluation_has_the_measures_of_the_definition(classes):
    model, train, inputs = problem(classes)
    path = path_of(model, train)
    p = path[0](**train.batch).softmax(dim=1)[range(len(train)), train.labels]
    chi_max = float((1 - p.detach()).max())
    at_start = gradients(path[0], inputs)
    trajectory = Trajectory(model, train, inputs)
    tuned = fine_tune(model, train, train, SCHEDULE, trajectory=trajectory, progress=False)
    assert trajectory.chi_max == pytest.approx(chi_max)
    assert [point["step"] for point in tuned.trace] == [2, 4, 6]
    for point in tuned.trace:
        step = int(point["step"])
        before, after = path[step - 1], path[step]
        moved = after(**inputs) - before(**inputs)
        linear = sum(
            G @ (after.get_parameter(name) - before.get_parameter(name)).ravel()
            for name, G in gradients(before, inputs).items()
        )
        scale = chi_max * math.sqrt(moved.numel())
        assert point["step_change"] == pytest.approx(float(moved.norm()) / scale)
        assert point["step_error"] == pytest.approx(float((moved - linear).norm()) / scale)
        assert 0 < point["step_error"] < point["step_change"]
        now = gradients(after, inputs)
        ratios = []
        for name, then in at_start.items():
            size = then.square().sum(dim=2).amax(dim=0)  # of each output over the inputs
            change = (now[name] - then).square().sum(dim=2).amax(dim=0)
            ratios.append(float((change[size > 0] / size[size > 0]).max()))
        assert point["feature_change"] == pytest.approx(max(ratios))
        median = sorted(ratios)[(len(ratios) - 1) // 2]
        assert point["feature_change_median"] == pytest.approx(median)


def test_a_linear_model_is_linear_and_its_features_are_fixed():
    _, train, inputs = problem()
    model = Linear().double()
    trajectory = Trajectory(model, train, inputs)
    tuned = fine_tune(model, train, train, SCHEDULE, trajectory=trajectory, progress=False)
    for point in tuned.trace:
        assert point["step_change"] > 1e-3
        assert point["step_error"] == pytest.approx(0, abs=1e-12)
        assert point["feature_change"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("adaptation", ["full", "lora", "intrinsic"])
def test_measuring_changes_nothing_and_counts_what_is_trained(adaptation):
    batch = prompt_batch((9, 5, 7, 8))
    samples = Labelled(batch, torch.tensor([0, 1, 1, 0]))
    schedule = Schedule("adam", 1e-3, 2, 4, 2, 13)
    ends = []
    for watched in (False, True):
        network = adapted(prompt_model(), adaptation, rank=2, dimension=12, seed=1).eval()
        trajectory = Trajectory(network, samples, batch) if watched else None
        tuned = fine_tune(
            network, samples, samples, schedule, trajectory=trajectory, progress=False
        )
        ends.append(snapshot(network))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert {"step_change", "step_error", "feature_change"} <= set(tuned.trace[-1])
    assert all(math.isfinite(value) for value in tuned.trace[-1].values())
    assert tuned.trace[-1]["step_error"] < 0.1 * tuned.trace[-1]["step_change"]


def test_no_input_is_refused():
    model, train, inputs = problem()
    with pytest.raises(InputError, match="one input at least"):
        Trajectory(model, train, {"x": inputs["x"][:0]})
