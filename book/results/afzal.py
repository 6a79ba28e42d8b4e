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
# # Rahimi Afzal et al.: paper beside ours
#
# The numbers that {cite:t}`afzal2024spectrum` print do not show that the condition number of a kernel before training
# tells how fine-tuning ends: where only the choice of layers changes, the two go together no better than chance, and
# between their four tasks no order could be told from chance.

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown, display
from itables import init_notebook_mode
from scipy.stats import kendalltau

from tangentlm import figures
from tangentlm.afzal.claims import added_layers, judge_claims
from tangentlm.afzal.evidence import (
    accuracy_ranges,
    own_correlations,
    rank_correlations,
)
from tangentlm.afzal.fine_tunings import (
    every_outcome,
    in_paper_words,
    training_seconds,
)
from tangentlm.afzal.ledger import compare
from tangentlm.afzal.measurements import (
    CHOICES,
    kappas,
    seconds,
    spread_of,
    with_options,
)
from tangentlm.afzal.padding import by_padding, in_order
from tangentlm.afzal.tables import (
    figure_1,
    in_words,
    own_figure_1,
    own_table,
    table_1,
    table_2,
    within_tasks,
)
from tangentlm.analysis.several import ALPHA
from tangentlm.report.tables import folded, readable, searchable

init_notebook_mode(all_interactive=False)  # searchable tables, without a network
figures.use_style()
measured = kappas()
ledger = compare()
own = in_paper_words(every_outcome())

# %% mystnb={"figure": {"caption": "All 16 rows of the paper's Table 1: what came out of fine-tuning over the condition number before it, both as printed. From each outcome the mean of its task is subtracted, so that only the choice of layers is left.", "name": "fig-afzal-within"}, "image": {"alt": "Three panels of points over a logarithmic condition number from ten to ten thousand, four tasks in colours; in no panel do the points rise or fall together."}} tags=["hide-input"]
figures.relations(
    within_tasks(),
    "kappa",
    "value",
    "task",
    panel="panel",
    label="condition number",
    xscale="log",
)

# %% tags=["remove-input"]
figures.data_link(within_tasks(), "afzal-within-tasks")

# %% tags=["remove-input"]
from tangentlm.report.notes import code_switch

code_switch()

# %% [markdown]
# **Read this first.** What the paper prints is beside what we ran, and that is not RoBERTa-base. Condition numbers of
# ours are those of MiniLM, a sentence encoder of six layers, whose layers 0, 3 and 5 stand for the paper's 0, 5 and
# 11. Fine-tunings of ours are those of the study behind {doc}`/book/results/anticipate`: the small model `pocket`
# (layers 0, 2 and 3 of four) and MiniLM, on a few hundred rows. Whether *anything* that is known before training
# anticipates fine-tuning is the question of that page.
#
# The condition number $\kappa$ is the largest eigenvalue of the kernel over its smallest, after $\sigma = 10^{-4}$ is
# added to both.
#
# **You will learn** which claims of the paper hold, which its own numbers contradict, and what our fine-tunings add.
#
# **You need** {doc}`/book/theory/condition-number` for what the number depends on, and
# {doc}`/book/theory/condition-bounds` for Theorem 1.
#
# ## What the printed numbers say
#
# Kendall's rank correlation of condition number and outcome, with the sign that the paper claims. Its p value within
# tasks is exact: the share of all reorderings *within tasks* that give a mean as far from zero. "across" is the rank
# correlation of the four tasks' means (of the logarithm, for the condition number); of all 24 orders of four tasks
# even the best cannot have a p value below 2 in 24. "between" is the share of the outcome's variance that lies between
# tasks.

# %% tags=["hide-input"]
taus = rank_correlations()
readable(
    taus.assign(between=100 * taus["between"]).rename(
        columns={"between": "between (%)", "p_across": "p across"}
    )
)

# %% [markdown]
# Nearly all of the variance is between tasks. What is left within a task is less than the error of one accuracy: the
# range over the four choices beside the binomial standard error on the usual evaluation set (the paper names none).

# %% tags=["hide-input"]
readable(
    accuracy_ranges(),
    {
        "title": "task",
        "accuracy": "accuracy (mean)",
        "range": "range over choices",
        "error": "standard error of one",
        "majority": "most frequent answer",
    },
)

# %% [markdown]
# The last column is the accuracy of a model that always gives the most frequent answer. CoLA is close to it, and
# SST-2 is far below what RoBERTa-base usually reaches. A control that trains the head alone would tell how much of
# the rest is LoRA's; the paper has none.
#
# ## The claims
#
# A rank correlation decides where its exact p value is below 0.05. Where the evidence is "our runs", a verdict is
# about the models that we ran and not about RoBERTa-base.

# %% tags=["hide-input"]
readable(judge_claims(measured))

# %% [markdown]
# ## Table 1: condition number and outcome
#
# Our condition number is the median over random heads and draws of 32 samples, with the range in brackets. Padding
# is masked, the kernel is that of the difference of the logits, the head is outside the kernel, and there is no
# dropout. Our losses and accuracies are means over seeds, with their range, of the model that the last column names.
# They are far from the paper's and have to be: other models, a few hundred rows to train on instead of thousands. The
# table names the paper's layers; ours stand for them. We trained no keys.

# %% tags=["hide-input"]
readable(table_1(ledger))

# %% tags=["remove-input"]
figures.data_link(ledger, "afzal-ledger")

# %% [markdown]
# ### Our own fine-tunings
#
# All our tasks at the choices that stand for the paper's. The condition number here is that of the kernel of the rows
# to train on, so it is not that of 32 samples above. "no layer" is the control: with MiniLM the head alone is trained;
# `pocket` is asked with a prompt, and without LoRA nothing is trained. MiniLM was trained with three layers at a time.

# %% tags=["hide-input"]
mine = own_table(own)
if len(mine):
    for task, rows in mine.groupby("task", sort=False):
        one = readable(rows.drop(columns="task"))
        display(folded(one, task))
else:
    display(Markdown("Not run."))

# %% tags=["remove-input"]
if len(own):
    display(figures.data_link(own, "afzal-own-fine-tunings"))

# %% [markdown]
# And the paper's question, put to them: does $\kappa$ order the four choices of queries and values within a task? Next
# to it stands what costs nothing to know, the number of layers that LoRA is put on. This comparison was added after
# the runs; the one that was fixed before them is on {doc}`/book/results/anticipate`.

# %% tags=["hide-input"]
found = own_correlations(own)
if len(found):
    tasks_of = int(found["tasks"].iloc[0])
    display(
        readable(
            found,
            {
                "outcome": "outcome",
                "claimed": "claimed sign of kappa",
                "kappa": "tau of kappa",
                "p": "p",
                "size": "tau of the number of layers",
                "p_size": "p (layers)",
            },
        )
    )
    told = found[(found["p"] < ALPHA) & (found["kappa"] * found["claimed"] > 0)]
    stronger = int((found["size"].abs() > found["kappa"].abs()).sum())
    display(
        Markdown(
            f"Mean over {tasks_of} tasks. $\\kappa$ goes with these as the paper claims, at p below {ALPHA:g}: "
            f"{', '.join(told['outcome']) or 'none'}. In {stronger} of {len(found)} outcomes the number of layers is further from "
            "zero than $\\kappa$. The two go together: the rank correlation of $\\kappa$ with the number of layers is "
            f"{found['between'].iloc[0]:+.2f}."
        )
    )
else:
    display(Markdown("Not run."))

# %% [markdown]
# What goes with $\kappa$ here, one can know by counting layers. What $\kappa$ knows beyond that takes choices of equal
# size to tell, of which there are only two among these four.
#
# ### Adding layers
#
# With the same samples, head and LoRA matrices $A$, all eigenvalues can only grow as layers are
# added ({eq}`eq-loewner`). In our runs the largest one never falls. The condition number falls at times, because
# the smallest eigenvalue is not negligible beside $\sigma$:

# %% tags=["hide-input"]
masked = with_options(measured)
if len(masked):
    grown = added_layers(masked)
    assert (grown["largest"] == 0).all()
    display(
        readable(
            grown,
            {
                "smaller": "from",
                "larger": "to",
                "count": "heads and draws",
                "largest": "largest eigenvalue falls (%)",
                "kappa": "condition number falls (%)",
            },
        )
    )
else:
    display(Markdown("Not run."))

# %% [markdown]
# ## Figure 1
#
# Panel (a), the convergence over steps, has no printed numbers. Panels (b) and (c) are four points each, one a
# task, at one choice of layers.

# %% mystnb={"figure": {"caption": "Panels (b) and (c) of the paper's Figure 1, from its Table 1: RoBERTa-base, layers {0,5,11}, queries and values in (b) and keys in (c).", "name": "fig-afzal-figure-1"}, "image": {"alt": "Two panels with four points each: train loss over the condition number of queries and values, evaluation accuracy over that of keys."}} tags=["hide-input"]
figures.relations(
    figure_1(),
    "kappa",
    "value",
    "task",
    panel="panel",
    label="condition number",
    xscale="log",
)

# %% tags=["remove-input"]
figures.data_link(figure_1(), "afzal-figure-1")

# %% [markdown]
# Ours is that of `pocket` with LoRA on the queries and values of all layers, for the tasks of two classes that are
# done. In (a) stands the mean of the loss over all steps of training, which is smaller the faster it falls.

# %% mystnb={"figure": {"caption": "The same of our runs: tasks of two classes, queries and values of all four layers of pocket, means over seeds, whose ranges are in the tables above. The condition number is that of the 256 rows to train on.", "name": "fig-afzal-own-figure-1"}, "image": {"alt": "Three panels with a point for each of our tasks: mean loss of training, train loss and evaluation accuracy over the condition number. Or a note that nothing was run."}} tags=["hide-input"]
own_points = own_figure_1(own)
if len(own_points):
    display(
        figures.relations(
            own_points,
            "kappa",
            "value",
            "task",
            panel="panel",
            label="condition number",
        )
    )
else:
    display(Markdown("Not run."))

# %% tags=["remove-input"]
if len(own_points):
    display(figures.data_link(own_points, "afzal-own-figure-1"))

# %% tags=["hide-input"]
if len(own_points):
    lines = []
    for panel, rows in own_points.groupby("panel", sort=False):
        test = kendalltau(rows["kappa"], rows["value"])
        lines.append(f"{panel}: {test.statistic:+.2f} (p = {test.pvalue:.2f})")
    display(
        Markdown(
            f"Kendall's rank correlation over {len(rows)} tasks: {'; '.join(lines)}."
        )
    )

# %% [markdown]
# The paper's figure has four tasks. Tasks differ in everything, so even a clear order would say little of why;
# {doc}`/book/results/anticipate` compares all tasks.
#
# ## What orders the tasks? A hypothesis
#
# The paper's condition numbers of the four tasks follow the length of the texts: the shorter, the larger. Padding that
# the model reads would do that, and {doc}`/book/results/padding` shows how. The paper does not say how it treats
# padding, so this is a hypothesis. Here it is with the paper's tasks, every row filled up to 512 tokens; the last
# column is the rank correlation with the printed numbers.

# %% tags=["hide-input"]
padding = by_padding(ledger, measured)
readable(in_order(padding))

# %% [markdown]
# Read it with care: with four tasks even a perfect rank correlation has p = 0.083, rows with padding read have one
# head and one draw, and the keys of the kernel of SGD have another order. The chapter says what else speaks against
# it.
#
# ## What the options do to MiniLM
#
# The same condition number with one option changed, median and range over heads and draws.

# %% tags=["hide-input"]
OPTIONS = {
    "as in Table 1": {},
    "LoRA's dropout of 0.1 live": {"dropout": 0.1},
    "padding read, 64 tokens a row": {"pads": "attended", "max_length": 64},
    "the same, embedded twice": {"pads": "twice-embedded", "max_length": 64},
}
rows = []
for option, values in OPTIONS.items():
    spread = spread_of(with_options(measured, **values), ["title", "choice"])
    for row in spread.itertuples():
        cell = in_words(row.ours, row.low, row.high)
        rows.append({"task": row.title, "option": option, row.choice: cell})
changed = pd.DataFrame(rows)
if len(changed):
    changed = changed.groupby(["task", "option"], sort=False).first().reset_index()
    some = changed.groupby("task")["option"].transform("size") > 1
    changed = changed[some].fillna("not run").sort_values("task", kind="stable")
    changed = changed[["task", "option", *CHOICES]]
display(readable(changed))

# %% [markdown]
# Draws share at least 16 of their 32 samples, since they come from a pool of 48, so the ranges are a little too
# narrow. {doc}`/book/theory/condition-number` turns every option, on a small model.
#
# ## Table 2: what it costs
#
# The paper's seconds grow with the size of the data set, though a kernel of 32 samples does not. Ours are of a pool
# of samples and one head, on one core that other work shared, so they are upper ends: of the keys alone, and of one
# pass that serves all five choices of layers. "five over one" is the ratio of the two, of one timing and a median of
# four. The pass takes most of the time, whatever it is read for.

# %% tags=["hide-input"]
readable(
    table_2(seconds()),
    {
        "title": "task",
        "fine_tuning_seconds": "fine-tuning (paper)",
        "ntk_seconds": "kernel (paper)",
        "ratio": "times",
        "one_subset_seconds": "kernel of the keys (ours)",
        "all_subsets_seconds": "all five choices (ours)",
        "ratio_ours": "five over one",
        "pool": "samples",
        "mean_tokens": "tokens of a text",
    },
)

# %% [markdown]
# And our fine-tunings: the seconds of one choice of layers, with its evaluations, beside one pass for the kernels of
# all choices, of the same rows.

# %% tags=["hide-input"]
costs = training_seconds()
if len(costs):
    of_task = costs.groupby(["model", "title", "train_size"], sort=False)
    columns = ["fine_tuning_seconds", "kernel_seconds", "ratio"]
    costs = of_task[columns].median().assign(runs=of_task.size()).reset_index()
readable(
    costs,
    {
        "model": "model",
        "title": "task",
        "train_size": "rows",
        "fine_tuning_seconds": "fine-tuning, one choice",
        "kernel_seconds": "kernels, all choices",
        "ratio": "times",
        "runs": "runs",
    },
)

# %% [markdown]
# ## Table 3: the training
#
# The settings of the paper's fine-tuning, which nobody has run with this book. The kernels have its rank and
# alpha (8), length (512), number of samples (32) and $\sigma$ ($10^{-4}$).

# %% tags=["hide-input"]
third = ledger[ledger["table"] == "Table 3"]
tasks = list(dict.fromkeys(third["title"]))
third = third.pivot(index="quantity", columns="title", values="paper")[tasks]
readable(
    third.loc[
        list(dict.fromkeys(ledger["quantity"][ledger["table"] == "Table 3"]))
    ].reset_index()
)

# %% [markdown]
# ## The ledger
#
# One row for each of the paper's numbers. A condition number counts as compatible where the paper's lies within our
# range over heads and draws, and of another model that would be chance; a count of parameters where it agrees to the
# printed digits. Losses, accuracies and seconds of other models decide nothing.

# %% tags=["hide-input"]
verdicts = ledger["verdict"].value_counts()
display(
    Markdown(
        f"{len(ledger)} numbers: "
        + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        + "."
    )
)
cells = ledger.assign(
    ours=[
        ""
        if pd.isna(row.ours)
        else f"{row.ours:.4g}"
        + ("" if pd.isna(row.low) else f" ({row.low:.3g} to {row.high:.3g})")
        for row in ledger.itertuples()
    ],
    paper=[f"{value:g}" for value in ledger["paper"]],
).rename(columns={"title": "task", "choice": "layers"})
display(
    searchable(
        cells[
            [
                "table",
                "task",
                "layers",
                "quantity",
                "paper",
                "ours",
                "verdict",
                "reason",
            ]
        ],
        ["paper", "ours"],
    )
)

# %% [markdown]
# ## What was run

# %% tags=["hide-input"]
from tangentlm.studies.progress import study_progress

readable(study_progress(["afzal"]))

# %% [markdown]
# ## Limits
#
# - Neither of our models is the paper's. None of our fine-tunings has its data sets in full, its batch or its ten
#   epochs.
# - No keys were trained, and MiniLM was trained with three layers at a time only.
# - The exact p values are those of the paper's 16 rows. They say that this table does not show a relation. They do
#   not say that there is none.
# - Of padding that is read in rows of 512 tokens there is one head and one draw a task.
# - The evaluation and training sets' sizes are those of the usual sets.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-afzal-one-task
#
# Which task contributes most to the mean rank correlation of the train loss? What is the mean without that task?
# ```
#
# ````{solution} ex-afzal-one-task
# :class: dropdown
#
# The mean gives each task a quarter of its own $\tau$, so read the row of the train loss in the first table: the task
# with the largest $\tau$ contributes most, and a task with zero contributes nothing. Leave each of them out in turn:
#
# ```python
# from tangentlm.afzal.ledger import reported
#
# paper = reported(1)
# for task in paper["task"].unique():
#     row = rank_correlations(paper[paper["task"] != task]).iloc[0]  # the train loss
#     print(f"without {task}: mean tau {row['mean']:+.2f}, p = {row['p']:.2f}")
# ```
#
# If one task makes most of a mean, the mean is a statement about this task. You chose it after you saw the numbers,
# though, so do not take the p value of the remaining three for a test.
# ````
#
# ```{exercise}
# :label: ex-afzal-more-choices
#
# How many choices of layers would each of the four tasks need for a mean $\tau$ of 0.25 to have a p value below 0.05?
# ```
#
# ````{solution} ex-afzal-more-choices
# :class: dropdown
#
# If the order within a task is chance and nothing is tied, $\tau$ of $n$ choices has the variance $2 (2n + 5) / (9 n (n
# - 1))$, and a mean over four tasks has a quarter of it. Ask when 0.25 is 1.96 standard deviations from zero:
#
# ```python
# from scipy.stats import norm
#
# for n in range(4, 13):
#     deviation = (2 * (2 * n + 5) / (9 * n * (n - 1)) / 4) ** 0.5
#     print(n, round(2 * norm.sf(0.25 / deviation), 3))
# ```
#
# Ten choices are the first that suffice, and the exact distribution says ten as well. For $n = 4$ the normal one gives
# less than the exact p of the first table, because four choices allow few values of $\tau$. Ten choices in one run each
# make the p value small but not right: without a second seed nobody knows how much of an order is noise.
# ````
#
# ```{exercise}
# :label: ex-afzal-another-model
#
# Measure the condition numbers of another model of `params/models`. Which verdicts can change, and which cannot?
# ```
#
# ````{solution} ex-afzal-another-model
# :class: dropdown
#
# Look at the column of evidence first: condition numbers of ours decide three rows, those on $\lambda_{\min}$, on
# $\lambda_{\max}$ and on 32 samples. The row on the cost rests on the fine-tunings of the study *anticipate*, and all
# others on the paper's numbers, on counts or on random draws; none of these can change. Put a copy of
# `params/studies/afzal/condition.yaml` into a new folder `params/studies/afzal-pocket`, with `model: pocket` and
# `layers: [[0, 2, 3]]`, run `tangentlm study afzal-pocket`, and compare:
#
# ```python
# both = [judge_claims(kappas(study)) for study in ("afzal", "afzal-pocket")]
# both[0].compare(both[1])
# ```
#
# We have not run it. But $\sigma$ is an absolute number, so the first two rows ask how large the model's gradients are
# beside $10^{-4}$, and any scale decides as much as the model: a tenth of LoRA's alpha divides all eigenvalues by a
# hundred. What would that do to MiniLM?
#
# ```python
# masked = with_options(measured)
# near = masked["smallest"] / 100 < masked["sigma"]
# near.groupby(masked["choice"]).mean(), near.mean()
# ```
#
# The claim on $\lambda_{\min}$ holds where the last number is above 0.9. If it gets there, its verdict is about alpha.
# ````
#
# The paper's errors are in {doc}`/book/errata`.

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
