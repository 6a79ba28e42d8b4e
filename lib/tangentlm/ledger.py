"""The ledger: what the papers print beside what our runs give.

The tolerance is stated before looking: two means of independent draws count as the same where
they differ by at most two standard errors of their difference, plus the rounding of the paper's
last digit. With five splits on either side, two equal methods pass 19 times in 20.
"""

from __future__ import annotations

import math

import pandas as pd
from scipy.stats import t

from tangentlm.params import project_root
from tangentlm.records import read_collected
from tangentlm.tasks import list_tasks, load_task

PAPER_SEEDS = 5
"""Malladi et al. average over five splits."""
PAPER_MODEL = "roberta-base"
MIN_SPLITS = 3
"""An interval needs at least so many splits."""
_ROUNDING = 0.05
METHODS = {
    ("finetune", "sgd"): "SGD-FT",
    ("finetune", "adam"): "Adam-FT",
    ("kernel", "sgd"): "K-SGD",
    ("kernel", "signgd"): "K-SignGD",
    ("kernel", "asymmetric-signgd"): "K-A-SignGD",
}
"""The paper's names of our methods."""


def reported(name: str = "malladi") -> pd.DataFrame:
    """The numbers that a paper prints.

    Args:
        name: A file of ``results/reported``.

    Returns:
        One row a number.
    """
    return pd.read_csv(
        project_root() / "results" / "reported" / f"{name}.csv", keep_default_na=False
    )


def measured(study: str) -> pd.DataFrame:
    """Mean, spread and seeds of our runs of a study, by task, k and method.

    Args:
        study: The study.

    Returns:
        Columns ``task``, ``title``, ``k``, ``method``, ``model``, ``mean``, ``std`` (of a
        sample; missing for one seed), ``seeds``, their ``seed_list`` and ``runs``; zero-shot is
        a method, too.
    """
    frames = []
    for experiment in ("kernel", "finetune"):
        runs = read_collected(study, experiment)
        if not runs.empty:
            runs = runs[runs["head"] == "prompt"]
            frames.append(runs.assign(experiment=experiment, value=runs["test_score"]))
            zero_shot = runs.assign(
                experiment=experiment, value=runs["zero_shot_test"], method="zero-shot"
            )
            frames.append(zero_shot.drop_duplicates(["task", "k", "seed", "model"]))
    if not frames:
        return pd.DataFrame()
    rows = pd.concat(frames)
    rows["method"] = [
        METHODS.get((e, m), m) for e, m in zip(rows["experiment"], rows["method"], strict=True)
    ]
    rows = rows.drop_duplicates(["task", "k", "seed", "model", "method"])
    titles = {name: load_task(name).title for name in list_tasks()}
    groups = rows.groupby(["task", "k", "method", "model"], sort=False)
    table = groups.agg(
        mean=("value", "mean"),
        std=("value", "std"),
        seeds=("seed", "nunique"),
        runs=("run", " ".join),
        seed_list=("seed", lambda seeds: " ".join(map(str, seeds))),
        experiment=("experiment", "first"),
    ).reset_index()
    return table.assign(title=table["task"].map(titles))


def main_results() -> pd.DataFrame:
    """The numbers of the main results: Tables 2a and 2b of the ICML version of Malladi et al.

    Returns:
        One row a number.
    """
    paper = reported()
    chosen = paper["table"].isin(["Table 2a", "Table 2b"]) & (paper["prompt"] == "manual")
    return paper[chosen & (paper["paper"] == "malladi2023-icml")]


def compare(study: str) -> pd.DataFrame:
    """A row for each number of the paper's main results: paper, ours, difference, verdict.

    Args:
        study: The study whose runs are ours.

    Returns:
        Columns ``table``, ``k``, ``method``, ``task``, ``paper``, ``paper_std``, ``ours``,
        ``ours_std``, ``seeds``, ``difference``, ``tolerance``, ``verdict``, ``reason``.
    """
    ours = measured(study)
    rows = []
    for line in main_results().itertuples():
        found = pd.DataFrame()
        if not ours.empty:
            same = (ours["title"] == line.task) & (ours["method"] == line.method)
            found = ours[same & (ours["k"] == int(line.k))]
        rows.append(
            {
                "table": line.table,
                "k": int(line.k),
                "method": line.method,
                "task": line.task,
                "paper": float(line.mean),
                "paper_std": float(line.std),
                **_verdict(float(line.mean), float(line.std), found),
            }
        )
    return pd.DataFrame(rows)


def tolerance(paper_std: float, our_std: float, seeds: int) -> float:
    """How far two means may differ and still count as the same.

    Args:
        paper_std: The paper's standard deviation over its splits.
        our_std: Ours.
        seeds: Our number of splits.

    Returns:
        2 sqrt(paper_std^2 / 5 + our_std^2 / seeds) + 0.05.
    """
    return 2 * math.sqrt(paper_std**2 / PAPER_SEEDS + our_std**2 / seeds) + _ROUNDING


def _verdict(paper: float, paper_std: float, found: pd.DataFrame) -> dict[str, object]:
    nothing: dict[str, object] = dict.fromkeys(
        ("ours", "ours_std", "seeds", "difference", "tolerance")
    )
    if found.empty:
        return {**nothing, "verdict": "not run", "reason": "nobody has run it in this study"}
    ours = found.iloc[0]
    if ours["seeds"] < 2:
        values = {**nothing, "ours": ours["mean"], "seeds": 1, "difference": ours["mean"] - paper}
        return {**values, "verdict": "undecided", "reason": "one seed has no spread"}
    allowed = tolerance(paper_std, ours["std"], ours["seeds"])
    difference = ours["mean"] - paper
    other = "" if ours["model"] == PAPER_MODEL else f"another model: {ours['model']}"
    agrees = abs(difference) <= allowed
    return {
        "ours": ours["mean"],
        "ours_std": ours["std"],
        "seeds": int(ours["seeds"]),
        "difference": difference,
        "tolerance": allowed,
        "verdict": "reproduced" if agrees else "differs",
        "reason": other or ("" if agrees else "unexplained"),
    }


def interval(values: pd.Series) -> tuple[float, float, float]:
    """The mean of some measurements and its 95 % interval (Student's t).

    Args:
        values: One measurement, or one paired difference, a run.

    Returns:
        Mean, lower and upper end; the ends are NaN for fewer than ``MIN_SPLITS`` values, which say
        next to nothing of the spread.
    """
    mean, count = float(values.mean()), len(values)
    if count < MIN_SPLITS:
        return mean, math.nan, math.nan
    half = float(t.ppf(0.975, count - 1) * values.std() / math.sqrt(count))
    return mean, mean - half, mean + half


def paired_gaps(study: str) -> pd.DataFrame:
    """How far fine-tuning with SGD is ahead of the SGD kernel, split by split.

    Args:
        study: The study.

    Returns:
        For every task and k with at least two common splits: ``gap``, the mean difference in
        points, its 95 % interval ``low`` to ``high`` (Student's t; missing for fewer than three
        splits, which say next to nothing of the spread), and ``splits``.
    """
    kernel, finetuned = (read_collected(study, name) for name in ("kernel", "finetune"))
    if kernel.empty or finetuned.empty:
        return pd.DataFrame()
    keys = ["task", "model", "head", "k", "seed"]
    both = finetuned[finetuned["method"] == "sgd"].merge(kernel, on=keys, suffixes=("_ft", "_k"))
    rows = []
    for (task, k), group in both.groupby(["task", "k"], sort=False):
        difference = group["test_score_ft"] - group["test_score_k"]
        if len(difference) < 2:
            continue
        mean, low, high = interval(difference)
        rows.append(
            {
                "study": study,
                "task": load_task(task).title,
                "k": k,
                "splits": len(difference),
                "SGD-FT": group["test_score_ft"].mean(),
                "K-SGD": group["test_score_k"].mean(),
                "gap": mean,
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(rows)


def gap_statement(gap: pd.Series) -> str:
    """A row of ``paired_gaps`` in words.

    Args:
        gap: The row.

    Returns:
        One sentence, in Markdown.
    """
    leader = "fine-tuning with SGD is ahead of" if gap["gap"] > 0 else "the kernel is ahead of"
    other = "the kernel" if gap["gap"] > 0 else "fine-tuning with SGD"
    start = f"**{gap['task']}, k = {gap['k']}**: {leader} {other} by {abs(gap['gap']):.1f} points"
    if pd.isna(gap["low"]):
        return f"{start}, on {gap['splits']} splits: too few to say more."
    decided = gap["low"] > 0 or gap["high"] < 0
    verdict = (
        "the difference is beyond chance" if decided else "these splits do not tell them apart"
    )
    return (
        f"{start} (95 % interval {gap['low']:+.1f} to {gap['high']:+.1f} for fine-tuning minus "
        f"kernel, {gap['splits']} splits): {verdict}."
    )
