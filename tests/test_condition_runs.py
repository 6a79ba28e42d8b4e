"""Runs of the experiment ``condition``: parameters, data, identity."""

import pytest

from tangentlm.afzal.pools import HEAD, load_pool, paper_subsets
from tangentlm.errors import InputError
from tangentlm.finetune.chosen_lora import of_layers
from tangentlm.params import ConditionRun, make_run
from tangentlm.studies.identity import UNKNOWN, identity
from tangentlm.tasks import load_task, read_part
from tangentlm.tasks.pools import draw_rows


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pool": 8, "samples": 9}, "cannot be drawn"),
        ({"layers": (0, 0, 1)}, "ascending"),
        ({"layers": (2, 1, 3)}, "ascending"),
        ({"task": "review"}, "reviews"),
        ({"model": "poket"}, "pocket"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": 0.1, "formula": "signgd"}, "formula = sgd alone"),
        ({"pads": "twice"}, "twice-embedded"),
    ],
)
def test_wrong_parameters_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        make_run("condition", {"task": "reviews", **values})


def test_a_run_is_named_for_people():
    run = ConditionRun(task="cola", model="minilm", pads="attended", formula="signgd")
    assert run.name == "minilm-cola-s13-signgd-attended"
    short = ConditionRun(task="cola", pads="twice-embedded", max_length=64)
    assert short.name == "cola-s13-sgd-twice-embedded-length64"
    assert ConditionRun(task="cola", dropout=0.1).name == "cola-s13-sgd-dropout0.1"


def test_runs_from_before_an_option_are_still_what_they_were():
    run = ConditionRun(task="reviews")
    assert "dropout" not in run.deciding()
    assert run.model_copy(update={"dropout": 0.1}).deciding()["dropout"] == 0.1


def test_rows_are_drawn_without_their_labels():
    task = load_task("reviews")
    rows = draw_rows(task, 20, seed=0)
    assert len({row.text_a for row in rows}) == 20
    assert rows == draw_rows(task, 20, seed=0) != draw_rows(task, 20, seed=1)
    assert set(rows) <= set(read_part(task, "train"))
    with pytest.raises(InputError, match="fewer than"):
        draw_rows(task, 10_000, seed=0)


def test_the_identity_knows_the_rows_and_the_model():
    run = ConditionRun(task="reviews", model="pocket-xs")
    own = identity(run)
    assert identity(run.model_copy(update={"data": None, "out": "x"})) == own
    assert identity(run.model_copy(update={"seed": 14})).data != own.data
    assert identity(run.model_copy(update={"model": "pocket"})).model != own.model
    assert identity(run.model_copy(update={"sigma": 1e-3})).parameters != own.parameters
    assert identity(ConditionRun(task="yelp", model="pocket-xs")).data == UNKNOWN


def test_a_pool_has_the_papers_choices():
    pool = load_pool("reviews", "pocket-xs", size=4, seed=0)
    subsets = paper_subsets(pool, (0, 2, 3))
    assert list(subsets) == ["q+v {0}", "q+v {3}", "q+v {0,3}", "q+v {0,2,3}", "k {0,2,3}"]
    assert [len(names) for names in subsets.values()] == [2, 2, 4, 6, 3]
    kernel = pool.kernel(0, subsets["q+v {0}"], head_in_kernel=True)
    assert set(kernel.groups) == {*subsets["q+v {0}"], HEAD}
    again = pool.kernel(0, subsets["q+v {0}"])
    alone = of_layers(kernel, subsets["q+v {0}"])
    assert abs(again.values - alone).max() < 1e-5 * abs(alone).max()
