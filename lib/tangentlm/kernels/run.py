"""A run: the tiles of a job one after another, those that are on disk and those that are not."""

from __future__ import annotations

import functools
import os
import time

import numpy as np
from tqdm import tqdm

from tangentlm.kernels.check import Checked, check
from tangentlm.kernels.job import Job
from tangentlm.kernels.kernel import KernelCost, Values
from tangentlm.kernels.plan import Plan, Tiles
from tangentlm.kernels.store import TileStore
from tangentlm.kernels.tiles import TileEngine


def run(
    job: Job, cache: str | os.PathLike[str] | None, progress: bool
) -> tuple[Values, KernelCost]:
    """All tiles, put together.

    Args:
        job: What to compute.
        cache: The folder of finished tiles, if there is one. Where it has all of them, nothing is
            checked, planned or computed.
        progress: Whether to show a progress bar.

    Returns:
        For each group (N, C, M, C); and what it cost.

    Raises:
        InputError: If the folder is of another kernel.
        NonFiniteError: If a gradient is not finite, naming sample, output and parameter.
    """

    @functools.cache
    def start() -> tuple[Checked, Plan]:
        checked = check(job.passes, *job.sides)
        return checked, Plan.of(job, checked)

    def borders() -> tuple[Tiles, Tiles]:
        return start()[1].bands, start()[1].stripes

    store = None if cache is None else TileStore.open(cache, job.identity, borders)
    bands, stripes = (store.rows, store.columns) if store else borders()
    c, engine = job.num_outputs, None
    values = np.zeros((len(job.groups), len(job.rows), c, len(job.columns), c))
    tiles = [
        (a, b) for a in range(len(bands)) for b in range(a if job.symmetric else 0, len(stripes))
    ]
    # A sample counts when it has gone through a pass, and a column again once it is contracted.
    work = sum(map(len, bands)) + 2 * sum(len(stripes[b]) for _, b in tiles)
    with tqdm(
        total=work, desc="eNTK", disable=not progress, leave=False,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
    ) as bar:  # fmt: skip
        due = 0
        for a, b in tiles:
            i, j = bands[a], stripes[b]
            due += 2 * len(j) + (len(i) if b == (a if job.symmetric else 0) else 0)
            tile = store.load(a, b) if store else None
            if tile is None:
                engine = engine or TileEngine(job, *start(), advance=bar.update)
                bar.set_postfix_str(f"tile {a + 1}.{b + 1} of {len(bands)} x {len(stripes)}")
                tile = engine.tile(job.rows, i, job.columns, j)
                if store:
                    store.save(a, b, tile)
            bar.update(max(due - bar.n, 0))  # Of what was read, or is a tile of the diagonal.
            values[np.ix_(range(len(values)), i, range(c), j)] = tile
            if job.symmetric and a != b:
                values[np.ix_(range(len(values)), j, range(c), i)] = tile.transpose(0, 3, 4, 1, 2)
    cost = engine.cost() if engine else KernelCost(time.perf_counter() - job.began, 0.0, 0)
    return _symmetric(values) if job.symmetric else values, cost


def _symmetric(values: Values) -> Values:
    """Exactly symmetric: round-off of a tile's two halves may differ."""
    transposed = values.transpose(0, 3, 4, 1, 2)
    return (values + transposed) / 2
