"""Definition D.3 along the way: was every step linear, and did the gradients stay?"""

from __future__ import annotations

import pandas as pd

from tangentlm.finetune.trajectory import LARGEST
from tangentlm.malladi.measurements import fine_tunings
from tangentlm.studies.collect import read_collected_table
from tangentlm.tasks import load_task

_COLUMNS = ["method", "title", "k", "splits", *LARGEST]
_RUN = ["experiment", "run"]


def along_the_way(study: str) -> pd.DataFrame:
    """What Definition D.3 of Malladi-v1 asks of a fine-tuning, over all its evaluations.

    Args:
        study: A study with fine-tunings that have ``trajectory_samples``.

    Returns:
        A row for each of the paper's methods, task and k with the manual prompt: ``method``,
        ``title``, ``k``, ``splits``, and the mean over splits of what is largest along the way:
        ``step_change`` and ``step_error``, in units of the largest output derivative before
        training, and the median over parameters of ``feature_change`` (see
        ``tangentlm.finetune.trajectory``). With kernel behaviour the last two vanish. Also the
        ``experiment`` and the name of the first ``run``.
    """
    runs, steps = fine_tunings(study), read_collected_table(study, "finetune-trajectory")
    if runs.empty or steps.empty:
        return pd.DataFrame(columns=[*_COLUMNS, *_RUN])
    largest = steps.groupby("run")[[*LARGEST.values()]].max().set_axis([*LARGEST], axis=1)
    both = runs[["run", "method", "task", "k"]].merge(largest.reset_index(), on="run")
    groups = both.groupby(["method", "task", "k"], sort=False)
    means = groups[[*LARGEST]].mean()
    found = means.assign(splits=groups.size(), run=groups["run"].first()).reset_index()
    titles = [load_task(task).title for task in found["task"]]
    return found.assign(title=titles, experiment="finetune")[[*_COLUMNS, *_RUN]]
