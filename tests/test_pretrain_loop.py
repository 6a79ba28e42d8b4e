"""The training loop of pre-training: loss, schedule, budgets, and going on after a kill."""

from __future__ import annotations

import functools
import json
import multiprocessing
import signal
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tangentlm.errors import InputError, NonFiniteError
from tangentlm.pretrain import (
    PackedRows,
    held_out_loss,
    loop,
    masked_logits,
    parameter_groups,
    pretrain,
    rate_factor,
)
from tangentlm.pretrain.checkpoint import CHECKPOINT, TrainingState
from tangentlm.pretrain.loop import MAX_GRADIENT_NORM, budget_used, has_bfloat16, loss_of
from tangentlm.pretrain.packed_rows import unigram_loss
from tiny import ARCHITECTURES, tiny_masked_lm, tiny_tokenizer
from toy_text import (
    SETTINGS,
    SLOW_STEP,
    encoded,
    fresh,
    packed,
    sentences,
    timeless,
    tiny_recipe,
    tokenizer_of,
    train,
    work,
)

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _float32(monkeypatch):
    """The same numbers on every machine."""
    monkeypatch.setattr(loop, "has_bfloat16", lambda _device: False)


@pytest.fixture
def often(monkeypatch):
    """The held-out loss at every second point of the curve."""
    monkeypatch.setattr(loop, "HELD_OUT_EVERY", 2)


@pytest.fixture
def clock(monkeypatch):
    """A clock on which a second passes whenever somebody looks at it."""
    seconds = iter(range(10**6))
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: float(next(seconds))))


def at_step(monkeypatch, act):
    """Have ``act(optimizer, step)`` called before every step of AdamW, step from 0."""
    step, count = torch.optim.AdamW.step, [0]

    def acted(optimizer, *args, **options):
        count[0] += 1
        act(optimizer, count[0] - 1)
        return step(optimizer, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", acted)


def parameters_of(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


# --- logits and losses ----------------------------------------------------------------------


def random_batch(vocabulary, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, vocabulary, (4, 12), generator=generator)
    masked = torch.rand(4, 12, generator=generator) < 0.3
    return ids.masked_fill(masked, 4), masked


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_at_masks_are_those_of_the_whole_rows(architecture):
    model = tiny_masked_lm(architecture)
    ids, masked = random_batch(len(tiny_tokenizer()))
    whole = model(input_ids=ids).logits
    logits = masked_logits(model, ids, masked)
    assert logits.shape == (int(masked.sum()), whole.shape[-1])
    torch.testing.assert_close(logits, whole[masked], rtol=1e-5, atol=1e-5)
    gradients = []
    for some in (logits, whole[masked]):
        model.zero_grad()
        some.logsumexp(dim=1).sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_at_masks_of_padded_rows_are_those_of_the_rows_alone(architecture):
    model = tiny_masked_lm(architecture)
    ids, masked = random_batch(len(tiny_tokenizer()))
    attention_mask = torch.ones_like(ids)
    lengths = (12, 9, 5, 12)
    for row, length in enumerate(lengths):
        ids[row, length:], masked[row, length:], attention_mask[row, length:] = 1, False, 0
    padded = masked_logits(model, ids, masked, attention_mask)
    alone = [
        model(input_ids=ids[row : row + 1, :length]).logits[masked[row : row + 1, :length]]
        for row, length in enumerate(lengths)
    ]
    torch.testing.assert_close(padded, torch.cat(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["modernbert", "roberta", "bert"])
def test_logits_at_masks_of_a_fresh_model(architecture):
    model = fresh(tiny_recipe(architecture)).eval()
    batch = packed().batch(0, 4, 0.2)
    whole = model(input_ids=batch.input_ids).logits
    logits = masked_logits(model, batch.input_ids, batch.masked)
    torch.testing.assert_close(logits, whole[batch.masked], rtol=1e-5, atol=1e-6)


def test_a_model_gives_whole_logits_again_even_after_an_error():
    model = tiny_masked_lm("bert")
    ids, masked = random_batch(len(tiny_tokenizer()))
    masked_logits(model, ids, masked)
    with pytest.raises(IndexError):
        masked_logits(model, ids, masked[:, :3])
    assert model(input_ids=ids).logits.shape[:2] == ids.shape


def test_loss_is_the_mean_cross_entropy_at_the_masks():
    model = fresh(tiny_recipe()).eval()
    batch = packed().batch(0, 4, 0.2)
    logits = model(input_ids=batch.input_ids).logits.detach().double()
    rows, places = batch.masked.nonzero(as_tuple=True)
    surprises = [
        -logits[row, place].log_softmax(dim=0)[target]
        for row, place, target in zip(rows, places, batch.targets, strict=True)
    ]
    expected = float(sum(surprises)) / len(surprises)
    assert float(loss_of(model, batch, CPU).detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("count", "most", "batches"), [(200, 3, 3), (60, 32, None), (1, 32, 1)])
def test_held_out_loss_is_over_the_first_batches(monkeypatch, count, most, batches):
    monkeypatch.setattr(loop, "HELD_OUT_BATCHES", most)
    model, recipe = fresh(tiny_recipe("bert")), tiny_recipe("bert")
    rows = packed(["the old dog saw the red house. my cat found some bread."] * count)
    if batches is None:
        batches = rows.count // recipe.batch_size
        assert 1 < batches < most
    losses, right = [], []
    model.eval()
    with torch.no_grad():
        for number in range(batches):
            batch = rows.batch(number, 4, 0.2)
            log_p = model(input_ids=batch.input_ids).logits[batch.masked].log_softmax(dim=1)
            losses += (-log_p[range(len(log_p)), batch.targets]).tolist()
            right += (log_p.argmax(dim=1) == batch.targets).tolist()
    model.train()
    for _ in range(2):  # the same masks every time, and no dropout
        loss, accuracy = held_out_loss(model, rows, recipe, CPU)
        assert loss == pytest.approx(np.mean(losses), rel=1e-5)
        assert accuracy == pytest.approx(np.mean(right), abs=1e-12)
    assert model.training


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"amx_bf16": True}, True),
        ({"avx2": True, "avx512_bf16": False}, False),
        ({}, False),
    ],
)
def test_products_are_in_bfloat16_where_the_processor_has_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_bfloat16(CPU) is expected
    monkeypatch.setattr(loop, "has_bfloat16", has_bfloat16)
    one = torch.ones(2, 2)
    with loop.autocast(CPU):
        assert (one @ one).dtype == (torch.bfloat16 if expected else torch.float32)


# --- schedule and budget --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("warmup", "decay", "used", "expected"),
    [
        (0.1, 0.5, 0.0, 0.0),
        (0.1, 0.5, 0.05, 0.5),
        (0.1, 0.5, 0.1, 1.0),
        (0.1, 0.5, 0.3, 1.0),
        (0.1, 0.5, 0.5, 1.0),
        (0.1, 0.5, 0.75, 0.5),
        (0.1, 0.5, 0.9, 0.2),
        (0.1, 0.5, 1.0, 0.0),
        (0.1, 0.9, 0.1, 1.0),
        (0.1, 0.9, 0.55, 0.5),
        (0.0, 0.5, 0.0, 1.0),
        (0.1, 0.0, 1.0, 1.0),
        (0.0, 0.0, 0.5, 1.0),
        (1.0, 0.0, 0.25, 0.25),
        (0.0, 1.0, 0.25, 0.75),
        (0.1, 0.5, 1.01, 0.0),
    ],
)
def test_rate_rises_stays_and_falls(warmup, decay, used, expected):
    recipe = tiny_recipe(warmup=warmup, decay=decay)
    assert rate_factor(recipe, used) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("budget", "step", "seconds", "used"),
    [
        ({"steps": 200}, 50, 1e9, 0.25),
        ({"steps": 200}, 200, 0.0, 1.0),
        ({"minutes": 2.0}, 10**9, 30.0, 0.25),
        ({"minutes": 0.5}, 3, 45.0, 1.0),
    ],
)
def test_a_budget_is_of_steps_or_of_minutes(budget, step, seconds, used):
    assert budget_used(tiny_recipe(**budget), TrainingState(step, seconds)) == used


@pytest.mark.parametrize("parametrization", ["standard", "mup"])
def test_every_group_follows_the_schedule_from_its_own_peak(monkeypatch, tmp_path, parametrization):
    recipe = tiny_recipe(width=32, steps=10, warmup=0.2, decay=0.5)
    model = fresh(recipe, parametrization)
    groups = parameter_groups(model, recipe, tokenizer_of(), parametrization)
    peaks = [group["lr"] for group in groups]
    assert len(set(peaks)) == (2 if parametrization == "mup" else 1)
    seen = []
    at_step(monkeypatch, lambda o, _: seen.append([g["lr"] for g in o.param_groups]))
    pretrain(model, groups, packed(), packed(), recipe, tmp_path, progress=False)
    shape = [0, 0.5, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]
    np.testing.assert_allclose(seen, np.outer(shape, peaks), rtol=1e-12)


def test_steps_end_a_training(tmp_path):
    model, trained = train(tiny_recipe(steps=7), tmp_path)
    assert trained.state.step == 7
    assert trained.state.seconds > 0
    assert not model.training
    expected = held_out_loss(model, packed(sentences(20, seed=9)), tiny_recipe(), CPU)
    assert (trained.held_out_loss, trained.held_out_accuracy) == expected


def test_a_model_is_trained_in_training_mode_however_it_came(often, monkeypatch, tmp_path):
    recipe = tiny_recipe("bert", steps=4)
    model, modes = fresh(recipe).eval(), []
    at_step(monkeypatch, lambda *_: modes.append(model.training))
    groups = parameter_groups(model, recipe, tokenizer_of(), "standard")
    trained = pretrain(model, groups, packed(), packed(), recipe, tmp_path, progress=False)
    assert modes == [True] * 4
    assert "held_out_loss" in trained.state.curve[1]  # which is measured without dropout
    assert not model.training


def test_minutes_end_a_training_and_set_its_rates(clock, monkeypatch, tmp_path):
    rates = []
    at_step(monkeypatch, lambda o, _: rates.append(o.param_groups[0]["lr"]))
    recipe = tiny_recipe(minutes=0.5, warmup=0.0, decay=1.0)
    _, trained = train(recipe, tmp_path)
    assert 30 <= trained.state.seconds < 35
    assert 5 <= trained.state.step <= 30
    used = np.array(rates) / recipe.learning_rate
    np.testing.assert_allclose(np.diff(used), used[1] - used[0])  # one line
    assert used[0] == 1
    assert 0 < used[-1] < 0.2


def test_the_seconds_before_a_break_count(clock, monkeypatch, tmp_path):
    recipe = tiny_recipe(minutes=0.5)
    whole = train(recipe, tmp_path / "whole")[1].state
    folder = tmp_path / "broken"
    with monkeypatch.context() as patch:
        at_step(patch, breaking(whole.step // 2))
        with pytest.raises(BrokenError):
            train(recipe, folder)
    before = torch.load(folder / CHECKPOINT)["progress"]
    assert before["step"] == whole.step // 2
    after = train(recipe, folder)[1].state
    assert 30 <= after.seconds < 35
    assert abs(after.step - whole.step) <= 1


# --- what a step does -----------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["modernbert", "roberta"])
def test_a_training_is_that_of_a_plain_loop(often, tmp_path, architecture):
    settings = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    settings = settings if architecture == "roberta" else {}
    recipe = tiny_recipe(architecture, steps=45, warmup=0.3, decay=0.3, weight_decay=0.1)
    recipe = recipe.model_copy(update={"settings": {**recipe.settings, **settings}})
    model, trained = train(recipe, tmp_path)
    plain = fresh(recipe).train()
    matrices = [p for p in plain.parameters() if p.ndim > 1]
    vectors = [p for p in plain.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
        foreach=False,
    )
    rows, losses = packed(), []
    for step in range(45):
        factor = min(step / 45 / 0.3, (1 - step / 45) / 0.3, 1)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * factor
        batch = rows.batch(step, 4, 0.2)
        logits = plain(input_ids=batch.input_ids).logits
        targets = torch.full_like(batch.input_ids, -100)
        targets[batch.masked] = batch.targets
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    before, after = fresh(recipe).state_dict(), plain.state_dict()
    torch.testing.assert_close(model.state_dict(), after, rtol=1e-3, atol=1e-5)
    assert max(float((after[name] - before[name]).abs().max()) for name in before) > 1e-3
    curve = trained.state.curve
    ends = list(range(2, 45, 2))  # a twentieth of the budget is two steps
    assert [point["step"] for point in curve] == ends
    assert [point["tokens"] for point in curve] == [64 * end for end in ends]
    means = [np.mean(losses[end - 2 : end]) for end in ends]
    np.testing.assert_allclose([point["loss"] for point in curve], means, rtol=1e-3)
    rates = [3e-3 * min((end - 1) / 45 / 0.3, (46 - end) / 45 / 0.3, 1) for end in ends]
    np.testing.assert_allclose([point["learning_rate"] for point in curve], rates, rtol=1e-9)
    assert ["held_out_loss" in point for point in curve] == [i % 2 == 1 for i in range(22)]
    seconds = [point["seconds"] for point in curve]
    assert 0 < seconds[0] < seconds[-1] <= trained.state.seconds
    assert seconds == sorted(seconds)


def test_gradients_are_clipped(monkeypatch, tmp_path):
    norms = []

    def look(optimizer, _step):
        gradients = [p.grad for p in parameters_of(optimizer)]
        norms.append(float(torch.cat([g.flatten() for g in gradients]).norm()))

    at_step(monkeypatch, look)
    train(tiny_recipe(steps=5), tmp_path)
    assert max(norms) <= MAX_GRADIENT_NORM * (1 + 1e-5)
    assert max(norms) > 0.99  # so some were


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize("step", [1, 4])
def test_a_loss_that_is_not_finite_is_refused_with_its_step(monkeypatch, tmp_path, poison, step):
    model, recipe = fresh(tiny_recipe(steps=9)), tiny_recipe(steps=9)

    def spoil(optimizer, number):
        # The step that comes now multiplies weights, so that they stay what they are set to.
        if number == step - 1:
            model.get_output_embeddings().bias.data.fill_(poison)

    at_step(monkeypatch, spoil)
    groups = parameter_groups(model, recipe, tokenizer_of(), "standard")
    with pytest.raises(NonFiniteError, match=f"loss at step {step} is (nan|inf)"):
        pretrain(model, groups, packed(), packed(), recipe, tmp_path, progress=False)


@pytest.mark.parametrize("progress", [True, False])
def test_progress_is_shown_where_it_is_asked_for(tmp_path, capsys, progress):
    train(tiny_recipe(steps=3), tmp_path, progress=progress)
    captured = capsys.readouterr()
    assert ("3/3" in captured.err) is progress
    assert captured.out == ""


@pytest.mark.parametrize("parametrization", ["standard", "mup"])
def test_loss_falls_far_below_word_frequencies(tmp_path, parametrization):
    tokenizer = tokenizer_of()
    texts = ["the old dog saw the red house and my cat followed her letters"] * 40
    documents = encoded(texts, tokenizer)
    rows = PackedRows(documents, tokenizer, 16, seed=0)
    settings = {**SETTINGS["modernbert"], "initializer_range": 0.15}
    recipe = tiny_recipe(steps=200, width=32, batch_size=16, learning_rate=5e-3, settings=settings)
    model = fresh(recipe, parametrization)
    groups = parameter_groups(model, recipe, tokenizer, parametrization)
    trained = pretrain(model, groups, rows, rows, recipe, tmp_path, progress=False)
    chance = unigram_loss(documents, documents, len(tokenizer))
    losses = [point["loss"] for point in trained.state.curve]
    assert len(losses) == 20
    assert np.mean(losses[-5:]) < np.mean(losses[5:10]) < losses[0]
    assert trained.held_out_loss < 0.5 * chance
    assert trained.held_out_accuracy > 0.7


# --- broken and taken up again --------------------------------------------------------------


class BrokenError(Exception):
    """What stops a training in a test."""


def breaking(step):
    def act(_optimizer, number):
        if number == step:
            raise BrokenError

    return act


def same(one, other):
    """Whether two trainings ended at the same bits, and along the same curve."""
    (model, trained), (model_2, trained_2) = one, other
    states = model.state_dict(), model_2.state_dict()
    return (
        all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        and timeless(trained.state.curve) == timeless(trained_2.state.curve)
        and trained.state.losses == trained_2.state.losses
        and trained.held_out_loss == trained_2.held_out_loss
    )


@functools.cache
def unbroken(architecture, steps):
    with tempfile.TemporaryDirectory() as folder:
        return train(tiny_recipe(architecture, steps=steps), Path(folder))


@pytest.mark.parametrize("architecture", ["modernbert", "bert"])  # bert has dropout
@pytest.mark.parametrize("breaks", [(1,), (4,), (40,), (2, 3, 3), (0, 5, 26)])
def test_a_broken_training_ends_at_the_same_bits(
    often, monkeypatch, tmp_path, architecture, breaks
):
    recipe = tiny_recipe(architecture, steps=41)
    whole = unbroken(architecture, 41)
    assert whole[1].state.step == 41
    assert len(whole[1].state.curve) == 20
    assert len(whole[1].state.losses) == 1  # since the last point
    folder, done = tmp_path / "broken", 0
    for step in breaks:
        torch.manual_seed(99)  # a new process has other random numbers
        with monkeypatch.context() as patch:
            at_step(patch, breaking(step - done))
            with pytest.raises(BrokenError):
                train(recipe, folder)
        done = step
        if step:
            assert torch.load(folder / CHECKPOINT)["progress"]["step"] == step
    assert same(train(recipe, folder), whole)


def test_a_training_goes_on_from_its_last_checkpoint(often, clock, monkeypatch, tmp_path):
    recipe = tiny_recipe("bert")
    asked = []
    batch = PackedRows.batch

    def noted(rows, step, *args):
        asked.append(step)
        return batch(rows, step, *args)

    whole = train(recipe, tmp_path / "whole")
    monkeypatch.setattr(PackedRows, "batch", noted)
    monkeypatch.setattr(loop, "held_out_loss", lambda *_: (1.0, 0.5))
    folder = tmp_path / "broken"
    with monkeypatch.context() as patch:
        at_step(patch, breaking(8))
        with pytest.raises(BrokenError):
            train(recipe, folder, checkpoint_seconds=2.5)
    saved = torch.load(folder / CHECKPOINT)["progress"]["step"]
    assert 0 < saved < 8
    asked.clear()
    model, _ = train(recipe, folder, checkpoint_seconds=2.5)
    assert asked == list(range(saved, 12))
    for name, tensor in whole[0].state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_a_finished_training_is_not_repeated(often, monkeypatch, tmp_path):
    recipe = tiny_recipe()
    first = train(recipe, tmp_path)
    at_step(monkeypatch, lambda *_: pytest.fail("a step was done"))
    assert same(train(recipe, tmp_path), first)


def test_what_was_half_written_does_no_harm(tmp_path):
    recipe = tiny_recipe()
    (tmp_path / f"{CHECKPOINT}.part").write_bytes(b"half")
    assert same(train(recipe, tmp_path), train(recipe, tmp_path / "whole"))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [CHECKPOINT]


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "truncated": truncate,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no checkpoint"),
    "another file of torch": lambda path: torch.save({"model": {}}, path),
    "of no progress": lambda path: torch.save(
        {k: v for k, v in torch.load(path).items() if k != "progress"}, path
    ),
    "of no random numbers": lambda path: torch.save(
        {k: v for k, v in torch.load(path).items() if k != "random"}, path
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused_by_its_name(tmp_path, damage):
    train(tiny_recipe(steps=2), tmp_path)
    DAMAGES[damage](tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match=f"{CHECKPOINT} cannot be taken up .*remove it") as caught:
        train(tiny_recipe(), tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    "other",
    [{"width": 32}, {"depth": 3}, {"architecture": "bert"}, {"feed_forward": 2.0}],
    ids=str,
)
def test_a_checkpoint_of_another_model_is_refused(tmp_path, other):
    train(tiny_recipe(steps=2), tmp_path)
    with pytest.raises(InputError, match=f"{tmp_path}/{CHECKPOINT} cannot be taken up"):
        train(tiny_recipe(**other), tmp_path)


# --- killed ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_training_that_is_killed_ten_times_ends_at_the_same_bits(tmp_path):
    # A fork server imports everything once, so that a process takes no time to start.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["pytest", "tangentlm.pretrain", "transformers.models.bert.modeling_bert"]
    )

    def start(folder, result):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(folder, result, steps, there))
        process.start()
        here.recv()
        return process

    # The sleeps of the steps alone last longer than all ten lives together.
    lives = np.random.default_rng(0).uniform(0.05, 0.5, 10)
    steps = int(1.1 * lives.sum() / SLOW_STEP)
    whole = tmp_path / "whole.json"
    process = start(tmp_path / "whole", whole)
    process.join()
    assert process.exitcode == 0
    folder, result = tmp_path / "killed", tmp_path / "killed.json"
    done = [0]
    for seconds in lives:
        process = start(folder, result)
        time.sleep(seconds)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        if (folder / CHECKPOINT).exists():
            done.append(torch.load(folder / CHECKPOINT)["progress"]["step"])
    assert done == sorted(done)
    assert len(set(done)) >= 4  # at some of the kills it had got further
    assert done[-1] < steps
    process = start(folder, result)
    process.join()
    assert process.exitcode == 0
    outcome = json.loads(result.read_text(encoding="utf-8"))
    assert outcome == json.loads(whole.read_text(encoding="utf-8"))
    assert outcome["step"] == steps
    assert len(outcome["curve"]) == steps // 10
    states = [torch.load(path.with_suffix(".pt")) for path in (whole, result)]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
