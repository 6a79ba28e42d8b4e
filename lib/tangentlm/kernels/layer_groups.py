"""Groups: the parameters that count, and how the kernel is split among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn

from tangentlm.errors import InputError, unknown_name

Parameters = Callable[[str], bool] | Iterable[str] | None
By = str | Callable[[str], str] | None


def choose(model: nn.Module, parameters: Parameters) -> dict[str, nn.Parameter]:
    """The parameters that count, by name; a tied parameter counts once.

    Args:
        model: The model.
        parameters: A predicate on names, names, or ``None`` for all that require a gradient.

    Returns:
        The parameters, in the model's order or that of the names.

    Raises:
        InputError: If a name is unknown, its parameter is frozen, or none is left.
    """
    every = dict(model.named_parameters())
    known = {name: p for name, p in every.items() if p.requires_grad}
    if parameters is None:
        chosen = known
    elif callable(parameters):
        chosen = {name: p for name, p in known.items() if parameters(name)}
    else:
        names = [parameters] if isinstance(parameters, str) else list(parameters)
        for name in names:
            if name not in every:
                raise unknown_name("parameter", name, known)
            if name not in known:
                raise InputError(
                    f"parameter {name!r} is frozen (requires_grad=False); to include it, call "
                    f"model.get_parameter({name!r}).requires_grad_() first"
                )
        chosen = {name: known[name] for name in names}
    if not chosen:
        raise InputError("no parameter of the model counts in the kernel")
    return chosen


def linear_layer(model: nn.Module, name: str) -> nn.Linear:
    """A linear layer that owns its parameters alone.

    Args:
        model: The model.
        name: The layer's name in it.

    Returns:
        The layer.

    Raises:
        InputError: If the name is unknown, the layer is not linear, or another layer has its
            weight or bias, too.
    """
    modules = dict(model.named_modules())
    if name not in modules:
        raise unknown_name("layer", name, modules)
    layer = modules.pop(name)
    if not isinstance(layer, nn.Linear):
        raise InputError(f"{name} has to be nn.Linear, not {type(layer).__name__}")
    own = {id(parameter) for parameter in layer.parameters()}
    for other, module in modules.items():
        if own & {id(parameter) for parameter in module.parameters(recurse=False)}:
            raise InputError(f"{name} has to be the only owner of its weight; {other} has it, too")
    return layer


def layer_of(name: str) -> str:
    """The layer that a parameter belongs to: the numbered block it is in, else its module.

    Args:
        name: E.g. ``"roberta.encoder.layer.3.output.dense.weight"``.

    Returns:
        E.g. ``"roberta.encoder.layer.3"``.
    """
    parts = name.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    return ".".join(parts[:-1] if number is None else parts[: number + 1]) or name


def split(names: Iterable[str], by: By) -> dict[str, list[str]]:
    """The groups that the kernel is split into.

    Args:
        names: The parameters that count.
        by: ``None`` (one group), ``"parameter"``, ``"layer"``, or a function from a name to its
            group.

    Returns:
        The parameters of each group, in order of appearance.

    Raises:
        InputError: If ``by`` is none of these.
    """
    known: dict[str, Callable[[str], str]] = {"parameter": str, "layer": layer_of}
    if by is None:
        return {"all": list(names)}
    if isinstance(by, str) and by not in known:
        raise unknown_name("by", by, known)
    group_of = known[by] if isinstance(by, str) else by
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(str(group_of(name)), []).append(name)
    return groups
