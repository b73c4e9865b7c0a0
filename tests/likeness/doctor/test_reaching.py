"""Why no gateway answers: each fault is real, and the words say which one it is."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from likeness import Tls
from likeness.doctor import State
from tests.likeness.doctor.certificates import Authority, Pair
from tests.likeness.doctor.conftest import Diagnose
from tests.likeness.gateway.server import TestGateway


def test_a_name_that_nobody_knows(diagnose: Diagnose) -> None:
    found = diagnose("no-such-host.invalid:7400")
    assert found["address"].state is State.PROBLEM
    assert "no machine is known by the name no-such-host.invalid" in found["address"].message
    assert "DNS" in found["address"].advice
    assert {found[check].state for check in ("gateway", "models", "metrics")} == {State.SKIPPED}


@pytest.mark.parametrize("address", ["7400", "localhost", "localhost:port", "localhost:99999", ""])
def test_an_address_that_is_none(diagnose: Diagnose, address: str) -> None:
    found = diagnose(address)["address"]
    assert found.state is State.PROBLEM and "HOST:PORT" in found.advice


def test_a_port_on_which_nothing_listens(diagnose: Diagnose) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    found = diagnose(f"127.0.0.1:{port}", deep=True)
    assert found["address"].state is State.OK
    assert f"nothing listens on port {port}" in found["port"].message
    assert "likeness up" in found["port"].advice
    assert found["generate"].state is State.SKIPPED


def test_the_port_of_the_metrics(diagnose: Diagnose) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = diagnose(f"127.0.0.1:{server.server_port}")["gateway"]
        server.shutdown()
    assert "web server" in found.message and "7400" in found.advice


def test_a_listener_that_says_nothing(diagnose: Diagnose) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = diagnose(f"127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=1)["gateway"]
    assert found.state is State.PROBLEM and "gives no answer" in found.message


def test_another_grpc_server(diagnose: Diagnose) -> None:
    with serving(None) as address:
        found = diagnose(address)["gateway"]
    assert "no Likeness gateway" in found.message


def test_encryption_that_only_the_gateway_has(diagnose: Diagnose, authority: Authority) -> None:
    with serving(authority.sign("gateway")) as address:
        found = diagnose(address)["gateway"]
    assert "wants an encrypted connection" in found.message and "TLS" in found.advice


def test_encryption_that_only_the_client_has(diagnose: Diagnose, authority: Authority, gateway: TestGateway) -> None:
    found = diagnose(gateway.address, tls=Tls(authority.certificate))["gateway"]
    assert "does not speak TLS" in found.message


@pytest.mark.parametrize(
    ("address", "days", "said"),
    [("127.0.0.1", -1, "expired"), ("10.9.8.7", 10, "not valid for '127.0.0.1'")],
    ids=["expired", "of another address"],
)
def test_a_certificate_that_does_not_hold(
    diagnose: Diagnose, authority: Authority, address: str, days: int, said: str
) -> None:
    with serving(authority.sign("gateway", address=address, days=days)) as served:
        found = diagnose(served, tls=Tls(authority.certificate))["gateway"]
    assert "not trusted" in found.message and said in found.message


def test_a_certificate_of_an_unknown_authority(diagnose: Diagnose, authority: Authority, tmp_path: Path) -> None:
    with serving(Authority(tmp_path, "stranger").sign("gateway")) as address:
        found = diagnose(address, tls=Tls(authority.certificate))["gateway"]
    assert "not trusted" in found.message and "authority" in found.advice


def test_a_gateway_that_wants_a_certificate_of_the_client(
    diagnose: Diagnose, authority: Authority, tmp_path: Path
) -> None:
    with serving(authority.sign("gateway"), clients=authority) as address:
        without = diagnose(address, tls=Tls(authority.certificate))["gateway"]
        plain = diagnose(address)["gateway"]
        mine = authority.sign("client")
        known = diagnose(address, tls=Tls(authority.certificate, mine.certificate, mine.key))["gateway"]
        other = Authority(tmp_path, "stranger").sign("other")
        unknown = diagnose(address, tls=Tls(authority.certificate, other.certificate, other.key))["gateway"]
    assert "does not take this client's certificate" in unknown.message
    assert "mutual TLS" in without.message
    assert "wants an encrypted connection" in plain.message
    assert "no Likeness gateway" in known.message, "it gets through, to a server without our services"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The authority that both sides trust."""
    return Authority(tmp_path, "authority")


@contextmanager
def serving(pair: Pair | None, *, clients: Authority | None = None) -> Iterator[str]:
    """A gRPC server without services, encrypted with a pair; with `clients` only for those that have a certificate."""
    server = grpc.server(ThreadPoolExecutor(1))
    if pair is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        credentials = grpc.ssl_server_credentials(
            [(pair.key.read_bytes(), pair.certificate.read_bytes())],
            root_certificates=clients.certificate.read_bytes() if clients else None,
            require_client_auth=clients is not None,
        )
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()
