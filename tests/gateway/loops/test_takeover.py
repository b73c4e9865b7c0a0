"""A person takes an automatic loop over, makes pictures, and hands it back."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from tests.gateway.conftest import Gateway, Parts, clear, running
from tests.gateway.failures import reason_of

pytestmark = pytest.mark.integration

State = session_pb2.Session
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
GREEN = "rgb 30 200 30"


async def test_pause_finishes_the_round_under_way_and_resume_does_the_rest(gateway: Gateway) -> None:
    name = await held(gateway)
    pausing = asyncio.create_task(pause(gateway, name))
    await asked(gateway, name)
    gateway.parts.generator.gate.set()
    paused = await pausing
    assert paused.state == State.STATE_PAUSED and paused.round_count == 1
    kept = paused.paused_loop
    assert (kept.rounds_done, kept.images_made, kept.settings.rounds, kept.settings.strategy) == (1, 2, 3, "painter")
    assert kept.seconds_spent > 0
    resumed = await resume(gateway, name)
    assert resumed.state == State.STATE_RUNNING and not resumed.HasField("paused_loop")
    done = await gateway.finished(name)
    assert done.session.stop_reason == session_pb2.STOP_REASON_ROUNDS_DONE
    assert [len(one.candidates) for one in done.rounds] == [2, 2, 2]
    # Nothing was made again, and the second round went on from the critique of the first.
    assert set(gateway.parts.generator.made.values()) == {1} and done.rounds[0].HasField("feedback")


async def test_pause_at_once_stops_the_denoiser_and_resume_finishes_the_round(gateway: Gateway) -> None:
    name = await held(gateway)
    paused = await pause(gateway, name, at_once=True)
    assert paused.state == State.STATE_PAUSED and gateway.parts.generator.cancelled == 1
    assert (paused.paused_loop.rounds_done, paused.paused_loop.images_made) == (0, 1)
    gateway.parts.generator.gate.set()
    await resume(gateway, name)
    done = await gateway.finished(name)
    assert [len(one.candidates) for one in done.rounds] == [2, 2, 2]
    assert all(one.HasField("image") for each in done.rounds for one in each.candidates)
    assert set(gateway.parts.generator.made.values()) == {1}


async def test_what_the_person_made_counts_for_best_and_is_where_the_loop_goes_on(gateway: Gateway) -> None:
    name = await paused_loop(gateway)
    # The color of the target: nothing the loop could find is better.
    prompt = pb.SubmitPromptRequest(name=name, prompt="rgb 200 60 90", image_count=3)
    events = [one.event async for one in gateway.stub.SubmitPrompt(prompt) if one.event.sequence]
    assert events[-1].state_changed.state == State.STATE_PAUSED
    assert events[-1].state_changed.HasField("paused_loop")
    mine = await gateway.stub.GetSession(pb.GetSessionRequest(name=name))
    assert mine.session.state == State.STATE_PAUSED and mine.session.best.origin == "human"
    await resume(gateway, name)
    done = await gateway.finished(name)
    assert [one.strategy for one in done.rounds] == ["painter", "human", "painter", "painter"]
    assert done.rounds[2].base_prompt == "rgb 200 60 90"
    # The person's three pictures cost the loop neither a round nor a picture of its own.
    assert done.session.stop_reason == session_pb2.STOP_REASON_ROUNDS_DONE
    assert done.session.best.loop_score >= mine.session.best.loop_score


async def test_feedback_is_where_the_loop_goes_on(gateway: Gateway) -> None:
    name = await paused_loop(gateway)
    feedback = pb.SubmitFeedbackRequest(name=name, text="move 40 -20 0")
    revised = (await gateway.stub.SubmitFeedback(feedback)).revised_prompt
    ranking = pb.RankImagesRequest(name=name, candidate_ids=["r1c2", "r1c1"])
    assert (await gateway.stub.RankImages(ranking)).ranking.candidate_ids
    await resume(gateway, name)
    assert (await gateway.finished(name)).rounds[1].base_prompt == revised


async def test_words_leave_the_interrupted_round_as_it_is(gateway: Gateway) -> None:
    name = await held(gateway)
    await pause(gateway, name, at_once=True)
    gateway.parts.generator.gate.set()
    await gateway.stub.SubmitFeedback(pb.SubmitFeedbackRequest(name=name, text="greener"))
    # Without a scored picture there was no prompt to revise: the latest words are those of a prompt.
    assert [one async for one in gateway.stub.SubmitPrompt(pb.SubmitPromptRequest(name=name, prompt=GREEN))]
    await resume(gateway, name)
    done = await gateway.finished(name)
    assert [one.strategy for one in done.rounds] == ["painter", "human", *["painter"] * 3]
    assert done.rounds[2].base_prompt == GREEN
    assert [one.HasField("image") for one in done.rounds[0].candidates] == [True, False]
    # The picture of the interrupted round was paid for: the budget of 6 leaves 5, and the last round one.
    assert [len(one.candidates) for one in done.rounds] == [2, 1, 2, 2, 1]
    assert done.session.stop_reason in (session_pb2.STOP_REASON_ROUNDS_DONE, session_pb2.STOP_REASON_BUDGET_SPENT)


async def test_only_the_paused_loop_can_run_and_the_error_says_so(gateway: Gateway) -> None:
    name = await paused_loop(gateway)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    assert reason_of(caught.value) == (PRECONDITION, "SESSION_PAUSED")
    assert "ResumeLoop" in caught.value.details() and "CancelLoop" in caught.value.details()  # type: ignore[operator]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pause(gateway, name)
    assert reason_of(caught.value) == (PRECONDITION, "SESSION_PAUSED")


async def test_paused_loop_is_cancelled(gateway: Gateway) -> None:
    name = await paused_loop(gateway)
    cancelled = (await gateway.stub.CancelLoop(pb.CancelLoopRequest(name=name))).session
    assert cancelled.state == State.STATE_CANCELLED and not cancelled.HasField("paused_loop")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await resume(gateway, name)
    assert reason_of(caught.value) == (PRECONDITION, "SESSION_NOT_PAUSED")
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    assert (await gateway.finished(name)).session.state == State.STATE_SUCCEEDED


async def test_cancel_of_the_persons_round_leaves_the_loop_paused(gateway: Gateway) -> None:
    name = await paused_loop(gateway)
    gateway.parts.generator.gate.clear()
    submitted = gateway.stub.SubmitPrompt(pb.SubmitPromptRequest(name=name, prompt=GREEN))
    await submitted.read()
    for call, reason in ((resume(gateway, name), "SESSION_BUSY"), (pause(gateway, name), "SESSION_PAUSED")):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert reason_of(caught.value) == (PRECONDITION, reason)
    still = (await gateway.stub.CancelLoop(pb.CancelLoopRequest(name=name))).session
    assert still.state == State.STATE_PAUSED and still.stop_reason == session_pb2.STOP_REASON_CANCELLED
    gateway.parts.generator.gate.set()
    await resume(gateway, name)
    assert (await gateway.finished(name)).session.state == State.STATE_SUCCEEDED


@pytest.mark.parametrize("at_once", [True, False])
async def test_there_must_be_a_loop_to_pause(gateway: Gateway, at_once: bool) -> None:
    name = await gateway.create()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pause(gateway, name, at_once=at_once)
    assert reason_of(caught.value) == (PRECONDITION, "SESSION_NOT_RUNNING")
    gateway.parts.generator.gate.clear()
    submitted = gateway.stub.SubmitPrompt(pb.SubmitPromptRequest(name=name, prompt=GREEN))
    await submitted.read()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pause(gateway, name, at_once=at_once)
    assert reason_of(caught.value) == (PRECONDITION, "SESSION_NOT_RUNNING")
    gateway.parts.generator.gate.set()
    assert (await gateway.finished(name)).session.state == State.STATE_WAITING


async def test_pause_from_another_gateway_and_resume_there(gateway: Gateway, database_url: str) -> None:
    name = await held(gateway)
    async with running(database_url, Parts(objects=gateway.parts.objects)) as other:
        assert (await pause(other, name, at_once=True)).state == State.STATE_PAUSED
        assert gateway.parts.generator.cancelled == 1
        await resume(other, name)
        assert (await other.finished(name)).session.state == State.STATE_SUCCEEDED
        made = gateway.parts.generator.made + other.parts.generator.made
        assert made.total() == 6 and set(made.values()) == {1}


@pytest.mark.parametrize("here", [True, False])
async def test_loop_that_waits_its_turn_is_paused_without_waiting(database_url: str, parts: Parts, here: bool) -> None:
    async with running(database_url, parts, max_running_sessions=1) as one, running(database_url, Parts()) as other:
        first = await held(one)
        second = await one.create()
        await one.stub.StartLoop(pb.StartLoopRequest(name=second))
        paused = await pause(one if here else other, second)
        assert paused.state == State.STATE_PAUSED and paused.round_count == 0
        await one.stub.CancelLoop(pb.CancelLoopRequest(name=first))
    await clear(database_url)


async def test_pause_outlives_the_gateway(database_url: str, parts: Parts) -> None:
    async with running(database_url, parts) as first:
        name = await paused_loop(first)
    async with running(database_url, Parts(objects=parts.objects)) as second:
        session = (await second.stub.GetSession(pb.GetSessionRequest(name=name))).session
        assert session.state == State.STATE_PAUSED and session.paused_loop.rounds_done == 1
        await resume(second, name)
        assert (await second.finished(name)).session.round_count == 3
    await clear(database_url)


async def test_watcher_sees_the_pause_and_the_tables_are_the_sum_of_the_events(gateway: Gateway) -> None:
    name = await paused_loop(gateway)
    states = [one.state_changed for one in await gateway.events(name) if one.WhichOneof("event") == "state_changed"]
    assert [one.state for one in states] == [State.STATE_RUNNING, State.STATE_PAUSED]
    request = pb.WatchSessionRequest(name=name, after_cursor=(await gateway.events(name))[-1].cursor, until_idle=True)
    (snapshot,) = [one.event async for one in gateway.stub.WatchSession(request)]
    stored = await gateway.stub.GetSession(pb.GetSessionRequest(name=name))
    assert snapshot.snapshot.session == stored.session
    assert stored.session.paused_loop == states[-1].paused_loop


async def test_loop_that_comes_to_its_end_first_ends_by_its_rule(gateway: Gateway) -> None:
    name = await held(gateway, rounds=1)
    pausing = asyncio.create_task(pause(gateway, name))
    await asked(gateway, name)
    gateway.parts.generator.gate.set()
    assert (await pausing).state == State.STATE_SUCCEEDED


async def test_seconds_count_while_the_loop_runs_and_not_while_it_is_paused(gateway: Gateway) -> None:
    name = await paused_loop(gateway, seconds_budget=3600.0)
    spent = (await gateway.stub.GetSession(pb.GetSessionRequest(name=name))).session.paused_loop.seconds_spent
    # An hour's pause, and then a hold of the loop for most of its hour.
    await gateway.execute("UPDATE sessions SET run_start_time = run_start_time - interval '1 hour'")
    gateway.parts.generator.gate.clear()
    await resume(gateway, name)
    again = await pause(gateway, name, at_once=True)
    assert again.state == State.STATE_PAUSED and spent < again.paused_loop.seconds_spent < spent + 600
    gateway.parts.generator.gate.set()
    gateway.parts.generator.hold_after_pictures = 1
    await resume(gateway, name)
    while gateway.parts.generator.gate.is_set():
        await asyncio.sleep(0.01)
    await gateway.execute("UPDATE sessions SET run_start_time = run_start_time - interval '1 hour'")
    gateway.parts.generator.gate.set()
    done = await gateway.finished(name)
    # The round under way was finished, and no other begun.
    assert done.session.stop_reason == session_pb2.STOP_REASON_BUDGET_SPENT
    assert [len(one.candidates) for one in done.rounds] == [2, 2] and done.rounds[1].best_candidate_id


async def pause(gateway: Gateway, name: str, *, at_once: bool = False) -> session_pb2.Session:
    """The session, paused."""
    return (await gateway.stub.PauseLoop(pb.PauseLoopRequest(name=name, at_once=at_once))).session


async def resume(gateway: Gateway, name: str) -> session_pb2.Session:
    """The session, running again."""
    return (await gateway.stub.ResumeLoop(pb.ResumeLoopRequest(name=name))).session


async def asked(gateway: Gateway, name: str) -> None:
    """Waits until a pause is asked for."""
    while await gateway.count("SELECT count(*) FROM sessions WHERE pause_requested IS NOT NULL") == 0:
        await asyncio.sleep(0.01)


async def held(gateway: Gateway, **settings: float) -> str:
    """A session whose loop has made one picture and hangs in the next."""
    gateway.parts.generator.hold_after_pictures = 1
    name = await gateway.create()
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name, settings=session_pb2.LoopSettings(**settings)))
    async for one in gateway.stub.WatchSession(pb.WatchSessionRequest(name=name)):
        if one.event.HasField("candidate_generated"):
            break
    # A watcher may hear of a picture before the loop knows that it is stored.
    while gateway.parts.generator.gate.is_set():
        await asyncio.sleep(0.005)
    return name


async def paused_loop(gateway: Gateway, **settings: float) -> str:
    """A session whose loop was paused after its first round."""
    name = await held(gateway, **settings)
    pausing = asyncio.create_task(pause(gateway, name))
    await asked(gateway, name)
    gateway.parts.generator.gate.set()
    assert (await pausing).paused_loop.rounds_done == 1
    return name
