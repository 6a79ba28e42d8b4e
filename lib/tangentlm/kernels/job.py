"""A job: one kernel from its check to its last tile."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tangentlm.kernels.check import check
from tangentlm.kernels.factors import Factor, num_bytes
from tangentlm.kernels.limits import Limits
from tangentlm.kernels.passes import NonFiniteOutputError, Passes, UncoveredUseError
from tangentlm.kernels.precision import Products
from tangentlm.kernels.samples import Samples
from tangentlm.kernels.store import TileStore
from tangentlm.kernels.tiles import TileEngine, TileFactors

Values = NDArray[np.float64]


class Job:
    """One kernel on its way: the check, the plan of tiles, and the tiles one after another.

    Args:
        engine: Computes tiles.
        rows: N samples.
        columns: M samples; the very same object for the kernel of the rows with themselves.
        memory: Bytes that may be held beyond the model.
    """

    def __init__(self, engine: TileEngine, rows: Samples, columns: Samples, memory: int) -> None:
        self.engine = engine
        self.rows = rows
        self.columns = columns
        self.memory = memory
        self.checked = False

    @property
    def symmetric(self) -> bool:
        """Whether the kernel is symmetric, so that half of the tiles are enough."""
        first, second = self.engine.contraction.signed
        return self.rows is self.columns and first == second

    def check(self) -> None:
        """Find what the rules do not cover, and how much memory a token's factors take.

        Raises:
            NonFiniteError: If an output is not finite.
        """
        if self.checked:
            return
        both = [self.rows] if self.columns is self.rows else [self.rows, self.columns]
        token_bytes = max(self._check(samples) for samples in both)
        total = float(self.rows.lengths.sum())
        device = "cuda" if self.engine.passes.device.type == "cuda" else "cpu"
        self.engine.limits = Limits.of(self.memory, token_bytes, total, self.symmetric, device)
        self.checked = True

    def _check(self, samples: Samples) -> float:
        """The check of two rows, or of two columns, which may be padded where rows are not.

        Returns:
            The bytes of the factors of one token.
        """
        engine = self.engine
        order = samples.by_length()
        pair = [order[0], order[-1]]
        factors, wrong = self._try(samples, pair)
        if factors is None or wrong:
            # Some models do not give a padded sample what it gets alone; then batches have one
            # length each, as this pair has (the same sample twice if need be).
            alike = [i for i in order if samples.lengths[i] == samples.lengths[order[0]]]
            unpadded = [alike[0], alike[-1]]
            again, still_wrong = self._try(samples, unpadded, last=True)
            if factors is None or len(still_wrong) < len(wrong):
                engine.padding, factors, wrong, pair = 0.0, again, still_wrong, unpadded
        assert factors is not None
        engine.passes.by_autograd |= wrong
        tokens = float(samples.lengths[pair].max()) * len(pair)
        return max(num_bytes(list(factors.values())) / tokens, 1.0)

    def _try(
        self, samples: Samples, pair: list[int], last: bool = False
    ) -> tuple[dict[str, Factor] | None, set[str]]:
        """The check of two samples; if an output is not finite, no factors or, last, an error."""
        batch = samples.take(pair)
        try:
            with precise(self.engine.passes):
                return check(self.engine.passes, batch)
        except NonFiniteOutputError as error:
            if last:
                raise self.engine.locate(samples, pair[error.sample]) from None
            return None, set()

    def plan(self) -> tuple[list[list[int]], list[list[int]]]:
        """The bands of rows and of columns, whose crossings are the tiles.

        Returns:
            Indices of the samples of each band.
        """
        self.check()
        limits = self.engine.limits
        rows = self.rows.split(self.rows.by_length(), limits.rows)
        if self.symmetric:
            return rows, rows
        return rows, self.columns.split(self.columns.by_length(), limits.columns)

    def pieces(self, samples: Samples) -> Iterator[TileFactors]:
        """The factors of all rows or of all columns, as many at a time as fit into memory.

        Args:
            samples: The rows or the columns.

        Yields:
            The factors of some of them.
        """
        self.check()
        engine = self.engine
        # One side alone is held, so it has the memory of both.
        tokens = engine.limits.rows + engine.limits.columns
        for piece in samples.split(samples.by_length(), tokens):
            made = None
            while made is None:
                try:
                    made = engine.factors(samples, piece)
                except UncoveredUseError as error:
                    engine.passes.by_autograd |= error.names
            engine.peak_bytes = max(engine.peak_bytes, made.nbytes)
            yield made

    def run(self, store: TileStore | None, progress: bool) -> Values:
        """All tiles, put together.

        Args:
            store: Where finished tiles are kept, if anywhere.
            progress: Whether to show a progress bar.

        Returns:
            For each group (N, C, M, C).
        """
        while True:
            try:
                return self._run(store, progress)
            except UncoveredUseError as error:
                # A use that the first batch did not show: what is done so far was right.
                self.engine.passes.by_autograd |= error.names
                self.engine.forget()  # Its factors are of another form now.

    def _run(self, store: TileStore | None, progress: bool) -> Values:
        bands, stripes = (store.rows, store.columns) if store else self.plan()
        c, engine = self.engine.num_outputs, self.engine
        values = np.zeros((len(engine.groups), len(self.rows), c, len(self.columns), c))
        tiles = [
            (a, b)
            for a in range(len(bands))
            for b in range(a if self.symmetric else 0, len(stripes))
        ]
        # A sample counts when it has gone through a pass, and a column again once it is contracted.
        work = sum(map(len, bands)) + 2 * sum(len(stripes[b]) for _, b in tiles)
        with tqdm(
            total=work, desc="eNTK", disable=not progress, leave=False,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        ) as bar:  # fmt: skip
            engine.advance = bar.update
            due = 0
            for a, b in tiles:
                i, j = bands[a], stripes[b]
                due += 2 * len(j) + (len(i) if b == (a if self.symmetric else 0) else 0)
                tile = store.load(a, b) if store else None
                if tile is None:
                    self.check()
                    bar.set_postfix_str(f"tile {a + 1}.{b + 1} of {len(bands)} x {len(stripes)}")
                    tile = engine.tile(self.rows, i, self.columns, j)
                    if store:
                        store.save(a, b, tile)
                bar.update(max(due - bar.n, 0))  # Of what was read, or is a tile of the diagonal.
                values[np.ix_(range(len(values)), i, range(c), j)] = tile
                if self.symmetric and a != b:
                    values[np.ix_(range(len(values)), j, range(c), i)] = tile.transpose(
                        0, 3, 4, 1, 2
                    )
        return _symmetric(values) if self.symmetric else values


def _symmetric(values: Values) -> Values:
    """Exactly symmetric: round-off of a tile's two halves may differ."""
    transposed = values.transpose(0, 3, 4, 1, 2)
    return (values + transposed) / 2


@contextmanager
def precise(passes: Passes) -> Generator[None]:
    """The check compares with autograd in float32 or better, whatever the precision."""
    products = passes.products
    passes.products = Products("float64" if products.precision == "float64" else "float32")
    try:
        yield
    finally:
        passes.products = products
