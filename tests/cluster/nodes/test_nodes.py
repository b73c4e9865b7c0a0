"""A worker of three nodes is lost under load: all that was accepted arrives, once, as it would have without it."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import grpc
import numpy as np
import pytest
from PIL import Image

from likeness import AsyncClient, SessionState
from likeness._events import CandidateGenerated
from likeness.gateway.v1 import image_service_pb2 as pb
from likeness.gateway.v1.image_service_pb2_grpc import ImageServiceStub
from reliability.invariants import audit
from tests.cluster.nodes import machines
from tests.cluster.nodes.serving import Nodes, nodes
from tests.e2e.pictures import encode, picture

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

CALLS, PICTURES, STEPS = 6, 2, 15
LOOPS, ROUNDS, CANDIDATES = 2, 2, 2
DEADLINE_SECONDS = 400
TOLERANCE = 0.05
"""Of pictures that share batches: mean absolute difference, of 255, as the engine says."""

Answers = list[pb.GenerateImagesResponse]


@pytest.fixture
async def running() -> AsyncIterator[Nodes]:
    """Head, two workers and gateway; skipped where this machine may not be divided."""
    if why := machines.missing():
        pytest.skip(why)
    try:
        async with nodes() as up:
            yield up
    except machines.NotDivisibleError as error:
        pytest.skip(f"no namespaces here: {error}")


async def test_a_lost_worker_costs_nothing_that_was_accepted(running: Nodes) -> None:
    async with AsyncClient(running.gateway_address) as client, grpc.aio.insecure_channel(running.gateway_address) as to:
        images: ImageServiceStub = ImageServiceStub(to)
        names = [await begin_loop(client, seed) for seed in range(LOOPS)]
        await first_candidate(client, names[0])
        calls = [images.GenerateImages(asked(number), timeout=DEADLINE_SECONDS) for number in range(CALLS)]
        streams = [aiter(call) for call in calls]
        accepted = [await anext(stream) for stream in streams]
        assert {event.WhichOneof("event") for event in accepted} == {"queued"}

        lost, left = running.workers
        await lost.lose()

        rests = await asyncio.gather(*map(rest, streams))
        answers = [[first, *more] for first, more in zip(accepted, rests, strict=True)]
        made = checked(answers)
        queued = Counter(event.seed for events in answers for event in events if event.HasField("queued"))
        assert max(queued.values()) > 1, "the worker that was lost had work, which was asked for again"
        loops = [await candidates(client, name) for name in names]
        await running.serving()
        assert [running.replicas(name)[1] != [] for name in ("generator", "scorer", "refiner")] == [True] * 3
        assert not lost.runs and left.runs

        # On one worker, where nothing is lost, all becomes the same.
        again = [await rest(images.GenerateImages(asked(number), timeout=DEADLINE_SECONDS)) for number in range(CALLS)]
        assert checked(again) == made
        for seed, pictures in enumerate(loops):
            repeated = await candidates(client, await begin_loop(client, seed))
            assert repeated.keys() == pictures.keys()
            assert max(difference(repeated[key], pictures[key]) for key in pictures) <= TOLERANCE

    found = await audit(running.database_url, running.objects)
    assert not found.broken
    assert found.candidates == 2 * LOOPS * ROUNDS * CANDIDATES


def asked(number: int) -> pb.GenerateImagesRequest:
    """The request of a call; its seeds are its own."""
    return pb.GenerateImagesRequest(
        prompt="a red star", seed=10 * number, count=PICTURES, steps=STEPS, deterministic=True
    )


async def rest(call: AsyncIterator[pb.GenerateImagesResponse]) -> Answers:
    """What a call still says."""
    return [event async for event in call]


def checked(answers: Sequence[Answers]) -> dict[int, bytes]:
    """The pictures by seed: each that was asked for, once."""
    ended = [event for events in answers for event in events if event.WhichOneof("event") in ("image", "failed")]
    wanted = Counter((10 * number + index, "image") for number in range(CALLS) for index in range(PICTURES))
    assert Counter((event.seed, event.WhichOneof("event")) for event in ended) == wanted
    return {event.seed: event.image.data for event in ended}


async def begin_loop(client: AsyncClient, seed: int) -> str:
    """Name of a session whose loop runs; the same seed gives the same loop."""
    session = await client.create_session(encode(picture(64, 64)), seed=seed + 1, steps=STEPS)
    await client.start_loop(session, rounds=ROUNDS, candidates=CANDIDATES, fresh_noise=True)
    return session.name


async def first_candidate(client: AsyncClient, name: str) -> None:
    """Waits until a loop has one."""
    async for event in client.watch(name):
        if isinstance(event.body, CandidateGenerated):
            return


async def candidates(client: AsyncClient, name: str) -> dict[tuple[str, str, int], bytes]:
    """Pictures of a loop that has come to its end, by id, prompt and seed."""
    sequences = [event.sequence async for event in client.watch(name, until_idle=True) if event.sequence]
    details = await client.get_session(name)
    assert details.session.state is SessionState.SUCCEEDED, details.session
    assert sequences == list(range(1, details.session.last_event_sequence + 1))
    made = [one for each in details.rounds for one in each.candidates]
    assert [one.id for one in made] == [f"r{r + 1}c{c + 1}" for r in range(ROUNDS) for c in range(CANDIDATES)]
    assert all(one.loop_score is not None for one in made)
    found = {}
    for one in made:
        assert one.image is not None and one.record is not None
        found[one.id, one.prompt, one.record.seed] = await client.get_image_bytes(one.image)
    return found


def difference(one: bytes, other: bytes) -> float:
    """Mean absolute difference of two pictures' pixels, of 255."""
    first, second = (np.asarray(Image.open(io.BytesIO(data)), dtype=np.float64) for data in (one, other))
    return float(np.abs(first - second).mean())
