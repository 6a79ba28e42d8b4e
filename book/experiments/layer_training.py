# ---
# jupyter:
#   jupytext:
#     formats: py:percent,md:myst
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Experiment: fine-tuning of every choice of layers
#
# LoRA can be put on some layers and left off others. {cite:t}`afzal2024spectrum` hope that a number of the kernel
# says before training which choice will do well. To test such a forecast one needs the outcomes. This page trains
# every choice of layers of one model on one task, with the same rows, the same rate and the same number of steps.
# Every run of the experiment executes this very page with other parameters.
#
# **You will learn** how much the choice of layers matters, and how much of that is the number of layers.
#
# **Before you start**: the experiment on few-shot fine-tuning introduces tasks and training.
#
# ## Parameters

# %% tags=["parameters"]
task = "reviews"  # a task of params/tasks
model = "pocket-xs"  # a model of params/models, or a folder
head = "prompt"  # classification: a random head, trained beside the adapters
choices = "every"  # every subset of layers, threes, or all layers alone
train_size = 64  # rows to train on
test_size = 1000  # at most so many other rows of the training part
max_length = None  # longer texts are cut; None: the task's own
rank = 8  # LoRA's r
alpha = 8.0  # LoRA's alpha
optimizer = "adam"  # adam or sgd
learning_rate = 4e-3  # of all choices; it falls linearly to zero
batch_size = 16
steps = 32  # a multiple of 8
clip = 1.0  # the largest norm of a gradient; None: any
seed = 13  # of rows, LoRA's matrices A, the head, batches and dropout
device = "auto"  # auto, cpu or cuda
data = None  # a data folder; the variable TANGENTLM_DATA otherwise
out = None  # where the record goes

# %%
import pandas as pd

from tangentlm.params import run_from_notebook

run = run_from_notebook("layer_training", globals())
pd.Series(run.parameters(), name="value").to_frame()

# %% [markdown]
# ## The rows and the model
#
# LoRA stands on the queries and values of all layers and starts at zero. A choice switches the others off. The
# control chooses no layer: then only the head is trained, or with a prompt nothing at all.

# %%
from tangentlm.anticipate.problem import load_problem

problem = load_problem(run)
subsets = problem.subsets(run.choices)
if run.head == "classification":
    subsets.insert(0, ())
print(f"{problem.depth} layers, {len(subsets)} choices to train")
print(f"{len(problem.train)} rows to train on, {len(problem.test)} to test on")

# %% [markdown]
# ## Training
#
# The losses at the end are those in eval mode. The mean loss of all steps says how fast the training went; the mean
# of the first eighth is what one would know after a short trial.

# %%
from statistics import fmean

from tqdm import tqdm

from tangentlm.anticipate.problem import subset_name
from tangentlm.finetune.loop import Schedule, evaluate, fine_tune

schedule = Schedule(
    run.optimizer,
    run.learning_rate,
    run.batch_size,
    steps=run.steps,
    evaluate_every=run.steps,
    seed=run.seed,
    clip=run.clip,
)
before, loss_before = evaluate(problem.model, problem.test, problem.task.metric)
rows = []
for subset in tqdm(subsets, unit="choice", leave=False):
    with problem.chosen(subset) as network:
        trained = [p.numel() for p in network.parameters() if p.requires_grad]
        tuned = fine_tune(
            network, problem.train, problem.train, schedule, progress=False
        )
        accuracy, eval_loss = evaluate(network, problem.test, "accuracy")
    rows.append(
        {
            "subset": subset_name(subset),
            "size": len(subset),
            "parameters": sum(trained),
            "mean_depth": fmean(subset) if subset else 0.0,
            "train_loss": tuned.dev_loss,
            "eval_loss": eval_loss,
            "accuracy": accuracy,
            "mean_train_loss": fmean(tuned.batch_losses),
            "early_train_loss": fmean(tuned.batch_losses[: run.steps // 8]),
        }
    )
outcomes = pd.DataFrame(rows)
print(f"before training: accuracy {before:.1f} %, loss {loss_before:.3f}")
outcomes.round(3)

# %% mystnb={"figure": {"caption": "Test accuracy and loss of every choice of layers, over the number of layers."}, "image": {"alt": "Points over the number of layers; their spread at one number is as telling as the slope."}} tags=["hide-input"]
from tangentlm import figures

figures.use_style()
figures.spread_lines(
    outcomes.assign(of="choices of layers"),
    "size",
    "eval_loss",
    "of",
    labels=("number of layers", "test loss (nats)"),
)

# %% tags=["remove-input"]
figures.data_link(outcomes, f"outcomes-{run.name}")

# %% [markdown]
# ## The record

# %%
from tangentlm.report.notes import cost_note
from tangentlm.studies.records import write_record

path = write_record(
    run,
    {
        "drawn": "seed",
        "train": len(problem.train),
        "test": len(problem.test),
    },
    {
        "before": before,
        "loss_before": loss_before,
        "best": outcomes["accuracy"].max(),
        "all_layers": outcomes["accuracy"].iloc[-1],
        "outcomes": outcomes,
    },
)
cost_note(path)

# %% [markdown]
# ## Limits
#
# One rate serves all choices, so a choice with few parameters may be trained too little. Rows to test on come from
# the task's training part, since few tasks have a thousand test rows; none of them is trained on.
#
# ## Exercises
#
# 1. Which explains more of the losses here, how many layers are chosen or which?
# 2. Run again with another seed. Is the best choice still the best?
# 3. How much does the best choice of two layers lose against all layers? Is the comparison fair?
#
# ```{admonition} Solutions
# :class: dropdown
#
# 1. Put the mean of each size in place of the losses, and see what part of the variance is left:
#    `by_size = outcomes.groupby("size")["eval_loss"].transform("mean")`, then
#    `by_size.var() / outcomes["eval_loss"].var()`. Of 15 choices in four groups chance alone gives 3/14 in the mean, so
#    only more than that speaks for the number. In the book's runs with `pocket` the share goes from nearly nothing to
#    nearly all, by task and rate.
# 2. Another seed draws other rows, other matrices $A$ and other batches, so it asks whether the choice is good for the
#    task. Write down how far the best choice is ahead of the second, and how far the loss of one choice moves between
#    seeds. Where the second is larger, the best choice will be another one. In the book's runs it is the same for all
#    seeds on TREC and AG News and changes on all other tasks.
# 3. Both rows are in the table: the last one has all layers, and of those with `size` 2 take the smallest `eval_loss`.
#    The comparison favours the pair, since it is the best of six, chosen on the rows it is judged by; all layers had no
#    choice. It can come out in favour of the pair for another reason, too: one rate serves all choices, and where it is
#    high for all layers at once, fewer layers do better. Choose the pair by `train_loss`, or on another seed, and
#    compare again.
# ```
