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
# # The engine, measured
#
# Every kernel in this book comes from one function, `entk`. It is exact, so the only questions left
# are what it costs: seconds, memory, and the digits you give up if you ask it to hurry.
#
# **You will learn** how close the engine comes to what the machine can do, how much faster it is
# than the definition computed term by term, how time and memory grow with the numbers and the length
# of samples, what lower precision does to the numbers, and how to measure all this on your own
# machine.
#
# **You need** to know what the kernel is ({doc}`/book/theory/kernel-behavior`). Nothing is computed
# on this page: it shows the files that `benchmarks/engine.py` wrote. What has not been measured says
# "not run".

# %% tags=["hide-input"]
import json

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from tangentlm import figures
from tangentlm.params import project_root
from tangentlm.report.tables import readable
from tangentlm.studies.collect import read_benchmark

figures.use_style()
RESULTS = project_root() / "results" / "benchmarks"


def machine(device: str = "cpu") -> str:
    """What was measured on, in one sentence."""
    path = RESULTS / device / "machine.json"
    if not path.is_file():
        return "Not run."
    about = json.loads(path.read_text(encoding="utf-8"))
    rates = ", ".join(f"{rate} in {name}" for name, rate in about["gflops"].items())
    return (
        f"Measured on {about['processor']}, {about['threads']} threads, PyTorch "
        f"{about['torch']}. It multiplies matrices of {about['product_size']} rows and "
        f"columns at these rates, in GFLOP/s: {rates}."
    )


def say(rows: pd.DataFrame, sentence) -> Markdown:
    """A sentence with numbers of a part, or that it was not run."""
    return Markdown("Not run." if rows.empty else sentence(rows))


Markdown(machine())

# %% [markdown]
# ## The yardstick
#
# The model has the shape of RoBERTa-base, 125 million parameters with a tied decoder, and random
# weights, on which neither time nor memory depends. The samples have the lengths of prompted SST-2:
# evenly spaced quantiles of the real ones. The output is the one logit $f_1 - f_0$.
#
# Seconds alone say little, because machines differ. So the engine counts the operations of its matrix
# products, and the benchmark measures, in the same process just before and just after, how fast the
# machine multiplies two matrices of 2048 rows and columns: the best of several, and of the two the
# faster. The *share of the rate* is
#
# $$\text{share} = \frac{\text{counted operations}}{\text{seconds} \times \text{rate of products}} .$$ (eq-share)
#
# It charges the engine for everything that is not a product: softmax, layer norms, sums, Python. Do
# not expect a share of one. And a large share alone proves little, since needless work counts, too;
# so the tables below also compare with other methods, in seconds.
#
# ## What was promised, what came out
#
# The bounds were set before measuring, for two CPU cores and `float32`.

# %% tags=["hide-input"]
targets = read_benchmark("targets")
readable(
    targets,
    {
        "target": "target",
        "bound": "bound",
        "measured": "measured",
        "verdict": "verdict",
    },
)

# %% [markdown]
# ## Three formulas, and the definition
#
# 32 rows, 128 columns. The sign formulas have to write gradients out, since a sign does not factor
# over a sum of positions; the plain kernel often gets by without.
#
# The last row is the way of the published code: for each row one vector-Jacobian product (VJP), a
# gradient; for each row and column one Jacobian-vector product (JVP), an entry of the kernel. That is
# $N + N M$ products of batch size one. The benchmark measures it on a slice, stated in the table,
# and scales by the numbers of products. It also compares the values on the slice.

# %% tags=["hide-input"]
speed = read_benchmark("speed")
readable(
    speed,
    {
        "method": "method",
        "formula": "formula",
        "seconds": "seconds",
        "tflop": "TFLOP",
        "share_of_rate": "share of rate",
        "slice": "measured on",
        "max_difference": "difference from entk",
    },
)

# %% tags=["hide-input"]
whole = read_benchmark("set")


def whole_set(rows: pd.DataFrame) -> str:
    """What the kernels of one few-shot problem cost."""
    row = rows.iloc[0]
    return (
        f"And the real thing: all kernels of SST-2 with 16 examples a class "
        f"({row.rows:.0f} rows; train, dev and test, {row.columns:.0f} columns, in one "
        f"call) take **{row.seconds / 60:.1f} minutes** and {row.memory_gib:.2f} GiB "
        f"beyond the model, at {row.share_of_rate:.0%} of the rate."
    )


say(whole, whole_set)

# %% [markdown]
# The same set with a causal model of 135 million parameters (the shape of SmolLM2: 30 layers of width 576,
# grouped-query attention), whose label word is read after the last token; train, dev and test columns in
# calls of their own:

# %% tags=["hide-input"]
readable(
    read_benchmark("causal"),
    {
        "rows": "rows",
        "columns": "columns",
        "seconds": "seconds",
        "tflop": "TFLOP",
        "share_of_rate": "share of rate",
        "memory_gib": "GiB beyond the model",
    },
)

# %% [markdown]
# ## Over the number of columns
#
# Rows stay in memory while columns stream past. So at fixed $N$ time should be a straight line in
# $M$ and memory should stop growing where the budget begins to bind. Each point ran in a process of
# its own; memory is the growth of its largest resident size over what it had with the model loaded.

# %% mystnb={"figure": {"caption": "Seconds for the kernel of 32 rows over the number of columns, with a straight line fitted to them.", "name": "fig-engine-columns"}, "image": {"alt": "Seconds over the number of columns M from 32 to 512, with a fitted straight line; or the words not run."}} tags=["hide-input"]
columns = read_benchmark("columns")
if not columns.empty:
    slope, start = np.polyfit(columns["columns"], columns["seconds"], 1)
    columns["fit"] = start + slope * columns["columns"]
figures.lines(
    columns,
    "columns",
    {"seconds": "measured", "fit": "linear fit"},
    labels=("columns $M$", "seconds"),
)

# %% mystnb={"figure": {"caption": "Memory beyond the model for the same kernels. It grows until the budget binds.", "name": "fig-engine-memory"}, "image": {"alt": "GiB beyond the model over the number of columns M from 32 to 512; or the words not run."}} tags=["hide-input"]
figures.lines(
    columns,
    "columns",
    {"memory_gib": "GiB"},
    labels=("columns $M$", "GiB beyond the model"),
    ylim=(0, None),
)

# %% tags=["remove-input"]
figures.data_link(columns, "engine-columns")


# %% tags=["hide-input"]
def over_columns(rows: pd.DataFrame) -> str:
    """The fit of time, and the most memory."""
    off = (rows["seconds"] / rows["fit"] - 1).abs().max()
    return (
        f"The line is {slope:.3f} s a column plus {start:.1f} s, and no point is more than "
        f"{off:.0%} off it. The most memory is {rows['memory_gib'].max():.2f} GiB."
    )


say(columns, over_columns)

# %% [markdown]
# ## Over the length of samples
#
# For each weight the engine has two exact ways, and takes the cheaper one. With $n$ rows and $m$
# columns of $T$ tokens, one output, and a weight of shape $p \times q$:
#
# - **Gradients** are written out and multiplied: $2 (n + m) T p q + 2 n m p q$ operations.
# - **Gram** never forms them. A gradient is a sum over positions, $\sum_s d_s x_s^\top$. So its inner
#   product with another one, $\sum_t d'_t x_t'^\top$, is
#   $\sum_{s,t} (x_s \cdot x'_t)(d_s \cdot d'_t)$: about $2 n m T^2 (p + q)$ operations.
#
# The second grows with the square of the length, the first in proportion to it. So short samples take
# Gram, long ones gradients, except where only one position is read: the last layer's weights behind
# attention, and the head, have gradients of rank one, and Gram is then nearly free at every length.

# %% mystnb={"figure": {"caption": "Seconds for 16 rows and 32 columns, all of one length, over that length.", "name": "fig-engine-length"}, "image": {"alt": "Log-log plot of seconds over tokens a sample, from 8 to 256; or the words not run."}} tags=["hide-input"]
length = read_benchmark("length")
figures.lines(
    length,
    "tokens",
    {"seconds": "seconds"},
    labels=("tokens a sample $T$", "seconds"),
    xscale="log",
    yscale="log",
)

# %% mystnb={"figure": {"caption": "The share of weight parameters whose gradients were never written out, over the length of samples.", "name": "fig-engine-gram"}, "image": {"alt": "Share of the weights by the way of Gram, between zero and one, over tokens a sample; or the words not run."}} tags=["hide-input"]
figures.lines(
    length,
    "tokens",
    {"share_by_gram": "share"},
    labels=("tokens a sample $T$", "share of weights by Gram"),
    xscale="log",
    ylim=(0, 1.05),
)

# %% tags=["remove-input"]
figures.data_link(length, "engine-length")


# %% tags=["hide-input"]
def switch(rows: pd.DataFrame) -> str:
    """At which lengths the way changes."""
    steps = [
        f"{row.weights_by_gram} of {row.weights} at $T = {row.tokens}$"
        for row in rows.itertuples()
    ]
    return (
        f"Weight matrices by the way of Gram: {', '.join(steps)}. In numbers of "
        f"parameters, the share falls from {rows['share_by_gram'].max():.0%} to "
        f"{rows['share_by_gram'].min():.0%}."
    )


say(length, switch)

# %% [markdown]
# ## A budget of memory
#
# `memory=` says how many bytes a kernel may take beyond the model. A smaller budget costs time: if
# the rows do not fit at once, the columns go through the model again for each tile of rows. The
# last line has 1024 rows, more than fit at once. One thing has a floor: before it starts, `entk`
# checks its rules against autograd, and that takes whole gradients of single samples, which no
# budget makes smaller.

# %% tags=["hide-input"]
readable(
    read_benchmark("memory"),
    {
        "budget_gib": "budget, GiB",
        "rows": "rows",
        "columns": "columns",
        "seconds": "seconds",
        "factors_gib": "held factors, GiB",
        "memory_gib": "process beyond the model, GiB",
    },
)

# %% [markdown]
# ## What precision costs, and what it gives
#
# Errors are against the same kernel in `float64`, on 8 rows and 16 columns: the largest error over
# the largest entry, and the error in the Frobenius norm, relative. Seconds are of a larger plain
# kernel, whose size the table states. The last column is the rate of plain matrix products in that
# precision; three products of `bfloat16x3` count as the one that they stand for.
#
# On a CPU `bfloat16` is a permission, not an order. A processor without fast units for it may go on
# in `float32`, only by other routines; then the error stays that of `float32`.

# %% tags=["hide-input"]
precision = read_benchmark("precision")
if not precision.empty:
    rates = precision[["product_gflops_before", "product_gflops_after"]]
    precision["rate"] = rates.max(axis=1)
readable(
    precision,
    {
        "formula": "formula",
        "precision": "precision",
        "max_error": "largest error",
        "frobenius_error": "Frobenius error",
        "rows": "rows",
        "columns": "columns",
        "seconds": "seconds",
        "rate": "products, GFLOP/s",
    },
)

# %% [markdown]
# Read the sign formulas with care. A sign throws the size of an entry away, so an entry near zero
# whose sign flips through rounding counts as much as a large one. The error of `signgd` is the
# number of such flips. It comes from the gradients, not from the products of signs, which are exact
# in every precision.
#
# ## Beside other libraries
#
# Each library meets `entk` on the largest model that it takes, with the same data, in the same run:
#
# - **torch.func**, part of PyTorch, on the whole model: the Jacobian of each sample by `jacrev`, then
#   all inner products.
# - **BackPACK** gives the gradients of every sample of a batch, for the layers that it knows. On the
#   transformer these are the linear layers of the encoder; here `entk` is asked for the same
#   parameters.
# - **NNGeometry** has a function for the kernel itself, for layers with one position. Its model
#   is an MLP with as many weights as the encoder, and its kernel is that of the rows with
#   themselves.
#
# Errors are against `entk` in `float64`; `entk` in `float64` is compared with autograd in the
# tests. "Does not take" is what failed when it was tried.

# %% tags=["hide-input"]
readable(
    read_benchmark("peers"),
    {
        "problem": "model",
        "method": "method",
        "version": "version",
        "rows": "rows",
        "columns": "columns",
        "seconds": "seconds",
        "memory_gib": "GiB beyond the model",
        "max_error": "largest error",
        "cannot_take": "does not take",
    },
)

# %% [markdown]
# Two things to bear in mind. The kernels here are small, as the others hold whole gradients, and
# before each kernel `entk` checks its own rules against autograd on two samples: a fixed cost, which
# weighs most where there is least to do. And none of these libraries was made for this task alone; each
# does much that `entk` does not.
#
# ## On a GPU
#
# `--device cuda` runs the same parts with TF32 and `bfloat16`, and two that are too much for a CPU:
# TREC with six outputs (96 rows, 692 columns) and SST-2 with 512 examples a class (1024 rows,
# 2920 columns).

# %% tags=["hide-input"]
display(Markdown(machine("cuda")))
for name in ("speed", "set", "trec", "shots512", "precision", "peers"):
    rows = read_benchmark(name, "cuda")
    if rows.empty:
        continue
    display(Markdown(f"**{name}**"))
    display(
        readable(
            rows,
            {
                "method": "method",
                "rows": "rows",
                "columns": "columns",
                "formula": "formula",
                "precision": "precision",
                "seconds": "seconds",
                "share_of_rate": "share of rate",
                "memory_gib": "GiB beyond the model",
                "max_error": "largest error",
            },
        )
    )

# %% [markdown]
# ## Measure your own machine
#
# ```bash
# python benchmarks/engine.py --dry-run        # the parts, and how long each takes
# python benchmarks/engine.py                  # all of them, on the CPU
# python benchmarks/engine.py --only speed     # one of them
# python benchmarks/engine.py --device cuda    # on a GPU
# ```
#
# Leave the machine alone meanwhile: with a busy neighbour on one of two cores, products with two
# threads slow down by far more than a half. Each part writes its file row by row to
# `results/benchmarks/<device>`; build the book again, and this page shows your numbers. The other
# libraries are not needed; a part without them says "not installed". To include them:
#
# ```bash
# pip install --target peers --no-deps backpack-for-pytorch nngeometry einops unfoldNd
# PYTHONPATH=peers python benchmarks/engine.py --only peers
# ```
#
# ## Limits
#
# - One machine of each kind, one run. Times on two cores vary by several per cent between runs.
# - Weights are random. Time and memory do not depend on them, but errors do: a trained model has
#   outliers, which cost low precision more.
# - Tokens are random, so samples share fewer words than real ones do. This makes the word
#   embedding's part of the kernel slightly cheaper than it is on text.
# - The reference method is scaled up from a slice of median length, so its time is an estimate.
#
# ## Exercises
#
# ```{exercise}
# :label: ex-switch
#
# Ignore the inner products of finished gradients, and set the operations of the two ways equal. At
# which length $T$ do they cross for $p = q = 768$, with $n = 16$ and $m = 32$? And with
# $n = m = 512$? Compare the first with {numref}`fig-engine-gram`. What did you neglect?
# ```
#
# ```{solution} ex-switch
# :class: dropdown
#
# $2 (n + m) T p q = 2 n m T^2 (p + q)$ gives $T = \frac{n + m}{n m} \cdot \frac{p q}{p + q}$: 36
# tokens for $n = 16$, $m = 32$, and 1.5 for 512 each. With many samples, written-out gradients are
# used so often that writing them costs next to
# nothing. What was neglected, $2 n m p q$, then matters most:
# it alone makes Gram cheaper up to $T = \sqrt{p q / (p + q)} \approx 20$. Besides, the two ways do not
# multiply equally fast, and the engine weighs their operations accordingly.
# ```
#
# ```{exercise}
# :label: ex-share
#
# Equation {eq}`eq-share` can be gamed. Describe an engine with a larger share that takes longer.
# ```
#
# ```{solution} ex-share
# :class: dropdown
#
# Any that does more work than is needed, in large products. Always writing gradients out would
# multiply larger matrices for short samples, at a better rate and in more time. This is why the
# table also has seconds beside those of another method.
# ```

# %% tags=["remove-input"]
from tangentlm.report.notes import page_cost_note

page_cost_note()
