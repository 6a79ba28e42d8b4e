"""What refuses runs before any of them starts."""

from __future__ import annotations

from collections.abc import Sequence

from tangentlm.errors import InputError
from tangentlm.params import (
    RUN_PREFIX,
    ConditionRun,
    ForecastRun,
    ForecastValidationRun,
    LayersRun,
    PretrainRun,
    ProbeRun,
    Run,
    TaskRun,
    WholeTaskRun,
)


def check(runs: Sequence[Run]) -> None:
    """Refuse runs that cannot work, before any of them starts.

    Args:
        runs: The runs.

    Raises:
        InputError: For the first thing that is wrong: task, label word, data, k, model or corpus.
    """
    from tangentlm.models.asking import asked_task
    from tangentlm.models.checkpoints import check_prompted, load_pretrained, load_tokenizer
    from tangentlm.pretrain.corpus import open_corpus
    from tangentlm.tasks import load_split, load_task, load_whole
    from tangentlm.tasks.pools import draw_rows, draw_two_parts
    from tangentlm.tasks.prompts import label_word_ids

    seen: set[object] = set()
    for run in runs:
        if isinstance(run, PretrainRun | ProbeRun):
            corpus = open_corpus(run.corpus)
            if isinstance(run, PretrainRun):
                corpus.passes(run.resolved.passes)
                if run.resolved.start is not None:
                    _check_made(run.resolved.start)
        if isinstance(run, WholeTaskRun):
            for name in {run.task, *getattr(run, "shifted", ())} - seen:
                seen.add(name)
                load_whole(load_task(name), data=run.data)
        if isinstance(run, ConditionRun) and (run.task, run.pool, run.seed, run.data) not in seen:
            seen.add((run.task, run.pool, run.seed, run.data))
            draw_rows(load_task(run.task), run.pool, run.seed, data=run.data)
        if isinstance(run, LayersRun):
            _check_layers(run, seen)
        if isinstance(run, ForecastValidationRun):
            draw_two_parts(
                load_task(run.task), run.pool_size, run.test_size, run.seed, data=run.data
            )
        if not isinstance(run, TaskRun):
            continue
        task = asked_task(run)
        data_key = (run.task, run.k, run.seed, run.data, run.test_size)
        if data_key not in seen:
            seen.add(data_key)
            load_split(task, run.k, run.seed, data=run.data, test_size=run.test_size)
        if run.head == "prompt" and (run.model, task) not in seen:
            seen.add((run.model, task))
            check_prompted(run.model)
            label_word_ids(task, load_tokenizer(run.model))
    with_model = TaskRun | WholeTaskRun | ConditionRun | LayersRun | ForecastRun
    with_model |= ForecastValidationRun
    for model in dict.fromkeys(run.model for run in runs if isinstance(run, with_model)):
        _check_made(model)
        load_pretrained(model)  # refuses what is missing, or a masked model's untied decoder


def _check_layers(run: LayersRun, seen: set[object]) -> None:
    """Refuse a run on chosen layers whose rows are too few, or whose label words are none."""
    from tangentlm.models.checkpoints import check_prompted, load_tokenizer
    from tangentlm.tasks import load_task
    from tangentlm.tasks.pools import draw_two_parts
    from tangentlm.tasks.prompts import label_word_ids

    task = load_task(run.task)
    rows = (run.task, run.train_size, run.test_size, run.seed, run.data)
    if rows not in seen:
        seen.add(rows)
        draw_two_parts(task, run.train_size, run.test_size, run.seed, data=run.data)
    if run.head == "prompt" and (run.model, run.task) not in seen:
        seen.add((run.model, run.task))
        check_prompted(run.model)
        label_word_ids(task, load_tokenizer(run.model))


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
