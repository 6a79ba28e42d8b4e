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
# (low-rank)=
# # Why low-rank fine-tuning keeps the kernel
#
# LoRA {cite:p}`hu2021lora` freezes every weight of a model and trains two thin matrices beside some of them, a small
# fraction of the numbers. Often it works about as well. If fine-tuning is kernel regression, there should be a reason
# in the kernel, and there is one: LoRA sees each gradient through a random projection, and random projections keep
# inner products. This chapter proves that with constants that you can use, measures how much of the kernel is left at
# each rank, and then looks at what the theorem does not speak of: the scale of the kernel, the weights that LoRA
# freezes, and everything after the first step.
#
# **You will learn**
#
# - what LoRA's gradient is at its start, and why its kernel is that of a random projection
# - how far a rank moves the entries of the kernel: a bound with its proof, the bound of
#   {cite:t}`malladi2022openreview` ("Malladi-v1"; Theorem E.5, which is Theorem D.5 of {cite:t}`malladi2023kernel`),
#   and the measured error
# - what factor the usual initialisation puts before the kernel, and which trainings notice it
# - why as many numbers, spent on one projection of all gradients, keep the entries far better
# - what is not kept: the kernel of the frozen weights, and, after the start, the kernel itself
# - what Appendix D.6 says of LoRA in the infinite width, and of Adam there.
#
# **Before you start**: read {doc}`/book/theory/kernel-behavior` for the kernel and
# {doc}`/book/theory/computing-kernels` for the gradient of a weight as a sum over positions. The later sections use
# the kernel regression of {doc}`/book/theory/solvers`.

# %% [markdown]
# ## LoRA at its start
#
# Take one linear layer, $h = W x$ with $W \in \mathbb{R}^{m \times n}$. LoRA of rank $r$ makes it
#
# $$h = W x + \tfrac{\alpha}{r} B A x, \qquad B \in \mathbb{R}^{m \times r},\; A \in \mathbb{R}^{r \times n} .$$ (eq-lora)
#
# $W$ stays as it was. $A$ starts at random and $B$ at zero, so the model starts as it was, too. As in the paper,
# write $dw$ for the gradient of $f$ with respect to $w$, and $dw(i)$ for the one of sample $\xi_i$; in code these are
# `G`. A layer that reads one vector a sample has $dW = dh\, x^\top$. One that reads a vector at each position has the
# sum of these.
#
# ```{prf:lemma} The gradients of LoRA (Lemma E.4 of Malladi-v1, for any number of positions)
# :label: lemma-lora-gradients
#
# At $B = 0$, $dA = 0$ and $dB = \frac{\alpha}{r}\, dW A^\top$. So the kernel of LoRA's matrices is
#
# $$\mathcal{K}_{\mathrm{LoRA}}(i, j) = \frac{\alpha^2}{r^2}
# \big\langle dW(i) A^\top,\, dW(j) A^\top \big\rangle ,$$ (eq-lora-kernel)
#
# where that of $W$ is $\mathcal{K}(i, j) = \langle dW(i), dW(j) \rangle$, with the inner product of all entries.
# ```
#
# ```{prf:proof}
# The matrix $M = W + \frac{\alpha}{r} B A$ has the gradient $dW$. By the chain rule
# $dB = \frac{\alpha}{r}\, dW A^\top$ and $dA = \frac{\alpha}{r} B^\top dW$, which is zero where $B$ is.
# ```
#
# Each row of $dW$, a vector of $n$ numbers, is replaced by its products with the $r$ random rows of $A$. That is all
# that LoRA does to the gradient. (Definition C.1 of the paper has $A = 0$ and $B$ at random. That is the same with
# the two sides exchanged, see {ref}`ex-lora-other-side`; Lemma E.4 and the code in use have $B = 0$.)
#
# Check it with PEFT, the library in which LoRA is mostly used, and automatic differentiation, in double precision.
# The model is `pocket` and the task is `reviews`. Its head has a dense layer that reads the mask's position alone:
# the paper's setting. Its attention has one matrix for queries, keys and values in each block, which reads all
# positions.

# %%
import copy

import numpy as np
import pandas as pd
import torch
from peft import LoraConfig, inject_adapter_in_model

from tangentlm import figures
from tangentlm.batches import select_rows
from tangentlm.kernels import Kernel, draw_lora, entk, lora_entk_at_init
from tangentlm.models.few_shot import few_shot
from tangentlm.params import KernelRun

SEEDS = (13, 21, 42)  # of the few-shot splits; most sections use the first
RANK, ALPHA = 8, 16  # Table 3 of Malladi-v1
FEW = 16  # samples whose kernel entries we look at

figures.use_style()
shots = {
    seed: few_shot(
        KernelRun(task="reviews", k=16, seed=seed, test_size=50, device="cpu")
    )
    for seed in SEEDS
}
model = shots[SEEDS[0]].model
samples = select_rows(shots[SEEDS[0]].batch, slice(0, FEW))
HEAD = "masked_lm.head.dense"
ATTENTION = [
    f"masked_lm.model.layers.{layer}.attn.Wqkv"
    for layer in range(model.masked_lm.config.num_hidden_layers)
]
# The kernel of f = f_1 - f_0, in at most half a GiB.
quiet = {"outputs": "difference", "memory": 2**29, "progress": False}


def with_lora(A: dict[str, torch.Tensor], alpha: float) -> torch.nn.Module:
    """A copy of the model with adapters of PEFT, which begin with these A."""
    rank = len(next(iter(A.values())))
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(A))
    adapted = inject_adapter_in_model(config, copy.deepcopy(model)).eval()
    for name, matrix in A.items():
        adapted.get_submodule(name).lora_A["default"].weight.data.copy_(matrix)
    return adapted


def gradients(network: torch.nn.Module, rows: dict, names: list[str]) -> list:
    """The gradients of f by some parameters, (N, ...) each, a sample at a time."""
    chosen = [network.get_parameter(name) for name in names]
    count = len(rows["input_ids"])
    found = [p.new_empty(count, *p.shape, requires_grad=False) for p in chosen]
    for i in range(count):
        f = network(**select_rows(rows, slice(i, i + 1)))[0]
        of_sample = torch.autograd.grad(f[1] - f[0], chosen)
        for all_samples, one in zip(found, of_sample, strict=True):
            all_samples[i] = one
    return found


# %%
three = select_rows(samples, slice(0, 3))
A = draw_lora(model, [HEAD, ATTENTION[0]], rank=RANK, seed=0)
adapted, plain = with_lora(A, ALPHA).double(), copy.deepcopy(model).double()


def difference(one: np.ndarray | torch.Tensor, other: np.ndarray | torch.Tensor):
    return float(abs(one - other).max() / abs(other).max())


for name, matrix in A.items():
    (G,) = gradients(plain, three, [f"{name}.weight"])
    G_A, G_B = gradients(
        adapted, three, [f"{name}.lora_{side}.default.weight" for side in "AB"]
    )
    error = difference(G_B, ALPHA / RANK * G @ matrix.double().T)
    assert not G_A.any()
    assert error < 1e-10
    print(f"{name}: dA = 0, dB = s dW A^T but for {error:.0e}")

of_peft = entk(
    adapted, three, parameters=lambda n: "lora_" in n, precision="float64", **quiet
).values
ours = lora_entk_at_init(
    model, three, A=A, alpha=ALPHA, precision="float64", **quiet
).values
print(f"kernel of PEFT and lora_entk_at_init: {difference(ours, of_peft):.0e}")
assert difference(ours, of_peft) < 1e-10

# %% [markdown]
# `lora_entk_at_init` computes {eq}`eq-lora-kernel` without adapters and without writing $dW$ out.
#
# For one vector a sample the paper writes the two kernels as elementwise products. With $x_i$ in the rows of $X$ and
# $dh(i)$ in those of $dH$ (`D` in code), and with its $\alpha = r$,
#
# $$\begin{aligned}
# \mathcal{K}_{\mathrm{LoRA}} &= dH\, dH^\top \odot X A^\top A X^\top, \\
# \mathcal{K} &= dH\, dH^\top \odot X X^\top .
# \end{aligned}$$ (eq-lora-hadamard)
#
# The dense layer of the head is such a layer:

# %%
seen, X, D = {}, [], []
hook = plain.get_submodule(HEAD).register_forward_hook(
    lambda _module, inputs, output: seen.update(x=inputs[0], h=output)
)
for i in range(FEW):
    f = plain(**select_rows(samples, slice(i, i + 1)))[0]
    X.append(seen["x"].detach().flatten())
    D.append(torch.autograd.grad(f[1] - f[0], seen["h"])[0].flatten())
hook.remove()
X, D = torch.stack(X), torch.stack(D)

A_head = draw_lora(model, [HEAD], rank=RANK, seed=0)
A_h = A_head[HEAD].double()
by_formula = (D @ D.T) * (X @ A_h.T @ A_h @ X.T)
by_library = lora_entk_at_init(
    model, samples, A=A_head, alpha=RANK, precision="float64", **quiet
).matrix()
assert difference(by_formula.numpy(), by_library) < 1e-10


# %% [markdown]
# ## A random projection keeps inner products
#
# Give the entries of $A$ the variance $1/r$ and let $\alpha = r$. Then $\mathbb{E}\, A^\top A = I$, and the mean of
# $\mathcal{K}_{\mathrm{LoRA}}$ over $A$ is $\mathcal{K}$. Theorem E.5 of the paper says that it is also close to
# it. Its tool is the lemma of {cite:t}`johnson1984extensions` (Lemma E.3). Here is a form of it with better
# constants, for matrices, as they come when a weight reads many positions.
#
# ```{prf:theorem} Projected matrices
# :label: thm-projection
#
# Let $A$ be $r \times n$ with independent entries from $\mathcal{N}(0, 1/r)$. For all matrices $U$, $V$ with $n$
# columns and all $\epsilon > 0$, with Frobenius norms,
#
# $$\begin{aligned}
# & \Pr\Big[\, \big| \langle U A^\top, V A^\top \rangle - \langle U, V \rangle \big| \\
# & \qquad\quad \ge \epsilon \lVert U \rVert \lVert V \rVert \,\Big] \\
# & \qquad \le 2 \exp\!\Big( -\frac{r}{2} \big( \epsilon - \log(1 + \epsilon) \big) \Big) .
# \end{aligned}$$ (eq-projection)
# ```
#
# ```{prf:proof}
# Let $S = \frac{1}{2r} (U^\top V + V^\top U)$ and let $a_1, \dots, a_r$ be the rows of $\sqrt{r} A$. The error is a
# sum of $r$ independent terms $a_k^\top S a_k - \operatorname{tr} S$. The logarithm of the moment generating function
# of a term is convex in $S$. The sum of the singular values of $S$ is at most
# $\rho = \lVert U \rVert \lVert V \rVert / r$. So the function is largest where $S$ is an extreme point of that ball,
# $\pm \rho\, s s^\top$ with $\lVert s \rVert = 1$. There the term is $\pm \rho (g^2 - 1)$ with a standard normal $g$,
# and for $0 < \tau < \frac12$
#
# $$\mathbb{E}\, e^{-\tau (g^2 - 1)} = \frac{e^{\tau}}{\sqrt{1 + 2 \tau}} \le
# \mathbb{E}\, e^{\tau (g^2 - 1)} = \frac{e^{-\tau}}{\sqrt{1 - 2 \tau}} .$$
#
# By Markov's inequality the probability that the error is $\epsilon r \rho$ or more, to one side, is at most
# $\exp(-r\, [\tau \epsilon + \tau + \frac12 \log(1 - 2 \tau)])$. The best choice,
# $\tau = \epsilon / (2 + 2 \epsilon)$, gives half of the right side of {eq}`eq-projection`; the other side of the
# error gives the other half.
# ```
#
# Put $U = dW(i)$ and $V = dW(j)$. There are $N (N + 1) / 2$ distinct entries, and the probability that any of them
# fails is at most the sum:
#
# $$\begin{aligned}
# & \Pr\Big[\, \exists\, i, j:\; | \mathcal{K}_{\mathrm{LoRA}}(i, j) - \mathcal{K}(i, j) | \ge
# \epsilon \sqrt{\mathcal{K}(i, i)\, \mathcal{K}(j, j)} \,\Big] \\
# & \qquad \le N (N + 1)\, e^{-\frac{r}{2} (\epsilon - \log(1 + \epsilon))} .
# \end{aligned}$$ (eq-lora-bound)
#
# Theorem E.5 has, for one vector a sample with $\lVert dh \rVert^2 \le c$ and $\lVert x \rVert^2 \le c$, an error of
# $c^2 \epsilon$ or more with probability at most
#
# $$4 N^2\, e^{-\frac{r}{4} (\epsilon^2 - \epsilon^3)} .$$ (eq-lora-bound-paper)
#
# That is true where the entries of $A$ have the variance $1/r$, which the theorem forgets to say; but it says less.
# Its unit is the longest gradient of all, where {eq}`eq-lora-bound` has the two gradients in question. Its exponent
# is smaller for every $\epsilon$. And $\epsilon^2 - \epsilon^3$ is never more than $4/27$, at $\epsilon = 2/3$, so
# below some rank it says nothing, whatever error you allow.

# %%
from scipy.optimize import brentq

from tangentlm.kernels.bounds import (
    distinct_entries,
    malladi_failure_probability,
    projection_dimension,
    projection_error,
)

DELTA = 0.05  # the probability of failure that we allow
pairs = distinct_entries(FEW)


def error_of_the_paper(rank: int, layers: int = 1) -> float:
    """The epsilon of Theorem E.5 for DELTA, which Remark E.6 has for layers."""

    def excess(epsilon: float) -> float:
        return malladi_failure_probability(rank, epsilon, FEW, layers) - DELTA

    return brentq(excess, 1e-6, 2 / 3) if excess(2 / 3) < 0 else np.nan


rank_of_the_paper = next(r for r in range(1, 10**4) if error_of_the_paper(r) > 0)
print(f"N = {FEW}, at most {DELTA:.0%} failures:")
print(f"below rank {rank_of_the_paper} the paper's bound is never that small")
for epsilon in (1.0, 0.5, 0.1):
    needed = projection_dimension(epsilon, DELTA, pairs)
    print(f"error {epsilon}: the theorem above asks for rank {needed}")
print(f"rank {RANK}: its error is {projection_error(RANK, DELTA, pairs):.1f}")

# %% [markdown]
# The paper's experiments have rank 8. There even the better bound is larger than one, and no entry is larger than one
# in this unit. So the theorem gives the reason, but not the numbers. How large are the errors?
#
# ### One layer, one position
#
# There is a way to see the error of many ranks at once. Let $a_1, \dots, a_r$ be the rows of $\sqrt r A$ again. Then
#
# $$\mathcal{K}_{\mathrm{LoRA}} = \frac1r \sum_{k=1}^{r} \mathcal{K}_{a_k}, \qquad
# \mathcal{K}_a(i, j) = \langle dW(i)\, a,\, dW(j)\, a \rangle .$$ (eq-rank-one)
#
# LoRA's kernel is a mean of $r$ independent kernels of rank one, each of which has the mean $\mathcal{K}$. So its
# error falls like $1 / \sqrt r$, exactly. And one long list of $\mathcal{K}_a$ has independent draws of LoRA for
# every rank: cut it into pieces of $r$. For one vector a sample you even know the variance. The product of two
# jointly normal numbers $\langle a, x_i \rangle$, $\langle a, x_j \rangle$ has the variance
# $\lVert x_i \rVert^2 \lVert x_j \rVert^2 + \langle x_i, x_j \rangle^2$, so in the unit of {eq}`eq-lora-bound`
#
# $$\text{standard deviation} = \frac{1}{\sqrt r}\,
# |\cos(dh(i), dh(j))|\, \sqrt{1 + \cos^2(x_i, x_j)} .$$ (eq-lora-law)


# %%
def rank_one_kernels(
    G: torch.Tensor, count: int, seed: int = 0, rows: int | None = None
) -> np.ndarray:
    """Kernels K_a of normal a for the gradients (N, m, n) of a weight: (count, rows, N)."""
    generator = torch.Generator().manual_seed(seed)
    kernels = []
    for a in torch.randn(count, G.shape[2], generator=generator).split(64):
        projected = (G @ a.T).permute(2, 0, 1)  # dW(i) a, (64, N, m)
        kernels.append((projected[:, :rows] @ projected.mT).numpy())
    return np.concatenate(kernels)


def draws(kernels: np.ndarray, rank: int, most: int = 1000) -> np.ndarray:
    """As many independent LoRA kernels of a rank as the list has, up to a number."""
    count = min(len(kernels) // rank, most)
    pieces = kernels[: count * rank].reshape(count, rank, *kernels.shape[1:])
    return pieces.mean(axis=1, dtype=np.float64)


def relative_errors(kernels: np.ndarray, K: np.ndarray) -> np.ndarray:
    """The errors of the distinct entries in the unit of the bound: (draws, pairs)."""
    unit = np.sqrt(np.outer(K.diagonal(), K.diagonal()))
    return ((kernels - K) / unit)[:, *np.triu_indices(len(K))]


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def cosines(vectors: torch.Tensor) -> np.ndarray:
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    return (unit @ unit.T).numpy()[np.triu_indices(len(vectors))]


# %%
(G_head,) = gradients(model, samples, [f"{HEAD}.weight"])
K_head = ((D @ D.T) * (X @ X.T)).numpy()
ones_head = rank_one_kernels(G_head, 20 * 1024)
law = rms(cosines(D) * np.sqrt(1 + cosines(X) ** 2))

rows = []
for rank in 2 ** np.arange(11):
    errors = relative_errors(draws(ones_head, rank), K_head)
    rows.append(
        {
            "rank": rank,
            "rms": rms(errors),
            "law": law / np.sqrt(rank),
            "worst": np.quantile(abs(errors).max(axis=1), 1 - DELTA),
            "bound": projection_error(rank, DELTA, pairs),
            "paper": error_of_the_paper(rank),
        }
    )
head_errors = pd.DataFrame(rows)

# %% mystnb={"figure": {"caption": "Error of the entries of LoRA's kernel for the dense layer of the head, relative to the two gradients' norms: its root mean square, the law of the exact variance, the 95 % quantile over draws of the worst of all entries, the theorem's bound on that quantile, and the paper's, read in the same unit, which begins near the right edge. Ranks above 256, the layer's width, are there for the bounds alone.", "name": "fig-lora-entries"}, "image": {"alt": "Log-log plot over rank: measured error and law coincide on a line of slope minus one half; the worst entry and, above it, the bound have the same slope at large ranks; the paper's bound has only the points of the largest ranks."}} tags=["hide-input"]
figures.lines(
    head_errors,
    "rank",
    {
        "rms": "entries, root mean square",
        "law": "its exact value",
        "worst": "worst entry, 95 % of draws",
        "bound": "bound of this page",
        "paper": "bound of the paper",
    },
    labels=("rank $r$", "relative error of an entry"),
    xscale="log",
    yscale="log",
)

# %% tags=["remove-input"]
figures.data_link(head_errors, "lora-entries-head")

# %%
by_rank = head_errors.set_index("rank")
assert (by_rank["worst"] <= by_rank["bound"]).all()
assert np.allclose(by_rank["rms"] / by_rank["law"], 1, atol=0.2)
assert by_rank["paper"].first_valid_index() > 256
useful = by_rank[by_rank["bound"] < 1]
assert (useful["bound"] / useful["worst"]).between(1.5, 3).all()
print(f"rank {RANK}: {by_rank.loc[RANK, 'rms']:.2f} rms, ", end="")
print(
    f"{by_rank.loc[RANK, 'worst']:.2f} worst, {by_rank.loc[RANK, 'bound']:.2f} bound"
)

# %% [markdown]
# In {numref}`fig-lora-entries` the bound holds, and where it is below one it is two to three times the truth. The
# measured error is the exact one. It is large: at rank 8 a typical entry is off by about half its unit.
#
# ### Several positions, several layers
#
# Now LoRA as it is used, on the attention of all blocks. The matrices $A_l$ of the layers are independent, so
# their errors partly cancel; and so do those of several positions, whose inputs $x$ point in different directions.
# Remark E.6 of the paper extends the theorem to $L$ layers: an error of $L c^2 \epsilon$ with $L$ times the exponent
# of {eq}`eq-lora-bound-paper`. `lora_error` has a bound for each entry from the norms of its own layers. Note that
# $\mathcal{K}$ is now the kernel of the adapted weights alone.

# %%
from tangentlm.kernels import lora_error

weights = [f"{name}.weight" for name in ATTENTION]
G = gradients(model, samples, weights)
norms = np.stack([layer.flatten(1).norm(dim=1).numpy() for layer in G], axis=1)
K_attention = sum(
    torch.einsum("imn,jmn->ij", layer, layer).double().numpy() for layer in G
)
ones_of = [rank_one_kernels(layer, 4096, seed) for seed, layer in enumerate(G)]
ones_attention = sum(ones_of)

unit = np.sqrt(np.outer(K_attention.diagonal(), K_attention.diagonal()))
unit_of_the_paper = len(G) * (norms**2).max()  # L c^2, if G has the norm c
rows = []
for rank in 2 ** np.arange(9):
    errors = relative_errors(draws(ones_attention, rank), K_attention)
    bound = lora_error(rank, DELTA, norms) / unit
    paper = error_of_the_paper(rank, len(G)) * unit_of_the_paper / unit
    rows.append(
        {
            "rank": rank,
            "rms": rms(errors),
            "worst": np.quantile(abs(errors).max(axis=1), 1 - DELTA),
            "bound": bound.max(),
            "paper": paper.max(),
        }
    )
attention_errors = pd.DataFrame(rows)

# %% mystnb={"figure": {"caption": "The same for LoRA on the attention of all blocks. Bounds are those of the entry for which they are weakest.", "name": "fig-lora-layers"}, "image": {"alt": "Log-log plot over rank: measured errors fall with slope minus one half, a bound above them, and the paper's bound for layers, about four times higher, at the largest two ranks only."}} tags=["hide-input"]
figures.lines(
    attention_errors,
    "rank",
    {
        "rms": "entries, root mean square",
        "worst": "worst entry, 95 % of draws",
        "bound": "bound of this page",
        "paper": "bound of the paper",
    },
    labels=("rank $r$", "relative error of an entry"),
    xscale="log",
    yscale="log",
)

# %% tags=["remove-input"]
figures.data_link(attention_errors, "lora-entries-attention")

# %%
four = attention_errors.set_index("rank")
assert (four["worst"] <= four["bound"]).all()
assert (four["bound"] < four["paper"].fillna(np.inf)).all()
assert four.loc[RANK, "rms"] < 0.75 * by_rank.loc[RANK, "rms"]
print(f"rank {RANK}: {four.loc[RANK, 'rms']:.2f} rms, ", end="")
print(f"{four.loc[RANK, 'worst']:.2f} worst, {four.loc[RANK, 'bound']:.2f} bound")

K_first = torch.einsum("imn,jmn->ij", G[0], G[0]).double().numpy()
first = rms(relative_errors(draws(ones_of[0], RANK), K_first))
shares = (norms**2).sum(axis=0) / (norms**2).sum()
print("share of each block in the trace:", shares.round(2))
print(f"block 0 alone: {first:.2f} rms; times the root of the sum of ", end="")
print(f"squared shares: {first * np.linalg.norm(shares):.2f}")
assert shares[0] > 0.5
assert first < 0.9 * by_rank.loc[RANK, "rms"]
assert np.isclose(first * np.linalg.norm(shares), four.loc[RANK, "rms"], rtol=0.2)

# %% [markdown]
# Positions help: block 0 alone is nearer than the head. Layers help, too, but four of them do not halve the error, as
# four equal ones would. Most of this kernel comes from block 0, so one $A_l$ decides. The paper's bound has the unit
# $L c^2$, that is, it takes every layer for the largest. (Its last sentence, that $r$ has to grow with $L$, holds for
# a fixed error. The kernel grows with $L$ itself, and relative to it more layers ask for less.)
#
# ## What the error is made of
#
# Entries that are off by a quarter or a half do not look like a kernel that is kept. Look at what kind of error it
# is. All gradients have much in common, say $dW(i) = \bar g + \delta_i$ with a long $\bar g$. Then every entry
# contains $\lVert \bar g \rVert^2$, and LoRA puts $\lVert \bar g A^\top \rVert^2$ in its place, the same wrong number
# for all. That is nearly a common factor, and kernel regression with $\lambda$ in units of the operator norm does not
# see factors.
#
# What tells samples apart is in the $\delta_i$, that is, in the centred kernel $H \mathcal{K} H$ with
# $H = I - \frac1N \mathbf{1} \mathbf{1}^\top$. A projection is linear, so $H \mathcal{K}_{\mathrm{LoRA}} H$ is LoRA's
# kernel of the centred gradients. {prf:ref}`thm-projection` holds for them as it stands, *with their own, shorter
# norms*. In the paper's form, with one $c$ for all, this is lost.
#
# Let $\cos$ be the cosine of the angle between two kernels as matrices. $\sqrt{1 - \cos^2}$ is the relative error
# that no common factor can remove. Call it the error of the shape.


# %%
from tangentlm.metrics import centred


def shape_error(kernels: np.ndarray, K: np.ndarray) -> np.ndarray:
    """For each kernel, its distance to the nearest multiple of K, over its norm."""
    norms = np.linalg.norm(kernels, axis=(1, 2)) * np.linalg.norm(K)
    return np.sqrt(np.maximum(1 - ((kernels * K).sum(axis=(1, 2)) / norms) ** 2, 0))


def kinds_of_error(kernels: np.ndarray, K: np.ndarray) -> dict[str, float]:
    """Root mean squares over draws of four errors of a kernel."""
    return {
        "entries": rms(relative_errors(kernels, K)),
        "shape": rms(shape_error(kernels, K)),
        "centred entries": rms(relative_errors(centred(kernels), centred(K))),
        "centred shape": rms(shape_error(centred(kernels), centred(K))),
    }


kinds = pd.DataFrame(
    [
        {"layers": name, "rank": rank} | kinds_of_error(draws(ones, rank), K)
        for name, ones, K in (
            ("attention", ones_attention, K_attention),
            ("head", ones_head, K_head),
        )
        for rank in 4 ** np.arange(5)
    ]
)
at = kinds.set_index(["layers", "rank"])
assert (at["shape"] < at["entries"] / 3)[at.index.get_level_values(1) > 1].all()
assert at.loc[("head", 16), "centred shape"] > at.loc[("head", 16), "entries"]
assert (
    at.loc["attention", "centred shape"] < at.loc["head", "centred shape"]
).all()
print(
    f"mean cosine of two gradients: head {cosines(G_head.flatten(1)).mean():.2f}",
    end="",
)
print(f", attention {cosines(torch.cat([g.flatten(1) for g in G], 1)).mean():.2f}")
at.round(3)

# %% mystnb={"figure": {"caption": "What the error of LoRA's kernel on the attention is made of: entries as in the figure before, the shape of the kernel up to a common factor, and the shape of the centred kernel.", "name": "fig-lora-shape"}, "image": {"alt": "Log-log plot over rank: three falling lines; the error of the entries is highest, that of the centred shape a little lower, and that of the shape about four times lower."}} tags=["hide-input"]
figures.lines(
    kinds[kinds["layers"] == "attention"],
    "rank",
    {
        "entries": "entries",
        "shape": "shape",
        "centred shape": "centred shape",
    },
    labels=("rank $r$", "relative error"),
    xscale="log",
    yscale="log",
)

# %% tags=["remove-input"]
figures.data_link(kinds, "kinds-of-error")

# %% [markdown]
# Most of the error of the entries is a common factor: the shape is several times closer than the entries are. But the
# table also shows that entries do not tell everything. For the head the shape is kept well and the *centred* shape
# badly, worse than the entries: its gradients are so alike that what tells them apart hardly counts in
# {eq}`eq-lora-bound`. The theorem bounds entries. What a regression needs of a kernel is more than that on one side
# and less on the other.
#
# ## The scale of the kernel
#
# The theorem needs entries of $A$ with variance $1/r$, and Lemma E.4 has no factor $\alpha / r$. Implementations do
# otherwise. PEFT draws $A$ uniformly with variance $1/(3n)$, or on request normally with variance $1/r^2$. In general
#
# $$\mathbb{E}\, \mathcal{K}_{\mathrm{LoRA}} = \Big(\frac{\alpha}{r}\Big)^2 r \operatorname{Var}(A)\; \mathcal{K}, \qquad
# \text{for PEFT} \quad \frac{\alpha^2}{3\, n\, r}\, \mathcal{K} .$$ (eq-lora-scale)
#
# With $\alpha$ fixed, PEFT's kernel gets *smaller* against $\mathcal{K}$ as the rank grows, and as the model gets
# wider. `lora_expected_scale` has these factors. Measure them on two kinds of layers, one with 256 inputs and one
# with 640:

# %%
from tangentlm.kernels import lora_expected_scale

DRAWS = 8
INPUTS = {"attn.Wqkv": 256, "mlp.Wo": 640}
some = select_rows(samples, slice(0, 4))


def target_of(name: str) -> str:
    return next(target for target in INPUTS if target in name)


def traces(kernel: Kernel) -> pd.Series:
    """The trace of each target's part."""
    groups = kernel.groups.items()
    return pd.Series({name: np.einsum("icic->", part) for name, part in groups})


whole = traces(
    entk(
        model,
        some,
        parameters=lambda name: any(target in name for target in INPUTS),
        by=target_of,
        **quiet,
    )
)
rows = []
for init in ("kaiming-uniform", "gaussian", "isometric"):
    drawn = [
        draw_lora(model, INPUTS, rank=RANK, seed=seed, init=init)
        for seed in range(DRAWS)
    ]
    of_lora = [
        lora_entk_at_init(model, some, A=A, alpha=ALPHA, by=target_of, **quiet)
        for A in drawn
    ]
    ratios = pd.DataFrame([traces(kernel) / whole for kernel in of_lora])
    for target, inputs in INPUTS.items():
        rows.append(
            {
                "initialisation": init,
                "layer": target,
                "inputs": inputs,
                "predicted": lora_expected_scale(RANK, ALPHA, inputs, init),
                "measured": ratios[target].mean(),
                "standard error": ratios[target].sem(),
            }
        )
scales = pd.DataFrame(rows)
off = (scales["measured"] - scales["predicted"]) / scales["standard error"]
assert (abs(off) < 3).all()
scales.round(4)

# %% [markdown]
# Prediction and measurement agree within three standard errors. The default is a few percent of the kernel that the
# theorem speaks of, and less where a layer has more inputs. So if LoRA adapts layers of different widths, the
# expectation is no multiple of $\mathcal{K}$ any more: it weighs the layers anew.
#
# Who notices a factor? Take the kernel of the attention, once as it is and once times PEFT's factor, and train in
# five ways: kernel regression with $\lambda$ in units of the operator norm, without and with $f_0$; with an absolute
# $\sigma$ on the diagonal, without and with $f_0$; and gradient descent on the squared loss for a fixed time, which
# starts at $f_0$ as a fine-tuning does.

# %%
from tangentlm.metrics import score
from tangentlm.models.logits import logits_of
from tangentlm.solvers import KernelLeastSquares, labels_of_decision

LAMBDA = 0.01
n = len(shots[SEEDS[0]].part("train").labels)


def problem(seed: int) -> tuple[dict, np.ndarray]:
    """The n training samples of a split and then the test samples, with their labels."""
    parts = shots[seed].parts
    kept = torch.from_numpy(np.r_[parts["train"], parts["test"]])
    return select_rows(shots[seed].batch, kept), shots[seed].labels[kept].numpy()


def kernel_by_parameter(rows: dict) -> dict[str, np.ndarray]:
    """The kernel of each parameter between the training samples and all."""
    train = select_rows(rows, slice(0, n))
    parts = entk(model, train, rows, by="parameter", **quiet).groups
    return {name: part[:, 0, :, 0] for name, part in parts.items()}


def regression(K: np.ndarray, y: np.ndarray, f0: np.ndarray | None = None):
    """The decisions of kernel regression about the test samples, with f_0 or without."""
    K = K[:, None, :, None]
    if f0 is None:
        solver = KernelLeastSquares(LAMBDA).fit(K[:, :, :n], y[:n])
        return solver.decision_function(K[:, :, n:]).ravel()
    f0 = f0[:, None]
    solver = KernelLeastSquares(LAMBDA, f0_scale=1.0)
    solver.fit(K[:, :, :n], y[:n], f0[:n])
    return solver.decision_function(K[:, :, n:], f0[n:]).ravel()


def with_sigma(K: np.ndarray, y: np.ndarray, f0: np.ndarray, sigma: float):
    """The same with a number sigma on the diagonal, whatever the kernel."""
    left = 2 * y[:n] - 1 - f0[:n]
    return K[:, n:].T @ np.linalg.solve(K[:, :n] + sigma * np.eye(n), left) + f0[n:]


def descent(K: np.ndarray, y: np.ndarray, f0: np.ndarray, time: float):
    """Gradient descent from f_0 with a small rate; time is steps times rate."""
    mu, u = np.linalg.eigh(K[:, :n])
    left = u.T @ (2 * y[:n] - 1 - f0[:n])
    return K[:, n:].T @ (u @ (-np.expm1(-mu * time) / mu * left)) + f0[n:]


# %%
problems = {seed: problem(seed) for seed in SEEDS}
rows, y = problems[SEEDS[0]]
by_parameter = {SEEDS[0]: kernel_by_parameter(rows)}
K = sum(by_parameter[SEEDS[0]][name] for name in weights)
logits = logits_of(model, rows).double().numpy()
f0 = logits[:, 1] - logits[:, 0]
sigma = LAMBDA * np.linalg.norm(K[:, :n], 2)
trainings = {
    "relative λ": lambda K: regression(K, y),
    "relative λ, with f0": lambda K: regression(K, y, f0),
    "absolute σ": lambda K: with_sigma(K, y, 0 * f0, sigma),
    "absolute σ, with f0": lambda K: with_sigma(K, y, f0, sigma),
    "descent from f0, fixed time": lambda K: descent(K, y, f0, 1 / sigma),
}
factor = lora_expected_scale(RANK, ALPHA, INPUTS["attn.Wqkv"])
rows = []
for name, decide in trainings.items():
    h, h_scaled = decide(K), decide(factor * K)
    changed = 100 * np.mean((h > 0) != (h_scaled > 0))
    largest = abs(h - h_scaled).max()
    rows.append((name, changed, largest))
noticed = pd.DataFrame(
    rows, columns=["training", "answers changed (%)", "largest change of h"]
).set_index("training")
assert noticed["largest change of h"].iloc[:2].max() < 1e-9
assert noticed["answers changed (%)"].iloc[2:].min() > 10
print(f"factor {factor:.4f}")
noticed.round(2)

# %% [markdown]
# With a relative $\lambda$ the factor cancels exactly: the coefficients are divided by what $\mathcal{K}$ was
# multiplied with. That is so with $f_0$ as well, because $f_0$ is taken off the targets and not off the kernel. With
# anything absolute the factor counts: it is a weaker kernel against the same $\sigma$, or a smaller learning rate for
# the same number of steps, and then also less of a departure from $f_0$. A real LoRA training is of the last kind.
# Its learning rate has to be larger by the inverse of the factor, and a rate that was tuned at one rank is not the
# rate of another.
#
# ## One projection of everything
#
# IntrinsicDimension fine-tuning {cite:p}`li2018measuring,aghajanyan2021intrinsic` takes the idea literally. It
# trains $\hat\theta \in \mathbb{R}^k$ in $\theta = \theta_0 + \Pi \hat\theta$ with one fixed random matrix $\Pi$
# for all parameters together (Definition E.1). The gradient is $\Pi^\top \nabla_\theta f$, and if the entries of
# $\Pi$ have variance $1/k$, {prf:ref}`thm-projection` applies with matrices of one row: {eq}`eq-lora-bound` with
# $k$ in the place of $r$ (Theorem E.2 in the paper). How many parameters the model has does not matter. The library
# has random signs $\pm 1/\sqrt k$ instead of normal numbers, to which the same bound applies (the proof is in the
# documentation of `tangentlm.kernels.bounds`). Beware of the uniform numbers from $-1$ to $1$ that the paper's
# Lemma E.3 allows as well: their variance is one third, and so is the kernel ({doc}`/book/errata`).
#
# As before, one projection holds many: the columns of a projection to 1024 dimensions are 128 projections to 8.

# %%
from tangentlm.kernels import project_gradients


def projections(projected: np.ndarray, k: int) -> np.ndarray:
    """Independent kernels of projections to k dimensions, from one to more."""
    pieces = projected.reshape(len(projected), -1, k)
    pieces = pieces * np.sqrt(pieces.shape[1])
    return np.einsum("ibk,jbk->bij", pieces, pieces)


def projected_kernels(names: list[str] | None, dimension: int) -> tuple:
    """The gradients of some parameters, projected, and their kernel."""
    found = project_gradients(
        model, samples, dimension=dimension, seed=0, parameters=names, **quiet
    )
    return found[:, 0], entk(model, samples, parameters=names, **quiet).matrix()


spaces = {
    "all parameters": projected_kernels(None, 256),
    "attention": projected_kernels(weights, 1024),
}
rows = []
for name, (projected, K) in spaces.items():
    for k in 2 ** np.arange(1, 8):
        if 8 * k > projected.shape[1]:  # one draw says little: take eight or more
            break
        found = projections(projected, k)
        errors = relative_errors(found, K)
        about = {"projected": name, "k": k, "draws": len(found)}
        # The bound is for all draws together, like the worst.
        worst = {
            "worst of all": abs(errors).max(),
            "bound": projection_error(k, DELTA / len(found), pairs),
        }
        rows.append(about | kinds_of_error(found, K) | worst)
intrinsic = pd.DataFrame(rows)
assert (intrinsic["worst of all"] < intrinsic["bound"]).all()
sizes = [
    sum(p.numel() for n, p in model.named_parameters() if chosen in n)
    for chosen in ("", "Wqkv")
]
print(f"{sizes[0]:,} parameters in all, {sizes[1]:,} in the attention's matrices")
intrinsic.drop(columns=["centred entries"]).set_index(["projected", "k"]).round(3)

# %% [markdown]
# The bound holds, and how many parameters are projected makes no difference. Compare now what a *trained number*
# buys. LoRA of rank $r$ trains $r (m + n)$ numbers a layer, IntrinsicDimension $k$ in all. Take the same weights for
# both.

# %%
per_rank = sum(sum(model.get_parameter(name).shape) for name in weights)
lora_side = kinds[kinds["layers"] == "attention"].assign(
    trained=lambda t: per_rank * t["rank"]
)
side = intrinsic[intrinsic["projected"] == "attention"]
cosine = (K_attention / unit)[np.triu_indices(FEW)]
law = pd.DataFrame({"trained": 4.0 ** np.arange(1, 11)})
law["law"] = rms(np.sqrt(1 + cosine**2)) / np.sqrt(law["trained"])
compared = pd.concat(
    [
        side.rename(columns={"k": "trained"})[
            ["trained", "entries", "centred shape", "bound"]
        ].rename(columns={"entries": "id", "centred shape": "id_centred"}),
        lora_side[["trained", "entries", "centred shape"]].rename(
            columns={"entries": "lora", "centred shape": "lora_centred"}
        ),
        law,
    ]
)

# %% mystnb={"figure": {"caption": "Error of the entries and of the centred shape over the number of trained numbers: IntrinsicDimension and LoRA on the same weights. The law of the first is that of its exact variance; the bound is for its worst entry over all draws, 95 times in 100.", "name": "fig-trained-numbers"}, "image": {"alt": "Log-log plot: the errors of IntrinsicDimension fall from 4 to 1024 trained numbers along its law; those of LoRA, from four thousand numbers on, lie more than ten times above the law."}} tags=["hide-input"]
figures.lines(
    compared,
    "trained",
    {
        "id": "IntrinsicDimension, entries",
        "id_centred": "IntrinsicDimension, centred shape",
        "lora": "LoRA, entries",
        "lora_centred": "LoRA, centred shape",
        "law": "IntrinsicDimension, law of the entries",
        "bound": "IntrinsicDimension, bound",
    },
    labels=("trained numbers", "relative error"),
    xscale="log",
    yscale="log",
    ylim=(1e-3, 3e3),
)

# %% tags=["remove-input"]
figures.data_link(compared, "trained-numbers")

# %%
variance = np.mean(relative_errors(ones_attention, K_attention) ** 2)
entries_k = np.mean(1 + cosine**2) / variance
rank = 4
shape = lora_side.set_index("rank").loc[rank, "centred shape"]
log_k = np.interp(-np.log(shape), -np.log(side["centred shape"]), np.log(side["k"]))
shape_k = np.exp(log_k) / rank
print(f"rank r trains {per_rank} r numbers")
print(f"its entries are as good as those of k = {entries_k:.1f} r")
print(
    f"its centred shape (at rank {rank}) is as good as that of k = {shape_k:.0f} r"
)
assert 2 * entries_k < shape_k < per_rank / 100

eigenvalues = np.linalg.eigvalsh(draws(ones_attention, 1, most=1)[0])
print(f"eigenvalues at rank one: {eigenvalues[0]:.2g} to {eigenvalues[-1]:.2g}")
assert eigenvalues[0] > 1e-5 * eigenvalues[-1]

# %% [markdown]
# LoRA's entries are as good as those of a projection to a handful of dimensions a rank, though it trains thousands of
# numbers a rank. The reason is in {eq}`eq-lora-kernel`: all $m$ rows of $dW$ are multiplied with the same $A$. So
# errors average over ranks, layers and the directions that the inputs of a layer have, but not over its $m$ outputs.
#
# Does that make LoRA the worse method? Not by itself. $\Pi$ has a row for every parameter of the model, and LoRA's
# $A$ is small. And entries are not all: the kernel of a projection to $k$ dimensions has rank $k$ and cannot fit more
# than $k$ targets, while that of LoRA on these layers has no zero eigenvalue even at rank one. In the centred shape
# LoRA is less far behind.
#
# ## What LoRA freezes
#
# $\mathcal{K}$ in the theorem is the kernel of the adapted weights. Embeddings, norms and all other weights have a
# part in the kernel of full fine-tuning, and LoRA freezes them. (The paper writes that the adapted layers are the
# only part of the kernel that can change. That is right if the rest is trained as before; its Definition C.1 trains
# $A$ and $B$ alone.) That part is not kept approximately, it is gone. How much is it? Here are three choices of
# weights, on three splits: the part of the kernel's trace, the correlation of the entries, and the centred alignment,
# the cosine of the two centred kernels.

# %%
from tangentlm.metrics import alignment

for seed in SEEDS[1:]:
    by_parameter[seed] = kernel_by_parameter(problems[seed][0])

CHOICES = {
    "attention Wqkv": ("attn.Wqkv",),
    "attention": (".attn.",),
    "all linear layers": (".attn.", ".mlp.", "dense"),
}


def alike(part: np.ndarray, full: np.ndarray) -> dict[str, float]:
    """How much of the full kernel a part is, and how much it resembles it."""
    part, full = part[:, :n], full[:, :n]
    return {
        "share of the trace (%)": 100 * np.trace(part) / np.trace(full),
        "correlation": np.corrcoef(part.ravel(), full.ravel())[0, 1],
        "centred alignment": alignment(part, full),
    }


rows = []
for seed, parts in by_parameter.items():
    full = sum(parts.values())
    for choice, words in CHOICES.items():
        part = sum(K for name, K in parts.items() if any(w in name for w in words))
        rows.append({"adapted": choice, "split": seed} | alike(part, full))
frozen = pd.DataFrame(rows).groupby("adapted", sort=False)
frozen = frozen.agg(["mean", "std"]).drop(columns="split")
assert frozen.loc["attention Wqkv", ("share of the trace (%)", "mean")] < 15
assert frozen.loc["all linear layers", ("share of the trace (%)", "mean")] < 50
frozen.round(2)

# %% [markdown]
# The usual choice, matrices of the attention, has a small part of the kernel and resembles the whole only roughly.
# All linear layers together have less than half. So "LoRA keeps the kernel" means: the kernel of the weights that you
# chose.
#
# What does kernel regression make of it? For each split and several draws of $A$, regress with
# $\mathcal{K}_{\mathrm{LoRA}}$ of the attention, and count how many test answers are the same as with the kernel of
# the adapted weights, to which it converges, and as with the kernel of all parameters, to which it does not.

# %%
REGRESSION_RANKS = (1, 2, 4, 8, 16, 32)
MOST_DRAWS = 12


def answers(K: np.ndarray, y: np.ndarray) -> np.ndarray:
    return labels_of_decision(regression(K, y)[:, None])


rows = []
for seed, (of_split, y) in problems.items():
    K_all = sum(by_parameter[seed].values())
    K_adapted = sum(by_parameter[seed][name] for name in weights)
    ones = sum(
        rank_one_kernels(layer, 4 * 32, seed=10 * seed + number, rows=n)
        for number, layer in enumerate(gradients(model, of_split, weights))
    )
    drawn = {rank: draws(ones, rank, MOST_DRAWS) for rank in REGRESSION_RANKS}
    drawn[np.inf] = [K_adapted]
    of_all, of_adapted = answers(K_all, y), answers(K_adapted, y)
    for rank, kernels in drawn.items():
        for found in (answers(K, y) for K in kernels):
            rows.append(
                {
                    "split": seed,
                    "rank": rank,
                    "accuracy": score(y[n:], found),
                    "adapted": 100 * np.mean(found == of_adapted),
                    "full": 100 * np.mean(found == of_all),
                }
            )
answered = pd.DataFrame(rows)

# %% mystnb={"figure": {"caption": "Kernel regression with LoRA's kernel of the attention, over the rank; at infinity it is the kernel of the adapted weights. Mean and standard deviation over draws and three splits.", "name": "fig-lora-answers"}, "image": {"alt": "Three lines over rank. The share of answers equal to those of the adapted weights rises from about 85 to above 95 percent; the share equal to those of the full kernel stays near 80; the accuracy stays near 60 with a spread that shrinks a little."}} tags=["hide-input"]
names = {
    "adapted": "same answer as with the adapted weights",
    "full": "same answer as with all parameters",
    "accuracy": "accuracy",
}
long = answered.rename(columns=names).melt(
    ["split", "rank"], list(names.values()), "measure", "percent"
)
figures.spread_lines(
    long, "rank", "percent", "measure", labels=("rank $r$", "test samples (%)")
)

# %% tags=["remove-input"]
figures.data_link(answered, "lora-answers")

# %%
by_split = answered.groupby(["split", "rank"])[["accuracy", "adapted", "full"]]
summary = by_split.mean().groupby("rank").mean()
summary["accuracy, spread over A"] = (
    by_split.std()["accuracy"].groupby("rank").mean()
)
summary["accuracy, spread over splits"] = (
    by_split.mean()["accuracy"].groupby("rank").std()
)
assert summary["adapted"].is_monotonic_increasing
assert summary.loc[32, "adapted"] > 90 > 85 > summary["full"].max()
means = summary["accuracy"]
assert means.max() - means.min() < summary.loc[RANK, "accuracy, spread over A"]
summary.round(1)

# %% [markdown]
# {numref}`fig-lora-answers` is the chapter in one picture. The regression converges to that of the adapted weights.
# It does not converge to that of all parameters. And none of this is visible in the accuracy: its differences between
# ranks are smaller than its spread over the draws of $A$ at one rank. Table 11 of Malladi-v1, which compares
# accuracies of $\mathcal{K}^{(\mathrm{SGD})}$ and $\mathcal{K}^{(\mathrm{SGD})}_{\mathrm{LoRA}}$ on five splits,
# supports the theorem in the same sense: the accuracies are close. It cannot tell whether the kernels are.
#
# ## After the start
#
# The proof of Lemma E.4 says that $dA = 0$ throughout training, because $B = 0$ in the kernel setting. But $B$ is
# what is trained. After one step it is not zero, $A$ has a gradient, $dA = \frac{\alpha}{r} B^\top dW$, and a part in
# the kernel. What is meant is that this part stays small. Does it?
#
# ```{prf:proposition} The part of $A$
# :label: prop-part-of-a
#
# Train LoRA from $B = 0$ and $A = A_0$ by SGD with the rate $\eta$, and let $s = \alpha / r$. As long as first order
# is enough, $B = -\eta s\, M A_0^\top$, where $M$ is the sum over the steps of the loss's gradients by $W$ at the
# start. So the weight moves by $-\eta s^2 M A_0^\top A_0$, and for one position
#
# $$\begin{aligned}
# \mathcal{K}_B(i, j) &= s^2 \langle dh(i), dh(j) \rangle \langle A_0 x_i, A_0 x_j \rangle, \\
# \mathcal{K}_A(i, j) &= \eta^2 s^4 \langle A_0 M^\top dh(i),\, A_0 M^\top dh(j) \rangle \langle x_i, x_j \rangle .
# \end{aligned}$$ (eq-part-of-a)
#
# Take $\gamma A_0$, $s'$ and $\eta'$ instead, with $\eta' s'^2 \gamma^2 = \eta s^2$, so that the weight moves in the
# same way. Then $\mathcal{K}_A / \mathcal{K}_B$ is multiplied by $(\eta' s' / \eta s)^2 = (s / s' \gamma^2)^2$.
# ```
#
# ```{prf:proof}
# $\partial \ell / \partial B = s\, (\partial \ell / \partial W) A_0^\top$ while $A = A_0$, which gives $B$ and the
# move $s B A_0$. The kernels are those of $dB = s\, dh\, (A_0 x)^\top$ and $dA = s\, (B^\top dh)\, x^\top$. The
# factor of $\mathcal{K}_B$ is then $(s' \gamma / s)^2$ and that of $\mathcal{K}_A$ is
# $(\eta'^2 s'^4 \gamma^2) / (\eta^2 s^4)$. Their ratio is $(\eta' s' / \eta s)^2$; put in $\eta'$.
# ```
#
# Two predictions. Early on, the part of $A$ grows with the *square* of the learning rate. And a larger $A_0$ with a
# smaller rate trains the same function with a far smaller part of $A$: from PEFT's
# initialisation ($s = \alpha / r$) to the theorem's ($s' = 1$, $\gamma^2 = 3 n / r$) it falls by
# $(3 n / \alpha)^2$. Check both with real LoRA training: PEFT, SGD with batches of four and without clipping, the
# largest learning rate of the paper's grid (for another model) and ten times it, from PEFT's $A$ and from the same
# $A$ made larger.

# %%
RATES = (1e-2, 1e-1)  # Table 3 of Malladi-v1 goes to 1e-2
BATCH = 4
MEASURED = (1, 8, 16, 32)  # after how many steps; 8 are an epoch of batches of 4
probe = select_rows(samples, slice(0, 4))
train = shots[SEEDS[0]].part("train")


def lora_kernel(network: torch.nn.Module) -> dict[str, np.ndarray]:
    """The kernels of all A and of all B on a few samples."""
    return entk(
        network,
        probe,
        parameters=lambda name: "lora_" in name,
        by=lambda name: "A" if "lora_A" in name else "B",
        **quiet,
    ).groups


def loss_of(network: torch.nn.Module, index: torch.Tensor) -> torch.Tensor:
    logits = network(**select_rows(train.batch, index))
    return torch.nn.functional.cross_entropy(logits, train.labels[index])


def follow(A: dict[str, torch.Tensor], alpha: float, rate: float) -> pd.DataFrame:
    """Train LoRA from A and B = 0, and measure its kernel on the way."""
    network = with_lora(A, alpha)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=rate)
    order = torch.Generator().manual_seed(0)
    epochs = [
        torch.randperm(n, generator=order) for _ in range(MEASURED[-1] * BATCH // n)
    ]
    start = lora_kernel(network)["B"]
    rows = []
    for step, index in enumerate(torch.cat(epochs).split(BATCH), start=1):
        optimizer.zero_grad()
        loss_of(network, index).backward()
        optimizer.step()
        if step not in MEASURED:
            continue
        now = lora_kernel(network)
        of_a, of_b = (np.einsum("icic->", now[side]) for side in "AB")
        moved = np.linalg.norm(now["A"] + now["B"] - start) / np.linalg.norm(start)
        with torch.no_grad():
            loss = float(loss_of(network, torch.arange(n)))
        rows.append((step, of_a / (of_a + of_b), moved, loss))
    return pd.DataFrame(
        rows, columns=["step", "part of A", "kernel moved", "training loss"]
    )


A_peft = draw_lora(model, ATTENTION, rank=RANK, seed=0)
gamma = np.sqrt(3 * INPUTS["attn.Wqkv"] / RANK)
A_larger = {name: gamma * A for name, A in A_peft.items()}
after = []
for rate in RATES:
    equal = rate * factor  # eta' = eta s^2 / gamma^2, with s' = 1
    after += [
        follow(A_peft, ALPHA, rate).assign(A="PEFT", rate=rate),
        follow(A_larger, RANK, equal).assign(A="variance 1/r", rate=rate),
    ]
after = pd.concat(after)

# %% mystnb={"figure": {"caption": "The part of A in the trace of LoRA's kernel along training, for two learning rates and two initialisations that train the same function to first order. Rates are those of PEFT's initialisation; the other has the equivalent one.", "name": "fig-part-of-a"}, "image": {"alt": "Log-log plot over steps with four lines that rise from the first epoch to the fourth: for PEFT's initialisation the part of A reaches a few percent at the lower rate and tens of percent at the higher; for the larger A it is more than a thousand times smaller at the start and stays far below."}} tags=["hide-input"]
wide = after.pivot_table(index="step", columns=["A", "rate"], values="part of A")
wide.columns = [f"{name}, rate {rate:g}" for name, rate in wide.columns]
figures.lines(
    wide.reset_index(),
    "step",
    {name: name for name in wide.columns},
    labels=("step", r"part of $A$ in the kernel"),
    xscale="log",
    yscale="log",
    ylim=(1e-10, 1),
)

# %% tags=["remove-input"]
figures.data_link(after, "part-of-a")

# %%
by_step = after.set_index(["A", "rate", "step"])
part = by_step["part of A"]
odds = part / (1 - part)
slow, fast = RATES
larger = (3 * INPUTS["attn.Wqkv"] / ALPHA) ** 2
steps = MEASURED[1], MEASURED[-1]
found = {
    "ten times the rate": odds["PEFT", fast, 1] / odds["PEFT", slow, 1],
    "PEFT's A, not the larger": odds["PEFT", slow, 1]
    / odds["variance 1/r", slow, 1],
    "four times the steps": odds["PEFT", slow, steps[1]]
    / odds["PEFT", slow, steps[0]],
}
predicted = [(fast / slow) ** 2, larger, (steps[1] / steps[0]) ** 2]
growth = pd.Series(found, name="measured").to_frame().assign(predicted=predicted)
ratio = growth["measured"] / growth["predicted"]
assert ratio.iloc[:2].between(0.9, 1.1).all()
assert 0.5 < ratio.iloc[2] < 2
growth.rename_axis("the part of A grows by").round(1)

# %%
moved = by_step["kernel moved"].groupby(["A", "rate"]).max()
assert (moved["PEFT"] > 5 * moved["variance 1/r"]).all()
assert part["PEFT"].groupby("rate").last().min() > 0.01
assert part["variance 1/r"].max() < 0.01
loss = by_step["training loss"].groupby(["A", "rate"]).last()
assert (loss["variance 1/r"] < loss["PEFT"] + 1e-3).all()
first = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:BATCH]
print("labels of the first batch:", train.labels[first].tolist())
by_step.map("{:.3g}".format)

# %% [markdown]
# After one step both predictions hold. (The third row of the first table: over whole epochs $M$ grows about in
# proportion to the steps, so the part of $A$ grows with their square. A single step can be further off than an epoch:
# in this order all reviews of the first batch have the same label, and later batches take its push back.) After four
# epochs PEFT's $A$ has a visible part of the kernel at the lower rate and a good part of it at the higher one, and
# the kernel has moved. With the larger $A$ the loss has come about as far, or further, with a kernel that is several
# times nearer to that of the start. So whether LoRA is kernel regression with $\mathcal{K}_{\mathrm{LoRA}}$ is
# decided by the learning rate, as in {doc}`/book/theory/kernel-behavior`, and *also* by the size of $A$, which full
# fine-tuning does not have.
#
# ## In the infinite width
#
# Does LoRA show kernel behaviour at all? Appendix D.6 of Malladi-v1 says that it does where full fine-tuning does,
# because Theorem D.5 holds for any architecture, if LoRA's sizes and rates are set for the width $n$ as $\mu$P sets
# those of a hidden layer ({doc}`/book/theory/feature-learning`): a rank in proportion to the width, entries of $A$
# of size $\Theta(1/\sqrt n)$, and for $A$ and $B$ the rate $\Theta(1)$ with SGD and $\Theta(n^{-1-d})$ with SignGD
# and Adam, where the output derivative is $\chi = \Theta(n^{-d})$. The proof is one sentence, so check what it says
# where everything can be followed: the three-layer linear network with LoRA on its middle layer,
#
# $$f(\xi) = V^\top (W + B A)\, U \xi, \qquad
# \nabla_B f = V (A x)^\top, \quad \nabla_A f = (B^\top V)\, x^\top \quad\text{with } x = U \xi .$$
#
# Count powers of $n$, with $V$ of entries $\Theta(1/n)$, and $x$ and $A x$ of entries $\Theta(1)$. A step of SGD
# moves $B$ by $\eta \chi V (A x)^\top$ and $f$ by $\Theta(\chi)$: something is learned at every width. Then
# $B^\top V = \Theta(\chi / n)$, so $A$ moves by $\Theta(\chi^2 / n)$ and $A x$ by $\Theta(\chi^2)$. The kernel and
# the Taylor model's relative error change by $\Theta(\chi^2) = \Theta(n^{-2d})$. With Adam the first step of $A$ is
# zero, for it has no gradient; the second is as long as any, however small the gradient, and moves $A x$ by
# $\Theta(n^{-d})$. So Adam's kernel stays, too, but only by a power of $d$, not of $2d$.
#
# And with a fixed rank, which is how LoRA is used? With PEFT's $A$ the kernel is $\Theta(r / n)$ of what it was
# above, so that learning takes a rate that grows as $n / r$. Then $A x$ moves by $\Theta((n / r)^2 \chi^2)$: with
# $d = 1/2$ the kernel does not stay, it moves the more the wider the model is. Neither Appendix D.6 nor Theorem E.5
# speaks of that.

# %%
from tangentlm.theory.linear_networks import MUP, initialise, learning_rates
from tangentlm.theory.linear_networks import train as pretrain_network
from tangentlm.theory.lora_network import LoraNetwork, add_lora, train_lora

WIDTHS, D, RANK_AT_64 = (64, 128, 256, 512, 1024), 1 / 2, 8
CASES = {  # optimizer, whether the task is natural, whether the rank follows the width
    "SGD": ("sgd", True, True),
    "Adam": ("adam", True, True),
    "SGD, not natural": ("sgd", False, True),
    "SGD, rank 8": ("sgd", True, False),
}


def in_width(case: str, n: int, seed: int) -> dict[str, object]:
    """Pre-train in muP, fine-tune with LoRA for four steps, and see what has moved."""
    optimizer, natural, follows = CASES[case]
    random = torch.Generator().manual_seed(100 + seed)
    X, xi = (
        torch.randn(4, m, generator=random, dtype=torch.float64) / 2 for m in (5, 7)
    )
    network = initialise(n, 4, MUP["sgd"], seed)
    pretrain_network(
        network,
        X,
        torch.ones(5, dtype=torch.float64),
        learning_rates(n, 0.2, MUP["sgd"], "sgd"),
    )
    rank = RANK_AT_64 * n // 64 if follows else RANK_AT_64
    lora = add_lora(network, rank, 1 / n if follows else 1 / (3 * n), seed)
    chi = 0.5 * (n / 64) ** (-D if natural else 0)
    tuned_on, seen = xi[:, :4], xi[:, 4:]
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    targets = lora.outputs(tuned_on) - chi * signs
    A, f_start, K = lora.A.clone(), lora.outputs(seen), sum(lora.kernels(seen))
    # Of a fixed rank the kernel is 64 / 3 n of the other one, so the rate makes up for it.
    rate = n ** (-1 - D) if optimizer == "adam" else 0.5
    train_lora(
        lora,
        tuned_on,
        targets,
        rate if follows else rate * 3 * n / 64,
        optimizer,
    )
    change = lora.outputs(seen) - f_start
    first_order = LoraNetwork(network, A, lora.B).outputs(seen) - f_start
    return {
        "case": case,
        "width": n,
        "seed": seed,
        "f moves / chi": float(change.norm()) / chi,
        "kernel moves": float((sum(lora.kernels(seen)) - K).norm() / K.norm()),
        "Taylor error": float((change - first_order).norm() / change.norm()),
    }


widths = pd.DataFrame(
    [in_width(case, n, seed) for case in CASES for n in WIDTHS for seed in range(5)]
)
typical = widths.drop(columns="seed").set_index(["case", "width"])
typical = np.exp(np.log(typical).groupby(level=[0, 1], sort=False).mean())

# %% mystnb={"figure": {"caption": "How far LoRA's kernel moves in four steps of fine-tuning, over the width; geometric mean over five networks. Rank in proportion to the width but for the last case.", "name": "fig-lora-width"}, "image": {"alt": "Log-log plot over widths from 64 to 1024: the line of SGD falls with slope about minus one, that of Adam with slope about minus one half, that of SGD on a task that is not natural is flat, and that of SGD with rank 8 rises."}} tags=["hide-input"]
moving = typical["kernel moves"].unstack("case", sort=False)
figures.lines(
    moving.reset_index(),
    "width",
    {case: case for case in CASES},
    labels=("width", "relative change of the kernel"),
    xscale="log",
    yscale="log",
)

# %% tags=["remove-input"]
figures.data_link(widths, "lora-width")

# %%
powers = pd.DataFrame(
    {
        name: {
            case: np.polyfit(np.log(WIDTHS), np.log(typical.loc[case, name]), 1)[0]
            for case in CASES
        }
        for name in typical
    }
)
assert powers["f moves / chi"].drop("SGD, rank 8").abs().max() < 0.3
for case, power in {"SGD": -2 * D, "Adam": -D, "SGD, not natural": 0}.items():
    assert abs(powers.loc[case, "kernel moves"] - power) < 0.3
    assert abs(powers.loc[case, "Taylor error"] - power) < 0.35
assert powers.loc["SGD, rank 8", "kernel moves"] > 1
powers.rename_axis("power of the width").round(2)

# %% [markdown]
# The first three cases have the powers that the count gives: $-2d = -1$ with SGD, $-d = -1/2$ with Adam, none for a
# task that is not natural, where $\chi$ stays and LoRA learns features like any other training. The fourth is no
# kernel regression at any of these widths, and less so the wider the network. What saves LoRA in practice is not this
# theorem but a learning rate at which little is moved.
#
# ## Limits
#
# - One small model, one task, the kernel of one difference of logits. Norms of layers, and with them the errors, are
#   this model's. What is checked of the theorem is exact or statistical: the lemma to round-off, the bounds on a
#   finite number of draws of $A$.
# - The bound takes the worst case over all gradients of given norms. It does not use that they are alike, nor how
#   many directions they have, which is why it is above what is measured. At rank 8 no bound of this page explains why
#   LoRA works.
# - Close entries do not make close answers where $\lambda$ is small ({ref}`ex-lora-answers`).
# - The theorem explains LoRA only where full fine-tuning shows kernel behaviour (Remark C.3). Of Adam only
#   Appendix D.6 speaks.
# - The section on training has one split, one draw of $A$ and one order of the batches. The two predictions are of
#   first order and are checked there; how fast the lines part later on is not explained.
# - The section on the infinite width has a linear network and a squared loss; the powers are fitted over four
#   doublings.
# - {prf:ref}`prop-part-of-a` has one position; with several, both kernels are sums over positions, and the
#   predictions are the same.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-lora-other-side
#
# Start as Definition C.1 says, with $A = 0$ and $B$ at random. Which matrix has a gradient, what is
# {eq}`eq-lora-hadamard` then, and which variance keeps the kernel? When is the error smaller than with $B = 0$?
# ```
#
# ```{solution} ex-lora-other-side
# :class: dropdown
#
# $dB = \frac{\alpha}{r}\, dW A^\top = 0$ and $dA = \frac{\alpha}{r} B^\top dW$. The other factor is projected:
# $\mathcal{K}_{\mathrm{LoRA}} = dH B B^\top dH^\top \odot X X^\top$ for $\alpha = r$, with variance $1/r$. By
# {eq}`eq-lora-law` with the roles exchanged, the error of an entry is
# $|\cos(x_i, x_j)| \sqrt{(1 + \cos^2(dh(i), dh(j))) / r}$. It is smaller where the inputs differ more than the
# derivatives do. Of several positions it is the derivatives that have to point in different directions.
# ```
#
# ```{exercise}
# :label: ex-lora-answers
#
# Let $\beta$ and $\beta'$ solve $(\mathcal{K} + \sigma I) \beta = Y$ and $(\mathcal{K}' + \sigma I) \beta' = Y$
# with symmetric kernels without negative eigenvalues. Show that
# $\lVert \beta' - \beta \rVert \le \lVert \mathcal{K}' - \mathcal{K} \rVert_{\mathrm{op}} \lVert \beta \rVert / \sigma$.
# What does it say with $\sigma = \lambda \lVert \mathcal{K} \rVert_{\mathrm{op}}$, and for $\lambda = 0$? Compute
# the bound and the true change for rank 8.
# ```
#
# ```{solution} ex-lora-answers
# :class: dropdown
#
# Subtract the equations: $(\mathcal{K}' + \sigma I)(\beta' - \beta) = -(\mathcal{K}' - \mathcal{K}) \beta$, and the
# inverse of the matrix on the left is at most $1/\sigma$. So a relative error of the kernel, in the operator norm,
# comes back divided by $\lambda$, and for $\lambda = 0$ there is no bound. It is far too large here: most of
# $\mathcal{K}' - \mathcal{K}$ is a common factor, and with $\sigma$ in units of the norm a factor changes $\beta$ but
# no answer. Scale $\mathcal{K}'$ first.
# ```
#
# ```{exercise}
# :label: ex-lora-frozen-a
#
# Freeze $A$ in `follow` and train $B$ alone. What is left of "kernel moved", and why is it not zero?
# ```
#
# ```{solution} ex-lora-frozen-a
# :class: dropdown
#
#     for name, parameter in network.named_parameters():
#         if "lora_A" in name:
#             parameter.requires_grad_(False)
#
# goes before `trained`, and `lora_kernel` then has `"B"` alone, so leave out what belongs to $A$. With PEFT's $A$ the
# kernel moves by a few percent at the higher rate, instead of a large part of itself or several times itself, and by
# less than one percent at the lower. That is what the lines of the larger $A$ have, too, to within one or two
# percent: training $B$ alone is the limit of {prf:ref}`prop-part-of-a` in which the part of $A$ is gone. It is not
# zero, because $B A_0$ changes the weight, hence what every layer reads and the derivatives that come back to it:
# $\mathcal{K}_B = s^2 \langle dW(i) A_0^\top, dW(j) A_0^\top \rangle$ has a $dW$ that belongs to the model as it is
# now. In one linear layer with nothing after it, it would be zero. The loss comes about as far as with $A$ trained,
# or further.
# ```
#
# ```{exercise}
# :label: ex-lora-scaling
#
# PEFT's option `use_rslora` puts $\alpha / \sqrt r$ in the place of $\alpha / r$. How does {eq}`eq-lora-scale` depend
# on the rank then? Keep $\alpha = 16$ and train with ranks 2, 8 and 32 at one learning rate, with and without the
# option. In which of the two does the training loss after a few steps depend on the rank?
# ```
#
# ```{solution} ex-lora-scaling
# :class: dropdown
#
# It is $\frac{\alpha^2}{r}\, r \operatorname{Var}(A) = \alpha^2 / (3 n)$, for every rank. Without the option the
# kernel is proportional to $1/r$: rank 32 learns at a sixteenth of the speed of rank 2. To first order in the step, a
# training depends on the rank through this factor and through the error of the projection alone.
# ```

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
