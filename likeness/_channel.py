"""How the client talks to the gateway: message limit, keep-alive, TLS, API key. The same for both clients."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import grpc

from likeness._call import Call, Result
from likeness._errors import REQUEST_ID_HEADER

DEFAULT_ADDRESS = "127.0.0.1:7400"
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Largest message on every hop of Likeness."""

OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A watch may be silent for minutes: pings every 30 s find a dead connection 15 s later.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 15_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A gateway that restarts is found again within a second or two, not after gRPC's usual two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


@dataclass(frozen=True)
class Tls:
    """An encrypted connection.

    Attributes:
        root_certificates: PEM file of the authorities to trust; None means the system's.
        client_certificate: PEM file that proves who the client is, for mutual TLS.
        client_key: PEM file with the key of that certificate.
    """

    root_certificates: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None

    @classmethod
    def from_environment(cls) -> Tls | None:
        """As LIKENESS_CA_FILE, LIKENESS_CLIENT_CERTIFICATE and LIKENESS_CLIENT_KEY say.

        LIKENESS_TLS=true alone trusts the system's authorities; None if none of them is set.
        """
        names = ("LIKENESS_CA_FILE", "LIKENESS_CLIENT_CERTIFICATE", "LIKENESS_CLIENT_KEY")
        files = [Path(os.environ[name]) if os.environ.get(name) else None for name in names]
        wanted = any(files) or os.environ.get("LIKENESS_TLS", "").lower() in ("1", "true", "yes")
        return cls(*files) if wanted else None

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files; OSError if one cannot be read."""
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.root_certificates),
            private_key=_read(self.client_key),
            certificate_chain=_read(self.client_certificate),
        )


def _read(path: Path | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


class Metadata:
    """What goes along with every call: its request id, and the API key if there is one.

    Args:
        api_key: The key; None takes LIKENESS_API_KEY, "" sends none.
    """

    def __init__(self, api_key: str | None) -> None:
        key = os.environ.get("LIKENESS_API_KEY", "") if api_key is None else api_key
        self._authorization = (("authorization", f"Bearer {key}"),) if key else ()

    def __call__(self, call: Call[Result]) -> tuple[tuple[str, str], ...]:
        """Metadata of one call."""
        return ((REQUEST_ID_HEADER, call.request_id), *self._authorization)
