"""What decides a run's result, as one hash: parameters, code, task, model and data.

A done run whose fingerprint is no longer the one in its record is stale. Runs take hours, so what
cannot change a result does not count: comments, docstrings and layout of code, the comments and
the ``about`` of a parameter file, and the modules that draw, refuse or write down: what the
parameters say is hashed, not how they are checked.
"""

from __future__ import annotations

import ast
import hashlib
import os
from functools import cache
from pathlib import Path

from tangentlm.data import DATA_VARIABLE, load_split
from tangentlm.models import checkpoint_location
from tangentlm.params import (
    MinilangRun,
    PretrainRun,
    ProbeRun,
    Run,
    TaskRun,
    digest,
    named_file,
    project_root,
    read_yaml,
)
from tangentlm.pretrain.corpus import open_corpus
from tangentlm.pretrain.probes import probes_file
from tangentlm.tasks import Task, task_of


def template(experiment: str) -> Path:
    """The notebook that an experiment's runs execute.

    Args:
        experiment: The experiment's name.

    Returns:
        ``book/experiments/<experiment>.py``.
    """
    return project_root() / "book" / "experiments" / f"{experiment}.py"


def source_files(start: Path) -> list[Path]:
    """A Python file and every module of the library that its numbers need, directly or not.

    A name that a package hands on from one of its modules leads to that module, not to the rest of
    the package. Modules that only draw, refuse or write down are left out.

    Args:
        start: The file.

    Returns:
        Sorted paths.
    """
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path not in found and _decides(path):
            found.add(path)
            for node in ast.walk(_tree(path)):
                waiting += [file for name in _imported(node) for file in _files_of(name)]
    return sorted(found)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imported(node: ast.AST) -> list[str]:
    """The dotted names that an import statement asks for; of another node none."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def _files_of(name: str) -> list[Path]:
    """The files of the library that a dotted name leads to."""
    root, *parts = name.split(".")
    if root != "tangentlm":
        return []
    here = Path(__file__).parent
    for part in parts:
        if (here / f"{part}.py").is_file():
            return [here / f"{part}.py"]
        if not (here / part).is_dir():
            handed_on = _names_handed_on(here / "__init__.py").get(part)
            return _files_of(handed_on) if handed_on else [here / "__init__.py"]
        here = here / part
    return [here / "__init__.py"]


def _names_handed_on(package: Path) -> dict[str, str]:
    """The names that a package imports from its modules, with where they come from."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in _tree(package).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _decides(path: Path) -> bool:
    """Whether the code of a file can change a run's numbers."""
    package = Path(__file__).parent
    if not path.is_relative_to(package):
        return True
    room, *rest = path.relative_to(package).parts
    if room == "params":
        return rest in (["grids.py"], ["recipes.py"])
    return room not in ("figures", "errors.py", "records.py")


@cache
def _file_digest(path: Path, _size: int, _mtime: int) -> str:
    if path.suffix == ".py":
        return digest(_code(path.read_text(encoding="utf-8")))
    if path.suffix == ".yaml":
        return digest({k: v for k, v in read_yaml(path).items() if k != "about"})
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _code(source: str) -> str:
    """Python source without its comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _digest_of(path: Path) -> str:
    status = path.stat()
    return _file_digest(path, status.st_size, status.st_mtime_ns)


@cache
def _split_checksum(task: Task, k: int, seed: int, data: str | None, test_size: int) -> str:
    return load_split(task, k, seed, data=data, test_size=test_size).checksum


def fingerprint(run: Run) -> str:
    """The hash of all that decides a run's result: parameters, code, task, model and data.

    Args:
        run: The run.

    Returns:
        64 hexadecimal digits.
    """
    files = source_files(template(run.experiment))
    more: list[Path] = []
    inputs: dict[str, object] = {}
    if isinstance(run, TaskRun):
        more, inputs = _inputs_of_task_run(run)
    elif isinstance(run, PretrainRun):
        more, inputs = _inputs_of_pretraining(run)
    elif isinstance(run, MinilangRun):
        more = [named_file("recipe", run.recipe), named_file("grid", run.grid)]
    elif isinstance(run, ProbeRun):
        more, inputs = (
            [*_model_files(run.model), probes_file()],
            {"corpus": open_corpus(run.corpus).checksum},
        )
    return digest(
        {
            "parameters": run.identity(),
            "files": [[path.name, _digest_of(path)] for path in [*files, *more]],
            **inputs,
        }
    )


def _model_files(name: str) -> list[Path]:
    """The files of a model that is in a folder, but for its card."""
    folder = Path(checkpoint_location(name)[0])
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix != ".md")


def _inputs_of_task_run(run: TaskRun) -> tuple[list[Path], dict[str, object]]:
    """The files and the other inputs of a run on a task."""
    task = task_of(run)
    location, revision = checkpoint_location(run.model)
    files = [named_file("grid", run.grid), *_model_files(run.model)]
    data = run.data or os.environ.get(DATA_VARIABLE)
    local = task.bundled or data is not None
    return files, {
        "task": task.model_dump(mode="json"),
        "model": [Path(location).name if Path(location).is_dir() else location, revision],
        "split": _split_checksum(task, run.k, run.seed, run.data, run.test_size)
        if local
        else "hub",
    }


def _inputs_of_pretraining(run: PretrainRun) -> tuple[list[Path], dict[str, object]]:
    """The files and the other inputs of a pre-training: its recipe, the probes and the text."""
    files = [named_file("recipe", run.recipe), probes_file()]
    return files, {"corpus": open_corpus(run.corpus).checksum}
