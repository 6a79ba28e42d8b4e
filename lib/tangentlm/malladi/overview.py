"""The result at one sight: kernel regression against the fine-tuning that it stands for."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pandas as pd

from tangentlm.analysis.agreement import main_sgd, paired
from tangentlm.malladi.baselines import BEFORE, HEAD, WORDS, baseline_scores
from tangentlm.malladi.judging import Setting
from tangentlm.malladi.ledger import PAPER_MODEL, paper_numbers
from tangentlm.tasks import load_task

KERNEL, UNLEARNED = "kernel", "kernel, task not learned"
SHOWN = (KERNEL, UNLEARNED, BEFORE, WORDS, HEAD)
"""What is drawn over fine-tuning, in the order of the legend."""
OURS = {"pocket": "pocket (ours)", "real": "SmolLM2-135M (ours)"}
"""The studies of ours that stand beside the paper, and the names of their panels."""


def kernel_over_tuning(
    studies: Mapping[str, str], learned: Mapping[str, Collection[Setting]]
) -> pd.DataFrame:
    """SGD fine-tuning and what stands beside it: a point a task, k and split.

    Args:
        studies: Studies of ours and the names of their panels.
        learned: Of a study the tasks and k that its model learns; all of a study that is missing.

    Returns:
        ``panel``, ``title``, ``k``, ``seed``, ``tuned``, ``what`` (one of ``SHOWN``) and ``score``,
        in percent. Of the paper a point a task and k, for it prints means.
    """
    parts = [_of_paper()]
    for study, panel in studies.items():
        parts.append(_of_study(study, learned.get(study)).assign(panel=panel))
    points = pd.concat(parts, ignore_index=True)
    points["what"] = pd.Categorical(points["what"], SHOWN, ordered=True)
    columns = ["panel", "title", "k", "seed", "tuned", "what", "score"]
    return points.sort_values("what", kind="stable").astype({"what": str})[columns]


def _of_paper() -> pd.DataFrame:
    numbers = paper_numbers()
    numbers = numbers[numbers["paper"] == "malladi2023-icml"]
    numbers = numbers[numbers["table"].isin(["Table 2a", "Table 2b", "Table 5"])]
    by_f1 = numbers.loc[numbers["metric"] == "f1", "title"].unique()
    means = numbers.set_index(["method", "title", "k"])["mean"]
    tuned = means["SGD-FT"].rename("tuned").reset_index()
    kernel = means["K-SGD"].rename("score").reset_index()
    # Zero-shot numbers are accuracies, so of tasks scored by F1 there is none beside fine-tuning.
    before = means["zero-shot"].rename("score").reset_index(level="title")
    before = before[~before["title"].isin(by_f1)]
    both = [
        tuned.merge(kernel, on=["title", "k"]).assign(what=KERNEL),
        tuned.merge(before, on="title").assign(what=BEFORE),
    ]
    return pd.concat(both).assign(panel=f"{PAPER_MODEL} (the paper)")


def _of_study(study: str, learned: Collection[Setting] | None) -> pd.DataFrame:
    pairs = paired(study)
    pairs = pairs[(pairs["prompt"] == "manual") & (pairs["labels"] == "given")]
    pairs = pairs[pairs["finetuning"] == main_sgd(set(pairs["finetuning"]))]
    titles = pairs["task"].map(lambda task: load_task(task).title)
    settings = zip(titles, pairs["k"], strict=True)
    kept = [learned is None or setting in learned for setting in settings]
    of_kernel = pairs.rename(columns={"finetuned": "tuned", "kernel": "score"}).assign(
        title=titles, what=[KERNEL if one else UNLEARNED for one in kept]
    )
    before = of_kernel[kept].assign(score=pairs["zero_shot"][kept], what=BEFORE)
    nulls = baseline_scores(study).rename(columns={"baseline": "what"})
    nulls = nulls[nulls["what"].isin([WORDS, HEAD])].dropna(subset="tuned")
    if learned is not None:
        settings = zip(nulls["title"], nulls["k"], strict=True)
        nulls = nulls[[setting in learned for setting in settings]]
    return pd.concat([of_kernel, before, nulls])
