"""What was said to take so long, beside what it took."""

from __future__ import annotations

import dataclasses
import time

from torch import nn

from tangentlm.batches import Labelled, select_rows
from tangentlm.finetune.loop import Schedule, fine_tune
from tangentlm.forecast.cost import (
    BATCH_SIZE,
    WAYS,
    network_to_train,
    training_costs,
    training_rows,
)
from tangentlm.forecast.forecast import compute
from tangentlm.forecast.plan import rows_of
from tangentlm.forecast.prepare import prepare
from tangentlm.forecast.trial import Pool, Rows
from tangentlm.params import ForecastValidationRun

STEPS = 20
"""Real steps that are timed."""


def timed_steps(pool: Pool, rows: Rows, seed: int) -> list[dict[str, str | float]]:
    """The predicted seconds of a training step, and those of real steps.

    Args:
        pool: The pool.
        rows: The rows to train on.
        seed: Of minibatches and LoRA's start.

    Returns:
        ``what``, ``predicted_seconds`` and ``measured_seconds``, a row for each way of training
        that the model knows.
    """
    problem = dataclasses.replace(pool.problem, texts=rows_of(pool.texts, rows))
    train = training_rows(problem)
    found: list[dict[str, str | float]] = []
    for cost in training_costs(problem, seed):
        if cost.seconds_a_step is None:
            continue
        network = network_to_train(problem, WAYS[cost.way], seed)
        measured = _seconds_of_training(network, train, seed)
        found.append(
            {
                "what": cost.way,
                "predicted_seconds": cost.seconds_a_step * STEPS,
                "measured_seconds": measured,
            }
        )
    return found


def _seconds_of_training(network: nn.Module, train: Labelled, seed: int) -> float:
    """Seconds of so many steps of the project's own training; what it is judged on is one row."""
    one = Labelled(select_rows(train.batch, slice(0, 1)), train.labels[:1])
    schedule = Schedule(
        "adam", 1e-5, min(BATCH_SIZE, len(train)), steps=STEPS, evaluate_every=STEPS, seed=seed
    )
    started = time.perf_counter()
    fine_tune(network, train, one, schedule, progress=False)
    return time.perf_counter() - started


def timed_forecast(pool: Pool, rows: Rows, run: ForecastValidationRun) -> dict[str, str | float]:
    """The expected seconds of a whole forecast, said before it is computed, and those it took.

    Args:
        pool: The pool.
        rows: The labelled rows.
        run: Model, budget and seed.

    Returns:
        As ``timed_steps``, one row.
    """
    texts = rows_of(pool.texts, rows)
    prepared = prepare(texts, model=run.model, budget=run.budget, seed=run.seed, progress=False)
    made = compute(prepared, progress=False)
    return {
        "what": "the forecast itself",
        "predicted_seconds": 60 * made.settings.expected,
        "measured_seconds": 60 * made.settings.taken,
    }
