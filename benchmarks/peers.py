"""Other libraries on the largest model that each can take, beside ``entk`` on the very same.

The libraries are optional: one that is not installed gets a row that says so. What a library
cannot take is not read off its manual but tried here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from machine import Memory, synchronize
from methods import Values, difference, errors, jacobian_contraction, values_of
from setting import Row, Setting, build_model, first, random_samples, real_lengths
from tangentlm.batches import Batch
from tangentlm.kernels import entk

_MLP_WIDTH, _MLP_LAYERS = 4096, 5


@dataclass(frozen=True)
class Problem:
    """A model and data on which methods meet.

    Attributes:
        model: ``model(**batch) -> (N, C)``.
        rows: N samples.
        columns: M samples, or ``None`` for the symmetric kernel of the rows.
        parameters: Those that count; ``None`` for all.
    """

    model: nn.Module
    rows: Batch
    columns: Batch | None
    parameters: list[str] | None = None

    def slice(self, count: int) -> Problem:
        """The same problem on the first samples."""
        columns = None if self.columns is None else first(self.columns, count)
        return Problem(self.model, first(self.rows, count), columns, self.parameters)


class Mlp(nn.Module):
    """Linear layers of one width, with tanh between them."""

    def __init__(self, width: int, layers: int, classes: int = 2) -> None:
        super().__init__()
        blocks = [[nn.Linear(width, width), nn.Tanh()] for _ in range(layers)]
        self.layers = nn.Sequential(*(module for block in blocks for module in block))
        self.last = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of (N, width) inputs."""
        logits: Tensor = self.last(self.layers(x))
        return logits


def whole(setting: Setting) -> Problem:
    """Every parameter of a model of RoBERTa-base's shape."""
    model = build_model(setting)
    vocabulary = model.masked_lm.config.vocab_size
    rows, columns = (
        random_samples(real_lengths("sst2", part, setting.size(count)), vocabulary, seed)
        for part, count, seed in (("train", 8, 1), ("test", 16, 2))
    )
    return Problem(model, _to(rows, setting.device), _to(columns, setting.device))


def encoder(setting: Setting) -> Problem:
    """The linear layers of the same model's encoder alone."""
    problem = whole(setting)
    names = [f"{name}.{kind}" for name, _ in _linears(problem.model) for kind in ("weight", "bias")]
    return Problem(problem.model, problem.rows, problem.columns, names)


def mlp(setting: Setting) -> Problem:
    """An MLP with as many weights as RoBERTa-base's encoder, and two outputs."""
    torch.manual_seed(0)
    width = 16 if setting.quick else _MLP_WIDTH
    model = Mlp(width, _MLP_LAYERS).eval().to(setting.device)
    return Problem(model, {"x": torch.randn(setting.size(256), width, device=setting.device)}, None)


def _to(batch: Batch, device: str) -> Batch:
    return {name: tensor.to(device) for name, tensor in batch.items()}


def _linears(model: nn.Module) -> list[tuple[str, nn.Linear]]:
    named = model.named_modules()
    return [(n, m) for n, m in named if isinstance(m, nn.Linear) and "encoder" in n]


def ours(problem: Problem, precision: str = "float32") -> Values:
    """``entk``."""
    outputs = "full" if problem.columns is None else "difference"
    return entk(
        problem.model, problem.rows, problem.columns,
        outputs=outputs, parameters=problem.parameters, precision=precision, progress=False,
    ).values  # fmt: skip


def torch_func(problem: Problem) -> Values:
    """The contraction of Jacobians, shaped as ``entk`` does."""
    assert problem.columns is not None
    values = jacobian_contraction(problem.model, problem.rows, problem.columns)
    return values[:, None, :, None]


def backpack_gradients(problem: Problem) -> Values:
    """BackPACK's gradients of every sample, and their inner products."""
    from backpack import backpack, extend
    from backpack.extensions import BatchGrad

    assert problem.columns is not None
    modules = [extend(module) for _, module in _linears(problem.model)]
    parameters = [p for module in modules for p in module.parameters()]

    def gradients(batch: Batch) -> list[Tensor]:
        with backpack(BatchGrad()):
            logits = problem.model(**batch)
            (logits[:, 1] - logits[:, 0]).sum().backward()
        return [parameter.grad_batch.flatten(1) for parameter in parameters]

    left, right = gradients(problem.rows), gradients(problem.columns)
    values = sum((a @ b.T).double() for a, b in zip(left, right, strict=True))
    assert isinstance(values, Tensor)
    array: Values = values.cpu().numpy()
    return array[:, None, :, None]


def nngeometry_gram(problem: Problem) -> Values:
    """NNGeometry's Gram matrix of two outputs, shaped as ``entk`` does."""
    from nngeometry import GramMatrix
    from torch.utils.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(problem.rows["x"]), batch_size=len(problem.rows["x"]))
    gram = GramMatrix(problem.model, loader).to_torch()
    values: Values = gram.permute(1, 0, 3, 2).double().cpu().numpy()
    return values


def _vmap(problem: Problem) -> None:
    parameters = values_of(problem.model)

    def gradient(sample: Batch) -> Any:
        one = {name: tensor.unsqueeze(0) for name, tensor in sample.items()}
        return torch.func.jacrev(partial(difference, problem.model, one))(parameters)

    torch.func.vmap(gradient)(problem.rows)


def _backpack_norm(problem: Problem) -> None:
    from backpack import backpack, extend
    from backpack.extensions import BatchGrad

    model = extend(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)))
    with backpack(BatchGrad()):
        model(torch.randn(2, 4)).sum().backward()
    # BackPACK goes on without them, with a warning.
    _ = [parameter.grad_batch for parameter in model.parameters()]


def _nngeometry_embedding(problem: Problem) -> None:
    nngeometry_gram(Problem(nn.Embedding(4, 4), {"x": torch.tensor([[0], [1]])}, None))


def _nngeometry_sequence(problem: Problem) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Flatten())
    nngeometry_gram(Problem(model, {"x": torch.randn(2, 3, 4)}, None))


@dataclass(frozen=True)
class Method:
    """One way to a kernel.

    Attributes:
        solve: Computes it, (N, C, M, C).
        package: What has to be installed; PyTorch is.
        trials: What it may not be able to take, each with an attempt.
    """

    solve: Callable[[Problem], Values]
    package: str = "torch"
    trials: Mapping[str, Callable[[Problem], object]] = field(default_factory=dict)


METHODS = {
    "entk": Method(ours, "tangentlm"),
    "torch.func": Method(torch_func, trials={"vmap over the samples of this model": _vmap}),
    "BackPACK": Method(
        backpack_gradients, "backpack-for-pytorch", {"layer normalisation": _backpack_norm}
    ),
    "NNGeometry": Method(
        nngeometry_gram,
        "nngeometry",
        {"embeddings": _nngeometry_embedding, "layers on sequences": _nngeometry_sequence},
    ),
}
PROBLEMS = {
    "transformer, all parameters": (whole, "torch.func"),
    "transformer, linear layers of the encoder": (encoder, "BackPACK"),
    "MLP": (mlp, "NNGeometry"),
}


def compare(setting: Setting) -> Iterator[Row]:
    """Every problem by the other method and by ours, each in a process of its own.

    Args:
        setting: How large, and where.

    Yields:
        A row a problem and method.
    """
    for about, (make, other) in PROBLEMS.items():
        exact = setting.apart(solve_exactly, setting, make)
        for name in ("entk", other):
            row: Row = {"problem": about, "method": name, "version": _version(name)}
            if row["version"] == "not installed":
                yield row
                continue
            found, values = setting.apart(solve, setting, make, name)
            yield row | found | errors(values, exact)


def _version(method: str) -> str:
    try:
        return metadata.version(METHODS[method].package)
    except metadata.PackageNotFoundError:
        return "not installed"


def solve_exactly(setting: Setting, make: Callable[[Setting], Problem]) -> Values:
    """The kernel of a problem in double precision."""
    return ours(make(setting), precision="float64")


def solve(setting: Setting, make: Callable[[Setting], Problem], name: str) -> tuple[Row, Values]:
    """One method on one problem, after a first run on two samples.

    Args:
        setting: How large, and where.
        make: Makes the problem.
        name: The method.

    Returns:
        Size, seconds, memory and what it cannot take; the kernel.
    """
    problem, method = make(setting), METHODS[name]
    memory = Memory(setting.device)
    method.solve(problem.slice(2))
    synchronize(setting.device)
    started = time.perf_counter()
    values = method.solve(problem)
    synchronize(setting.device)
    seconds = time.perf_counter() - started
    chosen = problem.parameters
    named = problem.model.named_parameters()
    lacking = [what for what, attempt in method.trials.items() if _fails(attempt, problem)]
    row = {
        "rows": values.shape[0],
        "columns": values.shape[2],
        "parameters": sum(p.numel() for n, p in named if chosen is None or n in chosen),
        "seconds": seconds,
        "memory_gib": memory.growth(),
        "cannot_take": ", ".join(lacking),
    }
    return row, values.astype(np.float64)


def _fails(attempt: Callable[[Problem], object], problem: Problem) -> bool:
    try:
        attempt(problem.slice(2))
    except Exception:
        return True
    return False
