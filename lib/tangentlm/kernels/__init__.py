"""The empirical neural tangent kernel (eNTK) of any model with (N, C) outputs.

``entk`` computes it, ``Kernel`` holds it. How, from the bottom up:

* ``factors``: the gradients of many samples with respect to one parameter, in their smallest form;
* ``calls``: one call of the forward, and what it adds to those gradients;
* ``rules``: what that is for each function (linear, norm, embedding, ...);
* ``recorder``: finds every such call while a model runs;
* ``passes``: a forward and C backward passes of a batch give its factors;
* ``check``: the factors of two samples beside their gradients by autograd;
* ``contract``: inner products of two sets of factors, in the cheaper of two ways;
* ``precision``: how matrices are multiplied;
* ``samples``: rows and columns by length, cut into batches;
* ``limits``: how many tokens a memory budget allows at one time;
* ``tiles``: the kernel in pieces that fit into these limits;
* ``store``: finished pieces on disk;
* ``job``: one kernel from the check to its last piece;
* ``groups``: which parameters count, and how the kernel is split among them;
* ``reference``: the definition, written down, to compare with.

Other kernels are made of the same factors: ``projection`` and ``lora`` have those of fine-tuning in
a random subspace, with what theory promises of them in ``bounds``; ``decomposition`` parts a
linear head from its features. ``published`` reads kernels that others computed.
"""

from tangentlm.kernels.bounds import (
    distinct_entries,
    lora_error,
    lora_expected_scale,
    projection_dimension,
    projection_error,
    projection_failure_probability,
)
from tangentlm.kernels.decomposition import (
    Decomposition,
    decompose,
    feature_entk,
    numerical_rank,
    trace_norms,
)
from tangentlm.kernels.entk import entk
from tangentlm.kernels.kernel import Kernel, KernelCost
from tangentlm.kernels.lora import draw_lora, lora_entk_at_init
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
    "VERSION",
    "Decomposition",
    "Kernel",
    "KernelCost",
    "Projection",
    "PublishedKernel",
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
