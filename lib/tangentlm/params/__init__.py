"""Typed, validated parameters of every experiment and study.

Papermill accepts misspelt parameters with a warning and YAML 1.1 reads ``1e-5`` as text. So
every experiment hands its parameters to a model of this package first: unknown names are refused
with the nearest known one, and numbers are numbers before anything is computed.
"""

from tangentlm.params.anticipate_runs import AnticipateRun, Choices, LayersRun, LayerTrainingRun
from tangentlm.params.base import RUN_PREFIX, ModelRun, Run, TaskModelRun
from tangentlm.params.condition_runs import ConditionRun
from tangentlm.params.files import named_file, names, project_root, read_yaml
from tangentlm.params.forecast_runs import ForecastRun, ForecastValidationRun
from tangentlm.params.grids import Grid, load_grid
from tangentlm.params.lab_runs import MinilangRun, PretrainRun, ProbeRun, RecipeRun
from tangentlm.params.outcome_runs import ForecastOutcomeRun, OutcomeRun, SetFitRun
from tangentlm.params.recipes import Parametrization, Recipe, load_recipe
from tangentlm.params.runs import RUNS, make_run, run_from_notebook
from tangentlm.params.strict import PositiveRate, Strict, digest, file_digest
from tangentlm.params.studies import BOOK_STUDIES, list_studies, load_study
from tangentlm.params.task_runs import (
    Adaptation,
    FineTuneRun,
    KernelRun,
    NaturalTaskRun,
    Optimizer,
    Prompt,
    TaskRun,
    TrainingPrecision,
    method_name,
)
from tangentlm.params.two_stage_runs import (
    HeadKernelsRun,
    TwoStageRun,
    WholeTaskRun,
    scaled_start,
)

__all__ = [
    "BOOK_STUDIES",
    "RUNS",
    "RUN_PREFIX",
    "Adaptation",
    "AnticipateRun",
    "Choices",
    "ConditionRun",
    "FineTuneRun",
    "ForecastOutcomeRun",
    "ForecastRun",
    "ForecastValidationRun",
    "Grid",
    "HeadKernelsRun",
    "KernelRun",
    "LayerTrainingRun",
    "LayersRun",
    "MinilangRun",
    "ModelRun",
    "NaturalTaskRun",
    "Optimizer",
    "OutcomeRun",
    "Parametrization",
    "PositiveRate",
    "PretrainRun",
    "ProbeRun",
    "Prompt",
    "Recipe",
    "RecipeRun",
    "Run",
    "SetFitRun",
    "Strict",
    "TaskModelRun",
    "TaskRun",
    "TrainingPrecision",
    "TwoStageRun",
    "WholeTaskRun",
    "digest",
    "file_digest",
    "list_studies",
    "load_grid",
    "load_recipe",
    "load_study",
    "make_run",
    "method_name",
    "named_file",
    "names",
    "project_root",
    "read_yaml",
    "run_from_notebook",
    "scaled_start",
]
