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
# (computing-kernels)=
# # Computing kernels
#
# The kernel of {prf:ref}`def-entk` is an inner product of two gradients. That is one line of
# mathematics and three lines of code, and the three lines are hopeless: they write down every
# gradient of every logit of every sample, millions of numbers each, only to multiply them once.
# But a gradient of a network is not just any vector. It is made of two small things that the
# network computes anyway, and the kernel can be made of these. In this chapter you go from the
# definition to the method that `entk` uses, one idea at a time. You build each idea by hand, in a
# few lines of torch, and compare it with the definition.
#
# **You will learn**
#
# - why one forward and $C$ backward passes of a batch hold all gradients of all its samples
# - two exact ways to multiply gradients, what each costs, and where the costs cross
# - what padding, the last layer, embeddings and a tied decoder do to a gradient
# - why a kernel of signs asks for more care than one of gradients
# - how to be sure of a number: precision, memory, a check that does not trust the method.
#
# **Before you start**: read {doc}`/book/theory/kernel-behavior` for what the kernel is. You should be
# able to read `einsum`.

# %% [markdown]
# ## The definition, and what it costs
#
# Four prompted reviews, of different lengths, are the samples. Everything is in double
# precision for now, so that "equal" can mean equal to about fifteen digits.

# %%
import time

import numpy as np
import pandas as pd
import torch

from tangentlm import figures
from tangentlm.batches import select_rows
from tangentlm.models.few_shot import few_shot
from tangentlm.params import KernelRun

figures.use_style()
shots = few_shot(
    KernelRun(task="reviews", k=16, seed=13, test_size=160, device="cpu")
)
model = shots.model.double()
# An attention whose softmax has the precision of the model.
model.masked_lm.set_attn_implementation("sdpa")
lengths = shots.batch["attention_mask"].sum(dim=1)
by_length = lengths.argsort(stable=True)
samples = by_length[[20, 110, 140, 160]]
batch = select_rows(shots.batch, samples)

parameters = dict(model.named_parameters())
B, T = batch["input_ids"].shape
C = model.num_classes
P = sum(parameter.numel() for parameter in parameters.values())
print(f"B = {B} samples of {lengths[samples].tolist()} tokens, C = {C} logits")
print(f"P = {P:,} parameters in {len(parameters)} tensors")

# %% [markdown]
# The definition, word by word: differentiate each logit of each sample with respect to all
# parameters, one backward pass each. The rows of the result are the Jacobian $J$, of shape
# $(B, C, P)$. The kernel is the inner products of its rows,
#
# $$\mathcal{K}_{cd}(\xi_i, \xi_j) = \sum_{k=1}^{P} J_{ick}\, J_{jdk} .$$ (eq-jacobian-kernel)


# %%
def timed(function):
    """What a function returns, and the seconds that it takes."""
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def jacobian(model, batch):
    """The gradients of every output of every sample, (B, C, P)."""
    rows = []
    for i in range(len(batch["input_ids"])):
        outputs = model(**select_rows(batch, slice(i, i + 1)))[0]
        gradients = [
            torch.autograd.grad(f, list(model.parameters()), retain_graph=True)
            for f in outputs
        ]
        rows.append(
            torch.stack(
                [torch.cat([g.flatten() for g in of_c]) for of_c in gradients]
            )
        )
    return torch.stack(rows)


def relative_error(found, expected):
    """The Frobenius norm of the difference, relative to that of the expected."""
    found, expected = torch.as_tensor(found), torch.as_tensor(expected)
    return float((found - expected).norm() / expected.norm())


J, naive_seconds = timed(lambda: jacobian(model, batch))
kernel = torch.einsum("icp,jdp->icjd", J, J)
print(f"J: {tuple(J.shape)}, {J.nbytes / 2**20:.0f} MiB, {naive_seconds:.1f} s")
print(f"kernel: {tuple(kernel.shape)}, {kernel.nbytes} bytes")

# %% [markdown]
# Look at the two sizes. Nearly everything that was computed is thrown away. And it does not scale:
# here is what $J$ alone takes for RoBERTa-base, in single precision.

# %%
roberta_base = 124_697_433
sizes = [
    {"task": task, "samples": n, "logits": c}
    for task, n, c in [
        ("two classes, k = 16", 32, 1),
        ("two classes, k = 512", 1024, 1),
        ("three classes, k = 512", 1536, 3),
        ("six classes, k = 512", 3072, 6),
    ]
]
sizes = pd.DataFrame(sizes)
sizes["Jacobian (GB)"] = (
    4 * roberta_base * sizes["samples"] * sizes["logits"] / 1e9
).round()
sizes["backward passes"] = sizes["samples"] * sizes["logits"]
sizes

# %% [markdown]
# ## Factors: a gradient is made of two small things
#
# Look at one linear layer with a weight $W$ of shape $(p, q)$. At position $s$ (a token of the text)
# it reads $x_s \in \mathbb{R}^q$ and returns $y_s = W x_s$. Write
# $d_{cs} = \partial f_c / \partial y_s \in \mathbb{R}^p$ for how the output $f_c$ reacts to what the
# layer returned.
#
# ```{prf:proposition} Factors of a gradient
# :label: prop-factors
#
# If $W$ is read only in $y_s = W x_s$, at the positions $s = 1, \dots, S$, then
#
# $$\frac{\partial f_c}{\partial W} = \sum_{s=1}^{S} d_{cs}\, x_s^\top .$$ (eq-factors)
# ```
#
# ```{prf:proof}
# $f_c$ depends on $W$ through the $y_s$ alone. Entry $(a, b)$ of $W$ moves entry $a$ of $y_s$ by
# $x_{sb}$, and nothing else. The chain rule adds this up over the positions:
# $\partial f_c / \partial W_{ab} = \sum_s d_{csa}\, x_{sb}$.
# ```
#
# The forward pass computes $x$. A backward pass computes $d$: backpropagation needs it to go further
# down, before it forms any gradient of a weight. So both are there for the taking, with hooks. One
# more trick makes a single pass serve the whole batch. Differentiate the *sum* of $f_c$ over the
# samples. Samples do not see each other, so the derivative with respect to what the layer returned for
# sample $i$ is that of $f_c(\xi_i)$ alone.


# %%
def factors(model, batch, layers):
    """For each layer the inputs x, (B, S, q), and the derivatives d, (B, C, S, p)."""
    x, y = {}, {}

    def keep(name):
        def hook(_layer, inputs, result):
            x[name], y[name] = inputs[0].detach(), result

        return hook

    hooks = [layer.register_forward_hook(keep(n)) for n, layer in layers.items()]
    outputs = model(**batch)
    for hook in hooks:
        hook.remove()
    d = [
        torch.autograd.grad(f.sum(), list(y.values()), retain_graph=True)
        for f in outputs.T
    ]
    return {
        name: (x[name], torch.stack([of_c[i] for of_c in d], dim=1))
        for i, name in enumerate(y)
    }


layers = {
    name: module
    for name, module in model.named_modules()
    if isinstance(module, torch.nn.Linear)
}
of_layer, seconds = timed(lambda: factors(model, batch, layers))
name = "masked_lm.model.layers.1.attn.Wo"
x, d = of_layer[name]
print(f"{len(layers)} linear layers in {seconds:.2f} s; {name}:")
print(f"x: {tuple(x.shape)}, d: {tuple(d.shape)}")

# %% [markdown]
# Multiply them and compare with what autograd gave:

# %%
G = torch.einsum("bcsp,bsq->bcpq", d, x)
starts = np.cumsum([0] + [p.numel() for p in parameters.values()])
place = dict(zip(parameters, starts, strict=False))


def from_jacobian(parameter):
    """The part of the Jacobian that belongs to one parameter, (B, C, *shape)."""
    shape = parameters[parameter].shape
    start = place[parameter]
    return J[:, :, start : start + shape.numel()].reshape(B, C, *shape)


print(f"relative error: {relative_error(G, from_jacobian(name + '.weight')):.0e}")

# %% mystnb={"figure": {"caption": "The gradient of one logit of one sample with respect to one weight is a product of two thin matrices, the derivatives d and the inputs x. Colours are signs, each panel with a scale of its own.", "name": "fig-factors"}, "image": {"alt": "Three coloured matrices: a tall thin one with the derivatives, times a flat wide one with the inputs, equals a large square one, the gradient, that visibly consists of rows and columns."}} tags=["hide-input"]
shortest = int(lengths[samples[0]])
figures.matrix_product(
    (d[0, 1, :shortest].T.numpy(), x[0, :shortest].numpy()),
    ("$d$ (transposed)", "$x$", "gradient of $W$"),
)

# %% [markdown]
# {numref}`fig-factors` has the shortest of the four samples. Its gradient has $p\, q$ entries but only
# $S$ outer products in it. For the whole batch compare $B\, C\, p\, q$ numbers with the
# $B\, S\, (C p + q)$ of the factors:

# %%
held = pd.DataFrame(
    [
        {
            "layer": n.removeprefix("masked_lm."),
            "gradients": from_jacobian(n + ".weight").numel(),
            "factors": x_.numel() + d_.numel(),
        }
        for n, (x_, d_) in of_layer.items()
    ]
)
print(
    f"{held['gradients'].sum():,} numbers as gradients, "
    f"{held['factors'].sum():,} as factors: "
    f"{held['gradients'].sum() / held['factors'].sum():.1f} times fewer"
)

# %% [markdown]
# Factors also save time. A backward pass that stops at $d$ multiplies one matrix a layer, not
# two: it never forms the gradient of a weight, and that is half the work of a backward pass.
# Other layers have factors of the same kind. A bias adds $b$ to every $y_s$, so its gradient is
# $\sum_s d_{cs}$. A norm returns $w \odot n(x_s) + b$, so its scale $w$ has
# $\sum_s d_{cs} \odot n(x_s)$. These are short vectors: you write them out and multiply.
#
# ## Two ways to an inner product
#
# Now the kernel of this one weight, for $n$ samples in the rows and $m$ in the columns. The first way
# is the obvious one: **write the gradients out**, and multiply.

# %%
by_gradients = torch.einsum("icpq,jdpq->icjd", G, G)

# %% [markdown]
# The second way never forms a gradient.
#
# ```{prf:proposition} The way of Gram
# :label: prop-gram
#
# $$\Big\langle \sum_s d_s x_s^\top,\ \sum_t d'_t x_t'^\top \Big\rangle =
# \sum_{s, t} (x_s \cdot x'_t)\, (d_s \cdot d'_t) .$$ (eq-gram)
# ```
#
# ```{prf:proof}
# The inner product of matrices is $\langle A, B \rangle = \operatorname{tr}(A^\top B)$, and
# $\operatorname{tr}(x_s d_s^\top d'_t x_t'^\top) = (d_s \cdot d'_t)(x_s \cdot x'_t)$.
# ```
#
# How alike are two tokens to the layer, times how alike are the answers of the output to them,
# summed over all pairs of tokens. For one output that is two products of matrices with a row
# for every token, multiplied entry by entry, and summed over the tokens of each sample:


# %%
def gram_of_one(x, d, x2, d2):
    """The kernel of one weight and one output; x is (n, S, q), d is (n, S, p)."""
    inputs = x.flatten(0, 1) @ x2.flatten(0, 1).T
    answers = d.flatten(0, 1) @ d2.flatten(0, 1).T
    (n, S, _), (m, T, _) = x.shape, x2.shape
    return (inputs * answers).view(n, S, m, T).sum(dim=(1, 3))


second = gram_of_one(x, d[:, 1], x, d[:, 1])
print(f"relative error: {relative_error(second, by_gradients[:, 1, :, 1]):.0e}")

# %% [markdown]
# The products of inputs do not depend on the output, so they are made once for all. With several
# outputs it pays to multiply them with $d'$ first, and only then with $d$:


# %%
def gram(x, d, x2, d2):
    """The kernel of one weight from factors, (n, C, m, C)."""
    inputs = torch.einsum("isq,jtq->isjt", x, x2)
    moved = torch.einsum("isjt,jetp->isjep", inputs, d2)
    return torch.einsum("icsp,isjep->icje", d, moved)


print(f"relative error: {relative_error(gram(x, d, x, d), by_gradients):.0e}")

# %% [markdown]
# The idea is old for one position {cite:p}`goodfellow2015efficient`. For many it is known from private
# training, where one needs the norm of each sample's gradient and nothing else
# {cite:p}`li2022strong`; {cite:t}`novak2022fast` apply it to kernels.
#
# ### What each costs
#
# Count a multiplication and an addition as two operations. With $S$ positions a sample,
#
# $$\begin{aligned}
# \text{gradients:}\quad & 2 (n + m)\, S\, C\, p\, q \;+\; 2\, n\, m\, C^2 p\, q \\
# \text{Gram:}\quad & 2\, n\, m\, S^2 (q + C p) \;+\; 2\, n\, m\, C^2 S\, p .
# \end{aligned}$$ (eq-flops)
#
# The first term of the first way writes the gradients out: it is paid once a sample, not once a pair.
# The second way has nothing but pairs, and grows with $S^2$. So long samples and many partners
# favour gradients; short samples and many outputs favour Gram.


# %%
def flops_gradients(n, m, S, C, p, q):
    return 2 * (n + m) * S * C * p * q + 2 * n * m * C**2 * p * q


def flops_gram(n, m, S, C, p, q):
    return 2 * n * m * S**2 * (q + C * p) + 2 * n * m * C**2 * S * p


S = np.unique(np.geomspace(4, 256, 19).astype(int))
counted = pd.DataFrame({"S": S})
for c in (1, 6):
    shape = {"n": 64, "m": 256, "S": S, "C": c, "p": 768, "q": 768}
    counted[f"gradients_{c}"] = flops_gradients(**shape) / 1e9
    counted[f"gram_{c}"] = flops_gram(**shape) / 1e9

# %% mystnb={"figure": {"caption": "Operations for one weight of RoBERTa-base, 768 by 768, with 64 rows and 256 columns. Where two lines of one C cross, the cheaper way changes.", "name": "fig-flops"}, "image": {"alt": "Log-log plot of operations over the number of positions: for one and for six outputs a nearly flat line for gradients and a rising line for Gram, which cross at longer samples the more outputs there are."}} tags=["hide-input"]
figures.lines(
    counted,
    "S",
    {
        f"{way}_{c}": f"{way.replace('gram', 'Gram')}, C = {c}"
        for c in (1, 6)
        for way in ("gradients", "gram")
    },
    labels=("positions $S$", "operations ($10^9$)"),
    xscale="log",
    yscale="log",
)

# %% tags=["remove-input"]
figures.data_link(counted, "two-ways")


# %% [markdown]
# Where do they cross? That depends on how many partners a gradient meets once it is written out:


# %%
def crossing(n, C, p=768, q=768):
    """The longest sample for which Gram needs fewer operations, for n rows and columns."""
    S = np.arange(1, 4096)
    fewer = flops_gram(n, n, S, C, p, q) < flops_gradients(n, n, S, C, p, q)
    return int(S[fewer].max(initial=0))


crossings = pd.DataFrame({"n": [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]})
for c in (1, 2, 3, 6):
    crossings[f"C_{c}"] = [crossing(n, c) for n in crossings["n"]]

# %% mystnb={"figure": {"caption": "The length of samples at which the two ways cost the same, for one weight of RoBERTa-base and as many rows as columns. Below a line Gram is cheaper, above it gradients are.", "name": "fig-crossing"}, "image": {"alt": "Crossing length over the number of samples, on logarithmic axes, for 1, 2, 3 and 6 outputs: all lines fall and level off, the higher the more outputs."}} tags=["hide-input"]
figures.lines(
    crossings,
    "n",
    {f"C_{c}": f"C = {c}" for c in (1, 2, 3, 6)},
    labels=("rows and columns $n = m$", "positions $S$ at the crossing"),
    xscale="log",
    yscale="log",
)

# %% tags=["remove-input"]
figures.data_link(crossings, "crossing")

# %%
last = crossings.iloc[-1]
print(
    f"with n = {last['n']:.0f} the ways cross at S = "
    + ", ".join(f"{last[f'C_{c}']:.0f} (C = {c})" for c in (1, 2, 3, 6))
)

# %% [markdown]
# A sentence has twenty or thirty tokens, so real tasks lie on both sides of {numref}`fig-crossing`. No
# single choice is right. `entk` decides for each parameter and each pair of tiles, from the real
# lengths, as libraries for private training do for each layer {cite:p}`bu2022scalable`.
#
# Do operations predict seconds? Time both ways on a layer of the pocket model's size. What is in the
# factors does not matter for that, so noise will do. Your seconds will differ from ours. Compare
# ratios.

# %%
generator = torch.Generator().manual_seed(0)


def noise(*shape):
    return torch.randn(*shape, generator=generator)


timings = []
for S in (8, 16, 32, 64, 128):
    n, p, q = 24, 256, 256
    x_s, d_s = noise(n, S, q), noise(n, 1, S, p)
    x_t, d_t = noise(n, S, q), noise(n, 1, S, p)

    def write_out(x_s=x_s, d_s=d_s, x_t=x_t, d_t=d_t):
        rows = torch.einsum("bcsp,bsq->bcpq", d_s, x_s).flatten(0, 1).flatten(1)
        columns = torch.einsum("bcsp,bsq->bcpq", d_t, x_t).flatten(0, 1).flatten(1)
        return rows @ columns.T

    def pair_up(x_s=x_s, d_s=d_s, x_t=x_t, d_t=d_t):
        return gram_of_one(x_s, d_s[:, 0], x_t, d_t[:, 0])

    least = [min(timed(way)[1] for _ in range(5)) for way in (write_out, pair_up)]
    timings.append(
        {
            "S": S,
            "gradients (ms)": 1e3 * least[0],
            "Gram (ms)": 1e3 * least[1],
            "Gram / gradients, measured": least[1] / least[0],
            "Gram / gradients, counted": flops_gram(n, n, S, 1, p, q)
            / flops_gradients(n, n, S, 1, p, q),
        }
    )
pd.DataFrame(timings).round(2)

# %% [markdown]
# The measured ratio rises as the counted one does, but it is not the same. Shapes matter: a thin matrix
# multiplies at a lower rate than a square one, and what leaves the processor's cache waits
# for memory. So `entk` weighs the counts with rates that were measured.
#
# ## Positions that count for nothing
#
# $S$ is not the length of the padded batch. A term of {eq}`eq-factors` vanishes where $d_{cs} = 0$, and
# $d$ is zero more often than you might think. Split the fused query-key-value layer into its three
# parts and look at the size of $d$ at every layer and position, for a sample that was padded to the
# length of the longest.

# %%
PARTS = {
    "attn.Wqkv": ("query", "key", "value"),
    "attn.Wo": ("attention out",),
    "mlp.Wi": ("feed-forward in",),
    "mlp.Wo": ("feed-forward out",),
}


def derivative_sizes(of_layer, sample):
    """|d| of every layer (rows) and position (columns), over all outputs of a sample."""
    sizes = {}
    for layer, (_, d) in of_layer.items():
        kind = next(k for k in PARTS if layer.endswith(k))
        number = next(part for part in layer.split(".") if part.isdigit())
        pieces = d[sample].chunk(len(PARTS[kind]), dim=2)
        for part, piece in zip(PARTS[kind], pieces, strict=True):
            sizes[f"{number} {part}"] = (
                piece.square().sum(dim=(0, 2)).sqrt().numpy()
            )
    return pd.DataFrame.from_dict(sizes, orient="index")


shown = 2
in_blocks = {layer: f for layer, f in of_layer.items() if "head" not in layer}
derivatives = derivative_sizes(in_blocks, shown)
tokens = shots.tokenizer.convert_ids_to_tokens(batch["input_ids"][shown])
tokens = [token.replace("Ġ", "") for token in tokens]
derivatives.columns = tokens
derivatives = derivatives.iloc[::-1]
drawn = derivatives.where(derivatives == 0, derivatives.clip(lower=1e-4))

# %% mystnb={"figure": {"caption": "The size of the derivatives d of one padded sample, for each layer of the four blocks (the last on top) and each token. Where nothing is drawn, d is exactly zero; below 1e-4 it is drawn as 1e-4.", "name": "fig-where-d"}, "image": {"alt": "Heat map of layers by tokens. In the top block most rows have a single cell, at the mask; keys and values have a window around it; lower blocks fill up to the whole text; the padding on the right is empty everywhere."}} tags=["hide-input"]
figures.heat_map(
    drawn,
    "$|d|$",
    axes_labels=("token", "layer"),
    log=True,
    size=(0.11, 0.17),
)

# %% tags=["remove-input"]
figures.data_link(
    derivatives.set_axis(range(len(tokens)), axis=1)
    .rename_axis("layer")
    .reset_index(),
    "derivative-sizes",
)

# %% [markdown]
# Read {numref}`fig-where-d` from the top.
#
# - **The last block has rank one.** The output is read at the mask and nowhere else. What the last
#   block computes at another position reaches nobody, except as a key or a value. So its query,
#   attention output and feed-forward layers have *one* position, and so has the head. Their gradient is
#   one outer product, and Gram costs almost nothing.
# - **A window narrows it further.** Every other block of this model attends to near tokens only. A key
#   outside the window around the mask is not seen.
# - **Padding is empty.** Nobody attends to it, so its derivative is zero in every layer. It adds
#   nothing to the kernel; it only costs, and `entk` sorts samples by length to have little of it.
# - **Small is not zero.** The queries of the first block hardly matter except at the mask. But they matter
#   a little, and an exact method keeps them.

# %%
used = [(derivative_sizes(in_blocks, i) > 0).sum(axis=1) for i in range(B)]
counts = pd.DataFrame(used)[
    ["3 query", "3 key", "2 attention out", "2 key", "0 value"]
]
counts.insert(0, "tokens", lengths[samples].tolist())
assert (counts["3 query"] == 1).all()
assert (counts["0 value"] == counts["tokens"]).all()
counts

# %%
x, d = of_layer["masked_lm.model.layers.3.mlp.Wi"]
mask = batch["mask_position"]
x_1, d_1 = x[range(B), mask], d[range(B), :, mask]
rank_one = torch.einsum("iq,jq->ij", x_1, x_1)[:, None, :, None] * torch.einsum(
    "icp,jdp->icjd", d_1, d_1
)
g = from_jacobian("masked_lm.model.layers.3.mlp.Wi.weight")
print(
    "rank one, relative error:",
    f"{relative_error(rank_one, torch.einsum('icpq,jdpq->icjd', g, g)):.0e}",
)

# %% [markdown]
# ## Embeddings: match the tokens
#
# The word embedding $E$ is the largest parameter of a small model. Its gradient would be a matrix of
# vocabulary size with a row for each token that occurs, and zeros. The layer returns row
# $\mathrm{id}_s$ of $E$ at position $s$, so with $e_{cs} = \partial f_c / \partial E[\mathrm{id}_s]$
# at that position, row $v$ of the gradient is the sum of $e_{cs}$ over the positions where $v$ stands.
# Two samples meet only in tokens that they share:
#
# $$\sum_{s, t} \mathbf{1}[\mathrm{id}_s = \mathrm{id}'_t]\; e_s \cdot e'_t .$$ (eq-embedding)
#
# This is {eq}`eq-gram` once more, with one-hot vectors for $x$.

# %%
embedding = model.masked_lm.model.embeddings.tok_embeddings
decoder = model.masked_lm.decoder
two_ends = factors(model, batch, {"embedding": embedding, "decoder": decoder})
ids, e = two_ends["embedding"]
match = (ids[:, :, None, None] == ids[None, None]).double()  # (i, s, j, t)
K_embedding = torch.einsum("isjt,icsq,jdtq->icjd", match, e, e)
print(
    f"{embedding.weight.numel():,} entries in a gradient, "
    f"{e[0, 0].numel():,} numbers in its factor"
)

# %% mystnb={"figure": {"caption": "Which tokens of two reviews match, and what each match adds to the kernel of the embedding (second logit). All other pairs add nothing.", "name": "fig-token-match"}, "image": {"alt": "Sparse grid with the tokens of one review down and of another across. Coloured cells where the tokens are equal: the start, the words of the prompt, the mask, full stops and few others."}} tags=["hide-input"]
i, j = 0, 1
pairs = torch.where(
    match[i, :, j].bool(), torch.einsum("sq,tq->st", e[i, 1], e[j, 1]), torch.nan
)
rows_i, rows_j = (
    [
        token.replace("Ġ", "")
        for token in shots.tokenizer.convert_ids_to_tokens(row[: lengths[sample]])
    ]
    for row, sample in ((ids[i], samples[i]), (ids[j], samples[j]))
)
matches = pd.DataFrame(
    pairs[: len(rows_i), : len(rows_j)].numpy(), index=rows_i, columns=rows_j
)
figures.heat_map(matches, r"$e_s \cdot e'_t$", diverging=True, size=(0.19, 0.19))

# %% tags=["remove-input"]
figures.data_link(
    matches.set_axis(range(len(rows_j)), axis=1).rename_axis("token").reset_index(),
    "token-match",
)

# %% [markdown]
# What two reviews share is mostly the prompt itself, and the derivatives are largest around the mask:

# %%
from_prompt = matches.loc[:, "It":].to_numpy()[-5:]
print(
    f"matches among the last five tokens: "
    f"{np.nansum(from_prompt) / np.nansum(matches):.0%} of this entry of the kernel"
)

# %% [markdown]
# Keep that in mind when you ask where the kernel lives ({doc}`/book/theory/where-kernel-lives`).
#
# ## A tied decoder: four terms, not two
#
# The decoder turns the last hidden state $h$ at the mask into logits: $f_c = E[v_c] \cdot h + b_c$,
# with $v_c$ the token of label word $c$. It reads *the same* $E$: most masked language models tie
# the two {cite:p}`press2017using`. So the gradient of $E$ has two sources, the $e_s$ from below and $h$
# in row $v_c$ from above, and an inner product of two such sums has four terms:
#
# $$\underbrace{\sum_{s,t} \mathbf{1}[\mathrm{id}_s = \mathrm{id}'_t]\, e_{cs} \cdot e'_{dt}}_{\text{embedding}}
# + \underbrace{\mathbf{1}[v_c = v_d]\, h \cdot h'}_{\text{decoder}}
# + \underbrace{\sum_{s:\, \mathrm{id}_s = v_d} e_{cs} \cdot h' + \sum_{t:\, \mathrm{id}'_t = v_c} h \cdot e'_{dt}}_{\text{cross}} .$$ (eq-tied)
#
# The cross terms are easy to forget, and code that forgets them passes many a test: they are zero unless
# the text of a sample *contains a label word*. So test on samples that do.

# %%
words = decoder.word_ids
contains = (shots.batch["input_ids"][:, :, None] == words).any(dim=2).any(dim=1)
with_words = contains.nonzero()[:6, 0]
without_words = (~contains).nonzero()[:6, 0]
tokenizer = shots.tokenizer
print(
    tokenizer.decode(shots.batch["input_ids"][with_words[4]]).replace("<pad>", "")
)


def tied_terms(batch):
    """The kernel of the tied matrix in its three parts, each (B, C, B, C)."""
    ends = factors(model, batch, {"embedding": embedding, "decoder": decoder})
    (ids, e), (h, _) = ends["embedding"], ends["decoder"]
    h = h[:, 0]
    match = (ids[:, :, None, None] == ids[None, None]).double()
    below = torch.einsum("isjt,icsq,jdtq->icjd", match, e, e)
    above = torch.einsum("iq,jq,cd->icjd", h, h, torch.eye(len(words)).double())
    at_word = (ids[:, :, None] == words).double()  # (i, s, d)
    cross = torch.einsum("isd,icsq,jq->icjd", at_word, e, h)
    return below, above, cross + cross.permute(2, 3, 0, 1)


# %%
from tangentlm.kernels import entk, reference_entk
from tangentlm.metrics import centred

tied = "masked_lm.model.embeddings.tok_embeddings.weight"
rows = []
for title, index in (("with", with_words), ("without", without_words)):
    chosen = select_rows(shots.batch, index)
    below, above, cross = tied_terms(chosen)
    expected = reference_entk(model, chosen, parameters=[tied])
    whole = entk(
        model, chosen, outputs="difference", precision="float64", progress=False
    ).values[:, 0, :, 0]
    forgotten = cross[:, 1, :, 1] + cross[:, 0, :, 0]
    forgotten = (forgotten - cross[:, 0, :, 1] - cross[:, 1, :, 0]).numpy()
    rows.append(
        {
            "label words in the text": title,
            "four terms": relative_error(below + above + cross, expected),
            "without cross terms": relative_error(below + above, expected),
            "error of the whole kernel": relative_error(whole - forgotten, whole),
            "of its centred part": relative_error(
                centred(whole - forgotten), centred(whole)
            ),
        }
    )
errors = pd.DataFrame(rows).set_index("label words in the text")
assert errors["four terms"].max() < 1e-12
assert errors.loc["with", "of its centred part"] > 0.01
errors.map("{:.0e}".format)

# %% [markdown]
# The first column is the four-term formula against the definition, for the one matrix $E$. The second
# is what happens without the cross terms. The last two ask what that does to the kernel of *all*
# parameters, for the difference of the two logits: a small error of the whole, a larger one of its
# centred part, which is the part that tells samples apart. Without a label word in the text you
# would never notice.
#
# ## Signs do not factor
#
# The SignGD kernel of Definition 3.4 of {cite:t}`malladi2022openreview` replaces each entry of a
# gradient by its sign. A sum of outer products has no such thing as a sign of its own: the sign of a
# sum is not the sum of signs. So there is no way of Gram for it. Look what happens if you try:

# %%
x, d = of_layer[name]
right = torch.einsum("icpq,jdpq->icjd", G.sign(), G.sign())
wrong = gram(x.sign(), d.sign(), x.sign(), d.sign())
print(
    f"Gram with signs of factors, relative error: {relative_error(wrong, right):.0f}"
)
one = torch.einsum("icp,iq->icpq", d_1, x_1).sign()
signs = torch.einsum("iq,jq->ij", x_1.sign(), x_1.sign())[:, None, :, None]
signs = signs * torch.einsum("icp,jdp->icjd", d_1.sign(), d_1.sign())
expected = torch.einsum("icpq,jdpq->icjd", one, one)
print(f"the same at rank one: {relative_error(signs, expected):.0e}")

# %% [markdown]
# With one position it does work, $\operatorname{sign}(d x^\top) =
# \operatorname{sign}(d) \operatorname{sign}(x)^\top$, so the last block stays cheap. Everywhere else the
# gradients must be written out, a slice of a weight at a time.
#
# ### A gradient that is zero, and one that is nearly zero
#
# Signs have a second trap. A softmax does not see what is added to all its inputs. The bias $b$ of the
# keys adds $q \cdot b$ to all scores of a query $q$, so no output depends on it: its gradient is *exactly*
# zero. In floating point it is a sum of terms that cancel, and what is left is round-off. A kernel of
# gradients does not mind. A kernel of signs counts noise in full, as $+1$ or $-1$.
#
# The pocket model has no biases in its attention, so here is attention by hand.


# %%
class Attention(torch.nn.Module):
    """One head of attention with biases, read at the first position."""

    def __init__(self, width, outputs):
        super().__init__()
        self.query, self.key, self.value = (
            torch.nn.Linear(width, width) for _ in range(3)
        )
        self.head = torch.nn.Linear(width, outputs)

    def forward(self, x):
        scores = self.query(x) @ self.key(x).transpose(1, 2) / x.shape[2] ** 0.5
        return self.head((torch.softmax(scores, dim=2) @ self.value(x))[:, 0])


torch.manual_seed(0)
small = Attention(32, 2).eval()
inputs = {"x": noise(6, 12, 32)}
gradients = torch.autograd.grad(small(**inputs)[0, 1], list(small.parameters()))
bias_gradients = {
    name: np.sort(g.abs().numpy())[::-1]
    for (name, _), g in zip(small.named_parameters(), gradients, strict=True)
    if name.endswith("bias") and "head" not in name
}
noise_table = pd.DataFrame(
    {
        "rank": range(1, 33),
        **{n.split(".")[0]: g for n, g in bias_gradients.items()},
    }
)

# %% mystnb={"figure": {"caption": "Entries of the gradients of three biases in single precision, largest first. That of the keys is zero in exact arithmetic; what you see of it is round-off.", "name": "fig-key-bias"}, "image": {"alt": "Three falling curves on a logarithmic axis: value and query biases lie between a thousandth and a tenth, the key bias seven or more powers of ten below."}} tags=["hide-input"]
figures.lines(
    noise_table,
    "rank",
    {part: f"{part} bias" for part in ("value", "query", "key")},
    labels=("rank", "|entry of the gradient|"),
    yscale="log",
)

# %% tags=["remove-input"]
figures.data_link(noise_table, "key-bias")

# %% [markdown]
# None of the 32 entries of the key bias need be exactly zero, so `sign` makes up to 32 ones of them. The
# remedy compares a sum with the sum of the absolute values of its terms: where it is smaller by about
# the precision of the arithmetic, it is round-off and counts as zero. `entk` does this for every gradient
# that is a sum over positions. Compare with signs as they come:

# %%
in_float32 = torch.stack(
    [
        torch.stack(
            [
                torch.cat([g.flatten() for g in torch.autograd.grad(f, list(small.parameters()), retain_graph=True)])
                for f in small(inputs["x"][i : i + 1])[0]
            ]
        )
        for i in range(6)
    ]
).sign()  # fmt: skip
raw_signs = torch.einsum("icp,jdp->icjd", in_float32, in_float32).double()
careful = entk(small, inputs, formula="signgd", by="parameter", progress=False)
small.double()
exact = reference_entk(small, {"x": inputs["x"].double()}, formula="signgd")
print("key bias in the kernel:", careful.groups["key.bias"].max())
pd.Series(
    {
        "signs as they come": np.abs(raw_signs.numpy() - exact).max(),
        "entk": np.abs(careful.values - exact).max(),
    },
    name="largest error of an entry",
).to_frame()

# %% [markdown]
# An entry of a sign kernel is a count: parameters on whose sign two samples agree, minus those on which they
# do not. Code that takes signs as they come counts the noise along. RoBERTa-base has twelve blocks with a key
# bias of 768 entries each:

# %%
print(f"{12 * 768:,} entries of key biases in RoBERTa-base")

# %% [markdown]
# ## Precision
#
# Kernels are computed in single precision, summed in double. That is enough: the error is that of the
# arithmetic, not of a method.

# %%
model.float()
in_single = entk(model, batch, progress=False)
print(f"float32, relative error: {relative_error(in_single.values, kernel):.0e}")

# %% [markdown]
# Graphics cards multiply faster with fewer bits. `bfloat16` keeps 8 of the 24 bits of a single-precision
# number. There is a way between: split each operand into a high part $h$ and a low part $l$, both
# `bfloat16`, and add three products, $h h' + h l' + l h'$. Look at the error of the centred kernel again,
# here for one layer: what all samples have in common would hide errors, and tells no samples apart.


# %%
def rounded(a):
    return a.bfloat16().to(a.dtype)


def one_product(a, b):
    return rounded(a) @ rounded(b)


def three_products(a, b):
    h, h2 = rounded(a), rounded(b)
    return h @ h2 + h @ rounded(b - h2) + rounded(a - h) @ h2


def centred_error(found, expected):
    """The relative error after rows and columns are centred."""
    return relative_error(centred(found), centred(expected))


left = G[:, 1].flatten(1).float()
truth = left.double() @ left.double().T
pd.Series(
    {
        "float32": centred_error(left @ left.T, truth),
        "bfloat16": centred_error(one_product(left, left.T), truth),
        "bfloat16, three products": centred_error(
            three_products(left, left.T), truth
        ),
    },
    name="relative error of the centred kernel",
).map("{:.0e}".format).to_frame()

# %% [markdown]
# The errors of many terms cancel in part, so less is lost than 8 bits suggest. These are
# `precision="bfloat16"` and `precision="bfloat16x3"` of `entk`, which multiplies in the passes with the same
# precision, and that adds to the error. (A processor without such products may compute in single precision
# all the same.) Signs lose nothing: $-1$, $0$ and $1$ are exact in any of these formats.
#
# ## Memory: tiles
#
# Factors are small, but those of a thousand samples are not. So the kernel is made in tiles: the
# factors of some rows are made and kept, the columns stream past, a tile at a time. What is held depends on
# the tile, not on $N$ or $M$. The price is that the passes over the columns are repeated for every tile of
# rows. You set a budget, and pay in time:

# %%
train, everything = (
    select_rows(shots.batch, slice(0, 24)),
    select_rows(shots.batch, slice(0, 48)),
)
budgets = []
for budget in (2**30, 2**26):
    part, seconds = timed(
        lambda budget=budget: entk(
            model,
            train,
            everything,
            outputs="difference",
            memory=budget,
            progress=False,
        )
    )
    budgets.append(
        {
            "budget (MiB)": budget // 2**20,
            "factors held (MiB)": part.cost.peak_bytes / 2**20,
            "seconds": seconds,
            "operations of passes (1e9)": part.cost.passes_flops / 1e9,
            "all operations (1e9)": part.cost.flops / 1e9,
            "largest entry": part.values.max(),
        }
    )
budgets = pd.DataFrame(budgets)
assert budgets["factors held (MiB)"].is_monotonic_decreasing
budgets.round(2)

# %% [markdown]
# Rows and columns are sorted by length first, so a tile has as many samples as its tokens allow. Here is
# how a kernel of these samples is cut where a tile may have 300 tokens a side:


# %%
def bands(lengths, tokens):
    """For each sample, longest first, the number of its band of so many tokens."""
    band, room, numbers = -1, 0, []
    for length in sorted(lengths, reverse=True):
        if band < 0 or length > room:
            band, room = band + 1, tokens
        room -= length
        numbers.append(band)
    return np.array(numbers)


of_rows = bands(lengths[:24].tolist(), 300)
of_columns = bands(lengths[:48].tolist(), 300)
order = of_rows[:, None] * (of_columns.max() + 1) + of_columns + 1
order = pd.DataFrame(
    order,
    index=sorted(lengths[:24].tolist(), reverse=True),
    columns=sorted(lengths[:48].tolist(), reverse=True),
)

# %% mystnb={"figure": {"caption": "A kernel of 24 rows and 48 columns in tiles, in the order in which they are computed. The ticks are the lengths of the samples, longest first.", "name": "fig-tiles"}, "image": {"alt": "A grid of rectangles coloured by their order, row of tiles after row of tiles; tiles of short samples are wider than those of long ones."}} tags=["hide-input"]
figures.heat_map(
    order,
    "order of the tile",
    axes_labels=("columns (tokens)", "rows (tokens)"),
    size=(0.105, 0.105),
)

# %% [markdown]
# Finished tiles can be written down (`cache=`), so a job that was killed goes on where it stopped. The
# kernel of a set with itself is symmetric, and half of its tiles are enough.
#
# ## Trust, but check
#
# Every rule above assumes something about the model: that the weight is read by a linear layer and
# nowhere else, that samples do not see each other, that padding is never seen. A rule that does not
# hold gives a wrong kernel, not an error. So `entk` takes nothing on trust. Before it begins, it
# takes two samples through the model together, makes the gradients of one of them from factors, and compares
# them, parameter by parameter, with those of autograd for that sample *alone*. A parameter that
# fails, or that no rule covers, goes through autograd, one backward pass a sample and output: slow,
# and right; `cost` says how long that took. And where a few texts give something else with their
# padding than without, all texts are computed as they are given, with a warning.
#
# Try it: a layer that scales its weight to unit length before it uses it. No rule knows about that.


# %%
class UnitLength(torch.nn.Module):
    """A linear model whose weight is normalised in the forward pass."""

    def __init__(self):
        super().__init__()
        self.plain = torch.nn.Linear(32, 32)
        self.scaled = torch.nn.Parameter(noise(2, 32))

    def forward(self, x):
        unit = self.scaled / self.scaled.norm(dim=1, keepdim=True)
        return torch.nn.functional.linear(torch.tanh(self.plain(x)), unit).sum(
            dim=1
        )


odd = UnitLength().double().eval()
samples_of_odd = {"x": inputs["x"].double()}
found = entk(odd, samples_of_odd, precision="float64", progress=False)
print("through autograd:", found.cost.by_autograd)
print(
    f"relative error: "
    f"{relative_error(found.values, reference_entk(odd, samples_of_odd)):.0e}"
)

# %% [markdown]
# ## All together
#
# Put your pieces side by side with the library, in double precision against the definition, and then
# against the clock. The definition is timed on few samples, since its cost grows in proportion.

# %%
model.double()
by_hand = torch.zeros_like(kernel)
for x, d in of_layer.values():
    by_hand += gram(x, d, x, d)
by_hand += sum(tied_terms(batch))
library = entk(model, batch, precision="float64", by="parameter", progress=False)
covered = [f"{layer}.weight" for layer in of_layer] + [tied]
same_parameters = sum(library.groups[parameter] for parameter in covered)
print(
    f"linear layers and embedding by hand: {relative_error(by_hand, same_parameters):.0e}"
)
print(f"entk against the definition: {relative_error(library.values, kernel):.0e}")
print(f"parameters through autograd: {len(library.cost.by_autograd)}")

# %%
model.float()
clock = []
for n in (4, 12, 32):
    chosen = select_rows(shots.batch, slice(0, n))
    _, fast = timed(lambda chosen=chosen: entk(model, chosen, progress=False))
    slow = np.nan
    if n <= 12:
        _, slow = timed(lambda chosen=chosen: reference_entk(model, chosen))
    clock.append(
        {
            "samples": n,
            "definition (s)": slow,
            "entk (s)": fast,
            "ratio": slow / fast,
            "entk, ms an entry": 1e3 * fast / (n * C) ** 2,
        }
    )
pd.DataFrame(clock).round(2)

# %% [markdown]
# With few samples there is little to gain: `entk` checks itself before it begins. Then the ratio grows. The
# definition pays for every sample what `entk` pays for a batch, writes out every entry of every
# gradient, and holds them: for the last row it would need

# %%
assert clock[1]["ratio"] > clock[0]["ratio"]
print(f"{32 * C * P * 4 / 2**30:.1f} GiB for the Jacobian of 32 samples")

# %% [markdown]
# On a larger model the ratio is larger, too: a weight's gradient has $p\, q$ entries, its factors
# $S (p + q)$ numbers.
#
# ## Limits
#
# - Seconds and ratios on this page were measured while it was built, on the machine that built it. Counts
#   of operations hold anywhere; they leave out everything that is not a product of matrices.
# - The factors need what a layer reads and returns. A convolution, a recurrent layer or a parameter with an
#   operation of its own has no rule here, and goes through autograd.
# - A model in which samples of a batch see each other (batch normalisation in training) has no
#   gradient of one sample. `entk` refuses a model in training mode.
# - Exact means: to round-off. In single precision two exact ways agree to about six or seven digits.
# - For more samples than fit into any time there are random projections of gradients. They trade
#   exactness for speed; this chapter does not.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-crossing
#
# A gradient that meets very many partners is written out for free. Take $n = m \to \infty$ and $p = q$ in
# {eq}`eq-flops` and find the crossing for $C = 1$. What does it become for large $C$?
# ```
#
# ```{solution} ex-crossing
# :class: dropdown
#
# Divide both by $2 n m$ and let the first term of the gradients vanish: Gram is cheaper while
# $S^2 (1 + C) p + C^2 S p < C^2 p^2$. For $C = 1$ this is $2 S^2 + S < p$, so about
# $\sqrt{p / 2}$: between 19 and 20 for $p = 768$. For large $C$, $S^2 C + C^2 S \approx C^2 p$; as
# $C \to \infty$ the crossing approaches $S = p$, where $d$ is as large as the gradient.
# ```
#
# ```{exercise}
# :label: ex-conv1d
#
# GPT-2 stores its weights transposed: $y_s = x_s W$ with $W$ of shape $(q, p)$. What is the
# gradient, and what changes in {eq}`eq-gram`?
# ```
#
# ```{solution} ex-conv1d
# :class: dropdown
#
# The gradient is $\sum_s x_s d_s^\top$. The inner product of two matrices is that of their transposes, so
# {eq}`eq-gram` does not change at all.
# ```
#
# ```{exercise}
# :label: ex-rotary
#
# Many models turn queries and keys by an angle that depends on the position {cite:p}`su2021roformer`: the
# score of positions $s$ and $t$ is $(R_s q_s) \cdot (R_t k_t)$ with rotations $R$. Is the gradient of the
# bias of the keys still zero? Change `Attention` to check: `rotate` the first two coordinates of queries and
# keys by an angle equal to the position.
# ```
#
# ```{solution} ex-rotary
# :class: dropdown
#
# A bias $b$ adds $q_s^\top R_s^\top R_t\, b$ to the score. That depends on $t$, so the softmax does see it: the
# gradient is not zero in the coordinates that turn, and zero in the others. Only what a softmax adds to *all* its inputs disappears. This is why `entk`
# does not leave key biases out by name: it looks at the sum.
# ```
#
# ```{exercise}
# :label: ex-lora-factors
#
# LoRA replaces $W$ by $W + \frac{\alpha}{r} B A$ with $B = 0$ at the start, and trains $A$ and $B$. Write the
# gradients with respect to $A$ and $B$ as factors. What is the kernel of an adapted layer?
# ```
#
# ```{solution} ex-lora-factors
# :class: dropdown
#
# $A$ is a linear layer that reads $x_s$, and $B$ one that reads $A x_s$. The derivative with respect to what
# $B$ returns is $\frac{\alpha}{r} d_s$; with respect to what $A$ returns it is
# $\frac{\alpha}{r} B^\top d_s = 0$. So the gradient of $A$ is zero, that of $B$ is
# $\frac{\alpha}{r} \sum_s d_s (A x_s)^\top$, and by {eq}`eq-gram` the kernel is
# $\frac{\alpha^2}{r^2} \sum_{s,t} (A x_s \cdot A x'_t)(d_s \cdot d'_t)$. It is the kernel of $W$ with the products of
# inputs projected by $A$.
# ```
#
# ```{exercise}
# :label: ex-by-gram
#
# `kernel.cost.by_gram` lists the parameters that took the way of Gram in some tile. Compute the kernel of the
# 32 training reviews with `outputs="difference"` and with `outputs="full"`. Which parameters change sides, and
# does {eq}`eq-flops` say so for their shapes and the lengths of the reviews?
# ```
#
# ```{solution} ex-by-gram
# :class: dropdown
#
#     batch = shots.part("train").batch
#     for outputs in ("difference", "full"):
#         print(entk(model, batch, outputs=outputs).cost.by_gram)
#
# The head, the whole last block and most of the block before it take the way of Gram both times: few of their
# positions, or a single one, count. With `"full"` two parameters join them, the second feed-forward weights ($256
# \times 640$) of blocks 0 and 1. Put the mean length, $S = 25$, and $n = m = 32$ into {eq}`eq-flops`: for $C = 1$
# Gram takes 1.2 to 1.9 times the operations of the gradients for the four shapes of a block, so all of blocks 0 and 1
# is written out. For $C = 2$ it takes two thirds for $256 \times 640$, which changes sides, and a little more than
# one for the attention output, which does not. But for queries, keys and values and for the first feed-forward weight
# it takes 0.8 to 0.9, and they stay with the gradients all the same. Here the counts do not decide: `entk` divides
# them by measured rates, and products for several outputs are the slowest; and its positions include the padding
# within a pass, so $S$ is a little more than 25.
# ```
#
# ```{exercise}
# :label: ex-far-padding
#
# This page has set the attention to `sdpa`. Load the model anew; its attention is `eager`. Take a review of
# 15 tokens and one of 50 in one batch, in double precision. The logits of the short one are not a number,
# though alone they are. Where in the model does it begin, and why there? What does `entk` give?
# ```
#
# ```{solution} ex-far-padding
# :class: dropdown
#
# It begins in the attention of block 1, the first that looks at a window of 16 tokens to each side. A position
# of padding further than that from the text sees nothing but padding, and all its scores are the lowest
# number of double precision. This attention computes its softmax in single precision, where that number is
# minus infinity, and a softmax of nothing but minus infinities is zero by zero. Nobody attends to the
# position. But in block 2 its value is multiplied by a weight of zero, and zero times not-a-number is
# not-a-number. `entk` notices in its check of two samples, gives each pass samples of one length, and returns
# the right kernel.
# ```

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
