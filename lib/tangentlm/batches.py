"""Batches: rows of tensors with one leading axis, their padding and their lengths.

Padding on the right that an ``attention_mask`` marks is cut before a model computes: that is
faster, and changes nothing for a model that does not see it. ``row_selection`` finds the models
that do see it, and their rows stay as they are given.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Batch = dict[str, Tensor]
"""Tensors with leading axis N: ``input_ids``, ``attention_mask`` (N, T), ``mask_position`` (N)."""

Selection = Callable[[Mapping[str, Tensor], Tensor | slice], Batch]
"""Gives some rows of a batch: ``select_rows`` or ``rows_as_given``."""

_SAME = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Relative differences that are round-off. Many a model takes a softmax or a norm in single
precision whatever its own, so float64 promises no more than that."""
_LOOKED_AT = 4
"""Rows that are looked at: one alone may not show it, where only the largest position counts."""
_SAME_HALF = 0.05
"""The same for the 16-bit types."""


@dataclass(frozen=True)
class Labelled:
    """Encoded samples with their labels."""

    batch: Batch
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def select_rows(batch: Mapping[str, Tensor], index: Tensor | slice) -> Batch:
    """Some rows of a batch, without the padding on the right that none of them needs.

    This is for models that do not see padding (see ``row_selection``).

    Args:
        batch: Tensors with leading axis N.
        index: Which rows.

    Returns:
        Those rows; tensors of the mask's shape are cut to the longest of them.
    """
    rows = {name: tensor[index] for name, tensor in batch.items()}
    mask = rows.get("attention_mask")
    if mask is None or mask.ndim != 2 or not len(mask):
        return rows
    used = mask.bool().any(dim=0).nonzero()
    longest = int(used.max()) + 1 if len(used) else mask.shape[1]
    return {
        name: tensor[:, :longest] if tensor.shape[:2] == mask.shape else tensor
        for name, tensor in rows.items()
    }


def rows_as_given(batch: Mapping[str, Tensor], index: Tensor | slice) -> Batch:
    """Some rows of a batch with all of their padding.

    Args:
        batch: Tensors with leading axis N.
        index: Which rows.

    Returns:
        Those rows.
    """
    return {name: tensor[index] for name, tensor in batch.items()}


def row_selection(
    batches: Sequence[Mapping[str, Tensor]],
    outputs: Callable[[Batch], Tensor],
    gradient: Callable[[Batch], Sequence[Tensor]] | None = None,
) -> Selection:
    """How to select the rows of batches for a model: without padding, unless it sees it.

    A few rows of each batch that have padding on the right are computed one by one, as they are
    given and without their padding. Where that gives something else (a mean over all positions, a
    convolution across the end of a text, a position counted from the right, a model that takes one
    width only), rows must stay as they are given, and a warning says so. Where the padded form is
    not finite or fails and the other is fine, it is unusable and says nothing: some models turn
    attention over padding alone into NaN.

    Args:
        batches: Batches; one without an ``attention_mask`` or without padding is not looked at.
        outputs: What is computed for a batch.
        gradient: Its gradient, where that matters, too: with a head at zero the outputs show
            nothing. It is looked at for one row.

    Returns:
        ``select_rows`` or ``rows_as_given``.

    Example:
        >>> import torch
        >>> from tangentlm.batches import row_selection
        >>> mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
        >>> batch = {"x": torch.ones(2, 3, 1), "attention_mask": mask}
        >>> row_selection([batch], lambda rows: rows["x"][:, 0]).__name__
        'select_rows'
    """
    padded = [(batch, row) for batch in batches for row in _padded_rows(batch)]
    seen = any(_sees_padding(lambda rows: [outputs(rows)], *one) for one in padded)
    if gradient is not None and not seen:
        seen = any(_sees_padding(gradient, *one) for one in padded[:1])
    if seen:
        warnings.warn(
            "the model depends on padding: a text gives something else with the padding of its "
            "batch than without. All texts are computed as they are given, padding included, "
            "which takes longer; is its attention_mask used everywhere?",
            stacklevel=3,
        )
        return rows_as_given
    return select_rows


def _padded_rows(batch: Mapping[str, Tensor]) -> list[Tensor]:
    """A few of the rows that have padding on the right, from the most of it to the least."""
    mask = batch.get("attention_mask")
    if mask is None or mask.ndim != 2 or not mask.numel():
        return []
    width = mask.shape[1]
    ends = (mask.bool().cpu() * torch.arange(1, width + 1)).amax(dim=1)
    padded = ((ends > 0) & (ends < width)).nonzero()[:, 0]
    order = padded[ends[padded].argsort(stable=True)]
    few = torch.linspace(0, len(order) - 1, min(len(order), _LOOKED_AT)).round().long()
    return [order[i : i + 1] for i in few.tolist()]


def _sees_padding(
    function: Callable[[Batch], Sequence[Tensor]], batch: Mapping[str, Tensor], row: Tensor
) -> bool:
    """Whether a function gives something else for a row with its padding than without."""
    unfit = (RuntimeError, ValueError, LookupError, TypeError, AssertionError)
    try:
        padded = function(rows_as_given(batch, row))
    except torch.OutOfMemoryError:
        raise
    except unfit:
        return False
    try:
        cut = function(select_rows(batch, row))
    except unfit:
        return True
    off = math.hypot(*(float((a - b).detach().norm()) for a, b in zip(padded, cut, strict=True)))
    size = math.hypot(*(float(b.detach().norm()) for b in cut))
    tolerance = _SAME.get(cut[0].dtype, _SAME_HALF)
    return math.isfinite(off) and off > tolerance * size


def distinct(outputs: Tensor) -> Tensor:
    """Weights for a sum of outputs: in a plain one those of a softmax would cancel.

    Args:
        outputs: (N, C).

    Returns:
        (N, C), the square roots of 1 to C.
    """
    weights = torch.arange(1, outputs.shape[1] + 1, device=outputs.device).sqrt()
    return weights.to(outputs.dtype).expand_as(outputs)


def unpadded_batches(batch: Mapping[str, Tensor], batch_size: int) -> Iterator[Tensor]:
    """The rows of a batch in groups of one length, so that no group needs padding.

    Besides saving work this avoids attention over padding alone, which some models turn into
    NaN in float64 (a local window around a padded position sees nothing).

    Args:
        batch: Tensors with leading axis N; without an ``attention_mask`` all rows are alike.
        batch_size: At most so many rows a group.

    Yields:
        Indices of rows.
    """
    count = len(next(iter(batch.values())))
    mask = batch.get("attention_mask")
    known = mask is not None and mask.ndim == 2
    lengths = mask.sum(dim=1) if mask is not None and known else torch.zeros(count)
    for length in lengths.unique():
        yield from (lengths == length).nonzero()[:, 0].split(batch_size)


def num_tokens(batch: Mapping[str, Tensor], select: Selection = select_rows) -> Tensor:
    """How much of a batch each sample is: its number of tokens.

    Args:
        batch: Tensors with leading axis N.
        select: How rows are selected; as they are given, all are equally long.

    Returns:
        (N,): the sums of the attention mask, or ones where there is none.
    """
    mask = batch.get("attention_mask")
    if mask is None or mask.ndim != 2:
        return torch.ones(len(next(iter(batch.values()))))
    if select is rows_as_given:
        return torch.full((len(mask),), float(mask.shape[1]))
    return mask.sum(dim=1).clamp(min=1).float().cpu()


def num_samples(batch: Mapping[str, Tensor]) -> int:
    """B, the number of samples in a batch.

    Args:
        batch: Tensors with leading axis B.

    Returns:
        B.
    """
    return len(next(iter(batch.values())))
