"""Creating, reading and listing sessions."""

from __future__ import annotations

import io
from dataclasses import replace

import grpc
import pytest
from PIL import Image

from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from likeness.types.v1 import image_pb2
from services.gateway.decoding import image_info
from services.gateway.ports import LoadState, ModelInfo
from services.gateway.sessions import tokens
from tests.gateway.conftest import TARGET, Gateway
from tests.gateway.failures import reason_of

pytestmark = pytest.mark.integration


async def test_defaults_are_filled_in(gateway: Gateway) -> None:
    request = pb.CreateSessionRequest(target=image_pb2.Image(data=TARGET))
    session = (await gateway.stub.CreateSession(request)).session
    # lpips-squeeze is in the profile's defaults, but this scorer lacks its weights.
    assert session.settings == session_pb2.SessionSettings(
        metrics=["pixels", "red"],
        selection_metrics=["pixels"],
        generator_model="paint",
        steps=3,
        guidance_scale=3.0,
        seed=0,
        show_scores=True,
    )
    assert session.state == session_pb2.Session.STATE_WAITING and session.last_event_sequence == 0
    assert session.target.media_type == "image/png" and session.target.size_bytes == len(TARGET)
    assert session.create_time == session.update_time and session.create_time.seconds > 0


async def test_what_is_asked_for_is_kept(gateway: Gateway) -> None:
    asked = session_pb2.SessionSettings(
        metrics=["red", "green"],
        selection_metrics=["green"],
        generator_model="paint-large",
        steps=50,
        guidance_scale=0.0,
        seed=2**64 - 1,
        show_scores=False,
    )
    name = await gateway.create(settings=asked, display_name="é" * 200)
    session = (await gateway.stub.GetSession(pb.GetSessionRequest(name=name))).session
    assert session.settings == asked and session.display_name == "é" * 200


async def test_a_model_that_could_not_be_loaded_is_not_taken(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    paint, large = await gateway.parts.generator.list_models()
    failed = replace(paint, load_state=LoadState.FAILED, load_problem="models/paint is missing", limits=None)

    async def models() -> list[ModelInfo]:
        return [failed, replace(large, load_state=LoadState.NOT_LOADED)]

    monkeypatch.setattr(gateway.parts.generator, "list_models", models)
    request = pb.CreateSessionRequest(target=image_pb2.Image(data=TARGET))
    assert (await gateway.stub.CreateSession(request)).session.settings.generator_model == "paint-large"
    request.settings.generator_model = "paint"
    with pytest.raises(grpc.aio.AioRpcError, match="models/paint is missing") as refused:
        await gateway.stub.CreateSession(request)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_metrics_without_the_default_selection_select_themselves(gateway: Gateway) -> None:
    name = await gateway.create(settings=session_pb2.SessionSettings(metrics=["red", "green"]))
    session = (await gateway.stub.GetSession(pb.GetSessionRequest(name=name))).session
    assert list(session.settings.selection_metrics) == ["red", "green"]


async def test_target_by_content_hash(gateway: Gateway) -> None:
    info = await image_info(TARGET)
    await gateway.server.images.add("default", TARGET, info)
    name = await gateway.create(target=image_pb2.Image(content_hash=info.content_hash))
    session = (await gateway.stub.GetSession(pb.GetSessionRequest(name=name))).session
    assert session.target.pixel_hash == info.pixel_hash


@pytest.mark.parametrize("kind", ["CMYK", "LA", "I;16", "P", "rotated"])
async def test_unusual_pictures_are_normalized(gateway: Gateway, kind: str) -> None:
    out = io.BytesIO()
    if kind == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (32, 16)).save(out, "JPEG", exif=exif)
    else:
        Image.new(kind, (16, 32)).save(out, "TIFF" if kind == "CMYK" else "PNG")
    name = await gateway.create(target=image_pb2.Image(data=out.getvalue()))
    target = (await gateway.stub.GetSession(pb.GetSessionRequest(name=name))).session.target
    assert (target.width_pixels, target.height_pixels) == (16, 32)
    assert gateway.parts.objects.data[target.content_hash] == out.getvalue()


async def test_pages_show_every_session_once_newest_first(gateway: Gateway) -> None:
    names = [await gateway.create(display_name=str(i)) for i in range(7)]
    seen, token = [], ""
    while True:
        page = await gateway.stub.ListSessions(pb.ListSessionsRequest(page_size=3, page_token=token))
        seen += [one.name for one in page.sessions]
        token = page.next_page_token
        if not token:
            break
        # A session that comes while somebody pages does not shift the pages.
        await gateway.create()
    assert seen == names[::-1]


async def test_last_page_that_is_just_full_has_no_token(gateway: Gateway) -> None:
    for _ in range(4):
        await gateway.create()
    page = await gateway.stub.ListSessions(pb.ListSessionsRequest(page_size=4))
    assert len(page.sessions) == 4 and not page.next_page_token
    assert len((await gateway.stub.ListSessions(pb.ListSessionsRequest())).sessions) == 4
    assert len((await gateway.stub.ListSessions(pb.ListSessionsRequest(page_size=2**31 - 1))).sessions) == 4


@pytest.mark.parametrize(
    ("request_message", "field"),
    [
        (pb.ListSessionsRequest(page_size=-1), "page_size"),
        (pb.ListSessionsRequest(page_token="nope"), "page_token"),
        (pb.ListSessionsRequest(page_token=tokens._encode("p1:99999999999999999999:a")), "page_token"),
    ],
)
async def test_bad_pages(gateway: Gateway, request_message: pb.ListSessionsRequest, field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.stub.ListSessions(request_message)
    assert reason_of(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field)
