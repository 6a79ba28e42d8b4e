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
# # The Kernel View of Fine-Tuning
#
# When is fine-tuning a language model nothing but kernel regression with its empirical neural
# tangent kernel (eNTK)? And what does that tell you before you train? Three papers ask parts of
# this. Below is what our runs say of each so far; every number of ours comes from their records.
#
# **{doc}`Is fine-tuning kernel regression? <results/malladi>`** {cite:t}`malladi2023kernel` say
# that with a prompt it often is.

# %% tags=["hide-input"]
from IPython.display import Markdown

from tangentlm import figures
from tangentlm.analysis.agreement import gaps, gaps_in_words, paired
from tangentlm.malladi.baselines import (
    against_baselines,
    baseline_scores,
    solved_with_less,
)
from tangentlm.malladi.learned import learned_settings
from tangentlm.malladi.measurements import measurements
from tangentlm.malladi.overview import OURS, kernel_over_tuning
from tangentlm.malladi.words import gap_in_words

figures.use_style()
learned = learned_settings("pocket")
found = f"{gap_in_words(measurements('pocket'), learned)}."
against = against_baselines(baseline_scores("pocket"))
if solved := solved_with_less(against, learned):
    found += f" {solved.partition(':')[0]}."  # which ones is said on its page
larger = paired("real").query(
    "finetuning == 'sgd-unclipped' and prompt == 'manual' and labels == 'given'"
)
of_larger = gaps_in_words(gaps(larger, margin=5.0), margin=5.0)
if of_larger:
    found += (
        " With SmolLM2, a causal model of 135 million parameters, kernel regression less SGD fine-tuning "
        f"is {of_larger}."
    )
Markdown(found)

# %% [markdown]
# **{doc}`Are features spared if the linear head is fitted first? <results/tomihari>`**
# {cite:t}`tomihari2024understanding` say that fine-tuning from a fitted head (LP-FT) moves features
# less than fine-tuning from a random one (FT), and that the norm of the fitted head is one of the
# reasons.

# %% tags=["hide-input"]
from tangentlm.tomihari.claims import judge_claims
from tangentlm.tomihari.evidence import Evidence
from tangentlm.tomihari.shares import change_shares
from tangentlm.tomihari.words import in_short

Markdown(
    in_short(judge_claims("two-stage"), change_shares(Evidence.of("two-stage")))
)

# %% [markdown]
# **{doc}`Which layers should LoRA adapt, and can one know before? <results/anticipate>`**
# {cite:t}`afzal2024spectrum` say that the condition number of the kernel tells.

# %% tags=["hide-input"]
from tangentlm.anticipate.cells import task_cells
from tangentlm.anticipate.comparing import compare
from tangentlm.anticipate.outcomes import STUDY, choices, main_rate
from tangentlm.anticipate.predictors import PREDICTORS
from tangentlm.anticipate.words import answer
from tangentlm.studies.progress import study_progress

table = main_rate(choices())
names = [name for name in PREDICTORS if name in table]
cells = task_cells(table, names)
progress = study_progress([STUDY])
done, runs = int(progress["done"].sum()), int(progress["runs"].sum())
equal, every = (compare(cells, names, within=within) for within in (True, False))
Markdown(answer(equal, every, done, runs))

# %% mystnb={"figure": {"caption": "Kernel regression over SGD fine-tuning, in percent of the test set. On the line both are equal. For our models each point is one task, k and split; for RoBERTa-base it is a mean that the paper prints."}, "image": {"alt": "Scatter plots, a panel for each model, of the score of kernel regression over that of fine-tuning, with the diagonal and baselines that know less."}} tags=["hide-input"]
points = kernel_over_tuning(OURS, {"pocket": learned})
figures.agreement(
    points,
    "tuned",
    "score",
    "what",
    panel="panel",
    labels=("fine-tuning (%)", "kernel or baseline (%)"),
)

# %% tags=["remove-input"]
from tangentlm.report.notes import code_switch

code_switch()

# %% [markdown]
# This book answers with code that you can run. It sets the papers beside our own runs, table by
# table. It says where they hold, where they do not, and where paper and code disagree. Our models
# are smaller than the papers' RoBERTa-base, and each page of results says what was run and what was
# not. SmolLM2 has {doc}`a page of its own <results/autoregressive>`. There is also a lab, in which
# models are pre-trained from scratch, down to a language whose truth is known.
#
# ::::{grid} 1 2 2 2
# :gutter: 3
#
# :::{grid-item-card} You want the results
# :link: results/malladi
# :link-type: doc
# Twelve claims of Malladi et al., the paper's numbers beside ours, and how sure one can be. Every
# number has its spread, its seeds and a link to its runs.
# :::
#
# :::{grid-item-card} You train a classifier
# :link: results/tomihari
# :link-type: doc
# Tomihari and Sato: does fine-tuning move the features less when the linear head is fitted first?
# Is it the learning rate, the norm of the head, or its direction?
# :::
#
# :::{grid-item-card} You have texts and labels of your own
# :link: results/forecast
# :link-type: doc
# One command, `tangentlm forecast`, reads your texts and labels and says what to expect before any
# training. This page shows how far to trust it.
# :::
#
# :::{grid-item-card} You know the condition number
# :link: results/afzal
# :link-type: doc
# Rahimi Afzal et al.: can the condition number of the kernel tell before training how it will end?
# :::
#
# :::{grid-item-card} You want to understand
# :link: theory/kernel-behavior
# :link-type: doc
# Start with *When is fine-tuning kernel regression?* Four definitions, each checked with numbers
# on a real model.
# :::
#
# :::{grid-item-card} You want to know why
# :link: results/minilang
# :link-type: doc
# A language in which one thing can be changed at a time: whether pre-training contained the prompt.
# :::
#
# :::{grid-item-card} You want the assumption tested
# :link: results/natural-tasks
# :link-type: doc
# Does the output derivative vanish as models grow wider? Models that differ in width alone.
# :::
#
# :::{grid-item-card} You want to run it
# :link: experiments/kernel
# :link-type: doc
# The experiment chapters are the code of every run. Give them your own task with papermill.
# :::
#
# :::{grid-item-card} You want to check a number
# :link: runs
# :link-type: doc
# Every run with its parameters, seconds, device and versions. The executed notebooks are pages.
# :::
# ::::
#
# ## How the book works
#
# - **The chapter is the code.** Each experiment chapter is the notebook that papermill executes for
#   every run of a study, with other parameters.
# - **Numbers come from records.** A run ends by writing its record. Tables and figures are made of
#   records and of nothing else.
# - **Small default, real thing.** `make book` runs the *quick* study in minutes on a laptop, offline.
#   The *paper* study is the same code with RoBERTa-base and the full grids, for a GPU.
#
# ## One sentence of theory
#
# If training moves the parameters $\theta$ so little that the model stays on its tangent at the
# pre-trained $\theta_0$, then what it learns from examples $\xi_i$ is a weighted sum of
#
# $$\mathcal{K}(\xi, \xi_i) = \langle \nabla_\theta f(\xi; \theta_0), \nabla_\theta f(\xi_i; \theta_0) \rangle ,$$
#
# and that is kernel regression. The rest of the book asks whether it is so.
