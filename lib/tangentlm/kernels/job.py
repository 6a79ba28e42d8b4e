"""A job: what a kernel is of, once it is known to be possible."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tangentlm.batches import row_selection, rows_as_given
from tangentlm.errors import InputError, unknown_name
from tangentlm.kernels.contract import SIGNED_SIDES
from tangentlm.kernels.kernel import Kernel, KernelCost, Values
from tangentlm.kernels.layer_groups import By, Parameters, choose, split
from tangentlm.kernels.passes import Passes
from tangentlm.kernels.precision import DTYPES, Products, check_precision
from tangentlm.kernels.samples import Samples

DEFAULT_MEMORY = 5 * 2**29
"""Bytes beyond the model that a kernel may take, where the caller sets no budget: 2.5 GiB."""
_OUTPUTS = ("full", "difference", "trace", "diagonal")


@dataclass(frozen=True)
class Job:
    """What to compute.

    Attributes:
        passes: Makes factors.
        formula: Which inner product.
        groups: The parameters of every group; the kernel is computed for each group apart.
        outputs: ``"full"``, ``"difference"``, ``"trace"`` or ``"diagonal"``.
        num_outputs: C of the kernel.
        rows: N samples.
        columns: M samples; the very same object for the kernel of the rows with themselves.
        memory: Bytes that may be held beyond the model.
        began: When, by ``time.perf_counter``.
    """

    passes: Passes
    formula: str
    groups: Mapping[str, Sequence[str]]
    outputs: str
    num_outputs: int
    rows: Samples
    columns: Samples
    memory: int
    began: float

    @property
    def sides(self) -> tuple[Samples, ...]:
        """The rows, and the columns where they are others."""
        return (self.rows,) if self.columns is self.rows else (self.rows, self.columns)

    @property
    def symmetric(self) -> bool:
        """Whether the kernel is symmetric, so that half of the tiles are enough."""
        first, second = SIGNED_SIDES[self.formula]
        return self.rows is self.columns and first == second

    @property
    def identity(self) -> dict[str, str]:
        """Digests of everything that the kernel depends on."""
        model, rows, columns = self.passes.model, self.rows, self.columns
        # Buffers that are not saved with the model (the label words, say) decide its outputs, too.
        return {
            "formula": self.formula,
            "outputs": self.outputs,
            "precision": self.passes.products.precision,
            "modules": hashlib.sha256(str(model).encode()).hexdigest(),
            "model": _digest([*model.named_parameters(), *model.named_buffers()]),
            "rows": _digest(rows.batch.items()),
            "columns": "rows" if columns is rows else _digest(columns.batch.items()),
            "parameters": hashlib.sha256(" ".join(self.passes.parameters).encode()).hexdigest(),
            "groups": hashlib.sha256(json.dumps(self.groups).encode()).hexdigest(),
            **({"padding": "as given"} if rows.select is rows_as_given else {}),
        }

    def kernel(self, values: Values, cost: KernelCost, grouped: bool) -> Kernel:
        """The kernel, once it is computed.

        Args:
            values: For each group (N, C, M, C).
            cost: What it cost.
            grouped: Whether the groups were asked for.

        Returns:
            The kernel.
        """
        return Kernel(
            values=values.sum(axis=0),
            formula=self.formula,
            outputs=self.outputs,
            parameters=tuple(self.passes.parameters),
            provenance={"precision": self.passes.products.precision},
            cost=cost,
            groups=dict(zip(self.groups, values, strict=True)) if grouped else {},
        )


@contextmanager
def prepared(
    model: nn.Module,
    rows: Mapping[str, Tensor] | Any,
    columns: Mapping[str, Tensor] | Any | None,
    *,
    formula: str = "sgd",
    outputs: str,
    parameters: Parameters,
    by: By = None,
    precision: str,
    memory: int | None,
    make: Callable[..., Passes] = Passes,
) -> Generator[Job]:
    """A job, with its arguments checked; the model is cast to its precision for as long.

    Args:
        model: See ``entk``, for all but the last.
        rows: N samples.
        columns: M samples, or ``None``.
        formula: Which inner product.
        outputs: Which outputs.
        parameters: Which parameters count.
        by: Which groups the kernel is split into.
        precision: How matrices are multiplied.
        memory: The budget in bytes.
        make: Makes factors: ``Passes``, or what gives them another form.

    Yields:
        The job.

    Raises:
        InputError: If an argument is unknown, the model is in training mode, or the samples do
            not fit it.
    """
    began = time.perf_counter()
    _check_choice("formula", formula, SIGNED_SIDES)
    _check_choice("outputs", outputs, _OUTPUTS)
    if any(module.training for module in model.modules()):
        raise InputError("the model or a part of it is in training mode; call model.eval() first")
    if memory is not None and memory <= 0:
        raise InputError(f"memory = {memory}: the budget is a positive number of bytes")
    chosen = choose(model, parameters)
    check_precision(precision, next(model.parameters()).device)
    batches = {"rows": _as_batch(rows, "rows")}
    if columns is not None:
        batches["columns"] = _as_batch(columns, "columns")
    groups = split(chosen, by)
    with _cast(model, DTYPES[precision]):
        products = Products(precision)
        passes = make(model, chosen, outputs == "difference", products, formula != "sgd")
        exact = passes.precise()
        with torch.no_grad():
            every = list(batches.values())
            select = row_selection(every, exact.outputs, exact.weighed_gradient)
        passes = replace(passes, select=select)
        sides = [Samples(batch, name, select) for name, batch in batches.items()]
        yield Job(
            passes, formula, groups, outputs, _num_outputs(passes, sides[0], outputs),
            rows=sides[0], columns=sides[-1], memory=memory or DEFAULT_MEMORY, began=began,
        )  # fmt: skip


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


def _num_outputs(passes: Passes, rows: Samples, outputs: str) -> int:
    """C of the kernel, from a forward of one sample."""
    with torch.no_grad():
        logits = passes.logits(rows.take([0]))
    if outputs == "difference" and logits.shape[1] != 2:
        raise InputError(f"outputs='difference' is for 2 classes, not {logits.shape[1]}")
    return logits.shape[1] if outputs in ("full", "diagonal") else 1


def _digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    state = hashlib.sha256()
    for name, tensor in tensors:
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()
