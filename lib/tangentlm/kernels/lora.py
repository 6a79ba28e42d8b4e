"""The kernel of LoRA at its start, from the factors of the weights that it adapts.

LoRA trains A and B in W + (alpha / r) B A for some weights W. It begins with B = 0. There A has no
gradient, and that of B is (alpha / r) G A^T, with G the gradient of W (Lemma E.4 of Malladi-v1): a
random projection of G. So no adapter is needed. ``tangentlm.kernels.bounds`` says how far the
kernel is from that of the weights.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from tangentlm.errors import InputError, unknown_name
from tangentlm.kernels.factors import Factor, Outer, Rows
from tangentlm.kernels.function import Batch
from tangentlm.kernels.job import prepared
from tangentlm.kernels.kernel import Kernel
from tangentlm.kernels.layer_groups import By, linear_layer
from tangentlm.kernels.passes import Made, Passes, Way
from tangentlm.kernels.precision import DTYPES
from tangentlm.kernels.run import run


def draw_lora(
    model: nn.Module,
    targets: Iterable[str],
    *,
    rank: int,
    seed: int,
    init: str = "kaiming-uniform",
) -> dict[str, Tensor]:
    """The matrices A with which LoRA begins; its matrices B begin at zero.

    Args:
        model: The model without LoRA.
        targets: Which ``nn.Linear`` are adapted, as PEFT's ``target_modules``: those whose name is
            a target or ends in a dot and a target.
        rank: r.
        seed: Which matrices. That of a layer does not depend on the other layers.
        init: How entries are drawn, see ``lora_expected_scale``: ``"kaiming-uniform"`` as PEFT
            does by default, ``"gaussian"`` as its option of that name, with variance 1 / r^2, or
            ``"isometric"``, normal with variance 1 / r, as Theorem E.5 of Malladi-v1 needs it.

    Returns:
        A by the layer's name, (r, d_in), float32.

    Raises:
        InputError: If a target is unknown or no linear layer, or an argument is out of range.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from tangentlm.kernels import draw_lora
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> {name: tuple(A.shape) for name, A in draw_lora(model, ["2"], rank=3, seed=0).items()}
        {'2': (3, 8)}
    """
    if rank < 1:
        raise InputError(f"rank = {rank} must be a positive integer")
    deviations = {"gaussian": 1 / rank, "isometric": 1 / math.sqrt(rank)}
    if init not in {"kaiming-uniform", *deviations}:
        raise unknown_name("init", init, {"kaiming-uniform", *deviations})
    matrices = {}
    for name in _adapted(model, targets):
        d_in = linear_layer(model, name).in_features
        digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        A = torch.empty(rank, d_in)
        if init == "kaiming-uniform":
            A.uniform_(-1 / math.sqrt(d_in), 1 / math.sqrt(d_in), generator=generator)
        else:
            A.normal_(0.0, deviations[init], generator=generator)
        matrices[name] = A
    return matrices


def lora_entk_at_init(
    model: nn.Module,
    rows: Mapping[str, Tensor] | Any,
    columns: Mapping[str, Tensor] | Any | None = None,
    *,
    A: Mapping[str, Tensor],
    alpha: float,
    outputs: str = "full",
    by: By = None,
    precision: str = "float32",
    memory: int | None = None,
    progress: bool = True,
) -> Kernel:
    """The kernel of LoRA at its start, the sum over layers of s^2 <G_c(x_i) A^T, G_d(x_j) A^T>.

    s = alpha / r, and G_c(x), the gradient of the layer's weight, is the sum of d_c x_p^T over
    positions p. So a layer's part is s^2 sum_pq (d_cp . d'_dq)(A x_p . A x'_q), which is Lemma E.4
    of Malladi-v1 for many positions and with PEFT's factor s. A parameter that is trained outright
    beside LoRA adds its own ``entk``.

    Choose it for a kernel of LoRA before training, of many ranks or seeds; for LoRA that has been
    trained, whose B is not zero, take ``entk`` of the model with its adapters.

    The cost is that of ``entk`` for the same weights, with r in the place of d_in in contractions.

    Args:
        model: The model without LoRA, ``model(**batch) -> (N, C)``, in eval mode.
        rows: N samples.
        columns: M samples; ``None`` means the symmetric kernel of the rows.
        A: For every adapted ``nn.Linear``, by its name, the matrix A, (r, d_in): from
            ``draw_lora``, or the weight of ``lora_A`` in a model of PEFT.
        alpha: LoRA's alpha.
        outputs: As for ``entk``.
        by: As for ``entk``; a layer goes by the name of its weight W.
        precision: As for ``entk``.
        memory: As for ``entk``.
        progress: Whether to show a progress bar.

    Returns:
        The kernel, with values of shape (N, C, M, C). Its parameters are the weights W.

    Raises:
        InputError: If a layer of A is unknown, no linear layer or not the only owner of its
            weight, if a shape does not fit, or as for ``entk``.
        NonFiniteError: If a gradient is not finite.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from tangentlm.kernels import draw_lora, lora_entk_at_init
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> batch = {"input": torch.randn(5, 4)}
        >>> A = draw_lora(model, ["0"], rank=2, seed=0)
        >>> kernel = lora_entk_at_init(model.eval(), batch, A=A, alpha=2.0, progress=False)
        >>> kernel.values.shape, kernel.parameters
        ((5, 2, 5, 2), ('0.weight',))
    """
    if not (math.isfinite(alpha) and alpha > 0):
        raise InputError(f"alpha = {alpha} must be positive")
    device, dtype = next(model.parameters()).device, DTYPES.get(precision)
    scaled = {}
    for name, matrix in A.items():
        d_in = linear_layer(model, name).in_features
        if matrix.ndim != 2 or matrix.shape[1] != d_in:
            raise InputError(f"A of {name} has shape {tuple(matrix.shape)}, not (r, {d_in})")
        scaled[f"{name}.weight"] = alpha / len(matrix) * matrix.detach().to(device, dtype)
    with prepared(
        model, rows, columns, outputs=outputs, parameters=list(scaled), by=by, precision=precision,
        memory=memory, make=functools.partial(_LoraPasses, A=scaled),
    ) as job:  # fmt: skip
        values, cost = run(job, None, progress)
    kernel = job.kernel(values, cost, grouped=by is not None)
    return replace(kernel, provenance=kernel.provenance | {"lora_alpha": alpha})


@dataclass(frozen=True)
class _LoraPasses(Passes):
    """The factors of LoRA's matrices B, from those of the weights that they are added to.

    Attributes:
        A: (alpha / r) A by the name of the weight.
    """

    A: Mapping[str, Tensor] = field(default_factory=dict)

    def factors(
        self,
        batch: Batch,
        by_autograd: AbstractSet[str],
        seen: AbstractSet[Way] = frozenset(),
        checking: bool = False,
    ) -> Made:
        """The gradients (alpha / r) G A^T; for the check those of the weights, G.

        Args:
            batch: B samples.
            by_autograd: The weights that go through exact autograd.
            seen: The ways of use that a check has seen.
            checking: Whether they will be compared with those of autograd.

        Returns:
            A factor for every weight that the outputs depend on.
        """
        made = super().factors(batch, by_autograd, seen, checking)
        if checking:
            return made
        factors = {name: self._reduced(name, factor) for name, factor in made.factors.items()}
        added = sum(2.0 * _reducible(f).numel() * len(self.A[n]) for n, f in made.factors.items())
        return replace(made, factors=factors, flops=made.flops + added)

    def _reduced(self, name: str, factor: Factor) -> Factor:
        if isinstance(factor, Rows):
            return Rows(factor.ids, self._times_a(factor.d, name))
        if isinstance(factor, Outer) and not factor.transposed:
            return Outer(self._times_a(factor.x, name), factor.d)
        raise InputError(f"{name} is used in other ways than by its linear layer")

    def _times_a(self, tensor: Tensor, name: str) -> Tensor:
        """(..., d_in) to (..., r)."""
        A = self.A[name]
        return self.products(tensor.flatten(0, -2), A.T).unflatten(0, tensor.shape[:-1])


def _reducible(factor: Factor) -> Tensor:
    """The tensor of a factor whose last axis is d_in."""
    return factor.x if isinstance(factor, Outer) else factor.tensors[-1]


def _adapted(model: nn.Module, targets: Iterable[str]) -> list[str]:
    """The names of the modules that are or end in one of the targets."""
    modules = [name for name, _ in model.named_modules() if name]
    adapted = []
    for target in targets:
        found = [name for name in modules if f".{name}".endswith(f".{target}")]
        if not found:
            raise unknown_name("target", target, {name.split(".")[-1] for name in modules})
        adapted += found
    return list(dict.fromkeys(adapted))
