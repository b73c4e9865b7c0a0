"""Runs sessions on this gateway: takes leases, keeps them, cancels on request, and takes up what others left."""

from __future__ import annotations

import asyncio
import contextvars
import time
import uuid
from contextlib import suppress

from services.common.errors import InternalError, LikenessError
from services.common.telemetry import bind, counter, gauge, get_logger
from services.gateway import domain
from services.gateway.loops.machine import Machine, Tools
from services.gateway.loops.state import Lease
from services.gateway.sessions.feed import Feed
from services.gateway.store.changes import LeaseLostError
from services.gateway.store.images import ImageRepository
from services.gateway.store.leases import LEASE_SECONDS, LeaseRepository
from services.gateway.store.requests import RequestKey, RequestRepository
from services.gateway.store.runs import Begun, RunRepository

TICK_SECONDS = LEASE_SECONDS / 4
_HOUSEKEEPING_SECONDS = 600.0
_CLAIM_BATCH = 64

log = get_logger(__name__)
_running = gauge("likeness_gateway_running_sessions", "Sessions that this gateway runs or has queued.")
_stopped = counter("likeness_gateway_runs", "Runs that stopped, by reason.", ("reason",))


class LoopRunner:
    """The sessions that this gateway runs, one task each."""

    def __init__(
        self,
        runs: RunRepository,
        leases: LeaseRepository,
        images: ImageRepository,
        requests: RequestRepository,
        tools: Tools,
        feed: Feed,
        *,
        max_running: int,
    ) -> None:
        self.owner = uuid.uuid4().hex
        self._runs = runs
        self._leases = leases
        self._images = images
        self._requests = requests
        self._tools = tools
        self._feed = feed
        self._slots = asyncio.Semaphore(max_running)
        self._tasks: dict[str, tuple[Lease, asyncio.Task[None]]] = {}
        self._beginning: set[str] = set()
        self._cancelling: set[Lease] = set()
        self._ticker: asyncio.Task[None] | None = None
        self._next_housekeeping = 0.0

    def start(self) -> None:
        """Begins to look after sessions, and takes up those that nobody runs."""
        self._ticker = asyncio.create_task(self._tick_forever(), name="loop-runner")

    async def begin(self, session_id: str, loop: domain.LoopSettings, key: RequestKey | None) -> Begun:
        """Sets a session running here; errors as RunRepository.begin."""
        self._beginning.add(session_id)
        try:
            begun, lease = await self._runs.begin(session_id, loop, self.owner, key)
            if lease is not None:
                self._launch(lease)
        finally:
            self._beginning.discard(session_id)
        return begun

    async def request_cancel(self, session_id: str) -> None:
        """Asks for the end of a run, wherever it runs; errors as LeaseRepository.request_cancel."""
        await self._leases.request_cancel(session_id)
        self.cancel_here(session_id)

    def cancel_here(self, session_id: str) -> None:
        """Stops a run of this gateway whose cancel is stored; nothing happens if it does not run here."""
        if session_id not in self._tasks:
            return
        lease, task = self._tasks[session_id]
        # Once only: a second cancel would interrupt the storing of the first.
        if lease not in self._cancelling:
            self._cancelling.add(lease)
            task.cancel()

    async def close(self) -> None:
        """Stops every task where it is and gives the leases back; what is stored is taken up by the next gateway."""
        if self._ticker is not None:
            self._ticker.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticker
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(LikenessError):
            await self._leases.release(self.owner)

    def _launch(self, lease: Lease) -> None:
        if lease.session_id in self._tasks:
            known, task = self._tasks[lease.session_id]
            if known.token >= lease.token:
                return
            task.cancel()
        # A context of its own: deadline and request id of the call that started it must not reach into the run.
        task = asyncio.create_task(self._work(lease), context=contextvars.Context())
        self._tasks[lease.session_id] = (lease, task)
        _running.set(len(self._tasks))
        task.add_done_callback(lambda _: self._forget(lease))

    def _forget(self, lease: Lease) -> None:
        self._cancelling.discard(lease)
        if self._tasks.get(lease.session_id, (None,))[0] == lease:
            del self._tasks[lease.session_id]
        _running.set(len(self._tasks))

    async def _work(self, lease: Lease) -> None:
        machine = Machine(lease, self._runs, self._tools, self._feed.progress)
        with bind(session_id=lease.session_id):
            try:
                async with self._slots:
                    reason = await machine.run()
                    _stopped.labels(reason.value if reason else "prompt_done").inc()
            except asyncio.CancelledError:
                if lease not in self._cancelling:
                    raise
                await self._store_cancelled(lease)
            except LeaseLostError:
                log.info("lease_lost")
            except LikenessError as error:
                # The database is away: the next tick that reaches it claims the session again.
                log.warning("run_interrupted", reason=error.reason.value)
            except Exception:
                log.exception("run_failed")
                with suppress(LikenessError, LeaseLostError):
                    await machine.fail(InternalError())
                _stopped.labels(domain.StopReason.FAILED.value).inc()

    async def _store_cancelled(self, lease: Lease) -> None:
        cancelled = domain.SessionState.CANCELLED, domain.StopReason.CANCELLED
        with suppress(LikenessError, LeaseLostError):
            await self._runs.stopped(lease, *cancelled)
        _stopped.labels(domain.StopReason.CANCELLED.value).inc()
        log.info("run_cancelled")

    async def _tick_forever(self) -> None:
        while True:
            try:
                await self._tick()
            except LikenessError as error:
                log.warning("tick_failed", reason=error.reason.value)
            except Exception:
                log.exception("tick_failed")
            await asyncio.sleep(TICK_SECONDS)

    async def _tick(self) -> None:
        before = {session_id: lease for session_id, (lease, _) in self._tasks.items()}
        renewed = await self._leases.renew(self.owner)
        for session_id, lease in before.items():
            if self._tasks.get(session_id, (None,))[0] != lease:
                continue
            token, cancel_requested = renewed.get(session_id, (None, False))
            if token != lease.token:
                self._tasks[session_id][1].cancel()
            elif cancel_requested:
                self.cancel_here(session_id)
        for lease in await self._leases.claim(self.owner, {*self._tasks, *self._beginning}, _CLAIM_BATCH):
            log.info("run_taken_up", session_id=lease.session_id)
            self._launch(lease)
        if time.monotonic() >= self._next_housekeeping:
            self._next_housekeeping = time.monotonic() + _HOUSEKEEPING_SECONDS
            await self._requests.purge()
            await self._images.sweep()
