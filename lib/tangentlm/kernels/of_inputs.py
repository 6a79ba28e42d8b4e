"""Kernels that know nothing of a model: what is left of a score without any gradient.

They are controls. Where the constant kernel scores as the eNTK does, the inputs were not looked at;
where the bag of words does, the words did it, not the model's features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tangentlm.batches import Batch
from tangentlm.kernels.kernel import Kernel, Values


def constant_kernel(rows: Batch, columns: Batch | None = None, *, outputs: int = 1) -> Kernel:
    """The kernel that is 1 between any two samples: K[i, c, j, d] = 1 if c = d, else 0.

    Regression with it moves every sample's output by the same amount, so all that it can learn is
    how often a label comes.

    Example:
        >>> import torch
        >>> batch = {"input_ids": torch.tensor([[3, 4], [3, 5]])}
        >>> constant_kernel(batch).values[:, 0, :, 0]
        array([[1., 1.],
               [1., 1.]])

    Args:
        rows: The N rows; only their number counts.
        columns: The M columns; by default the rows.
        outputs: C.

    Returns:
        The kernel, (N, C, M, C).
    """
    shape = len(rows["input_ids"]), len((rows if columns is None else columns)["input_ids"])
    return _with_outputs(np.ones(shape), "constant", outputs)


def bag_of_words_kernel(rows: Batch, columns: Batch | None = None, *, outputs: int = 1) -> Kernel:
    """The cosine between two samples' counts of tokens: K[i, c, j, d] = cos(n_i, n_j) if c = d.

    Example:
        >>> import torch
        >>> ids = torch.tensor([[5, 5], [5, 6], [7, 0]])
        >>> batch = {"input_ids": ids, "attention_mask": (ids > 0).long()}
        >>> bag_of_words_kernel(batch).values[0, 0, :, 0].round(3).tolist()
        [1.0, 0.707, 0.0]

    Args:
        rows: The N rows: ``input_ids`` and ``attention_mask``, which marks what is no padding.
        columns: The M columns; by default the rows.
        outputs: C.

    Returns:
        The kernel, (N, C, M, C).
    """
    first = _counts(rows)
    second = first if columns is None else _counts(columns)
    width = max(first.shape[1], second.shape[1])
    first.resize((first.shape[0], width))
    second.resize((second.shape[0], width))
    return _with_outputs((first @ second.T).toarray(), "bag-of-words", outputs)


def _counts(batch: Batch) -> csr_array:
    """How often every token comes in each row, scaled to unit length, (N, V)."""
    ids = batch["input_ids"].numpy(force=True)
    used = batch["attention_mask"].numpy(force=True).astype(bool)
    row = np.nonzero(used)[0]
    shape = len(ids), int(ids.max()) + 1
    counts = csr_array((np.ones(len(row)), (row, ids[used])), shape=shape)
    norms = np.sqrt((counts * counts).sum(axis=1))
    return csr_array(counts / norms[:, None])


def _with_outputs(values: NDArray[np.float64], formula: str, outputs: int) -> Kernel:
    """The same kernel for every output, and none between two outputs."""
    every: Values = np.einsum("ij,cd->icjd", values, np.eye(outputs))
    return Kernel(every, formula, "difference" if outputs == 1 else "full", parameters=())


OF_INPUTS: dict[str, Callable[..., Kernel]] = {
    "constant": constant_kernel,
    "bag-of-words": bag_of_words_kernel,
}
"""The kernels of inputs by the names that a run's parameters have for them."""
