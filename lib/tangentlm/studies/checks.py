"""What refuses runs before any of them starts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, singledispatch
from importlib.util import find_spec
from typing import TYPE_CHECKING

from tangentlm.errors import InputError
from tangentlm.params import (
    RUN_PREFIX,
    ForecastOutcomeRun,
    LayersRun,
    ModelRun,
    PretrainRun,
    ProbeRun,
    Run,
    SetFitRun,
    TaskRun,
)

if TYPE_CHECKING:
    from tangentlm.tasks import Task


def check(runs: Sequence[Run]) -> None:
    """Refuse runs that cannot work, before any of them starts.

    Args:
        runs: The runs.

    Raises:
        InputError: For the first thing that is wrong: task, label word, data, k, model or corpus.
    """
    from tangentlm.models.checkpoints import load_pretrained
    from tangentlm.studies.reads import read_data

    for run in runs:
        read_data(run)
        _check_kind(run)
    # A probed model may be one that the same study makes first.
    models = (
        run.model for run in runs if isinstance(run, ModelRun) and not isinstance(run, ProbeRun)
    )
    for model in dict.fromkeys(models):
        _check_made(model)
        load_pretrained(model)  # refuses what is missing, or a masked model's untied decoder


@singledispatch
def _check_kind(run: Run) -> None:
    """Refuse what only this kind of run cannot do."""


@_check_kind.register
def _(run: PretrainRun) -> None:
    from tangentlm.pretrain.corpus import open_corpus

    open_corpus(run.corpus).passes(run.resolved.passes)
    if run.resolved.start is not None:
        _check_made(run.resolved.start)


@_check_kind.register
def _(run: TaskRun) -> None:
    from tangentlm.models.asking import asked_task

    task = asked_task(run)
    if run.head == "prompt":
        _check_prompt(run.model, task)


@_check_kind.register
def _(run: LayersRun) -> None:
    from tangentlm.tasks import load_task

    if run.head == "prompt":
        _check_prompt(run.model, load_task(run.task))


@_check_kind.register
def _(run: SetFitRun) -> None:
    if find_spec("setfit") is None:
        raise InputError('SetFit is not installed: pip install "tangentlm[setfit]"')


@_check_kind.register
def _(run: ForecastOutcomeRun) -> None:
    from tangentlm.models.checkpoints import model_kind
    from tangentlm.tasks import load_task

    kind = model_kind(run.model)
    if kind == "causal":
        raise InputError(f"model {run.model} is causal; this experiment is one for encoders")
    if kind == "masked":
        _check_prompt(run.model, load_task(run.task))


@cache
def _check_prompt(model: str, task: Task) -> None:
    """Refuse a model that fills in no word, or a label word that is none of its tokens."""
    from tangentlm.models.checkpoints import check_prompted, load_tokenizer
    from tangentlm.tasks.prompts import label_word_ids

    check_prompted(model)
    label_word_ids(task, load_tokenizer(model))


def _check_made(model: str) -> None:
    """Refuse a model of our own whose training is not done, or was another than it would be now."""
    from tangentlm.studies.done import standing
    from tangentlm.studies.identity import maker_of

    maker = maker_of(model)
    if maker is None:
        return
    study = model.removeprefix(RUN_PREFIX).partition("/")[0]
    found = standing(maker, study)
    if found.waits:
        why = f" ({', '.join(found.why)})" if found.why else ""
        raise InputError(
            f"model {model}: its training is {found.state}{why}; make study STUDY={study}"
        )
