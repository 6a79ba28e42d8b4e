"""The page of the paper in words and counts: sentence, claims, the Taylor model's gains."""

from __future__ import annotations

import math
import re

import pandas as pd
import pytest

from tangentlm.malladi.baselines import baseline_scores
from tangentlm.malladi.claims import CLAIMS, PROPERTIES_OF
from tangentlm.malladi.measurements import measurements
from tangentlm.malladi.steps import along_the_way
from tangentlm.malladi.taylor import GAINS, in_all, taylor_gains
from tangentlm.malladi.words import (
    MORE_ROWS,
    claims_in_words,
    how_sure,
    in_one_sentence,
)

NOISE = (-0.4, 0.1, 0.3, -0.2, 0.2)
LEARNED = {("SST-2", 16)}


def around(mean):
    return [mean + e for e in NOISE]


def in_words(learned=LEARNED):
    measured = measurements("pocket")
    claims = claims_in_words(measured, learned, baseline_scores("pocket"))
    return claims, in_one_sentence(measured, learned, claims)


def test_without_runs_nothing_is_said_to_be_found(study):
    claims, sentence = in_words()
    assert len(claims) == 12
    assert set(claims["verdict"]) == {"not run"}
    assert sentence.startswith(
        "Nothing was run on a task that is learned; of 12 claims we find 0 true"
    )
    assert claims["link"].str.startswith("#malladi-").all()


def test_what_was_found_on_the_tasks_that_are_learned(study):
    rows = {"test": 4000.0}
    study.add("kernel", "sgd", around(80.0), zero_shot=50.0, **rows)
    moved = {"distances": [0.5] * 5, "linearized_test": 80.0}
    study.add("finetune", "sgd", around(82.0), **moved, **rows)
    study.add("finetune", "adam", around(82.0), **rows)
    study.add("kernel", "bag-of-words", around(60.0), **rows)
    study.add("kernel", "sgd", around(10.0), task="mr", **rows)  # not learned: it does not count
    study.add("finetune", "sgd", around(90.0), task="mr", **rows)
    claims, sentence = in_words()
    verdicts = claims.set_index("claim")["verdict"]
    assert verdicts["K-SGD solves the task"] == "holds"
    assert verdicts["SGD is as good as Adam"] == "holds"
    assert verdicts["LoRA is as good as full fine-tuning"] == "not run"
    assert verdicts["the kernel beats what knows less"] == "holds"
    half = 1.96 * math.sqrt((80 * 20 + 82 * 18) / 4000)  # the splits agree; the rows are left
    ends = f"({2 - half:.1f} to {2 + half:.1f})"
    assert f"(SST-2), kernel regression scores 2.0 points {ends} less" in sentence
    assert "4.1 points (2.9 to 5.3) less" in sentence  # the paper's, from its printed means
    assert claims.iloc[-1]["ours"] == "ahead of all on 1 of 1 tasks"


def test_every_claim_leads_to_a_place_on_the_page(study):
    page = (study.root / "book" / "results" / "malladi.py").read_text(encoding="utf-8")
    headings = re.findall(r"^# \((malladi-[\w-]+)\)=$", page, flags=re.MULTILINE)
    titles = re.findall(r'table_of_paper\(\s*"([^":]+)', page)
    tables = [f"malladi-{title.lower().replace(' ', '-')}" for title in titles]
    links = {claim.shown for claims in (CLAIMS, *PROPERTIES_OF.values()) for claim in claims}
    links |= {link.removeprefix("#") for link in in_words()[0]["link"]}
    assert links <= {*headings, *tables}


@pytest.mark.parametrize(
    ("p", "p_together", "splits", "start", "end"),
    [
        (0.0001, 0.001, 3.0, "sure (p < .001", "± 2.0"),
        (0.03, 0.2, 5.0, "sure by itself only (p .030, all claims together .200)", "± 2.0"),
        (0.3, 1.0, 9.0, "not sure", "9 splits would decide"),
        (0.3, 1.0, math.nan, "not sure", MORE_ROWS),
    ],
)
def test_how_sure_one_is_stands_in_plain_words_first(p, p_together, splits, start, end):
    said = how_sure(
        {"p": p, "p_together": p_together, "half": 2.0, "margin": 1.0, "splits_to_decide": splits}
    )
    assert said.startswith(start)
    assert said.endswith(end)
    assert "1.0 from the bound" in said


def test_a_claim_that_was_not_judged_is_sure_of_nothing():
    assert how_sure({"p": math.nan}) == ""


# --- the Taylor model's gains ---------------------------------------------------------------


def test_every_run_is_in_a_category_and_none_is_left_out(study):
    shares = [0.8, 0.5, 0.2, math.nan, -1.0]  # no share: fine-tuning gained nothing
    study.add("finetune", "sgd", around(80.0), linearization_share=shares)
    study.add("finetune", "sgd", [70.0], task="mr", linearization_share=0.9, explained_change=0.5)
    study.add("finetune", "sgd", [1.0], prompt="null", linearization_share=0.9)
    study.add("finetune", "sgd", [1.0], head="linear", linearization_share=0.9)
    study.add("finetune", "sgd", [1.0], labels="shuffled", linearization_share=0.9)
    gains = taylor_gains("pocket").set_index("title")
    assert gains.loc["SST-2", ["runs", *GAINS]].tolist() == [5, 2, 2, 1]
    assert gains.loc["SST-2", "of_logits"] == 0
    assert gains.loc["MR", ["runs", "of_logits", "explained"]].tolist() == [1, 1, 0.5]
    over = in_all(gains.reset_index(), LEARNED).set_index("over")
    assert over.loc["what it learns", ["runs", *GAINS]].tolist() == [5, 2, 2, 1]
    assert over.loc["every task and k", ["runs", *GAINS]].tolist() == [6, 3, 2, 1]
    assert over["of_logits"].tolist() == [0, 1]
    assert math.isnan(over["explained"].iloc[0])
    assert over["explained"].iloc[1] == 0.5


def test_without_fine_tunings_there_are_no_gains(study):
    gains = taylor_gains("pocket")
    assert gains.empty
    assert in_all(gains, LEARNED).empty


# --- Definition D.3 along the way -----------------------------------------------------------


def test_of_every_run_the_largest_along_the_way_counts(study):
    assert along_the_way("pocket").empty
    study.add("finetune", "adam", [80.0, 81.0, 82.0])
    study.add("finetune", "adam", [1.0], prompt="null")
    folder = study.root / "results" / "pocket"
    runs = pd.read_csv(folder / "finetune.csv", keep_default_na=False)["run"]
    steps = [
        {"run": run, "step": step, "step_change": 0.1 * step, "step_error": error,
         "feature_change": 9.0, "feature_change_median": 0.2}
        for run, errors in zip(runs, [(0.3, 0.1), (0.1, 0.5), None, (9.0, 9.0)], strict=True)
        for step, error in enumerate(errors or (), start=1)
    ]  # fmt: skip
    pd.DataFrame(steps).to_csv(folder / "finetune-trajectory.csv", index=False)
    (row,) = along_the_way("pocket").to_dict("records")
    assert (row["method"], row["title"], row["k"]) == ("Adam-FT", "SST-2", 16)
    assert row["splits"] == 2  # the third was not measured along the way
    assert row["step_error"] == pytest.approx(0.4)
    assert (row["step_change"], row["feature_change"]) == pytest.approx((0.2, 0.2))


def test_behavior_is_judged_on_the_k_that_is_learned():
    """A task that is learned at k = 64 alone is not judged at k = 16; zero-shot has no k."""
    from tangentlm.malladi.learned import on_settings

    rows = [("SST-2", 16), ("SST-2", 64), ("SST-2", 0), ("MR", 0), ("Subj", 16)]
    table = pd.DataFrame(rows, columns=["title", "k"])
    kept = on_settings(table, {("SST-2", 64), ("Subj", 16)})
    assert list(kept.itertuples(index=False, name=None)) == [rows[1], rows[2], rows[4]]


def test_a_split_counts_once_where_lora_ran_with_and_without_the_head():
    from tangentlm.malladi.measurements import fine_tunings

    runs = fine_tunings("pocket")
    lora = runs[(runs["task"] == "subj") & (runs["method"] == "SGD-LoRA-FT")]
    assert not lora.duplicated(["k", "seed"]).any()
    assert lora["run"].str.endswith("-lora-head").all()
