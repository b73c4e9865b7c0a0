"""Processes die; what was accepted goes on, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import psutil
import pytest

from likeness.gateway.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc
from likeness.types.v1 import image_pb2
from tests.cluster.running import command_of

ROOT = Path(__file__).resolve().parents[2]


def start_loop(channel: grpc.Channel, target: bytes, *, rounds: int, candidates: int) -> str:
    """Name of a new session with a running loop."""
    stub = session_service_pb2_grpc.SessionServiceStub(channel)
    settings = session_pb2.SessionSettings(metrics=["clip-embedded", "ssim"], selection_metrics=["clip-embedded"])
    create = session_service_pb2.CreateSessionRequest(target=image_pb2.Image(data=target), settings=settings)
    name = stub.CreateSession(create, timeout=60).session.name
    loop = session_pb2.LoopSettings(rounds=rounds, candidates=candidates)
    stub.StartLoop(session_service_pb2.StartLoopRequest(name=name, settings=loop), timeout=60)
    return name


def events_until(channel: grpc.Channel, name: str, enough: Callable[[list[session_pb2.SessionEvent]], bool]) -> None:
    """Watches a session until what was seen is enough."""
    stub = session_service_pb2_grpc.SessionServiceStub(channel)
    seen: list[session_pb2.SessionEvent] = []
    for response in stub.WatchSession(session_service_pb2.WatchSessionRequest(name=name), timeout=120):
        seen.append(response.event)
        if enough(seen):
            return


def durable_events(channel: grpc.Channel, name: str) -> list[session_pb2.SessionEvent]:
    """The whole log of a session that has come to rest."""
    stub = session_service_pb2_grpc.SessionServiceStub(channel)
    watch = session_service_pb2.WatchSessionRequest(name=name, until_idle=True)
    events = [response.event for response in stub.WatchSession(watch, timeout=240, wait_for_ready=True)]
    return [event for event in events if event.sequence]


def test_a_gateway_killed_in_mid_loop_resumes_without_repeating_a_candidate(
    cluster: object, channel: grpc.Channel, target: bytes
) -> None:
    name = start_loop(channel, target, rounds=3, candidates=2)
    events_until(channel, name, lambda seen: sum(e.HasField("candidate_scored") for e in seen) >= 3)
    state_file = cluster.home / "cluster.json"  # type: ignore[attr-defined]
    gateway = json.loads(state_file.read_text())["processes"]["gateway"]
    os.kill(gateway, signal.SIGKILL)
    deadline = time.monotonic() + 120
    while json.loads(state_file.read_text())["processes"]["gateway"] == gateway:
        assert time.monotonic() < deadline, "nobody started the gateway again"
        time.sleep(0.2)
    events = durable_events(channel, name)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    for kind, field in (("candidate_generated", "candidate"), ("candidate_scored", "candidate")):
        ids = [getattr(getattr(event, kind), field).id for event in events if event.HasField(kind)]
        assert sorted(ids) == [f"r{r}c{c}" for r in (1, 2, 3) for c in (1, 2)], f"{kind}: {ids}"
    last = events[-1].state_changed
    assert last.state == session_pb2.Session.STATE_SUCCEEDED
    assert last.stop_reason == session_pb2.STOP_REASON_ROUNDS_DONE


def test_a_client_killed_in_mid_watch_resumes_and_sees_every_event_once(
    cluster: object, channel: grpc.Channel, target: bytes
) -> None:
    name = start_loop(channel, target, rounds=2, candidates=2)
    command = [sys.executable, "-m", "likeness.cli.main", "watch", name.removeprefix("sessions/"), "--json"]
    command += ["--address", cluster.address]  # type: ignore[attr-defined]

    seen: list[dict[str, object]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as first:
        assert first.stdout is not None
        for line in first.stdout:
            event = json.loads(line)
            if event["sequence"]:
                seen.append(event)
            if len(seen) == 4:
                first.send_signal(signal.SIGKILL)
                break
    resume = [*command, "--after", str(seen[-1]["cursor"])]
    again = subprocess.run(resume, capture_output=True, text=True, cwd=ROOT, timeout=240, check=True)
    seen += [event for event in map(json.loads, again.stdout.splitlines()) if event["sequence"]]
    assert [event["sequence"] for event in seen] == [event.sequence for event in durable_events(channel, name)]


@pytest.mark.parametrize("application", ["scorer", "refiner"])
def test_a_replica_killed_in_mid_loop_costs_no_candidate(
    cluster: object, channel: grpc.Channel, target: bytes, application: str
) -> None:
    ray = json.loads((cluster.home / "cluster.json").read_text())["processes"]["ray"]  # type: ignore[attr-defined]

    def replicas() -> set[int]:
        below = psutil.Process(ray).children(recursive=True)
        return {one.pid for one in below if f"ServeReplica:{application}" in command_of(one)}

    (replica,) = replicas()
    name = start_loop(channel, target, rounds=3, candidates=2)
    events_until(channel, name, lambda seen: any(event.HasField("candidate_generated") for event in seen))
    os.kill(replica, signal.SIGKILL)
    events = durable_events(channel, name)
    last = events[-1].state_changed
    assert last.state == session_pb2.Session.STATE_SUCCEEDED, last.error
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    for kind in ("candidate_generated", "candidate_scored"):
        ids = [getattr(event, kind).candidate.id for event in events if event.HasField(kind)]
        assert sorted(ids) == [f"r{r}c{c}" for r in (1, 2, 3) for c in (1, 2)], f"{kind}: {ids}"
    # Where the kill came late, the loop ended without it.
    deadline = time.monotonic() + 120
    while not replicas() - {replica}:
        assert time.monotonic() < deadline, f"nobody started a replica of the {application} again"
        time.sleep(0.2)
    assert replica not in replicas()


@pytest.mark.parametrize("part", ["redis"])
def test_without_its_cache_the_gateway_works_on_and_recovers(
    cluster: object, channel: grpc.Channel, target: bytes, part: str
) -> None:
    state_file = cluster.home / "cluster.json"  # type: ignore[attr-defined]
    pid = json.loads(state_file.read_text())["processes"][part]
    os.kill(pid, signal.SIGKILL)
    name = start_loop(channel, target, rounds=1, candidates=2)
    assert durable_events(channel, name)[-1].state_changed.state == session_pb2.Session.STATE_SUCCEEDED
    deadline = time.monotonic() + 60
    while json.loads(state_file.read_text())["processes"][part] == pid:
        assert time.monotonic() < deadline, f"nobody started {part} again"
        time.sleep(0.2)
