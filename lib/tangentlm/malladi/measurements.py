"""Our runs in the words of the papers' tables: one row for every number of a run.

The papers name a method by what is trained and how ("Adam-FT", "K-LoRA-SGD"), a setting ("prompt"
or "standard"), a prompt format and a quantity. A run of ours has several such numbers: a
fine-tuning has its test performance, that of its Taylor model, and how far its kernels moved.
"""

from __future__ import annotations

import math

import pandas as pd

from tangentlm.studies.collect import as_usual, read_collected, read_collected_table
from tangentlm.tasks import list_tasks, load_task

METHOD_NAMES = {
    ("finetune", "sgd"): "SGD-FT",
    ("finetune", "adam"): "Adam-FT",
    ("finetune", "signgd"): "SignGD-FT",
    ("finetune", "sgd-lora"): "SGD-LoRA-FT",
    ("finetune", "adam-lora"): "Adam-LoRA-FT",
    ("finetune", "sgd-lora-head"): "SGD-LoRA-FT",
    ("finetune", "adam-lora-head"): "Adam-LoRA-FT",
    ("kernel", "sgd"): "K-SGD",
    ("kernel", "signgd"): "K-SignGD",
    ("kernel", "asymmetric-signgd"): "K-A-SignGD",
    ("kernel", "sgd-lora"): "K-LoRA-SGD",
    ("kernel", "sgd-lora-head"): "K-LoRA-SGD",
}
"""The papers' names of our methods. The authors' code trains the head beside LoRA's matrices."""
PROMPT_NAMES = {
    "manual": "manual",
    "published": "manual",
    "null": "null",
    "searched-once": "search",
    "searched": "search",
}
"""The papers' names of our prompt formats; ``published`` has the blank of the later version."""
_AS_THE_PAPER = r"-lora-head|-searched-once|-published"
"""In the name of a run: where two of ours have one name in the papers, this is theirs."""
KEYS = ["task", "title", "k", "setting", "prompt", "method", "quantity", "metric", "model"]
"""What two measurements have in common that differ in the split alone."""
_FACTS = ["task", "title", "k", "seed", "setting", "prompt", "model", "run", "experiment", "rows"]
_CORRECT = {
    "test": "correct",
    "linearized": "linearized_correct",
    "zero_shot": "zero_shot_correct",
}
"""Where a record says which test rows were told rightly."""
PERFORMANCE = "performance"
DISTANCE = "relative kernel distance"
DERIVATIVE = "mean output derivative"


def measurements(study: str) -> pd.DataFrame:
    """Every number of a study's kernels and fine-tunings that a table of Malladi has a place for.

    Args:
        study: Its name, e.g. ``"pocket"``.

    Returns:
        A row a number: ``KEYS``, ``seed``, ``value``, ``run`` and ``experiment``; how many test
        ``rows`` there were and, of an accuracy, which of them were told rightly (``correct``, as
        ``right_or_wrong`` writes it), where the record says so. Zero-shot
        numbers have k = 0. Tasks that are scored by F1 have their accuracy, too. Runs on shuffled
        labels are none of the paper's.
    """
    parts = [part for name in ("kernel", "finetune") for part in _of_experiment(study, name)]
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts, ignore_index=True)
    # Every run of a split knows its zero-shot numbers; one of each is enough.
    return table.dropna(subset="value").drop_duplicates([*KEYS, "seed"], ignore_index=True)


def fine_tunings(study: str) -> pd.DataFrame:
    """A study's fine-tunings with the manual prompt and the labels as they are given.

    Args:
        study: Its name.

    Returns:
        The collected runs, with the paper's name of each ``method``; others are left out. Of two
        runs of a split that have one name in the papers it is the one that is done as theirs.
    """
    runs = read_collected(study, "finetune")
    if runs.empty:
        return runs
    runs = as_usual(runs, {"head": "prompt", "prompt": "manual", "labels": "given"})
    names = [METHOD_NAMES.get(("finetune", name), "") for name in runs["method"]]
    runs = runs.assign(method=names)
    runs = _the_paper_s_first(runs[runs["method"] != ""])
    return runs.drop_duplicates(["model", "task", "k", "seed", "method"]).sort_index()


def _the_paper_s_first(runs: pd.DataFrame) -> pd.DataFrame:
    return runs.sort_values(
        "run", key=lambda names: ~names.str.contains(_AS_THE_PAPER), kind="stable"
    )


def _of_experiment(study: str, experiment: str) -> list[pd.DataFrame]:
    runs = read_collected(study, experiment)
    if runs.empty:
        return []
    runs = as_usual(runs, {"labels": "given"})
    titles = {name: load_task(name).title for name in list_tasks()}
    prompt = runs["prompt"] if "prompt" in runs else pd.Series("manual", runs.index)
    runs = runs.assign(
        experiment=experiment,
        rows=runs.get("test", math.nan),
        title=runs["task"].map(titles),
        setting=runs["head"].map({"prompt": "prompt", "linear": "standard"}),
        prompt=prompt.map(PROMPT_NAMES).where(runs["head"] == "prompt", ""),
        paper_method=[METHOD_NAMES.get((experiment, method), "") for method in runs["method"]],
    )
    runs = runs[(runs["paper_method"] != "") & runs["prompt"].notna()]
    runs = _the_paper_s_first(runs)
    name = runs["paper_method"]
    parts = _scores(runs, "test", name)
    prompted = runs[runs["setting"] == "prompt"]
    if experiment == "finetune":
        parts += _scores(runs, "linearized", "linearized " + name)
        return parts + _distances(study, runs)
    zero_shot = prompted.assign(k=0)
    parts += _scores(zero_shot, "zero_shot", "zero-shot")
    if "chi" in runs:
        over = _over_most_rows(zero_shot)
        parts.append(_rows(over, over["chi"], "zero-shot", DERIVATIVE, DERIVATIVE))
    return parts


def _over_most_rows(zero_shot: pd.DataFrame) -> pd.DataFrame:
    """The runs whose output derivative is over all test rows; of other tasks, over those scored."""
    if "chi_rows" not in zero_shot:
        return zero_shot
    over_all = zero_shot["chi_rows"] == "all"
    known = over_all.groupby([zero_shot["model"], zero_shot["task"]]).transform("any")
    chosen = zero_shot[over_all | ~known]
    if "chi_count" not in chosen:
        return chosen
    return chosen.assign(rows=chosen["chi_count"].fillna(chosen["rows"]))


def _rows(
    runs: pd.DataFrame,
    value: pd.Series,
    method: pd.Series | str,
    quantity: str,
    metric: pd.Series | str,
) -> pd.DataFrame:
    facts = runs[_FACTS].assign(method=method, quantity=quantity, metric=metric, correct=None)
    return facts.assign(value=value.astype(float))


def _scores(runs: pd.DataFrame, kind: str, method: pd.Series | str) -> list[pd.DataFrame]:
    """Performance in the task's own metric, and accuracy where that is another."""
    own = {"test": "test_score", "linearized": "linearized_test", "zero_shot": "zero_shot_test"}
    parts = [_rows(runs, runs[own[kind]], method, PERFORMANCE, runs["metric"])]
    if f"{kind}_accuracy" in runs:
        accuracy = _rows(runs, runs[f"{kind}_accuracy"], method, PERFORMANCE, "accuracy")
        parts.append(accuracy[runs["metric"] != "accuracy"])
    right = _CORRECT[kind]
    if right not in runs:
        return parts
    return [part.assign(correct=runs[right].where(part["metric"] == "accuracy")) for part in parts]


def _distances(study: str, runs: pd.DataFrame) -> list[pd.DataFrame]:
    """How far kernels of test samples moved: that of SGD, and for sign methods their formula's."""
    distances = read_collected_table(study, "finetune-distances")
    if distances.empty:
        return []
    distances = distances[distances["samples"] == "test"]  # as Malladi-v1 says
    both = distances.merge(runs, on="run")
    same = both["formula"] == "sgd"
    kernel = same.map({True: " (K-SGD before/after)", False: " (kernel before/after)"})
    return [_rows(both, both["elementwise"], both["paper_method"] + kernel, DISTANCE, DISTANCE)]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, spread and seeds of measurements that differ in the split alone.

    Args:
        table: From ``measurements``.

    Returns:
        ``KEYS``, ``mean``, ``std`` (of a sample; missing for one seed), ``seeds``, their
        ``seed_list`` and ``runs``, ``experiment``, and the number of test ``rows``.
    """
    if table.empty:
        return pd.DataFrame()
    return (
        table.groupby(KEYS, sort=False)
        .agg(
            mean=("value", "mean"),
            std=("value", "std"),
            seeds=("seed", "nunique"),
            runs=("run", " ".join),
            seed_list=("seed", lambda seeds: " ".join(map(str, seeds))),
            experiment=("experiment", "first"),
            rows=("rows", "first"),
        )
        .reset_index()
    )
