"""The audit log, and that secrets and prompts stay out of logs and traces."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys

import grpc
import pytest

from likeness.gateway.v1 import admin_service_pb2 as pb
from likeness.gateway.v1 import image_service_pb2, session_service_pb2
from likeness.gateway.v1.admin_service_pb2_grpc import AdminServiceStub
from services.common import tracing
from services.common.telemetry import configure_logging
from services.gateway.access.caller import Scope
from services.gateway.store.database import Database
from tests.collector import Collector
from tests.gateway.access.keys import Keys, bearer, refusal
from tests.gateway.conftest import Gateway, Parts, clear, running

pytestmark = pytest.mark.integration


async def test_every_act_is_recorded_with_who_and_from_where(closed: Gateway, keys: Keys) -> None:
    admin_id, admin_text = await keys.make_text("ops", Scope.ADMIN)
    admin, admins = bearer(admin_text), AdminServiceStub(closed.channel)
    create = pb.CreateKeyRequest(tenant_id="acme", scope=pb.KEY_SCOPE_READ, display_name="report")
    made = await admins.CreateKey(create, metadata=admin)
    rotated = await admins.RotateKey(pb.RotateKeyRequest(key_id=made.key.id), metadata=admin)
    await admins.RevokeKey(pb.RevokeKeyRequest(key_id=made.key.id), metadata=admin)
    limits = pb.TenantLimits(images_per_day=7)
    await admins.SetTenantLimits(pb.SetTenantLimitsRequest(tenant_id="acme", limits=limits), metadata=admin)
    # What failed was not done, and reading is no act.
    await refusal(admins.RevokeKey(pb.RevokeKeyRequest(key_id="0" * 16), metadata=admin))
    await admins.ListKeys(pb.ListKeysRequest(), metadata=admin)
    first = await admins.ListAuditEntries(pb.ListAuditEntriesRequest(page_size=3), metadata=admin)
    rest = pb.ListAuditEntriesRequest(page_size=3, page_token=first.next_page_token)
    second = await admins.ListAuditEntries(rest, metadata=admin)
    entries = [*first.entries, *second.entries]
    assert [(one.action, one.subject) for one in entries] == [
        ("limits.set", "acme"),
        ("keys.revoke", made.key.id),
        ("keys.rotate", made.key.id),
        ("keys.create", made.key.id),
        ("keys.create", admin_id),
    ]
    assert all(one.key_id == admin_id and one.tenant_id == "ops" for one in entries[:4])
    assert all(one.peer.startswith("ipv4:127.0.0.1:") for one in entries[:4])
    assert entries[0].detail == {"images_per_day": "7"} and entries[2].detail["successor"] == rotated.key.id
    assert entries[3].detail == {"tenant_id": "acme", "scope": "read", "display_name": "report"}
    assert sorted((one.sequence for one in entries), reverse=True) == [one.sequence for one in entries]
    texts = str(entries)
    assert made.key_text not in texts and rotated.key_text not in texts


async def test_page_token_of_another_list(gateway: Gateway) -> None:
    admins = AdminServiceStub(gateway.channel)
    for _ in range(2):
        await admins.CreateKey(pb.CreateKeyRequest(tenant_id="a-b", scope=pb.KEY_SCOPE_READ))
    token = (await admins.ListKeys(pb.ListKeysRequest(page_size=1))).next_page_token
    refused = await refusal(admins.ListAuditEntries(pb.ListAuditEntriesRequest(page_token="x" + token)))
    assert refused == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "page_token")


@pytest.mark.parametrize("log_prompts", [False, True])
async def test_no_secret_in_logs_and_traces_and_prompts_only_when_asked(
    database_url: str, capfd: pytest.CaptureFixture[str], collector: Collector, log_prompts: bool
) -> None:
    configure_logging("gateway", "DEBUG")
    tracing.start("gateway", collector.endpoint)
    known = len(collector.text)
    try:
        async with running(database_url, Parts(), require_keys=True, log_prompts=log_prompts) as gateway:
            admin = await Keys(gateway.server).make("ops", Scope.ADMIN)
            admins = AdminServiceStub(gateway.channel)
            made = await admins.CreateKey(pb.CreateKeyRequest(tenant_id="acme", scope=pb.KEY_SCOPE_RUN), metadata=admin)
            rotated = await admins.RotateKey(pb.RotateKeyRequest(key_id=made.key.id), metadata=admin)
            used = bearer(rotated.key_text)
            generate = image_service_pb2.GenerateImagesRequest(prompt="rgb 1 2 3 private words")
            assert [one async for one in gateway.images.GenerateImages(generate, metadata=used)]
            await gateway.stub.ListSessions(session_service_pb2.ListSessionsRequest(), metadata=used)
            # Also where a call fails, and where a secret comes with a mistake.
            bad = bearer(made.key_text + "x")
            await refusal(gateway.stub.ListSessions(session_service_pb2.ListSessionsRequest(), metadata=bad))
            await refusal(admins.ListKeys(pb.ListKeysRequest(page_size=-1), metadata=admin))
    finally:
        logging.getLogger().handlers.clear()
        await asyncio.to_thread(tracing.stop)
    logged, traced = "".join(capfd.readouterr()), collector.text[known:]
    assert "key_created" in logged and "gateway_started" in logged
    assert "ImageService/GenerateImages" in traced
    for text in (admin[0][1], made.key_text, rotated.key_text):
        assert text.rpartition("_")[2] not in logged + traced
    assert ("private words" in logged, "private words" in traced) == (log_prompts, log_prompts)
    await clear(database_url)


async def test_secrets_are_not_in_the_database(closed: Gateway, keys: Keys, database_url: str) -> None:
    _, text = await keys.make_text()
    database = Database(database_url)
    async with database.query() as connection:
        rows = (await connection.exec_driver_sql("SELECT api_keys::text FROM api_keys")).scalars().all()
    await database.close()
    assert rows and text.rpartition("_")[2] not in "".join(rows)


async def test_first_admin_key_needs_the_database_alone(closed: Gateway, database_url: str) -> None:
    command = [sys.executable, "-m", "services.gateway.access.bootstrap", "--tenant", "ops", "--name", "first"]
    environment = {**os.environ, "LIKENESS_DATABASE_URL": database_url}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    made = json.loads(done.stdout)
    admins = AdminServiceStub(closed.channel)
    entries = (await admins.ListAuditEntries(pb.ListAuditEntriesRequest(), metadata=bearer(made["key_text"]))).entries
    assert [(one.action, one.subject, one.peer) for one in entries] == [("keys.create", made["id"], "database")]
    del environment["LIKENESS_DATABASE_URL"]
    failed = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert failed.returncode == 1 and json.loads(failed.stdout)["field"] == "LIKENESS_DATABASE_URL"
