"""Calls that are open when their key ends: they end too, soon and with the reason; those of other keys go on."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from PIL import Image

from likeness.gateway.v1 import evaluation_service_pb2, image_service_pb2, race_service_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from likeness.types.v1 import image_pb2
from services.common.errors import Reason, UnauthenticatedError, UnavailableError
from services.gateway.access.caller import Caller
from services.gateway.access.open_calls import OpenCalls, Standing
from tests.gateway import doubles
from tests.gateway.access.keys import Keys, Metadata, bearer
from tests.gateway.access.test_evaluations import opened
from tests.gateway.conftest import TARGET, Gateway, Parts, running
from tests.gateway.failures import reason_of
from tests.gateway.races.racing import race_request

pytestmark = pytest.mark.integration

REVOKED = (grpc.StatusCode.UNAUTHENTICATED, "KEY_REVOKED")
ENDED = UnauthenticatedError(Reason.KEY_REVOKED, "over")


async def session(gateway: Gateway, key: Metadata) -> str:
    """Name of a new session."""
    request = pb.CreateSessionRequest(target=image_pb2.Image(data=TARGET))
    return str((await gateway.stub.CreateSession(request, metadata=key)).session.name)


async def _watch_session(gateway: Gateway, key: Metadata) -> Any:
    return gateway.stub.WatchSession(pb.WatchSessionRequest(name=await session(gateway, key)), metadata=key)


async def _submit(gateway: Gateway, key: Metadata) -> Any:
    request = pb.SubmitPromptRequest(name=await session(gateway, key), prompt="rgb 1 2 3")
    return gateway.stub.SubmitPrompt(request, metadata=key)


async def _watch_race(gateway: Gateway, key: Metadata) -> Any:
    race = (await gateway.races.CreateRace(race_request(targets=1), metadata=key)).race
    return gateway.races.WatchRace(race_service_pb2.WatchRaceRequest(name=race.name), metadata=key)


async def _stream(gateway: Gateway, key: Metadata) -> Any:
    return (await opened(gateway, key)).call


async def _watch_evaluation(gateway: Gateway, key: Metadata) -> Any:
    stream = await opened(gateway, key)
    await stream.read()
    request = evaluation_service_pb2.WatchEvaluationRequest(name=stream.name)
    return gateway.evaluations.WatchEvaluation(request, metadata=key)


async def _generate(gateway: Gateway, key: Metadata) -> Any:
    return gateway.images.GenerateImages(image_service_pb2.GenerateImagesRequest(prompt="rgb 1 2 3"), metadata=key)


OPEN: dict[str, Callable[[Gateway, Metadata], Awaitable[Any]]] = {
    "WatchSession": _watch_session,
    "SubmitPrompt": _submit,
    "WatchRace": _watch_race,
    "StreamEvaluations": _stream,
    "WatchEvaluation": _watch_evaluation,
    "GenerateImages": _generate,
}
"""Calls that stay open for as long as the generator's gate is closed."""


async def end_of(call: Any) -> tuple[Any, ...]:
    """How a stream breaks off."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while await call.read() is not grpc.aio.EOF:
            pass
    return reason_of(caught.value)[:2]


@pytest.mark.parametrize("kind", OPEN)
async def test_a_stream_ends_when_its_key_is_revoked(closed: Gateway, keys: Keys, kind: str) -> None:
    closed.parts.generator.gate.clear()
    id_, text = await keys.make_text()
    call = await OPEN[kind](closed, bearer(text))
    assert await call.read() is not grpc.aio.EOF
    await closed.server.access.service.revoke_key(Caller(), id_)
    assert await end_of(call) == REVOKED
    closed.parts.generator.gate.set()


def test_every_method_that_streams_is_among_them() -> None:
    services = [pb, race_service_pb2, evaluation_service_pb2, image_service_pb2]
    found = [
        one for module in services for service in module.DESCRIPTOR.services_by_name.values() for one in service.methods
    ]
    assert {method.name for method in found if method.server_streaming} == set(OPEN)


async def test_a_stream_on_another_gateway_ends_when_its_key_expires(
    closed: Gateway, keys: Keys, database_url: str
) -> None:
    id_, text = await keys.make_text()
    async with running(database_url, Parts(), require_keys=True) as other:
        call = await _watch_session(other, bearer(text))
        await call.read()
        await closed.server.access.service.rotate_key(Caller(), id_, 0.5)
        assert await end_of(call) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_EXPIRED")


async def test_streams_of_other_keys_go_on(closed: Gateway, keys: Keys) -> None:
    id_, text = await keys.make_text()
    key = await keys.make()
    name = await session(closed, key)
    watches = [
        closed.stub.WatchSession(pb.WatchSessionRequest(name=name), metadata=sent) for sent in (bearer(text), key)
    ]
    for watch in watches:
        await watch.read()
    await closed.server.access.service.revoke_key(Caller(), id_)
    assert await end_of(watches[0]) == REVOKED
    await closed.stub.StartLoop(pb.StartLoopRequest(name=name), metadata=key)
    # Live progress has no sequence, and comes first where the word of a new event is late.
    while not (event := (await watches[1].read()).event).sequence:
        pass
    assert event.sequence == 1
    watches[1].cancel()


async def test_work_that_a_call_began_goes_on(closed: Gateway, keys: Keys) -> None:
    closed.parts.generator.gate.clear()
    id_, text = await keys.make_text()
    call = await _submit(closed, bearer(text))
    await call.read()
    await closed.server.access.service.revoke_key(Caller(), id_)
    assert await end_of(call) == REVOKED
    closed.parts.generator.gate.set()
    key = await keys.make()
    name = (await closed.stub.ListSessions(pb.ListSessionsRequest(), metadata=key)).sessions[0].name
    watch = closed.stub.WatchSession(pb.WatchSessionRequest(name=name, until_idle=True), metadata=key)
    assert [one async for one in watch][-1].event.state_changed.state


async def test_a_caller_who_reads_slowly_is_told_too(
    closed: Gateway, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its call ends while an answer is being written: the status comes behind what was sent."""
    # 4 x 6 MB: more than gRPC takes for a caller who does not read, however wide it opens its window.
    noise = Image.effect_noise((2000, 1000), 200).convert("RGB")
    large = io.BytesIO()
    noise.save(large, "PNG", compress_level=0)
    monkeypatch.setattr(doubles, "draw", lambda *_: large.getvalue())
    id_, text = await keys.make_text()
    request = image_service_pb2.GenerateImagesRequest(prompt="rgb 1 2 3", count=4)
    call = closed.images.GenerateImages(request, metadata=bearer(text))
    while not closed.parts.generator.made:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert sum(closed.parts.generator.made.values()) < 4
    await closed.server.access.service.revoke_key(Caller(), id_)
    while not closed.parts.generator.cancelled:
        await asyncio.sleep(0.01)
    assert await end_of(call) == REVOKED


async def test_a_task_cancelled_by_somebody_else_stays_cancelled() -> None:
    calls, entered = OpenCalls(_over), asyncio.Event()

    async def call() -> None:
        with calls.held("k"):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await entered.wait()
    # Its caller leaves in the moment in which the key ends.
    task.cancel()
    calls.start()
    with pytest.raises(asyncio.CancelledError):
        await task
    await calls.close()


async def test_what_nobody_can_tell_ends_nothing() -> None:
    asked, answers = asyncio.Event(), [UnavailableError(Reason.DATABASE_UNAVAILABLE, "away"), None]

    async def standing(_: str) -> Standing:
        error = answers.pop(0)
        asked.set()
        if error is not None:
            raise error
        return Standing(ENDED)

    calls = OpenCalls(standing)
    calls.start()
    with pytest.raises(UnauthenticatedError), calls.held("k"):
        calls.look()
        await asked.wait()
        # Still here. The next look has an answer.
        calls.look()
        await asyncio.Event().wait()
    await calls.close()
    assert not answers


async def _over(_: str) -> Standing:
    return Standing(ENDED)
