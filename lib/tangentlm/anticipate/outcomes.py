"""The records of the study as one table: what was known of each choice, and what it reached."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from tangentlm.anticipate.predictors import PREDICTORS
from tangentlm.params import LayerTrainingRun, load_study
from tangentlm.studies.collect import read_collected, read_collected_table
from tangentlm.tasks import load_task

STUDY = "anticipate"
EARLY = "early_loss"
"""The predictor that is not known before training, as ``predictors`` calls it."""


@dataclass(frozen=True)
class Outcome:
    """What fine-tuning reaches.

    Attributes:
        label: Its name for people.
        better: +1 where larger is better, -1 where smaller is.
    """

    label: str
    better: Literal[1, -1]


OUTCOMES = {
    "eval_loss": Outcome("evaluation loss", -1),
    "train_loss": Outcome("training loss", -1),
    "accuracy": Outcome("accuracy", 1),
    "mean_train_loss": Outcome("mean training loss (speed)", -1),
}
"""By the names of the records; the first one is that of the primary test."""
_ABOUT_A_RUN = ["run", "model", "head", "task", "seed", "choices", "learning_rate"]
_ONE_CHOICE = ["model", "head", "task", "seed", "subset"]


def trained(study: str = STUDY) -> pd.DataFrame:
    """What every choice of layers reached, and what the control without layers did.

    Args:
        study: A study with runs of ``layer_training``.

    Returns:
        A row a run and choice: ``run``, ``model``, ``head``, ``task`` and its ``title``, ``seed``,
        ``choices`` (of which the run went through all), ``learning_rate``, ``subset``, ``size`` (0
        for the control), the ``OUTCOMES``, and ``early_loss``; empty where nothing was run.
    """
    runs = read_collected(study, "layer_training")
    rows = read_collected_table(study, "layer_training-outcomes")
    if runs.empty or rows.empty:
        return pd.DataFrame()
    titles = {name: load_task(name).title for name in runs["task"].unique()}
    about = runs[_ABOUT_A_RUN].assign(title=runs["task"].map(titles))
    both = about.merge(rows, on="run").rename(columns={"early_train_loss": EARLY})
    return both[[*about, "subset", "size", *OUTCOMES, EARLY]]


def choices(study: str = STUDY) -> pd.DataFrame:
    """What every choice of layers reached, beside what was known of it.

    Args:
        study: A study with runs of ``layer_training`` and ``anticipate``.

    Returns:
        As ``trained``, without the control and without seeds that have no predictors yet; also a
        column for each of ``PREDICTORS`` that was recorded.
    """
    reached = trained(study)
    runs = read_collected(study, STUDY)
    known = read_collected_table(study, f"{STUDY}-predictors")
    if reached.empty or runs.empty or known.empty:
        return pd.DataFrame()
    known = runs[["run", "model", "head", "task", "seed"]].merge(known, on="run")
    names = [name for name in PREDICTORS if name in known and name != EARLY]
    known = known.drop_duplicates(_ONE_CHOICE)[[*_ONE_CHOICE, *names]]
    return reached[reached["size"] > 0].merge(known, on=_ONE_CHOICE)


def main_rate(table: pd.DataFrame, study: str = STUDY) -> pd.DataFrame:
    """The rows at the learning rate that most runs of their model and choices are planned with.

    Args:
        table: From ``trained`` or ``choices``.
        study: The study whose plan counts, whatever of it is done.

    Returns:
        Some of its rows; the other rates are there to see how much hangs on it.
    """
    if table.empty:
        return table
    planned = [run for run in load_study(study) if isinstance(run, LayerTrainingRun)]
    rates: dict[tuple[str, str], Counter[float]] = {}
    for run in planned:
        rates.setdefault((run.model, run.choices), Counter())[run.learning_rate] += 1
    main = {(*arm, counts.most_common(1)[0][0]) for arm, counts in rates.items()}
    of_rows = zip(table["model"], table["choices"], table["learning_rate"], strict=True)
    return table[[of_row in main for of_row in of_rows]]
