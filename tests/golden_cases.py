"""What the golden numbers are of: tiny runs of each experiment, and each formula of the engine.

An experiment's template is executed cell by cell in this process, as papermill would execute it.
Two things are settled that a run leaves to its machine: everything is computed on the CPU, and
pre-training multiplies in float32 (a run does so in bfloat16 where the processor has instructions
for it, see ``tangentlm.pretrain.loop.has_bfloat16``, and then differs in the third digit).
"""

from __future__ import annotations

import contextlib
import inspect
import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import jupytext
import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from torch import nn

import small_models
import tangentlm
from tangentlm import kernels
from tangentlm.models.heads import LinearHeadModel
from tangentlm.params import RUNS, Run, make_run
from tangentlm.pretrain import loop
from tangentlm.studies.execution import template
from tangentlm.studies.identity import identity
from tangentlm.studies.records import read_record

Numbers = dict[str, list[float]]
"""Numbers and arrays by name, each as a flat list."""


@dataclass(frozen=True)
class Version:
    """A version that is raised by hand: what it is called, what it is now, and in which file."""

    name: str
    value: int
    file: str

    @classmethod
    def of(cls, owner: Any, name: str, said: str) -> Version:
        """The version that is an attribute of a class or module of the library."""
        path = Path(str(inspect.getsourcefile(owner))).relative_to(
            Path(tangentlm.__file__).parents[1]
        )
        return cls(said, getattr(owner, name), f"lib/{path.as_posix()}")


class Case(Protocol):
    """Something whose numbers are golden.

    Attributes:
        file: The stem of its file in ``tests/golden``.
        name: Its name in that file.
    """

    file: str
    name: str

    @property
    def versions(self) -> list[Version]:
        """The versions that it depends on, its own first."""

    def identity(self) -> dict[str, Any]:
        """What decides its numbers; while that is the same, so are they."""

    def numbers(self, folder: Path) -> Numbers:
        """Compute its numbers; the folder is empty, for what is written on the way."""


def _engine() -> Version:
    return Version.of(kernels, "VERSION", "VERSION")


@dataclass(frozen=True)
class RunCase:
    """A tiny run of an experiment; its numbers are those of its record.

    Attributes:
        file: The experiment.
        name: A short name.
        values: The run's parameters.
        more: Tables that the template has computed and not recorded, by the variable's name.
        without: Values, or columns of tables, that are left out: a change of the last digits could
            make them jump.
    """

    file: str
    name: str
    values: Mapping[str, Any]
    more: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def run(self) -> Run:
        """The run."""
        return make_run(self.file, {"device": "cpu", **self.values})

    @property
    def versions(self) -> list[Version]:
        """The experiment's, and the engine's where it computes kernels."""
        kind = RUNS[self.file]
        own = Version.of(kind, "version", f"`version` of {kind.__name__}")
        return [own, _engine()] if kind.computes_kernels else [own]

    def identity(self) -> dict[str, Any]:
        """The run's identity, as its record would have it."""
        return asdict(identity(self.run))

    def numbers(self, folder: Path) -> Numbers:
        """Execute the template and read the record."""
        variables = _executed(self.run, folder)
        record = read_record(folder)
        assert record is not None
        found = dict(record["metrics"])
        found |= {name: variables[name] for name in self.more}
        if (folder / "arrays.npz").is_file():
            found |= np.load(folder / "arrays.npz")
        return {
            name: numbers
            for name, numbers in flat(found)
            if not name.endswith("seconds") and not {name, name.split(".")[0]} & set(self.without)
        }


def _executed(run: Run, folder: Path) -> dict[str, Any]:
    """Execute the template of a run, and give what its variables hold at the end."""
    parameters = run.model_dump(mode="json", exclude_defaults=True) | {"out": str(folder)}
    cells = jupytext.read(template(run.experiment)).cells
    first, *rest = [cell.source for cell in cells if cell.cell_type == "code"]
    variables: dict[str, Any] = {"__name__": "golden"}
    with (
        mock.patch.object(loop, "has_bfloat16", return_value=False),
        mpl.rc_context({"backend": "agg"}),
        pd.option_context("display.max_colwidth", None),
        torch.random.fork_rng(devices=[]),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        exec(first, variables)
        variables |= parameters
        for source in rest:
            exec(source, variables)
    return variables


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, list[float]]]:
    """The numbers in a record, each array and each column of a table as one list; no texts."""
    for key, value in values.items():
        name = prefix + key
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = pd.DataFrame(value)
        if isinstance(value, pd.DataFrame):
            value = {str(column): value[column].to_numpy() for column in value}
        if isinstance(value, Mapping):
            yield from flat(value, f"{name}.")
            continue
        array = np.asarray(value)
        if array.dtype.kind in "iuf" and np.isfinite(array).any():
            yield name, array[np.isfinite(array)].astype(float).tolist()


@dataclass(frozen=True)
class EngineCase:
    """A formula of the engine.

    Attributes:
        name: Its name.
        compute: Gives its numbers.
        file: The engine's file.
    """

    name: str
    compute: Callable[[], Mapping[str, Any]]
    file: str = "engine"

    @property
    def versions(self) -> list[Version]:
        """The engine's."""
        return [_engine()]

    def identity(self) -> dict[str, Any]:
        """The engine's version: nothing else decides."""
        return {"engine": kernels.VERSION}

    def numbers(self, _folder: Path) -> Numbers:
        """Compute the formula."""
        return dict(flat(self.compute()))


ROWS = small_models.prompt_batch()
COLUMNS = small_models.prompt_batch((6, 8, 5), seed=2)


def drawn(model: nn.Module) -> nn.Module:
    """Parameters drawn by name, so that no library's way to start a model counts."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            draw = np.random.RandomState(zlib.crc32(name.encode())).standard_normal
            mean = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            parameter.copy_(mean + 0.2 * torch.from_numpy(draw(tuple(parameter.shape))))
    return model.eval()


def _formula(formula: str) -> dict[str, Any]:
    """All kinds of outputs between rows and columns, and each parameter's part of one trace.

    A sign of a gradient that is nearly zero is another one on another processor; in float64 there
    is none so small.
    """
    model = drawn(small_models.prompt_model("roberta"))
    options = {"formula": formula, "precision": "float32" if formula == "sgd" else "float64"}
    found = {
        outputs: kernels.entk(
            model, ROWS, COLUMNS, outputs=outputs, progress=False, **options
        ).values
        for outputs in ("full", "difference", "trace", "diagonal")
    }
    parts = kernels.entk(model, ROWS, by="parameter", progress=False, **options)
    return {
        **found,
        "symmetric": parts.values,
        # The gradient of a key's bias is zero, so that its trace is nothing but round-off.
        "trace of": {
            name: np.einsum("icic", part)
            for name, part in parts.groups.items()
            if not name.endswith("key.bias")
        },
    }


def _lora() -> dict[str, Any]:
    model = drawn(small_models.prompt_model("roberta"))
    A = kernels.draw_lora(model, ["query", "value"], rank=2, seed=0)
    kernel = kernels.lora_entk_at_init(model, ROWS, COLUMNS, A=A, alpha=3.0, progress=False)
    return {"A": torch.cat([matrix.ravel() for matrix in A.values()]), "full": kernel.values}


def _intrinsic_dimension() -> dict[str, Any]:
    model = drawn(small_models.prompt_model("roberta"))
    options: dict[str, Any] = {"dimension": 16, "seed": 0, "progress": False}
    return {
        "projected gradients": kernels.project_gradients(model, ROWS, **options)[0],
        "full": kernels.intrinsic_dimension_entk(model, ROWS, COLUMNS, **options).values,
    }


def _decomposition() -> dict[str, Any]:
    model = drawn(LinearHeadModel(small_models.masked_lm("roberta"), 3))
    rows, columns = (
        {name: batch[name] for name in ("input_ids", "attention_mask")} for batch in (ROWS, COLUMNS)
    )
    found = kernels.decompose(model, rows, columns, progress=False)
    residual = np.linspace(-1, 1, 9).reshape(3, 3)
    return {
        "P": found.pretrain.values,
        "F": found.finetune.values,
        "FT ratio": found.ft_ratio(residual),
        "trace norms": kernels.trace_norms(found.finetune),
        "features": kernels.feature_entk(model, rows, columns, progress=False).values,
    }


_SMALL = {"task": "reviews", "model": "pocket-xs", "k": 2, "test_size": 10}
_LAYERS = {
    "task": "reviews", "model": "pocket-xs", "train_size": 8, "test_size": 10, "steps": 8,
    "batch_size": 4,
}  # fmt: skip
_TWO_STAGES = {
    "task": "topics", "model": "pocket-xs", "train_size": 24, "dev_size": 8, "test_size": 10,
}  # fmt: skip
_KNOWN = {"task": "reviews", "model": "pocket-xs", "train_size": 12, "test_size": 10}
# Shares of few samples and orders of pairs jump; a smallest eigenvalue near zero is round-off.
_JUMPS = (
    "probe_last", "probe_mean", "knn_last", "knn_mean", "parc_last", "parc_mean", "nce",
    "predictors.kappa", "predictors.loo_accuracy",
)  # fmt: skip
CASES: tuple[Case, ...] = (
    EngineCase("sgd", lambda: _formula("sgd")),
    EngineCase("signgd", lambda: _formula("signgd")),
    EngineCase("asymmetric-signgd", lambda: _formula("asymmetric-signgd")),
    EngineCase("lora", _lora),
    EngineCase("intrinsic-dimension", _intrinsic_dimension),
    EngineCase("decomposition", _decomposition),
    RunCase("kernel", "sgd", {**_SMALL, "grid": "malladi"}, ("grid_table",)),
    RunCase("kernel", "asymmetric", {**_SMALL, "formula": "asymmetric-signgd"}, ("grid_table",)),
    RunCase(
        "kernel", "three-classes", {**_SMALL, "task": "inference", "solver": "logistic"},
        ("grid_table",),
    ),
    RunCase(
        "kernel", "lora", {**_SMALL, "k": 5, "adaptation": "lora", "solver": "rows-logistic"},
        ("grid_table",),
    ),
    RunCase("finetune", "sgd", {**_SMALL, "trajectory_samples": 0}),
    RunCase("finetune", "adam-lora", {**_SMALL, "optimizer": "adam", "adaptation": "lora"}),
    RunCase(
        "finetune", "signgd-linear",
        {**_SMALL, "optimizer": "signgd", "head": "linear", "learning_rate": 1e-4, "batch_size": 4},
    ),
    RunCase(
        "finetune", "lora-head-watched",
        {
            **_SMALL, "adaptation": "lora", "train_head": True, "clip": None,
            "learning_rate": 1e-3, "batch_size": 4, "trajectory_samples": 2,
        },
    ),
    RunCase("natural_tasks", "sgd", {**_SMALL, "clip": None}),
    RunCase(
        "natural_tasks", "clipped-unwatched", {**_SMALL, "clip": 1.0, "trajectory_samples": 0}
    ),
    RunCase(
        "condition", "keys",
        {"task": "reviews", "model": "pocket-xs", "pool": 6, "samples": 4, "heads": 2, "draws": 2},
    ),
    RunCase(
        "condition", "live",
        {
            "task": "reviews", "model": "pocket-xs", "pool": 5, "samples": 4, "heads": 2,
            "draws": 2, "pads": "twice-embedded", "max_length": 60, "dropout": 0.1,
        },
    ),
    RunCase(
        "layer_training", "prompt",
        {**_LAYERS, "choices": "threes"},
    ),
    RunCase(
        "layer_training", "classification",
        {**_LAYERS, "choices": "all", "head": "classification", "learning_rate": 1e-3},
    ),
    RunCase("anticipate", "prompt", {**_KNOWN, "choices": "threes"}, without=_JUMPS),
    RunCase(
        "anticipate", "classification", {**_KNOWN, "choices": "all", "head": "classification"},
        without=_JUMPS,
    ),
    RunCase(
        "forecast", "asked",
        {
            "model": "pocket-xs", "most_rows": 32, "test": None, "budget": 60,
            "label_words": ["world", "sports", "business", "tech"],
        },
    ),
    RunCase(
        "forecast_outcome", "prompt",
        {
            "task": "reviews", "model": "pocket-xs", "train_size": 20, "test_size": 30,
            "epochs": 1, "full_rates": [4e-4], "lora_rates": [4e-3],
        },
    ),
    # Few flips and a list that is given or not: one row changes much of these.
    RunCase(
        "forecast_validation", "pocket-xs",
        {
            "task": "reviews", "model": "pocket-xs", "train_size": 80, "test_size": 100,
            "splits": 2, "repeats": 1, "curves": 1, "budget": 0.05, "max_length": 32,
        },
        without=("suspects.listed", "suspects.precision", "suspects.cleanlab_precision"),
    ),
    # What ten steps have taught is decided in the last digits of logits.
    RunCase("pretrain", "standard", {"steps": 10}, without=("held_out_accuracy", "tasks_table")),
    RunCase("probe", "pocket-xs", {"model": "pocket-xs", "k": 4, "test_size": 10}),
    # With fewer samples than features Fisher's ratio is decided by directions of round-off.
    RunCase(
        "two_stage", "lp-ft",
        {**_TWO_STAGES, "epochs": 2, "batch_size": 4, "start": "lp-at-initial-norm"},
        without=("measured.FDR_shrunk", "measured.FDR_pinv", "measured.FDR_cross-fitted"),
    ),
    RunCase(
        "two_stage", "lora",
        {**_TWO_STAGES, "epochs": 1, "start": "random-scaled:2", "adaptation": "lora"},
        without=("measured.FDR_shrunk", "measured.FDR_pinv", "measured.FDR_cross-fitted"),
    ),
    RunCase("head_kernels", "pocket-xs", _TWO_STAGES, without=("kernels.rank", "spectra.value")),
    # The distance by entries is decided by entries near zero; that of the norms stays.
    RunCase(
        "minilang", "trained", {"model": None, "steps": 10, "k": 1, "test_size": 10},
        without=("results.kernel_distance",),
    ),
)  # fmt: skip
