"""Null baselines: what a score near that of fine-tuning is worth.

Near chance every kernel "solves" a task, and a task may be solved by its words alone. So the kernel
is compared with what knows less: no input, no gradient, no pre-trained features above the words, no
labels.
"""

from __future__ import annotations

import pandas as pd

from tangentlm.analysis.agreement import main_sgd
from tangentlm.analysis.estimates import MIN_COUNT, Estimate
from tangentlm.analysis.sampling import variance_of_difference
from tangentlm.malladi.claims import SOLVES
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


def baseline_scores(study: str) -> pd.DataFrame:
    """What the kernel of all layers and every baseline score, with SGD fine-tuning beside them.

    Args:
        study: Its name.

    Returns:
        A row for each split and baseline, of the settings that have a baseline at all: ``task``,
        ``title``, ``k``, ``seed``, ``baseline``, ``score`` in percent, ``tuned`` (missing where
        fine-tuning was not run), test ``rows`` and ``correct``.
    """
    runs = read_collected(study, "kernel")
    facts = [*_KEYS, "score", "rows", "correct"]
    if runs.empty:
        return pd.DataFrame(columns=["title", "baseline", "tuned", *facts])
    runs = runs.assign(
        labels=runs.get("labels", pd.Series("given", runs.index)).fillna("given"),
        prompt=runs["prompt"].fillna("manual"),
        score=runs["test_score"],
        rows=runs["test"],
        correct=_of_accuracies(runs, "correct"),
        before=_of_accuracies(runs, "zero_shot_correct"),
    )
    given = (runs["labels"] == "given") & (runs["prompt"] == "manual")
    prompted = given & (runs["head"] == "prompt")
    parts = {
        name: runs[prompted & (runs["method"] == method)] for method, name in BASELINES.items()
    }
    probe = runs[given & (runs["head"] == "linear") & (runs["method"] == "sgd-last-layer")]
    parts[PROBE] = probe.assign(score=probe["zero_shot_test"], correct=probe["before"])
    parts[SHUFFLED] = runs[(runs["labels"] == "shuffled") & (runs["method"] == "sgd")]
    parts[TUNED_SHUFFLED] = _tuned(study, labels="shuffled").rename(columns={"tuned": "score"})
    settings = pd.concat(parts.values())[_KEYS].drop_duplicates()
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
        return pd.DataFrame(columns=[*_KEYS, "tuned", "rows", "correct"])
    usual = as_usual(runs, {"head": "prompt", "prompt": "manual"})
    given = usual.get("labels", pd.Series("given", usual.index)).fillna("given") == labels
    chosen = usual[given & (usual["method"] == main_sgd(set(usual["method"])))]
    told = _of_accuracies(chosen, "correct")
    chosen = chosen.assign(tuned=chosen["test_score"], rows=chosen["test"], correct=told)
    return chosen[[*_KEYS, "tuned", "rows", "correct"]]


def against_baselines(scores: pd.DataFrame) -> pd.DataFrame:
    """What every baseline reaches, and by how much the kernel of all layers is ahead of it.

    Args:
        scores: From ``baseline_scores``.

    Returns:
        A row for each task, k and baseline: ``title``, ``k``, ``baseline``, ``splits``, its mean
        ``score``, that of the ``kernel`` and of fine-tuning (``tuned``) on the same splits, whether
        it ``solves`` the task as the paper means it (the mean reaches 90 % of fine-tuning's), the
        ``lead`` of the kernel with its interval (``low``, ``high``), and which side of zero that
        lies on (``verdict``).
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
            }
        )
    return pd.DataFrame(rows)


def in_words(against: pd.DataFrame) -> pd.DataFrame:
    """What ``against_baselines`` found as people read it: points with one digit, yes or no."""
    if against.empty:
        return against
    return against.assign(solves=against["solves"].map({True: "yes", False: "no"})).round(1)


def solved_by_baselines(against: pd.DataFrame) -> str:
    """Which tasks what knows less solves already, as the paper means it, in words.

    Example:
        >>> row = {"title": "SST-2", "k": 16, "baseline": "constant kernel", "splits": 5}
        >>> solved_by_baselines(pd.DataFrame([row | {"score": 76.2, "solves": True}]))
        'SST-2 (k = 16): constant kernel 76.2 %'

    Args:
        against: From ``against_baselines``.

    Returns:
        Each task and k with the baselines that solve it on three splits or more, and their mean
        scores; empty where none does.
    """
    if against.empty:
        return ""
    solving = against[(against["splits"] >= MIN_COUNT) & against["solves"].eq(True)]
    return "; ".join(
        f"{title} (k = {k}): "
        + ", ".join(f"{row.baseline} {row.score:.1f} %" for row in rows.itertuples())
        for (title, k), rows in solving.groupby(["title", "k"], sort=False)
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
