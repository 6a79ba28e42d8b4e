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
# # Experiment: natural tasks
#
# Theorem 3.7 of Malladi-v1 ({cite:t}`malladi2022openreview`) rests on one assumption: the task is *natural* for the pre-trained
# model. With a prompt that turns it into something like pre-training, a wider and wider model
# solves it better and better before any fine-tuning, until nothing is left to learn. This page
# measures how far a model is from that on one task, and whether fine-tuning then behaves like its
# kernel. Every run executes this very page with other parameters.
#
# **You will learn** what the output derivative says of a task, why its mean is not enough, and what
# it has to do with linearization and fixed features.
#
# **Before you start**: the experiments on kernel regression and on fine-tuning.
#
# ## Parameters
#
# `prompt` says how the task is asked: `manual` is the paper's prompt, `null` has the mask after the
# text and nothing else, `unrelated` has label words that mean nothing for the task.

# %% tags=["parameters"]
task = "reviews"  # a task of params/tasks
model = "pocket"  # a model of params/models, run:<study>/<run>, or a folder
head = "prompt"  # prompt: label words at the mask
pooling = None  # what a linear layer reads: first, mean or last token
prompt = "manual"  # manual, null, unrelated, searched, searched-once or published
labels = "given"  # shuffled: a control that can learn nothing of the task
k = 16  # examples a class, for train and again for dev
seed = 13  # the split, and every random choice of the training
test_size = 1000  # at most so many test examples
optimizer = "sgd"  # sgd or adam
clip = 1.0  # the largest norm of a gradient; None: any
trajectory_samples = 4  # test samples on which every evaluation is measured
grid = "quick"  # fine-tuning and kernel regression, from params/grids
device = "auto"  # auto, cpu or cuda
data = None  # a data folder; the variable TANGENTLM_DATA otherwise
out = None  # where the record goes

# %%
import pandas as pd

from tangentlm.params import run_from_notebook

run = run_from_notebook("natural_tasks", globals())
pd.Series(run.parameters(), name="value").to_frame()

# %% [markdown]
# ## The task, as it is asked

# %%
import numpy as np

from tangentlm import figures
from tangentlm.models.few_shot import few_shot

figures.use_style()
shots = few_shot(run)
the_task = shots.task
pd.DataFrame(
    {
        "label": [the_task.labels[label] for label in shots.labels[:4]],
        "what the model reads": shots.texts(4),
    }
)

# %% [markdown]
# ## The measures
#
# The output derivative of the cross-entropy is $\chi = \operatorname{softmax}(f) - e_y$ (Definition
# 2.1). Its entry at the true label has the size $1 - p_y$: one minus the probability that the model
# gives to the true label word among the label words. Definition 3.6 asks that it vanish as the width
# grows, *for every downstream example*. So look at the whole distribution, not at the mean alone.

# %%
from tangentlm.finetune.behavior import measure_kernel_behavior
from tangentlm.finetune.search import grid_schedules
from tangentlm.params import load_grid

the_grid = load_grid(run.grid)
schedules = grid_schedules(
    the_grid,
    run.optimizer,
    run.k * the_task.num_classes,
    run.seed,
    clip=run.clip,
)
found = measure_kernel_behavior(
    shots.model,
    shots.part("train"),
    shots.part("dev"),
    shots.part("test"),
    schedules,
    the_grid,
    metric=the_task.metric,
    trajectory_samples=run.trajectory_samples,
)
pd.Series(found.metrics(), name="value").to_frame()

# %% mystnb={"figure": {"caption": "The output derivative of every test example before fine-tuning; at zero the example is solved."}, "image": {"alt": "Histogram of 1 minus the probability of the true label over the test examples."}} tags=["hide-input"]
chi = pd.DataFrame({"chi": found.chi_by_example})
figures.histogram(
    found.chi_by_example,
    "output derivative, 1 - p(true label)",
    np.linspace(0, 1, 21),
)

# %% tags=["remove-input"]
figures.data_link(chi, f"chi-{run.name}")

# %% [markdown]
# ## The record

# %%
from tangentlm.report.notes import cost_note
from tangentlm.studies.records import write_record

network = shots.model
body = getattr(network, "masked_lm", network)
path = write_record(
    run,
    shots.split.facts,
    {
        "test_score": found.finetuned,
        "zero_shot_test": found.zero_shot,
        **found.metrics(),
        "width": body.config.hidden_size,
        "metric": the_task.metric,
        "num_classes": the_task.num_classes,
        "chi_by_example": found.chi_by_example.round(4).tolist(),
    },
)
cost_note(path)

# %% [markdown]
# ## Limits
#
# One model has one width; what happens as the width grows needs a ladder of models that differ in
# nothing else. The probability is taken among the label words alone, as the paper does; a model may
# find all of them unlikely.
#
# ## Exercises
#
# 1. Set `prompt = "null"`. Does the output derivative grow, and does the Taylor model recover less?
# 2. Set `prompt = "unrelated"`. Does fine-tuning still work, and is it still like the kernel?
# 3. Which examples are in the worst tenth? Print them. Is the model wrong, or the label?
#
# ```{admonition} Solutions
# :class: dropdown
#
# 1. Where an answer knows nothing of the label, the mean of $1 - p_y$ over balanced classes is $1 - 1/C$, however sure
#    the model is. So the mean grows only if the manual prompt is well below that. In the book's runs with small models,
#    which are close to guessing, it grows about as often as it falls; whether a model is surely wrong shows in
#    `chi_worst` and in the histogram. To judge the Taylor model, compare `explained_change`: where fine-tuning gains
#    nothing, `linearization_share` is empty.
# 2. Training can attach any two words to the classes, since their logits depend on the text, too. But these logits do
#    not begin near the right answer, so the whole way is left to go. If the theory is right, `linearization_error` and
#    `kernel_distance_frobenius` are larger than with the manual prompt. They need not be where that prompt begins no
#    better; {doc}`/book/results/natural-tasks` compares prompts on many tasks.
# 3. `worst = np.argsort(found.chi_by_example)[::-1][:len(chi) // 10]`. The texts are
#    `shots.texts(len(shots.labels))[shots.parts["test"]]` and the labels `shots.part("test").labels`, in the same
#    order. If all of the worst have one label, the model prefers the other word whatever it reads, and there is nothing
#    special about these examples. If they have both, read them: the labels of the bundled tasks were written by hand
#    for short texts, so suspect the model first.
# ```
