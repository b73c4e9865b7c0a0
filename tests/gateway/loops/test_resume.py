"""A gateway that dies: whatever step it dies at, the next one goes on and repeats nothing that is stored."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from services.gateway import domain
from services.gateway.access.caller import DEFAULT_TENANT
from services.gateway.access.limits import TenantLimits
from services.gateway.decoding import image_info
from services.gateway.history import apply, beginning
from services.gateway.loops.machine import Machine
from services.gateway.loops.state import HUMAN, Lease
from services.gateway.loops.work import Tools
from services.gateway.store.changes import LeaseLostError
from services.gateway.store.database import Database
from services.gateway.store.images import ImageRepository
from services.gateway.store.leases import LeaseRepository
from services.gateway.store.requests import RequestRepository
from services.gateway.store.runs import RunRepository
from services.gateway.store.sessions import FullSession, SessionRepository
from services.gateway.store.tenants import TenantRepository
from tests.gateway.conftest import FAST_RETRY, TARGET, Parts, clear

pytestmark = pytest.mark.integration

WRITES = (
    "understood",
    "round_started",
    "candidate_generated",
    "candidate_failed",
    "candidates_scored",
    "critiqued",
    "round_finished",
    "stopped",
)
LOOP = domain.LoopSettings("painter", rounds=3, candidates=3, image_budget=9)


class Killed(BaseException):
    """SIGKILL, as far as Python code can feel it."""


class MortalRuns:
    """The repository, whose gateway dies at its n-th write: just before it, or right after its commit."""

    def __init__(self, runs: RunRepository, writes_left: int, *, after_commit: bool) -> None:
        self._runs = runs
        self._left = writes_left
        self._after_commit = after_commit

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._runs, name)
        if name not in WRITES:
            return real

        async def write(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after_commit:
                raise Killed
            result = await real(*args, **kwargs)
            if self._left == 0:
                raise Killed
            return result

        return write


@dataclass
class Store:
    """Repositories on one database, and doubles."""

    parts: Parts
    sessions: SessionRepository
    runs: RunRepository
    leases: LeaseRepository

    async def begin(self, loop: domain.LoopSettings = LOOP, session_id: str = "s1") -> Lease:
        """A running session, leased to a gateway that never starts it."""
        now = datetime.now(UTC)
        settings = domain.SessionSettings(("pixels", "red"), ("pixels",), "paint", seed=11)
        target = await image_info(TARGET)
        state = domain.SessionState.WAITING
        session = domain.Session(session_id, "", target, settings, state, now, now)
        await self.sessions.create(session, TARGET)
        _, lease = await self.runs.begin(DEFAULT_TENANT, session_id, loop, "dead")
        assert lease is not None
        await self.leases.release("dead")
        return lease

    async def take_up(self, owner: str = "next") -> Lease:
        """The lease of the one session that waits for a gateway."""
        (claimed,) = await self.leases.claim(owner, (), 10)
        return claimed.lease

    def machine(self, lease: Lease, runs: Any = None) -> Machine:
        """A machine with the doubles."""
        # No metric of these sessions is personal, so nobody asks for heads.
        scoring = self.parts.scorer.with_heads(cast(Any, None))
        tools = Tools(self.parts.generator, self.parts.refiner, scoring, self.parts.objects, FAST_RETRY, 10.0)
        return Machine(lease, runs or self.runs, tools, lambda *_: None)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """An empty store."""
    database = Database(database_url)
    parts = Parts()
    images = ImageRepository(database, parts.objects)
    requests = RequestRepository(database, 60)
    sessions = SessionRepository(database, images, requests)
    yield Store(
        parts,
        sessions,
        RunRepository(database, images, requests, TenantRepository(database, TenantLimits())),
        LeaseRepository(database),
    )
    await database.close()
    await clear(database_url)


async def run_dying(store: Store, writes: int, *, after_commit: bool) -> tuple[FullSession, int]:
    """Runs a loop in which every gateway dies at its n-th write, until one comes to the end; and the deaths."""
    await store.begin()
    deaths = 0
    while True:
        lease = await store.take_up()
        runs = MortalRuns(store.runs, writes, after_commit=after_commit)
        try:
            await store.machine(lease, runs).run()
        except Killed:
            deaths += 1
            await store.leases.release("next")
        full = await store.sessions.get_full(DEFAULT_TENANT, "s1")
        if full.session.state is not domain.SessionState.RUNNING:
            return full, deaths


@pytest.mark.parametrize("writes", [1, 2, 3, 5, 8])
async def test_death_right_after_each_commit_repeats_nothing(store: Store, writes: int) -> None:
    full, deaths = await run_dying(store, writes, after_commit=True)
    assert deaths > 0
    assert_complete(store, full)
    # A lost gateway costs nothing at all: every picture was made once and scored once.
    assert store.parts.generator.made.total() == store.parts.scorer.scored.total() == 9
    assert Counter(store.parts.refiner.calls) == {"understand": 1, "propose": 3, "critique": 2, "revise": 2}


@pytest.mark.parametrize("writes", [2, 3, 5, 8])
async def test_death_just_before_a_commit_repeats_only_what_was_not_stored(store: Store, writes: int) -> None:
    full, deaths = await run_dying(store, writes, after_commit=False)
    assert deaths > 0
    assert_complete(store, full)
    assert store.parts.generator.made.total() <= 9 + deaths


async def test_resumed_loop_ends_as_an_undisturbed_one(store: Store, database_url: str) -> None:
    await store.begin()
    await store.machine(await store.take_up()).run()
    calm = await store.sessions.get_full(DEFAULT_TENANT, "s1")
    await clear(database_url)
    disturbed, _ = await run_dying(store, 1, after_commit=True)
    assert without_times(disturbed) == without_times(calm)


async def test_task_cancelled_at_any_await_can_be_taken_up(store: Store) -> None:
    await store.begin()
    state = domain.SessionState.RUNNING
    deaths = 0
    while state is domain.SessionState.RUNNING:
        task = asyncio.create_task(store.machine(await store.take_up()).run())
        # Later and later, so that it hits anything: a step, a connection being made, a transaction half done.
        await asyncio.wait([task], timeout=0.001 * deaths)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        deaths += 1
        await store.leases.release("next")
        state = (await store.sessions.get(DEFAULT_TENANT, "s1")).state
    full = await store.sessions.get_full(DEFAULT_TENANT, "s1")
    assert deaths > 5
    assert_complete(store, full)


async def test_human_round_is_resumed_too(store: Store) -> None:
    loop = domain.LoopSettings(HUMAN, rounds=1, candidates=3, image_budget=3, first_prompt="rgb 5 6 7")
    await store.begin(loop)
    for _ in range(7):
        lease = await store.take_up()
        with pytest.raises(Killed):
            await store.machine(lease, MortalRuns(store.runs, 1, after_commit=True)).run()
        await store.leases.release("next")
        if (await store.sessions.get(DEFAULT_TENANT, "s1")).state is not domain.SessionState.RUNNING:
            break
    full = await store.sessions.get_full(DEFAULT_TENANT, "s1")
    assert full.session.state is domain.SessionState.WAITING and full.session.stop_reason is None
    assert store.parts.generator.made.total() == 3 and store.parts.refiner.calls == []
    assert [one.prompt for one in full.rounds[0].candidates] == ["rgb 5 6 7"] * 3
    assert len({one.seed for one in full.rounds[0].candidates}) == 3


async def test_gateway_that_lost_its_lease_writes_nothing_more(store: Store) -> None:
    await store.begin()
    old = await store.take_up("old")
    await store.leases.release("old")
    new = await store.take_up("new")
    assert new.token > old.token
    with pytest.raises(LeaseLostError):
        await store.machine(old).run()
    await store.machine(new).run()
    assert_complete(store, await store.sessions.get_full(DEFAULT_TENANT, "s1"))


async def test_two_gateways_never_hold_one_session(store: Store) -> None:
    await store.begin()
    claims = await asyncio.gather(*(store.leases.claim(f"g{i}", (), 10) for i in range(8)))
    assert sum(len(one) for one in claims) == 1
    assert await store.leases.claim("late", (), 10) == []


async def test_session_deleted_in_mid_step_stops_its_machine(store: Store) -> None:
    lease = await store.begin()
    await store.runs.stopped(lease, domain.SessionState.CANCELLED, domain.StopReason.CANCELLED)
    await store.sessions.delete(DEFAULT_TENANT, "s1")
    with pytest.raises(LeaseLostError):
        await store.machine(lease).run()


def assert_complete(store: Store, full: FullSession) -> None:
    """The loop ended as it should, and its tables are the sum of its events."""
    assert full.session.state is domain.SessionState.SUCCEEDED
    assert [one.number for one in full.rounds] == [1, 2, 3] and all(one.finished for one in full.rounds)
    candidates = [one for each in full.rounds for one in each.candidates]
    assert len(candidates) == 9 and all(one.image and len(one.scores) == 2 for one in candidates)
    # No stored picture was made again: what the doubles made beyond the nine had not been stored.
    assert len({one.image.content_hash for one in candidates if one.image}) == len(
        {(one.prompt, one.seed) for one in candidates}
    )


async def test_tables_are_the_sum_of_the_events(store: Store) -> None:
    full, _ = await run_dying(store, 4, after_commit=True)
    page = await store.sessions.events_after(DEFAULT_TENANT, "s1", 0, 1000)
    assert [one.sequence for one in page.events] == list(range(1, page.last_sequence + 1))
    history = beginning(full.session)
    for event in page.events:
        history = apply(history, event)
    assert history.session == full.session
    assert history.rounds == full.rounds


def without_times(full: FullSession) -> tuple[Any, ...]:
    """A session's content, comparable between two runs."""
    epoch = datetime.fromtimestamp(0, UTC)
    session = replace(full.session, create_time=epoch, update_time=epoch)
    return session, tuple(replace(one, create_time=epoch) for one in full.rounds)
