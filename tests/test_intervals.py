"""Intervals against scipy's own, and the words that they allow."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, spearmanr, ttest_1samp, ttest_ind

from tangentlm.analysis.intervals import (
    Interval,
    interval_of_difference,
    interval_of_mean,
    interval_of_rank_correlation,
    interval_of_share,
)
from tangentlm.analysis.verdicts import VERDICTS, too_few

MISSING = Interval(0.0, math.nan, math.nan)
VALUES = [60.0, 61.0, 64.0, 59.5]


def test_of_a_mean_it_is_student_s():
    expected = ttest_1samp(VALUES, 0.0).confidence_interval(0.95)
    found = interval_of_mean(VALUES)
    assert found.estimate == pytest.approx(np.mean(VALUES))
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert found.half == pytest.approx((expected.high - expected.low) / 2)


def test_two_values_have_a_mean_and_no_interval():
    found = interval_of_mean([1.0, 3.0])
    assert found.estimate == 2.0
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_of_a_difference_it_is_welch_s():
    other = [70.0, 70.5, 72.0, 71.0, 69.0]
    expected = ttest_ind(VALUES, other, equal_var=False).confidence_interval(0.95)
    stds = (np.std(VALUES, ddof=1), np.std(other, ddof=1))
    found = interval_of_difference(np.mean(VALUES) - np.mean(other), stds, (4, 5))
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert interval_of_difference(1.5, (0.0, 0.0), (4, 5)) == Interval(1.5, 1.5, 1.5)


def test_of_a_share_it_is_wilson_s():
    expected = binomtest(3, 8).proportion_ci(0.95, method="wilson")
    assert interval_of_share(3, 8) == Interval(3 / 8, expected.low, expected.high)


def test_of_a_rank_correlation_it_knows_order_alone():
    first, second = [1.0, 2.0, 3.0, 5.0, 4.0], [0.1, 0.3, 9.0, 7.0, 7.0]
    found = interval_of_rank_correlation(first, second)
    assert found.estimate == pytest.approx(spearmanr(first, second).statistic)
    assert found.low < found.estimate < found.high
    assert found == interval_of_rank_correlation(np.exp(first), second)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-1.0, 1.0, "holds"), (3.0, 5.0, "undecided"), (4.1, 5.0, "fails"),
        (-9.0, -5.0, "fails"), (-5.0, 5.0, "undecided"), (math.nan, math.nan, "too few splits"),
    ],
)  # fmt: skip
def test_a_claim_holds_where_the_whole_interval_does_what_it_says(low, high, expected):
    assert Interval((low + high) / 2, low, high).verdict(-4.0, 4.0) == expected
    assert expected in VERDICTS


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-2.0, -1.0, "falls"), (1.0, 2.0, "rises"), (-1.0, 2.0, "not told apart")],
)
def test_direction(low, high, expected):
    assert Interval(0.0, low, high).direction() == expected


def test_a_missing_interval_excludes_nothing_and_says_what_is_missing():
    assert not MISSING.excludes(100.0)
    assert MISSING.direction(unit="seeds") == too_few("seeds") == "too few seeds"
    assert MISSING.verdict(0.0, unit="tasks") == "too few tasks"
