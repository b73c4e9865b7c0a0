"""The human path: prompts, feedback, rankings, and loops in between."""

from __future__ import annotations

import pytest

from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from likeness.types.v1 import understanding_pb2
from services.common.errors import Reason, UnavailableError
from services.gateway.access.caller import DEFAULT_TENANT
from services.gateway.ports import Priority
from tests.gateway.conftest import Gateway

pytestmark = pytest.mark.integration


async def test_prompt_streams_its_round_until_it_is_scored(gateway: Gateway) -> None:
    name = await gateway.create()
    events = await submit(gateway, name, "rgb 190 60 90", image_count=2)
    durable = [one.WhichOneof("event") for one in events if one.sequence]
    assert durable == [
        "state_changed",
        "round_started",
        "candidate_generated",
        "candidate_generated",
        "candidate_scored",
        "candidate_scored",
        "round_finished",
        "state_changed",
    ]
    assert [one.sequence for one in events if one.sequence] == list(range(1, 9))
    assert events[-1].state_changed.state == session_pb2.Session.STATE_WAITING
    finished = events[-2].round_finished.round
    assert finished.strategy == "human" and finished.aspect == 0
    first, second = finished.candidates
    assert first.prompt == second.prompt == "rgb 190 60 90" and first.origin == "human"
    assert first.record.seed != second.record.seed
    assert gateway.parts.refiner.calls == []
    assert gateway.parts.generator.priorities == [Priority.INTERACTIVE]


async def test_live_progress_carries_the_cursor_of_the_last_durable_event(gateway: Gateway) -> None:
    generator = gateway.parts.generator
    generator.gate.clear()
    name = await gateway.create()
    progress = []
    async for one in gateway.stub.SubmitPrompt(pb.SubmitPromptRequest(name=name, prompt="rgb 1 2 3", image_count=3)):
        if one.event.WhichOneof("event") == "candidate_progress":
            progress.append(one.event)
            # Progress is replaced where the caller is slow: what comes from here on may be little.
            generator.gate.set()
    assert progress and all(one.sequence == 0 and one.cursor for one in progress)
    later = await gateway.events(name, after=progress[0].cursor)
    assert later and later[0].sequence > 1


async def test_round_goes_on_when_the_caller_leaves(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    name = await gateway.create()
    call = gateway.stub.SubmitPrompt(pb.SubmitPromptRequest(name=name, prompt="rgb 9 9 9"))
    assert (await call.read()).event.state_changed.state == session_pb2.Session.STATE_RUNNING
    call.cancel()
    gateway.parts.generator.gate.set()
    done = await gateway.finished(name)
    assert done.session.state == session_pb2.Session.STATE_WAITING
    assert done.rounds[0].candidates[0].HasField("loop_score")


async def test_failed_round_ends_the_stream_with_the_reason(gateway: Gateway) -> None:
    gateway.parts.generator.failures = [UnavailableError(Reason.BACKEND_UNAVAILABLE, "generator: unavailable")] * 3
    name = await gateway.create()
    events = await submit(gateway, name, "rgb 9 9 9")
    last = events[-1].state_changed
    assert last.state == session_pb2.Session.STATE_FAILED and last.error.reason == "BACKEND_UNAVAILABLE"
    # The session is as good as before.
    assert (await submit(gateway, name, "rgb 9 9 9"))[-1].state_changed.state == session_pb2.Session.STATE_WAITING


async def test_feedback_revises_the_best_prompt_and_the_next_loop_starts_from_it(gateway: Gateway) -> None:
    name = await gateway.create()
    await submit(gateway, name, "rgb 100 60 90")
    await submit(gateway, name, "rgb 0 255 0")
    request = pb.SubmitFeedbackRequest(name=name, text="move 100 0 0", aspect=understanding_pb2.ASPECT_COLOR)
    response = await gateway.stub.SubmitFeedback(request)
    assert response.revised_prompt == "rgb 150 60 90"
    assert response.edits[0].before == "rgb 100 60 90"
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name, settings=session_pb2.LoopSettings(rounds=1)))
    done = await gateway.finished(name)
    assert [one.number for one in done.rounds] == [1, 2, 3]
    assert done.rounds[2].base_prompt == "rgb 150 60 90" and done.rounds[2].aspect == 1
    given = next(one for one in await gateway.events(name) if one.WhichOneof("event") == "feedback_given")
    assert given.feedback_given.feedback.text == "move 100 0 0"
    assert given.feedback_given.feedback.aspect == understanding_pb2.ASPECT_COLOR


async def test_feedback_on_a_named_candidate(gateway: Gateway) -> None:
    name = await gateway.create()
    await submit(gateway, name, "rgb 100 60 90")
    await submit(gateway, name, "rgb 0 200 0")
    request = pb.SubmitFeedbackRequest(name=name, text="move 0 20 0", candidate_id="r2c1")
    assert (await gateway.stub.SubmitFeedback(request)).revised_prompt == "rgb 0 210 0"


async def test_feedback_before_any_prompt_is_recorded(gateway: Gateway) -> None:
    name = await gateway.create()
    response = await gateway.stub.SubmitFeedback(pb.SubmitFeedbackRequest(name=name, text="more red"))
    assert response.revised_prompt == "" and gateway.parts.refiner.calls == []
    assert len(await gateway.events(name)) == 1


async def test_prompt_after_a_loop_goes_on_with_the_numbers(gateway: Gateway) -> None:
    name = await gateway.create()
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name, settings=session_pb2.LoopSettings(rounds=2)))
    before = (await gateway.finished(name)).session
    assert before.state == session_pb2.Session.STATE_SUCCEEDED
    await submit(gateway, name, "rgb 200 60 90")
    done = await gateway.finished(name)
    assert done.rounds[-1].number == 3 and done.session.best.id == "r3c1"
    assert done.session.state == session_pb2.Session.STATE_WAITING
    assert done.session.stop_reason == session_pb2.STOP_REASON_UNSPECIFIED
    assert done.rounds[-1].gain == pytest.approx(done.session.best.loop_score - before.best.loop_score)


async def test_rankings_are_kept_oldest_first(gateway: Gateway) -> None:
    name = await gateway.create()
    await submit(gateway, name, "rgb 1 2 3", image_count=3)
    for order in (["r1c2", "r1c1"], ["r1c3", "r1c1", "r1c2"]):
        response = await gateway.stub.RankImages(pb.RankImagesRequest(name=name, candidate_ids=order))
        assert list(response.ranking.candidate_ids) == order and response.ranking.HasField("create_time")
    full = await gateway.stub.GetSession(pb.GetSessionRequest(name=name))
    assert [list(one.candidate_ids) for one in full.rankings] == [["r1c2", "r1c1"], ["r1c3", "r1c1", "r1c2"]]
    assert (await gateway.events(name))[-1].WhichOneof("event") == "candidates_ranked"


async def test_hidden_scores_are_stored_but_never_sent(gateway: Gateway) -> None:
    name = await gateway.create(settings=session_pb2.SessionSettings(show_scores=False))
    events = await submit(gateway, name, "rgb 1 2 3")
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name, settings=session_pb2.LoopSettings(rounds=2)))
    done = await gateway.finished(name)
    listed = await gateway.stub.ListSessions(pb.ListSessionsRequest())
    watched = [one.event async for one in gateway.stub.WatchSession(pb.WatchSessionRequest(name=name, until_idle=True))]
    assert done.session.best.id and done.rounds[1].best_candidate_id
    for message in (*events, *watched, done, listed):
        assert "loop_score" not in str(message) and "scores {" not in str(message) and "gain" not in str(message)
    stored = await gateway.server.sessions.get(DEFAULT_TENANT, name.removeprefix("sessions/"))
    assert stored.session.best is not None and stored.session.best.scores


async def submit(gateway: Gateway, name: str, prompt: str, **fields: object) -> list[session_pb2.SessionEvent]:
    """Every event of a submitted prompt."""
    request = pb.SubmitPromptRequest(name=name, prompt=prompt, **fields)  # type: ignore[arg-type]
    return [one.event async for one in gateway.stub.SubmitPrompt(request)]
