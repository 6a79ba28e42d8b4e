"""What a run leaves behind.

A record is ``record.json``: ``parameters``, ``metrics`` and ``inputs`` (which decide one another,
so a repeated run repeats them), and ``cost`` and ``environment`` (which do not).
"""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import tangentlm
from tangentlm.errors import InputError, NonFiniteError
from tangentlm.params import Run, project_root

IDENTITY_VARIABLE = "TANGENTLM_IDENTITY"
"""Set by the study's runner: what decides the run's result (see ``tangentlm.studies.identity``)."""
RECORD = "record.json"
NOTEBOOK = "notebook.ipynb"
_VERSIONS = ("torch", "transformers", "datasets", "scikit-learn", "numpy", "tangentlm")


def environment(device: str) -> dict[str, Any]:
    """Versions, machine and revision of the running process.

    Args:
        device: The run's ``device``.

    Returns:
        Plain values by name.
    """
    import torch

    on_gpu = device != "cpu" and torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in _VERSIONS},
        "device": torch.cuda.get_device_name() if on_gpu else processor(),
        "threads": torch.get_num_threads(),
        "revision": _revision(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def processor() -> str:
    """The name of this machine's processor, as its maker calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _revision() -> str:
    """The checkout's git revision, with a plus where files differ from it."""
    git = ["git", "-C", str(project_root())]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        status = subprocess.run(
            [*git, "status", "--porcelain"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if status.stdout.strip() else "")


def peak_memory() -> int:
    """The process's largest resident memory so far, in bytes.

    Returns:
        Bytes.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def write_record(
    run: Run,
    inputs: Mapping[str, Any],
    metrics: Mapping[str, Any],
    *,
    arrays: Mapping[str, Any] | None = None,
) -> Path:
    """Write the record of the running process to the run's output folder.

    Args:
        run: The run's parameters.
        inputs: What it read, with its checksum, e.g. ``Split.facts``.
        metrics: Numbers, text, tables, lists and mappings of such, by name.
        arrays: Arrays to keep beside the record, by name (written as ``arrays.npz``).

    Returns:
        The record's path.

    Raises:
        NonFiniteError: If a metric is NaN or infinite.
    """
    folder = run.output_folder()
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "experiment": run.experiment,
        "run": run.name,
        "identity": os.environ.get(IDENTITY_VARIABLE, ""),
        "parameters": run.parameters(),
        "metrics": _plain(metrics, "metrics"),
        "inputs": _plain(inputs, "inputs"),
        "cost": {
            "seconds": round(time.perf_counter() - tangentlm.STARTED, 2),
            "peak_bytes": peak_memory(),
        },
        "environment": environment(run.device),
    }
    if arrays:
        named: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
        np.savez_compressed(folder / "arrays.npz", **named)
    path = folder / RECORD
    # Written aside and renamed: a record is either whole or absent.
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    part.rename(path)
    return path


def _plain(value: Any, where: str) -> Any:
    """The value as JSON can hold it; a NaN or infinity is refused by its name."""
    if isinstance(value, pd.DataFrame):  # an empty cell is null
        value = value.astype(object).where(value.notna(), None).to_dict("records")
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise NonFiniteError(f"{where} = {value} cannot enter a record")
    return value


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a done run.

    Args:
        folder: The run's folder.

    Returns:
        The record, or ``None`` if the run is not done.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {**record, "identity": record.get("identity", "")}
    except (ValueError, AttributeError, TypeError):
        raise InputError(f"{path} is damaged; delete its folder to have the run again") from None
