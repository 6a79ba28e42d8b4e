"""Where the kernel lives: what each layer gives to it. It describes; it ranks no LoRA targets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tangentlm.errors import InputError
from tangentlm.forecast.result import Layer
from tangentlm.forecast.ridge import centred_scale
from tangentlm.forecast.suspects import left_out_values
from tangentlm.metrics import alignment

Array = NDArray[np.float64]
Rows = NDArray[np.int64]


def layers_of(
    kernel: Array, parts: Mapping[str, Array], labels: Rows, classes: int, groups: Rows
) -> tuple[Layer, ...]:
    """The layers' shares of a kernel, their alignment with the labels, and what is left without.

    All three are of centred features: what all rows have in common tells none of them apart.

    Args:
        kernel: (N, N).
        parts: By the layers' names; they sum to the kernel.
        labels: (N,).
        classes: C.
        groups: Near-duplicates, which are left out together, (N,).

    Returns:
        One a layer, in the order of ``parts``.
    """
    targets = np.eye(classes)[labels]
    total = centred_scale(kernel)
    found = []
    for name, part in parts.items():
        share = float((np.trace(part) - part.sum() / len(part)) / len(part)) / total
        aligned = alignment(part, targets @ targets.T) if share > 0 else 0.0
        accuracy = _accuracy(kernel - part, labels, classes, groups)
        found.append(Layer(name, 100 * share, aligned, accuracy))
    return tuple(found)


def _accuracy(kernel: Array, labels: Rows, classes: int, groups: Rows) -> float:
    """Left-out accuracy in percent; the majority's where nothing is left of the kernel."""
    try:
        values = left_out_values(kernel, labels, classes, groups)
    except InputError:
        return 100 * float(np.bincount(labels).max() / len(labels))
    return 100 * float((values.argmax(axis=1) == labels).mean())
