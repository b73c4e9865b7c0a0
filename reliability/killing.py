"""Kills a random part every so often and starts it again a moment later."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from reliability.deployment import Deployment
from services.cluster.processes import StartError

MAX_DOWN_SECONDS = 4.0
"""Longest time before a dead part is started again; starting takes its own."""
START_TRIES = 3


@dataclass
class Kills:
    """What was killed."""

    by_part: Counter[str] = field(default_factory=Counter)
    down_seconds: dict[str, list[float]] = field(default_factory=dict)
    """By part: from the kill until it was of use again."""
    failed_starts: list[str] = field(default_factory=list)


class Killer:
    """Chooses among the parts that live, so that several may be down at once.

    Args:
        deployment: Whose parts die.
        seed: Of the choice.
        every_seconds: Time between two kills.
    """

    def __init__(self, deployment: Deployment, seed: int, every_seconds: float) -> None:
        self.kills = Kills()
        self._deployment = deployment
        self._chance = random.Random(seed)
        self._every_seconds = every_seconds
        self._down: dict[str, asyncio.Task[None]] = {}

    @property
    def down(self) -> list[str]:
        """Parts that are not back yet."""
        return sorted(self._down)

    async def run(self, seconds: float) -> None:
        """Kills for so long, then waits until everything is back.

        Raises:
            StartError: a part could not be started again.
        """
        end = time.monotonic() + seconds
        try:
            while time.monotonic() + self._every_seconds <= end:
                await asyncio.sleep(self._every_seconds)
                living = [name for name in self._deployment.parts if name not in self._down]
                name = self._chance.choice(living)
                self.kills.by_part[name] += 1
                self._down[name] = asyncio.create_task(self._restart(name, self._chance.uniform(0, MAX_DOWN_SECONDS)))
            await asyncio.gather(*self._down.values())
        finally:
            for task in self._down.values():
                task.cancel()
            await asyncio.gather(*self._down.values(), return_exceptions=True)

    async def _restart(self, name: str, down_seconds: float) -> None:
        began = time.monotonic()
        await self._deployment.kill(name)
        await asyncio.sleep(down_seconds)
        for tries in range(1, START_TRIES + 1):
            try:
                await self._deployment.start(name)
                break
            except StartError as error:
                # A gateway does not start without its database, which may be down itself.
                self.kills.failed_starts.append(f"{name}: {error}")
                if tries == START_TRIES:
                    raise
        self.kills.down_seconds.setdefault(name, []).append(time.monotonic() - began)
        del self._down[name]
