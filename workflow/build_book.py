"""Build the book from the sources and from what papermill executed.

    python workflow/build_book.py quick --jobs 2

Three things that Jupyter Book does not do by itself: the executed notebooks of a study become
pages of the part "Runs"; the execution cache forgets the pages that read what has changed, the
library, the parameters and the models, or the collected results (it looks at the cells alone); and
pages are executed several at a time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
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
from tangentlm.studies.warm_kernels import warm_kernels

ROOT = project_root()
BUILD = ROOT / "_build"
CACHE = BUILD / ".jupyter_cache"
"""Where Jupyter Book looks for executed pages."""
JUPYTER_BOOK = (sys.executable, "-c", "from jupyter_book.cli.main import main; main()")
"""Called through Python: the script of an environment names a path that may hold anything."""
INPUTS = ("lib", "params", "assets", "constraints.txt")
"""What every page may read."""
RESULTS = "results"
"""What the pages of the results read as well; any study that is run changes it."""
SHOW_RESULTS = (
    "book/results", "book/runs.md", "book/index.md",
    "book/experiments/forecast.md",  # its past tasks
)  # fmt: skip


def input_digest(*names: str) -> str:
    """SHA-256 over every file in folders of the project."""
    digest = hashlib.sha256()
    for name in names:
        top = ROOT / name
        files = sorted(top.rglob("*")) if top.is_dir() else [top]
        for path in files:
            if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path):
                digest.update(str(path.relative_to(ROOT)).encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def shows_results(page: Path) -> bool:
    """Whether a page's code may read the collected results."""
    return any(page.is_relative_to(ROOT / shown) for shown in SHOW_RESULTS)


def forget_stale_pages() -> None:
    """Forget the executed pages that depend on what has changed since the last build."""
    stamp = BUILD / "inputs.json"
    now = {"inputs": input_digest(*INPUTS), "results": input_digest(RESULTS)}
    before = json.loads(stamp.read_text(encoding="utf-8")) if stamp.is_file() else {}
    if now != before:
        shutil.rmtree(BUILD / ".doctrees", ignore_errors=True)
    if now["inputs"] != before.get("inputs"):
        shutil.rmtree(CACHE, ignore_errors=True)
    elif now["results"] != before.get("results"):
        cache = get_cache(CACHE)
        for record in cache.list_cache_records():
            if shows_results(Path(record.uri)):
                cache.remove_cache(record.pk)
    BUILD.mkdir(exist_ok=True)
    stamp.write_text(json.dumps(now), encoding="utf-8")


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
    with warm_kernels(), ProcessPoolExecutor(jobs) as pool:
        running = [pool.submit(execute, page, notebook, timeout) for page, notebook in waiting]
        for done in tqdm(as_completed(running), "pages", len(running), unit="page"):
            page, notebook, result = done.result()
            if result.err is None:
                seconds = {"execution_seconds": result.time}
                bundle = CacheBundleIn(notebook, str(page), data=seconds)
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def main(study: str, jobs: int) -> int:
    """Build the HTML book with warnings as errors; the exit status."""
    forget_stale_pages()
    toc = write_toc(study)
    os.environ |= quiet_kernels()
    # Pages that stand side by side must not fight for cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // jobs, 1)))
    execute_pages(toc, jobs)
    command = [
        *JUPYTER_BOOK,
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
