"""Choosing a solver's hyperparameters on the dev split."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone

from tangentlm.errors import InputError, unknown_name
from tangentlm.metrics import score
from tangentlm.solvers.base import KernelSolver
from tangentlm.solvers.checks import as_kernel, as_labels, as_training_kernel
from tangentlm.solvers.labels import labels_of_decision
from tangentlm.solvers.least_squares import KernelLeastSquares


@dataclass
class Selection:
    """The grid point that did best on dev, its solver, and how every point did."""

    solver: KernelSolver
    dev_score: float
    table: list[dict[str, float]] = field(default_factory=list)


def select(
    K_train: ArrayLike,
    y_train: ArrayLike,
    K_dev: ArrayLike,
    y_dev: ArrayLike,
    *,
    f0_train: ArrayLike | None = None,
    f0_dev: ArrayLike | None = None,
    solver: KernelSolver | None = None,
    metric: str = "accuracy",
    **grid: Sequence[float],
) -> Selection:
    """Choose hyperparameters on the dev split (grids of Table 3 of Malladi-v1).

    Ties in the score, which are many on a small dev split, go to the smaller dev loss of the
    solver. The fits share what they can of the kernel's decomposition.

    Example:
        >>> import numpy as np
        >>> train = np.array([[2.0, 1, 0], [1, 2, 0], [0, 0, 1]]).reshape(3, 1, 3, 1)
        >>> dev = np.array([[1.0, 0], [1, 0], [0, 1]]).reshape(3, 1, 2, 1)
        >>> chosen = select(
        ...     train, [1, 1, 0], dev, [1, 0], regularization=(0.01, 1.0), f0_scale=(np.inf,)
        ... )
        >>> chosen.dev_score, chosen.solver.regularization, len(chosen.table)
        (100.0, 0.01, 2)

    Args:
        K_train: Kernel of the training samples, (N, C, N, C).
        y_train: (N,).
        K_dev: Kernel between training and dev samples, with the axes that the solver's
            ``decision_function`` wants: (N, C, M, C), but (M, C, N, C) if it is asymmetric.
        y_dev: (M,).
        f0_train: Pre-trained logits, (N, C).
        f0_dev: Pre-trained logits, (M, C).
        solver: Which solver, and the hyperparameters that are not in the grid; kernel least
            squares if there is none.
        metric: ``"accuracy"`` or ``"f1"``.
        **grid: Values of a hyperparameter, by its name: ``regularization``, ``f0_scale`` and for
            some solvers ``gamma``. Those of the paper's Table 3 where there are none.

    Returns:
        The best solver, fitted, with the whole table.

    Raises:
        InputError: If the grid is empty or has a name that the solver does not, or a solver
            refuses its arguments.
        NonFiniteError: If a kernel, f0 or a prediction is not finite.
    """
    solver = KernelLeastSquares() if solver is None else solver
    for name, tried in grid.items():
        if name not in solver.GRID:
            raise unknown_name(f"hyperparameter of {type(solver).__name__}", name, solver.GRID)
        if np.ndim(tried) != 1:
            raise InputError(f"{name} must be a sequence of values, not {tried!r}")
    train, dev = as_training_kernel(K_train), as_kernel(K_dev)
    labels = as_labels(y_dev, dev.shape[solver.EVALUATED_AXIS], train.shape[1])
    shared = solver.prepare(train)
    values = {**solver.GRID, **grid}
    best: tuple[tuple[float, float], KernelSolver] | None = None
    table = []
    for combination in itertools.product(*values.values()):
        point = dict(zip(values, combination, strict=True))
        fitted = clone(solver).set_params(**point).fit(train, y_train, f0_train, shared)
        decision = fitted.decision_function(dev, f0_dev)
        points = score(labels, labels_of_decision(decision), metric)
        loss = fitted.loss(decision, labels)
        table.append({**point, "dev_score": points, "dev_loss": loss, **fitted.diagnostics()})
        if best is None or (points, -loss) > best[0]:
            best = ((points, -loss), fitted)
    if best is None:
        raise InputError("the grid has no points")
    return Selection(best[1], best[0][0], table)
