"""The machine: what it is, how fast it multiplies, how much memory a process takes."""

from __future__ import annotations

import gc
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import torch

from tangentlm.kernels.precision import DTYPES, Products
from tangentlm.studies.records import peak_memory

Result = TypeVar("Result")
_REPEATS = 5


def fresh(function: Callable[..., Result], *args: Any) -> Result:
    """Call a function in a process of its own, so that nothing else is in its memory.

    Args:
        function: A function of a module.
        *args: Its arguments.

    Returns:
        What it returns.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def precisions(device: str) -> list[str]:
    """The precisions of ``entk`` that a device has."""
    return [name for name in DTYPES if name != "tf32" or device == "cuda"]


def synchronize(device: str) -> None:
    """Wait until a device has done what it was asked."""
    if device == "cuda":
        torch.cuda.synchronize()


def product_rate(precision: str, device: str, size: int = 2048) -> float:
    """How fast the machine multiplies two square matrices: the best of several.

    Args:
        precision: A precision of ``entk``, whose products these are.
        device: ``"cpu"`` or ``"cuda"``.
        size: Rows and columns of each matrix.

    Returns:
        GFLOP/s; three products of ``bfloat16x3`` count as the one that they stand for.
    """
    a, b = (torch.randn(size, size, dtype=DTYPES[precision], device=device) for _ in range(2))
    multiply, best = Products(precision), float("inf")
    for _ in range(_REPEATS):
        synchronize(device)
        started = time.perf_counter()
        multiply(a, b)
        synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best / 1e9


class Memory:
    """The memory that a process takes beyond what it has when this is made."""

    def __init__(self, device: str) -> None:
        gc.collect()
        self.device = device
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.start = torch.cuda.memory_allocated()
        else:
            self.start = _resident()

    def growth(self) -> float:
        """The largest growth so far, in GiB."""
        cuda = self.device == "cuda"
        peak = torch.cuda.max_memory_allocated() if cuda else peak_memory()
        return (peak - self.start) / 2**30


def _resident() -> int:
    """The process's memory at present; where the system does not tell, its largest so far."""
    pages = Path("/proc/self/statm")
    if not pages.is_file():
        return peak_memory()
    return int(pages.read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def describe(device: str, size: int) -> dict[str, Any]:
    """Processor, threads, versions and product rates.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        size: Of the products.

    Returns:
        What goes into ``machine.json``.
    """
    return {
        "processor": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "product_size": size,
        "gflops": {name: round(product_rate(name, device, size)) for name in precisions(device)},
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
