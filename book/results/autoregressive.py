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
# # Autoregressive models
#
# Does kernel regression describe the fine-tuning of a model that writes from left to right?
# {cite:t}`malladi2023kernel` say that their theory covers such models, and test none. Here is one:
# SmolLM2-135M-Instruct, about as large as RoBERTa-base, on some of the same tasks and few-shot splits.

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown, display

from tangentlm import figures
from tangentlm.analysis.agreement import gaps, gaps_in_words, paired
from tangentlm.figures import data_link
from tangentlm.malladi.baselines import (
    COLUMNS,
    against_baselines,
    baseline_scores,
    in_words,
    solved_with_less,
)
from tangentlm.report.tables import readable
from tangentlm.studies.collect import (
    read_collected,
    read_collected_table,
    results_folder,
)
from tangentlm.studies.progress import study_progress
from tangentlm.tasks import for_causal_model, list_tasks, load_task

figures.use_style()
STUDY = "real"
MARGIN = 5.0  # points
NAMES = {
    "sgd-unclipped": "SGD",
    "sgd": "SGD, gradients clipped at 1",
    "adam": "Adam",
    "adam-lora": "Adam on LoRA",
}
pairs = paired(STUDY)
usual = pairs[(pairs["prompt"] == "manual") & (pairs["labels"] == "given")]
usual = usual.assign(finetuning=usual["finetuning"].map(NAMES))
judged = gaps(usual, MARGIN)
against = against_baselines(baseline_scores(STUDY))
solved = solved_with_less(against)
if judged.empty:
    display(Markdown("The study *real*: not run."))
else:
    said = [
        f"Kernel regression less fine-tuning with {name} is {told}."
        for name, of_method in judged.groupby("finetuning", sort=False)
        if (told := gaps_in_words(of_method, MARGIN))
    ]
    display(
        Markdown(
            f"**In short.** {len(usual)} fine-tunings stand beside their kernel. On average the model scores "
            f"{usual['zero_shot'].mean():.1f} % as it is, {usual['finetuned'].mean():.1f} % fine-tuned and "
            f"{usual['kernel'].mean():.1f} % by kernel regression. {' '.join(said)} The intervals take in the "
            "splits and the test rows." + (f" {solved}." if solved else "")
        )
    )

# %% mystnb={"figure": {"caption": "Test score of kernel regression over that of fine-tuning on the same few-shot split, with 16 examples of each class. Each point is one split. On the line both are equal."}, "image": {"alt": "Scatter plots, a panel for each method of fine-tuning, a colour for each task, with the diagonal."}} tags=["hide-input"]
if not usual.empty:
    display(
        figures.agreement(
            usual,
            "finetuned",
            "kernel",
            "task",
            panel="finetuning",
            labels=("fine-tuning (%)", "kernel regression (%)"),
        )
    )

# %% tags=["remove-input"]
data_link(usual, "autoregressive-pairs")

# %% [markdown]
# **You will learn** how far the kernel's score is from that of fine-tuning, task by task, with an
# interval; what SGD without gradient clipping does; and what the controls say.
#
# **You need** {doc}`/book/experiments/kernel` and {doc}`/book/experiments/finetune`. Nothing is computed
# on this page: it shows the records of the study *real*, which you make with `make models` and
# `make study STUDY=real`.
#
# ## The model
#
# SmolLM2-135M-Instruct is a causal language model: 30 layers of width 576, grouped-query attention, an
# embedding that is also the decoder. It was trained on two trillion tokens and then tuned to follow
# instructions. Its weights reached us rounded to four bits, so the point at which all kernels here
# are taken is the rounded one. Fine-tuning starts from that very point, in 32-bit floats. It is *not* the model
# of any of the three papers, and it has seen instructions in its training.
#
# ## The prompt
#
# A masked model fills in a word anywhere. A causal one only says what comes next, so its prompt ends
# where the label word would stand, and the logits are read at each row's last token:
# $f_c(\xi) = \langle \phi_c, h_T(\xi) \rangle$ with $\phi_c$ the decoder's row of label word $c$ (with its
# blank). No part of the theory asks where the word is read.
#
# For each group of tasks at most five templates were written down first. The one that stands here had the best
# zero-shot accuracy on the training texts of one split, after each logit's mean over the texts was subtracted (that
# accuracy stands beside it); all that were tried are in `results/data/causal_templates.csv`. Tasks that were added
# later have a template of the same kind, which was not compared with others, and are not in this table.

# %% tags=["hide-input"]
tried = pd.read_csv(results_folder("data") / "causal_templates.csv")
asked = [load_task(name) for name in list_tasks()]
asked = [for_causal_model(task) for task in asked if task.causal is not None]
chosen = tried.set_index(["task", "template"])
asked = [task for task in asked if (task.name, task.template) in chosen.index]
readable(
    pd.DataFrame(
        [
            {
                "task": task.title,
                "prompt": task.template,
                "label words": ", ".join(task.label_words),
                "texts": chosen.loc[(task.name, task.template), "rows"],
                "accuracy (%)": chosen.loc[
                    (task.name, task.template), "calibrated"
                ],
            }
            for task in asked
        ]
    )
)

# %% [markdown]
# ## Task by task
#
# For every task and method: the mean over splits, and the mean difference, the kernel's score less that of
# fine-tuning, with its 95 % interval. It takes in the splits, which are paired, and the test rows, which all
# splits share: where the records do not say which rows each run told rightly, each score counts as if it had rows
# of its own, which makes the interval wider than it need be. *Same* holds where all of the interval lies within
# five points on either side; that margin was set before the runs. SGD has the kernel of its gradients, Adam that
# of their signs (K-SignGD), which its first steps take. LoRA's kernel is that of its gradients, though Adam
# trains it: of signs it has none here, so that row asks for more than the theory says.

# %% tags=["hide-input"]
readable(
    judged.round(1),
    {
        "task": "task",
        "finetuning": "method",
        "splits": "splits",
        "zero_shot": "zero-shot (%)",
        "finetuned": "fine-tuned (%)",
        "kernel": "kernel (%)",
        "gap": "difference",
        "low": "from",
        "high": "to",
        "told_apart": "side",
        "same": "same",
    },
)

# %% [markdown]
# ## Clipped or not
#
# The authors' code clips the gradient's norm at 1, and their paper does not say so. Where the norm is
# above 1 at every step, that is not SGD but normalised gradient descent, whose steps do not shrink when the
# loss does. So "SGD" here is unclipped, and the clipped one is a method of its own.

# %% tags=["hide-input"]
tuned = read_collected(STUDY, "finetune")
if tuned.empty:
    display(Markdown("Not run."))
else:
    tuned = tuned[(tuned["labels"] == "given") & (tuned["prompt"] == "manual")]
    steps = tuned.groupby(["task", "method"], sort=False).agg(
        runs=("run", "count"),
        clipped=("clipped_share", "mean"),
        norm=("gradient_norm", "median"),
        learned=("test_score", "mean"),
        taylor=("linearized_test", "mean"),
    )
    steps["clipped"] *= 100
    display(
        readable(
            steps.reset_index().assign(
                method=lambda rows: rows["method"].map(NAMES)
            ),
            {
                "task": "task",
                "method": "method",
                "runs": "runs",
                "clipped": "steps clipped (%)",
                "norm": "median gradient norm",
                "learned": "fine-tuned (%)",
                "taylor": "its Taylor model (%)",
            },
        )
    )

# %% [markdown]
# ## The rate decides how far it is from the kernel
#
# Kernel regression is what training becomes when the parameters hardly move. A larger rate moves them
# further, and the dev split, which chooses the rate, does not ask whether the Taylor model still holds. So
# this table stands beside the scores: for every rate that was tried the dev score, on how many splits it
# was the best of its grid, and, where it was, the score of the model and of its Taylor model. The
# range of the grid was found on split 13 of SST-2. A grid of two rates has no inside: where a split chooses the larger
# rate, a still larger one might be better. Training rounds the operands of its products to bfloat16, which halves its
# time; nothing that is measured is rounded.

# %% tags=["hide-input"]
grids = read_collected_table(STUDY, "finetune-grid_table")
if grids.empty or tuned.empty:
    display(Markdown("Not run."))
else:
    chosen_rates = tuned[
        [
            "run",
            "task",
            "method",
            "best_learning_rate",
            "test_score",
            "linearized_test",
        ]
    ]
    tries = grids.merge(chosen_rates, on="run")
    is_best = tries["learning_rate"] == tries["best_learning_rate"]
    tries = tries.assign(
        best=is_best,
        model=tries["test_score"].where(is_best),
        taylor=tries["linearized_test"].where(is_best),
    )
    by_rate = tries.groupby(
        ["task", "method", "learning_rate"], sort=False, as_index=False
    ).agg(
        splits=("run", "count"),
        dev=("dev_score", "mean"),
        best=("best", "sum"),
        model=("model", "mean"),
        taylor=("taylor", "mean"),
    )
    display(
        readable(
            by_rate.assign(method=by_rate["method"].map(NAMES)).round(4),
            {
                "task": "task",
                "method": "method",
                "learning_rate": "rate",
                "splits": "splits",
                "dev": "dev (%)",
                "best": "best on",
                "model": "fine-tuned (%)",
                "taylor": "Taylor model (%)",
            },
        )
    )

# %% [markdown]
# (autoregressive-controls)=
# ## What the kernel's score is worth: null baselines
#
# What to see: how far the kernel of all layers is ahead of kernels that know less, on the same splits. A constant
# kernel knows no input, a bag of words no gradient, the embedding's kernel nothing above the words, and those of the
# last layer and of the head (here the embedding, read as decoder) only what is above. A linear probe reads the last
# token; shuffled labels carry nothing. Where a baseline "solves" the task (it reaches 90 % of fine-tuning, the paper's
# rule), the kernel's "solves" says little. Intervals are of 95 %, over splits and test rows, in points.

# %% tags=["hide-input"]
readable(in_words(against), COLUMNS)

# %% tags=["remove-input"]
data_link(against, "autoregressive-baselines")

# %% [markdown]
# ## Limits
#
# One model, of one size, whose weights were rounded to four bits. Five few-shot splits at most, and test sets
# of 500 examples, which alone leave a difference uncertain by some five points. The grids are short:
# two rates for each method, and their range was found on one task. What was not run says so:

# %% tags=["hide-input"]
readable(study_progress([STUDY]))

# %% [markdown]
# ## Exercises
#
# 1. Take one task and its five points in the first figure. Is the kernel's spread over splits that of
#    fine-tuning? What would that say about where the spread comes from?
# 2. Run `tangentlm run kernel task=sst2 model=smollm2 layers=last`. How many of the points are left?
# 3. Why does a clipped step not shrink when the output derivative does?
#
# The model is that of {cite:t}`allal2025smollm2`; the setting is that of {cite:t}`malladi2023kernel`.

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
