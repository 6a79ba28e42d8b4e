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
# # Experiment: pre-training a small masked language model
#
# The book's own models come from this page. It takes text, trains a tokenizer on it, packs the
# text into rows, masks one token in five and teaches a small encoder to put the right word back.
# Every pre-training run executes this very page with other parameters.
#
# **You will learn** what a masked-LM sees in pre-training, how its loss falls, and how to find out
# what it has learned before you fine-tune it.
#
# **Before you start**: nothing. As it stands, the page trains a tiny model for seconds on the texts
# of the bundled tasks, which shows every step and teaches the model next to nothing. For a real
# one, set the parameter `corpus` (or the variable `TANGENTLM_CORPUS`) to a folder with `.txt` or
# `.txt.xz` files, one document a line, or to `hub:<data set>`, and `recipe` to `pocket`.
#
# ## Parameters
#
# `recipe` names a file of `params/recipes`: architecture, depth, width, schedule. `width`, and
# `steps` or `minutes`, replace those of the recipe.

# %% tags=["parameters"]
recipe = "tiny"  # a file of params/recipes
width = None  # size of the hidden states, instead of the recipe's
parametrization = "standard"  # standard, or mup
steps = None  # a budget in steps, instead of the recipe's
minutes = None  # or a budget in minutes
seed = 13  # weights, order of the text, masks
device = "auto"  # auto, cpu or cuda
corpus = "bundled"  # or a folder, hub:<data set>, or None for TANGENTLM_CORPUS
out = None  # where the record goes

# %%
import pandas as pd

from tangentlm.params import run_from_notebook

run = run_from_notebook("pretrain", globals())
the_recipe = run.resolved
pd.Series({**run.parameters(), **the_recipe.model_dump()}, name="value").to_frame()

# %% [markdown]
# ## The text, as tokens
#
# The tokenizer is a byte-level BPE trained on the text (a recipe that starts from another model
# takes that model's). The label words of all tasks are made
# single tokens, because a prompt can only ask for a word that is one. One document in two hundred
# is held out, chosen by a hash of its text.

# %%
from tangentlm.pretrain import PackedRows, open_corpus, prepare

text = open_corpus(run.corpus)
prepared = prepare(
    text,
    the_recipe.vocabulary,
    the_recipe.max_length,
    start=the_recipe.start,
)
tokenizer = prepared.tokenizer
passes = text.passes(the_recipe.passes)
rows = PackedRows(prepared.train, tokenizer, the_recipe.length, run.seed, passes)
held_out = PackedRows(prepared.held_out, tokenizer, the_recipe.length, seed=0)
pd.DataFrame(
    {
        "documents": [len(prepared.train.ends), len(prepared.held_out.ends)],
        "tokens": [len(prepared.train.tokens), len(prepared.held_out.tokens)],
        "rows": [rows.count, held_out.count],
    },
    index=["train", "held out"],
)

# %% [markdown]
# Documents are put in a random order and packed one after another into rows of a fixed length, so
# no computation is spent on padding. A recipe's `passes` say how often an epoch reads each file,
# if not once. This is the task: a row as the model sees it, and the words that it has to find.

# %%
batch = rows.batch(0, 1, the_recipe.masked)
print(tokenizer.decode(batch.input_ids[0]))
print("\nTo be found:", tokenizer.convert_ids_to_tokens(batch.targets.tolist()))

# %% [markdown]
# ## The model
#
# All weights are random, unless the recipe starts from another model's encoder. In the standard parametrization every parameter has the same learning
# rate. In the maximal-update parametrization the initial scale and the rate depend on the
# parameter's role, so that features are learned at every width (Table 10 of the first version of
# {cite:t}`malladi2023kernel`).

# %%
from tangentlm.models.logits import pick_device
from tangentlm.pretrain import new_model, parameter_groups, roles

masked_lm = new_model(the_recipe, tokenizer, run.seed, run.parametrization)
masked_lm.to(pick_device(run.device))
groups = parameter_groups(masked_lm, the_recipe, tokenizer, run.parametrization)
rate_of = {id(p): group["lr"] for group in groups for p in group["params"]}
pd.DataFrame(
    [
        {
            "parameter": name,
            "shape": tuple(masked_lm.get_parameter(name).shape),
            "role": role,
            "initial RMS": float(
                masked_lm.get_parameter(name).detach().square().mean().sqrt()
            ),
            "peak rate": rate_of[id(masked_lm.get_parameter(name))],
        }
        for name, role in roles(masked_lm, the_recipe, tokenizer).items()
    ]
).round(6)

# %% [markdown]
# ## Training
#
# AdamW with warm-up and linear decay, gradients clipped at norm 1, products in bfloat16 where the
# machine has instructions for it. The model is written down every two minutes; a killed run takes
# up the last checkpoint.

# %%
from tangentlm.pretrain import pretrain

trained = pretrain(
    masked_lm,
    groups,
    rows,
    held_out,
    the_recipe,
    run.checkpoint_folder(prepared.checksum),
)
curve = pd.DataFrame(trained.state.curve)

# %% mystnb={"figure": {"caption": "Loss at masked positions while training, and on held-out text; the horizontal line is what word frequencies alone give."}, "image": {"alt": "A line falls steeply, then slowly, over millions of tokens seen; dots of the held-out loss lie on it, below the horizontal line of word frequencies."}} tags=["hide-input"]
from tangentlm import figures
from tangentlm.pretrain.packed_rows import unigram_loss

figures.use_style()
chance = unigram_loss(prepared.train, prepared.held_out, len(tokenizer))
figures.pretraining_curve(curve, chance)

# %% tags=["remove-input"]
figures.data_link(curve, f"curve-{run.name}")

# %% [markdown]
# ## What it has learned
#
# The loss says how well the model does its task. What it *knows* is easier to believe when you
# look. First ten sentences with a gap, and what the model would put into it.

# %%
from tangentlm.pretrain import Filler, fillings, load_probes, minimal_pairs

filler = Filler(masked_lm, tokenizer)
probes = load_probes()
filled = fillings(filler, probes.fillings)
filled.style.hide()

# %% [markdown]
# Then minimal pairs: two words for one gap, of which one is right. In each kind every word is as
# often the right one as the wrong one, so a model that only knows which words are frequent gets
# 50 %. With twenty pairs, 15 right ones are the least that guessing reaches in fewer than 5 % of
# all tries.

# %%
pairs = minimal_pairs(filler, probes.pairs)
pairs.style.hide().format(precision=0)

# %% [markdown]
# ## What it does on the tasks
#
# Zero-shot, the label word with the largest logit at the mask is the answer. The probe is logistic
# regression on the hidden state that those logits are computed from, with 64 training examples a
# class.

# %%
from tangentlm.pretrain.card import Findings, save_masked_lm, write_card
from tangentlm.pretrain.downstream import downstream
from tangentlm.tasks import probed_tasks

folder = run.output_folder() / "model"
save_masked_lm(masked_lm, tokenizer, folder)
tasks = downstream(str(folder), probed_tasks())
tasks.style.hide().format(precision=1, na_rep="")

# %% [markdown]
# ## The record, and the model's card

# %%
from tangentlm.pretrain.checkpoint import discard
from tangentlm.pretrain.loop import has_bfloat16
from tangentlm.report.notes import cost_note
from tangentlm.studies.records import environment, write_record

last = trained.state
metrics = {
    "held_out_loss": trained.held_out_loss,
    "held_out_accuracy": trained.held_out_accuracy,
    "unigram_loss": chance,
    "steps": last.step,
    "tokens": last.step * the_recipe.tokens_a_step,
    "training_seconds": round(last.seconds, 1),
    "corpus_tokens": len(prepared.train.tokens),
    "epoch_tokens": rows.count * the_recipe.length,
    "held_out_tokens": len(prepared.held_out.tokens),
    "parameters": sum(p.numel() for p in masked_lm.parameters()),
    "vocabulary": len(tokenizer),
    "precision": "bfloat16"
    if has_bfloat16(next(masked_lm.parameters()).device)
    else "float32",
    "minimal_pairs": float(pairs["accuracy"].mean()),
    "pairs_table": pairs,
    "fillings_table": filled,
    "tasks_table": tasks,
    "curve": curve,
}
machine = environment(run.device)
facts = {
    **metrics,
    "seed": run.seed,
    "parametrization": run.parametrization,
    "machine": f"{machine['threads']} thread(s) of {machine['device']}",
}
write_card(
    run.name,
    the_recipe,
    text.source,
    Findings(facts, filled, pairs, tasks),
    folder,
)
path = write_record(
    run,
    {"corpus": text.checksum, "source": text.source, "drawn": "hash"},
    metrics,
)
discard(run.checkpoint_folder(prepared.checksum))
cost_note(path)

# %% [markdown]
# ## Limits
#
# One seed is one model. The held-out text is of the same kinds as the training text, so its loss
# says nothing about other text. The probe's examples are few, and its spread over samples is large;
# the table of tasks shows it.
#
# ## Exercises
#
# 1. Train for two minutes (`minutes = 2`) at widths 64 and 256. Which one is ahead, and would it
#    stay ahead?
# 2. Replace `architecture: modernbert` in a copy of the recipe by `roberta`. How long does the loss
#    stay at the line of word frequencies?
# 3. Add a sentence of your own to `assets/probes.yaml`. Did the model know?
#
# ```{admonition} Solutions
# :class: dropdown
#
# 1. A step of the wide model takes longer, so in two minutes it does fewer of them; a step teaches it more. On the CPU
#    of the book's ladder of widths the narrow model is ahead after two minutes and behind at the end, after as many
#    steps, so expect it to lead and to be overtaken. Plot the two curves once over `seconds` and once over `step`. On
#    the bundled text compare the dots: both models read it many times, and the line of training then falls without
#    anything being understood.
# 2. Put the copy into `params/recipes`, without the two settings of attention, which a RoBERTa does not have. It learns
#    its positions instead of rotating by them, normalises after each sum, and has dropout, all of which should slow the
#    beginning at this rate; so expect it to stay at the line longer. Look at the dots of the held-out loss, since
#    dropout raises the line of training. If both leave the line together, it was not the architecture that kept them
#    there; with the tiny recipe neither may get far below it.
# 3. Put it under `fillings`: these have no right answer and change nothing else, while a pair changes the tokenizer,
#    which makes every word of a pair a single token. A model that has learned little puts the same frequent words into
#    every gap. So the test of knowledge is the difference between two sentences: write a second one whose right word is
#    another, and see whether the two rows differ.
# ```
#
# Masked language modelling is that of {cite:t}`devlin2019bert`.
