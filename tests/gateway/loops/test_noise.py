"""Recombining noises by score."""

from __future__ import annotations

import math
import random
import statistics

import numpy as np
import pytest

from services.gateway.domain import Candidate, NoisePart, Score
from services.gateway.loops.noise import Direction, direction

DIMENSIONS = 400
METRICS = ("ssim",)


def noise(seed: int) -> list[float]:
    """Independent normal noise of a seed."""
    draw = random.Random(seed)
    return [draw.gauss(0, 1) for _ in range(DIMENSIONS)]


def mixed(mix: tuple[NoisePart, ...]) -> list[float]:
    """What the generator makes of a mix."""
    norm = math.sqrt(sum(part.weight**2 for part in mix))
    columns = zip(*(noise(part.seed) for part in mix), strict=True)
    weights = [part.weight / norm for part in mix]
    return [sum(w * x for w, x in zip(weights, column, strict=True)) for column in columns]


def scored(
    seed: int,
    score: float | None,
    prompt: str = "a cat",
    mix: tuple[NoisePart, ...] = (),
    cells: tuple[float, ...] = (),
) -> Candidate:
    """A candidate of a seed or of a mix."""
    scores = (Score("ssim", "1", 0.0, 0.0, higher_is_better=True, cells=cells), Score("psnr", "1", 0, 0, True))
    return Candidate(f"r1c{seed}", 1, prompt, "base", seed, noise_mix=mix, scores=scores, loop_score=score)


def test_recombined_noise_beats_the_best_of_as_many_fresh_ones() -> None:
    """On a score that is linear in the noise; the same number of pictures for both."""
    gains = []
    for trial in range(30):
        start = trial * 1000
        goal = noise(start + 999)
        scale = math.sqrt(sum(x * x for x in goal))

        def score(values: list[float], goal: list[float] = goal, scale: float = scale) -> float:
            return sum(x * y for x, y in zip(values, goal, strict=True)) / scale

        made = [scored(start + n, score(noise(start + n))) for n in range(4)]
        for turn in range(3):
            found = direction(made, METRICS)
            assert found is not None
            mixes = [found.with_fresh(start + 100 + 4 * turn + n) for n in range(4)]
            made += [scored(mix[-1].seed, score(mixed(mix)), mix=mix) for mix in mixes]
        fresh = max(score(noise(start + 500 + n)) for n in range(16))
        gains.append(max(one.loop_score or 0.0 for one in made) - fresh)
    # A mean gain of more than half a standard deviation of the score.
    assert statistics.fmean(gains) > 0.5


def test_good_noise_is_added_bad_noise_subtracted_and_the_best_counts_more() -> None:
    found = direction([scored(1, 0.9), scored(2, 0.5), scored(3, 0.1)], METRICS)
    assert found is not None
    # Half way between the best noise and the difference of the best and the worst, 45 degrees apart.
    assert {seed: float(weight[0]) for seed, weight in found.weights.items()} == pytest.approx(
        {1: math.cos(math.pi / 8), 3: -math.sin(math.pi / 8)}
    )
    assert found.share == pytest.approx(3 / 7)
    assert math.fsum(part.weight**2 for part in found.with_fresh(9)) == pytest.approx(1)
    assert found.with_fresh(9)[-1] == NoisePart(9, pytest.approx(math.sqrt(4 / 7), abs=1e-6))


def test_prompts_are_not_compared_with_each_other() -> None:
    alone = [scored(1, 0.9, "a"), scored(2, 0.5, "b"), scored(3, 0.1, "c")]
    assert direction(alone, METRICS) is None
    pairs = [*alone, scored(4, 0.8, "a"), scored(5, 0.6, "b")]
    found = direction(pairs, METRICS)
    assert found is not None and 3 not in found.weights
    assert found.weights[1] > 0 > found.weights[4] and found.weights[5] > 0 > found.weights[2]


def test_no_direction_without_differences() -> None:
    assert direction([], METRICS) is None
    assert direction([scored(1, 0.5), scored(2, 0.7)], METRICS) is None
    assert direction([scored(n, 0.5) for n in range(4)], METRICS) is None
    assert direction([scored(n, None) for n in range(4)], METRICS) is None


def test_mixes_are_traced_back_to_their_seeds_and_stay_within_the_generators_limit() -> None:
    parents = (NoisePart(1, 3.0), NoisePart(2, -4.0))
    found = direction([scored(7, 0.9, mix=parents), scored(8, 0.2), scored(9, 0.1)], METRICS)
    assert found is not None and set(found.weights) == {1, 2, 8, 9}
    assert found.weights[2] / found.weights[1] == pytest.approx(-4 / 3)
    many = direction([scored(n, n / 200) for n in range(200)], METRICS)
    assert many is not None and len(many.with_fresh(999)) == 64
    celled = direction([scored(n, 0.5, cells=(n / 200, 1 - n / 200)) for n in range(200)], METRICS)
    assert celled is not None and len(celled.with_fresh(999)) == 16
    assert set(celled.weights) & {0, 199} == {0, 199}


def test_a_seed_that_comes_again_stays_one_part() -> None:
    mix = Direction({1: np.array([0.6]), 2: np.array([0.8])}, 0.5).with_fresh(2)
    assert [part.seed for part in mix] == [1, 2]


def test_each_cell_takes_the_noise_that_is_good_there() -> None:
    cells = {1: (0.9, 0.1, 0.5, 0.5), 2: (0.5, 0.5, 0.9, 0.5), 3: (0.1, 0.9, 0.1, 0.5)}
    found = direction([scored(seed, 0.5, cells=values) for seed, values in cells.items()], METRICS)
    assert found is not None
    strongest = max(found.weights, key=lambda seed: found.weights[seed][0])
    assert strongest == 1 and found.weights[3][0] < 0 < found.weights[3][1]
    assert max(found.weights, key=lambda seed: found.weights[seed][2]) == 2
    assert sum(weight**2 for weight in found.weights.values()) == pytest.approx(np.ones(4))
    # Where all pictures are alike nothing is told but that the first is as good as any.
    assert [found.weights[seed][3] for seed in (1, 2, 3)] == [1, 0, 0]
    mix = found.with_fresh(9)
    assert mix[-1] == NoisePart(9, pytest.approx(math.sqrt(4 / 7), abs=1e-6))
    assert all(len(part.cells) == 4 and part.weight == 1 for part in mix[:-1])


def test_local_values_of_mixes_are_traced_back_cell_by_cell() -> None:
    left, right = NoisePart(1, 2.0, (1.0, 0.0, 1.0, 0.0)), NoisePart(2, 2.0, (0.0, 1.0, 0.0, 1.0))
    made = [scored(7, 0.9, mix=(left, right), cells=(0.9, 0.9, 0.2, 0.2)), scored(8, 0.2, cells=(0.2,) * 4)]
    found = direction([*made, scored(9, 0.1, cells=(0.1, 0.1, 0.9, 0.1))], METRICS)
    assert found is not None
    assert found.weights[1][0] > 0.5 and found.weights[1][1] == 0 and found.weights[2][1] > 0.5
    assert found.weights[9][2] > 0.5 and found.weights[2][2] == 0


def test_local_values_count_only_if_all_have_the_same_grid_and_the_loop_selects_by_their_metric() -> None:
    cells = [(0.9, 0.1, 0.5, 0.5), (0.5, 0.5, 0.9, 0.5), (0.1, 0.9, 0.1, 0.4)]
    made = [scored(n, 1 - n / 10, cells=values) for n, values in enumerate(cells, start=1)]
    for candidates, metrics in (
        (made, ("psnr",)),
        ([*made, scored(4, 0.3)], METRICS),
        ([*made, scored(4, 0.3, cells=(0.5,) * 9)], METRICS),
    ):
        found = direction(candidates, metrics)
        assert found is not None and all(weight.shape == (1,) for weight in found.weights.values())
        assert max(found.weights, key=lambda seed: found.weights[seed][0]) == 1


def test_no_direction_between_grids() -> None:
    """A scorer of another release joined in mid-session."""
    old = NoisePart(1, 1.0, (0.5,) * 9)
    made = [scored(n, n / 10, mix=(old, NoisePart(n, 1.0)), cells=(n / 10,) * 4) for n in (2, 3, 4)]
    assert direction(made, METRICS) is None
