"""Means, intervals and t-tests of values one by one: the same as of all of them together."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from services.common.errors import InvalidInputError
from services.common.statistics import Moments, mean_interval, paired_comparison

VALUES = st.floats(-1000, 1000, allow_nan=False).map(lambda value: round(value, 3))


def moments(values: list[float]) -> Moments:
    """Moments of a list."""
    found = Moments()
    for value in values:
        found.add(value)
    return found


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=40), st.integers(0, 40))
def test_values_one_by_one_and_in_parts_are_as_all_together(values: list[float], split: int) -> None:
    merged = moments(values[:split])
    merged.merge(moments(values[split:]))
    expected = mean_interval(values)
    for found in (moments(values), merged):
        interval = found.interval()
        assert interval.n == len(values) and interval.mean == pytest.approx(expected.mean, rel=1e-12, abs=1e-10)
        for end, theirs in ((interval.low, expected.low), (interval.high, expected.high)):
            assert end == (None if theirs is None else pytest.approx(theirs, rel=1e-12, abs=1e-9))


def test_the_t_test_is_scipys_and_keeps_its_digits_far_from_zero() -> None:
    values = [1e8 + step * 0.25 for step in (1.0, 2.0, 4.0, 3.5, 7.0)]
    found = moments([value - 1e8 for value in values])
    assert found.t_test() == pytest.approx(stats.ttest_1samp([value - 1e8 for value in values], 0.0).pvalue, rel=1e-12)
    far = moments(values).interval()
    expected = mean_interval(values)
    assert far.high is not None and expected.high is not None
    assert far.high - far.mean == pytest.approx(expected.high - expected.mean, rel=1e-6)


@pytest.mark.parametrize("values", [[0.1], [0.1] * 7, [-0.3, -0.3]])
def test_equal_values_have_no_spread(values: list[float]) -> None:
    found, expected = moments(values), paired_comparison(values, [0.0] * len(values))
    assert found.t_test() is expected.t_p is None
    assert found.interval() == expected.difference or math.isclose(found.mean, expected.difference.mean)
    halves = moments(values[:1])
    halves.merge(moments(values[1:]))
    assert halves.t_test() is None


def test_no_values_have_no_mean() -> None:
    with pytest.raises(InvalidInputError) as caught:
        Moments().interval()
    assert caught.value.field == "values"
