"""Loops move between gateway processes: after SIGKILL, after SIGSTOP, and at once after SIGTERM."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from datetime import UTC, datetime

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from likeness import AsyncClient, CandidateGenerated, Event, RetryPolicy, Session, SessionState
from likeness.gateway.v1 import catalog_service_pb2, catalog_service_pb2_grpc
from reliability.deployment import Deployment
from reliability.loops import PATIENT
from reliability.parts import wake
from tests.faults.watching import check_whole, followed, started
from tests.gateway.failures import reason_of

pytestmark = [
    pytest.mark.integration,
    # Starting and mending real processes on a busy machine is most of it.
    pytest.mark.timeout(420),
    pytest.mark.asyncio(loop_scope="package"),
]

TAKEOVER_SECONDS = 10.0
STEPS = 20
"""Of pictures, a second each: loops of three rounds last longer than it takes to start several."""
DRAIN_SECONDS = 30.0


async def test_killed_gateways_loops_go_on_within_ten_seconds(deployment: Deployment, client: AsyncClient) -> None:
    sessions = [await started(client, steps=STEPS) for _ in range(3)]
    dying: list[Event] = []
    died: list[datetime] = []

    async def kill(event: Event) -> None:
        if isinstance(event.body, CandidateGenerated) and not dying:
            dying.append(event)
            await deployment.kill("gateway-1")
            died.append(datetime.now(UTC))

    async def watched(number: int) -> list[Event]:
        seen = []
        async for event in client.watch(sessions[number], until_idle=True):
            if event.sequence:
                seen.append(event)
                await kill(event)
        return seen

    logs = await asyncio.gather(*(watched(number) for number in range(3)))
    taken_up = _times(deployment, "gateway-2", "run_taken_up", {one.id for one in sessions})
    assert len(taken_up) == 3
    for session, seen in zip(sessions, logs, strict=True):
        await check_whole(client, session, seen)
    # All clocks are one here.
    waits = [(one - died[0]).total_seconds() for one in taken_up]
    print(f"taken over after {max(waits):.1f} s")
    assert max(waits) < TAKEOVER_SECONDS


async def test_gateway_that_sleeps_through_its_lease_writes_nothing_when_it_wakes(
    deployment: Deployment,
) -> None:
    sleeper, heir = deployment.gateways
    # Each by its own address: a client of both may talk to either, and a watch on the one that sleeps is silent.
    async with AsyncClient(sleeper.address, retry=PATIENT) as first, AsyncClient(heir.address, retry=PATIENT) as other:
        # More pictures than the generator paints at once: some are still to come when the first is seen.
        session = await started(first, rounds=2, candidates=12, steps=40)
        seen: list[Event] = []
        try:
            async for event in other.watch(session, until_idle=True):
                if event.sequence:
                    seen.append(event)
                if not isinstance(event.body, CandidateGenerated):
                    continue
                if sum(isinstance(one.body, CandidateGenerated) for one in seen) == 1:
                    assert sleeper.process is not None
                    os.kill(sleeper.process.pid, signal.SIGSTOP)
                elif _times(deployment, heir.name, "run_taken_up", {session.id}):
                    # The other runs the loop; this one still believes that it does, and has pictures waiting.
                    wake(sleeper)
        finally:
            wake(sleeper)
        await check_whole(other, session, seen, rounds=2, candidates=12)
        assert len(_times(deployment, heir.name, "run_taken_up", {session.id})) == 1
        await sleeper.wait_health("SERVING")
        # It is of use again.
        again = await started(first)
        await check_whole(first, again, await followed(first, again))


async def test_what_a_test_left_asleep_is_woken_for_the_next(deployment: Deployment) -> None:
    for part in (*deployment.gateways, deployment.parts["scorer"]):
        assert part.process is not None
        os.kill(part.process.pid, signal.SIGSTOP)
    await deployment.mend()
    assert [await one.health() for one in deployment.gateways] == ["SERVING", "SERVING"]


async def test_drained_gateway_hands_everything_over_under_load(deployment: Deployment, client: AsyncClient) -> None:
    leaving = deployment.parts["gateway-1"].process
    assert leaving is not None
    address = deployment.gateways[0].address
    sessions = [await started(client, steps=STEPS) for _ in range(4)]
    watches = [asyncio.create_task(followed(client, one)) for one in sessions]
    # A call under way, which has no state that another gateway could go on from.
    async with AsyncClient(address, retry=RetryPolicy(attempts=1)) as direct:
        painting = asyncio.create_task(direct.generate("rgb 1 2 3", steps=50))
        await _first_picture(client, sessions[0])
        async with grpc.aio.insecure_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            catalog = catalog_service_pb2_grpc.CatalogServiceStub(channel)
            assert await catalog.GetStatus(catalog_service_pb2.GetStatusRequest())
            told = health.Watch(health_pb2.HealthCheckRequest())
            assert (await told.read()).status == health_pb2.HealthCheckResponse.SERVING
            leaving.send_signal(signal.SIGTERM)
            refusal = await _first_refusal(catalog)
            assert (await told.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            told.cancel()
        assert reason_of(refusal) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE")
        assert "another one answers" in (refusal.details() or "")
        assert len(await painting) == 1
    async with asyncio.timeout(DRAIN_SECONDS):
        assert await leaving.wait() == 0
    for session, watch in zip(sessions, watches, strict=True):
        await check_whole(client, session, await watch)
    began = _times(deployment, "gateway-1", "draining", None)[-1]
    taken_up = _times(deployment, "gateway-2", "run_taken_up", {one.id for one in sessions})
    assert len(taken_up) == 4
    ended = _times(deployment, "gateway-1", "gateway_stopped", None)[-1]
    handed_over = (max(taken_up) - began).total_seconds()
    print(f"handed over in {handed_over:.2f} s, ended in {(ended - began).total_seconds():.1f} s")


async def test_persons_round_moves_too_and_the_pause_stays(deployment: Deployment, client: AsyncClient) -> None:
    session = await started(client, rounds=3)
    paused = await client.pause_loop(session)
    assert paused.state is SessionState.PAUSED and paused.paused_loop is not None
    events = []
    async for event in client.submit_prompt(session, "rgb 200 60 90", image_count=3):
        events.append(event)
        if isinstance(event.body, CandidateGenerated):
            leaving = deployment.parts["gateway-1"].process
            if leaving is not None and leaving.returncode is None:
                leaving.send_signal(signal.SIGTERM)
    sequences = [one.sequence for one in events if one.sequence]
    assert sequences == list(range(sequences[0], sequences[-1] + 1))
    mine = await client.get_session(session)
    assert mine.session.state is SessionState.PAUSED and mine.session.best is not None
    left = 3 - paused.paused_loop.rounds_done
    await client.resume_loop(session)
    assert [one async for one in client.watch(session, until_idle=True)]
    done = await client.get_session(session)
    assert [one.strategy for one in done.rounds][-left:] == ["painter"] * left
    assert len(done.rounds) == 4 and done.session.state is SessionState.SUCCEEDED


async def _first_refusal(catalog: catalog_service_pb2_grpc.CatalogServiceStub) -> grpc.aio.AioRpcError:
    """How the first call is refused that comes too late."""
    while True:
        try:
            await catalog.GetStatus(catalog_service_pb2.GetStatusRequest(), timeout=5)
        except grpc.aio.AioRpcError as error:
            return error
        await asyncio.sleep(0.01)


async def _first_picture(client: AsyncClient, session: Session) -> None:
    """Waits until the session has a picture."""
    async for event in client.watch(session):
        if isinstance(event.body, CandidateGenerated):
            return


def _lines(deployment: Deployment, name: str, event: str) -> list[str]:
    return [line for line in deployment.log(name).splitlines() if f'"event": "{event}"' in line]


def _times(deployment: Deployment, name: str, event: str, session_ids: set[str] | None) -> list[datetime]:
    """When a gateway logged an event, of some sessions or of none in particular."""
    found = [json.loads(line) for line in _lines(deployment, name, event)]
    wanted = [one for one in found if session_ids is None or one.get("session_id") in session_ids]
    return [datetime.fromisoformat(one["time"]) for one in wanted]
