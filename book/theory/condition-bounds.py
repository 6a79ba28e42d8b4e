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
# (condition-bounds)=
# # What the spectrum says of the risk
#
# Theorem 1 of {cite:t}`afzal2024spectrum` bounds the training risk of kernel ridge regression by the ends of the
# kernel's spectrum, and is the paper's reason to look at the condition number. As printed, its lower bound is false.
# With the two factors that the proof drops it is true, and both bounds are sharp. But the condition number is in
# neither of them: where it appears at all, a larger one *permits* a lower risk. {numref}`fig-bounds` shows it.
#
# **You will learn**
#
# - the training risk in closed form, and the bounds that follow, with draws that try to break them
# - a counterexample to the printed bound, with one sample
# - why equation (9) of the paper does not solve its equation (6): the missing $n$
# - that adding layers to LoRA can only raise all eigenvalues, and what that says of the paper's table.
#
# **Before you start**: read {doc}`/book/theory/solvers` for kernel ridge regression.

# %% [markdown]
# ## The risk, eigenvector by eigenvector
#
# The regression with a number $s > 0$ on the diagonal is $f = K (K + s I)^{-1} y$. What it leaves of $y$ is
# $y - f = s (K + s I)^{-1} y$. Write $K = \sum_i \lambda_i u_i u_i^\top$.
#
# ```{prf:theorem} Training risk of kernel ridge regression
# :label: thm-ridge-risk
#
# $$\mathcal{R} = \frac1n \lVert y - f \rVert^2 =
# \frac1n \sum_{i=1}^n \Big( \frac{s}{s + \lambda_i} \Big)^2 (u_i^\top y)^2 ,$$ (eq-ridge-risk)
#
# and therefore
#
# $$\Big( \frac{s}{s + \lambda_{\max}} \Big)^2 \frac{\lVert y \rVert^2}{n} \;\le\; \mathcal{R} \;\le\;
# \Big( \frac{s}{s + \lambda_{\min}} \Big)^2 \frac{\lVert y \rVert^2}{n} .$$ (eq-ridge-bounds)
#
# Both bounds are reached: where $y$ is the eigenvector of $\lambda_{\max}$, or of $\lambda_{\min}$.
# ```
#
# ```{prf:proof}
# The $u_i$ are orthonormal, so the squared norm of $s (K + s I)^{-1} y$ is the sum. Each factor lies between those of
# the two ends, and $\sum_i (u_i^\top y)^2 = \lVert y \rVert^2$.
# ```
#
# The paper prints (its equation (10))
#
# $$\frac{s \lVert y \rVert^2}{s + \lambda_{\max}} \le \mathcal{R} \le
# \frac{s \lVert y \rVert^2}{s + \lambda_{\min}} .$$ (eq-printed-bounds)
#
# Its proof has the square and the $1/n$ in the line before, and loses both in the last step.
#
# ### The counterexample
#
# One sample, $\lambda = y = 1$, and the paper's $\sigma = 10^{-4}$:

# %%
import numpy as np
import pandas as pd

from tangentlm import figures
from tangentlm.afzal.theorem import TARGETS, draw_risks, printed_bounds
from tangentlm.theory.ridge_risk import (
    objective,
    risk_bounds,
    shift_of,
    training_risk,
)

figures.use_style()
K, y, s = np.array([[1.0]]), np.array([1.0]), 1e-4
risk = training_risk(K, y, s)
residual = y - K @ np.linalg.solve(K + s * np.eye(1), y)
printed, _ = printed_bounds(K, y, s)
assert np.isclose(risk, residual[0] ** 2)
print(
    f"risk {risk:.1e}, printed lower bound {printed:.1e}: {printed / risk:,.0f} times it"
)
assert risk < printed

# %% [markdown]
# ### Draws that try to break the bounds
#
# Random kernels of all ranks and of sizes over six orders of magnitude, $s$ over five, and three kinds of targets.
# How often does the risk lie outside?

# %%
N_DRAWS = 1000
drawn = {t: draw_risks(N_DRAWS, seed=0, targets=t) for t in TARGETS}
outside = pd.DataFrame(
    {
        f"y {targets}": {
            "lower or upper bound": int(table["violates"].sum()),
            "printed lower bound": int(table["violates_printed_low"].sum()),
            "printed upper bound": int(table["violates_printed_high"].sum()),
        }
        for targets, table in drawn.items()
    }
)
assert not outside.loc[["lower or upper bound", "printed upper bound"]].any(
    axis=None
)
assert outside.loc["printed lower bound", "y top"] == N_DRAWS
print(f"violations in {N_DRAWS} draws each")
outside

# %% [markdown]
# No draw violates the bounds of the theorem. The printed lower bound fails for every kernel whose top eigenvector
# is the target: the very targets that the kernel learns best. The printed upper bound is true, since it is the
# sharp one times $n (s + \lambda_{\min}) / s > 1$.
#
# ## Where is the condition number?
#
# In neither bound. They have $\lambda_{\max} / s$ and $\lambda_{\min} / s$, each by itself. In the paper's kernels
# $\lambda_{\min}$ is near zero. Then the upper bound is $\lVert y \rVert^2 / n$, the risk of predicting nothing, and
# with $\kappa = (\lambda_{\max} + s) / (\lambda_{\min} + s) = 1 + \lambda_{\max} / s$ the lower one is
#
# $$\mathcal{R} \ge \frac{1}{\kappa^2}\, \frac{\lVert y \rVert^2}{n} .$$ (eq-kappa-bound)
#
# A larger $\kappa$ permits a *lower* risk. The claim is that it means a higher one.

# %%
rng = np.random.default_rng(1)
rows = []
for _ in range(400):
    n = 8
    G = rng.normal(size=(n, 3))  # rank three: lambda_min = 0
    K = 10.0 ** rng.uniform(-2, 4) * G @ G.T / n
    s = 1e-1
    values, vectors = np.linalg.eigh(K)
    kappa = (values[-1] + s) / s
    for name, y in (
        ("top eigenvector", vectors[:, -1]),
        ("random", rng.normal(size=n)),
        ("null space", vectors[:, 0]),
    ):
        share = training_risk(K, y, s) / (y @ y / n)
        low, high = (bound / (y @ y / n) for bound in risk_bounds(K, y, s))
        rows.append({"targets": name, "kappa": kappa, "share": share, "low": low})
        assert low * (1 - 1e-6) <= share <= high * (1 + 1e-6)
        assert np.isclose(low, kappa**-2)
permitted = pd.DataFrame(rows)

# %% mystnb={"figure": {"caption": "Training risk, as a share of that of predicting nothing, over the condition number, for kernels with a smallest eigenvalue of zero. The lower bound is reached by the points at the bottom and falls as the condition number grows; the upper bound is one.", "name": "fig-bounds"}, "image": {"alt": "Log-log plot: risks of targets in the top eigenvector fall along a line of slope minus two; those of random targets fall and level off; those of targets in the null space stay at one."}} tags=["hide-input"]
figures.relations(
    permitted.assign(panel="risk, share of the largest"),
    "kappa",
    "share",
    "targets",
    panel="panel",
    label="condition number",
    xscale="log",
    yscale="log",
)

# %% tags=["remove-input"]
figures.data_link(permitted, "risk-over-kappa")

# %%
slopes = {
    name: np.polyfit(np.log(part["kappa"]), np.log(part["share"]), 1)[0]
    for name, part in permitted.groupby("targets", sort=False)
}
assert np.isclose(slopes["top eigenvector"], -2)
assert slopes["random"] < 0
print(
    "slope of log risk over log kappa:",
    ", ".join(f"{name} {value:.2f}" for name, value in slopes.items()),
)

# %% [markdown]
# What decides the risk is where $y$ lies among the eigenvectors, which $\kappa$ does not know: it does not see the
# labels at all.
#
# ## The missing $n$
#
# Equation (6) of the paper asks for the least
# $\frac1n \sum_i (f(x_i) - y_i)^2 + \sigma \lVert f \rVert_{\mathcal{H}}^2$, and equation (9) offers $s = \sigma$.
# The minimiser has $s = n \sigma$: with $f = K a$ the objective is
# $\frac1n \lVert K a - y \rVert^2 + \sigma a^\top K a$, whose gradient
# $\frac2n K \big( (K + n \sigma I) a - y \big)$ vanishes there.

# %%
rng = np.random.default_rng(0)
n, sigma = 8, 0.1
G = rng.normal(size=(n, n))
K, y = G @ G.T, rng.normal(size=n)
shifts = sigma * np.geomspace(0.1, 100, 61)
curve = pd.DataFrame(
    {
        "shift": shifts / sigma,
        "objective": [objective(K, y, s, sigma) for s in shifts],
    }
)
least = curve.loc[curve["objective"].idxmin(), "shift"]
as_printed = objective(K, y, sigma, sigma)
right = objective(K, y, shift_of(sigma, n), sigma)
assert right <= curve["objective"].min() < as_printed
print(
    f"objective {as_printed:.4f} as printed, {right:.4f} with n sigma; least at {least:.1f}"
)

# %% mystnb={"figure": {"caption": "The objective of equation (6) over what is added to the diagonal, in units of sigma, for eight samples. The printed solution has one unit, the minimiser eight.", "name": "fig-shift"}, "image": {"alt": "A curve with its minimum at eight; at one it lies clearly higher."}} tags=["hide-input"]
figures.lines(
    curve,
    "shift",
    {"objective": "objective of equation (6)"},
    labels=("added to the diagonal, in units of $\\sigma$", "objective"),
    xscale="log",
)

# %% tags=["remove-input"]
figures.data_link(curve, "objective-over-shift")

# %% [markdown]
# With 32 samples the printed solution regularises 32 times less than it says. In {eq}`eq-ridge-bounds`, put
# $n \sigma$ for $s$ to speak of equation (6).
#
# ## More layers, larger eigenvalues
#
# LoRA on more layers has a kernel with more terms ({eq}`eq-subset-sum`), and each term is positive semidefinite. So
# for the same samples, the same head and the same matrices $A$,
#
# $$S \subseteq S' \;\Longrightarrow\; K_S \preceq K_{S'} \;\Longrightarrow\; \lambda_i(K_S) \le \lambda_i(K_{S'})
# \text{ for every } i .$$ (eq-loewner)

# %%
import itertools

from tangentlm.afzal.condition import condition_number
from tangentlm.afzal.pools import load_pool, paper_subsets
from tangentlm.finetune.chosen_lora import of_layers

pool = load_pool("reviews", "pocket-xs", size=32, seed=0)
subsets = paper_subsets(pool, (0, 2, 3))
names = list(dict.fromkeys(name for some in subsets.values() for name in some))
nested = ("q+v {0}", "q+v {0,3}", "q+v {0,2,3}")
rows = []
for head in range(3):
    kernel = pool.kernel(head, names)
    spectra = []
    for name in nested:
        K = of_layers(kernel, subsets[name])[:, 0, :, 0]
        spectra.append(np.linalg.eigvalsh(K))
        rows.append(
            {
                "head": head,
                "layers": name,
                "smallest": spectra[-1][0],
                "largest": spectra[-1][-1],
                "kappa, sigma = 1e-4": condition_number(K, 1e-4),
                "kappa, sigma = 10": condition_number(K, 10.0),
            }
        )
    for less, more in itertools.pairwise(spectra):
        assert (more >= less - 1e-6 * more[-1]).all()
growing = pd.DataFrame(rows)
large = growing.pivot(index="head", columns="layers", values="kappa, sigma = 10")
assert (large[list(nested)].diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
growing.round(3)

# %% [markdown]
# What follows for $\kappa$? If $\lambda_{\min}$ is nothing beside $\sigma$, as the paper says of its kernels, then
# $\kappa = 1 + \lambda_{\max} / \sigma$, and it cannot fall as layers are added. (The last column has a $\sigma$ that
# large.) The paper's Table 1 falls: 11,618, 9,490, 7,503 for CoLA; from {0,11} to {0,5,11} also for Yelp and IMDb,
# there from 5,899 to 1,277. So in its rows either the samples, the head or $A$ are not the same, or $\lambda_{\min}$
# is not small. Where $\lambda_{\min}$ counts, as in the column with the paper's $\sigma$, $\kappa$ may go either way.
#
# ## Limits
#
# All of this is about the *training* risk of *kernel regression*. Nothing here speaks of test error, or of
# fine-tuning that is not kernel regression.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-bounds-scale
#
# Multiply $K$ and $s$ by the same number. What happens to $\mathcal{R}$, to the bounds, and to $\kappa$ with a fixed
# $\sigma$?
# ```
#
# ```{solution} ex-bounds-scale
# :class: dropdown
#
# $\mathcal{R}$ and both bounds stay as they are, since they depend on $\lambda_i / s$ alone. $\kappa$ with
# $\sigma = s$ stays, too; with a fixed $\sigma$ it changes, so it is not a function of what decides the risk.
# ```
#
# ```{exercise}
# :label: ex-bounds-same-kappa
#
# Find two regressions with the same $K$, $s$ and $\lVert y \rVert$ whose risks differ by $\kappa^2$.
# ```
#
# ```{solution} ex-bounds-same-kappa
# :class: dropdown
#
# Take $y = u_{\max}$ in one and $y = u_{\min}$ in the other: the bounds of {eq}`eq-ridge-bounds` are reached, and
# their ratio is $\kappa(K + s I)^2$.
# ```

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
