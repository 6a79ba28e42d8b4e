"""What training would take here: a few steps, timed, times the number of steps.

A step is a forward, a backward and an update by Adam on a minibatch of this task's rows. Memory is
counted: the weights, of what is trained also the gradient and Adam's two states, and what autograd
keeps of one minibatch until it is used. Buffers of single operations come on top.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tangentlm.batches import Batch, Labelled, select_rows
from tangentlm.errors import InputError
from tangentlm.finetune.adaptation import adapted
from tangentlm.finetune.optimizers import make_optimizer
from tangentlm.forecast.problem import Problem
from tangentlm.forecast.ways import Cost
from tangentlm.models.heads import load_model

EPOCHS = 10
BATCH_SIZE = 16
TIMED = 5
"""Steps that are timed, after one that is not."""
WAYS: Mapping[str, Any] = {"LoRA": "lora", "full fine-tuning": "full"}
_MIB = 2**20


def training_steps(rows: int) -> int:
    """Steps of a usual training: ten epochs of minibatches of 16.

    Args:
        rows: N.

    Returns:
        Their number.
    """
    return EPOCHS * math.ceil(rows / BATCH_SIZE)


def training_costs(problem: Problem, seed: int) -> tuple[Cost, ...]:
    """What LoRA and full fine-tuning would take.

    Args:
        problem: Texts and model.
        seed: Of the minibatches and of LoRA's start.

    Returns:
        A cost each; where a model has no known targets for LoRA, one that says so.
    """
    train = training_rows(problem)
    steps = training_steps(len(train))
    costs = []
    for way, adaptation in WAYS.items():
        try:
            network = network_to_train(problem, adaptation, seed)
        except InputError as error:
            costs.append(Cost(way, None, steps, None, None, 0, f"Not measured: {error}."))
            continue
        seconds, memory = _timed(network, train, seed)
        trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
        how = (
            f"The mean of {TIMED} timed steps on minibatches of {min(BATCH_SIZE, len(train))} of "
            f"these texts, times {steps} steps: {EPOCHS} epochs, one run with one learning rate. "
            "Memory is counted: weights, gradients, Adam's states and what autograd keeps."
        )
        costs.append(Cost(way, seconds, steps, seconds * steps / 60, memory, trained, how))
    return tuple(costs)


def training_rows(problem: Problem) -> Labelled:
    """The rows of a problem as the network reads them that is trained.

    Args:
        problem: Texts and model.

    Returns:
        Batch and labels.
    """
    texts = problem.texts
    return Labelled(problem.batch(texts, _head(problem)), torch.tensor(texts.labels))


def network_to_train(problem: Problem, adaptation: Any, seed: int) -> nn.Module:
    """The network that is trained: with a prompt where there are label words, else with a head.

    Args:
        problem: Texts and model.
        adaptation: One of ``WAYS``.
        seed: Of LoRA's start.

    Returns:
        The network; what is not to be trained needs no gradient.

    Raises:
        InputError: If a model has no known targets for LoRA.
    """
    return adapted(load_model(problem.name, problem.task, _head(problem)), adaptation, seed=seed)


def _head(problem: Problem) -> Literal["prompt", "linear"]:
    return "prompt" if problem.prompted else "linear"


def _timed(network: nn.Module, train: Labelled, seed: int) -> tuple[float, float]:
    """Mean seconds a step, and MiB that it holds."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network.train()
    optimizer = make_optimizer(network, "adam", 1e-5)
    size = min(BATCH_SIZE, len(train))
    seconds, kept = [], 0
    for _ in range(1 + TIMED):
        index = torch.from_numpy(rng.choice(len(train), size, replace=False))
        rows, labels = select_rows(train.batch, index), train.labels[index]
        started = time.perf_counter()
        loss, held = _loss(network, rows, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
        kept = max(kept, held)
    parameters = list(network.parameters())
    weights = sum(p.numel() * p.element_size() for p in parameters)
    states = sum(3 * p.numel() * p.element_size() for p in parameters if p.requires_grad)
    return float(np.mean(seconds[1:])), (weights + states + kept) / _MIB


def _loss(network: nn.Module, rows: Batch, labels: Tensor) -> tuple[Tensor, int]:
    """The loss of a minibatch, and the bytes that autograd keeps for its gradient."""
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = nn.functional.cross_entropy(network(**rows), labels)
    return loss, sum(kept.values())
