"""Our fine-tunings in the paper's words, from records that are made up; the padding hypothesis."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from tangentlm.afzal import fine_tunings, ledger, tables
from tangentlm.afzal.evidence import own_correlations
from tangentlm.afzal.fine_tunings import ALL_LAYERS, CONTROL, in_paper_words
from tangentlm.afzal.measurements import CHOICES
from tangentlm.afzal.padding import PRINTED, WAYS, by_padding, in_order
from tangentlm.analysis.verdicts import NOT_RUN, UNDECIDED
from tangentlm.studies.collect import results_folder

SUBSETS = {"0": 1, "3": 1, "0+3": 2, "0+2+3": 3, "1": 1, "0+1+2+3": 4}


@pytest.fixture
def records(root):
    """Two tasks, two seeds, every loss falling and kappa falling with the number of layers."""
    folder = results_folder("anticipate")
    assert str(folder).startswith(str(root))
    folder.mkdir(parents=True, exist_ok=True)
    printed = Path(__file__).parents[1] / "results" / "reported"
    shutil.copytree(printed, folder.parent / "reported")
    runs, reached, known, predictors = [], [], [], []
    for task in ("sst2", "subj"):
        for seed in (13, 21):
            about = {
                "model": "pocket", "head": "prompt", "task": task, "seed": seed, "choices": "every",
            }  # fmt: skip
            runs += [
                {
                    "run": f"{task}-{seed}-{rate}", **about, "learning_rate": rate,
                    "train_size": 256, "before": 50.0, "loss_before": 0.7, "seconds": 60.0,
                }
                for rate in (0.004, 0.001)
                if rate == 0.004 or (task, seed) == ("sst2", 13)
            ]  # fmt: skip
            known.append({"run": f"{task}-{seed}", **about, "kernel_seconds": 5.0})
            for subset, size in SUBSETS.items():
                values = {
                    "subset": subset, "size": size, "train_loss": 1 / size + seed / 1000,
                    "eval_loss": 2 / size, "accuracy": 60.0 + size, "mean_train_loss": 3 / size,
                }  # fmt: skip
                reached += [{"run": run["run"], **values} for run in runs if run["task"] == task
                            and run["seed"] == seed]  # fmt: skip
                predictors.append(
                    {"run": f"{task}-{seed}", "subset": subset, "kernel": "adapters",
                     "kappa": 100.0 / size + int(subset[0]) + seed}
                )  # fmt: skip
                predictors.append({**predictors[-1], "kernel": "adapters and head", "kappa": 1.0})
    for name, rows in {
        "layer_training": runs, "layer_training-outcomes": reached, "anticipate": known,
        "anticipate-predictors": predictors,
    }.items():  # fmt: skip
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)


@pytest.fixture
def own(records):
    return in_paper_words(fine_tunings.every_outcome())


def test_choices_have_the_papers_words(own):
    choices = {CONTROL, ALL_LAYERS, "q+v {0}", "q+v {11}", "q+v {0,11}", "q+v {0,5,11}"}
    assert set(own["choice"]) == choices  # layer 1 stands for none of the paper's
    assert len(own) == 12
    assert (own["seeds"] == 2).all()
    row = own[(own["title"] == "SST-2") & (own["choice"] == "q+v {0,5,11}")].iloc[0]
    assert (row["subset"], row["size"], row["train_size"]) == ("0+2+3", 3, 256)
    assert row["train_loss"] == pytest.approx(1 / 3 + 0.017)
    assert row[["train_loss_low", "train_loss_high"]].tolist() == pytest.approx(
        [1 / 3 + 0.013, 1 / 3 + 0.021]
    )
    assert row["kappa"] == pytest.approx(100 / 3 + 17)
    control = own[own["choice"] == CONTROL]
    assert control["accuracy"].tolist() == [50, 50]
    assert control["train_loss"].isna().all()


def test_the_rate_of_most_runs_counts(records):
    outcomes = fine_tunings.every_outcome()
    keys = ["task", "seed", "subset"]
    assert not outcomes.duplicated(keys).any()
    assert len(outcomes) == 4 * (len(SUBSETS) + 1)


def test_without_records_everything_is_empty(root):
    outcomes = fine_tunings.every_outcome("quick")
    own = in_paper_words(outcomes)
    assert outcomes.empty
    assert own.empty
    assert fine_tunings.training_seconds("quick").empty
    assert fine_tunings.known_kappas("quick").empty
    assert own_correlations(own).empty
    assert tables.own_table(own).empty
    assert tables.own_figure_1(own).empty


def test_seconds_of_one_choice(records):
    found = fine_tunings.training_seconds()
    assert found["fine_tuning_seconds"].tolist() == pytest.approx([60 / 6] * 5)
    assert found["ratio"].tolist() == pytest.approx([2.0] * 5)


def test_the_ledger_has_our_outcomes_and_they_decide_nothing(records, monkeypatch):
    monkeypatch.setattr(ledger, "kappas", lambda _study: pd.DataFrame())
    monkeypatch.setattr(ledger, "seconds", lambda _study: pd.DataFrame())
    rows = ledger.compare()
    found = rows.set_index(["title", "choice", "quantity"])
    loss = found.loc["SST-2", "q+v {0,5,11}", "train loss"]
    assert loss["ours"] == pytest.approx(1 / 3 + 0.017)
    assert loss["verdict"] == UNDECIDED
    assert loss["reason"] == "another model: pocket, 256 rows, 2 seeds"
    assert found.loc["SST-2", "q+v {0}", "evaluation accuracy"]["ours"] == 61
    assert found.loc["SST-2", "k {0,5,11}", "train loss"]["verdict"] == NOT_RUN
    assert found.loc["CoLA", "q+v {0}", "train loss"]["verdict"] == NOT_RUN
    first = tables.table_1(rows).set_index(["task", "layers"])
    assert first.loc["SST-2", "q+v {0}"]["trained"] == "pocket, 256 rows, 2 seeds"
    assert first.loc["SST-2", "q+v {0}"]["evaluation accuracy, ours"] == "61"
    assert first.loc["CoLA", "q+v {0}"]["trained"] == ""


def test_kappa_stands_beside_the_number_of_layers(own):
    """By hand: {0}, {11}, {0,11}, {0,5,11} have 1, 1, 2, 3 layers, and losses of 1, 1, 1/2, 1/3."""
    found = own_correlations(own).set_index("outcome")
    assert (found["tasks"] == 2).all()
    # Six pairs, of which one is tied in both: all five others agree.
    assert found["size"].tolist() == pytest.approx([-1, -1, 1])
    # kappa tells {0} from {11}, the losses do not: five of six pairs over sqrt(6 * 5).
    assert found["kappa"].tolist() == pytest.approx([5 / 30**0.5, 5 / 30**0.5, -5 / 30**0.5])
    assert found["between"].tolist() == pytest.approx([-5 / 30**0.5] * 3)
    assert (found["p"] < 0.05).all()


def test_a_task_without_all_choices_has_no_correlation(own):
    some = own[~((own["title"] == "Subj") & (own["choice"] == "q+v {11}"))]
    assert own_correlations(some).empty  # one task is left
    third = own[own["title"] == "SST-2"].assign(title="CR")
    assert (own_correlations(pd.concat([some, third]))["tasks"] == 2).all()


def test_tables_and_figure_of_ours(own):
    table = tables.own_table(own)
    assert len(table) == 12
    assert table.loc[table["choice"] == CONTROL, "kappa"].tolist() == ["", ""]
    few = own[own["choice"].isin([CONTROL, ALL_LAYERS])]
    assert tables.own_table(few).empty
    points = tables.own_figure_1(own)
    assert points["panel"].unique().tolist() == list(tables.FIGURE_1.values())
    assert len(points) == 6
    assert points["value"].tolist()[4:] == [64, 64]


def measured():
    rows = []
    for task, kappa in (("CoLA", 40.0), ("SST-2", 30.0), ("Yelp", 20.0), ("IMDb", 10.0)):
        for choice in CHOICES:
            for draw in (0, 1):
                rows.append(
                    {"title": task, "choice": choice, "pads": "attended", "formula": "sgd",
                     "dropout": 0.0, "max_length": 512, "head": 0, "draw": draw,
                     "kappa": kappa + draw}
                )  # fmt: skip
    return pd.DataFrame(rows)


def test_tasks_stand_beside_each_other_for_each_way_to_treat_padding():
    padding = by_padding(ledger.compare(), measured())
    assert padding["panel"].unique().tolist() == [PRINTED, "minilm, padding read"]
    table = in_order(padding).set_index(["layers", "whose"])
    printed, ours = (table.loc["k {0,5,11}", name] for name in (PRINTED, "minilm, padding read"))
    assert printed[["CoLA", "IMDb"]].tolist() == ["2,320", "9.605"]
    assert ours["CoLA"] == "40.5 (40 to 41)"
    assert ours["tau with printed"] == printed["tau with printed"] == 1
    assert len(WAYS) == 3


def test_a_task_that_was_not_run_leaves_no_correlation():
    some = measured()
    table = in_order(by_padding(ledger.compare(), some[some["title"] != "Yelp"]))
    row = table.set_index(["layers", "whose"]).loc["k {0,5,11}", "minilm, padding read"]
    assert row["Yelp"] == NOT_RUN
    assert pd.isna(row["tau with printed"])
