"""What has a name: tasks, models, grids, recipes, studies, experiments and runs, line by line."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tangentlm.errors import InputError, unknown_name
from tangentlm.params import RUNS, list_studies, load_study, named_file, names, read_yaml

_FILES = ("task", "model", "grid", "recipe")


def lines(kind: str | None, name: str | None = None) -> Iterator[str]:
    """The things of a kind.

    Args:
        kind: ``"tasks"``, ``"models"``, ``"grids"``, ``"recipes"``, ``"studies"``,
            ``"experiments"``, ``"parameters"`` or ``"runs"``; ``None`` for the kinds themselves.
        name: The study whose runs are listed.

    Returns:
        A line each.

    Raises:
        InputError: If the kind is unknown, or a study is missing or not asked for.
    """
    kinds: dict[str, Callable[[], Iterator[str]]] = {
        **{f"{kind}s": lambda kind=kind: _files(kind) for kind in _FILES},  # type: ignore[misc]
        "studies": _studies,
        "experiments": lambda: iter(sorted(RUNS)),
        "parameters": _parameters,
    }
    if kind == "runs":
        if name is None:
            raise InputError(f"which study's runs? One of {', '.join(list_studies())}")
        return _runs(name)
    if kind is not None and kind not in kinds:
        raise unknown_name("kind", kind, [*kinds, "runs"])
    if name is not None:
        raise InputError(f"{name!r}: only 'tangentlm list runs' takes the name of a study")
    return iter([*kinds, "runs STUDY"]) if kind is None else kinds[kind]()


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


def _parameters() -> Iterator[str]:
    for experiment, model in RUNS.items():
        yield f"{experiment}:"
        for name, field in model.model_fields.items():
            yield f"  {name}: " + ("needed" if field.is_required() else repr(field.default))


def _runs(study: str) -> Iterator[str]:
    from tangentlm.studies.standing import standing

    for run in load_study(study):
        found = standing(run, study)
        why = f" ({', '.join(found.why)})" if found.why else ""
        yield f"{found.state:9}  {run.experiment}/{run.name}{why}"
