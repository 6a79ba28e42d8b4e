"""How far a random projection moves a kernel: IntrinsicDimension fine-tuning, LoRA at its start.

Closed formulas for Definition E.1, Theorem E.2, Lemmas E.3 and E.4, Theorem E.5 and Remark E.6 of
Malladi-v1 (D.1 to D.6 of Malladi). They replace the constants of the paper by better ones, from one
statement:

    Let P be k x d with independent, identically distributed, symmetric entries of variance 1/k that
    are strictly sub-Gaussian: E exp(s a) <= exp(s^2 / 2k) for all s. Gaussian entries are, so are
    uniform, Rademacher (+-1) and Achlioptas' sparse ones. For all matrices U, V with d columns,

        Pr[ |<U P^T, V P^T> - <U, V>| >= eps |U| |V| ] <= 2 exp(-(k/2) (eps - log(1 + eps))),

    with Frobenius norms; a vector is a matrix of one row.

Proof. The error is a sum of k independent copies of a^T S a - tr S, S = (U^T V + V^T U) / 2k, with
entries of variance 1 in a. Its log moment generating function is convex in S, and the nuclear norm
of S is at most |U| |V| / k, so it is largest at an extreme point S = +-s s^T: the error in the
squared length of one vector. For that, E exp(+-t ((a.s)^2 - 1)) <= exp(-t) / sqrt(1 - 2t) for
0 < t < 1/2: for + as for a chi-squared variable (Dasgupta and Gupta 1999, Achlioptas 2003), for -
by the fourth moment E (a.s)^4 <= 3 and exp(-z) <= 1 - z + z^2/2. Chernoff's bound at
t = eps / 2(1 + eps) ends it. As eps - log(1 + eps) >= eps^2/2 - eps^3/3, the usual form of the
Johnson-Lindenstrauss lemma follows.

Against the paper:

- Lemma E.3 has 4 exp(-(eps^2 - eps^3) k/4): true for N(0, 1) entries, but twice as many failures, a
  smaller exponent, growing again with eps above 2/3, and void from eps = 1 on, which is where LoRA
  of rank 8 is.
- Lemma E.3 also allows entries from U(-1, 1). They have variance 1/3 and shrink every inner product
  to a third; it has to be U(-sqrt 3, sqrt 3), or the signs +-1.
- Lemma E.4 draws A with any variance; Theorem E.5 needs 1/k. ``lora_expected_scale`` has the factor
  for how A is really initialised. (Definition C.1 draws B and sets A = 0: the same, transposed.)
- Theorem E.5 is for one input vector a sample. A transformer's weight sees one a token; then the
  statement above holds with the norm of the whole weight gradient.
- K^(SGD) in Theorem E.5 is the kernel of the adapted weights alone: LoRA freezes the others, and
  their part of the full kernel is gone, not preserved.
- Remark E.6 asks for k >= 20 c^4 log N / eps^2. What is left then is a failure probability of
  4 N^(5 eps/c^2 - 3), which says something for eps < 3 c^2 / 5 only.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from tangentlm.errors import InputError, unknown_name

Array = NDArray[np.float64]

_SMALLEST_EPSILON = 1e-10
"""Below it, eps - log(1 + eps) is lost in float64 round-off."""


def distinct_entries(rows: int, columns: int | None = None) -> int:
    """How many entries of a kernel can fail: the ``pairs`` of the functions below.

    Theorems E.2 and E.5 of Malladi-v1 count N^2, twice the distinct entries of a symmetric kernel.

    Args:
        rows: N C, samples times outputs.
        columns: M C; ``None`` for the symmetric kernel of the rows.

    Returns:
        N C (N C + 1) / 2, or N C times M C.

    Raises:
        InputError: If a count is not a positive integer.

    Example:
        >>> from tangentlm.kernels import distinct_entries
        >>> distinct_entries(32), distinct_entries(32, 200)
        (528, 6400)
    """
    _check_count("rows", rows)
    if columns is None:
        return rows * (rows + 1) // 2
    _check_count("columns", columns)
    return rows * columns


def projection_failure_probability(dimension: int, epsilon: float, pairs: int = 1) -> float:
    """The chance that a projection moves any of some inner products by more than epsilon.

    min(1, 2 pairs exp(-(k/2) (eps - log(1 + eps)))), in place of Lemma E.3 and, with the union
    bound over the kernel's entries, Theorem E.2 of Malladi-v1. The error of an entry is in units
    of the two gradients' norms: |K_ID(i, j) - K(i, j)| against eps sqrt(K(i, i) K(j, j)).

    Args:
        dimension: k, to which the d parameters are projected; entries have variance 1/k.
        epsilon: The relative error.
        pairs: How many inner products, see ``distinct_entries``.

    Returns:
        An upper bound of the probability, at most 1.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> from tangentlm.kernels import projection_failure_probability
        >>> round(projection_failure_probability(dimension=1000, epsilon=0.2), 4)
        0.0003
    """
    _check_count("dimension", dimension)
    _check_epsilon(epsilon)
    _check_count("pairs", pairs)
    return math.exp(min(0.0, math.log(2 * pairs) - dimension / 2 * _rate(epsilon)))


def projection_error(dimension: int, delta: float, pairs: int = 1) -> float:
    """The relative error that, but for a chance of delta, none of some inner products exceeds.

    The epsilon at which ``projection_failure_probability`` is delta: the root of
    eps - log(1 + eps) = (2/k) log(2 pairs / delta). About 2 sqrt(log(2 pairs / delta) / k) where
    that is small.

    Args:
        dimension: k, to which the d parameters are projected; entries have variance 1/k.
        delta: The allowed probability that any entry is off by more, between 0 and 1.
        pairs: How many inner products, see ``distinct_entries``.

    Returns:
        eps; times sqrt(K(i, i) K(j, j)) it bounds |K_ID(i, j) - K(i, j)|.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> from tangentlm.kernels import projection_error
        >>> round(projection_error(dimension=1000, delta=0.05, pairs=528), 3)
        0.213
    """
    _check_count("dimension", dimension)
    target = 2 * _log_failures(delta, pairs) / dimension
    return float(
        brentq(lambda epsilon: _rate(epsilon) - target, 0.0, math.sqrt(2 * target) + target)
    )


def projection_dimension(epsilon: float, delta: float, pairs: int = 1) -> int:
    """The dimension at which, but for a chance of delta, no inner product is off by more.

    The least k with 2 pairs exp(-(k/2) (eps - log(1 + eps))) <= delta. It is the
    Theta(log N / eps^2) of Appendix E.1 of Malladi-v1 with its constant.

    Args:
        epsilon: The relative error.
        delta: The allowed probability that any entry is off by more, between 0 and 1.
        pairs: How many inner products, see ``distinct_entries``.

    Returns:
        k. It does not depend on the number of parameters d, and is of use only below it.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> from tangentlm.kernels import projection_dimension
        >>> projection_dimension(epsilon=0.1, delta=0.05, pairs=528)
        4247
    """
    _check_epsilon(epsilon)
    return math.ceil(2 * _log_failures(delta, pairs) / _rate(epsilon))


def malladi_failure_probability(
    dimension: int, epsilon: float, samples: int, layers: int = 1
) -> float:
    """The bound as the paper prints it: min(1, 4 N^2 exp(-L (eps^2 - eps^3) k/4)).

    Theorems E.2 and E.5 (L = 1) and Remark E.6 of Malladi-v1, to be set beside
    ``projection_failure_probability``, which is never larger.

    Args:
        dimension: k, of the projection, or the rank of LoRA.
        epsilon: The error, in units of c (E.2), c^2 (E.5) or L c^2 (E.6).
        samples: N.
        layers: L.

    Returns:
        The bound, at most 1.

    Raises:
        InputError: If an argument is out of range.
    """
    for name, count in (("dimension", dimension), ("samples", samples), ("layers", layers)):
        _check_count(name, count)
    _check_epsilon(epsilon)
    exponent = layers * (epsilon**2 - epsilon**3) * dimension / 4
    return math.exp(min(0.0, math.log(4 * samples**2) - exponent))


def lora_error(
    rank: int,
    delta: float,
    row_norms: ArrayLike,
    column_norms: ArrayLike | None = None,
    scales: ArrayLike = 1.0,
) -> Array:
    """How far the kernel of LoRA at its start is from its expectation, entry by entry.

    With B = 0 and W_l adapted in L layers, K_LoRA(i, j) = sum_l <dW_l(i) A_l^T, dW_l(j) A_l^T>
    (Lemma E.4 of Malladi-v1, summed over positions and layers). With b_l = s_l |dW_l(i)| |dW_l(j)|
    and x = log(2 pairs / delta), but for a chance of delta all entries have

        |K_LoRA(i, j) - sum_l s_l K_l(i, j)| <= 2 |b|_2 sqrt(x / r) + 2 |b|_inf x / r.

    It replaces Theorem E.5 and Remark E.6, which take the worst norms of all samples and layers.
    The moment generating functions of independent A_l multiply; the tail of their sum is that of
    Laurent and Massart (2000, Lemma 1). A parameter that is trained outright beside LoRA adds the
    same to both kernels and does not enter.

    Args:
        rank: r, the rows of each A_l.
        delta: The allowed probability that any entry is off by more, between 0 and 1.
        row_norms: |dW_l(i)|, Frobenius norm of output c's gradient of W_l, shape (N C, L): the
            square roots of the diagonals of the layers' kernels.
        column_norms: The same for the columns, (M C, L); ``None`` for the rows' symmetric kernel.
        scales: s_l, ``lora_expected_scale`` of each layer, one number or (L,).

    Returns:
        The bound, (N C, M C).

    Raises:
        InputError: If an argument is out of range, or shapes do not fit.

    Example:
        >>> import numpy as np
        >>> from tangentlm.kernels import lora_error
        >>> lora_error(rank=8, delta=0.05, row_norms=np.ones((3, 2))).shape
        (3, 3)
    """
    _check_count("rank", rank)
    rows = _norms("row_norms", row_norms)
    columns = rows if column_norms is None else _norms("column_norms", column_norms)
    factors = np.asarray(scales, dtype=np.float64)
    if columns.shape[1] != rows.shape[1] or factors.shape not in {(), (1,), rows.shape[1:]}:
        raise InputError(
            f"row_norms {rows.shape}, column_norms {columns.shape} and scales {factors.shape} "
            "are not of the same layers"
        )
    if not (np.isfinite(factors).all() and (factors > 0).all()):
        raise InputError("scales must be positive")
    pairs = distinct_entries(len(rows), None if column_norms is None else len(columns))
    share = _log_failures(delta, pairs) / rank
    scaled = rows * factors
    # The products |b_l| of all entries and layers at once would take L times the result's memory.
    total = np.sqrt(scaled**2 @ (columns**2).T)
    largest = functools.reduce(np.maximum, map(np.outer, scaled.T, columns.T))
    bound: Array = 2 * total * math.sqrt(share) + 2 * largest * share
    return bound


def lora_expected_scale(rank: int, alpha: float, d_in: int, init: str = "kaiming-uniform") -> float:
    """By what factor LoRA's kernel is expected to differ from that of the weights it adapts.

    E[K_LoRA] = (alpha / r)^2 r Var(A) K for W + (alpha / r) B A with B = 0. Theorem E.5 of
    Malladi-v1 takes it to be 1. It is 0.0139 for PEFT's default at r = 8, alpha = 16, d_in = 768:
    no matter to kernel regression with a relative regularisation, where it cancels, but to an
    absolute one and to the learning rate. Where layers differ in d_in, so does their factor, and
    the kernel's expectation is no multiple of K any more but weighs the layers anew.

    Args:
        rank: r.
        alpha: LoRA's alpha; the paper has no such factor, so alpha = r.
        d_in: Inputs of the adapted layer.
        init: How A is drawn: ``"kaiming-uniform"`` as PEFT and loralib do by default, variance
            1 / (3 d_in); ``"gaussian"`` as PEFT's option of that name, 1 / r^2; ``"isometric"``
            as Theorem E.5 needs it, 1 / r.

    Returns:
        The factor.

    Raises:
        InputError: If an argument is out of range or ``init`` is unknown.

    Example:
        >>> from tangentlm.kernels import lora_expected_scale
        >>> round(lora_expected_scale(rank=8, alpha=16, d_in=768), 4)
        0.0139
    """
    _check_count("rank", rank)
    _check_count("d_in", d_in)
    if not (math.isfinite(alpha) and alpha > 0):
        raise InputError(f"alpha = {alpha} must be positive")
    variances = {"kaiming-uniform": 1 / (3 * d_in), "gaussian": 1 / rank**2, "isometric": 1 / rank}
    if init not in variances:
        raise unknown_name("init", init, variances)
    return (alpha / rank) ** 2 * rank * variances[init]


def _rate(epsilon: float) -> float:
    """Twice the exponent for each dimension of the projection: eps - log(1 + eps)."""
    return epsilon - math.log1p(epsilon)


def _log_failures(delta: float, pairs: int) -> float:
    """log(2 pairs / delta): two sides of each pair share the allowed probability."""
    _check_count("pairs", pairs)
    if not 0 < delta < 1:
        raise InputError(f"delta = {delta} is a probability between 0 and 1")
    return math.log(2 * pairs / delta)


def _norms(name: str, norms: ArrayLike) -> Array:
    array = np.asarray(norms, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{name} has shape (samples times outputs, layers), not {array.shape}")
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise InputError(f"{name} must be finite and not negative")
    return array


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} = {value} must be a positive integer")


def _check_epsilon(epsilon: float) -> None:
    if not (math.isfinite(epsilon) and epsilon >= _SMALLEST_EPSILON):
        raise InputError(f"epsilon = {epsilon} must be a number from {_SMALLEST_EPSILON} up")
