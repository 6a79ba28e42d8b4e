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
# # Experiment: forecasts put to the test
#
# `tangentlm forecast` says what may be known of a task before any training, from a file of labelled texts, and gives
# an interval with every accuracy. This page plays the user of a task whose answers are known. Again and again it
# labels some rows of a pool, makes a forecast of them, and looks at other rows for what is true. Wrong labels and
# copies are planted and have to be found. Every run of the experiment executes this very page with other parameters.
#
# **You will learn** how often an interval contains what it should, and which wrong labels a kernel finds.
#
# **Before you start**: the experiment that makes a forecast explains what is in one.
#
# ## Parameters

# %% tags=["parameters"]
task = "reviews"  # a task of params/tasks
model = "pocket-xs"  # a model of params/models, or a folder
train_size = 64  # rows that count as labelled; the pool has twice as many
test_size = 1000  # at most so many other rows say what is true
splits = 4  # how often rows of the pool are labelled
repeats = 2  # of cross-validation, in each forecast
curves = 2  # how many forecasts have a learning curve
flipped = 0.1  # the share of labels that are made wrong
budget = 0.1  # minutes of the whole forecast that is timed
max_length = 64  # tokens; longer texts are cut
seed = 13  # of rows, splits, folds, flips and edits
device = "auto"  # a forecast is made on the CPU, whatever is here
data = None  # a data folder; the variable TANGENTLM_DATA otherwise
out = None  # where the record goes

# %%
import pandas as pd

from tangentlm.params import run_from_notebook

run = run_from_notebook("forecast_validation", globals())
pd.Series(run.parameters(), name="value").to_frame()

# %% [markdown]
# ## The pool
#
# Features and one kernel serve all splits. The classes are numbers here, so the model is not asked anything, and the
# kernel is that of two plain words.

# %%
from tangentlm.forecast.trial import load_pool, parts_of

pool = load_pool(run)
parts = parts_of(pool.size, run.train_size, run.splits, run.seed)
print(
    f"{pool.size} rows to label, {len(pool.held_out)} held out, {pool.classes} classes"
)

# %% [markdown]
# ## Accuracies, differences and curves
#
# A forecast sees the labelled rows alone. What is true is what the same way reaches on held-out rows when it has
# learned from all labelled ones. A learning curve is made of a quarter of the pool, and says what the whole pool
# would bring.

# %%
import numpy as np
from tqdm import tqdm

from tangentlm.forecast.trial import (
    held_out_accuracies,
    judged_curve,
    judged_forecast,
)

rows = []
for split, labelled in enumerate(tqdm(parts, unit="split", leave=False)):
    for number in judged_forecast(pool, labelled, run.repeats, run.seed + split):
        rows.append({"split": split, **number})
everything = held_out_accuracies(pool, np.arange(pool.size), run.seed)
quarters = parts_of(pool.size, pool.size // 4, run.curves, run.seed)
for split, labelled in enumerate(quarters):
    for number in judged_curve(
        pool, labelled, run.repeats, run.seed + split, everything
    ):
        rows.append({"split": split, **number})
intervals = pd.DataFrame(rows)
inside = intervals["truth"].between(intervals["low"], intervals["high"])
100 * inside.groupby([intervals["output"], intervals["what"]]).mean().to_frame(
    "covered"
)

# %% [markdown]
# ## Leaving one out, and wrong labels
#
# Kernel regression without a row is exact and needs no refit. Its accuracy on left-out rows stands beside that of
# the same regression on held-out rows. Then some labels are made wrong. The score of suspects is compared with the
# default score of cleanlab, the probability that a probe gives to the label.

# %%
from tangentlm.forecast.planted import judged_suspects

found = [
    {
        "split": split,
        **judged_suspects(pool, labelled, run.flipped, run.seed + split),
    }
    for split, labelled in enumerate(parts)
]
suspects = pd.DataFrame(found)
suspects.mean().to_frame("mean").T.round(3)

# %% [markdown]
# ## Near-duplicates
#
# A copy of every labelled row is planted, with a few edits. Short texts have few shingles, so that one edit is much.

# %%
from tangentlm.forecast.plan import rows_of
from tangentlm.forecast.planted import EDITS, found_copies

labelled = rows_of(pool.texts, parts[0])
draw = np.random.default_rng(run.seed)
copies = pd.DataFrame(
    [
        {"edit": edit, **row}
        for edit in EDITS
        for row in found_copies(labelled, edit, draw)
    ]
)
copies.pivot_table(index="edit", columns="words", values=["planted", "found"])

# %% [markdown]
# ## Time
#
# A forecast times five training steps. Here are twenty real ones. And a whole forecast says how long it will take.

# %%
from tangentlm.forecast.timed import timed_forecast, timed_steps

times = pd.DataFrame(
    [
        *timed_steps(pool, parts[0], run.seed),
        timed_forecast(pool, parts[0], run),
    ]
)
times.round(3)

# %% [markdown]
# ## The record

# %%
from tangentlm.report.notes import cost_note
from tangentlm.studies.records import write_record

path = write_record(
    run,
    {
        "drawn": "seed",
        "pool": pool.size,
        "test": len(pool.held_out),
        "num_classes": pool.classes,
    },
    {
        "covered": 100 * float(inside[intervals["output"] == "score"].mean()),
        "left_out": suspects["left_out"].mean(),
        "held_out": suspects["held_out"].mean(),
        "auroc": suspects["auroc"].mean(),
        "intervals": intervals,
        "suspects": suspects,
        "copies": copies,
        "times": times,
    },
)
cost_note(path)

# %% [markdown]
# ## Limits
#
# Splits are parts of one pool and have held-out rows in common, so they are not independent: only tasks are. What is
# true is itself measured on some rows. Zero-shot answers are left out, since a file with numbers for classes has none.
#
# ## Exercises
#
# 1. Set `repeats = 10`. Do the intervals get narrower, and do they still cover?
# 2. Which edits hide a copy, and from which length of text on do they not?
# 3. Set `flipped = 0.3`. Does the score still find wrong labels, and when is the list held back?
#
# ```{admonition} Solutions
# :class: dropdown
#
# 1. Hardly. More repeats take away the chance of the folds, but the rows stay the same, and their chance is most of the
#    width; an interval of an accuracy is moreover never narrower than Wilson's on as many rows. Those of differences,
#    which have no such floor, may shrink a little. Compare the means of `high - low` in `intervals` and the table of
#    shares covered; with four splits a share moves in steps of a quarter, so only large gaps mean anything.
# 2. Case and punctuation are taken away before texts are compared, so these two edits hide nothing. Two swapped letters
#    change up to six shingles of five characters; with $n$ shingles the similarity is $(n - 6) / (n + 6)$, which
#    reaches the threshold of 0.7 from $n = 34$ on, a text of 38 characters. So short texts lose their copies after a
#    swap or a dropped word, and with all four edits they need to be longer still. In the book's runs nearly every copy
#    with one edit is found from ten words on, and every copy from twenty.
# 3. Wrong labels are also learned from, so the score gets worse, but it should stay above an AUROC of one half as long
#    as right labels are the majority. The list is held back where the lower end of the accuracy on left-out rows is not
#    a quarter of the way from the largest class to 100 %. With two classes of about the same size that is 62.5 %; with
#    30 % of 64 labels flipped, even a regression that knows the truth agrees with only 70 % of them, and Wilson's lower
#    end of that is below the bar. So expect `listed` to be zero here, and more often one with fewer flips or more
#    classes.
# ```
