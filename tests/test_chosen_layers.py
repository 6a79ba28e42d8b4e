"""Runs on chosen layers: parameters, rows, identity, and a model with some of its adapters on."""

import pytest
import torch

from tangentlm.anticipate.problem import load_problem, subset_name
from tangentlm.errors import InputError
from tangentlm.finetune.loop import Schedule, fine_tune
from tangentlm.models.logits import logits_of
from tangentlm.params import LayerTrainingRun, make_run
from tangentlm.studies.identity import identity
from tangentlm.tasks import load_task, read_part
from tangentlm.tasks.pools import draw_two_parts

SMALL = {"task": "reviews", "model": "pocket-xs", "train_size": 8, "test_size": 6}


@pytest.fixture(scope="module")
def problem():
    return load_problem(LayerTrainingRun(**SMALL, device="cpu"))


@pytest.fixture(scope="module")
def with_head():
    return load_problem(LayerTrainingRun(**SMALL, head="classification", device="cpu"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 12}, "multiple of 8"),
        ({"choices": "threess"}, "choices"),
        ({"task": "review"}, "reviews"),
        ({"model": "poket"}, "pocket"),
        ({"train_size": 1}, "train_size"),
    ],
)
def test_wrong_parameters_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        make_run("layer_training", {"task": "reviews", **values})


def test_a_run_is_named_for_people():
    run = LayerTrainingRun(task="cola", model="minilm", choices="threes", head="classification")
    assert run.name == "minilm-cola-s13-threes-classification-lr0.004"


def test_no_row_is_both_trained_on_and_tested_on():
    task = load_task("reviews")
    train, test = draw_two_parts(task, 40, 1000, seed=0)
    assert len(train) == 40
    assert len(test) == len({r.text_a for r in read_part(task, "train")}) - 40
    assert not {row.text_a for row in train} & {row.text_a for row in test}
    assert (train, test) == draw_two_parts(task, 40, 1000, seed=0)
    assert train != draw_two_parts(task, 40, 1000, seed=1)[0]
    with pytest.raises(InputError, match="none is left to test on"):
        draw_two_parts(task, 280, 1, seed=0)


def test_the_identity_knows_rows_model_and_prompt():
    run = LayerTrainingRun(**SMALL)
    own = identity(run)

    def other(**changes):
        return identity(run.model_copy(update=changes))

    assert other(data=None, out="x") == own
    assert other(seed=14).data != own.data
    assert other(test_size=7).data != own.data
    assert other(model="pocket").model != own.model
    assert other(max_length=16).parameters != own.parameters
    task = load_task("reviews")
    assert other(max_length=task.max_length) == own
    # A classification head reads no prompt, so another prompt is no other run.
    assert other(head="classification").parameters != own.parameters


def test_subsets_are_all_that_there_are(problem):
    assert problem.depth == 4
    assert [subset_name(s) for s in problem.subsets("threes")] == [
        "0+1+2", "0+1+3", "0+2+3", "1+2+3",
    ]  # fmt: skip
    assert problem.subsets("all") == [(0, 1, 2, 3)]
    every = problem.subsets("every")
    assert len(every) == len(set(every)) == 15
    assert [len(s) for s in every] == sorted(len(s) for s in every)
    with pytest.raises(InputError, match="threes"):
        problem.subsets("three")


@pytest.mark.parametrize("which", ["problem", "with_head"])
def test_only_chosen_layers_are_trained_and_all_is_as_before_afterwards(which, request):
    problem = request.getfixturevalue(which)
    before = logits_of(problem.model, problem.train.batch)
    state = {name: value.clone() for name, value in problem.model.state_dict().items()}
    schedule = Schedule("adam", 0.01, batch_size=4, steps=8, evaluate_every=8, seed=0)
    with problem.chosen((0, 2)) as network:
        trained = {name for name, p in network.named_parameters() if p.requires_grad}
        tuned = fine_tune(network, problem.train, problem.train, schedule, progress=False)
        moved = {n for n, v in network.state_dict().items() if not torch.equal(v, state[n])}
        after = logits_of(network, problem.train.batch)
    head = {name for name in trained if name.startswith("classifier.")}
    assert len(head) == (4 if which == "with_head" else 0)
    adapters = trained - head
    assert {".0." in name or ".2." in name for name in adapters} == {True}
    assert len(adapters) == 2 * 2 * 2  # two layers, two projections, A and B
    assert moved == trained
    assert len(tuned.batch_losses) == 8
    assert not torch.allclose(before, after)
    assert torch.equal(logits_of(problem.model, problem.train.batch), before)
    assert all(torch.equal(v, state[n]) for n, v in problem.model.state_dict().items())


def test_the_control_trains_the_head_alone(with_head):
    with with_head.chosen(()) as network:
        trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in trained} == {"classifier"}


def test_switching_layers_off_is_lora_on_the_others(problem):
    """A step of the model with two layers chosen is that of PEFT's model with adapters on these."""
    from tangentlm.finetune.chosen_lora import with_lora
    from tangentlm.models.heads import load_model
    from tangentlm.models.projections import split_projections

    schedule = Schedule("sgd", 0.1, batch_size=4, steps=2, evaluate_every=2, seed=0, clip=None)
    with problem.chosen((1, 3)) as network:
        fine_tune(network, problem.train, problem.train, schedule, progress=False)
        chosen = logits_of(network, problem.test.batch)
    names = problem.names((1, 3))
    A = {name: problem.start[f"{name}.lora_A.default.weight"] for name in names}
    alone = split_projections(load_model("pocket-xs", problem.task))
    with_lora(alone, A, alpha=8.0)
    fine_tune(alone, problem.train, problem.train, schedule, progress=False)
    assert torch.allclose(chosen, logits_of(alone, problem.test.batch), atol=1e-6)
