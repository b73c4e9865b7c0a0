"""Rankings that cannot be learned from: code, reason and field, and nothing is stored."""

from __future__ import annotations

import math
from typing import Any

import grpc
import pytest

from likeness.types.v1 import image_pb2
from services.gateway import batches
from services.gateway.profiles import learning
from tests.gateway.conftest import Gateway
from tests.gateway.failures import details_of, reason_of
from tests.gateway.profiles.asking import PICTURES, create, fit, get, image, ranked, ranked_session, refused

pytestmark = pytest.mark.integration

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
FAILED = grpc.StatusCode.FAILED_PRECONDITION
ONE = image(PICTURES[0])


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"target": None}, "INVALID_FIELD", "target"),
        ({"target": image_pb2.Image()}, "INVALID_FIELD", "target"),
        ({"target": image_pb2.Image(data=b"no picture")}, "IMAGE_UNREADABLE", "target.data"),
        ({"target": image_pb2.Image(content_hash="A" * 64)}, "INVALID_FIELD", "target.content_hash"),
        ({"pictures": []}, "INVALID_FIELD", "pictures"),
        ({"pictures": [ONE]}, "INVALID_FIELD", "pictures"),
        ({"pictures": [ONE] * 65}, "INVALID_FIELD", "pictures"),
        ({"pictures": [ONE, image_pb2.Image()]}, "INVALID_FIELD", "pictures[1]"),
        ({"pictures": [ONE, image_pb2.Image(data=b"")]}, "IMAGE_UNREADABLE", "pictures[1].data"),
        ({"places": [1, 2]}, "INVALID_FIELD", "places"),
        ({"places": [1, 2, 3, 4]}, "INVALID_FIELD", "places"),
        ({"places": [2, 2, 2]}, "INVALID_FIELD", "places"),
        ({"places": [1, 2, math.nan]}, "INVALID_FIELD", "places"),
        ({"places": [1, 2, math.inf]}, "INVALID_FIELD", "places"),
    ],
    ids=str,
)
async def test_bad_rankings(gateway: Gateway, fields: dict[str, Any], reason: str, field: str) -> None:
    before = await create(gateway)
    error = await refused(fit(gateway, rankings=[ranked(), ranked(1, **fields)]))
    assert reason_of(error) == (INVALID, reason, f"rankings[1].{field}")
    assert await get(gateway) == before and not gateway.parts.objects.data


async def test_unknown_pictures(gateway: Gateway) -> None:
    before = await create(gateway)
    absent = image_pb2.Image(content_hash="0" * 64)
    for fields in ({"target": absent}, {"pictures": [ONE, absent]}):
        error = await refused(fit(gateway, rankings=[ranked(**fields)]))
        assert reason_of(error)[:2] == (NOT_FOUND, "IMAGE_NOT_FOUND")
        assert details_of(error)["ResourceInfo"].resource_name == "0" * 64
    assert await get(gateway) == before


async def test_no_rankings(gateway: Gateway) -> None:
    await create(gateway)
    assert reason_of(await refused(fit(gateway)))[:2] == (FAILED, "NO_RANKINGS")


async def test_session_without_a_ranking(gateway: Gateway) -> None:
    before = await create(gateway)
    session = await ranked_session(gateway)
    error = await refused(fit(gateway, session_ids=[session], rankings=[ranked()]))
    assert reason_of(error)[:2] == (FAILED, "NO_RANKINGS") and "session_ids[0]" in (error.details() or "")
    assert await get(gateway) == before


async def test_session_with_too_many_ranked(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.profiles.validation.MAX_PICTURES", 2)
    session = await ranked_session(gateway, ["r1c1", "r2c1", "r3c1"])
    await create(gateway)
    error = await refused(fit(gateway, session_ids=[session]))
    assert reason_of(error) == (INVALID, "INVALID_FIELD", "session_ids[0]")


async def test_unknown_sessions(gateway: Gateway) -> None:
    await create(gateway)
    session = await ranked_session(gateway, ["r1c1", "r2c1"])
    error = await refused(fit(gateway, session_ids=[session, "0" * 32]))
    assert reason_of(error)[:2] == (NOT_FOUND, "SESSION_NOT_FOUND")
    assert details_of(error)["ResourceInfo"].resource_name == "sessions/" + "0" * 32


@pytest.mark.parametrize(
    ("session_ids", "field"),
    [
        (["sessions/a"], "session_ids[0]"),
        (["a", ""], "session_ids[1]"),
        (["a\x00"], "session_ids[0]"),
        (["a", "b", "a"], "session_ids[2]"),
        ([str(i) for i in range(65)], "session_ids"),
    ],
    ids=["name", "empty", "NUL", "twice", "65"],
)
async def test_bad_session_ids(gateway: Gateway, session_ids: list[str], field: str) -> None:
    await create(gateway)
    error = await refused(fit(gateway, session_ids=session_ids))
    assert reason_of(error) == (INVALID, "INVALID_FIELD", field)


async def test_too_many_rankings(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    await create(gateway)
    error = await refused(fit(gateway, rankings=[ranked()] * 65))
    assert reason_of(error) == (INVALID, "INVALID_FIELD", "rankings")
    monkeypatch.setattr(learning, "MAX_RANKINGS", 2)
    before = await fit(gateway, rankings=[ranked(), ranked()])
    error = await refused(fit(gateway, rankings=[ranked()]))
    assert reason_of(error) == (INVALID, "INVALID_FIELD", "rankings")
    assert await get(gateway) == before


async def test_more_pictures_than_one_call_carries(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    await create(gateway)
    # Three channels of two bytes: six bytes for each of the three pictures.
    monkeypatch.setattr(batches, "MAX_CALL_BYTES", 17)
    error = await refused(fit(gateway, rankings=[ranked()]))
    assert reason_of(error) == (INVALID, "INVALID_FIELD", "rankings")
    monkeypatch.setattr(batches, "MAX_CALL_BYTES", 18)
    assert (await fit(gateway, rankings=[ranked()])).ranking_count == 1
