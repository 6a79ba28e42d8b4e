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
# (head-decides)=
# # The head decides
#
# You put a linear classifier on a pre-trained model and fine-tune everything. How far will the features move? The
# first step has an exact answer, and the classifier is in it. Its weight $V$ carries the error back to the
# features, so the features move in proportion to its norm, and the part of the logits that comes through them in
# proportion to the *square*. So for the same change of the logits a large head needs a small change of the
# features. But that holds only beyond a certain norm. Below it the head's own step does the work, and a larger head
# moves the features more. {numref}`fig-price-of-logits` has both sides. And all of it is about gradient descent.
# Adam ignores the size of a gradient, and so it has other exponents.
#
# This is the core of what {cite:t}`tomihari2024understanding` say about LP-FT, {term}`linear probing` first and
# fine-tuning afterwards {cite:p}`kumar2022finetuning`: probing makes the head large, and a large head protects
# the features.
#
# **You will learn**
#
# - how a kernel splits into a part of the head and a part of the features (Proposition 4.1 of the paper)
# - what one step does to the logits *and* to the features, and how to check it to ten digits
# - how the head's norm enters, and where its effect changes sign
# - what is left of this after an epoch, and with Adam.
#
# **Before you start**: read {doc}`/book/theory/kernel-behavior`. The first section of
# {doc}`/book/theory/where-kernel-lives` has the kernel as a sum over parameters.
#
# This is the first of five chapters on LP-FT. {doc}`/book/theory/orthogonal-inputs` says why one would probe first,
# {doc}`/book/theory/head-growth` why probing makes a large head, {doc}`/book/theory/lora-share` what is different
# with LoRA, and {doc}`/book/theory/probe-stationarity` what a probed head has that has nothing to do with its norm.
# They can be read in any order after this one. {doc}`/book/experiments/two_stage` is the recipe in code, and
# {doc}`/book/results/tomihari` has the runs.

# %% [markdown]
# ## The stage
#
# The smallest bundled model, `pocket-xs`, reads headlines and gets a linear head on the mean of its hidden states,
# $h = 64$ features, for $C = 4$ topics. Everything is in double precision.

# %%
import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression

from tangentlm import figures
from tangentlm.batches import Labelled, select_rows
from tangentlm.finetune.loop import snapshot
from tangentlm.models.double_precision import in_double_precision
from tangentlm.models.few_shot import few_shot
from tangentlm.models.linear_probe import PooledFeatures
from tangentlm.models.logits import logits_of
from tangentlm.theory.first_step import first_step, residuals

SEED, SHOTS, HELD_OUT = 13, 6, 12

figures.use_style()
shots = few_shot(
    "topics",
    k=SHOTS,
    seed=SEED,
    test_size=HELD_OUT,
    model="pocket-xs",
    head="linear",
    pooling="mean",
    device="cpu",
)
model = in_double_precision(shots.model)
train, held = shots.part("train"), shots.part("test")
N = len(train)
extractor = PooledFeatures(model)  # phi as a module of its own


def logits(rows) -> torch.Tensor:
    return logits_of(model, rows, select=select_rows)


def features(rows) -> torch.Tensor:
    return logits_of(extractor, rows, select=select_rows)


probe = LogisticRegression(max_iter=1000, tol=1e-8)
probe.fit(features(train.batch), train.labels)
probed, bias = torch.from_numpy(probe.coef_), torch.from_numpy(probe.intercept_)
generator = torch.Generator().manual_seed(SEED)
random = 0.02 * torch.randn(probed.shape, generator=generator, dtype=torch.float64)
heads = {
    "random": (random, torch.zeros(4).double()),
    "probed": (probed, bias),
}
start = snapshot(model)


def put(head: str, norm: float | None = None) -> None:
    """The pre-trained body with a head, if wanted at another norm of its weight."""
    V, b = heads[head]
    scale = 1.0 if norm is None else norm / float(V.norm())
    model.load_state_dict(
        start | {"classifier.weight": scale * V, "classifier.bias": scale * b}
    )


def deltas() -> torch.Tensor:
    return residuals(logits(train.batch), train.labels)


for name, (V, _) in heads.items():
    print(f"|V| of the {name} head: {float(V.norm()):.2f}")

# %% [markdown]
# There are two heads. The *random* one has entries from $\mathcal{N}(0, 0.02^2)$ and no bias, as a new classifier
# has. The *probed* one is the result of linear probing: logistic regression on the features of the $N = 24$
# training headlines, with the usual penalty. The function `put` gives either of them any norm. Now the answer of
# this page, with code that you will understand further down.

# %%
NORMS = 10.0 ** np.arange(-1, 1.6, 0.5)


def parts_over_norms(
    head: str, own_delta: bool = False, norms=NORMS
) -> pd.DataFrame:
    """The sizes of the changes in one step, at every norm of a head."""
    put(head, norm=1.0)
    fixed = None if own_delta else deltas()
    rows = []
    for norm in norms:
        put(head, norm)
        step = first_step(model, train, held.batch, fixed)
        rows.append(
            {
                "head": head,
                "norm": norm,
                "delta": float((deltas() if own_delta else fixed).norm()),
                "features": float(step.features.norm()),
                "through features": float(step.through_features.norm()),
                "through head": float(step.through_head.norm()),
                "logits": float(step.logits.norm()),
            }
        )
    return pd.DataFrame(rows)


fixed_delta = pd.concat([parts_over_norms(head) for head in heads])
fixed_delta["price"] = fixed_delta["features"] / fixed_delta["logits"]
price = fixed_delta.pivot(index="norm", columns="head", values="price")

# %% mystnb={"figure": {"caption": "How far the features move for one unit of change of the logits, in one step of gradient descent, over the norm of the head. The residuals are held fixed at those of the head scaled to norm 1.", "name": "fig-price-of-logits"}, "image": {"alt": "Log-log plot of two curves over the head's norm. Both rise with slope one, have a maximum, and fall with slope minus one. The probed head's maximum is higher and at a norm about four times smaller."}} tags=["hide-input"]
figures.lines(
    price.reset_index(),
    "norm",
    {"random": "random head", "probed": "probed head"},
    labels=(
        r"norm of the head, $\|V\|$",
        r"$\|\Delta\phi\|$ over $\|\Delta f\|$",
    ),
    xscale="log",
    yscale="log",
)

# %% tags=["remove-input"]
figures.data_link(fixed_delta, "head-norm")

# %% [markdown]
# ## The idea
#
# The logits of $f(x) = V \phi(x) + b$ can change in two ways: because $V$ and $b$ move, or because
# $\phi(x)$ does. Linear probing has the first way only. The kernel of $f$ is a sum over parameters
# ({eq}`eq-sum-of-parts`), so it splits in the same way.
#
# ```{prf:proposition} One step of fine-tuning (Proposition 4.1 of Tomihari and Sato)
# :label: prop-one-step
#
# Let $f(x) = V \phi(x) + b$ with $V \in \mathbb{R}^{C \times h}$, and let $V_0$, $\phi_0$ be those at the start.
# The kernel of $f$ is $\Theta = P + F$, a $C \times C$ block for each pair of samples, with
#
# $$\begin{aligned}
# P(x, x') &= \big( \langle \phi_0(x), \phi_0(x') \rangle + 1 \big) I_C , \\
# F(x, x') &= V_0\, \Theta^\phi(x, x')\, V_0^\top ,
# \end{aligned}$$ (eq-p-and-f)
#
# where $\Theta^\phi(x, x') \in \mathbb{R}^{h \times h}$ is the kernel of the features. One step of gradient descent
# with the rate $\eta$ on the mean cross-entropy of $(x_1, y_1), \dots, (x_N, y_N)$ changes logits and features, to
# first order in $\eta$, by
#
# $$\begin{aligned}
# \Delta f(x) &= \frac{\eta}{N} \sum_{i=1}^{N} \big( P(x, x_i) + F(x, x_i) \big)\, \delta_i , \\
# \Delta \phi(x) &= \frac{\eta}{N} \sum_{i=1}^{N} \Theta^\phi(x, x_i)\, V_0^\top \delta_i ,
# \end{aligned}$$ (eq-one-step-of-both)
#
# with the residuals $\delta_i = e_{y_i} - \operatorname{softmax}(f_0(x_i))$.
# ```
#
# ```{prf:proof}
# The gradient of the mean loss is $-\frac1N \sum_i (\partial f(x_i) / \partial \theta)^\top \delta_i$, since
# $\partial \ell / \partial f = -\delta$ for the cross-entropy. So a parameter $\theta$ moves by
# $\frac{\eta}{N} \sum_i (\partial f(x_i) / \partial \theta)^\top \delta_i$, and to first order any function $g$ of
# $\theta$ moves by $\partial g / \partial \theta$ times that. Take $g = f(x)$. The derivative of $f_c$ by the row
# $v_d$ of $V$ is $\phi_0(x)$ if $c = d$ and zero otherwise, and the one by $b_d$ is 1 or 0: together that is $P$.
# By a parameter $\theta$ of $\phi$ it is $V_0\, \partial \phi / \partial \theta$: that gives $F$. Take
# $g = \phi(x)$ for the second line; $V$ and $b$ have no part in $\phi$.
# ```
#
# Two details. The paper writes $\eta$ where {eq}`eq-one-step-of-both` has $\eta / N$; with a mean as the loss,
# which it uses, $\eta / N$ is right (see {doc}`/book/errata`). And $\delta$ is minus the {term}`output derivative`
# $\chi$ of the other chapters.
#
# The paper calls $P$ the *pre-train-effective* and $F$ the *FT-effective* component. $P$ depends on the
# pre-trained features alone. $F$ has $V_0$ on both sides. How the two share a step is measured by the *FT ratio*,
# the mean over samples $x$ of $\lVert \sum_i F(x, x_i) \delta_i \rVert / \lVert \sum_i (P + F)(x, x_i) \delta_i
# \rVert$.
#
# ## In code
#
# Write the proposition down as it stands, for two training samples and one other. The derivatives of all 64
# features make $\Theta^\phi$. To keep them small, only the last block of the model is trained here.

# %%
from tangentlm.kernels import decompose

put("probed")
few = Labelled(select_rows(train.batch, slice(0, 2)), train.labels[:2])
other = select_rows(held.batch, slice(0, 1))
last_block = model.body.layers[-1]
model.body.requires_grad_(False)
last_block.requires_grad_(True)


def feature_jacobian(rows) -> torch.Tensor:
    """The derivatives of the features by the parameters that are trained, (n, h, parameters)."""
    found = []
    for i in range(len(rows["input_ids"])):
        phi = extractor(**select_rows(rows, slice(i, i + 1)))[0]
        trained = list(last_block.parameters())
        by_feature = [
            torch.autograd.grad(p, trained, retain_graph=True) for p in phi
        ]
        found.append(
            torch.stack([torch.cat([g.flatten() for g in gs]) for gs in by_feature])
        )
    return torch.stack(found)


J_x, J = feature_jacobian(other), feature_jacobian(few.batch)
V0, eye = model.classifier.weight.detach(), torch.eye(4).double()
Theta_phi = torch.einsum("xap,ibp->xiab", J_x, J)
P = (features(other) @ features(few.batch).T + 1)[:, :, None, None] * eye
F = V0 @ Theta_phi @ V0.T
delta = residuals(logits(few.batch), few.labels)
change_of_f = torch.einsum("xicd,id->xc", P + F, delta) / len(few)
change_of_phi = torch.einsum("xiab,ib->xa", Theta_phi, delta @ V0) / len(few)

step = first_step(model, few, other)
parts = decompose(model, other, few.batch, precision="float64", progress=False)
model.requires_grad_(True)
same = {
    "f": (change_of_f, step.logits),
    "phi": (change_of_phi, step.features),
    "P": (P.transpose(1, 2), torch.from_numpy(parts.pretrain.values)),
    "F": (F.transpose(1, 2), torch.from_numpy(parts.finetune.values)),
}
for name, (ours, library) in same.items():
    error = float((ours - library).norm() / ours.norm())
    assert error < 1e-8
    print(f"{name}: relative difference {error:.0e}")

# %% [markdown]
# $\Theta^\phi$ is large: $h \times h$ numbers for each pair. `first_step` never makes it. It needs only
# $\Theta^\phi$ times a vector, which is the derivative of $\phi(x)$ along the step of the parameters: one backward
# pass for the step and one forward-mode pass for the derivative. And $\Delta f$ comes in its two parts, the second
# of which is simply $V_0\, \Delta\phi(x)$.
#
# ## A real step
#
# Take a real step on all training samples, with rates from $10^{-6}$ to $10^{-2}$. A first-order formula leaves an
# error of second order, so on logarithmic axes the error has to be a line of slope two.


# %%
def full_batch_gradient() -> list[torch.Tensor]:
    """The gradient of the mean loss of the training samples, by autograd."""
    model.zero_grad()
    for index in torch.arange(N).split(16):
        f = model(**select_rows(train.batch, index))
        loss = torch.nn.functional.cross_entropy(
            f, train.labels[index], reduction="sum"
        )
        (loss / N).backward()
    return [
        torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for p in model.parameters()
    ]


def move(directions, eta: float) -> None:
    with torch.no_grad():
        for parameter, direction in zip(
            model.parameters(), directions, strict=True
        ):
            parameter -= eta * direction


put("probed")
step = first_step(model, train, held.batch)
gradient = full_batch_gradient()
f_0, phi_0 = logits(held.batch), features(held.batch)
real_steps = []
for eta in 10.0 ** np.arange(-6, -1.9, 0.5):
    put("probed")
    move(gradient, eta)
    real_f, real_phi = logits(held.batch) - f_0, features(held.batch) - phi_0
    real_steps.append(
        {
            "eta": eta,
            "logits": float((real_f - eta * step.logits).norm()),
            "features": float((real_phi - eta * step.features).norm()),
            "change of logits": float(real_f.norm()),
            "change of features": float(real_phi.norm()),
            "as printed": float((real_f - eta * N * step.logits).norm()),
        }
    )
real_steps = pd.DataFrame(real_steps)

# %% mystnb={"figure": {"caption": "Error of the prediction for one real full-batch step, for logits and features of held-out headlines, beside the size of the changes themselves and the error of the formula as printed, without the division by N.", "name": "fig-real-step"}, "image": {"alt": "Log-log plot over the step size. The two errors are lines of slope two, far below the two changes, which are lines of slope one; the printed formula's error lies above the changes."}} tags=["hide-input"]
figures.lines(
    real_steps,
    "eta",
    {
        "logits": "error, logits",
        "features": "error, features",
        "change of logits": "change of the logits",
        "change of features": "change of the features",
        "as printed": r"error without $1/N$, logits",
    },
    labels=(r"step size $\eta$", "Frobenius norm"),
    xscale="log",
    yscale="log",
)

# %% tags=["remove-input"]
figures.data_link(real_steps, "real-step")


# %%
def slope(x, y) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


for name in ("logits", "features"):
    found = slope(real_steps["eta"], real_steps[name])
    assert abs(found - 2) < 0.01
    print(f"slope of the error of the {name}: {found:.3f} (theory: 2)")
too_large = real_steps["as printed"] / real_steps["change of logits"]
assert np.allclose(too_large, N - 1, rtol=0.02)
print(f"without 1/N the error is {too_large.iloc[0]:.1f} times the change itself")

# %% [markdown]
# ## After an epoch
#
# The paper assumes that one epoch is close enough to one linear step. An epoch of batches of $B$ samples has
# $N / B$ steps, each with its mean; to first order that is $N / B$ times {eq}`eq-one-step-of-both`. How much of the
# real change does this explain? Count it as
# $R^2 = 1 - \lVert \text{real} - \text{predicted} \rVert^2 / \lVert \text{real} \rVert^2$, also for the best
# multiple of the prediction, which asks for its direction alone (that $R^2$ is a squared cosine).

# %%
BATCH = 8


def after_training(head: str, optimizer, epochs: int) -> tuple:
    """The real changes of the held-out logits and features after some epochs."""
    put(head)
    f_0, phi_0 = logits(held.batch), features(held.batch)
    order = torch.Generator().manual_seed(SEED)
    optimizer = optimizer(model.parameters())
    for _ in range(epochs):
        for index in torch.randperm(N, generator=order).split(BATCH):
            optimizer.zero_grad()
            f = model(**select_rows(train.batch, index))
            torch.nn.functional.cross_entropy(f, train.labels[index]).backward()
            optimizer.step()
    return logits(held.batch) - f_0, features(held.batch) - phi_0


def r_squared(real: torch.Tensor, predicted: torch.Tensor) -> float:
    return float(1 - (real - predicted).norm() ** 2 / real.norm() ** 2)


def squared_cosine(real: torch.Tensor, predicted: torch.Tensor) -> float:
    inner = float((real * predicted).sum())
    return inner**2 / float(real.norm() * predicted.norm()) ** 2


rows = []
for rate in (1e-3, 1e-2, 1e-1):
    for epochs in (1, 4):
        reals = after_training(
            "probed", lambda p, rate=rate: torch.optim.SGD(p, rate), epochs
        )
        linear = rate * epochs * N / BATCH
        for what, real, unit in zip(
            ("logits", "features"), reals, (step.logits, step.features), strict=True
        ):
            rows.append(
                {
                    "rate": rate,
                    "epochs": epochs,
                    "of": what,
                    "R2": r_squared(real, linear * unit),
                    "R2, best multiple": squared_cosine(real, unit),
                }
            )
epochs_table = pd.DataFrame(rows).set_index(["rate", "epochs", "of"]).unstack("of")
assert epochs_table.loc[1e-3].loc[1].min() > 0.95
assert epochs_table.loc[1e-2, "R2, best multiple"].loc[4].min() > 0.8
assert epochs_table.loc[1e-1].to_numpy().max() < 0.5
epochs_table.round(3)

# %% [markdown]
# What counts is the product of rate and number of steps. While it is small, one linear step explains nearly all of
# an epoch. Then the residuals shrink, and the formula, which holds them fixed, predicts a change that is several
# times too large; its direction is still right at the rate 0.01. At 0.1 the kernel moves, and the direction is lost
# within an epoch. So read the proposition as a statement about the *start* of fine-tuning.
#
# ## The norm of the head
#
# Put $s V_0$ in the place of $V_0$ and hold the residuals fixed. Then {eq}`eq-one-step-of-both` says
#
# $$\Delta\phi \propto s, \qquad P\delta \propto s^0, \qquad F\delta \propto s^2, \qquad
# \frac{\lVert \Delta\phi \rVert}{\lVert F \delta \rVert} \propto \frac1s ,$$ (eq-exponents)
#
# with $P\delta$ for $\sum_i P(x, x_i)\, \delta_i$, and so on. Here are the measured exponents, and those where the
# residuals are the head's own, which change with $s$ as well.

# %%
ENDS = {"below 0.01": (1e-3, 1e-2), "1 to 3": (1.0, 3.0), "above 30": (30.0, 100.0)}
own_delta = {
    (head, end): parts_over_norms(head, True, norms)
    for head in heads
    for end, norms in ENDS.items()
}


def exponents(table: pd.DataFrame) -> dict[str, float]:
    """Slopes over the norm."""
    ratio = table["features"] / table["through features"]
    table = table.assign(ratio=ratio)
    names = ["features", "through head", "through features", "ratio"]
    return {name: slope(table["norm"], table[name]) for name in names}


by_head = fixed_delta.groupby("head", sort=False)
fixed = pd.DataFrame({(head, "all norms"): exponents(t) for head, t in by_head}).T
own = pd.DataFrame({key: exponents(table) for key, table in own_delta.items()}).T
assert np.allclose(fixed, [1, 0, 2, -1], atol=1e-6)
assert np.allclose(own["ratio"], -1, atol=0.15)
pd.concat({"fixed residuals": fixed, "own residuals": own}).round(2)

# %% [markdown]
# With fixed residuals the exponents are exact. With its own, a very small head says nothing, its residuals are
# those of the uniform distribution, and the exponents are the same. In the middle the residuals depend on the
# norm. Those of the random head grow with it: the head gets confident, and is wrong. Those of the probed head
# shrink, because it is right about its training samples, and take the exponents down. At very large norms only
# the wrong answers have a residual left, and it hardly changes any more: the probe has one of its 24 headlines
# wrong. A head that is right on all would see its residuals vanish, and its exponents with them. The ratio keeps
# its $-1$ within a few percent.
#
# So what does a larger head do to the features? Three answers, to three questions.
#
# - **In one step at the same learning rate**: it moves them *more*, in proportion to $s$, as long as the
#   residuals are the same.
# - **For the same change of the logits**: with $\Delta f = P\delta + F\delta$ the price is
#   $\lVert \Delta\phi \rVert / \lVert \Delta f \rVert$, which grows as $s$ where $P\delta$ dominates and falls as
#   $1/s$ where $F\delta$ does. The turn is where the two have about the same size.
# - **For a given task**: training goes on until the loss is small. That asks for a certain change of the logits, so
#   the second answer is the better guide, and it will be tested in a moment.
#
# The paper's sentence, that the norm enters linearly here and quadratically there, so that a large head can change
# the logits with a small change of the features, is the right-hand side of {numref}`fig-price-of-logits`. On the
# left-hand side it is the other way round. Where does a real head stand?

# %%
turns = []
for head, of_head in fixed_delta.groupby("head", sort=False):
    # |P delta| = s^0 a and |F delta| = s^2 b at the norm s.
    a = of_head["through head"].iloc[0]
    b = of_head["through features"].iloc[0] / of_head["norm"].iloc[0] ** 2
    turns.append(
        {
            "head": head,
            "norm as it is": float(heads[head][0].norm()),
            "norm of the turn": float(np.sqrt(a / b)),
        }
    )
turns = pd.DataFrame(turns).set_index("head")
assert (
    turns.loc["random", "norm as it is"] < turns.loc["random", "norm of the turn"]
)
assert (
    turns.loc["probed", "norm as it is"] > turns.loc["probed", "norm of the turn"]
)
turns.round(2)

# %% [markdown]
# The new head is on the left: in its first step it is the head that learns. The probed head is on the right, for
# two reasons: its norm is larger, and its turn is at a smaller norm, even with the residuals it has at norm 1.
# With those at its own norm, where its part of the step is smaller still, the turn would be different again. The
# second reason has nothing to do with the norm; {doc}`/book/theory/probe-stationarity` takes it apart.
#
# ## Where Adam breaks it
#
# The paper trains with Adam. Adam's first step is a sign step ({prf:ref}`prop-adam-first-step`): every parameter
# moves by $\eta$, however small its gradient. With fixed residuals the gradient of the body is $s$ times another
# one, and a sign does not see $s$. So the features move by $s^0$, the logits through them by $s^1$. Check it with
# real steps, from the random head. (Its residuals are all but fixed at small norms; at large ones they are not, and
# signs may flip.)

# %%
rates = {"SGD": 1e-6, "Adam": 1e-7}
first_steps = []
for name, rate in rates.items():
    for norm in (1e-3, 1e-2, 1e-1):
        put("random", norm)
        f_0, phi_0 = logits(held.batch), features(held.batch)
        V0 = model.classifier.weight.detach().clone()
        gradient = full_batch_gradient()
        if name == "Adam":
            gradient = [g / (g.abs() + 1e-12) for g in gradient]
        move(gradient, rate)
        real_phi = features(held.batch) - phi_0
        first_steps.append(
            {
                "optimizer": name,
                "norm": norm,
                "features": float(real_phi.norm()) / rate,
                "through features": float((real_phi @ V0.T).norm()) / rate,
            }
        )
first_steps = pd.DataFrame(first_steps)
of_optimizer = {
    name: {
        what: slope(rows["norm"], rows[what])
        for what in ("features", "through features")
    }
    for name, rows in first_steps.groupby("optimizer", sort=False)
}
of_optimizer = pd.DataFrame(of_optimizer).T
assert np.allclose(of_optimizer, [[1, 2], [0, 1]], atol=0.1)
of_optimizer.round(2)

# %% [markdown]
# The price of a unit of change *through the features* falls as $1/s$ for both. But with Adam there is no left-hand
# side where a larger head moves the features more. What does that do to a whole training? Train from the random
# head at four norms, with both optimizers, until the training loss is below 0.5, and see how far the features of
# the held-out headlines have moved. (The paper calls the mean length of that move *Diff*.) The rate of SGD follows
# the size of the kernel, so that it is stable everywhere.

# %%
TARGET = 0.5  # nats


def until_learned(norm: float, optimizer) -> dict[str, float]:
    """Train on the full batch until the loss is at the target."""
    put("random", norm)
    model.float()
    optimizer, steps = optimizer(model.parameters()), 0
    while True:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(**train.batch), train.labels)
        if float(loss.detach()) < TARGET or steps == 200:
            break
        loss.backward()
        optimizer.step()
        steps += 1
    moved = features(held.batch).double() - phi_0
    model.double()
    return {
        "steps": steps,
        "loss": float(loss.detach()),
        "Diff": float(moved.norm(dim=1).mean()),
    }


put("random")
phi_0 = features(held.batch)
learned = []
for norm in (0.3, 1, 3, 10):
    optimizers = {
        "SGD": lambda p, norm=norm: torch.optim.SGD(p, 0.25 / (1 + 0.3 * norm**2)),
        "Adam": lambda p: torch.optim.Adam(p, 1e-3),
    }
    for name, optimizer in optimizers.items():
        learned.append(
            {"optimizer": name, "norm": norm} | until_learned(norm, optimizer)
        )
learned = pd.DataFrame(learned)
assert (learned["loss"] < TARGET).all()

# %% mystnb={"figure": {"caption": "How far the features of held-out headlines have moved when the training loss falls below 0.5, from a random head of four norms.", "name": "fig-diff-at-equal-loss"}, "image": {"alt": "Log-log plot over the head's norm. With Adam the change of the features falls steadily by a factor of about four; with SGD it falls by less than a factor of two."}} tags=["hide-input"]
diff = learned.pivot(index="norm", columns="optimizer", values="Diff")
figures.lines(
    diff.reset_index(),
    "norm",
    {"Adam": "Adam", "SGD": "SGD"},
    labels=(r"norm of the head at the start, $\|V_0\|$", "Diff"),
    xscale="log",
    yscale="log",
)

# %% tags=["remove-input"]
figures.data_link(learned, "diff-at-equal-loss")

# %%
assert diff["Adam"].is_monotonic_decreasing
assert diff["Adam"].iloc[0] / diff["Adam"].iloc[-1] > 3
assert diff["SGD"].max() / diff["SGD"].min() < 2
learned.pivot(index="norm", columns="optimizer").round(2)

# %% [markdown]
# With Adam a larger head needs fewer steps, every step moves the features about as far, and so Diff falls all the
# way. The paper's experiment (its Figure 3, with Adam) shows such a fall. It is a real effect. But the reason that
# the paper gives for it, linear here and quadratic there, is a reason of gradient descent, and with gradient
# descent the effect is much weaker here. Nor does SGD show the rise on the left that {numref}`fig-price-of-logits`
# has for one step. A small head does not stay small: it grows while it is
# trained ({doc}`/book/theory/head-growth`).
#
# ## Limits
#
# - One small model, one task, one split, one draw of the random head: this page shows a mechanism, not how large it
#   is elsewhere. The norm of the turn depends on the size of the features and of their kernel.
# - First order is good for the start of training. {numref}`fig-diff-at-equal-loss` goes beyond it.
# - The exponents hold the direction of $V$ fixed. Linear probing changes direction, norm and residuals at once.
# - Real trainings clip the gradient. With a gradient longer than the limit, SGD is normalised, and its exponents
#   change ({ref}`ex-clipped-exponents`).
# - A dropout layer, or a hidden layer in the head, is not in the proposition.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-clipped-exponents
#
# Clip the gradient of *all* parameters to the norm 1. Which powers of $s$ do $\Delta\phi$ and $V \Delta\phi$ follow
# at very small and at very large $s$, for fixed residuals?
# ```
#
# ```{solution} ex-clipped-exponents
# :class: dropdown
#
# The gradient has a part of the head, $\propto s^0$, and one of the body, $\propto s$. For small $s$ its norm is
# that of the head's part, a constant, and clipping changes no exponent: 1 and 2. For large $s$ its norm grows as
# $s$, and clipping divides by that: 0 and 1, as with Adam. Compute `first_step(model, train, held.batch, fixed)`,
# divide by the larger of 1 and the norm of the gradient *with the same residuals*, and look.
# ```
#
# ```{exercise}
# :label: ex-bias-of-the-head
#
# Freeze the bias. What becomes of $P$, and of the turn?
# ```
#
# ```{solution} ex-bias-of-the-head
# :class: dropdown
#
# The 1 in {eq}`eq-p-and-f` goes. With features of norm about 4 that is one part in 18 of an entry of $P$, so the
# turn hardly moves for the random head. For the probed head nothing changes at all: the residuals of a fitted bias
# sum to zero, so the 1 contributes nothing ({prf:ref}`prop-stationary`).
# ```
#
# ```{exercise}
# :label: ex-scale-the-features
#
# Multiply the output of the body by $a$ and divide $V$ by $a$. The model computes the same function. Does one step of
# gradient descent change it in the same way? Which number plays the part of $\lVert V \rVert$ after all?
# ```
#
# ```{solution} ex-scale-the-features
# :class: dropdown
#
# No. $F$ stays the same ($V$ is smaller by $a$, the features' Jacobian larger), and $P$ is multiplied by about
# $a^2$. So a norm of $V$ means nothing without the scale of the features: what counts is
# $\lVert F \delta \rVert / \lVert P \delta \rVert$. Do not compare the norms of heads between models.
# ```
#
# ```{exercise}
# :label: ex-kernel-descent-epoch
#
# The prediction for four epochs uses the residuals of the start. Better: iterate
# $f \leftarrow f + \frac{\eta}{N} \Theta\, \delta(f)$ with the kernel of the start, as {eq}`eq-kernel-descent`
# does. How much of the missing $R^2$ at rate 0.1 comes back? What is left is the change of the kernel.
# ```
#
# ```{solution} ex-kernel-descent-epoch
# :class: dropdown
#
# `decompose(model, rows, train.batch, precision="float64").total.values` is $\Theta$ between `rows` and the
# training samples, $(n, C, N, C)$; take `train.batch` and `held.batch` for the rows, and the batches in the order
# of `after_training`. First `put("probed")`. A step of a batch is $f \leftarrow f + \frac{\eta}{B} \sum_{i \in
# \text{batch}} \Theta(\cdot, x_i)\, \delta_i$ with $B$ its size. At the rate 0.01 nearly all of the change of the
# logits comes back, after four epochs too: it was the residuals that one linear step had wrong. At 0.1 about
# three quarters come back after one epoch, and nothing after four: by then the kernel is another one.
# ```
#
# ```{exercise}
# :label: ex-equal-loss-probed
#
# *A lab of an hour.* Repeat {numref}`fig-diff-at-equal-loss` from the probed head, scaled to the same norms
# (`put("probed", norm)`), and with five seeds of the random one. At the norm 10 the probed head is below a loss of
# 0.5 before its first step: take the norms 0.3, 1 and 3, and a `TARGET` of 0.1 beside that of 0.5. How much of the
# difference between the two heads is norm, and how much direction? Decide before you look what difference would
# convince you.
# ```
#
# ```{solution} ex-equal-loss-probed
# :class: dropdown
#
# Give `until_learned` the head and the target as arguments. We tried it in a smaller form, with two seeds of the
# random head instead of five; they differ by a tenth or less, so a difference of a tenth should not convince you, and
# one of a half should. With Adam, the norm alone (the random head, from 0.3 to 3) divides Diff by 3 to 4. The
# direction divides it once more: hardly at the norm 0.3, by about 1.5 at 1, by about 2.5 at 3, for both targets. So
# from a new head to a probed one Diff falls by about ten, and norm and direction have about equal parts in it. But
# the direction is worth most where the probed head is nearly done before it starts: at the norm 3 it takes a step or
# a few to the target, the random head ten times as many with SGD and several times as many with Adam. That is a
# shorter way and no protection. With SGD to 0.5 the two heads hardly differ at 0.3 and 1, and by much at 3, where the
# probed head takes a single step. What decides is the start: to take it away, compare the heads for the same *drop*
# of the loss.
# ```

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
