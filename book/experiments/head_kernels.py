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
# # Experiment: the two parts of the kernel
#
# A model $f = V \phi + b$ has a kernel in two parts. P comes from the head's parameters and is what linear probing
# sees; F comes from the feature extractor's and is what fine-tuning adds. {cite:t}`tomihari2024understanding` compare them at
# the starts of four methods. Every run of this experiment executes this very page on another task.
#
# **You will learn** how large the two parts are, what each of them can learn, and why their shares say less than they seem to.
#
# **Before you start**: the experiment on two-stage fine-tuning introduces the starts of the head.
#
# ## Parameters
#
# The kernel is that of the first `train_size` training rows, on which the head is probed as well, and between them and
# `test_size` test rows.

# %% tags=["parameters"]
task = "reviews"  # a task of params/tasks
model = "pocket"  # a model of params/models, or a folder
rank = 8  # of LoRA
alpha = 8.0  # of LoRA
train_size = None  # at most so many training rows, the first ones
dev_size = None  # not used here
test_size = 1000  # at most so many test rows
max_length = None  # the longest row in tokens; None: the task's own
seed = 13  # of the random head and LoRA's matrices
device = "auto"  # auto, cpu or cuda
data = None  # a data folder; the variable TANGENTLM_DATA otherwise
out = None  # where the record goes

# %%
import pandas as pd

from tangentlm.params import run_from_notebook

run = run_from_notebook("head_kernels", globals())
pd.Series(run.parameters(), name="value").to_frame()

# %% [markdown]
# ## Two heads
#
# One drawn at random, one by linear probing; each also at the norm of the other. The probe's solver starts
# from zero, and the norm grows with its iterations.

# %%
from tangentlm import figures
from tangentlm.models.head_start import head_start, probed_head, random_head
from tangentlm.models.linear_probe import probe_iterations
from tangentlm.models.whole_task import whole_task

figures.use_style()
shots = whole_task(run)
train, test = shots.part("train"), shots.part("test")
drawn = random_head(shots.model, run.seed)
probe, strength = probed_head(shots.model, train)
iterations = probe_iterations(
    shots.model, train, strength, [1, 2, 4, 8, 16, 32, 64, 128, 256]
)
print(
    f"random: |V| = {drawn.norm:.3g}; probed with C = {strength:.3g}: {probe.norm:.3g}"
)
pd.DataFrame(iterations).round(3)

# %% [markdown]
# ## P and F at four starts
#
# LoRA begins with $B = 0$, so its F needs no adapter: it is that of the weights of queries and values, seen through the random $A$.

# %%
from tangentlm.tomihari.components import (
    class_map,
    full_components,
    kernel_facts,
    lora_components,
    lora_proportion,
    spectrum,
)

rows, spectra, maps, proportions = [], [], [], []
components = {}
for method, low_rank, head in (("FT", "LoRA", drawn), ("LP-FT", "LP-LoRA", probe)):
    head.put_in(shots.model)
    full = full_components(shots.model, train.batch, test.batch)
    lora = lora_components(
        shots.model,
        full,
        train.batch,
        test.batch,
        rank=run.rank,
        alpha=run.alpha,
        seed=run.seed,
    )
    components |= {method: full, low_rank: lora}
    proportions.append(
        {
            "method": low_rank,
            **lora_proportion(
                lora.train.finetune,
                full.train.finetune,
                full.train.finetune.groups["adapted"],
                rank=run.rank,
                alpha=run.alpha,
                d_in=shots.model.classifier.in_features,
            ),
        }
    )
answers = train.labels.numpy(), test.labels.numpy()
for method, between in components.items():
    for kernel, pair in between.kernels().items():
        if kernel == "P" and method != "FT":
            continue  # it is the same for all
        of = {"method": "" if kernel == "P" else method, "kernel": kernel}
        rows.append({**of, **kernel_facts(*pair, *answers)})
        spectra += [{**of, **point} for point in spectrum(pair[0])]
        if kernel != "NTK":
            maps += [{**of, **block} for block in class_map(pair[0], answers[0])]
kernels = pd.DataFrame(rows)
kernels.round(1)

# %% mystnb={"figure": {"caption": "Singular values of the pre-train-effective part P and of the FT-effective parts F, each over its largest."}, "image": {"alt": "Falling lines over the index on logarithmic axes, one for P and one for each F."}} tags=["hide-input"]
shown = pd.DataFrame(spectra)
shown = shown[(shown["kernel"] != "NTK") & (shown["value"] > 1e-9)]
name = (shown["kernel"] + " " + shown["method"]).str.strip()
wide = shown.assign(name=name).pivot(index="index", columns="name", values="value")
figures.lines(
    wide.reset_index(),
    "index",
    {column: column for column in wide},
    labels=("index of the singular value", "over the largest"),
    xscale="log",
    yscale="log",
)

# %% [markdown]
# ## LoRA's F as a multiple of F
#
# Proposition 4.4 expects $(\alpha / r)^2 \sigma^2 r$ times F. Only the weights that LoRA adapts can be meant, so both cosines are here.

# %%
pd.DataFrame(proportions).round(4)

# %% [markdown]
# ## The FT ratio of four heads
#
# The FT ratio is the mean over samples of the length of the features' part of a first step over the length of the
# whole. It is no share: where the two parts oppose each other it exceeds 1, and a few such samples can carry the
# mean. Linear probing makes $\sum_i P \delta_i$ small by itself, since it ends where the head's gradient balances
# its penalty: a large ratio need not mean a large F. So here are both parts, for either head at either norm; and
# for a head that was probed on half of the samples, on those and on the others. Those come from one linearised
# step, without a kernel. The penalty is not chosen anew on that half: the mean loss has the weight that it has on
# all samples, or another norm would be mistaken for the effect of samples that the probe has not seen.

# %%
from tangentlm.batches import Labelled, select_rows
from tangentlm.models.logits import logits_of
from tangentlm.tomihari.components import ft_ratio_at
from tangentlm.tomihari.ft_ratio import ft_ratio_of_step

ratios = []
for direction, method, low_rank in (
    ("random", "FT", "LoRA"),
    ("lp", "LP-FT", "LP-LoRA"),
):
    own = {"random": drawn, "lp": probe}[direction]
    other = {"random": "random-at-lp-norm", "lp": "lp-at-initial-norm"}[direction]
    for start in (direction, other):
        head = head_start(start, drawn, probe)
        head.put_in(shots.model)
        logits = logits_of(shots.model, train.batch).double().numpy()
        for name in (method, low_rank):
            found = ft_ratio_at(
                components[name].train,
                logits,
                answers[0],
                scale=head.norm / own.norm,
            )
            facts = {"method": name, "start": start, "norm": head.norm}
            ratios.append({**facts, "samples": "all", "way": "kernel", **found})

half = len(train) // 2
parts = {
    "probed": Labelled(
        select_rows(train.batch, slice(0, half)), train.labels[:half]
    ),
    "others": Labelled(
        select_rows(train.batch, slice(half, None)), train.labels[half:]
    ),
}
half_probe, _ = probed_head(
    shots.model, parts["probed"], strength * len(train) / half
)
for start in ("random", "random-at-lp-norm", "lp"):
    head = head_start(start, drawn, half_probe)
    head.put_in(shots.model)
    for samples, part in parts.items():
        found = ft_ratio_of_step(shots.model, part)
        facts = {"method": "LP-FT" if start == "lp" else "FT", "start": start}
        ratios.append(
            {
                **facts,
                "norm": head.norm,
                "samples": samples,
                "way": "one step",
                **found,
            }
        )
pd.DataFrame(ratios).round(3)

# %% [markdown]
# ## The record

# %%
from tangentlm.report.notes import cost_note
from tangentlm.studies.records import write_record

path = write_record(
    run,
    shots.split.facts,
    {
        "num_classes": shots.task.num_classes,
        "train": len(train),
        "test": len(test),
        "initial_norm": drawn.norm,
        "probe_norm": probe.norm,
        "probe_strength": strength,
        "kernels": kernels,
        "spectra": spectra,
        "class_maps": pd.DataFrame(maps),
        "lora": proportions,
        "ft_ratios": ratios,
        "iterations": iterations,
    },
)
cost_note(path)

# %% [markdown]
# ## Limits
#
# One draw of the random head and of LoRA's matrices a run. The kernel regression is the authors', with the kernel's rows
# as features; {doc}`/book/theory/solvers` says what other readings change.
#
# ## Exercises
#
# 1. Two classes: what is the rank of F after linear probing, and why? Three classes: how many of its eigenvalues are zero?
# 2. Scale the probed head by ten. Which of the numbers change, and how?
#
# ```{admonition} Solutions
# :class: dropdown
#
# 1. Of two classes the rows of the probed head are $-w/2$ and $+w/2$. So a block of $F = V \Theta^\phi V^\top$ is the number
#    $w^\top \Theta^\phi w / 4$ times a matrix of rank one, and the rank of $F$ is at most $N$ of $2N$. Of three classes the rows of a
#    fitted multinomial head sum to zero, so $N$ of the $3N$ eigenvalues are zero at least.
# 2. $P$ does not know the head and stays. $F$ is a hundred times as large, with the same rank and the same
#    spectrum over its largest value. LoRA's cosines and factor stay the same. The logits are ten times as large,
#    so the residuals move towards 0 and 1, and the FT ratio changes by both. Kernel regression has a penalty of
#    one size, so its accuracies may change, too.
# ```
#
# The parts are those of {cite:t}`tomihari2024understanding`.
