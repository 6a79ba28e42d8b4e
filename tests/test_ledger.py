"""The papers' numbers beside made-up ones of ours."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp, ttest_ind

from made_up_study import SEEDS
from tangentlm.figures import point_panels
from tangentlm.malladi import ledger
from tangentlm.malladi.behavior import behavior_by_means
from tangentlm.malladi.figures import FIGURE_1_TASKS, every_task, figure_1, figure_2
from tangentlm.malladi.measurements import measurements, summary
from tangentlm.malladi.tables import ledger_table, our_results, paper_table, with_runs
from tangentlm.report.run_tables import runs_table


def row(found, method="K-SGD", **same):
    same = {"title": "SST-2", "k": 16, "table": "Table 2a", "version": "malladi2023-icml", **same}
    found = found[found["method"] == method]
    for column, value in same.items():
        found = found[found[column] == value]
    assert len(found) == 1
    return found.iloc[0]


# --- measurements ---------------------------------------------------------------------------


def test_nothing_run_is_nothing_measured(study):
    assert measurements("pocket").empty
    assert summary(measurements("pocket")).empty


def test_a_kernel_has_its_score_and_the_zero_shot_ones(study):
    study.add("kernel", "sgd", [60.0, 62.0], chi=0.4)
    found = summary(measurements("pocket")).set_index("method")
    assert found.loc["K-SGD", "mean"] == 61.0
    zero_shot = found.loc[["zero-shot"]].set_index("quantity")
    assert zero_shot.loc["performance", "mean"] == 55.0
    assert zero_shot.loc["mean output derivative", "mean"] == 0.4
    assert set(zero_shot["k"]) == {0}


def test_zero_shot_counts_once_a_split(study):
    study.add("kernel", "sgd", [60.0, 61.0, 62.0])
    study.add("kernel", "signgd", [60.0, 61.0, 62.0])
    study.add("kernel", "sgd", [60.0, 61.0, 62.0], k=64)
    found = summary(measurements("pocket"))
    (zero_shot,) = found[found["method"] == "zero-shot"].to_dict("records")
    assert (zero_shot["seeds"], zero_shot["mean"]) == (3, 55.0)


def test_a_fine_tuning_has_its_taylor_model_and_its_distance(study):
    study.add("finetune", "adam", [80.0, 82.0], linearized_test=[70.0, 71.0], distances=[0.3, 0.5])
    found = summary(measurements("pocket")).set_index("method")["mean"]
    assert found["Adam-FT"] == 81.0
    assert found["linearized Adam-FT"] == 70.5
    assert found["Adam-FT (K-SGD before/after)"] == pytest.approx(0.4)


def test_what_is_scored_by_f1_has_its_accuracy_too(study):
    study.add("kernel", "sgd", [60.0, 62.0], task="mrpc", metric="f1", test_accuracy=[50.0, 52.0])
    found = summary(measurements("pocket"))
    of_kernel = found[found["method"] == "K-SGD"].set_index("metric")["mean"]
    assert of_kernel.to_dict() == {"f1": 61.0, "accuracy": 51.0}


def test_settings_and_prompts_are_kept_apart(study):
    study.add("kernel", "sgd", [60.0])
    study.add("kernel", "sgd", [61.0], head="linear")
    study.add("kernel", "sgd", [62.0], prompt="null")
    study.add("kernel", "sgd", [63.0], prompt="searched")
    study.add("kernel", "sgd", [64.0], prompt="unrelated")  # no paper has that
    found = measurements("pocket")
    kernel = found[found["method"] == "K-SGD"].set_index(["setting", "prompt"])["value"]
    assert kernel.to_dict() == {
        ("prompt", "manual"): 60.0, ("standard", ""): 61.0, ("prompt", "null"): 62.0,
        ("prompt", "search"): 63.0,
    }  # fmt: skip
    assert set(found[found["method"] == "zero-shot"]["setting"]) == {"prompt"}


def test_of_two_runs_with_one_name_in_the_paper_the_paper_s_counts(study):
    study.add("kernel", "sgd-lora", [60.0, 61.0])
    study.add("kernel", "sgd-lora-head", [70.0])
    study.add("finetune", "sgd-lora", [80.0, 81.0])
    study.add("finetune", "sgd-lora-head", [90.0])
    study.add("kernel", "sgd", [62.0, 63.0], prompt="searched")
    study.add("kernel", "sgd", [72.0], prompt="searched-once")
    found = measurements("pocket").set_index(["method", "seed"])["value"]
    assert found["K-LoRA-SGD"].to_dict() == {13: 70.0, 21: 61.0}
    assert found["SGD-LoRA-FT"].to_dict() == {13: 90.0, 21: 81.0}
    assert found["K-SGD"].to_dict() == {13: 72.0, 21: 63.0}


# --- the ledger -----------------------------------------------------------------------------


def test_all_reported_numbers_are_there(study):
    table = ledger.compare("pocket")
    assert len(table) == 938
    assert set(table["verdict"]) == {"not run"}
    assert (row(table)["paper_mean"], row(table)["paper_std"]) == (88.3, 0.3)


def test_every_number_has_exactly_one_row_whatever_was_run(study):
    for method in ("sgd", "signgd", "asymmetric-signgd"):
        for k in (16, 64):
            study.add("kernel", method, [60.0, 61.0], k=k, chi=0.3)
    study.add("finetune", "adam", [60.0, 61.0], distances=[0.1, 0.2])
    assert len(ledger.compare("pocket")) == 938


@pytest.mark.parametrize(
    ("scores", "model", "verdict", "reason"),
    [
        ([88.0, 88.5, 88.9], "roberta-base", "compatible", ""),
        ([80.0, 80.5, 80.9], "roberta-base", "differs", "unexplained"),
        ([60.0, 60.5, 60.9], "pocket", "differs", "another model: pocket"),
        ([88.0, 88.5], "roberta-base", "undecided", "fewer than 3 splits"),
    ],
)
def test_verdict(study, scores, model, verdict, reason):
    study.add("kernel", "sgd", scores, model=model)
    found = row(ledger.compare("pocket"))
    assert (found["verdict"], found["reason"]) == (verdict, reason)
    assert found["seeds"] == len(scores)
    assert found["ours"] == pytest.approx(np.mean(scores))
    if len(scores) > 1:
        assert found["ours_std"] == pytest.approx(np.std(scores, ddof=1))
    assert found["difference"] == pytest.approx(np.mean(scores) - 88.3)
    assert row(ledger.compare("pocket"), "SGD-FT")["verdict"] == "not run"


def test_a_number_of_another_model_is_for_that_model_alone(study):
    def verdicts():
        table = ledger.compare("pocket")
        assert len(table) == 938
        chi = table[(table["quantity"] == "mean output derivative") & (table["title"] == "SST-2")]
        return chi.set_index("paper_model")["verdict"].to_dict()

    study.add("kernel", "sgd", [60.0, 61.0, 62.0], chi=0.32)
    assert verdicts() == {"roberta-base": "compatible", "roberta-large": "not run"}
    study.add("kernel", "sgd", [60.0, 61.0, 62.0], chi=0.44, model="roberta-large")
    assert verdicts() == {"roberta-base": "compatible", "roberta-large": "undecided"}
    assert row(ledger.compare("pocket"))["ours"] == 61.0  # the small model's


def test_two_numbers_without_spread_differ_or_are_undecided(study):
    study.add("kernel", "sgd", [60.0] * 3, zero_shot=79.02, model="roberta-base")
    assert (
        row(ledger.compare("pocket"), "zero-shot", k=0, table="Table 5")["verdict"] == "compatible"
    )
    study.add("kernel", "sgd", [60.0] * 3, zero_shot=70.0, task="mr", model="roberta-base")
    found = row(ledger.compare("pocket"), "zero-shot", k=0, table="Table 5", title="MR")
    assert (found["verdict"], found["difference"]) == ("undecided", pytest.approx(70.0 - 71.9))


def test_tolerance_is_welch_s_interval_and_the_rounding():
    ours, theirs = np.array([60.0, 61.0, 64.0]), np.array([70.0, 70.5, 72.0, 71.0, 69.0])
    interval = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    found = ledger.tolerance(theirs.std(ddof=0), ours.std(ddof=1), 3, 0.5)
    assert found == pytest.approx((interval.high - interval.low) / 2 + 0.5)
    assert ledger.tolerance(theirs.std(ddof=0), ours.std(ddof=1), 3, 0.5, of_rows=3.0) > found
    of_one = ttest_1samp(ours, 0.0).confidence_interval(0.95)
    found = ledger.tolerance(math.nan, ours.std(ddof=1), 3)
    assert found == pytest.approx((of_one.high - of_one.low) / 2 + 0.05)
    assert ledger.tolerance(math.nan, 0.0, 3) == 0.05
    assert ledger.tolerance(math.nan, 0.0, 3, 0.0, of_rows=4.0) == pytest.approx(1.96 * 2, rel=1e-3)


def test_test_rows_of_either_side_are_forgiven(study):
    study.add("kernel", "sgd", [87.0, 87.1, 86.9], model="roberta-base", test=500.0)
    found = row(ledger.compare("pocket"))
    without = ledger.tolerance(0.3, 0.1, 3)
    assert abs(found["difference"]) > without
    assert found["verdict"] == "compatible"
    of_rows = 87.0 * 13.0 / 500 + 88.3 * 11.7 / 872
    assert found["tolerance"] == pytest.approx(ledger.tolerance(0.3, 0.1, 3, of_rows=of_rows))


# --- in tables ------------------------------------------------------------------------------


def cells_of(table):
    """The rows of a searchable table, each as its cells by column."""
    heads = json.loads(re.search(r'"table_html": (".*")', table.data)[1])
    names = re.findall(r"<th>([^<]*)</th>", heads)
    rows = json.loads(json.loads(re.search(r'"data_json": (".*")', table.data)[1]))
    return [dict(zip(names, cells, strict=True)) for cells in rows]


def test_a_table_of_the_paper_has_three_lines_a_method_and_links_to_runs(study):
    study.add("kernel", "sgd", [60.0, 70.0, 80.0, 60.0, 70.0])
    ledgers = {"ours, pocket": ledger.compare("pocket"), "RoBERTa": ledger.compare("paper")}
    html = paper_table(ledgers, "Table 2a", only={"k": 16}).data
    assert "RoBERTa: not run." in html
    assert html.count("<td>paper</td>") == html.count("<td>difference</td>") == 5
    assert "88.3" in html
    assert "68.0" in html
    assert "-20.3" in html
    run = f"sst2-k16-s{SEEDS[0]}-sgd-prompt-manual-pocket"
    assert f'href="../runs.html#pocket-kernel-{run}"' in html
    first = cells_of(runs_table("pocket", "kernel"))[0]
    assert first["run"] == f'<a id="pocket-kernel-{run}">{run}</a>'


def test_a_number_of_table_1_leads_to_its_first_run(study):
    study.add("kernel", "sgd", [70.0, 71.0, 72.0])
    study.add("finetune", "sgd", [72.0, 72.0, 75.0])
    table = measurements("pocket")
    (sgd,) = with_runs(behavior_by_means(table), table, "pocket").to_dict("records")
    kernel = f"../runs.html#pocket-kernel-sst2-k16-s{SEEDS[0]}-sgd-prompt-manual-pocket"
    assert sgd["solves_run"] == kernel
    assert sgd["linear_run"] == sgd["fixed_run"] == kernel.replace("-kernel-", "-finetune-")
    assert sgd["derived_run"] == ""
    assert with_runs(behavior_by_means(pd.DataFrame()), pd.DataFrame(), "pocket").empty


def test_what_a_run_has_not_is_left_empty(study):
    study.add("kernel", "sgd", [60.0, 70.0])
    path = study.root / "results" / "pocket" / "kernel.csv"
    runs = pd.read_csv(path).assign(model=None, threads=[1, None])
    runs.to_csv(path, index=False)
    first, second = cells_of(runs_table("pocket", "kernel"))
    assert "model" not in first
    assert (first["threads"], second["threads"]) == ("1.0", "")
    assert "nan" not in {*first.values(), *second.values()}


def test_a_table_without_runs_is_the_paper_s(study):
    html = paper_table({"ours": ledger.compare("pocket")}, "Table 9").data
    assert "ours: not run." in html
    assert "difference" not in html


def test_the_ledger_s_table_has_every_row(study):
    study.add("kernel", "sgd", [60.0, 70.0])
    compared = ledger.compare("pocket")
    rows = cells_of(ledger_table(compared))
    assert [row["table"] for row in rows] == compared["table"].tolist()
    assert len(rows) == 938
    ran = [row for row in rows if row["verdict"] != "not run"]
    assert ran
    run = f"sst2-k16-s{SEEDS[0]}-sgd-prompt-manual-pocket"
    for row in ran:
        assert f'href="../runs.html#pocket-kernel-{run}"' in row["ours"]
        assert row["seeds"] == "2"
        assert row["difference"][0] in "+-"
    assert {row["ours"] for row in rows if row not in ran} == {
        '<span class="not-run">not run</span>'
    }


def test_searchable_tables_need_no_network(study):
    study.add("kernel", "sgd", [60.0, 70.0])
    for table in (runs_table("pocket", "kernel"), ledger_table(ledger.compare("pocket"))):
        assert not re.search(r"(src|href|from|import\()\s*=?\s*['\"]https?://", table.data)


def test_our_results_link_every_seed(study):
    study.add("kernel", "sgd", [60.0, 70.0, 80.0], study="quick", task="reviews")
    html = our_results({"quick": "ours"}, ["reviews"], [16], ["K-SGD", "SGD-FT"]).data
    assert html.count(">not run<") == 1
    assert "70.0" in html
    for seed in SEEDS[:3]:
        assert f'quick-kernel-reviews-k16-s{seed}-sgd-prompt-manual-pocket"' in html


# --- in figures -----------------------------------------------------------------------------


def test_figure_1_has_the_paper_s_points_and_ours(study):
    before = figure_1(measurements("pocket"), "ours")
    assert set(before["panel"]) == {"RoBERTa-base, prompt", "RoBERTa-base, standard"}
    assert len(before) == 2 * 2 * len(FIGURE_1_TASKS)
    study.add("finetune", "sgd", [80.0, 82.0], k=64)
    study.add(
        "kernel", "sgd", [60.0, 64.0], k=64, task="qqp", metric="f1", test_accuracy=[1.0, 2.0]
    )
    study.add("kernel", "sgd", [70.0, 72.0], k=64, head="linear")
    study.add("kernel", "sgd", [0.0, 0.0], k=64, prompt="null")
    points = figure_1(measurements("pocket"), "ours")
    ours = points[points["panel"].str.startswith("ours")]
    assert ours.set_index(["panel", "task", "method"])["value"].to_dict() == {
        ("ours, prompt", "SST-2", "SGD-FT"): 81.0,
        ("ours, prompt", "QQP", "K-SGD"): 62.0,
        ("ours, standard", "SST-2", "K-SGD"): 71.0,
    }
    row_of = ours[ours["task"] == "QQP"].iloc[0]
    assert (row_of["low"], row_of["high"]) == pytest.approx((62 - 2**1.5, 62 + 2**1.5))
    assert len(point_panels(points, "performance").axes) == 4


def test_figure_2_has_medians_and_ranges_of_ours(study):
    study.add("finetune", "adam", [80.0, 82.0, 90.0], k=64, linearized_test=[70.0, 71.0, 75.0])
    study.add("kernel", "sgd", [60.0, 61.0, 62.0])
    points = figure_2(measurements("pocket"), "ours")
    paper = points[points["panel"] == "RoBERTa-base"]
    assert len(paper) == 3 * 14
    ours = points[points["panel"] == "ours"].set_index("method")
    assert ours["value"].to_dict() == {"Adam-FT": 82.0, "Taylor model": 71.0, "zero-shot": 55.0}
    assert (ours.loc["Adam-FT", "low"], ours.loc["Adam-FT", "high"]) == (80.0, 90.0)


def test_every_task_has_its_own_metric_and_a_panel_for_each_k(study):
    study.add("kernel", "sgd", [60.0, 62.0], k=64)
    for k in (16, 64):
        study.add("finetune", "sgd", [70.0, 74.0], k=k)
    study.add(
        "kernel", "sgd", [50.0], task="mrpc", metric="f1", test_accuracy=66.0, zero_shot=81.0,
        zero_shot_accuracy=68.0,
    )  # fmt: skip
    study.add("kernel", "sgd", [1.0], prompt="null")
    points = every_task(measurements("pocket"), ["zero-shot", "SGD-FT", "K-SGD"])
    found = points.set_index(["panel", "task", "method"])["value"].to_dict()
    assert found == {
        ("k = 16", "SST-2", "zero-shot"): 55.0, ("k = 16", "SST-2", "SGD-FT"): 72.0,
        ("k = 16", "MRPC", "zero-shot"): 81.0, ("k = 16", "MRPC", "K-SGD"): 50.0,
        ("k = 64", "SST-2", "zero-shot"): 55.0, ("k = 64", "SST-2", "SGD-FT"): 72.0,
        ("k = 64", "SST-2", "K-SGD"): 61.0,
    }  # fmt: skip
    assert len(point_panels(points, "performance (%)").axes) == 2
    assert every_task(measurements("quick"), ["K-SGD"]).empty
