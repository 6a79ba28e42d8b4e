"""Statistics and claims of Tomihari and Sato, on made-up runs and on the paper's own means."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from tangentlm.analysis.verdicts import FAILS, HOLDS, NOT_RUN
from tangentlm.params import load_study
from tangentlm.tomihari import claims, evidence, statements
from tangentlm.tomihari.ledger import compare
from tangentlm.tomihari.measurements import METHODS, rate_of, reported
from tangentlm.tomihari.statistics import (
    at_large_norms,
    change_at_equal_loss,
    detectable,
    slopes,
)
from tangentlm.tomihari.tables import hyperparameters, number
from tangentlm.tomihari.words import change_ratios, control_sentences, opening

SEEDS = (1001, 2002, 3003)


def test_the_paper_s_means_carry_as_many_claims_as_were_counted_by_hand():
    counts = claims.paper_says().groupby("claim")["holds"].agg(["sum", "size"])
    found = {name.split()[0]: tuple(row) for name, row in counts.iterrows()}
    expected = {
        "1": (8, 9), "2": (8, 9), "3a": (5, 9), "4a": (12, 12), "5": (11, 12), "7a": (3, 3),
        "8a": (1, 3),
        "16a": (6, 8), "16b": (7, 8), "18": (4, 8), "19": (5, 8), "20": (2, 3),
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected


def test_all_claims_have_names_of_their_own():
    names = [claim.name for claim in statements.CLAIMS]
    assert len(set(names)) == len(names)
    numbers = {name.split()[0].rstrip("abcde") for name in names}
    assert numbers == {str(n) for n in range(22)}


def test_change_at_equal_loss_is_interpolated():
    def trace(losses, moved):
        return pd.DataFrame({"train_loss": losses, "train_feature_change": moved})

    slow = trace([0.7, 0.5, 0.3], [0.0, 2.0, 4.0])
    fast = trace([0.6, 0.2, 0.1], [0.0, 4.0, 5.0])
    # Both reach a loss of 0.3: one at its last epoch, the other three quarters through its first.
    assert change_at_equal_loss(slow, fast) == pytest.approx((4.0, 3.0))
    assert change_at_equal_loss(slow, slow) == pytest.approx((4.0, 4.0))


def scaling(heads):
    rows = [
        {"dataset": "CB", "seed": seed, "head": head, "norm": norm, "Diff": factor * norm**power,
         "scaled": True}
        for seed in SEEDS
        for head, (factor, power) in heads.items()
        for norm in (0.1, 1.0, 10.0, 100.0)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_slopes_and_large_norms():
    table = scaling({"random": (4.0, -0.5), "lp": (2.0, -0.25)})
    assert slopes(table, "random").to_numpy() == pytest.approx([-0.5] * 3)
    expected = np.mean([math.log(0.5 * norm**0.25) for norm in (10.0, 100.0)])
    assert at_large_norms(table).to_numpy() == pytest.approx([expected] * 3)
    assert at_large_norms(table[table["norm"] < 5]).empty
    assert slopes(table[table["norm"] < 5], "lp").empty


def test_detectable_is_detected_four_times_in_five():
    random = np.random.default_rng(0)
    count, tries = 5, 4000
    noise = random.normal(size=(tries, count))
    # The size for a spread of 1, known beforehand.
    size = (t.ppf(0.975, count - 1) + t.ppf(0.8, count - 1)) / math.sqrt(count)
    draws = noise + size
    statistic = draws.mean(axis=1) / draws.std(axis=1, ddof=1) * math.sqrt(count)
    assert np.mean(statistic > t.ppf(0.975, count - 1)) == pytest.approx(0.8, abs=0.05)
    one = noise[0] / noise[0].std(ddof=1)
    assert detectable(one) == pytest.approx(size)
    assert math.isnan(detectable([1.0, 2.0]))


def made_up(values):
    """Evidence in which only the runs are made up: a mapping from a method to columns."""
    rows = [
        {"dataset": "CB", "seed": seed, "name": name, "main": True, "at_ft_rate": True,
         **{column: value + 0.01 * i for column, value in columns.items()}}
        for i, seed in enumerate(SEEDS)
        for name, columns in values.items()
    ]  # fmt: skip
    runs, nothing = pd.DataFrame(rows), pd.DataFrame()
    return evidence.Evidence(
        runs, nothing, nothing, nothing, nothing,
        pd.DataFrame(columns=["dataset", "seed", "head", "norm", "Diff", "scaled"]), "none",
    )  # fmt: skip


def test_claims_are_judged_by_their_bounds(monkeypatch):
    values = {
        "FT": {
            "test_score": 80.0, "majority_test": 50.0, "probe_norm": 20.0, "initial_norm": 0.9,
            "tuned_norm": 0.8, "residual_probe": 0.3, "residual_random": 0.7,
        }
    }  # fmt: skip
    monkeypatch.setattr(claims.Evidence, "of", classmethod(lambda cls, study: made_up(values)))
    tested = claims.judge_claims("none").set_index("claim")
    assert tested.loc[statements.LEARNS, "verdict"] == HOLDS
    assert claims.where_it_learns(tested.reset_index()) == ["CB"]
    assert tested.loc["1 LP grows the norm", "verdict"] == HOLDS
    assert tested.loc["1 LP grows the norm", "value"] == pytest.approx(math.log(20 / 0.9), abs=0.02)
    assert tested.loc["3a FT grows the norm", "verdict"] == FAILS
    assert tested.loc["21 the residual is smaller after LP", "verdict"] == HOLDS
    assert tested.loc["16a LP-FT has the larger ECE", "verdict"] == NOT_RUN
    short = claims.claims_in_short(tested.reset_index()).set_index("claim")
    assert short.loc["1 LP grows the norm", "paper"] == "8 of 9"
    assert short.loc["1 LP grows the norm", HOLDS] == "CB"


def test_words_of_the_controls():
    tested = pd.DataFrame(
        [
            {"claim": "4a LP-FT moves", "dataset": "CB", "value": math.log(0.5),
             "low": math.log(0.4), "high": math.log(0.6), "seeds": 3, "verdict": HOLDS},
            {"claim": "4b the same", "dataset": None, "value": None, "low": None, "high": None,
             "seeds": None, "verdict": NOT_RUN},
        ]
    )  # fmt: skip
    tested[["value", "low", "high"]] = tested[["value", "low", "high"]].astype(float)
    ratios = change_ratios(tested)
    assert ratios.loc[0, "ratio"] == pytest.approx(0.5)
    assert ratios.loc[0, "verdict"] == "moves them less"
    text = control_sentences(ratios, "CB")
    assert "by 0.5 of what FT does (95 % interval 0.4 to 0.6)" in text
    assert "LP-FT at FT's own rate: not run." in text
    assert opening(ratios, ["CB"]).count("of what FT does on CB") == 1
    assert "too few seeds for a verdict" in opening(ratios, ["RTE"])
    assert opening(ratios[ratios["ratio"].isna()], []) == "Nothing was run yet."


def test_rates_are_in_the_paper_s_ratio():
    assert rate_of("cb", "LP-FT") == pytest.approx(5e-6)
    assert rate_of("amazon", "LP-FT") == pytest.approx(5e-6)
    assert rate_of("rte", "LP-FT") == rate_of("sst2", "LP-FT") == pytest.approx(5e-5)
    table = hyperparameters("two-stage")
    assert len(table) == 40


def test_the_study_paper_has_the_paper_s_rates_and_batches():
    table = reported("tomihari_table6_hyperparameters").set_index(["dataset", "method"])
    runs = [run for run in load_study("paper") if run.experiment == "two_stage"]
    found = set()
    for run in runs:
        name = METHODS[run.method]
        paper = table.loc[run.task, name]
        if run.learning_rate == float(paper["learning_rate"]):
            assert run.batch_size == int(paper["batch_size"])
            assert run.learning_rate == rate_of(run.task, name, "roberta-base")
            found.add((run.task, name, run.seed))
        else:  # our control
            assert name == "LP-FT"
            assert run.learning_rate == rate_of(run.task, "FT", "roberta-base")
    assert len(found) == 5 * 4 * 5
    assert {run.epochs for run in runs} == {10}


def test_the_ledger_has_every_number_of_the_paper_once():
    paper = reported()
    assert len(paper) == 633
    ledger = compare("smoke")  # a study without such runs
    assert len(ledger) == 633
    assert set(ledger["verdict"]) == {NOT_RUN}


def test_improvements_in_print_are_their_differences():
    """What shows that the transcription has no slips."""
    paper = reported().set_index(["table", "dataset", "method", "quantity"])["mean"]
    for key, value in paper.items():
        if key[3].endswith("improvement"):
            kind = key[3].split()[0]
            without, scaled = (paper[*key[:3], f"{kind} {w}"] for w in ("w/o TS", "w/ TS"))
            assert value == pytest.approx(without - scaled, abs=0.011)


def test_numbers_are_printed_with_three_digits():
    assert number(7250000.0, math.nan) == "7.25e+06"
    assert number(0.33612, 0.0214).startswith("0.336 ")
