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
# # Experiment: kernel regression with the eNTK
#
# You have a pre-trained masked language model and k labelled examples a class. Before you train
# anything, you can ask how well the model would do if fine-tuning were nothing but kernel
# regression. This notebook answers that for one task, one k and one split. Every run of the
# experiment executes this very page with other parameters.
#
# **You will learn** how to compute the empirical neural tangent kernel (eNTK) of a prompted
# language model, how to solve the kernel regression that stands for fine-tuning, and how its two
# hyperparameters are chosen on the dev split.
#
# **Before you start**: the chapter on kernel behaviour explains where the kernel comes from.
#
# ## Parameters
#
# `task` is a name from `params/tasks`, `k` the number of examples a class, `seed` the split.
# `grid` names a file of `params/grids`. Whatever you misspell here is refused in the next cell.

# %% tags=["parameters"]
task = "reviews"  # a task of params/tasks
model = "pocket"  # a model of params/models, or a folder
head = (
    "prompt"  # prompt: label words at the mask; linear: a layer on the first token
)
pooling = None  # what a linear layer reads: first, mean or last token
prompt = "manual"  # manual, null, unrelated, searched, searched-once or published
labels = "given"  # shuffled: a control that can learn nothing of the task
k = 16  # examples a class, for train and again for dev
seed = 13  # the split: 13, 21, 42, 87 or 100 in the papers
test_size = 1000  # at most so many test examples
formula = "sgd"  # which kernel: sgd, signgd, asymmetric-signgd; controls: constant, bag-of-words
solver = "least-squares"  # or logistic, rows-logistic, every; asymmetric kernels have their own
layers = "all"  # controls: last, embedding or head, the kernel of that part alone
decoder = "tied"  # untied: the decoder has a weight of its own
adaptation = "full"  # full, lora or intrinsic: what fine-tuning would move
rank = 8  # of LoRA
alpha = 16.0  # of LoRA
dimension = 200  # of the random subspace
train_head = False  # whether LoRA's prompt head is trained, too
chi_rows = (
    "scored"  # test rows of the output derivative: scored, or all of the task
)
grid = "quick"  # regularisation and f0 scales, from params/grids
device = "auto"  # auto, cpu or cuda
data = None  # a data folder; the variable TANGENTLM_DATA otherwise
out = None  # where the record goes

# %%
import pandas as pd

from tangentlm.params import run_from_notebook

run = run_from_notebook("kernel", globals())
pd.Series(run.parameters(), name="value").to_frame()

# %% [markdown]
# ## The data and the prompt
#
# The split has k examples of each class to fit the kernel regression and k others, the dev split,
# to choose its hyperparameters. A prompt turns the label into a word that the model fills in at
# the mask. The text is cut where it is too long, the prompt never.

# %%
from tangentlm import figures
from tangentlm.models.few_shot import few_shot

figures.use_style()
shots = few_shot(run)
the_task = shots.task
print({part: len(shots.part(part)) for part in shots.parts})
pd.DataFrame(
    {
        "label": [the_task.labels[label] for label in shots.labels[:6]],
        "what the model reads": shots.texts(6),
    }
)

# %% [markdown]
# ## What the model knows already
#
# Zero-shot, the label is the label word with the largest logit. These logits, $f_0$, matter again
# below: fine-tuning starts from them, so the kernel regression may, too.

# %%
from tangentlm.metrics import score
from tangentlm.models.logits import logits_of
from tangentlm.solvers import difference, labels_of_decision

logits = logits_of(shots.model, shots.batch).double().numpy()
labels = {part: shots.part(part).labels.numpy() for part in shots.parts}
zero_shot = {
    part: score(labels[part], logits[index].argmax(1), the_task.metric)
    for part, index in shots.parts.items()
}
pd.Series(zero_shot, name=f"zero-shot {the_task.metric} (%)").round(1).to_frame()

# %% [markdown]
# ## The kernel
#
# The eNTK (Definition 2.4 of Malladi-v1, {cite:t}`malladi2022openreview`) between two inputs is the inner product of the
# gradients of the logits with respect to all parameters $\theta$, at the pre-trained $\theta_0$:
#
# $$\mathcal{K}^{(\mathrm{SGD})}_{cd}(\xi, \xi') =
# \langle \nabla_\theta f_c(\xi; \theta_0), \nabla_\theta f_d(\xi'; \theta_0) \rangle .$$
#
# That is what a step of SGD moves. Adam's first steps look more like those of sign descent, whose
# kernels replace one gradient (`asymmetric-signgd`, the training sample's) or both (`signgd`) by
# their signs. {doc}`/book/theory/computing-kernels` shows how all three are computed.
#
# With `adaptation = "lora"` only the gradients of LoRA's matrices count, with `"intrinsic"` those of
# coordinates in a random subspace.
#
# For two classes only the difference of the logits matters, so one output is enough:
# $f_1 - f_0$. For more classes each logit is an output of its own, and a sample is C rows.
#
# Some kernels are controls. With `layers` only the gradients of the last layer, the embedding or the
# head count; `"constant"` and `"bag-of-words"` read no gradient at all. What such a kernel scores,
# the gradients of all layers did not earn.

# %%
import functools

from tangentlm.finetune.adaptation import adapted_kernel
from tangentlm.kernels import OF_INPUTS
from tangentlm.models.parts import parameters_of, untie

two_classes = the_task.num_classes == 2
if run.decoder == "untied":
    untie(shots.model)
if run.reads_no_gradient:
    kernel_of = functools.partial(
        OF_INPUTS[run.formula],
        outputs=1 if two_classes else the_task.num_classes,
    )
else:
    kernel_of = functools.partial(
        adapted_kernel,
        shots.model,
        run.adaptation,
        formula=run.formula,
        outputs="difference" if two_classes else "full",
        rank=run.rank,
        alpha=run.alpha,
        dimension=run.dimension,
        seed=run.seed,
        train_head=run.train_head,
        parameters=parameters_of(shots.model, run.layers),
    )
train = shots.part("train").batch
kernel = kernel_of(train)
K = {"train": kernel.values}
for part in ("dev", "test"):
    others = shots.part(part).batch
    # The gradient that is signed is that of the training samples: the columns.
    pair = (
        (others, train) if run.formula == "asymmetric-signgd" else (train, others)
    )
    K[part] = kernel_of(*pair).values
f0 = {
    part: difference(logits[index]) if two_classes else logits[index]
    for part, index in shots.parts.items()
}
shapes = {part: values.shape for part, values in K.items()}
print(f"{shapes} over {len(kernel.parameters)} parameter tensors")

# %% mystnb={"figure": {"caption": "The centred kernel between the training examples, sorted by label and scaled to a unit diagonal."}, "image": {"alt": "Heat map of the training kernel; blocks along the diagonal are the classes."}} tags=["hide-input"]
figures.kernel_matrix(K["train"], labels["train"], the_task.labels)

# %% [markdown]
# All gradients have much in common, so the raw kernel is nearly constant; the picture shows what is
# left when that common part is taken off. Blocks on the diagonal that stand out mean that examples of
# one class move each other's logits more than those of the other when the model trains on them: the
# kernel can tell the classes apart. Without blocks, it can hardly. The spectrum shows the common part
# as one value far above the rest, and says how well the regression is conditioned.

# %% mystnb={"figure": {"caption": "Singular values of the training kernel, largest first; those of a symmetric kernel are its eigenvalues."}, "image": {"alt": "Line plot of the singular values of the training kernel on a logarithmic axis."}} tags=["hide-input"]
import numpy as np

size = len(labels["train"]) * f0["train"].shape[1]
singular = np.linalg.svd(K["train"].reshape(size, size), compute_uv=False)
spectrum = pd.DataFrame({"index": range(1, size + 1), "singular value": singular})
figures.lines(
    spectrum,
    "index",
    {"singular value": "singular value"},
    labels=("index", "singular value"),
    yscale="log",
)

# %% tags=["remove-input"]
figures.data_link(spectrum, f"spectrum-{run.name}")

# %% [markdown]
# ## The regression
#
# With one-hot targets $Y$ (or $\pm 1$ for two classes), pre-trained logits $f_0$ scaled by $s$,
# and a regularisation proportional to the kernel's operator norm, least squares gives
#
# $$\alpha = \left(\mathcal{K} + \lambda \lVert \mathcal{K} \rVert_{\mathrm{op}} I\right)^{-1}
# \left(Y - f_0 / s\right), \qquad
# h(\xi) = \mathcal{K}(\xi, X)\, \alpha + f_0(\xi) / s .$$
#
# The other solvers, and what the choice changes, are in {doc}`/book/theory/solvers`.
# $\lambda$ and $s$ are chosen on the dev split; $s = \infty$ leaves $f_0$ out. The test split is
# looked at once, at the end.

# %%
from tangentlm.params import load_grid
from tangentlm.solvers import SOLVERS, select

the_grid = load_grid(run.grid)


def chosen_on_dev(solver):
    """The best point of the solver's grid."""
    return select(
        K["train"],
        labels["train"],
        K["dev"],
        labels["dev"],
        f0_train=f0["train"],
        f0_dev=f0["dev"],
        solver=solver,
        metric=the_task.metric,
        **the_grid.of_solver(solver.GRID),
    )


def predictions(solver):
    """The labels that a fitted solver gives the test samples."""
    return labels_of_decision(solver.decision_function(K["test"], f0["test"]))


every = run.solver == "every"
chosen = chosen_on_dev(SOLVERS["least-squares" if every else run.solver]())
chosen.solver

# %% mystnb={"figure": {"caption": "Dev performance at every point of the grid; the best gamma of each where the solver has one."}, "image": {"alt": "Grid of dev scores over regularisation and f0 scale."}} tags=["hide-input"]
grid_table = pd.DataFrame(chosen.table)
if "f0_scale" not in grid_table:  # a solver that leaves f0 out
    grid_table["f0_scale"] = np.inf
best_of_others = grid_table.groupby(["regularization", "f0_scale"])[
    "dev_score"
].max()
figures.selection_grid(best_of_others.reset_index(), "regularization", "f0_scale")

# %% tags=["remove-input"]
figures.data_link(grid_table, f"grid-{run.name}")

# %%
predicted = predictions(chosen.solver)
test_score = score(labels["test"], predicted, the_task.metric)
pd.Series(
    {"zero-shot": zero_shot["test"], "kernel regression": test_score},
    name=f"test {the_task.metric} (%)",
).round(1).to_frame()

# %% [markdown]
# With `solver = "every"` the other solvers get the same kernel, and so does least squares with
# centred targets.

# %% tags=["hide-input"]
from tangentlm.solvers import CHOICES

solvers = []
for name, solver in (CHOICES if every else {}).items():
    best = chosen_on_dev(solver)
    on_test = score(labels["test"], predictions(best.solver), the_task.metric)
    solvers.append(
        {"solver": name, "dev_score": best.dev_score, "test_score": on_test}
    )
pd.DataFrame(solvers)

# %% [markdown]
# ## The record
#
# A run ends with its record: the parameters, the metrics, what the input was, what it cost. The
# tables of the book are made of such records and of nothing else.

# %%
from tangentlm.metrics import (
    kernel_similarity,
    right_or_wrong,
    true_label_derivative,
    worst_tenth,
)
from tangentlm.models.few_shot import every_test_row
from tangentlm.report.notes import cost_note
from tangentlm.studies.records import write_record

chi_of = (logits[shots.parts["test"]], labels["test"])
if run.chi_rows == "all":
    everything = every_test_row(run, shots)
    chi_of = (logits_of(shots.model, everything.batch), everything.labels.numpy())
chi = true_label_derivative(*chi_of)
similarity = {}
if (
    run.adaptation != "full"
):  # is it the kernel of all parameters, but for a factor?
    of_all = adapted_kernel(
        shots.model,
        "full",
        train,
        outputs="difference" if two_classes else "full",
    )
    found = vars(kernel_similarity(of_all.values, K["train"]))
    similarity = {f"full_{name}": value for name, value in found.items()}

path = write_record(
    run,
    shots.split.facts,
    {
        "test_score": test_score,
        "dev_score": chosen.dev_score,
        "metric": the_task.metric,
        "test_accuracy": score(labels["test"], predicted),
        "zero_shot_test": zero_shot["test"],
        "zero_shot_accuracy": score(
            labels["test"], logits[shots.parts["test"]].argmax(1)
        ),
        "zero_shot_dev": zero_shot["dev"],
        "chi": float(chi.mean()),
        "chi_worst": worst_tenth(chi),
        "chi_max": float(chi.max()),
        "chi_count": len(chi),
        **similarity,
        "regularization": chosen.solver.regularization,
        "f0_scale": chosen.solver.f0_scale
        if chosen.solver.f0_scale < float("inf")
        else "infinity",
        "operator_norm": float(singular[0]),
        **chosen.solver.diagnostics(),
        "num_classes": the_task.num_classes,
        "correct": right_or_wrong(labels["test"], predicted),
        "zero_shot_correct": right_or_wrong(
            labels["test"], logits[shots.parts["test"]].argmax(1)
        ),
        "solvers": solvers,
    },
    arrays={"singular_values": singular, "predicted": predicted},
)
cost_note(path)

# %% [markdown]
# ## Limits
#
# A kernel that does well is necessary for kernel behaviour, not sufficient: fine-tuning may reach
# the same accuracy by another way. The chapter on kernel behaviour measures the rest. With a dev
# split as small as this one, many grid points tie; ties go to the smaller squared loss, which is
# our choice, not the paper's.
#
# ## Exercises
#
# 1. Set `task = "topics"`. Which classes does the kernel confuse, and can you see it in the heat map?
# 2. Set `k = 4`. How do the rank and the condition number of the kernel change?
# 3. Restrict the kernel to the attention weights: in the cell that computes it, give `adapted_kernel`
#    `parameters=lambda name: ".attn." in name`. How much accuracy is left?
#
# ```{admonition} Solutions
# :class: dropdown
#
# 1. `pd.crosstab(labels["test"], predicted)` below the test scores counts which class is taken for which. The
#    regression confuses two classes if training samples of one move the logits of the other as they move their own. In
#    the heat map the block between such classes is as bright as their own blocks. The picture shows the sum over
#    outputs alone, so a confusion without a bright block means: look at `K["train"]` output by output.
# 2. Two classes have one output, so the kernel of training samples has $2k$ rows, 8 instead of 32. The model has
#    millions of parameters, so the rank is the number of rows unless two texts are the same. The largest eigenvalue
#    belongs to what all gradients have in common and grows with the number of rows, and a row that is added to given
#    ones can only lower the smallest. So expect a smaller condition number with `k = 4`: divide the first point of the
#    spectrum by the last.
# 3. A gradient is a row of entries, so the kernel is the sum of the kernels of its parts, and this one is a summand.
#    Its size does not matter: $\lambda$ counts in units of the kernel's norm. What counts is whether it still has the
#    blocks of the heat map. Compare the test scores of both kernels over several seeds;
#    {doc}`/book/theory/where-kernel-lives` takes a kernel apart in this way.
# ```
#
# The method is that of {cite:t}`malladi2023kernel`; kernel regression as a stand-in for training
# goes back to {cite:t}`jacot2018neural`.
