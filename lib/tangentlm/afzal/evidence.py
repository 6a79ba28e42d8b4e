"""What the paper's own Table 1 says: do condition number and outcome go together?

The paper expects a larger condition number where the losses are larger and the accuracy smaller.
Within a task nothing but the choice of layers changes; between tasks everything does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tangentlm.afzal.ledger import reported
from tangentlm.analysis.rank_correlation import (
    exact_stratified_p,
    kendall_tau,
    mean_tau,
    share_between,
)

OUTCOMES = {
    "train_loss": ("train loss", 1), "eval_loss": ("evaluation loss", 1),
    "eval_accuracy": ("evaluation accuracy", -1),
}  # fmt: skip
"""Each outcome's name, and the sign of the rank correlation that the paper claims."""
EVALUATION_ROWS = {"CoLA": 1043, "SST-2": 872, "Yelp": 50_000, "IMDb": 25_000}
"""Rows of the usual evaluation sets: GLUE's validation sets, and the test sets of the reviews'.
The paper names none, and says that its Yelp has stars, of which the set has 50,000 test rows."""
MAJORITIES = {"CoLA": 100 * 721 / 1043, "SST-2": 100 * 444 / 872, "Yelp": 60.0, "IMDb": 50.0}
"""Percent of those rows that have the most frequent label; of Yelp's five kinds of stars, equally
many each, three count as positive."""
TRAINING_ROWS = {"CoLA": 8551, "SST-2": 67_349, "Yelp": 650_000, "IMDb": 25_000}
"""Rows of the usual training sets; that of Yelp is the one with stars."""
_KAPPA = "condition_number"


def rank_correlations(table: pd.DataFrame | None = None) -> pd.DataFrame:
    """Kendall's tau of the condition number with each outcome, within and across tasks.

    Args:
        table: Like the paper's Table 1, which it is by default.

    Returns:
        A row an outcome: ``outcome``, ``claimed`` (+1 or -1), a column a task, ``mean`` over tasks
        with its exact ``p`` (orders within tasks), ``pooled`` over all rows, ``across`` (of the
        tasks' means, of the logarithm for the condition number) with its exact ``p_across``, and
        ``between``, the share of the outcome's variance that lies between tasks.
    """
    paper = reported(1) if table is None else table
    by_task = [rows for _, rows in paper.groupby("task", sort=False)]
    rows = []
    for name, (words, sign) in OUTCOMES.items():
        pairs = [(part[_KAPPA].to_numpy(), part[name].to_numpy()) for part in by_task]
        means = (
            [np.log(kappa).mean() for kappa, _ in pairs],
            [outcome.mean() for _, outcome in pairs],
        )
        rows.append(
            {
                "outcome": words, "claimed": sign,
                **{part["task"].iloc[0]: kendall_tau(part[_KAPPA], part[name]) for part in by_task},
                "mean": mean_tau(pairs), "p": exact_stratified_p(pairs),
                "pooled": kendall_tau(paper[_KAPPA], paper[name]),
                "across": kendall_tau(*means), "p_across": exact_stratified_p([means]),
                "between": share_between([outcome for _, outcome in pairs]),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def accuracy_ranges(table: pd.DataFrame | None = None) -> pd.DataFrame:
    """How far accuracy moves within a task, beside the error of one accuracy.

    Args:
        table: As for ``rank_correlations``.

    Returns:
        A row a task: ``title``, the mean ``accuracy``, its ``range`` in points over the choices of
        layers, ``error``, the binomial standard error of that mean on ``EVALUATION_ROWS``, and
        ``majority`` of ``MAJORITIES``.
    """
    paper = reported(1) if table is None else table
    rows = []
    for task, part in paper.groupby("task", sort=False):
        accuracy = part["eval_accuracy"]
        share = accuracy.mean() / 100
        error = 100 * np.sqrt(share * (1 - share) / EVALUATION_ROWS[str(task)])
        spread = accuracy.max() - accuracy.min()
        rows.append((task, accuracy.mean(), spread, error, MAJORITIES[str(task)]))
    return pd.DataFrame(rows, columns=["title", "accuracy", "range", "error", "majority"])


def falling(table: pd.DataFrame | None = None) -> list[str]:
    """The tasks in which the printed condition number falls though layers are added.

    Args:
        table: As for ``rank_correlations``.

    Returns:
        Their names; of queries and values, {0}, {0,11} and {0,5,11} in this order.
    """
    paper = reported(1) if table is None else table
    paper = paper[paper["lora_projections"] == "query+value"]
    return [str(task) for task, part in paper.groupby("task", sort=False) if _falls(part[_KAPPA])]


def largest_in_both(task: str, table: pd.DataFrame | None = None) -> list[bool]:
    """Whether a task has both the largest condition number and the largest train loss.

    Args:
        task: Its name in the table.
        table: As for ``rank_correlations``.

    Returns:
        An answer for each choice of layers and projections.
    """
    paper = reported(1) if table is None else table
    return [
        all(rows.loc[rows[name].idxmax(), "task"] == task for name in (_KAPPA, "train_loss"))
        for _, rows in paper.groupby(["lora_layers", "lora_projections"], sort=False)
    ]


def own_correlations(own: pd.DataFrame, model: str = "pocket") -> pd.DataFrame:
    """The same of our fine-tunings, and of what costs nothing to know: how many layers there are.

    Args:
        own: From ``fine_tunings.in_paper_words``.
        model: Whose; one with all the paper's choices of queries and values.

    Returns:
        A row an outcome: ``outcome``, ``claimed``, ``kappa`` (mean tau within tasks) with its exact
        ``p``, ``size`` (the same of the number of layers) with its ``p_size``, ``between`` (mean
        tau of kappa and the number of layers), and ``tasks``. Empty where fewer than two tasks have
        all of them.
    """
    if own.empty:
        return pd.DataFrame()
    chosen = own[(own["model"] == model) & own["choice"].str.startswith("q+v {")]
    chosen = chosen.dropna(subset=["kappa"])
    complete = chosen.groupby("title")["choice"].transform("nunique") == chosen["choice"].nunique()
    chosen = chosen[complete].rename(columns={"title": "task", "accuracy": "eval_accuracy"})
    if chosen["task"].nunique() < 2:
        return pd.DataFrame()
    by_kappa, by_size = (
        rank_correlations(chosen.rename(columns={name: _KAPPA})) for name in ("kappa", "size")
    )
    return by_kappa[["outcome", "claimed"]].assign(
        kappa=by_kappa["mean"], p=by_kappa["p"], size=by_size["mean"], p_size=by_size["p"],
        between=mean_tau([(rows["size"], rows["kappa"]) for _, rows in chosen.groupby("task")]),
        tasks=chosen["task"].nunique(),
    )  # fmt: skip


def _falls(values: Sequence[float]) -> bool:
    return bool((np.diff(np.asarray(values)) < 0).any())
