"""TLS and mutual TLS over real sockets, and the settings that are refused at the start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from likeness import AsyncClient, RetryPolicy, Tls, Unauthenticated, Unavailable
from services.common.errors import InvalidInputError
from services.common.settings import Settings
from services.gateway.listening import is_loopback, listen, requires_keys
from services.gateway.server import GatewayServer
from tests.gateway.access.certificates import Authority
from tests.gateway.access.keys import Keys
from tests.gateway.conftest import Parts, clear, running

pytestmark = pytest.mark.integration

ONCE = RetryPolicy(attempts=1)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whom clients and gateway trust."""
    return Authority(tmp_path, "authority")


def tls_settings(authority: Authority, **more: object) -> dict[str, Any]:
    """Settings of a gateway with a certificate."""
    pair = authority.sign("gateway")
    return {"tls_certificate": pair.certificate, "tls_key": pair.key, **more}


@asynccontextmanager
async def ended() -> AsyncIterator[grpc.aio.Server]:
    """A server that ends in order: gRPC may crash the process when it drops one that never started."""
    server = grpc.aio.server()
    try:
        yield server
    finally:
        await server.start()
        await server.stop(None)


async def sessions(server: GatewayServer, tls: Tls | None, api_key: str = "") -> list[Any]:
    """What a client of the SDK lists."""
    client = AsyncClient(f"127.0.0.1:{server.port}", tls=tls, api_key=api_key, retry=ONCE, timeout_seconds=10)
    async with client:
        return [one async for one in client.list_sessions()]


async def test_tls(database_url: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(database_url, Parts(), require_keys=True, **tls_settings(authority)) as gateway:
        _, text = await Keys(gateway.server).make_text()
        trusting = Tls(root_certificates=authority.certificate)
        assert await sessions(gateway.server, trusting, text) == []
        with pytest.raises(Unauthenticated) as caught:
            await sessions(gateway.server, trusting)
        assert caught.value.reason == "KEY_MISSING"
        # Neither in the clear nor with a certificate of somebody else's authority.
        stranger = Tls(root_certificates=Authority(tmp_path, "stranger").certificate)
        for tls in (None, stranger):
            with pytest.raises(Unavailable):
                await sessions(gateway.server, tls, text)
        # The environment says the same as the arguments.
        monkeypatch.setenv("LIKENESS_CA_FILE", str(authority.certificate))
        monkeypatch.setenv("LIKENESS_API_KEY", text)
        async with AsyncClient(f"127.0.0.1:{gateway.server.port}", retry=ONCE) as client:
            assert [one async for one in client.list_sessions()] == []
    await clear(database_url)


async def test_mutual_tls(database_url: str, authority: Authority, tmp_path: Path) -> None:
    clients = Authority(tmp_path, "clients")
    settings = tls_settings(authority, tls_client_ca=clients.certificate)
    async with running(database_url, Parts(), **settings) as gateway:
        known, unknown = clients.sign("ann"), Authority(tmp_path, "others").sign("ben")
        assert await sessions(gateway.server, Tls(authority.certificate, known.certificate, known.key)) == []
        for tls in (Tls(authority.certificate), Tls(authority.certificate, unknown.certificate, unknown.key)):
            with pytest.raises(Unavailable):
                await sessions(gateway.server, tls)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"gateway_host": "0.0.0.0"}, "LIKENESS_TLS_CERTIFICATE"),
        ({"gateway_host": "::"}, "LIKENESS_TLS_CERTIFICATE"),
        ({"tls_certificate": "absent.pem"}, "LIKENESS_TLS_KEY"),
        ({"tls_key": "absent.pem"}, "LIKENESS_TLS_CERTIFICATE"),
        ({"tls_client_ca": "absent.pem"}, "LIKENESS_TLS_CERTIFICATE"),
        ({"tls_certificate": "absent.pem", "tls_key": "absent.pem"}, "LIKENESS_TLS_CERTIFICATE"),
    ],
)
async def test_what_is_refused_at_the_start(settings: dict[str, Any], field: str) -> None:
    async with ended() as server:
        with pytest.raises(InvalidInputError) as caught:
            listen(server, Settings(gateway_port=0, **settings))
    assert caught.value.field == field


async def test_file_that_holds_no_key(authority: Authority) -> None:
    pair = authority.sign("gateway")
    async with ended() as server:
        with pytest.raises(InvalidInputError) as caught:
            listen(server, Settings(gateway_port=0, tls_certificate=pair.certificate, tls_key=pair.certificate))
    assert caught.value.field == "LIKENESS_TLS_KEY" and str(pair.certificate) not in caught.value.message


async def test_plaintext_elsewhere_if_it_is_asked_for_by_name() -> None:
    async with ended() as server:
        assert listen(server, Settings(gateway_host="0.0.0.0", gateway_port=0, allow_plaintext=True)) > 0


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.7", False), ("gateway.example", False), ("localhost.example", False)],
)  # fmt: skip
def test_keys_are_required_off_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    assert requires_keys(Settings(gateway_host=host)) is not loopback
    assert requires_keys(Settings(gateway_host=host, require_keys=loopback)) is loopback
