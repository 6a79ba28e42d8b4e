"""The paper's claims and properties on made-up numbers whose verdicts are known."""

from __future__ import annotations

import math

import pytest
from scipy.stats import ttest_rel

from made_up_study import MadeUpStudy
from tangentlm.figures import claim_panels
from tangentlm.malladi.claims import (
    CLAIMS,
    LEARNS,
    claims_in_short,
    judge_claims,
    points_ahead,
    where_it_learns,
)
from tangentlm.malladi.measurements import measurements
from tangentlm.malladi.properties import (
    MALLADI,
    MALLADI_V1,
    Thresholds,
    behavior_claims,
    by_task,
    properties,
    table_1,
    tasks_with_kernel_behavior,
)

NOISE = (-0.4, 0.1, 0.3, -0.2, 0.2)


def around(mean, noise=NOISE):
    return [mean + e for e in noise]


@pytest.fixture
def study(tmp_path, monkeypatch):
    made_up = MadeUpStudy(tmp_path)
    monkeypatch.setenv("TANGENTLM_ROOT", str(tmp_path))
    return made_up


def of(name, **same):
    found = judge_claims(measurements("pocket"))
    found = found[found["claim"] == name]
    for column, value in same.items():
        found = found[found[column] == value]
    assert len(found) == 1
    return found.iloc[0]


def test_nothing_run_leaves_every_claim_open(study):
    found = judge_claims(measurements("pocket"))
    assert found["claim"].tolist() == [claim.name for claim in CLAIMS]
    assert set(found["verdict"]) == {"not run"}
    assert (claims_in_short(found)["not run"] == 1).all()


@pytest.mark.parametrize(
    ("adam", "expected"), [(81.0, "holds"), (90.0, "fails"), (84.0, "undecided")]
)
def test_sgd_against_adam(study, adam, expected):
    study.add("finetune", "sgd", around(80.0))
    study.add("finetune", "adam", around(adam, (0.5, -0.5, 0.3, 0.1, -0.4)))
    found = of("SGD is as good as Adam")
    assert found["verdict"] == expected
    assert found["splits"] == 5
    assert found["value"] == pytest.approx(80.0 - adam)


def test_the_interval_is_that_of_a_paired_t_test(study):
    sgd, adam = around(80.0), around(78.0, (0.5, -0.5, 0.3, 0.1, -0.4))
    study.add("finetune", "sgd", sgd)
    study.add("finetune", "adam", adam)
    found = of("SGD is as good as Adam")
    expected = ttest_rel(sgd, adam).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("standard_kernel", "expected"), [(60.0, "holds"), (79.0, "fails")])
def test_prompting_is_needed(study, standard_kernel, expected):
    study.add("finetune", "sgd", around(85.0))
    study.add("kernel", "sgd", around(80.0))
    study.add("finetune", "sgd", around(80.0), head="linear")
    study.add("kernel", "sgd", around(standard_kernel), head="linear")
    study.add("finetune", "sgd", around(85.0), task="trec")  # the paper does not say it of TREC
    study.add("kernel", "sgd", around(80.0), task="trec")
    study.add("finetune", "sgd", around(80.0), task="trec", head="linear")
    study.add("kernel", "sgd", around(79.0), task="trec", head="linear")
    assert of("prompting is needed")["verdict"] == expected


@pytest.mark.parametrize(("kernel", "expected"), [(80.0, "holds"), (70.0, "fails")])
def test_the_kernel_solves_the_task(study, kernel, expected):
    study.add("finetune", "sgd", around(85.0))
    study.add("kernel", "sgd", around(kernel))
    assert of("K-SGD solves the task")["verdict"] == expected
    assert of("K-A-SignGD solves the task")["verdict"] == "not run"


@pytest.mark.parametrize(
    ("zero_shot", "most_frequent", "expected", "value"),
    [
        (55.0, 60.0, "holds", 20.0), (79.9, 60.0, "undecided", 0.1), (55.0, 81.0, "fails", -1.0),
        (81.0, 60.0, "fails", -1.0), (55.0, math.nan, "holds", 25.0),
    ],
)  # fmt: skip
def test_fine_tuning_learns_the_task(study, zero_shot, most_frequent, expected, value):
    study.add("finetune", "sgd", around(80.0), zero_shot=zero_shot)
    study.add("kernel", "sgd", around(80.0), zero_shot=zero_shot)
    study.count(sst2=most_frequent, mr=99.0)
    found = of(LEARNS)
    assert found["verdict"] == expected
    assert found["value"] == pytest.approx(value)


def test_learning_is_judged_by_accuracy_whatever_the_metric(study):
    more = {"metric": "f1", "zero_shot_accuracy": 40.0, "test_accuracy": 70.0, "task": "mrpc"}
    study.add("finetune", "sgd", around(90.0), zero_shot=10.0, **more)
    study.add("kernel", "sgd", around(90.0), zero_shot=10.0, **more)
    study.count(mrpc=68.0)
    assert of(LEARNS)["value"] == pytest.approx(2.0)


def test_claims_where_fine_tuning_learns(study):
    for task, score in {"sst2": 80.0, "mr": 55.0}.items():
        for experiment in ("finetune", "kernel"):
            study.add(experiment, "sgd", around(score), task=task)
    found = where_it_learns(judge_claims(measurements("pocket")))
    assert set(found["claim"]) == {LEARNS, "K-SGD solves the task"}
    assert set(found["task"]) == {"SST-2"}
    assert where_it_learns(judge_claims(measurements("quick"))).empty


def test_tasks_keep_the_order_of_the_study(study):
    for method in ("sgd", "adam"):
        for task in ("sst2", "mr", "agnews"):
            if (method, task) != ("adam", "sst2"):  # what only one method has sorts the rest
                study.add("finetune", method, around(80.0), task=task)
    found = judge_claims(measurements("pocket"))
    found = found[found["claim"] == "SGD is as good as Adam"]
    assert found["task"].tolist() == ["MR", "AG News"]


def test_claims_are_drawn_on_the_ground_where_they_hold(study):
    study.add("finetune", "sgd", around(80.0))
    study.add("finetune", "adam", around(90.0))
    study.add("kernel", "sgd", around(85.0))
    figure = claim_panels(judge_claims(measurements("pocket")), "points")
    assert [axes.get_title() for axes in figure.axes] == [
        LEARNS, "K-SGD solves the task", "SGD is as good as Adam",
    ]  # fmt: skip
    panels = figure.axes[1:]
    solves, as_good = (axes.patches[0].get_extents() for axes in panels)
    points = [axes.transData.transform((0, value)) for axes, value in zip(
        panels, (85.0 - 0.9 * 80.0, -10.0), strict=True
    )]  # fmt: skip
    assert solves.y0 <= points[0][1] <= solves.y1
    assert not as_good.y0 <= points[1][1] <= as_good.y1


def test_null_prompts_are_about_sentiment(study):
    for task in ("sst2", "qnli"):
        for prompt, kernel in (("manual", 79.0), ("null", 70.0)):
            study.add("finetune", "sgd", around(80.0), task=task, prompt=prompt)
            study.add("kernel", "sgd", around(kernel), task=task, prompt=prompt)
    found = of("null prompts lose the kernel")
    assert (found["task"], found["verdict"]) == ("SST-2", "holds")


def test_splits_that_only_one_method_has_do_not_count(study):
    study.add("finetune", "sgd", around(80.0))
    study.add("finetune", "adam", around(80.0)[:3])
    table = points_ahead(measurements("pocket"), "SGD-FT", "Adam-FT")
    assert table["seed"].tolist() == [13, 21, 42]
    study.add("finetune", "sgd", [1.0], k=64)
    assert len(points_ahead(measurements("pocket"), "SGD-FT", "Adam-FT")) == 3


def test_f1_is_compared_with_f1(study):
    for method, f1, accuracy in (("sgd", 60.0, 90.0), ("adam", 50.0, 20.0)):
        study.add(
            "finetune", method, [f1] * 3, task="mrpc", metric="f1", test_accuracy=accuracy,
            linearized_accuracy=accuracy,
        )  # fmt: skip
    values = points_ahead(measurements("pocket"), "SGD-FT", "Adam-FT")["value"]
    assert values.tolist() == [10.0] * 3


# --- Table 1 --------------------------------------------------------------------------------


def kernel_like(
    study, *, kernel=80.0, linear=75.0, tuned=85.0, distances=(0.5, 0.5, 1.5, 1.5, 2.5)
):
    study.add("kernel", "sgd", [kernel] * 5)
    study.add("finetune", "sgd", [tuned] * 5, linearized_test=linear, distances=distances)
    return properties(measurements("pocket"), MALLADI), properties(
        measurements("pocket"), MALLADI_V1
    )


def test_properties_follow_their_thresholds(study):
    malladi, first = kernel_like(study)
    assert malladi["solves"].all()
    assert not first["solves"].any()  # 80 of 85 is 94 %
    assert malladi["linearization"].all()  # 20 of 30 points
    assert malladi["fixed_features"].tolist() == [True, True, True, True, False]
    assert first["fixed_features"].tolist() == [True, True, False, False, False]
    assert malladi["kernel_behavior"].tolist() == [True, True, True, True, False]
    assert not first["kernel_behavior"].any()


def test_where_nothing_was_gained_nothing_is_recovered(study):
    malladi, _ = kernel_like(study, tuned=50.0, kernel=50.0, linear=50.0)
    assert malladi["linearization"].isna().all()
    # Where the kernel moved too far there is none, whatever the Taylor model does.
    assert malladi["kernel_behavior"].isna().tolist() == [True, True, True, True, False]
    assert malladi["kernel_behavior"].tolist()[4] is False


def test_only_runs_with_the_manual_prompt_count(study):
    study.add("finetune", "sgd", [1.0] * 5, head="linear", distances=[9.0] * 5)
    study.add("finetune", "sgd", [1.0] * 5, prompt="null", distances=[9.0] * 5)
    malladi, _ = kernel_like(study)
    assert malladi["fixed_features"].tolist() == [True, True, True, True, False]


def test_linearization_is_judged_by_accuracy(study):
    study.add("kernel", "sgd", [60.0] * 5, task="mrpc", metric="f1", zero_shot=81.0,
              zero_shot_accuracy=68.0)  # fmt: skip
    study.add(
        "finetune", "sgd", [75.0] * 5, task="mrpc", metric="f1", test_accuracy=70.0,
        linearized_test=10.0, linearized_accuracy=69.5,
    )  # fmt: skip
    assert properties(measurements("pocket"))["linearization"].all()


def test_adam_is_judged_by_the_sign_kernel_and_the_derived_one_stands_beside(study):
    study.add("finetune", "adam", [90.0] * 3)
    study.add("kernel", "signgd", [82.0, 80.0, 82.0])
    study.add("kernel", "asymmetric-signgd", [21.0, 82.0, 21.0])
    found = properties(measurements("pocket"))
    adam = found[found["optimizer"] == "Adam"]
    assert adam["solves"].tolist() == [True, False, True]
    assert adam["derived_solves"].tolist() == [False, True, False]


def test_along_adam_the_versions_look_at_other_kernels(study):
    study.add("finetune", "adam", [85.0] * 5, distances=[0.5] * 5)  # of the SGD kernel
    found = properties(measurements("pocket"), Thresholds(adam_kernel="K-SGD"))
    assert found["fixed_features"].all()
    assert properties(measurements("pocket"))["fixed_features"].isna().all()
    assert MALLADI_V1.adam_kernel == "K-SGD"


def test_table_1_counts_splits_beside_the_paper_s(study):
    malladi, _ = kernel_like(study)
    table = table_1(malladi)
    assert len(table) == 224
    ours = table[(table["optimizer"] == "SGD") & (table["k"] == 16) & (table["task"] == "SST-2")]
    counts = ours.set_index("property")
    assert counts["ours"].to_dict() == {
        "eNTK solves task": 5, "Linearization": 5, "Fixed Features": 4, "Kernel behavior": 4,
    }  # fmt: skip
    assert (counts["splits"] == 5).all()
    assert counts.loc["eNTK solves task", "paper"] == 5
    assert table["ours"].notna().sum() == 4


def test_table_1_as_the_paper_prints_it(study):
    malladi, _ = kernel_like(study)
    wide = by_task(table_1(malladi), "SGD").set_index("task")
    assert wide.shape == (14, 8)
    assert wide.index[0] == "SST-2"
    assert wide.loc["SST-2", "fixed, k = 16"] == "4 of 5 (5)"
    assert wide.loc["SST-2", "fixed, k = 64"] == "(5)"


def test_table_1_without_runs_is_the_paper_s(study):
    table = table_1(properties(measurements("pocket")))
    assert len(table) == 224
    assert table["ours"].isna().all()


def test_what_most_splits_show_is_shown(study):
    for k in (16, 64, 512):  # the last of them is not in Table 1
        study.add("kernel", "sgd", [80.0 if k < 512 else 0.0] * 5, k=k)
        moved = [0.5] * 4 + [9.0 if k == 16 else 0.5]
        study.add("finetune", "sgd", [85.0] * 5, k=k, linearized_test=75.0, distances=moved)
        study.add("kernel", "sgd", [20.0] * 5, k=k, task="trec")
        study.add("finetune", "sgd", [85.0] * 5, k=k, task="trec", distances=[0.5] * 5)
    found = behavior_claims(properties(measurements("pocket")))
    assert len(found) == 2 * 13 + 2
    run = found[found["splits"] > 0].set_index("task")
    assert run["verdict"].to_dict() == {"SST-2": "holds", "TREC": "holds"}
    assert run["share"].to_dict() == {"SST-2": 0.9, "TREC": 0.0}
    assert (run["splits"] == 10).all()
    assert set(found[found["splits"] == 0]["verdict"]) == {"not run"}
    counts = tasks_with_kernel_behavior(properties(measurements("pocket"))).set_index("optimizer")
    assert counts.loc["SGD"].to_dict() == {"run": 2, "shows": 1, "does not": 1, "undecided": 0}
    assert counts.loc["Adam", "run"] == 0


def test_few_splits_do_not_decide_what_a_task_shows(study):
    study.add("kernel", "sgd", [80.0] * 3)
    study.add("finetune", "sgd", [85.0] * 3, linearized_test=75.0, distances=[0.5] * 3)
    found = behavior_claims(properties(measurements("pocket")))
    (run,) = found[found["splits"] > 0].to_dict("records")
    assert (run["share"], run["verdict"]) == (1.0, "undecided")
    assert run["low"] == pytest.approx(0.4385, abs=1e-3)  # Wilson, by hand
