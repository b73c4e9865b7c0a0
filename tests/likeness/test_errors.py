"""Errors as exceptions: class, reason, field, request id and wait, through a real call."""

from __future__ import annotations

import grpc
import pytest

import likeness
from likeness import Client, InvalidArgument, LikenessError, NotFound
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
