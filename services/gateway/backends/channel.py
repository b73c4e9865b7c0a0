"""The channel to one Serve application and the metadata that its proxy routes by."""

from __future__ import annotations

import string

import grpc

from services.common.settings import MAX_MESSAGE_BYTES
from services.common.tracing import Span

KEEPALIVE_SECONDS = 310
"""Serve's proxy takes a ping every five minutes at most and closes the connection of a client that sends more."""
KEEPALIVE_TIMEOUT_SECONDS = 20
MAX_RECONNECT_WAIT_SECONDS = 2

_HEADER_CHARACTERS = frozenset(string.ascii_letters + string.digits + string.punctuation)


def open_channel(address: str) -> grpc.aio.Channel:
    """Plaintext channel to host:port, with the message limit of every hop. Connects on the first call."""
    options = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_SECONDS * 1000),
        # A restarted backend is found again within seconds, not after gRPC's two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", MAX_RECONNECT_WAIT_SECONDS * 1000),
        # Each client keeps its own connection: closing one must not touch another.
        ("grpc.use_local_subchannel_pool", 1),
        # Calls are retried in one place, calls.py.
        ("grpc.enable_retries", 0),
    ]
    return grpc.aio.insecure_channel(address, options=options)


def metadata(application: str, request_id: str, span: Span) -> tuple[tuple[str, str], ...]:
    """Routing, trace and correlation; an id that no header can carry is left to the request message."""
    pairs = [("application", application), *span.headers()]
    if request_id and _HEADER_CHARACTERS.issuperset(request_id):
        pairs.append(("x-request-id", request_id[:64]))
    return tuple(pairs)
