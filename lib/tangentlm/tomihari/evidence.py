"""What the claims are judged by: the tables of a study, and the numbers that the paper prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tangentlm.analysis.intervals import interval_of_difference
from tangentlm.tomihari import measurements
from tangentlm.tomihari.measurements import PAPER_SEEDS
from tangentlm.tomihari.statistics import kernel_value, norm_scaling, of_method, tuned_test


@dataclass(frozen=True)
class Evidence:
    """The tables of a study, read once.

    Attributes:
        runs: From ``measurements.runs``.
        test: Tuned models on their own test samples.
        shifted: Tuned models on other sets.
        errors: Calibration on their own test samples.
        traces: By epoch.
        scaling: From ``norm_scaling``.
        study: The study's name, for the tables of its kernels.
    """

    runs: pd.DataFrame
    test: pd.DataFrame
    shifted: pd.DataFrame
    errors: pd.DataFrame
    traces: pd.DataFrame
    scaling: pd.DataFrame
    study: str

    @classmethod
    def of(cls, study: str) -> Evidence:
        """Read the tables of a study.

        Args:
            study: Its name.

        Returns:
            The tables; those of what was not run are empty.
        """
        runs, found = measurements.runs(study), measurements.measured(study)
        errors = measurements.calibrations(study)
        return cls(
            runs,
            tuned_test(found, shifted=False),
            tuned_test(found, shifted=True),
            tuned_test(errors, shifted=False),
            measurements.traces(study),
            norm_scaling(found, runs),
            study,
        )

    def kernel(self, table: str, value: str, **same: str) -> pd.Series:
        """A column of the kernels' tables, by data set and seed."""
        return kernel_value(measurements.kernels(self.study, table), value, **same)

    def error(self, kind: str, name: str, column: str) -> pd.Series:
        """A calibration error of a method at its main rate."""
        chosen = self.errors if self.errors.empty else self.errors[self.errors["kind"] == kind]
        return of_method(chosen, column, name)


Ours = Callable[[Evidence], pd.Series]
Paper = Callable[[pd.DataFrame], pd.Series]


def printed(
    table: pd.DataFrame,
    numbers: int | tuple[int, ...],
    method: str,
    quantity: str,
    kernel: str = "",
    column: str = "mean",
) -> pd.Series:
    """The paper's means of a quantity of a method, by data set.

    Args:
        table: From ``measurements.reported``.
        numbers: Of the tables; where two print the same, the first one's counts.
        method: The paper's name.
        quantity: Likewise.
        kernel: Likewise.
        column: ``"mean"``, or ``"std"`` for the standard deviations.

    Returns:
        Values with the index ``dataset``.
    """
    wanted = (numbers,) if isinstance(numbers, int) else numbers
    chosen = table[table["table"].isin(wanted) & (table["method"] == method)]
    chosen = chosen[(chosen["quantity"] == quantity) & (chosen["kernel"] == kernel)]
    return chosen.drop_duplicates("dataset").set_index("dataset")[column]


def printed_ratio(
    numbers: int | tuple[int, ...], first: str, second: str, quantity: str,
    only: tuple[str, ...] | None = None,
) -> Paper:  # fmt: skip
    """log(first / second) of the paper's means."""

    def ratio(table: pd.DataFrame) -> pd.Series:
        values = np.log(
            printed(table, numbers, first, quantity) / printed(table, numbers, second, quantity)
        )
        return values if only is None else values[values.index.isin(only)]

    return ratio


def printed_difference(
    numbers: int | tuple[int, ...], first: str, second: str, quantities: tuple[str, ...],
    only: tuple[str, ...] | None = None,
) -> Paper:  # fmt: skip
    """First minus second of the paper's means."""

    def difference(table: pd.DataFrame) -> pd.Series:
        parts = [
            printed(table, numbers, first, quantity) - printed(table, numbers, second, quantity)
            for quantity in quantities
        ]
        values = pd.concat(parts)
        return values if only is None else values[values.index.isin(only)]

    return difference


def printed_half(
    numbers: int | tuple[int, ...], first: str, second: str, quantities: tuple[str, ...]
) -> Paper:
    """Half the width of the interval of ``printed_difference``: Welch's, of the paper's seeds."""

    def half(table: pd.DataFrame) -> pd.Series:
        stds = pd.concat(
            [
                pd.concat(
                    [
                        printed(table, numbers, name, quantity, column="std")
                        for name in (first, second)
                    ],
                    axis=1,
                )
                for quantity in quantities
            ]
        )
        return stds.apply(
            lambda row: interval_of_difference(0.0, tuple(row), (PAPER_SEEDS, PAPER_SEEDS)).half,
            axis=1,
        )

    return half


def printed_kernels(first: tuple[str, str], second: tuple[str, str], quantity: str) -> Paper:
    """First minus second of two kernels of Tables 2 and 9, each a method and a kernel."""
    return lambda table: (
        printed(table, (2, 9), first[0], quantity, first[1])
        - printed(table, (2, 9), second[0], quantity, second[1])
    )
