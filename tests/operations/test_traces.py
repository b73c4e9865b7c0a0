"""Traces of a gateway process: one loop is one trace, and says nothing of prompts."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest

from likeness import AsyncClient
from likeness import _events as events
from reliability.deployment import Deployment
from tests.collector import Collector, Received
from tests.faults.watching import check_whole, followed, started

ROUNDS = 2
START_LOOP = "likeness.gateway.v1.SessionService/StartLoop"
STEPS = ("propose", "generate", "score", "critique", "revise", "finish")


@pytest.fixture
async def spans(deployment: Deployment, collector: Collector) -> list[Received]:
    """The trace of a loop of two rounds."""
    async with AsyncClient(deployment.address()) as client:
        session = await started(client, rounds=ROUNDS, candidates=2)
        seen = await followed(client, session)
        await check_whole(client, session, seen, rounds=ROUNDS, candidates=2)
    prompts = {one.body.candidate.prompt for one in seen if isinstance(one.body, events.CandidateGenerated)}

    def is_whole(spans: list[Received]) -> bool:
        return any(one.attributes.get("likeness.session_id") == session.id for one in spans)

    # The loop's own span comes last.
    everything = await asyncio.to_thread(collector.wait, is_whole)
    (loop,) = (one for one in everything if one.attributes.get("likeness.session_id") == session.id)
    assert prompts
    assert not [prompt for prompt in prompts if prompt in collector.text]
    return [one for one in collector.spans() if one.trace_id == loop.trace_id]


async def test_a_loop_is_one_trace_from_the_call_that_began_it(spans: list[Received]) -> None:
    by_id = {one.span_id: one for one in spans}
    parents = {one.span_id: by_id[one.parent_id].name for one in spans if one.parent_id}
    (root,) = (one for one in spans if not one.parent_id)
    assert root.name == START_LOOP
    (loop,) = (one for one in spans if one.name == "loop")
    assert parents[loop.span_id] == START_LOOP
    assert (loop.attributes["likeness.strategy"], loop.attributes["likeness.end"]) == ("painter", "rounds_done")
    names = Counter(one.name for one in spans)
    assert names["round"] == names["generate"] == names["score"] == names["propose"] == ROUNDS
    assert names["critique"] == names["revise"] == ROUNDS - 1
    assert {parents[one.span_id] for one in spans if one.name == "round"} == {"loop"}
    assert {parents[one.span_id] for one in spans if one.name in STEPS} == {"round"}
    assert parents[next(one.span_id for one in spans if one.name == "understand")] == "loop"
    rounds = [one for one in spans if one.name == "round"]
    assert sorted(one.attributes["likeness.round"] for one in rounds) == [1, 2]
    assert all(0 <= one.attributes["likeness.best_score"] <= 1 for one in rounds)
    assert not [one.name for one in spans if one.failed]


async def test_calls_of_backends_belong_to_the_step_that_made_them(spans: list[Received]) -> None:
    by_id = {one.span_id: one for one in spans}
    calls = {
        (one.name.rpartition("Service/")[2], by_id[one.parent_id].name)
        for one in spans
        if one.name.startswith("likeness.") and one.parent_id
    }
    wanted = {("Generate", "generate"), ("Score", "score"), ("Propose", "propose"), ("Critique", "critique")}
    assert wanted | {("Revise", "revise"), ("Understand", "understand")} <= calls
    # Whoever reads the generator's stream stores pictures meanwhile: none of that may hang under the call.
    assert not [one for one in spans if one.parent_id and by_id[one.parent_id].name.endswith("Service/Generate")]
    generated = [one for one in spans if one.name.endswith("/Generate")]
    assert {one.attributes["rpc.response.status_code"] for one in generated} == {"OK"}


async def test_log_lines_of_the_loop_name_its_trace(deployment: Deployment, spans: list[Received]) -> None:
    lines = [json.loads(line) for line in deployment.log("gateway-1").splitlines() if line.startswith("{")]
    assert [one for one in lines if one["event"] == "run_stopped" and one.get("trace_id") == spans[0].trace_id]


async def test_probes_begin_no_traces(deployment: Deployment, collector: Collector, spans: list[Received]) -> None:
    # The monitor asks all backends twice a second or more seldom; waiting for health asks the gateway.
    assert await deployment.gateways[0].health() == "SERVING"
    calls = {one.name for one in collector.spans()}
    assert not [name for name in calls if "grpc.health" in name]
    # By its full name: what a client asks of the gateway has the same last part, and begins a trace.
    probe = "likeness.refiner.v1.RefinerService/ListStrategies"
    assert not [one for one in collector.spans() if one.name == probe and not one.parent_id]
