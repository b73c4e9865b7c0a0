"""Paused loops and compacted logs on the way back to the release before them, and forward again."""

from __future__ import annotations

import pytest

from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from services.gateway.store.migrate import downgrade, migrate
from tests.gateway.conftest import Parts, running
from tests.gateway.loops.test_takeover import paused_loop
from tests.gateway.sessions.test_retention import finished, grown_old

pytestmark = pytest.mark.integration


async def test_paused_loop_comes_back_as_cancelled_and_a_compacted_log_can_be_read(empty_database_url: str) -> None:
    parts = Parts()
    await migrate(empty_database_url)
    async with running(empty_database_url, parts, event_retention_days=1) as one:
        compacted = await finished(one)
        await grown_old(one)
        paused = await paused_loop(one)
        before = {name: await one.stub.GetSession(pb.GetSessionRequest(name=name)) for name in (compacted, paused)}
    await downgrade(empty_database_url, "0005")
    await migrate(empty_database_url)
    async with running(empty_database_url, parts) as one:
        after = await one.stub.GetSession(pb.GetSessionRequest(name=paused))
        assert after.session.state == session_pb2.Session.STATE_CANCELLED
        assert list(after.rounds) == list(before[paused].rounds)
        last = (await one.events(paused))[-1]
        assert last.state_changed.state == session_pb2.Session.STATE_CANCELLED
        assert await one.stub.GetSession(pb.GetSessionRequest(name=compacted)) == before[compacted]
        await one.stub.StartLoop(pb.StartLoopRequest(name=paused))
        assert (await one.finished(paused)).session.state == session_pb2.Session.STATE_SUCCEEDED
        await one.stub.StartLoop(pb.StartLoopRequest(name=compacted))
        assert (await one.finished(compacted)).session.round_count == 4
