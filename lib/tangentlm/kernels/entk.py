"""``entk``: the kernel of a model between two sets of samples."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from tangentlm.kernels.job import prepared
from tangentlm.kernels.kernel import Kernel
from tangentlm.kernels.layer_groups import By, Parameters
from tangentlm.kernels.run import run


def entk(
    model: nn.Module,
    rows: Mapping[str, Tensor] | Any,
    columns: Mapping[str, Tensor] | Any | None = None,
    *,
    formula: str = "sgd",
    outputs: str = "full",
    parameters: Parameters = None,
    by: By = None,
    precision: str = "float32",
    memory: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Kernel:
    """The empirical neural tangent kernel of a model, exact.

    With g_c(x) the gradient of output c with respect to the parameters, at their present values:

    * ``"sgd"``: K[i,c,j,d] = <g_c(x_i), g_d(x_j)> (Definition 2.4 of Malladi-v1);
    * ``"signgd"``: K[i,c,j,d] = <sign g_c(x_i), sign g_d(x_j)>;
    * ``"asymmetric-signgd"``: K[i,c,j,d] = <g_c(x_i), sign g_d(x_j)> (Definition 3.2): rows plain,
      columns signed.

    An entry of a gradient that is zero but for round-off counts as zero in the sign formulas.
    Such are the gradients of the biases of keys (see ``tangentlm.kernels.rules``).

    What to choose: ``outputs="difference"`` for two classes, where a softmax sees nothing else, and
    ``"full"`` for more; ``"trace"`` and ``"diagonal"`` to look at a kernel, not to solve with it.
    ``precision="float32"`` unless exactness is the question (``"float64"``) or a GPU's speed is
    (``"bfloat16x3"``); a ``cache`` where a job may be killed. For few parameters at a time, as LoRA
    or a random subspace trains them, see ``lora_entk_at_init`` and ``intrinsic_dimension_entk``.

    Where the model sees padding, all samples are computed as they are given, padding included, and
    a warning says so (see ``tangentlm.batches.row_selection``).

    For N rows and M columns of T tokens, C outputs and P parameters in weights, the cost is that
    of N + M forward and C (N + M) backward passes, 2 T P each, and of contractions of at most
    2 N M C^2 P, often far less (see ``tangentlm.kernels.contract``); repeated passes over the
    columns come in where the rows do not fit into memory (see ``tangentlm.kernels.tiles``).

    Args:
        model: Any module with ``model(**batch) -> (N, C)``, in eval mode.
        rows: N samples: a mapping of tensors with leading axis N, or a ``datasets.Dataset`` in
            torch format. Padding that an ``attention_mask`` marks is cut, unless the model sees it.
        columns: M samples; ``None`` means the symmetric kernel of the rows, computed once.
        formula: One of the three above.
        outputs: ``"full"``: all C x C blocks. ``"difference"``: for two classes, the kernel of
            the one logit f_1 - f_0, with C = 1. ``"trace"``: the sum of the blocks c = d, with
            C = 1. ``"diagonal"``: the blocks c = d alone; the others are zero.
        parameters: Which parameters count: a predicate on names, names, or ``None`` for all
            that require a gradient.
        by: ``"parameter"``, ``"layer"`` or a function from a parameter's name to its group: the
            kernel also comes as groups that sum to it, at no extra pass. ``None``: it does not.
        precision: ``"float32"``, ``"float64"``, ``"bfloat16"``, ``"bfloat16x3"`` or ``"tf32"``
            (see ``tangentlm.kernels.precision``); the model is cast for the computation.
        memory: Bytes that may be held beyond the model (default 2.5 GiB), for any N and M.
        cache: A folder. Finished tiles are written there, and read where they are already; a
            folder with a kernel of anything else is refused, a damaged tile computed again.
        progress: Whether to show a progress bar.

    Returns:
        The kernel, with values of shape (N, C, M, C) in float64.

    Raises:
        InputError: If an argument is unknown, the model is in training mode, or the samples do
            not fit it.
        NonFiniteError: If a gradient is not finite, naming sample, output and parameter.

    Example:
        The kernel of a linear layer is that of its inputs, and their bias's 1, for equal outputs:

        >>> import torch
        >>> from tangentlm.kernels import entk
        >>> model, batch = torch.nn.Linear(4, 2).eval(), {"input": torch.eye(4)[:3]}
        >>> kernel = entk(model, batch, by="parameter", progress=False)
        >>> kernel.values.shape, list(kernel.groups)
        ((3, 2, 3, 2), ['weight', 'bias'])
        >>> kernel.values[:, 0, :, 0]
        array([[2., 1., 1.],
               [1., 2., 1.],
               [1., 1., 2.]])
    """
    with prepared(
        model, rows, columns, formula=formula, outputs=outputs, parameters=parameters, by=by,
        precision=precision, memory=memory,
    ) as job:  # fmt: skip
        values, cost = run(job, cache, progress)
    return job.kernel(values, cost, grouped=by is not None)
