"""The paper's own Table 1 by the rules of this study, before they judge our runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from tangentlm.afzal.ledger import reported
from tangentlm.anticipate.cells import TaskCell
from tangentlm.anticipate.comparing import compare
from tangentlm.anticipate.outcomes import OUTCOMES
from tangentlm.anticipate.predictors import PREDICTORS

PRINTED = {"kappa": "condition_number", "layers": "layers", "parameters": "parameters"}
"""The predictors that the table has, or that follow from its columns."""
_OUTCOMES = {"eval_loss": "eval_loss", "train_loss": "train_loss", "accuracy": "eval_accuracy"}


def printed_cells() -> list[TaskCell]:
    """The paper's four tasks as cells, of one seed each.

    Returns:
        For each the four choices of layers and projections; parameters count the adapted matrices.
    """
    table = reported(1)
    layers = table["lora_layers"].str.split("+").str.len()
    matrices = table["lora_projections"].str.split("+").str.len()
    table = table.assign(layers=layers, parameters=layers * matrices)
    cells = []
    for task, own in table.groupby("task", sort=False):
        ranks = [rankdata(PREDICTORS[n].better * own[column]) for n, column in PRINTED.items()]
        outcomes = [
            OUTCOMES[name].better * own[_OUTCOMES[name]].to_numpy(float)
            if name in _OUTCOMES
            else np.full(len(own), np.nan)
            for name in OUTCOMES
        ]
        cells.append(
            TaskCell(
                "RoBERTa-base", str(task), tuple(own["lora_layers"]), own["layers"].to_numpy(int),
                np.array([ranks]), np.array([outcomes]),
            )
        )  # fmt: skip
    return cells


def judge_printed() -> pd.DataFrame:
    """The paper's numbers under the study's rule.

    Returns:
        As ``compare``, at equal size and over all choices; four tasks are too few for an interval.
    """
    cells = printed_cells()
    parts = [compare(cells, list(PRINTED), within=within) for within in (True, False)]
    return pd.concat(parts, ignore_index=True)
