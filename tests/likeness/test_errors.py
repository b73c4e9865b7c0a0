"""Errors as exceptions: class, reason, field, request id and wait, through a real call."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

import likeness
from likeness import (
    AsyncClient,
    Client,
    EvaluationItem,
    Internal,
    InvalidArgument,
    LikenessError,
    NotFound,
    RetryPolicy,
    Unavailable,
)
from likeness._errors import GATEWAY_UNREACHABLE, from_rpc_error
from tests.likeness.breaking import breaking_server, claiming_server, refusing_server
from tests.likeness.gateway.faults import Fault
from tests.likeness.gateway.server import TestGateway


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("INVALID_ARGUMENT", "InvalidArgument"),
        ("OUT_OF_RANGE", "InvalidArgument"),
        ("NOT_FOUND", "NotFound"),
        ("ALREADY_EXISTS", "AlreadyExists"),
        ("FAILED_PRECONDITION", "FailedPrecondition"),
        ("RESOURCE_EXHAUSTED", "Overloaded"),
        ("UNAVAILABLE", "Unavailable"),
        ("DEADLINE_EXCEEDED", "DeadlineExceeded"),
        ("CANCELLED", "Cancelled"),
        ("INTERNAL", "Internal"),
        ("UNKNOWN", "Internal"),
        ("UNIMPLEMENTED", "Internal"),
    ],
)
def test_each_code_has_its_exception(gateway: TestGateway, code: str, name: str) -> None:
    gateway.faults.add("GetStatus", Fault(grpc.StatusCode[code], "A_REASON", "what went wrong", "a.field"))
    once = likeness.RetryPolicy(attempts=1)
    with Client(gateway.address, retry=once) as client, pytest.raises(LikenessError) as caught:
        client.status()
    error = caught.value
    assert type(error) is getattr(likeness, name)
    assert (error.code, error.reason, error.field) == (code, "A_REASON", "a.field")
    assert error.metadata == {"kind": "test"}
    assert error.request_id == gateway.faults.metadata["GetStatus"]["x-request-id"] != ""


def test_the_request_id_of_the_message_is_the_one_in_the_metadata(
    client: Client, gateway: TestGateway, target: bytes
) -> None:
    client.create_session(target)
    assert gateway.faults.metadata["CreateSession"]["x-request-id"] in gateway.world.answers


def test_a_bad_picture_is_blamed_on_its_field(client: Client) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.create_session(b"no picture")
    assert (caught.value.reason, caught.value.field) == ("IMAGE_UNREADABLE", "target")


def test_a_missing_session(client: Client) -> None:
    for read in (client.get_session, lambda name: list(client.watch(name)), client.delete_session):
        with pytest.raises(NotFound) as caught:
            read("nobody")
        assert caught.value.reason == "SESSION_NOT_FOUND"


@pytest.mark.parametrize("rounds", [2**40, -(2**31) - 1])
def test_numbers_that_no_message_can_hold_are_blamed_before_the_call(
    client: Client, target: bytes, rounds: int
) -> None:
    session = client.create_session(target)
    with pytest.raises(InvalidArgument) as caught:
        client.start_loop(session, rounds=rounds)
    assert (caught.value.reason, caught.value.field) == ("INVALID_FIELD", "settings.rounds")
    with pytest.raises(InvalidArgument) as caught:
        client.create_session(target, seed=-1)
    assert caught.value.field == "settings.seed"


def test_the_tree_is_drawn_as_it_is() -> None:
    from likeness import _errors

    drawn = {line.split()[1] for line in (_errors.__doc__ or "").splitlines() if line.startswith(("├──", "└──"))}
    real = {
        name for name in likeness.__all__
        if isinstance(getattr(likeness, name), type)
        and issubclass(getattr(likeness, name), LikenessError)
        and name != "LikenessError"
    }  # fmt: skip
    assert drawn == real


async def test_what_no_server_said_is_a_gateway_that_cannot_be_reached() -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(10_000_000)

    async with breaking_server() as address:
        while True:
            async with grpc.aio.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    [answer async for answer in channel.stream_stream("/a.B/C")(parts())]
            # Where it reads before it writes it knows better.
            if caught.value.code() is grpc.StatusCode.INTERNAL:
                break
    error = from_rpc_error(caught.value, request_id="r1", address=address)
    assert type(error) is Unavailable and error.reason == GATEWAY_UNREACHABLE and address in error.message


async def test_what_a_server_said_is_left_as_it_is() -> None:
    async with claiming_server() as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/a.B/C")(b"")
    assert type(from_rpc_error(caught.value, request_id="r1", address=address)) is Internal


async def test_a_stream_that_is_refused_says_why_however_much_is_to_be_sent() -> None:
    items = [EvaluationItem(f"item {number}", image=bytes(300_000)) for number in range(8)]
    with refusing_server() as address:
        async with AsyncClient(address, retry=RetryPolicy(attempts=1, reconnect_seconds=0)) as client:
            for _ in range(40):
                with pytest.raises(NotFound):
                    [one async for one in client.evaluate_stream(items, evaluation="evaluations/absent")]
