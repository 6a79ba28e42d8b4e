"""Measure the engine: time, memory and errors of ``entk``, beside other methods.

    python benchmarks/engine.py                 # everything, 20 to 25 minutes on two cores
    python benchmarks/engine.py --only speed    # one part
    python benchmarks/engine.py --quick         # a tiny model: does everything work?
    python benchmarks/engine.py --device cuda   # the same on a GPU, with TF32 and bfloat16

Leave the machine alone meanwhile. Every part runs in a process of its own and writes its file
row by row, so nothing that is done is lost. The results are in ``results/benchmarks/<device>``;
the page ``book/results/engine`` shows them. Other libraries take part where they are installed:

    pip install --target peers --no-deps backpack-for-pytorch nngeometry einops unfoldNd
    PYTHONPATH=peers python benchmarks/engine.py --only peers
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import pandas as pd
import torch

from machine import describe
from parts import PARTS
from setting import Setting
from tangentlm.params import project_root
from targets import targets

QUICK_DIVIDE = 16


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked.

    Args:
        given: Without the program's name; the process's own by default.

    Returns:
        Its values.
    """
    parser = argparse.ArgumentParser(description="Measure the engine.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", choices=PARTS, nargs="+", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="a tiny model, in seconds")
    parser.add_argument("--out", type=Path, help="where to write (default: results/benchmarks)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be run")
    values = parser.parse_args(given)
    if values.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda, but this machine has no GPU that torch can use")
    return values


def chosen_parts(only: list[str] | None, device: str) -> list[str]:
    """The parts to run, in order.

    Args:
        only: Names, or ``None`` for all that suit the device.
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        Names.
    """
    suits = [name for name, part in PARTS.items() if device == "cuda" or not part.cuda_only]
    return [name for name in PARTS if name in (only or suits)]


def run_part(name: str, setting: Setting, folder: Path) -> None:
    """Run one part, writing its file anew after every row.

    Args:
        name: The part.
        setting: How large, and where.
        folder: Where the results go.
    """
    rows = []
    for row in PARTS[name].run(setting):
        rows.append(row)
        part = folder / f".{name}.csv"
        pd.DataFrame(rows).to_csv(part, index=False, float_format="%.6g")
        part.replace(folder / f"{name}.csv")
        print(f"  {name}, row {len(rows)}: {row.get('seconds', 0):.1f} s", flush=True)


def run(names: list[str], setting: Setting, folder: Path) -> list[str]:
    """Run parts one after another, each in a process of its own.

    Args:
        names: The parts.
        setting: How large, and where.
        folder: Where the results go.

    Returns:
        The parts that failed; the others are done.
    """
    failed = []
    for number, name in enumerate(names, start=1):
        about = str(PARTS[name].run.__doc__).splitlines()[0]
        print(f"[{number}/{len(names)}] {name}: {about}", flush=True)
        started = time.perf_counter()
        try:
            setting.apart(run_part, name, setting, folder)
        except Exception as error:
            print(f"  {name} failed: {type(error).__name__}: {error}", file=sys.stderr)
            failed.append(name)
        print(f"  {(time.perf_counter() - started) / 60:.1f} minutes", flush=True)
    return failed


def report(names: list[str], folder: Path) -> None:
    """Print every table, and the targets last.

    Args:
        names: The parts that were run.
        folder: Where the results are.
    """
    for name in names:
        path = folder / f"{name}.csv"
        if path.is_file():
            table = pd.read_csv(path).to_string(index=False, float_format="%.4g", na_rep="")
            print(f"\n{name}\n{table}")
    print(f"\ntargets\n{pd.read_csv(folder / 'targets.csv').to_string(index=False, na_rep='')}")


def main(given: list[str] | None = None) -> int:
    """Run what the command line asks for; the exit status."""
    values = arguments(given)
    names = chosen_parts(values.only, values.device)
    base = project_root() / ("_build" if values.quick else "results") / "benchmarks"
    folder: Path = values.out or base / values.device
    if values.dry_run:
        for name in names:
            print(f"{name}: about {PARTS[name].minutes:g} minutes -> {folder / name}.csv")
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    setting = Setting(values.device, values.quick, QUICK_DIVIDE if values.quick else 1)
    about = setting.apart(describe, values.device, setting.product_size)
    (folder / "machine.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    failed = run(names, setting, folder)
    targets(folder).to_csv(folder / "targets.csv", index=False, float_format="%.4g")
    report(names, folder)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
