"""Our runs in the words of the paper: its data sets, its methods, and which rate stands for which.

The paper tunes the rate of every method and prints one number each. Ours are FT at 5e-5, and LP-FT
at the rate that is to ours as the paper's LP-FT is to its FT (Table 6): a tenth on CB and Amazon,
the same on SST-2 and RTE. LP-FT at FT's own rate is the control that the paper lacks.
"""

from __future__ import annotations

import functools
import math

import pandas as pd

from tangentlm.params import project_root
from tangentlm.studies.collect import read_collected, read_collected_table

DATASETS = {
    "cb": "CB", "rte": "RTE", "sst2": "SST-2", "mrpc": "MRPC", "cola": "CoLA", "amazon": "Amazon",
}  # fmt: skip
"""The paper's names of the tasks that the studies train on."""
SHIFTED = {"dynasent": "Dynasent", "semeval2016": "SemEval", "sst5_3way": "SST-5"}
"""Its names of the sets that models trained on Amazon are tested on, too."""
METHODS = {"ft": "FT", "lp-ft": "LP-FT", "lora": "LoRA", "lp-lora": "LP-LoRA"}
PAPER_MODEL = "roberta-base"
PAPER_SEEDS = 5
"""Behind the paper's means and standard deviations."""
FT_RATE, LORA_RATE = 5e-5, 1e-3
"""Our rates, one for all data sets; that of LoRA was chosen on validation."""
MAIN, AT_FT_RATE, AT_TENTH = "main", "at_ft_rate", "at_tenth"
"""Columns of runs: is it one of the paper's tables, and has it the rate of FT, or a tenth of it?"""


def reported(name: str = "tomihari") -> pd.DataFrame:
    """The numbers that the paper prints.

    Args:
        name: A file of ``results/reported``.

    Returns:
        One row a number: ``table``, ``dataset``, ``method``, ``kernel``, ``quantity``, ``mean`` and
        ``std`` (missing where it prints none).
    """
    path = project_root() / "results" / "reported" / f"{name}.csv"
    table = pd.read_csv(path, keep_default_na=False)
    for column in {"mean", "std"} & set(table):
        table[column] = pd.to_numeric(table[column], errors="coerce")
    return table


def rate_of(task: str, method: str, model: str = "minilm") -> float:
    """The rate at which a run stands for the paper's.

    Example:
        >>> rate_of("cb", "LP-FT"), rate_of("sst2", "LP-FT")
        (5e-06, 5e-05)

    Args:
        task: Our name of the task.
        method: The paper's name of the method.
        model: Our name of the model; the paper's own has the paper's rates.

    Returns:
        The learning rate.
    """
    rates = reported("tomihari_table6_hyperparameters").set_index(["dataset", "method"])
    paper = rates["learning_rate"].astype(float)
    if model == PAPER_MODEL:
        return float(paper[task, method])
    if "LoRA" in method:
        return LORA_RATE
    return float(f"{FT_RATE * paper[task, method] / paper[task, 'FT']:.3g}")


def runs(study: str) -> pd.DataFrame:
    """The fine-tunings of a study.

    Args:
        study: Its name.

    Returns:
        Its collected rows with ``dataset``, ``name`` (the paper's name of the method, or that of
        the start), and whether the rate is the ``main`` one, whether rate and batches are those of
        FT (``at_ft_rate``) and whether the rate is a tenth of that (``at_tenth``); none where
        nothing was run.
    """
    table = read_collected(study, "two_stage")
    if table.empty:
        return table
    known = table[table["task"].isin(DATASETS)]
    named = known.assign(
        dataset=known["task"].map(DATASETS),
        name=[METHODS.get(method, method) for method in known["method"]],
    )
    paper_rate = functools.cache(rate_of)  # it reads a table, and runs are many
    facts = list(named[["task", "model", "name", "learning_rate"]].itertuples(index=False))
    of_ft = [rate / paper_rate(task, "FT", model) for task, model, _, rate in facts]
    # With other batches there are other steps: at one rate that is not the same training.
    batches = named["batch_size"].where(named["name"] == "FT")
    of_ft_batch = batches.groupby([named["task"], named["model"]]).transform("first")
    alike = named["batch_size"] == of_ft_batch.fillna(named["batch_size"])
    return named.assign(
        main=[
            name in METHODS.values() and rate == paper_rate(task, name, model)
            for task, model, name, rate in facts
        ],
        at_ft_rate=[ratio == 1 and same for ratio, same in zip(of_ft, alike, strict=True)],
        at_tenth=[math.isclose(ratio, 0.1) for ratio in of_ft],
    )


def measured(study: str) -> pd.DataFrame:
    """What was measured of features and answers, a row for each run, set of samples and stage.

    Args:
        study: Its name.

    Returns:
        The collected table with ``task``, ``seed``, ``name``, ``start``, ``main``, ``at_ft_rate``,
        ``at_tenth`` and ``dataset``, the paper's name of the test set.
    """
    return _with_facts(study, "measured")


def calibrations(study: str) -> pd.DataFrame:
    """The calibration errors, a row for each run, test set, stage and kind.

    Args:
        study: Its name.

    Returns:
        As ``measured``.
    """
    return _with_facts(study, "calibration")


def traces(study: str) -> pd.DataFrame:
    """What was looked at after every epoch.

    Args:
        study: Its name.

    Returns:
        As ``measured``, with the data set of the training.
    """
    return _with_facts(study, "trace")


def _with_facts(study: str, table: str) -> pd.DataFrame:
    rows, of_runs = read_collected_table(study, f"two_stage-{table}"), runs(study)
    if rows.empty or of_runs.empty:
        return pd.DataFrame()
    facts = of_runs[["run", "task", "seed", "dataset", "name", "start", MAIN, AT_FT_RATE, AT_TENTH]]
    both = rows.merge(facts, on="run")
    if "samples" in both:
        both["dataset"] = both["samples"].map(SHIFTED).fillna(both["dataset"])
    return both


def kernels(study: str, table: str) -> pd.DataFrame:
    """A table inside the records of the kernels.

    Args:
        study: Its name.
        table: ``"kernels"``, ``"ft_ratios"``, ``"lora"``, ``"spectra"``, ``"class_maps"`` or
            ``"iterations"``.

    Returns:
        Its rows with ``task``, ``seed``, ``dataset`` and ``size``, the number NC of the kernel's
        rows.
    """
    rows = read_collected_table(study, f"head_kernels-{table}")
    of_runs = read_collected(study, "head_kernels")
    if rows.empty or of_runs.empty:
        return pd.DataFrame()
    facts = of_runs[["run", "task", "seed", "probe_norm"]].assign(
        dataset=of_runs["task"].map(DATASETS), size=of_runs["train"] * of_runs["num_classes"]
    )
    return rows.merge(facts, on="run")
