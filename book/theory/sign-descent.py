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
# (sign-descent)=
# # Adam's first steps: sign descent and its kernels
#
# The kernel of {doc}`/book/theory/kernel-behavior` belongs to SGD: it is made of gradients, because SGD
# steps along a gradient. Nearly everyone fine-tunes with Adam {cite:p}`kingma2015adam`, and Adam divides every
# entry of its step by a running size of that entry. So it needs another kernel. Malladi et al. get it in two moves. Early in
# training, Adam steps along the *sign* of the gradient, which is a method of its own
# {cite:p}`bernstein2018signsgd`. And a step along a sign has a kernel, with the
# sign on one side only. This chapter takes the two moves apart, measures each on a real model, and
# finds that they ask for different things.
#
# **You will learn**
#
# - why Adam's first step is a sign step, and what its $\epsilon$ has to do with it
# - how a sign step becomes a kernel (Theorem 3.3 and Theorem D.4 of {cite:t}`malladi2022openreview`,
#   "Malladi-v1"), and why the theorem speaks of one example at a time
# - which kernel predicts which optimizer, and by how much the others miss
# - what is lost with batches, with more than two classes, and after more than one step.
#
# **Before you start**: read {doc}`/book/theory/kernel-behavior`. You should know how Adam computes its
# two moving averages.

# %% [markdown]
# ## The stage
#
# The model is `pocket` and the task `reviews`, as before. You train on single reviews and watch the others:
# what a step does to the logits of *held-out* reviews is what a kernel must predict. With two classes the
# loss depends on the difference of the two logits alone, label 1 minus label 0. From here on $f$ is that one number, and
# $f_0(\xi) = f(\xi; \theta_0)$ is its value before training.

# %%
import numpy as np
import pandas as pd
import torch

from tangentlm import figures
from tangentlm.batches import select_rows
from tangentlm.finetune.loop import snapshot
from tangentlm.metrics import output_derivative
from tangentlm.models.few_shot import FewShot, few_shot
from tangentlm.models.logits import logits_of
from tangentlm.params import KernelRun

SEED, SHOTS, HELD_OUT = 13, 16, 16

figures.use_style()


def prepared(task: str, k: int) -> FewShot:
    """A task, and its model in double precision."""
    shots = few_shot(
        KernelRun(task=task, k=k, seed=SEED, test_size=HELD_OUT, device="cpu")
    )
    shots.model.double().masked_lm.set_attn_implementation("sdpa")
    return shots


shots = prepared("reviews", SHOTS)
model, train, held = shots.model, shots.part("train"), shots.part("test")
start = snapshot(model)
y = 2 * train.labels.numpy() - 1  # -1 and +1
P = sum(parameter.numel() for parameter in model.parameters())
print(f"{len(train)} training examples, {len(held)} held out, {P:,} parameters")

# %% [markdown]
# Small steps need double precision. The attention is torch's own (`sdpa`), since the eager one computes its softmax
# in single precision all the same, and has a trap: in double precision a padded position of a batch
# can end up with nothing to attend to. Its gradient becomes NaN, and `torch.sign` makes a zero of a NaN, without a
# word. (The rotation of queries and keys stays in single precision.)
#
# The output derivative $\chi = \partial \ell / \partial f$ is
# $\operatorname{softmax}(f)_1 - \mathbf{1}[y = 1]$, one number too. You need the three kernels of
# the papers between the held-out and the training examples:
#
# | name | formula | in the papers |
# |---|---|---|
# | $\mathcal{K}^{(\mathrm{SGD})}$ | $\langle \nabla f(\xi),\ \nabla f(\xi') \rangle$ | Definition 2.4 |
# | $\mathcal{K}^{(\mathrm{A\text{-}SignGD})}$ | $\langle \nabla f(\xi),\ \operatorname{sign} \nabla f(\xi') \rangle$ | Definition 3.2 |
# | $\mathcal{K}^{(\mathrm{SignGD})}$ | $\langle \operatorname{sign} \nabla f(\xi),\ \operatorname{sign} \nabla f(\xi') \rangle$ | Definition 3.4 |
#
# All gradients are taken at $\theta_0$, the pre-trained parameters.

# %%
from tangentlm.kernels import entk

MEMORY = 2**27  # bytes that a kernel may take, to keep this page small
NAMES = {
    "asymmetric-signgd": "A-SignGD kernel",
    "sgd": "SGD kernel",
    "signgd": "SignGD kernel",
}


def kernel(rows, formula: str) -> np.ndarray:
    """The kernel of f between some rows and the training examples."""
    options = {"outputs": "difference", "memory": MEMORY, "progress": False}
    return entk(model, rows, train.batch, formula=formula, **options).values


K = {formula: kernel(held.batch, formula)[:, 0, :, 0] for formula in NAMES}


def f(batch) -> np.ndarray:
    """f of every sample: the difference of its two logits."""
    # This model does not see padding; nothing need look for that each time.
    logits = logits_of(model, batch, select=select_rows).numpy()
    return logits[:, 1] - logits[:, 0]


f_0 = f(held.batch)
chi = output_derivative(logits_of(model, train.batch), train.labels)[:, 1]

# %% [markdown]
# Two small functions do the rest: one fills in the gradient of the mean loss of some examples, and one says how
# well a prediction of a change agrees with the real one. Agreement needs three numbers. Every step
# moves all samples together for the most part, and a prediction can be right but for a factor. So measure
#
# - the **error** $\lVert \Delta f - p \rVert / \lVert \Delta f \rVert$ of the prediction $p$ as it is
# - the **rescaled error**, that of the best multiple $c\,p$
# - the **centred error**, the same after the mean over the samples was taken off both. It says
#   how well $p$ tells *which* samples move more than others, and equals $\sqrt{1 - r^2}$ for a
#   correlation $r$.


# %%
def backward(network, samples, index) -> None:
    """Fill in the gradient of the mean loss of some samples."""
    network.zero_grad()
    for few in torch.as_tensor(index).split(8):
        logits = network(**select_rows(samples.batch, few))
        loss = torch.nn.functional.cross_entropy(
            logits, samples.labels[few], reduction="sum"
        )
        (loss / len(index)).backward()


def agreement(predicted: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """How well a predicted change of the logits agrees with the real one."""
    multiple = predicted @ real / (predicted @ predicted)
    size = np.linalg.norm(real)
    return {
        "error": np.linalg.norm(real - predicted) / size,
        "multiple": multiple,
        "rescaled error": np.linalg.norm(real - multiple * predicted) / size,
        "centred error": np.sqrt(1 - np.corrcoef(predicted, real)[0, 1] ** 2),
    }


# %% [markdown]
# ## Adam's first step
#
# Adam keeps two moving averages of the gradients $g_1, g_2, \dots$, entry by entry, corrects their start
# at zero, and divides:
#
# $$\begin{aligned}
# \hat m_t &= \frac{(1 - \beta_1) \sum_{s \le t} \beta_1^{t-s} g_s}{1 - \beta_1^t}, \qquad
# \hat v_t = \frac{(1 - \beta_2) \sum_{s \le t} \beta_2^{t-s} g_s^2}{1 - \beta_2^t}, \\
# \theta_t &= \theta_{t-1} - \eta\, \frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon} .
# \end{aligned}$$ (eq-adam)
#
# ```{prf:proposition} Adam's first step
# :label: prop-adam-first-step
#
# For all $\beta_1, \beta_2 \in [0, 1)$,
#
# $$\theta_1 - \theta_0 = -\eta\ \epsilon\text{-}\mathrm{sign}(g_1), \qquad
# \epsilon\text{-}\mathrm{sign}(x) = \frac{x}{|x| + \epsilon} .$$ (eq-first-step)
# ```
#
# ```{prf:proof}
# For $t = 1$ the sums have one term and the corrections cancel its factor: $\hat m_1 = g_1$ and
# $\hat v_1 = g_1^2$.
# ```
#
# $\epsilon\text{-}\mathrm{sign}$ is exactly the smoothed sign that Assumption D.2 of Malladi-v1 puts in the place of
# $\operatorname{sign}$. There it is a device of the proof. In Adam it is really there. Take a step
# with torch's own Adam and compare:

# %%
EXAMPLE, ETA = 0, 1e-6
BETAS = ((0.9, 0.999), (0.0, 0.0))


def flat(tensors) -> torch.Tensor:
    """All entries as one vector."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


theta_0 = flat(model.parameters())
for betas in BETAS:
    backward(model, train, [EXAMPLE])
    g = flat(p.grad for p in model.parameters())
    torch.optim.Adam(model.parameters(), lr=ETA, betas=betas, fused=True).step()
    step = (flat(model.parameters()) - theta_0) / ETA
    model.load_state_dict(start)
    worst = float((step + g / (g.abs() + 1e-8)).abs().max())
    print(f"beta = {betas}: largest difference to the formula {worst:.0e}")
del step

# %% [markdown]
# So the first step is a sign step wherever $|g|$ is far above $\epsilon$. Where is it not?

# %%
below = {
    limit: 100 * float((g.abs() < limit).double().mean()) for limit in (1e-8, 99e-8)
}
zero = 100 * float((g == 0).double().mean())
share = {
    "exactly zero": zero,
    "not zero, below epsilon": below[1e-8] - zero,
    "above, but the step is more than 1 % short": below[99e-8] - below[1e-8],
    "a full sign": 100 - below[99e-8],
}
assert share["exactly zero"] > 50
assert share["not zero, below epsilon"] < 1
pd.Series(share, name="share of all entries (%)").round(2).to_frame()

# %% [markdown]
# More than half of the entries are exactly zero: the embeddings of words that are not in the review. There
# SignGD and Adam agree, since $\operatorname{sign}(0) = 0$ and $0 / (0 + \epsilon) = 0$; without the
# $\epsilon$ Adam would divide zero by zero. Entries around $\epsilon$ are few. They need not be
# spread evenly:

# %%
small = {
    name: 100 * float((p.grad[p.grad != 0].abs() < 99e-8).double().mean())
    for name, p in model.named_parameters()
}
small = pd.Series(small, name="not zero, but no full sign (%)")
assert small.idxmax().startswith("masked_lm.model.layers.0")
small.nlargest(4).round(1).to_frame()

# %% [markdown]
# They sit in the first block, a long way from the loss. Where gradients are smaller, in a deeper model or near the end of
# a training, more entries come under $\epsilon$.
#
# What would a larger $\epsilon$ do? For $\epsilon \gg |g|$ the step becomes $-\eta\, g / \epsilon$: that is SGD
# with the rate $\eta / \epsilon$. So Adam's first step goes from one optimizer to the other, and $\epsilon$
# decides which. Look at it through the kernels that you will meet in the next section:
# $-\eta \operatorname{sign}(\chi)\, \mathcal{K}^{(\mathrm{A\text{-}SignGD})}$ on one side,
# $-(\eta / \epsilon)\, \chi\, \mathcal{K}^{(\mathrm{SGD})}$ on the other.

# %%
EPSILONS = 10.0 ** np.arange(-8, 3, 2)


def change_along(direction: torch.Tensor, eta: float) -> np.ndarray:
    """The real change of the held-out f by a step of -eta along a direction."""
    theta = theta_0 - eta * direction
    torch.nn.utils.vector_to_parameters(theta, model.parameters())
    change = f(held.batch) - f_0
    model.load_state_dict(start)
    return change


sign_side = -np.sign(chi[EXAMPLE]) * K["asymmetric-signgd"][:, EXAMPLE]
sgd_side = -chi[EXAMPLE] * K["sgd"][:, EXAMPLE]
by_epsilon = []
for epsilon in EPSILONS:
    real = change_along(g / (g.abs() + epsilon), ETA)
    by_epsilon.append(
        {
            "epsilon": epsilon,
            "sign": agreement(ETA * sign_side, real)["error"],
            "sgd": agreement(ETA / epsilon * sgd_side, real)["error"],
        }
    )
by_epsilon = pd.DataFrame(by_epsilon)
scales = [float(p.grad.square().mean().sqrt()) for p in model.parameters()]

# %% mystnb={"figure": {"caption": "Error of two kernels' predictions for Adam's first step, over its epsilon. With the usual epsilon, at the left end, the sign kernel is right; with a very large one Adam is SGD. The band is where the theorem puts epsilon: the scale of the gradients of the parameters.", "name": "fig-epsilon"}, "image": {"alt": "Log-log plot with a rising line for the A-SignGD kernel, from a ten-thousandth to several hundred, and a falling one for the SGD kernel; they cross to the right of a shaded band between a thousandth and one."}} tags=["hide-input"]
figures.lines(
    by_epsilon,
    "epsilon",
    {"sign": NAMES["asymmetric-signgd"], "sgd": NAMES["sgd"]},
    labels=(r"Adam's $\epsilon$", "error of the prediction"),
    band=(min(scales), max(scales), "scale of the gradients"),
    xscale="log",
    yscale="log",
)

# %% tags=["remove-input"]
figures.data_link(by_epsilon, "epsilon")

# %%
wide = by_epsilon.set_index("epsilon")
assert wide["sign"].iloc[0] < 1e-3
assert wide["sgd"].iloc[-1] < 0.1
assert wide["sign"][wide.index > max(scales)].min() > 1
print("error of the sign kernel at 1e-8:", f"{wide['sign'].iloc[0]:.0e}")

# %% [markdown]
# {numref}`fig-epsilon` answers the question for this model: Adam's $10^{-8}$ is far enough to the left. Keep the
# band in mind, you will need it when you read the proof.
#
# ## From a sign to a kernel
#
# ```{prf:definition} SignGD
# :label: def-signgd
#
# $\theta_t = \theta_{t-1} - \eta \operatorname{sign}(\nabla \ell_t(\xi_t; \theta_{t-1}))$, entry by entry
# (Definition 3.1 of Malladi-v1; Definition 4.1 of {cite:t}`malladi2023kernel`).
# ```
#
# To first order, the step changes the output on any $\xi$ by
#
# $$f(\xi; \theta_t) - f(\xi; \theta_{t-1}) \approx
# -\eta\, \langle \nabla f(\xi),\ \operatorname{sign}(\nabla \ell_t(\xi_t)) \rangle .$$ (eq-sign-step)
#
# That is no kernel yet. A kernel compares two inputs, and the right side of the product has the loss in
# it: the label, and the output of the model at that moment. With SGD the chain rule pulls this out as the
# factor $\chi_t$. A sign is not linear, so you cannot count on that. But for one example and one output it
# works, because a sign is multiplicative:
#
# $$\operatorname{sign}(\chi_t \nabla f(\xi_t)) = \operatorname{sign}(\chi_t)\, \operatorname{sign}(\nabla f(\xi_t)) .$$ (eq-sign-product)
#
# ```{prf:theorem} Kernel analog of SignGD (Theorem D.4 of Malladi-v1, Theorem C.4 of Malladi)
# :label: thm-sign-kernel
#
# Let every step have one training example, and let SignGD training show kernel behaviour
# ({prf:ref}`def-kernel-behavior`) in the limit of infinite width $n$. Then, under
# Assumption D.2 (a stable, non-trivial network; the sign smoothed to
# $\epsilon\text{-}\mathrm{sign}$; learning rates in proportion to the largest output derivative before
# fine-tuning, $\chi_{\max}$),
#
# $$\begin{aligned}
# \lim_{n \to \infty} &\frac{f_t(\xi) - f_{t-1}(\xi)}{\chi_{\max}} \\
# &= \lim_{n \to \infty} \sum_{M}
# -\tilde\eta_M\, \langle \nabla_M f_0(\xi),\ \epsilon\text{-}\mathrm{sign}(\nabla_M f_0(\xi_t)) \rangle, \\
# &\tilde\eta_M = \frac{\eta_M \operatorname{sign}(\chi_t)}{\chi_{\max}} ,
# \end{aligned}$$ (eq-sign-theorem)
#
# where the sum goes over the weight matrices. With one rate for all and the plain sign, the right side is
# $-\eta \operatorname{sign}(\chi_t)\, \mathcal{K}^{(\mathrm{A\text{-}SignGD})}(\xi, \xi_t) / \chi_{\max}$ (Theorem 3.3).
# ```
#
# ```{prf:proof}
# (The idea; the last section reads the paper's proof.) Linearization turns the change into
# {eq}`eq-sign-step`, {eq}`eq-sign-product` takes $\chi_t$ out, and fixed features lets you take both gradients
# at $\theta_0$ instead of $\theta_{t-1}$.
# ```
#
# Two things are new. The kernel is **asymmetric**: the example that you train on has the sign, the
# example that you look at has not. And $|\chi_t|$ is gone: a step moves the model as far on an example
# that it has solved as on one that it has not.
#
# At the first step nothing has moved yet, so what is left to check is linearization, and its error must fall
# with the learning rate. Let the other two kernels try, too, each with the coefficient that it would
# have: $\chi$ for SGD, $\operatorname{sign}(\chi)$ for the other two.

# %%
from tangentlm.finetune.optimizers import make_optimizer

RATES = 10.0 ** np.arange(-6.0, -2.0)


def change_by(optimizer: str, eta: float, index) -> np.ndarray:
    """The real change of the held-out f by one step of an optimizer."""
    backward(model, train, index)
    make_optimizer(model, optimizer, eta).step()
    change = f(held.batch) - f_0
    model.load_state_dict(start)
    return change


def prediction(formula: str, eta: float, i: int) -> np.ndarray:
    """What a kernel says that one step on training example i does."""
    nu = chi[i] if formula == "sgd" else np.sign(chi[i])
    return -eta * nu * K[formula][:, i]


by_rate = []
for eta in RATES:
    real = {o: change_by(o, eta, [EXAMPLE]) for o in ("signgd", "adam")}
    errors = {
        formula: agreement(prediction(formula, eta, EXAMPLE), real["signgd"])[
            "error"
        ]
        for formula in NAMES
    }
    asymmetric = prediction("asymmetric-signgd", eta, EXAMPLE)
    adam = agreement(asymmetric, real["adam"])["error"]
    by_rate.append({"learning_rate": eta, "adam": adam, **errors})
by_rate = pd.DataFrame(by_rate)

# %% mystnb={"figure": {"caption": "Error of three kernels' predictions for one step of SignGD on one example, over the learning rate, and that of the A-SignGD kernel for the first step of Adam. Only the A-SignGD kernel has an error that vanishes with the rate.", "name": "fig-sign-rate"}, "image": {"alt": "Log-log plot. Two nearly identical rising lines of slope one belong to the A-SignGD kernel for SignGD and for Adam; the SGD kernel is flat just below one, the SignGD kernel flat above one hundred."}} tags=["hide-input"]
labels = {k: f"{name}, SignGD's step" for k, name in NAMES.items()}
figures.lines(
    by_rate,
    "learning_rate",
    {**labels, "adam": "A-SignGD kernel, Adam's step"},
    labels=(r"learning rate $\eta$", "error of the prediction"),
    xscale="log",
    yscale="log",
    ylim=(3e-5, 3e6),
)

# %% tags=["remove-input"]
figures.data_link(by_rate, "sign-step-rates")

# %%
middle = by_rate[by_rate["learning_rate"].between(0.9e-6, 1.1e-4)]
slope = np.polyfit(
    np.log(middle["learning_rate"]), np.log(middle["asymmetric-signgd"]), 1
)[0]
print(f"slope between 1e-6 and 1e-4: {slope:.2f} (theory: 1)")
assert abs(slope - 1) < 0.2
assert by_rate["sgd"].min() > 0.5
assert by_rate["signgd"].min() > 100

# %% [markdown]
# For SignGD and for Adam alike, the asymmetric kernel is right where it should be. The other two are
# wrong by a part that does not shrink with the learning rate.
#
# ## Each optimizer has its own kernel
#
# An error of a hundred may be nothing but a missing factor. So repeat the step on several examples,
# with every optimizer at a small rate, and look at all three kinds of error.

# %%
EXAMPLES = (0, 1, 2)
SMALL_RATE = {"sgd": 1e-4, "signgd": 1e-6, "adam": 1e-6}

crossed = []
for i in EXAMPLES:
    for optimizer, eta in SMALL_RATE.items():
        real = change_by(optimizer, eta, [i])
        for formula, name in NAMES.items():
            found = agreement(prediction(formula, eta, i), real)
            crossed.append(
                {"example": i, "optimizer": optimizer, "kernel": name, **found}
            )
crossed = pd.DataFrame(crossed)
table = crossed.groupby(["optimizer", "kernel"], sort=False).mean()
table = table[["error", "rescaled error", "centred error"]].unstack("kernel")
for optimizer, own in (("sgd", "sgd"), ("signgd", "asymmetric-signgd")):
    mine = table.loc[optimizer].unstack()[NAMES[own]]
    assert mine.max() < 0.02
for optimizer in ("signgd", "adam"):
    centred = table.loc[optimizer, "centred error"]
    assert 0.3 < centred[NAMES["sgd"]] < centred[NAMES["signgd"]]
    assert table.loc[optimizer, "rescaled error"].max() < 0.1
table.round(4)

# %% tags=["remove-input"]
figures.data_link(crossed, "kernels-and-optimizers")

# %% [markdown]
# Read it column by column.
#
# - The **error** says that SGD has the SGD kernel, and SignGD and Adam have the asymmetric one.
# - The **rescaled error** is small everywhere, even for the wrong kernel. One step moves all
#   held-out reviews the same way and by nearly the same amount; any kernel knows that.
# - The **centred error** tells the kernels apart. The wrong kernel misses a large part of what is
#   different between one review and the next.
#
# A regression that chooses its own scale, and whose decisions depend on differences between samples, sees
# the last column.
#
# ### What is the symmetric kernel?
#
# $\mathcal{K}^{(\mathrm{SignGD})}$ has SignGD's name, and yet the kernel of SGD tells more about a step of SignGD. This
# does not contradict the papers. They prove one thing about SignGD, {prf:ref}`thm-sign-kernel`, and that is
# about the asymmetric kernel. The symmetric one is introduced after it, and for one reason: regression with
# an asymmetric kernel is difficult (Section 3.1 and Appendix A.3 of Malladi-v1). In the tables it then stands next to the
# asymmetric one, under Adam. It is not derived as the dynamics of an optimizer, neither there nor here.
#
# You can see what it lacks. Write $\partial_k f$ for the entries of the gradient:
#
# $$\begin{aligned}
# \mathcal{K}^{(\mathrm{A\text{-}SignGD})}(\xi, \xi') &= \sum_k |\partial_k f(\xi)|\ s_k(\xi)\, s_k(\xi'), \\
# \mathcal{K}^{(\mathrm{SignGD})}(\xi, \xi') &= \sum_k s_k(\xi)\, s_k(\xi'), \qquad s_k = \operatorname{sign} \partial_k f .
# \end{aligned}$$ (eq-two-sign-kernels)
#
# A step moves every entry by $\eta$. What it does to $f(\xi)$ depends on how much $f(\xi)$ reacts to each
# entry, and the symmetric kernel has thrown that away. Were all entries of $\nabla f(\xi)$ of one size, the two
# would agree up to that factor. They are not:

# %%
backward(model, train, [EXAMPLES[1]])
other = flat(p.grad for p in model.parameters())
# These are gradients of the loss, -y |chi| times those of f.
product = (g * other)[(g * other) != 0] * y[EXAMPLE] * y[EXAMPLES[1]]
same = float((product > 0).double().mean())
low, high = np.quantile(g[g != 0].abs().numpy(), [0.05, 0.95])
del g, other, product
print(f"5 % and 95 % quantile of |gradient|: {low:.0e} and {high:.0e}")
print(f"two examples agree on the sign of {same:.0%} of their common entries")

# %% [markdown]
# What the symmetric kernel does say is of use. It counts: the parameters on whose sign two samples agree, minus
# those on which they do not ({eq}`eq-sign-count`). It is symmetric and positive semidefinite, as a
# regression likes it. Whether it makes a *good* regression is a question about data, and the result
# pages have it; whether it describes SignGD is answered here.
#
# ## When the size of the error drops out
#
# Back to the theorem, and to its coefficient. For two classes and the cross-entropy, $\chi_t$ lies
# between 0 and 1 where the label is 0, and between $-1$ and 0 where it is 1. So
# $-\operatorname{sign}(\chi_t) = y_t \in \{-1, +1\}$, *whatever the model says*. Put that into the theorem and sum over
# the steps:
#
# $$f_T(\xi) \approx f_0(\xi) + \eta \sum_{t=1}^{T} y_t\, \mathcal{K}^{(\mathrm{A\text{-}SignGD})}(\xi, \xi_t) .$$ (eq-mean-classifier)
#
# In the kernel's world, SignGD with one example a step adds the same amount for an example on every visit. After
# whole epochs the coefficients of all examples are equal but for the label's sign. This is a *kernel mean
# classifier*. It is not kernel regression, whose coefficients are larger for the examples that are hard to fit,
# and it has no end: there is no loss to be solved, $f$ just grows.
#
# The papers solve a regression with this kernel. Malladi (Section 3) says that with kernel behaviour, regression with the
# kernel analog of an optimizer is equivalent to training with it. That is so for gradient descent. Compare
# the two for SignGD, on the same kernel:

# %%
from tangentlm.solvers import AsymmetricLeastSquares

train_kernel = kernel(train.batch, "asymmetric-signgd")
regression = AsymmetricLeastSquares().fit(train_kernel, train.labels)
alpha = regression.coefficients_[:, 0]
decisions = pd.DataFrame(
    {
        "mean classifier": K["asymmetric-signgd"] @ y / len(y),
        "regression": K["asymmetric-signgd"] @ alpha,
    }
)
correlation = decisions.corr().iloc[0, 1]
spread = np.abs(alpha).max() / np.abs(alpha).min()
print(f"wrong sign of a coefficient: {(alpha * y < 0).mean():.0%} of the examples")
print(f"largest over smallest |coefficient| of the regression: {spread:.0f}")
print(f"correlation of the two decisions on held-out examples: {correlation:.2f}")

# %% [markdown]
# The two agree on much, since both follow the labels. But they are not the same function. Even with perfect
# kernel behaviour, training on single examples with SignGD does not lead to the regression that stands for it. The
# papers train with batches of two or more, though. What do batches do?
#
# ## Beyond one example and two classes
#
# A footnote to Definition 2.3 takes the batch size to be 1, for simplicity. For sign descent it is more than that. In a
# batch of $B$ examples, and in an example with $C > 2$ classes, the loss gradient is a sum, and
#
# $$\operatorname{sign}\Big( \sum_i \chi_i \nabla f(\xi_i) \Big) \ne \sum_i \operatorname{sign}(\chi_i) \operatorname{sign}(\nabla f(\xi_i)) .$$ (eq-sign-of-sum)
#
# ### Batches
#
# What could stand for $\operatorname{sign}(\chi_t)$ in a batch? Definition 2.3 leaves the coefficients free: a kernel
# analog needs *some* $\nu_i$ with $\Delta f(\xi) \approx -\sum_i \nu_i\, \mathcal{K}(\xi, \xi_i)$ for all $\xi$. Try three:
#
# - **signs**: $\nu_i = \eta \operatorname{sign}(\chi_i) / B$, the theorem taken for each example
# - **weights**: $\nu_i = \eta\, \chi_i / |\sum_j \chi_j|$. It is exact where all gradients of the batch are
#   one vector $\nabla f$, for then $\operatorname{sign}(\sum_i \chi_i \nabla f) =
#   \operatorname{sign}(\sum_i \chi_i) \operatorname{sign}(\nabla f)$. (This one is not in the papers.)
# - **best**: the $\nu_i$ that fit the real change of the held-out examples best, in least squares. No choice can do
#   better.

# %%
BATCH_SIZES, DRAWS = (1, 2, 4, 8), 3

generator = np.random.default_rng(0)
A = K["asymmetric-signgd"]
batches = []
for B in BATCH_SIZES:
    for draw in range(DRAWS):
        index = generator.choice(len(train), B, replace=False)
        real = change_by("signgd", ETA, index)
        best = np.linalg.lstsq(-A[:, index], real)[0]
        guesses = {
            "signs": ETA * np.sign(chi[index]) / B,
            "weights": ETA * chi[index] / np.abs(chi[index].sum()),
            "best": best,
        }
        majority = np.abs(y[index].sum())
        labels = "one" if majority == B else "more of one"
        labels = labels if majority else "as many of each"
        about = {"batch_size": B, "draw": draw, "labels": labels}
        for name, nu in guesses.items():
            found = agreement(-A[:, index] @ nu, real)
            batches.append({**about, "coefficients": name, **found})
batches = pd.DataFrame(batches)

# %% mystnb={"figure": {"caption": "Error of the A-SignGD kernel for one step of SignGD on a batch, with three choices of coefficients; mean and standard deviation over random batches.", "name": "fig-batches"}, "image": {"alt": "Error over batch size, with wide error bars. All are at zero for one example. With signs the error rises to about two thirds; with weights it is less than half of that; the best coefficients stay at zero."}} tags=["hide-input"]
figures.spread_lines(
    batches,
    "batch_size",
    "error",
    "coefficients",
    labels=("batch size", "error of the prediction"),
)

# %% tags=["remove-input"]
figures.data_link(batches, "batches")

# %%
larger = batches[batches["batch_size"] > 1]
medians = larger.groupby(["labels", "coefficients"], sort=False)
medians = medians[["error", "rescaled error", "centred error"]].median()
assert medians.loc["as many of each", "signs"]["error"] > 0.9
assert medians.loc["more of one", "signs"]["error"] > 0.4
for labels in ("more of one", "as many of each"):
    of_labels = medians.loc[labels]["error"]
    assert of_labels["weights"] < of_labels["signs"] / 2
assert medians.xs("best", level="coefficients")["error"].max() < 0.05
medians.unstack("coefficients").round(3)

# %% [markdown]
# The table has the medians over batches with one label, with more of one label, and with as many of each.
#
# - **Signs** fail from two examples on, unless all have one label. Where labels differ, the predictions of the
#   examples cancel in part. The real step gets no shorter: every entry moves by $\eta$, the way of whichever side
#   weighs more. With more examples of one label the prediction is still right up to a factor; with as
#   many of each it is not even that.
# - **Weights** take most of the error off, the more the less cancels in $\sum_j \chi_j$.
# - The **best** coefficients leave little, though more of what differs between samples.
#
# So on this model SignGD with small batches does have a kernel analog in the sense of Definition 2.3, because the
# gradients of different reviews are much alike. But its coefficients are not the theorem's. They depend on
# $|\chi_i|$ again, relative to the rest of the batch, and with them the mean classifier of
# {eq}`eq-mean-classifier` is gone as well.
#
# ### More than two classes
#
# With $C$ logits $\nabla \ell = \sum_c \chi_c \nabla f_c$, a sum already for one example. For two classes
# $\chi_0 = -\chi_1$ saves you, *if* you take the kernel of the difference. With a signed gradient for each
# logit, the sign of a difference becomes the difference of two signs. A footnote of the papers says that
# kernel analogs carry over to $C$ outputs, with a vector $\nu \in \mathbb{R}^C$. Try
# $\nu_c = \eta \operatorname{sign}(\chi_c)$, and the best vector. The task with four classes is `topics`.

# %%
FEW = 6  # held-out examples: a signed kernel of four logits is not cheap


def step_and_columns(task, outputs: str):
    """The change of the logits by one step, a column for each output, and chi."""
    network, samples = task.model, task.part("train")
    one = select_rows(samples.batch, slice(0, 1))
    others = select_rows(task.part("test").batch, slice(0, FEW))
    before = logits_of(network, others).numpy()
    chi_one = output_derivative(logits_of(network, one), samples.labels[:1])[0]
    options = {"outputs": outputs, "memory": MEMORY, "progress": False}
    values = entk(
        network, others, one, formula="asymmetric-signgd", **options
    ).values
    origin = snapshot(network)
    backward(network, samples, [0])
    make_optimizer(network, "signgd", ETA).step()
    change = logits_of(network, others).numpy() - before
    network.load_state_dict(origin)
    network.zero_grad()
    if outputs == "difference":
        change, chi_one = change[:, 1:] - change[:, :1], chi_one[1:]
    return change, -values[:, :, 0], chi_one


def vector_errors(change, columns, chi) -> dict[str, float]:
    """Errors with the signs of chi, and with the best vector nu."""
    flat_columns = columns.reshape(-1, len(chi))
    best = np.linalg.lstsq(flat_columns, change.ravel())[0]
    size = np.linalg.norm(change)
    left = change - columns @ best
    centred = np.linalg.norm(change - change.mean(axis=0))
    return {
        "error, signs": np.linalg.norm(change - ETA * columns @ np.sign(chi))
        / size,
        "error, best": np.linalg.norm(left) / size,
        "centred error, best": np.linalg.norm(left - left.mean(axis=0)) / centred,
    }


model.zero_grad()  # two models at a time: make room
topics = prepared("topics", 4)
cases = {
    "2 classes, the difference": (shots, "difference"),
    "2 classes, both logits": (shots, "full"),
    "4 classes, all logits": (topics, "full"),
}
by_outputs = pd.DataFrame(
    {name: vector_errors(*step_and_columns(*case)) for name, case in cases.items()}
).T
assert by_outputs["error, signs"].iloc[0] < 1e-3
assert by_outputs["error, signs"].iloc[1:].min() > 0.3
del topics, cases
by_outputs.round(3)

# %% [markdown]
# With the difference the theorem is exact to first order; with a logit at a time it is far off. Free
# coefficients repair most, and what they cannot repair is again what differs between samples. {doc}`/book/errata`
# says which kernels this book takes.
#
# ## More than one step
#
# From the second step on, the theorem needs both halves of kernel behaviour. Follow SignGD for some steps, a new
# example in each, and keep the two apart:
#
# - **Linearization**: the Taylor model at the real $\theta_t$ ({eq}`eq-taylor`) against the real model.
# - **Fixed features**: the kernel's sum {eq}`eq-mean-classifier` against the Taylor model. Both are linear, with the
#   same gradient of $f(\xi)$. They differ only in the signs: those of $\nabla f(\xi_t; \theta_0)$ in the kernel,
#   those of $\nabla f(\xi_t; \theta_{t-1})$ in the training.
#
# The Taylor model is linear on the line from $\theta_0$ to $\theta_t$, so a tiny step both ways on that line gives its
# change.

# %%
RUN_RATES, STEPS, LOOK_AT = (2e-5, 1e-4), 6, (1, 2, 4, 6)
order = np.random.default_rng(SEED).permutation(len(train))


def taylor_change() -> np.ndarray:
    """The change of the Taylor model's f at the model's present parameters."""
    way, now = theta_0 - flat(model.parameters()), snapshot(model)
    h = 1e-5 / float(way.abs().max())
    slope = (change_along(way, h) - change_along(-way, h)) / (2 * h)
    model.load_state_dict(now)
    return slope


def signs_against_start(gradient: torch.Tensor, i: int) -> dict[str, float]:
    """How the gradient of an example differs from the one at theta_0."""
    now = snapshot(model)
    model.load_state_dict(start)
    backward(model, train, [i])
    first = flat(p.grad for p in model.parameters())
    model.load_state_dict(now)
    cosine = torch.nn.functional.cosine_similarity(gradient, first, dim=0)
    flipped = (gradient * first < 0).sum() / (first != 0).sum()
    turned = float((1 - cosine**2).clamp(min=0).sqrt())
    return {"gradient turned": turned, "signs flipped (%)": 100 * float(flipped)}


def rms(x: np.ndarray) -> float:
    """The root mean square."""
    return float(np.sqrt(np.mean(x**2)))


def follow(eta: float) -> pd.DataFrame:
    """Train with SignGD, and measure the kernel and the Taylor model on the way."""
    rows, kernel_change = [], np.zeros(len(held))
    optimizer = make_optimizer(model, "signgd", eta)
    for t, i in enumerate(order[:STEPS], start=1):
        backward(model, train, [i])
        gradient = flat(p.grad for p in model.parameters())
        optimizer.step()
        kernel_change = kernel_change + eta * y[i] * A[:, i]
        if t in LOOK_AT:
            real, taylor = f(held.batch) - f_0, taylor_change()
            row = {"learning_rate": eta, "step": t, "change": rms(real)}
            row["kernel - real"] = rms(kernel_change - real)
            row["Taylor - real"] = rms(taylor - real)
            row["kernel - Taylor"] = rms(kernel_change - taylor)
            row["centred error"] = agreement(kernel_change, real)["centred error"]
            rows.append(row | signs_against_start(gradient, i))
    model.load_state_dict(start)
    return pd.DataFrame(rows)


runs = pd.concat([follow(eta) for eta in RUN_RATES], ignore_index=True)

# %% mystnb={"figure": {"caption": "Training with SignGD at the larger rate, one example a step: the change of the held-out f, how far the kernel is from it, and the two parts of that distance. Root mean square over the held-out reviews.", "name": "fig-sign-run"}, "image": {"alt": "Four lines over six steps on a logarithmic axis. The change falls by a factor of thirty at step four and rises again; the Taylor model's error falls with it; the distance of kernel and Taylor model does not."}} tags=["hide-input"]
parts = {
    "change": "change",
    "kernel - real": "kernel to real model",
    "Taylor - real": "Taylor model to real model",
    "kernel - Taylor": "kernel to Taylor model",
}
shown = runs[runs["learning_rate"] == max(RUN_RATES)].set_index("step")
# At step 1 kernel and Taylor model are the same, but for rounding.
shown = shown[list(parts)].where(lambda x: x > 1e-4).reset_index()
figures.lines(
    shown,
    "step",
    parts,
    labels=("step", "root mean square (logits)"),
    yscale="log",
    ylim=(1e-3, 300),
)

# %% tags=["remove-input"]
figures.data_link(runs, "sign-run")

# %%
at = runs.set_index(["step", "learning_rate"])
assert y[order[:4]].sum() == 0
assert (at.loc[4]["kernel - Taylor"] > 3 * at.loc[4]["Taylor - real"]).all()
assert (at.loc[2]["kernel - Taylor"] < at.loc[2]["Taylor - real"]).all()
assert (at.loc[2]["kernel - real"] < 0.05 * at.loc[2]["change"]).all()
assert runs["signs flipped (%)"].max() < 10
at.swaplevel().sort_index().round(4)

# %% [markdown]
# The smaller rate is in the grid of the papers, the larger one is twice their largest.
#
# - The **change** goes up and down. An example of one label moves all reviews one way, the next may move them
#   back, and after four steps there were two of each. An error relative to the change would say more about the
#   order of the labels than about the kernel.
# - **Linearization** depends on where the parameters are. When the steps have cancelled, they are nearly back
#   at $\theta_0$, and the Taylor model is right again.
# - **Fixed features** depends on the way there. A step that was taken with other signs than those at
#   $\theta_0$ stays in the sum. At step four that is nearly all of the kernel's error. The kernel
#   and the Taylor model can disagree although both are linear and the parameters are close to $\theta_0$.
# - Few signs flip, even where the gradient turns: a small turn changes the signs of the smallest entries only.
#
# Would another kernel do better over several steps? Run SignGD and Adam over learning rates, a new example in each
# step, and let all three kernels predict where the held-out reviews are after one, two and six steps. Each may have the
# scale that suits it best (the rescaled error), since that of the SGD kernel has nothing to do with a sign step.

# %%
SEVERAL = (1, 2, STEPS)


def three_kernels(optimizer: str, eta: float) -> list[dict]:
    """Rescaled errors of the three kernels along one run."""
    rows, changes = [], {formula: np.zeros(len(held)) for formula in NAMES}
    along = make_optimizer(model, optimizer, eta)
    for t, i in enumerate(order[:STEPS], start=1):
        backward(model, train, [i])
        along.step()
        for formula in NAMES:
            changes[formula] = changes[formula] + prediction(formula, eta, i)
        if t in SEVERAL:
            real = f(held.batch) - f_0
            errors = {
                formula: agreement(change, real)["rescaled error"]
                for formula, change in changes.items()
            }
            rows.append(
                {"optimizer": optimizer, "learning_rate": eta, "step": t, **errors}
            )
    model.load_state_dict(start)
    return rows


along_runs = pd.DataFrame(
    [
        row
        for optimizer in ("signgd", "adam")
        for eta in RATES
        for row in three_kernels(optimizer, eta)
    ]
)

# %% mystnb={"figure": {"caption": "Rescaled error of the three kernels after six steps of SignGD and of Adam, a new example in each, over the learning rate.", "name": "fig-three-kernels-run"}, "image": {"alt": "Log-log plot of six lines over the learning rate, three for each optimizer."}} tags=["hide-input"]
last = along_runs[along_runs["step"] == STEPS]
wide = last.pivot(index="learning_rate", columns="optimizer", values=list(NAMES))
wide.columns = [" ".join(column) for column in wide.columns]
figures.lines(
    wide.reset_index(),
    "learning_rate",
    {
        f"{formula} {optimizer}": f"{name}, {title}"
        for optimizer, title in {"signgd": "SignGD", "adam": "Adam"}.items()
        for formula, name in NAMES.items()
    },
    labels=(r"learning rate $\eta$", "rescaled error after six steps"),
    xscale="log",
    yscale="log",
)

# %% tags=["remove-input"]
figures.data_link(along_runs, "three-kernels-along-runs")

# %% tags=["hide-input"]
end = last.set_index(["optimizer", "learning_rate"]).sort_index()
smallest = end.loc["signgd", min(RATES)]
assert smallest["asymmetric-signgd"] < 0.1 * smallest[["sgd", "signgd"]].min()
adam_end = end.loc["adam"]
assert (adam_end["asymmetric-signgd"] > adam_end["sgd"]).all()
along_runs.set_index(["optimizer", "step", "learning_rate"]).sort_index().rename(
    columns=NAMES
).round(3)

# %% [markdown]
# With a scale of its own every kernel looks good, for most of the change is common to all reviews. Still, for SignGD the
# A-SignGD kernel is ahead by far, also after six steps, as long as the rate is small; at the largest rate nothing
# is linear any more and the three are alike. For Adam that holds for one step. After six, a new example in each, the
# A-SignGD kernel is no better than that of SGD, *even at the smallest rate*. There linearization is not to blame: Adam
# does not take sign steps any more.
#
# ## How long does Adam follow the sign?
#
# All this was about SignGD. For Adam there is the first move: its later steps must be sign steps as well. When are
# they?
#
# ```{prf:proposition} Adam on gradients of one direction
# :label: prop-adam-parallel
#
# Let $g_s = a_s\, g$ for all $s \le t$, with numbers $a_s$ and $a_t \ne 0$. Then for $\epsilon \to 0$ Adam's step $t$ is
# $-\eta\, c_t \operatorname{sign}(g)$, where $c_t = \hat m_t / \sqrt{\hat v_t}$ of the sequence $a_1, \dots, a_t$. If all $a_s$ are
# equal, $|c_t| = 1$.
# ```
#
# ```{prf:proof}
# Adam works entry by entry. In entry $k$, $\hat m_t$ is $g_k$ times that of the $a_s$, and $\sqrt{\hat v_t}$ is $|g_k|$ times
# that of the $a_s$.
# ```
#
# So the sign survives the averages if the gradient keeps its direction over the steps. Malladi-v1 (Section 3.1) takes
# it from earlier work that Adam is a sign step early in training, with full batches and with minibatches. Malladi
# (Section 4) adds why: with a small learning rate the averages are made in a small neighbourhood. A small neighbourhood
# of the *parameters* keeps the gradient of one loss as it is. It does not make the gradients of different
# minibatches alike, and the theorem has minibatches of one. Measure both. In each step compare Adam's update with
# the sign of that step's gradient, with a new example in each step, or with the same two examples, of different
# labels, in all.

# %%
ADAM_STEPS, SAME = 6, [1, 2]
NEW = [[i] for i in order[:ADAM_STEPS]]
SETTINGS = {
    "a new example each step": (NEW, 1e-6, (0.9, 0.999)),
    "a new example, beta_1 = 0": (NEW, 1e-6, (0.0, 0.999)),
    "a new example, beta_1 = beta_2 = 0": (NEW, 1e-6, (0.0, 0.0)),
    "same examples, rate 1e-6": ([SAME] * ADAM_STEPS, 1e-6, (0.9, 0.999)),
    "same examples, rate 5e-5": ([SAME] * ADAM_STEPS, 5e-5, (0.9, 0.999)),
}


def walk(indices, eta: float, betas: tuple[float, float]) -> tuple[list, dict]:
    """Cosine of Adam's update and the sign of the gradient; how well the kernel does."""
    cosines, predicted = [], np.zeros(len(held))
    options = {"betas": betas, "fused": True}
    optimizer = torch.optim.Adam(model.parameters(), lr=eta, **options)
    for index in indices:
        backward(model, train, index)
        sign = flat(p.grad for p in model.parameters()).sign()
        before = flat(model.parameters())
        optimizer.step()
        update = before - flat(model.parameters())
        cosines.append(float(update @ sign / (update.norm() * sign.norm())))
        predicted += eta * A[:, index] @ y[index] / len(index)
    found = agreement(predicted, f(held.batch) - f_0)
    model.load_state_dict(start)
    return cosines, found


walks = {name: walk(*setting) for name, setting in SETTINGS.items()}
cosines = pd.DataFrame({name: cosine for name, (cosine, _) in walks.items()})
cosines.insert(0, "step", np.arange(1, ADAM_STEPS + 1))

# %% mystnb={"figure": {"caption": "Cosine between Adam's update and the sign of the present gradient, step by step.", "name": "fig-adam-sign"}, "image": {"alt": "Lines that all start near one. With the same examples and a small rate the line stays near one; with a new example in each step it falls to about a fifth by the third step, and with beta_1 zero, or the same examples and a larger rate, to about three quarters."}} tags=["hide-input"]
shown = [name for name in SETTINGS if "beta_2" not in name]
figures.lines(
    cosines,
    "step",
    {name: name.replace("beta_1", r"$\beta_1$") for name in shown},
    labels=("step", "cosine of update and sign"),
    ylim=(-0.4, 1.05),
)

# %% tags=["remove-input"]
figures.data_link(cosines, "adam-and-sign")

# %%
summary = pd.DataFrame(
    {
        name: {
            "first step with a cosine below 0.9": next(
                (str(t) for t, c in enumerate(cosine, 1) if c < 0.9), "none"
            ),
            "cosine in step 2": round(cosine[1], 3),
            f"cosine in step {ADAM_STEPS}": round(cosine[-1], 3),
            "centred error of the kernel": round(found["centred error"], 3),
        }
        for name, (cosine, found) in walks.items()
    }
).T
at_step_2 = summary["cosine in step 2"]
assert at_step_2["same examples, rate 1e-6"] > 0.95 > 0.9 > at_step_2.iloc[:2].max()
assert at_step_2["same examples, rate 5e-5"] < 0.9
kernel_error = summary["centred error of the kernel"]
assert kernel_error.idxmin() == "a new example, beta_1 = beta_2 = 0"
summary

# %% [markdown]
# - In the **first step** the cosine is one but for the entries near $\epsilon$, in all settings.
# - With a **new example** in each step it is lost at the second step. The averages still hold the last
#   examples, and at the next change of labels they point elsewhere. $\beta_1$ is the main reason: without momentum each
#   entry of the update has the sign of the present gradient again, and $\beta_2$ only makes the entries unequal. With
#   both at zero every step is the first step.
# - With the **same examples** and a small rate the gradient hardly changes, and the sign stays. At the largest
#   rate of the papers' grid, $5 \cdot 10^{-5}$, one step changes the gradient enough to be seen in the next.
#
# Put the two moves together. {prf:ref}`thm-sign-kernel` needs one example in each step. The step from Adam to SignGD
# needs gradients that stay as they are from step to step, that is, the same batch each time or
# $\beta_1 = 0$. In the first step both hold. After that, Adam with small batches is not SignGD, and
# Adam with one large batch is a SignGD whose loss gradient is a sum. The last column shows it. It is the centred error
# of the theorem's sum over all these steps, with $\eta\, y_i / B$ for each example: next to nothing where Adam *is* SignGD
# on single examples, and far from nothing elsewhere. Malladi supports the move from Adam to SignGD in another way: in
# Table 10, fine-tuning with either scores about the same. That says where training ends, not how it steps.
#
# ## Reading the proof
#
# The proof of Theorem D.4 starts from ${\Delta M_t = -\eta_M \operatorname{sign}(\chi_t)\, \epsilon\text{-}\mathrm{sign}(\nabla_M f_{t-1})}$
# and shows that the kernel at step $t$ may be replaced by the one at the start. Write $a_t = \nabla_M f_t(\xi)$ and
# $b_t = \epsilon\text{-}\mathrm{sign}(\nabla_M f_t(\xi_t))$, and $a_0$, $b_0$ for the same gradients at $\theta_0$. Four places
# deserve a second look: a slip, two things that the limit hides, and a condition that is not written down.
#
# 1. **A sign.** Equations (4) to (6) split $\langle a_t, b_t \rangle - \langle a_0, b_0 \rangle$ into
#    $\langle a_t - a_0, b_t \rangle + \langle a_t, b_t - b_0 \rangle + \langle a_t - a_0, b_t - b_0 \rangle$. The last term must be
#    subtracted. As all three go to zero, nothing else changes.
# 2. **The place of $\chi$.** The smoothed sign is not multiplicative:
#    $\epsilon\text{-}\mathrm{sign}(\chi x) = \operatorname{sign}(\chi)\, \epsilon'\text{-}\mathrm{sign}(x)$ with
#    $\epsilon' = \epsilon / |\chi|$. The proof smooths after $\chi$ was taken out, Adam before. So for Adam $|\chi|$ drops out only
#    while $\epsilon / |\chi|$ is small, and the theorem is made for $\chi \to 0$ ({ref}`ex-small-chi`).
# 3. **The size of $\epsilon$.** The bound (8) has $1 / \epsilon$ in it, and to be worth anything it needs
#    $\epsilon$ of the size of the gradients, by Assumption D.2 g. That is the band of {numref}`fig-epsilon`: there
#    $\epsilon\text{-}\mathrm{sign}$ is not close to $\operatorname{sign}$, and the last "$\approx$" of the
#    theorem, from one to the other, is not small. With Adam's own $\epsilon$, or the plain sign, the bound says nothing: a
#    gradient could be nearly fixed in norm and have many signs flipped. That did not happen above, where few signs
#    flipped.
# 4. **A cosine.** The proof calls it easy to see that $\langle \nabla f, \epsilon\text{-}\mathrm{sign}(\nabla f) \rangle$ has the scale of
#    the product of the two norms. For that the cosine of a gradient and its sign must not vanish, so the
#    gradient must not be concentrated in few entries. Measure it, for each parameter.

# %%
random = np.random.default_rng(0)
a_t, a_0, b_t, b_0 = random.normal(size=(4, 1000))
wanted = a_t @ b_t - a_0 @ b_0
two, last = (a_t - a_0) @ b_t + a_t @ (b_t - b_0), (a_t - a_0) @ (b_t - b_0)
print(
    f"difference {wanted:.1f}; as printed {two + last:.1f}, mended {two - last:.1f}"
)

backward(model, train, [EXAMPLE])
smoothed = flat(
    p.grad / (p.grad.abs() + p.grad.square().mean().sqrt())
    for p in model.parameters()
)
at_scale = agreement(ETA * sign_side, change_along(smoothed, ETA))
to_sign = {
    name: float(p.grad.abs().sum() / (p.grad.norm() * (p.grad != 0).sum().sqrt()))
    for name, p in model.named_parameters()
}
assert at_scale["error"] > 0.5
assert at_scale["rescaled error"] < 0.05
assert min(to_sign.values()) > 0.1
print(f"cosines of gradient and sign: {min(to_sign.values()):.2f} or more")
pd.Series(at_scale, name="epsilon at the scale of each gradient").round(
    3
).to_frame()

# %% [markdown]
# With $\epsilon$ where the proof wants it, the kernel with the plain sign is off by a factor, and misses some of
# what differs between reviews. The cosines are well away from zero.
#
# ## Limits
#
# - The theorem is about infinite width. Nothing on this page varies the width: it checks what the theorem
#   says about one model. {doc}`/book/theory/parametrization` has the scales that the assumptions ask for.
# - One model, one split, few examples, sixteen held-out reviews. The sizes of the errors are those of this
#   model; that the right kernel's error vanishes with the rate is not.
# - A step moves all reviews together for the most part, because their gradients are much alike. That is what makes
#   wrong kernels look good after rescaling, and the weights good for batches. Other models and tasks may differ.
# - A few steps only. Malladi (Section 4) calls a long-term kernel analog of Adam difficult, and cites work by which
#   there is none in general for large batches.
# - No weight decay, no warm-up, no clipping, no dropout.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-small-chi
#
# Fine-tuning makes $|\chi|$ small. At which $|\chi|$ is half of the entries of $\chi \nabla f$ that are not zero below
# Adam's $\epsilon$? Call `backward` and use `chi[EXAMPLE]`. At which is the error of the sign kernel 10 %?
# ```
#
# ```{solution} ex-small-chi
# :class: dropdown
#
# With `g` the gradient of the loss of the example, `nonzero = g[g != 0].abs() / abs(chi[EXAMPLE])` are the entries of
# $|\nabla f|$. The first answer is `1e-8 / nonzero.median()`, which an example reaches when its $f$ is on the right side by
# about the logarithm of the inverse. For the second, divide the $\epsilon$ at which {numref}`fig-epsilon` has the
# error 0.1 by $10^{-8}$: $|\chi|$ must fall by that factor.
# ```
#
# ```{exercise}
# :label: ex-momentum-sign
#
# Some optimizers step along the sign of a running mean, $\operatorname{sign}(m_t)$. Do they have a kernel
# analog with coefficients that do not depend on $|\chi|$? Which section of this chapter answers it?
# ```
#
# ```{solution} ex-momentum-sign
# :class: dropdown
#
# With fixed features $m_t = \sum_s w_s \chi_s \nabla f(\xi_s)$, so it is a batch that reaches back in time, with weights. The
# sign of that sum is not the sum of signs, {eq}`eq-sign-of-sum`. The section on batches applies, with
# $w_s \chi_s$ for $\chi_i$.
# ```
#
# ```{exercise}
# :label: ex-squared-loss
#
# Train with the squared loss $(f - y)^2 / 2$ and $y = \pm 1$ instead of the cross-entropy. What is
# $\operatorname{sign}(\chi_t)$ now? Does {eq}`eq-mean-classifier` still hold? Does the training end?
# ```
#
# ```{solution} ex-squared-loss
# :class: dropdown
#
# $\chi = f - y$ changes sign when $f$ passes $y$. From then on an example pushes back, so the coefficients
# no longer depend on the label alone. The training does not end either: each step has the size $\eta$, so $f$
# goes back and forth around $y$, until the learning rate decays.
# ```
#
# ```{exercise}
# :label: ex-own-adam
#
# Set `BETAS` to something extreme, $(0.999, 0)$ say, and take two of Adam's steps on two different examples. The first is still a
# sign step. What happens in the second, in entries where the second gradient is zero and the first is not?
# ```
#
# ```{solution} ex-own-adam
# :class: dropdown
#
# There $\hat m_2 \ne 0$ and $\hat v_2 = 0$, so the step is $\eta\, \hat m_2 / \epsilon$: the first gradient is divided by
# $10^{-8}$. The embeddings of words that are in the first review only jump away. $\beta_2$ must not forget
# faster than $\beta_1$.
# ```

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
