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
# # Width, in two parametrizations
#
# The theory of this book speaks of networks whose width $n$ goes to infinity. A sentence like "as
# the network gets wider" is not complete until you say what happens to the scale of the weights and
# to the learning rates on the way. Two answers matter here. In the **standard parametrization**
# nothing happens: every width has the same initial scale and the same rate. In the **maximal-update
# parametrization** (muP) both follow the width, so that every layer keeps learning features, as much
# as it can without blowing up. The paper pictures pre-training in the second, but its theorem does not need it.
#
# **You will learn**
#
# - how initial scale and learning rate depend on a parameter's role
# - how a decoder that is tied to the embedding gets its scale all the same
# - how to check, in seconds, that an implementation does what it says
#
# **Before you start**: the experiment {doc}`/book/experiments/pretrain`.

# %% [markdown]
# ## Three roles
#
# Count the dimensions of a parameter that grow with the width. The embedding has one (vocabulary by
# $n$): an **input** weight, $U$. A matrix inside a layer has two: a **hidden** weight, $W$. The
# decoder has one again, on the other side: an **output** weight, $V$. For Adam, and for sign descent,
# Table 10 of {cite:t}`malladi2022openreview` asks for these scales of each coordinate:
#
# | | $U$, gains, biases | $W$ | $V$ |
# |---|---|---|---|
# | initial weight | $\Theta(1)$ | $\Theta(1/\sqrt n)$ | $\Theta(1/n)$ |
# | change by training | $\Theta(1)$ | $\Theta(1/n)$ | $\Theta(1/n)$ |
# | learning rate | $\Theta(1)$ | $\Theta(1/n)$ | $\Theta(1/n)$ |
#
# The reason fits in one line. A step of Adam moves each entry of $W$ by about the learning rate, and
# the moves of a row are aligned with the input, because the gradient was made from it. So a sum over
# $n$ inputs moves by $n$ times the rate: for a change of order one, the rate must be $1/n$. The
# initial weights are not aligned with anything. Their sum grows like $\sqrt n$ only.
#
# ## A decoder that is an embedding
#
# The masked language models of this book use one matrix as embedding and as decoder. It cannot have
# the scale of $U$ and of $V$ at once. But a weight with a multiplier $1/n$ behind it, at the scale
# and rate of $U$, trains exactly like a weight at the scale and rate of $V$:
#
# ```{prf:lemma} A multiplier and a scale (Lemma D.6 of Malladi-v1)
# :label: lemma-multiplier
#
# Let a weight have the multiplier $A$, the initial standard deviation $B$ and, for Adam, the rate
# $C$. Then $(A\gamma,\ B/\gamma,\ C/\gamma)$ gives the same function at every step, for every
# $\gamma > 0$.
# ```
#
# ```{prf:proof}
# The product of multiplier and weight is what the network computes with. Its initial value is the
# same. A step of Adam moves the weight by the rate times a direction that does not depend on the
# gradient's scale, so it moves the product by $A\gamma \cdot C/\gamma = AC$ times that direction.
# ```
#
# The norm before the decoder multiplies by a gain anyway. Let the gain start at $b/n$ instead of 1,
# where $b$ is the width at which both parametrizations are to be equal, and the multiplier is there,
# in a model that any library can load.

# %%
import pandas as pd

from tangentlm import figures
from tangentlm.params import load_recipe
from tangentlm.pretrain import (
    PackedRows,
    new_model,
    open_corpus,
    parameter_groups,
    prepare,
    roles,
)

figures.use_style()
recipe = load_recipe("tiny")
prepared = prepare(
    open_corpus("bundled"), recipe.vocabulary, recipe.max_length, progress=False
)
tokenizer = prepared.tokenizer


def scales(width):
    """Initial root mean square and peak rate of a parameter of each role."""
    wide = recipe.replaced(width, None, None)
    model = new_model(wide, tokenizer, 0, "mup")
    groups = parameter_groups(model, wide, tokenizer, "mup")
    rate = {id(p): g["lr"] for g in groups for p in g["params"]}
    role = roles(model, wide, tokenizer)
    rows = []
    for name in (
        "model.embeddings.tok_embeddings.weight",
        "model.layers.0.mlp.Wi.weight",
        "head.norm.weight",
    ):
        weight = model.get_parameter(name)
        rms = float(weight.detach().square().mean().sqrt())
        rows.append((width, role[name], name, rms, rate[id(weight)]))
    return rows


pd.DataFrame(
    [row for width in (64, 256) for row in scales(width)],
    columns=["width", "role", "parameter", "initial RMS", "peak rate"],
).round(5)

# %% [markdown]
# From width 64 to 256, four times as wide, the hidden weight starts at half its scale, and learns at
# a quarter of the rate; the gain before the decoder does both at a quarter.
#
# ## The coordinate check
#
# Is it right? You need not trust the table. Train models of several widths for a few steps and look
# at the activations of every layer: how much have their coordinates changed? With muP the change is
# of order one at every width. In the standard parametrization it grows, and sooner or later a rate
# that was fine for the narrow model is too large for the wide one.

# %%
from tangentlm.pretrain.coordinate_check import coordinate_check

rows = PackedRows(prepared.train, tokenizer, recipe.length, seed=0)
widths = (64, 128, 256, 512)
check = coordinate_check(recipe, tokenizer, rows, widths, seeds=(0, 1))
mean = check.groupby(["parametrization", "layer", "width"])["change"].mean()
mean.unstack("width").round(3)


# %% mystnb={"figure": {"caption": "Size of the activations at initialisation, layer by layer, over the width; geometric mean over two seeds."}, "image": {"alt": "Two log-log panels of points over width. In the standard parametrization the logits grow with the width; in muP the head's coordinates fall and the logits do not grow; all other layers are flat in both."}} tags=["hide-input"]
def over_width(measure, label):
    """A measure of every layer over the width, a panel a parametrization."""
    return figures.power_laws(
        check,
        "width",
        measure,
        "layer",
        panel="parametrization",
        slopes={("mup", "head"): -1.0},
        labels=("width", label),
    )


over_width("at_start", "activation (RMS)")

# %% mystnb={"figure": {"caption": "Change of the activations by four steps of AdamW. The dashed line at the head of muP has the slope minus one; all else should be flat in muP."}, "image": {"alt": "Two log-log panels of points over width. In the standard parametrization the changes grow with the width; in muP they are flat but for the head, whose change falls with slope minus one."}} tags=["hide-input"]
over_width("change", "change (RMS)")

# %% tags=["remove-input"]
figures.data_link(check, "coordinate-check")

# %%
last = f"layer {recipe.depth}"
growth = mean.unstack("width")
growth = growth[widths[-1]] / growth[widths[0]]
assert growth["standard", "logits"] > 2 * growth["mup", "logits"]
assert 0.5 < growth["mup", "logits"] < 1.5
assert 0.5 < growth["mup", last] < 1.5
growth.rename("change at the largest width over that at the smallest").round(
    2
).to_frame()

# %% [markdown]
# The head is the one place where muP's coordinates get smaller, like $1/n$: that is the multiplier at
# work, and the decoder's sum over $n$ coordinates brings the logits back to order one.
#
# ## What it means for the book
#
# Theorem 3.7 of {cite:t}`malladi2022openreview` takes a pre-trained model that is stable, non-trivial and a tensor
# program, and finds kernel behaviour in *fine-tuning*, provided that the downstream task is natural: that its
# output derivative vanishes with the width. A model pre-trained in muP, where features were learned, is the example to have in mind. Nothing of this can be seen from two public models that
# differ in depth too. It takes a ladder of models that differ in width alone.
#
# ## Limits
#
# - Four steps at the peak rate, at initialisation. A coordinate check finds a wrong exponent; it does
#   not say that the best rate is the same at every width.
# - Adam divides by the root of the squared gradient plus a small $\epsilon$. Where gradients become as
#   small as $\epsilon$ the argument fails; here they are far above it.
# - Attention needs no change here, because the size of a head is fixed and wider models have more heads.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-parametrization-hidden-rate
#
# Give the hidden weights the rate $\Theta(1)$ and keep the rest of muP. Which layer goes wrong first, and would the
# logits show it?
# ```
#
# ````{solution} ex-parametrization-hidden-rate
# :class: dropdown
#
# In a copy of `parameter_groups` let `factor["hidden"]` be 1.0, and run the check with it. Every entry of $W$ then
# moves by the same amount at every width, aligned with its input, so a sum over $n$ inputs changes by $\Theta(n)$. No
# hidden weight comes before the embedding, so its change stays flat, and layer 1 is the first to grow: with a slope of
# one, or more, since the second matrix of a layer reads what the first one has already made too large. Layer 2 adds its
# own. We have not run it. Do not look at the logits alone: the norm before the decoder divides the size away, and with
# the gain $\Theta(1/n)$ behind it logits stay of order one whatever the layers do. A flat layer 1 would contradict all
# this.
# ````
#
# ```{exercise}
# :label: ex-parametrization-sgd
#
# For SGD the rate of $U$ has to be $\Theta(n)$, that of $W$ $\Theta(1)$ and that of $V$ $\Theta(1/n)$. Derive them from
# the size of the gradients.
# ```
#
# ```{solution} ex-parametrization-sgd
# :class: dropdown
#
# SGD moves a weight by the rate times the gradient, so the rate is the change that the table asks for over the
# gradient. Let $x$ be the activations, of order one, and $\delta$ the derivative of the loss by them. The last $\delta$
# is a column of $V$ times the error, so it is $\Theta(1/n)$; one layer further back $W^\top \delta$ is a sum of $n$
# terms of size $1/\sqrt n \cdot 1/n$ without a common sign, again $\Theta(1/n)$. So the gradient of $V$ is $x$, of
# order one, and its change $\Theta(1/n)$ needs the rate $\Theta(1/n)$. The gradient of $W$ is $\delta x^\top$, which is
# $\Theta(1/n)$ like its change: rate $\Theta(1)$. The gradient of $U$ is $\delta$ times an input of order one,
# $\Theta(1/n)$, and the change has order one: rate $\Theta(n)$. Adam divides the size of the gradients away, so its
# rates are the changes themselves.
# ```
#
# ```{exercise}
# :label: ex-parametrization-tenth
#
# The check trains at `learning_rate` from the first step. Does the picture change at a tenth of it?
# ```
#
# ````{solution} ex-parametrization-tenth
# :class: dropdown
#
# Adam's steps are proportional to the rate, so as long as changes are small beside what was there, all of them fall by
# about ten, at every width and in both parametrizations. A factor that all widths share moves a line in a log-log
# picture and leaves its slope: muP stays flat, and the standard parametrization still grows.
#
# ```python
# gentle = recipe.model_copy(update={"learning_rate": recipe.learning_rate / 10})
# slow = coordinate_check(gentle, tokenizer, rows, widths, seeds=(0, 1))
# by = ["parametrization", "layer", "width"]
# (slow.groupby(by)["change"].mean() / check.groupby(by)["change"].mean()).unstack("width")
# ```
#
# Look at where the ratio is not a tenth: there the full rate was already too large for proportion, and the norms held
# the change back, so expect it at the widest standard models. If muP were flat at one rate alone, its exponents would
# be wrong. The initial activations do not know the rate, so the first picture is the same. We have not run it.
# ````
#
# The parametrization is that of {cite:t}`yang2021tensor`; {cite:t}`yang2022tensor` made the recipe of it that
# practitioners use.

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
