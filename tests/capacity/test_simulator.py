"""The simulator against what queueing theory knows: limits that have formulas, laws that hold for every queue."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from capacity.cluster import Run, Scaling, simulate
from capacity.engine import Call
from capacity.models import Curve, Model, affine
from capacity.policies import DeadlineAware, OngoingRequests, Policy, QueueDepth
from capacity.traffic import Phase, phases, steady

ONE = Model(
    "one at a time",
    steps=4,
    max_batch=1,
    curve=Curve(0.0, 0.2, end_seconds=0.2),
    max_waiting=10**6,
    max_open_calls=10**6,
)
"""Takes a second a picture."""
BATCHED = Model(
    "batched", steps=10, max_batch=8, curve=affine(0.1, 0.25, end_seconds=0.05), max_waiting=10**6, max_open_calls=10**6
)
POLICIES = (OngoingRequests(4.0), QueueDepth(), DeadlineAware(10.0))


def mean_seconds(run: Run) -> float:
    """Of the calls that were answered."""
    return sum(call.seconds for call in run.answered) / len(run.answered)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_picture_at_a_time_waits_as_in_the_queue_m_d_1(load: float) -> None:
    run = simulate(ONE, steady(load, 15_000, seed=3), replicas=1, until=15_000)
    assert ONE.alone_seconds == pytest.approx(1.0)
    # Pollaczek and Khinchine, for a service that always takes as long.
    assert mean_seconds(run) == pytest.approx(1 + load / (2 * (1 - load)), rel=0.05)


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_pictures_of_random_length_wait_as_in_the_queue_m_m_1(load: float) -> None:
    # A call of a geometric number of pictures, each short, takes an exponential time but for rounding.
    chance, mean = random.Random(5), 20

    def calls() -> Iterator[Call]:
        for call in steady(load, 15_000, seed=4):
            yield Call(call.asked_at, 1 + int(chance.expovariate(1 / (mean - 0.5))))

    short = Model("short", steps=1, max_batch=1, curve=Curve(0.0, 1 / mean), max_waiting=10**6, max_open_calls=10**6)
    run = simulate(short, calls(), replicas=1, until=15_000)
    assert mean_seconds(run) == pytest.approx(1 / (1 - load), rel=0.1)


def test_an_idle_replica_takes_the_time_of_a_picture_alone() -> None:
    run = simulate(BATCHED, [Call(5.0), Call(100.0)], replicas=1, until=200)
    assert [call.seconds for call in run.calls] == pytest.approx([BATCHED.alone_seconds] * 2)


@pytest.mark.parametrize("replicas", [1, 3])
def test_saturated_replicas_make_what_full_batches_make(replicas: int) -> None:
    most = replicas * BATCHED.pictures_per_second()
    run = simulate(BATCHED, steady(1.5 * most, 600, seed=1), replicas=replicas, until=600)
    assert run.made / 600 == pytest.approx(most, rel=0.03)
    assert run.busy_seconds == pytest.approx(600 * replicas, rel=0.02)


@pytest.mark.parametrize("load", [0.4, 0.8])
def test_littles_law(load: float) -> None:
    rate = load * 2 * BATCHED.pictures_per_second()
    run = simulate(BATCHED, steady(rate / 2, 20_000, pictures=2, seed=2), replicas=2, until=20_000)
    mean_open = sum(row.open_calls for row in run.seconds) / len(run.seconds)
    assert mean_open == pytest.approx(rate / 2 * mean_seconds(run), rel=0.03)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_nothing_is_lost_or_doubled_while_replicas_come_and_go(policy: Policy) -> None:
    small = Model("small", 10, 4, BATCHED.curve, max_waiting=20)
    rate = small.pictures_per_second()
    parts = [Phase(200, 0.5 * rate), Phase(300, 3 * rate), Phase(400, 0.1 * rate), Phase(300, 2 * rate)]
    scaling = Scaling(policy, 1, 6, upscale_delay_seconds=5, downscale_delay_seconds=30, start_seconds=20)
    asked = list(phases(parts, pictures=3, deadline_seconds=60, seed=9))
    run = simulate(small, asked, replicas=1, until=3_000, scaling=scaling)
    assert len(run.calls) == len(asked)
    assert run.open == 0
    assert len(run.answered) + run.refused == len(asked)
    assert run.made == 3 * len(run.answered)
    assert run.refused > 0
    counts = {row.replicas for row in run.seconds}
    assert min(counts) == 1 and max(counts) > 2, "their number followed the load"
    assert run.seconds[-1].replicas == 1


def test_no_call_that_was_taken_is_later_than_its_time_where_replicas_are_as_reckoned() -> None:
    rate = BATCHED.pictures_per_second()
    run = simulate(BATCHED, steady(2 * rate, 300, deadline_seconds=8.0, seed=1), replicas=1, until=600)
    assert run.refused > 0.3 * len(run.calls)
    # Pictures that join a batch make its steps longer than they were reckoned by.
    assert max(call.seconds for call in run.answered) < 1.15 * 8.0


def test_the_same_seed_gives_the_same_run_and_another_does_not() -> None:
    def run(seed: int) -> list[float]:
        calls = steady(12, 60, pictures=2, seed=seed)
        scaling = Scaling(OngoingRequests(4.0), 1, 4, upscale_delay_seconds=3, start_seconds=5)
        return [
            one.seconds for one in simulate(BATCHED, calls, replicas=2, until=90, scaling=scaling, seed=seed).answered
        ]

    assert run(1) == run(1) != run(2)


@pytest.mark.parametrize("make", [OngoingRequests, lambda target: DeadlineAware(10 * target)])
def test_a_replica_serves_only_when_it_has_started(make: Callable[[float], Policy]) -> None:
    scaling = Scaling(make(1.0), 1, 8, push_seconds=1, look_back_seconds=1, upscale_delay_seconds=3, start_seconds=40)
    run = simulate(BATCHED, steady(40, 100, seed=1), replicas=1, until=100, scaling=scaling)
    grew = next(row.at for row in run.seconds if row.replicas > 1)
    served = next(row.at for row in run.seconds if row.serving > 1)
    assert served - grew == pytest.approx(40, abs=1.0)
    assert grew >= 3
