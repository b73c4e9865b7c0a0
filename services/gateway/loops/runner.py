"""Runs sessions on this gateway: takes leases, keeps them, cancels on request, and takes up what others left."""

from __future__ import annotations

import asyncio
import contextvars
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress

from services.common import tracing
from services.common.errors import InternalError, LikenessError
from services.common.telemetry import bind, counter, gauge, get_logger
from services.gateway import domain
from services.gateway.draining import going_away
from services.gateway.loops.machine import Machine
from services.gateway.loops.state import Lease
from services.gateway.loops.work import Tools
from services.gateway.sessions.feed import Feed
from services.gateway.store.changes import LeaseLostError
from services.gateway.store.interventions import InterventionRepository, PauseMode
from services.gateway.store.leases import LEASE_SECONDS, LeaseRepository
from services.gateway.store.requests import RequestKey
from services.gateway.store.run_state import Begun
from services.gateway.store.runs import RunRepository
from services.gateway.ticking import Ticker

TICK_SECONDS = LEASE_SECONDS / 4
_CLAIM_BATCH = 64
_RELEASE_SECONDS = 3.0

log = get_logger(__name__)
_running = gauge("likeness_gateway_running_sessions", "Sessions that this gateway runs or has queued.")
_waiting = gauge("likeness_gateway_waiting_sessions", "Sessions of this gateway that wait for one of its places.")
_stopped = counter("likeness_gateway_runs", "Runs that stopped, by reason.", ("reason",))


class LoopRunner:
    """The sessions that this gateway runs, one task each."""

    def __init__(
        self,
        runs: RunRepository,
        leases: LeaseRepository,
        interventions: InterventionRepository,
        tools: Tools,
        feed: Feed,
        *,
        max_running: int,
    ) -> None:
        self.owner = uuid.uuid4().hex
        self._runs = runs
        self._leases = leases
        self._interventions = interventions
        self._tools = tools
        self._feed = feed
        self._slots = asyncio.Semaphore(max_running)
        self._max_running = max_running
        self._tasks: dict[str, tuple[Lease, asyncio.Task[None]]] = {}
        self._beginning: set[str] = set()
        self._interrupting: set[Lease] = set()
        self._waiting: set[Lease] = set()
        self._ticker = Ticker("loop-runner", self._tick, seconds=TICK_SECONDS)
        self._closed = False

    def start(self) -> None:
        """Begins to look after sessions, and takes up those that nobody runs."""
        self._ticker.start()

    async def begin(self, tenant_id: str, session_id: str, loop: domain.LoopSettings, key: RequestKey | None) -> Begun:
        """Sets a session running here; errors as RunRepository.begin, and UnavailableError once this is closed."""
        return await self._started(session_id, lambda: self._runs.begin(tenant_id, session_id, loop, self.owner, key))

    async def resume(self, tenant_id: str, session_id: str, key: RequestKey | None) -> Begun:
        """Goes on with a paused loop here; errors as InterventionRepository.resume, and as `begin` once closed."""
        resume = self._interventions.resume
        return await self._started(session_id, lambda: resume(tenant_id, session_id, self.owner, key))

    async def request_cancel(self, tenant_id: str, session_id: str, key: RequestKey | None = None) -> Begun:
        """Asks for the end of a run, wherever it runs; errors as InterventionRepository.request_cancel."""
        asked = await self._interventions.request_cancel(tenant_id, session_id, key)
        self.interrupt_here(session_id)
        return asked

    async def request_pause(
        self, tenant_id: str, session_id: str, mode: PauseMode, key: RequestKey | None = None
    ) -> Begun:
        """Asks for the pause of a loop, wherever it runs; errors as InterventionRepository.request_pause."""
        asked = await self._interventions.request_pause(tenant_id, session_id, mode, key)
        # A loop that waits its turn has no round under way.
        if mode is PauseMode.AT_ONCE or self._tasks.get(session_id, (None,))[0] in self._waiting:
            self.interrupt_here(session_id)
        return asked

    def interrupt_here(self, session_id: str) -> None:
        """Stops a run of this gateway whose cancel or pause is stored; nothing happens if it does not run here."""
        if session_id not in self._tasks:
            return
        lease, task = self._tasks[session_id]
        # Once only: a second cancel would interrupt the storing of the first.
        if lease not in self._interrupting:
            self._interrupting.add(lease)
            task.cancel()

    def look_around(self, _: str = "") -> None:
        """Looks for sessions that nobody runs now rather than later."""
        self._ticker.wake()

    async def close(self) -> None:
        """Stops every task where it is and gives the leases back: another gateway goes on from what is stored."""
        self._closed = True
        await self._ticker.close()
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A database that does not answer must not hold the process up: the leases run out.
        with suppress(LikenessError, TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._leases.release(self.owner)

    async def _started(self, session_id: str, start: Callable[[], Awaitable[tuple[Begun, Lease | None]]]) -> Begun:
        if self._closed:
            raise going_away()
        self._beginning.add(session_id)
        try:
            begun, lease = await start()
            if lease is not None and not self._closed:
                self._launch(lease)
            elif lease is not None:
                await self._leases.release(self.owner)
        finally:
            self._beginning.discard(session_id)
        return begun

    def _launch(self, lease: Lease, *, stops_now: bool = False) -> None:
        if lease.session_id in self._tasks:
            known, task = self._tasks[lease.session_id]
            if known.token >= lease.token:
                return
            task.cancel()
        # A context of its own: deadline and request id of the call that started it must not reach into the run.
        work = self._work(lease, stops_now=stops_now, began_by=tracing.current())
        task = asyncio.create_task(work, context=contextvars.Context())
        self._tasks[lease.session_id] = (lease, task)
        _running.set(len(self._tasks))
        task.add_done_callback(lambda _: self._forget(lease))

    def _forget(self, lease: Lease) -> None:
        self._interrupting.discard(lease)
        self._waiting.discard(lease)
        if self._tasks.get(lease.session_id, (None,))[0] == lease:
            del self._tasks[lease.session_id]
        _running.set(len(self._tasks))
        _waiting.set(len(self._waiting))
        # There is room now, and a race may have many sessions that wait for it.
        self.look_around()

    async def _work(self, lease: Lease, *, stops_now: bool, began_by: tracing.Span) -> None:
        machine = Machine(lease, self._runs, self._tools, self._feed.progress)
        attributes = {"likeness.session_id": lease.session_id}
        with tracing.root("loop", parent=began_by, attributes=attributes), bind(session_id=lease.session_id):
            try:
                if stops_now:
                    return _count(await machine.interrupted())
                self._wait(lease)
                async with self._slots:
                    self._begin(lease)
                    _count(await machine.run())
            except asyncio.CancelledError:
                if lease not in self._interrupting:
                    raise
                # If it fails, or nobody asked after all, a later tick takes the run up again.
                with suppress(LikenessError, LeaseLostError):
                    _count(await machine.interrupted())
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

    def _wait(self, lease: Lease) -> None:
        self._waiting.add(lease)
        _waiting.set(len(self._waiting))

    def _begin(self, lease: Lease) -> None:
        self._waiting.discard(lease)
        _waiting.set(len(self._waiting))

    async def _tick(self) -> None:
        before = {session_id: lease for session_id, (lease, _) in self._tasks.items()}
        renewed = await self._leases.renew(self.owner)
        for session_id, lease in before.items():
            if self._tasks.get(session_id, (None,))[0] != lease:
                continue
            found = renewed.get(session_id)
            if found is None or found.token != lease.token:
                self._tasks[session_id][1].cancel()
            elif found.stops_now or (found.pauses and lease in self._waiting):
                self.interrupt_here(session_id)
        # No more than can run at once: the rest stays for others, and what is begun here need not queue behind it.
        room = min(self._max_running - len(self._tasks), _CLAIM_BATCH)
        if room <= 0:
            return
        for claimed in await self._leases.claim(self.owner, {*self._tasks, *self._beginning}, room):
            log.info("run_taken_up", session_id=claimed.lease.session_id)
            self._launch(claimed.lease, stops_now=claimed.stops_now)


def _count(end: str) -> None:
    if end:
        _stopped.labels(end).inc()
        tracing.current().set(end=end)
