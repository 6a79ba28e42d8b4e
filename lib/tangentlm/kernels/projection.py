"""The kernel of IntrinsicDimension fine-tuning: that of randomly projected gradients.

IntrinsicDimension fine-tuning (Definition E.1 of Malladi-v1) trains z in theta = theta_0 + P z
with a fixed random P of k columns, so its kernel is that of the gradients P^T g with respect to z.

P has as many rows as the model has parameters and is never formed. Its entries are random signs
over sqrt(k), made anew, block by block, from a seed, a parameter's name and the place of an entry
in that parameter. Gradients are written out in the same blocks, one parameter after another. How
far the kernel is from that of the gradients themselves is in ``tangentlm.kernels.bounds``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor, nn
from tqdm import tqdm

from tangentlm.errors import InputError, NonFiniteError, unknown_name
from tangentlm.kernels.check import check
from tangentlm.kernels.factors import Dense, Factor, Outer, Rows
from tangentlm.kernels.job import Job, prepared
from tangentlm.kernels.kernel import Kernel
from tangentlm.kernels.layer_groups import Parameters
from tangentlm.kernels.plan import Plan
from tangentlm.kernels.samples import Samples
from tangentlm.kernels.tiles import TileEngine

Array = NDArray[np.float64]

_BLOCK_BYTES = {"cpu": 8 * 2**20, "cuda": 2**28}
"""The block of P, with the gradients written out for it, that exists at one time."""
_SIGNS = 1.0 - 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
"""The eight signs that a byte stands for."""
_STEP = 256
"""The bits that one step of the counter of Philox gives."""


@dataclass(frozen=True)
class Projection:
    """A random P, (parameters, k), with independent entries +-1/sqrt(k), by parameter.

    An entry depends on the seed, the parameter's name and its place in the parameter alone, not
    on the blocks in which P is made. So theta_0 + P z can be computed one parameter at a time.

    Attributes:
        dimension: k.
        seed: Which P.

    Raises:
        InputError: If the dimension is not positive.

    Example:
        >>> from tangentlm.kernels import Projection
        >>> Projection(dimension=5, seed=0).signs("weight", first=0, count=3).shape
        (3, 5)
    """

    dimension: int
    seed: int

    def __post_init__(self) -> None:
        if self.dimension < 1:
            raise InputError(f"dimension = {self.dimension} must be a positive integer")

    def signs(
        self, name: str, first: int, count: int, dtype: DTypeLike = np.float64
    ) -> NDArray[Any]:
        """Some rows of sqrt(k) P: those of consecutive entries of one parameter.

        They are bits of the counter-based generator Philox, with a key from the seed and the name:
        k/8 bytes an entry of the parameter, rounded up to a multiple of 32.

        Args:
            name: The parameter.
            first: Which entry of the flattened parameter is the first.
            count: How many entries.
            dtype: Of the result.

        Returns:
            (count, k), entries -1 and 1.
        """
        digest = hashlib.sha256(f"{self.seed} {name}".encode()).digest()
        steps = -(-self.dimension // _STEP)
        generator = np.random.Philox(key=int.from_bytes(digest[:16], "big"), counter=first * steps)
        words = generator.random_raw(count * steps * _STEP // 64).astype("<u8", copy=False)
        signs = np.take(_SIGNS.astype(dtype), words.view(np.uint8), axis=0, mode="clip")
        return signs.reshape(count, steps * _STEP)[:, : self.dimension]

    def of_rows(self, name: str, ids: Tensor, width: int, like: Tensor) -> Tensor:
        """Some rows of sqrt(k) P: those of whole rows of one parameter.

        Args:
            name: The parameter.
            ids: Which rows of it, sorted, (R,).
            width: The entries of a row.
            like: A tensor of the type and on the device that are wanted.

        Returns:
            (R * width, k).
        """
        dtype = np.float64 if like.dtype == torch.float64 else np.float32
        rows = ids.cpu().numpy()
        runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
        signs = [self.signs(name, int(run[0]) * width, len(run) * width, dtype) for run in runs]
        return torch.from_numpy(np.concatenate(signs)).to(like.device)


def project_gradients(
    model: nn.Module,
    samples: Mapping[str, Tensor] | Any,
    *,
    dimension: int,
    seed: int,
    outputs: str = "full",
    parameters: Parameters = None,
    precision: str = "float32",
    memory: int | None = None,
    progress: bool = True,
) -> Array:
    """The gradients of all parameters together, projected: P^T g_c(x), with a ``Projection`` P.

    Choose it for features of samples that can be kept and compared later; for a kernel alone, take
    ``entk``, which is exact.

    For N samples of S positions, C outputs and P parameters, the cost is that of the passes (see
    ``entk``), of 2 N C P (S + k) operations, and of P k random signs for each piece of samples
    whose factors fit into memory. Of an embedding only the rows count that the samples touch.

    Args:
        model: Any module with ``model(**batch) -> (N, C)``, in eval mode.
        samples: N samples, as the rows of ``entk``.
        dimension: k.
        seed: Which P.
        outputs: ``"full"``, or ``"difference"`` for the one logit f_1 - f_0 of two classes.
        parameters: Which parameters count, as for ``entk``.
        precision: How gradients are multiplied with P (see ``entk``); signs are exact in all.
        memory: Bytes that may be held beyond the model and the result, N C k in float64 (default
            2.5 GiB). A block of P, of one row of a parameter at least, comes in addition.
        progress: Whether to show a progress bar.

    Returns:
        (N, C, k); C = 1 for the difference. But for round-off the same for any memory.

    Raises:
        InputError: If an argument is unknown or out of range, or the samples do not fit the model.
        NonFiniteError: If a gradient is not finite, naming sample and output.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from tangentlm.kernels import project_gradients
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> batch = {"input": torch.randn(5, 4)}
        >>> project_gradients(model.eval(), batch, dimension=6, seed=0, progress=False).shape
        (5, 2, 6)
    """
    projection = Projection(dimension, seed)
    _check_outputs(outputs)
    with prepared(
        model, samples, None, outputs=outputs, parameters=parameters, precision=precision,
        memory=memory,
    ) as job:  # fmt: skip
        return _projected(_engine(job), job.rows, projection, progress)


def intrinsic_dimension_entk(
    model: nn.Module,
    rows: Mapping[str, Tensor] | Any,
    columns: Mapping[str, Tensor] | Any | None = None,
    *,
    dimension: int,
    seed: int,
    outputs: str = "full",
    parameters: Parameters = None,
    precision: str = "float32",
    memory: int | None = None,
    progress: bool = True,
) -> Kernel:
    """The kernel of IntrinsicDimension fine-tuning, <P^T g_c(x_i), P^T g_d(x_j)>.

    It is that of the model f(x; theta_0 + P z) with respect to z at 0 (Definition E.1 of
    Malladi-v1); its expectation over P is ``entk``. Theorem E.2 draws P from N(0, 1/k), here its
    entries are +-1/sqrt(k): ``projection_error`` bounds the error of both. It costs
    ``project_gradients`` of the rows and of the columns, and 2 N M C^2 k operations in float64. So
    it is cheaper than ``entk`` only where k is well below N C and M C.

    Args:
        model: Any module with ``model(**batch) -> (N, C)``, in eval mode.
        rows: N samples.
        columns: M samples; ``None`` means the symmetric kernel of the rows.
        dimension: k.
        seed: Which P.
        outputs: ``"full"`` or ``"difference"``.
        parameters: Which parameters count.
        precision: How gradients are multiplied with P.
        memory: Bytes that may be held beyond the model, the projected gradients, (N + M) C k in
            float64, and the kernel.
        progress: Whether to show a progress bar.

    Returns:
        The kernel, with values of shape (N, C, M, C), and k and the seed in its provenance.

    Raises:
        InputError: If an argument is unknown or out of range, or the samples do not fit the model.
        NonFiniteError: If a gradient is not finite, naming sample and output.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from tangentlm.kernels import intrinsic_dimension_entk
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> batch = {"input": torch.randn(5, 4)}
        >>> kernel = intrinsic_dimension_entk(
        ...     model.eval(), batch, dimension=6, seed=0, progress=False
        ... )
        >>> kernel.values.shape, kernel.provenance["intrinsic_dimension"]
        ((5, 2, 5, 2), 6)
    """
    projection = Projection(dimension, seed)
    _check_outputs(outputs)
    with prepared(
        model, rows, columns, outputs=outputs, parameters=parameters, precision=precision,
        memory=memory,
    ) as job:  # fmt: skip
        engine = _engine(job)
        parts = [_projected(engine, samples, projection, progress) for samples in job.sides]
    left, right = parts[0], parts[-1]
    (n, c, k), m = left.shape, len(right)
    values = (left.reshape(n * c, k) @ right.reshape(m * c, k).T).reshape(n, c, m, c)
    cost = engine.cost()
    cost = replace(cost, flops=cost.flops + 2.0 * left.size * m * c)
    kernel = job.kernel(values[None], cost, grouped=False)
    about = {"intrinsic_dimension": dimension, "projection_seed": seed}
    return replace(kernel, provenance=kernel.provenance | about)


def _engine(job: Job) -> TileEngine:
    """What makes the factors of a job's samples."""
    checked = check(job.passes, *job.sides)
    return TileEngine(job, checked, Plan.of(job, checked))


def _projected(
    engine: TileEngine, samples: Samples, projection: Projection, progress: bool
) -> Array:
    """P^T g of all samples: for as many as fit into memory, one parameter after another."""
    parameters, outputs = engine.job.passes.parameters, engine.job.num_outputs
    result = np.zeros((len(samples), outputs, projection.dimension))
    total = len(samples) * len(parameters)
    with tqdm(total=total, desc="projection", disable=not progress, leave=False) as bar:
        for made in engine.pieces(samples):
            for name in parameters:
                factors = made.of(name)
                if factors is not None:
                    part = _product(engine, name, factors, projection)
                    result[made.samples] += part.reshape(-1, *result.shape[1:])
                bar.update(len(made.samples))
    bad = np.argwhere(~np.isfinite(result))
    if len(bad):
        sample, output, _ = bad[0]
        raise NonFiniteError(f"the gradient of output {output} of sample {sample} of the "
                             f"{samples.name}")  # fmt: skip
    return result / math.sqrt(projection.dimension)


def _product(
    engine: TileEngine, name: str, factors: Sequence[Factor], projection: Projection
) -> Array:
    """One parameter's part of sqrt(k) P^T g, (n C, k), a block of its rows at a time."""
    parameter = engine.job.passes.parameters[name]
    rows = len(parameter) if parameter.ndim else 1
    width = parameter.numel() // rows
    ids = torch.arange(rows, device=parameter.device)
    if all(isinstance(factor, Rows) for factor in factors):
        ids = torch.cat([factor.tensors[0].flatten() for factor in factors]).unique()
    count = sum(factor.tensors[-1].shape[:2].numel() for factor in factors)
    total = parameter.new_zeros(count, projection.dimension, dtype=torch.float64)
    row_bytes = (count + projection.dimension) * width * parameter.element_size()
    for block in ids.split(max(_BLOCK_BYTES[parameter.device.type] // row_bytes, 1)):
        parts = [_some_rows(factor, block, (rows, width)).flatten(0, 1) for factor in factors]
        gradients = torch.cat(parts).flatten(1)
        signs = projection.of_rows(name, block, width, parameter)
        total += engine.contraction.multiply(gradients, signs, (False, True)).double()
    return total.cpu().numpy()


def _some_rows(factor: Factor, ids: Tensor, shape: tuple[int, int]) -> Tensor:
    """The gradients of some rows of a parameter, (B, C, R, width)."""
    if isinstance(factor, Rows):
        return factor.on(ids)
    if isinstance(factor, Dense):
        return factor.dense(shape)[:, :, ids]
    part = len(ids), shape[1]
    if factor.transposed:
        return Outer(factor.x[..., ids], factor.d, transposed=True).dense(part)
    return Outer(factor.x, factor.d[..., ids]).dense(part)


def _check_outputs(outputs: str) -> None:
    if outputs not in ("full", "difference"):
        raise unknown_name("outputs", outputs, ("full", "difference"))
