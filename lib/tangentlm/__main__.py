"""The command line: ``python -m tangentlm study quick --jobs 2``; ``make study`` calls it."""

from __future__ import annotations

import argparse
import sys

from tangentlm.errors import InputError, NonFiniteError


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name; the process's own by default.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(prog="tangentlm", description="Run the studies of the book.")
    commands = parser.add_subparsers(dest="command", required=True)
    study = commands.add_parser("study", help="run what a study lacks, and collect its records")
    study.add_argument("study")
    study.add_argument("--jobs", type=int, default=2, help="runs at a time (default 2)")
    study.add_argument("--dry-run", action="store_true", help="only say what would be run")
    execute = commands.add_parser("execute", help="execute one run of a study")
    execute.add_argument("study")
    execute.add_argument("experiment")
    execute.add_argument("run")
    collect = commands.add_parser("collect", help="collect the records of a study's done runs")
    collect.add_argument("study")
    given = parser.parse_args(arguments)
    try:
        return _dispatch(given)
    except (InputError, NonFiniteError) as error:
        print(f"tangentlm: {error}", file=sys.stderr)
        return 2


def _dispatch(given: argparse.Namespace) -> int:
    from tangentlm import collected, params, runs

    if given.command == "study":
        return runs.run_study(given.study, jobs=given.jobs, dry_run=given.dry_run)
    if given.command == "execute":
        runs.execute(given.study, given.experiment, given.run)
    else:
        collected.write_collected(given.study, params.load_study(given.study))
    return 0


if __name__ == "__main__":
    sys.exit(main())
