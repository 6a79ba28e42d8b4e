"""Our solvers on the kernels that the authors of Malladi publish: ``results/published``.

The kernels were computed with RoBERTa-base, which takes days; to solve with them takes seconds. Who
has unpacked the archives (see ``tangentlm.kernels.published``) fills the kernel rows of Table 2
beside the paper's own numbers. The files hold no logits, so the pre-trained f0 is not used: where
the paper's grid chose it, a difference is no surprise.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tangentlm.errors import InputError
from tangentlm.kernels import PublishedKernel, load_published_kernel
from tangentlm.metrics import right_or_wrong, score
from tangentlm.params import load_grid
from tangentlm.solvers import SOLVERS, labels_of_decision, select
from tangentlm.studies.collect import results_folder
from tangentlm.tasks import list_tasks, load_task

STUDY = "published"
VARIABLE = "TANGENTLM_PUBLISHED"
MODEL = "roberta-base"
_FORMULAS = {
    "sgd": "sgd", "signgd": "signgd", "asymmetric_signgd": "asymmetric-signgd",
}  # fmt: skip
"""The archives' names, and those of our formulas."""
_SPLIT_FOLDER = re.compile(r"(?P<k>\d+)-(?P<seed>\d+)")


@dataclass(frozen=True)
class PublishedSplit:
    """The kernel files of a few-shot split.

    Attributes:
        formula: Which kernel.
        task: Our name of the task.
        k: Examples a class.
        seed: The split.
        train: The file with the kernel between training samples; those of dev and test are beside
            it.
    """

    formula: str
    task: str
    k: int
    seed: int
    train: Path

    @property
    def name(self) -> str:
        """As a run is named, e.g. ``sst2-k16-s13-sgd``."""
        return f"{self.task}-k{self.k}-s{self.seed}-{self.formula}"

    def read(self, part: str) -> PublishedKernel:
        """One of its files.

        Args:
            part: ``"train"``, ``"dev"`` or ``"test"``.

        Returns:
            Kernel and labels.
        """
        name = self.train.name.replace("train_", f"{part}_", 1)
        return load_published_kernel(self.train.with_name(name), self.formula)


def published_splits(folder: str | os.PathLike[str]) -> list[PublishedSplit]:
    """The splits whose kernels are in a folder.

    Args:
        folder: It holds the unpacked archives ``sgd``, ``signgd`` and ``asymmetric_signgd``, or
            some of them. In each, however deep, a split's files lie below a folder named k and
            seed, as the authors' code names it: ``16-13``.

    Returns:
        One each, sorted by formula, task, k and seed.

    Raises:
        InputError: If there is none.
    """
    found = [split for name in _FORMULAS for split in _of_archive(Path(folder), name)]
    if not found:
        raise InputError(
            f"{folder} has no kernels: below sgd, signgd or asymmetric_signgd there is no "
            "K-SEED/train_kernels_TASK.pt"
        )
    return sorted(found, key=lambda split: (split.formula, split.task, split.k, split.seed))


def _of_archive(folder: Path, name: str) -> Iterator[PublishedSplit]:
    known = {_plain(task): task for task in list_tasks()}
    for path in (folder / name).rglob("train_kernels_*.pt"):
        numbers = [_SPLIT_FOLDER.fullmatch(parent.name) for parent in path.parents]
        found = next((number for number in numbers if number), None)
        task = known.get(_plain(path.stem.removeprefix("train_kernels_")))
        if found and task:
            yield PublishedSplit(_FORMULAS[name], task, int(found["k"]), int(found["seed"]), path)


def _plain(task: str) -> str:
    """A task's name without what the authors write otherwise: "sst-2", "ag_news"."""
    return re.sub(r"[-_]", "", task.lower())


def solve_published(split: PublishedSplit, grid: str = "malladi") -> dict[str, Any]:
    """Kernel regression with one split's published kernels, chosen on dev.

    Args:
        split: The split.
        grid: Regularisations, from ``params/grids``; the pre-trained logits are not used.

    Returns:
        A row as ``read_collected`` has them of kernel runs.

    Raises:
        InputError: If a file is missing or is no kernel of this formula.
    """
    start = time.perf_counter()
    task = load_task(split.task)
    parts = {part: split.read(part) for part in ("train", "dev", "test")}
    values = {part: _evaluated(published) for part, published in parts.items()}
    asymmetric = split.formula == "asymmetric-signgd"
    solver_name = "asymmetric" if asymmetric else "least-squares"
    solver = SOLVERS[solver_name]()
    chosen = select(
        values["train"],
        parts["train"].labels,
        values["dev"],
        parts["dev"].labels,
        solver=solver,
        metric=task.metric,
        **{**load_grid(grid).of_solver(solver.GRID), "f0_scale": (np.inf,)},
    )
    labels = parts["test"].labels
    predicted = labels_of_decision(chosen.solver.decision_function(values["test"]))
    return {
        "study": STUDY,
        "run": split.name,
        "method": split.formula,
        "seed": split.seed,
        "task": split.task,
        "model": MODEL,
        "head": "prompt",
        "prompt": "manual",
        "k": split.k,
        "grid": grid,
        "formula": split.formula,
        "solver": solver_name,
        "test_score": score(labels, predicted, task.metric),
        "dev_score": chosen.dev_score,
        "metric": task.metric,
        "test_accuracy": score(labels, predicted),
        "zero_shot_test": np.nan,
        "regularization": chosen.solver.get_params()["regularization"],
        "f0_scale": np.inf,
        "num_classes": task.num_classes,
        "correct": right_or_wrong(labels, predicted),
        **{part: len(published.labels) for part, published in parts.items()},
        "seconds": time.perf_counter() - start,
    }


def _evaluated(published: PublishedKernel) -> Any:
    """The kernel with the axes that its solver wants."""
    kernel = published.kernel if published.reversed is None else published.reversed
    return kernel.values


def write_published(folder: str | os.PathLike[str] | None = None) -> Path:
    """Solve with all published kernels of a folder, and write ``results/published/kernel.csv``.

    Args:
        folder: See ``published_splits``; by default what the variable ``TANGENTLM_PUBLISHED`` says.

    Returns:
        The file.

    Raises:
        InputError: If no folder is named, or it has no kernels.
    """
    folder = folder or os.environ.get(VARIABLE)
    if not folder:
        raise InputError(f"which folder has the published kernels? Name it, or set {VARIABLE}")
    rows = []
    for split in published_splits(folder):
        rows.append(solve_published(split))
        print(f"{split.name}: test {rows[-1]['test_score']:.1f}", flush=True)
    path = results_folder(STUDY) / "kernel.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False)
    return path
