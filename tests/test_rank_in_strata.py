"""Rank correlation within strata, its interval, its tests and its ceiling, on made-up data."""

import itertools

import numpy as np
import pytest
from scipy.stats import kendalltau, kstest, norm, spearmanr
from scipy.stats import t as student

from tangentlm.analysis.bootstrap import (
    LEAST_UNITS,
    Cell,
    bootstrap_interval,
    bootstrap_means,
    seed_draws,
)
from tangentlm.analysis.choosing import agreement_of_seeds, ceiling_of_mean, top_one_regret
from tangentlm.analysis.permutations import (
    Measures,
    orders_of_relabelling,
    orders_within,
    p_of_moving_alike,
    p_of_shuffling,
)
from tangentlm.analysis.rank_correlation import exact_stratified_p, kendall_tau
from tangentlm.analysis.strata import stratified_spearmans, stratified_taus
from tangentlm.errors import InputError

SUBSETS = [frozenset(s) for k in range(1, 5) for s in itertools.combinations(range(4), k)]
SIZE = np.array([len(subset) for subset in SUBSETS])


# --- Rank correlation within strata.


def test_in_one_stratum_it_is_the_usual_one():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, (3, 12)), rng.integers(0, 6, (2, 12))
    taus, rhos = (f(x, y, np.zeros(12)) for f in (stratified_taus, stratified_spearmans))
    for i, j in itertools.product(range(3), range(2)):
        assert taus[i, j] == pytest.approx(kendalltau(x[i], y[j]).statistic)
        assert rhos[i, j] == pytest.approx(spearmanr(x[i], y[j]).statistic)


def test_strata_are_weighted_by_the_pairs_that_ties_leave():
    rng = np.random.default_rng(1)
    x, y, strata = rng.integers(0, 4, 14), rng.integers(0, 4, 14), np.repeat([0, 1, 2], [7, 4, 3])
    taus, weights = [], []
    for stratum in range(3):
        a, b = x[strata == stratum], y[strata == stratum]
        pairs = list(itertools.combinations(range(len(a)), 2))
        untied = [sum(v[i] != v[j] for i, j in pairs) for v in (a, b)]
        taus.append(kendall_tau(a, b))
        weights.append(np.sqrt(np.prod(untied)))
    (found,) = stratified_taus(x[None], y[None], strata)[0]
    assert found == pytest.approx(np.average(taus, weights=weights))


def test_a_predictor_that_only_knows_the_size_knows_nothing_at_fixed_size():
    outcome = SIZE + 0.1 * np.random.default_rng(2).normal(size=15)
    by_size = np.array([SIZE])
    assert stratified_taus(by_size, outcome[None], SIZE)[0, 0] == 0
    assert stratified_spearmans(by_size, outcome[None], SIZE)[0, 0] == 0
    assert stratified_taus(by_size, outcome[None], np.zeros(15))[0, 0] > 0.8


def test_a_perfect_predictor_is_perfect_and_its_negative_is_perfectly_wrong():
    outcome = np.random.default_rng(3).normal(size=15)
    x = np.stack([np.exp(outcome), -outcome])
    assert stratified_taus(x, outcome[None], SIZE).ravel() == pytest.approx([1, -1])
    assert stratified_spearmans(x, outcome[None], SIZE).ravel() == pytest.approx([1, -1])


def test_a_missing_value_is_missing_and_other_choices_are_refused():
    x = np.array([[1.0, np.nan, 2.0], [1.0, 2.0, 3.0]])
    found = stratified_taus(x, [[1, 2, 3]], [0, 0, 0]).ravel()
    assert np.isnan(found[0])
    assert found[1] == 1
    with pytest.raises(InputError, match="not of the same choices"):
        stratified_taus(x, [[1, 2]], [0, 0])


# --- The bootstrap.


def test_ways_to_draw_seeds_are_those_of_going_through_all():
    weights, chances = seed_draws(3)
    assert chances.sum() == pytest.approx(1)
    drawn = [tuple(np.bincount(d, minlength=3) / 3) for d in itertools.product(range(3), repeat=3)]
    for weight, chance in zip(weights, chances, strict=True):
        assert chance == pytest.approx(drawn.count(tuple(weight)) / 27)


def one_way(values, units=None):
    units = units or [str(i) for i in range(len(values))]
    return [
        Cell(unit, np.array([v]), np.array([[v]]), np.ones(1))
        for unit, v in zip(units, values, strict=True)
    ]


def test_with_one_way_to_draw_seeds_it_is_the_bootstrap_of_a_mean():
    values = np.random.default_rng(4).normal(size=40)
    means = bootstrap_means(one_way(values))
    assert means.shape == (10_000, 1)
    assert means.mean() == pytest.approx(values.mean(), abs=0.01)
    assert means.std() == pytest.approx(values.std() / np.sqrt(40), rel=0.03)
    low, high = bootstrap_interval(means, 40)
    half = student.ppf(0.975, 39) * values.std(ddof=1) / np.sqrt(40)
    assert [low[0], high[0]] == pytest.approx(
        [values.mean() - half, values.mean() + half], abs=0.03
    )


def test_cells_of_a_task_are_drawn_together():
    """Two cells of each task that cancel: the mean is always zero."""
    cells = one_way([1, -1, 2, -2, 3, -3], units=list("aabbcc"))
    assert np.allclose(bootstrap_means(cells, 500), 0)


def test_seeds_are_drawn_within_a_cell():
    weights, chances = seed_draws(2)
    cell = Cell("a", np.array([0.5]), (weights @ np.array([0.0, 1.0]))[:, None], chances)
    means = bootstrap_means([cell], 8_000)[:, 0]
    for value, chance in ((0, 0.25), (0.5, 0.5), (1, 0.25)):
        assert np.mean(means == value) == pytest.approx(chance, abs=0.02)


def test_what_a_cell_does_not_have_is_left_out():
    cells = [
        Cell(str(i), np.array(v), np.array([v]), np.ones(1))
        for i, v in enumerate([[1.0, np.nan], [1.0, 5.0], [1.0, 5.0]])
    ]
    means = bootstrap_means(cells, 500)
    assert np.allclose(means[:, 0], 1)
    assert set(means[~np.isnan(means[:, 1]), 1]) == {5.0}


def test_fewer_than_five_tasks_have_no_interval_and_no_cell_no_bootstrap():
    means = bootstrap_means(one_way([1, 2, 3, 4]), 100)
    assert all(np.isnan(end).all() for end in bootstrap_interval(means, LEAST_UNITS - 1))
    with pytest.raises(InputError, match="needs a cell"):
        bootstrap_means([])


def replicates(rng, strength, noise, tasks, seeds, choices=20):
    """A predictor that knows a part of the truth, more in some tasks, and noisy outcomes."""
    cells = []
    for _ in range(tasks):
        truth = rng.normal(size=choices)
        predictor = rng.normal(strength, 0.3) * truth + rng.normal(size=choices)
        cells.append((predictor, truth + noise * rng.normal(size=(seeds, choices))))
    return cells


def as_cell(unit, predictor, outcomes):
    weights, chances = seed_draws(len(outcomes))
    one = np.zeros(len(predictor))
    ways = stratified_taus(predictor[None], weights @ outcomes, one).T
    estimate = stratified_taus(predictor[None], outcomes.mean(axis=0)[None], one)[0]
    return Cell(unit, estimate, ways, chances)


@pytest.mark.parametrize(("strength", "noise"), [(0.0, 1.0), (0.5, 2.0), (2.0, 0.5)])
def test_the_interval_has_the_true_mean_in_it_as_often_as_it_says(strength, noise):
    """True is the mean over very many tasks; six tasks with two seeds are few."""
    rng = np.random.default_rng(5)
    many = [as_cell("", *cell).estimate for cell in replicates(rng, strength, noise, 3000, 2)]
    true, hits, studies = np.mean(many), 0, 150
    for number in range(studies):
        cells = [
            as_cell(str(i), *cell) for i, cell in enumerate(replicates(rng, strength, noise, 6, 2))
        ]
        low, high = bootstrap_interval(bootstrap_means(cells, 1000, number), 6)
        hits += low[0] <= true <= high[0]
    # Two standard errors of a share of 0.95 in 150 are 0.036.
    assert 0.91 <= hits / studies <= 0.995


# --- The tests.


def measures(x, y, strata):
    return Measures(np.atleast_2d(x).astype(float), np.atleast_2d(y).astype(float), strata)


def test_orders_within_strata_keep_them_and_are_all_as_likely():
    strata = np.array([1, 2, 1, 2, 1])
    orders = orders_within(strata, 6_000, np.random.default_rng(0))
    assert (strata[orders] == strata).all()
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 12  # 3! times 2!
    assert counts.min() > 400


def test_taus_of_orders_are_those_of_reordered_outcomes():
    rng = np.random.default_rng(6)
    cell = measures(rng.normal(size=(3, 15)), rng.integers(0, 5, (2, 15)), SIZE)
    orders = orders_within(SIZE, 10, rng)
    found = cell.taus(orders)
    for order, taus in zip(orders, found, strict=True):
        expected = stratified_taus(cell.predictors, cell.outcomes[:, order], SIZE)
        assert np.allclose(taus, expected)


def test_the_p_value_is_close_to_the_exact_one():
    rng = np.random.default_rng(7)
    groups = [tuple(rng.normal(size=(2, 5))) for _ in range(3)]
    cells = [measures(x, y, np.zeros(5)) for x, y in groups]
    assert p_of_shuffling(cells)[0, 0] == pytest.approx(exact_stratified_p(groups), abs=0.015)


def test_an_independent_predictor_has_a_uniform_p_value():
    """Both measures know the stratum; within it they are independent."""
    rng = np.random.default_rng(8)
    strata = np.repeat([1, 2], 12)  # large ones, so that tau has small steps
    found = []
    for number in range(300):
        cells = [measures(*(rng.normal(size=(2, 24)) + strata), strata) for _ in range(4)]
        found.append(p_of_shuffling(cells, 200, number)[0, 0])
    assert kstest(found, "uniform").pvalue > 0.01
    for level in (0.05, 0.1, 0.2):
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=0.04)


def test_a_perfect_predictor_has_the_least_p_value():
    y = np.random.default_rng(9).normal(size=(4, 15))
    cells = [measures(np.stack([row, SIZE]), row, SIZE) for row in y]
    p = p_of_shuffling(cells, 999)
    assert p[0, 0] == 1 / 1000
    assert p[1, 0] == 1  # the size is constant at a fixed size


def test_relabelling_layers_goes_through_all_names():
    orders = orders_of_relabelling(SUBSETS)
    assert orders.shape == (24, 15)
    assert len(np.unique(orders, axis=0)) == 24
    assert (SIZE[orders] == SIZE).all()
    threes = [frozenset(s) for s in itertools.combinations(range(6), 3)]
    assert len(np.unique(orders_of_relabelling(threes), axis=0)) == 720
    with pytest.raises(InputError, match="relabelling needs"):
        orders_of_relabelling(SUBSETS[1:])


def patterns(rng, layers=6, tasks=6):
    """Predictor and outcome that are sums over layers, each with a pattern for all tasks."""
    threes = [frozenset(s) for s in itertools.combinations(range(layers), 3)]
    inside = np.array([[layer in s for layer in range(layers)] for s in threes], dtype=float)
    x, y = inside @ rng.normal(size=layers), inside @ rng.normal(size=layers)
    cells = [
        measures(x + 0.3 * rng.normal(size=20), y + 0.3 * rng.normal(size=20), np.full(20, 3))
        for _ in range(tasks)
    ]
    return threes, cells


def test_patterns_over_layers_mislead_the_shuffling_and_not_the_relabelling():
    rng = np.random.default_rng(10)
    shuffled, relabelled = [], []
    for number in range(60):
        threes, cells = patterns(rng)
        shuffled.append(p_of_shuffling(cells, 200, number)[0, 0])
        relabelled.append(p_of_moving_alike([(orders_of_relabelling(threes), cells)])[0, 0])
    assert np.mean(np.array(shuffled) < 0.05) > 0.5
    assert np.mean(np.array(relabelled) < 0.05) < 0.14
    assert kstest(relabelled, "uniform").pvalue > 0.01


def test_two_arms_are_permuted_in_every_combination():
    rng = np.random.default_rng(11)
    pair = [frozenset({0}), frozenset({1})], np.array([1, 1])
    x = [rng.normal(size=2) for _ in range(4)]
    arms = [
        (orders_of_relabelling(pair[0]), [measures(v, v, pair[1]) for v in x[:2]]),
        (orders_of_relabelling(pair[0]), [measures(v, v, pair[1]) for v in x[2:]]),
    ]
    # Means 1, 0, 0 and -1 of the four combinations.
    assert p_of_moving_alike(arms)[0, 0] == 0.5


def test_a_predictor_that_no_cell_has_has_no_p_value():
    cell = measures([[np.nan] * 15, list(range(15))], range(15), SIZE)
    for p in (p_of_shuffling([cell], 50), p_of_moving_alike([(np.arange(15)[None], [cell])])):
        assert np.isnan(p[0, 0])
        assert not np.isnan(p[1, 0])


# --- Choosing, and what can be known.


def test_regret_is_zero_for_a_perfect_predictor_and_the_mean_for_one_that_orders_nothing():
    outcome = np.random.default_rng(12).normal(size=9)
    assert top_one_regret(np.exp(outcome), outcome) == 0
    assert top_one_regret(-outcome, outcome) == pytest.approx(np.ptp(outcome))
    assert top_one_regret(np.ones(9), outcome) == pytest.approx(outcome.max() - outcome.mean())
    assert np.isnan(top_one_regret([1.0, np.nan], [1.0, 2.0]))
    with pytest.raises(InputError, match="same choices"):
        top_one_regret([1.0], [1.0, 2.0])


def test_seeds_agree_as_their_known_noise_says():
    rng = np.random.default_rng(13)
    truth = rng.normal(size=1500)
    one = np.zeros(1500)
    for noise in (0.5, 1.0):
        outcomes = truth + noise * rng.normal(size=(3, 1500))
        r = 1 / (1 + noise**2)
        agreement = agreement_of_seeds(outcomes, one)
        assert agreement == pytest.approx(2 / np.pi * np.arcsin(r), abs=0.03)
        reached = stratified_taus(truth[None], outcomes.mean(axis=0)[None], one)[0, 0]
        assert ceiling_of_mean(agreement, 3) == pytest.approx(reached, abs=0.03)


def test_seeds_without_noise_agree_and_those_of_noise_alone_do_not():
    truth = np.random.default_rng(14).normal(size=(1, 15))
    assert agreement_of_seeds(np.repeat(truth, 2, axis=0), SIZE) == 1
    assert ceiling_of_mean(1.0, 2) == 1
    assert ceiling_of_mean(-0.2, 2) == 0
    with pytest.raises(InputError, match="needs two"):
        agreement_of_seeds(truth, SIZE)


def test_the_expanded_tail_is_that_of_hesterberg():
    """For normal draws the interval is Student's: n = 10, tail 0.0086 for 0.025."""
    means = norm.ppf((np.arange(100_000) + 0.5) / 100_000)[:, None] * np.sqrt(0.9)
    low, high = bootstrap_interval(means, 10)
    assert [low[0], high[0]] == pytest.approx(
        [-student.ppf(0.975, 9), student.ppf(0.975, 9)], rel=1e-3
    )
