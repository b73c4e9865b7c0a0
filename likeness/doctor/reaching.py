"""Whether something can be reached at the address: the name, the port, and what speaks there."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

from likeness._channel import Tls
from likeness.doctor.findings import Finding, ok, problem

CONNECT_SECONDS = 5.0
_SCHEME = re.compile(r"(dns|ipv4|ipv6|unix):")
_START = "Start one with `likeness up`, or say where one is with --address or LIKENESS_ADDRESS."


def split(address: str) -> tuple[str, int] | None:
    """Host and port; None if the address is no host:port."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    return (host, int(port)) if host and port.isascii() and port.isdigit() and 0 < int(port) < 65536 else None


def reach(address: str) -> Iterator[Finding]:
    """The name and the port; nothing of an address with a scheme, such as "dns:///...", which gRPC resolves."""
    if _SCHEME.match(address):
        return
    place = split(address)
    if place is None:
        yield problem("address", f"{address!r} is no address", "Give it as HOST:PORT, such as 127.0.0.1:7400.")
        return
    host, port = place
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        advice = "Check the spelling, and whether this machine's DNS knows the name; an IP address needs neither."
        yield problem("address", f"no machine is known by the name {host}", advice)
        return
    yield ok("address", f"{host} is known")
    yield _port(host, port)


def _port(host: str, port: int) -> Finding:
    try:
        _connect(host, port).close()
    except ConnectionRefusedError:
        return problem("port", f"nothing listens on port {port} of {host}: the connection was refused", _START)
    except TimeoutError:
        advice = "A firewall may drop what is sent there, or the machine is off."
        return problem("port", f"port {port} of {host} does not answer within {CONNECT_SECONDS:.0f} s", advice)
    except OSError as error:
        advice = "Check the network between this machine and the gateway."
        return problem("port", f"{host} cannot be reached: {error.strerror or error}", advice)
    return ok("port", f"something listens on port {port}")


def explain(address: str, tls: Tls | None) -> Finding:
    """Why no gateway answers though the port is open: encryption that does not match, or something else listens."""
    place = None if _SCHEME.match(address) else split(address)
    if place is None:
        return problem("gateway", f"no gateway answers at {address}", _START)
    encrypted = _speaks_tls(*place)
    if tls is None and encrypted:
        return problem(
            "gateway",
            f"what answers at {address} wants an encrypted connection, and this one is not",
            "Connect with TLS: set LIKENESS_CA_FILE to its authority's certificate, or LIKENESS_TLS=true where the "
            "system trusts it anyway.",
        )
    if tls is not None and not encrypted:
        return problem(
            "gateway",
            f"what answers at {address} does not speak TLS, and this connection is encrypted",
            "Unset LIKENESS_TLS, LIKENESS_CA_FILE and LIKENESS_CLIENT_CERTIFICATE, or give the gateway a certificate.",
        )
    if tls is not None:
        return _refused(address, place, tls)
    if _greeting(*place).startswith(b"HTTP/1"):
        advice = "7401 is the port of /metrics and /healthz; the API is gRPC, by default on port 7400."
        return problem("gateway", f"a web server answers at {address}, no gRPC", advice)
    return problem("gateway", f"what listens at {address} is no Likeness gateway", _START)


def _refused(address: str, place: tuple[str, int], tls: Tls) -> Finding:
    try:
        failure = _handshake(*place, _context(tls))
    except (OSError, ssl.SSLError) as error:
        return problem("gateway", f"the certificate files cannot be used: {error}", "Check their paths and contents.")
    if isinstance(failure, ssl.SSLCertVerificationError):
        advice = "Set LIKENESS_CA_FILE to the authority that signed it; or renew it, or make it for this host name."
        return problem("gateway", f"the gateway's certificate is not trusted: {failure.verify_message}", advice)
    if isinstance(failure, ConnectionAbortedError) or "certificate" in str(failure).lower():
        advice = "Set LIKENESS_CLIENT_CERTIFICATE and LIKENESS_CLIENT_KEY to a pair that its authority has signed."
        given = "does not take this client's certificate" if tls.client_certificate else "wants one of this client"
        return problem("gateway", f"the gateway {given} (mutual TLS)", advice)
    return problem("gateway", f"the encrypted connection to {address} breaks: {failure or 'no gRPC answers'}", _START)


def _connect(host: str, port: int) -> socket.socket:
    return socket.create_connection((host, port), timeout=CONNECT_SECONDS)


def _handshake(host: str, port: int, context: ssl.SSLContext) -> OSError | None:
    """None if an encrypted connection comes about and stays; ssl's errors are OSErrors."""
    try:
        with _connect(host, port) as plain, context.wrap_socket(plain, server_hostname=host) as encrypted:
            # Under TLS 1.3 a server refuses a client without a certificate only after the handshake.
            encrypted.settimeout(1.0)
            try:
                if not encrypted.recv(1):
                    return ConnectionAbortedError("it was closed after the handshake")
            except TimeoutError:
                return None
    except OSError as error:
        return error
    return None


def _speaks_tls(host: str, port: int) -> bool:
    failure = _handshake(host, port, _any_certificate())
    # An alert, or a goodbye after the handshake, is TLS too: the other side misses something, such as our certificate.
    if isinstance(failure, ssl.SSLError):
        return "ALERT" in (failure.reason or "")
    return failure is None or isinstance(failure, ConnectionAbortedError)


def _any_certificate() -> ssl.SSLContext:
    """Trusts everything: it only finds out whether the other side speaks TLS; nothing is sent."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _context(tls: Tls) -> ssl.SSLContext:
    roots: Path | None = tls.root_certificates
    context = ssl.create_default_context(cafile=None if roots is None else str(roots))
    context.set_alpn_protocols(["h2"])
    if tls.client_certificate is not None:
        context.load_cert_chain(tls.client_certificate, tls.client_key)
    return context


def _greeting(host: str, port: int) -> bytes:
    """What comes back to a web request."""
    try:
        with _connect(host, port) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(64)
    except OSError:
        return b""
