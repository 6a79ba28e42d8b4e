"""Null baselines: what a score near that of fine-tuning is worth.

Near chance every kernel "solves" a task, and a task may be solved by its words alone. So the kernel
is compared with what knows less: no input, no gradient, no pre-trained features above the words, no
labels.
"""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from tangentlm.analysis.agreement import main_sgd
from tangentlm.analysis.estimates import MIN_COUNT, Estimate
from tangentlm.analysis.sampling import variance_of_difference
from tangentlm.malladi.claims import SOLVES
from tangentlm.malladi.judging import Setting
from tangentlm.malladi.learned import on_settings
from tangentlm.studies.collect import as_usual, read_collected
from tangentlm.tasks import load_task

BEFORE = "the model before"
HEAD, WORDS = "kernel of the head alone", "bag of words"
BASELINES = {
    "constant": "constant kernel",
    "bag-of-words": WORDS,
    "sgd-embedding-alone": "kernel of the embedding alone",
    "sgd-head-alone": HEAD,
    "sgd-last-layer": "kernel of the last layer alone",
}
"""Methods of kernel runs that are controls, and their names for people."""
SHUFFLED, PROBE = "kernel, shuffled labels", "linear probe"
TUNED_SHUFFLED = "fine-tuning, shuffled labels"
KERNEL = "kernel of all layers"
COLUMNS = {
    "title": "task",
    "k": "k",
    "baseline": "baseline",
    "splits": "splits",
    "score": "baseline (%)",
    "kernel": "kernel (%)",
    "tuned": "fine-tuning (%)",
    "solves": "baseline solves",
    "lead": "kernel's lead",
    "low": "low",
    "high": "high",
    "verdict": "verdict",
}
"""What ``against_baselines`` finds, and its headings for people."""
_KEYS = ["task", "k", "seed"]
_OF_A_RUN = ["rows", "correct", "experiment", "run"]


def baseline_scores(study: str) -> pd.DataFrame:
    """What the kernel of all layers and every baseline score, with SGD fine-tuning beside them.

    Args:
        study: Its name.

    Returns:
        A row for each split and baseline, of the settings that have a baseline at all: ``task``,
        ``title``, ``k``, ``seed``, ``baseline``, ``score`` in percent, ``tuned`` (missing where
        fine-tuning was not run), test ``rows`` and ``correct``, its ``experiment`` and ``run``.
    """
    runs = as_usual(read_collected(study, "kernel"), {"chi_rows": "scored"})
    facts = [*_KEYS, "score", *_OF_A_RUN]
    if runs.empty:
        return pd.DataFrame(columns=["title", "baseline", "tuned", *facts])
    runs = runs.assign(
        labels=runs.get("labels", pd.Series("given", runs.index)).fillna("given"),
        prompt=runs["prompt"].fillna("manual"),
        score=runs["test_score"],
        rows=runs["test"],
        experiment="kernel",
        correct=_of_accuracies(runs, "correct"),
        before=_of_accuracies(runs, "zero_shot_correct"),
    )
    given = (runs["labels"] == "given") & (runs["prompt"] == "manual")
    prompted = given & (runs["head"] == "prompt")
    parts = {
        name: runs[prompted & (runs["method"] == method)] for method, name in BASELINES.items()
    }
    # A linear head starts at the probe, whatever kernel is taken there.
    probe = runs[given & (runs["head"] == "linear")].drop_duplicates(_KEYS)
    parts[PROBE] = probe.assign(score=probe["zero_shot_test"], correct=probe["before"])
    parts[SHUFFLED] = runs[(runs["labels"] == "shuffled") & (runs["method"] == "sgd")]
    parts[TUNED_SHUFFLED] = _tuned(study, labels="shuffled").rename(columns={"tuned": "score"})
    controls = [part for name, part in parts.items() if name != PROBE]
    settings = pd.concat(controls)[_KEYS].drop_duplicates()
    parts[PROBE] = parts[PROBE].merge(settings, on=_KEYS)
    full = runs[prompted & (runs["method"] == "sgd")].merge(settings, on=_KEYS)
    before = full.assign(score=full["zero_shot_test"], correct=full["before"])
    parts = {BEFORE: before, **parts, KERNEL: full}
    every = pd.concat([part[facts].assign(baseline=name) for name, part in parts.items()])
    titles = {task: load_task(task).title for task in every["task"].unique()}
    every = every.assign(title=every["task"].map(titles))
    tuned = _tuned(study)[[*_KEYS, "tuned"]]
    return every.merge(tuned, on=_KEYS, how="left").reset_index(drop=True)


def _tuned(study: str, labels: str = "given") -> pd.DataFrame:
    """SGD (see ``main_sgd``) with the manual prompt: its score, and which rows it told rightly."""
    runs = read_collected(study, "finetune")
    if runs.empty:
        return pd.DataFrame(columns=[*_KEYS, "tuned", *_OF_A_RUN])
    usual = as_usual(runs, {"head": "prompt", "prompt": "manual"})
    given = usual.get("labels", pd.Series("given", usual.index)).fillna("given") == labels
    chosen = usual[given & (usual["method"] == main_sgd(set(usual["method"])))]
    told = _of_accuracies(chosen, "correct")
    chosen = chosen.assign(
        tuned=chosen["test_score"], rows=chosen["test"], correct=told, experiment="finetune"
    )
    return chosen[[*_KEYS, "tuned", *_OF_A_RUN]]


def against_baselines(scores: pd.DataFrame) -> pd.DataFrame:
    """What every baseline reaches, and by how much the kernel of all layers is ahead of it.

    Args:
        scores: From ``baseline_scores``.

    Returns:
        A row for each task, k and baseline: ``title``, ``k``, ``baseline``, ``splits``, its mean
        ``score``, that of the ``kernel`` and of fine-tuning (``tuned``) on the same splits, whether
        it ``solves`` the task as the paper means it (the mean reaches 90 % of fine-tuning's), the
        ``lead`` of the kernel with its interval (``low``, ``high``), which side of zero that
        lies on (``verdict``), and the ``experiment`` and name of the baseline's first ``run``.
    """
    full = scores[scores["baseline"] == KERNEL]
    others = scores[scores["baseline"] != KERNEL]
    both = others.merge(full[[*_KEYS, "score", "correct"]], on=_KEYS, suffixes=("", "_full"))
    rows = []
    for (title, k, name), group in both.groupby(["title", "k", "baseline"], sort=False):
        lead = _lead(group)
        interval = lead.interval()
        tuned = float(group["tuned"].mean())
        rows.append(
            {
                "title": title,
                "k": k,
                "baseline": name,
                "splits": len(group),
                "score": float(group["score"].mean()),
                "kernel": float(group["score_full"].mean()),
                "tuned": tuned,
                "solves": bool(group["score"].mean() >= SOLVES * tuned) if tuned == tuned else None,
                "lead": lead.mean,
                "low": interval.low,
                "high": interval.high,
                "verdict": interval.direction("kernel is behind", "kernel is ahead"),
                **group[["experiment", "run"]].iloc[0],
            }
        )
    return pd.DataFrame(rows)


def in_words(against: pd.DataFrame) -> pd.DataFrame:
    """What ``against_baselines`` found as people read it: points with one digit, yes or no."""
    if against.empty:
        return against
    return against.assign(solves=against["solves"].map({True: "yes", False: "no"})).round(1)


def solved_with_less(against: pd.DataFrame, learned: Collection[Setting] | None = None) -> str:
    """Of the tasks that the kernel solves: which does something solve that knows less?

    Example:
        >>> facts = {"title": "Subj", "k": 16, "splits": 3, "kernel": 78.0, "tuned": 80.0,
        ...          "lead": -1.0, "low": -4.0, "high": 2.0}
        >>> rows = [
        ...     {"baseline": "bag of words", "score": 61.0, "solves": False},
        ...     {"baseline": "kernel of the head alone", "score": 79.0, "solves": True},
        ... ]
        >>> print(solved_with_less(pd.DataFrame([facts | row for row in rows])))
        The kernel solves 1 of 1 tasks that have baselines (90 % of fine-tuning), and 1 of these a \
baseline solves, too: Subj (k = 16) the kernel of the head alone, 79.0 % \
(the kernel less that: -1.0 points, -4.0 to +2.0)

    Args:
        against: From ``against_baselines``.
        learned: The tasks and k that count; all if it is missing.

    Returns:
        A sentence without its full stop, with the best baseline of each such task; empty where no
        task has baselines on three splits.
    """
    rows = against if learned is None else on_settings(against, learned)
    rows = rows[(rows["splits"] >= MIN_COUNT) & rows["tuned"].notna()] if len(rows) else rows
    if rows.empty:
        return ""
    of_tasks = [group for _, group in rows.groupby(["title", "k"], sort=False)]
    solved = [g for g in of_tasks if g["kernel"].mean() >= SOLVES * g["tuned"].mean()]
    best = [g.loc[g["score"].idxmax()] for g in solved if g["solves"].eq(True).any()]
    named = "; ".join(
        f"{row['title']} (k = {row['k']}) the {row['baseline']}, {row['score']:.1f} % (the "
        f"kernel less that: {row['lead']:+.1f} points, {row['low']:+.1f} to {row['high']:+.1f})"
        for row in best
    )
    return (
        f"The kernel solves {len(solved)} of {len(of_tasks)} tasks that have baselines "
        f"({100 * SOLVES:.0f} % of fine-tuning), and {len(best)} of these a baseline solves, too"
        + (named and f": {named}")
    )


def _of_accuracies(runs: pd.DataFrame, column: str) -> pd.Series | None:
    """Which test rows were told rightly, where they are what the score counts: not of an F1."""
    return runs[column].where(runs["metric"] == "accuracy") if column in runs else None


def _lead(group: pd.DataFrame) -> Estimate:
    """The kernel less the baseline, split by split, with test rows paired where they are known."""
    variance = variance_of_difference(
        (float(group["score_full"].mean()), float(group["score"].mean())),
        int(group["rows"].iloc[0]),
        (list(group["correct_full"]), list(group["correct"])),
    )
    return Estimate.of_splits(group["score_full"] - group["score"], variance)
