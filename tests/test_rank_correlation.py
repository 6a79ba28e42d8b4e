import itertools
import math

import numpy as np
import pytest
from scipy.stats import kendalltau, permutation_test

from tangentlm.analysis.rank_correlation import (
    exact_stratified_p,
    kendall_tau,
    mean_tau,
    share_between,
)
from tangentlm.errors import InputError


def by_definition(x, y):
    """tau_b from its definition, pair by pair."""
    concordant = discordant = only_x = only_y = 0
    for (a, b), (c, d) in itertools.combinations(list(zip(x, y, strict=True)), 2):
        product = (a - c) * (b - d)
        concordant += product > 0
        discordant += product < 0
        only_x += a == c and b != d
        only_y += a != c and b == d
    both = concordant + discordant
    return (concordant - discordant) / math.sqrt((both + only_x) * (both + only_y))


@pytest.mark.parametrize("values", [20, 4])
def test_tau_is_that_of_its_definition(values):
    rng = np.random.default_rng(values)
    for _ in range(20):
        x, y = rng.integers(0, values, (2, 9))
        assert kendall_tau(x, y) == pytest.approx(by_definition(x, y))


def test_a_measure_of_one_value_orders_nothing():
    assert kendall_tau([1, 2, 3], [5, 5, 5]) == 0


@pytest.mark.parametrize(("x", "y"), [([1], [1]), ([1, 2], [1, 2, 3]), ([[1, 2]], [[1, 2]])])
def test_what_cannot_be_compared_is_refused(x, y):
    with pytest.raises(InputError):
        kendall_tau(x, y)


def test_the_mean_is_over_groups_of_any_size():
    groups = [([1, 2, 3], [1, 2, 3]), ([1, 2], [2, 1])]
    assert mean_tau(groups) == 0
    with pytest.raises(InputError, match="needs a group"):
        mean_tau([])


def test_the_p_value_of_one_group_is_the_exact_one_of_scipy():
    rng = np.random.default_rng(0)
    for size in (4, 5, 6):
        x, y = rng.normal(size=(2, size))
        exact = kendalltau(x, y, method="exact").pvalue
        assert exact_stratified_p([(x, y)]) == pytest.approx(exact)


def test_the_p_value_with_ties_is_that_of_a_permutation_test():
    x, y = np.array([1, 2, 2, 4, 5]), np.array([1, 1, 3, 2, 5])
    found = permutation_test(
        (y,), lambda order: abs(by_definition(x, order)), permutation_type="pairings",
        alternative="greater", n_resamples=np.inf,
    )  # fmt: skip
    assert exact_stratified_p([(x, y)]) == pytest.approx(found.pvalue)


def test_the_p_value_of_several_groups_is_that_of_going_through_all_orders():
    rng = np.random.default_rng(1)
    groups = [(rng.normal(size=n), rng.integers(0, 3, n)) for n in (3, 4, 3)]
    observed = abs(mean_tau(groups))
    orders = itertools.product(*(itertools.permutations(y) for _, y in groups))
    means = [
        np.mean([kendall_tau(x, y) for (x, _), y in zip(groups, order, strict=True)])
        for order in orders
    ]
    expected = np.mean(np.abs(means) >= observed - 1e-9)
    assert exact_stratified_p(groups) == pytest.approx(expected)


def test_the_p_value_is_uniform_where_nothing_goes_together():
    rng = np.random.default_rng(2)
    found = [
        exact_stratified_p([tuple(rng.normal(size=(2, 4))) for _ in range(2)]) for _ in range(300)
    ]
    assert np.mean(np.array(found) <= 0.1) <= 0.14


def test_a_large_group_is_refused():
    with pytest.raises(InputError, match="too many orders"):
        exact_stratified_p([(range(12), range(12))])


def test_the_share_between_groups_has_its_known_values():
    assert share_between([[1, 1], [3, 3]]) == 1
    assert share_between([[1, 3], [3, 1]]) == 0
    # Means 0 and 2 about 1: 4; within 1 + 1 + 0 + 0.
    assert share_between([[-1, 1], [2, 2]]) == pytest.approx(4 / 6)
    with pytest.raises(InputError, match="all the same"):
        share_between([[1, 1], [1]])
