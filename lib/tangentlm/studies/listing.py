"""What has a name: tasks, models, grids, recipes, studies, experiments and runs, line by line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from tangentlm.errors import InputError, unknown_name
from tangentlm.params import RUNS, list_studies, load_study, named_file, names, read_yaml

_FILES = ("task", "model", "grid", "recipe")


def lines(kind: str | None, name: str | None = None) -> Iterator[str]:
    """The things of a kind.

    Args:
        kind: ``"tasks"``, ``"models"``, ``"grids"``, ``"recipes"``, ``"studies"``,
            ``"experiments"``, ``"parameters"`` or ``"runs"``; ``None`` for the kinds themselves.
        name: The study whose runs are listed, or the experiment whose parameters are.

    Returns:
        A line each.

    Raises:
        InputError: If the kind or the name is unknown, or a name is missing or not asked for.
    """
    kinds: dict[str, Callable[[], Iterator[str]]] = {
        **{f"{kind}s": partial(_files, kind) for kind in _FILES},
        "studies": _studies,
        "experiments": lambda: iter(sorted(RUNS)),
        "parameters": lambda: _parameters(name),
        "runs": lambda: _runs(name),
    }
    if kind is None:
        return iter(kinds)
    if kind not in kinds:
        raise unknown_name("kind", kind, kinds)
    if name is not None and kind not in ("parameters", "runs"):
        raise InputError(f"{name!r}: only 'parameters' and 'runs' are listed by a name")
    return kinds[kind]()


def _files(kind: str) -> Iterator[str]:
    found = names(kind)
    width = max(map(len, found), default=0)
    for name in found:
        values = read_yaml(named_file(kind, name))
        yield f"{name:{width}}  {values.get('about') or values.get('title') or ''}".rstrip()


def _studies() -> Iterator[str]:
    found = list_studies()
    width = max(map(len, found), default=0)
    for name in found:
        runs = load_study(name)
        experiments = ", ".join(dict.fromkeys(run.experiment for run in runs))
        yield f"{name:{width}}  {len(runs):5} runs  {experiments}"


def _parameters(experiment: str | None) -> Iterator[str]:
    if experiment is not None and experiment not in RUNS:
        raise unknown_name("experiment", experiment, RUNS)
    for name in RUNS if experiment is None else [experiment]:
        yield f"{name}:"
        for parameter, field in RUNS[name].model_fields.items():
            if parameter != "out":  # the command says where a run is written
                shown = "needed" if field.is_required() else repr(field.default)
                yield f"  {parameter}: {shown}"


def _runs(study: str | None) -> Iterator[str]:
    if study is None:
        raise InputError(f"which study's runs? One of {', '.join(list_studies())}")
    from tangentlm.studies.done import standing

    for run in load_study(study):
        found = standing(run, study)
        why = f" ({', '.join(found.why)})" if found.why else ""
        yield f"{found.state:9}  {run.experiment}/{run.name}{why}"
