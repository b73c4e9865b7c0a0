"""How the client talks to the gateway: message limit, keep-alive, TLS. The same for the sync and the async channel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc

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

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files; OSError if one cannot be read."""
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.root_certificates),
            private_key=_read(self.client_key),
            certificate_chain=_read(self.client_certificate),
        )


def _read(path: Path | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()
