"""Whether FT learns a task, by the rows of validation, which judge no claim."""

from __future__ import annotations

import pandas as pd

from tangentlm.analysis.learning import chance_of_best
from tangentlm.analysis.several import ALPHA
from tangentlm.tomihari.measurements import MAIN, runs


def learned_on_validation(study: str) -> pd.DataFrame:
    """How surprising FT's validation accuracy is for a model that always gives one answer.

    All seeds are validated on the same rows, so they are not independent: the chance is that of the
    seed in the middle. Validation has chosen the epoch, which is taken in. Older records do not
    say what the most frequent answer of the validation rows is; another run on the same rows does.

    Args:
        study: Its name.

    Returns:
        A row for each data set: ``dataset``, ``seeds``, ``rows`` of validation, ``accuracy`` and
        ``majority`` in percent, both of the validation rows, ``p`` and ``learned``; data sets of
        which no record says the latter are left out.
    """
    found = runs(study)
    columns = ["dataset", "seeds", "rows", "accuracy", "majority", "p", "learned"]
    if found.empty or "majority_dev" not in found:
        return pd.DataFrame(columns=columns)
    luck = found.groupby(["dataset", "dev"])["majority_dev"].transform("max")
    found = found.assign(majority_dev=luck).dropna(subset="majority_dev")
    main = found[(found["name"] == "FT") & found[MAIN]]
    rows = []
    for dataset, own in main.groupby("dataset", sort=False):
        chances = [
            chance_of_best(round(score * count / 100), int(count), luck / 100, int(epochs))
            for score, count, luck, epochs in own[
                ["dev_score", "dev", "majority_dev", "epochs"]
            ].to_numpy()
        ]
        chance = float(pd.Series(chances).median())
        rows.append(
            {
                "dataset": dataset, "seeds": len(own), "rows": int(own["dev"].iloc[0]),
                "accuracy": own["dev_score"].mean(), "majority": own["majority_dev"].iloc[0],
                "p": chance, "learned": chance < ALPHA,
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=columns)
