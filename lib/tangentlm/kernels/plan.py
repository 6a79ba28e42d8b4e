"""The plan: how much of a kernel is held at one time, from a memory budget, and in which tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from tangentlm.kernels.check import Checked
from tangentlm.kernels.job import Job

Tiles = list[list[int]]

_GRAPH = 2.5
"""The memory of a pass relative to that of the factors which it makes: saved activations."""
_BATCH_TOKENS = {"cpu": 768, "cuda": 16384}
"""Tokens a pass: more make its products no faster."""
_PASS_SHARE = 0.3
"""The part of the memory that is for the pass which is running."""
_ROWS_SHARE = 0.6
"""The part of a tile's factors that is for rows; see ``Limits``."""


@dataclass(frozen=True)
class Limits:
    """How many tokens a pass, a tile's rows and a tile's columns may have.

    With r tokens of rows and c of columns, passes over columns are repeated once a tile of rows
    and gradients of rows are written out once a tile of columns, three times as cheap: the best
    division of a budget r + c is r = sqrt(3) c, about 0.6 to 0.4.
    """

    batch: int
    rows: int
    columns: int

    @classmethod
    def of(cls, memory: int, token_bytes: float, rows: float, symmetric: bool, device: str) -> Self:
        """The limits of a memory budget.

        Args:
            memory: Bytes.
            token_bytes: Bytes of all factors of one token.
            rows: The tokens of all rows.
            symmetric: Whether the columns are the rows, whose factors then serve twice.
            device: ``"cpu"`` or ``"cuda"``.

        Returns:
            Limits of at least one token; a sample is never cut, so a single one may be more.
        """
        # A part for the pass that is running, the rest for the factors of rows and columns.
        batch = min(memory * _PASS_SHARE / (token_bytes * _GRAPH), _BATCH_TOKENS[device])
        held = memory * (1 - _PASS_SHARE) / token_bytes
        if symmetric:
            kept = others = rows if rows <= held else held / 2
        else:
            kept = min(rows, held * _ROWS_SHARE)
            others = held - kept
        return cls(*(max(int(tokens), 1) for tokens in (batch, kept, others)))

    def halved(self) -> Self:
        """Half of everything.

        Returns:
            The limits to try after memory ran out.
        """
        return type(self)(*(max(n // 2, 1) for n in (self.batch, self.rows, self.columns)))

    @property
    def smallest(self) -> bool:
        """Whether nothing is left to halve."""
        return self.batch == self.rows == self.columns == 1


@dataclass(frozen=True)
class Plan:
    """How a kernel is computed: what is held at one time, and the borders of its tiles.

    Attributes:
        limits: What is held at one time.
        bands: The rows of every band of tiles.
        stripes: The columns of every band of tiles.
    """

    limits: Limits
    bands: Tiles
    stripes: Tiles

    @classmethod
    def of(cls, job: Job, checked: Checked) -> Self:
        """The plan of a job's memory budget.

        Args:
            job: What to compute.
            checked: What is known about it.

        Returns:
            The plan.
        """
        device = "cuda" if job.passes.device.type == "cuda" else "cpu"
        tokens = float(job.rows.lengths.sum())
        limits = Limits.of(job.memory, checked.token_bytes, tokens, job.symmetric, device)
        bands = job.rows.split(job.rows.by_length(), limits.rows)
        if job.symmetric:
            return cls(limits, bands, bands)
        return cls(limits, bands, job.columns.split(job.columns.by_length(), limits.columns))
