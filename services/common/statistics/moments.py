"""Means, intervals and t-tests of values that come one by one, in constant memory.

A value moves the mean and the sum of squared deviations by Welford's update; two parts are merged by Chan's. Neither
takes the difference of two large sums, which would lose the digits that a variance needs.
Sources: Welford 1962, "Note on a method for calculating corrected sums of squares and products"; Chan, Golub & LeVeque
1983, "Algorithms for computing the sample variance: analysis and recommendations".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from services.common.errors import InvalidInputError
from services.common.statistics.paired import MeanInterval, interval_around, t_test_of


@dataclass(slots=True)
class Moments:
    """What is kept of values: `count` of them, their mean, and the sum of their squared deviations from it."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    first: float = 0.0
    differ: bool = False
    """Whether a value is another than the first: equal ones have no spread, whatever rounding makes of their mean."""

    def add(self, value: float) -> None:
        """Takes one more value, which must be finite."""
        if not self.count:
            self.first = value
        elif value != self.first:
            self.differ = True
        self.count += 1
        before = value - self.mean
        self.mean += before / self.count
        self.squares += before * (value - self.mean)

    def merge(self, other: Moments) -> None:
        """Takes the values of another."""
        if not other.count:
            return
        if not self.count:
            self.first = other.first
        self.differ = self.differ or other.differ or other.first != self.first
        count = self.count + other.count
        apart = other.mean - self.mean
        self.mean += apart * other.count / count
        self.squares += other.squares + apart * apart * self.count * other.count / count
        self.count = count

    def interval(self) -> MeanInterval:
        """The mean with its interval, as `mean_interval` of all values. InvalidInputError without values."""
        if not self.count:
            raise InvalidInputError("values", "are none", allowed="at least one number")
        return interval_around(self.mean, self._standard_error(), self.count)

    def t_test(self) -> float | None:
        """Two-sided p of the t-test that the mean is 0, as PairedComparison.t_p."""
        return t_test_of(self.mean, self._standard_error(), self.count)

    def _standard_error(self) -> float:
        return math.sqrt(self.squares / (self.count - 1) / self.count) if self.differ else 0.0
