"""The project works wherever its folder is: blanks, umlauts and quotes in the path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pandas as pd
import pytest
import yaml

import tangentlm
from tangentlm.params import Run, load_study
from tangentlm.studies.done import standing


@pytest.fixture
def environment(root) -> Path:
    """The Python of an environment inside the project, with the packages of this one."""
    venv.create(root / ".venv", symlinks=os.name == "posix")
    scheme = {"base": str(root / ".venv"), "platbase": str(root / ".venv")}
    site = Path(sysconfig.get_path("purelib", "venv", scheme))
    (site / "packages.pth").write_text(
        f"{root / 'lib'}\n{sysconfig.get_path('purelib')}\n", encoding="utf-8"
    )
    shutil.copytree(Path(tangentlm.__file__).parents[1], root / "lib")
    return Path(sysconfig.get_path("scripts", "venv", scheme)) / Path(sys.executable).name


@pytest.fixture
def smoke(root) -> list[Run]:
    """The smoke study with one run of each experiment: a second would meet the folder no more."""
    experiments = {run.experiment for run in load_study("smoke")}
    for path in (root / "params" / "studies" / "smoke").iterdir():
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        one = {
            name: value[0] if isinstance(value, list) else value for name, value in given.items()
        }
        if "steps" in one:
            one["steps"] = 2
        path.write_text(yaml.safe_dump(one), encoding="utf-8")
    runs = load_study("smoke")
    assert sorted(run.experiment for run in runs) == sorted(experiments)
    return runs


@pytest.mark.slow
def test_the_smoke_study_runs_in_a_folder_with_a_blank_an_umlaut_and_a_quote(
    root, environment, smoke
):
    assert root.name == "my books ü'"
    # One job at a time: pre-training takes a thread for each, and other tests run beside this one.
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "TANGENTLM_ROOT")}
    done = subprocess.run(
        [str(environment), "-m", "tangentlm", "study", "smoke", "--jobs", "1"],
        capture_output=True, text=True, check=False, cwd=root, timeout=600, env=variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [standing(run, "smoke").state for run in smoke] == ["done"] * len(smoke)
    for run in smoke:
        table = pd.read_csv(root / "results" / "smoke" / f"{run.experiment}.csv")
        assert table["run"].tolist() == [run.name]
