"""A room imports only from rooms above it: import-linter says so, and notices when one does not."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tangentlm.params import project_root

LINT = "from importlinter.cli import lint_imports_command as lint; lint()"


def broken(folder):
    """The names of the contracts that the package in a folder breaks."""
    done = subprocess.run(
        [sys.executable, "-c", LINT, "--no-logo", "--no-cache"],
        capture_output=True, text=True, check=False, cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder / "lib"), *sys.path])},
    )  # fmt: skip
    names = re.findall(r"^(.+) BROKEN$", done.stdout, re.MULTILINE)
    assert done.returncode == int(bool(names)), done.stdout + done.stderr
    return names


@pytest.fixture
def package(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(project_root() / "lib", tmp_path / "lib", ignore=ignored)
    shutil.copy(project_root() / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_rooms_are_in_order(package):
    assert broken(package) == []


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("tasks/task.py", "from tangentlm.kernels import entk", "A room imports only"),
        ("figures/style.py", "from tangentlm.report import tables", "A room imports only"),
        ("kernels/tiles.py", "from tangentlm.params import digest", "The kernels know"),
        ("params/base.py", "import torch", "Parameters are read without torch"),
        ("tasks/splits.py", "def f():\n    import tangentlm.studies", "A room imports only"),
        ("afzal/tables.py", "from tangentlm.malladi import tables", "A room imports only"),
        ("newroom.py", "", "A room imports only"),
    ],
)
def test_a_forbidden_import_is_noticed(package, module, line, contract):
    path = package / "lib" / "tangentlm" / module
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    path.write_text(f"{before}\n{line}\n", encoding="utf-8")
    (name,) = broken(package)
    assert name.startswith(contract)
