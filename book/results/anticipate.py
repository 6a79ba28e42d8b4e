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
# # Before you train: what can be known
#
# You may put LoRA on some layers of a model. Which ones? Many numbers are said to tell before any training. Here each
# of them meets what training then reached, beside what costs nothing to know: how many layers there are.

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown, display

from tangentlm import figures
from tangentlm.anticipate.across import across_by_model, across_tasks
from tangentlm.anticipate.ceilings import ceilings, controls, regrets
from tangentlm.anticipate.cells import task_cells
from tangentlm.anticipate.comparing import MARGIN, OVER_ALL, WITHIN, compare
from tangentlm.anticipate.outcomes import (
    OUTCOMES,
    STUDY,
    WITH_HEAD,
    choices,
    main_rate,
    trained,
)
from tangentlm.anticipate.predictors import PREDICTORS
from tangentlm.anticipate.printed import judge_printed
from tangentlm.anticipate.sensitivity import agreement_of_rates, sensitivity
from tangentlm.anticipate.words import (
    KAPPA,
    PRIMARY,
    answer,
    between_tasks,
    conclusions,
    rows_of_figure,
)
from tangentlm.params import project_root
from tangentlm.report.tables import folded, readable
from tangentlm.studies.progress import study_progress

figures.use_style()
progress = study_progress([STUDY])
every_rate, reached = choices(), trained()
table = main_rate(every_rate)
names = [name for name in PREDICTORS if name in table]
cells = task_cells(table, names)
equal, every = (compare(cells, names, within=within) for within in (True, False))
limits, limits_of_all = (ceilings(cells, within=within) for within in (True, False))
done, runs = int(progress["done"].sum()), int(progress["runs"].sum())
display(Markdown(answer(equal, every, done, runs)))

# %% mystnb={"figure": {"caption": "How well each quantity orders the choices of layers by the evaluation loss and the accuracy that training then reaches: Kendall's rank correlation, mean over tasks, with its 95 % interval. To the right of zero the quantity is right. On the grey ground it is worth little: it picks the better of two choices in 40 to 60 of 100 cases.", "name": "fig-anticipate"}, "image": {"alt": "Two panels with a row for each quantity, in groups from trivial baselines to what is not known before training; each row has a point with a line for choices of equal size and one for all choices. Or a note that no task is complete."}} tags=["hide-input"]
drawn, VIEWS = [equal, every, limits, limits_of_all], [WITHIN, OVER_ALL]
if len(equal):
    lines = rows_of_figure(drawn, ["eval_loss", "accuracy"])
    display(figures.forest(lines, VIEWS, label="Kendall's $\\tau$", margin=MARGIN))
else:
    display(Markdown("No task is complete yet."))

# %% tags=["remove-input"]
figures.data_link(pd.concat([equal, every]), "anticipate-predictors")

# %% tags=["remove-input"]
from tangentlm.report.notes import code_switch

code_switch()

# %% [markdown]
# **Read this first.** The blue points answer the question: among choices of *equal size*, a quantity cannot live on
# counting layers. The orange ones are over all choices, where counting is allowed. Small models were trained, on
# a few hundred rows of a few tasks; nothing here is about a large model or a long training.
#
# **You will learn** what to compare a prediction with, why size has to be held fixed, how much noise leaves to be
# known, and what the numbers before training say here.
#
# **You need** {doc}`/book/results/afzal` for the paper whose question this is, and {doc}`/book/theory/condition-number`
# for its condition number.
#
# ## What a practitioner may take from it

# %% tags=["hide-input"]
regret = regrets(cells, names)
across = across_tasks(table)
taken = conclusions(equal, limits, regret) + between_tasks(across)
display(
    Markdown("\n".join(f"- {line}" for line in taken) or "Nothing yet: see above.")
)

# %% [markdown]
# The list does not say that no number can ever tell. It says what these numbers told of these choices. Nor does it
# say why: a quantity that goes with an outcome need not be its cause.
#
# ## What was asked, before looking
#
# The following was written down before the runs, and it decides what counts as an answer.

# %% tags=["hide-input"]
written = project_root() / "params" / "studies" / STUDY / "HYPOTHESIS.md"
display(Markdown(written.read_text(encoding="utf-8")))

# %% [markdown]
# **What came out.** The first row decides; the others are secondary.

# %% tags=["hide-input"]
WORDS = {name: outcome.label for name, outcome in OUTCOMES.items()}


def shown(rows, columns):
    """A table whose outcomes have their names for people."""
    return readable(rows.replace({"outcome": WORDS}), columns)


def by_outcome(rows, columns):
    """A table of the primary outcome, and below it the others, folded."""
    for name, words in WORDS.items():
        own = rows[rows["outcome"] == name] if len(rows) else rows
        one = shown(own, columns)
        display(one if name == PRIMARY else folded(one, words))


COLUMNS = {
    "label": "quantity",
    "outcome": "outcome",
    "scope": "compared",
    "tau": "tau",
    "low": "from",
    "high": "to",
    "low_90": "90 % from",
    "high_90": "90 % to",
    "rho": "Spearman",
    "p": "p",
    "p_holm": "p (Holm)",
    "p_layers": "p (layers)",
    "cells": "tasks and arms",
    "models": "models",
    "tasks": "tasks",
    "verdict": "verdict",
}


def only(*keys):
    """Some of the columns of a comparison, in their order."""
    return {key: words for key, words in COLUMNS.items() if key in keys}


TEST = ("tau", "low", "high", "p", "p_holm")
shown(
    equal[equal["predictor"] == KAPPA] if len(equal) else equal,
    only("outcome", *TEST, "low_90", "high_90", "p_layers", "tasks", "verdict"),
)

# %% [markdown]
# With $S_g$ the concordant less the discordant pairs of choices of size $g$, and $X_g$ and $Y_g$ the pairs that are not
# tied in predictor and outcome, the statistic of a task is
#
# $$\tau = \frac{\sum_g S_g}{\sum_g \sqrt{X_g Y_g}} .$$ (eq-tau-within)
#
# Bootstraps of few tasks are too narrow, so the quantiles are those further out that agree with Student's for normal
# draws {cite:p}`hesterberg2015bootstrap`. Holm's adjustment {cite:p}`holm1979simple` keeps the chance of any false
# finding among all quantities at 5 %.
#
# ## The rule, tried on the paper
#
# A rule is tried on the numbers that {cite:t}`afzal2024spectrum` print before it judges ours. Their Table 1 has four
# tasks with four choices each, of which two have equal size, and one run of each. So the rule can decide nothing
# there: four tasks have no interval, and no row is beyond chance. Positive is right, as everywhere on this page.

# %% tags=["hide-input"]
printed = judge_printed()
assert (printed["p"] >= 0.05).all()
shown(printed, only("label", "outcome", "scope", "tau", "p", "p_holm", "verdict"))

# %% [markdown]
# ## Choices of equal size
#
# The primary test is the condition number's row with the evaluation loss. "p" shuffles outcomes among choices of
# equal size, "p (layers)" relabels the layers of a model in all tasks at once. The second is the stricter one.
# Choices share layers, so two quantities that each differ from layer to layer go together by accident, in every task
# alike. Where only the first is small, a quantity knows the layers of *these* models. The interval is of 95 %, and the
# other outcomes are folded.

# %% tags=["hide-input"]
by_outcome(equal, only("label", *TEST, "rho", "p_layers", "cells", "verdict"))

# %% [markdown]
# ## All choices
#
# Over all choices a quantity may simply grow with the number of layers. Compare each with the first row of its
# outcome: that is what counting reaches. Only `pocket` has choices of several sizes.

# %% tags=["hide-input"]
by_outcome(every, only("label", *TEST, "rho", "cells"))

# %% mystnb={"figure": {"caption": "As the first figure of this page, for the training loss at the end and its mean over the steps, which is small where training is fast."}, "image": {"alt": "Two panels with a row for each quantity, as in the first figure. Or a note that no task is complete."}} tags=["hide-input"]
if len(equal):
    lines = rows_of_figure(drawn, ["train_loss", "mean_train_loss"])
    display(figures.forest(lines, VIEWS, label="Kendall's $\\tau$", margin=MARGIN))
else:
    display(Markdown("No task is complete yet."))

# %% [markdown]
# ## What noise leaves to be known
#
# Another run, with other rows, another LoRA start and other batches, may order the choices anew. "Another training run" is
# $\tau$ between the outcomes of two seeds: what a whole training tells of the next one. A predictor without noise may
# do better than that, since it has no noise of its own. If noise is normal, one that knows the expected outcome of
# every choice reaches "the expected outcome" against a mean over our seeds.

# %% tags=["hide-input"]
shown(
    pd.concat([limits, limits_of_all]),
    {"label": "predictor", **only("outcome", "scope", "tau", "low", "high")},
)

# %% [markdown]
# ## Choosing by it
#
# A rank correlation counts all pairs, a user takes one choice. The regret is what the choice that a quantity puts
# first loses to the best one, in points of accuracy. It is chosen with one seed and judged by the others, so "another
# training run" is the fair comparison for all. The best choice in hindsight has luck in it, so even a predictor that
# knows every expected outcome would have some regret.

# %% tags=["hide-input"]
readable(
    regret,
    {
        "arm": "model, choices",
        "label": "chosen by",
        "regret": "regret (points)",
        "low": "from",
        "high": "to",
        "tasks": "tasks",
    },
)

# %% [markdown]
# ## The control: no layer
#
# Does it matter at all which layers are adapted? "no layer" has no LoRA. MiniLM's classification head is trained
# there; `pocket` is asked with a prompt, so nothing is trained. Where worst and best differ by little more than seeds
# do, there is little to anticipate.

# %% tags=["hide-input"]
readable(
    controls(main_rate(reached)),
    {
        "model": "model",
        "title": "task",
        "control": "no layer (%)",
        "worst": "worst choice",
        "mean": "mean of choices",
        "best": "best choice",
        "of_seeds": "std between seeds",
        "seeds": "seeds",
    },
)

# %% [markdown]
# ## Tasks of one model
#
# The paper's figures compare tasks, with all layers adapted. Tasks differ in everything, so a quantity stands beside
# the number of classes. Each $\tau$ is the mean over models. In the test the tasks are shuffled, and the interval is
# that of drawing tasks, both the same for all models.

# %% tags=["hide-input"]
by_outcome(across, only("label", *TEST, "models", "tasks"))

# %% [markdown]
# The same model by model, for the accuracy. The sisters of `pocket` are narrower and trained on the same texts.
# MiniLM has a random head and no words at a mask, so what asks for words is empty there.

# %% tags=["hide-input"]
readable(
    by_model := across_by_model(table, "accuracy"),
    {"label": "quantity", **{name: name for name in by_model.columns[1:]}},
)

# %% [markdown]
# ## What hangs on our choices
#
# The condition number's $\tau$ at equal size, in other ways. Then whether another learning rate orders choices of
# equal size alike: if it does not, no quantity that ignores the rate can be right at both.

# %% tags=["hide-input"]
with_head = choices(kernel=WITH_HEAD)
ways = sensitivity(every_rate, reached, with_head)
display(readable(ways, {"way": "way", **WORDS, "cells": "tasks and arms"}))
rates = agreement_of_rates(reached)
shown(
    rates,
    {
        "model": "model",
        "rate": "another rate",
        **only("outcome", "tau"),
        "runs": "runs",
    },
)

# %% [markdown]
# The paper's kernel leaves out the head, and so does ours above, though MiniLM's head is trained. Below are all
# quantities of the kernel with the head in it. This was not the question, so take it as a hint and no finding. Compare
# the condition number with the row of mean depth, which knows no more than how deep the chosen layers lie.

# %% tags=["hide-input"]
headed = task_cells(main_rate(with_head), names)
of_headed = compare(headed, names, within=True)
by_outcome(of_headed, only("label", *TEST, "p_layers", "cells"))

# %% [markdown]
# ## What was run

# %% tags=["hide-input"]
readable(progress)

# %% [markdown]
# ## Limits
#
# - Choices of layers were compared in two models, of four and six layers. They are few, so what a quantity knows of
#   layers may be an accident of these two.
# - A few hundred training rows, one optimizer, and mostly one learning rate for all choices. With a rate tuned for each
#   choice the order may be another.
# - Two or three seeds a task, and few tasks. An interval that holds zero is no proof of zero: see its width.
# - Quantities are those of one implementation each, at the sizes that the records name. The condition number is that of
#   the kernel of all outputs; {doc}`/book/theory/condition-number` shows how much it depends on such choices.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-anticipate-one-task
#
# Which task contributes most to the condition number's $\tau$ with the evaluation loss? Compute it without that task.
# ```
#
# ````{solution} ex-anticipate-one-task
# :class: dropdown
#
# The $\tau$ of the table is the plain mean over tasks and arms, so a task counts twice where both models were trained
# on it. Take $\tau$ of each and leave out one task at a time:
#
# ```python
# own = task_cells(table, [KAPPA])
# taus = pd.Series(
#     [cell.measures(within=True).taus()[0, 0, 0] for cell in own],
#     index=[cell.task for cell in own],
# )
# without = {task: taus.drop(task).mean() for task in taus.index.unique()}
# (pd.Series(without) - taus.mean()).sort_values(key=abs)
# ```
#
# The last task contributes most: without it the mean moves furthest. Compare how far with the interval in the table,
# which has the draw of tasks in it: a move that stays well inside is what eight tasks do. For a verdict without a task
# call `compare` on the other cells, and remember that the rule was written for all of them.
# ````
#
# ```{exercise}
# :label: ex-anticipate-logarithm
#
# Take the logarithm of a quantity that is positive. Which numbers on this page change, and why?
# ```
#
# ```{solution} ex-anticipate-logarithm
# :class: dropdown
#
# None. The page ranks the choices by the quantity in each run, takes means over seeds of these *ranks*, and counts
# which of two choices is larger; the logarithm keeps every order, so all $\tau$, intervals and p values stay, and so
# does the choice that comes first, and with it the regret. Tasks are compared by ranks as well. Had the page taken
# means over seeds of the values themselves, the logarithm could change an order: one seed with a huge condition number
# decides a mean of values, but not a mean of logarithms.
# ```
#
# ```{exercise}
# :label: ex-anticipate-random-layers
#
# Draw a predictor at random for every layer and let that of a choice be the sum over its layers, the same in all tasks.
# How often is its "p" below 0.05, and how often its "p (layers)"?
# ```
#
# ````{solution} ex-anticipate-random-layers
# :class: dropdown
#
# Such a predictor knows nothing, so a test at 5 % may find it 5 times in a hundred. "p (layers)" keeps to that by
# construction: it gives the layers' numbers to other layers, and that is how they were drawn. "p" shuffles every task
# on its own, as if tasks were independent; but if one layer is good in all of them, a lucky number for it is right in
# all of them at once.
#
# ```python
# from dataclasses import replace
#
# import numpy as np
#
# from tangentlm.analysis.permutations import p_of_shuffling
# from tangentlm.anticipate.cells import by_arm
# from tangentlm.anticipate.comparing import p_of_relabelling
#
# rng, drawn = np.random.default_rng(0), []
# for own in by_arm(cells).values():
#     of_layer = rng.normal(size=(200, 6))  # 200 predictors, six layers at most
#     sums = np.transpose([of_layer[:, sorted(s)].sum(axis=1) for s in own[0].layers])
#     drawn += [replace(c, predictors=np.repeat(sums[None], c.seeds, 0)) for c in own]
# p = p_of_shuffling([cell.measures(within=True) for cell in drawn], 500)
# [(values[:, 0] < 0.05).mean() for values in (p, p_of_relabelling(drawn))]
# ```
#
# The first outcome is the evaluation loss. With 200 predictors a share of 5 % has a standard error of one and a half
# points, so a first number far above 0.08 is no accident. That is why the page calls "p (layers)" the stricter test.
# ````
#
# ```{exercise}
# :label: ex-anticipate-half-width
#
# How many tasks would an interval of half the width need?
# ```
#
# ````{solution} ex-anticipate-half-width
# :class: dropdown
#
# The width goes like $t_{n-1} / \sqrt n$: the root asks for four times as many tasks, and Student's quantile, which
# falls from few tasks to many, makes it fewer.
#
# ```python
# from scipy.stats import t
#
# tasks = int(equal["tasks"].max())
# width = {n: t.ppf(0.975, n - 1) / n**0.5 for n in range(2, 500)}
# next(n for n in width if width[n] <= width[tasks] / 2)
# ```
#
# From eight tasks it is 25. This takes new tasks to differ as much as these do. More seeds would not do the same: they
# take away the noise within a task, but the differences between tasks stay.
# ````
#
# The paper and our errata of it are in {doc}`/book/results/afzal` and {doc}`/book/errata`.

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
