"""Statistics and claims of Tomihari and Sato, on made-up runs and on the paper's own means."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t, ttest_1samp

from tangentlm.analysis.verdicts import FAILS, HOLDS, NOT_RUN, UNDECIDED
from tangentlm.params import load_study
from tangentlm.tomihari import claims, evidence, learned, measurements, statements
from tangentlm.tomihari.compared import larger_rank
from tangentlm.tomihari.ledger import compare
from tangentlm.tomihari.measurements import METHODS, rate_of, reported
from tangentlm.tomihari.shares import change_shares
from tangentlm.tomihari.statistics import (
    at_large_norms,
    change_at_equal_loss,
    detectable,
    equal_loss_ratio,
    norm_scaling,
    slopes,
)
from tangentlm.tomihari.tables import hyperparameters, number
from tangentlm.tomihari.words import (
    accuracy_sentence,
    change_ratios,
    control_sentences,
    opening,
    reasons_sentence,
    shares_sentence,
    together_sentence,
    validation_sentence,
)

SEEDS = (1001, 2002, 3003)


def test_the_paper_s_means_carry_as_many_claims_as_were_counted_by_hand():
    counts = claims.paper_says().groupby("claim")["holds"].agg(["sum", "size"])
    found = {name.split()[0]: tuple(row) for name, row in counts.iterrows()}
    expected = {
        "1": (8, 9), "2": (8, 9), "3a": (5, 9), "4a": (12, 12), "5": (11, 12), "7a": (3, 3),
        "8a": (1, 3), "12b": (4, 4),
        "16a": (6, 8), "16b": (7, 8), "18": (4, 8), "19a": (5, 8), "20a": (2, 3),
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected


def test_the_paper_s_spread_carries_fewer():
    """Welch's interval from scratch, with the paper's five seeds."""
    told = claims.paper_says().dropna(subset="low").set_index(["claim", "dataset"])
    carried = told.index[told["verdict"] == HOLDS]
    # Of the five data sets on which LP-FT is ahead in print, SST-2 alone is beyond chance; WSC,
    # where all methods print the same number without a spread, is not ahead.
    assert list(carried[carried.get_level_values(0).str.startswith("19a ")]) == [
        ("19a LP-FT is right more often", "SST-2")
    ]
    assert told.loc[("19a LP-FT is right more often", "WSC"), "verdict"] == UNDECIDED
    paper = reported()
    paper = paper[(paper["table"] == 8) & (paper["dataset"] == "RTE")].set_index("method")
    first, second = (paper.loc[name, "std"] ** 2 / 5 for name in ("LP-FT", "FT"))
    freedom = (first + second) ** 2 / (first**2 / 4 + second**2 / 4)
    half = t.ppf(0.975, freedom) * math.sqrt(first + second)
    row = told.loc["19a LP-FT is right more often", "RTE"]
    assert (row["high"] - row["low"]) / 2 == pytest.approx(half)
    short = claims.claims_in_short(claims.judge_claims("smoke")).set_index("claim")
    assert short.loc["19a LP-FT is right more often", ["paper", "beyond chance"]].tolist() == [
        "5 of 8", "1",
    ]  # fmt: skip
    assert short.loc["1 LP grows the norm", "beyond chance"] == ""


def test_all_claims_have_names_of_their_own():
    names = [claim.name for claim in statements.CLAIMS]
    assert len(set(names)) == len(names)
    numbers = {name.split()[0].rstrip("abcdefg") for name in names}
    assert numbers == {str(n) for n in range(22)}


def test_change_at_equal_loss_is_interpolated():
    def trace(losses, moved):
        return pd.DataFrame({"train_loss": losses, "train_feature_change": moved})

    slow = trace([0.7, 0.5, 0.3], [0.0, 2.0, 4.0])
    fast = trace([0.6, 0.2, 0.1], [0.0, 4.0, 5.0])
    # Both reach a loss of 0.3: one at its last epoch, the other three quarters through its first.
    assert change_at_equal_loss(slow, fast) == pytest.approx((4.0, 3.0))
    assert change_at_equal_loss(slow, slow) == pytest.approx((4.0, 4.0))


def test_a_start_below_every_other_loss_leaves_no_comparison(monkeypatch):
    def trace(name, losses, moved):
        rows = {"epoch": [0, 1], "train_loss": losses, "train_feature_change": moved}
        return pd.DataFrame({"dataset": "CB", "name": name, "at_ft_rate": True, **rows})

    separated = [trace("LP-FT", [0.1, 0.05], [0.0, 1.0]), trace("FT", [0.7, 0.2], [0.0, 3.0])]
    table = pd.concat([one.assign(seed=seed) for seed in SEEDS for one in separated])
    assert (equal_loss_ratio(table, "LP-FT") == -math.inf).all()
    common = [trace("LP-FT", [0.5, 0.1], [0.0, 1.0]), trace("FT", [0.7, 0.1], [0.0, 3.0])]
    found = equal_loss_ratio(pd.concat(common).assign(seed=1), "LP-FT")
    assert found.to_numpy() == pytest.approx([-math.log(3)])

    seen = replace(made_up({}), traces=table.assign(main=False, weight_norm=1.0))
    monkeypatch.setattr(claims.Evidence, "of", classmethod(lambda cls, study: seen))
    tested = claims.judge_claims("none")
    own = tested[tested["claim"].str.startswith("4c ")]
    assert own["verdict"].tolist() == [claims.NO_RATIO]
    assert math.isnan(own["value"].iloc[0])
    text = control_sentences(change_ratios(tested), "CB")
    assert "same training loss: no comparison" in text
    short = claims.claims_in_short(tested).set_index("claim")
    assert short.loc[own["claim"].iloc[0], claims.NO_RATIO] == "CB"


def factorial(norm, direction, rate, interaction=1.0, noise=0.0):
    """Evidence whose five trainings move features by a product of given factors."""
    draws = np.random.default_rng(0)
    rows = []
    for seed in SEEDS:
        moves = {
            ("FT", "both"): 1.0,
            ("ft-from-random-at-lp-norm", "at_ft_rate"): norm,
            ("ft-from-lp-at-initial-norm", "at_ft_rate"): direction,
            ("LP-FT", "at_ft_rate"): norm * direction * interaction,
            ("LP-FT", "main"): norm * direction * interaction * rate,
        }
        for (name, which), factor in moves.items():
            rates = {one: which in ("both", one) for one in ("main", "at_ft_rate")}
            Diff = 5 * factor * math.exp(noise * draws.normal())
            rows.append({"dataset": "CB", "seed": seed, "name": name, "Diff": Diff, **rates})
    return replace(made_up({}), test=pd.DataFrame(rows))


def test_norm_direction_and_rate_multiply_to_the_whole():
    shares = change_shares(factorial(0.5, 0.8, 0.25)).set_index("part")
    expected = {"norm": 0.5, "direction": 0.8, "rate": 0.25, "all three": 0.1, "interaction": 1}
    assert shares["factor"].to_dict() == pytest.approx(expected)
    # An interaction goes to norm and direction in equal parts.
    shares = change_shares(factorial(0.5, 0.8, 0.25, interaction=0.25)).set_index("part")
    assert shares.loc["interaction", "factor"] == pytest.approx(0.25)
    assert shares.loc["norm", "factor"] == pytest.approx(0.5 * 0.5)
    assert shares.loc["direction", "factor"] == pytest.approx(0.8 * 0.5)


def test_words_of_the_shares():
    norms = made_up({"FT": {"probe_norm": 20.0, "initial_norm": 5.0}}).runs
    longer = change_shares(replace(factorial(0.25, 1.0, 0.5), runs=norms))
    assert longer["norm_ratio"].dropna().tolist() == pytest.approx([4.0], abs=0.01)
    text = shares_sentence(longer, "CB")
    assert "the norm, with LP 4 times that of a random head, multiplies the move by 0.2" in text
    text = shares_sentence(change_shares(factorial(0.25, 1.0, 0.5, noise=0.02)), "CB")
    assert "the norm multiplies the move by 0.2" in text
    assert "the norm and the rate make features move less" in text
    told = reasons_sentence(change_shares(factorial(0.25, 1.0, 0.5, noise=0.02)), ["CB", "RTE"])
    assert "on CB it is the norm (0.25) and the rate (0.49). The" in told
    assert reasons_sentence(change_shares(made_up({})), ["CB"]) == ""
    same = shares_sentence(change_shares(factorial(0.25, 1.0, 1.0)), "CB")
    assert "the rate is the same" in same
    assert shares_sentence(change_shares(made_up({})), "RTE").startswith("On RTE not all")
    tested = pd.DataFrame(
        [
            {
                "claim": "19a LP-FT",
                "dataset": "CB",
                "value": -6.5,
                "low": -20.0,
                "high": 7.0,
                "verdict": UNDECIDED,
            }
        ]
    )
    text = accuracy_sentence(tested, ["CB"])
    assert "is -6.5 points on CB (-20.0 to +7.0), not told from chance" in text
    both = pd.concat([tested, tested.assign(claim="19b the same", value=2.0, low=1.0, high=3.0)])
    text = accuracy_sentence(both, ["CB"])
    assert text.endswith("from chance; at FT's own rate +2.0 points on CB (+1.0 to +3.0).")
    assert accuracy_sentence(tested, ["RTE"]) == ""
    assert accuracy_sentence(tested.assign(verdict=claims.TOO_FEW_ROWS), ["CB"]) == ""


def scaling(heads):
    rows = [
        {"dataset": "CB", "seed": seed, "head": head, "norm": norm, "Diff": factor * norm**power,
         "scaled": True}
        for seed in SEEDS
        for head, (factor, power) in heads.items()
        for norm in (0.1, 1.0, 10.0, 100.0)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_norm_scaling_takes_either_head_at_one_rate():
    facts = [
        ("a", "random", "full", 5e-5), ("b", "lp-scaled:10", "full", 5e-5),
        ("c", "lp-scaled:10", "full", 5e-6), ("d", "random-scaled:2", "lora", 1e-3),
        ("e", "random-at-lp-norm", "full", 5e-5), ("f", "lp-times:2", "full", 5e-5),
        ("g", "lp-weight-scaled:5", "full", 5e-5),
    ]  # fmt: skip
    runs = pd.DataFrame(facts, columns=["run", "start", "adaptation", "learning_rate"])
    runs = runs.assign(model="minilm", start_norm=[0.5, 10, 10, 2, 11, 22, 5])
    rows = runs[["run", "start"]].assign(
        task="cb", dataset="CB", seed=1, samples="test", stage="tuned", Diff=3.0
    )
    found = norm_scaling(rows, runs)
    assert found[["head", "norm", "scaled"]].to_numpy().tolist() == [
        ["random", 0.5, False], ["lp", 10.0, True], ["random, LoRA", 2.0, True],
        ["lp", 22.0, True], ["lp, weight alone", 5.0, True],
    ]  # fmt: skip
    assert norm_scaling(pd.DataFrame(), runs).empty


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


def test_all_verdicts_are_judged_together_where_ft_learns(monkeypatch):
    near = {
        "test_score": 80.0, "majority_test": 50.0, "probe_norm": 20.0, "initial_norm": 0.9,
        "tuned_norm": 0.8, "residual_probe": 0.3, "residual_random": 0.7,
    }  # fmt: skip
    monkeypatch.setattr(
        claims.Evidence, "of", classmethod(lambda cls, study: made_up({"FT": near}))
    )
    tested = claims.judge_claims("none")
    row = tested.set_index("claim").loc["1 LP grows the norm"]
    spread = (row["high"] - row["low"]) / 2 / t.ppf(0.975, 2)
    assert row["p"] == pytest.approx(2 * t.sf(row["value"] / spread, 2))  # by hand, from zero
    decided = tested["verdict"].isin([HOLDS, FAILS])
    known = tested["p"].notna()
    assert (decided == (tested["p"] < 0.05))[known].all()
    same = tested[decided & ~known]  # what no seed changes here
    assert same["claim"].str.split().str[0].tolist() == ["0a", "21"]

    gated = claims.gate(tested).set_index("claim")
    family = gated["p_together"].dropna()
    assert statements.LEARNS not in family.index  # a condition, and no claim
    assert "1 LP grows the norm" in family.index
    assert family.max() >= family.min() >= gated.loc[family.index, "p"].min() * len(family) - 1e-12
    assert together_sentence(gated.reset_index()).startswith(f"Of {len(family)} verdicts ")

    worse = near | {"test_score": 50.0}  # FT learns nothing: no claim is judged on CB
    monkeypatch.setattr(
        claims.Evidence, "of", classmethod(lambda cls, study: made_up({"FT": worse}))
    )
    gated = claims.gate(claims.judge_claims("none"))
    assert gated.loc[gated["dataset"].notna(), "claim"].tolist() == [statements.LEARNS]
    assert gated["p_together"].isna().all()
    assert together_sentence(gated) == ""


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


def test_runs_are_known_by_their_rates(monkeypatch):
    facts = [("ft", 5e-5), ("ft", 5e-6), ("lp-ft", 5e-5), ("lp-ft", 5e-6), ("lora", 1e-3)]
    table = pd.DataFrame(facts, columns=["method", "learning_rate"]).assign(
        task="cb", model="minilm", batch_size=8
    )
    monkeypatch.setattr(measurements, "read_collected", lambda study, experiment: table)
    found = measurements.runs("any")
    assert found["name"].tolist() == ["FT", "FT", "LP-FT", "LP-FT", "LoRA"]
    assert found["main"].tolist() == [True, False, False, True, True]
    assert found["at_ft_rate"].tolist() == [True, False, True, False, False]
    assert found["at_tenth"].tolist() == [False, True, False, True, False]
    # At FT's rate, but with smaller batches LP-FT takes more steps.
    table = table.assign(batch_size=[16, 16, 8, 8, 8])
    found = measurements.runs("any")
    assert found["at_ft_rate"].tolist() == [True, False, False, False, False]


def check_control(run, table):
    """A control has the rate and batch of FT, or of LoRA, so that the head alone differs."""
    method = "FT" if run.adaptation == "full" else "LoRA"
    assert run.learning_rate == rate_of(run.task, method, "roberta-base")
    assert run.batch_size == int(table.loc[(run.task, method), "batch_size"])


def test_the_study_paper_has_the_paper_s_rates_and_batches():
    table = reported("tomihari_table6_hyperparameters").set_index(["dataset", "method"])
    runs = [run for run in load_study("paper") if run.experiment == "two_stage"]
    found = set()
    for run in runs:
        if run.start not in ("random", "lp"):  # our controls, and heads at a given norm
            check_control(run, table)
            continue
        name = METHODS[run.method]
        paper = table.loc[run.task, name]
        if run.learning_rate == float(paper["learning_rate"]):
            assert run.batch_size == int(paper["batch_size"])
            assert run.learning_rate == rate_of(run.task, name, "roberta-base")
            found.add((run.task, name, run.seed))
        else:  # our control
            assert name == "LP-FT"
            check_control(run, table)
    assert len(found) == 6 * 4 * 5
    assert {run.epochs for run in runs} == {10}


def test_the_ledger_has_every_number_of_the_paper_once():
    paper = reported()
    assert len(paper) == 633
    ledger = compare("smoke")  # a study without such runs
    assert len(ledger) == 633
    assert set(ledger["verdict"]) == {NOT_RUN}


def test_our_numbers_stand_beside_the_paper_s_own(monkeypatch):
    """Every kind of number of a made-up study has its place, and only the main rate counts."""
    main = {"seed": 1, "main": True, "stage": "tuned", "samples": "test", "run": "a"}
    features = [
        {**main, "dataset": "CoLA", "name": "LP-FT", "CS": 0.5, "Diff": 2.0, "FDR_pinv": 3.0,
         "accuracy": 80.0, "matthews": 57.0},
        {**main, "dataset": "CoLA", "name": "LP-FT", "stage": "probe", "CS": 0.7, "Diff": 0.0,
         "FDR_pinv": 1.0, "accuracy": 70.0, "matthews": 46.0},
        {**main, "dataset": "CoLA", "name": "FT", "main": False, "CS": 0.1, "Diff": 9.0,
         "FDR_pinv": 9.0, "accuracy": 9.0, "matthews": 9.0},
        {**main, "dataset": "CB", "name": "FT", "CS": 0.4, "Diff": 20.0, "FDR_pinv": 5.0,
         "accuracy": 81.0},
    ]  # fmt: skip
    heads = [{**main, "dataset": "CB", "name": "FT", "initial_norm": 0.9, "probe_norm": 24.0,
              "tuned_norm": 1.0}]  # fmt: skip
    errors = [{**main, "dataset": "CB", "name": "FT", "kind": "ECE", "without": 15.0,
               "scaled": 14.0}]  # fmt: skip
    kernel = [
        {"dataset": "CB", "seed": 1, "run": "k", "method": "LP-FT", "kernel": "F", "rank": 344,
         "frobenius": 7e6, "train_rows": 100.0, "test_rows": 86.0},
        {"dataset": "CB", "seed": 1, "run": "k", "method": "", "kernel": "P", "rank": 18,
         "frobenius": 5e4, "train_rows": 87.0, "test_rows": 79.0},
    ]  # fmt: skip
    ratios = [
        {"dataset": "CB", "seed": 1, "run": "k", "method": "LP-FT", "start": start, "way": "kernel",
         "ft_ratio": value}
        for start, value in (("lp", 1.0), ("lp-at-initial-norm", 0.6))
    ]  # fmt: skip
    tables = {"kernels": kernel, "ft_ratios": ratios}
    for name, rows in (("measured", features), ("runs", heads), ("calibrations", errors)):
        monkeypatch.setattr(measurements, name, lambda study, rows=rows: pd.DataFrame(rows))
    monkeypatch.setattr(measurements, "kernels", lambda study, name: pd.DataFrame(tables[name]))
    ledger = compare("any")
    assert len(ledger) == 633
    place = ["table", "dataset", "method", "kernel", "quantity"]
    ours = ledger.dropna(subset="ours").set_index(place)["ours"].to_dict()
    assert ours == {
        (8, "CoLA", "LP-FT", "", "matthews"): 57.0,
        (8, "CoLA", "LP", "", "matthews"): 46.0,
        (12, "CoLA", "LP-FT", "", "Diff(F)"): 2.0,
        (1, "CB", "FT", "", "CS(F)"): 0.4,
        (1, "CB", "FT", "", "Diff(F)"): 20.0,
        (1, "CB", "FT", "", "FDR(F)"): 5.0,
        (1, "CB", "FT", "", "Norm(C)"): 1.0,
        (1, "CB", "Pre-trained", "", "Norm(C)"): 0.9,
        (1, "CB", "LP", "", "Norm(C)"): 24.0,
        (8, "CB", "FT", "", "accuracy"): 81.0,
        (12, "CB", "FT", "", "Diff(F)"): 20.0,
        (13, "CB", "FT", "", "Norm(C)"): 1.0,
        (13, "CB", "Pre-trained", "", "Norm(C)"): 0.9,
        (13, "CB", "LP", "", "Norm(C)"): 24.0,
        (14, "CB", "FT", "", "ECE w/o TS"): 15.0,
        (14, "CB", "FT", "", "ECE w/ TS"): 14.0,
        (14, "CB", "FT", "", "ECE improvement"): 1.0,
        (2, "CB", "LP-FT", "FT_E", "Rank"): 344,
        (2, "CB", "LP-FT", "FT_E", "FN"): 7e6,
        (2, "CB", "LP-FT", "FT_E", "Acc train"): 100.0,
        (2, "CB", "LP-FT", "FT_E", "Acc test"): 86.0,
        (2, "CB", "-", "Pre-train_E", "Rank"): 18,
        (2, "CB", "-", "Pre-train_E", "FN"): 5e4,
        (2, "CB", "-", "Pre-train_E", "Acc train"): 87.0,
        (2, "CB", "-", "Pre-train_E", "Acc test"): 79.0,
        (2, "CB", "LP-FT", "", "FT Ratio"): 1.0,
    }


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


def test_what_no_seed_changes_has_no_p_and_is_in_no_family(monkeypatch):
    for tuned in ([1.0, 1.0, 1.0], [1.0, 1.1, 1.0]):
        seen = pd.DataFrame(
            {
                "dataset": "CB", "name": "FT", "main": True, "seed": SEEDS, "test_score": 70.0,
                "majority_test": 50.0, "initial_norm": 1.0, "probe_norm": 2.0, "tuned_norm": tuned,
                "residual_probe": 1.0, "residual_random": [1.0, 2.0, 3.0],
            }
        )  # fmt: skip
        known = replace(made_up({}), runs=seen)
        monkeypatch.setattr(claims.Evidence, "of", classmethod(lambda cls, study, at=known: at))
        gated = claims.gate(claims.judge_claims("none"))
        row = gated[gated["claim"].str.startswith("2 ")].iloc[0]
        same = len(set(tuned)) == 1
        assert row["verdict"] == HOLDS
        assert math.isnan(row["p"]) == same
        if not same:
            assert row["p"] == pytest.approx(ttest_1samp(np.log(2 / np.array(tuned)), 0).pvalue)
        told = together_sentence(gated).split("Every seed")[1]
        assert ("2 LP grows it more than FT (CB)" in told) == same


def test_validation_rows_say_what_ft_learns(monkeypatch):
    """Of 20 rows of which luck tells half, 18 are no luck; 13 are, the best of five epochs."""
    table = pd.DataFrame(
        {
            "name": "FT", "main": True, "dataset": ["CB"] * 3 + ["RTE"] * 3, "dev": 20,
            "dev_score": [90.0] * 3 + [65.0] * 3, "epochs": 5,
            "majority_dev": [math.nan, 50.0, math.nan, 50.0, 50.0, 50.0],
        }
    )  # fmt: skip
    monkeypatch.setattr(learned, "runs", lambda study: table)
    found = learned.learned_on_validation("none").set_index("dataset")
    assert found["learned"].to_dict() == {"CB": True, "RTE": False}
    assert found.loc["CB", "p"] == pytest.approx(5 * (190 + 20 + 1) / 2**20)
    validated = found.reset_index()
    assert "they agree: CB: 90 % of 20 rows" in validation_sentence(validated, ["CB"])
    assert "otherwise of CB and RTE" in validation_sentence(validated, ["RTE"])
    unknown = table.assign(majority_dev=math.nan)
    monkeypatch.setattr(learned, "runs", lambda study: unknown)
    assert learned.learned_on_validation("none").empty
    assert validation_sentence(learned.learned_on_validation("none"), ["CB"]) == ""


def test_a_claim_needs_its_rows_and_its_learner(monkeypatch):
    """LoRA learns nothing here, and the test set is too small to compare answers on it."""
    values = {
        "FT": {"test_score": 80.0, "majority_test": 50.0, "accuracy": 80.0, "Diff": 2.0},
        "LP-FT": {"test_score": 90.0, "majority_test": 50.0, "accuracy": 90.0, "Diff": 1.0},
        "LoRA": {"test_score": 50.0, "majority_test": 50.0, "accuracy": 50.0, "Diff": 2.0},
        "LP-LoRA": {"test_score": 50.0, "majority_test": 50.0, "accuracy": 50.0, "Diff": 1.0},
    }
    noise = np.tile([1.0, 1.1, 1.3], len(values))
    others = ("probe_norm", "initial_norm", "tuned_norm", "residual_probe", "residual_random")
    others += ("CS", "FDR_shrunk", "FDR_cross-fitted", "at_tenth")
    for rows, verdict in ((56, claims.TOO_FEW_ROWS), (500, HOLDS)):
        table = made_up(values).runs
        table = table.assign(
            count=rows, Diff=table["Diff"] * np.sort(noise), **dict.fromkeys(others, 1.0)
        )
        table["accuracy"] += np.where(table["name"] == "FT", noise, 0)
        known = replace(made_up({}), runs=table, test=table)
        monkeypatch.setattr(claims.Evidence, "of", classmethod(lambda cls, study, at=known: at))
        tested = claims.judge_claims("none")
        own = tested.set_index("claim").loc["19a LP-FT is right more often"]
        assert own["verdict"] == verdict
        assert math.isnan(own["p"]) == (rows == 56)
        gated = claims.gate(tested)
        assert "5 LP-LoRA moves them less than LoRA" in set(tested.dropna(subset="value")["claim"])
        assert not gated["claim"].str.startswith("5 ").any()
        assert gated["claim"].str.startswith("4a ").any()


def test_where_p_has_full_rank_there_is_no_comparison(monkeypatch):
    for full, expected in ((30, -math.inf), (40, 5.0)):
        table = pd.DataFrame(
            {
                "dataset": "CB", "seed": 1, "kernel": ["P", "F"], "method": ["", "FT"],
                "rank": [30, 35], "size": full,
            }
        )  # fmt: skip
        monkeypatch.setattr(measurements, "kernels", lambda study, name, table=table: table)
        assert larger_rank("rank")(made_up({})).tolist() == [expected]
