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

import tangentlm
from tangentlm.params import load_study
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


@pytest.mark.slow
def test_the_smoke_study_runs_in_a_folder_with_a_blank_an_umlaut_and_a_quote(root, environment):
    assert root.name == "my books ü'"
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "TANGENTLM_ROOT")}
    done = subprocess.run(
        [str(environment), "-m", "tangentlm", "study", "smoke", "--jobs", "2"],
        capture_output=True, text=True, check=False, cwd=root, timeout=600, env=variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    runs = load_study("smoke")
    assert [standing(run, "smoke").state for run in runs] == ["done"] * len(runs)
    for experiment in {run.experiment for run in runs}:
        table = pd.read_csv(root / "results" / "smoke" / f"{experiment}.csv")
        assert set(table["run"]) == {run.name for run in runs if run.experiment == experiment}
