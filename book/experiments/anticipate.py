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
# # Experiment: what is known before training
#
# Before a model is trained one knows its features, its kernel, the labels of the training rows, and how many
# parameters one is about to train. This page computes every number that anybody has proposed to read a forecast
# from, for one task and one model and for every choice of layers that LoRA may be put on. Nothing is trained here;
# what training makes of the same choices is the business of the experiment on fine-tuning every choice of layers.
# Every run of the experiment executes this very page with other parameters.
#
# **You will learn** how one pass over the rows gives the predictors of all choices of layers, and how many of them
# are the number of layers in disguise.
#
# **Before you start**: the experiment on fine-tuning every choice of layers, whose outcomes these numbers are to
# anticipate.
#
# ## Parameters

# %% tags=["parameters"]
task = "reviews"  # a task of params/tasks
model = "pocket-xs"  # a model of params/models, or a folder
head = "prompt"  # classification: a random head, trained beside the adapters
choices = "every"  # every subset of layers, threes, or all layers alone
train_size = 64  # rows to train on, of which the kernel is
test_size = 1000  # rows to test on, which are drawn and not read
max_length = None  # longer texts are cut; None: the task's own
rank = 8  # LoRA's r
alpha = 8.0  # LoRA's alpha
steps = 128  # of the linearised training
seed = 13  # of rows, LoRA's matrices A and the head
device = "auto"  # auto, cpu or cuda
data = None  # a data folder; the variable TANGENTLM_DATA otherwise
out = None  # where the record goes

# %%
import pandas as pd

from tangentlm.params import run_from_notebook

run = run_from_notebook("anticipate", globals())
pd.Series(run.parameters(), name="value").to_frame()

# %% [markdown]
# ## The rows, the model and the choices

# %%
from tangentlm.anticipate.problem import load_problem
from tangentlm.models.logits import logits_of

problem = load_problem(run)
subsets = problem.subsets(run.choices)
labels = problem.train.labels.numpy()
start = logits_of(problem.model, problem.train.batch).double().numpy()
print(f"{problem.depth} layers, {len(subsets)} choices, {len(labels)} rows")

# %% [markdown]
# ## The kernels of all choices, from one pass
#
# LoRA starts with $B = 0$, and so the kernel of a choice is the sum of the kernels of its layers. A head that is
# trained beside the adapters has a kernel of its own, which is the same for every choice; then all numbers are
# computed without it, as {cite:t}`afzal2024spectrum` do, and with it.

# %%
import time

from tangentlm.afzal.pools import HEAD
from tangentlm.finetune.chosen_lora import kernel_by_layer, of_layers

trains_head = run.head == "classification"
every_layer = problem.names()
started = time.perf_counter()
kernel = kernel_by_layer(
    problem.model,
    problem.train.batch,
    [*every_layer, HEAD] if trains_head else every_layer,
)
kernel_seconds = time.perf_counter() - started
kernels_of = {"adapters": []} | (
    {"adapters and head": [HEAD]} if trains_head else {}
)

# %% [markdown]
# ## The predictors of every choice
#
# All are of the centred kernel $M$ and the targets $T$, the centred one-hot labels less what the model's logits
# already say of them. Ridges are shares of the mean eigenvalue, and each criterion takes its own best. The
# linearised training loss is that after the given number of steps, at the largest rate that is safe for all layers
# together; every choice has the same.

# %%
from tqdm import tqdm

from tangentlm.anticipate.centred import CentredKernel
from tangentlm.anticipate.labels import common_time
from tangentlm.anticipate.predictors import kernel_predictors
from tangentlm.anticipate.problem import subset_name

rows = []
for name, beside in kernels_of.items():
    whole = of_layers(kernel, [*every_layer, *beside])
    duration = common_time(CentredKernel.of(whole, labels, start), run.steps)
    for subset in tqdm(subsets, unit="choice", leave=False):
        with problem.chosen(subset) as network:
            trained = sum(
                p.numel() for p in network.parameters() if p.requires_grad
            )
        found = kernel_predictors(
            of_layers(kernel, [*problem.names(subset), *beside]),
            labels,
            start,
            layers=subset,
            parameters=trained,
            time=duration,
        )
        rows.append({"subset": subset_name(subset), "kernel": name, **found})
predictors = pd.DataFrame(rows)
predictors.set_index(["kernel", "subset"]).T

# %% mystnb={"figure": {"caption": "The leave-one-out error of kernel regression of every choice, over the number of layers."}, "image": {"alt": "Points over the number of layers, a series for each kernel."}} tags=["hide-input"]
from tangentlm import figures

figures.use_style()
figures.spread_lines(
    predictors,
    "layers",
    "loo_error",
    "kernel",
    labels=("number of layers", "leave-one-out error"),
)

# %% tags=["remove-input"]
figures.data_link(predictors, f"predictors-{run.name}")

# %% [markdown]
# ## Predictors that know no layers
#
# These compare tasks and models. They see the features of the last layer, or the mean over layers; and of a masked
# language model the words that it expects at the mask, as if they were the classes of an earlier task.

# %%
from tangentlm.anticipate.predictors import PREDICTORS, feature_predictors
from tangentlm.anticipate.readings import read_features, read_words

words = (
    None if trains_head else read_words(problem.model, problem.train.batch).numpy()
)
of_features = feature_predictors(
    read_features(problem.model, problem.train.batch), labels, words
)
pd.DataFrame(
    [(PREDICTORS[name].label, value) for name, value in of_features.items()],
    columns=["predictor", "value"],
).round(3)

# %% [markdown]
# ## The record

# %%
from tangentlm.report.notes import cost_note
from tangentlm.studies.records import write_record

path = write_record(
    run,
    {"drawn": "seed", "train": len(labels)},
    {
        **of_features,
        "choices_known": len(subsets),
        "kernel_seconds": kernel_seconds,
        "predictors": predictors,
    },
)
cost_note(path)

# %% [markdown]
# ## Limits
#
# The kernel is that before training, and it moves. All numbers but the parameters' are estimates from the training
# rows; another draw of rows gives others. A ridge that is chosen on the rows it is judged by makes a criterion a
# little too good. No test row is read.
#
# ## Exercises
#
# 1. Order the choices by leave-one-out error, and by number of layers. Where do the two orders differ?
# 2. Multiply `alpha` by 10. Which predictors change, and which cannot?
# 3. Shuffle the labels. Which predictors notice?
#
# ```{admonition} Solutions
# :class: dropdown
#
# 1. `predictors.assign(loo=predictors["loo_error"].rank(), size=predictors["layers"].rank(ascending=False))`, sorted by
#    `loo`. Kernels of layers are added up, so a layer with a large kernel decides every sum that it is in: choices with
#    that layer stand together, whatever their number. In the book's runs with `pocket` the order by error has little to
#    do with the number of layers on most tasks, and all layers together are seldom best. If the two orders were the
#    same, the error would be the number of layers in disguise.
# 2. At $B = 0$ the kernel of the adapters has the factor $(\alpha / r)^2$, so it is multiplied by 100. What has the
#    kernel's units follows: `lambda_max`, `trace` and `gradient_norm` by 100, and `kappa` by less, because its $\sigma$
#    is a fixed number. All else about the adapters' kernel counts in shares of its own size and cannot change, nor can
#    the number of parameters and the features, since the model itself is the same. With a head that is trained beside
#    the adapters the two parts get other weights, and then the numbers of their sum change, too.
# 3. Import numpy and put `labels = np.random.default_rng(0).permutation(labels)` after the cell that reads them. All
#    that reads $T$ or the labels changes: `gradient_norm`, `linearised_loss`, `alignment`, `loo_error`, `loo_accuracy`,
#    `gcv`, `evidence` and all of the second table. What knows the eigenvalues or the parameters alone cannot notice:
#    `kappa` in both forms, `lambda_max`, `trace`, `entropy_rank`, `effective_dimension`. So these can at most say how
#    fast a choice learns, not whether there is anything to learn; `loo_accuracy` should fall to guessing.
# ```
