"""How far a study is, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from tangentlm.params import load_study
from tangentlm.studies.collect import read_collected

_NEEDED = ["run", "seconds", "device"]


def study_progress(studies: Iterable[str]) -> pd.DataFrame:
    """What studies consist of, what of it is done, and the hours that took.

    Args:
        studies: Names of studies.

    Returns:
        A row for each study and experiment: ``study``, ``experiment``, ``runs`` in the study,
        ``done`` of them, ``hours`` (the sum over runs, which may have run side by side) and
        ``machines`` (the processors that did it). Runs that were collected but are not in the
        study any more are not counted.
    """
    rows = []
    for study in studies:
        runs = pd.DataFrame([(run.experiment, run.name) for run in load_study(study)])
        for experiment, of_experiment in runs.groupby(0, sort=False):
            done = read_collected(study, str(experiment)).reindex(columns=_NEEDED)
            done = done[done["run"].isin(of_experiment[1])]
            rows.append(
                {
                    "study": study,
                    "experiment": experiment,
                    "runs": len(of_experiment),
                    "done": len(done),
                    "hours": float(done["seconds"].sum()) / 3600,
                    "machines": ", ".join(sorted(set(done["device"]))),
                }
            )
    return pd.DataFrame(rows)
