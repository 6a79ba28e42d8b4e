"""A made-up study ``anticipate``: choices of layers with known worth, and predictors of it."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd

TASKS = ("sst2", "subj", "trec", "mr", "cr", "mpqa", "agnews", "rte")
SEEDS = (13, 21, 42)
RATES = {"pocket": 4e-3, "minilm": 1e-3, "pocket-s": 4e-3}
LAYERS = {"pocket": 4, "pocket-s": 4, "minilm": 6}


def subsets(model, choices):
    """The subsets that a run goes through, the control first."""
    depth = LAYERS[model]
    sizes = {"every": range(1, depth + 1), "threes": [3], "all": [depth]}[choices]
    found = [s for k in sizes for s in itertools.combinations(range(depth), k)]
    return ["none", *("+".join(map(str, s)) for s in found)]


def run_rows(model, choices, task, seed, rng, *, noise=0.3, size_matters=0.6):
    """The outcomes of one run, its predictors by choice, and a probe's accuracy.

    ``alignment`` knows the worth, ``kappa`` the size, the probe the task.
    """
    names = subsets(model, choices)
    sizes = np.array([0 if name == "none" else name.count("+") + 1 for name in names])
    # The worth of a task's choices is the same with every seed.
    fixed = np.random.default_rng([TASKS.index(task), LAYERS[model], len(names)])
    worth = size_matters * sizes + fixed.normal(size=len(names)) - 2.0 * (sizes == 0)
    ease = TASKS.index(task) / 4
    reached = worth + noise * rng.normal(size=len(names))
    outcomes = pd.DataFrame({
        "subset": names, "size": sizes, "parameters": 1000 * sizes, "mean_depth": 0.5,
        "train_loss": np.exp(-0.3 * worth - ease),
        "eval_loss": np.exp(-0.1 * reached - ease),
        "accuracy": np.round(70 + 5 * ease + 2 * reached, 1),
        "mean_train_loss": np.exp(-0.2 * reached - ease),
        "early_train_loss": np.exp(-0.1 * reached - ease) + 0.5,
    })  # fmt: skip
    predictors = pd.DataFrame({
        "subset": names, "kernel": "adapters", "layers": sizes, "parameters": 1000 * sizes,
        "mean_depth": rng.normal(size=len(names)),
        "kappa": np.exp(-sizes + 0.2 * rng.normal(size=len(names))),
        "trace": np.exp(sizes) * (1 + 0.1 * rng.random(len(names))),
        "alignment": worth + 0.1 * rng.normal(size=len(names)) + ease,
        "evidence": rng.normal(size=len(names)),
    })  # fmt: skip
    predictors = predictors[sizes > 0]
    if model == "minilm":  # its head is trained, so it has a kernel of its own
        headed = predictors.assign(kernel="adapters and head", kappa=rng.random(len(predictors)))
        return outcomes, pd.concat([predictors, headed]), 60 + 10 * ease + rng.normal()
    return outcomes[sizes > 0], predictors, 60 + 10 * ease + rng.normal()


def write_study(root: Path, runs, *, study="anticipate", predicted=None, seed=0, **how):
    """Write the collected tables of runs: tuples of model, choices, task, seed and rate.

    ``predicted`` are those of which the predictors were recorded, too; by default all of them.
    """
    rng = np.random.default_rng(seed)
    folder = root / "results" / study
    folder.mkdir(parents=True, exist_ok=True)
    tables = {}
    done = set()
    for model, choices, task, one, rate in runs:
        head = "classification" if model == "minilm" else "prompt"
        name = f"{model}-{task}-s{one}-{choices}"
        about = {
            "study": study, "method": choices, "task": task, "model": model, "head": head,
            "seed": one, "choices": choices, "seconds": 60.0, "device": "none",
            "before": 50.0, "loss_before": 1.0,
        }  # fmt: skip
        outcomes, predictors, probe = run_rows(model, choices, task, one, rng, **how)
        tables.setdefault("layer_training", []).append(
            pd.DataFrame([about | {"run": f"{name}-lr{rate:g}", "learning_rate": rate}])
        )
        tables.setdefault("layer_training-outcomes", []).append(
            outcomes.assign(run=f"{name}-lr{rate:g}")
        )
        if name not in done and (predicted is None or (model, choices, task, one) in predicted):
            tables.setdefault("anticipate", []).append(
                pd.DataFrame([about | {"run": name, "probe_last": probe}])
            )
            tables.setdefault("anticipate-predictors", []).append(predictors.assign(run=name))
            done.add(name)
    for name, parts in tables.items():
        pd.concat(parts).to_csv(folder / f"{name}.csv", index=False)


def runs_of(model, choices, tasks=TASKS, seeds=SEEDS, rate=None):
    """All runs of an arm."""
    return [(model, choices, task, s, rate or RATES[model]) for task in tasks for s in seeds]
