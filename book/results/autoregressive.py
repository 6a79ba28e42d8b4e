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
from tangentlm.malladi.steps import along_the_way
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
plain = usual["finetuning"] == NAMES["sgd-unclipped"]
main = usual[plain] if plain.any() else usual
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
            f"{main['zero_shot'].mean():.1f} % as it is, {main['finetuned'].mean():.1f} % fine-tuned with SGD and "
            f"{main['kernel'].mean():.1f} % by kernel regression. {' '.join(said)} The intervals take in the "
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
# ## Step by step
#
# What to see: single steps are nearly linear, and the gradients still do not stay what they were. Definition D.3 of
# {cite:t}`malladi2022openreview` asks of every step whether it is linear, in units of the largest output derivative
# before training, and of every gradient whether it is what it was (its squared change over its squared size, the
# median over parameters). The largest of all evaluations, on four test rows, mean over splits; SGD that clips nothing
# was run before this was measured.

# %% tags=["hide-input"]
readable(
    along_the_way(STUDY).replace(
        {"method": {"SGD-FT": NAMES["sgd"], "Adam-FT": NAMES["adam"]}}
    ),
    {
        "title": "task",
        "method": "method",
        "splits": "splits",
        "step_change": "change in a step",
        "step_error": "error of its Taylor model",
        "feature_change": "change of the gradients",
    },
)

# %% [markdown]
# (autoregressive-controls)=
# ## What the kernel's score is worth: null baselines
#
# What to see: how far the kernel of all layers is ahead of kernels that know less, on the same splits. A constant
# kernel adds the same to the logits of every text, so it is the model before with another threshold; a bag of words
# has no gradient, the embedding's kernel nothing above the words, and those of the last layer and of the head (here
# the embedding, read as decoder) only what is above. A linear probe reads the last token; shuffled labels carry
# nothing. Where a baseline "solves" the task (it reaches 90 % of fine-tuning, the paper's rule), the kernel's
# "solves" says little. Intervals are of 95 %, over splits and test rows, in points.

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
# ```{exercise}
# :label: ex-autoregressive-spread
#
# Take one task and its five points in the first figure. Is the kernel's spread over splits that of fine-tuning? What
# would that say about where the spread comes from?
# ```
#
# ````{solution} ex-autoregressive-spread
# :class: dropdown
#
# Both have the same rows to train on and the same dev rows to choose with, and fine-tuning has a random order besides,
# which the kernel has not. The test rows are the same for all splits, so they are in neither spread. Compare size and
# direction:
#
# ```python
# both = usual.groupby(["task", "finetuning"])[["finetuned", "kernel"]]
# display(both.std(), both.corr())
# ```
#
# If both spread alike and rise and fall together, the rows of the split make the spread. If fine-tuning spreads more,
# and on its own, its order or its rate does. But five points tell little: two standard deviations have to differ by a
# factor of three or so to be told apart, and a correlation has to be above 0.88 to be told apart from none.
# ````
#
# ```{exercise}
# :label: ex-autoregressive-constant
#
# Regression with a constant kernel moves the logits of every text alike. Which part of the points that the kernel of
# all layers gains over the model before does it gain, too, and what has it learned? Which part have the last layer, the
# head and the embedding?
# ```
#
# ````{solution} ex-autoregressive-constant
# :class: dropdown
#
# Add a cell to this page; a part of 0.5 is half of the kernel's gain:
#
# ```python
# before = against[against["baseline"] == "the model before"]
# start = before.set_index(["title", "k"])["score"].rename("start")
# rows = against.join(start, on=["title", "k"])
# part = (rows["score"] - rows["start"]) / (rows["kernel"] - rows["start"])
# readable(rows[["title", "k", "baseline", "splits"]].assign(part=part.round(2)))
# ```
#
# A constant kernel sees no text, but it is added to the logits of the model before, which saw it. So all that it can
# learn is that the model says a label word too often. Where its part is large, as on SST-2, the model knew much of the
# answer and had the wrong threshold, and what the gradients teach is the lead over the constant kernel alone. Read the
# other baselines like that, too: one that is not ahead of the constant kernel shows nothing beyond a threshold.
# ````
#
# ```{exercise}
# :label: ex-autoregressive-clip
#
# Why does a clipped step not shrink when the output derivative does? When does it begin to?
# ```
#
# ```{solution} ex-autoregressive-clip
# :class: dropdown
#
# The gradient is $\chi\, \partial f / \partial \theta$, averaged over the batch, so it is in proportion to $\chi$. A
# clipped step divides it by its own norm, and what is common to all $\chi$ cancels: the length is the learning rate
# ({prf:ref}`prop-clipped`). It begins to shrink when the norm itself falls below 1. In the table under "Clipped or not"
# a median norm above 1 says that a clip would bind on more than half of the steps of plain SGD, and "steps clipped"
# how often it did where there was one.
# ```
#
# The model is that of {cite:t}`allal2025smollm2`; the setting is that of {cite:t}`malladi2023kernel`.

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
