"""The empirical neural tangent kernel (eNTK) of any model with (N, C) outputs.

``entk`` computes it, ``Kernel`` holds it. How, from the bottom up:

* ``factors``: the gradients of many samples with respect to one parameter, in their smallest form;
* ``rules``: what a call of the forward (linear, norm, embedding, ...) adds to those gradients;
* ``recorder``: finds every such call while a model runs;
* ``passes``: a forward and C backward passes of a batch give its factors, checked by autograd;
* ``contract``: inner products of two sets of factors, in the cheaper of two ways;
* ``precision``: how matrices are multiplied;
* ``samples``: rows and columns by length, cut into batches;
* ``tiles``: pieces that fit into a memory budget;
* ``store``: finished pieces on disk;
* ``job``: one kernel from the check to its last piece;
* ``groups``: which parameters count, and how the kernel is split among them;
* ``reference``: the definition, written down, to compare with.

``published`` reads kernels that others computed; ``bounds`` has what theory promises of projected
kernels.
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
from tangentlm.kernels.kernel import Kernel, KernelCost
from tangentlm.kernels.published import PublishedKernel, load_published_kernel
from tangentlm.kernels.reference import reference_entk

__all__ = [
    "Kernel",
    "KernelCost",
    "PublishedKernel",
    "distinct_entries",
    "entk",
    "load_published_kernel",
    "lora_error",
    "lora_expected_scale",
    "projection_dimension",
    "projection_error",
    "projection_failure_probability",
    "reference_entk",
]
