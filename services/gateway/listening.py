"""Where and how the gateway listens: plaintext on loopback, TLS elsewhere, mutual TLS if client authorities are set."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import grpc

from services.common.errors import InvalidInputError, Reason, UnavailableError
from services.common.settings import Settings


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address: 127.0.0.0/8, ::1, localhost or a Unix socket."""
    if host == "localhost" or host.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def requires_keys(settings: Settings) -> bool:
    """Whether calls need an API key."""
    return not is_loopback(settings.gateway_host) if settings.require_keys is None else settings.require_keys


def listen(server: grpc.aio.Server, settings: Settings) -> int:
    """Adds the gateway's port to the server and returns it.

    Raises:
        InvalidInputError: a setting of TLS is missing or wrong, or plaintext would leave the machine.
        UnavailableError: the port is taken.
    """
    encryption = credentials(settings)
    host = f"[{settings.gateway_host}]" if ":" in settings.gateway_host.strip("[]") else settings.gateway_host
    address = f"{host}:{settings.gateway_port}"
    try:
        if encryption is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, encryption)
    except RuntimeError as error:
        raise UnavailableError(Reason.BACKEND_UNAVAILABLE, f"cannot listen on {address}") from error


def credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """What the port is encrypted with; None for plaintext. Errors as `listen`."""
    certificate, key, client_ca = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    if certificate is None and key is None:
        if client_ca is not None:
            raise InvalidInputError("LIKENESS_TLS_CERTIFICATE", "is not set, LIKENESS_TLS_CLIENT_CA is")
        if not is_loopback(settings.gateway_host) and not settings.allow_plaintext:
            problem = f"is not set, and on {settings.gateway_host} others can read along"
            allowed = "a PEM file with LIKENESS_TLS_KEY, or LIKENESS_ALLOW_PLAINTEXT=true behind a proxy that encrypts"
            raise InvalidInputError("LIKENESS_TLS_CERTIFICATE", problem, allowed=allowed)
        return None
    if certificate is None or key is None:
        missing = "LIKENESS_TLS_CERTIFICATE" if certificate is None else "LIKENESS_TLS_KEY"
        raise InvalidInputError(missing, "is not set", allowed="certificate and key together, or neither")
    chain = _pem("LIKENESS_TLS_CERTIFICATE", certificate, "CERTIFICATE")
    pair = (_pem("LIKENESS_TLS_KEY", key, "PRIVATE KEY"), chain)
    authorities = None if client_ca is None else _pem("LIKENESS_TLS_CLIENT_CA", client_ca, "CERTIFICATE")
    return grpc.ssl_server_credentials([pair], authorities, require_client_auth=client_ca is not None)


def _pem(setting: str, path: Path, kind: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(setting, f"cannot be read: {error.strerror}", allowed="a PEM file") from error
    if f"{kind}-----".encode() not in data:
        raise InvalidInputError(setting, f"holds no {kind.lower()}", allowed="a PEM file")
    return data
