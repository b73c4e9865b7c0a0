"""Recombining noises by score."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from services.gateway.domain import Candidate, NoisePart
from services.gateway.loops.noise import Direction, direction

DIMENSIONS = 400


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


def scored(seed: int, score: float | None, prompt: str = "a cat", mix: tuple[NoisePart, ...] = ()) -> Candidate:
    """A candidate of a seed or of a mix."""
    return Candidate(f"r1c{seed}", 1, prompt, "base", seed, noise_mix=mix, loop_score=score)


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
            found = direction(made)
            assert found is not None
            mixes = [found.with_fresh(start + 100 + 4 * turn + n) for n in range(4)]
            made += [scored(mix[-1].seed, score(mixed(mix)), mix=mix) for mix in mixes]
        fresh = max(score(noise(start + 500 + n)) for n in range(16))
        gains.append(max(one.loop_score or 0.0 for one in made) - fresh)
    # A mean gain of more than half a standard deviation of the score.
    assert statistics.fmean(gains) > 0.5


def test_good_noise_is_added_bad_noise_subtracted_and_the_best_counts_more() -> None:
    found = direction([scored(1, 0.9), scored(2, 0.5), scored(3, 0.1)])
    assert found is not None
    # Half way between the best noise and the difference of the best and the worst, 45 degrees apart.
    assert found.weights == pytest.approx({1: math.cos(math.pi / 8), 3: -math.sin(math.pi / 8)})
    assert found.share == pytest.approx(3 / 7)
    assert math.fsum(part.weight**2 for part in found.with_fresh(9)) == pytest.approx(1)
    assert found.with_fresh(9)[-1] == NoisePart(9, pytest.approx(math.sqrt(4 / 7)))


def test_prompts_are_not_compared_with_each_other() -> None:
    alone = [scored(1, 0.9, "a"), scored(2, 0.5, "b"), scored(3, 0.1, "c")]
    assert direction(alone) is None
    pairs = [*alone, scored(4, 0.8, "a"), scored(5, 0.6, "b")]
    found = direction(pairs)
    assert found is not None and 3 not in found.weights
    assert found.weights[1] > 0 > found.weights[4] and found.weights[5] > 0 > found.weights[2]


def test_no_direction_without_differences() -> None:
    assert direction([]) is None
    assert direction([scored(1, 0.5), scored(2, 0.7)]) is None
    assert direction([scored(n, 0.5) for n in range(4)]) is None
    assert direction([scored(n, None) for n in range(4)]) is None


def test_mixes_are_traced_back_to_their_seeds_and_stay_within_the_generators_limit() -> None:
    parents = (NoisePart(1, 3.0), NoisePart(2, -4.0))
    found = direction([scored(7, 0.9, mix=parents), scored(8, 0.2), scored(9, 0.1)])
    assert found is not None and set(found.weights) == {1, 2, 8, 9}
    assert found.weights[2] / found.weights[1] == pytest.approx(-4 / 3)
    many = direction([scored(n, n / 200) for n in range(200)])
    assert many is not None and len(many.with_fresh(999)) == 64


def test_a_seed_that_comes_again_stays_one_part() -> None:
    mix = Direction({1: 0.6, 2: 0.8}, 0.5).with_fresh(2)
    assert [part.seed for part in mix] == [1, 2]
