"""The parts of the benchmark: each yields the rows of one results file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from machine import precisions
from methods import errors, reference
from peers import compare
from setting import Bench, Row, Setting, real_lengths
from tangentlm.kernels.contract import SIGNED_SIDES

_ROWS, _COLUMNS = 32, 128
_SST2_TEST = 872


def _fast_precisions(setting: Setting) -> list[str]:
    """The precisions in which whole kernels are timed."""
    return ["float32", "tf32", "bfloat16"] if setting.device == "cuda" else ["float32"]


def alone(
    setting: Setting,
    rows: int,
    columns: int,
    task: str,
    causal: bool,
    options: dict[str, Any],
) -> Row:
    """One kernel in a process of its own, with the memory that it took.

    Args:
        setting: How large, and where.
        rows: N.
        columns: M.
        task: Whose lengths.
        causal: Whether the model is the causal one.
        options: Of ``entk``.

    Returns:
        The row for a results file.
    """
    bench = Bench(setting, task, classes=6 if task == "trec" else 2, causal=causal)
    row, _ = bench.measure(bench.real("train", rows), bench.real("test", columns), **options)
    return row | {"memory_gib": bench.memory_gib()}


def _alone(
    setting: Setting,
    rows: int,
    columns: int,
    task: str = "sst2",
    causal: bool = False,
    **options: Any,
) -> Row:
    return setting.apart(alone, setting, rows, columns, task, causal, options)


def speed(setting: Setting) -> Iterator[Row]:
    """The three formulas beside the machine's rate, and the reference method on a slice."""
    bench = Bench(setting)
    n, m = setting.size(_ROWS), setting.size(_COLUMNS)
    rows, columns = bench.real("train", n), bench.real("test", m)
    for precision in _fast_precisions(setting):
        for formula in SIGNED_SIDES:
            row, _ = bench.measure(rows, columns, formula=formula, precision=precision)
            yield {"method": "entk"} | row
    yield _reference(bench, n, m)


def _reference(bench: Bench, n: int, m: int) -> Row:
    """The reference method for N rows and M columns, from a slice of median lengths."""
    row_length, column_length = (
        int(median(real_lengths("sst2", part, count)))
        for part, count in (("train", n), ("test", m))
    )
    rows, columns = bench.of_length(row_length, 2, 1), bench.of_length(column_length, 3, 2)
    found = reference(bench.model, rows, columns, bench.setting.device)
    _, kernel = bench.measure(rows, columns)
    return {
        "method": "VJP and JVP, scaled",
        "rows": n,
        "columns": m,
        "formula": "sgd",
        "precision": "float32",
        "seconds": found.seconds(n, m),
        "slice": f"2 rows of {row_length} tokens, 3 columns of {column_length}",
        "vjp_seconds": found.vjp_seconds,
        "jvp_seconds": found.jvp_seconds,
        "max_difference": errors(kernel.values[:, 0, :, 0], found.values)["max_error"],
    }


def whole_set(setting: Setting) -> Iterator[Row]:
    """All kernels of SST-2, 16-shot, in one call: 32 rows; 32 + 32 + 872 columns."""
    columns = setting.size(_ROWS + _ROWS + _SST2_TEST)
    for precision in _fast_precisions(setting):
        for formula in SIGNED_SIDES if setting.device == "cuda" else ("sgd",):
            yield _alone(
                setting, setting.size(_ROWS), columns, formula=formula, precision=precision
            )


def causal(setting: Setting) -> Iterator[Row]:
    """SST-2, 16-shot, with a causal model of SmolLM2's shape: train, dev and test columns."""
    for count in (_ROWS, _ROWS, _SST2_TEST):
        yield _alone(setting, setting.size(_ROWS), setting.size(count), causal=True)


def columns(setting: Setting) -> Iterator[Row]:
    """Time and memory over M, at N = 32."""
    for count in (32, 64, 128, 256, 512):
        yield _alone(setting, setting.size(_ROWS), setting.size(count))


def length(setting: Setting) -> Iterator[Row]:
    """Time over the length of samples, and how many weights took the way of Gram."""
    bench = Bench(setting)
    weights = bench.weights
    for tokens in (8, 16, 32, 64, 128, 256):
        rows = bench.of_length(tokens, setting.size(16), 1)
        row, kernel = bench.measure(rows, bench.of_length(tokens, setting.size(32), 2))
        assert kernel.cost is not None
        gram = [name for name in kernel.cost.by_gram if name in weights]
        share = sum(weights[name] for name in gram) / sum(weights.values())
        yield {"tokens": tokens} | row | {
            "weights_by_gram": len(gram), "weights": len(weights), "share_by_gram": share,
        }  # fmt: skip


def memory(setting: Setting) -> Iterator[Row]:
    """What a budget does, and 1024 rows."""
    for gib in (0.5, 1.0):
        row = _alone(setting, setting.size(_ROWS), setting.size(32), memory=int(gib * 2**30))
        yield {"budget_gib": gib} | row
    row = _alone(setting, setting.size(1024), setting.size(4), memory=int(2.5 * 2**30))
    yield {"budget_gib": 2.5} | row


def precision(setting: Setting) -> Iterator[Row]:
    """Errors against float64 on a slice; for the plain kernel also seconds of a larger one."""
    bench = Bench(setting)
    few = bench.real("train", setting.size(8)), bench.real("test", setting.size(16))
    more = bench.real("train", setting.size(32)), bench.real("test", setting.size(32))
    for formula in SIGNED_SIDES:
        exact = bench.measure(*few, formula=formula, precision="float64")[1]
        for name in precisions(setting.device):
            kernel = bench.measure(*few, formula=formula, precision=name)[1]
            row = {"formula": formula, "precision": name} | errors(kernel.values, exact.values)
            timed = bench.measure(*more, precision=name)[0] if formula == "sgd" else {}
            yield row | timed


def trec(setting: Setting) -> Iterator[Row]:
    """All kernels of TREC, 16-shot, six outputs: 96 rows; 96 + 96 + 500 columns."""
    for name in _fast_precisions(setting):
        for formula in SIGNED_SIDES:
            yield _alone(
                setting, setting.size(96), setting.size(692), "trec",
                formula=formula, precision=name,
            )  # fmt: skip


def shots512(setting: Setting) -> Iterator[Row]:
    """All kernels of SST-2, 512-shot: 1024 rows; 1024 + 1024 + 872 columns."""
    for name in _fast_precisions(setting):
        yield _alone(setting, setting.size(1024), setting.size(2920), precision=name)


@dataclass(frozen=True)
class Part:
    """A part of the benchmark.

    Attributes:
        run: Yields its rows.
        minutes: What to expect on two cores.
        cuda_only: Whether it is too much for a CPU.
    """

    run: Callable[[Setting], Iterator[Row]]
    minutes: float
    cuda_only: bool = False


PARTS = {
    "speed": Part(speed, 3),
    "set": Part(whole_set, 4),
    "causal": Part(causal, 5),
    "columns": Part(columns, 5),
    "length": Part(length, 4),
    "memory": Part(memory, 3),
    "precision": Part(precision, 3),
    "peers": Part(compare, 3),
    "trec": Part(trec, 1, cuda_only=True),
    "shots512": Part(shots512, 1, cuda_only=True),
}
