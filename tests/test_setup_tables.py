"""The tables of tasks and grids say what the parameter files say."""

import pandas as pd
import pytest

from made_up_study import MadeUpStudy
from tangentlm.malladi.setup import at_the_edge, grid_values, tasks_and_prompts
from tangentlm.params import load_grid
from tangentlm.tasks import load_task

# Of Table 2 of Malladi-v1: classes, training rows, test rows.
PRINTED = {"sst2": (2, 67_349, 872), "trec": (6, 5_452, 500), "mnli": (3, 392_702, 1_000)}


@pytest.mark.parametrize("name", PRINTED)
def test_a_task_stands_beside_the_paper(name):
    (row,) = tasks_and_prompts([name]).to_dict("records")
    assert (row["classes"], row["paper_train"], row["paper_test"]) == PRINTED[name]
    task = load_task(name)
    assert row["template"] == task.template
    assert row["label_words"] == ", ".join(task.label_words)


def test_every_task_of_the_paper_was_counted():
    names = "sst2 sst5 mr cr mpqa subj trec agnews mnli snli qnli rte mrpc qqp"
    table = tasks_and_prompts(names.split())
    assert table.notna().all(axis=None)
    # A split is drawn from training rows, and every class must have them for k = 64.
    assert (table["smallest_class"] * table["classes"] <= table["train"]).all()
    assert (table.loc[table["task"] != "trec", "smallest_class"] >= 2 * 64).all()


def test_a_task_of_ours_has_no_counts_of_the_paper():
    (row,) = tasks_and_prompts(["reviews"]).to_dict("records")
    assert row["train"] > 0
    assert row["paper_train"] != row["paper_train"]


def test_grids_stand_side_by_side():
    table = grid_values(["malladi", "quick"]).set_index(["method", "hyperparameter"])
    assert table.loc[("sgd", "learning rate"), "malladi"] == "0.0001, 0.0005, 0.001, 0.005, 0.01"
    assert table.loc[("fine-tuning", "steps (in kC)"), "malladi"] == "32"
    assert table.loc[("kernel regression", "f0 scale"), "malladi"].endswith("10000, inf")
    quick = load_grid("quick")
    assert table.loc[("fine-tuning", "steps (in kC)"), "quick"] == str(quick.steps)


def test_runs_that_chose_a_rate_at_the_edge_are_counted(tmp_path, monkeypatch):
    study = MadeUpStudy(tmp_path)
    monkeypatch.setenv("TANGENTLM_ROOT", str(tmp_path))
    assert at_the_edge("pocket").empty
    study.add("finetune", "sgd", [80.0] * 4, best_learning_rate=[0.1, 0.1, 0.01, 0.001])
    study.add("finetune", "adam", [80.0], best_learning_rate=0.01)
    runs = pd.read_csv(tmp_path / "results" / "pocket" / "finetune.csv")["run"]
    tried = pd.MultiIndex.from_product([runs, [0.001, 0.01, 0.1]], names=["run", "learning_rate"])
    tried.to_frame(index=False).to_csv(
        tmp_path / "results" / "pocket" / "finetune-grid_table.csv", index=False
    )
    found = at_the_edge("pocket").set_index("method")
    assert found.loc["SGD-FT"].to_dict() == {"runs": 4, "rates": 3, "largest": 2, "smallest": 1}
    assert found.loc["Adam-FT"].to_dict() == {"runs": 1, "rates": 3, "largest": 0, "smallest": 0}
