"""Kernel regression beside fine-tuning: what is paired, and what the pairs say."""

import math

import pandas as pd
import pytest
from scipy.stats import t

from tangentlm.analysis import agreement
from tangentlm.analysis.agreement import gaps, gaps_in_words, paired, scores
from tangentlm.analysis.verdicts import HOLDS, UNDECIDED, too_few

FACTS = {
    "model": "m", "k": 16, "test_size": 500, "zero_shot_test": 50.0, "head": "prompt", "test": 500,
    "correct": "x.",  # the same rows with every run, so that they add nothing to an interval
}  # fmt: skip


def rows(method: str, seeds_scores: dict[int, float], **more) -> list[dict]:
    return [
        {"run": f"{method}-{seed}", "method": method, "task": "sst2", "seed": seed,
         "test_score": score, **FACTS, **more}
        for seed, score in seeds_scores.items()
    ]  # fmt: skip


@pytest.fixture
def collected(monkeypatch):
    tables: dict[str, pd.DataFrame] = {}
    monkeypatch.setattr(
        agreement, "read_collected", lambda _, name: tables.get(name, pd.DataFrame())
    )
    return tables


def test_nothing_run_is_an_empty_table(collected):
    assert scores("real").empty
    assert paired("real").empty
    assert gaps(paired("real"), 5.0).empty


def test_a_fine_tuning_stands_beside_its_kernel_on_the_same_split(collected):
    collected["finetune"] = pd.DataFrame(
        rows("sgd-unclipped", {13: 70.0, 21: 72.0, 42: 74.0})
        + rows("adam", {13: 80.0})
        + rows("sgd-unclipped", {13: 51.0}, labels="shuffled")
    )
    collected["kernel"] = pd.DataFrame(
        rows("sgd", {13: 71.0, 21: 71.0, 42: 75.0, 87: 99.0})
        + rows("signgd", {13: 60.0})
        + rows("asymmetric-signgd", {13: 1.0})
        + rows("sgd", {13: 49.0}, labels="shuffled")
        + rows("sgd", {13: 2.0}, head="linear")
    )
    both = paired("real").set_index(["finetuning", "labels", "seed"])
    assert both["gap"].to_dict() == {
        ("sgd-unclipped", "given", 13): 1.0,
        ("sgd-unclipped", "given", 21): -1.0,
        ("sgd-unclipped", "given", 42): 1.0,
        ("adam", "given", 13): -20.0,
        ("sgd-unclipped", "shuffled", 13): -2.0,
    }
    said = gaps(paired("real").query("labels == 'given'"), 5.0).set_index("finetuning")
    assert said["splits"].to_dict() == {"sgd-unclipped": 3, "adam": 1}
    assert said["same"].to_dict() == {"sgd-unclipped": HOLDS, "adam": too_few()}
    assert said.loc["sgd-unclipped", "gap"] == pytest.approx(1 / 3)
    narrower = gaps(paired("real").query("labels == 'given'"), 1.0).set_index("finetuning")
    assert narrower.loc["sgd-unclipped", "same"] == UNDECIDED


def test_gaps_are_told_where_there_are_splits_enough():
    few = pairs_of("mr", [1.0, 2.0])
    told = gaps_in_words(gaps(pd.concat([pairs_of("sst2", [-1.0, 0.0, 1.0]), few]), 5.0), 5.0)
    assert told == "+0.0 points on SST-2 (-2.5 to +2.5, 3 splits: the same within 5 points)"
    apart = gaps_in_words(gaps(pairs_of("sst2", [9.0, 10.0, 11.0]), 5.0), 5.0)
    assert apart.endswith("3 splits: 5 points or more apart)")
    assert gaps_in_words(gaps(few, 5.0), 5.0) == ""


def pairs_of(task, found):
    """Fine-tunings at 80 % and kernels that differ from them."""
    return pd.DataFrame(
        [
            {"task": task, "finetuning": "sgd", "zero_shot": 50.0, "finetuned": 80.0,
             "kernel": 80.0 + gap, "gap": gap, "rows": 500, "finetuned_correct": "x.",
             "kernel_correct": "x."}
            for gap in found
        ]
    )  # fmt: skip


def test_test_rows_widen_the_interval_where_it_is_not_known_which_are_right():
    pairs = pairs_of("sst2", [-1.0, 0.0, 1.0]).assign(kernel_correct=math.nan)
    (found,) = gaps(pairs, 5.0).to_dict("records")
    rows, splits = 2 * 80 * 20 / 500, 1 / 3
    freedom = (rows + splits) ** 2 / (splits**2 / 2)
    half = t.ppf(0.975, freedom) * math.sqrt(rows + splits)
    assert (found["low"], found["high"]) == pytest.approx((-half, half))
    assert found["same"] == UNDECIDED
