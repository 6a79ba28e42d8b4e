"""Build the book from the sources and from what papermill executed.

    python workflow/build_book.py quick --jobs 2

Three things that Jupyter Book does not do by itself: the executed notebooks of a study become
pages of the part "Runs"; the execution cache is emptied when the library, the parameters, the
models or the collected results have changed (it looks at the cells alone); and pages are executed
several at a time.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from myst_nb.core.read import is_myst_markdown_notebook, read_myst_markdown_notebook
from tqdm import tqdm

from tangentlm.errors import InputError
from tangentlm.params import load_study, project_root
from tangentlm.studies.records import NOTEBOOK

ROOT = project_root()
BUILD = ROOT / "_build"
CACHE = BUILD / ".jupyter_cache"
"""Where Jupyter Book looks for executed pages."""
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
        shutil.rmtree(CACHE, ignore_errors=True)
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
    """The variable with which notebook kernels keep their own notes out of the build's log."""
    folder = BUILD / "ipython"
    profile = folder / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    config = "c = get_config()\nc.IPKernelApp.log_level = 50\n"
    (profile / "ipython_kernel_config.py").write_text(config, encoding="utf-8")
    return {"IPYTHONDIR": str(folder)}


def pages_with_code(toc: Path) -> Iterator[Path]:
    """The pages of a table of contents that have cells to execute; executed runs have not."""

    def files(entry: Any) -> Iterator[str]:
        if isinstance(entry, dict):
            yield from (entry[key] for key in ("root", "file") if key in entry)
            entry = list(entry.values())
        if isinstance(entry, list):
            for child in entry:
                yield from files(child)

    for name in files(yaml.safe_load(toc.read_text(encoding="utf-8"))):
        page = ROOT / name
        if page.suffix == ".md" and is_myst_markdown_notebook(page.read_text(encoding="utf-8")):
            yield page


def execute(page: Path, notebook: Any, timeout: int) -> tuple[Path, Any, Any]:
    """Execute a page in its folder; the page, its executed notebook, and how it went."""
    result = single_nb_execution(
        notebook, cwd=str(page.parent), timeout=timeout, allow_errors=False
    )
    return page, notebook, result


def execute_pages(toc: Path, jobs: int) -> None:
    """Execute the pages that the cache lacks, some at a time.

    One that fails is left to Jupyter Book, which executes it again and shows where it failed.
    """
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    timeout = config["execute"]["timeout"]
    cache = get_cache(CACHE)
    waiting = []
    for page in pages_with_code(toc):
        notebook = read_myst_markdown_notebook(page.read_text(encoding="utf-8"))
        try:
            cache.match_cache_notebook(notebook)
        except KeyError:
            waiting.append((page, notebook))
    with ProcessPoolExecutor(jobs) as pool:
        running = [pool.submit(execute, page, notebook, timeout) for page, notebook in waiting]
        for done in tqdm(as_completed(running), "pages", len(running), unit="page"):
            page, notebook, result = done.result()
            if result.err is None:
                seconds = {"execution_seconds": result.time}
                bundle = CacheBundleIn(notebook, str(page), data=seconds)
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def main(study: str, jobs: int) -> int:
    """Build the HTML book with warnings as errors; the exit status."""
    empty_stale_cache()
    toc = write_toc(study)
    os.environ |= quiet_kernels()
    # Pages that stand side by side must not fight for cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // jobs, 1)))
    execute_pages(toc, jobs)
    command = [
        sys.executable,
        "-c",  # its script names the environment's folder, which need not be there any more
        "from jupyter_book.cli.main import main; main()",
        "build",
        str(ROOT),
        "--toc",
        str(toc),
        "-W",
        "-n",
        "--keep-going",
        "-q",
    ]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the HTML book.")
    parser.add_argument("study", nargs="?", default="quick", help="whose runs become pages")
    parser.add_argument("--jobs", type=int, default=2, help="pages executed at a time (default 2)")
    given = parser.parse_args()
    try:
        sys.exit(main(given.study, given.jobs))
    except InputError as error:
        sys.exit(f"build_book: {error}")
