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
# # Natural tasks
#
# Why should fine-tuning behave like its kernel at all? A pre-trained model is not at random weights,
# and the usual argument for kernels needs those. Malladi et al. give another one. If the prompt turns
# the task into something like pre-training, then a wide model has next to nothing left to learn from
# it. So the logits need to move little, so the weights move little, so the features stay where they
# are. They call such a task *natural*.

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown, display

from tangentlm import figures
from tangentlm.analysis.intervals import interval_of_rank_correlation
from tangentlm.analysis.ladder import (
    asked_in_every_way,
    examples_over_width,
    ladder_measures,
    of_two_trainings,
)
from tangentlm.analysis.slopes import changes_in_words, per_doubling
from tangentlm.figures import data_link
from tangentlm.malladi.ledger import reported
from tangentlm.report.tables import readable
from tangentlm.studies.collect import read_collected, read_collected_table
from tangentlm.studies.progress import study_progress
from tangentlm.tasks import load_task

figures.use_style()
STUDY, LADDER = "natural", "ladder"
BY = ["parametrization", "prompt"]
models = read_collected(LADDER, "pretrain")
if not models.empty:
    models = models.sort_values(["parametrization", "width"])


def measures_of(method):
    """The measures along a ladder after this fine-tuning, with what it has over the kernel."""
    found = ladder_measures(STUDY, LADDER, method)
    if found.empty:
        return found
    found = found.assign(gap=found["finetuned"] - found["kernel"])
    return found.sort_values(["parametrization", "width"], kind="stable")


plain, clipped = measures_of("sgd-unclipped"), measures_of("sgd")
# What is known before fine-tuning is the same whatever the fine-tuning: take what has more models.
before = max(plain, clipped, key=len)
# The theorem speaks of steps that shrink with the output derivative, so of SGD that clips nothing.
after = clipped if plain.empty else plain
KIND = (
    "SGD, whose gradients are clipped at a norm of 1"
    if plain.empty
    else "SGD, no gradient clipped"
)
compared, tuned = asked_in_every_way(before), asked_in_every_way(after)
ANSWERS = {
    "chi": "the output derivative",
    "chi_max": "the output derivative of the worst example",
    "linearization_error": "the linearization error",
    "kernel_distance": "the kernel distance",
    "step_error": "the error of a step",
    "feature_change": "the change of the gradients",
}


def with_manual(measures):
    return measures[measures["prompt"] == "manual"] if len(measures) else measures


def in_short():
    """What changes when the width doubles, with the manual prompt, in words."""
    known = [name for name in list(ANSWERS)[2:] if after.get(name) is not None]
    known = [name for name in known if after[name].notna().any()]
    parts = [
        (with_manual(before), ["chi", "chi_max"]),
        (with_manual(after), known),
    ]
    found = pd.concat(
        per_doubling(rows, names, ["parametrization"]).assign(
            widths=f"widths {rows['width'].min()} to {rows['width'].max()}"
        )
        for rows, names in parts
    )
    said = []
    for kind, rows in found.groupby("parametrization", sort=False):
        told = [
            f"{ANSWERS[row.measure]} {row.verdict} ({row.widths})"
            for row in rows.itertuples()
            if row.verdict in ("falls", "rises")
        ]
        open_ones = [
            ANSWERS[row.measure]
            for row in rows.itertuples()
            if row.verdict == "not told apart"
        ]
        rest = f"not told apart from no change: {', '.join(open_ones)}"
        verdicts = [*told, *([rest] if open_ones else [])]
        tasks = rows["tasks"].iloc[0]
        said.append(f"*{kind}* ({tasks} tasks): {', '.join(verdicts)}.")
    return " ".join(said)


if before.empty:
    display(Markdown("Not run."))
else:
    manual = with_manual(before)
    alike = int((manual.groupby("task")["zero_shot"].nunique() == 1).sum())
    display(
        Markdown(
            "**In short.** What happens to the output derivative and to measures of kernel behaviour when the width "
            "doubles, with the manual prompt; a change counts where its 95 % interval over tasks leaves out zero. "
            f"{in_short()} Fine-tuning is with {KIND}. But these models can hardly do the tasks: on "
            f"{alike} of {manual['task'].nunique()} all of them have one and the same zero-shot score, "
            "for they give nearly every text one and the same answer."
        )
    )

# %% mystnb={"figure": {"caption": "Mean output derivative before fine-tuning over the width, with the manual prompt of the paper, a null prompt and unrelated label words. Faint: single tasks. Bold: their mean."}, "image": {"alt": "Two panels, one a parametrization; for each of three prompts a bold line over four widths among the faint lines of the tasks."}} tags=["hide-input"]
if not before.empty:
    display(
        figures.unit_lines(
            compared,
            "width",
            "chi",
            "prompt",
            panel="parametrization",
            unit="task",
            labels=("width", "output derivative"),
        )
    )

# %% tags=["remove-input"]
data_link(pd.concat([plain, clipped]), "natural-tasks")

# %% [markdown]
# **You will learn** how that assumption is put into one number, whether the number does fall as models
# grow wider, and whether kernel behaviour grows with it.
#
# **You need** the experiment {doc}`/book/experiments/natural_tasks`, where every number here comes
# from, and {doc}`/book/theory/parametrization`. Nothing is computed on this page: it shows the records
# of the studies *ladder* and *natural*.

# %% [markdown]
# ## The assumption
#
# Let $f_n$ be a pre-trained model of width $n$. The output derivative of a sample is
# $\chi = \partial \ell / \partial f$, and its entry at the true label has the size $1 - p_y$. A task is
# natural in the limit (Definition 3.6 of {cite:t}`malladi2022openreview`, "Malladi-v1"; 5.3 in the later version) if
#
# $$\lim_{n \to \infty} \chi(s, y; f_n) = 0 \quad \text{for every sample } (s, y)
# \text{ of the task} .$$ (eq-natural)
#
# Then, if the network is stable (its output does not grow with the width), non-trivial (fine-tuning can
# change it), and a tensor program, fine-tuning shows kernel behaviour in the limit (Theorem 3.7; 5.5 in the later
# version). Pre-training in the maximal-update parametrization is one way to such a network and the one that the paper
# pictures. The standard parametrization with one learning rate for all widths is not stable
# ({doc}`/book/theory/feature-learning`), so of that ladder the theorem says nothing; it is what people use.
#
# The authors could not test {eq}`eq-natural`: public models that differ in width differ in depth,
# too. A ladder of our own does not have that problem. Its models differ in width and in nothing else:
# the same text in the same order, the same masks, the same number of steps. There is one ladder in
# the standard parametrization and one in the maximal-update one.

# %% tags=["hide-input"]
readable(
    models,
    {
        "parametrization": "parametrization",
        "width": "width",
        "parameters": "parameters",
        "tokens": "tokens seen",
        "held_out_loss": "held-out loss (nats)",
        "held_out_accuracy": "guessed right",
        "minimal_pairs": "minimal pairs (%)",
        "training_seconds": "seconds",
    },
)

# %% [markdown]
# Does a wider model learn more? That is what the maximal-update parametrization promises, and the standard one with a
# single learning rate does not. The promise is a fall with every doubling. It does not say that this ladder is ahead of
# the standard one at each width: both have one rate, which was chosen for neither.

# %% tags=["hide-input"]
for kind, of_kind in models.groupby("parametrization") if len(models) else ():
    losses = of_kind.set_index("width")["held_out_loss"]
    worse = losses.index[losses.diff() > 0]
    verdict = (
        "it falls with every doubling"
        if worse.empty
        else f"it rises to width {', '.join(map(str, worse))}"
    )
    display(
        Markdown(
            f"*{kind}*: held-out loss {', '.join(f'{x:.2f}' for x in losses)} at widths "
            f"{', '.join(map(str, losses.index))}; {verdict}."
        )
    )

# %% mystnb={"figure": {"caption": "Training loss of the models of the ladder over the tokens seen."}, "image": {"alt": "Falling lines, one a width and parametrization."}} tags=["hide-input"]
curve = read_collected_table(LADDER, "pretrain-curve")
if not curve.empty:
    wide = curve.pivot(index="tokens", columns="run", values="loss")
    wide = wide.rolling(5, min_periods=1).mean().reset_index()
    wide["tokens"] /= 1e6
    names = {run: run for run in models["run"]}
    display(
        figures.lines(
            wide.iloc[::5],
            "tokens",
            names,
            labels=("million tokens", "loss (nats)"),
        )
    )

# %% tags=["remove-input"]
data_link(curve, "ladder-curves")

# %% tags=["hide-input"]
readable(study_progress([LADDER, STUDY]))

# %% tags=["hide-input"]
if before.empty:
    display(Markdown("The study *natural*: not run."))
else:
    in_every_way = compared["task"].unique()
    display(
        Markdown(
            f"Few-shot splits with k = {before['k'].iloc[0]}, at most "
            f"{before['test_size'].iloc[0]} test examples. {len(in_every_way)} tasks are asked in "
            f"{compared['prompt'].nunique()} ways ({', '.join(in_every_way)}; "
            f"splits: {compared['seed'].nunique()}); prompts are compared on these. Of "
            f"{before['task'].nunique()} tasks in all there is the manual prompt."
        )
    )

# %% [markdown]
# ## Does the output derivative fall with the width?
#
# Three prompts, as in the figure above: the manual one of the paper; a null prompt, the mask after the text and no
# word more; and the manual one with label words that mean nothing for the task. If naturalness is what the manual
# prompt buys, its $\chi$ should fall with the width, and that of the others should not.

# %% [markdown]
# Can these models do the tasks at all? Zero-shot with the manual prompt, mean over splits, beside guessing among the
# classes (accuracy in percent; F1 for MRPC and QQP):

# %% tags=["hide-input"]
if before.empty:
    display(Markdown("Not run."))
else:
    manual = manual.assign(guessing=100 / manual["num_classes"])
    able = manual.pivot_table(
        index=["task", "guessing"],
        columns=["parametrization", "width"],
        values="zero_shot",
    )
    display(able.style.format(precision=1).format_index(precision=1))
    display(
        Markdown(
            f"On {alike} of {len(able)} tasks all models have one and the same score."
        )
    )

# %% [markdown]
# The change per doubling of the width: for every task the slope over $\log_2 n$, then the mean over
# tasks with its 95 % interval (Student's t over tasks). An arrow marks a change that is told apart from none.

# %% tags=["hide-input"]
BEFORE = {
    "chi": "output derivative, mean",
    "chi_worst": "output derivative, worst tenth",
    "chi_max": "output derivative, worst example",
    "zero_shot": "zero-shot score (%)",
}


def changes(measures: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """The changes per doubling of the measures that these runs have, with readable names."""
    if measures.empty:
        return pd.DataFrame()
    of_all = asked_in_every_way(measures)
    shown = [of_all]
    if len(of_all) < len(measures):
        # Of some tasks there is the manual prompt alone.
        shown.append(with_manual(measures).assign(prompt="manual, every task"))
    known = {
        name: title
        for name, title in names.items()
        if name in measures and measures[name].notna().any()
    }
    table = per_doubling(pd.concat(shown), list(known), BY)
    return changes_in_words(table, known) if len(table) else table


readable(changes(before, BEFORE))

# %% [markdown]
# ### Every example?
#
# A mean can fall while some examples get worse. The definition does not allow that. So follow each
# example over the ladder: for how many does $\chi$ fall from the narrowest to the widest model, for how
# many at every step, and how many are solved ($\chi < 0.1$) or hopeless ($\chi > 0.9$) for the widest?

# %% tags=["hide-input"]
readable(
    examples_over_width(compared, STUDY, BY),
    {
        "parametrization": "parametrization",
        "prompt": "prompt",
        "examples": "examples",
        "fell": "fell (%)",
        "fell_always": "fell at every step (%)",
        "solved": "solved (%)",
        "hopeless": "hopeless (%)",
    },
)

# %% [markdown]
# An example counts once for each few-shot split whose test part it is in. Were the width to change nothing but
# chance, half of the examples would fall, and of four widths one in 24 would fall at every step. A model that gives
# every text one answer "solves" all examples with this label, so with such models "solved" says what they lean to.
#
# ### Beside the paper
#
# Table 8 of {cite:t}`malladi2023kernel` gives the mean output derivative of nine tasks for RoBERTa-base
# (width 768, 12 layers) and RoBERTa-large (width 1024, 24 layers), with the manual prompt. Two models
# that differ in both do not make a ladder; ours do.

# %% tags=["hide-input"]
paper = reported()
paper = paper[paper["metric"] == "mean output derivative"]
beside = paper.assign(column=paper["method"].str.removeprefix("zero-shot "))
beside = beside.pivot(index="task", columns="column", values="mean")
if not before.empty:
    ours = with_manual(before)
    ours = ours.assign(
        title=[load_task(task).title for task in ours["task"]],
        column=[
            f"{kind}, {width}"
            for kind, width in zip(
                ours["parametrization"], ours["width"], strict=True
            )
        ],
    )
    order = ours.sort_values(["parametrization", "width"])["column"].unique()
    ours = ours.pivot_table(index="title", columns="column", values="chi")[order]
    beside = beside.join(ours, how="outer")
beside.astype(float).style.format(precision=2, na_rep="")

# %% [markdown]
# ## Does kernel behaviour grow with the width?
#
# Now fine-tune (with the rate chosen on dev) and ask two questions. *Linearization*: how far is the
# Taylor model at the fine-tuned parameters from the fine-tuned model, relative to how far the logits
# moved? *Fixed features*: how far has the training kernel moved, entry by entry, relative to what it
# was? The theory says that both go to zero for natural tasks. It speaks of SGD whose steps shrink with $\chi$, so
# SGD that clips no gradient comes first; the authors' SGD, which clips, comes after.

# %% tags=["hide-input"]
if not after.empty:
    widths = ", ".join(map(str, sorted(after["width"].unique())))
    ladders = after.groupby("parametrization", sort=False)["width"].nunique()
    counted = ", ".join(f"*{kind}* {count}" for kind, count in ladders.items())
    display(
        Markdown(
            f"Fine-tuning is with {KIND}. Run so far: widths {widths} (models: {counted}), "
            f"{with_manual(after)['task'].nunique()} tasks with the manual prompt, "
            + (
                f"{tuned['task'].nunique()} in every way."
                if tuned["prompt"].nunique() > 1
                else "none of them with another prompt at every width."
            )
        )
    )

# %% mystnb={"figure": {"caption": "Linearization error after fine-tuning over the width: distance of the Taylor model's logits from the fine-tuned ones, relative to the movement of the logits."}, "image": {"alt": "Two panels, one a parametrization; for each prompt a bold line over the widths among the faint lines of the tasks."}} tags=["hide-input"]
if not after.empty:
    display(
        figures.unit_lines(
            tuned,
            "width",
            "linearization_error",
            "prompt",
            panel="parametrization",
            unit="task",
            labels=("width", "linearization error"),
        )
    )

# %% mystnb={"figure": {"caption": "Kernel distance over the width: mean relative change of the entries of the training kernel through fine-tuning."}, "image": {"alt": "Two panels, one a parametrization; for each prompt a bold line over the widths among the faint lines of the tasks."}} tags=["hide-input"]
if not after.empty:
    display(
        figures.unit_lines(
            tuned,
            "width",
            "kernel_distance",
            "prompt",
            panel="parametrization",
            unit="task",
            labels=("width", "kernel distance"),
        )
    )

# %% [markdown]
# Definition D.3 asks the same of every step along the way: *the error of a step* is that of its Taylor model, in
# units of the largest $\chi$ of a training sample, and *the change of the gradients* is relative to what they were
# (the median over parameters); both are the largest of all evaluations, on four test samples.

# %% tags=["hide-input"]
AFTER = {
    "linearization_error": "linearization error",
    "kernel_distance": "kernel distance",
    "kernel_scaled_error": "after the best scale",
    "kernel_cka": "alignment (CKA)",
    "step_error": "error of a step",
    "feature_change": "change of the gradients",
    "finetuned": "fine-tuned (%)",
    "kernel": "kernel regression (%)",
    "gap": "fine-tuned minus kernel (points)",
}
readable(changes(after, AFTER))

# %% [markdown]
# ### What clipping changes
#
# The authors' code clips the gradient's norm at 1. A clipped step does not shrink with $\chi$
# ({ref}`clipped-steps`), which is the very mechanism that is asked about; so what follows says what a practitioner
# gets, and tests no theorem. The changes per doubling of the width with the authors' SGD:

# %% tags=["hide-input"]
readable(changes(clipped, AFTER))

# %% [markdown]
# And the two side by side, the same models, tasks and splits, manual prompt: the mean over tasks and the difference
# with its 95 % interval. Each has its own grid of rates, and dev chose among them.

# %% tags=["hide-input"]
NAMED = {
    "finetuned": "fine-tuned (%)",
    "linearization_error": "linearization error",
    "kernel_distance": "kernel distance",
}
beside = of_two_trainings(plain, clipped, list(NAMED))
if len(beside):
    larger = {
        measure: f"{(rows['verdict'] == 'larger').sum()} of {len(rows)}"
        for measure, rows in beside.groupby("measure")
    }
    display(
        Markdown(
            f"Without clipping the linearization error is larger in {larger['linearization_error']} models, the kernel "
            f"distance in {larger['kernel_distance']}, the score in {larger['finetuned']}. A clipped step is as long as "
            f"the rate. The gradients here are longer than 1 (median norm {plain['gradient_norm'].median():.1f}), so "
            f"with the rates that dev chose (median {plain['best_learning_rate'].median():g}, the authors' SGD "
            f"{clipped['best_learning_rate'].median():g}) SGD that clips nothing goes further, and further from its "
            "Taylor model. Fewer clipped steps are not more kernel behaviour; shorter ones are."
        )
    )
readable(
    beside.assign(measure=beside["measure"].map(NAMED)) if len(beside) else beside,
    {
        "parametrization": "parametrization",
        "width": "width",
        "tasks": "tasks",
        "measure": "measure",
        "one": "SGD",
        "other": "the authors' SGD",
        "difference": "SGD less the authors'",
        "low": "low",
        "high": "high",
        "verdict": "without clipping it is",
    },
)

# %% [markdown]
# ## Are natural tasks the ones with kernel behaviour?
#
# The theory says more than that both change with the width. At one width, too, the tasks
# with a small $\chi$ should be those that linearize. So take one model at a time, and correlate its
# $\chi$ with its linearization error and kernel distance over all tasks, each with its manual prompt (Spearman's rank
# correlation with its 95 % interval, splits averaged). Other prompts of the same tasks would count some tasks three
# times. A model that guesses among $C$ classes has
# $\chi = 1 - 1/C$; so that tasks with more classes do not decide it, $\chi$ is divided by that.

# %% tags=["hide-input"]
rows = []
for (kind, width), of_model in (
    with_manual(after).groupby(["parametrization", "width"]) if len(after) else ()
):
    means = of_model.groupby("task")[
        ["chi", "num_classes", "linearization_error", "kernel_distance"]
    ].mean()
    chi = means["chi"] / (1 - 1 / means["num_classes"])
    for measure in ("linearization_error", "kernel_distance"):
        found = interval_of_rank_correlation(chi, means[measure])
        ends = (found.estimate, found.low, found.high)
        rows.append((kind, width, AFTER[measure], len(means), *ends))
correlations = pd.DataFrame(
    rows,
    columns=[
        "parametrization",
        "width",
        "chi and",
        "tasks",
        "correlation",
        "low",
        "high",
    ],
)
readable(correlations)

# %% [markdown]
# ## How to read this
#
# The verdicts are computed, and they say what this ladder shows. Four widths up to 512 are far from a limit. And
# these models are far from solving the tasks: the table above says how often they are right zero-shot, beside
# guessing. Where a model only guesses, $\chi$ cannot fall, and a slope says nothing about the theorem. A $\chi$ that
# does not fall here may fall for models that have read more; a $\chi$ that falls only for the mean is what
# {eq}`eq-natural` does not ask for. The page {doc}`/book/results/minilang` puts the same questions to a language
# where the tasks *can* be solved from pre-training alone.
#
# ## Limits
#
# - One pre-training seed for each model, and one few-shot split of each task. The intervals are over tasks; they
#   do not know of the chance in pre-training.
# - Tasks are not independent draws from a population of tasks. Several of them are about sentiment.
# - One learning rate of pre-training for all; no sweep was made for the ladder. In
#   the maximal-update parametrization it should be chosen at the base width, 64, where the two ladders are the same
#   model; its wider models may learn less than they could. So the two ladders compare a choice of scales too.
# - Fine-tuning has one learning rate for all parameters, and the kernel weights them alike. In the theory of
#   the maximal-update ladder each role has a rate of its own, also then.
# - The ladder has the kind of layers of the model `pocket`, but half its vocabulary and far less text.
# - Linearization error and kernel distance grow with how far a training went, whatever the task; the best step, chosen
#   on few examples, scatters. The kernel distance is a mean of ratios, and single entries can decide it.
# - The models have read little (see the table), so as to afford eight of them on a CPU.
# - Fine-tuning has a small grid (two learning rates, three without clipping), and its best rate changes with the
#   width; so the distances compare what a practitioner would get, not equal steps.
# - $\chi$ is taken among the label words alone, as the paper does.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-natural-sentiment
#
# Take out the sentiment tasks. Does a verdict change, and does that say anything of sentiment?
# ```
#
# ````{solution} ex-natural-sentiment
# :class: dropdown
#
# Add a cell to this page, and the same for `after` and `AFTER`:
#
# ```python
# SENTIMENT = ["sst2", "sst5", "mr", "cr", "mpqa"]
# readable(changes(before[~before["task"].isin(SENTIMENT)], BEFORE))
# ```
#
# Of the six tasks that are asked in every way three are left, and an interval has 4.3 standard errors on either side
# instead of 2.6. So arrows go, and three tasks that agree by luck can bring new ones. Compare the slopes, not the
# arrows: on the standard ladder the worst tenth over every task loses its arrow and keeps most of its slope, so what it
# lost is power. To say that sentiment is different you need an interval for the difference of the two groups' slopes.
# ````
#
# ```{exercise}
# :label: ex-natural-label-words
#
# The manual and the unrelated prompt have the same template. What does their difference in linearization error say
# about the label words? Ask first whether the two differ in $\chi$.
# ```
#
# ````{solution} ex-natural-label-words
# :class: dropdown
#
# The model reads the same words, so its hidden state at the mask is the same; only the rows of the decoder that read it
# differ. The theory knows one way from there to the error: label words that fit make $\chi$ small, so steps are short.
# So look at both differences, task by task:
#
# ```python
# from tangentlm.analysis.intervals import interval_of_mean
#
# columns = ["chi", "linearization_error"]
# means = tuned.pivot_table(columns, "task", "prompt")
# for name in columns:
#     print(name, interval_of_mean(means[name]["manual"] - means[name]["unrelated"]))
# ```
#
# Where $\chi$ is not told apart, the theory expects nothing of the error; a difference that is there all the same has
# another reason, such as the chosen rate or how frequent the words are. Expect just that: on each of these six tasks
# all models have one zero-shot score with the manual prompt, so its words do not mean the classes to them.
# ````
#
# ```{exercise}
# :label: ex-natural-more-steps
#
# Pre-train a ladder of your own with twice the steps. Which of the slopes should become steeper, and what would
# contradict you?
# ```
#
# ```{solution} ex-natural-more-steps
# :class: dropdown
#
# The learning rate falls over the whole budget, so you have to begin anew. Copy `params/studies/ladder` to
# `ladder-longer` with `steps: 8000`, copy `natural` with `run:ladder-longer/` in place of `run:ladder/`, run both, and
# name them in `STUDY, LADDER` at the top of this page; pre-training takes twice the seconds of the table above. Look at
# the zero-shot scores first: where all models still have one score, a slope says nothing. Where wider models solve more
# of a task, $\chi$ should fall with the manual prompt and not with the other two, and linearization error and kernel
# distance should fall with it. On the maximal-update ladder it speaks against the theory if $\chi$ of every example
# falls and the linearization error does not. If $\chi$ falls as much with the unrelated words, it is not the prompt
# that did it: models that get less sure of everything bring the largest $\chi$ down, too.
# ```

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
