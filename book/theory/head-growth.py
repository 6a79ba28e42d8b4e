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
# (head-growth)=
# # Why the head grows
#
# Train a linear classifier with the cross-entropy and its weight gets longer and longer. Linear probing makes it
# grow far more than fine-tuning does ({numref}`fig-norm-over-loss`). Why? Scaling a weight up makes all answers
# more confident. So there is an exact answer in one line: **the norm grows as long as the classifier is not
# confident enough for its training data**, that is, as long as a larger scale would lower the training loss. A
# classifier that has just begun to be right is in that state, and where $V \phi$ alone, without the bias, is
# right on all of them, it never leaves it. Fine-tuning gets the same loss with a shorter weight, because it can
# make the features longer and better sorted instead.
#
# {cite:t}`tomihari2024understanding` explain the growth by the angles between features and the rows of the
# weight. Their condition is enough, but this page shows a real run in which it holds for less than a third of the
# samples, while the norm grows twenty times.
#
# **You will learn**
#
# - the derivative of the loss by the norm of each row, and what is wrong with it in print (equation 3 of the paper)
# - how fast the norm of the whole weight grows, and how that is a question of calibration
# - why temperature scaling is nothing but a shorter head
# - when it stops, and why a penalised probe always wants to be longer than it is
# - what the angles do along four real trainings.
#
# **Before you start**: read {doc}`/book/theory/head-decides`, which says why one cares about the norm.

# %% [markdown]
# ## The stage
#
# `pocket-xs` reads headlines of four topics, eight of each for training. The head is linear and begins with
# entries from $\mathcal{N}(0, 0.02^2)$.

# %%
import numpy as np
import pandas as pd
import torch

from tangentlm import figures
from tangentlm.batches import select_rows
from tangentlm.finetune.loop import snapshot
from tangentlm.finetune.optimizers import make_optimizer
from tangentlm.models.double_precision import in_double_precision
from tangentlm.models.few_shot import few_shot
from tangentlm.models.linear_probe import PooledFeatures
from tangentlm.models.logits import logits_of
from tangentlm.theory.head_growth import (
    best_scale,
    cosines,
    norm_growth,
    row_norm_gradient,
)

SEED, SHOTS, HELD_OUT = 13, 8, 40

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
y, N, C = train.labels, len(train), model.num_classes
extractor = PooledFeatures(model)


def features(rows) -> torch.Tensor:
    return logits_of(extractor, rows, select=select_rows)


def loss_of(V, b, phi, labels) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(phi @ V.T + b, labels)


phi_0 = features(train.batch)
generator = torch.Generator().manual_seed(SEED)
V_0 = 0.02 * torch.randn(C, phi_0.shape[1], generator=generator).double()
with torch.no_grad():
    model.classifier.weight.copy_(V_0)
    model.classifier.bias.zero_()
start = snapshot(model)

# %% [markdown]
# Train it in four ways: fine-tuning or linear probing, with SGD or Adam. Measure on the way. You will meet the
# functions one by one.

# %%
TRAININGS = {
    "fine-tuning, SGD": ("sgd", 0.05, 64),
    "fine-tuning, Adam": ("adam", 1e-3, 64),
    "probing, SGD": ("sgd", 0.05, 2048),
    "probing, Adam": ("adam", 1e-2, 512),
}
own = torch.nn.functional.one_hot(y, C).bool()


def measured(phi: torch.Tensor) -> dict[str, float]:
    """The head and its angles with the features of the training samples."""
    V, b = (p.detach() for p in model.classifier.parameters())
    right = torch.where(own, cosines(V, phi), -cosines(V, phi)) > 0
    return {
        "loss": float(loss_of(V, b, phi, y)),
        "norm": float(V.norm()),
        "growth": norm_growth(V, b, phi, y),
        "best scale": best_scale(V, b, phi, y),
        "own class": float(right[own].double().mean()),
        "other classes": float(right[~own].double().mean()),
        "all classes": float(right.all(dim=1).double().mean()),
        "rows that grow": int((row_norm_gradient(V, b, phi, y) < 0).sum()),
    }


def follow(training: str) -> pd.DataFrame:
    """Train in batches of eight, and measure after 1, 2, 4, ... steps."""
    optimizer_name, rate, steps = TRAININGS[training]
    probing = training.startswith("probing")
    model.load_state_dict(start)
    model.requires_grad_(not probing)
    model.classifier.requires_grad_()
    optimizer = make_optimizer(model, optimizer_name, rate)
    order = torch.Generator().manual_seed(SEED)
    epochs = [torch.randperm(N, generator=order) for _ in range(8 * steps // N)]
    rows = [{"step": 0} | measured(phi_0)]
    for step, index in enumerate(torch.cat(epochs).split(8), start=1):
        optimizer.zero_grad()
        if probing:
            f = model.classifier(phi_0[index])
        else:
            f = model(**select_rows(train.batch, index))
        torch.nn.functional.cross_entropy(f, y[index]).backward()
        optimizer.step()
        if step & (step - 1) == 0:
            phi = phi_0 if probing else features(train.batch)
            rows.append({"step": step} | measured(phi))
    return pd.DataFrame(rows).assign(training=training)


paths = pd.concat([follow(training) for training in TRAININGS])

# %% mystnb={"figure": {"caption": "Norm of the head's weight over the training loss, along four trainings from one start. Training goes from right to left.", "name": "fig-norm-over-loss"}, "image": {"alt": "Four curves that begin at one point on the right, at a loss of 1.4 and a norm of 0.3. To the left the two probing curves rise to norms of about ten, the two of fine-tuning to about one."}} tags=["hide-input"]
columns = [
    of_one.rename(columns={"norm": training})[["loss", training]]
    for training, of_one in paths.groupby("training", sort=False)
]
figures.lines(
    pd.concat(columns),
    "loss",
    {training: training for training in TRAININGS},
    labels=("training loss (nats)", r"$\|V\|$"),
    xscale="log",
    yscale="log",
)

# %% tags=["remove-input"]
figures.data_link(paths, "norm-over-loss")

# %%
last = paths.groupby("training", sort=False).tail(1).set_index("training")
probing, tuning = (last[last.index.str.startswith(w)] for w in ("prob", "fine"))
assert probing["norm"].min() > 5 * tuning["norm"].max()
assert probing["loss"].min() > 0.5 * tuning["loss"].max()
last[["step", "loss", "norm"]].round(3)

# %% [markdown]
# Fine-tuning reaches about the same loss, or a lower one, with a head of a fifth of the length or less.
#
# ## The idea
#
# Write $v_k$ for row $k$ of $V$, as a column, and $\tau_{ki}$ for its angle with $\phi(x_i)$. The logits are
#
# $$f_k(x_i) = \lVert v_k \rVert\, \lVert \phi(x_i) \rVert \cos \tau_{ki} + b_k .$$ (eq-polar-logits)
#
# Ask how the loss depends on each length alone, the directions being fixed.
#
# ```{prf:proposition} The loss and the norms
# :label: prop-norm-derivative
#
# Let $L$ be the mean cross-entropy of $N$ samples, $\sigma_k(x) = \operatorname{softmax}(f(x))_k$ and
# $\delta_i = e_{y_i} - \sigma(x_i)$. Then
#
# $$\frac{\partial L}{\partial \lVert v_k \rVert} = \frac1N \sum_{i=1}^N \big( \sigma_k(x_i) - \mathbf{1}[y_i = k] \big)
# \lVert \phi(x_i) \rVert \cos \tau_{ki} .$$ (eq-row-norm)
#
# Under gradient flow, whether the features are trained or not,
#
# $$\frac{d}{dt} \lVert V \rVert_F^2 = \frac2N \sum_{i=1}^N \langle \delta_i, V \phi(x_i) \rangle
# = -2 \left. \frac{d}{ds} L(s V, b) \right|_{s=1} .$$ (eq-norm-growth)
# ```
#
# ```{prf:proof}
# $\partial \ell / \partial f_k = \sigma_k - \mathbf{1}[y = k]$, and
# $\partial f_k / \partial \lVert v_k \rVert = \lVert \phi \rVert \cos \tau_k$ by {eq}`eq-polar-logits`;
# $\lVert v_k \rVert$ is in no other logit. That is the first formula. For the second,
# $dV / dt = -\partial L / \partial V = \frac1N \sum_i \delta_i \phi(x_i)^\top$, so
# $\frac{d}{dt} \lVert V \rVert_F^2 = 2 \langle V, dV / dt \rangle = \frac2N \sum_i \langle \delta_i, V \phi(x_i) \rangle$.
# And $\frac{d}{ds} L(sV, b)$ is $\langle \partial L / \partial f, V \phi \rangle$, averaged, with
# $\partial \ell / \partial f = -\delta$.
# ```
#
# ## The formula in print
#
# Equation (3) of the paper has $\partial L / \partial \lVert v_k \rVert$ on its left side and
#
# $$\sum_{i=1}^N \Big[ (\sigma_{y_i}(x_i) - 1) \lVert \phi(x_i) \rVert \cos \tau_{y_i i} +
# \sum_{k \ne y_i} \sigma_k(x_i) \lVert \phi(x_i) \rVert \cos \tau_{k i} \Big]$$ (eq-norm-as-printed)
#
# on the right. There $k$ is summed over, so the right side is the same number for all rows. It is the sum of
# {eq}`eq-row-norm` over the rows, times $N$. Let finite differences decide: make one row a little longer and a
# little shorter.

# %%
V = torch.nn.functional.normalize(V_0, dim=1) * torch.tensor([[1.0], [2], [3], [4]])
b = torch.tensor([0.3, -0.1, 0.0, -0.2]).double()


def longer(k: int, by: float) -> torch.Tensor:
    """V with a row whose norm is larger by a number."""
    changed = V.clone()
    changed[k] *= 1 + by / V[k].norm()
    return changed


STEP = 1e-5
differences = [
    float(
        loss_of(longer(k, STEP), b, phi_0, y)
        - loss_of(longer(k, -STEP), b, phi_0, y)
    )
    / (2 * STEP)
    for k in range(C)
]
sigma = (phi_0 @ V.T + b).softmax(dim=1)
printed = float(
    (
        (sigma - own.double()) * phi_0.norm(dim=1, keepdim=True) * cosines(V, phi_0)
    ).sum()
)
by_row = row_norm_gradient(V, b, phi_0, y).numpy()
compared = pd.DataFrame(
    {
        "finite differences": differences,
        "formula of this page": by_row,
        "as printed": printed,
    },
    index=pd.Index(range(C), name="row k"),
)
assert np.allclose(by_row, differences, atol=1e-8)
assert np.isclose(printed, N * np.sum(differences))
compared.round(6)

# %% [markdown]
# The erratum is small: every conclusion that the paper draws is about the sign, and a sum of terms of one sign
# keeps it. But a sum can be negative while one of its terms is positive. So the printed formula cannot say which
# rows grow.
#
# The second formula has no angle in it. Check that one, too, with a real step of gradient descent on everything.

# %%
model.load_state_dict(start)
model.requires_grad_(True)
model.zero_grad()
f = model(**select_rows(train.batch, slice(0, N)))
torch.nn.functional.cross_entropy(f, y).backward()
V_gradient = model.classifier.weight.grad
RATE = 1e-6
with torch.no_grad():
    grown = (V_0 - RATE * V_gradient).square().sum() - V_0.square().sum()
growth = norm_growth(V_0, torch.zeros(C).double(), phi_0, y)
print(
    f"change of |V|^2 over the rate: {float(grown) / RATE:.6f}, formula: {growth:.6f}"
)
assert np.isclose(float(grown) / RATE, growth, atol=1e-5)

# %% [markdown]
# ## Growth is a question of confidence
#
# Read {eq}`eq-norm-growth` from its right end: the norm grows if and only if a slightly larger scale of $V$ would
# lower the training loss. The loss is convex in the scale $s \ge 0$. Let $s^*$ be where it is smallest
# (`best_scale`): 0 if every scale hurts, infinite if a larger one always helps. Then
#
# $$\frac{d}{dt} \lVert V \rVert_F^2 > 0 \iff s^* > 1 .$$ (eq-growth-is-confidence)
#
# $1 / s^*$ is a number that everybody who has calibrated a classifier knows {cite:p}`guo2017calibration`: the best
# *temperature*, but on the training data and with the bias left alone. A classifier with $s^* > 1$ is
# underconfident on its training data.
#
# - **At a random start** the sign is a matter of luck, and the growth is small.
# - **As soon as the head points the right way**, it is better than its short norm lets it say. It is
#   underconfident, so it grows.
# - **It stops** where $s^* = 1$. If the samples cannot be separated, the maximum-likelihood solution is such a
#   place. If $V$ alone, without its bias, separates them, there is none: a larger scale is always better. If it
#   needs the bias, $s^*$ is finite even at perfect training accuracy (see the table), but gradient flow turns the
#   head further, and the norm still grows without end, more and more slowly {cite:p}`soudry2018implicit`.
# - **A penalty** stops it earlier. At the minimum of $L + \frac{\lambda}{2} \lVert V \rVert^2$ the growth is
#   $2 \lambda \lVert V \rVert^2 > 0$ ({ref}`ex-penalised-growth`). So a penalised probe is *always* underconfident
#   on its training data.

# %%
from sklearn.linear_model import LogisticRegression

assert (np.sign(paths["growth"]) == np.sign(paths["best scale"] - 1)).all()
model.load_state_dict(start)
phi_held = features(held.batch)
rows = []
for inverse in 10.0 ** np.arange(-3, 5):
    probe = LogisticRegression(C=inverse, max_iter=10_000, tol=1e-8).fit(phi_0, y)
    V, b = torch.from_numpy(probe.coef_), torch.from_numpy(probe.intercept_)
    rows.append(
        {
            "C": inverse,
            "norm": float(V.norm()),
            "growth": norm_growth(V, b, phi_0, y),
            "2 lambda |V|^2": 2 * float(V.square().sum()) / (inverse * N),
            "best scale, training": best_scale(V, b, phi_0, y),
            "best scale, held out": best_scale(V, b, phi_held, held.labels),
            "accuracy, training (%)": 100 * probe.score(phi_0, y),
            "accuracy, held out (%)": 100 * probe.score(phi_held, held.labels),
        }
    )
probes = pd.DataFrame(rows)
assert np.allclose(probes["growth"], probes["2 lambda |V|^2"], rtol=1e-3)
assert (probes["best scale, training"] > 1).all()
assert probes["best scale, held out"].iloc[-1] < 1
assert probes["norm"].is_monotonic_increasing
probes.set_index("C").round(3)

# %% [markdown]
# This is scikit-learn's logistic regression over its inverse penalty $C_{\mathrm{reg}}$ (its objective is $N L +
# \frac{1}{2 C_{\mathrm{reg}}} \lVert V \rVert^2$, so $\lambda = 1 / (C_{\mathrm{reg}} N)$). Two things to see.
# The norm of a probed head is whatever the penalty makes of it, here from a hundredth to more than thirty. The
# paper's norms after linear probing are those that cross-validation happened to choose. And training and held-out
# data disagree: beyond some $C_{\mathrm{reg}}$ the probe is underconfident on what it was fitted to and
# overconfident on everything else. That is what {term}`temperature scaling` repairs: it divides all logits by one
# number $T$, chosen where the loss of *validation* samples is smallest. It needs no theory of its own, since
#
# $$\frac{f(x)}{T} = \frac{V}{T}\, \phi(x) + \frac{b}{T} :$$ (eq-temperature-is-a-norm)
#
# a temperature is a shorter head. No answer changes, and no feature does. Take the longest of the probes, choose $T$
# on one half of the held-out headlines and look at the other half.

# %%
from tangentlm.tomihari.calibration import calibration_error, fit_temperature

choosing, seen = slice(0, None, 2), slice(1, None, 2)
T = fit_temperature((phi_held @ V.T + b)[choosing], held.labels[choosing])
as_it_is, cooled = phi_held @ V.T + b, phi_held @ (V / T).T + b / T
assert torch.allclose(as_it_is / T, cooled)
assert (as_it_is.argmax(dim=1) == cooled.argmax(dim=1)).all()
print(
    f"T = {T:.1f}: the norm goes from {float(V.norm()):.1f} to {float(V.norm()) / T:.1f}"
)
losses_of = {}
for name, f in (("as it is", as_it_is), ("with temperature scaling", cooled)):
    losses_of[name] = float(
        torch.nn.functional.cross_entropy(f[seen], held.labels[seen])
    )
    error = calibration_error(f[seen], held.labels[seen])
    print(
        f"{name}: loss {losses_of[name]:.2f} nats, calibration error {error:.0f} %"
    )
assert T > 1
assert losses_of["with temperature scaling"] < losses_of["as it is"]

# %% [markdown]
# The paper finds that LP-FT is badly calibrated, and that temperature scaling helps it (its Section 5.4). Seen in this
# way the two are one finding: a head that cross-validation made long is confident, and a number that makes it shorter
# takes the confidence back.
#
# ## What the angles do
#
# The paper's argument goes through {eq}`eq-row-norm`. If $\cos \tau_{ki} > 0$ for the class of every sample and
# $< 0$ for all others, then every term is negative, and every row grows. "With adequate training" this should be
# so. Is it? For each training: the share of samples for which the condition holds, and how many rows grow.

# %%
angles = paths[paths["step"].isin([0, 4, 16, 64, 512])].set_index(
    ["training", "step"]
)
angles[
    ["loss", "norm", "own class", "other classes", "all classes", "rows that grow"]
].round(2)

# %% mystnb={"figure": {"caption": "Share of the training samples for which all angles are as the paper's condition wants them, over the training loss.", "name": "fig-angles"}, "image": {"alt": "Four curves over the training loss, from zero on the right. Fine-tuning with Adam rises to one; fine-tuning with SGD to six tenths; probing with Adam to a half; probing with SGD to one sixth."}} tags=["hide-input"]
columns = [
    of_one.rename(columns={"all classes": training})[["loss", training]]
    for training, of_one in paths.groupby("training", sort=False)
]
figures.lines(
    pd.concat(columns),
    "loss",
    {training: training for training in TRAININGS},
    labels=("training loss (nats)", "share of samples"),
    xscale="log",
)

# %% tags=["remove-input"]
figures.data_link(paths, "angles")

# %%
assert last.loc["probing, SGD", "all classes"] < 0.3
assert last.loc["fine-tuning, Adam", "all classes"] == 1
trained = paths[paths["step"] >= 8]
assert (trained["rows that grow"] == C).all()
mean = phi_0.mean(dim=0)
common = float((phi_0 @ mean / phi_0.norm(dim=1) / mean.norm()).mean())
print(f"mean cosine of a feature vector with the mean: {common:.2f}")
print(
    f"norm at the end over that at the start, probing with SGD: "
    f"{last.loc['probing, SGD', 'norm'] / float(V_0.norm()):.0f}"
)

# %% [markdown]
# The condition does not follow the growth. It holds for all samples where the norm grows least (fine-tuning with
# Adam), for half where it grows most (probing with Adam), and for a sixth in probing with SGD, which multiplies
# the norm by more than twenty while all rows grow. The features of a language model all point roughly the same
# way, so a row that has a positive angle with those of its class tends to have one with the others, and gradient
# descent has far to go. It is not impossible: the 32 vectors are linearly independent, so some head on the frozen
# features fulfils the condition for every sample ($V^\top = \Phi^+ (2 Y - 1)$, with the one-hot labels $Y$), and
# probing with Adam gets half of the way. What is true of all four runs is {eq}`eq-growth-is-confidence`.
#
# So the paper's two reasons why probing grows more (it does not reach a small loss, so it keeps growing; and only
# the head can do the work) point the right way. The second one is the more useful: at *equal loss* the head of
# fine-tuning is much shorter, as {numref}`fig-norm-over-loss` shows, because the features do the work.
#
# ## Limits
#
# - One small model, one task, one split, one start. Which step the curves meet at depends on the rates.
# - Gradient flow is not Adam: with Adam, $d \lVert V \rVert^2 / dt$ has signs of gradients in the place of
#   gradients, and {eq}`eq-growth-is-confidence` is no theorem (in these runs the norm grew all the same).
# - $N = 32$ samples with 64 features can always be separated. {ref}`ex-not-separable` has the other case.
# - Weight decay adds $-2 \lambda \lVert V \rVert^2$ to the growth. The paper trains without.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-penalised-growth
#
# Show that at the minimum of $L(V, b) + \frac{\lambda}{2} \lVert V \rVert^2$ the growth {eq}`eq-norm-growth` is
# $2 \lambda \lVert V \rVert^2$, and that $s^* > 1$ follows unless $V = 0$.
# ```
#
# ```{solution} ex-penalised-growth
# :class: dropdown
#
# There $\partial L / \partial V = -\lambda V$, so $\frac{d}{dt} \lVert V \rVert^2 = 2 \langle V, \lambda V \rangle$
# under the flow of $L$ alone. It is positive, and {eq}`eq-growth-is-confidence` gives the rest. This is the first
# of several consequences of the same equation; {doc}`/book/theory/probe-stationarity` has another one.
# ```
#
# ```{exercise}
# :label: ex-not-separable
#
# Give the probe three features only, `phi_0[:, :3]`, and fit it nearly without penalty (`C=1e8`). What are its
# norm, growth and best scale?
# ```
#
# ```{solution} ex-not-separable
# :class: dropdown
#
# Three features do not separate four topics. The norm is finite, the growth is zero to the solver's tolerance, and
# $s^* = 1$: a maximum-likelihood classifier is calibrated in this sense on its own training data.
# ```
#
# ```{exercise}
# :label: ex-squared-loss-growth
#
# Replace the cross-entropy by the squared loss, $\frac{1}{2N} \sum_i \lVert e_{y_i} - f(x_i) \rVert^2$. When
# does the norm grow now, and where does it stop?
# ```
#
# ```{solution} ex-squared-loss-growth
# :class: dropdown
#
# With $\delta_i = e_{y_i} - f(x_i)$ the same formula holds: $\frac2N \sum_i \langle \delta_i, V \phi_i \rangle$.
# The loss is quadratic in the scale, with a finite minimum even for separable data. It stops at the least-squares
# solution. The endless growth belongs to the cross-entropy.
# ```
#
# ```{exercise}
# :label: ex-row-that-shrinks
#
# Find a head, among those at the first steps of the runs, where the sum over $k$ of {eq}`eq-row-norm` is negative,
# but one row shrinks. What would a reader of {eq}`eq-norm-as-printed` have concluded?
# ```
#
# ```{solution} ex-row-that-shrinks
# :class: dropdown
#
# Look at the first eight steps in `paths`. At step 2 or 4 of every training "rows that grow" is three, and "growth" is
# positive. The growth is $-2 \sum_k \lVert v_k \rVert\, \partial L / \partial \lVert v_k \rVert$, and the rows of a
# new head have nearly the same length, so the sum of {eq}`eq-row-norm` is negative there. Its reader would have
# said that every row grows, the one that shrinks included.
# ```
#
# ```{exercise}
# :label: ex-conserved
#
# *For a lecture.* Take a linear extractor $\phi(x) = B x$ without bias in the head and train both under gradient
# flow. Show that $V^\top V - B B^\top$ does not change. What does that say about the growth of the head in
# fine-tuning against linear probing?
# ```
#
# ```{solution} ex-conserved
# :class: dropdown
#
# $dV/dt = G B^\top$ and $dB/dt = V^\top G$ with $G = \frac1N \sum_i \delta_i x_i^\top$. So
# $\frac{d}{dt} V^\top V = B G^\top V + V^\top G B^\top = \frac{d}{dt} B B^\top$. Whatever length the head gains,
# the extractor gains as well: they share the growth of the product. In linear probing the head has to gain all of
# it.
# ```

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
