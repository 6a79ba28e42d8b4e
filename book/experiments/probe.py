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
# # Experiment: what does a masked language model know?
#
# Before you ask what fine-tuning does to a model, find out what the model can do without it. This
# page looks at any masked language model from four sides: words hidden in text, gaps that it fills
# freely, minimal pairs, and the tasks of this book. Every run executes this very page with other
# parameters.
#
# **You will learn** how to compare two models that cut text into different tokens, and how little a
# single number says of a model.
#
# **Before you start**: nothing.
#
# ## Parameters
#
# `model` is a model of `params/models`, `run:<study>/<run>` for one that a pre-training run made, or a
# folder.

# %% tags=["parameters"]
model = "pocket"  # a model of params/models, run:<study>/<run>, or a folder
k = 16  # training examples a class for the linear probe
test_size = 1000  # at most so many test examples of each task
seed = 13  # names the run; the probe's samples have their own seeds
corpus = "bundled"  # or a folder, hub:<data set>, or None for TANGENTLM_CORPUS
data = None  # a data folder; the variable TANGENTLM_DATA otherwise
device = "auto"  # auto, cpu or cuda
out = None  # where the record goes

# %%
import pandas as pd

from tangentlm.params import run_from_notebook

run = run_from_notebook("probe", globals())
pd.Series(run.parameters(), name="value").to_frame()

# %% [markdown]
# ## Hidden words
#
# The loss a token cannot be compared across tokenizers. So a few words are hidden in each document, whatever
# tokens they are made of, with a mask for each token. The documents are those that every pre-training run of
# the book holds out. The default model, `pocket`, is older than that rule: it may have read them, once.

# %%
from tangentlm.models.checkpoints import load_masked_lm, load_tokenizer
from tangentlm.models.logits import pick_device
from tangentlm.pretrain import (
    Filler,
    fillings,
    load_probes,
    minimal_pairs,
    open_corpus,
)
from tangentlm.pretrain.corpus import is_held_out
from tangentlm.pretrain.words import word_loss

text = open_corpus(run.corpus)
texts = [document for document in text.documents() if is_held_out(document)]
masked_lm = load_masked_lm(run.model).to(pick_device(run.device))
filler = Filler(masked_lm, load_tokenizer(run.model))
found = word_loss(filler, texts)
pd.Series(
    {
        "documents": len(texts),
        "hidden words": found.hidden,
        "loss (nats a word)": round(found.loss, 3),
        "guessed right (%)": round(100 * found.accuracy, 1),
    },
    name="value",
).to_frame()

# %% [markdown]
# ## Gaps

# %%
probes = load_probes()
filled = fillings(filler, probes.fillings)
filled.style.hide()

# %% [markdown]
# ## Minimal pairs
#
# Two words for one gap, of which one is right. In each kind every word is as often the right one as the
# wrong one, so guessing and preferring frequent words both give 50 %. Far below 50 % is a finding, too:
# such a model follows a rule, and it is another one.

# %%
pairs = minimal_pairs(filler, probes.pairs)
pairs.style.hide().format(precision=0)

# %% [markdown]
# ## The tasks
#
# Zero-shot with the manual prompt, and logistic regression on the hidden state at the mask.

# %%
from tangentlm.pretrain.downstream import downstream
from tangentlm.tasks import probed_tasks

tasks = downstream(
    run.model, probed_tasks(), k=run.k, test_size=run.test_size, data=run.data
)
tasks.style.hide().format(precision=1, na_rep="")

# %% [markdown]
# ## The record

# %%
from tangentlm.report.notes import cost_note
from tangentlm.studies.records import write_record

path = write_record(
    run,
    {"corpus": text.checksum, "source": text.source, "drawn": "hash"},
    {
        "word_loss": found.loss,
        "word_accuracy": found.accuracy,
        "hidden": found.hidden,
        "parameters": sum(p.numel() for p in masked_lm.parameters()),
        "minimal_pairs": float(pairs["accuracy"].mean()),
        "zero_shot": float(tasks["zero_shot"].mean()),
        "probe": float(tasks["probe"].mean()),
        "pairs_table": pairs,
        "fillings_table": filled,
        "tasks_table": tasks,
    },
)
cost_note(path)

# %% [markdown]
# ## Limits
#
# A word of several tokens has several masks, guessed independently: the model learns how long the word is, and pays
# for not knowing which tokens go together. Twenty pairs a kind tell good
# from bad, not good from better. A model that was pre-trained elsewhere may have seen the documents.
#
# ## Exercises
#
# 1. Which kinds of pairs are far below 50 %? Which word does the model follow instead of the subject?
# 2. Hide nearly every word: `from tangentlm.pretrain import words; words.HIDDEN = 90` before `word_loss` is called. How
#    does the loss change, and what does that say of what the model uses?
# 3. Ask a model of your own: `model = "/path/to/a/masked-lm"`.
#
# ```{admonition} Solutions
# :class: dropdown
#
# 1. For `pocket` these are agreement across a prepositional phrase and across a relative clause, while agreement with
#    the noun just before the verb is right. In each of these sentences the noun nearest to the verb has the other
#    number, so who agrees with it is wrong every time: the model follows the nearest noun. To see it, compare
#    `filler.token("is")` and `filler.token("are")` in
#    `filler.log_probabilities("The box of old letters {mask} under the bed.")`, and once more without the phrase.
# 2. Nearly all of a word's context is gone, so the loss should rise towards that of word frequencies, and the words
#    that are still guessed are frequent ones. What it rises by is what the model took from the words around. It does
#    not quite get to the bottom: words with a comma or a full stop are never hidden, and the number of masks tells how
#    long a word is. If the loss hardly rises, the model had read little more than frequencies before.
# 3. It has to be a masked language model with its tokenizer. The loss a word, the minimal pairs and the tasks can be
#    compared with those of `pocket`, a loss a token could not. Each word of the minimal pairs has to be one token of
#    that model; where one is not, the cell stops and names it. Remember that a public model may have read the
#    documents.
# ```
