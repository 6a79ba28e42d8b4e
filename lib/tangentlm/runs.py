"""Running a study: each run is one papermill execution of an experiment's template.

Papermill writes to a scratch folder. Only a run that ended well is moved, at once and whole, to
``runs/<study>/<experiment>/<run>``; that folder's presence means done. So does a row of the
collected results with the run's fingerprint: a study goes on in another checkout. A run whose
fingerprint no longer matches its record is stale and is run again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tangentlm.collected import collected_fingerprint, write_collected
from tangentlm.data import load_split
from tangentlm.errors import InputError, unknown_name
from tangentlm.fingerprints import fingerprint, template
from tangentlm.models import load_masked_lm, load_tokenizer
from tangentlm.params import PretrainRun, ProbeRun, Run, TaskRun, load_study, project_root
from tangentlm.pretrain.corpus import open_corpus
from tangentlm.prompts import label_word_ids
from tangentlm.records import FINGERPRINT_VARIABLE, NOTEBOOK, RECORD, read_record
from tangentlm.tasks import task_of

PAGES = ("quick", "smoke")
"""Studies whose notebooks are pages of the book: a collected row will not do, nor for a model."""


def check(runs: list[Run]) -> None:
    """Refuse a study whose runs cannot work, before any of them starts.

    Args:
        runs: The runs.

    Raises:
        InputError: For the first thing that is wrong: task, label word, data, k, or corpus.
    """
    seen: set[object] = set()
    for run in runs:
        if isinstance(run, PretrainRun | ProbeRun):
            corpus = open_corpus(run.corpus)
            if isinstance(run, PretrainRun):
                corpus.passes(run.resolved.passes)
        if not isinstance(run, TaskRun):
            continue
        task = task_of(run)
        data_key = (run.task, run.k, run.seed, run.data, run.test_size)
        if data_key not in seen:
            seen.add(data_key)
            load_split(task, run.k, run.seed, data=run.data, test_size=run.test_size)
        if run.head == "prompt" and (run.model, run.task) not in seen:
            seen.add((run.model, run.task))
            label_word_ids(task, load_tokenizer(run.model))


def state(run: Run, study: str) -> str:
    """Whether a run is done.

    Args:
        run: The run.
        study: Its study.

    Returns:
        ``"done"``, ``"collected"`` (done elsewhere: only its results are here), ``"stale"`` (done,
        but something that it depends on has changed) or ``"to do"``.
    """
    record = read_record(run.folder(study))
    if record is not None:
        return "done" if record["fingerprint"] == fingerprint(run) else "stale"
    collected = _collected(run, study)
    if collected is None:
        return "to do"
    return "collected" if collected == fingerprint(run) else "stale"


def _collected(run: Run, study: str) -> str | None:
    """The run's fingerprint in the collected results, where these are all that is wanted of it."""
    wants_folder = study in PAGES or isinstance(run, PretrainRun)
    return None if wants_folder else collected_fingerprint(run, study)


def execute(study: str, experiment: str, name: str) -> None:
    """Execute one run of a study with papermill.

    Args:
        study: The study.
        experiment: The experiment.
        name: The run's name.

    Raises:
        InputError: If there is no such run, or it failed; the message names the notebook that
            shows where.
    """
    runs = {f"{run.experiment}/{run.name}": run for run in load_study(study)}
    if f"{experiment}/{name}" not in runs:
        raise unknown_name(f"run of study {study}", f"{experiment}/{name}", runs)
    run = runs[f"{experiment}/{name}"]
    base = project_root() / "runs" / study
    scratch = base / ".scratch" / experiment / name
    failed = base / ".failed" / experiment / f"{name}.ipynb"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    os.environ[FINGERPRINT_VARIABLE] = fingerprint(run)
    problem = _papermill(run, scratch)
    if problem is None and not (scratch / RECORD).is_file():
        problem = "it wrote no record"
    if problem is not None:
        failed.parent.mkdir(parents=True, exist_ok=True)
        if (scratch / NOTEBOOK).is_file():
            (scratch / NOTEBOOK).replace(failed)
        shutil.rmtree(scratch)
        raise InputError(f"run {study}/{experiment}/{name} failed: {problem}; see {failed}")
    folder = run.folder(study)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)
    failed.unlink(missing_ok=True)
    _report(study, run, runs)


def _papermill(run: Run, scratch: Path) -> str | None:
    """Execute the run's template in ``scratch``; what went wrong, in one line, or ``None``."""
    import jupytext
    import papermill
    from papermill.exceptions import PapermillExecutionError

    given = run.model_dump(mode="json", exclude_defaults=True) | {
        "out": str(scratch.relative_to(project_root()))
    }
    try:
        papermill.execute_notebook(
            jupytext.read(template(run.experiment)),
            str(scratch / NOTEBOOK),
            parameters=given,
            kernel_name="python3",
            cwd=str(project_root()),
            progress_bar=False,
            autosave_cell_every=0,
            extra_arguments=["--log-level=50"],
        )
    except PapermillExecutionError as error:
        return f"{error.ename}: {' '.join(str(error.evalue).split())}"
    return None


def _report(study: str, run: Run, runs: dict[str, Run]) -> None:
    """One line for people about a run that is done."""
    record = read_record(run.folder(study)) or {}
    done = sum(
        (other.folder(study) / RECORD).is_file() or _collected(other, study) is not None
        for other in runs.values()
    )
    metrics = record["metrics"]
    print(
        f"[{done:>{len(str(len(runs)))}}/{len(runs)}] {run.experiment}/{run.name}: "
        f"{_headline(metrics)}, "
        f"{record['cost']['seconds']:.0f} s",
        flush=True,
    )


def _headline(metrics: dict[str, Any]) -> str:
    if "test_score" in metrics:
        return f"test {metrics['test_score']:.1f} (zero-shot {metrics['zero_shot_test']:.1f})"
    if "word_loss" in metrics:
        return f"{metrics['word_loss']:.3f} nats a word, {metrics['minimal_pairs']:.1f} % of pairs"
    amount = "tokens" if "tokens" in metrics else "documents"
    return f"held-out loss {metrics['held_out_loss']:.3f} after {metrics[amount]:,.0f} {amount}"


def run_study(study: str, *, jobs: int = 2, dry_run: bool = False) -> int:
    """Run what a study lacks, through Snakemake, and collect its records.

    Args:
        study: The study.
        jobs: How many runs at a time.
        dry_run: Only say what would be run.

    Returns:
        The exit status: 0 if every run of the study is done.
    """
    runs = load_study(study)
    check(runs)
    states = {run: state(run, study) for run in runs}
    waiting = [run for run in runs if states[run] in ("stale", "to do")]
    stale = sum(states[run] == "stale" for run in waiting)
    print(
        f"Study {study}: {len(runs)} runs, {len(runs) - len(waiting)} done, {stale} stale, "
        f"{len(waiting) - stale} to do.",
        flush=True,
    )
    if dry_run:
        for run in waiting:
            print(f"  would run {run.experiment}/{run.name} ({states[run]})")
        return 0
    for run in waiting:
        shutil.rmtree(run.folder(study), ignore_errors=True)
    status = 0
    if waiting:
        for model in dict.fromkeys(run.model for run in waiting if isinstance(run, TaskRun)):
            load_masked_lm(model)  # refuses a decoder that is missing or not tied
        status = _snakemake(study, jobs)
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


def _snakemake(study: str, jobs: int) -> int:
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
    ]
    return subprocess.run(command, check=False).returncode
