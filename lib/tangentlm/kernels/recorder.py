"""The recorder: watches a forward pass and keeps what the rules need of every parameter's use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from tangentlm.kernels.forward_calls import Call, NotCoveredError, Read, Use
from tangentlm.kernels.rules import RULES, Rule, embedding

_PROPERTIES: Any = Tensor  # the stubs do not know that they are descriptors
_TRANSPOSED = {_PROPERTIES.T.__get__, _PROPERTIES.mT.__get__, Tensor.t, torch.t}
"""What transposes a matrix."""


class Recorder(TorchFunctionMode):
    """Records every use of the parameters that count, while a model's forward runs in it.

    Every call of a torch function passes through here, whatever module it is made in. So a
    parameter is found wherever it is read: in a layer of its own, in several (shared layers, tied
    embeddings), in a function of the model's author, or on its own.

    Attributes:
        uses: What every covered call adds to the gradients, with the edge of the autograd graph
            at which its derivative is found.
        uncovered: Parameters that a call reads for which there is no rule.
        repeated: Parameters of which rows that are the same for all samples were repeated.
        ways: How each parameter is used: its name, the rule, and the number of the result's axes.

    Args:
        parameters: The parameters that count, by name.
        batch: B, the number of samples that the forward runs on.
        signs: Whether the signs of the gradients will be taken.
        replaced: Functions to call in the place of others.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        batch: int,
        signs: bool,
        replaced: Mapping[Any, Callable[..., Any]],
    ) -> None:
        super().__init__()
        self.batch = batch
        self.signs = signs
        self.replaced = replaced
        self.uses: list[tuple[GradientEdge, Use]] = []
        self.uncovered: set[str] = set()
        self.repeated: set[str] = set()
        self.ways: set[tuple[str, Rule, int]] = set()
        self._reads = {id(tensor): Read(name, tensor) for name, tensor in parameters.items()}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Make the call, and keep what it says about the parameters in it.

        Args:
            func: The torch function.
            types: The types of tensors in the call.
            args: Its arguments.
            kwargs: Its named arguments.

        Returns:
            What the call returns.
        """
        kwargs = kwargs or {}
        result = self.replaced.get(func, func)(*args, **kwargs)
        reads = [self._reads[id(v)] for v in _leaves((args, kwargs)) if id(v) in self._reads]
        if not reads or not _carries_gradient(result, reads):
            return result
        try:
            return self._record(func, args, kwargs, result)
        except NotCoveredError:
            self.uncovered |= {read.name for read in reads}
            return result

    def _record(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> Any:
        if func is Tensor.__getitem__:
            return self._rows(args[0], args[1], result)
        if _transposes(func, args[1:], kwargs) and args[0].ndim == 2:
            read = self._reads[id(args[0])]
            self._reads[id(result)] = replace(read, tensor=result, transposed=not read.transposed)
            return result
        rule = RULES.get(func)
        if rule is None or not isinstance(result, Tensor):
            raise NotCoveredError(str(func))
        inputs = _named(rule, args, kwargs)
        if rule.apply is embedding:
            result = self._for_each_sample(inputs["weight"], inputs["input"], result)
        if "normalized_shape" in inputs:
            inputs["normalized"] = _normalized(func, inputs)
        self._keep(rule, inputs, result)
        return result

    def _keep(self, rule: Rule, inputs: dict[str, Any], result: Tensor) -> None:
        reads = {name: self._reads[id(v)] for name, v in inputs.items() if id(v) in self._reads}
        # An input is kept as a value; its own history is the graph's business.
        inputs = {n: v.detach() if isinstance(v, Tensor) else v for n, v in inputs.items()}
        uses = rule.apply(Call(inputs, reads, result, self.batch, self.signs))
        if {read.name for read in reads.values()} != {use.name for use in uses}:
            raise NotCoveredError("a parameter where samples should be")
        edge = get_gradient_edge(result)
        self.uses += [(edge, use) for use in uses]
        self.ways |= {(use.name, rule, result.ndim) for use in uses}

    def _rows(self, parameter: Tensor, index: Any, result: Tensor) -> Tensor:
        """``parameter[index]``: rows for all samples alike, or an embedding's for each sample."""
        read = self._reads.get(id(parameter))
        if read is None or read.ids is not None or read.transposed or parameter.ndim == 0:
            raise NotCoveredError("rows of something else than a parameter")
        ids = _row_ids(index, len(parameter)).to(parameter.device)
        if result.numel() != ids.numel() * parameter[0].numel():
            raise NotCoveredError("an index that takes something else than rows")
        if ids.ndim == 1:
            self._reads[id(result)] = Read(read.name, result, ids)
        else:
            result = self._for_each_sample(parameter, ids, result)
            self._keep(
                RULES[torch.nn.functional.embedding], {"input": ids, "weight": parameter}, result
            )
        return result

    def _for_each_sample(self, weight: Tensor, ids: Tensor, result: Tensor) -> Tensor:
        """Embeddings of positions are often looked up once for all samples: repeat them.

        The repeated result is broadcast over the samples as the single one would be, and its
        derivative is that of each sample instead of the sum.

        Args:
            weight: Where they were looked up.
            ids: What was looked up.
            result: The embeddings.

        Returns:
            The embeddings of every sample.
        """
        if ids.ndim >= 2 and len(ids) == 1 < self.batch:
            self.repeated.add(self._reads[id(weight)].name)
            return result.expand(self.batch, *result.shape[1:])
        if ids.ndim == 0 or len(ids) % self.batch:
            raise NotCoveredError("ids have no axis of samples")
        return result


def _row_ids(index: Any, count: int) -> Tensor:
    """Which rows an index takes: a number, a list, a slice, an array or a tensor of row ids.

    Args:
        index: What stands in the brackets; whole further axes (``[ids, :]``) change nothing.
        count: How many rows there are.

    Returns:
        Row ids from 0 on, (K,) or of the tensor's shape.

    Raises:
        NotCoveredError: If the index is of another kind.
    """
    if isinstance(index, tuple) and index:
        index, *others = index
        if not all(i is ... or (isinstance(i, slice) and i == slice(None)) for i in others):
            raise NotCoveredError("an index of several axes")
    if isinstance(index, slice):
        return torch.arange(count)[index]
    ids = [index] if isinstance(index, Integral) else index
    if isinstance(ids, list):
        if not all(isinstance(i, Integral) and not isinstance(i, bool) for i in ids):
            raise NotCoveredError("a list of something else than row ids")
        return torch.tensor([int(i) for i in ids], dtype=torch.int64) % count
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":
        ids = torch.from_numpy(ids.astype(np.int64))
    if isinstance(ids, Tensor) and ids.dtype in (torch.int64, torch.int32):
        # As it is where that will do: factors of several batches then share its memory.
        return ids % count if bool((ids < 0).any()) else ids
    raise NotCoveredError("an index that is no row ids")


def _transposes(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call turns a matrix, its first argument, over and does nothing else."""
    if func in _TRANSPOSED:
        return True
    axes = (*args, *kwargs.values())
    return func in (Tensor.transpose, torch.transpose) and sorted(d % 2 for d in axes) == [0, 1]


def _normalized(func: Callable[..., Any], inputs: Mapping[str, Any]) -> Callable[[], Tensor]:
    """What a normalisation returns without its weight and bias.

    Returns:
        A function that computes it when it is needed.
    """
    given = {"input": inputs["input"].detach(), "normalized_shape": inputs["normalized_shape"]}
    if inputs.get("eps") is not None:
        given["eps"] = inputs["eps"]
    return lambda: func(**given)


def _named(rule: Rule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments by the rule's names for them."""
    # The second operand of a product or sum has several names in torch.
    other = {"mat1": "input", "mat2": "weight" if "weight" in rule.arguments else "other"}
    other |= {} if "other" in rule.arguments else {"other": "weight"}
    return dict(zip(rule.arguments, args, strict=False)) | {
        other.get(name, name): value for name, value in kwargs.items()
    }


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, dict):
        yield from _leaves(tuple(value.values()))
    else:
        yield value


def _carries_gradient(result: Any, reads: list[Read]) -> bool:
    """Whether a call's result depends on a parameter in a way that autograd follows.

    Reading a parameter's shape does not, nor does a cast to the type that it has.

    Args:
        result: What the call returned.
        reads: The parameters in it.

    Returns:
        Whether the call is a use.
    """
    return any(
        isinstance(leaf, Tensor)
        and leaf.requires_grad
        and all(leaf is not read.tensor for read in reads)
        for leaf in _leaves(result)
    )
