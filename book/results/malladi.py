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
# {cite:t}`malladi2023kernel` say yes for most tasks, with RoBERTa-base. Here is every table of theirs,
# with our numbers in the same places.
#
# **Read this first.** Our model is not RoBERTa-base. It is `pocket`, a small masked language model that
# comes with the book. It knows far less English, so its numbers are lower throughout. What can be
# compared is not the height of the numbers but their order: how far is the kernel from fine-tuning *of
# the same model*? The lines for RoBERTa-base read "not run" until someone runs the *paper* study.
#
# **You will learn** which of the paper's claims hold for a small model too, which do not, and how sure
# one can be of it.
#
# **You need** {doc}`/book/theory/kernel-behavior` for the definitions. Nothing is computed on this page:
# it shows the records of the studies *pocket*, *quick* and *paper*.

# %% [markdown]
# ## In short
#
# What the paper claims, tested on our runs. Each claim is a number for every split, paired within the
# split; it *holds* for a task and k where the whole 95 % interval (Student's t over splits) does what the
# claim says, *fails* where none of it does, and is *undecided* otherwise. The first row is no claim of the
# paper but our condition: where fine-tuning learns nothing, a kernel that matches it says nothing.

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown, display
from itables import init_notebook_mode

from tangentlm import figures
from tangentlm.analysis.intervals import interval_of_mean
from tangentlm.analysis.verdicts import VERDICTS
from tangentlm.malladi.claims import (
    claims_in_short,
    judge_claims,
    points_ahead,
    where_it_learns,
)
from tangentlm.malladi.ledger import compare
from tangentlm.malladi.measurements import measurements
from tangentlm.malladi.tables import ledger_table, our_results, paper_table
from tangentlm.report.tables import readable

init_notebook_mode(all_interactive=False)  # searchable tables, without a network
figures.use_style()
METHODS = ("zero-shot", "SGD-FT", "K-SGD", "Adam-FT")
OURS = {"ours, pocket": "pocket", "ours, RoBERTa-base": "paper"}
ledgers = {who: compare(study) for who, study in OURS.items()}
measured, quick = measurements("pocket"), measurements("quick")
judged = judge_claims(measured)
HEADINGS = {"claim": "claim", "says": "what it says", "where": "in the paper"}
HEADINGS |= {name: name for name in VERDICTS}
readable(claims_in_short(judged), HEADINGS)

# %% [markdown]
# The numbers count tasks, once for each k. Here are the tasks themselves, where the condition holds:


# %% tags=["hide-input"]
def by_verdict(tested, keys):
    """The tasks of each verdict, a column a verdict."""
    tasks = tested.groupby([*keys, "verdict"], sort=False)["task"].agg(", ".join)
    wide = tasks.unstack(fill_value="", sort=False)
    return wide[[name for name in VERDICTS if name in wide]].reset_index()


learned = where_it_learns(judged)
named = learned["task"] + learned["k"].map(" ({:.0f})".format)
readable(by_verdict(learned.assign(task=named), ["claim"]))

# %% [markdown]
# In brackets is k. And what the paper says of single tasks, from the three properties of Table 1 (below), k = 16
# and 64 together. Our condition is not among these properties, so of a task that is not learned they say little:

# %% tags=["hide-input"]
from tangentlm.malladi.properties import (
    MALLADI,
    MALLADI_V1,
    behavior_claims,
    by_task,
    properties,
    table_1,
    tasks_with_kernel_behavior,
)

shown = {
    "8 of 14": properties(measured, MALLADI),
    "9 of 14 (first version)": properties(measured, MALLADI_V1),
}
of_the_paper, of_the_first = shown.values()
of_tasks = behavior_claims(of_the_paper)
readable(by_verdict(of_tasks, ["claim", "optimizer"]))

# %% [markdown]
# On how many tasks does fine-tuning show kernel behaviour? The paper counts 8 of 14, its first version, with
# thresholds of its own, 9. Ours, with the thresholds of either:

# %% tags=["hide-input"]
counts_of_tasks = pd.concat(
    [
        tasks_with_kernel_behavior(of_splits).assign(thresholds=name)
        for name, of_splits in shown.items()
    ]
)
readable(
    counts_of_tasks,
    {
        "thresholds": "the paper counts",
        "optimizer": "optimizer",
        "run": "our tasks",
        "shows": "show it",
        "does not": "do not",
        "undecided": "undecided",
    },
)

# %% mystnb={"figure": {"caption": "The claims on performance, task by task, in points: mean over splits with its 95 % interval where there are three splits or more. A claim holds where the whole interval is on grey ground."}, "image": {"alt": "One panel a claim; points with error bars over the tasks, for each k, and a grey band where the claim holds."}} tags=["hide-input"]
if judged["value"].notna().any():
    display(figures.claim_panels(judged, "points"))

# %% [markdown]
# The same in numbers, in the cell that you can open:

# %% tags=["hide-cell"]
readable(
    judged.round({"value": 1, "low": 1, "high": 1}),
    {
        "claim": "claim",
        "task": "task",
        "k": "k",
        "splits": "splits",
        "value": "value",
        "low": "low",
        "high": "high",
        "verdict": "verdict",
    },
)

# %% tags=["remove-input"]
figures.data_link(judged, "malladi-claims")

# %% [markdown]
# The value of a comparison is a difference in points; of "solves the task", the kernel's performance
# less 90 % of fine-tuning's; of the claims on prompts, by how many points fine-tuning is further ahead of
# the kernel. Mind the difference between "undecided" and "equal": with few splits the intervals are wide.
#
# ## Table 1: which tasks show kernel behaviour
#
# On how many splits the kernel solves the task (90 % of fine-tuning; "solves"), the Taylor model recovers half of
# what fine-tuning gains (in accuracy; "linear"), and the kernel moves by less than 2.0 (mean relative distance of its
# entries; "fixed"). All three are kernel behaviour. The three thresholds were set by hand in the paper, and its first version had others (95 %, 1.0); they
# are parameters here.
#
# "2 of 3 (5)": on two of our three splits, and on five of the paper's five; "(5)": ours is not run, or could not
# be decided. Along SGD:

# %% tags=["hide-input"]
counts = table_1(of_the_paper)
readable(by_task(counts, "SGD"))

# %% [markdown]
# Along Adam:

# %% tags=["hide-input"]
readable(by_task(counts, "Adam"))

# %% tags=["remove-input"]
figures.data_link(counts, "malladi-table-1")

# %% mystnb={"figure": {"caption": "Table 1 of the paper: on how many of five splits each property holds, for RoBERTa-base."}, "image": {"alt": "Heat map of counts from 0 to 5; rows are optimizer, k and property, columns the fourteen tasks."}} tags=["hide-input"]
wide = counts.assign(
    row=counts["optimizer"]
    + ", k = "
    + counts["k"].astype(str)
    + ", "
    + counts["property"]
)
figures.heat_map(
    wide.pivot(index="row", columns="task", values="paper").astype(float),
    "splits of 5",
)

# %% mystnb={"figure": {"caption": "The same for our runs: the share of splits on which each property holds; blank where it was not run or could not be decided."}, "image": {"alt": "Heat map of shares from 0 to 1, or a note that nothing was run."}} tags=["hide-input"]
wide["share"] = wide["ours"].astype(float) / wide["splits"].astype(float)
shares = wide.pivot(index="row", columns="task", values="share")
if shares.notna().any(axis=None):
    display(figures.heat_map(shares, "share of splits"))
else:
    display(Markdown("Not run."))

# %% [markdown]
# What the paper says of single tasks, from these properties. The share is of splits, k = 16 and 64
# together, with its 95 % interval (Wilson); a task shows what most of its splits show.

# %% tags=["hide-input"]
readable(of_tasks)

# %% [markdown]
# With the thresholds of the first version instead; along Adam it looked at the kernel of SGD. (It also called a
# task solved where the kernel is within 5 % in two of its four settings, so its marks are for tasks, not for splits;
# the numbers in brackets are those of the later version.) Along SGD, then along Adam:

# %% tags=["hide-input"]
first = table_1(of_the_first)
readable(by_task(first, "SGD"))

# %% tags=["hide-input"]
readable(by_task(first, "Adam"))

# %% [markdown]
# ## Tables 3 and 4: tasks, prompts, grids
#
# Tables 2 and 3 of the first version. The prompts are the paper's. The rows that we could get are fewer
# for some tasks; a k-shot split takes 2k rows of every class, so the rarest class says which k there can
# be (CR has none for k = 512; for TREC and k = 64 dev has what is left of the rarest class). A test set
# of the study *pocket* has at most 500 rows.

# %% tags=["hide-input"]
from tangentlm.malladi.setup import grid_values, tasks_and_prompts

TASKS = "sst2 sst5 mr cr mpqa subj trec agnews mnli snli qnli rte mrpc qqp"
readable(
    tasks_and_prompts(TASKS.split()),
    {
        "title": "task",
        "classes": "classes",
        "template": "prompt",
        "label_words": "label words",
        "paper_train": "train (paper)",
        "train": "train (here)",
        "smallest_class": "rarest class (here)",
        "paper_test": "test (paper)",
        "test": "test (here)",
    },
)

# %% [markdown]
# The paper's grid is `malladi`. The study *pocket* uses what two CPU cores can afford of it: `pocket` for
# k = 16, and for larger k batches of eight and fewer steps. Its learning rates begin where the paper's end: with a
# quarter of the steps or fewer, SGD at 0.01 was still on its way on TREC and AG News. The values were chosen by
# the dev scores of SST-2, Subj and TREC, split 13, in a try that is not among the records.

# %% tags=["hide-input"]
readable(
    grid_values(["malladi", "pocket", "pocket-64", "pocket-512", "quick", "brief"])
)

# %% [markdown]
# The scales of the maximal-update parametrization (Table 11; Table 10 of the first version) are
# measured in {doc}`/book/theory/feature-learning`.
#
# ## Table 2: prompt-based fine-tuning and its kernels
#
# Test performance, mean over five splits, standard deviation in brackets (Table 4 of the first version).
# F1 for MRPC and QQP. Our splits for k = 16 are those of LM-BFF, but for AG News, which they leave out; that and
# k = 64 are our own. A few rows of LM-BFF's splits are also in the test sets: of MPQA 45 over all five splits,
# of TREC 6, of QQP one. "=" marks a difference within its 95 % interval (Welch's t over splits) and the paper's
# rounding, "≠" one beyond; fewer than three splits have no mark. A number of ours links to
# its first run in {doc}`/book/runs`, where those of the other splits stand below it.

# %% tags=["hide-input"]
paper_table(ledgers, "Table 2a")

# %% tags=["hide-input"]
paper_table(ledgers, "Table 2b")

# %% [markdown]
# ### The gap between the kernel and fine-tuning
#
# The same splits serve both methods, so the gap is paired: fine-tuning with SGD minus its kernel.

# %% tags=["hide-input"]
rows = []
for study, of_study in {"pocket": measured, "quick": quick}.items():
    gaps = points_ahead(of_study, "SGD-FT", "K-SGD")
    for (task, k), group in gaps.groupby(["title", "k"], sort=False):
        gap = interval_of_mean(group["value"])
        ends = (gap.estimate, gap.low, gap.high)
        rows.append((study, task, k, len(group), *ends))
gaps = pd.DataFrame(
    rows, columns=["study", "task", "k", "splits", "gap", "low", "high"]
)
readable(gaps)

# %% mystnb={"figure": {"caption": "Zero-shot, fine-tuned and kernel performance on every task that has been run; mean and standard deviation over splits."}, "image": {"alt": "Points with error bars for zero-shot, SGD fine-tuning, kernel regression and Adam fine-tuning on each task, a panel for each k."}} tags=["hide-input"]
from tangentlm.malladi.figures import every_task, figure_1, figure_2

both = pd.concat([measured, quick], ignore_index=True)
points = every_task(both, METHODS)
if not points.empty:
    display(figures.point_panels(points, "performance (%)"))

# %% tags=["remove-input"]
figures.data_link(points, "methods-by-task")

# %% [markdown]
# ## Table 5 and Figure 2: does the Taylor model follow?
#
# Zero-shot, the first-order Taylor model at the parameters that Adam found, and Adam itself (Table 8 of
# the first version). Here MRPC and QQP are in accuracy, as in the paper.

# %% tags=["hide-input"]
paper_table(ledgers, "Table 5")

# %% mystnb={"figure": {"caption": "Figure 2 of the paper: zero-shot, Taylor model and fine-tuned accuracy, k = 64. RoBERTa-base: mean and standard deviation of the paper's Table 5. Ours: median and range over splits."}, "image": {"alt": "Three points a task, for the paper's model and below it for ours where it was run."}} tags=["hide-input"]
points = figure_2(measured, "pocket")
figures.point_panels(points, "accuracy (%)")

# %% tags=["remove-input"]
figures.data_link(points, "malladi-figure-2")

# %% [markdown]
# ## Table 6 and Figure 1: with and without a prompt
#
# Without a prompt, a linear head reads the first token; it starts at the linear-probing solution.

# %% mystnb={"figure": {"caption": "Figure 1 of the paper: fine-tuning with SGD and its kernel, with a prompt and without, k = 64; mean and standard deviation over splits."}, "image": {"alt": "Two points a task in each panel: the prompt setting and the standard setting, for the paper's model and for ours where it was run."}} tags=["hide-input"]
points = figure_1(measured, "pocket")
figures.point_panels(points, "performance (%)")

# %% tags=["remove-input"]
figures.data_link(points, "malladi-figure-1")

# %% tags=["hide-input"]
paper_table(ledgers, "Table 6a")

# %% tags=["hide-input"]
paper_table(ledgers, "Table 6b")

# %% [markdown]
# The first version has other numbers for k = 512 (its Table 7):

# %% tags=["hide-input"]
paper_table(ledgers, "Table 7", version="malladi2022-openreview")

# %% [markdown]
# ## Table 7: fixed features
#
# The mean of $|\mathcal{K}_{\mathrm{FT}} - \mathcal{K}_0| / |\mathcal{K}_0|$ over the entries of the training kernel.
# The paper's Table 7a, for single sentences, lost a column in the text that we have; the first version's
# Table 6 has all tasks, for Adam.

# %% tags=["hide-input"]
paper_table(ledgers, "Table 7b")

# %% tags=["hide-input"]
paper_table(ledgers, ["Table 6a", "Table 6b"], version="malladi2022-openreview")

# %% [markdown]
# "Relative distance" has more than one reading, and so has "the kernel": the first version says that it was
# "measured on the test set", the later one nothing. Above it is the kernel of the training samples, of 64 of them
# where there are more. Here are four readings on the same runs, mean over splits, for that kernel and for the
# one between as many test samples and these training samples:

# %% tags=["hide-input"]
from tangentlm.studies.collect import read_collected, read_collected_table

moved = read_collected_table("pocket", "finetune-distances")
READINGS = ["elementwise", "median", "ratio", "frobenius"]
if not moved.empty:
    runs = read_collected("pocket", "finetune")
    moved = moved.merge(runs[["run", "task", "k", "method", "head"]], on="run")
    keys = ["task", "head", "k", "method", "formula", "samples"]
    moved = moved.groupby(keys, sort=False)[READINGS].mean().reset_index()
readable(moved)

# %% tags=["remove-input"]
figures.data_link(moved, "malladi-distances")

# %% [markdown]
# ## Table 8: the output derivative
#
# The mean of $1 - p_y$ before fine-tuning. RoBERTa-large is wider *and* deeper; for models that differ in
# width alone see {doc}`/book/results/natural-tasks`.

# %% tags=["hide-input"]
paper_table(ledgers, "Table 8")

# %% [markdown]
# ## Table 9: other prompts
#
# "search" has templates and label words that {cite:t}`gao2021making` found by search, those of each split;
# "null" has the mask after the text and nothing more. A searched label word that is not one token of our
# model cannot be run with it.

# %% tags=["hide-input"]
paper_table(ledgers, "Table 9")

# %% [markdown]
# ## Table 10: SignGD

# %% tags=["hide-input"]
paper_table(ledgers, ["Table 10a", "Table 10b"])

# %% [markdown]
# ## Table 12: LoRA
#
# $r = 8$, $\alpha = 16$, on queries and values. (`pocket` keeps queries, keys and values in one matrix; LoRA
# adapts it whole.)

# %% tags=["hide-input"]
paper_table(ledgers, "Table 12")

# %% [markdown]
# ## The bundled tasks
#
# The quick study that `make book` runs: three tasks written for this book, few splits, a test set of
# a hundred examples, a sixteenth of the paper's training steps at larger learning rates
# (`params/grids/brief.yaml`), so fine-tuning may be cut short where the kernel is not. The paper has no
# such tasks. Take the numbers as a demonstration that everything runs, and the spread seriously.

# %% tags=["hide-input"]
our_results(
    {"quick": "ours, pocket"}, ["reviews", "topics", "inference"], [16], METHODS
)

# %% [markdown]
# ## The ledger
#
# One row for each of the paper's numbers, of both versions. Two means count as the same where their difference lies
# within its 95 % interval (Welch's t over splits) plus the rounding of the paper's last digit. The interval knows
# the spread over splits alone; our test rows are not always the paper's, and that is not in it. Fewer than three
# splits decide nothing, nor do two zero-shot numbers that differ, since neither has a spread.

# %% tags=["hide-input"]
ledger = ledgers["ours, pocket"]
verdicts = ledger["verdict"].value_counts()
display(
    Markdown(
        f"{len(ledger)} numbers: "
        + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        + "."
    )
)
display(ledger_table(ledger))

# %% tags=["remove-input"]
figures.data_link(ledger.drop(columns="runs"), "malladi-ledger")

# %% [markdown]
# ## What was run
#
# Hours are those of the runs one by one; two or more may have run side by side.

# %% tags=["hide-input"]
from tangentlm.studies.progress import study_progress

readable(study_progress(["pocket", "paper"]))

# %% [markdown]
# ## Limits
#
# - One model, small; nobody has run RoBERTa-base with this book yet.
# - The study *pocket* is not complete; the table above says how far it is. Where nothing was run, a table says so.
# - The spread is over splits, which also change the training's random order; the paper does the same.
# - For k = 16 the dev split that chooses hyperparameters has 16 examples a class. Much of the spread is
#   that.
# - A claim is tested on each task by itself. With many tasks, a few verdicts are wrong by chance.
#
# ## Exercises
#
# 1. Which claims would change their verdict with the thresholds of the first version?
# 2. Choose a number of ours, find its run, and run it again with another seed.
# 3. For which tasks is the kernel ahead of fine-tuning? What do they have in common?

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
