"""Kernel solvers: scikit-learn estimators on precomputed kernels of shape (N, C, M, C).

C outputs are treated as C N scalar samples (Appendix A.3 of Malladi-v1). A kernel with C = 1 is
that of the difference f_1 - f_0 of two classes. Which solver when:

* ``KernelLeastSquares``: the default, for the kernels of SGD and of SignGD;
* ``KernelLogistic``: the same with the logistic loss, where probabilities matter;
* ``KernelRowsLogistic``: what the authors' code calls logistic, to compare with their numbers;
* ``AsymmetricLeastSquares``: for the asymmetric kernel of sign descent, and for no other;
* ``select``: chooses the hyperparameters of any of them on the dev split;
* ``block_leave_one_out``, ``generalised_cross_validation``: how well least squares would do on its
  own training samples, had it not seen them.
"""

from tangentlm.metrics import score
from tangentlm.solvers.asymmetric import AsymmetricLeastSquares
from tangentlm.solvers.base import KernelSolver
from tangentlm.solvers.labels import difference, labels_of_decision
from tangentlm.solvers.least_squares import KernelLeastSquares
from tangentlm.solvers.leave_one_out import block_leave_one_out, generalised_cross_validation
from tangentlm.solvers.logistic import KernelLogistic
from tangentlm.solvers.rows_logistic import KernelRowsLogistic
from tangentlm.solvers.selection import Selection, select
from tangentlm.solvers.spectrum import Spectrum

SOLVERS: dict[str, type[KernelSolver]] = {
    "least-squares": KernelLeastSquares,
    "logistic": KernelLogistic,
    "rows-logistic": KernelRowsLogistic,
    "asymmetric": AsymmetricLeastSquares,
}
"""The solvers by the names that a run's parameters have for them."""

CHOICES: dict[str, KernelSolver] = {
    "least squares": KernelLeastSquares(),
    "least squares, centred targets": KernelLeastSquares(centred=True),
    "logistic": KernelLogistic(),
    "logistic on rows": KernelRowsLogistic(),
}
"""What the papers may mean by the solver of a symmetric kernel."""

__all__ = [
    "CHOICES",
    "SOLVERS",
    "AsymmetricLeastSquares",
    "KernelLeastSquares",
    "KernelLogistic",
    "KernelRowsLogistic",
    "KernelSolver",
    "Selection",
    "Spectrum",
    "block_leave_one_out",
    "difference",
    "generalised_cross_validation",
    "labels_of_decision",
    "score",
    "select",
]
