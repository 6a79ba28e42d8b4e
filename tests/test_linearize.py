"""The Taylor model against explicit Jacobians, and the line between two parameter sets."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from small_models import (
    Direct,
    Mlp,
    Tied,
    dense_batch,
    prompt_batch,
    prompt_model,
    token_batch,
)
from tangentlm.errors import InputError
from tangentlm.finetune.loop import snapshot
from tangentlm.finetune.taylor import linearized_logits


class Affine(nn.Module):
    """A model that is linear in its parameters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.sin(x))


def moved(model: nn.Module, size: float = 0.1, seed: int = 7) -> dict[str, Tensor]:
    """The state of the model after a random displacement of its parameters, ties kept."""
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in other.parameters():
            p += size * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return snapshot(other)


def at(model: nn.Module, state: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
    """The model's logits at other parameters."""
    other = copy.deepcopy(model)
    other.load_state_dict(state)
    with torch.no_grad():
        return other(**batch)


def doubled(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}


CASES = {
    "mlp": lambda: (Mlp(), dense_batch(6)),
    "direct-and-scalar": lambda: (Direct(), dense_batch(6)),
    "tied": lambda: (Tied(), token_batch(6)),
    "roberta": lambda: (prompt_model("roberta", classes=3), prompt_batch()),
}


@pytest.fixture(params=CASES)
def case(request):
    model, batch = CASES[request.param]()
    return model.double().eval(), doubled(batch)


def by_jacobian(model, start, end, batch) -> Tensor:
    """f(theta_0) + J (theta - theta_0), with the Jacobian of every parameter written out."""
    names = [name for name, _ in model.named_parameters()]
    origin = {name: start[name] for name in names}

    def outputs(parameters: dict[str, Tensor]) -> Tensor:
        return functional_call(model, parameters, (), batch)

    with torch.no_grad():
        value = outputs(origin)
    for name, jacobian in jacrev(outputs)(origin).items():
        change = (end[name] - start[name]).reshape(-1)
        value = value + jacobian.reshape(*value.shape, -1) @ change
    return value


def test_equals_jacobian_times_displacement(case):
    model, batch = case
    start, end = snapshot(model), moved(model)
    logits = linearized_logits(model, start, end, batch)
    expected = by_jacobian(model, start, end, batch)
    assert logits.shape == expected.shape
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)
    # ... which is something else than the model there, and than the model at the start.
    for state in (start, end):
        assert float((at(model, state, batch) - logits).abs().max()) > 1e-4


def test_no_displacement_gives_the_model_itself(case):
    model, batch = case
    start = snapshot(model)
    with torch.no_grad():
        expected = model(**batch)
    torch.testing.assert_close(linearized_logits(model, start, start, batch), expected)


def test_exact_for_a_model_that_is_linear_in_its_parameters():
    model = Affine().double()
    batch = doubled(dense_batch(6))
    end = moved(model, size=10.0)
    logits = linearized_logits(model, snapshot(model), end, batch)
    torch.testing.assert_close(logits, at(model, end, batch))


def test_error_is_of_second_order(case):
    model, batch = case
    start, end = snapshot(model), moved(model)
    errors = []
    for fraction in (1e-2, 5e-3, 2.5e-3):
        near = {name: torch.lerp(value, end[name], fraction) for name, value in start.items()}
        difference = linearized_logits(model, start, near, batch) - at(model, near, batch)
        errors.append(float(difference.norm()))
    assert errors[0] > 1e-9
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 99])
def test_batch_size_does_not_matter(case, batch_size):
    model, batch = case
    start, end = snapshot(model), moved(model)
    expected = linearized_logits(model, start, end, batch)
    logits = linearized_logits(model, start, end, batch, batch_size=batch_size)
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)


def test_tied_parameter_counts_once():
    # The two names of a tied parameter must not move it twice; only the first one counts.
    model = Tied().double()
    batch = token_batch(6)
    start, end = snapshot(model), moved(model)
    assert {"embedding.weight", "decoder.weight"} <= start.keys()
    first = [name for name, _ in model.named_parameters()]
    expected = linearized_logits(model, start, end, batch)
    logits = linearized_logits(
        model, {n: start[n] for n in first}, {n: end[n] for n in first}, batch
    )
    assert torch.equal(logits, expected)


def test_model_is_neither_used_nor_changed(case):
    model, batch = case
    start, end = snapshot(model), moved(model)
    expected = linearized_logits(model, start, end, batch)
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(0.5)
    model.train()
    assert torch.equal(linearized_logits(model, start, end, batch), expected)
    assert model.training
    assert all(bool((p == 0.5).all()) and p.grad is None for p in model.parameters())


def test_result_has_no_graph():
    model = Mlp()
    logits = linearized_logits(model, snapshot(model), moved(model), dense_batch(3))
    assert not logits.requires_grad


@pytest.mark.parametrize("which", ["start", "end"])
@pytest.mark.parametrize("name", ["first.weight", "second.bias"])
def test_missing_parameter_is_refused(which, name):
    model = Mlp()
    states = {"start": snapshot(model), "end": moved(model)}
    del states[which][name]
    with pytest.raises(InputError, match=f"no parameter '{name}'"):
        linearized_logits(model, states["start"], states["end"], dense_batch(3))
