"""The paper's numbers beside ours: ledger, evidence of its own table, claims and tables."""

import itertools

import numpy as np
import pandas as pd
import pytest
from transformers import RobertaConfig, RobertaForMaskedLM

from tangentlm import figures
from tangentlm.afzal import claims, ledger, measurements, tables
from tangentlm.afzal.evidence import (
    accuracy_ranges,
    falling,
    largest_in_both,
    rank_correlations,
)
from tangentlm.afzal.measurements import CHOICES
from tangentlm.afzal.theorem import draw_objectives
from tangentlm.analysis.rank_correlation import kendall_tau
from tangentlm.analysis.verdicts import COMPATIBLE, DIFFERS, FAILS, HOLDS, NOT_RUN, UNDECIDED
from tangentlm.errors import InputError
from tangentlm.studies.collect import results_folder


def made_up(smallest=0.0, draws=2, growth=1.0):
    """Measurements of one task, whose largest eigenvalue grows from choice to choice."""
    rows = []
    for place, choice in enumerate(CHOICES):
        for head, draw in itertools.product(range(2), range(draws)):
            largest = 1.0 + growth * place + 0.01 * draw
            rows.append(
                {
                    "run": "a", "task": "cola", "title": "CoLA", "model": "minilm",
                    "formula": "sgd", "pads": "masked", "dropout": 0.0, "max_length": 512,
                    "kernel": choice, "choice": choice,
                    "head": head, "draw": draw, "largest": largest, "smallest": smallest,
                    "kappa": (largest + 1e-4) / (smallest + 1e-4), "sigma": 1e-4,
                    "samples": 32, "mean_tokens": 10.0,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_every_number_of_the_paper_has_its_row():
    numbers = ledger.paper_numbers()
    assert numbers["table"].value_counts().to_dict() == {
        "Table 1": 64, "Table 3": 36, "Table 2": 8, "Section 4.1": 2, "Section 4": 1,
        "Appendix A": 2,
    }  # fmt: skip
    assert not numbers.duplicated(["table", "title", "choice", "quantity"]).any()
    found = numbers.set_index(["title", "choice", "quantity"])["paper"]
    assert found["IMDb", "q+v {0,11}", "condition number"] == 5899
    assert found["CoLA", "k {0,5,11}", "evaluation accuracy"] == 73.25
    assert found["Yelp", "k {0,5,11}", "fine tuning seconds"] == 46096
    assert found["SST-2", "", "learning rate"] == 5e-4


def test_taus_of_the_printed_table():
    """By hand: Kendall's tau_b of the four rows of each task."""
    found = rank_correlations().set_index("outcome")
    tasks = ["CoLA", "SST-2", "Yelp", "IMDb"]
    expected = {
        "train loss": [2 / 3, 1 / 3, 0, 0],
        "evaluation loss": [-2 / 3, 1 / 3, -1 / np.sqrt(18), 0],
        "evaluation accuracy": [-3 / np.sqrt(30), -1, 1 / 3, 1 / np.sqrt(30)],
    }
    for outcome, taus in expected.items():
        assert found.loc[outcome, tasks].tolist() == pytest.approx(taus)
        assert found.loc[outcome, "mean"] == pytest.approx(np.mean(taus))
    assert found["pooled"].round(2).tolist() == [0.53, 0.46, -0.57]
    assert found["across"].tolist() == pytest.approx([2 / 3, 2 / 3, -1])
    assert found["p_across"].tolist() == pytest.approx([8 / 24, 8 / 24, 2 / 24])
    assert (100 * found["between"]).round(2).tolist() == [98.99, 99.96, 99.89]


@pytest.mark.parametrize("outcome", ["train_loss", "eval_loss", "eval_accuracy"])
def test_the_p_values_are_those_of_all_331776_orders(outcome):
    paper = ledger.reported(1)
    sums, observed = np.zeros(1), 0.0
    for _, rows in paper.groupby("task", sort=False):
        kappa, values = rows["condition_number"].to_numpy(), rows[outcome].to_numpy()
        orders = itertools.permutations(values)
        taus = np.array([kendall_tau(kappa, order) for order in orders])
        sums = np.add.outer(sums, taus).ravel()
        observed += kendall_tau(kappa, values)
    assert len(sums) == 24**4
    expected = np.mean(abs(sums) >= abs(observed) - 1e-9)
    place = list(paper.columns).index(outcome) - list(paper.columns).index("train_loss")
    assert rank_correlations()["p"].iloc[place] == pytest.approx(expected)


def test_accuracy_moves_less_than_its_own_error():
    found = accuracy_ranges().set_index("title")
    assert found["range"].round(2).tolist() == [0.29, 0.92, 0.04, 0.07]
    assert found["error"].round(2).tolist() == [1.37, 1.27, 0.14, 0.19]
    assert found["majority"].round(1).tolist() == [69.1, 50.9, 60, 50]


def test_the_printed_condition_numbers_fall_for_three_tasks():
    assert falling() == ["CoLA", "Yelp", "IMDb"]
    assert falling(ledger.reported(1).query("task == 'SST-2'")) == []


def verdict(measured, name):
    judged = claims.judge_claims(measured).set_index("claim")
    return judged.loc[name, "verdict"]


def test_claims_without_runs_are_judged_where_the_paper_decides():
    judged = claims.judge_claims(pd.DataFrame()).set_index("claim")["verdict"]
    assert judged["Theorem 1, lower bound"] == FAILS
    assert judged["Theorem 1, upper bound"] == HOLDS
    assert judged["Table 1 fits a lambda_min of zero"] == FAILS
    assert (judged[[name for name in judged.index if ", choices" in name]] == UNDECIDED).all()
    assert (judged[[name for name in judged.index if ", tasks" in name]] == UNDECIDED).all()
    assert judged["lambda_min is close to zero"] == judged["32 samples suffice"] == NOT_RUN
    assert judged["kappa bounds the risk"] == FAILS
    assert judged["Equation (9) solves equation (6)"] == FAILS
    assert judged["CoLA is largest in both"] == judged["the head has most parameters"] == HOLDS
    assert judged["Yelp and IMDb are larger"] == FAILS
    assert judged["lazy regime"] == judged["other adapters"] == NOT_RUN


def test_only_runs_at_the_defaults_are_judged():
    """Other options have other condition numbers, which are not what a claim is about."""
    one = made_up(smallest=1.0)
    others = [
        made_up().assign(**{name: value})
        for name, value in {"pads": "attended", "dropout": 0.1, "max_length": 64}.items()
    ]
    assert verdict(pd.concat([one, *others]), "lambda_min is close to zero") == FAILS
    assert len(measurements.with_options(pd.concat([one, *others]), dropout=0.1)) == len(one)


@pytest.mark.parametrize(
    ("ratio", "expected"), [([5.0, 2.0], HOLDS), ([5.0, 0.5], FAILS), ([], NOT_RUN)]
)
def test_the_kernel_is_cheap_where_every_fine_tuning_takes_longer(monkeypatch, ratio, expected):
    monkeypatch.setattr(claims, "training_seconds", lambda: pd.DataFrame({"ratio": ratio}))
    assert verdict(pd.DataFrame(), "the kernel is cheap") == expected


def test_equation_9_is_not_the_minimiser_of_equation_6():
    """Against a search for the least among all multiples of sigma."""
    table = draw_objectives(20, n=5, seed=1)
    assert (table["printed"] > table["least"]).all()
    rng = np.random.default_rng(1)
    for least in table["least"]:
        G, y, sigma = rng.normal(size=(5, 5)), rng.normal(size=5), 10.0 ** rng.uniform(-4, 0)
        K = G @ G.T / 5
        risks = []
        for shift in sigma * np.geomspace(0.5, 50, 200):
            a = np.linalg.solve(K + shift * np.eye(5), y)
            risks.append(np.mean((K @ a - y) ** 2) + sigma * a @ K @ a)
        assert least <= min(risks)
        assert least == pytest.approx(min(risks), rel=1e-2)


def test_which_task_is_largest_in_both():
    table = pd.DataFrame(
        {
            "task": ["a", "b"] * 2, "lora_layers": ["0", "0", "1", "1"], "lora_projections": "key",
            "condition_number": [2.0, 1.0, 2.0, 1.0], "train_loss": [2.0, 1.0, 1.0, 2.0],
        }
    )  # fmt: skip
    assert largest_in_both("a", table) == [True, False]
    assert largest_in_both("CoLA") == [True] * 4


def test_claims_on_eigenvalues_follow_the_numbers():
    zero, one = made_up(), made_up(smallest=1.0)
    for name in ("lambda_min is close to zero", "kappa traces lambda_max"):
        assert (verdict(zero, name), verdict(one, name)) == (HOLDS, FAILS)
    assert verdict(made_up(), "32 samples suffice") == HOLDS
    spread = made_up()
    spread.loc[spread["draw"] == 1, "kappa"] *= 3
    assert verdict(spread, "32 samples suffice") == FAILS
    one_kernel = spread["kernel"] == spread["kernel"].iloc[0]
    mixed = pd.concat([spread[one_kernel], made_up()[~one_kernel]])
    assert verdict(mixed, "32 samples suffice") == UNDECIDED


def test_a_verdict_of_a_rank_correlation_needs_a_small_p():
    assert claims._of_tau(0.9, 0.01, 1) == HOLDS
    assert claims._of_tau(0.9, 0.01, -1) == FAILS
    assert claims._of_tau(-0.9, 0.2, -1) == UNDECIDED


def test_added_layers_are_counted():
    grown = claims.added_layers(made_up())
    assert (grown["largest"] == 0).all()
    assert (claims.added_layers(made_up(growth=-0.1))["largest"] == 100).any()


def test_a_condition_number_is_compatible_within_our_range(monkeypatch):
    monkeypatch.setattr(ledger, "every_outcome", pd.DataFrame)
    inside, outside = made_up(), made_up()
    inside["kappa"] = np.where(inside["draw"] == 0, 1.0, 20_000.0)
    for measured, expected in ((inside, COMPATIBLE), (outside, DIFFERS)):
        monkeypatch.setattr(ledger, "kappas", lambda _study, m=measured: m)
        monkeypatch.setattr(ledger, "seconds", lambda _study: pd.DataFrame())
        rows = ledger.compare().set_index(["title", "choice", "quantity"])
        first = rows.loc["CoLA", CHOICES[0], "condition number"]
        assert first["verdict"] == expected
        assert first["reason"] == "another model: minilm"
    assert rows.loc[("SST-2", CHOICES[0], "condition number"), "verdict"] == NOT_RUN
    assert rows.loc[("CoLA", CHOICES[0], "train loss"), "verdict"] == NOT_RUN
    assert rows.loc[("all", CHOICES[4], "parameters (M)"), "verdict"] == COMPATIBLE


def test_our_seconds_decide_nothing(monkeypatch):
    found = pd.DataFrame({"title": ["CoLA"], "pool": [48], "one_subset_seconds": [2.5]})
    monkeypatch.setattr(ledger, "kappas", lambda _study: pd.DataFrame())
    monkeypatch.setattr(ledger, "seconds", lambda _study: found)
    rows = ledger.compare()
    row = rows[(rows["title"] == "CoLA") & (rows["quantity"] == "ntk seconds")].iloc[0]
    assert (row["ours"], row["verdict"]) == (2.5, UNDECIDED)


def test_counts_of_parameters():
    assert ledger.lora_parameters(768, 8, 3) == 36_864
    assert ledger.head_parameters(768, 2) == 592_130
    config = RobertaConfig(
        vocab_size=90, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=34, type_vocab_size=1,
    )  # fmt: skip
    expected = sum(p.numel() for p in RobertaForMaskedLM(config).parameters())
    assert ledger.model_parameters(16, 3, vocabulary=90, positions=34) == expected


def test_tables_show_what_is_printed_and_what_is_not_run(monkeypatch):
    monkeypatch.setattr(ledger, "kappas", lambda _study: pd.DataFrame())
    monkeypatch.setattr(ledger, "seconds", lambda _study: pd.DataFrame())
    monkeypatch.setattr(ledger, "every_outcome", pd.DataFrame)
    first = tables.table_1(ledger.compare())
    assert len(first) == 16
    kappa, accuracy = "condition number, paper", "evaluation accuracy, paper"
    assert first.loc[15, ["task", "layers", kappa]].tolist() == ["IMDb", "k {0,5,11}", "9.605"]
    assert first.loc[0, ["train loss, paper", accuracy]].tolist() == ["0.5271", "73.15"]
    ours = [name for name in first if name.endswith(", ours")]
    assert len(ours) == 4
    assert (first[ours] == NOT_RUN).all(axis=None)
    assert set(first["trained"]) == {""}
    assert tables.table_2(pd.DataFrame())["ratio"].round(1).tolist() == [5.7, 12.6, 188.1, 28.0]
    assert len(tables.figure_1()) == 8
    within = tables.within_tasks()
    means = within.groupby(["panel", "task"])["value"].mean()
    assert np.allclose(means, 0)
    assert len(within) == 48


def test_runs_are_told_in_the_papers_words(root):
    folder = results_folder("afzal")
    assert str(folder).startswith(str(root))
    folder.mkdir(parents=True, exist_ok=True)
    names = ["q+v {0}", "q+v {5}", "q+v {0,5}", "q+v {0,3,5}", "k {0,3,5}"]
    pd.DataFrame(
        [
            {"run": run, "kernel": name, "draw": 0, "kappa": 1.0 + place, "largest": 1.0,
             "smallest": 0.1, "trace": 2.0, "head": head}
            for run in ("x", "y") for head in range(2) for place, name in enumerate(names)
        ]
    ).to_csv(folder / "condition-kappa.csv", index=False)  # fmt: skip
    about = {
        "task": "cola", "model": "minilm", "formula": "sgd", "pads": "masked", "samples": 32,
        "sigma": 1e-4, "mean_tokens": 12.0, "max_length": 512, "pool": 48,
        "all_subsets_seconds": 2.0,
        "one_subset_seconds": 1.0,
    }  # fmt: skip
    pd.DataFrame([{"run": "x", **about}, {"run": "y", **about, "pads": "attended"}]).to_csv(
        folder / "condition.csv", index=False
    )
    found = measurements.kappas()
    assert len(found) == 20
    assert found.loc[found["kernel"] == "k {0,3,5}", "choice"].unique().tolist() == ["k {0,5,11}"]
    assert found["title"].unique().tolist() == ["CoLA"]
    spread = measurements.spread_of(found, ["choice"])
    assert spread["ours"].tolist() == [1, 2, 3, 4, 5]
    assert spread["count"].tolist() == [4] * 5
    assert len(measurements.seconds()) == 1
    assert (found["dropout"] == 0).all()  # these runs are from before there was the option


def test_a_study_without_runs_is_an_empty_table():
    assert measurements.kappas("quick").empty
    assert measurements.seconds("quick").empty
    assert measurements.spread_of(pd.DataFrame(), ["choice"]).empty


def test_figures_have_a_panel_for_each_kind():
    drawn = figures.relations(
        tables.figure_1(), "kappa", "value", "task", panel="panel", label="x", xscale="log"
    )
    assert [axes.get_ylabel() for axes in drawn.axes] == list(tables.figure_1()["panel"].unique())
    assert len(drawn.axes[0].lines) == 4
    table = pd.DataFrame(
        {"p": ["a", "a", "b"], "g": ["1", "2", "1"], "row": ["x", "y", "z"],
         "value": [1.0, 2.0, 3.0], "low": 0.5, "high": 4.0}
    )  # fmt: skip
    drawn = figures.ranges(table, panel="p", group="g", label="x")
    assert [axes.get_title(loc="left") for axes in drawn.axes] == ["a", "b"]
    # The first row stands on top.
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == ["y", "x"]
    for draw in (
        lambda t: figures.ranges(t, panel="p", group="g", label="x"),
        lambda t: figures.relations(t, "value", "low", "g", panel="p", label="x"),
    ):
        with pytest.raises(InputError, match="no"):
            draw(table.iloc[:0])
