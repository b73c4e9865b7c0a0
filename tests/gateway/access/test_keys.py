"""Calls with keys: none, wrong ones, scopes, rotation, revocation on another gateway."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from likeness.gateway.v1 import admin_service_pb2 as pb
from likeness.gateway.v1 import session_service_pb2
from likeness.gateway.v1.admin_service_pb2_grpc import AdminServiceStub
from services.gateway.access.caller import Scope
from services.gateway.access.keys import new_key, read_key
from services.gateway.health import HealthMonitor
from services.gateway.rpc.interceptors import CallInterceptor
from tests.gateway.access.keys import Keys, bearer, refusal
from tests.gateway.conftest import Gateway, Parts, running

pytestmark = pytest.mark.integration

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
LIST = session_service_pb2.ListSessionsRequest()


def test_secret_is_random_and_only_its_hash_is_kept() -> None:
    one, other = new_key(), new_key()
    assert one.text != other.text and one.secret_hash != other.secret_hash
    presented = read_key(one.text)
    assert presented is not None and presented.id == one.id
    assert presented.matches(one.secret_hash) and not presented.matches(other.secret_hash)
    assert one.text not in repr(one) and one.text.rpartition("_")[2] not in repr(presented)


@pytest.mark.parametrize("text", ["", "lk_", "lk_0123456789abcdef_", "lk_0123456789ABCDEF_" + "0" * 64, "x" * 4000])
def test_what_is_no_key_is_not_read_as_one(text: str) -> None:
    assert read_key(text) is None


async def test_call_without_a_key_is_refused(closed: Gateway) -> None:
    assert await refusal(closed.stub.ListSessions(LIST)) == (UNAUTHENTICATED, "KEY_MISSING")
    stream = closed.stub.WatchSession(session_service_pb2.WatchSessionRequest(name="sessions/x"))
    assert await refusal(stream.read()) == (UNAUTHENTICATED, "KEY_MISSING")


async def test_wrong_keys_are_refused_alike(closed: Gateway, keys: Keys) -> None:
    id_, text = await keys.make_text()
    await closed.stub.ListSessions(LIST, metadata=bearer(text))
    wrong_secret = f"lk_{id_}_{'0' * 64}"
    unknown = f"lk_{'0' * 16}_{text.rpartition('_')[2]}"
    answers = []
    for sent in (wrong_secret, unknown):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await closed.stub.ListSessions(LIST, metadata=bearer(sent))
        answers.append((caught.value.code(), caught.value.details()))
    assert answers == [(UNAUTHENTICATED, "the API key is not known")] * 2
    other_scheme = (("authorization", f"Basic {text}"),)
    assert await refusal(closed.stub.ListSessions(LIST, metadata=other_scheme)) == (UNAUTHENTICATED, "KEY_INVALID")


async def test_scopes(closed: Gateway, keys: Keys) -> None:
    read, run, admin = [await keys.make(scope=scope) for scope in (Scope.READ, Scope.RUN, Scope.ADMIN)]
    create = session_service_pb2.DeleteSessionRequest(name="sessions/absent")
    admins = AdminServiceStub(closed.channel)
    too_narrow = (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_TOO_NARROW")
    await closed.stub.ListSessions(LIST, metadata=read)
    assert await refusal(closed.stub.DeleteSession(create, metadata=read)) == too_narrow
    assert (await refusal(closed.stub.DeleteSession(create, metadata=run)))[1] == "SESSION_NOT_FOUND"
    assert await refusal(admins.ListKeys(pb.ListKeysRequest(), metadata=run)) == too_narrow
    await admins.ListKeys(pb.ListKeysRequest(), metadata=admin)
    await closed.stub.ListSessions(LIST, metadata=admin)


async def test_health_and_reflection_answer_without_a_key(closed: Gateway) -> None:
    method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    ask = closed.channel.stream_stream(
        method,
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    call = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    names = [one.name async for answer in call for one in answer.list_services_response.service]
    assert "likeness.gateway.v1.AdminService" in names
    # app.py adds the health service; here it stands behind the same gate by itself.
    monitor = HealthMonitor({})
    server = grpc.aio.server(interceptors=(CallInterceptor(closed.server.access.gate.admitted),))
    health_pb2_grpc.add_HealthServicer_to_server(monitor.servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await monitor.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await monitor.stop()
    await server.stop(None)


async def test_keys_are_off_on_loopback_unless_sent(gateway: Gateway) -> None:
    await gateway.stub.ListSessions(LIST)
    name = await gateway.create()
    text = (await Keys(gateway.server).make_text("acme"))[1]
    found = await gateway.stub.ListSessions(LIST, metadata=bearer(text))
    assert not found.sessions and (await gateway.stub.ListSessions(LIST)).sessions[0].name == name
    wrong = bearer(f"lk_{'0' * 16}_{'0' * 64}")
    assert await refusal(gateway.stub.ListSessions(LIST, metadata=wrong)) == (UNAUTHENTICATED, "KEY_INVALID")


async def test_rotated_key_works_until_its_grace_period_is_over(closed: Gateway, keys: Keys) -> None:
    admin, admins = await keys.make("ops", Scope.ADMIN), AdminServiceStub(closed.channel)
    id_, old = await keys.make_text()
    request = pb.RotateKeyRequest(key_id=id_, grace_period=Duration(seconds=3600))
    rotated = await admins.RotateKey(request, metadata=admin)
    assert rotated.key.tenant_id == "acme" and rotated.key.scope == pb.KEY_SCOPE_RUN
    assert rotated.rotated.successor == rotated.key.id and rotated.rotated.HasField("expire_time")
    for text in (old, rotated.key_text):
        await closed.stub.ListSessions(LIST, metadata=bearer(text))
    again = await refusal(admins.RotateKey(request, metadata=admin))
    assert again[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "KEY_NOT_ACTIVE")
    # Without grace the old one ends at once, also where it is known from a moment ago.
    await closed.stub.ListSessions(LIST, metadata=bearer(rotated.key_text))
    at_once = pb.RotateKeyRequest(key_id=rotated.key.id, grace_period=Duration())
    newest = await admins.RotateKey(at_once, metadata=admin)
    await _until_refused(closed, rotated.key_text, "KEY_EXPIRED")
    await closed.stub.ListSessions(LIST, metadata=bearer(newest.key_text))


async def test_revoked_key_is_refused_by_every_gateway(closed: Gateway, keys: Keys, database_url: str) -> None:
    admin, admins = await keys.make("ops", Scope.ADMIN), AdminServiceStub(closed.channel)
    id_, text = await keys.make_text()
    async with running(database_url, Parts(), require_keys=True) as other:
        await other.stub.ListSessions(LIST, metadata=bearer(text))
        revoked = await admins.RevokeKey(pb.RevokeKeyRequest(key_id=id_), metadata=admin)
        assert revoked.key.HasField("revoke_time")
        for gateway in (closed, other):
            await _until_refused(gateway, text, "KEY_REVOKED")
    same = await admins.RevokeKey(pb.RevokeKeyRequest(key_id=id_), metadata=admin)
    assert same.key.revoke_time == revoked.key.revoke_time


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.CreateKeyRequest(tenant_id="Acme", scope=pb.KEY_SCOPE_RUN), "tenant_id"),
        (pb.CreateKeyRequest(tenant_id="", scope=pb.KEY_SCOPE_RUN), "tenant_id"),
        (pb.CreateKeyRequest(tenant_id="acme"), "scope"),
        (pb.CreateKeyRequest(tenant_id="acme", scope=9), "scope"),
        (pb.CreateKeyRequest(tenant_id="acme", scope=pb.KEY_SCOPE_RUN, display_name="x" * 201), "display_name"),
    ],
)
async def test_bad_requests_for_keys(gateway: Gateway, request_: pb.CreateKeyRequest, field: str) -> None:
    refused = await refusal(AdminServiceStub(gateway.channel).CreateKey(request_))
    assert refused == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field)


async def test_keys_are_listed_in_pages_without_their_texts(closed: Gateway, keys: Keys) -> None:
    admin, admins = await keys.make("ops", Scope.ADMIN), AdminServiceStub(closed.channel)
    made = [(await keys.make_text("acme"))[0] for _ in range(3)]
    first = await admins.ListKeys(pb.ListKeysRequest(tenant_id="acme", page_size=2), metadata=admin)
    rest = pb.ListKeysRequest(tenant_id="acme", page_size=2, page_token=first.next_page_token)
    second = await admins.ListKeys(rest, metadata=admin)
    assert [one.id for one in (*first.keys, *second.keys)] == made[::-1] and not second.next_page_token
    everybody = await admins.ListKeys(pb.ListKeysRequest(), metadata=admin)
    assert {one.tenant_id for one in everybody.keys} == {"acme", "ops"}


async def _until_refused(gateway: Gateway, text: str, reason: str) -> None:
    """Notifications need a moment; the test's timeout bounds the wait."""
    while True:
        try:
            await gateway.stub.ListSessions(LIST, metadata=bearer(text))
        except grpc.aio.AioRpcError as error:
            assert error.code() is UNAUTHENTICATED and reason in str(error.trailing_metadata())
            return
        await asyncio.sleep(0.02)
