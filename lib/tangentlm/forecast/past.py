"""Past tasks: what kernel regression said before training, and what fine-tuning then reached.

The records are those of the study ``pocket``: few-shot splits of public tasks, each with kernel
regression and fine-tuning of the same model on the same rows, judged on the same test rows.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from tangentlm.forecast.ways import Past, PastTask
from tangentlm.studies.collect import as_usual, read_collected

STUDY = "pocket"
OPTIMIZER = "adam"
"""The fine-tuning that outcomes are of: the one that people use."""
QUANTILES = (10, 50, 90)
_SPLIT = ["task", "k", "seed"]


def past_tasks(folder: Path | None = None, without: Collection[str] = ()) -> Past:
    """Fine-tuning beside kernel regression on past tasks.

    Args:
        folder: Where the study's records are; by default those of the project.
        without: Tasks that do not count, since they are what a forecast is about.

    Returns:
        A row a task, means over splits, and the quantiles over tasks of the difference; empty, and
        the note says so, where there are no records.
    """
    kernel, tuned = (read_collected(STUDY, name, folder) for name in ("kernel", "finetune"))
    if kernel.empty or tuned.empty:
        return Past((), {}, "There are no records of past tasks here.")
    kernel, tuned = _as_asked(kernel), _as_asked(tuned)
    kernel = kernel[(kernel["formula"] == "sgd") & (kernel["solver"] == "least-squares")]
    # A linear head starts at the probe, so its accuracy before the first step is the probe's.
    probed = tuned[(tuned["head"] == "linear") & (tuned["metric"] == "accuracy")]
    probe = _accuracies(probed, "zero_shot_test").rename("probe")
    tuned = tuned[(tuned["optimizer"] == OPTIMIZER) & (tuned["head"] == "prompt")]
    both = pd.concat(
        [
            _accuracies(kernel[kernel["head"] == "prompt"], "test_accuracy").rename("kernel"),
            _accuracies(tuned, "test_accuracy").rename("tuned"),
            probe,
        ],
        axis=1,
    ).dropna(subset=["kernel", "tuned"])
    rows = []
    both = both.drop(list(without), level="task", errors="ignore")
    for task, splits in both.groupby(level="task"):
        means = splits.mean()
        known = None if pd.isna(means["probe"]) else float(means["probe"])
        rows.append(
            PastTask(str(task), len(splits), float(means["kernel"]), known, float(means["tuned"]))
        )
    if not rows:
        return Past((), {}, "The records hold no task with both kernel regression and fine-tuning.")
    gains = [row.finetuned - row.kernel for row in rows if row.kernel is not None]
    quantiles = {str(q): float(np.percentile(gains, q)) for q in QUANTILES}
    note = (
        f"Study {STUDY}: {len(rows)} public tasks of English, {int(both.index.size)} splits of "
        "16 or 64 rows a class, the model pocket with a prompt, full fine-tuning with Adam whose "
        "rate was chosen on dev. This task, its size and its model may differ."
    )
    return Past(tuple(rows), quantiles, note)


def _as_asked(records: pd.DataFrame) -> pd.DataFrame:
    """Runs with the manual prompt and true labels, of the whole model."""
    return as_usual(
        records,
        {
            "prompt": "manual",
            "labels": "given",
            "adaptation": "full",
            "model": STUDY,
            "layers": "all",
        },
    )


def _accuracies(records: pd.DataFrame, column: str) -> pd.Series:
    """The mean of a column for each split."""
    return records.groupby(_SPLIT)[column].mean()
