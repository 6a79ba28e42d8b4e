"""The FT ratio: which share of a first step goes through the features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tangentlm.batches import Labelled
from tangentlm.errors import NonFiniteError
from tangentlm.models.heads import LinearHeadModel
from tangentlm.theory.first_step import first_step

Array = NDArray[np.float64]


def ft_ratio_of_step(model: LinearHeadModel, train: Labelled) -> dict[str, float]:
    """The FT ratio from one linearised step, where the kernel would be too large.

    Args:
        model: A model with a linear head, in eval mode.
        train: N samples, over which the sum runs as well.

    Returns:
        As ``ft_ratio``.

    Raises:
        NonFiniteError: If the outputs of a sample do not change.
    """
    step = first_step(model, train, train.batch)
    # The step is that of the mean loss; a kernel's sum over samples has no 1 / N.
    parts = (step.through_head, step.through_features)
    return ft_ratio(*(len(train) * part.double().numpy() for part in parts))


def ft_ratio(through_head: Array, through_features: Array) -> dict[str, float]:
    """The FT ratio of two changes.

    Example:
        >>> ft_ratio(np.array([[3.0, 0.0]]), np.array([[1.0, 0.0]]))["ft_ratio"]
        0.25

    Args:
        through_head: sum P delta, (N, C).
        through_features: sum F delta, (N, C).

    Returns:
        ``ft_ratio``, the mean of |sum F delta| / |sum (P + F) delta|, and the means of
        |sum P delta| and |sum F delta|, ``pretrain`` and ``finetune``.

    Raises:
        NonFiniteError: If the outputs of a sample do not change.
    """
    of_head, of_features, both = (
        np.linalg.norm(change, axis=1)
        for change in (through_head, through_features, through_head + through_features)
    )
    if not both.all():
        raise NonFiniteError("the FT ratio of a sample whose outputs do not change")
    return {
        "ft_ratio": float((of_features / both).mean()),
        "pretrain": float(of_head.mean()),
        "finetune": float(of_features.mean()),
    }
