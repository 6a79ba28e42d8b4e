"""``entk``: the kernel of a model between two sets of samples."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from tangentlm.errors import InputError, unknown_name
from tangentlm.kernels.kernel import Kernel, KernelCost
from tangentlm.kernels.reference import GradientSource, reference_entk

DEFAULT_MEMORY = 3 * 2**29
"""Bytes of gradients held at one time, where the caller sets no budget."""
_FORMULAS = ("sgd",)
_OUTPUTS = ("full", "difference")
_PRECISIONS = {"float32": torch.float32, "float64": torch.float64}

Parameters = Callable[[str], bool] | Iterable[str] | None


def entk(
    model: nn.Module,
    rows: Mapping[str, Tensor] | Any,
    columns: Mapping[str, Tensor] | Any | None = None,
    *,
    formula: str = "sgd",
    outputs: str = "full",
    parameters: Parameters = None,
    by: None = None,
    precision: str = "float32",
    memory: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Kernel:
    """The empirical neural tangent kernel of a model, exact.

    K[i,c,j,d] = <grad f_c(x_i), grad f_d(x_j)> (Definition 2.4 of Malladi-v1), at the model's
    present parameters. The computation is that of ``tangentlm.kernels.reference``.

    Args:
        model: Any module with ``model(**batch) -> (N, C)``, in eval mode.
        rows: N samples: a mapping of tensors with leading axis N, or a ``datasets.Dataset`` in
            torch format.
        columns: M samples; ``None`` means the symmetric kernel of the rows, computed once.
        formula: ``"sgd"``.
        outputs: ``"full"``: all C x C blocks; ``"difference"``: for two classes, the kernel of
            the one logit f_1 - f_0, with C = 1.
        parameters: Which parameters count: a predicate on names, names, or ``None`` for all
            that require a gradient.
        by: Must be ``None``: the kernel is not split into groups.
        precision: ``"float32"`` or ``"float64"``; the model is cast for the computation.
        memory: Bytes of gradients held at one time (default 1.5 GiB), independent of N and M.
        cache: A file. Where it exists, it is read, and refused unless it holds this very kernel
            (same formula, outputs, parameters, precision, model and samples); else the kernel
            is computed and written there.
        progress: Whether to show a progress bar.

    Returns:
        The kernel, with values of shape (N, C, M, C) in float64.

    Raises:
        InputError: If an argument is unknown, the model is in training mode, or the samples do
            not fit it.
    """
    _check_choice("formula", formula, _FORMULAS)
    _check_choice("outputs", outputs, _OUTPUTS)
    _check_choice("precision", precision, _PRECISIONS)
    if by is not None:
        raise InputError("by: kernels are not split into groups; leave it at None")
    if any(module.training for module in model.modules()):
        raise InputError("the model or a part of it is in training mode; call model.eval() first")
    if memory is not None and memory <= 0:
        raise InputError(f"memory = {memory}: the budget is a positive number of bytes")
    row_batch = _as_batch(rows, "rows")
    column_batch = None if columns is None else _as_batch(columns, "columns")
    chosen = _choose(model, parameters)
    with _cast(model, _PRECISIONS[precision]):
        _check_outputs(model, row_batch, outputs)
        provenance = {"precision": precision}
        if cache is not None:
            provenance["input"] = _fingerprint(model, chosen, row_batch, column_batch)
            if os.path.exists(cache):
                return Kernel.load(cache, formula=formula, outputs=outputs, **provenance)
        source = GradientSource(
            model, list(chosen.values()), outputs == "difference", _PRECISIONS[precision]
        )
        started = time.perf_counter()
        with (
            torch.enable_grad(),
            tqdm(desc="eNTK", unit="sample", disable=not progress, leave=False) as bar,
        ):
            result = reference_entk(source, row_batch, column_batch, memory or DEFAULT_MEMORY, bar)
    cost = KernelCost(time.perf_counter() - started, result.flops, result.peak_bytes)
    kernel = Kernel(result.values, formula, outputs, tuple(chosen), provenance, cost)
    if cache is not None:
        kernel.save(cache)
    return kernel


def _check_choice(kind: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise unknown_name(kind, value, known)


def _as_batch(samples: Any, name: str) -> dict[str, Tensor]:
    """A mapping of tensors from a mapping or a ``datasets.Dataset`` in torch format."""
    batch = dict(samples) if isinstance(samples, Mapping) else dict(samples[:])
    wrong = [key for key, value in batch.items() if not isinstance(value, Tensor)]
    if wrong:
        raise InputError(f"{name}: {wrong[0]!r} is no tensor; a Dataset needs the torch format")
    lengths = {len(tensor) if tensor.ndim else 0 for tensor in batch.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise InputError(f"{name}: needs tensors with one common leading axis, not {lengths}")
    return batch


def _choose(model: nn.Module, parameters: Parameters) -> dict[str, nn.Parameter]:
    """The parameters that count, by name; a tied parameter counts once."""
    known = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if parameters is None:
        chosen = known
    elif callable(parameters):
        chosen = {name: p for name, p in known.items() if parameters(name)}
    else:
        names = [parameters] if isinstance(parameters, str) else list(parameters)
        for name in names:
            if name not in known:
                raise unknown_name("parameter", name, known)
        chosen = {name: known[name] for name in names}
    if not chosen:
        raise InputError("no parameter of the model counts in the kernel")
    return chosen


class _cast:  # ruff: ignore[invalid-class-name] - reads as a statement: with _cast(model, dtype)
    """Cast a model's floating-point parameters and buffers, and put them back afterwards."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        self.model, self.dtype = model, dtype

    def _tensors(self) -> list[Tensor]:
        both = [*self.model.parameters(), *self.model.buffers()]
        return [tensor for tensor in both if tensor.is_floating_point()]

    def __enter__(self) -> None:
        self.before = [(tensor, tensor.data) for tensor in self._tensors()]
        for tensor in self._tensors():
            tensor.data = tensor.data.to(self.dtype)

    def __exit__(self, *_: object) -> None:
        for tensor, data in self.before:
            tensor.data = data


def _check_outputs(model: nn.Module, batch: Mapping[str, Tensor], outputs: str) -> None:
    device = next(model.parameters()).device
    with torch.no_grad():
        logits = model(**{name: tensor[:1].to(device) for name, tensor in batch.items()})
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1:
        raise InputError("the model must map a batch of N samples to a tensor of shape (N, C)")
    if outputs == "difference" and logits.shape[1] != 2:
        raise InputError(f"outputs='difference' is for 2 classes, not {logits.shape[1]}")


def _fingerprint(
    model: nn.Module,
    chosen: Mapping[str, nn.Parameter],
    rows: Mapping[str, Tensor],
    columns: Mapping[str, Tensor] | None,
) -> str:
    """SHA-256 of everything that the kernel depends on."""
    state = hashlib.sha256()
    # Buffers that are not saved with the model (the label words, say) decide its outputs, too.
    own = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in [*own, *rows.items(), *(columns or {}).items()]:
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    state.update(" ".join(chosen).encode())
    return state.hexdigest()
