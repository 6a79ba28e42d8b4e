"""What records say beside scores: the output derivative, clipped steps, moves of kernels."""

from __future__ import annotations

import pandas as pd
import pytest

from tangentlm.analysis.agreement import paired
from tangentlm.malladi.baselines import against_baselines, baseline_scores, solved_with_less
from tangentlm.malladi.behavior import behavior_by_means
from tangentlm.malladi.measurements import DERIVATIVE, measurements
from tangentlm.malladi.moves import beside_fixed, kernel_moves
from tangentlm.malladi.setup import clipped_steps
from tangentlm.malladi.tables import with_first_run
from tangentlm.malladi.words import claims_in_words

LEARNED = {("SST-2", 16)}


# --- the output derivative over all rows ----------------------------------------------------


def test_the_output_derivative_is_that_over_all_rows_where_there_is_one(study):
    study.add("kernel", "sgd", [70.0] * 5, chi=0.5, chi_rows="scored")
    study.add("kernel", "sgd", [70.0], chi=0.4, chi_rows="all")
    study.add("kernel", "sgd", [70.0] * 2, task="mr", chi=0.3, chi_rows="scored")
    found = measurements("pocket")
    chi = found[found["quantity"] == DERIVATIVE].groupby("task")["value"].apply(list)
    assert chi.to_dict() == {"sst2": [0.4], "mr": [0.3, 0.3]}
    scores = found[(found["task"] == "sst2") & (found["method"] == "K-SGD")]
    assert len(scores) == 5


def test_a_kernel_counts_once_where_its_derivative_was_taken_twice(study):
    rows = {"test": 500.0, "test_size": 500}
    study.add("finetune", "sgd", [80.0] * 5, **rows)
    study.add("kernel", "sgd", [78.0] * 5, chi_rows="scored", **rows)
    study.add("kernel", "sgd", [78.0], chi_rows="all", **rows)
    study.add("kernel", "constant", [60.0] * 5, chi_rows="scored", **rows)
    assert len(paired("pocket")) == 5
    assert set(against_baselines(baseline_scores("pocket"))["splits"]) == {5}


def test_the_prompt_with_its_blank_is_the_paper_s(study):
    study.add("kernel", "sgd", [60.0] * 5, task="mnli")
    study.add("kernel", "sgd", [62.0] * 5, task="mnli", prompt="published")
    found = measurements("pocket")
    values = found.loc[found["method"] == "K-SGD", ["prompt", "value"]].drop_duplicates()
    assert values.to_dict("records") == [{"prompt": "manual", "value": 62.0}]


# --- clipped steps --------------------------------------------------------------------------


def test_clipped_steps_of_tasks_that_count(study):
    assert clipped_steps("pocket", LEARNED).empty
    study.add("finetune", "sgd", [80.0] * 3, clipped_share=[0.5, 0.7, ""],
              gradient_norm=[1.0, 3.0, ""])  # fmt: skip
    study.add("finetune", "sgd", [80.0] * 3, task="mr", clipped_share=0.0, gradient_norm=9.0)
    study.add("finetune", "sgd", [80.0] * 3, prompt="null", clipped_share=0.0, gradient_norm=9.0)
    (row,) = clipped_steps("pocket", LEARNED).to_dict("records")
    assert (row["method"], row["runs"], row["recorded"]) == ("SGD-FT", 3, 2)
    assert (row["clipped"], row["norm"]) == (pytest.approx(60.0), 2.0)


# --- moves of kernels -----------------------------------------------------------------------


def test_similarity_stands_beside_fixed_for_the_kernel_that_it_judges(study):
    assert kernel_moves("pocket").empty
    study.add("kernel", "sgd", [78.0] * 5)
    study.add("finetune", "sgd", [80.0] * 5, distances=[0.5] * 5)
    study.add("finetune", "sgd", [80.0] * 5, prompt="null", distances=[9.0] * 5)
    path = study.root / "results" / "pocket" / "finetune-distances.csv"
    moved = pd.read_csv(path)
    moved["cka"] = moved["samples"].map({"test": 0.3, "train": 0.9})
    moved["scaled_error"] = 0.7
    moved.loc[moved["elementwise"] > 5, "cka"] = 0.0  # another prompt
    moved.to_csv(path, index=False)
    moves = kernel_moves("pocket")
    assert set(moves["name"]) == {"SGD-FT"}
    assert len(moves) == 10  # two samples a run, the manual prompt alone
    (row,) = beside_fixed(behavior_by_means(measurements("pocket")), moves).to_dict("records")
    assert (row["cka"], row["scaled_error"]) == (pytest.approx(0.3), pytest.approx(0.7))
    unknown = beside_fixed(behavior_by_means(measurements("pocket")), moves.iloc[:0])
    assert unknown["cka"].isna().all()


# --- in words -------------------------------------------------------------------------------


def test_a_task_that_is_solved_with_less_is_named(study):
    rows = {"test": 500.0, "test_size": 500}
    assert solved_with_less(pd.DataFrame()) == ""
    study.add("finetune", "sgd", [80.0] * 5, **rows)
    study.add("kernel", "sgd", [78.0] * 5, **rows)
    study.add("kernel", "constant", [75.0] * 5, **rows)
    study.add("kernel", "bag-of-words", [60.0] * 5, **rows)
    against = against_baselines(baseline_scores("pocket"))
    told = solved_with_less(against, LEARNED)
    assert "solves 1 of 1 tasks" in told
    assert "SST-2 (k = 16) the constant kernel, 75.0 % (the kernel less that: +3.0 points" in told
    assert solved_with_less(against, set()) == ""
    linked = with_first_run(against, "pocket").set_index("baseline")["address"]
    assert "sst2-k16-s13-constant" in linked["constant kernel"]


def test_kernel_behaviour_is_counted_along_adam_by_one_rule_on_both(study):
    """At least 8 of 14 tasks must show it; the paper's own means leave that open."""
    study.add("kernel", "signgd", [78.0, 78.1, 77.9, 78.0, 78.0])
    study.add("finetune", "adam", [80.0, 80.1, 79.9, 80.0, 80.0], linearized_test=79.5)
    claims = claims_in_words(measurements("pocket"), LEARNED, pd.DataFrame())
    row = claims.set_index("claim").loc["most tasks show kernel behaviour"]
    assert row["ours"].startswith("1 (1 to 1) of 1 tasks along Adam")
    assert row["verdict"] == "holds"
    assert row["paper"].endswith("along Adam: undecided")
