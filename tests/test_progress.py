"""How far a study is: counted by hand."""

import pandas as pd
import pytest
import yaml

from tangentlm.params import load_study, project_root
from tangentlm.studies.collect import read_collected
from tangentlm.studies.progress import study_progress


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Four kernels and two fine-tunings; two kernels are done, and one of a former study."""
    for name in ("assets", "book"):
        (tmp_path / name).symlink_to(project_root() / name)
    (tmp_path / "params").mkdir()
    for path in (project_root() / "params").iterdir():
        if path.name != "studies":
            (tmp_path / "params" / path.name).symlink_to(path)
    folder = tmp_path / "params" / "studies" / "mine"
    folder.mkdir(parents=True)
    given = {"task": "reviews", "k": 2, "seed": [13, 21]}
    (folder / "kernel.yaml").write_text(yaml.safe_dump(given | {"formula": ["sgd", "signgd"]}))
    (folder / "finetune.yaml").write_text(yaml.safe_dump(given))
    monkeypatch.setenv("TANGENTLM_ROOT", str(tmp_path))
    names = [run.name for run in load_study("mine") if run.experiment == "kernel"]
    assert len(names) == 4
    done = pd.DataFrame(
        {
            "run": [*names[:2], "of-before"],
            "seconds": [1800.0, 900.0, 100.0],
            "device": ["B", "A", "C"],
        }
    )
    (tmp_path / "results" / "mine").mkdir(parents=True)
    done.to_csv(tmp_path / "results" / "mine" / "kernel.csv", index=False)
    return "mine"


def test_done_runs_and_hours_are_counted(study):
    found = study_progress([study]).set_index("experiment")
    assert found.loc["kernel", ["runs", "done", "hours", "machines"]].tolist() == [
        4,
        2,
        0.75,
        "A, B",
    ]
    assert found.loc["finetune", ["runs", "done", "hours"]].tolist() == [2, 0, 0.0]
    assert found.loc["finetune", "machines"] == ""


def test_seconds_of_a_resumed_training_are_those_of_all_its_processes(study):
    runs = pd.DataFrame(
        {"run": ["resumed", "at-once"], "seconds": [60.0, 40.0], "training_seconds": [900.0, 30.0]}
    )
    runs.to_csv(project_root() / "results" / study / "pretrain.csv", index=False)
    assert read_collected(study, "pretrain")["seconds"].tolist() == [900.0, 40.0]
