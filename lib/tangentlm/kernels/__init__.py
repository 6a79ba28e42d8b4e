"""The empirical neural tangent kernel (eNTK) of any model with (N, C) outputs.

``entk`` computes it, ``Kernel`` holds it. How, in the order of the work:

* ``job``: what to compute (the function, the samples, the groups), once it is known to be possible;
* ``check``: what is known about the function: which parameters the rules get right, compared with
  autograd on two samples;
* ``plan``: what is held at one time, and the borders of the tiles, from the memory budget;
* ``run``: the tiles one after another; it returns the values and what they cost.

A job, what is checked and a plan do not change: where a run learns more, it makes new ones. What
they are made of, from the bottom up:

* ``factors``: the gradients of many samples with respect to one parameter, in their smallest form;
* ``forward_calls``: one call of the forward, and what it adds to those gradients;
* ``rules``: what that is for each function (linear, norm, embedding, ...);
* ``recorder``: finds every such call while a model runs;
* ``function``: a model's outputs, and their gradients by autograd;
* ``passes``: a forward and C backward passes of a batch give its factors;
* ``contract``: inner products of two sets of factors, in the cheaper of two ways;
* ``precision``: how matrices are multiplied;
* ``samples``: rows and columns by length, cut into batches;
* ``tiles``: the kernel in pieces that fit into memory;
* ``store``: finished pieces on disk;
* ``layer_groups``: which parameters count, and how the kernel is split among them;
* ``reference``: the definition, written down, to compare with.

Other kernels are made of the same factors: ``projection`` and ``lora`` have those of fine-tuning in
a random subspace, with what theory promises of them in ``bounds``; ``head_and_features`` parts a
linear head from its features. ``published`` reads kernels that others computed, and ``of_inputs``
has kernels that read no gradient, to compare with.
"""

from tangentlm.kernels.bounds import (
    distinct_entries,
    lora_error,
    lora_expected_scale,
    projection_dimension,
    projection_error,
    projection_failure_probability,
)
from tangentlm.kernels.entk import entk
from tangentlm.kernels.head_and_features import (
    Decomposition,
    decompose,
    feature_entk,
    numerical_rank,
    trace_norms,
)
from tangentlm.kernels.kernel import Kernel, KernelCost
from tangentlm.kernels.lora import draw_lora, lora_entk_at_init
from tangentlm.kernels.of_inputs import OF_INPUTS, bag_of_words_kernel, constant_kernel
from tangentlm.kernels.projection import (
    Projection,
    intrinsic_dimension_entk,
    project_gradients,
)
from tangentlm.kernels.published import PublishedKernel, load_published_kernel
from tangentlm.kernels.reference import reference_entk

VERSION = 1
"""Raise it when the numbers of any kernel change: the finished runs that computed one are then run
again. The golden-number tests fail until this is done."""

__all__ = [
    "OF_INPUTS",
    "VERSION",
    "Decomposition",
    "Kernel",
    "KernelCost",
    "Projection",
    "PublishedKernel",
    "bag_of_words_kernel",
    "constant_kernel",
    "decompose",
    "distinct_entries",
    "draw_lora",
    "entk",
    "feature_entk",
    "intrinsic_dimension_entk",
    "load_published_kernel",
    "lora_entk_at_init",
    "lora_error",
    "lora_expected_scale",
    "numerical_rank",
    "project_gradients",
    "projection_dimension",
    "projection_error",
    "projection_failure_probability",
    "reference_entk",
    "trace_norms",
]
