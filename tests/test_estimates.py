"""Means with the sources of their uncertainty, against SciPy and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, ttest_1samp, ttest_ind

from tangentlm.analysis.estimates import (
    MOST_SPLITS,
    Estimate,
    Source,
    combined,
    mean_of_independent,
    mean_on_the_same_rows,
)
from tangentlm.analysis.learning import chance_of_best, chance_over_splits
from tangentlm.analysis.sampling import (
    rows_told_rightly,
    variance_of_paired,
    variance_of_share,
    variance_of_unpaired,
)
from tangentlm.analysis.several import holm
from tangentlm.errors import InputError
from tangentlm.metrics import right_or_wrong

VALUES = np.array([1.0, 2.5, 0.5, 3.0, 1.5])


def test_without_rows_it_is_student_s_t():
    found = Estimate.of_splits(VALUES)
    expected = ttest_1samp(VALUES, 0.0)
    ends = expected.confidence_interval(0.95)
    assert (found.interval().low, found.interval().high) == pytest.approx((ends.low, ends.high))
    assert found.p_value(least=0.0) == pytest.approx(expected.pvalue)
    assert found.p_value(most=0.0) == pytest.approx(expected.pvalue)


def test_a_difference_of_two_samples_is_welch_s():
    others = np.array([4.0, 2.0, 3.0])
    found = combined([1.0, -1.0], [Estimate.of_splits(v) for v in (VALUES, others)])
    expected = ttest_ind(VALUES, others, equal_var=False)
    ends = expected.confidence_interval(0.95)
    assert (found.interval().low, found.interval().high) == pytest.approx((ends.low, ends.high))
    assert found.p_value(least=0.0) == pytest.approx(expected.pvalue)


def test_equivalence_is_two_one_sided_tests():
    found = Estimate.of_splits(VALUES)
    above = ttest_1samp(VALUES, -4.0, alternative="greater").pvalue
    below = ttest_1samp(VALUES, 4.0, alternative="less").pvalue
    assert found.p_value(-4.0, 4.0) == pytest.approx(2 * max(above, below))
    outside = ttest_1samp(VALUES, -1.0, alternative="greater").pvalue
    assert found.p_value(-4.0, -1.0) == pytest.approx(2 * outside)


@pytest.mark.parametrize("bounds", [(-4.0, 4.0), (0.0, math.inf), (-math.inf, 1.0), (2.0, 9.0)])
def test_p_is_small_exactly_where_the_interval_decides(bounds):
    for shift in np.linspace(-6, 6, 49):
        found = Estimate.of_splits(VALUES + shift, of_rows=0.3)
        decided = found.interval().verdict(*bounds) in ("holds", "fails")
        assert (found.p_value(*bounds) < 0.05) == decided


def test_rows_that_all_splits_share_do_not_average_out():
    """Splits and rows are drawn anew many times: as often as it says, the interval is right."""
    rng = np.random.default_rng(0)
    splits, rows, of_split, draws = 5, 200, 2.0, 2000
    covers = {True: 0, False: 0}
    for _ in range(draws):
        share = rng.binomial(rows, 0.7) / rows  # what these rows do to every split
        values = 100 * share + of_split * rng.standard_normal(splits)
        for counted in covers:
            of_rows = variance_of_share(100 * share, rows) if counted else 0.0
            covers[counted] += not Estimate.of_splits(values, of_rows).interval().excludes(70.0)
    assert covers[True] / draws == pytest.approx(0.95, abs=0.015)
    assert covers[False] / draws < 0.6


def test_few_splits_say_nothing():
    found = Estimate.of_splits([1.0, 2.0], of_rows=0.1)
    assert found.interval().verdict(least=0.0) == "too few splits"
    assert math.isnan(found.p_value(least=0.0))
    assert Estimate.of_splits([1.0]).splits_to_decide(least=0.0) is None


@pytest.mark.parametrize("of_rows", [0.0, 0.1])
def test_so_many_splits_decide_and_one_less_does_not(of_rows):
    found = Estimate.of_splits(VALUES, of_rows)
    spread = VALUES.var(ddof=1)
    for bounds in ((0.5, math.inf), (-4.0, 4.0), (2.6, 9.0)):
        needed = found.splits_to_decide(*bounds)
        verdicts = []
        for splits in (needed - 1, needed):
            again = Estimate(found.mean, (Source(spread / splits, splits), Source(of_rows)))
            verdicts.append(again.interval().verdict(*bounds))
        assert verdicts[1] in ("holds", "fails")
        assert verdicts[0] in ("undecided", "too few splits")


def test_no_number_of_splits_helps_against_test_rows():
    wide = Estimate.of_splits(VALUES, of_rows=4.0)  # 1.96 * 2 points from rows alone
    assert wide.splits_to_decide(least=0.0) is None
    assert Estimate.of_splits(VALUES - VALUES.mean()).splits_to_decide(least=0.0) is None
    assert MOST_SPLITS > 100


def test_the_mean_over_tasks_and_over_k():
    parts = [Estimate.of_splits(VALUES + shift, of_rows=0.5) for shift in (0.0, 2.0)]
    of_splits = VALUES.var(ddof=1) / 5
    tasks, settings = mean_of_independent(parts), mean_on_the_same_rows(parts)
    assert tasks.mean == settings.mean == pytest.approx(VALUES.mean() + 1.0)
    assert tasks.variance == pytest.approx((of_splits + 0.5) / 2)
    assert settings.variance == pytest.approx(of_splits / 2 + 0.5)


# --- test rows ------------------------------------------------------------------------------


def test_unpaired_rows_are_independent_shares():
    found = variance_of_unpaired([1.0, -0.9], [80.0, 70.0], [500, 200])
    assert found == pytest.approx(80 * 20 / 500 + 0.81 * 70 * 30 / 200)


def test_paired_rows_are_what_a_bootstrap_gives():
    rng = np.random.default_rng(1)
    easy = rng.random(120)  # what makes methods err on the same rows
    right = [rng.random((4, 120)) < share * easy for share in (1.0, 0.9)]
    found = variance_of_paired([1.0, -0.9], right)
    scores = []
    for _ in range(4000):
        rows = rng.integers(0, 120, 120)  # the same for all splits and methods
        first, second = (100 * array[:, rows].mean() for array in right)
        scores.append(first - 0.9 * second)
    assert found == pytest.approx(np.var(scores), rel=0.1)
    means = [100 * array.mean() for array in right]
    assert found < variance_of_unpaired([1.0, -0.9], means, [120, 120])


def test_rows_of_different_runs_are_not_paired():
    with pytest.raises(InputError, match="cannot be paired"):
        variance_of_paired([1.0, -1.0], [np.ones((3, 10)), np.ones((2, 10))])


def test_letters_are_read_as_they_were_written():
    letters = [right_or_wrong([0, 1, 1], predicted) for predicted in ([0, 0, 1], [1, 1, 1])]
    assert rows_told_rightly(letters).tolist() == [[True, False, True], [False, True, True]]


# --- many statements, and learning ----------------------------------------------------------


def test_holm_is_wrong_on_any_of_many_true_statements_in_one_of_twenty():
    rng = np.random.default_rng(2)
    values = rng.random((4000, 8))
    wrong = {"alone": 0, "together": 0}
    for p in values:
        wrong["alone"] += (p < 0.05).any()
        wrong["together"] += (holm(p) < 0.05).any()
    assert wrong["together"] / 4000 == pytest.approx(1 - 0.99375**8, abs=0.012)
    assert wrong["alone"] / 4000 > 0.3


def test_holm_by_hand():
    assert holm([0.04, 0.01, math.nan, 0.03, 0.9]).tolist() == pytest.approx(
        [0.09, 0.04, math.nan, 0.09, 0.9], nan_ok=True
    )
    assert holm([]).shape == (0,)


def test_the_best_of_many_tries_looks_like_learning_but_is_not_taken_for_it():
    rng = np.random.default_rng(3)
    rows, tries, splits, draws = 32, 16, 5, 600
    taken = naive = 0
    for _ in range(draws):
        best = rng.binomial(rows, 0.5, (splits, tries)).max(axis=1)
        taken += chance_over_splits([chance_of_best(b, rows, 0.5, tries) for b in best]) < 0.05
        naive += binom.sf(best.sum() - 1, rows * splits, 0.5) < 0.05
    assert taken / draws <= 0.05
    assert naive / draws > 0.9


def test_what_was_learned_is_seen():
    chances = [chance_of_best(28, 32, 0.5, 16) for _ in range(5)]
    assert chance_over_splits(chances) < 1e-6
    with pytest.raises(InputError, match="no split"):
        chance_over_splits([])


def test_one_split_s_chance_is_its_own():
    for p in (0.001, 0.2, 0.9, 1.0):
        assert chance_over_splits([p]) == pytest.approx(p)
