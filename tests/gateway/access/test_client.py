"""Administration through the SDK and the command line, against a real gateway."""

from __future__ import annotations

import asyncio
import json

import pytest

from likeness import (
    AsyncClient,
    FailedPrecondition,
    KeyScope,
    NotFound,
    Overloaded,
    PermissionDenied,
    RetryPolicy,
    TenantLimits,
    Unauthenticated,
)
from likeness.cli.main import main
from services.gateway.access.caller import Scope
from tests.gateway.access.keys import Keys
from tests.gateway.conftest import Gateway

pytestmark = pytest.mark.integration

Capture = pytest.CaptureFixture[str]
ONCE = RetryPolicy(attempts=1)


@pytest.fixture
async def admin_key(closed: Gateway, keys: Keys) -> str:
    """Text of an admin key."""
    return (await keys.make_text("ops", Scope.ADMIN))[1]


@pytest.fixture
def address(closed: Gateway) -> str:
    """Of the gateway."""
    return f"127.0.0.1:{closed.server.port}"


async def test_sdk(address: str, admin_key: str) -> None:
    async with AsyncClient(address, api_key=admin_key, retry=ONCE) as admin:
        new = await admin.create_key("acme", scope=KeyScope.READ, display_name="report")
        assert new.key.scope is KeyScope.READ and new.text not in repr(new)
        assert new.key in [key async for key in admin.api_keys(tenant_id="acme", page_size=1)]
        async with AsyncClient(address, api_key=new.text, retry=ONCE) as reader:
            assert [one async for one in reader.list_sessions()] == []
            with pytest.raises(PermissionDenied) as narrow:
                await reader.upload_image(b"x")
            assert narrow.value.reason == "SCOPE_TOO_NARROW" and narrow.value.metadata["needed"] == "run"
        rotated = await admin.rotate_key(new.key, grace_seconds=60)
        assert rotated.replaced is not None and rotated.replaced.successor == rotated.key.id
        with pytest.raises(FailedPrecondition):
            await admin.rotate_key(new.key)
        await admin.revoke_key(rotated.key)
        with pytest.raises(NotFound):
            await admin.revoke_key("0" * 16)
        assert await admin.set_tenant_limits("acme", TenantLimits(requests_per_second=0.001)) == TenantLimits(
            0.001, 0, 0, 0.0
        )
        state = await admin.tenant("acme")
        assert state.limits == TenantLimits(requests_per_second=0.001) and state.images == 0
        limited = await admin.create_key("acme")
        async with AsyncClient(address, api_key=limited.text, retry=ONCE) as client:
            assert [one async for one in client.list_sessions()] == []
            with pytest.raises(Overloaded) as caught:
                [one async for one in client.list_sessions()]
            assert caught.value.reason == "RATE_LIMITED" and caught.value.retry_after_seconds
        acts = [entry.action async for entry in admin.audit_entries(page_size=2)]
        assert acts[:2] == ["keys.create", "limits.set"] and len(acts) == 6
    async with AsyncClient(address, api_key="", retry=ONCE) as nobody:
        with pytest.raises(Unauthenticated):
            [one async for one in nobody.list_sessions()]


async def test_key_of_the_environment(address: str, admin_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_API_KEY", admin_key)
    async with AsyncClient(address, retry=ONCE) as client:
        assert [key.tenant_id async for key in client.api_keys()] == ["ops"]
    async with AsyncClient(address, api_key="", retry=ONCE) as client:
        with pytest.raises(Unauthenticated):
            await client.tenant("ops")


async def test_command_line(address: str, admin_key: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("LIKENESS_ADDRESS", address)

    async def run(*args: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, list(args))
        said = capsys.readouterr()
        return code, said.out, said.err

    code, _, problem = await run("keys", "list")
    assert code == 1 and "KEY_MISSING" in problem and "LIKENESS_API_KEY" in problem
    monkeypatch.setenv("LIKENESS_API_KEY", admin_key)
    code, said, _ = await run("keys", "create", "--tenant", "acme", "--scope", "run", "--name", "batch", "--json")
    made = json.loads(said)
    assert code == 0 and made["text"].startswith(f"lk_{made['key']['id']}_") and made["key"]["scope"] == "run"
    key_id = made["key"]["id"]
    _, said, _ = await run("keys", "rotate", key_id, "--grace", "3600")
    successor = said.split("_")[1]
    assert f"{key_id} works until" in said
    assert (await run("keys", "revoke", key_id, successor))[1] == f"{key_id} revoked\n{successor} revoked\n"
    _, said, _ = await run("keys", "list", "--tenant", "acme")
    assert [line.split()[3] for line in said.splitlines()[1:]] == ["revoked", "revoked"]
    _, said, _ = await run("tenant", "acme", "--images-per-day", "100", "--requests-per-second", "2.5")
    assert [line.split() for line in said.splitlines()[1:]] == [
        ["requests", "per", "second", "2.5", "own"],
        ["concurrent", "calls", "none"],
        ["images", "per", "day", "100", "0", "own"],
        ["megapixels", "per", "day", "none", "0.0"],
    ]
    _, said, _ = await run("tenant", "acme", "--images-per-day", "default", "--json")
    assert json.loads(said)["limits"]["images_per_day"] is None
    assert json.loads(said)["limits"]["requests_per_second"] == 2.5
    assert (await run("tenant", "acme", "--images-per-day", "many"))[0] == 2
    _, said, _ = await run("audit", "--limit", "2", "--json")
    assert [json.loads(line)["action"] for line in said.splitlines()] == ["limits.set", "limits.set"]
    assert "keys.rotate" in (await run("audit"))[1]


async def test_first_key_by_the_command_line(
    closed: Gateway, address: str, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("LIKENESS_DATABASE_URL", database_url)
    assert await asyncio.to_thread(main, ["keys", "create", "--bootstrap", "--tenant", "ops", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    async with AsyncClient(address, api_key=made["key_text"], retry=ONCE) as client:
        assert [key.id async for key in client.api_keys()] == [made["id"]]
    assert await asyncio.to_thread(main, ["keys", "create", "--bootstrap", "--scope", "read"]) == 2
    monkeypatch.delenv("LIKENESS_DATABASE_URL")
    assert await asyncio.to_thread(main, ["keys", "create", "--bootstrap"]) == 1
    assert "LIKENESS_DATABASE_URL" in capsys.readouterr().err
