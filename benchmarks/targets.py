"""What the engine is meant to reach on two CPU cores, beside what was measured."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Results:
    """The results files of one device.

    Attributes:
        folder: Where they are.
    """

    folder: Path

    def part(self, name: str) -> pd.DataFrame:
        """The rows of a part.

        Args:
            name: The part.

        Returns:
            Its table; an empty one if it has not been run.
        """
        path = self.folder / f"{name}.csv"
        return pd.read_csv(path) if path.is_file() else pd.DataFrame()

    def speed(self, formula: str, method: str = "entk") -> pd.Series[Any]:
        """One row of the part ``speed``, in float32.

        Args:
            formula: A formula of ``entk``.
            method: What computed the kernel.

        Returns:
            The row.
        """
        rows = self.part("speed").set_index(["precision", "method", "formula"])
        return rows.loc["float32", method, formula]


@dataclass(frozen=True)
class Target:
    """A bound, and how to read the number that it binds.

    Attributes:
        about: What is bound.
        bound: The number.
        measured: Reads it from the results.
        least: Whether the bound is the least, not the most.
    """

    about: str
    bound: float
    measured: Callable[[Results], Any]
    least: bool = False

    def row(self, results: Results) -> dict[str, Any]:
        """The target beside what was measured.

        Args:
            results: The results.

        Returns:
            A row of the table of targets.
        """
        row = {"target": self.about, "bound": f"{'>=' if self.least else '<='} {self.bound:g}"}
        try:
            found = float(self.measured(results))
        except (KeyError, IndexError):
            return row | {"measured": None, "verdict": "not run"}
        met = (operator.ge if self.least else operator.le)(found, self.bound)
        return row | {"measured": found, "verdict": "met" if met else "missed"}


def _slower(formula: str) -> Callable[[Results], float]:
    return lambda found: found.speed(formula)["seconds"] / found.speed("sgd")["seconds"]


def _speedup(found: Results) -> float:
    reference: float = found.speed("sgd", "VJP and JVP, scaled")["seconds"]
    return reference / found.speed("sgd")["seconds"]


TARGETS = (
    Target(
        "share of the measured rate of matrix products, sgd",
        0.5,
        lambda found: found.speed("sgd")["share_of_rate"],
        least=True,
    ),
    Target("times as fast as one VJP a row and one JVP an entry", 15, _speedup, least=True),
    Target("time of signgd over that of sgd", 1.6, _slower("signgd")),
    Target("time of asymmetric-signgd over that of sgd", 1.6, _slower("asymmetric-signgd")),
    Target(
        "GiB beyond the model, SST-2 16-shot, all kernels",
        3,
        lambda found: found.part("set")["memory_gib"].max(),
    ),
    Target(
        "GiB beyond the model, the most over all M",
        3,
        lambda found: found.part("columns")["memory_gib"].max(),
    ),
    Target(
        "GiB beyond the model, 1024 rows",
        24,
        lambda found: found.part("memory").set_index("rows")["memory_gib"].loc[1024],
    ),
)


def targets(folder: Path) -> pd.DataFrame:
    """Every target with its verdict.

    Args:
        folder: Where the results are.

    Returns:
        Columns ``target``, ``bound``, ``measured`` and ``verdict``.
    """
    results = Results(folder)
    return pd.DataFrame([target.row(results) for target in TARGETS])
