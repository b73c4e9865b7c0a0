"""Requests for races: idempotent under their id, refused with the field at fault."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
import pytest

from likeness.gateway.v1 import image_service_pb2, session_pb2
from likeness.gateway.v1 import race_service_pb2 as pb
from likeness.gateway.v1 import session_service_pb2 as sessions
from likeness.types.v1 import image_pb2
from tests.gateway.conftest import TARGET, Gateway
from tests.gateway.failures import reason_of
from tests.gateway.races.racing import entrant, finished, race_request, target

pytestmark = pytest.mark.integration

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
FIELD = (INVALID, "INVALID_FIELD")


def loop(**fields: Any) -> session_pb2.LoopSettings:
    return session_pb2.LoopSettings(**fields)


def second(**fields: Any) -> dict[str, Any]:
    """Entrants of which the second says this."""
    return {"entrants": [entrant("a"), entrant("b", **fields)]}


BAD: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    ({"targets": 0}, (*FIELD, "targets")),
    ({"entrants": []}, (*FIELD, "entrants")),
    ({"entrants": [entrant("alone")]}, (*FIELD, "entrants")),
    ({"entrants": [entrant(str(number)) for number in range(17)]}, (*FIELD, "entrants")),
    ({"entrants": [entrant("a"), entrant("a")]}, (*FIELD, "entrants[1].display_name")),
    (second(display_name=""), (*FIELD, "entrants[1].display_name")),
    (second(display_name="x" * 65), (*FIELD, "entrants[1].display_name")),
    (second(steps=0), (*FIELD, "entrants[1].steps")),
    (second(guidance_scale=51), (*FIELD, "entrants[1].guidance_scale")),
    (second(generator_model="nothing"), (NOT_FOUND, "MODEL_NOT_FOUND")),
    (second(selection_metrics=["nothing"]), (NOT_FOUND, "METRIC_NOT_FOUND")),
    (second(selection_metrics=["red", "red"]), (*FIELD, "entrants[1].selection_metrics")),
    (second(selection_metrics=["clpips:nobody"]), (NOT_FOUND, "PROFILE_NOT_FOUND")),
    (second(loop=loop(strategy="nothing")), (NOT_FOUND, "STRATEGY_NOT_FOUND")),
    (second(loop=loop(rounds=101)), (*FIELD, "entrants[1].loop.rounds")),
    (second(loop=loop(candidates=0)), (*FIELD, "entrants[1].loop.candidates")),
    (second(loop=loop(target_score=2)), (*FIELD, "entrants[1].loop.target_score")),
    (second(loop=loop(plateau_rounds=0)), (*FIELD, "entrants[1].loop.plateau_rounds")),
    (second(loop=loop(plateau_gain=-1)), (*FIELD, "entrants[1].loop.plateau_gain")),
    (second(loop=loop(image_budget=0)), (*FIELD, "entrants[1].loop.image_budget")),
    (second(loop=loop(seconds_budget=0)), (*FIELD, "entrants[1].loop.seconds_budget")),
    (second(loop=loop(first_prompt="x" * 2001)), (*FIELD, "entrants[1].loop.first_prompt")),
    ({"metrics": ["nothing"]}, (NOT_FOUND, "METRIC_NOT_FOUND")),
    ({"metrics": ["red", "red"]}, (*FIELD, "metrics")),
    ({"metrics": ["clpips:No"]}, (*FIELD, "metrics")),
    ({"metrics": ["clpips:nobody"]}, (NOT_FOUND, "PROFILE_NOT_FOUND")),
    ({"display_name": "x" * 201}, (*FIELD, "display_name")),
    ({"request_id": "1"}, (*FIELD, "request_id")),
]

BAD_TARGETS: list[tuple[pb.RaceTargetInput, tuple[Any, ...]]] = [
    (pb.RaceTargetInput(), (*FIELD, "targets[1].image")),
    (pb.RaceTargetInput(image=image_pb2.Image()), (*FIELD, "targets[1].image")),
    (target(0), (*FIELD, "targets[1].image")),
    (target(1, display_name="x" * 201), (*FIELD, "targets[1].display_name")),
    (
        pb.RaceTargetInput(image=image_pb2.Image(data=b"no picture")),
        (INVALID, "IMAGE_UNREADABLE", "targets[1].image.data"),
    ),
    (pb.RaceTargetInput(image=image_pb2.Image(content_hash="ab")), (*FIELD, "targets[1].image.content_hash")),
    (
        pb.RaceTargetInput(image=image_pb2.Image(content_hash="0" * 64)),
        (NOT_FOUND, "IMAGE_NOT_FOUND"),
    ),
]


async def test_bad_fields_are_named(gateway: Gateway) -> None:
    for fields, expected in BAD:
        await refused(gateway, race_request(**fields), expected)


async def test_bad_targets_are_named(gateway: Gateway) -> None:
    for bad, expected in BAD_TARGETS:
        request = race_request()
        del request.targets[:]
        request.targets.extend([target(0), bad])
        await refused(gateway, request, expected)


async def test_too_many_sessions(gateway: Gateway) -> None:
    request = race_request(0, entrants=[entrant(str(number)) for number in range(16)])
    one = target(0)
    request.targets.extend([one] * 65)
    await refused(gateway, request, (*FIELD, "targets"))
    del request.entrants[2:]
    request.targets.extend([one] * 192)
    await refused(gateway, request, (*FIELD, "targets"))


async def test_names_of_no_race(gateway: Gateway) -> None:
    for method in ("GetRace", "WatchRace", "CancelRace", "DeleteRace"):
        for name, expected in (
            ("races/nothing", (NOT_FOUND, "RACE_NOT_FOUND")),
            ("nothing", (*FIELD, "name")),
            ("sessions/a", (*FIELD, "name")),
            ("", (*FIELD, "name")),
        ):
            call = getattr(gateway.races, method)(getattr(pb, f"{method}Request")(name=name))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await (anext(aiter(call)) if method == "WatchRace" else call)
            assert reason_of(caught.value) == expected, (method, name)


async def test_bad_pages(gateway: Gateway) -> None:
    for fields in ({"page_size": -1}, {"page_token": "x"}):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.races.ListRaces(pb.ListRacesRequest(**fields))  # type: ignore[arg-type]
        assert reason_of(caught.value) == (*FIELD, next(iter(fields)))


async def test_the_same_request_makes_one_race(gateway: Gateway) -> None:
    request = race_request(1, request_id=str(uuid.uuid4()))
    first = await gateway.races.CreateRace(request)
    await finished(gateway, first.race.name)
    assert await gateway.races.CreateRace(request) == first
    assert len((await gateway.races.ListRaces(pb.ListRacesRequest())).races) == 1
    assert len((await gateway.stub.ListSessions(sessions.ListSessionsRequest())).sessions) == 2
    request.seed += 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.races.CreateRace(request)
    assert reason_of(caught.value)[:2] == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_targets_by_content_hash(gateway: Gateway) -> None:
    info = (await gateway.images.UploadImage(image_service_pb2.UploadImageRequest(data=TARGET))).info
    request = race_request(0, entrants=[entrant("a", rounds=1), entrant("b", rounds=1)])
    request.targets.add(image=image_pb2.Image(content_hash=info.content_hash))
    answer = await finished(gateway, (await gateway.races.CreateRace(request)).race.name)
    assert answer.race.targets[0].image == info
    assert all(one.succeeded_count == 1 for one in answer.race.progress)


async def test_seeds_wrap_around(gateway: Gateway) -> None:
    answer = await finished(gateway, (await gateway.races.CreateRace(race_request(2, seed=2**64 - 1))).race.name)
    assert answer.race.seed == 2**64 - 1
    second_target = answer.entries[2]
    stored = await gateway.stub.GetSession(sessions.GetSessionRequest(name=second_target.session))
    assert (second_target.target_index, stored.session.settings.seed) == (1, 0)


async def refused(gateway: Gateway, request: pb.CreateRaceRequest, expected: tuple[Any, ...]) -> None:
    """The call fails so, and leaves nothing behind."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.races.CreateRace(request)
    assert reason_of(caught.value) == expected, request.entrants
    assert not (await gateway.races.ListRaces(pb.ListRacesRequest())).races
    assert not (await gateway.stub.ListSessions(sessions.ListSessionsRequest())).sessions
