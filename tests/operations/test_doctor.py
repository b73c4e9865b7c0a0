"""`likeness doctor` on a real deployment: whole, and with each part gone."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from likeness import AsyncClient, Health
from reliability.deployment import BACKENDS, Deployment, deployed
from services.common.settings import Settings
from services.gateway.access.bootstrap import create_admin_key


async def doctor(deployment: Deployment, *options: str, **settings: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and findings, on the deployment's host under its settings."""
    (gateway,) = deployment.gateways
    command = [sys.executable, "-m", "likeness.cli.main", "doctor", "--json", "--address", gateway.address, *options]
    environment = dict(gateway.environment) | {f"LIKENESS_{name.upper()}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)
    said, _ = await process.communicate()
    return process.returncode or 0, [json.loads(line) for line in said.splitlines()]


def bad(findings: list[dict[str, Any]]) -> dict[str, str]:
    """Messages of warnings and problems by check; of several one."""
    return {one["check"]: one["message"] for one in findings if one["state"] in ("warning", "problem")}


async def test_a_whole_deployment(deployment: Deployment) -> None:
    code, findings = await doctor(deployment, "--deep")
    assert (code, bad(findings)) == (0, {})
    checks = {one["check"] for one in findings}
    assert checks >= {"address", "port", "gateway", "version", "clock", *BACKENDS, "database", "cache", "object_store"}
    assert checks >= {
        "models",
        "metrics",
        "strategies",
        "generate",
        "score",
        "settings",
        "profile",
        "disk",
        "migrations",
    }


@pytest.mark.parametrize("name", BACKENDS)
async def test_a_backend_is_gone(deployment: Deployment, name: str) -> None:
    await deployment.kill(name)
    await deployment.gateways[0].wait_health("NOT_SERVING")
    code, findings = await doctor(deployment)
    assert code == 1 and name in bad(findings)
    (found,) = (one for one in findings if one["check"] == name)
    assert "start it again" in found["advice"]
    others = {"database", "cache", "object_store", *BACKENDS} - {name}
    assert not others & bad(findings).keys()


async def test_redis_is_gone(deployment: Deployment) -> None:
    await deployment.kill("redis")
    async with asyncio.timeout(60), AsyncClient(deployment.gateways[0].address) as client:
        while (await client.status()).health is not Health.DEGRADED:
            await asyncio.sleep(0.2)
    code, findings = await doctor(deployment)
    assert code == 0, "requests go on"
    found = [one for one in findings if one["check"] == "cache"]
    assert [one["state"] for one in found] == ["warning", "warning"], "seen by the gateway and from this machine"
    assert "LIKENESS_REDIS_URL" in found[0]["advice"]


async def test_the_database_is_gone(deployment: Deployment) -> None:
    await deployment.kill("postgres")
    await deployment.gateways[0].wait_health("NOT_SERVING")
    code, findings = await doctor(deployment)
    found = [one for one in findings if one["check"] == "database"]
    assert code == 1 and [one["state"] for one in found] == ["problem", "problem"]
    assert "the database does not answer" in found[1]["message"] and "LIKENESS_DATABASE_URL" in found[1]["advice"]
    assert "migrations" not in {one["check"] for one in findings}


async def test_the_gateway_is_gone(deployment: Deployment) -> None:
    await deployment.kill(deployment.gateways[0].name)
    code, findings = await doctor(deployment)
    assert code == 1 and "nothing listens" in bad(findings)["port"]
    states = {one["check"]: one["state"] for one in findings}
    assert states["models"] == "skipped" and states["migrations"] == "ok", "the host is looked at all the same"


@pytest.mark.parametrize(("revision", "state", "said"), [("0003", "warning", "wants"), ("9999", "problem", "not know")])
async def test_tables_of_another_version(deployment: Deployment, revision: str, state: str, said: str) -> None:
    before = await set_revision(deployment, revision)
    try:
        _, findings = await doctor(deployment)
    finally:
        await set_revision(deployment, before)
    (found,) = (one for one in findings if one["check"] == "migrations")
    assert found["state"] == state and revision in found["message"] and said in found["message"]


async def test_a_deployment_with_keys() -> None:
    async with deployed(settings={"require_keys": True}) as closed:
        assert (await unanswered(closed))[0].endswith("'authorization: Bearer KEY'")
        admin = await create_admin_key(Settings(database_url=closed.database_url), "ops", "")
        async with AsyncClient(closed.address(), api_key=admin["key_text"]) as client:
            first = await client.create_key("acme")
            second = await client.rotate_key(first.key, grace_seconds=0)
            code, findings = await doctor(closed, api_key=second.text)
            assert (code, bad(findings)) == (0, {})
            said, advice = await unanswered(closed, api_key=first.text)
            assert "its grace period is over" in said and "for a new one" in advice
            await client.revoke_key(second.key)
        said, advice = await unanswered(closed, api_key=second.text)
        assert "was revoked" in said and "for a new one" in advice


async def unanswered(deployment: Deployment, **settings: str) -> tuple[str, str]:
    """What is said, and advised, of a gateway that does not let the doctor in."""
    code, findings = await doctor(deployment, **settings)
    (found,) = (one for one in findings if one["check"] == "gateway")
    assert (code, found["state"]) == (1, "problem")
    return found["message"], found["advice"]


async def set_revision(deployment: Deployment, revision: str) -> str:
    """Writes what the database says of its tables, and returns what it said before."""
    engine = create_async_engine(deployment.database_url, poolclass=NullPool)
    async with engine.begin() as connection:
        before = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
        await connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    await engine.dispose()
    return str(before)
