"""P, F and their sum as kernels of a task (Tables 2 and 9, Figures 2, 7, 8 and 9).

For f = V phi + b the kernel of the head's parameters, P, does not know V; that of the feature
extractor's, F, grows with its square. So one F serves a head at every norm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tangentlm.batches import Batch
from tangentlm.finetune.adaptation import lora_targets
from tangentlm.kernels import (
    Decomposition,
    Kernel,
    decompose,
    draw_lora,
    lora_entk_at_init,
    lora_expected_scale,
    trace_norms,
)
from tangentlm.metrics import alignment, output_derivative, score
from tangentlm.models.heads import LinearHeadModel
from tangentlm.solvers import KernelRowsLogistic
from tangentlm.solvers.labels import labels_of_decision, one_hot

Array = NDArray[np.float64]

FLOAT32 = 2.0**-23
"""The spacing of float32 at 1: times the size of a matrix, what NumPy takes for rounding."""
SMALL = 1e-3
_SHOWN = 60
"""Points of a spectrum that are kept."""


@dataclass(frozen=True)
class Between:
    """P and F of training samples, and between them and test samples.

    Attributes:
        train: Of N training samples.
        test: Between the N and M test samples.
    """

    train: Decomposition
    test: Decomposition

    def kernels(self) -> dict[str, tuple[Kernel, Kernel]]:
        """The training kernel and that with the test samples, of P, F and their sum, the NTK."""
        return {
            "P": (self.train.pretrain, self.test.pretrain),
            "F": (self.train.finetune, self.test.finetune),
            "NTK": (self.train.total, self.test.total),
        }


def full_components(model: LinearHeadModel, train: Batch, test: Batch) -> Between:
    """P and F of full fine-tuning; F is split into the weights that LoRA adapts, and the rest.

    Args:
        model: With its head.
        train: N rows.
        test: M rows.

    Returns:
        Both kernels; the groups of F are ``"adapted"`` and ``"rest"``.
    """
    targets = tuple(f"{target}.weight" for target in lora_targets(model))

    def group(name: str) -> str:
        return "adapted" if name.endswith(targets) else "rest"

    first, second = (
        decompose(model, train, columns, by=group, progress=False) for columns in (None, test)
    )
    return Between(first, second)


def lora_components(
    model: LinearHeadModel, full: Between, train: Batch, test: Batch, *,
    rank: int, alpha: float, seed: int,
) -> Between:  # fmt: skip
    """P and F of LoRA at its start; P is that of full fine-tuning (Proposition 4.4).

    Args:
        model: With its head, without adapters.
        full: Its components.
        train: N rows.
        test: M rows.
        rank: r.
        alpha: LoRA's alpha.
        seed: Of LoRA's matrices A, those of ``adapted``.

    Returns:
        Both kernels.
    """
    A = draw_lora(model, lora_targets(model), rank=rank, seed=seed)
    first, second = (
        lora_entk_at_init(model, train, columns, A=A, alpha=alpha, progress=False)
        for columns in (None, test)
    )
    return Between(
        Decomposition(full.train.pretrain, first), Decomposition(full.test.pretrain, second)
    )


def kernel_facts(
    train: Kernel, test: Kernel, labels: ArrayLike, test_labels: ArrayLike
) -> dict[str, float]:
    """What Table 2 prints of a kernel: rank, Frobenius norm, accuracies of kernel regression.

    The regression is the authors', logistic with the kernel's rows as features. Its accuracy is
    that of the largest logit, and beside it what they count: each logit against its own yes or no.

    Args:
        train: (N, C, N, C).
        test: (N, C, M, C).
        labels: (N,).
        test_labels: (M,).

    Returns:
        ``rank`` (tolerance of float32 rounding), ``rank_small`` (10^-3), ``frobenius``, and
        ``train``, ``test``, ``train_rows`` and ``test_rows`` in percent.
    """
    singular = np.linalg.svd(train.matrix(), compute_uv=False)
    solver = KernelRowsLogistic().fit(train.values, np.asarray(labels))
    facts: dict[str, float] = {
        "rank": int(np.count_nonzero(singular > len(singular) * FLOAT32 * singular[0])),
        "rank_small": int(np.count_nonzero(singular > SMALL * singular[0])),
        "frobenius": float(np.linalg.norm(singular)),
    }
    for name, kernel, answers in (("train", train, labels), ("test", test, test_labels)):
        decision = solver.decision_function(kernel.values)
        y = np.asarray(answers)
        facts[name] = score(y, labels_of_decision(decision))
        facts[f"{name}_rows"] = score(
            one_hot(y, decision.shape[1]).ravel(), (decision > 0).ravel().astype(float)
        )
    return facts


def spectrum(kernel: Kernel) -> list[dict[str, float]]:
    """Singular values over the largest, at indices that are even on a logarithmic axis.

    Args:
        kernel: (N, C, N, C).

    Returns:
        Rows with ``index``, from 1, and ``value``.
    """
    singular = np.linalg.svd(kernel.matrix(), compute_uv=False)
    shown = np.unique(np.geomspace(1, len(singular), _SHOWN).round().astype(int))
    return [{"index": int(i), "value": float(singular[i - 1] / singular[0])} for i in shown]


def class_map(kernel: Kernel, labels: ArrayLike) -> list[dict[str, float]]:
    """The mean trace norm of a kernel's blocks, for every pair of classes.

    Args:
        kernel: (N, C, N, C).
        labels: (N,).

    Returns:
        Rows with ``first`` and ``second`` (classes), ``between`` (the mean over pairs of different
        samples) and, for one class, ``diagonal`` (that over samples with themselves).
    """
    norms, y = trace_norms(kernel), np.asarray(labels)
    other = ~np.eye(len(y), dtype=bool)
    rows = []
    for a in np.unique(y):
        for b in np.unique(y):
            block = np.ix_(y == a, y == b)
            row: dict[str, float] = {"first": int(a), "second": int(b)}
            row["between"] = float(norms[block][other[block]].mean())
            row["diagonal"] = float(np.diag(norms)[y == a].mean()) if a == b else float("nan")
            rows.append(row)
    return rows


def ft_ratio_at(
    parts: Decomposition, logits: ArrayLike, labels: ArrayLike, *, scale: float = 1.0
) -> dict[str, float]:
    """The FT ratio of a head that is scaled, and what is in it.

    Args:
        parts: Of the head as it is.
        logits: f of the N samples at the scaled head, (N, C).
        labels: (N,).
        scale: s: the head is s V, so F is s^2 F.

    Returns:
        ``ft_ratio``, and the means over x of |sum P delta| and |sum F delta|, ``pretrain`` and
        ``finetune``.
    """
    delta = -output_derivative(logits, labels)
    scaled = Decomposition(
        parts.pretrain, Kernel(
            parts.finetune.values * scale**2, "sgd", "full", parts.finetune.parameters
        ),
    )  # fmt: skip
    means = {
        name: float(np.linalg.norm(np.einsum("icjd,jd->ic", kernel.values, delta), axis=1).mean())
        for name, kernel in (("pretrain", scaled.pretrain), ("finetune", scaled.finetune))
    }
    return {"ft_ratio": scaled.ft_ratio(delta), **means}


def lora_proportion(
    lora: Kernel, full: Kernel, adapted: Array, *, rank: int, alpha: float, d_in: int
) -> dict[str, float]:
    """How nearly LoRA's F is the multiple of F that Proposition 4.4 expects.

    Args:
        lora: F of LoRA.
        full: F of full fine-tuning.
        adapted: The part of it that comes from the weights that LoRA adapts.
        rank: r.
        alpha: LoRA's alpha.
        d_in: Inputs of an adapted weight.

    Returns:
        ``expected``, s^2 sigma^2 r; ``error``, |F_LoRA - expected F_adapted| over the norm of the
        latter; its best ``factor`` over the expected one; the cosines of F_LoRA with ``adapted``
        and with all of F, ``whole``; and the same with centred samples, ``centred_adapted`` and
        ``centred_whole``: without that a kernel that hardly depends on the samples has a large one.
    """
    expected = lora_expected_scale(rank, alpha, d_in)
    ours, theirs = lora.values, adapted
    kernels = {"adapted": theirs, "whole": full.values}
    cosines = {name: _cosine(ours, values) for name, values in kernels.items()}
    over_samples = {
        f"centred_{name}": alignment(_by_outputs(ours), _by_outputs(values))
        for name, values in kernels.items()
    }
    return {
        "expected": expected,
        "error": float(
            np.linalg.norm(ours - expected * theirs) / np.linalg.norm(expected * theirs)
        ),
        "factor": float((ours * theirs).sum() / (theirs**2).sum()) / expected,
        **cosines,
        **over_samples,
    }


def _by_outputs(values: Array) -> Array:
    """(N, C, N, C) with the samples last, which are what is centred."""
    return values.transpose(1, 3, 0, 2)


def _cosine(first: Array, second: Array) -> float:
    return float((first * second).sum() / (np.linalg.norm(first) * np.linalg.norm(second)))
