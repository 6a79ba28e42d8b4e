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
# (kernel-behavior)=
# # When is fine-tuning kernel regression?
#
# You fine-tune a language model with a hundred million parameters on thirty-two sentences, and it works. Why does
# it not simply memorise them? One answer is that the model hardly changes: it moves so little that a straight line
# describes the move. Then fine-tuning is kernel regression, and everything that is known about kernels applies.
# This chapter makes that answer precise and measures, on a model that runs on your laptop, how far it is true.
#
# **You will learn**
#
# - what the output derivative, linearization, fixed features and the kernel analog are
#   (Definitions 2.1 to 2.4 of {cite:t}`malladi2022openreview`, "Malladi-v1")
# - how to check each of them with numbers
# - at which learning rates a real fine-tuning leaves the kernel's world
# - why a clipped gradient takes away the reason for kernel behaviour.
#
# **Before you start**: you know gradients, the chain rule and softmax. Read
# {doc}`/book/experiments/kernel` next.

# %% [markdown]
# ## The stage
#
# The model is `pocket`, a small masked language model that comes with this book. The task is
# `reviews`: is an opinion about a film, a meal, a hotel, a gadget or a book good or bad? A prompt
# turns it into what the model was pre-trained to do, filling in a word.

# %%
import numpy as np
import pandas as pd
import torch

from tangentlm import figures
from tangentlm.batches import select_rows
from tangentlm.models.few_shot import few_shot
from tangentlm.models.logits import logits_of
from tangentlm.params import KernelRun

figures.use_style()
shots = few_shot(
    KernelRun(task="reviews", k=16, seed=13, test_size=60, device="cpu")
)
model, batch, labels, test = (
    shots.model,
    shots.batch,
    shots.labels,
    shots.parts["test"],
)
print("\n".join(shots.texts(3)))
print(
    "label words:",
    dict(zip(shots.task.labels, shots.task.label_words, strict=True)),
)

# %% [markdown]
# The model's output is the logits of the label words at the mask, $f(\xi; \theta) \in
# \mathbb{R}^C$, with $C = 2$ here. For two classes only the difference of the two logits decides.
#
# ## The output derivative
#
# ```{prf:definition} Output derivative
# :label: def-output-derivative
#
# For a loss $\ell$, an input $\xi$ with label $y$, and parameters $\theta$, the output derivative is
# $\chi(\xi, y, \theta) = \partial \ell(f(\xi; \theta), y) / \partial f$ (Definition 2.1 of Malladi-v1).
# ```
#
# It is the first factor of the chain rule: the gradient of the loss is
# $\nabla_\theta \ell = \chi \cdot \nabla_\theta f$. For the cross-entropy,
# $\chi = \mathrm{softmax}(f) - \mathrm{onehot}(y)$, so its entry for the true label is minus the
# probability that the model still denies it. A task that the pre-trained model has all but solved
# has small $\chi$, and a small $\chi$ means a small update.

# %% mystnb={"figure": {"caption": "The size of the output derivative on test examples before any training. At one half the model is undecided.", "name": "fig-chi"}, "image": {"alt": "Histogram of the absolute output derivative of the true label; most of the mass lies around one half."}} tags=["hide-input"]
from tangentlm.metrics import (
    mean_output_derivative,
    output_derivative,
    true_label_derivative,
)

logits_0 = logits_of(model, batch).double().numpy()
chi = true_label_derivative(logits_0[test], labels[test])
figures.histogram(chi, r"$|\chi_y|$ before training", bins=np.linspace(0, 1, 21))

# %% tags=["remove-input"]
figures.data_link(pd.DataFrame({"chi": chi}), "output-derivative")

# %%
print(f"mean |chi_y| = {mean_output_derivative(logits_0[test], labels[test]):.2f}")

# %% [markdown]
# {numref}`fig-chi` says that for this small model the task is far from solved before training: it
# must move. A larger model starts further to the left; Table 5 of Malladi-v1 has RoBERTa-base at
# 0.32 on SST-2.
#
# ## The kernel analog of SGD
#
# ```{prf:definition} Neural tangent kernel
# :label: def-entk
#
# $\mathcal{K}^{(\mathrm{SGD})}(\xi, \xi') = \langle \nabla f(\xi; \theta_0), \nabla f(\xi'; \theta_0) \rangle$; for
# $C$ logits it is a $C \times C$ block for each pair (Definition 2.4). It is *empirical* (the eNTK) where
# $\theta_0$ is a real, pre-trained model.
# ```
#
# One SGD step on the example $\xi_1$ moves the parameters by
# $-\eta\, \nabla f(\xi_1)^\top \chi_1$. If the model were linear in its parameters, its output on any
# $\xi$ would change by exactly
#
# $$f(\xi; \theta_1) - f(\xi; \theta_0) \approx -\eta\, \mathcal{K}^{(\mathrm{SGD})}(\xi, \xi_1)\, \chi_1 .$$ (eq-one-step)
#
# That makes $\mathcal{K}^{(\mathrm{SGD})}$ the *kernel analog* of SGD (Definition 2.3). It is a
# statement about small steps, so check it the way you would check any derivative: take one step
# with smaller and smaller learning rates. The error of a first-order formula must fall with the
# square of the step, and the relative error in proportion to it.

# %%
from tangentlm.finetune.loop import snapshot
from tangentlm.kernels import entk

start = snapshot(model)
one = select_rows(batch, slice(0, 1))
others = select_rows(batch, slice(64, 76))
chi_1 = output_derivative(logits_0[:1], labels[:1])[0]
kernel = entk(model, others, one, precision="float64", progress=False).values[
    :, :, 0, :
]
predicted = -kernel @ chi_1  # for eta = 1, shape (12, C)
model.double()
before = logits_of(model, others).numpy()
loss = torch.nn.functional.cross_entropy(model(**one), labels[:1])
gradients = torch.autograd.grad(loss, list(model.parameters()))


def change_after_one_step(eta: float) -> np.ndarray:
    """The real change of the logits of the others, in float64."""
    with torch.no_grad():
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter -= eta * gradient
    after = logits_of(model, others, select=select_rows).numpy()
    model.load_state_dict(start)
    return after - before


one_step = []
for eta in 10.0 ** np.arange(-5.0, -0.5, 0.5):
    real = change_after_one_step(eta)
    error = np.linalg.norm(real - eta * predicted) / np.linalg.norm(real)
    one_step.append({"learning_rate": eta, "relative_error": error})
one_step = pd.DataFrame(one_step)
model.float().load_state_dict(start)

# %% mystnb={"figure": {"caption": "Relative error of the kernel's prediction for one SGD step. It falls in proportion to the learning rate, as a first-order formula must.", "name": "fig-one-step"}, "image": {"alt": "Log-log plot of the relative error over the learning rate: a straight line of slope one, flat at the smallest rates where rounding takes over."}} tags=["hide-input"]
figures.lines(
    one_step,
    "learning_rate",
    {"relative_error": "relative error"},
    labels=(r"learning rate $\eta$", "relative error of the prediction"),
    xscale="log",
    yscale="log",
)

# %% tags=["remove-input"]
figures.data_link(one_step, "one-step")

# %%
small = one_step[one_step["learning_rate"].between(0.9e-4, 1.1e-2)]
slope = np.polyfit(
    np.log(small["learning_rate"]), np.log(small["relative_error"]), 1
)[0]
print(f"slope between 1e-4 and 1e-2: {slope:.2f} (theory: 1)")
assert abs(slope - 1) < 0.2

# %% [markdown]
# The kernel is right where it should be. (At the smallest rates the error levels off: attention computes its
# softmax in single precision, whatever the model's.) And {numref}`fig-one-step` says already where it stops: read
# off the learning rate at which the relative error reaches one tenth. But one step is not a training.
#
# ## Kernel behaviour along a real fine-tuning
#
# ```{prf:definition} Kernel behaviour
# :label: def-kernel-behavior
#
# Training shows kernel behaviour if (1) *linearization* holds: the change of $f$ is well approximated by its
# first-order Taylor expansion, and (2) *fixed features* holds:
# $\nabla f(\xi; \theta_t) \approx \nabla f(\xi; \theta_0)$ for all $t$ (Definition 2.2).
# ```
#
# Both are measured along the path of a real training: the Taylor model
#
# $$f_{\mathrm{lin}}(\xi; \theta_t) = f(\xi; \theta_0) +
# \langle \nabla f(\xi; \theta_0), \theta_t - \theta_0 \rangle$$ (eq-taylor)
#
# against the real model at the same parameters, and the kernel at $\theta_t$ against the kernel at $\theta_0$, as
# the mean relative distance of its entries. You train three times, with learning rates a factor of ten apart.

# %%
from tangentlm.finetune.loop import Schedule, fine_tune
from tangentlm.finetune.taylor import linearized_logits
from tangentlm.metrics import kernel_distance

probe = select_rows(batch, slice(64, 74))
kernel_0 = entk(model, probe, outputs="difference", progress=False)
test_batch, test_labels = select_rows(batch, test), labels[test].numpy()
f_0 = logits_of(model, test_batch).numpy()


def follow(learning_rate: float, steps: int = 96, every: int = 32) -> pd.DataFrame:
    """Train, and measure the model, its Taylor model and its kernel on the way."""
    rows = [
        {
            "step": 0,
            "accuracy": 100 * (f_0.argmax(1) == test_labels).mean(),
            "taylor_accuracy": 100 * (f_0.argmax(1) == test_labels).mean(),
            "taylor_error": 0.0,
            "kernel_distance": 0.0,
        }
    ]

    def measure(step: int, network: torch.nn.Module) -> None:
        network.eval()
        real = logits_of(network, test_batch, select=select_rows).numpy()
        taylor = linearized_logits(
            network, start, snapshot(network), test_batch
        ).numpy()
        now = entk(network, probe, outputs="difference", progress=False)
        rows.append(
            {
                "step": step,
                "accuracy": 100 * (real.argmax(1) == test_labels).mean(),
                "taylor_accuracy": 100 * (taylor.argmax(1) == test_labels).mean(),
                "taylor_error": np.linalg.norm(real - taylor)
                / np.linalg.norm(real - f_0),
                "kernel_distance": kernel_distance(kernel_0, now),
            }
        )
        network.train()

    model.load_state_dict(start)
    fine_tune(
        model,
        shots.part("train"),
        shots.part("dev"),
        Schedule("sgd", learning_rate, 2, steps, every, seed=13),
        observe=measure,
        progress=False,
    )
    model.load_state_dict(start)
    return pd.DataFrame(rows).assign(learning_rate=learning_rate)


paths = {rate: follow(rate) for rate in (5e-4, 5e-3, 5e-2)}
both = pd.concat(paths.values())

# %% mystnb={"figure": {"caption": "Relative error of the Taylor model on test examples along fine-tuning, for three learning rates.", "name": "fig-taylor"}, "image": {"alt": "Three lines of relative Taylor error over steps; the larger the learning rate, the larger the error."}} tags=["hide-input"]
wide = both.pivot(
    index="step", columns="learning_rate", values="taylor_error"
).reset_index()
names = {rate: f"learning rate {rate:g}" for rate in paths}
figures.lines(
    wide, "step", names, labels=("step", "relative error of the Taylor model")
)

# %% mystnb={"figure": {"caption": "How far the kernel has moved from where it began: mean relative distance of its entries on ten test examples.", "name": "fig-kernel-moves"}, "image": {"alt": "Three lines of kernel distance over steps; the larger the learning rate, the further the kernel moves."}} tags=["hide-input"]
wide = both.pivot(
    index="step", columns="learning_rate", values="kernel_distance"
).reset_index()
figures.lines(
    wide, "step", names, labels=("step", "mean relative distance of the kernel")
)

# %% tags=["remove-input"]
figures.data_link(both, "along-fine-tuning")

# %%
end = both.groupby("learning_rate").tail(1).set_index("learning_rate")
# What the text below says, so that it cannot become untrue unnoticed.
assert end["taylor_error"][5e-3] < 0.2 < end["taylor_error"][5e-2]
assert end["kernel_distance"].is_monotonic_increasing
assert end["kernel_distance"].max() < 1
end.round(3)

# %% [markdown]
# Read {numref}`fig-taylor` and {numref}`fig-kernel-moves` together with the table. At the two smaller
# learning rates the Taylor model follows the real one closely: that is kernel behaviour. At the
# largest one the Taylor model misses a good part of the change, and its answers differ. The same
# model, the same data and the same prompt can be on either side of the line: the learning rate
# decides. Kernel behaviour is a property of a training, not of a model.
#
# The two properties need not go together. The kernel moves further the faster you train, but even at
# the largest rate its distance stays below 1, which Malladi-v1 counts as fixed (the later version
# allows 2), while linearization is already lost. A threshold is a convention; look at the curve.
#
# (clipped-steps)=
# ## A clipped step does not shrink
#
# Why should a task that is nearly solved make fine-tuning linear? Because the step of SGD is
# $\Delta\theta = -\eta\, \chi\, \nabla f$: its length is in proportion to $\chi$, and a short step is nearly
# linear. That is the mechanism of Theorem 3.7 of Malladi-v1, and the reason for the unit $\chi_{\max}$ in its
# Definition D.3. The authors' code, however, clips gradients at a norm of 1, which their paper does not mention.
#
# ```{prf:proposition} Clipped steps
# :label: prop-clipped
#
# Let $g = \nabla f(\xi_1; \theta)$ for one output $f$, and take the clipped step
# $\Delta\theta = -\eta \min(1, c / |\chi| \lVert g \rVert)\, \chi g$. As long as
# $|\chi| > c / \lVert g \rVert$, its length is $\eta c$ and the change of $f$ to first order is
# $-\eta c\, \mathrm{sign}(\chi)\, \mathcal{K}(\xi, \xi_1) / \sqrt{\mathcal{K}(\xi_1, \xi_1)}$: neither depends
# on $|\chi|$. So the change and its second-order error, in units of $\chi$, grow as $1 / |\chi|$. Without
# clipping the change in these units does not depend on $\chi$, and the error falls in proportion to it.
# ```
#
# ```{prf:proof}
# Where the clip binds, $\Delta\theta = -\eta c\, \mathrm{sign}(\chi)\, g / \lVert g \rVert$, and
# $\lVert g \rVert^2 = \mathcal{K}(\xi_1, \xi_1)$. The error is $O(\lVert \Delta\theta \rVert^2)$, that is
# $O(\eta^2 c^2)$ with clipping and $O(\eta^2 \chi^2 \lVert g \rVert^2)$ without.
# ```
#
# This is the step of *normalised* gradient descent. It is like that of SignGD, for which the paper has to assume
# that the rate shrinks with $\chi$ (Assumption D.2 h). In the end $\chi$ is so small that the clip no longer binds.
# But where that happens depends on $\lVert g \rVert$, which can be large for a language model. So if you compare a
# natural prompt with another one under clipping, you may compare SGD with something else.
#
# See it in one step. The gradient of $f$, here the difference of the two logits, is that of a real example; $\chi$
# is set by hand, as if the model knew the answer more or less well.

# %%
ETA = 3e-3
model.double().load_state_dict(start)
before = logits_of(model, others, select=select_rows).numpy()
sign = 1.0 if labels[0] == 1 else -1.0
logits_1 = model(**one)[0]
g = torch.autograd.grad(
    sign * (logits_1[1] - logits_1[0]), list(model.parameters())
)
norm = float(sum((part**2).sum() for part in g) ** 0.5)
K_others = sign * (kernel @ np.array([-1.0, 1.0]))  # of each logit with f


def one_clipped_step(chi: float, clip: float | None) -> dict[str, float]:
    """Change and error of the logits of the others by one step, in units of chi."""
    length = 1.0 if clip is None else min(1.0, clip / (chi * norm))
    with torch.no_grad():
        for parameter, part in zip(model.parameters(), g, strict=True):
            parameter += ETA * length * chi * part
    after = logits_of(model, others, select=select_rows).numpy()
    model.load_state_dict(start)
    change, line = after - before, ETA * length * chi * K_others
    rms = [float(np.sqrt(np.mean(part**2))) for part in (change, change - line)]
    return {"chi": chi, "change": rms[0] / chi, "error": rms[1] / chi}


steps = pd.DataFrame(
    [
        {"step": name, **one_clipped_step(chi, clip)}
        for name, clip in (("SGD", None), ("clipped SGD", 1.0))
        for chi in 2.0 ** np.arange(0, -11, -1)
    ]
)
model.float().load_state_dict(start)
print(f"|g| = {norm:.1f}, so the clip binds for chi above {1 / norm:.3f}")

# %% mystnb={"figure": {"caption": "Second-order error of one step in units of the output derivative, over the output derivative. As the output derivative gets smaller the error falls with SGD; with the clip it grows until the clip no longer binds.", "name": "fig-clipped"}, "image": {"alt": "Log-log plot: the error of SGD falls in proportion as chi gets smaller; that of clipped SGD is below it at the right, grows to the left as one over chi, and joins it where the clip no longer binds."}} tags=["hide-input"]
wide = steps.pivot(index="chi", columns="step", values="error").reset_index()
figures.lines(
    wide,
    "chi",
    {name: name for name in ("SGD", "clipped SGD")},
    labels=(
        r"output derivative $|\chi|$",
        r"error of the step, in units of $|\chi|$",
    ),
    xscale="log",
    yscale="log",
)

# %% tags=["remove-input"]
figures.data_link(steps, "clipped-steps")

# %%
powers = {}
for name in ("SGD", "clipped SGD"):
    chosen = steps[(steps["step"] == name) & (steps["chi"] > 2 / norm)]
    x = np.log(chosen["chi"])
    powers[name] = {
        column: np.polyfit(x, np.log(chosen[column]), 1)[0]
        for column in ("change", "error")
    }
powers = pd.DataFrame(powers).T
assert abs(powers.loc["SGD", "change"]) < 0.2
assert abs(powers.loc["SGD", "error"] - 1) < 0.3
assert (powers.loc["clipped SGD"] + 1).abs().max() < 0.1
powers.rename_axis("power of chi, where the clip binds").round(2)

# %% [markdown]
# A clipped fine-tuning can still be linear: its steps are short where the learning rate is small. But then the
# *rate* made it so, not the prompt. {doc}`/book/results/minilang` measures what that does to a comparison of prompts,
# and every record of a fine-tuning says at what share of its steps the clip bound.
#
# ## Limits
#
# - One task, one split, one seed, one small model. The result pages have spreads over splits.
# - The mean relative distance is dominated by kernel entries near zero. The paper does not say how
#   it treats them; this book uses the plain mean and says so in the {doc}`/book/errata`.
# - A small model has a larger output derivative than RoBERTa, so it has further to go.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-two-steps
#
# Equation {eq}`eq-one-step` is for one step. Take two SGD steps on two different examples and
# predict the change of the logits from $\mathcal{K}^{(\mathrm{SGD})}$ at $\theta_0$ alone. What do
# you have to assume about $\chi_2$, and how large is the error that this makes?
# ```
#
# ```{solution} ex-two-steps
# :class: dropdown
#
# Add the two predictions: $-\eta [\mathcal{K}(\xi, \xi_1) \chi_1 + \mathcal{K}(\xi, \xi_2) \chi_2]$.
# $\chi_2$ is taken at $\theta_1$, but the kernel world lets you compute it without the model:
# $f(\xi_2; \theta_1) \approx f(\xi_2; \theta_0) - \eta \mathcal{K}(\xi_2, \xi_1) \chi_1$, and the
# softmax of that gives $\chi_2$. The error is of second order in $\eta$, like that of one step.
# ```
#
# ```{exercise}
# :label: ex-null-prompt
#
# Take a prompt that says nothing: `load_task("reviews", template="{text_a} {mask}")`. Encode the
# examples with it (`tangentlm.tasks.prompts.encode`) and compute the logits. Does $\chi$ change? Does the
# error of the kernel's prediction for one step?
# ```
#
# ```{solution} ex-null-prompt
# :class: dropdown
#
#     split = shots.split
#     null = load_task("reviews", template="{text_a} {mask}")
#     rows = [*split.train, *split.dev, *split.test]
#     batch = encode(null, shots.tokenizer, rows)
#
# Run the page's cells again with this `batch`. The mean of $|\chi_y|$ hardly changes, a little below one half with
# either prompt, and nor does the accuracy: this small model does not know the task, so the words of the prompt have
# little to call up. What does change is every single $\chi$. With "It was" the model leans to *terrible*, without it
# to *great*, so examples of one class are denied less and those of the other more. The error of one step follows: by
# {eq}`eq-one-step` it is in proportion to the length of the step, $\eta \lVert \nabla f^\top \chi \rVert$, and the
# gradient of $f$ is about as long as before. So where $\chi$ fell the error fell, and where it rose the error rose, a
# little. Divide it by $|\chi|$ and on the two examples that we tried (the first and the twenty-first) it is about
# half of what it was. A prompt can make $\chi$ small only for a model that can answer it.
# ```

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
