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
# (where-kernel-lives)=
# # Where does the kernel live?
#
# A language model has embeddings, attention, feed-forward layers, norms and a head, in several blocks. Its
# kernel is one number for each pair of samples and outputs. Which part of the model does that number come
# from? The question has an exact answer, since a kernel of gradients is a sum over parameters. It also has
# several answers, since "comes from" can mean several things. This chapter takes the kernels of three tasks
# apart, compares the answers, and shows what they cannot tell you.
#
# **You will learn**
#
# - how to split a kernel into layers and kinds of parameters, in one pass
# - three shares of a part: of the kernel's size, of what tells samples apart, of the way that training goes
# - that the kernels of SGD and of SignGD live in different places of the same model
# - what a share does not mean: a model that computes the same function can have other shares.
#
# **Before you start**: read {doc}`/book/theory/kernel-behavior` for the kernel and
# {doc}`/book/theory/computing-kernels` for how it is made of gradients.

# %% [markdown]
# ## A kernel is a sum
#
# Divide the parameters into groups, $\theta = (\theta_1, \dots, \theta_G)$. The inner product of two
# gradients is the sum of the inner products of their pieces, so
#
# $$\mathcal{K}(\xi, \xi') = \sum_{g=1}^{G} \mathcal{K}_g(\xi, \xi'), \qquad
# \mathcal{K}_g(\xi, \xi') = \langle \nabla_{\theta_g} f(\xi), \nabla_{\theta_g} f(\xi') \rangle .$$ (eq-sum-of-parts)
#
# Each $\mathcal{K}_g$ is a kernel in its own right: the one of a training in which only $\theta_g$ moves.
# `entk(..., by="parameter")` gives them all, at the cost of one.
#
# ## Taking the model apart
#
# Two parameters of the `pocket` model have more than one job. One weight makes queries, keys and values.
# And the word embedding is also the decoder. Before you ask for shares, give each job a parameter of
# its own:

# %%
import copy

import numpy as np
import pandas as pd
import torch

from tangentlm import figures
from tangentlm.kernels import entk
from tangentlm.models.few_shot import few_shot
from tangentlm.models.logits import logits_of
from tangentlm.params import KernelRun

figures.use_style()


class ThreeLayers(torch.nn.Module):
    """Queries, keys and values from three weights instead of one."""

    def __init__(self, fused):
        super().__init__()
        parts = fused.weight.detach().clone().chunk(3)
        self.query, self.key, self.value = (
            torch.nn.Linear(1, 1, False) for _ in parts
        )
        for layer, weight in zip(self.children(), parts, strict=True):
            layer.weight = torch.nn.Parameter(weight.clone())

    def forward(self, x):
        return torch.cat([self.query(x), self.key(x), self.value(x)], dim=-1)


def taken_apart(model):
    """The same function of the inputs, with a parameter for each job."""
    model = copy.deepcopy(model)
    for block in model.masked_lm.model.layers:
        block.attn.Wqkv = ThreeLayers(block.attn.Wqkv)
    decoder = model.masked_lm.decoder
    decoder.weight = torch.nn.Parameter(decoder.weight.detach().clone())
    return model.eval()


BUNDLED = {"reviews": 16, "topics": 8, "inference": 10}
shots = {
    task: few_shot(KernelRun(task=task, k=k, seed=13, test_size=60, device="cpu"))
    for task, k in BUNDLED.items()
}
models = {task: taken_apart(s.model) for task, s in shots.items()}
for task, s in shots.items():
    same = torch.equal(
        logits_of(s.model, s.batch), logits_of(models[task], s.batch)
    )
    sizes = {part: len(s.part(part)) for part in s.parts}
    print(f"{task}: C = {s.task.num_classes}, {sizes}, same logits: {same}")

# %% [markdown]
# The number of examples a class differs, so that all three tasks have about thirty training examples.
#
# The first change alters nothing: a matrix cut into blocks of rows has the same inner products. The second
# one does. In the tied model the kernel of the shared matrix has four terms ({eq}`eq-tied`), and now the two
# cross terms are gone. How much is that?

# %%
TIED = "masked_lm.model.embeddings.tok_embeddings.weight"
DECODER = "masked_lm.decoder.weight"


def kernel_of(task, model, columns=None, many="full", **options):
    """The kernel of a task's training samples, of the one difference if C = 2."""
    outputs = "difference" if shots[task].task.num_classes == 2 else many
    options = {"outputs": outputs, "progress": False} | options
    return entk(model, shots[task].part("train").batch, columns, **options)


s = shots["reviews"]
tied = kernel_of("reviews", s.model, parameters=[TIED]).values
untied = kernel_of("reviews", models["reviews"], parameters=[TIED, DECODER]).values
cross = np.linalg.norm(tied - untied) / np.linalg.norm(tied)
assert cross < 0.02
print(f"cross terms, relative to the kernel of the tied matrix: {cross:.2%}")

# %% [markdown]
# Little, because few reviews contain a label word. So we go on with the model that was taken apart.
#
# Now the kernels: those of SGD between the training samples and all samples, and those of SignGD
# between the training samples alone, of which only the trace over the outputs will be needed.

# %%
kernels = {
    task: kernel_of(task, model, shots[task].batch, by="parameter")
    for task, model in models.items()
}
sign_kernels = {
    task: kernel_of(task, model, many="trace", by="parameter", formula="signgd")
    for task, model in models.items()
}
for task, kernel in kernels.items():
    split = sum(kernel.groups.values())
    assert np.allclose(split, kernel.values)
    print(f"{task}: {kernel.values.shape}, {len(kernel.groups)} parts")

# %% [markdown]
# Each of the parameter tensors has a layer and a kind.

# %%
LAYERS = ["embedding", "block 0", "block 1", "block 2", "block 3", "head"]
KINDS = {
    "tok_embeddings": "word embedding",
    "query": "query",
    "key": "key",
    "value": "value",
    "attn.Wo": "attention out",
    "mlp.Wi": "feed-forward in",
    "mlp.Wo": "feed-forward out",
    "norm": "norm",
    "head.dense": "dense",
    "decoder.weight": "decoder",
    "decoder.bias": "decoder bias",
}


def layer_of(name):
    number = next((part for part in name.split(".") if part.isdigit()), None)
    if number is not None:
        return f"block {number}"
    return "embedding" if "embeddings" in name else "head"


def kind_of(name):
    return next(kind for part, kind in KINDS.items() if part in name)


parameters = pd.DataFrame(
    {
        "layer": [layer_of(n) for n in kernels["reviews"].groups],
        "kind": [kind_of(n) for n in kernels["reviews"].groups],
        "entries": [
            p.numel() for p in models["reviews"].parameters() if p.requires_grad
        ],
    },
    index=list(kernels["reviews"].groups),
)
kinds = list(KINDS.values())
parameters.sample(4, random_state=0)

# %% [markdown]
# ## Three questions, three shares
#
# Two things are better taken off a kernel before you measure it.
#
# **What all classes have in common.** A softmax sees differences of logits only. So subtract from each
# gradient $\nabla f_c$ the mean over the classes. (For two classes, the kernel of the difference
# $f_1 - f_0$ has done so already.) All shares of SGD on this page are of this *contrast* kernel.
#
# **What all samples have in common.** Every gradient points partly the same way. Training in that direction
# moves the logits of all samples alike: it can shift every decision, and tells no two samples apart.
# Centring takes it off: $H \mathcal{K} H$ with $H = I - \frac{1}{N} \mathbf{1} \mathbf{1}^\top$.
#
# The first two shares of a part $g$ are then
#
# $$\text{size:}\ \frac{\operatorname{tr} \mathcal{K}_g}{\operatorname{tr} \mathcal{K}}, \qquad
# \text{centred:}\ \frac{\operatorname{tr} H \mathcal{K}_g H}{\operatorname{tr} H \mathcal{K} H} .$$ (eq-shares)
#
# The size says how long the gradients are in $\theta_g$. The centred share says how far apart the
# gradients of different samples are. The shares of all parts sum to one. Neither knows the labels. The
# third does:
#
# ```{prf:proposition} The movement of kernel regression
# :label: prop-movement
#
# Let $h(\xi) = f_0(\xi)/s + \sum_{i, c} \alpha_{ic}\, \mathcal{K}_{c\,\cdot}(\xi_i, \xi)$ be a kernel regression. It is
# the model $f_0(\xi)/s + \langle \nabla f(\xi), \Delta\theta \rangle$ that is linear in its parameters, with
#
# $$\Delta\theta = \sum_{i, c} \alpha_{ic} \nabla f_c(\xi_i), \qquad
# \lVert \Delta\theta_g \rVert^2 = \alpha^\top \mathcal{K}_g\, \alpha ,$$ (eq-movement)
#
# and the part of its output that comes through $\theta_g$ is
# $\langle \nabla_{\theta_g} f(\xi), \Delta\theta_g \rangle = \sum_{i,c} \alpha_{ic} (\mathcal{K}_g)_{c\,\cdot}(\xi_i, \xi)$.
# ```
#
# ```{prf:proof}
# Put $\Delta\theta$ into $\langle \nabla f(\xi), \Delta\theta \rangle$ and use the definition of $\mathcal{K}$.
# The squared norm of $\Delta\theta_g$ is $\sum \alpha_{ic} \alpha_{jd} \langle \nabla_{\theta_g} f_c(\xi_i),
# \nabla_{\theta_g} f_d(\xi_j) \rangle$.
# ```
#
# So the share $\lVert \Delta\theta_g \rVert^2 / \lVert \Delta\theta \rVert^2$ says where fine-tuning would move the
# parameters if it were kernel regression. Call it the **movement**.

# %%
from tangentlm.metrics import centred, score
from tangentlm.solvers import labels_of_decision, select


def over_outputs(values, contrast):
    """Trace over the outputs, (N, N), without what all outputs have in common."""
    if contrast and values.shape[1] > 1:
        values = values - values.mean(axis=1, keepdims=True)
        values = values - values.mean(axis=3, keepdims=True)
    return np.einsum("icjc->ij", values)


def regression(task, values):
    """The kernel regression chosen on dev, and its accuracy on test."""
    parts = shots[task].parts
    K = {part: values[:, :, index] for part, index in parts.items()}
    y = {part: shots[task].part(part).labels.numpy() for part in parts}
    chosen = select(K["train"], y["train"], K["dev"], y["dev"], f0_scale=(np.inf,))
    decision = chosen.solver.decision_function(K["test"])
    return chosen.solver, score(y["test"], labels_of_decision(decision))


def share_of(numbers):
    return 100 * np.array(numbers) / np.sum(numbers)


def shares(task):
    """The shares of every parameter of a task, in percent."""
    train = shots[task].parts["train"]
    solver, _ = regression(task, kernels[task].values)
    alpha = solver.alpha_.ravel()
    sgd = [values[:, :, train] for values in kernels[task].groups.values()]
    traced = [over_outputs(values, contrast=True) for values in sgd]
    moves = [
        alpha @ values.reshape(len(alpha), len(alpha)) @ alpha for values in sgd
    ]
    signs = [
        over_outputs(v, contrast=False) for v in sign_kernels[task].groups.values()
    ]
    return parameters.assign(
        task=task,
        size=share_of([np.trace(values) for values in traced]),
        centred=share_of([np.trace(centred(values)) for values in traced]),
        movement=share_of(moves),
        sign_size=share_of([np.trace(values) for values in signs]),
        sign_centred=share_of([np.trace(centred(values)) for values in signs]),
    )


table = pd.concat([shares(task) for task in kernels])

# %% [markdown]
# ## The result

# %% mystnb={"figure": {"caption": "Three shares of each layer in the SGD kernel of three tasks: of its size, of what tells samples apart (centred), and of the way that kernel regression moves the parameters.", "name": "fig-shares"}, "image": {"alt": "Nine horizontal stacked bars. The head has most of the size in all tasks; in the centred and movement bars the embedding has a third or so, the first block about a seventh, later blocks little."}} tags=["hide-input"]
MEASURES = ["size", "centred", "movement"]
by_layer = (
    table.groupby(["task", "layer"], sort=False)[MEASURES]
    .sum()
    .stack()
    .unstack("layer")[LAYERS]
    .rename_axis(["task", "share"])
)
figures.stacked_bars(by_layer, "share of the SGD kernel (%)")

# %% tags=["remove-input"]
figures.data_link(by_layer.reset_index(), "shares-by-layer")

# %%
for task in kernels:
    bars = by_layer.loc[task]
    assert bars.loc["size", "head"] > 50
    for end in ("embedding", "head"):
        low, high = sorted(bars.loc[["size", "centred"], end])
        assert low < bars.loc["movement", end] < high
    assert bars.loc["centred", "embedding"] > 2 * bars.loc["size", "embedding"]
    assert (
        bars.loc["size", "block 0"] > bars.loc["size", ["block 2", "block 3"]].sum()
    )
by_layer.round(1)

# %% [markdown]
# Read {numref}`fig-shares` bar by bar.
#
# - By **size** the kernel lives in the head, the two matrices right before the logits.
# - Much of that is alike for all samples. **Centred**, the embedding has about as large a share as the
#   head: two samples with other tokens touch other rows of it.
# - The **movement** of the two ends of the model lies in between. Most of the way that training goes is
#   there, and then in the first block. Later blocks have little.
#
# The three tasks have different texts, prompts and numbers of classes, and the picture is much the same. So it
# says more about the model than about a task.
#
# Inside a block, which kinds of parameters count?

# %% mystnb={"figure": {"caption": "The centred share of each layer and kind of parameter in the SGD kernel of the reviews, in percent.", "name": "fig-layer-kind"}, "image": {"alt": "Table of coloured cells, layers down and kinds across; the word embedding and the decoder stand out, then the query and value of the first block; feed-forward cells are near zero."}} tags=["hide-input"]
grid = (
    table[table["task"] == "reviews"]
    .pivot_table(index="layer", columns="kind", values="centred", aggfunc="sum")
    .loc[LAYERS, kinds]
)
figures.heat_map(
    grid, "centred share (%)", text="{:.1f}", log=True, size=(0.5, 0.36)
)

# %% tags=["remove-input"]
figures.data_link(grid.reset_index(), "layer-by-kind")

# %%
by_kind = (
    table.groupby(["task", "kind"], sort=False)[
        [*MEASURES, "sign_size", "sign_centred"]
    ]
    .sum()
    .unstack("task")
    .loc[kinds]
    .reindex(columns=list(kernels), level="task")
)
entries = parameters.groupby("kind")["entries"].sum().loc[kinds]
sgd_table = by_kind[["size", "centred"]].round(1)
sgd_table.insert(0, ("parameters", ""), share_of(entries).round(1))
feed_forward = ["feed-forward in", "feed-forward out"]
attention = ["query", "key", "value", "attention out"]
for task in kernels:
    of_task = by_kind.xs(task, axis=1, level="task")
    assert (
        of_task.loc[feed_forward, "size"].sum()
        < of_task.loc[attention, "size"].sum()
    )
    assert (
        of_task.loc["value", "size"] > of_task.loc[["query", "key"], "size"].sum()
    )
sgd_table

# %% [markdown]
# The feed-forward layers have more parameters than attention and a smaller share. Within attention the
# values have more of the size than queries and keys together. The dense layer of the head is second by size and
# nearly nothing when centred: its gradient is almost the same for all texts. The decoder bias has no
# centred share at all: its gradient does not depend on the text.
#
# ## Does training go there?
#
# Equation {eq}`eq-movement` is a prediction about a real training, and you can test it. Train with plain gradient
# descent on all reviews at once, ten steps, and measure how far every parameter went. Predict the same from the
# kernel alone: run gradient descent on $f$ in the kernel's world,
#
# $$\alpha_{t+1} = \alpha_t - \eta \chi_t, \qquad f_{t+1} = f_t - \eta\, \mathcal{K} \chi_t ,$$ (eq-kernel-descent)
#
# with $\chi_t$ the output derivatives at $f_t$, divided by $N$ for a mean loss.

# %%
ETA, STEPS = 2e-3, 10
s = shots["reviews"]
train, labels = s.part("train").batch, s.part("train").labels
parts = s.parts["train"]

network = copy.deepcopy(models["reviews"])
start = {name: p.detach().clone() for name, p in network.named_parameters()}
for _ in range(STEPS):
    loss = torch.nn.functional.cross_entropy(network(**train), labels)
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(
            network.parameters(), gradients, strict=True
        ):
            parameter -= ETA * gradient
went = {
    name: float((p.detach() - start[name]).square().sum())
    for name, p in network.named_parameters()
}

K = kernels["reviews"].values[:, 0, parts, 0]
logits = logits_of(models["reviews"], train).double().numpy()
f, y, alpha = logits[:, 1] - logits[:, 0], labels.numpy(), np.zeros(len(labels))
for _ in range(STEPS):
    chi = (1 / (1 + np.exp(-f)) - y) / len(y)
    alpha, f = alpha - ETA * chi, f - ETA * K @ chi
predicted = {
    name: alpha @ values[:, 0, parts, 0] @ alpha
    for name, values in kernels["reviews"].groups.items()
}
steps = parameters.assign(
    predicted=share_of([predicted[n] for n in parameters.index]),
    real=share_of([went[n] for n in parameters.index]),
)
distance = np.sqrt([sum(predicted.values()), sum(went.values())])
print(f"loss: {loss:.3f} in the last step")
print(f"distance: {distance[0]:.4f} predicted, {distance[1]:.4f} real")

# %% mystnb={"figure": {"caption": "Where ten steps of gradient descent moved the parameters, and where the kernel said they would go, as shares of the squared distance.", "name": "fig-movement"}, "image": {"alt": "Two stacked bars that look alike: about half of the squared distance in the head, then the embedding, then the first block."}} tags=["hide-input"]
moved = steps.groupby("layer", sort=False)[["predicted", "real"]].sum().T[LAYERS]
figures.stacked_bars(moved, "share of the squared distance (%)")

# %% tags=["remove-input"]
figures.data_link(moved.reset_index(), "movement")

# %%
by_kind_moved = steps.groupby("kind", sort=False)[["predicted", "real"]].sum()
assert (by_kind_moved["predicted"] - by_kind_moved["real"]).abs().max() < 5
by_kind_moved.loc[kinds].round(1)

# %% [markdown]
# The kernel knew. This is kernel behaviour ({prf:ref}`def-kernel-behavior`), seen from the side of the
# parameters. It is a statement about small steps; {ref}`ex-larger-rate` asks how small.
#
# ## The kernel of signs lives elsewhere
#
# SignGD, and with it the first steps of Adam, move every parameter by the same amount, however small its
# gradient. Its kernel counts. On the diagonal,
#
# $$\mathcal{K}^{(\mathrm{SignGD})}_{cc}(\xi, \xi) = \#\{k : \partial f_c(\xi) / \partial \theta_k \ne 0\} ,$$ (eq-sign-count)
#
# so its size is the number of parameters, but for the rows of the embedding and decoder that a sample does not touch.

# %%
assert all(
    by_kind.loc[feed_forward, ("sign_size", task)].sum() > 50 for task in kernels
)
sign_table = by_kind[["sign_size", "sign_centred"]].round(1)
sign_table.insert(0, ("parameters", ""), share_of(entries).round(1))
sign_table

# %% mystnb={"figure": {"caption": "The layers' centred shares in the kernels of SGD and of SignGD.", "name": "fig-sign-shares"}, "image": {"alt": "Pairs of stacked bars for three tasks. With SGD embedding and head have most; with SignGD the four blocks have nearly all, in about equal parts."}} tags=["hide-input"]
both = table.groupby(["task", "layer"], sort=False)[
    ["centred", "sign_centred"]
].sum()
both = both.rename(columns={"centred": "SGD", "sign_centred": "SignGD"})
both = both.stack().unstack("layer")[LAYERS].rename_axis(["task", "kernel"])
figures.stacked_bars(both, "centred share (%)")

# %% tags=["remove-input"]
figures.data_link(both.reset_index(), "sgd-and-signgd")

# %% [markdown]
# In {numref}`fig-sign-shares` the ends of the model are all but gone, and the blocks share the kernel about
# equally, with the feed-forward layers, which have the most parameters, in front. One model, one prompt, one
# text, two optimizers: the kernel view says that they fine-tune different parts of the model.
#
# ## What a part knows
#
# A large share is not a large use. Ask two more questions of a part. Is its kernel aligned with the labels? And
# how well does kernel regression do with this part alone? The alignment is that of the centred kernel with the
# kernel of the labels, $Y Y^\top$ for one-hot $Y$ {cite:p}`cortes2012algorithms`:
#
# $$A_g = \frac{\langle H \mathcal{K}_g H,\ H Y Y^\top H \rangle}
# {\lVert H \mathcal{K}_g H \rVert\, \lVert H Y Y^\top H \rVert} .$$ (eq-alignment)
#
# With thirty samples chance alone gives something, so shuffle the labels to see how much.

# %%
from tangentlm.metrics import alignment

COARSE = {
    "word embedding": ["word embedding"],
    "attention": attention,
    "feed-forward": feed_forward,
    "norms": ["norm"],
    "dense": ["dense"],
    "decoder": ["decoder"],
    "all": kinds,
}


def of_labels(y):
    """The kernel of the labels."""
    return (y[:, None] == y[None]).astype(float)


generator = np.random.default_rng(0)
alone = []
for task, kernel in kernels.items():
    index = shots[task].parts["train"]
    y = shots[task].part("train").labels.numpy()
    for part, of_part in COARSE.items():
        names = parameters.index[parameters["kind"].isin(of_part)]
        values = sum(kernel.groups[name] for name in names)
        matrix = over_outputs(values[:, :, index], contrast=True)
        by_chance = [
            alignment(matrix, of_labels(generator.permutation(y)))
            for _ in range(500)
        ]
        alone.append(
            {
                "task": task,
                "part": part,
                "alignment": alignment(matrix, of_labels(y)),
                "95 % of chance": np.quantile(by_chance, 0.95),
                "accuracy alone (%)": regression(task, values)[1],
            }
        )
alone = pd.DataFrame(alone)
zero_shot = {
    task: score(
        s.part("test").labels,
        logits_of(s.model, s.part("test").batch).argmax(dim=1),
    )
    for task, s in shots.items()
}
print("zero-shot accuracy (%):", {t: round(a) for t, a in zero_shot.items()})
error = 100 * np.sqrt(0.25 / 60)
print(f"standard error of an accuracy of 50 % on 60 examples: {error:.0f} points")
beyond = alone["alignment"] > alone["95 % of chance"]
assert beyond[alone["task"] == "topics"].all()
assert not beyond[alone["task"] == "inference"].any()
assert (
    alone["accuracy alone (%)"][alone["task"] == "topics"] > 25 + 2 * error
).all()
shown = alone.set_index(["part", "task"]).unstack("task").loc[list(COARSE)].round(2)
assert shown["alignment", "reviews"].idxmax() == "feed-forward"
shown.reindex(columns=list(kernels), level="task")

# %% tags=["remove-input"]
figures.data_link(alone, "parts-alone")

# %% [markdown]
# Read this table with its standard error: two accuracies that differ by less than two of them do not differ.
#
# - For the inference task, no part is aligned with the labels beyond chance, nor is the whole. Where a kernel lives
#   does not matter if it does not know the task.
# - For topics, every part is. The decoder alone does about as well as the whole: it has the kernel of linear
#   probing. The others do less well, but all of them far better than guessing.
# - For reviews, the best aligned part is the feed-forward layers, whose share of the size is among the smallest.
#
# So a small share is no small use. All parts see the same forward and backward passes, and their kernels carry
# related information about which texts are alike. This is why parameter-efficient fine-tuning can work on a
# part with a tiny share, such as queries and values {cite:p}`hu2021lora` or keys alone
# {cite:p}`afzal2024spectrum`.
#
# ## What a share does not mean
#
# A share is a fact about a *parametrisation*, not about the function that the model computes. Divide the value
# weights of every block by four and multiply the attention output by four. Attention is linear in the values, so
# nothing changes: powers of two are exact in floating point, so the logits are the same to the last bit.

# %%
scaled = copy.deepcopy(models["reviews"])
with torch.no_grad():
    for block in scaled.masked_lm.model.layers:
        block.attn.Wqkv.value.weight /= 4
        block.attn.Wo.weight *= 4
print(
    "same logits:",
    torch.equal(logits_of(scaled, train), logits_of(models["reviews"], train)),
)
scaled_kernel = kernel_of("reviews", scaled, by="parameter")
before_after = {}
for title, groups in (
    ("before", {n: v[:, :, parts] for n, v in kernels["reviews"].groups.items()}),
    ("after", scaled_kernel.groups),
):
    sizes = [
        np.trace(over_outputs(values, contrast=True)) for values in groups.values()
    ]
    before_after[title] = (
        parameters.assign(size=share_of(sizes))
        .groupby("kind")["size"]
        .sum()
        .loc[kinds]
    )
before_after = pd.DataFrame(before_after)
assert before_after.loc["value", "after"] > 5 * before_after.loc["value", "before"]
before_after.round(1)

# %% [markdown]
# The gradient with respect to a weight that was divided by four is four times as long, so its kernel is sixteen
# times as large; that of the attention output is a sixteenth. SGD on the second model would train other
# parameters, and another function: it is a different training. So:
#
# - A share tells you what *SGD with one learning rate for all parameters* does to this model, written down in this way.
# - It does not tell you where the model keeps its knowledge, or which layers a task needs.
# - Shares of two models can be compared only if their parameters are scaled alike.
#
# ## Limits
#
# - One small model with four blocks, three small tasks, one split each. Norms before each layer, gated
#   feed-forward layers and rotary positions are this model's; a RoBERTa need not look the same.
# - The decoder was untied from the embedding, which drops the cross terms. They are small here; for a task whose
#   texts are full of label words they need not be.
# - The trace weighs all directions alike. Kernel regression does not: it cares for directions in which
#   samples differ *and* labels do. The movement share knows the labels, but only through this one regression.
# - The SignGD kernel here is the symmetric one. What a step of SignGD does to $f$ is said by the
#   {term}`asymmetric kernel`.
# - The contrast and the centring are choices. Without them the head's share is larger still.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-lora-share
#
# LoRA is often put on queries and values. Compute the size and the centred share of these two kinds for the
# three tasks, and the accuracy of kernel regression with them alone. What does
# {prf:ref}`prop-movement` say about a training that is restricted to them?
# ```
#
# ```{solution} ex-lora-share
# :class: dropdown
#
# `by_kind.loc[["query", "value"]].sum()` has the shares, and
# `regression(task, sum(groups of these kinds))` the accuracy. A restricted training is kernel regression with
# $\mathcal{K}_g$ alone. A small kernel is no obstacle by itself: multiply the learning rate (or divide
# $\alpha$) by what the kernel lacks in size, and the regression is the same. What counts is the shape of
# $\mathcal{K}_g$, which its share does not tell. LoRA sees a projection of it
# ({ref}`ex-lora-factors`).
# ```
#
# ```{exercise}
# :label: ex-larger-rate
#
# Train with a learning rate of $10^{-2}$ instead. Do the distance and the shares still agree with the
# prediction? Which kinds of parameters go further than the kernel says?
# ```
#
# ```{solution} ex-larger-rate
# :class: dropdown
#
# At this rate it is no longer a descent. The loss climbs from 0.6 or 0.7 to several times that in a few steps and
# then jumps up and down: $\eta$ is too large for the largest eigenvalue of $\mathcal{K}$, whose eigenvector moves all
# reviews alike. The kernel knows that as well. Note down the losses of both loops: for the first three steps they
# agree (we looked at the split 13 with half the rate and at 21 with all of it). After that the kernel's go on jumping
# as high while the real ones calm down. The distance is still about right, 10 to 15 % longer than predicted, on both
# splits; the shares are not. The decoder goes a little less far than the kernel says, and its share falls from about
# a half to a third. The norms and both feed-forward weights go 1.7 to 2 times as far, the attention output about 1.5
# times: the gradient has moved to parts that had little of it at the start. So a distance that agrees is not yet
# kernel behaviour.
# ```
#
# ```{exercise}
# :label: ex-scaled-signs
#
# What does the change of scale do to the SignGD kernel? And to a step of SignGD?
# ```
#
# ```{solution} ex-scaled-signs
# :class: dropdown
#
# A positive factor does not change a sign, so the kernel is the same. A step still moves every entry of
# $W$ by $\eta$. But the value weights are now a quarter as large, so the same step changes them four times as
# much, relative to their size, and the output weights a quarter as much. The kernel that says what a step does to
# $f$ is the asymmetric one, $\langle \nabla f, \operatorname{sign} \nabla f' \rangle$, and that did change: by a factor of four for
# these two kinds. The symmetric SignGD kernel cannot see it.
# ```
#
# ```{exercise}
# :label: ex-cross-tasks
#
# Compute the cross terms for topics and for inference. For one of them they vanish entirely. Which, and why?
# ```
#
# ```{solution} ex-cross-tasks
# :class: dropdown
#
# For topics: no text contains the token of a label word, with its leading blank, so all cross terms of
# {eq}`eq-tied` are empty sums. Some of the inference texts contain *No*.
# ```
#
# ```{exercise}
# :label: ex-pre-train-part
#
# {cite:t}`tomihari2024understanding` split the kernel into a part that comes from the classifier and one that
# comes from the features. Which groups of this page make up the two? Compute the Frobenius norm of the part
# of the features, relative to that of the whole kernel, for each task.
# ```
#
# ```{solution} ex-pre-train-part
# :class: dropdown
#
# The classifier is the decoder with its bias: its part is
# $\mathbf{1}[c = d] (\langle h, h' \rangle + 1)$, the kernel of linear probing. Everything else acts through $h$.
# The ratio is the norm of `sum(v for n, v in groups.items() if "decoder" not in n)` over that of the
# whole. This works because the decoder was untied; in the tied model the cross terms belong to neither.
# ```

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
