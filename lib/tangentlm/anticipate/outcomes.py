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
EARLY = "early_train_loss"
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
ADAPTERS, WITH_HEAD = "adapters", "adapters and head"
"""Whose kernel predictors are of: the paper's is that without the head, so it is ours, too."""
_ABOUT_A_RUN = ["run", "model", "head", "task", "seed", "choices", "learning_rate"]
_A_PROBLEM = ["model", "head", "task", "seed"]


def trained(study: str = STUDY) -> pd.DataFrame:
    """What every choice of layers reached, and what the control without layers did.

    Args:
        study: A study with runs of ``layer_training``.

    Returns:
        A row a run and choice: ``run``, ``model``, ``head``, ``task`` and its ``title``, ``seed``,
        ``choices`` (of which the run went through all), ``learning_rate``, ``subset``, ``size`` (0
        for the control), the ``OUTCOMES``, and ``EARLY``; empty where nothing was run. Where no
        head is trained, the control is the model before training, of which the losses of training
        are missing.
    """
    runs = read_collected(study, "layer_training")
    rows = read_collected_table(study, "layer_training-outcomes")
    if runs.empty or rows.empty:
        return pd.DataFrame()
    untrained = runs[runs["head"] == "prompt"]
    untrained = pd.DataFrame(
        {
            "run": untrained["run"], "subset": "none", "size": 0,
            "eval_loss": untrained["loss_before"], "accuracy": untrained["before"],
        }
    )  # fmt: skip
    titles = {name: load_task(name).title for name in runs["task"].unique()}
    about = runs[_ABOUT_A_RUN].assign(title=runs["task"].map(titles))
    both = about.merge(pd.concat([untrained, rows], ignore_index=True), on="run")
    return both[[*about, "subset", "size", *OUTCOMES, EARLY]]


def choices(study: str = STUDY, kernel: str = ADAPTERS) -> pd.DataFrame:
    """What every choice of layers reached, beside what was known of it.

    Args:
        study: A study with runs of ``layer_training`` and ``anticipate``.
        kernel: ``ADAPTERS``, or ``WITH_HEAD`` where a head is trained.

    Returns:
        As ``trained``, without the control and without seeds that have no predictors yet; also a
        column for each of ``PREDICTORS`` that was recorded, those of features alike for all choices
        of a run.
    """
    reached = trained(study)
    runs = read_collected(study, STUDY)
    known = read_collected_table(study, f"{STUDY}-predictors")
    if reached.empty or runs.empty or known.empty:
        return pd.DataFrame()
    of_features = [name for name in PREDICTORS if name in runs]
    known = known[known["kernel"] == kernel]
    known = runs[["run", *_A_PROBLEM, *of_features]].merge(known, on="run")
    names = [name for name in PREDICTORS if name in known]
    one_choice = [*_A_PROBLEM, "subset"]
    known = known.drop_duplicates(one_choice)[[*one_choice, *names]]
    return reached[reached["size"] > 0].merge(known, on=one_choice)


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
