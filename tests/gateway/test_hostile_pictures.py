"""A picture that takes too much costs its caller the call, and nobody else anything."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from likeness.gateway.v1 import image_service_pb2 as images_pb
from likeness.gateway.v1 import session_service_pb2 as pb
from likeness.types.v1 import image_pb2
from services.gateway import decoding
from services.gateway.decoders.limits import DecodeLimits
from services.gateway.decoders.pool import DecoderPool
from tests.gateway.conftest import Gateway
from tests.gateway.decoders import files
from tests.gateway.failures import reason_of

pytestmark = pytest.mark.integration


async def test_too_costly_pictures_are_refused_by_field(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = DecoderPool(2, DecodeLimits(cpu_seconds=1))
    monkeypatch.setattr(decoding, "_pool", pool)
    costly = files.many_scans(2000, 20_000)
    upload = gateway.images.UploadImage(images_pb.UploadImageRequest(data=costly))
    create = gateway.stub.CreateSession(pb.CreateSessionRequest(target=image_pb2.Image(data=costly)))
    answers = await asyncio.gather(upload, create, return_exceptions=True)
    for answer, field in zip(answers, ("data", "target"), strict=True):
        assert isinstance(answer, grpc.aio.AioRpcError)
        assert reason_of(answer) == (grpc.StatusCode.INVALID_ARGUMENT, "IMAGE_TOO_COSTLY", field)
    assert await gateway.create()
    pool.close()
