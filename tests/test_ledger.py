import math

import numpy as np
import pandas as pd
import pytest

from tangentlm import ledger, tables
from tangentlm.params import project_root

SEEDS = (13, 21, 42)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A project with the reported numbers and made-up results of the study ``pocket``."""
    for name in ("params", "assets", "book"):
        (tmp_path / name).symlink_to(project_root() / name)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "reported").symlink_to(project_root() / "results" / "reported")
    monkeypatch.setenv("TANGENTLM_ROOT", str(tmp_path))

    def write(study="pocket", model="pocket", **scores):
        folder = tmp_path / "results" / study
        folder.mkdir(exist_ok=True)
        for experiment, values in scores.items():
            pd.DataFrame({
                "study": study, "run": [f"sst2-k16-s{s}-sgd" for s in SEEDS], "method": "sgd",
                "task": "sst2", "model": model, "head": "prompt", "k": 16, "seed": SEEDS,
                "test_score": values, "zero_shot_test": 55.0, "seconds": 1.0,
            }).to_csv(folder / f"{experiment}.csv", index=False)  # fmt: skip

    return write


def row(table, method="K-SGD", k=16):
    found = table[(table["task"] == "SST-2") & (table["method"] == method) & (table["k"] == k)]
    assert len(found) == 1
    return found.iloc[0]


def test_all_reported_numbers_of_the_main_tables_are_there(results):
    table = ledger.compare("pocket")
    assert len(table) == 140
    assert set(table["verdict"]) == {"not run"}
    assert (row(table)["paper"], row(table)["paper_std"]) == (88.3, 0.3)


@pytest.mark.parametrize(
    ("scores", "model", "verdict", "reason"),
    [
        ([88.0, 88.5, 88.9], "roberta-base", "reproduced", ""),
        ([80.0, 80.5, 80.9], "roberta-base", "differs", "unexplained"),
        ([60.0, 60.5, 60.9], "pocket", "differs", "another model: pocket"),
    ],
)
def test_verdict(results, scores, model, verdict, reason):
    results(model=model, kernel=scores)
    found = row(ledger.compare("pocket"))
    assert (found["verdict"], found["reason"]) == (verdict, reason)
    assert found["seeds"] == 3
    assert found["ours"] == pytest.approx(np.mean(scores))
    assert found["ours_std"] == pytest.approx(np.std(scores, ddof=1))
    assert found["difference"] == pytest.approx(np.mean(scores) - 88.3)
    assert row(ledger.compare("pocket"), "SGD-FT")["verdict"] == "not run"


def test_tolerance_is_two_standard_errors_and_the_rounding():
    assert ledger.tolerance(1.5, 2.0, 4) == pytest.approx(2 * math.sqrt(2.25 / 5 + 1.0) + 0.05)


def test_zero_shot_counts_once_a_split(results):
    results(kernel=[60.0, 61.0, 62.0], finetune=[63.0, 64.0, 65.0])
    table = ledger.measured("pocket")
    zero = table[table["method"] == "zero-shot"].iloc[0]
    assert (zero["seeds"], zero["mean"]) == (3, 55.0)


def test_gaps_are_paired(results):
    results(kernel=[60.0, 70.0, 80.0], finetune=[61.0, 71.0, 81.0])
    gap = ledger.paired_gaps("pocket").iloc[0]
    assert (gap["gap"], gap["low"], gap["high"], gap["splits"]) == (1.0, 1.0, 1.0, 3)


def test_gap_interval_against_scipy(results):
    from scipy.stats import ttest_rel

    kernel, tuned = [60.0, 66.0, 62.0], [63.0, 64.0, 67.0]
    results(kernel=kernel, finetune=tuned)
    gap = ledger.paired_gaps("pocket").iloc[0]
    interval = ttest_rel(tuned, kernel).confidence_interval(0.95)
    assert (gap["low"], gap["high"]) == pytest.approx((interval.low, interval.high))


def test_table_says_not_run_and_links_every_seed(results):
    results(kernel=[60.0, 70.0, 80.0])
    studies = {"paper": "RoBERTa", "pocket": "pocket"}
    html = tables.paper_beside_ours(studies, ["sst2"], [16], ["K-SGD", "SGD-FT"]).data
    assert html.count("not run") == 3
    assert "88.3" in html
    assert "70.0" in html
    for seed in SEEDS:
        assert f'href="../runs.html#pocket-kernel-sst2-k16-s{seed}-sgd"' in html
    rows = tables.runs_table("pocket", "kernel").data
    assert f'id="pocket-kernel-sst2-k16-s{SEEDS[0]}-sgd"' in rows


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((2.0, 1.0, 3.0), ["fine-tuning with SGD is ahead of the kernel by 2.0", "beyond chance"]),
        ((-2.0, -5.0, 1.0), ["the kernel is ahead of fine-tuning", "do not tell them apart"]),
        ((2.0, math.nan, math.nan), ["ahead of the kernel by 2.0 points", "too few to say more"]),
    ],
)
def test_gap_in_words(numbers, words):
    gap = pd.Series(dict(zip(("gap", "low", "high"), numbers, strict=True)))
    text = ledger.gap_statement(pd.concat([gap, pd.Series({"task": "T", "k": 1, "splits": 5})]))
    assert all(part in text for part in words)
