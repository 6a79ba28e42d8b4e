"""A project whose results are made up: what the tests of ledger, claims and tables share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tangentlm.params import project_root
from tangentlm.tasks import Example, Split

SEEDS = (13, 21, 42, 87, 100)
KERNELS = ("sgd", "signgd", "asymmetric-signgd", "sgd-lora")
SPLIT = Split(
    train=(Example("good", None, 1), Example("bad", None, 0)),
    dev=(Example("fine", None, 1), Example("poor", None, 0)),
    test=(Example("so so", None, 0),),
    source="bundled",
    drawn="seed",
)
METRICS = {"test_score": 75.0, "metric": "accuracy", "zero_shot_test": 50.0, "rank": 4}
"""What a run read and found, for its record."""


class MadeUpStudy:
    """Writes runs of a study, one call a method, task and k."""

    def __init__(self, root: Path) -> None:
        for name in ("params", "assets", "book"):
            (root / name).symlink_to(project_root() / name)
        (root / "results").mkdir()
        (root / "results" / "reported").symlink_to(project_root() / "results" / "reported")
        self.root = root

    def add(
        self,
        experiment: str,
        method: str,
        values: Sequence[float],
        *,
        study: str = "pocket",
        task: str = "sst2",
        k: int = 16,
        model: str = "pocket",
        head: str = "prompt",
        prompt: str = "manual",
        metric: str = "accuracy",
        zero_shot: float = 55.0,
        distances: Sequence[float] | None = None,
        **more: Sequence[float | str] | float | str,
    ) -> None:
        """Runs on as many splits as there are values.

        ``distances`` are of the SGD kernel of test samples; that of training samples moved by ten
        times as much.
        """
        folder = self.root / "results" / study
        folder.mkdir(exist_ok=True)
        seeds = SEEDS[: len(values)]
        labels = more.get("labels", "")
        names = [f"{task}-k{k}-s{s}-{method}-{head}-{prompt}-{model}{labels}" for s in seeds]
        table = pd.DataFrame({
            "study": study, "run": names, "method": method, "task": task, "model": model,
            "head": head, "prompt": prompt, "k": k, "seed": seeds, "metric": metric,
            "test_score": values, "zero_shot_test": zero_shot, "seconds": 1.0, **more,
        })  # fmt: skip
        if experiment == "finetune" and "linearized_test" not in table:
            table["linearized_test"] = table["test_score"]
        self._append(folder / f"{experiment}.csv", table)
        if distances is not None:
            for samples, factor in (("train", 10.0), ("test", 1.0)):
                moved = pd.DataFrame({
                    "run": names, "formula": "sgd", "samples": samples,
                    "elementwise": [factor * distance for distance in distances],
                })  # fmt: skip
                self._append(folder / f"{experiment}-distances.csv", moved)

    def count(self, **most_frequent: float) -> None:
        """The share of the most frequent label of tasks, in percent."""
        path = self.root / "results" / "data" / "tasks.csv"
        path.parent.mkdir()
        shares = pd.Series(most_frequent, name="most_frequent")
        shares.rename_axis("task").to_csv(path)

    @staticmethod
    def _append(path: Path, table: pd.DataFrame) -> None:
        before = [pd.read_csv(path, keep_default_na=False)] if path.is_file() else []
        pd.concat([*before, table]).to_csv(path, index=False)
