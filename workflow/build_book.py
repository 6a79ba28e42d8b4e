"""Build the book from the sources and from what papermill executed.

    python workflow/build_book.py quick

Two things that Jupyter Book does not do by itself: the executed notebooks of a study become
pages of the part "Runs", and the execution cache is emptied when the library, the parameters,
the models or the collected results have changed (it looks at the cells alone).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tangentlm.errors import InputError
from tangentlm.params import load_study, project_root
from tangentlm.records import NOTEBOOK

ROOT = project_root()
BUILD = ROOT / "_build"
INPUTS = ("lib", "params", "assets", "results", "constraints.txt")


def input_digest() -> str:
    """SHA-256 over every file that a page's code may read."""
    digest = hashlib.sha256()
    for name in INPUTS:
        top = ROOT / name
        files = sorted(top.rglob("*")) if top.is_dir() else [top]
        for path in files:
            if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path):
                digest.update(str(path.relative_to(ROOT)).encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def empty_stale_cache() -> None:
    """Forget executed pages if anything that they depend on has changed."""
    stamp = BUILD / "inputs.sha256"
    now = input_digest()
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != now:
        shutil.rmtree(BUILD / ".jupyter_cache", ignore_errors=True)
        shutil.rmtree(BUILD / ".doctrees", ignore_errors=True)
    BUILD.mkdir(exist_ok=True)
    stamp.write_text(now, encoding="utf-8")


def write_toc(study: str) -> Path:
    """The table of contents with the executed notebooks of a study as pages."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    pages = []
    for run in load_study(study):
        notebook = run.folder(study) / NOTEBOOK
        if not notebook.is_file():
            raise InputError(
                f"study {study} is not complete: {run.experiment}/{run.name} is missing"
            )
        pages.append(
            {"file": str(notebook.relative_to(ROOT)), "title": f"{run.experiment}: {run.name}"}
        )
    part = next(part for part in toc["parts"] if part["caption"] == "Runs")
    part["chapters"][0]["sections"] = pages
    path = BUILD / "toc.yml"
    path.write_text(yaml.safe_dump(toc, sort_keys=False), encoding="utf-8")
    return path


def quiet_kernels() -> dict[str, str]:
    """The environment in which notebook kernels keep their own notes out of the build's log."""
    folder = BUILD / "ipython"
    profile = folder / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    config = "c = get_config()\nc.IPKernelApp.log_level = 50\n"
    (profile / "ipython_kernel_config.py").write_text(config, encoding="utf-8")
    return {**os.environ, "IPYTHONDIR": str(folder)}


def main(study: str) -> int:
    """Build the HTML book with warnings as errors; the exit status."""
    empty_stale_cache()
    toc = write_toc(study)
    command = [
        str(Path(sys.executable).with_name("jupyter-book")),
        "build",
        str(ROOT),
        "--toc",
        str(toc),
        "-W",
        "-n",
        "--keep-going",
        "-q",
    ]
    return subprocess.run(command, check=False, env=quiet_kernels()).returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "quick"))
    except InputError as error:
        sys.exit(f"build_book: {error}")
