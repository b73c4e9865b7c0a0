"""One loop is one trace through every process: gateway, Serve's proxy, replicas, and threads in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import grpc
import pytest

from likeness.gateway.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc
from likeness.types.v1 import image_pb2
from tests.collector import Collector, Received
from tests.conftest import Cluster
from tests.e2e.pictures import encode, picture

CLIENT, SERVER = 3, 2  # kinds of spans
CALLER_TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER_SPAN = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def trace(cluster: Cluster) -> Iterator[list[Received]]:
    """The spans of a loop of two rounds whose caller had a trace already."""
    with grpc.insecure_channel(cluster.address) as channel:
        yield _traced(cluster.collector, session_service_pb2_grpc.SessionServiceStub(channel))


def _traced(collector: Collector, sessions: session_service_pb2_grpc.SessionServiceStub) -> list[Received]:
    settings = session_pb2.SessionSettings(
        metrics=["clip-embedded", "ssim"], selection_metrics=["clip-embedded"], seed=5, steps=4
    )
    request = session_service_pb2.CreateSessionRequest(
        target=image_pb2.Image(data=encode(picture())), settings=settings
    )
    session = sessions.CreateSession(request, timeout=60).session
    start = session_service_pb2.StartLoopRequest(
        name=session.name, settings=session_pb2.LoopSettings(rounds=2, candidates=2)
    )
    sessions.StartLoop(start, timeout=60, metadata=[("traceparent", f"00-{CALLER_TRACE}-{CALLER_SPAN}-01")])
    watch = session_service_pb2.WatchSessionRequest(name=session.name, until_idle=True)
    for _ in sessions.WatchSession(watch, timeout=200):
        pass

    def is_whole(spans: list[Received]) -> bool:
        """The loop's own span is the gateway's last; each process sends what it has every few seconds."""
        answered = {one.parent_id for one in spans if one.kind == SERVER}
        called = {one.span_id for one in spans if one.kind == CLIENT and not one.failed}
        return any(one.name == "loop" for one in spans) and called <= answered

    return collector.wait(is_whole, CALLER_TRACE)


def test_one_loop_is_one_trace_through_ray_serve(trace: list[Received]) -> None:
    by_id = {one.span_id: one for one in trace}
    services = defaultdict(set)
    for one in trace:
        services[one.service].add(one.name.rpartition("/")[2])
    assert services["likeness-gateway"] >= {"StartLoop", "loop", "round", "propose", "generate", "score", "critique"}
    assert services["likeness-generator"] >= {"Generate", "queue", "denoise", "decode", "encode"}
    assert services["likeness-scorer"] >= {"Score", "queue", "compute", "metric", "embed"}
    assert services["likeness-refiner"] >= {"Understand", "Propose", "Critique", "Revise"}
    # Nothing hangs in the air, and one span alone was begun by the caller.
    outside = [one for one in trace if one.parent_id not in by_id]
    assert [(one.name.rpartition("/")[2], one.parent_id) for one in outside] == [("StartLoop", CALLER_SPAN)]
    for one in trace:
        if one.kind == SERVER and one not in outside:
            assert (by_id[one.parent_id].kind, by_id[one.parent_id].name) == (CLIENT, one.name)


def test_every_picture_has_its_wait_its_steps_and_its_decoding(trace: list[Received]) -> None:
    by_id = {one.span_id: one for one in trace}
    parts = defaultdict(list)
    for one in trace:
        if one.service == "likeness-generator" and "likeness.item_id" in one.attributes:
            assert by_id[one.parent_id].name.endswith("/Generate")
            parts[one.attributes["likeness.item_id"]].append(one)
    assert sorted(parts) == ["r1c1", "r1c2", "r2c1", "r2c2"]
    for spans in parts.values():
        named = {one.name: one for one in spans}
        assert set(named) == {"queue", "denoise", "decode", "encode"}
        assert named["denoise"].attributes["likeness.steps"] == 4
        assert 1 <= named["denoise"].attributes["likeness.mean_batch_pictures"] <= 2
        # One after the other, but for the microseconds between looking at the two clocks.
        assert named["denoise"].began_ns == pytest.approx(named["queue"].ended_ns, abs=1_000_000)
        assert named["decode"].began_ns == pytest.approx(named["denoise"].ended_ns, abs=1_000_000)


def test_nothing_sent_holds_a_prompt_or_a_picture(cluster: Cluster, trace: list[Received]) -> None:
    words = {str(value) for one in trace for value in one.attributes.values()}
    assert max(map(len, words)) < 100
    assert {key.partition(".")[0] for one in trace for key in one.attributes} <= {"likeness", "rpc", "error"}
    assert "\\211PNG" not in cluster.collector.text
