"""What HEALTHCHECK runs, against servers that answer as the services do."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from services.cluster import probe
from services.common.settings import Settings

pytestmark = pytest.mark.timeout(60)


@contextmanager
def http_server(status: int, body: bytes) -> Iterator[int]:
    """A server whose /healthz answers so; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextmanager
def grpc_server(code: grpc.StatusCode, seen: list[tuple[str, Any]]) -> Iterator[int]:
    """A server that answers every call with a status; its port."""

    class Everything(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
            seen.append((details.method, dict(details.invocation_metadata)))
            return grpc.unary_unary_rpc_method_handler(self._answer)

        def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
            if code is not grpc.StatusCode.OK:
                context.abort(code, "no replica")
            return b""

    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Everything()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_gateway_that_serves_is_well(host: str) -> None:
    with http_server(200, b"{}") as port:
        assert probe.gateway(Settings(gateway_host=host, http_port=port)) == ""


def test_a_gateway_that_does_not_serve_says_why() -> None:
    with http_server(503, b'{"health": "not_serving"}') as port:
        problem = probe.gateway(Settings(http_port=port))
    assert problem == 'the gateway does not serve: {"health": "not_serving"}'


def test_a_gateway_that_is_not_there() -> None:
    with http_server(200, b"") as port:
        pass
    assert "does not answer" in probe.gateway(Settings(http_port=port))


@pytest.mark.parametrize("name", list(probe.LIST_METHODS))
def test_a_backend_is_asked_by_its_own_method_and_name(name: str) -> None:
    seen: list[tuple[str, Any]] = []
    with grpc_server(grpc.StatusCode.OK, seen) as port:
        assert probe.backend(Settings(serve_grpc_port=port), name) == ""
    method, metadata = seen[0]
    assert method.startswith(f"/likeness.{name}.v1.") and metadata["application"] == name


def test_a_backend_with_too_much_to_do_is_not_started_again() -> None:
    with grpc_server(grpc.StatusCode.RESOURCE_EXHAUSTED, []) as port:
        assert probe.backend(Settings(serve_grpc_port=port), "generator") == ""


def test_a_backend_without_replicas_is_not_well() -> None:
    with grpc_server(grpc.StatusCode.UNAVAILABLE, []) as port:
        problem = probe.backend(Settings(serve_grpc_port=port), "scorer")
    assert problem == f"the scorer at 127.0.0.1:{port} does not answer: UNAVAILABLE no replica"


def test_the_exit_status_is_what_container_engines_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with http_server(503, b"why") as port:
        monkeypatch.setenv("LIKENESS_HTTP_PORT", str(port))
        assert probe.main(["gateway"]) == 1
        assert "why" in capsys.readouterr().err
    with http_server(200, b"") as port:
        monkeypatch.setenv("LIKENESS_HTTP_PORT", str(port))
        assert probe.main(["gateway"]) == 0
