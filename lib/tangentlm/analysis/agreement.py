"""Kernel regression beside the fine-tuning that it stands for, split by split."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pandas as pd

from tangentlm.analysis.estimates import Estimate
from tangentlm.analysis.sampling import variance_of_difference
from tangentlm.analysis.verdicts import FAILS, HOLDS
from tangentlm.studies.collect import as_usual, read_collected
from tangentlm.tasks import load_task

KERNELS_OF = {
    "sgd-unclipped": "sgd",
    "sgd": "sgd",
    "adam": "signgd",
    "adam-lora": "sgd-lora",
}
"""The kernel that is compared: that of a method's first steps (of Adam, those of SignGD). Of LoRA
there is the kernel of gradients alone, though Adam's first steps are signs there, too."""
SGDS = ("sgd-unclipped", "sgd")
"""What "SGD" is in a study, the first of these that it has: the authors' clips its gradients."""
_USUAL = {"labels": "given", "prompt": "manual", "head": "prompt"}
"""What a run did whose table does not have the column yet."""
_NAMES = {"test_score": "score", "zero_shot_test": "zero_shot", "test": "rows"}
_ONE = ["task", "model", "k", "seed", "test_size"]
"""What a fine-tuning and its kernel have in common."""


def scores(study: str) -> pd.DataFrame:
    """The test score of every run of a study on a task.

    Args:
        study: Its name, e.g. ``"real"``.

    Returns:
        A row a run: ``experiment``, ``method``, ``task``, ``model``, ``k``, ``seed``,
        ``test_size``, ``head``, ``prompt``, ``labels``, ``run``, ``score`` and ``zero_shot``, in
        percent, the number of test ``rows`` and, where the record says so, which were told rightly
        (``correct``). Empty where nothing was run.
    """
    parts = []
    for experiment in ("finetune", "kernel"):
        runs = as_usual(read_collected(study, experiment), {"chi_rows": "scored"})
        if not runs.empty:
            for column, usual in _USUAL.items():
                runs[column] = runs[column].fillna(usual) if column in runs else usual
            parts.append(runs.rename(columns=_NAMES).assign(experiment=experiment))
    columns = ["experiment", "method", *_ONE, "head", "prompt", "labels", "run", *_NAMES.values()]
    if not parts:
        return pd.DataFrame(columns=[*columns, "correct"])
    return pd.concat(parts, ignore_index=True).reindex(columns=[*columns, "correct"])


def main_sgd(methods: Collection[str]) -> str:
    """What "SGD" means where these methods were run.

    Example:
        >>> main_sgd({"sgd", "sgd-unclipped", "adam"})
        'sgd-unclipped'

    Args:
        methods: Methods of fine-tuning, as runs name them.

    Returns:
        Unclipped SGD if it is among them, and the authors' SGD, whose gradients are clipped,
        otherwise.
    """
    return next((method for method in SGDS if method in methods), SGDS[-1])


def paired(study: str, kernels: Mapping[str, str] = KERNELS_OF) -> pd.DataFrame:
    """Every fine-tuning of a study beside its kernel on the same split.

    Args:
        study: Its name.
        kernels: The formula that stands for each method of fine-tuning.

    Returns:
        A row a fine-tuning: ``task``, ``model``, ``k``, ``seed``, ``prompt``, ``labels``,
        ``finetuning`` and ``formula``, ``finetuned``, ``kernel`` and ``zero_shot`` in percent, and
        ``gap``, the kernel's score less that of fine-tuning; the number of test ``rows``, and which
        were told rightly (``finetuned_correct``, ``kernel_correct``).
    """
    every = scores(study)
    every = every[every["head"] == "prompt"]
    same = [*_ONE, "prompt", "labels"]
    tuned = every[every["experiment"] == "finetune"].assign(
        formula=lambda rows: rows["method"].map(dict(kernels))
    )
    regressed = every[every["experiment"] == "kernel"].rename(columns={"method": "formula"})
    both = tuned.merge(
        regressed[[*same, "formula", "score", "correct"]].rename(
            columns={"score": "kernel", "correct": "kernel_correct"}
        ),
        on=[*same, "formula"],
    )
    both = both.rename(
        columns={
            "method": "finetuning", "score": "finetuned", "correct": "finetuned_correct",
        }
    )  # fmt: skip
    both["gap"] = both["kernel"] - both["finetuned"]
    shown = [*same, "finetuning", "formula", "finetuned", "kernel", "zero_shot", "gap", "rows"]
    return both[[*shown, "finetuned_correct", "kernel_correct"]]


def gaps(pairs: pd.DataFrame, margin: float) -> pd.DataFrame:
    """What each task says: does the kernel score as fine-tuning does?

    Args:
        pairs: From ``paired``, of one prompt and of given labels.
        margin: How many points apart still counts as the same; chosen before looking.

    Returns:
        A row a task and method of fine-tuning: the means ``zero_shot``, ``finetuned`` and
        ``kernel``, the number of ``splits``, the mean ``gap`` with the ends of its interval over
        splits and test rows (``low``, ``high``), which side of zero it lies on (``told_apart``),
        and whether all of it lies within the margin (``same``).
    """
    rows = []
    for (task, method), of_task in pairs.groupby(["task", "finetuning"], sort=False):
        means = of_task[["kernel", "finetuned"]].mean()
        of_rows = variance_of_difference(
            (means["kernel"], means["finetuned"]),
            int(of_task["rows"].iloc[0]),
            (list(of_task["kernel_correct"]), list(of_task["finetuned_correct"])),
        )
        gap = Estimate.of_splits(of_task["gap"], of_rows).interval()
        rows.append(
            {
                "task": task,
                "finetuning": method,
                "splits": len(of_task),
                **of_task[["zero_shot", "finetuned", "kernel"]].mean(),
                "gap": gap.estimate,
                "low": gap.low,
                "high": gap.high,
                "told_apart": gap.direction("kernel below", "kernel above"),
                "same": gap.verdict(-margin, margin),
            }
        )
    return pd.DataFrame(rows)


def gaps_in_words(judged: pd.DataFrame, margin: float) -> str:
    """What ``gaps`` found where there are splits enough for an interval.

    Example:
        >>> row = {"task": "sst2", "splits": 3, "gap": -0.7, "low": -1.9, "high": 0.6}
        >>> gaps_in_words(pd.DataFrame([row | {"same": "holds"}]), margin=5.0)
        '-0.7 points on SST-2 (-1.9 to +0.6, 3 splits: the same within 5 points)'

    Args:
        judged: From ``gaps``, of one method of fine-tuning.
        margin: The one that was given to it.

    Returns:
        The kernel's score less that of fine-tuning, task by task; empty where no task has enough.
    """
    verdicts = {
        HOLDS: f"the same within {margin:g} points",
        FAILS: f"{margin:g} points or more apart",
    }
    enough = judged[judged["low"].notna()] if len(judged) else judged
    return "; ".join(
        f"{row.gap:+.1f} points on {load_task(row.task).title} "
        f"({row.low:+.1f} to {row.high:+.1f}, {row.splits} splits: "
        f"{verdicts.get(row.same, f'undecided at {margin:g} points')})"
        for row in enough.itertuples()
    )
