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
# (orthogonal-inputs)=
# # Orthogonal inputs do not move
#
# Fine-tuning changes the features of the inputs that it sees. What does it do to the others? For a *linear*
# feature extractor trained by gradient descent there is a clean answer: an input that is orthogonal to all
# training inputs keeps its features exactly, at every step, for any loss. {cite:t}`kumar2022finetuning` built
# their theory of feature distortion on it: the head is fitted to features that have moved, and then meets
# features that have not. {cite:t}`tomihari2024understanding` derive it from the kernel (Corollary 4.3). It is a
# fact about a *matrix* and about *gradient descent*, and it is fragile on both sides. Adam moves orthogonal
# inputs. So does gradient descent if the matrix is a product of two, has a LoRA beside it, or a bias, and so does
# a transformer ({numref}`fig-off-span`).
#
# **You will learn**
#
# - why gradient descent cannot reach orthogonal inputs, and what else cannot (momentum, any loss, a trained head)
# - which one property Adam lacks, and the case in which it does keep orthogonal inputs
# - what the corollary explains: how a random head spoils features for inputs outside of the training data, and
#   how a probed head does not
# - what is left of it in a language model.
#
# **Before you start**: read {doc}`/book/theory/head-decides`.

# %% [markdown]
# ## The stage
#
# A linear model is enough: $f(x) = V \phi(x) + b$ with $\phi(x) = B x$, inputs of $d = 32$ numbers, $h = 8$
# features, $C = 3$ classes, and $N = 12$ training inputs. They span a subspace of 12 dimensions, and 20 dimensions
# are left.

# %%
import numpy as np
import pandas as pd
import torch
from torch import nn

from tangentlm import figures

D, H, CLASSES, N, SEED = 32, 8, 3, 12, 0

figures.use_style()
torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(SEED)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator)


X = normal(N, D)  # training inputs, one a row
y = torch.arange(N) % CLASSES
Q = torch.linalg.qr(torch.cat([X.T, normal(D, D - N)], dim=1))[0]
X_orthogonal = normal(100, D - N) @ Q[:, N:].T  # 100 inputs outside of the span
print("largest inner product:", f"{float((X @ X_orthogonal.T).abs().max()):.0e}")

# %% [markdown]
# Here are six feature extractors. All but the last begin with the same features $B_0 x$; the last begins with
# $\tanh(B_0 x)$.

# %%
B_0 = normal(H, D) / D**0.5
V_0, A_0 = 0.3 * normal(CLASSES, H), normal(4, D) / D**0.5
left = normal(H, H) / H**0.5
right = torch.linalg.solve(left, B_0)  # B_0 = left @ right
parameter = nn.Parameter


class Extractor(nn.Module):
    """phi of rows of inputs; its parameters are those that are trained."""

    def __init__(self, phi, **start: torch.Tensor) -> None:
        super().__init__()
        self.phi = phi
        for name, value in start.items():
            self.register_parameter(name, parameter(value.clone()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.phi(self, x)


EXTRACTORS = {
    "a matrix": lambda: Extractor(lambda m, x: x @ m.B.T, B=B_0),
    "a matrix, rotated inputs": lambda: Extractor(
        lambda m, x: (x @ Q).round(decimals=12) @ m.B.T, B=B_0 @ Q
    ),
    "a matrix and a bias": lambda: Extractor(
        lambda m, x: x @ m.B.T + m.a, B=B_0, a=torch.zeros(H)
    ),
    "a product of two matrices": lambda: Extractor(
        lambda m, x: x @ m.right.T @ m.left.T, left=left, right=right
    ),
    "LoRA": lambda: Extractor(
        lambda m, x: x @ (B_0 + m.B @ m.A).T, A=A_0, B=torch.zeros(H, 4)
    ),
    "tanh of a matrix": lambda: Extractor(
        lambda m, x: torch.tanh(x @ m.B.T), B=B_0
    ),
}
OPTIMIZERS = {
    "GD": lambda p: torch.optim.SGD(p, 0.05),
    "GD with momentum": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9),
    "GD with weight decay": lambda p: torch.optim.SGD(p, 0.05, weight_decay=0.1),
    "Adam": lambda p: torch.optim.Adam(p, 0.01),
}
STEPS = 100


def off_span(extractor: str, optimizer: str) -> pd.DataFrame:
    """How far orthogonal inputs move, relative to training inputs, along a training."""
    phi, head = EXTRACTORS[extractor](), nn.Linear(H, CLASSES)
    with torch.no_grad():
        head.weight.copy_(V_0)
        head.bias.zero_()
    trained = OPTIMIZERS[optimizer]([*phi.parameters(), *head.parameters()])
    with torch.no_grad():
        before, before_train = phi(X_orthogonal), phi(X)
    rows = []
    for step in range(1, STEPS + 1):
        trained.zero_grad()
        nn.functional.cross_entropy(head(phi(X)), y).backward()
        trained.step()
        with torch.no_grad():
            moved = (phi(X_orthogonal) - before).norm(dim=1).mean()
            moved_train = (phi(X) - before_train).norm(dim=1).mean()
        rows.append((step, float(moved), float(moved_train)))
    path = pd.DataFrame(rows, columns=["step", "orthogonal", "training"])
    path["relative"] = path["orthogonal"] / path["training"]
    return path.assign(extractor=extractor, optimizer=optimizer)


paths = pd.concat(
    [off_span(phi, optimizer) for phi in EXTRACTORS for optimizer in OPTIMIZERS]
)

# %% mystnb={"figure": {"caption": "How far the features of inputs move that are orthogonal to all training inputs, relative to how far those of the training inputs do, along a training.", "name": "fig-off-span"}, "image": {"alt": "Lines over a hundred steps on a logarithmic axis. Gradient descent on a matrix stays at the level of rounding; gradient descent on a product of matrices and on LoRA lies between a tenth and one, and so does Adam on a matrix."}} tags=["hide-input"]
SHOWN = {
    "GD, a matrix": ("a matrix", "GD"),
    "Adam, a matrix": ("a matrix", "Adam"),
    "GD, a product of two": ("a product of two matrices", "GD"),
    "GD, LoRA": ("LoRA", "GD"),
}
steps = paths.set_index(["extractor", "optimizer"])
wide = pd.DataFrame(
    {name: steps.loc[key, "relative"].to_numpy() for name, key in SHOWN.items()}
)
wide["step"] = np.arange(1, STEPS + 1)
figures.lines(
    wide[wide["step"].isin(np.r_[1, 5:101:5])],
    "step",
    {name: name for name in SHOWN},
    labels=("step", "move off the span over move on it"),
    yscale="log",
    ylim=(1e-17, 10),
)

# %% tags=["remove-input"]
figures.data_link(paths, "off-span")

# %%
last = paths[paths["step"] == STEPS]
table = last.pivot(index="extractor", columns="optimizer", values="relative")
table = table.loc[list(EXTRACTORS), list(OPTIMIZERS)]
table.map(lambda value: f"{value:.1e}" if value < 1e-3 else f"{value:.2f}")

# %%
kept = table < 1e-12
assert kept.loc["a matrix", ["GD", "GD with momentum"]].all()
assert kept.loc["a matrix, rotated inputs", "Adam"]
assert kept.to_numpy().sum() == 7
assert table.loc["a matrix", "Adam"] > 0.1

# %% [markdown]
# Seven of 24 are zero but for rounding. Let us see why.
#
# ## The statement
#
# ```{prf:proposition} Orthogonal inputs (Corollary 4.3 of Tomihari and Sato; Lemma A.3 of Kumar et al.)
# :label: prop-orthogonal
#
# Let $f(x) = V B x + b$, and let $x$ be orthogonal to all training inputs. Gradient descent on $V$, $B$ and $b$ keeps
# $\phi(x) = B x$: $B_t x = B_0 x$ for all $t$, for any differentiable loss, any learning rates, batches, or momentum.
# ```
#
# ```{prf:proof}
# *As in the paper, by the kernel.* The kernel of the features is $\Theta^\phi(x, x') = \langle x, x' \rangle I_h$.
# By {prf:ref}`prop-one-step` $\Delta \phi(x) = \frac{\eta}{N} \sum_i \langle x, x_i \rangle V_0^\top \delta_i$, and
# every $\langle x, x_i \rangle$ is zero. That is one step to first order.
#
# *Directly, for all steps.* The gradient by $B$ is $-\frac1N \sum_i V^\top \delta_i x_i^\top$, whatever $V$ and
# $\delta_i$ are by then. Every row of it is a combination of training inputs. So it gives zero on $x$, and so does
# a sum of gradients of any steps with any factors.
# ```
#
# The second proof is shorter and says more: nothing has to be small, and the change of $B x$ is exactly zero, not
# zero to first order. (The paper states it for one linearised epoch.) It also says what the optimizer must not do:
# **leave the span of the gradients**.
#
# - *Weight decay* leaves it. It adds $-\eta \lambda B$ to each step, so orthogonal features shrink, all by the same
#   factor $(1 - \eta \lambda)^t$: the length changes, the direction does not.
# - *Adam* leaves it. It divides each entry by a size of its own. Already its first step is the sign of the
#   gradient, and
#   $\operatorname{sign}(u x_1^\top) = \operatorname{sign}(u) \operatorname{sign}(x_1)^\top$: a vector that is
#   orthogonal to $x_1$ need not be orthogonal to $\operatorname{sign}(x_1)$.
#
# Where does Adam keep an input? If $B$ has a whole *column* without gradient. A zero stays zero when it is divided.
# So Adam keeps inputs that are orthogonal *coordinate by coordinate*: no training input has a number where $x$ has
# one. In the second row of the table the inputs are rotated, so that the training inputs have zeros in the last 20
# coordinates (exact ones, by rounding: Adam would blow up a gradient of $10^{-16}$), and $B$ is rotated back. The
# model is the same, gradient descent does the same, and Adam, which knows coordinates, now keeps what it moved
# before. One real matrix has such inputs: the **word embedding**. Its inputs are one-hot, and the vector of a word
# that does not occur in training stays, under Adam as well (without weight decay).

# %%
factor = (1 - 0.05 * 0.1) ** STEPS
with_decay = last.set_index(["extractor", "optimizer"]).loc[
    ("a matrix", "GD with weight decay"), "orthogonal"
]
size = float((X_orthogonal @ B_0.T).norm(dim=1).mean())
assert np.isclose(with_decay, (1 - factor) * size)
print(
    f"with weight decay orthogonal features shrink to {factor:.3f} of their length"
)
u, x_1 = V_0[0], X[0]
off = X_orthogonal[0]
print(
    f"<x, x_1> = {float(off @ x_1):.0e}, <x, sign(x_1)> = {float(off @ x_1.sign()):.2f}"
)

# %% [markdown]
# ## When B is not a matrix
#
# The rest of the table changes the extractor, not the optimizer.
#
# - **A bias** is an input that is always one. No two inputs $(x, 1)$ and $(x', 1)$ are orthogonal if $x$ and
#   $x'$ are.
# - **A product**, $\phi = B_2 B_1 x$. The gradient by $B_1$ does not reach $x$. But $B_2$ reads $B_1 x$, and for
#   orthogonal $x$, $x_i$ the vectors $B_1 x$, $B_1 x_i$ are not orthogonal. So
#   $\Theta^\phi(x, x_i) = \langle x, x_i \rangle B_2 B_2^\top + \langle B_1 x, B_1 x_i \rangle I$, and the second
#   part is not zero.
# - **LoRA**, $\phi = (B_0 + B A) x$ with a random $A$. Its kernel at the start is $\langle A x, A x_i \rangle I$.
#   It is zero on average over $A$ and of the order $1 / \sqrt r$ for each ({doc}`/book/theory/lora-share`). So LoRA
#   of a low rank moves inputs that full fine-tuning would leave alone.
# - **A nonlinearity after the matrix** changes nothing for gradient descent: $\tanh(B x)$ is a function of
#   $B x$. It is what comes *before* a trained weight that matters.
#
# ## What the corollary explains
#
# Kumar et al. ask what happens to inputs outside of the training data, when pre-trained features are *good*:
# there is a head $V_*$ with $V_* B_0 x$ right for all $x$. Training inputs come from a subspace. Fine-tuning
# begins with a head $V_0$ that is not $V_*$, so it changes $B$ on the subspace and the head to go with it.
# Outside, the head has changed and $B$ has not. Try it with the squared loss, as they do, and begin with a
# mixture of the right head and a random one. Linear probing first means to begin with the right one, as long as
# the training features span all $h$ dimensions (here 12 inputs, 8 features); if they do not, the probe does not
# know $V_*$ either.

# %%
V_star = normal(CLASSES, H)
V_random = normal(CLASSES, H)
targets = X @ B_0.T @ V_star.T


def errors_after(share: float) -> dict[str, float]:
    """Fine-tune from (1 - share) V_star + share V_random until the training error is small."""
    V = ((1 - share) * V_star + share * V_random).requires_grad_()
    B = B_0.clone().requires_grad_()
    for _ in range(20_000):
        loss = (X @ B.T @ V.T - targets).square().mean()
        if float(loss.detach()) < 1e-8:
            break
        gradients = torch.autograd.grad(loss, [V, B])
        with torch.no_grad():
            for weight, gradient in zip((V, B), gradients, strict=True):
                weight -= 0.05 * gradient
    with torch.no_grad():
        wanted = X_orthogonal @ B_0.T @ V_star.T
        outside = (X_orthogonal @ B.T @ V.T - wanted).square().mean()
        moved = ((B - B_0) @ X.T).norm() / (B_0 @ X.T).norm()
        return {
            "wrong part of the head": share,
            "error on training inputs": float(loss),
            "error outside": float(outside / wanted.square().mean()),
            "move of the training features": float(moved),
            "wrong part after training": float((V - V_star).norm() / V_star.norm()),
        }


distortion = pd.DataFrame([errors_after(share) for share in np.linspace(0, 1, 6)])
assert distortion["error on training inputs"].max() < 1e-7
assert distortion["error outside"].is_monotonic_increasing
distortion.set_index("wrong part of the head").round(3)

# %% mystnb={"figure": {"caption": "Relative squared error on inputs orthogonal to the training inputs after fine-tuning to zero training error, over the part of the head at the start that is not the right one. Linear probing first is the point on the left.", "name": "fig-distortion"}, "image": {"alt": "Two rising lines from zero: the error outside of the training inputs and the move of the training features."}} tags=["hide-input"]
figures.lines(
    distortion,
    "wrong part of the head",
    {
        "error outside": "error outside",
        "move of the training features": "move of the training features",
    },
    labels=("wrong part of the head at the start", "relative size"),
)

# %% tags=["remove-input"]
figures.data_link(distortion, "feature-distortion")

# %% [markdown]
# Every one of these models is perfect on its training inputs. Outside, the error is that of the head alone, and it is
# larger the worse the head was at the start. That is the feature distortion theory, and the reason for LP-FT.
#
# ## In a language model
#
# The first layer of a language model is a matrix: the word embedding, whose input is a vector of counts of words.
# So take *new words* for orthogonal inputs. Compute, for texts of three kinds, which part of their vector of counts
# lies outside of the span of the training texts', and how far one step of gradient descent moves their
# features (`first_step`). If the corollary carried over, texts that are further outside would move less.

# %%
torch.set_default_dtype(torch.float32)
from tangentlm.batches import select_rows
from tangentlm.models.double_precision import in_double_precision
from tangentlm.models.few_shot import few_shot
from tangentlm.theory.first_step import first_step

TASKS = {"topics": 6, "reviews": 2, "inference": 2}
problems = {
    task: few_shot(
        task,
        k=k,
        seed=13,
        test_size=12,
        model="pocket-xs",
        head="linear",
        pooling="mean",
        device="cpu",
    )
    for task, k in TASKS.items()
}
model = in_double_precision(problems["topics"].model)
train = problems["topics"].part("train")
generator = torch.Generator().manual_seed(13)
with torch.no_grad():
    model.classifier.weight.normal_(std=0.02, generator=generator)
    model.classifier.bias.zero_()
vocabulary = model.body.get_input_embeddings().num_embeddings


def counts(batch) -> np.ndarray:
    """How often each word is in each text, (N, words)."""
    used = batch["attention_mask"].bool()
    rows = [ids[m] for ids, m in zip(batch["input_ids"], used, strict=True)]
    return np.stack([np.bincount(row, minlength=vocabulary) for row in rows])


basis = np.linalg.svd(counts(train.batch).astype(float), full_matrices=False)[2]
texts = {"topics, training": select_rows(train.batch, slice(0, 12))} | {
    f"{task}, held out": problem.part("test").batch
    for task, problem in problems.items()
}
rows = []
for name, batch in texts.items():
    x = counts(batch).astype(float)
    outside = np.linalg.norm(x - x @ basis.T @ basis, axis=1) / np.linalg.norm(
        x, axis=1
    )
    moved = first_step(model, train, batch).features.norm(dim=1).numpy()
    rows += [(name, o, m) for o, m in zip(outside, moved, strict=True)]
language = pd.DataFrame(rows, columns=["texts", "outside", "move"])
language["move"] /= language["move"][language["texts"] == "topics, training"].mean()
of_texts = language.groupby("texts", sort=False).agg(["mean", "std"])
new = language[language["texts"] != "topics, training"]
correlation = np.corrcoef(new["outside"], new["move"])[0, 1]
assert of_texts["outside", "mean"].iloc[0] < 1e-6
assert (of_texts["outside", "mean"].iloc[1:] > 0.4).all()
assert (of_texts["move", "mean"] > 0.5).all()
assert correlation > 0
print(f"correlation over {len(new)} new texts: {correlation:.2f}")
of_texts.round(2)

# %% [markdown]
# By their words, new texts are mostly outside, by more than eight tenths of their length. Yet their features move
# more than half as far as those of the training texts, even for texts of another kind. And among the new texts
# those that are further outside do not move less; here the correlation even has the wrong sign, though it
# compares kinds of text as much as texts: those of the task itself are the furthest outside. All the matrices
# after the first read hidden states, which are never orthogonal: they share a large common part. So do not use
# the corollary as a statement about language models. Its lesson for them is the other one: features and head are
# trained to fit together, and nobody controls what one of them does where the other did not follow.
#
# ## Limits
#
# - The linear part is a made-up problem with one draw; the table's zeros are theorems, its other numbers depend
#   on the draw, rates and sizes.
# - "Outside" is measured by counts of words here. Another choice of $x$ gives another measure.
# - In the experiment on distortion the pre-trained features are perfect. With features that need to change, linear
#   probing alone loses, and the trade between the two is what {cite:t}`kumar2022finetuning` are about.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-adam-counterexample
#
# Find the smallest example: $d = 2$, one training input, and an input orthogonal to it that Adam moves. And one
# that Adam does not move.
# ```
#
# ```{solution} ex-adam-counterexample
# :class: dropdown
#
# Train on $x_1 = (2, 1)$ and watch $x = (1, -2)$. The first step of Adam is along
# $\operatorname{sign}(x_1) = (1, 1)$, and $\langle x, (1, 1) \rangle = -1$. With $x_1 = (1, 1)$ and $x = (1, -1)$
# the first step keeps $x$, and so do all, since both columns of $B$ always have the same gradient. With
# $x_1 = (1, 0)$ and $x = (0, 1)$ the column of $x$ has no gradient at all.
# ```
#
# ```{exercise}
# :label: ex-lora-off-span
#
# Repeat the row of LoRA for ranks 1, 2, 4, 8 and 16 and ten draws of $A$. Does the relative move fall as
# $1 / \sqrt r$? And what if the rows of $A$ are taken from the span of the training inputs?
# ```
#
# ```{solution} ex-lora-off-span
# :class: dropdown
#
# It falls, but much more slowly: by about a quarter from rank 1 to 16 with the page's $A$, by about a half with
# entries of variance $1/r$. The inner products $\langle A x, A x_i \rangle$ do have mean zero and a standard
# deviation $\propto 1/\sqrt r$ relative to $\lVert A x \rVert \lVert A x_i \rVert$. But a training input is moved
# by the same noise from the $N - 1$ others, so the ratio of two moves feels the rank only when $r$ is well above
# $N$. If $A$ has its rows in the span, $A x = 0$ for orthogonal $x$, and at the start nothing reaches $x$; later
# steps change $A$ along $x_i$ only, so it stays so. (Some methods start $A$ from principal components of the
# inputs.)
# ```
#
# ```{exercise}
# :label: ex-partly-orthogonal
#
# Real inputs are neither inside nor outside. Show that with gradient descent
# $\lVert (B_t - B_0) x \rVert \le \lVert B_t - B_0 \rVert_{\mathrm{op}} \lVert \Pi x \rVert$, with $\Pi$ the
# projection onto the span of the training inputs. How good is the bound for a mixture of `X[0]` and
# `X_orthogonal[0]`?
# ```
#
# ```{solution} ex-partly-orthogonal
# :class: dropdown
#
# Every row of $B_t - B_0$ is a combination of training inputs, so $(B_t - B_0) x = (B_t - B_0) \Pi x$, and the norm
# of a product is at most the operator norm times the norm. For $x = a\, x_1 + b\, x_\perp$ both sides are $a$ times
# those of $x_1$: how good the bound is does not depend on $b$ at all. It is an equality where $\Pi x$ lies along the
# first right singular vector of $B_t - B_0$, the direction of inputs that has moved most.
# ```
#
# ```{exercise}
# :label: ex-word-embedding
#
# Fine-tune `model` for one epoch with Adam and check that the embedding of words that are in no training text has
# not changed, and that the features of texts with such words have. What does weight decay do to
# them (`torch.optim.AdamW`)?
# ```
#
# ```{solution} ex-word-embedding
# :class: dropdown
#
# The rows of `model.body.get_input_embeddings().weight` of unseen words have a gradient of exactly zero, so
# Adam leaves them. AdamW multiplies them by $1 - \eta \lambda$ at every step, like everything
# else: words that do not occur fade.
# ```
#
# ```{exercise}
# :label: ex-distortion-rates
#
# In the experiment on distortion, give the head a learning rate ten times as large as $B$. Does it help, and
# why? What about ten times as small?
# ```
#
# ```{solution} ex-distortion-rates
# :class: dropdown
#
# A fast head gets near $V_*$ before $B$ has moved, which is linear probing first, done smoothly. A slow one lets
# $B$ do the work with the wrong head: the error outside is that of the head at the start.
# ```

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
