"""What ``entk`` returns: the kernel's values, how they came about, and what they cost."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tangentlm.errors import InputError, NonFiniteError

Values = NDArray[np.float64]


@dataclass(frozen=True)
class KernelCost:
    """What a kernel cost, and how it was computed; ``print`` says it in a few words.

    Attributes:
        seconds: Wall-clock time.
        flops: Counted floating-point operations, of matrix products alone.
        peak_bytes: The most memory that factors of gradients took at one time.
        passes_flops: The part of ``flops`` in forward and backward passes.
        gradients_flops: The part of ``flops`` that wrote gradients out.
        by_gram: Parameters whose gradients were never written out, in some tile at least.
        by_autograd: Parameters that no rule covers: one backward pass a sample and output for all
            of them.
        autograd_seconds: The part of ``seconds`` that these passes took. Where it is large, leave
            such a parameter out (``parameters=``), or let the model use it in a call that a rule
            covers (see ``tangentlm.kernels.rules``).
    """

    seconds: float
    flops: float
    peak_bytes: int
    passes_flops: float = 0.0
    gradients_flops: float = 0.0
    by_gram: tuple[str, ...] = ()
    by_autograd: tuple[str, ...] = ()
    autograd_seconds: float = 0.0

    def __str__(self) -> str:
        text = (
            f"{self.seconds:.1f} s, {self.flops / 1e9:.3g} GFLOP, "
            f"at most {self.peak_bytes / 2**20:.3g} MiB of factors"
        )
        if self.by_autograd:
            text += (
                f"; {self.autograd_seconds:.1f} s of it in autograd, for what no rule covers: "
                f"{', '.join(self.by_autograd)}"
            )
        return text


@dataclass(frozen=True)
class Kernel:
    """An eNTK between N rows and M columns, with C outputs each.

    Attributes:
        values: float64, shape (N, C, M, C): ``values[i, c, j, d]`` is the entry of output c of
            row i and output d of column j. C is 1 for ``outputs="difference"``.
        formula: Which inner product, e.g. ``"sgd"`` for <grad f_c(x_i), grad f_d(x_j)>.
        outputs: Which outputs: ``"full"``, ``"difference"``, ``"trace"`` or ``"diagonal"``.
        parameters: The names of the parameters whose gradients count.
        provenance: Anything else that says what the kernel is of (model, task, precision).
        cost: What it cost; ``None`` for a kernel that was read from a file.
        groups: The parts of the kernel by group of parameters, which sum to it; empty if it was
            not split.

    Example:
        >>> import numpy as np
        >>> from tangentlm.kernels import Kernel
        >>> kernel = Kernel(np.ones((3, 2, 5, 2)), "sgd", "full", parameters=("weight",))
        >>> kernel.matrix().shape
        (6, 10)
    """

    values: Values
    formula: str
    outputs: str
    parameters: tuple[str, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    cost: KernelCost | None = None
    groups: dict[str, Values] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 4 or self.values.shape[1] != self.values.shape[3]:
            raise InputError(f"a kernel has shape (N, C, M, C), not {self.values.shape}")
        bad = np.argwhere(~np.isfinite(self.values))
        if len(bad):
            i, c, j, d = bad[0]
            raise NonFiniteError(f"kernel entry of row {i}, output {c}, column {j}, output {d}")

    def matrix(self) -> Values:
        """The kernel as an (NC, MC) matrix, sample-major: row i*C + c is output c of sample i.

        Returns:
            A view of the values where possible.
        """
        rows, outputs, columns, _ = self.values.shape
        return self.values.reshape(rows * outputs, columns * outputs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the kernel as safetensors, with a checksum and all its names.

        Args:
            path: The file to write; its folder must exist.
        """
        values = np.ascontiguousarray(self.values)
        about: dict[str, Any] = {
            "groups": [],
            "formula": self.formula,
            "outputs": self.outputs,
            "parameters": list(self.parameters),
            "provenance": self.provenance,
            "cost": None if self.cost is None else asdict(self.cost),
        }
        tensors = {"values": values}
        # A tensor's name in the file says nothing: a group may be called "values".
        for number, (name, group) in enumerate(self.groups.items()):
            tensors[f"group-{number}"] = np.ascontiguousarray(group)
            about["groups"].append(name)
        text = json.dumps(about)
        metadata = {"kernel": text, "checksum": _checksum(tensors, text)}
        save_file(tensors, str(path), metadata=metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **expected: Any) -> Kernel:
        """Read a kernel back, refusing one that is damaged or of something else.

        Args:
            path: The file.
            **expected: ``formula``, ``outputs`` or entries of the provenance that must match.

        Returns:
            The kernel, without its cost.

        Raises:
            InputError: If the file is no kernel, its checksum fails, or an expected value
                differs.

        Example:
            >>> import tempfile
            >>> import numpy as np
            >>> from tangentlm.kernels import Kernel
            >>> kernel = Kernel(np.eye(4).reshape(2, 2, 2, 2), "sgd", "full", ("weight",))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     kernel.save(f"{folder}/kernel.safetensors")
            ...     again = Kernel.load(f"{folder}/kernel.safetensors", formula="sgd")
            >>> bool((again.values == kernel.values).all())
            True
        """
        try:
            with safe_open(str(path), framework="np") as file:
                metadata = file.metadata() or {}
                text, checksum = metadata["kernel"], metadata["checksum"]
                tensors = {name: file.get_tensor(name) for name in list(file.keys())}
                values = tensors["values"]
        except (SafetensorError, KeyError, OSError) as error:
            raise InputError(f"{path} is not a kernel file ({error})") from None
        if _checksum(tensors, text) != checksum:
            raise InputError(f"{path} is damaged: its checksum does not match")
        about = json.loads(text)
        known = {**about["provenance"], "formula": about["formula"], "outputs": about["outputs"]}
        for name, value in expected.items():
            if known.get(name) != value:
                raise InputError(f"{path} has {name} = {known.get(name)!r}, expected {value!r}")
        return cls(
            values=values,
            formula=about["formula"],
            outputs=about["outputs"],
            parameters=tuple(about["parameters"]),
            provenance=about["provenance"],
            groups={name: tensors[f"group-{i}"] for i, name in enumerate(about["groups"])},
        )


def _checksum(tensors: Mapping[str, Values], about: str) -> str:
    state = hashlib.sha256(about.encode())
    for name, values in sorted(tensors.items()):
        state.update(f"{name}{values.dtype.str}{values.shape}".encode())
        state.update(values.tobytes())
    return state.hexdigest()
