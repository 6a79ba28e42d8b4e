"""Jobs with a cache that run in processes of their own and are killed there."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import torch
from tqdm import tqdm

from small_models import Mlp, Tied, dense_batch, token_batch
from tangentlm.kernels import Kernel, entk
from tangentlm.kernels.tiles import TileEngine

# Every job: a model, rows, columns, and options with so little memory that there are many tiles.
JOBS = {
    "symmetric": lambda: (
        Mlp().eval(), dense_batch(60), None, {"memory": 12_000, "by": "parameter"},
    ),
    "crossed": lambda: (
        Mlp().eval(), dense_batch(45), dense_batch(40, seed=2),
        {"memory": 8_000, "formula": "asymmetric-signgd"},
    ),
    "tokens": lambda: (
        Tied().eval(), token_batch(30), token_batch(20, seed=2),
        {"memory": 30_000, "by": "layer", "formula": "signgd", "precision": "float64"},
    ),
}  # fmt: skip
STEPS = ("pass", "tile", "write", "sync", "name")


def run(name: str, folder: Path | str | None) -> Kernel:
    model, rows, columns, options = JOBS[name]()
    return entk(model, rows, columns, cache=folder, progress=False, **options)


def die_at(step: str, count: int) -> None:
    """End this process, as the system would, at the n-th time that something happens.

    Args:
        step: ``"pass"``, ``"tile"``, ``"write"`` (a file is half written), ``"sync"`` (it is
            written, but has not its name yet) or ``"name"`` (it just got its name).
        count: n.
    """
    left = [count]

    def hit(last_act: Callable[[], object] = lambda: None) -> None:
        left[0] -= 1
        if left[0] == 0:
            last_act()
            os.kill(os.getpid(), signal.SIGKILL)

    if step == "name":
        replace = Path.replace
        Path.replace = lambda *args: (replace(*args), hit())[0]
    elif step == "write":
        opened = Path.open
        Path.open = lambda *args, **options: Half(opened(*args, **options), hit)
    else:
        owner, name = {
            "pass": (TileEngine, "factors"), "tile": (TileEngine, "tile"), "sync": (os, "fsync"),
        }[step]  # fmt: skip
        function = getattr(owner, name)
        setattr(owner, name, lambda *args: (hit(), function(*args))[1])


class Half:
    """A file of which a write may stop halfway.

    Args:
        file: The file.
        hit: Told of every write, and what to do first should it be the last.
    """

    def __init__(self, file: IO[bytes], hit: Callable[[Callable[[], object]], None]) -> None:
        self.file, self.hit = file, hit

    def __enter__(self) -> Half:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self.file, name)

    def write(self, content: bytes) -> None:
        half = content[: len(content) // 2]
        self.hit(lambda: (self.file.write(half), self.file.flush()))
        self.file.write(content)


def work(
    name: str, folder: Path, result: Path, started: Connection, death: tuple[str, int] | None
) -> None:
    """A job, its kernel to be saved."""
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # Its own lock is of the system, which a kill would leak.
    started.send(None)
    if death is not None:
        die_at(*death)
    run(name, folder).save(result)
