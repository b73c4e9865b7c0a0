"""The race service without a transport: one method a call."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

from services.common.errors import LikenessError, NotFoundError, PreconditionError
from services.common.telemetry import get_logger
from services.gateway.decoding import image_info
from services.gateway.domain import ImageInfo
from services.gateway.draining import going_away
from services.gateway.loops.runner import LoopRunner
from services.gateway.races import validation
from services.gateway.races.model import Race, RaceState, RaceTarget
from services.gateway.races.tabling import RaceView, viewed
from services.gateway.races.validation import Known, RaceInput, TargetInput
from services.gateway.races.watching import RaceWatcher
from services.gateway.sessions import tokens
from services.gateway.sessions.feed import Feed
from services.gateway.sessions.service import Catalog
from services.gateway.sessions.validation import page_size as checked_page_size
from services.gateway.store.codec import decode
from services.gateway.store.images import ImageRepository
from services.gateway.store.races import RaceRepository
from services.gateway.store.requests import RequestKey, RequestRepository

log = get_logger(__name__)


class RaceService:
    """What callers do with races. Every error is of the tree in services.common.errors."""

    def __init__(
        self,
        races: RaceRepository,
        images: ImageRepository,
        requests: RequestRepository,
        runner: LoopRunner,
        feed: Feed,
        catalog: Catalog,
    ) -> None:
        self._races = races
        self._images = images
        self._requests = requests
        self._runner = runner
        self._feed = feed
        self._watcher = RaceWatcher(races, feed)
        self._catalog = catalog

    async def create(self, tenant_id: str, asked: RaceInput, key: RequestKey | None) -> Race:
        """Creates a race and starts its sessions; nothing is stored unless everything is valid."""
        if (stored := await self._requests.find(key)) is not None:
            return decode(Race, stored)
        validation.shape(asked)
        defaults, known = self._catalog.profile.defaults, await self._known()
        metrics = validation.judges(asked.metrics, defaults, known)
        entrants = tuple(
            validation.entrant(index, one, metrics, defaults, known) for index, one in enumerate(asked.entrants)
        )
        pictures: dict[str, bytes] = {}
        found = [await self._target(tenant_id, index, one, pictures) for index, one in enumerate(asked.targets)]
        validation.distinct(found)
        race = Race(
            id=uuid.uuid4().hex,
            display_name=asked.display_name,
            targets=tuple(RaceTarget(info, one.display_name) for info, one in zip(found, asked.targets, strict=True)),
            entrants=entrants,
            metrics=metrics,
            seed=asked.seed,
            create_time=datetime.now(UTC),
            tenant_id=tenant_id,
        )
        created = await self._races.create(race, pictures, key)
        self._runner.look_around()
        log.info("race_created", race=created.id, targets=len(created.targets), entrants=len(created.entrants))
        return created

    async def get(self, tenant_id: str, race_id: str) -> RaceView:
        """A race with its table and entries."""
        return await viewed(*await self._races.get_with_entries(tenant_id, race_id))

    async def list_page(self, tenant_id: str, page_size: int, page_token: str) -> tuple[list[Race], str]:
        """A page of races, newest first, and the token of the next page ("" on the last)."""
        size = checked_page_size(page_size)
        # One more than the page tells whether there is a next one.
        found = await self._races.list_page(tenant_id, size + 1, tokens.decode_page_token(page_token))
        page = found[:size]
        return page, tokens.encode_page_token(page[-1].create_time, page[-1].id) if len(found) > size else ""

    def watch(self, tenant_id: str, race_id: str) -> AsyncIterator[RaceView]:
        """The race again whenever it changed."""
        return self._watcher.follow(tenant_id, race_id)

    async def cancel(self, tenant_id: str, race_id: str, key: RequestKey | None = None) -> Race:
        """Cancels every session that still runs and waits for their end; returns the race, no longer running."""
        # From here on the sessions end wherever they run, also if this gateway does not live to see it.
        asked = await self._races.request_cancel(tenant_id, race_id, key)
        if asked.state is not RaceState.RUNNING:
            # A repeated call.
            return asked
        await self._end(tenant_id, lambda: self._races.racing_sessions(race_id))
        return await self._races.cancelled(tenant_id, race_id, key)

    async def delete(self, tenant_id: str, race_id: str, key: RequestKey | None = None) -> None:
        """Deletes a race with its sessions, cancelling it first, and the pictures that nothing else uses."""
        while True:
            try:
                hashes = await self._races.delete(tenant_id, race_id, key)
                break
            except PreconditionError:
                with suppress(PreconditionError):
                    await self.cancel(tenant_id, race_id)
                # People may have gone on with a session after its race.
                await self._end(tenant_id, lambda: self._races.busy_sessions(race_id))
        try:
            await self._images.collect(tenant_id, hashes)
        except LikenessError as error:
            # The race is gone; housekeeping collects its pictures later.
            log.warning("collect_failed", reason=error.reason.value)

    async def _end(self, tenant_id: str, read_running: Callable[[], Awaitable[list[str]]]) -> None:
        """Cancels sessions until none of them runs."""
        running = await read_running()
        with self._feed.subscribed(*running) as subscription:
            while running:
                if self._feed.closed:
                    raise going_away()
                for session_id in running:
                    # One that no gateway has ends here; the gateway that has another is told.
                    with suppress(PreconditionError, NotFoundError):
                        await self._runner.request_cancel(tenant_id, session_id)
                if running := await read_running():
                    await subscription.wait()

    async def _known(self) -> Known:
        return Known(
            *await asyncio.gather(
                self._catalog.scoring.metrics(),
                self._catalog.generator.list_models(),
                self._catalog.refiner.list_strategies(),
            )
        )

    async def _target(self, tenant_id: str, index: int, asked: TargetInput, pictures: dict[str, bytes]) -> ImageInfo:
        """What is known of a target; bytes that came with the request are added to the pictures."""
        assert asked.picture is not None
        field = f"targets[{index}].image"
        if asked.picture.data is None:
            return await self._images.find(tenant_id, asked.picture.content_hash, field=f"{field}.content_hash")
        info = await image_info(asked.picture.data, field=f"{field}.data")
        pictures[info.content_hash] = asked.picture.data
        return info
