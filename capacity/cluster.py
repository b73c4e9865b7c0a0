"""A simulated deployment: a router that asks the less busy of two replicas, and an autoscaler with its delays."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any

import simpy

from capacity.engine import Call, Replica
from capacity.models import Model
from capacity.policies import Load, Policy

SAMPLE_SECONDS = 1.0


@dataclass(frozen=True)
class Scaling:
    """How the number of replicas follows the load.

    Attributes:
        push_seconds: Between two reports of the load: decisions are as old as the last one.
        start_seconds: From the decision to a replica that takes calls: machine, image, weights.
    """

    policy: Policy
    fewest: int
    most: int
    look_back_seconds: float = 30.0
    push_seconds: float = 10.0
    upscale_delay_seconds: float = 30.0
    downscale_delay_seconds: float = 600.0
    start_seconds: float = 90.0


@dataclass(frozen=True)
class Second:
    """The deployment at one second."""

    at: float
    replicas: int
    """Those that start among them."""
    serving: int
    open_calls: int
    open_pictures: int


@dataclass
class Run:
    """What came of a simulation."""

    calls: list[Call]
    seconds: list[Second] = field(default_factory=list)
    made: int = 0
    replica_seconds: float = 0.0
    """That replicas have existed, starting ones among them: what is paid for."""
    busy_seconds: float = 0.0

    @property
    def answered(self) -> list[Call]:
        """Calls with all their pictures."""
        return [call for call in self.calls if call.ended_at is not None]

    @property
    def refused(self) -> int:
        """Calls that were turned away."""
        return sum(call.refused for call in self.calls)

    @property
    def open(self) -> int:
        """Calls that were under way when the simulation ended."""
        return len(self.calls) - len(self.answered) - self.refused


class Deployment:
    """Replicas of one model behind one router."""

    def __init__(self, env: simpy.Environment, model: Model, replicas: int, *, seed: int) -> None:
        self._env = env
        self._model = model
        self._chance = random.Random(seed)
        self._replicas = [Replica(env, model, self._ended) for _ in range(replicas)]
        self._starting = 0
        self._gone_busy = 0.0
        self._gone_made = 0
        self._queue: deque[Call] = deque()
        self.asked_pictures = 0

    @property
    def count(self) -> int:
        """Replicas that serve or start."""
        return self.serving + self._starting

    @property
    def serving(self) -> int:
        """Replicas that take calls."""
        return sum(not one.leaving for one in self._replicas)

    @property
    def existing(self) -> int:
        """As `count`, and those that still end."""
        return len(self._replicas) + self._starting

    @property
    def open_pictures(self) -> int:
        """Pictures that are not made."""
        return sum(one.open_pictures for one in self._replicas) + self._queued_pictures

    @property
    def open_calls(self) -> int:
        """Calls that are not answered."""
        return sum(one.open_calls for one in self._replicas) + len(self._queue)

    @property
    def waiting_pictures(self) -> int:
        """Pictures that have not begun."""
        return sum(one.waiting for one in self._replicas) + self._queued_pictures

    @property
    def _queued_pictures(self) -> int:
        return sum(call.pictures for call in self._queue)

    @property
    def made(self) -> int:
        """Pictures, of all replicas that ever were."""
        return self._gone_made + sum(one.made for one in self._replicas)

    @property
    def busy_seconds(self) -> float:
        """Of all replicas that ever were."""
        return self._gone_busy + sum(one.busy_seconds for one in self._replicas)

    def ask(self, call: Call) -> None:
        """Routes a call, or lets it wait at the proxy while every replica has as many as it takes."""
        self.asked_pictures += call.pictures
        if len(self._queue) >= self._model.max_queued_calls:
            call.refused = True
            return
        self._queue.append(call)
        self._route()

    def _route(self) -> None:
        while self._queue:
            free = [one for one in self._replicas if not one.leaving and one.open_calls < self._model.max_open_calls]
            if not free:
                return
            # As Serve does, by calls: it does not see what is in them.
            chosen = min(self._chance.sample(free, min(2, len(free))), key=lambda one: one.open_calls)
            call = self._queue.popleft()
            call.refused = not chosen.offer(call, self._env.now - call.asked_at)

    def set_count(self, wanted: int, start_seconds: float) -> None:
        """Adds replicas, which serve after a while, or lets some go, the emptiest first."""
        for _ in range(wanted - self.count):
            self._starting += 1
            self._env.process(self._start(start_seconds))
        serving = sorted((one for one in self._replicas if not one.leaving), key=lambda one: one.open_calls)
        for one in serving[: max(self.count - wanted, 0)]:
            one.leaving = True
        self._bury()

    def _start(self, seconds: float) -> Generator[simpy.Event, Any, None]:
        yield self._env.timeout(seconds)
        self._starting -= 1
        self._replicas.append(Replica(self._env, self._model, self._ended))
        self._route()

    def _ended(self, _: Call) -> None:
        self._bury()
        self._route()

    def _bury(self) -> None:
        for one in [one for one in self._replicas if one.leaving and not one.open_calls]:
            self._gone_busy += one.busy_seconds
            self._gone_made += one.made
            self._replicas.remove(one)


def simulate(
    model: Model,
    calls: Iterable[Call],
    *,
    replicas: int,
    until: float,
    scaling: Scaling | None = None,
    seed: int = 0,
) -> Run:
    """Runs calls, in the order of their times, through a deployment; the same arguments give the same run.

    Args:
        replicas: How many there are in the beginning; all serve.
        until: When the simulation ends, in seconds.
        scaling: How their number follows the load; None: it does not.
    """
    env = simpy.Environment()
    deployment = Deployment(env, model, replicas, seed=seed)
    run = Run([])

    def arrive() -> Generator[simpy.Event, Any, None]:
        for call in calls:
            if call.asked_at >= until:
                return
            yield env.timeout(call.asked_at - env.now)
            run.calls.append(call)
            deployment.ask(call)

    def watch() -> Generator[simpy.Event, Any, None]:
        while True:
            row = Second(
                env.now,
                deployment.count,
                deployment.serving,
                deployment.open_calls,
                deployment.open_pictures,
            )
            run.seconds.append(row)
            run.replica_seconds += deployment.existing * SAMPLE_SECONDS
            yield env.timeout(SAMPLE_SECONDS)

    env.process(arrive())
    env.process(watch())
    if scaling is not None:
        env.process(_autoscale(env, deployment, model, scaling))
    env.run(until)
    run.made, run.busy_seconds = deployment.made, deployment.busy_seconds
    return run


def _autoscale(
    env: simpy.Environment, deployment: Deployment, model: Model, scaling: Scaling
) -> Generator[simpy.Event, Any, None]:
    samples: deque[tuple[int, int, int, int]] = deque(maxlen=max(int(scaling.look_back_seconds / SAMPLE_SECONDS), 1))
    wanted = direction = 0
    since = 0.0
    last_push = -scaling.push_seconds
    asked_before = 0
    while True:
        asked, asked_before = deployment.asked_pictures - asked_before, deployment.asked_pictures
        waiting = deployment.waiting_pictures
        samples.append((deployment.open_calls, waiting, deployment.open_pictures - waiting, asked))
        if env.now - last_push >= scaling.push_seconds:
            last_push = env.now
            calls, waits, runs, came = (sum(column) / len(samples) for column in zip(*samples, strict=True))
            load = Load(deployment.count, calls, waits, runs, deployment.open_pictures, came / SAMPLE_SECONDS)
            wanted = min(max(scaling.policy.wanted(load, model), scaling.fewest), scaling.most)
        now = (wanted > deployment.count) - (wanted < deployment.count)
        if now != direction:
            direction, since = now, env.now
        delay = scaling.upscale_delay_seconds if now > 0 else scaling.downscale_delay_seconds
        if now and env.now - since >= delay:
            deployment.set_count(wanted, scaling.start_seconds)
            direction = 0
        yield env.timeout(SAMPLE_SECONDS)
