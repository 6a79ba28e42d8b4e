"""``entk``: the kernel of a model between two sets of samples."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tangentlm.batches import row_selection, rows_as_given
from tangentlm.errors import InputError, unknown_name
from tangentlm.kernels.contract import SIGNED_SIDES, Contraction
from tangentlm.kernels.groups import By, Parameters, choose, split
from tangentlm.kernels.job import Job, Values, precise
from tangentlm.kernels.kernel import Kernel, KernelCost
from tangentlm.kernels.limits import Limits
from tangentlm.kernels.passes import Passes
from tangentlm.kernels.precision import DTYPES, Products, check_precision
from tangentlm.kernels.samples import Samples
from tangentlm.kernels.store import TileStore
from tangentlm.kernels.tiles import TileEngine

DEFAULT_MEMORY = 5 * 2**29
"""Bytes beyond the model that a kernel may take, where the caller sets no budget: 2.5 GiB."""
_OUTPUTS = ("full", "difference", "trace", "diagonal")


def entk(
    model: nn.Module,
    rows: Mapping[str, Tensor] | Any,
    columns: Mapping[str, Tensor] | Any | None = None,
    *,
    formula: str = "sgd",
    outputs: str = "full",
    parameters: Parameters = None,
    by: By = None,
    precision: str = "float32",
    memory: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Kernel:
    """The empirical neural tangent kernel of a model, exact.

    With g_c(x) the gradient of output c with respect to the parameters, at their present values:

    * ``"sgd"``: K[i,c,j,d] = <g_c(x_i), g_d(x_j)> (Definition 2.4 of Malladi-v1);
    * ``"signgd"``: K[i,c,j,d] = <sign g_c(x_i), sign g_d(x_j)>;
    * ``"asymmetric-signgd"``: K[i,c,j,d] = <g_c(x_i), sign g_d(x_j)> (Definition 3.2): rows plain,
      columns signed.

    An entry of a gradient that is zero but for round-off counts as zero in the sign formulas.
    Such are the gradients of the biases of keys (see ``tangentlm.kernels.rules``).

    For N rows and M columns of T tokens, C outputs and P parameters in weights, the cost is that
    of N + M forward and C (N + M) backward passes, 2 T P each, and of contractions of at most
    2 N M C^2 P, often far less (see ``tangentlm.kernels.contract``); repeated passes over the
    columns come in where the rows do not fit into memory (see ``tangentlm.kernels.tiles``).

    Args:
        model: Any module with ``model(**batch) -> (N, C)``, in eval mode.
        rows: N samples: a mapping of tensors with leading axis N, or a ``datasets.Dataset`` in
            torch format. Padding that an ``attention_mask`` marks costs little and adds nothing.
        columns: M samples; ``None`` means the symmetric kernel of the rows, computed once.
        formula: One of the three above.
        outputs: ``"full"``: all C x C blocks. ``"difference"``: for two classes, the kernel of
            the one logit f_1 - f_0, with C = 1. ``"trace"``: the sum of the blocks c = d, with
            C = 1. ``"diagonal"``: the blocks c = d alone; the others are zero.
        parameters: Which parameters count: a predicate on names, names, or ``None`` for all
            that require a gradient.
        by: ``"parameter"``, ``"layer"`` or a function from a parameter's name to its group: the
            kernel also comes as groups that sum to it, at no extra pass. ``None``: it does not.
        precision: ``"float32"``, ``"float64"``, ``"bfloat16"``, ``"bfloat16x3"`` or ``"tf32"``
            (see ``tangentlm.kernels.precision``); the model is cast for the computation.
        memory: Bytes that may be held beyond the model (default 2.5 GiB), for any N and M.
        cache: A folder. Finished tiles are written there, and read where they are already; a
            folder with a kernel of anything else is refused, a damaged tile computed again.
        progress: Whether to show a progress bar.

    Returns:
        The kernel, with values of shape (N, C, M, C) in float64.

    Raises:
        InputError: If an argument is unknown, the model is in training mode, or the samples do
            not fit it.
        NonFiniteError: If a gradient is not finite, naming sample, output and parameter.
    """
    started = time.perf_counter()
    with prepared(
        model, rows, columns, formula=formula, outputs=outputs, parameters=parameters, by=by,
        precision=precision, memory=memory,
    ) as job:  # fmt: skip
        store = None if cache is None else TileStore.open(cache, _identity(job), job.plan)
        values = job.run(store, progress)
    return finished(job, values, time.perf_counter() - started, grouped=by is not None)


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
    """A job that is ready to run; the model is cast to its precision for as long.

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
    _check_choice("formula", formula, SIGNED_SIDES)
    _check_choice("outputs", outputs, _OUTPUTS)
    if any(module.training for module in model.modules()):
        raise InputError("the model or a part of it is in training mode; call model.eval() first")
    if memory is not None and memory <= 0:
        raise InputError(f"memory = {memory}: the budget is a positive number of bytes")
    chosen = choose(model, parameters)
    check_precision(precision, next(model.parameters()).device)
    batches = [_as_batch(rows, "rows")]
    if columns is not None:
        batches.append(_as_batch(columns, "columns"))
    groups = split(chosen, by)
    with _cast(model, DTYPES[precision]):
        products = Products(precision)
        passes = make(model, chosen, outputs == "difference", products, formula != "sgd")
        with precise(passes):
            select = row_selection(lambda batch: [passes.weighed_gradient(batch)], *batches)
        passes.select = select
        row_samples, column_samples = (
            Samples(batch, name, select)
            for batch, name in zip([batches[0], batches[-1]], ["rows", "columns"], strict=True)
        )
        if columns is None:
            column_samples = row_samples
        engine = TileEngine(
            passes, Contraction(formula, products), groups, outputs,
            num_outputs=_num_outputs(passes, row_samples, outputs), limits=Limits(1, 1, 1),
        )  # fmt: skip
        yield Job(engine, row_samples, column_samples, memory or DEFAULT_MEMORY)


def finished(job: Job, values: Values, seconds: float, grouped: bool) -> Kernel:
    """The kernel that a job computed.

    Args:
        job: The job, after its run.
        values: For each group (N, C, M, C).
        seconds: How long it took.
        grouped: Whether the groups were asked for.

    Returns:
        The kernel.
    """
    engine = job.engine
    passes, contraction = engine.passes, engine.contraction
    cost = KernelCost(
        seconds=seconds,
        flops=passes.flops + contraction.gradients_flops + contraction.products_flops,
        peak_bytes=engine.peak_bytes,
        passes_flops=passes.flops,
        gradients_flops=contraction.gradients_flops,
        by_gram=tuple(name for name in passes.parameters if name in contraction.gram),
        by_autograd=tuple(name for name in passes.parameters if name in passes.by_autograd),
        autograd_seconds=passes.autograd_seconds,
    )
    return Kernel(
        values=values.sum(axis=0),
        formula=contraction.formula,
        outputs=engine.outputs,
        parameters=tuple(passes.parameters),
        provenance={"precision": passes.products.precision},
        cost=cost,
        groups=dict(zip(engine.groups, values, strict=True)) if grouped else {},
    )


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


def _identity(job: Job) -> dict[str, str]:
    """Digests of everything that a kernel depends on."""
    engine, passes = job.engine, job.engine.passes
    model, rows, columns = passes.model, job.rows, job.columns
    # Buffers that are not saved with the model (the label words, say) decide its outputs, too.
    return {
        "formula": engine.contraction.formula,
        "outputs": engine.outputs,
        "precision": passes.products.precision,
        "modules": hashlib.sha256(str(model).encode()).hexdigest(),
        "model": _digest([*model.named_parameters(), *model.named_buffers()]),
        "rows": _digest(rows.batch.items()),
        "columns": "rows" if columns is rows else _digest(columns.batch.items()),
        "parameters": hashlib.sha256(" ".join(passes.parameters).encode()).hexdigest(),
        "groups": hashlib.sha256(json.dumps(engine.groups).encode()).hexdigest(),
        **({"padding": "as given"} if rows.select is rows_as_given else {}),
    }


def _digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    state = hashlib.sha256()
    for name, tensor in tensors:
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()
