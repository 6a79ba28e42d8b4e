"""The optimizers of the papers: SGD, Adam, SignGD."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from tangentlm.errors import unknown_name


def make_optimizer(model: nn.Module, name: str, learning_rate: float) -> torch.optim.Optimizer:
    """Plain SGD, Adam or SignGD on all parameters that require a gradient; no decay.

    Args:
        model: What requires a gradient is trained.
        name: ``"sgd"`` (no momentum), ``"adam"`` (beta 0.9 and 0.999, epsilon 1e-8) or
            ``"signgd"``.
        learning_rate: Of the first step.

    Returns:
        A torch optimizer.

    Raises:
        InputError: If the name is unknown.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=learning_rate)
    if name == "adam":
        return torch.optim.Adam(parameters, lr=learning_rate, fused=True)
    if name == "signgd":
        return SignGD(parameters, lr=learning_rate)
    raise unknown_name("optimizer", name, ("sgd", "adam", "signgd"))


class SignGD(torch.optim.Optimizer):
    """theta <- theta - eta sign(gradient), entry by entry (Definition 4.1 of Malladi)."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every entry by the rate, against its gradient's sign; one without gradient stays."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad.sign(), alpha=group["lr"])
