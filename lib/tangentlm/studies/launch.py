"""Launching a study: Snakemake executes the runs that it lacks, several at a time."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from tangentlm.params import Run, load_study, project_root
from tangentlm.studies.checks import check
from tangentlm.studies.collect import write_collected
from tangentlm.studies.done import Standing, standing
from tangentlm.studies.execution import stale_folder
from tangentlm.studies.records import read_record
from tangentlm.studies.warm_kernels import warm_kernels


def run_study(
    study: str, *, jobs: int = 2, dry_run: bool = False, profile: str | None = None
) -> int:
    """Run what a study lacks, through Snakemake, and collect its records.

    Args:
        study: E.g. ``"pocket"``.
        jobs: How many runs at a time.
        dry_run: Only say what would be run, and why.
        profile: A profile of Snakemake, e.g. for a cluster.

    Returns:
        The exit status: 0 if every run of the study is done.

    Raises:
        InputError: If a run that would be executed cannot work.
    """
    runs = load_study(study)
    found = {run: standing(run, study) for run in runs}
    waiting = [run for run in runs if found[run].waits]
    if dry_run:
        _announce(study, found)
        for run in waiting:
            why = ", ".join(found[run].why)
            state = found[run].state + (f": {why}" if why else "")
            print(f"  would run {run.experiment}/{run.name} ({state})")
        check(waiting)
        return 0
    # Kernels warm up while the runs are checked. For a run each that takes longer than it saves,
    # and the jobs of a cluster run on other machines.
    warm = profile is None and len(waiting) > jobs
    with warm_kernels() if warm else nullcontext():
        check(waiting)
        _announce(study, found)
        for run in waiting:
            _set_aside(study, run)
        status = _snakemake(study, jobs, profile) if waiting else 0
    for path in write_collected(study, runs):
        print(f"Collected {path.relative_to(project_root())}")
    missing = [run for run in waiting if read_record(run.folder(study)) is None]
    for run in missing:
        notebook = Path("runs") / study / ".failed" / run.experiment / f"{run.name}.ipynb"
        shown = (
            notebook if (project_root() / notebook).is_file() else "no notebook: it never started"
        )
        print(f"FAILED {run.experiment}/{run.name}: {shown}", file=sys.stderr)
    return status or int(bool(missing))


def _announce(study: str, found: Mapping[Run, Standing]) -> None:
    """Say how many runs are done, and of how many that could not be told in full."""
    waiting = [run for run, one in found.items() if one.waits]
    stale = sum(found[run].state == "stale" for run in waiting)
    print(
        f"Study {study}: {len(found)} runs, {len(found) - len(waiting)} done, {stale} stale, "
        f"{len(waiting) - stale} to do.",
        flush=True,
    )
    for part, count in Counter(part for one in found.values() for part in one.unknown).items():
        print(f"  of {count} done runs the {part} is not at hand, so it was not compared")


def _snakemake(study: str, jobs: int, profile: str | None) -> int:
    root = project_root()
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(root / "workflow" / "Snakefile"),
        "--directory",
        str(root),
        "--cores",
        str(jobs),
        "--config",
        f"study={study}",
        "--keep-going",
        "--quiet",
        "all",
        # A run's folder appears at once and whole, so a killed Snakemake leaves nothing half done.
        "--nolock",
        "--ignore-incomplete",
        "--rerun-triggers",
        "params",
        *([] if profile is None else ["--profile", profile]),
    ]
    return subprocess.run(command, check=False).returncode


def _set_aside(study: str, run: Run) -> None:
    folder, aside = run.folder(study), stale_folder(study, run)
    if folder.is_dir():
        aside.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
