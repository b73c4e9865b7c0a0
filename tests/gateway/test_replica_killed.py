"""One of two generator replicas is killed under load: all that was accepted arrives, once, and as it would have."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from likeness.gateway.v1 import image_service_pb2 as image_pb
from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from services.gateway.backends.clients import GeneratorClient
from services.gateway.loops.retry import RetryPolicy
from services.gateway.ports import GeneratedImage, GenerationItem, Priority
from services.gateway.rpc.type_converters import record_from_proto
from tests.gateway.conftest import PROFILE, Gateway, Parts, clear, running
from tests.generator.test_deployment import generator_cluster
from tests.generator.tiny import save_tiny_pipeline

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

MODEL = PROFILE.generators[0].id
CALLS, PICTURES, LOOPS, ROUNDS = 6, 2, 2, 2
STEPS = 40
"""Enough that all are on their way when the replica dies."""
DEADLINE_SECONDS = 240
"""Of which a busy machine needs a part to begin again on one replica: what would end past it is refused."""
TOLERANCE = 0.05
"""Of pictures that share batches: mean absolute difference, of 255, as the engine says."""


@dataclass
class Serving:
    """A gateway in front of the replicas, which are processes under `cluster_pid`."""

    gateway: Gateway
    generator: GeneratorClient
    cluster_pid: int

    def replicas(self) -> list[int]:
        """Process ids of the generator's replicas."""
        below = psutil.Process(self.cluster_pid).children(recursive=True)
        return [one.pid for one in below if "ServeReplica:generator" in " ".join(one.cmdline())]


@pytest.fixture
async def serving(database_url: str) -> AsyncIterator[Serving]:
    """Real replicas and generator client; the other backends are doubles."""
    # Ray's sockets lie in the folder and their paths may have 107 characters at most: pytest's folders are too deep.
    with tempfile.TemporaryDirectory(prefix="likeness-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        save_tiny_pipeline(folder / "models/tiny")
        cluster, port = generator_cluster(folder, folder / "models", model_id=MODEL, replicas=2)
        generator = GeneratorClient(f"127.0.0.1:{port}")
        try:
            await cluster.start()
            assert cluster.process is not None
            # As in production: the other replica may be found only when Serve has noticed.
            async with running(database_url, Parts(generator=generator), retry=RetryPolicy()) as gateway:
                yield Serving(gateway, generator, cluster.process.pid)
            await clear(database_url)
        finally:
            await generator.close()
            await cluster.stop()


def asked(number: int) -> image_pb.GenerateImagesRequest:
    """The request of a call; its seeds are its own."""
    seed = 10 * number
    return image_pb.GenerateImagesRequest(
        prompt="a red star", seed=seed, count=PICTURES, steps=STEPS, deterministic=True
    )


async def start_loop(gateway: Gateway) -> str:
    """Name of a session whose loop runs."""
    name = await gateway.create(settings=session_pb2.SessionSettings(steps=STEPS))
    settings = session_pb2.LoopSettings(rounds=ROUNDS, candidates=2)
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name, settings=settings))
    return name


async def test_a_replica_that_dies_under_load_costs_no_accepted_picture_and_doubles_none(serving: Serving) -> None:
    gateway = serving.gateway
    replicas = serving.replicas()
    assert len(replicas) == 2
    sessions = [await start_loop(gateway) for _ in range(LOOPS)]
    calls = [gateway.images.GenerateImages(asked(number), timeout=DEADLINE_SECONDS) for number in range(CALLS)]
    streams = [aiter(call) for call in calls]
    accepted = [await anext(stream) for stream in streams]
    assert {event.WhichOneof("event") for event in accepted} == {"queued"}

    os.kill(replicas[0], signal.SIGKILL)

    async def rest(call: AsyncIterator[image_pb.GenerateImagesResponse]) -> list[image_pb.GenerateImagesResponse]:
        return [event async for event in call]

    answers = [[first, *more] for first, more in zip(accepted, await asyncio.gather(*map(rest, streams)), strict=True)]
    begun_again = 0
    made: dict[int, bytes] = {}
    for events in answers:
        kinds = Counter((event.seed, event.WhichOneof("event")) for event in events)
        begun_again += sum(kinds[seed, "queued"] > 1 for seed, _ in kinds)
        pictures = [event for event in events if event.WhichOneof("event") in ("image", "failed")]
        assert [event.WhichOneof("event") for event in pictures] == ["image"] * PICTURES
        made |= {event.seed: event.image.data for event in pictures}
    assert begun_again, "the replica that died had work"
    assert sorted(made) == [10 * number + index for number in range(CALLS) for index in range(PICTURES)]

    for name in sessions:
        await check_loop(serving, name)

    # The same pictures where nothing dies.
    for number in range(CALLS):
        again = await rest(gateway.images.GenerateImages(asked(number), timeout=DEADLINE_SECONDS))
        for event in again:
            assert event.WhichOneof("event") != "image" or event.image.data == made[event.seed]


async def check_loop(serving: Serving, name: str) -> None:
    """Every candidate was made once, and is the picture of its record."""
    gateway = serving.gateway
    events = await gateway.events(name)
    last = events[-1].state_changed  # type: ignore[attr-defined]
    assert last.state == session_pb2.Session.STATE_SUCCEEDED, last.error
    generated = [event.candidate_generated.candidate for event in events if event.HasField("candidate_generated")]  # type: ignore[attr-defined]
    assert sorted(one.id for one in generated) == [f"r{r + 1}c{c}" for r in range(ROUNDS) for c in (1, 2)]
    for session_round in (await gateway.stub.GetSession(pb.GetSessionRequest(name=name))).rounds:
        assert all(one.HasField("loop_score") for one in session_round.candidates)
    for candidate in generated:
        stored = gateway.parts.objects.data[candidate.image.content_hash]
        assert difference(stored, await remade(serving, candidate)) <= TOLERANCE


async def remade(serving: Serving, candidate: session_pb2.Candidate) -> bytes:
    """The picture of a candidate's record, made by itself."""
    record = record_from_proto(candidate.record)
    item = GenerationItem("again", record.prompt, record.seed, steps=record.steps, noise_mix=record.noise_mix)
    events = serving.generator.generate(
        [item], model=MODEL, request_id="again", timeout_seconds=DEADLINE_SECONDS, priority=Priority.NORMAL
    )
    return next(event.data for event in [one async for one in events] if isinstance(event, GeneratedImage))


def difference(one: bytes, other: bytes) -> float:
    """Mean absolute difference of two pictures' pixels, of 255."""
    first, second = (np.asarray(Image.open(io.BytesIO(data)), dtype=np.float64) for data in (one, other))
    return float(np.abs(first - second).mean())
