"""Numbers that the papers speak of: scores, output derivatives, and how alike two kernels are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.metrics import accuracy_score, f1_score

from tangentlm.errors import InputError, unknown_name

Array = NDArray[np.float64]


def right_or_wrong(labels: ArrayLike, predicted: ArrayLike) -> str:
    """Which samples were told rightly, in a form that a row of a table can hold.

    Example:
        >>> right_or_wrong([0, 1, 1], [0, 0, 1])
        'x.x'

    Args:
        labels: (M,).
        predicted: (M,).

    Returns:
        A letter a sample: ``x`` if it is right, ``.`` if it is wrong.
    """
    right = np.asarray(labels) == np.asarray(predicted)
    return "".join(np.where(right, "x", "."))


def output_derivative(logits: ArrayLike, labels: ArrayLike) -> Array:
    """Chi = d loss / d f for the cross-entropy: softmax(f) - onehot(y) (Definition 2.1).

    Args:
        logits: (N, C).
        labels: (N,).

    Returns:
        (N, C); every row sums to zero.
    """
    chi = softmax(np.asarray(logits, dtype=np.float64), axis=1)
    chi[np.arange(len(chi)), np.asarray(labels)] -= 1.0
    return chi


def true_label_derivative(logits: ArrayLike, labels: ArrayLike) -> Array:
    """|chi_y| = 1 - softmax(f)_y of every sample: how far from solved each of them is.

    Args:
        logits: (N, C).
        labels: (N,).

    Returns:
        (N,), each in [0, 1].
    """
    chi = output_derivative(logits, labels)
    return np.abs(chi[np.arange(len(chi)), np.asarray(labels)])


def worst_tenth(values: ArrayLike) -> float:
    """The mean of the largest tenth, of one value at least.

    Args:
        values: (N,), e.g. from ``true_label_derivative``.

    Returns:
        Their mean.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    return float(ordered[-max(len(ordered) // 10, 1) :].mean())


def mean_output_derivative(logits: ArrayLike, labels: ArrayLike) -> float:
    """The mean of |chi_y| = 1 - softmax(f)_y over samples: how far from solved a task is.

    The paper's Table 5 prints one number a task without saying how the C entries of chi are
    made one; for two classes |chi_0| = |chi_1|, so the true label's entry is the natural choice.

    Args:
        logits: (N, C).
        labels: (N,).

    Returns:
        A number in [0, 1].
    """
    return float(true_label_derivative(logits, labels).mean())


def kernel_distance(before: ArrayLike, after: ArrayLike) -> float:
    """The mean element-wise relative distance |K' - K| / |K| (Table 6 of Malladi-v1).

    Args:
        before: The kernel K, any shape.
        after: The kernel K', the same shape.

    Returns:
        0 where the features are fixed; below 1 counts as fixed in Malladi-v1, below 2 in Malladi.

    Raises:
        InputError: If the shapes differ or K has a zero entry.
    """
    first, second = _pair(before, after)
    if not first.all():
        raise InputError("the kernel has a zero entry, so its relative distance is not defined")
    return float(np.mean(np.abs(second - first) / np.abs(first)))


def kernel_distances(before: ArrayLike, after: ArrayLike) -> dict[str, float]:
    """How far a kernel has moved, by four readings of "relative distance".

    The papers print one number a task and name the first. It has no upper bound: one entry near
    zero can decide it. Entries that were exactly zero are left out of the first two.

    Args:
        before: The kernel K, any shape.
        after: The kernel K', the same shape.

    Returns:
        ``elementwise``: the mean of |K' - K| / |K|; ``median``: their median; ``ratio``: the sum of
        |K' - K| over that of |K|; ``frobenius``: the ratio of the norms of K' - K and K.

    Raises:
        InputError: If the shapes differ or K is zero.
    """
    first, second = _pair(before, after)
    if not first.any():
        raise InputError("the kernel is zero, so its relative distance is not defined")
    change, size = np.abs(second - first), np.abs(first)
    relative = change[size > 0] / size[size > 0]
    return {
        "elementwise": float(relative.mean()),
        "median": float(np.median(relative)),
        "ratio": float(change.sum() / size.sum()),
        "frobenius": float(np.linalg.norm(change) / np.linalg.norm(size)),
    }


@dataclass(frozen=True)
class KernelSimilarity:
    """How alike two kernels K and K' are, whatever their sizes.

    Attributes:
        scale: The s that brings s K closest to K', <K, K'> / <K, K>: near zero where K' vanishes.
        scaled_error: |K' - s K| / |K'|, from 0 to 1; ``None`` where K' is zero.
        cka: Their centred kernel alignment, see ``alignment``, over all pairs of outputs; ``None``
            where centring leaves nothing of one of them.
    """

    scale: float
    scaled_error: float | None
    cka: float | None


def kernel_similarity(first: ArrayLike, second: ArrayLike) -> KernelSimilarity:
    """How alike two kernels are, whatever their sizes, and how their sizes compare.

    A kernel that vanishes is at a distance of one from what it was, which passes for "fixed"; here
    its scale says what became of it, and the other two what became of its shape.

    Example:
        >>> import numpy as np
        >>> K = np.random.default_rng(0).normal(size=(3, 1, 3, 1))
        >>> similar = kernel_similarity(K, K / 100)
        >>> round(similar.scale, 6), round(similar.scaled_error, 6), round(similar.cka, 6)
        (0.01, 0.0, 1.0)

    Args:
        first: The kernel K, (N, C, M, C), not zero.
        second: The kernel K', the same shape.

    Returns:
        Scale, error after the best scale, and alignment.

    Raises:
        InputError: If the shapes differ or K is zero.
    """
    K, other = (values.transpose(1, 3, 0, 2) for values in _pair(first, second))
    if not K.any():
        raise InputError("the kernel is zero, so nothing is a multiple of it")
    scale = float((K * other).sum() / (K * K).sum())
    size = float(np.linalg.norm(other))
    varies = all(np.abs(centred(one)).max() > 1e-12 * np.abs(one).max() for one in (K, other))
    return KernelSimilarity(
        scale,
        float(np.linalg.norm(other - scale * K)) / size if size else None,
        alignment(K, other) if varies else None,
    )


def centred(kernel: ArrayLike) -> Array:
    """A kernel without what all of its samples have in common: H K H, with H = I - 11^T / N.

    Args:
        kernel: (..., N, M): one kernel with one output, or several.

    Returns:
        The same shape; every row and every column sums to zero.
    """
    values = np.asarray(kernel, dtype=np.float64)
    rows, columns = (values.mean(axis=axis, keepdims=True) for axis in (-2, -1))
    return values - rows - columns + values.mean(axis=(-2, -1), keepdims=True)


def alignment(first: ArrayLike, second: ArrayLike) -> float:
    """The cosine of two centred kernels (Cortes et al., 2012).

    Args:
        first: (N, N), e.g. the kernel of part of the parameters.
        second: (N, N), e.g. that of all of them, or Y Y^T for one-hot labels Y.

    Returns:
        1 where centring leaves the same but for a factor, 0 where it leaves nothing in common.
    """
    one, other = centred(first), centred(second)
    return float((one * other).sum() / (np.linalg.norm(one) * np.linalg.norm(other)))


def _pair(before: ArrayLike, after: ArrayLike) -> tuple[Array, Array]:
    first = np.asarray(getattr(before, "values", before), dtype=np.float64)
    second = np.asarray(getattr(after, "values", after), dtype=np.float64)
    if first.shape != second.shape:
        raise InputError(f"kernels of shapes {first.shape} and {second.shape} cannot be compared")
    return first, second


def linearization_share(pretrained: float, linearized: float, finetuned: float) -> float | None:
    """How much of the improvement by fine-tuning the Taylor model recovers.

    Malladi-v1 says that the Linearization property holds from 0.5 on.

    Args:
        pretrained: Zero-shot performance.
        linearized: Performance of the Taylor model at the fine-tuned parameters.
        finetuned: Performance of the fine-tuned model.

    Returns:
        (linearized - pretrained) / (finetuned - pretrained), or ``None`` where fine-tuning
        improved nothing.
    """
    if finetuned <= pretrained:
        return None
    return (linearized - pretrained) / (finetuned - pretrained)


def gain_of_taylor_model(share: float | None, least: float = 0.5) -> str:
    """Linearization by accuracy as a category, in which nothing is left out.

    Args:
        share: From ``linearization_share``.
        least: The share from which the Taylor model counts as having recovered the gain.

    Returns:
        ``"gained nothing"`` where fine-tuning improved nothing, else ``"recovered"`` or ``"lost"``.
    """
    if share is None:
        return "gained nothing"
    return "recovered" if share >= least else "lost"


@dataclass(frozen=True)
class LogitLinearization:
    """How far the Taylor model's logits f_lin are from the fine-tuned ones f; f_0 were before.

    Attributes:
        change: The root mean square of f - f_0.
        error: |f - f_lin| / |f - f_0| over all logits; ``None`` where fine-tuning moved none.
        explained: 1 - error^2, the share of the change that the Taylor model explains: 1 where it
            is exact, 0 where it is no better than no change, below 0 where it is worse.
    """

    change: float
    error: float | None
    explained: float | None


def logit_linearization(
    pretrained: ArrayLike, linearized: ArrayLike, finetuned: ArrayLike
) -> LogitLinearization:
    """How much of the logits' change the Taylor model explains; no accuracy is in it.

    Example:
        >>> explained = logit_linearization([[0.0, 0.0]], [[0.9, -0.9]], [[1.0, -1.0]])
        >>> round(explained.error, 4), round(explained.explained, 4)
        (0.1, 0.99)

    Args:
        pretrained: Logits f_0, (N, C).
        linearized: Those of the Taylor model at the fine-tuned parameters.
        finetuned: Those after fine-tuning.

    Returns:
        The change, the error and the share explained.
    """
    before, line, after = (
        np.asarray(logits, dtype=np.float64) for logits in (pretrained, linearized, finetuned)
    )
    moved = float(np.linalg.norm(after - before))
    error = float(np.linalg.norm(after - line)) / moved if moved else None
    return LogitLinearization(
        moved / math.sqrt(after.size), error, None if error is None else 1 - error**2
    )


METRICS = ("accuracy", "f1")


def score(y: ArrayLike, predicted: ArrayLike, metric: str = "accuracy") -> float:
    """Performance in percent, as the papers print it.

    Args:
        y: True labels, (M,).
        predicted: Predicted labels, (M,).
        metric: ``"accuracy"``, or ``"f1"`` of label 1.

    Returns:
        0 to 100.

    Raises:
        InputError: If the metric is unknown.
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    value = f1_score(y, predicted) if metric == "f1" else accuracy_score(y, predicted)
    return 100.0 * float(value)
