"""Small texts, recipes and trainings: what the tests of pre-training share."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from tangentlm.params import Recipe
from tangentlm.pretrain import PackedRows, loop, new_model, parameter_groups, pretrain
from tangentlm.pretrain.packed_rows import Documents, join
from tangentlm.pretrain.vocabulary import train_tokenizer

WORDS = ("great", "terrible")
SLOW_STEP = 0.008
"""Seconds that a step of a training in a process of its own takes at least."""
SUBJECTS = ("the old dog", "my cat", "a small bird", "the grey horse", "our teacher")
VERBS = ("saw", "found", "followed", "painted", "carried")
OBJECTS = ("the red house", "a green boat", "some bread", "the long road", "her letters")
SETTINGS = {
    "modernbert": {
        "local_attention": 8,
        "global_attn_every_n_layers": 2,
        "max_position_embeddings": 64,
    },
    "bert": {"max_position_embeddings": 64},
    "roberta": {"max_position_embeddings": 66},
}


def sentences(count: int, seed: int = 0) -> list[str]:
    """Lines of one to four sentences of a tiny grammar, no two the same."""
    random = np.random.default_rng(seed)
    lines = []
    for number in range(count):
        said = [
            f"{random.choice(SUBJECTS)} {random.choice(VERBS)} {random.choice(OBJECTS)}."
            for _ in range(random.integers(1, 5))
        ]
        lines.append(f"{number}. {' '.join(said)}")
    return lines


@functools.cache
def tokenizer_of(seed: int = 0) -> Any:
    """A tokenizer of 330 entries that knows ``WORDS``."""
    return train_tokenizer(lambda: sentences(200, seed), 330, WORDS, max_length=64)


def encoded(texts: Sequence[str], tokenizer: Any) -> Documents:
    """Documents, each ended by ``</s>``, encoded one by one."""
    ids = [tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] for text in texts]
    return join([np.array([*each, tokenizer.eos_token_id], dtype=np.uint16) for each in ids])


def packed(texts: Sequence[str] | None = None, length: int = 16, seed: int = 0) -> PackedRows:
    """Rows of a text, of the tiny grammar where none is given."""
    tokenizer = tokenizer_of()
    texts = sentences(60) if texts is None else texts
    return PackedRows(encoded(texts, tokenizer), tokenizer, length, seed)


def tiny_recipe(architecture: str = "modernbert", **changes: Any) -> Recipe:
    """A recipe of two layers, two heads and width 16."""
    values = {
        "about": "a test",
        "architecture": architecture,
        "depth": 2,
        "width": 16,
        "head_width": 8,
        "feed_forward": 1.5,
        "settings": SETTINGS[architecture],
        "vocabulary": 330,
        "length": 16,
        "batch_size": 4,
        "learning_rate": 3e-3,
        "base_width": 16,
    }
    budget = {} if "minutes" in changes else {"steps": 12}
    return Recipe(**{**values, **budget, **changes})


def fresh(recipe: Recipe, parametrization: str = "standard", seed: int = 0) -> Any:
    """A new model of the recipe for the tiny tokenizer."""
    return new_model(recipe, tokenizer_of(), seed, parametrization)


def train(
    recipe: Recipe, folder: Path, rows: PackedRows | None = None, **options: Any
) -> tuple[Any, Any]:
    """A fresh model and what came out of its training, or of what was left of it."""
    model = fresh(recipe)
    groups = parameter_groups(model, recipe, tokenizer_of(), "standard")
    rows = rows or packed(length=recipe.length)
    held_out = packed(sentences(20, seed=9), length=recipe.length)
    options = {"checkpoint_seconds": 0.0, "progress": False, **options}
    return model, pretrain(model, groups, rows, held_out, recipe, folder, **options)


def timeless(curve: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """A curve without its seconds, which no two trainings share."""
    return [{name: v for name, v in point.items() if name != "seconds"} for point in curve]


class Slow(PackedRows):
    """Rows that take their time, so that a training cannot end before it is killed."""

    def __init__(self, started: Connection) -> None:
        tokenizer = tokenizer_of()
        super().__init__(encoded(sentences(60), tokenizer), tokenizer, 16, 0)
        self.started: Connection | None = started

    def batch(self, *args: Any) -> Any:
        if self.started is not None:
            self.started.send(None)
            self.started = None
        time.sleep(SLOW_STEP)
        return super().batch(*args)


def work(folder: Path, result: Path, steps: int, started: Connection) -> None:
    """A whole training in a process of its own, its outcome to be saved."""
    torch.set_num_threads(1)
    loop.POINT_EVERY, loop.HELD_OUT_EVERY = 10, 5
    tqdm.set_lock(threading.RLock())  # Its own lock is of the system, which a kill would leak.
    recipe = tiny_recipe("bert", steps=steps)  # bert has dropout, so random numbers count
    model, trained = train(recipe, folder, Slow(started), checkpoint_seconds=0.02)
    torch.save(model.state_dict(), result.with_suffix(".pt"))
    outcome = {
        "curve": timeless(trained.state.curve),
        "held_out": [trained.held_out_loss, trained.held_out_accuracy],
        "step": trained.state.step,
    }
    result.write_text(json.dumps(outcome), encoding="utf-8")
