"""A simulated replica: pictures join and leave the denoiser's batch between steps, as in the generator's engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import simpy

from capacity.models import Model


@dataclass(eq=False)
class Call:
    """A call for pictures of one prompt, which one replica makes; times in seconds from the beginning."""

    asked_at: float
    pictures: int = 1
    deadline_seconds: float = float("inf")
    """A call that could not be answered in this time is refused at once."""
    left: int = field(init=False)
    """Pictures that are not made yet."""
    ended_at: float | None = None
    refused: bool = False

    def __post_init__(self) -> None:
        self.left = self.pictures

    @property
    def seconds(self) -> float:
        """From the question to the last picture."""
        assert self.ended_at is not None
        return self.ended_at - self.asked_at


class Replica:
    """One engine: a queue, a batch, and one thread that steps it."""

    def __init__(self, env: simpy.Environment, model: Model, on_end: Callable[[Call], None]) -> None:
        self.model = model
        self.open_calls = 0
        self.leaving = False
        """Gets no more calls, and ends when its last has."""
        self.made = 0
        self.busy_seconds = 0.0
        self._env = env
        self._on_end = on_end
        self._waiting: deque[Call] = deque()
        self._running: list[tuple[Call, int]] = []
        self._came = env.event()
        env.process(self._run())

    @property
    def waiting(self) -> int:
        """Pictures that have not begun."""
        return len(self._waiting)

    @property
    def open_pictures(self) -> int:
        """Pictures that have not been made."""
        return len(self._waiting) + len(self._running)

    def offer(self, call: Call, waited_seconds: float = 0.0) -> bool:
        """Takes a call, or refuses it: the queue is full, or longer than what is left of the call's time."""
        model = self.model
        full = len(self._waiting) + call.pictures > model.max_waiting + model.max_batch
        if full or waited_seconds + self.reckoned_seconds(call.pictures) > call.deadline_seconds:
            return False
        self.open_calls += 1
        self._waiting.extend([call] * call.pictures)
        if not self._came.triggered:
            self._came.succeed()
        return True

    def reckoned_seconds(self, more: int) -> float:
        """How long so many more pictures would take, by what is open."""
        ahead = max(self.open_pictures + more - self.model.max_batch, 0)
        batch = min(self.open_pictures + more, self.model.max_batch)
        return ahead / self.model.pictures_per_second() + batch / self.model.pictures_per_second(batch)

    def _run(self) -> Generator[simpy.Event, Any, None]:
        curve, most = self.model.curve, self.model.max_batch
        while True:
            while not self._waiting and not self._running:
                self._came = self._env.event()
                yield self._came
            while self._waiting and len(self._running) < most:
                self._running.append((self._waiting.popleft(), self.model.steps))
            spent = curve.step(len(self._running))
            self._running = [(call, left - 1) for call, left in self._running]
            done = [call for call, left in self._running if not left]
            # Ending pictures holds up the others: it is the same thread.
            spent += len(done) * curve.end_seconds
            yield self._env.timeout(spent)
            self.busy_seconds += spent
            self._running = [(call, left) for call, left in self._running if left]
            for call in done:
                self._made_one(call)

    def _made_one(self, call: Call) -> None:
        self.made += 1
        call.left -= 1
        if not call.left:
            call.ended_at = self._env.now
            self.open_calls -= 1
            self._on_end(call)
