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
# # Pre-training in an hour
#
# How much language can you teach a model on two CPU cores? The book's own models are the answer so far. A few
# hours at most teach them which word form fits its neighbour and something of a text's topic, but little of its
# sentiment. Longer trainings, on more text or on text nearer to the tasks, gave no model that is better in all
# that we measured. The last comparison of the page asks what a start from another model's encoder gives.
#
# **You will learn** where the time of a training step goes, how the loss falls, and how to tell what a
# small masked language model has learned.
#
# **You need** the experiment {doc}`/book/experiments/pretrain`, which makes the models. Nothing is
# trained on this page: it shows the records of the study *lab* and what `benchmarks/pretraining.py`
# wrote.

# %% [markdown]
# ## The choices that decide
#
# - **Architecture.** With learned absolute positions a small model knows word frequencies, and nothing
#   else, for thousands of steps: it must first find out that neighbours matter. Rotary positions give
#   it that almost for free. The recipe takes ModernBERT's layers.
# - **The vocabulary.** Every entry costs a row of the embedding, and in a small model the embedding is
#   a large part of the whole. But with few entries, the rarer words that carry the answer to a task fall
#   apart into pieces. The recipe `pocket-8k` has half the entries; the last section compares.
# - **The text.** What is to be known must be read about. A recipe says how often an epoch reads each
#   file. The recipe `pocket` reads reviews, news and single sentences more often than encyclopedia and
#   books; the last section says how little that brought.
# - **Small batches.** At this scale many small steps learn more from the same text than few large ones.
# - **Logits where they count.** One token in five is masked, and only there are logits computed.
#
# ## Where the time goes
#
# A step is matrix products and the rest. The products of a real step, with their very shapes, are timed
# by themselves. Their share of the step says how close the training is to what the machine can do.

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown, display

from tangentlm import figures
from tangentlm.params import load_recipe
from tangentlm.report.tables import readable
from tangentlm.studies.collect import (
    read_benchmark,
    read_collected,
    read_collected_table,
)

figures.use_style()
steps = read_benchmark("pretraining")
rest = read_benchmark("pretraining-rest")
readable(
    steps,
    {
        "width": "width",
        "parameters": "parameters",
        "tokens_a_second": "tokens a second",
        "step_seconds": "step (s)",
        "products_seconds": "products (s)",
        "share_of_products": "share",
        "products_gflops": "GFLOP/s",
        "threads": "threads",
    },
)

# %% mystnb={"figure": {"caption": "What a training step spends its time on, by kind of operation, over the width."}, "image": {"alt": "Stacked bars for four widths: the share of matrix products grows with the width, copies and operations by element shrink."}} tags=["hide-input"]
if not rest.empty:
    shares = rest.pivot(index="width", columns="kind", values="share")
    order = shares.mean().sort_values(ascending=False).index
    shares = 100 * shares.loc[:, order].loc[:, shares[order].max() > 0.001]
    shares.index = [f"width {width}" for width in shares.index]
    display(figures.stacked_bars(shares, "share of the step (%)"))

# %% tags=["remove-input"]
figures.data_link(rest, "pretraining-rest")

# %% tags=["hide-input"]
if not steps.empty:
    AIM = 0.6
    at = steps[steps["width"] == load_recipe("pocket").width].iloc[0]
    enough = steps.loc[steps["share_of_products"] >= AIM, "width"]
    verdict = (
        f"it is reached from width {enough.min()} on"
        if len(enough)
        else "it is reached at no width"
    )
    display(
        Markdown(
            f"At the width of `pocket`, in a model of {at['parameters'] / 1e6:.1f} million "
            f"parameters, the products alone take {100 * at['share_of_products']:.0f} % of the step, "
            f"at {at['products_gflops']:,.0f} GFLOP/s in bfloat16. The aim was {100 * AIM:.0f} %; "
            f"{verdict}. The wider the model, the larger the share: the products of the layers grow "
            f"with the square of the width, most of the rest with the width or less."
        )
    )

# %% [markdown]
# What did not help: the fused attention of PyTorch (on a CPU its backward pass takes longer than two
# batched products and a softmax), compiling the model (no gain beyond noise), and activations that are
# bfloat16 throughout (a little faster, at the price of rounding the residual stream; not used).
#
# ## The models

# %% tags=["hide-input"]


def without_common_parts(table, column="run"):
    """Models under short names: all are of seed 13 and in the standard parametrization."""
    if table.empty:
        return table
    short = table[column].str.removeprefix("run:lab/")
    return table.assign(**{column: short.str.removesuffix("-s13-standard")})


runs = without_common_parts(read_collected("lab", "pretrain"))
curve, pairs, tasks = (
    without_common_parts(read_collected_table("lab", f"pretrain-{name}"))
    for name in ("curve", "pairs_table", "tasks_table")
)
readable(
    runs,
    {
        "run": "run",
        "parameters": "parameters",
        "vocabulary": "vocabulary",
        "tokens": "tokens seen",
        "held_out_loss": "held-out loss (nats a token)",
        "held_out_accuracy": "guessed right",
        "minimal_pairs": "minimal pairs (%)",
        "training_seconds": "seconds",
    },
)

# %% [markdown]
# Mind the vocabularies: with fewer entries a token is a smaller piece of text, and easier to guess. Losses a token
# compare within one vocabulary only; below, the models are asked for the same words.

# %% mystnb={"figure": {"caption": "Training loss of each model over the tokens seen; models of other vocabularies do not compare."}, "image": {"alt": "One falling line for each model."}} tags=["hide-input"]
if not curve.empty:
    wide = curve.pivot(index="tokens", columns="run", values="loss")
    wide = wide.rolling(10, min_periods=1).mean().reset_index()
    wide["tokens"] /= 1e6
    names = {name: name for name in wide.columns if name != "tokens"}
    display(
        figures.lines(
            wide.iloc[::10],
            "tokens",
            names,
            labels=("million tokens", "loss (nats)"),
        )
    )

# %% tags=["remove-input"]
figures.data_link(curve, "pretraining-curves")

# %% [markdown]
# ## What they know
#
# Minimal pairs: how often the right one of two words is the likelier one, in percent; guessing gives
# 50, and of twenty pairs 15 right ones are needed to be better than guessing (one-sided, 5 %).

# %% tags=["hide-input"]
if pairs.empty:
    display(Markdown("Not run."))
else:
    display(
        pairs.pivot(
            index="phenomenon", columns="run", values="accuracy"
        ).style.format(precision=0)
    )

# %% [markdown]
# Accuracy on the tasks, zero-shot with the manual prompt, and of a linear probe at the mask (64
# examples a class, mean over five samples of them):

# %% tags=["hide-input"]
if tasks.empty:
    display(Markdown("Not run."))
else:
    display(
        tasks.pivot(
            index=["task", "majority"],
            columns="run",
            values=["zero_shot", "probe"],
        )
        .style.format(precision=1)
        .format_index(precision=1)
    )

# %% [markdown]
# ## Did it get better?
#
# The book's default model is older than the lab: four layers of width 256, 16,384 entries, about an hour of
# training (in the tables it is `pocket-cpu`; its card is in `assets/pocket`). Two longer trainings were to
# replace it. `pocket-8k` has half the vocabulary and read three times the text. The recipe `pocket` has the same
# vocabulary, a larger initial scale, more than twice the text, and reads more of what the tasks are made of. A
# third, with six layers, was given up halfway: its loss was not below that of four layers at the same tokens.
#
# Losses a token do not compare across vocabularies, so all are asked for the same hidden words (see
# {doc}`/book/experiments/probe`). That is not quite fair either: a word of several tokens has several masks,
# filled independently, which counts against a small vocabulary. And `pocket-cpu` may have read more than half of
# these documents once, since it is older than the rule that holds them out of the others' training. The tasks are
# those that a model of this size can do something about: SST-2, MR, CR, AG News, Subj and TREC, all test examples
# up to a thousand.

# %% tags=["hide-input"]
COMPARED = ("sst2", "mr", "cr", "agnews", "subj", "trec")
probes = without_common_parts(read_collected("models", "probe"), "model")
on_tasks = read_collected_table("models", "probe-tasks_table")
if not probes.empty:
    on_tasks = on_tasks.merge(probes[["run", "model"]], on="run")
    few = on_tasks[on_tasks["task"].isin(COMPARED)]
    means = few.groupby("run")[["zero_shot", "probe"]].mean()
    means = means.add_suffix("_mean").reset_index()
    probes = probes.merge(means, on="run")
readable(
    probes,
    {
        "model": "model",
        "parameters": "parameters",
        "word_loss": "hidden words: loss (nats)",
        "word_accuracy": "guessed right",
        "minimal_pairs": "minimal pairs (%)",
        "zero_shot_mean": "zero-shot, mean (%)",
        "probe_mean": "64-shot probe, mean (%)",
    },
)

# %% tags=["hide-input"]
# Where a gain is a smaller number, and where a larger one.
GAINS = {"word_loss": -1, "zero_shot_mean": 1, "probe_mean": 1}
if not probes.empty:
    of_model = probes.set_index("model")[list(GAINS)]
    before = "pocket-cpu"
    gains = (of_model - of_model.loc[before]).drop(index=before)
    gains = gains * pd.Series(GAINS)
    # What the text below says, so that it cannot become untrue unnoticed.
    assert not (gains > 0).all(axis=1).any()
    display(
        readable(
            gains.round(2).reset_index(),
            {
                "model": "model",
                "word_loss": "hidden words (nats)",
                "zero_shot_mean": "zero-shot (points)",
                "probe_mean": "64-shot probe (points)",
            },
        )
    )

# %% [markdown]
# The table is the gain over `pocket-cpu`. No training is ahead in all three, so none became the default.
# More text, and text nearer to the tasks, have not made better features for them: at this size, a few hours
# of two CPU cores seem to end at the same place as one. We do not know why the 64-shot accuracy fell. It is
# one seed of each, and the spread over models trained alike is not known.

# %% [markdown]
# (mini-bar)=
# ## A start from another model's encoder
#
# Text is not the only teacher. MiniLM's encoder was distilled from BERT and then tuned on a billion pairs of
# sentences, and it comes without a language-model head. The recipe `mini` gives it a new one, which learns
# alone at first, and trains both on this book's text: can it become a masked-LM that knows its tasks? The bar
# was set before the training: over the fourteen tasks of the first paper the mean zero-shot accuracy has to
# rise by 8 points, and SST-2 has to reach 65 %. "Calibrated" subtracts each label word's mean logit over
# the test texts, without their labels, which takes away how frequent the words are.

# %% tags=["hide-input"]
FOURTEEN = [
    "sst2",
    "sst5",
    "mr",
    "cr",
    "mpqa",
    "subj",
    "trec",
    "agnews",
    "mnli",
    "snli",
    "qnli",
    "rte",
    "mrpc",
    "qqp",
]
RISE, SST2 = 8.0, 65.0
KINDS = {"zero_shot": "as it stands", "calibrated": "calibrated"}
trained_on = pd.concat(
    [
        read_collected_table(study, "pretrain-tasks_table").assign(model=study)
        for study in ("mini", "mini-longer")
    ]
)
if trained_on.empty or on_tasks.empty:
    display(Markdown("Not run."))
else:
    sides = (
        pd.concat([on_tasks[on_tasks["model"] == "pocket-cpu"], trained_on])
        .query("task in @FOURTEEN")
        .pivot(index="task", columns="model", values=[*KINDS, "probe"])
        .loc[FOURTEEN]
    )
    said = []
    for model in trained_on["model"].unique():
        rises = {
            kind: (sides[kind][model] - sides[kind]["pocket-cpu"]).mean()
            for kind in sides.columns.levels[0]
        }
        for kind, words in KINDS.items():
            sst2 = sides[kind][model]["sst2"]
            passed = rises[kind] >= RISE and sst2 >= SST2
            said.append(
                f"`{model}`, {words}: the mean over tasks rises by {rises[kind]:.1f} points, and "
                f"SST-2 is at {sst2:.1f} %: {'passed' if passed else 'not passed'}."
            )
        said.append(f"Its 64-shot probe rises by {rises['probe']:.1f} points.")
    display(
        Markdown(" ".join(["**The bar.**", *said])),
        sides.style.format(precision=1, na_rep="not measured"),
    )

# %% [markdown]
# ## Every task

# %% tags=["hide-input"]
if on_tasks.empty:
    display(Markdown("Not run: the study *models*."))
else:
    display(
        on_tasks.pivot(
            index=["task", "majority"],
            columns="model",
            values=["zero_shot", "probe"],
        )
        .style.format(precision=1)
        .format_index(precision=1)
    )

# %% [markdown]
# ## Limits
#
# - One seed each: the models are objects to study, and differences of a few points between them are
#   not established.
# - Speed is of one machine; the table says how many threads.
# - The held-out text is of the same kinds as the training text.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-pretraining-attack
#
# Run `benchmarks/pretraining.py` on your machine. Which kind of operation would you attack first?
# ```
#
# ````{solution} ex-pretraining-attack
# :class: dropdown
#
# The largest kind are the matrix products, but they are the work itself: one makes them faster by another type or
# machine and not by better code. Of the others, a kind with the share $s$ of the step can speed it up by $1 / (1 - s)$
# at most, even if it vanished. Measure into a folder of your own, since by default the script writes over the records
# of this page (`python benchmarks/pretraining.py --width 64 256 --out mine`), and list the limits, here for the
# records:
#
# ```python
# wide = rest.pivot(index="kind", columns="width", values="share")
# (1 / (1 - wide.drop("matrix products"))).round(2).sort_values(256, ascending=False)
# ```
#
# At the width of `pocket` copies, operations by element and GELU with softmax have about the same limit, so no single
# attack brings much. Take the one that you can remove whole, such as copies that only change a type.
# ````
#
# ```{exercise}
# :label: ex-pretraining-all-logits
#
# What would the share of products be if logits were computed at every position?
# ```
#
# ````{solution} ex-pretraining-all-logits
# :class: dropdown
#
# The decoder multiplies rows of the model's width by the vocabulary, once forward and twice backward, so a position
# costs six operations for each entry of the embedding. Add the positions that are left out today, at the speed of the
# other products:
#
# ```python
# recipe = load_recipe("pocket")
# at = steps[steps["width"] == recipe.width].iloc[0]
# positions = (1 - recipe.masked) * recipe.tokens_a_step
# more = 6 * positions * recipe.width * recipe.vocabulary / 1e9 / at["products_gflops"]
# (at["products_seconds"] + more) / (at["step_seconds"] + more)
# ```
#
# By this count the share rises above the aim, while every step gets longer for nothing that is learned: a share says
# how well the machine is used, and not for what. The true share is below this number, because softmax and loss read
# five times as many logits as well and were left as they are. Time a step to see how far below; we have not.
# ````
#
# ```{exercise}
# :label: ex-pretraining-phenomenon
#
# Ask a model for a phenomenon of your own, twenty pairs, balanced. Does it know? How many right ones would surprise
# you?
# ```
#
# ````{solution} ex-pretraining-phenomenon
# :class: dropdown
#
# Balanced means that every word is as often right as wrong; else a model passes that only knows which word is more
# frequent. Leave `assets/probes.yaml` alone unless you mean to run the studies *lab* and *models* again, since the file
# is part of their runs' identity. Two pairs of twenty:
#
# ```python
# from tangentlm.models.checkpoints import load_pretrained, load_tokenizer
# from tangentlm.pretrain import Filler, minimal_pairs
# from tangentlm.pretrain.probes import MinimalPairs
#
# items = (
#     ("The shop near the station {mask} closed.", "is", "are"),
#     ("The shops near the station {mask} closed.", "are", "is"),
# )
# filler = Filler(load_pretrained("pocket"), load_tokenizer("pocket"))
# minimal_pairs(filler, {"mine": MinimalPairs(about="my own", items=items)})
# ```
#
# Words have to be single tokens of the model. Of twenty, 15 right ones are better than guessing if you ask one model
# for one phenomenon; ask five, and one of them gets there by luck in about one case of ten. By the table above expect
# much where the answer is in the neighbouring word and little where it is further away. Few right ones are a finding,
# too: far below 50 % the model follows another word, such as the nearest noun.
# ````
#
# The architecture is that of {cite:t}`warner2024modernbert`.

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
