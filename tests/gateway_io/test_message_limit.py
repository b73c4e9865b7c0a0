"""64 MiB fit through every hop, one byte more is refused with an error that says so."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from likeness.scorer.v1 import scorer_service_pb2
from services.common.errors import InvalidInputError
from services.common.settings import MAX_MESSAGE_BYTES
from services.gateway.backends import converters
from services.gateway.backends.clients import ScorerClient
from tests.gateway_io.seam import Backends
from tests.gateway_io.seam_scorer import SeamScorer


@pytest_asyncio.fixture
async def scorer(backends: Backends) -> AsyncIterator[ScorerClient]:
    client = ScorerClient(backends.address)
    yield client
    await client.close()


# Moves hundreds of MiB, too slow for the unit suite.
pytestmark = pytest.mark.integration


def image_of_request(size_bytes: int) -> bytes:
    """A file with which an Embed request has exactly this size."""
    data = b"\0" * (size_bytes - 64)
    missing = size_bytes - converters.embed_request("mean", [data], "").ByteSize()
    data += b"\0" * missing
    assert converters.embed_request("mean", [data], "").ByteSize() == size_bytes
    return data


def values_of_response(scorer: SeamScorer, size_bytes: int) -> bytes:
    """An embedding with which an Embed response has exactly this size."""

    def response_bytes(values: bytes) -> int:
        return int(scorer_service_pb2.EmbedResponse(embeddings=[scorer.embedding(values)]).ByteSize())

    values = b"\0" * (size_bytes - 128)
    values += b"\0" * (size_bytes - response_bytes(values))
    assert response_bytes(values) == size_bytes
    return values


async def test_a_request_of_exactly_the_limit_passes(backends: Backends, scorer: ScorerClient) -> None:
    backends.scorer.embedding_bytes = lambda _: b"\0" * 4
    data = image_of_request(MAX_MESSAGE_BYTES)
    assert len(await scorer.embed("mean", [data], request_id="")) == 1
    assert len(backends.scorer.embedded[0]) == len(data)


async def test_a_request_of_one_byte_more_is_refused(backends: Backends, scorer: ScorerClient) -> None:
    with pytest.raises(InvalidInputError, match="at most 64 MiB"):
        await scorer.embed("mean", [image_of_request(MAX_MESSAGE_BYTES + 1)], request_id="")
    assert backends.scorer.calls == []


@pytest.mark.parametrize("excess", [0, 1])
async def test_responses_have_the_same_limit(backends: Backends, scorer: ScorerClient, excess: int) -> None:
    values = values_of_response(backends.scorer, MAX_MESSAGE_BYTES + excess)
    backends.scorer.embedding_bytes = lambda _: values
    if excess:
        with pytest.raises(InvalidInputError, match="at most 64 MiB"):
            await scorer.embed("mean", [b"x"], request_id="")
    else:
        assert len((await scorer.embed("mean", [b"x"], request_id=""))[0].data) == len(values)
