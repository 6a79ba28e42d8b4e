"""What a kernel should be: gradients by ``torch.func``, one unpadded sample at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from tangentlm.kernels import Kernel, entk

FORMULAS = ("sgd", "signgd", "asymmetric-signgd")
OUTPUTS = ("full", "difference", "trace", "diagonal")


def one_row(batch: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    """Row ``index`` without its padding."""
    row = {name: tensor[index : index + 1] for name, tensor in batch.items()}
    if "attention_mask" in row:
        used = int(row["attention_mask"].sum())
        row |= {name: row[name][:, :used] for name in ("input_ids", "attention_mask")}
    return row


def as_double(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}


def jacobian(
    model: nn.Module, batch: Mapping[str, Tensor], names: Callable[[str], bool] = lambda name: True
) -> dict[str, Tensor]:
    """(N, C, P) in double precision, of the named parameters that require a gradient.

    Under ``"difference"`` that of f_1 - f_0: where a model computes a part of itself in single
    precision, a difference of gradients is not quite the gradient of a difference.
    """
    double = copy.deepcopy(model).double()
    parameters = {name: p.detach() for name, p in double.named_parameters()}
    chosen = {
        name: parameters[name] for name, p in double.named_parameters()
        if p.requires_grad and names(name)
    }  # fmt: skip
    samples: dict[str, list[Tensor]] = {"full": [], "difference": []}
    for index in range(len(next(iter(batch.values())))):
        row = as_double(one_row(batch, index))

        def outputs(values: dict[str, Tensor], row: dict[str, Tensor] = row) -> Tensor:
            logits = functional_call(double, {**parameters, **values}, (), row)[0]
            return torch.cat([logits, logits[1:2] - logits[:1]])

        parts = jacrev(outputs)(chosen).values()
        gradients = torch.cat([part.reshape(len(part), -1) for part in parts], dim=1)
        samples["full"].append(gradients[:-1])
        samples["difference"].append(gradients[-1:])
    return {name: torch.stack(gradients) for name, gradients in samples.items()}


def contract(
    left: dict[str, Tensor],
    right: dict[str, Tensor],
    formula: str = "sgd",
    outputs: str = "full",
) -> np.ndarray:
    """The kernel of two Jacobians, by its definition."""
    first, second = (
        side["difference" if outputs == "difference" else "full"] for side in (left, right)
    )
    first = first.sign() if formula == "signgd" else first
    second = second if formula == "sgd" else second.sign()
    full = torch.einsum("icp,jdp->icjd", first, second)
    if outputs == "trace":
        return torch.einsum("icjc->ij", full)[:, None, :, None].numpy()
    if outputs == "diagonal":
        return (full * torch.eye(full.shape[1])[None, :, None, :]).numpy()
    return full.numpy()


def expected_kernel(
    model: nn.Module,
    rows: Mapping[str, Tensor],
    columns: Mapping[str, Tensor] | None = None,
    names: Callable[[str], bool] = lambda name: True,
) -> np.ndarray:
    left = jacobian(model, rows, names)
    return contract(left, left if columns is None else jacobian(model, columns, names))


def relative_error(values: np.ndarray, expected: np.ndarray) -> float:
    assert values.shape == expected.shape
    return float(np.abs(values - expected).max() / np.abs(expected).max())


def exact(model: nn.Module, rows, columns=None, **options) -> Kernel:
    """The kernel in double precision."""
    options = {"precision": "float64", "progress": False, **options}
    columns = None if columns is None else as_double(columns)
    return entk(model, as_double(rows), columns, **options)
