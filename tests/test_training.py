"""Fine-tuning: the recipe step by step, the choice on dev, divergence, determinism."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from small_models import Mlp, dense_batch, prompt_batch, prompt_model
from tangentlm.errors import InputError, NonFiniteError
from tangentlm.finetune import loop as training
from tangentlm.finetune.loop import (
    Labelled,
    Schedule,
    evaluate,
    fine_tune,
    make_optimizer,
    snapshot,
)
from tangentlm.finetune.search import grid_schedules, search
from tangentlm.params import load_grid


def samples(n: int, seed: int, classes: int = 3, scale: float = 1.0) -> Labelled:
    batch = {"x": scale * dense_batch(n, seed=seed)["x"]}
    return Labelled(batch, torch.arange(n) % classes)


TRAIN, DEV = samples(10, seed=1), samples(9, seed=2)


def schedule(**changes) -> Schedule:
    values = {
        "optimizer": "sgd", "learning_rate": 0.1, "batch_size": 4, "steps": 8,
        "evaluate_every": 4, "seed": 13,
    }  # fmt: skip
    return Schedule(**{**values, **changes})


def tune(model, train=TRAIN, dev=DEV, *, metric="accuracy", **changes):
    return fine_tune(model, train, dev, schedule(**changes), metric=metric, progress=False)


def find(model, *points, train=TRAIN, dev=DEV):
    return search(model, train, dev, points, progress=False)


def same_state(first, second) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


# --- the recipe -----------------------------------------------------------------------------


class Linear(Mlp):
    """Two layers with nothing in between, so that large parameters overflow."""

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def by_hand(model: nn.Module, train: Labelled, plan: Schedule) -> list[float]:
    """SGD with linear decay to zero and the gradient's norm clipped; the norms before that."""
    clip = math.inf if plan.clip is None else plan.clip
    generator = torch.Generator().manual_seed(plan.seed)
    batches: list[Tensor] = []
    norms = []
    for step in range(plan.steps):
        if not batches:
            order = torch.randperm(len(train), generator=generator)
            batches = [
                order[start : start + plan.batch_size]
                for start in range(0, len(train), plan.batch_size)
            ]
        index = batches.pop(0)
        parameters = list(model.parameters())
        logits = model(**{name: tensor[index] for name, tensor in train.batch.items()})
        losses = logits.logsumexp(dim=1) - logits[torch.arange(len(index)), train.labels[index]]
        gradients = torch.autograd.grad(losses.mean(), parameters)
        norm = float(torch.cat([g.flatten() for g in gradients]).norm())
        rate = plan.learning_rate * (1 - step / plan.steps)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= rate * min(1.0, clip / norm) * gradient
        norms.append(norm)
    return norms


def test_bfloat16_rounds_the_products_of_training_and_no_measurement():
    batch, model = prompt_batch(), prompt_model()
    train = Labelled(batch, torch.arange(len(batch["input_ids"])) % 2)
    start = snapshot(model)
    tuned, dtypes = {}, {}
    for precision in ("float32", "bfloat16"):
        model.load_state_dict(start)
        seen = dtypes[precision] = set()
        layer = next(m for m in model.modules() if isinstance(m, nn.Linear))
        hook = layer.register_forward_hook(
            lambda m, _, out, seen=seen: seen.add((m.training, out.dtype))
        )
        tuned[precision] = tune(
            model, train, train, precision=precision, learning_rate=1e-3, clip=None
        )
        hook.remove()
    assert dtypes["float32"] == {(True, torch.float32), (False, torch.float32)}
    assert dtypes["bfloat16"] == {(True, torch.bfloat16), (False, torch.float32)}
    moves = {
        name: torch.cat([(tuned[name].state[key] - start[key]).flatten() for key in start])
        for name in tuned
    }
    error = (moves["bfloat16"] - moves["float32"]).norm() / moves["float32"].norm()
    assert 0 < error < 0.1


@pytest.mark.parametrize("clip", [1.0, 0.5, None])
@pytest.mark.parametrize(("batch_size", "scale"), [(1, 0.25), (4, 1.0), (10, 3.0), (99, 3.0)])
def test_sgd_is_the_written_recipe(batch_size, scale, clip):
    # The inputs are as large as it takes to clip the gradient at some steps and not at others.
    train = samples(10, seed=1, scale=scale)
    plan = schedule(
        batch_size=batch_size, steps=15, evaluate_every=15, learning_rate=0.5, clip=clip
    )
    expected, model = Linear(), Linear()
    norms = by_hand(expected, train, plan)
    assert clip != 1.0 or max(norms) > 1 > min(norms)
    tuned = fine_tune(model, train, DEV, plan, progress=False)
    assert tuned.gradient_norms == pytest.approx(norms, rel=1e-4)
    over = [norm > clip for norm in norms] if clip else [False]
    assert tuned.clipped_share == pytest.approx(sum(over) / len(over))
    for (name, p), q in zip(model.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6, msg=name)


def test_adam_takes_steps_of_the_rate():
    # The first step of Adam is the rate times the gradient's sign, wherever it is not tiny.
    model = Mlp()
    start = snapshot(model)
    tune(model, optimizer="adam", learning_rate=1e-3, steps=1, evaluate_every=1, batch_size=10)
    moved = torch.cat([(p - start[n]).abs().flatten() for n, p in model.named_parameters()])
    torch.testing.assert_close(moved, torch.full_like(moved, 1e-3), rtol=1e-2, atol=0)


def test_frozen_parameters_stay():
    model = Mlp()
    model.first.requires_grad_(False)
    start = snapshot(model)
    tune(model)
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, start[n])}
    assert moved == {"second.weight", "second.bias"}


def test_masked_lm_learns_its_training_samples():
    model = prompt_model("roberta")
    data = Labelled(prompt_batch(), torch.tensor([0, 1, 1, 0]))
    tuned = tune(
        model, data, data, optimizer="adam", learning_rate=1e-2, batch_size=2, steps=40,
        evaluate_every=10,
    )  # fmt: skip
    assert tuned.dev_score == 100.0
    assert tuned.dev_loss < 0.1
    decoder = model.masked_lm.get_output_embeddings()
    assert decoder.weight is model.masked_lm.get_input_embeddings().weight


@pytest.mark.parametrize("name", ["sgdd", "SGD!", "lbfgs"])
def test_unknown_optimizer_is_refused(name):
    with pytest.raises(InputError, match=f"unknown optimizer {name!r}"):
        make_optimizer(Mlp(), name, 0.1)
    with pytest.raises(InputError, match="unknown optimizer"):
        tune(Mlp(), optimizer=name)


def test_unknown_optimizer_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'adam'"):
        make_optimizer(Mlp(), "adamm", 0.1)


@pytest.mark.parametrize(
    ("name", "kind", "momentum"), [("sgd", torch.optim.SGD, 0), ("adam", torch.optim.Adam, None)]
)
def test_optimizers_have_no_momentum_and_no_decay(name, kind, momentum):
    (group,) = make_optimizer(Mlp(), name, 0.25).param_groups
    assert isinstance(make_optimizer(Mlp(), name, 0.25), kind)
    assert (group["lr"], group["weight_decay"]) == (0.25, 0)
    assert group.get("momentum") == momentum
    assert len(group["params"]) == 4


# --- evaluation and the best checkpoint -----------------------------------------------------


def test_evaluate_is_score_and_cross_entropy():
    model, dev = Mlp().train(), samples(9, seed=2)
    logits = model.eval()(**dev.batch).detach()
    expected = nn.functional.cross_entropy(logits, dev.labels)
    hits = (logits.argmax(dim=1) == dev.labels).float().mean()
    model.train()
    points, loss = evaluate(model, dev, "accuracy")
    assert points == pytest.approx(100 * float(hits))
    assert loss == pytest.approx(float(expected), rel=1e-6)
    assert model.training


def test_evaluate_does_without_dropout():
    model = Noisy().train()
    assert len({evaluate(model, DEV, "accuracy") for _ in range(3)}) == 1


class Noisy(Mlp):
    """With dropout on the inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.5, self.training))


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(8, 4, [4, 8]), (10, 4, [4, 8, 10]), (3, 5, [3]), (3, 1, [1, 2, 3]), (1, 1, [1])],
)
def test_trace_has_every_evaluation_and_the_last_step(steps, every, expected):
    tuned = tune(Mlp(), steps=steps, evaluate_every=every)
    assert [row["step"] for row in tuned.trace] == expected
    for row in tuned.trace:
        assert set(row) == {"step", "train_loss", "dev_score", "dev_loss"}
        assert all(math.isfinite(value) for value in row.values())
    at_best = next(row for row in tuned.trace if row["step"] == tuned.best_step)
    assert (at_best["dev_score"], at_best["dev_loss"]) == (tuned.dev_score, tuned.dev_loss)
    assert tuned.schedule == schedule(steps=steps, evaluate_every=every)


def test_training_loss_is_the_mean_since_the_last_evaluation():
    fine = tune(Mlp(), steps=6, evaluate_every=1)
    coarse = tune(Mlp(), steps=6, evaluate_every=4)
    losses = [row["train_loss"] for row in fine.trace]
    expected = [sum(losses[:4]) / 4, sum(losses[4:]) / 2]
    assert [row["train_loss"] for row in coarse.trace] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("evaluations", "best"),
    [
        ([(50, 1.0), (75, 0.9), (60, 0.1)], 2),  # the score decides, not the loss
        ([(75, 0.9), (75, 0.8), (75, 0.85)], 2),  # then the loss
        ([(75, 0.8), (75, 0.8), (50, 0.1)], 1),  # then the earlier one
        ([(0, 9.0), (0, 9.5), (25, 99.0)], 3),
        ([(100, 0.2), (99, 0.1), (98, 0.1)], 1),
    ],
)
def test_best_checkpoint_is_that_of_the_best_dev_score_then_loss(monkeypatch, evaluations, best):
    states = []

    def scripted(model, _samples, _metric, _select):
        states.append(snapshot(model))
        return evaluations[len(states) - 1]

    monkeypatch.setattr(training, "evaluate", scripted)
    tuned = tune(Mlp(), steps=6, evaluate_every=2)
    assert tuned.best_step == 2 * best
    assert (tuned.dev_score, tuned.dev_loss) == evaluations[best - 1]
    assert same_state(tuned.state, states[best - 1])
    assert not same_state(states[0], states[1])
    assert len(tuned.trace) == 3


def test_best_checkpoint_gives_the_recorded_dev_score():
    model = Mlp()
    tuned = tune(model, steps=40, evaluate_every=2, learning_rate=1.0)
    model.load_state_dict(tuned.state)
    assert evaluate(model, DEV, "accuracy") == (tuned.dev_score, tuned.dev_loss)
    scores = [(row["dev_score"], -row["dev_loss"]) for row in tuned.trace]
    assert max(scores) == (tuned.dev_score, -tuned.dev_loss)


def test_model_is_left_in_eval_mode_at_its_last_step():
    model = Mlp()
    plan = {"steps": 6, "evaluate_every": 6}
    tuned = tune(model, **plan)
    assert not model.training
    assert same_state(snapshot(model), tuned.state)


# --- determinism ----------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_two_runs_are_identical_bit_for_bit(optimizer):
    runs = []
    for disturbance in (0, 99):
        torch.manual_seed(disturbance)
        model = Noisy()  # Mlp seeds its parameters itself; dropout draws from the schedule's seed
        torch.manual_seed(disturbance)
        runs.append(tune(model, optimizer=optimizer, steps=12))
    assert runs[0].trace == runs[1].trace
    assert same_state(runs[0].state, runs[1].state)


def test_another_seed_takes_another_path():
    first, second = (tune(Mlp(), seed=seed) for seed in (13, 21))
    assert not same_state(first.state, second.state)


def test_snapshot_is_a_copy():
    model = prompt_model("roberta")
    taken = snapshot(model)
    before = {name: tensor.clone() for name, tensor in taken.items()}
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    assert same_state(taken, before)
    assert not any(tensor.requires_grad for tensor in taken.values())
    model.load_state_dict(taken)
    assert same_state(snapshot(model), before)


# --- search ---------------------------------------------------------------------------------


def test_search_leaves_the_best_point_in_the_model():
    points = [schedule(learning_rate=rate, steps=20) for rate in (1e-6, 0.5, 1e-4)]
    model = Mlp()
    found = find(model, *points, dev=TRAIN)
    scores = [(row["dev_score"], -row["dev_loss"]) for row in found.table]
    assert found.best.schedule == points[scores.index(max(scores))] == points[1]
    assert same_state(snapshot(model), found.best.state)
    assert not model.training
    assert evaluate(model, TRAIN, "accuracy") == (found.best.dev_score, found.best.dev_loss)
    assert [row["learning_rate"] for row in found.table] == [1e-6, 0.5, 1e-4]
    assert [row["batch_size"] for row in found.table] == [4] * 3
    assert [row["note"] for row in found.table] == [""] * 3
    assert [tuned.schedule for tuned in found.traces] == points


def test_equal_scores_are_decided_by_the_loss(monkeypatch):
    evaluations = iter([(75.0, 0.9), (75.0, 0.7), (75.0, 0.8), (60.0, 0.1)])
    monkeypatch.setattr(training, "evaluate", lambda *_: next(evaluations))
    points = [schedule(learning_rate=rate, steps=1) for rate in (0.1, 0.2, 0.3, 0.4)]
    assert find(Mlp(), *points).best.schedule == points[1]


def test_every_point_starts_from_the_same_parameters():
    points = [
        schedule(learning_rate=0.5),
        schedule(learning_rate=1e30, steps=20),
        schedule(learning_rate=0.2, batch_size=2),
        schedule(optimizer="adam", learning_rate=0.01),
    ]
    start = Linear()
    found = find(copy.deepcopy(start), *points)
    alone = [
        fine_tune(copy.deepcopy(start), TRAIN, DEV, point, progress=False)
        for point in points
        if point.learning_rate < 1
    ]
    assert len(found.traces) == len(alone) == 3
    for tuned, expected in zip(found.traces, alone, strict=True):
        assert tuned.trace == expected.trace
        assert same_state(tuned.state, expected.state)


class Explosive(Mlp):
    """Infinite outputs once its parameters have moved beyond a point."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits + (torch.inf if float(self.second.bias.detach().abs().max()) > 5 else 0.0)


GOOD = schedule(learning_rate=0.01)
DIVERGING = {
    "rate": (Linear, schedule(learning_rate=1e30, steps=20)),
    "rate, with adam": (Linear, schedule(optimizer="adam", learning_rate=1e30, steps=20)),
    "infinite logits": (Explosive, schedule(learning_rate=50.0, steps=20)),
    # The last step makes the parameters worthless, and no training loss tells.
    "last step": (Linear, schedule(learning_rate=1e30, steps=1, evaluate_every=1)),
    "infinite logits at the last step": (Explosive, schedule(learning_rate=50.0, steps=1)),
}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("model", "point"), DIVERGING.values(), ids=DIVERGING)
def test_diverging_point_is_recorded_and_not_chosen(model, point, first):
    network = model()
    found = find(network, *([point, GOOD] if first else [GOOD, point]))
    diverged, good = found.table if first else found.table[::-1]
    assert diverged["learning_rate"] == point.learning_rate
    assert diverged["dev_score"] is None
    assert diverged["dev_loss"] is None
    assert "not finite" in diverged["note"]
    assert good["note"] == ""
    assert found.best.schedule == GOOD
    assert [tuned.schedule for tuned in found.traces] == [GOOD]
    assert same_state(snapshot(network), found.best.state)
    assert all(bool(p.isfinite().all()) for p in network.parameters())


def test_divergence_names_the_step_and_the_samples():
    with pytest.raises(
        NonFiniteError, match=r"the loss at step \d+ \(samples \[.*\]; sgd"
    ) as caught:
        tune(Linear(), learning_rate=1e30, steps=20)
    assert "1e+30" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nan_in_a_sample_is_named():
    train = samples(4, seed=1)
    train.batch["x"][2, 0] = float("nan")
    with pytest.raises(NonFiniteError, match=r"samples \[2\]"):
        tune(Mlp(), train=train, batch_size=1, steps=4)


def test_all_points_diverged_is_refused():
    with pytest.raises(NonFiniteError, match="every point of the grid diverged"):
        find(Linear(), *(schedule(learning_rate=rate, steps=20) for rate in (1e30, 1e35)))


def test_empty_grid_is_refused():
    with pytest.raises(InputError, match="empty"):
        find(Mlp())


def test_a_grid_has_a_schedule_for_every_point():
    grid = load_grid("quick")
    points = grid_schedules(grid, "adam", 10, 3)
    assert [(p.learning_rate, p.batch_size) for p in points] == [
        (rate, size)
        for rate in grid.of_method("adam").learning_rate
        for size in grid.of_method("adam").batch_size
    ]
    assert {(p.optimizer, p.steps, p.evaluate_every, p.seed) for p in points} == {
        ("adam", 10 * grid.steps, 10 * grid.evaluate_every, 3)
    }
    (one,) = grid_schedules(grid, "sgd", 10, 3, learning_rate=(0.5,), batch_size=(7,))
    assert (one.learning_rate, one.batch_size) == (0.5, 7)


def test_a_grid_has_points_of_its_own_for_lora():
    grid = load_grid("malladi")
    points = grid_schedules(grid, "adam", 10, 3, adaptation="lora")
    assert {p.learning_rate for p in points} == set(grid.of_method("adam-lora").learning_rate)
    assert {p.optimizer for p in points} == {"adam"}


def test_a_method_that_the_grid_lacks_is_refused():
    with pytest.raises(InputError, match="unknown fine-tuning method in the grid 'signgd-lora'"):
        grid_schedules(load_grid("quick"), "signgd", 10, 3, adaptation="lora")


def test_signgd_moves_every_entry_by_the_rate():
    model = Mlp()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = make_optimizer(model, "signgd", 0.25)
    model(**TRAIN.batch).square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    optimizer.step()
    for name, p in model.named_parameters():
        assert torch.equal(p.detach(), before[name] - 0.25 * gradients[name].sign())


def test_signgd_leaves_what_has_no_gradient():
    model = Mlp()
    optimizer = make_optimizer(model, "signgd", 0.25)
    before = snapshot(model)
    optimizer.step()
    assert same_state(before, snapshot(model))


class FiniteLossWithoutGradient(Mlp):
    """Its loss is finite and its gradient is not: the square root at zero, times zero."""

    def forward(self, x):
        logits = super().forward(x)
        return logits + 0 * (logits - logits.detach()).abs().sqrt()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "signgd"])
def test_a_gradient_that_is_not_finite_is_refused(optimizer):
    with pytest.raises(NonFiniteError, match=r"the gradient at step 1 .*is not finite"):
        tune(FiniteLossWithoutGradient(), optimizer=optimizer)
