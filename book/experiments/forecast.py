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
# # Experiment: what to expect of a task before any training
#
# You have a file of labelled texts. Is it worth training a model on them, or does a probe do? Would more
# labels help, and which of those that you have look wrong? This page answers what can be answered before any
# training, and says what cannot. It does what the command `tangentlm forecast` does, and every run of the
# experiment executes this very page with other parameters.
#
# **You will learn** how far kernel regression, which is what fine-tuning would be if it were linear, answers
# a practitioner's questions, and how sure the answers are.
#
# **Before you start**: the chapter on kernel behaviour.
#
# ## Parameters

# %% tags=["parameters"]
file = "assets/tasks/topics/train.jsonl"  # CSV, TSV, JSON, JSON lines, Parquet
test = "assets/tasks/topics/test.jsonl"  # texts to predict, or None
text_column = None  # guessed by its name, and the guess is said
pair_column = None  # the second text of a pair
label_column = None  # guessed, too
model = "pocket"  # a model of params/models, or a folder
template = None  # the prompt, with {text_a} and {mask}
label_words = None  # one a class; by default the classes' names
most_rows = 100  # of more rows a sample is used; the command takes up to 2,000
budget = 10.0  # minutes; a small budget means fewer repeats
seed = 13  # folds, samples and draws follow it
device = "auto"  # the CPU serves these sizes
out = None  # where the record goes

# %%
import pandas as pd

from tangentlm.params import run_from_notebook

run = run_from_notebook("forecast", globals())
pd.Series(run.parameters(), name="value").to_frame()

# %% [markdown]
# ## What is read, and what it will take
#
# Nothing is guessed in silence: which columns were taken, what was left out, and how many repeats fit into
# the budget.

# %%
from tangentlm.forecast.files import read_files
from tangentlm.forecast.prepare import prepare

texts, tested = read_files(*run.files, columns=run.columns)
prepared = prepare(
    texts,
    tested,
    model=run.model,
    template=run.template,
    label_words=run.label_words,
    most_rows=run.most_rows,
    budget=run.budget,
    seed=run.seed,
)

# %% [markdown]
# ## The answer
#
# Let $k$ be the kernel of the model before training and $y$ the centred one-hot labels. Kernel regression
# predicts
#
# $$f(x) = \bar y + k(x, X)\,(K + \lambda I)^{-1}(Y - \bar y),$$
#
# and $\lambda$ is chosen inside the part of the rows that is learned from. Near-duplicates never lie on both
# sides of a split.

# %%
from IPython.display import Markdown

from tangentlm.forecast.forecast import compute

found = compute(prepared, progress=False)
Markdown("\n".join(f"1. {sentence}" for sentence in found.answer))

# %% [markdown]
# ## Ways without training
#
# Each way learns from the same folds. The interval is that of a bootstrap over rows.

# %% mystnb={"figure": {"caption": "Accuracy on rows that were held out, with intervals of 95 %."}, "image": {"alt": "A point and a line for each way without training: majority, bag of words, zero-shot where it was computed, probe, kernel regression."}} tags=["hide-input"]
from dataclasses import asdict

from tangentlm import figures

figures.use_style()
scores = pd.DataFrame([asdict(score) for score in found.scores])
drawn = scores.dropna(subset="accuracy").assign(of=found.data.name)
figures.ranges(
    drawn.rename(columns={"method": "row", "accuracy": "value"}).assign(
        way=drawn["method"]
    ),
    panel="of",
    group="way",
    label="accuracy (%)",
)

# %% tags=["remove-input"]
figures.data_link(scores, f"scores-{run.name}")

# %%
from tangentlm.report.tables import readable

readable(
    scores,
    {
        "method": "way",
        "accuracy": "accuracy (%)",
        "low": "from",
        "high": "to",
        "macro_f1": "macro-F1 (%)",
        "repeats": "repeats",
        "reason": "why not",
    },
)

# %% [markdown]
# ## Was the forecast right?
#
# The interval above was computed without the test file. With labels in that file we can look.

# %%
regression = scores.set_index("method").loc["kernel regression"]
outcome = None if found.predictions is None else found.predictions.accuracy
if outcome is None:
    said = "There is no test file with labels."
else:
    inside = (
        "inside"
        if regression["low"] <= outcome <= regression["high"]
        else "outside"
    )
    said = (
        f"Kernel regression: {regression['accuracy']:.1f} % were forecast "
        f"({regression['low']:.1f} to {regression['high']:.1f}), {outcome:.1f} % of the "
        f"{len(found.predictions.rows)} test rows came out right, {inside} the interval."
    )
Markdown(said)

# %% [markdown]
# ## The record, and the report
#
# The report is the page that the command writes: the learning curve, suspected labels and near-duplicates, the
# kernel as a picture, what training would cost here, and past tasks.

# %%
from tangentlm.report.notes import cost_note
from tangentlm.studies.records import write_record

ways = scores.set_index(scores["method"].str.replace("[ -]", "_", regex=True))
computed = ways["accuracy"].dropna()
path = write_record(
    run,
    {"drawn": "seed"},
    {
        **computed,
        "repeats": found.settings.repeats,
        "rows": found.data.count,
        "test_accuracy": outcome,
        "leave_one_out": found.suspects.accuracy,
        "suspected": len(found.suspects.rows),
        "near_duplicates": len(found.duplicates),
        "scores": scores.drop(columns="reason"),
        "differences": [asdict(difference) for difference in found.differences],
        "curve": [asdict(point) for point in found.curve],
        "layers": [asdict(layer) for layer in found.layers],
    },
)

# %%
from html import escape

from IPython.display import IFrame

from tangentlm.forecast.report import write_report

page, _ = write_report(found, path.parent / "report.html")
held = escape(page.read_text(encoding="utf-8"))
IFrame(
    "about:blank", "100%", 640, extras=['title="The report"', f'srcdoc="{held}"']
)

# %%
cost_note(path)

# %% [markdown]
# ## Limits
#
# The report's own section on limits is part of the answer. Kernel regression is the first-order picture of
# fine-tuning; how far the two are apart on your task is not known before you train. With a small budget the
# number of repeats depends on the machine.
#
# ## Exercises
#
# 1. Give `label_words = ["world", "sports", "business", "tech"]`. Which way is new, and what changes in the kernel?
# 2. Set `most_rows = 64`. Does the interval of the larger file hold what the smaller one forecasts?
# 3. Take a file of your own, and flip ten labels first. Are they among the suspects?
#
# ```{admonition} Solutions
# :class: dropdown
#
# 1. The classes of this file are numbers, so by default the model is not asked anything, and the kernel is that of the
#    one contrast of two plain words. With label words there is a zero-shot way, and the kernel is the sum over the
#    three contrasts of four words, so it costs more. Zero-shot learns nothing from the file: it is above the majority
#    only if the model knows these words for the topics. Whether kernel regression gains is for the figure to say; if it
#    does, look at the overlap of the intervals first.
# 2. The smaller sample is a part of the larger one, so the two are close from the start. An interval is wider by about
#    $\sqrt{100 / 64} = 1.25$ with 64 rows, and accuracy rises a little with rows, so expect the estimate of the smaller
#    file inside the larger one's interval, rather below its middle. It may lie outside where the learning curve is
#    still steep. Read both from the table below the figure.
# 3. Flip them in a copy of the file, write down their rows, and compare with
#    `[row.row for row in found.suspects.rows]`. A flipped label is found if its neighbours by the kernel have the right
#    one; where the regression is right on most left-out rows, expect most of the ten among the first, mixed with rows
#    that are hard for it. Where it is hardly better than the majority, the list is empty and `found.suspects.reason`
#    says so. Of a file with more than `most_rows` rows a sample is used, so some flipped rows may not have been looked
#    at.
# ```
