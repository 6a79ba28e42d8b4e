"""The parameters of one run of each experiment, by the experiment's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tangentlm.errors import unknown_name
from tangentlm.params.anticipate_runs import AnticipateRun, LayerTrainingRun
from tangentlm.params.base import Run
from tangentlm.params.condition_runs import ConditionRun
from tangentlm.params.forecast_runs import ForecastRun, ForecastValidationRun
from tangentlm.params.lab_runs import MinilangRun, PretrainRun, ProbeRun
from tangentlm.params.task_runs import FineTuneRun, KernelRun, NaturalTaskRun
from tangentlm.params.two_stage_runs import HeadKernelsRun, TwoStageRun

RUNS: dict[str, type[Run]] = {
    run.experiment: run
    for run in (
        KernelRun,
        FineTuneRun,
        NaturalTaskRun,
        PretrainRun,
        ProbeRun,
        MinilangRun,
        TwoStageRun,
        HeadKernelsRun,
        ConditionRun,
        LayerTrainingRun,
        AnticipateRun,
        ForecastRun,
        ForecastValidationRun,
    )
}
"""The parameter model of every experiment, by the experiment's name."""


def make_run(experiment: str, values: Mapping[str, Any]) -> Run:
    """The validated run of an experiment.

    Args:
        experiment: A name in ``RUNS``.
        values: Its parameters by name.

    Returns:
        The run.

    Raises:
        InputError: If the experiment, a parameter or a name in it is unknown, or a value is
            wrong.
    """
    if experiment not in RUNS:
        raise unknown_name("experiment", experiment, RUNS)
    run = RUNS[experiment].parse(values, f"{experiment} run")
    run.check_names()
    return run


def run_from_notebook(experiment: str, namespace: Mapping[str, Any]) -> Run:
    """The validated run from a notebook whose only variables so far are its parameters.

    Papermill writes whatever it was given into the notebook, misspelt or not, so every plain
    value in the notebook's namespace counts as a parameter.

    Args:
        experiment: A name in ``RUNS``.
        namespace: The notebook's ``globals()``.

    Returns:
        The run.
    """
    plain = (str, int, float, bool, list, tuple, dict, type(None))
    values = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_") and name not in {"In", "Out"} and isinstance(value, plain)
    }
    return make_run(experiment, values)
