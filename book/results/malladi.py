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
# # Malladi et al.: paper beside ours
#
# Does kernel regression with the eNTK of a pre-trained masked language model match fine-tuning it?
# {cite:t}`malladi2023kernel` say yes for most tasks, with RoBERTa-base. Here are their numbers
# beside ours.
#
# **Read this first.** Our model so far is not RoBERTa-base. It is `pocket`, a masked language model
# of seven million parameters that comes with the book. It knows far less English, so its numbers are
# lower throughout. What can be compared is not the height of the numbers but their order: how far
# is the kernel from fine-tuning *of the same model*? The rows for RoBERTa-base read "not run" until
# someone runs the *paper* study.
#
# **You will learn** which rows of the paper's main table exist for our model, how large the gap
# between kernel and fine-tuning is, and how sure one can be of it.

# %% [markdown]
# ## SST-2, real text
#
# Table 2a of the paper (4a in its first version): test accuracy, mean over five splits, standard
# deviation in brackets. Our splits for k = 16 are those of LM-BFF, for k = 64 our own. The test set
# is the same 872 sentences. The learning-rate grid was cut for two CPU cores: see
# `params/grids/pocket.yaml`. The seeds behind a number of ours link to its runs in
# {doc}`/book/runs`.

# %% tags=["hide-input"]
from IPython.display import Markdown, display

from tangentlm.tables import paper_beside_ours

METHODS = ("zero-shot", "SGD-FT", "K-SGD", "Adam-FT", "K-SignGD", "K-A-SignGD")
paper_beside_ours(
    {"pocket": "ours, pocket", "paper": "ours, RoBERTa-base"},
    ["sst2"],
    [16, 64],
    METHODS,
)

# %% [markdown]
# ## The gap, with its uncertainty
#
# The paper calls a task solved by the kernel where it comes within 10 % of fine-tuning (5 % in the
# first version). The same splits serve both methods, so the gap is paired: one difference a split,
# whose mean and 95 % interval (Student's t) are below.

# %% tags=["hide-input"]
import pandas as pd

from tangentlm.ledger import gap_statement, paired_gaps

gaps = pd.concat(
    [paired_gaps(study) for study in ("pocket", "quick")], ignore_index=True
)
display(
    Markdown(
        "\n".join(f"- {gap_statement(gap)}" for _, gap in gaps.iterrows())
        or "Not run."
    )
)

# %% tags=["hide-input"]
gaps.round(1)

# %% [markdown]
# Mind the difference between "not told apart" and "equal": with few splits the intervals are wide.
#
# ## The bundled tasks
#
# The quick study that `make book` runs: three tasks written for this book, few splits, a test set of
# a hundred examples, an eighth of the paper's training steps at larger learning rates
# (`params/grids/quick.yaml`), so fine-tuning may be cut short where the kernel is not. The paper has no such tasks. Take the
# numbers as a demonstration that everything runs, and the spread seriously.

# %% tags=["hide-input"]
paper_beside_ours(
    {"quick": "ours, pocket"}, ["reviews", "topics", "inference"], [16], METHODS[:4]
)

# %% mystnb={"figure": {"caption": "Zero-shot, fine-tuned and kernel performance on every task that has been run; mean and standard deviation over splits."}, "image": {"alt": "Points with error bars for zero-shot, SGD fine-tuning, kernel regression and Adam fine-tuning on each task."}} tags=["hide-input"]
from tangentlm import figures
from tangentlm.ledger import measured

figures.use_style()
every = pd.concat(
    [measured(study) for study in ("pocket", "quick")], ignore_index=True
)
figures.methods_by_task(every, METHODS[:4])

# %% tags=["remove-input"]
figures.data_link(every.drop(columns="runs"), "methods-by-task")

# %% [markdown]
# ## The ledger
#
# One row for each number of the paper's main tables that the studies so far could answer. Two means
# count as the same where they differ by at most two standard errors of their difference plus the
# rounding of the paper's last digit; with five splits on either side two equal methods pass 19
# times in 20. That was fixed before any run.

# %% tags=["hide-input"]
from tangentlm.ledger import compare
from tangentlm.tables import ledger_table

ledger = compare("pocket")
display(
    Markdown(
        ", ".join(
            f"{count} {verdict}"
            for verdict, count in ledger["verdict"].value_counts().items()
        )
        + "."
    )
)
display(ledger_table(ledger))

# %% [markdown]
# ## Limits
#
# - One model, small; no RoBERTa-base yet. The kernels for SignGD are not there yet: "not run".
# - The spread is over splits, which also change the training's random order; the paper does the same.
# - For k = 16 the dev split that chooses hyperparameters has 32 examples. Much of the spread is that.

# %% tags=["remove-input"]
from tangentlm.records import page_cost_note

page_cost_note()
