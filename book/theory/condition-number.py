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
# (condition-number)=
# # What a condition number depends on
#
# {cite:t}`afzal2024spectrum` take the kernel of LoRA's matrices for 32 samples, before any training, and propose one
# number of it as a forecast of fine-tuning:
#
# $$\kappa = \frac{\lambda_{\max}(K) + \sigma}{\lambda_{\min}(K) + \sigma}, \qquad \sigma = 10^{-4} .$$ (eq-kappa)
#
# Here $\lambda_{\max}$ and $\lambda_{\min}$ are the largest and the smallest eigenvalue of the kernel $K$. To
# compute $\kappa$, you have to choose a dozen things that have nothing to do with the task: a random head, a draw
# of samples, what becomes of two logits, whether the model reads padding, the unit of $\sigma$. The paper leaves
# most of them open. This chapter changes each of them, one at a time, and looks at what $\kappa$ does. The answer
# is {numref}`fig-kappa-options`: most choices move $\kappa$ more than the task does. So a $\kappa$ says
# little if you do not know the choices behind it, and you can compare two of them only where all choices are the
# same.
#
# **You will learn**
#
# - which choices move $\kappa$ much, which hardly move it, and why
# - how much of the spread of $\kappa$ lies between tasks, and how much between random seeds
# - that more samples can only raise $\kappa$, and that a factor before the kernel is a factor in $\sigma$
# - why dropout that is live makes a kernel asymmetric, and what that does to $\kappa$.
#
# **Before you start**: read {doc}`/book/theory/kernel-behavior` for the kernel and
# {doc}`/book/theory/low-rank` for LoRA at its start. Padding that a model reads has a chapter of its own,
# {doc}`/book/results/padding`. Whether $\kappa$ bounds the risk is the subject of
# {doc}`/book/theory/condition-bounds`; what it forecasts is that of {doc}`/book/results/afzal`.

# %% [markdown]
# ## All choices of layers from one pass
#
# The model is `pocket-xs`, with LoRA ($r = \alpha = 8$) on queries, keys and values, and with RoBERTa's head: a dense
# layer, tanh and a linear layer on the first token. The head is random. It is not in the kernel, but every gradient
# passes through it.
#
# LoRA starts with $B = 0$, so a layer's gradient knows nothing of the adapters of others, and the kernel of a set $S$
# of layers is a sum:
#
# $$K_S = \sum_{l \in S} K_l .$$ (eq-subset-sum)
#
# One call of `entk(..., by=...)` gives all $K_l$ and with them the kernels of all subsets. (`pocket-xs` keeps
# queries, keys and values in one matrix. `split_projections` gives each its rows, so that LoRA can be put on the
# keys alone.) And the kernel of some samples is a block of the kernel of all: a pool of 64 samples has as many
# draws of 32 as you like.

# %%
import numpy as np
import pandas as pd

from tangentlm import figures
from tangentlm.afzal.condition import (
    REDUCTIONS,
    condition_number,
    condition_numbers,
    draw_samples,
    reduced,
)
from tangentlm.afzal.live_dropout import live_gradients
from tangentlm.afzal.pads import PADS
from tangentlm.afzal.pools import load_pool, paper_subsets
from tangentlm.batches import Labelled
from tangentlm.finetune.chosen_lora import kernel_by_layer, of_layers, with_lora
from tangentlm.kernels import draw_lora
from tangentlm.models.checkpoints import load_tokenizer
from tangentlm.models.heads import load_model
from tangentlm.models.linear_probe import fit_linear_probe
from tangentlm.models.projections import projection_layers, split_projections
from tangentlm.tasks import load_task
from tangentlm.tasks.pools import draw_rows
from tangentlm.tasks.prompts import encode, labels_of

TASKS = ("reviews", "topics", "inference")
LAYERS = (0, 2, 3)  # of four; they stand for the paper's 0, 5 and 11 of twelve
HEADS, DRAWS, POOL, N = 6, 20, 64, 32
SIGMA = 1e-4

figures.use_style()
pools = {task: load_pool(task, "pocket-xs", size=POOL, seed=0) for task in TASKS}
subsets = paper_subsets(pools["reviews"], LAYERS)
names = list(dict.fromkeys(name for some in subsets.values() for name in some))


def matrices(kernel) -> dict[str, np.ndarray]:
    """The kernel of the difference of the logits, for each choice of layers."""
    return {
        name: of_layers(kernel, some)[:, 0, :, 0] for name, some in subsets.items()
    }


kernels = {
    (task, head): matrices(pool.kernel(head, names))
    for task, pool in pools.items()
    for head in range(HEADS)
}
everything = pd.concat(
    [
        condition_numbers(K, range(DRAWS), count=N).assign(task=task, head=head)
        for (task, head), K in kernels.items()
    ]
)


def spread(kappas) -> dict[str, float]:
    """Median and range."""
    return {
        "median": np.median(kappas),
        "low": np.min(kappas),
        "high": np.max(kappas),
    }


grouped = everything.groupby(["kernel", "task"], sort=False)["kappa"]
by_choice = grouped.apply(spread).unstack()
by_choice.round(1)

# %% [markdown]
# Each row has 120 values of $\kappa$: six heads times twenty draws. Look at the ranges, then at how the rows differ.
#
# ## Turn one choice at a time
#
# The starting point is queries and values of layer 0 for `reviews`, the kernel of the difference $f_1 - f_0$, padding
# masked, head 0, draw 0. Every row of the next table changes one choice. Where the choice is not the seed itself, the
# range is over heads and draws.

# %% tags=["hide-input"]
START = "q+v {0}"
FEW = 2  # heads, where a new pass is needed
reviews = pools["reviews"]
layer_0 = subsets[START]
rows: list[dict[str, object]] = []


def note(option: str, value: str, kappas) -> None:
    rows.append({"option": option, "value": value} | spread(np.ravel(kappas)))


def of_draws(
    K: np.ndarray, sigma: float = SIGMA, relative: bool = False
) -> list[float]:
    """Kappa for all draws of a pool's kernel; a pool of 2N rows has two a sample."""
    copies = len(K) // POOL
    chosen = [draw_samples(POOL, N, draw) for draw in range(DRAWS)]
    rows_of = [(copies * c[:, None] + np.arange(copies)).ravel() for c in chosen]
    return [
        condition_number(K[np.ix_(i, i)], sigma, relative=relative) for i in rows_of
    ]


base = [kernels["reviews", head][START] for head in range(HEADS)]
for name in subsets:
    note(
        "layers and projections",
        name,
        [of_draws(kernels["reviews", h][name]) for h in range(HEADS)],
    )
note("head seed", "six heads, draw 0", [of_draws(K)[0] for K in base])
note("draw", "twenty draws, head 0", of_draws(base[0]))
note(
    "draw",
    "the first 32 samples",
    [condition_number(K[:N, :N], SIGMA) for K in base],
)
for sigma in (1e-5, 1e-4, 1e-3, 1e-2):
    note("sigma, absolute", f"{sigma:g}", [of_draws(K, sigma) for K in base])
for share in (1e-4, 1e-3, 1e-2):
    note(
        "sigma, share of tr K / n",
        f"{share:g}",
        [of_draws(K, share, relative=True) for K in base],
    )
for alpha in (0.8, 8, 80):
    note(
        "alpha",
        str(alpha),
        [of_draws((alpha / 8) ** 2 * K) for K in base],
    )
for n in (8, 16, 32, 64):
    some = [draw_samples(POOL, n, draw) for draw in range(DRAWS)]
    note(
        "number of samples",
        str(n),
        [[condition_number(K[np.ix_(i, i)], SIGMA) for i in some] for K in base],
    )

full = [reviews.kernel(h, layer_0, outputs="full").values for h in range(FEW)]
for how in REDUCTIONS:
    note(
        "reduction of two logits",
        how,
        [of_draws(reduced(values, how)) for values in full],
    )


def of_pool(**options) -> list[list[float]]:
    """Kappa of a pool that is loaded with other options, for a few heads and all draws."""
    pool = load_pool("reviews", "pocket-xs", size=POOL, seed=0, **options)
    layer = pool.layers([0])
    return [of_draws(pool.kernel(h, layer).matrix()) for h in range(FEW)]


for rank in (2, 8, 32):
    note("rank (with alpha = 8)", str(rank), of_pool(rank=rank))
for init in ("kaiming-uniform", "gaussian"):
    note("LoRA's start", init, of_pool(init=init))
longest = int(reviews.batch["input_ids"].shape[1])
for length in (8, 16, longest):
    note("length, texts are cut to", str(length), of_pool(max_length=length))
for length in (longest, 2 * longest):
    found = of_pool(max_length=length, pads="attended")
    note("length, padding is read up to", str(length), found)
for pads in PADS:
    found = of_pool(max_length=2 * longest, pads=pads)
    note(f"padding, {2 * longest} tokens a row", pads, found)
for formula in ("signgd", "asymmetric-signgd"):
    found = [
        reviews.kernel(h, layer_0, formula=formula).matrix() for h in range(FEW)
    ]
    # A sign kernel counts parameters, so it is read in its own unit.
    note(
        "formula (sigma a share of 1e-3)",
        formula,
        [of_draws(K, 1e-3, relative=True) for K in found],
    )
note(
    "formula (sigma a share of 1e-3)",
    "sgd",
    [of_draws(K, 1e-3, relative=True) for K in base[:FEW]],
)
found = [reviews.kernel(h, layer_0, head_in_kernel=True) for h in range(FEW)]
note("head in the kernel", "no", [of_draws(K) for K in base[:FEW]])
note("head in the kernel", "yes", [of_draws(K.matrix()) for K in found])
note("dropout live, two passes", "0", [of_draws(K) for K in base[:FEW]])
note("dropout live, one pass", "0", [of_draws(K) for K in base[:FEW]])
for rate in (0.1, 0.5):
    live = []
    for head in range(FEW):
        reviews.model.draw_head(head)
        live.append(
            [
                live_gradients(
                    reviews.model, reviews.batch, layer_0, rate=rate, seed=seed
                )
                for seed in (2 * head, 2 * head + 1)
            ]
        )
    two = [sum(G[n] @ H[n].T for n in layer_0) for G, H in live]
    one = [sum(G[n] @ G[n].T for n in layer_0) for G, _ in live]
    note("dropout live, two passes", str(rate), [of_draws(K) for K in two])
    note("dropout live, one pass", str(rate), [of_draws(K) for K in one])


def kernel_of_head(head: str) -> np.ndarray:
    """The kernel of layer 0 with a head that is not random: a prompt's, or a probe's."""
    task, tokenizer = load_task("reviews"), load_tokenizer("pocket-xs")
    texts = draw_rows(task, POOL, seed=0)
    batch = encode(task, tokenizer, texts, head)
    model = load_model("pocket-xs", task, head)
    if head == "linear":
        fit_linear_probe(model, Labelled(batch, labels_of(texts)))
    split_projections(model)
    names = projection_layers(model, [0])
    with_lora(model, draw_lora(model, names, rank=8, seed=0), alpha=8.0)
    return kernel_by_layer(model, batch, names, outputs="difference").matrix()


note("head", "random", [of_draws(K) for K in base])
for words, head in (("probe", "linear"), ("prompt", "prompt")):
    note("head", words, of_draws(kernel_of_head(head)))
options = pd.DataFrame(rows)

# %% mystnb={"figure": {"caption": "What each choice does to the condition number, for one task and model: median and range over heads and draws, a panel for each of three kinds of choices. One unit is a factor of ten.", "name": "fig-kappa-options"}, "image": {"alt": "Three panels of points with ranges on a logarithmic scale. Layers, the head in the kernel, the number of samples and padding move the point by a factor of about ten and more; head seed and draw by two or three."}} tags=["hide-input"]
KINDS = {
    "layers and projections": "what is adapted, and how",
    "alpha": "what is adapted, and how",
    "rank (with alpha = 8)": "what is adapted, and how",
    "LoRA's start": "what is adapted, and how",
    "head": "what is adapted, and how",
    "head in the kernel": "what is adapted, and how",
    "sigma, absolute": "what is computed",
    "sigma, share of tr K / n": "what is computed",
    "formula (sigma a share of 1e-3)": "what is computed",
    "reduction of two logits": "what is computed",
    "dropout live, two passes": "what is computed",
    "dropout live, one pass": "what is computed",
    "head seed": "which samples and seeds",
    "draw": "which samples and seeds",
    "number of samples": "which samples and seeds",
    "length, texts are cut to": "which samples and seeds",
    "length, padding is read up to": "which samples and seeds",
    f"padding, {2 * longest} tokens a row": "which samples and seeds",
}
shown = options.assign(
    kind=options["option"].map(KINDS),
    row=options["option"] + ": " + options["value"],
    value=options["median"],
)
shown = shown.sort_values(
    "option", key=lambda o: o.map(list(KINDS).index), kind="stable"
)
figures.ranges(
    shown, panel="kind", group="option", label="condition number", xscale="log"
)

# %% tags=["remove-input"]
figures.data_link(options, "kappa-options")

# %% tags=["hide-cell"]
options.round(1)

# %%
of = options.set_index(["option", "value"])["median"]


def factor(option: str) -> float:
    """The largest over the least median of an option's values."""
    return float(of[option].max() / of[option].min())


factors = pd.Series({option: factor(option) for option in of.index.unique(0)})
seeds = options.set_index("value").loc["six heads, draw 0"]
draws = options.set_index("value").loc["twenty draws, head 0"]
factors["head seed"] = seeds["high"] / seeds["low"]
factors["draw"] = draws["high"] / draws["low"]
assert factors["layers and projections"] > factors["reduction of two logits"]
assert factors[f"padding, {2 * longest} tokens a row"] > factors["draw"]
medians = by_choice["median"].groupby("kernel")
of_tasks = float((medians.max() / medians.min()).max())
assert (factors > of_tasks).sum() > len(factors) / 2
print(
    f"between two of the three tasks, at one choice of layers: at most {of_tasks:.1f}"
)
factors.sort_values(ascending=False).round(1).rename("factor").to_frame()

# %% [markdown]
# Read it from the top. The factor is that between the largest and the least median of an option's values; for the two
# seeds, between their largest and least $\kappa$.
#
# **A factor before the kernel** is what $\alpha$, the scale of LoRA's start and the size of the head set. With a
# fixed $\sigma$,
#
# $$\kappa(cK + \sigma I) = \kappa\big(K + \tfrac{\sigma}{c} I\big) ,$$ (eq-kappa-scale)
#
# so $\alpha$ and $\sigma$ are one choice, and $\kappa$ is as much about the size of the kernel as about its shape.
# Only a $\sigma$ in the kernel's own unit, a share of $\operatorname{tr} K / n$, is free of that.
#
# Here $\lambda_{\min}$ is some ten times $\sigma$, so a larger $\alpha$ does nothing any more and a smaller one does:
# there is a $\sigma$ below which $\kappa$ is $\lambda_{\max} / \lambda_{\min}$, and one above which it is a size.
#
# **Layers** are the largest choice among those that the paper varies. The last layer alone has the worst $\kappa$:
# only the first token is read, so only that token's query has a gradient. Adding a layer with other gradients mends
# that. **A head in the kernel** adds the kernel of the head's own weights, which is far larger than that of LoRA.
#
# **Short texts** have larger $\kappa$ than long ones, even where padding is masked: few words leave few directions in
# which two texts can differ. Padding that is read raises $\kappa$ further, and the more of it, the further
# ({doc}`/book/results/padding`). **A head that is fitted**, a probe's, or the decoder that a prompt asks, gives yet
# another kernel.
#
# **More samples** can only raise $\kappa$ of the same kernel: a block's eigenvalues lie between those of the whole
# (Cauchy), so $\lambda_{\max}$ rises and $\lambda_{\min}$ falls.

# %%
for K in base[:FEW]:
    chosen = draw_samples(POOL, 64, 0)
    growing = [
        condition_number(K[np.ix_(chosen[:n], chosen[:n])], SIGMA)
        for n in (8, 16, 32, 64)
    ]
    assert growing == sorted(growing)
    assert np.isclose(
        condition_number(100 * K, SIGMA), condition_number(K, SIGMA / 100)
    )

# %% [markdown]
# **Heads and draws** are what the paper does not report. Compare their ranges with the differences between tasks in
# the first table: at every choice of layers the ranges of all three tasks overlap.
#
# **Dropout that is live** draws other masks at every call. At $B = 0$ LoRA's dropout touches nothing but the input of
# its own branch, and the gradient of $B$ is linear in that input, so the kernel of two passes with independent masks
# is right in the mean and wrong each time:

# %%
K = sum(reviews.live_kernels(0, layer_0, rate=0.1).values())
asymmetric = np.linalg.norm(K - K.T) / np.linalg.norm(K)
print(f"p = 0.1: K and its transpose differ by {100 * asymmetric:.0f} % of K")
dropout = options.set_index(["option", "value"])["median"]
assert (
    dropout["dropout live, two passes", "0.5"]
    > dropout["dropout live, one pass", "0.5"]
)

# %% [markdown]
# That is what comes out if the gradients of rows and columns are computed by separate calls on a model that nobody
# put into eval mode. Its smallest singular values are partly noise. If one set of gradients serves both, $K$ is
# symmetric, and the variance of the masks is added to its diagonal: $\lambda_{\min}$ rises and $\kappa$ falls. So the
# same dropout can move $\kappa$ either way, and the paper does not say whether any was on.
#
# **The asymmetric kernel** of SignGD has complex eigenvalues. They have no order, so there is no largest or smallest;
# the table takes singular values.

# %%
from scipy.linalg import eigvals

K = reviews.kernel(0, layer_0, formula="asymmetric-signgd").matrix()
chosen = draw_samples(POOL, N, 0)
values = eigvals(K[np.ix_(chosen, chosen)])
complex_ones = int((abs(values.imag) > 1e-9 * abs(values).max()).sum())
print(f"{complex_ones} of {N} eigenvalues are complex")
assert complex_ones > 0

# %% [markdown]
# ## Between tasks, or between seeds?
#
# A forecast that compares tasks needs a number that differs between tasks more than between seeds. Here is the share
# of the variance of $\log \kappa$ that lies between the three tasks; the rest lies between heads and draws.

# %%
from tangentlm.analysis.rank_correlation import share_between

shares = {}
for name, of_choice in everything.groupby("kernel", sort=False):
    logs = [np.log(part["kappa"]) for _, part in of_choice.groupby("task")]
    shares[name] = 100 * share_between(logs)
shares = pd.Series(shares, name="between tasks (%)")
assert shares.max() - shares.min() > 20
shares.round(0).to_frame()

# %% mystnb={"figure": {"caption": "Condition number of three tasks for five choices of layers: median and range over six heads and twenty draws.", "name": "fig-kappa-tasks"}, "image": {"alt": "A panel for each choice of layers, points with ranges for three tasks; in every panel the ranges overlap, and the order of the points is not the same in all."}} tags=["hide-input"]
logs = by_choice.map(np.log10).reset_index()
points = logs.rename(columns={"kernel": "panel", "median": "value"}).assign(
    method="heads and draws"
)
figures.point_panels(points, "log10 of $\\kappa$")

# %% tags=["remove-input"]
figures.data_link(everything, "kappa-tasks")

# %%
ends = by_choice.groupby("kernel")
assert (ends["low"].max() < ends["high"].min()).all()
orders = by_choice["median"].unstack("task")[list(TASKS)]
ranks = orders.rank(axis=1).astype(int)
different = ranks.drop_duplicates()
print(
    f"{len(different)} different orders of the three tasks for {len(ranks)} choices"
)
ranks

# %% [markdown]
# It depends on the choice of layers again, and so may the order of the tasks. Three tasks and one small model are too
# few to say how it is in general. They are enough to see that one has to look.
#
# ## Limits
#
# - One small model, three small tasks. The numbers are its own; that a choice moves $\kappa$ at all is the point.
# - Draws of one pool share samples, so the range over draws is a little too small.
# - The probe's head and the prompt's are one head each, so their ranges are over draws alone.
# - Live dropout here is LoRA's own. That of the body, which a model in training mode has as well, is off.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-kappa-alpha
#
# What $\kappa$ would $\alpha = 800$ give for layer 0? Predict it from {eq}`eq-kappa-scale` and the row of the table
# with a $\sigma$ of $10^{-5}$, and check.
# ```
#
# ```{solution} ex-kappa-alpha
# :class: dropdown
#
# $(800 / 8)^2 = 10^4$, so it is $\kappa$ with $\sigma = 10^{-8}$: more than at $10^{-5}$, and nearly
# $\lambda_{\max} / \lambda_{\min}$ of the kernel itself.
# ```
#
# ```{exercise}
# :label: ex-kappa-duplicate
#
# Put one text twice into the 32 samples. What is $\kappa$ now, whatever the task?
# ```
#
# ```{solution} ex-kappa-duplicate
# :class: dropdown
#
# Two equal rows make $\lambda_{\min} = 0$, so $\kappa = 1 + \lambda_{\max} / \sigma$: one duplicate turns a measure
# of shape into one of size.
# ```
#
# ```{exercise}
# :label: ex-kappa-dropout
#
# LoRA's dropout with probability $p$ is live, and one set of gradients serves rows and columns. Which entries of $K$
# change in the mean, and by how much in $p$?
# ```
#
# ```{solution} ex-kappa-dropout
# :class: dropdown
#
# Masks of two samples are independent, so off the diagonal the mean stays. A mask entry has the mean 1 and the
# variance $p / (1 - p)$, so each entry of the diagonal grows by $p / (1 - p)$ times
# $(\alpha / r)^2 \sum_{t, f} \lVert \delta_t \rVert^2 \lVert A_{\cdot f} \rVert^2 x_{tf}^2$, where $x_t$ enters the layer
# at position $t$ and $\delta_t$ is the gradient of what it puts out.
# ```
#
# ```{exercise}
# :label: ex-kappa-own
#
# The last table has it for the layers. Choose another option, and two values of it such that the order of the three
# tasks changes for queries and values of layer 0. Does it change in the same way for every head, and does it change
# if $\sigma$ is a share of $\operatorname{tr} K / n$?
# ```
#
# ```{solution} ex-kappa-own
# :class: dropdown
#
# Take $\sigma$ (or $\alpha$, which is the same choice): the medians of `of_draws(kernels[task, head][START], sigma)`.
# At $10^{-4}$ `reviews` has the least $\kappa$ and `inference` the largest, with each of the heads 0 and 1. At $0.1$
# both heads have another order than before, but not the same one, and the tasks differ by a fifth where they differed
# by a factor of two. There $\kappa$ is nearly $1 + \lambda_{\max} / \sigma$, so it compares the sizes of three
# kernels and not their shapes, and the size hangs on the head. With `relative=True` the order stays what it was from
# $10^{-4}$ to $0.1$, for both heads. The number of samples is a weaker case: with 8 instead of 64 `topics` and
# `inference` change places for one of the two heads alone. So an order that was found with one head and one draw is
# one draw of an order.
# ```

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
