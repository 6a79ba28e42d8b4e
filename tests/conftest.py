"""Every test runs offline, on one thread and without a data folder or corpus of the user's."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
# Also for the processes that tests start: threads that wait for each other burn a core each.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("TANGENTLM_DATA", None)
os.environ.pop("TANGENTLM_CORPUS", None)

from pathlib import Path

import pytest
import torch

from made_up_study import MadeUpStudy
from project_copy import copy_project
from tangentlm.studies.records import IDENTITY_VARIABLE

torch.set_num_threads(1)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A project of its own: parameters and templates copied, the large rest linked.

    Its folder's name is one that a shell splits and quotes unless it is handed on with care.
    """
    folder = copy_project(tmp_path / "my books ü'")
    monkeypatch.setenv("TANGENTLM_ROOT", str(folder))
    monkeypatch.setenv(IDENTITY_VARIABLE, "")  # whatever a test sets is taken back
    return folder


@pytest.fixture
def study(tmp_path, monkeypatch) -> MadeUpStudy:
    """A project whose results are made up, and empty at first."""
    made_up = MadeUpStudy(tmp_path)
    monkeypatch.setenv("TANGENTLM_ROOT", str(tmp_path))
    return made_up
