"""Broken connections, lost answers, full queues: what is repeated, and that no event is lost or doubled."""

from __future__ import annotations

import grpc
import pytest

from likeness import (
    AsyncClient,
    CandidateProgress,
    Client,
    LikenessError,
    Overloaded,
    RetryPolicy,
    SessionSnapshot,
    Unavailable,
)
from likeness._following import Follower
from likeness.gateway.v1 import session_pb2
from tests.likeness.conftest import QUICK
from tests.likeness.gateway.faults import Fault
from tests.likeness.gateway.server import TestGateway

GONE = Fault(grpc.StatusCode.UNAVAILABLE)


def broken(after_events: int) -> Fault:
    return Fault(grpc.StatusCode.UNAVAILABLE, after_events=after_events)


def test_a_lost_answer_is_asked_for_again_under_the_same_request_id(
    client: Client, gateway: TestGateway, target: bytes
) -> None:
    gateway.faults.add("CreateSession", Fault(grpc.StatusCode.UNAVAILABLE, after_effect=True))
    client.create_session(target)
    assert gateway.faults.calls["CreateSession"] == 2
    assert len(gateway.world.sessions) == 1


def test_retries_are_bounded(client: Client, gateway: TestGateway) -> None:
    gateway.faults.add("GetStatus", *[GONE] * 50)
    with pytest.raises(Unavailable):
        client.status()
    assert gateway.faults.calls["GetStatus"] == QUICK.attempts


@pytest.mark.parametrize("method", ["PauseLoop", "ResumeLoop", "CancelLoop", "DeleteSession"])
def test_every_change_of_a_session_may_be_repeated(
    client: Client, gateway: TestGateway, target: bytes, method: str
) -> None:
    gateway.hold_loops()
    session = client.start_loop(client.create_session(target))
    if method == "ResumeLoop":
        client.pause_loop(session)
    gateway.faults.add(method, GONE)
    calls = {
        "PauseLoop": client.pause_loop,
        "ResumeLoop": client.resume_loop,
        "CancelLoop": client.cancel_loop,
        "DeleteSession": client.delete_session,
    }
    calls[method](session)
    gateway.hold_loops(False)
    assert gateway.faults.calls[method] == 2


def test_a_full_queue_is_waited_for_only_if_the_server_says_how_long(
    client: Client, gateway: TestGateway, target: bytes
) -> None:
    full = grpc.StatusCode.RESOURCE_EXHAUSTED
    gateway.faults.add("ScoreImages", Fault(full, "QUEUE_FULL", retry_after_seconds=0.02))
    assert client.score(target, [target])
    assert gateway.faults.calls["ScoreImages"] == 2
    gateway.faults.add("ScoreImages", Fault(full, "QUEUE_FULL"))
    with pytest.raises(Overloaded):
        client.score(target, [target])
    gateway.faults.add("ScoreImages", Fault(full, "QUEUE_FULL", retry_after_seconds=3600))
    with pytest.raises(Overloaded) as caught:
        client.score(target, [target])
    assert caught.value.retry_after_seconds == 3600


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INVALID_ARGUMENT]
)
def test_other_failures_are_not_repeated(client: Client, gateway: TestGateway, code: grpc.StatusCode) -> None:
    gateway.faults.add("GetStatus", Fault(code, "SOME_REASON"))
    with pytest.raises(LikenessError):
        client.status()
    assert gateway.faults.calls["GetStatus"] == 1


def test_a_watch_yields_every_event_once_over_broken_connections(
    client: Client, gateway: TestGateway, target: bytes
) -> None:
    session = client.start_loop(client.create_session(target), rounds=2, candidates=2)
    whole = [event.sequence for event in client.watch(session, until_idle=True) if event.sequence]
    gateway.faults.add(
        "WatchSession", broken(1), GONE, broken(3), broken(7), Fault(grpc.StatusCode.CANCELLED), broken(2)
    )
    events = list(client.watch(session, until_idle=True))
    assert [event.sequence for event in events if event.sequence] == whole == list(range(1, len(whole) + 1))
    assert [type(event.body) for event in events].count(SessionSnapshot) == 1


def test_a_watch_survives_a_restart_of_the_gateway(client: Client, gateway: TestGateway, target: bytes) -> None:
    session = client.start_loop(client.create_session(target), rounds=3)
    gateway.hold_loops()
    sequences = []
    for event in client.watch(session, until_idle=True):
        sequences.append(event.sequence)
        if len(sequences) == 2:
            gateway.restart()
            gateway.hold_loops(False)
    durable = [sequence for sequence in sequences if sequence]
    assert durable == list(range(1, client.get_session(session).session.last_event_sequence + 1))


def test_a_watch_resumes_after_a_cursor(client: Client, target: bytes) -> None:
    session = client.start_loop(client.create_session(target), rounds=1)
    whole = list(client.watch(session, until_idle=True))
    middle = whole[len(whole) // 2]
    rest = [event.sequence for event in client.watch(session, after_cursor=middle.cursor, until_idle=True)]
    assert rest[1:] == [event.sequence for event in whole[len(whole) // 2 + 1 :]]


def test_a_watch_gives_up_after_its_time(gateway: TestGateway, target: bytes) -> None:
    with Client(gateway.address, retry=RetryPolicy(initial_delay_seconds=0.01, reconnect_seconds=0.1)) as client:
        session = client.create_session(target)
        gateway.faults.add("WatchSession", broken(1), *[GONE] * 1000)
        client.start_loop(session)
        with pytest.raises(Unavailable):
            list(client.watch(session))


def test_a_submitted_prompt_is_watched_on_after_a_break(client: Client, gateway: TestGateway, target: bytes) -> None:
    session = client.create_session(target)
    gateway.faults.add("SubmitPrompt", GONE, broken(4))
    events = list(client.submit_prompt(session, "a red car"))
    sequences = [event.sequence for event in events if event.sequence]
    assert sequences == list(range(1, len(sequences) + 1))
    assert [event.kind for event in events].count("round_finished") == 1
    assert len(client.get_session(session).rounds) == 1


def test_leaving_a_watch_ends_its_call(client: Client, gateway: TestGateway, target: bytes) -> None:
    session = client.start_loop(client.create_session(target), rounds=2)
    for event in client.watch(session):
        if isinstance(event.body, CandidateProgress):
            break
    assert client.status()


def test_no_gateway_says_where_it_looked() -> None:
    quick = RetryPolicy(attempts=2, initial_delay_seconds=0.01)
    with Client("127.0.0.1:1", retry=quick) as client, pytest.raises(Unavailable) as caught:
        client.status()
    assert caught.value.reason == "GATEWAY_UNREACHABLE" and "127.0.0.1:1" in caught.value.message


def test_a_snapshot_beyond_what_was_seen_is_news() -> None:
    follower = Follower("", QUICK)

    def snapshot(position: int) -> session_pb2.SessionEvent:
        message = session_pb2.SessionEvent(cursor=f"at-{position}")
        message.snapshot.session.last_event_sequence = position
        return message

    assert follower.accept(snapshot(0)) is not None
    seen = session_pb2.SessionEvent(sequence=1, cursor="at-1", round_started=session_pb2.RoundStarted())
    assert follower.accept(seen) is not None
    # After a reconnect: the first tells nothing new, the second stands for events that are no longer kept.
    assert follower.accept(snapshot(1)) is None
    assert follower.accept(snapshot(9)) is not None and follower.cursor == "at-9"
    assert follower.accept(seen) is None


async def test_the_async_watch_also_yields_every_event_once(
    async_client: AsyncClient, gateway: TestGateway, target: bytes
) -> None:
    session = await async_client.start_loop(await async_client.create_session(target), rounds=2)
    gateway.faults.add("WatchSession", GONE, broken(2), broken(5))
    sequences = [event.sequence async for event in async_client.watch(session, until_idle=True) if event.sequence]
    assert sequences == list(range(1, len(sequences) + 1))
