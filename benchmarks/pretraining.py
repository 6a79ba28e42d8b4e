"""Measure pre-training: what share of a step its own matrix products take, and where the rest goes.

    python benchmarks/pretraining.py                  # the recipe pocket, about a minute
    python benchmarks/pretraining.py --recipe tiny    # another recipe

Leave the machine alone meanwhile. The matrix products of one real step are recorded with their
shapes, types and strides, and then multiplied again by themselves: the seconds that they take alone
over the seconds of the whole step is the share. The text does not matter for speed, so the rows are
random tokens. Results: ``results/benchmarks/<device>/pretraining.csv`` (one row a width) and
``pretraining-rest.csv`` (seconds by kind of operation).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from machine import synchronize
from tangentlm.params import Recipe, load_recipe, project_root
from tangentlm.pretrain import PackedRows, loop, new_model, parameter_groups
from tangentlm.pretrain.loop import BETAS
from tangentlm.pretrain.packed_rows import join

STEPS = 12
BATCHES = 16
"""Batches of random text; the steps read no more than this."""
REPEATS = 5
KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "fused attention": ("aten::_scaled_dot_product",),
    "change of type, copies": ("aten::copy_", "aten::cat", "aten::fill_", "aten::clone"),
    "GELU and softmax": ("aten::gelu", "aten::_softmax", "aten::_log_softmax", "aten::nll_loss"),
    "norms": ("aten::native_layer_norm",),
    "optimizer, clipping": (
        "aten::_fused_adam",
        "aten::_foreach",
        "aten::linalg_vector_norm",
    ),
    "sums and products by element": ("aten::mul", "aten::add", "aten::neg", "aten::sum"),
}


class Vocabulary:
    """Just enough of a tokenizer to build a model."""

    bos_token_id, pad_token_id, eos_token_id = 0, 1, 2
    cls_token_id, sep_token_id, mask_token_id = 0, 2, 4

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


class RecordedProducts(TorchDispatchMode):
    """Notes the operands' shapes, strides and types of every matrix product that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[Any, list[tuple[Any, ...]]]] = []

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note one operation, and do it."""
        if func.overloadpacket in {torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm}:
            operands = [a for a in args if isinstance(a, Tensor)]
            self.found.append(
                (func, [(tuple(a.shape), a.stride(), a.dtype, a.device) for a in operands])
            )
        return func(*args, **(kwargs or {}))


def random_rows(recipe: Recipe) -> PackedRows:
    """Packed rows of one document of random tokens, enough for every step that is measured."""
    count = BATCHES * recipe.tokens_a_step
    tokens = np.random.default_rng(0).integers(5, recipe.vocabulary, count, dtype=np.uint16)
    return PackedRows(join([tokens]), Vocabulary(recipe.vocabulary), recipe.length, seed=0)


def timed(function: Callable[[], object], device: str) -> float:
    """Seconds of one call."""
    synchronize(device)
    started = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - started


def products_alone(recorded: RecordedProducts, device: str) -> tuple[float, float]:
    """Seconds of the recorded products by themselves (the best of several), and their GFLOP."""
    calls, flops = [], 0.0
    for func, operands in recorded.found:
        tensors = [
            torch.empty_strided(shape, stride, dtype=dtype, device=where).normal_()
            for shape, stride, dtype, where in operands
        ]
        first, second = tensors[-2:]
        flops += 2 * first.numel() * second.shape[-1]
        calls.append((func, tensors))

    def all_of_them() -> None:
        for func, tensors in calls:
            func(*tensors)

    return min(timed(all_of_them, device) for _ in range(REPEATS)), flops / 1e9


def measure(recipe: Recipe, device: str) -> tuple[dict[str, Any], pd.DataFrame]:
    """One width: the step, its products alone, and the profile of the rest."""
    tokenizer = Vocabulary(recipe.vocabulary)
    model = new_model(recipe, tokenizer, 0).to(device)
    model.set_attn_implementation("sdpa" if device == "cuda" else "eager")
    groups = parameter_groups(model, recipe, tokenizer, "standard")
    optimizer = torch.optim.AdamW(groups, betas=BETAS, fused=True)
    where = torch.device(device)

    rows = random_rows(recipe)

    def step(number: int) -> None:
        batch = rows.batch(number, recipe.batch_size, recipe.masked)
        loop.training_step(model, optimizer, batch, number, where)

    for number in range(3):
        step(number)
    with RecordedProducts() as recorded:
        step(3)
    whole = [timed(lambda number=number: step(number), device) for number in range(STEPS)]
    alone, gflop = products_alone(recorded, device)
    seconds = statistics.median(whole)
    row = {
        "width": recipe.width,
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens_a_second": round(recipe.batch_size * recipe.length / seconds),
        "step_seconds": seconds,
        "products_seconds": alone,
        "share_of_products": alone / seconds,
        "step_gflop": gflop,
        "products_gflops": gflop / alone,
        "threads": torch.get_num_threads(),
        "bfloat16": loop.has_bfloat16(where),
    }
    return row, profile(lambda: step(0), recipe.width, device)


def profile(step: Callable[[], None], width: int, device: str) -> pd.DataFrame:
    """The share of each kind of operation in a step."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    activity = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    with record(activities=[activity], acc_events=True) as found:
        for _ in range(3):
            step()
    times: dict[str, float] = dict.fromkeys((*KINDS, "other"), 0.0)
    for event in found.key_averages():
        kind = next((k for k, starts in KINDS.items() if event.key.startswith(starts)), "other")
        spent = event.self_device_time_total if device == "cuda" else event.self_cpu_time_total
        times[kind] += spent
    shares = np.array(list(times.values())) / sum(times.values())
    return pd.DataFrame({"width": width, "kind": list(times), "share": shares})


def main(given: list[str] | None = None) -> int:
    """Measure and write; the exit status."""
    parser = argparse.ArgumentParser(description="Measure pre-training.")
    parser.add_argument("--recipe", default="pocket")
    parser.add_argument("--width", type=int, nargs="+", help="instead of the recipe's")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, help="where to write (default: results/benchmarks)")
    values = parser.parse_args(given)
    recipe = load_recipe(values.recipe)
    rows, rests = [], []
    for width in values.width or [recipe.width]:
        row, rest = measure(recipe.replaced(width, None, None), values.device)
        rows.append(row)
        rests.append(rest)
    folder = (values.out or project_root() / "results" / "benchmarks") / values.device
    folder.mkdir(parents=True, exist_ok=True)
    table, rest = pd.DataFrame(rows), pd.concat(rests)
    table.to_csv(folder / "pretraining.csv", index=False, float_format="%.4g")
    rest.to_csv(folder / "pretraining-rest.csv", index=False, float_format="%.4g")
    print(table.to_string(index=False), rest.to_string(index=False), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
