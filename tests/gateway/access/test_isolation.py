"""Every method of the gateway against every way to name what is another tenant's: the answer is as for what never was.

A method or a text field that is added to the contracts fails here until `naming.py` says what it can name.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor

from likeness._errors import is_own_failure
from likeness.gateway.v1 import evaluation_pb2, image_service_pb2, profile_service_pb2, race_service_pb2
from likeness.gateway.v1 import evaluation_service_pb2 as eval_pb
from likeness.gateway.v1 import session_service_pb2 as pb
from likeness.types.v1 import image_pb2
from reliability.messages import methods
from services.gateway.access.caller import Scope
from services.gateway.profiles.model import METRIC_PREFIX
from services.gateway.sessions import tokens
from tests.gateway import doubles
from tests.gateway.access import naming
from tests.gateway.access.keys import Keys, Metadata
from tests.gateway.access.naming import IMAGE, WAYS, Party, Way
from tests.gateway.conftest import Gateway, Parts, running
from tests.gateway.evaluations.manifesting import jsonl, pair
from tests.gateway.evaluations.streaming import METRICS
from tests.gateway.failures import reason_of
from tests.gateway.races.racing import entrant, race_request

pytestmark = [pytest.mark.integration, pytest.mark.timeout(420)]

LOOP = pytest.mark.asyncio(loop_scope="module")

ABSENT = {
    "session": f"sessions/{uuid.uuid4().hex}",
    "session id": uuid.uuid4().hex,
    "cursor": tokens.encode_cursor(uuid.uuid4().hex, 1),
    "candidate": "r9c9",
    "image": "0" * 64,
    "part": "1" * 64,
    "profile": "nobody",
    "metric": f"{METRIC_PREFIX}nobody",
    "race": f"races/{uuid.uuid4().hex}",
    "evaluation": f"evaluations/{uuid.uuid4().hex}",
}
"""A thing of each kind that never was."""
NOT_REMEMBERED = {"GenerateImages"}
"""Methods whose request id fixes seeds, and under which nothing is stored."""
ABSENT_IS_FINE = {"DeleteProfile"}
"""Methods that succeed on what is not there."""
METHODS: Mapping[str, MethodDescriptor] = {
    method.name: method for method in methods() if method.containing_service.name != "AdminService"
}
"""Every method that tenants may call. Those of AdminService reach all tenants, and need its scope."""


def with_field(name: str) -> list[str]:
    """Methods whose request, or a stream's first one, has a field of this name."""
    return [
        method for method, descriptor in METHODS.items() if {name, f"config.{name}"} & naming.text_fields(descriptor)
    ]


async def send(gateway: Gateway, method: MethodDescriptor, request: Any, key: Metadata) -> tuple[str, str, list[Any]]:
    """Code, text or reason, and answers of a call."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    reader = message_factory.GetMessageClass(method.output_type).FromString
    how = {"request_serializer": lambda message: message.SerializeToString(), "response_deserializer": reader}
    answers: list[Any] = []
    try:
        if method.client_streaming:
            call = gateway.channel.stream_stream(path, **how)(iter(request), metadata=key)
        elif method.server_streaming:
            call = gateway.channel.unary_stream(path, **how)(request, metadata=key)
        else:
            return "OK", "", [await gateway.channel.unary_unary(path, **how)(request, metadata=key)]
        async for answer in call:
            answers.append(answer)  # noqa: PERF401 - what came before a failure counts
    except grpc.aio.AioRpcError as error:
        if is_own_failure(error):
            return await send(gateway, method, request, key)
        return error.code().name, f"{reason_of(error)[1:]} {error.details()}", answers
    return "OK", "", answers


def items_of(answers: list[Any]) -> str:
    """What is said of single items, without what differs from call to call."""
    results = [one for answer in answers for one in getattr(getattr(answer, "results", None), "results", ())]
    return str([one.error for one in results] or [getattr(answer, "candidates", None) for answer in answers])


async def party(gateway: Gateway, key: Metadata, name: str, *, rounds: int) -> Party:
    """A tenant with one thing of each kind, and two where there are lists."""
    picture = doubles.draw("rgb 9 90 9", sum(name.encode()))
    upload = image_service_pb2.UploadImageRequest(data=picture)
    image = (await gateway.images.UploadImage(upload, metadata=key)).info.content_hash
    for _ in range(2):
        created = await gateway.stub.CreateSession(pb.CreateSessionRequest(target=IMAGE), metadata=key)
        session = created.session.name
        for _ in range(rounds):
            submit = pb.SubmitPromptRequest(name=session, prompt="rgb 200 60 90", image_count=2)
            events = [one.event async for one in gateway.stub.SubmitPrompt(submit, metadata=key)]
        request = race_request(1, entrants=[entrant("a", rounds=1), entrant("b", rounds=1)])
        race = (await gateway.races.CreateRace(request, metadata=key)).race.name
        assert [
            one async for one in gateway.races.WatchRace(race_service_pb2.WatchRaceRequest(name=race), metadata=key)
        ]
        settings = evaluation_pb2.EvaluationSettings(metrics=METRICS)
        config = eval_pb.StreamEvaluationsConfig(settings=settings)
        stream = gateway.evaluations.StreamEvaluations(
            iter([eval_pb.StreamEvaluationsRequest(config=config)]), metadata=key
        )
        (opened, *_) = [one async for one in stream]
        evaluation = opened.opened.evaluation.name
    rows = jsonl([pair(len(name), item_id=name)])
    part = await gateway.evaluations.UploadManifestPart(eval_pb.UploadManifestPartRequest(data=rows), metadata=key)
    ranking = profile_service_pb2.RankedPictures(target=IMAGE, pictures=[image_pb2.Image(data=picture), IMAGE])
    # Both tenants have one of the name "both".
    for profile in ("both", name):
        create = profile_service_pb2.CreateProfileRequest(profile_id=profile)
        await gateway.profiles.CreateProfile(create, metadata=key)
        fit = profile_service_pb2.FitProfileRequest(profile_id=profile, rankings=[ranking])
        await gateway.profiles.FitProfile(fit, metadata=key)
    things = {
        "session": session,
        "session id": session.removeprefix("sessions/"),
        "cursor": events[-1].cursor,
        "candidate": f"r{rounds}c1",
        "image": image,
        "part": part.content_hash,
        "profile": name,
        "metric": METRIC_PREFIX + name,
        "race": race,
        "evaluation": evaluation,
    }
    return Party(key, things)


@dataclass(frozen=True)
class World:
    """A gateway and two tenants that have the same kinds of things."""

    gateway: Gateway
    acme: Party
    beta: Party


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(database_url: str) -> AsyncIterator[World]:
    """One for all tests here, since it takes long to make; the last of them uses it up."""
    parts = Parts()
    parts.scorer.has_lpips = True
    async with running(database_url, parts, require_keys=True) as gateway:
        keys = Keys(gateway.server)
        acme = await party(gateway, await keys.make("acme"), "ann", rounds=2)
        yield World(gateway, acme, await party(gateway, await keys.make("beta"), "ben", rounds=1))


def test_every_way_to_name_something_is_known() -> None:
    for name, method in METHODS.items():
        fields = {field for field in naming.text_fields(method) if field.rpartition(".")[2] not in naming.WORDS}
        fields = {
            one for one in fields if one.rpartition(".")[2] not in naming.ELSEWHERE and (name, one) not in naming.MADE
        }
        assert fields == {way.field for way in WAYS if way.method == name}, f"say in naming.py what {name} can name"
        lists_only = not fields and name in with_field("page_token")
        assert bool(fields) != (name in naming.NAMELESS) or lists_only, name


async def told_apart(gateway: Gateway, way: Way, owner: Party, other: Party) -> str:
    """How another's thing and one that never was are told apart; "" if they are not."""
    method = METHODS[way.method]
    foreign = await send(gateway, method, way.request(other, owner[way.kind]), other.key)
    absent = await send(gateway, method, way.request(other, ABSENT[way.kind]), other.key)
    at = f"{way.method} {way.field} ({way.kind})"
    # A metric of a profile is absent as the profile is.
    mine, nobodys = owner[way.kind].removeprefix(METRIC_PREFIX), ABSENT[way.kind].removeprefix(METRIC_PREFIX)
    if foreign[0] != absent[0] or foreign[1].replace(mine, nobodys) != absent[1]:
        return f"{at}: {foreign[:2]} and {absent[:2]}"
    if foreign[0] == "OK" and way.method not in ABSENT_IS_FINE:
        said = items_of(foreign[2]).replace(mine, nobodys)
        return "" if said == items_of(absent[2]) and "NOT_FOUND" in said else f"{at}: {said}"
    wanted = {"cursor": "INVALID_ARGUMENT"}.get(way.kind, "NOT_FOUND")
    return "" if foreign[0] == ("OK" if way.method in ABSENT_IS_FINE else wanted) else f"{at}: {foreign[:2]}"


async def reaches(gateway: Gateway, way: Way, owner: Party) -> bool:
    """Whether the owner's own request finds the thing."""
    code, _, answers = await send(gateway, METHODS[way.method], way.request(owner, owner[way.kind]), owner.key)
    return "NOT_FOUND" not in (items_of(answers) if code == "OK" else code) and code != "INVALID_ARGUMENT"


async def everything(gateway: Gateway, owner: Party) -> list[str]:
    """All that a tenant can list."""
    found = []
    for name in sorted(with_field("page_token")):
        _, _, answers = await send(gateway, METHODS[name], listing(name), owner.key)
        found.append(str(answers))
    return found


def listing(name: str, **fields: Any) -> Any:
    """The request of a method that lists; versions are those of the profile that both tenants have by the same name."""
    request = message_factory.GetMessageClass(METHODS[name].input_type)(**fields)
    if name == "ListProfileVersions":
        request.profile_id = "both"
    return request


@LOOP
async def test_page_tokens_of_another_show_nothing_of_its(world: World) -> None:
    closed, acme, beta = world.gateway, world.acme, world.beta
    lists = with_field("page_token")
    assert len(lists) >= 5
    for name in lists:
        _, _, (first,) = await send(closed, METHODS[name], listing(name, page_size=1), acme.key)
        rest = listing(name, page_token=first.next_page_token)
        _, _, (second,) = await send(closed, METHODS[name], rest, acme.key)
        assert first.next_page_token and entries(second), name
        _, _, (all_of_beta,) = await send(closed, METHODS[name], listing(name), beta.key)
        code, _, answers = await send(closed, METHODS[name], rest, beta.key)
        shown = {one for answer in answers for one in entries(answer)}
        assert code == "OK" and shown <= entries(all_of_beta), name


def entries(answer: Any) -> set[str]:
    """What a page lists."""
    return {str(one) for field, value in answer.ListFields() if field.name != "next_page_token" for one in value}


@LOOP
async def test_administration_needs_its_scope(world: World) -> None:
    closed, key = world.gateway, await Keys(world.gateway.server).make(scope=Scope.RUN)
    administration = [method for method in methods() if method.name not in METHODS]
    assert len(administration) >= 7
    for method in administration:
        request = message_factory.GetMessageClass(method.input_type)()
        code, said, _ = await send(closed, method, request, key)
        assert (code, "SCOPE_TOO_NARROW" in said) == ("PERMISSION_DENIED", True), method.name


@LOOP
async def test_what_is_anothers_is_as_what_never_was(world: World) -> None:
    closed, acme, beta = world.gateway, world.acme, world.beta
    before = await everything(closed, acme)
    wrong = [problem for way in WAYS if (problem := await told_apart(closed, way, acme, beta))]
    assert not wrong, "\n".join(wrong)
    assert await everything(closed, acme) == before
    # The same requests reach the same things when their owner sends them; so they did name something.
    unreached = [f"{way.method} {way.field}" for way in WAYS if not await reaches(closed, way, acme)]
    assert unreached == ["GetImage content_hash", "CreateEvaluation manifest.parts.content_hashes"], (
        "a part of a manifest is no picture, and the other way round"
    )


@LOOP
async def test_request_ids_of_tenants_do_not_meet(world: World) -> None:
    closed, beta = world.gateway, world.beta
    remembered = [name for name in with_field("request_id") if name not in NOT_REMEMBERED]
    # In the order of the ways: what ends things comes last.
    order = {way.method: index for index, way in reversed(list(enumerate(WAYS)))}
    for name in sorted(remembered, key=lambda one: order[one]):
        own, others = str(uuid.uuid4()), str(uuid.uuid4())
        for tenant_id, request_id in (("beta", own), ("acme", others)):
            # As if the tenant had sent another request with the id before.
            await closed.execute(
                "INSERT INTO requests (tenant_id, request_id, digest, answer, expire_time)"
                f" VALUES ('{tenant_id}', '{request_id}', 'another', '{{}}', now() + interval '1 hour')"
            )
        assert "REQUEST_ID_REUSED" in (await with_id(closed, name, beta, own))[1], name
        assert "REQUEST_ID_REUSED" not in (await with_id(closed, name, beta, others))[1], name


async def with_id(gateway: Gateway, name: str, caller: Party, request_id: str) -> tuple[str, str, list[Any]]:
    """The answer to a request of somebody who names its own thing."""
    way = next(one for one in WAYS if one.method == name)
    request = way.request(caller, caller[way.kind])
    (request[0].config if isinstance(request, list) else request).request_id = request_id
    return await send(gateway, METHODS[name], request, caller.key)
