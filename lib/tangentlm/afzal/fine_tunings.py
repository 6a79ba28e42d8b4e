"""Our own fine-tunings beside the paper's Table 1: the choices of layers that map onto its own.

They are those of the study ``anticipate``: two models, neither of which is RoBERTa-base, a few
hundred rows, short training. ``STANDS_FOR`` says which of their layers stand for which of the
paper's. No keys were trained.
"""

from __future__ import annotations

import pandas as pd

from tangentlm.studies.collect import read_collected, read_collected_table
from tangentlm.tasks import load_task

STUDY = "anticipate"
STANDS_FOR = {"pocket": ("0", "2", "3"), "minilm": ("0", "3", "5")}
"""The layers that stand for the paper's 0, 5 and 11. ``pocket`` comes first, since all choices of
queries and values were trained; it is asked with a prompt, and no head is trained. MiniLM has the
paper's kind of head, trained from a random start, and was trained with three layers."""
CONTROL = "no layer"
ALL_LAYERS = "q+v, all layers"
MEASURES = ("kappa", "train_loss", "eval_loss", "accuracy", "mean_train_loss")
_PROBLEM = ["model", "head", "task", "title", "num_classes", "seed"]
_ABOUT = ["run", "model", "head", "task", "seed", "choices", "learning_rate", "train_size"]


def every_outcome(study: str = STUDY) -> pd.DataFrame:
    """What every choice of layers reached, at the rate that most runs of an arm have.

    Args:
        study: A study with runs of ``layer_training`` and ``anticipate``.

    Returns:
        A row a problem (``model``, ``head``, ``task``, ``title``, ``num_classes``, ``seed``) and
        ``subset`` of layers (``"none"`` is the control: the head alone, or the model before
        training where no head is trained), with ``train_size``, ``size`` (the number of layers) and
        ``MEASURES``. kappa is that of the adapters' kernel of the rows to train on, missing where
        it was not computed. Empty where nothing was run.
    """
    runs = read_collected(study, "layer_training")
    rows = read_collected_table(study, "layer_training-outcomes")
    if runs.empty or rows.empty:
        return pd.DataFrame()
    arm = runs.groupby(["model", "choices"])["learning_rate"]
    runs = runs[runs["learning_rate"] == arm.transform(lambda rates: rates.mode().iloc[0])]
    asked = runs[runs["head"] == "prompt"]
    before = {"eval_loss": asked["loss_before"], "accuracy": asked["before"]}
    untrained = pd.DataFrame({"run": asked["run"], "subset": "none", "size": 0} | before)
    every = runs[_ABOUT].merge(pd.concat([untrained, rows], ignore_index=True), on="run")
    tasks = {name: load_task(name) for name in every["task"].unique()}
    every = every.assign(
        title=every["task"].map({name: task.title for name, task in tasks.items()}),
        num_classes=every["task"].map({name: task.num_classes for name, task in tasks.items()}),
    )
    every = every.merge(
        known_kappas(study), on=["model", "head", "task", "seed", "subset"], how="left"
    )
    every = every.drop_duplicates([*_PROBLEM, "subset"])
    return every[[*_PROBLEM, "train_size", "subset", "size", *MEASURES]].reset_index(drop=True)


def known_kappas(study: str = STUDY) -> pd.DataFrame:
    """The condition number of the adapters' kernel of the rows to train on, trained or not.

    Args:
        study: As for ``every_outcome``.

    Returns:
        ``model``, ``head``, ``task``, ``seed``, ``subset`` and ``kappa``, a row each.
    """
    keys = ["model", "head", "task", "seed", "subset"]
    runs = read_collected(study, "anticipate")
    rows = read_collected_table(study, "anticipate-predictors")
    if runs.empty or rows.empty:
        return pd.DataFrame(columns=[*keys, "kappa"])
    rows = rows.loc[rows["kernel"] == "adapters", ["run", "subset", "kappa"]]
    return runs[[*keys[:-1], "run"]].merge(rows, on="run").drop_duplicates(keys)[[*keys, "kappa"]]


def in_paper_words(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The choices that stand for the paper's, over seeds.

    Args:
        outcomes: From ``every_outcome``.

    Returns:
        A row a task, model and choice: ``title``, ``num_classes``, ``model``, ``choice`` (the
        paper's words, ``CONTROL`` or ``ALL_LAYERS``), ``subset``, ``size``, ``seeds``,
        ``train_size``, and for each of ``MEASURES`` its mean and the range, ``<measure>``,
        ``<measure>_low`` and ``<measure>_high``.
    """
    if outcomes.empty:
        return pd.DataFrame()
    pairs = zip(outcomes["model"], outcomes["subset"], strict=True)
    named = outcomes.assign(choice=[_choice(str(model), str(subset)) for model, subset in pairs])
    by = named[named["choice"] != ""].groupby(
        ["title", "num_classes", "model", "choice", "subset", "size"], sort=False
    )
    columns = {"seeds": by["seed"].nunique(), "train_size": by["train_size"].first()}
    for measure in MEASURES:
        columns[measure] = by[measure].mean()
        columns[f"{measure}_low"], columns[f"{measure}_high"] = by[measure].min(), by[measure].max()
    return pd.DataFrame(columns).reset_index()


def _choice(model: str, subset: str) -> str:
    """The paper's words for a subset of a model's layers; empty where it has none."""
    if model not in STANDS_FOR:
        return ""
    first, middle, last = STANDS_FOR[model]
    words = {
        "none": CONTROL, first: "q+v {0}", last: "q+v {11}", f"{first}+{last}": "q+v {0,11}",
        f"{first}+{middle}+{last}": "q+v {0,5,11}", "0+1+2+3": ALL_LAYERS,
    }  # fmt: skip
    return words.get(subset, "")


def training_seconds(study: str = STUDY) -> pd.DataFrame:
    """What one fine-tuning took, beside one pass for the kernels of all choices of layers.

    Args:
        study: As for ``every_outcome``.

    Returns:
        A row a run: ``title``, ``model``, ``seed``, ``choices``, ``train_size``,
        ``fine_tuning_seconds`` (of the whole run with its evaluations, over how many choices were
        trained), ``kernel_seconds`` (of all of them together) and their ``ratio``; empty where
        nothing was run.
    """
    keys = ["model", "head", "task", "seed", "choices"]
    trained, known = read_collected(study, "layer_training"), read_collected(study, "anticipate")
    rows = read_collected_table(study, "layer_training-outcomes")
    if trained.empty or known.empty or rows.empty:
        return pd.DataFrame()
    counts = rows.groupby("run").size().rename("count").reset_index()
    both = trained[[*keys, "run", "train_size", "seconds"]].merge(counts, on="run")
    both = both.merge(known[[*keys, "kernel_seconds"]], on=keys)
    both = both.assign(
        title=both["task"].map(lambda name: load_task(name).title),
        fine_tuning_seconds=both["seconds"] / both["count"],
    )
    columns = ["title", "model", "seed", "choices", "train_size", "fine_tuning_seconds"]
    ratio = both["fine_tuning_seconds"] / both["kernel_seconds"]
    return both[[*columns, "kernel_seconds"]].assign(ratio=ratio)
