"""The empirical neural tangent kernel (eNTK) of any model with (N, C) outputs.

``entk`` computes it; ``Kernel`` holds it. ``reference`` is the exact method that makes no
assumption about the model.
"""

from tangentlm.kernels.entk import entk
from tangentlm.kernels.kernel import Kernel, KernelCost

__all__ = ["Kernel", "KernelCost", "entk"]
