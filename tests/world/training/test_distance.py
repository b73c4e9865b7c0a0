"""The kernel distance: against the moments of known distributions, a double loop, and sets that are alike."""

from __future__ import annotations

import itertools
import statistics

import pytest
import torch

from world.training.distance import Distance, kernel_distance


def _normal(count: int, width: int, mean: float, deviation: float, seed: int) -> torch.Tensor:
    return mean + deviation * torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def _moments(mean: float, deviation: float) -> tuple[float, float, float]:
    return mean, mean**2 + deviation**2, mean**3 + 3 * mean * deviation**2


def _population_1d(*values: tuple[float, float]) -> float:
    """The distance of two normal distributions of one value: of (xy + 1)^3 only differences of moments remain."""
    first, second, third = (a - b for a, b in zip(*(_moments(*one) for one in values), strict=True))
    return 3 * first**2 + 3 * second**2 + third**2


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (0.5, 1.0), (0.0, 1.5), (-0.3, 0.7)])
def test_small_sets_of_known_gaussians_are_right_on_average(mean: float, deviation: float) -> None:
    found = [
        kernel_distance(_normal(12, 1, mean, deviation, seed), _normal(20, 1, 0, 1, 10_000 + seed)).value
        for seed in range(3000)
    ]
    error = statistics.stdev(found) / len(found) ** 0.5
    assert abs(statistics.fmean(found) - _population_1d((mean, deviation), (0.0, 1.0))) < 4 * error


def test_many_features_of_another_spread_have_the_known_distance() -> None:
    width, deviation = 256, 1.5
    known = 3 / width * (deviation**2 - 1) ** 2
    found = kernel_distance(_normal(400, width, 0, deviation, 1), _normal(400, width, 0, 1, 2))
    assert abs(found.value - known) < 4 * found.standard_error < known


def test_fewer_pictures_than_features_have_no_distance_of_their_own() -> None:
    found = [
        kernel_distance(_normal(60, 256, 1, 1, seed), _normal(80, 256, 1, 1, 500 + seed)).value for seed in range(40)
    ]
    assert min(found) < 0 < max(found)
    assert abs(statistics.fmean(found)) < 4 * statistics.stdev(found) / 40**0.5


def test_the_standard_error_is_the_spread_of_estimates() -> None:
    made = [kernel_distance(_normal(60, 8, 0.4, 1, seed), _normal(90, 8, 0, 1, 900 + seed)) for seed in range(300)]
    spread = statistics.stdev(one.value for one in made)
    assert statistics.fmean(one.standard_error for one in made) == pytest.approx(spread, rel=0.1)


def test_equals_a_double_loop() -> None:
    x, y = _normal(5, 3, 0.2, 1, 1), _normal(4, 3, 0, 1, 2)

    def estimate(x: torch.Tensor, y: torch.Tensor) -> float:
        def mean(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
            return statistics.fmean((float(a.double() @ b.double()) / 3 + 1) ** 3 for a, b in pairs)

        within = [mean(list(itertools.permutations(one, 2))) for one in (x, y)]
        return sum(within) - 2 * mean(list(itertools.product(x, y)))

    def variance(estimates: list[float]) -> float:
        return (len(estimates) - 1) * statistics.pvariance(estimates)

    left_out = [
        variance([estimate(torch.cat([x[:i], x[i + 1 :]]), y) for i in range(len(x))]),
        variance([estimate(x, torch.cat([y[:i], y[i + 1 :]])) for i in range(len(y))]),
    ]
    found = kernel_distance(x, y)
    assert found.value == pytest.approx(estimate(x, y), rel=1e-9)
    assert found.standard_error == pytest.approx(sum(left_out) ** 0.5, rel=1e-9)


def test_a_set_against_itself_or_in_another_order_is_no_distance_away() -> None:
    x = _normal(50, 16, 0, 1, 3)
    own = kernel_distance(x, x)
    kernel = (x.double() @ x.T.double() / 16 + 1) ** 3
    pairs = (kernel.sum() - kernel.trace()) / (50 * 49)
    # Each picture meets itself between the sets, and not within them.
    assert own.value == pytest.approx(float(2 / 50 * (pairs - kernel.trace() / 50))) and own.value < 0
    assert kernel_distance(x, x.flip(0)).value == pytest.approx(own.value)
    constant = torch.ones(6, 4)
    assert kernel_distance(constant, constant[:3]) == Distance(0.0, 0.0)


@pytest.mark.parametrize(
    ("features", "reference"), [((2, 4), (9, 4)), ((9, 4), (2, 4)), ((9, 4), (9, 5)), ((9,), (9,))]
)
def test_sets_that_tell_nothing_are_refused(features: tuple[int, ...], reference: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"allowed: \[3 or more, D\]"):
        kernel_distance(torch.zeros(features), torch.zeros(reference))
