"""One channel and one target for the end-to-end tests; the cluster itself is the session-wide fixture."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from tests.e2e.pictures import encode, picture

MAX_MESSAGE_BYTES = 64 * 1024 * 1024


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the cluster; starting it may take minutes on a busy machine."""
    for item in items:
        if "tests/e2e" in item.nodeid:
            item.add_marker(pytest.mark.integration)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture
def channel(cluster: object) -> Iterator[grpc.Channel]:
    """A plain channel to the gateway."""
    options = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ]
    with grpc.insecure_channel(cluster.address, options=options) as opened:  # type: ignore[attr-defined]
        yield opened


@pytest.fixture
def target() -> bytes:
    """A valid PNG."""
    return encode(picture())
