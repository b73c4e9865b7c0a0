"""What surrounds every call: request id, deadline, limits, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import grpc
import pytest

from likeness.gateway.v1 import session_service_pb2 as pb
from likeness.types.v1 import image_pb2
from services.common.settings import MAX_MESSAGE_BYTES
from services.common.telemetry import render_metrics
from services.gateway import deadline
from services.gateway.rpc.interceptors import CallInterceptor
from tests.gateway.conftest import TARGET, Gateway
from tests.gateway.failures import reason_of

pytestmark = pytest.mark.integration


async def test_request_id_comes_back(gateway: Gateway) -> None:
    call = gateway.stub.ListSessions(pb.ListSessionsRequest(), metadata=(("x-request-id", "mine-1"),))
    await call
    assert ("x-request-id", "mine-1") in list(await call.trailing_metadata())


@pytest.mark.parametrize("sent", [(), (("x-request-id", "a b"),), (("x-request-id", "x" * 65),)])
async def test_request_id_is_made_where_none_is_usable(gateway: Gateway, sent: tuple[tuple[str, str], ...]) -> None:
    call = gateway.stub.ListSessions(pb.ListSessionsRequest(), metadata=sent)
    await call
    (made,) = (value for key, value in await call.trailing_metadata() if key == "x-request-id")
    assert len(made) == 32 and made not in {value for _, value in sent}


async def test_request_id_comes_back_with_errors_and_streams(gateway: Gateway) -> None:
    sent = (("x-request-id", "mine-2"),)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.stub.GetSession(pb.GetSessionRequest(name="sessions/nope"), metadata=sent)
    assert ("x-request-id", "mine-2") in list(caught.value.trailing_metadata())
    name = await gateway.create()
    call = gateway.stub.WatchSession(pb.WatchSessionRequest(name=name, until_idle=True), metadata=sent)
    assert [one async for one in call]
    assert ("x-request-id", "mine-2") in list(await call.trailing_metadata())


async def test_deadline_of_the_client_reaches_backend_calls(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    name = await gateway.create()
    left: list[float] = []
    listed = await gateway.parts.refiner.list_strategies()

    async def list_strategies() -> object:
        left.append(deadline.capped(1000.0))
        return listed

    monkeypatch.setattr(gateway.parts.refiner, "list_strategies", list_strategies)
    # The run itself outlives the call: its own calls see no deadline.
    understand = gateway.parts.refiner.understand

    async def understand_late(*args: object, **kwargs: object) -> object:
        left.append(deadline.capped(1000.0))
        return await understand(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(gateway.parts.refiner, "understand", understand_late)
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name), timeout=60)
    await gateway.finished(name)
    # gRPC rounds the time it sends up.
    assert 0 < left[0] < 70 and left[1] == 1000.0


async def test_call_past_its_deadline_is_stopped(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging, stopped = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        hanging.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    monkeypatch.setattr(gateway.parts.generator, "list_models", hang)
    # On a busy machine it takes a while until the call hangs where it is to hang.
    seconds = 0.5
    while not hanging.is_set():
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            request = pb.CreateSessionRequest(target=image_pb2.Image(data=TARGET))
            await gateway.stub.CreateSession(request, timeout=seconds)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        seconds *= 2
    async with asyncio.timeout(30):
        await stopped.wait()


async def test_message_at_the_limit_is_read_and_one_byte_more_is_not(gateway: Gateway) -> None:
    frame = pb.CreateSessionRequest(target=image_pb2.Image(data=b"x" * 60_000_000)).ByteSize() - 60_000_000
    # At the limit the message arrives, and the picture in it is found too large.
    fits = pb.CreateSessionRequest(target=image_pb2.Image(data=b"x" * (MAX_MESSAGE_BYTES - frame)))
    assert fits.ByteSize() == MAX_MESSAGE_BYTES
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.stub.CreateSession(fits)
    assert reason_of(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "IMAGE_TOO_LARGE", "target")
    more = pb.CreateSessionRequest(target=image_pb2.Image(data=b"x" * (MAX_MESSAGE_BYTES - frame + 1)))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.stub.CreateSession(more)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x02\xc3\x28"], ids=["no message", "no UTF-8"])
@pytest.mark.parametrize("method", ["GetSession", "WatchSession"])
async def test_bytes_that_are_no_message_are_refused_like_any_bad_request(
    gateway: Gateway, data: bytes, method: str
) -> None:
    path = f"/likeness.gateway.v1.SessionService/{method}"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if method == "GetSession":
            await gateway.channel.unary_unary(path)(data)
        else:
            await gateway.channel.unary_stream(path)(data).read()
    assert reason_of(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "request")
    assert "x-request-id" in dict(caught.value.trailing_metadata())


async def test_caller_who_leaves_while_an_answer_is_written_is_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[bool] = []

    class Gone:
        """Context of a call whose caller has left."""

        def __getattr__(self, name: str) -> object:
            return lambda *_: None

        async def write(self, _: object) -> None:
            raise grpc.aio.InternalError

    async def answers(request: object, context: object) -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.append(True)

    async def continuation(_: object) -> object:
        return grpc.unary_stream_rpc_method_handler(answers)

    details = SimpleNamespace(method="/a.Service/Method", invocation_metadata=())
    handler = await CallInterceptor().intercept_service(continuation, details)  # type: ignore[arg-type]
    await handler.unary_stream(pb.GetSessionRequest(), Gone())
    assert closed and "rpc_crashed" not in caplog.text


async def test_latency_is_counted_by_method_and_code(gateway: Gateway) -> None:
    await gateway.stub.ListSessions(pb.ListSessionsRequest())
    with pytest.raises(grpc.aio.AioRpcError):
        await gateway.stub.GetSession(pb.GetSessionRequest(name="sessions/nope"))
    assert 'likeness_gateway_rpc_seconds_count{code="OK",method="SessionService/ListSessions"}' in rendered()
    # A failed call is over, and counted, a moment after its caller was told.
    failed = 'likeness_gateway_rpc_seconds_count{code="NOT_FOUND",method="SessionService/GetSession"}'
    async with asyncio.timeout(30):
        while failed not in rendered():
            await asyncio.sleep(0.01)


def rendered() -> str:
    """All metrics of this process."""
    return render_metrics().decode()
