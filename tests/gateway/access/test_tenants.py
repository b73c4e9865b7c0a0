"""Two tenants on one gateway: what is the one's is absent for the other, in the same words as what never was."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from likeness.gateway.v1 import image_service_pb2, profile_service_pb2, session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from likeness.types.v1 import image_pb2
from services.gateway.store.database import Database
from tests.gateway import doubles
from tests.gateway.access.keys import Keys, Metadata
from tests.gateway.conftest import TARGET, Gateway

pytestmark = pytest.mark.integration

IMAGE = image_pb2.Image(data=TARGET)


@dataclass
class Tenants:
    """Keys of two tenants."""

    acme: Metadata
    beta: Metadata


@pytest.fixture
async def tenants(closed: Gateway, keys: Keys) -> Tenants:
    """Both may run."""
    return Tenants(await keys.make("acme"), await keys.make("beta"))


async def create(gateway: Gateway, key: Metadata, **fields: Any) -> str:
    """Name of a new session of a tenant."""
    response = await gateway.stub.CreateSession(pb.CreateSessionRequest(target=IMAGE, **fields), metadata=key)
    return str(response.session.name)


async def answer_to(call: Any) -> tuple[Any, ...]:
    """Code and text of a refused call; streams are read."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if hasattr(call, "read"):
            await call.read()
        await call
    return caught.value.code(), caught.value.details()


SESSION_CALLS: dict[str, Callable[[Gateway, str, Metadata], Any]] = {
    "get": lambda gateway, name, key: gateway.stub.GetSession(pb.GetSessionRequest(name=name), metadata=key),
    "delete": lambda gateway, name, key: gateway.stub.DeleteSession(pb.DeleteSessionRequest(name=name), metadata=key),
    "submit": lambda gateway, name, key: gateway.stub.SubmitPrompt(
        pb.SubmitPromptRequest(name=name, prompt="red"), metadata=key
    ),
    "start": lambda gateway, name, key: gateway.stub.StartLoop(pb.StartLoopRequest(name=name), metadata=key),
    "pause": lambda gateway, name, key: gateway.stub.PauseLoop(pb.PauseLoopRequest(name=name), metadata=key),
    "resume": lambda gateway, name, key: gateway.stub.ResumeLoop(pb.ResumeLoopRequest(name=name), metadata=key),
    "cancel": lambda gateway, name, key: gateway.stub.CancelLoop(pb.CancelLoopRequest(name=name), metadata=key),
    "feedback": lambda gateway, name, key: gateway.stub.SubmitFeedback(
        pb.SubmitFeedbackRequest(name=name, text="redder"), metadata=key
    ),
    "rank": lambda gateway, name, key: gateway.stub.RankImages(
        pb.RankImagesRequest(name=name, candidate_ids=["r1c1", "r1c2"]), metadata=key
    ),
    "watch": lambda gateway, name, key: gateway.stub.WatchSession(
        pb.WatchSessionRequest(name=name, until_idle=True), metadata=key
    ),
}


@pytest.mark.parametrize("call", SESSION_CALLS)
async def test_anothers_session_is_as_one_that_never_was(closed: Gateway, tenants: Tenants, call: str) -> None:
    name = await create(closed, tenants.acme)
    absent = f"sessions/{uuid.uuid4().hex}"
    foreign = await answer_to(SESSION_CALLS[call](closed, name, tenants.beta))
    missing = await answer_to(SESSION_CALLS[call](closed, absent, tenants.beta))
    assert foreign[0] is grpc.StatusCode.NOT_FOUND
    assert foreign[1].replace(name, absent) == missing[1] and foreign[0] is missing[0]
    await closed.stub.GetSession(pb.GetSessionRequest(name=name), metadata=tenants.acme)


async def test_lists_have_the_tenants_own(closed: Gateway, tenants: Tenants) -> None:
    mine = await create(closed, tenants.acme)
    theirs = await create(closed, tenants.beta)
    for key, name in ((tenants.acme, mine), (tenants.beta, theirs)):
        listed = await closed.stub.ListSessions(pb.ListSessionsRequest(), metadata=key)
        assert [one.name for one in listed.sessions] == [name]


async def test_pictures_belong_to_those_who_have_their_bytes(
    closed: Gateway, tenants: Tenants, database_url: str
) -> None:
    upload = image_service_pb2.UploadImageRequest(data=TARGET)
    content_hash = (await closed.images.UploadImage(upload, metadata=tenants.acme)).info.content_hash
    get = image_service_pb2.GetImageRequest(content_hash=content_hash)
    by_hash = image_pb2.Image(content_hash=content_hash)
    foreign = await answer_to(closed.images.GetImage(get, metadata=tenants.beta))
    never = image_service_pb2.GetImageRequest(content_hash="0" * 64)
    missing = await answer_to(closed.images.GetImage(never, metadata=tenants.beta))
    assert foreign[0] is grpc.StatusCode.NOT_FOUND and foreign[1].replace(content_hash, "0" * 64) == missing[1]
    refused = await answer_to(closed.stub.CreateSession(pb.CreateSessionRequest(target=by_hash), metadata=tenants.beta))
    assert refused[0] is grpc.StatusCode.NOT_FOUND
    score = image_service_pb2.ScoreImagesRequest(target=IMAGE, candidates=[by_hash], metrics=["pixels"])
    scored = await closed.images.ScoreImages(score, metadata=tenants.beta)
    assert scored.candidates[0].error.reason == "IMAGE_NOT_FOUND"
    start_from = image_service_pb2.GenerateImagesRequest(prompt="red", initial_image=by_hash, strength=0.5)
    assert (await answer_to(closed.images.GenerateImages(start_from, metadata=tenants.beta)))[0] is (
        grpc.StatusCode.NOT_FOUND
    )
    # Whoever has the bytes may have the picture; the two share one object.
    await closed.images.UploadImage(upload, metadata=tenants.beta)
    assert (await closed.images.GetImage(get, metadata=tenants.beta)).data == TARGET
    assert len(closed.parts.objects.data) == 1


async def test_shared_picture_stays_until_the_last_tenant_lets_it_go(closed: Gateway, tenants: Tenants) -> None:
    mine, theirs = await create(closed, tenants.acme), await create(closed, tenants.beta)
    get = image_service_pb2.GetImageRequest(
        content_hash=(
            await closed.stub.GetSession(pb.GetSessionRequest(name=mine), metadata=tenants.acme)
        ).session.target.content_hash
    )
    await closed.stub.DeleteSession(pb.DeleteSessionRequest(name=mine), metadata=tenants.acme)
    assert (await answer_to(closed.images.GetImage(get, metadata=tenants.acme)))[0] is grpc.StatusCode.NOT_FOUND
    assert (await closed.images.GetImage(get, metadata=tenants.beta)).data == TARGET
    await closed.stub.DeleteSession(pb.DeleteSessionRequest(name=theirs), metadata=tenants.beta)
    assert not closed.parts.objects.data


async def test_pictures_of_a_loop_are_the_tenants(closed: Gateway, tenants: Tenants) -> None:
    name = await create(closed, tenants.acme)
    submit = pb.SubmitPromptRequest(name=name, prompt="rgb 200 60 90")
    events = [one.event async for one in closed.stub.SubmitPrompt(submit, metadata=tenants.acme)]
    (made,) = (one.candidate_generated.candidate.image for one in events if one.HasField("candidate_generated"))
    get = image_service_pb2.GetImageRequest(content_hash=made.content_hash)
    assert (await closed.images.GetImage(get, metadata=tenants.acme)).data
    assert (await answer_to(closed.images.GetImage(get, metadata=tenants.beta)))[0] is grpc.StatusCode.NOT_FOUND


async def test_profiles_of_the_same_name_are_two(closed: Gateway, tenants: Tenants) -> None:
    closed.parts.scorer.has_lpips = True
    create_ann = profile_service_pb2.CreateProfileRequest(profile_id="ann", display_name="acme's")
    await closed.profiles.CreateProfile(create_ann, metadata=tenants.acme)
    get = profile_service_pb2.GetProfileRequest(profile_id="ann")
    assert (await answer_to(closed.profiles.GetProfile(get, metadata=tenants.beta)))[0] is grpc.StatusCode.NOT_FOUND
    by_ann = session_pb2.SessionSettings(metrics=["clpips:ann"])
    refused = closed.stub.CreateSession(pb.CreateSessionRequest(target=IMAGE, settings=by_ann), metadata=tenants.beta)
    assert (await answer_to(refused))[0] is grpc.StatusCode.NOT_FOUND
    score = image_service_pb2.ScoreImagesRequest(target=IMAGE, candidates=[IMAGE], metrics=["clpips:ann"])
    assert (await closed.images.ScoreImages(score, metadata=tenants.acme)).candidates[0].scores
    assert (await answer_to(closed.images.ScoreImages(score, metadata=tenants.beta)))[0] is grpc.StatusCode.NOT_FOUND
    create_ann.display_name = "beta's"
    await closed.profiles.CreateProfile(create_ann, metadata=tenants.beta)
    for key, name in ((tenants.acme, "acme's"), (tenants.beta, "beta's")):
        assert (await closed.profiles.GetProfile(get, metadata=key)).profile.display_name == name
    # Fitting the one learns from its tenant's rankings alone, and deleting it leaves the other.
    picture = image_pb2.Image(data=doubles.draw("rgb 10 200 30", 3))
    ranking = profile_service_pb2.RankedPictures(target=IMAGE, pictures=[IMAGE, picture])
    fit = profile_service_pb2.FitProfileRequest(profile_id="ann", rankings=[ranking])
    assert (await closed.profiles.FitProfile(fit, metadata=tenants.acme)).profile.version_count == 2
    assert (await closed.profiles.GetProfile(get, metadata=tenants.beta)).profile.version_count == 1
    delete = profile_service_pb2.DeleteProfileRequest(profile_id="ann")
    await closed.profiles.DeleteProfile(delete, metadata=tenants.beta)
    assert (await closed.profiles.GetProfile(get, metadata=tenants.acme)).profile.ranking_count == 1


async def test_profile_cannot_learn_from_anothers_session(closed: Gateway, tenants: Tenants) -> None:
    closed.parts.scorer.has_lpips = True
    name = await create(closed, tenants.acme)
    await closed.profiles.CreateProfile(
        profile_service_pb2.CreateProfileRequest(profile_id="ben"), metadata=tenants.beta
    )
    fit = profile_service_pb2.FitProfileRequest(profile_id="ben", session_ids=[name.removeprefix("sessions/")])
    assert (await answer_to(closed.profiles.FitProfile(fit, metadata=tenants.beta)))[0] is grpc.StatusCode.NOT_FOUND


async def test_request_ids_of_tenants_do_not_meet(closed: Gateway, tenants: Tenants) -> None:
    request_id = str(uuid.uuid4())
    mine = await create(closed, tenants.acme, request_id=request_id)
    theirs = await create(closed, tenants.beta, request_id=request_id, display_name="other body")
    assert mine != theirs and await create(closed, tenants.acme, request_id=request_id) == mine


async def test_cursor_of_anothers_session_opens_nothing(closed: Gateway, tenants: Tenants) -> None:
    name = await create(closed, tenants.acme)
    watch = pb.WatchSessionRequest(name=name, until_idle=True)
    cursor = [one.event.cursor async for one in closed.stub.WatchSession(watch, metadata=tenants.acme)][-1]
    watch.after_cursor = cursor
    assert (await answer_to(closed.stub.WatchSession(watch, metadata=tenants.beta)))[0] is grpc.StatusCode.NOT_FOUND


async def test_sweep_takes_only_what_its_tenant_does_not_need(
    closed: Gateway, tenants: Tenants, database_url: str
) -> None:
    await closed.leave_chores()
    name = await create(closed, tenants.acme)
    database = Database(database_url)
    async with database.transaction() as connection:
        # As if a gateway of beta had died between deleting a session and collecting its pictures.
        await connection.exec_driver_sql(
            "INSERT INTO image_owners (tenant_id, content_hash) SELECT 'beta', target_hash FROM sessions"
        )
    await database.close()
    assert await closed.server.images.sweep() == 1
    found = await closed.stub.GetSession(pb.GetSessionRequest(name=name), metadata=tenants.acme)
    get = image_service_pb2.GetImageRequest(content_hash=found.session.target.content_hash)
    assert (await closed.images.GetImage(get, metadata=tenants.acme)).data == TARGET
