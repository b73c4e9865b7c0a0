"""The calls of races, which both clients inherit."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing

from likeness import _race_calls as calls
from likeness import _types as t
from likeness._calling import AsyncCalling, Calling
from likeness._errors import LikenessError
from likeness._following import Reconnection
from likeness._options import EntrantOptions

Targets = Sequence[t.ImageSource] | Mapping[str, t.ImageSource]


class RaceMethods(Calling):
    """Races for the sync client."""

    def create_race(
        self,
        targets: Targets,
        entrants: Mapping[str, EntrantOptions],
        *,
        metrics: Sequence[str] = (),
        seed: int = 0,
        display_name: str = "",
    ) -> t.Race:
        """Starts the same targets through several entrants and returns at once. See `watch_race`.

        Args:
            targets: 1 to 256 pictures, none twice; a dict gives them names. Pictures that together exceed 60 MiB are
                uploaded before (`upload_image`) and given as what that returns.
            entrants: 2 to 16 entrants by name; targets x entrants is at most 1,024.
            metrics: Metrics that judge every entrant alike; the deployment's default list if left out.
            seed: The sessions of target i, from 0, have seed + i for every entrant.
            display_name: Text to find the race again by, at most 200 characters.
        """
        return self._run(calls.create_race(targets, entrants, metrics, seed, display_name))

    def race(
        self,
        targets: Targets,
        entrants: Mapping[str, EntrantOptions],
        *,
        metrics: Sequence[str] = (),
        seed: int = 0,
        display_name: str = "",
        on_update: Callable[[t.RaceUpdate], None] | None = None,
    ) -> t.RaceDetails:
        """Runs a race to its end and returns its table.

            found = client.race(["a.png", "b.png"], {"long": {"rounds": 8}, "short": {"rounds": 2}}, metrics=["ssim"])
            for duel in found.table.duels:
                print(duel.first, duel.wins, duel.ties, duel.losses, duel.second, duel.t_test_p)

        Targets that fail leave the others; the table counts them. If the wait is left by an exception (Ctrl-C too), the
        race is cancelled; what it made stays.

        Args:
            targets: As in `create_race`, like those that are not named here.
            on_update: Called whenever something changed, at most twice a second.
        """
        race = self.create_race(targets, entrants, metrics=metrics, seed=seed, display_name=display_name)
        try:
            for update in self.watch_race(race):
                if on_update is not None:
                    on_update(update)
        except BaseException:
            self._cancel_race_quietly(race)
            raise
        return self.get_race(race)

    def get_race(self, race: t.Race | str) -> t.RaceDetails:
        """A race with its table and its entries."""
        return self._run(calls.get_race(race))

    def list_races(self, *, page_size: int = 0) -> Iterator[t.Race]:
        """All races, newest first; pages are fetched as they are needed. 0 means the server's page size."""
        return self._pages(lambda token: calls.list_races(page_size, token))

    def watch_race(self, race: t.Race | str) -> Iterator[t.RaceUpdate]:
        """Yields the race with its table, at once and whenever something changed, until it is not running or deleted.

        Reconnects by itself when the gateway goes away for a while.
        """
        connection = Reconnection(self._retry)
        for update in self._reopened(lambda: calls.watch_race(race), connection):
            connection.heard()
            yield update

    def cancel_race(self, race: t.Race | str) -> t.Race:
        """Stops every session of a race, and no other; returns when none is running."""
        return self._run(calls.cancel_race(race))

    def delete_race(self, race: t.Race | str) -> None:
        """Deletes a race with all its sessions; a running one is cancelled first."""
        self._run(calls.delete_race(race))

    def _cancel_race_quietly(self, race: t.Race) -> None:
        """Stops the race if it still runs; the exception under way matters more than a failure to do so."""
        try:
            self.cancel_race(race)
        except LikenessError:
            return


class AsyncRaceMethods(AsyncCalling):
    """Races for the async client."""

    async def create_race(
        self,
        targets: Targets,
        entrants: Mapping[str, EntrantOptions],
        *,
        metrics: Sequence[str] = (),
        seed: int = 0,
        display_name: str = "",
    ) -> t.Race:
        """As `Client.create_race`."""
        return await self._run(calls.create_race(targets, entrants, metrics, seed, display_name))

    async def race(
        self,
        targets: Targets,
        entrants: Mapping[str, EntrantOptions],
        *,
        metrics: Sequence[str] = (),
        seed: int = 0,
        display_name: str = "",
        on_update: Callable[[t.RaceUpdate], Awaitable[None] | None] | None = None,
    ) -> t.RaceDetails:
        """As `Client.race`; `on_update` may be a coroutine function."""
        race = await self.create_race(targets, entrants, metrics=metrics, seed=seed, display_name=display_name)
        try:
            async for update in self.watch_race(race):
                if on_update is not None:
                    answer = on_update(update)
                    if inspect.isawaitable(answer):
                        await answer
        except BaseException:
            await asyncio.shield(self._cancel_race_quietly(race))
            raise
        return await self.get_race(race)

    async def get_race(self, race: t.Race | str) -> t.RaceDetails:
        """A race with its table and its entries."""
        return await self._run(calls.get_race(race))

    def list_races(self, *, page_size: int = 0) -> AsyncIterator[t.Race]:
        """All races, newest first; pages are fetched as they are needed. 0 means the server's page size."""
        return self._pages(lambda token: calls.list_races(page_size, token))

    async def watch_race(self, race: t.Race | str) -> AsyncIterator[t.RaceUpdate]:
        """As `Client.watch_race`."""
        connection = Reconnection(self._retry)
        async with aclosing(self._reopened(lambda: calls.watch_race(race), connection)) as updates:
            async for update in updates:
                connection.heard()
                yield update

    async def cancel_race(self, race: t.Race | str) -> t.Race:
        """Stops every session of a race, and no other; returns when none is running."""
        return await self._run(calls.cancel_race(race))

    async def delete_race(self, race: t.Race | str) -> None:
        """Deletes a race with all its sessions; a running one is cancelled first."""
        await self._run(calls.delete_race(race))

    async def _cancel_race_quietly(self, race: t.Race) -> None:
        """Stops the race if it still runs; the exception under way matters more than a failure to do so."""
        try:
            await self.cancel_race(race)
        except LikenessError:
            return
