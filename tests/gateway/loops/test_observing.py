"""What metrics say of loops: best score and gain by round, time by step, sessions that wait."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import REGISTRY

from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from services.gateway.loops.observing import LAST_ROUND
from tests.gateway.conftest import Gateway

pytestmark = pytest.mark.integration

SAMPLES = ("round_best_score_sum", "round_best_score_count", "round_gain_sum", "round_gain_count")


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"likeness_gateway_{name}", labels) or 0.0


def of_round(name: str, number: int) -> float:
    return value(name, strategy="painter", round=str(number))


async def test_every_round_of_a_loop_counts_once_with_its_gain(gateway: Gateway) -> None:
    rounds = range(1, 4)
    before = {(name, n): of_round(name, n) for name in SAMPLES for n in rounds}
    steps = {name: value("loop_step_seconds_count", step=name) for name in ("understand", "generate", "finish")}
    name = await gateway.create()
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    done = await ended(gateway, name)
    more = {key: of_round(*key) - was for key, was in before.items()}
    scores = [max(each.loop_score for each in one.candidates) for one in done.rounds]
    best = [max(scores[:n]) for n in rounds]
    assert [more["round_best_score_sum", n] for n in rounds] == pytest.approx(best)
    # The first round has nothing to be better than; one that is worse than those before added nothing.
    assert [more["round_gain_count", n] for n in rounds] == [0, 1, 1]
    gains = [max(one.gain, 0.0) for one in done.rounds[1:]]
    assert [more["round_gain_sum", n] for n in rounds[1:]] == pytest.approx(gains)
    assert {one: value("loop_step_seconds_count", step=one) - was for one, was in steps.items()} == {
        "understand": 1,
        "generate": 3,
        "finish": 1,
    }


async def test_rounds_of_a_person_do_not_count_and_late_ones_count_together(gateway: Gateway) -> None:
    last = of_round("round_best_score_count", LAST_ROUND)
    name = await gateway.create()
    async for _ in gateway.stub.SubmitPrompt(pb.SubmitPromptRequest(name=name, prompt="rgb 1 2 3")):
        pass
    settings = session_pb2.LoopSettings(rounds=LAST_ROUND + 2, candidates=1)
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name, settings=settings))
    done = await ended(gateway, name)
    assert done.session.round_count == LAST_ROUND + 3
    assert of_round("round_best_score_count", LAST_ROUND) - last == 3
    assert not value("round_best_score_count", strategy="human", round="1")


async def test_a_session_that_finds_no_place_is_counted(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    names = [await gateway.create() for _ in range(gateway.server.runner._max_running + 2)]
    for name in names:
        await gateway.stub.StartLoop(pb.StartLoopRequest(name=name, settings=session_pb2.LoopSettings(rounds=1)))
    assert value("waiting_sessions") == 2
    gateway.parts.generator.gate.set()
    for name in names:
        await ended(gateway, name)
    assert value("waiting_sessions") == 0


async def ended(gateway: Gateway, name: str) -> pb.GetSessionResponse:
    """The session once nothing of it runs: whoever watches may hear of a commit before the run that made it."""
    done = await gateway.finished(name)
    while name.removeprefix("sessions/") in gateway.server.runner._tasks:
        await asyncio.sleep(0.01)
    return done
