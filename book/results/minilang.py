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
# # A language whose truth is known
#
# {cite:t}`malladi2023kernel` say that prompts matter because they make a task look like pre-training, and that
# kernel behaviour follows. With public models nobody can test the "because": their pre-training text
# is too large to know, and prompts that fit it differ from others in many ways. So make a language in
# which the difference is known.

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown, display

from tangentlm import figures
from tangentlm.analysis.intervals import interval_of_mean
from tangentlm.analysis.slopes import changes_in_words, per_doubling
from tangentlm.params import load_grid, load_study
from tangentlm.report.tables import folded, readable
from tangentlm.studies.collect import read_collected, read_collected_table
from tangentlm.studies.progress import study_progress

figures.use_style()
STUDY = "minilang"
runs = read_collected(STUDY, "minilang")
results = read_collected_table(STUDY, "minilang-results")
CLIPPED, PLAIN = "clipped SGD", "SGD"


def with_runs(results, runs, columns):
    """The results with facts of their runs, in words; before there were two kinds of SGD, it was clipped."""
    if results.empty:
        return results
    method = results.get("method", pd.Series(index=results.index, dtype=str))
    natural = results["natural"].map({True: "natural", False: "not natural"})
    method = method.replace("", None).fillna("sgd")
    named = {"sgd": CLIPPED, "sgd-unclipped": PLAIN}
    return results.assign(
        fine_tuning=method.map(named), **{"prompt is": natural}
    ).merge(runs[["run", *columns]], on="run")


results = with_runs(results, runs, ["seed"])

MEASURES = {
    "zero_shot": "zero-shot accuracy (%)",
    "chi": "output derivative, mean",
    "chi_worst": "output derivative, worst tenth",
    "chi_max": "output derivative, worst example",
    "kernel": "kernel regression (%)",
}
AFTER_TUNING = {
    "finetuned": "fine-tuned (%)",
    "linearized": "Taylor model (%)",
    "linearization_error": "linearization error",
    "kernel_distance": "kernel distance",
    "kernel_scaled_error": "kernel distance after the best scale",
    "kernel_cka": "alignment of the kernels (CKA)",
}
MEASURES |= AFTER_TUNING
IN_SHORT = [
    MEASURES[name]
    for name in ("chi", "chi_max", "linearization_error", "kernel_distance")
]
results = results.reindex(
    columns=[*results, *(name for name in MEASURES if name not in results)]
)

# %% tags=["hide-input"]
rows = []
cases = results.groupby(["fine_tuning", "task"], sort=False) if len(results) else ()
for (kind, task), of_task in cases:
    for measure, title in MEASURES.items():
        both = of_task.pivot(
            index=["seed", "run"], columns="natural", values=measure
        )
        by_seed = (both[True] - both[False]).dropna().groupby("seed").mean()
        if by_seed.empty:  # records that are older do not have it
            continue
        effect = interval_of_mean(by_seed)
        rows.append(
            {
                "fine-tuning": kind,
                "task": task,
                "measure": title,
                "difference": effect.estimate,
                "low": effect.low,
                "high": effect.high,
                "seeds": len(by_seed),
                "natural is": effect.direction("lower", "higher", "seeds"),
            }
        )
effects = pd.DataFrame(rows)


def in_short(kind: str) -> str:
    """On how many tasks each measure is told apart, for one kind of fine-tuning."""
    of_kind = effects[effects["fine-tuning"] == kind]
    of_kind = of_kind[of_kind["measure"].isin(IN_SHORT)]
    seeds = of_kind["seeds"].min()
    if of_kind["natural is"].str.contains("few").any():
        return f"{kind}: too few seeds so far ({seeds})."
    said = [
        f"{title}: lower on {(rows['natural is'] == 'lower').sum()}, higher on "
        f"{(rows['natural is'] == 'higher').sum()} of {len(rows)} tasks"
        for title, rows in of_kind.groupby("measure", sort=False)
    ]
    return f"{kind} ({seeds} seeds): " + "; ".join(said) + "."


if len(effects):
    display(
        Markdown(
            "**In short.** What changes when pre-training contained the prompt, counted where the 95 % interval "
            "over seeds leaves out zero. "
            + " ".join(in_short(kind) for kind in effects["fine-tuning"].unique())
        )
    )
else:
    display(Markdown("Not run."))

# %% mystnb={"figure": {"caption": "The output derivative before fine-tuning, with a prompt that pre-training contained and with one that it did not; mean and standard deviation over models."}, "image": {"alt": "For each of three tasks two points with error bars: the natural prompt's output derivative beside the other's."}} tags=["hide-input"]
if len(results):
    display(
        figures.spread_lines(
            results.drop_duplicates(["run", "task", "prompt is"]),
            "task",
            "chi",
            "prompt is",
            labels=("task", "output derivative"),
        )
    )

# %% [markdown]
# **You will learn** what happens to the output derivative, the kernel, linearization and fixed
# features when the same model is asked the same questions with a prompt that its pre-training
# contained and with one that it did not.
#
# **You need** the experiment {doc}`/book/experiments/minilang`, which every number here comes from.
# Nothing is computed on this page: it shows the records of the study *minilang*.
#
# ## The design
#
# A text has a latent topic, a latent sentiment, and, in a pair, a relation. Two prompts, A and B, ask
# for each of the three. They have the same form and differ in their words alone, all of which the
# model has seen. Half of the models were pre-trained on documents that end with prompts A, half on
# *the same* documents with prompts B in their place. Every model answers both. So whatever is special
# about A's words is special about B's for the other half, and what is left is the effect of
# pre-training having contained the prompt. A prompt that it contained is called *natural* below.

# %% tags=["hide-input"]
if runs.empty:
    display(Markdown("Not run."))
else:
    display(
        Markdown(
            f"{len(runs)} models ({runs['seed'].nunique()} seeds), "
            f"{runs['parameters'].iloc[0]:,} parameters each, "
            f"{runs['training_seconds'].median() / 60:.1f} minutes of pre-training (median)."
        )
    )

# %% [markdown]
# ## Two kinds of SGD
#
# The authors' code shortens every gradient that is longer than 1, and their paper does not say so. Where that
# binds, a step has the length of the learning rate, whatever the output derivative is: what is called SGD is
# normalised gradient descent ({ref}`clipped-steps` says why that matters). And it does not bind alike for the two
# prompts, which is the very comparison of this page. So every model is fine-tuned twice: with SGD, and with the
# clipped SGD of the authors, each with learning rates chosen on dev from its own grid. Where the largest rate was best,
# a larger one might be better still.

# %% tags=["hide-input"]
if "clipped_share" in results:
    steps = results[results["clipped_share"].notna()].assign(
        share=lambda table: 100 * table["clipped_share"]
    )
    rates = load_grid("quick").finetune
    largest = {
        CLIPPED: max(rates["sgd"].learning_rate),
        PLAIN: max(rates["sgd-unclipped"].learning_rate),
    }
    steps["at_edge"] = 100.0 * (
        steps["best_learning_rate"] == steps["fine_tuning"].map(largest)
    )
    shares = steps.groupby(["fine_tuning", "prompt is", "task"]).agg(
        models=("run", "nunique"),
        clipped=("share", "mean"),
        norm=("gradient_norm", "mean"),
        rate=("best_learning_rate", "mean"),
        edge=("at_edge", "mean"),
    )
    named = {
        "clipped": "steps clipped (%)",
        "norm": "median gradient norm",
        "rate": "learning rate",
        "edge": "largest rate was best (%)",
    }
    display(shares.rename(columns=named).style.format(precision=3))
count = {
    kind: results.loc[results["fine_tuning"] == kind, "run"].nunique()
    if len(results)
    else 0
    for kind in (PLAIN, CLIPPED)
}
display(
    Markdown(
        f"So far {count[PLAIN]} models were fine-tuned with SGD and {count[CLIPPED]} with clipped SGD, of "
        f"{len(load_study(STUDY))} that are planned."
    )
)

# %% [markdown]
# ## Did the models learn the language?
#
# The truth is known, so the best possible accuracy is, too (Bayes). A model that has learned the
# language reaches it zero-shot, with the prompt that it knows.


# %%
def mean_and_spread(values):
    """Over the models whose records have it."""
    known = values.dropna()
    spread = f" ({known.std():.2f})" if len(known) > 1 else ""
    return f"{known.mean():.2f}{spread}" if len(known) else ""


for kind in (PLAIN, CLIPPED) if len(results) else ():
    of_kind = results[results["fine_tuning"] == kind]
    display(Markdown(f"**{kind}**" if len(of_kind) else f"**{kind}**: not run."))
    if len(of_kind):
        table = of_kind.groupby(["task", "prompt is"])[["bayes", *MEASURES]]
        display(table.agg(mean_and_spread).rename(columns=MEASURES).T)

# %% [markdown]
# Mean over the models, standard deviation in brackets. They include the models that stayed on the plateau of a
# task, more than ten points below the best possible with the prompt that they know:

# %% tags=["hide-input"]
if len(results):
    known = results[results["natural"]].drop_duplicates(["run", "task"])
    stuck = known[known["zero_shot"] < known["bayes"] - 10]
    if stuck.empty:
        display(Markdown("None."))
    else:
        display(readable(stuck[["run", "task", "zero_shot", "bayes"]]))

# %% [markdown]
# ## What the prompt's being natural changes
#
# Each model gives one difference: its measure with the natural prompt minus that with the other. The two models of
# a seed, one pre-trained on A and one on B, share initial weights, documents and examples, so their mean is one
# measurement; it also cancels what is special about the words of A and B. Their mean and its 95 %
# interval (Student's t over seeds; with so many rows a verdict or two is wrong by chance). A kernel that vanishes has
# a distance of one, which would pass for fixed in the paper; so there are two measures more, which it cannot pass: the
# distance after the best scale, relative to the new kernel, and the alignment of the two after centring.

# %% tags=["hide-input"]
folded(readable(effects.round(2)), "Every measure on every task")

# %% [markdown]
# ## What stands without clipping
#
# A finding with clipped SGD stands if SGD gives the same verdict. What does not read the fine-tuned model (zero-shot
# accuracy, output derivative, kernel regression) is the same by construction and left out.


# %% tags=["hide-input"]
def standing(row):
    if row[PLAIN] is None or "few" in row[PLAIN]:
        return "not known yet"
    return "stands" if row[PLAIN] == row[CLIPPED] else "changes"


if len(effects):
    verdicts = effects[effects["measure"].isin(AFTER_TUNING.values())].pivot(
        index=["task", "measure"], columns="fine-tuning", values="natural is"
    )
    verdicts = verdicts.reindex(columns=[CLIPPED, PLAIN]).astype(object)
    verdicts = verdicts.where(verdicts.notna(), None)
    verdicts["so the finding"] = verdicts.apply(standing, axis=1)
    said = verdicts["so the finding"].value_counts()
    words = ", ".join(f"{word}: {count}" for word, count in said.items())
    display(Markdown(f"Of {len(verdicts)} findings, {words}."))
    display(readable(verdicts.reset_index().fillna("not run")))

# %% mystnb={"figure": {"caption": "How far the Taylor model at the fine-tuned parameters is from the fine-tuned model, relative to the movement of the logits, for each kind of SGD that was run."}, "image": {"alt": "For each of three tasks points with error bars: the linearization error with the natural prompt beside the other's, for each kind of SGD."}} tags=["hide-input"]
if len(results):
    display(
        figures.spread_lines(
            results.assign(
                case=results["prompt is"] + ", " + results["fine_tuning"]
            ),
            "task",
            "linearization_error",
            "case",
            labels=("task", "linearization error"),
        )
    )

# %% tags=["remove-input"]
figures.data_link(results, "minilang-results")

# %% [markdown]
# ## Width
#
# Definition 3.6 of {cite:t}`malladi2022openreview` speaks of a limit: as the width grows, the output derivative of
# a natural task goes to zero, for every example. Here is a ladder of models that differ in width alone, in both
# parametrizations: same documents, same order, same steps. Not even the best possible model brings the worst
# examples to zero here: where its answer is wrong, the true one has a probability of one half or less. What of it
# has been run:

# %% tags=["hide-input"]
readable(study_progress([STUDY, "minilang-width"]))

# %% [markdown]
# Mean over tasks and seeds, standard deviation in brackets. At the base width, 64, the two parametrizations are
# one and the same model:

# %% tags=["hide-input"]
OVER_WIDTH = {
    name: MEASURES[name] for name in ("zero_shot", "chi", "chi_worst", "chi_max")
} | {
    "logit_change": "change of the logits (RMS)",
    "linearization_error": "linearization error",
    "kernel_distance": "kernel distance",
    "kernel_distance_frobenius": "kernel distance (Frobenius)",
    "kernel_scaled_error": "after the best scale",
    "kernel_cka": "alignment (CKA)",
}
ladder = read_collected_table("minilang-width", "minilang-results")
models = read_collected("minilang-width", "minilang")
if ladder.empty:
    display(Markdown("Not run: the study *minilang-width*."))
else:
    ladder = with_runs(ladder, models, ["width", "parametrization", "seed"])
    wide = ladder.groupby(["fine_tuning", "prompt is", "parametrization", "width"])
    display(wide[[*OVER_WIDTH]].agg(mean_and_spread).rename(columns=OVER_WIDTH))

# %% [markdown]
# The change per doubling of the width: for every seed the slope over $\log_2 n$ of the mean over tasks, then the
# mean over seeds with its 95 % interval (Student's t). An arrow marks a change that is told apart from none.

# %% tags=["hide-input"]
if len(ladder):
    slopes = per_doubling(
        ladder,
        list(OVER_WIDTH),
        ["fine_tuning", "prompt is", "parametrization"],
        unit="seed",
    )
    display(readable(changes_in_words(slopes, OVER_WIDTH)))

# %% mystnb={"figure": {"caption": "Output derivative of the worst tenth of the examples over the width, for natural prompts; mean and standard deviation over tasks and seeds."}, "image": {"alt": "Lines over width for both parametrizations; or a note that the study was not run."}} tags=["hide-input"]
if len(ladder):
    display(
        figures.spread_lines(
            ladder[ladder["natural"]].drop_duplicates(["run", "task"]),
            "width",
            "chi_worst",
            "parametrization",
            labels=("width", "output derivative, worst tenth"),
        )
    )

# %% tags=["remove-input"]
figures.data_link(ladder, "minilang-width-results")

# %% [markdown]
# Read the tables before you read the theory into them. Definition 3.6 asks for a small output derivative on every
# example, so look at the worst example and not at the mean alone. Whether linearization and fixed features follow is
# the question; where there is no arrow, or it points the other way, that is the finding. The means take in models that
# stayed on the plateau of a task (a large spread of the zero-shot accuracy shows them).
#
# ## Limits
#
# - One kind of model, two layers deep, and a language of about two hundred words.
# - The same learning rates were offered to both prompts, and dev chose; the two kinds of SGD have grids of their
#   own. Where the natural prompt is solved before fine-tuning there is little to move, so relative
#   measures (linearization error) divide by a small number.
# - The natural prompt's words are also more frequent in pre-training than the other's.
# - Both grids are short, and the largest rate was often best, with clipped SGD nearly always where the prompt was not
#   natural.
# - What a prompt that pre-training did not contain gives zero-shot is arbitrary, not always chance.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-minilang-both
#
# Train a model with `natural = "both"`. What do you expect of the differences, and how large may they be by chance?
# ```
#
# ````{solution} ex-minilang-both
# :class: dropdown
#
# Type `tangentlm run minilang model=null natural=both clip="[null, 1.0]"`, with several seeds. No prompt is "the other"
# now, so take A less B. A and B differ in their words alone, so the mean over seeds should be zero for every measure;
# the level should be that of natural prompts, or a little worse, since each is in half as many documents. In a single
# model it is not zero, for the words start from other random numbers. The records say how far: the natural prompts of
# the two models of a seed differ in their words alone, too.
#
# ```python
# known = results[results["natural"] & (results["fine_tuning"] == PLAIN)]
# chi = known.pivot(index=["seed", "task"], columns="prompt", values="chi")
# (chi["A"] - chi["B"]).groupby("task").agg(["mean", "std"])
# ```
#
# Most of that spread is models that stayed on a plateau. A mean that is told apart from zero would say that A's words
# are special; against that the design of this page swaps A and B.
# ````
#
# ```{exercise}
# :label: ex-minilang-unseen
#
# The words of the other prompt are known from idle clauses. Design a prompt whose words pre-training
# never saw. Is its kernel worse still?
# ```
#
# ````{solution} ex-minilang-unseen
# :class: dropdown
#
# The output derivative can hardly be worse: the tables show that without a natural prompt it is that of guessing,
# $1 - 1/C$. For the kernel it counts what the hidden state at the mask knows of the text, since the head's part of the
# kernel reads no label word. The markers can spoil that: words that no text has all get the same push from the
# softmax, so they look alike, and the model cannot tell what is asked. Expect little harm where single words tell the
# answer, as for sentiment, and most for entailment, where two texts have to be compared. A test without training gives
# B's words the row of a token that no text has, plus noise. Put it before `pretrained = snapshot(masked_lm)` in
# {doc}`/book/experiments/minilang`:
#
# ```python
# import torch
#
# from tangentlm.minilang import LEXICON
#
# prompts = [LEXICON.prompts[task, "B"] for task in TASKS]
# words = [word for one in prompts for word in (*one.markers, *one.verdicts)]
# rows = masked_lm.get_input_embeddings().weight.data  # the decoder's, too
# unseen = rows[tokenizer.unk_token_id].clone()
# for number in tokenizer.convert_tokens_to_ids(words):
#     rows[number] = unseen + 0.1 * torch.randn_like(unseen)
# ```
#
# The real test keeps B's words out of the idle clauses, in `Language._text`, and trains anew.
# ````
#
# ```{exercise}
# :label: ex-minilang-hardest
#
# Which of the three tasks is hardest, and is it the one with the largest effect?
# ```
#
# ````{solution} ex-minilang-hardest
# :class: dropdown
#
# Hardest is the task whose natural prompt stays furthest below the best possible accuracy; the median does not heed the
# models that stayed on a plateau:
#
# ```python
# known = results[results["natural"]].drop_duplicates(["run", "task"])
# (known["bayes"] - known["zero_shot"]).groupby(known["task"]).median()
# ```
#
# That is entailment, which asks about two texts. By the output derivative its effect is the smallest of the three, and
# that of topic, the easiest, the largest, even after dividing by what guessing has, $1 - 1/C$: the effect is what
# pre-training has solved in advance, and of a hard task that is less. By the score of kernel regression it is the other
# way round, for on an easy task the few examples are enough with the other prompt, too. The linearization error has a
# third order. So say which measure you mean, and look at the intervals: many of them overlap.
# ````

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
