"""The two components of the kernel of a model with a linear head (Tomihari and Sato).

For f(x) = V phi(x) + b the kernel is a sum (Proposition 4.1, equation 7 of Tomihari and Sato) of

* P, the pre-train-effective component, of the head's parameters:
  P[i,c,j,d] = (<phi(x_i), phi(x_j)> + 1) for c = d, else 0; without a bias there is no 1;
* F, the FT-effective component, of the feature extractor's: F(x, x') = V K_phi(x, x') V^T, where
  K_phi is the (h x h) kernel of the h features.

P is what linear probing sees and does not depend on V; F grows with its square, and is zero where
V is, as at the start of a ``LinearHeadModel``.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from tangentlm.errors import InputError, NonFiniteError
from tangentlm.kernels.entk import entk
from tangentlm.kernels.kernel import Kernel
from tangentlm.kernels.layer_groups import By, Parameters, choose, linear_layer, split

Array = NDArray[np.float64]

_FEATURES = 16
"""Features that are differentiated at one time: more would take more memory."""


@dataclass(frozen=True)
class Decomposition:
    """The kernel of a model with a linear head, in its two components.

    Attributes:
        pretrain: P, the kernel of the head's parameters.
        finetune: F, the kernel of the feature extractor's.
    """

    pretrain: Kernel
    finetune: Kernel

    @property
    def total(self) -> Kernel:
        """P + F, the kernel of all parameters."""
        return replace(
            self.pretrain,
            values=self.pretrain.values + self.finetune.values,
            parameters=self.pretrain.parameters + self.finetune.parameters,
            groups={"pretrain": self.pretrain.values, "finetune": self.finetune.values},
        )

    def ft_ratio(self, delta: ArrayLike) -> float:
        """The part of the change of the outputs that comes through the features: FT Ratio.

        The mean over rows x of |sum_j F(x, x_j) delta_j| / |sum_j (P + F)(x, x_j) delta_j|, with
        Euclidean norms (Section 5.3 of Tomihari and Sato, without a number; Tables 2 and 9). The
        denominator is the change of f(x) in one step of gradient descent from V, b and phi
        (equation 1), and the numerator its part. The two parts may point away from each other, so
        it can be above 1.

        Args:
            delta: (M, C), in any unit: onehot(y_j) - softmax(f(x_j)), which is
                -``output_derivative`` (see ``tangentlm.metrics``).

        Returns:
            The mean; 0 where F is.

        Raises:
            InputError: If the shape of delta does not fit.
            NonFiniteError: If the outputs of a row do not change.

        Example:
            >>> import numpy as np
            >>> from tangentlm.kernels import Decomposition, Kernel
            >>> one = Kernel(np.ones((2, 1, 2, 1)), "sgd", "full", ("weight",))
            >>> Decomposition(pretrain=one, finetune=one).ft_ratio(np.ones((2, 1)))
            0.5
        """
        residual = np.asarray(delta, dtype=np.float64)
        if residual.shape != self.finetune.values.shape[2:]:
            raise InputError(
                f"delta has shape {residual.shape}, not (M, C) = {self.finetune.values.shape[2:]}"
            )
        through_features, change = (
            np.linalg.norm(np.einsum("icjd,jd->ic", kernel.values, residual), axis=1)
            for kernel in (self.finetune, self.total)
        )
        if not change.all():
            still = int(np.flatnonzero(change == 0)[0])
            raise NonFiniteError(f"the FT ratio of row {still}, whose outputs do not change")
        return float(np.mean(through_features / change))


def decompose(
    model: nn.Module,
    rows: Mapping[str, Tensor] | Any,
    columns: Mapping[str, Tensor] | Any | None = None,
    *,
    head: str = "classifier",
    parameters: Parameters = None,
    by: By = None,
    precision: str = "float32",
    memory: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Decomposition:
    """P and F of a model with a linear head (Proposition 4.1 of Tomihari and Sato).

    Both come from one ``entk`` with all C x C blocks, at its cost: C backward passes a sample,
    where the features themselves would take h.

    Args:
        model: A module with ``model(**batch) -> (N, C)`` whose last step is an ``nn.Linear``, e.g.
            a ``LinearHeadModel``; in eval mode.
        rows: N samples, as for ``entk``.
        columns: M samples; ``None`` means the symmetric kernels of the rows.
        head: The name of that layer; its weight and bias must require gradients.
        parameters: Which of the feature extractor's parameters count, as for ``entk``; the
            head's always do.
        by: How to split F, as for ``entk``.
        precision: As for ``entk``, like all below.
        memory: Bytes that may be held beyond the model.
        cache: A folder for finished tiles.
        progress: Whether to show a progress bar.

    Returns:
        P and F, of the same rows, columns and outputs. The cost in each is that of both.

    Raises:
        InputError: If the head is unknown, not linear, frozen or not the last step; or as for
            ``entk``.
        NonFiniteError: If a gradient is not finite.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from tangentlm.kernels import decompose, numerical_rank
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        >>> batch = {"input": torch.randn(5, 4)}
        >>> parts = decompose(model.eval(), batch, head="2", progress=False)
        >>> parts.pretrain.parameters, parts.finetune.parameters
        (('2.weight', '2.bias'), ('0.weight', '0.bias'))
        >>> numerical_rank(parts.pretrain, 1e-6)  # 5 samples, 3 classes
        15
    """
    of_head = _parameters_of(model, head)
    frozen = [name for name in of_head if not model.get_parameter(name).requires_grad]
    if frozen:
        raise InputError(f"{frozen[0]} does not require a gradient, so it has no part in a kernel")
    of_body = [name for name in choose(model, parameters) if name not in of_head]
    groups = split(of_body, by)
    label = {name: f"F {group}" for group, names in groups.items() for name in names}
    with _last_step(model, head):
        whole = entk(
            model, rows, columns, parameters=[*of_head, *of_body], by=lambda n: label.get(n, "P"),
            precision=precision, memory=memory, cache=cache, progress=progress,
        )  # fmt: skip
    pretrain = whole.groups["P"]
    parts = {group: whole.groups[f"F {group}"] for group in groups if groups[group]}
    finetune = sum(parts.values(), np.zeros_like(pretrain))
    return Decomposition(
        replace(whole, values=pretrain, parameters=tuple(of_head), groups={}),
        replace(
            whole, values=finetune, parameters=tuple(of_body), groups={} if by is None else parts
        ),
    )


def feature_entk(
    model: nn.Module,
    rows: Mapping[str, Tensor] | Any,
    columns: Mapping[str, Tensor] | Any | None = None,
    *,
    head: str = "classifier",
    parameters: Parameters = None,
    precision: str = "float32",
    memory: int | None = None,
    progress: bool = True,
) -> Kernel:
    """The kernel of the h features, traced: tr K_phi(x, x') = sum_k <grad phi_k, grad phi_k'>.

    Choose it where the head is not known yet; where it is, ``decompose`` has F itself, far cheaper.
    It is what F is but for the head: for V with independent entries of mean 0 and variance v the
    expected F[i,c,j,d] is v tr K_phi(x_i, x_j) for c = d and 0 otherwise. It is exact, by ``entk``
    of 16 features at a time, so it costs h backward passes a sample and a forward for every 16,
    which for h = 768 is hundreds of times what F costs. Its memory is that of a kernel with 16
    outputs.

    Args:
        model: As for ``decompose``, like all below.
        rows: N samples.
        columns: M samples, or ``None``.
        head: The name of the linear layer that reads the features.
        parameters: Which of the feature extractor's parameters count.
        precision: How matrices are multiplied.
        memory: Bytes that may be held beyond the model.
        progress: Whether to show progress bars.

    Returns:
        The kernel, with values of shape (N, 1, M, 1); over h it is the mean over features.

    Raises:
        InputError: As for ``decompose``; or if no parameter of the feature extractor counts.
        NonFiniteError: If a gradient is not finite.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from tangentlm.kernels import feature_entk
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        >>> batch = {"input": torch.randn(5, 4)}
        >>> feature_entk(model.eval(), batch, head="2", progress=False).values.shape
        (5, 1, 5, 1)
    """
    of_head = _parameters_of(model, head)
    of_body = [name for name in choose(model, parameters) if name not in of_head]
    total: Kernel | None = None
    for start in range(0, linear_layer(model, head).in_features, _FEATURES):
        with _last_step(model, head, slice(start, start + _FEATURES)):
            some = entk(
                model, rows, columns, outputs="trace", parameters=of_body, precision=precision,
                memory=memory, progress=progress,
            )  # fmt: skip
        total = some if total is None else _sum(total, some)
    assert total is not None
    return total


def numerical_rank(kernel: Kernel, tolerance: float) -> int:
    """How many singular values of a kernel's matrix are not small beside the largest: Rank.

    Tables 2 and 9 of Tomihari and Sato have it without saying what counts as small. P, a matrix
    of samples times the identity, has a rank that is a multiple of C, as their numbers are.

    Args:
        kernel: P, F or their sum.
        tolerance: What is at most so many times the largest counts as zero.

    Returns:
        The rank. The tables' FN, the Frobenius norm, is ``np.linalg.norm(kernel.matrix())``.

    Example:
        >>> import numpy as np
        >>> from tangentlm.kernels import Kernel, numerical_rank
        >>> numerical_rank(Kernel(np.ones((3, 1, 3, 1)), "sgd", "full", ("weight",)), 1e-6)
        1
    """
    singular = np.linalg.svd(kernel.matrix(), compute_uv=False)
    return int(np.count_nonzero(singular > tolerance * singular[0]))


def trace_norms(kernel: Kernel) -> Array:
    """The trace norm of every block K(x_i, x_j), the sum of its C singular values.

    What Figures 8 and 9 of Tomihari and Sato show, grouped by class.

    Args:
        kernel: P, F or their sum.

    Returns:
        (N, M).

    Example:
        >>> import numpy as np
        >>> from tangentlm.kernels import Kernel, trace_norms
        >>> trace_norms(Kernel(np.eye(4).reshape(2, 2, 2, 2), "sgd", "full", ("weight",)))
        array([[2., 0.],
               [0., 2.]])
    """
    blocks = kernel.values.transpose(0, 2, 1, 3)
    norms: Array = np.linalg.svd(blocks, compute_uv=False).sum(axis=-1)
    return norms


def _parameters_of(model: nn.Module, head: str) -> list[str]:
    """The names of the head's weight and bias."""
    return [f"{head}.{name}" for name, _ in linear_layer(model, head).named_parameters()]


@contextmanager
def _last_step(model: nn.Module, head: str, features: slice | None = None) -> Generator[None]:
    """Within this context the model must return what its head returns, and that untouched.

    Args:
        model: The model.
        head: The head.
        features: Which of the features the model returns in the place of its outputs, if any. The
            parameters keep their names, as they would not in a module around the model.

    Yields:
        Nothing.
    """
    calls: list[tuple[Tensor, Tensor]] = []

    def check(_model: nn.Module, _inputs: object, outputs: object) -> Tensor | None:
        if len(calls) != 1 or calls[0][1] is not outputs:
            raise InputError(f"the model's outputs are not those of {head}, so that is no head")
        return None if features is None else calls[0][0][:, features]

    layer = model.get_submodule(head)
    with (
        model.register_forward_pre_hook(lambda _model, _inputs: calls.clear()),
        layer.register_forward_hook(lambda _head, x, y: calls.append((x[0], y))),
        model.register_forward_hook(check),
    ):
        yield


def _sum(first: Kernel, second: Kernel) -> Kernel:
    """The kernel of the outputs of both, traced."""
    a, b = first.cost, second.cost
    added = ("seconds", "flops", "passes_flops", "gradients_flops", "autograd_seconds")
    costs = {name: getattr(a, name) + getattr(b, name) for name in added}
    assert a is not None
    assert b is not None
    cost = replace(a, peak_bytes=max(a.peak_bytes, b.peak_bytes), **costs)
    return replace(first, values=first.values + second.values, cost=cost)
