"""Pictures made anew in parts, and in two rounds, through a real gRPC server."""

from __future__ import annotations

import hashlib
import io
import json

import grpc
import numpy as np
import pytest
from PIL import Image, ImageDraw

from likeness.generator.v1 import generator_service_pb2 as pb
from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from likeness.types.v1.image_pb2 import Image as ImageMessage
from services.common.images import encode_png
from services.generator.domain import EngineItem
from services.generator.initial_images import with_kept_pixels
from tests.generator.families.running import PICTURE_TOLERANCE, RECORD
from tests.generator.grpc_server import events, item, pngs

Stub = rpc.GeneratorServiceStub
PICTURE = Image.radial_gradient("L").resize((96, 64)).convert("RGB")
SCALED = PICTURE.resize((48, 32), Image.Resampling.LANCZOS)


def _message(picture: Image.Image) -> ImageMessage:
    return ImageMessage(data=encode_png(picture))


def _left(size: tuple[int, int], lightness: int = 255) -> Image.Image:
    """White, or another grey, in the left half."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle((0, 0, size[0] // 2 - 1, size[1] - 1), fill=lightness)
    return mask


MASK = _message(_left((48, 32)))
START = {"initial_image": _message(PICTURE), "strength": 0.65, "steps": 10, "width_pixels": 48}


async def test_what_the_mask_leaves_black_is_the_initial_image_to_the_bit(stub: Stub) -> None:
    made = pngs(await events(stub, item("masked", mask=MASK, **START), item("whole", **START)))
    masked, whole, scaled = _pixels(made["masked"]), _pixels(made["whole"]), np.asarray(SCALED, dtype=np.float64)
    assert np.array_equal(masked[:, 24:], scaled[:, 24:])
    assert np.abs(masked[:, :24] - scaled[:, :24]).mean() > 5
    # Without a mask nothing is the initial image's, not even where little changes.
    assert (whole != scaled).mean() > 0.5


async def test_a_mask_of_the_files_size_is_brought_to_the_pictures(stub: Stub) -> None:
    exact = pngs(await events(stub, item(mask=MASK, **START)))["a"]
    for size in ((96, 64), (12, 8), (50, 33)):
        # The last has the proportions of the initial image, scaled down and rounded.
        (png,) = pngs(await events(stub, item(mask=_message(_left(size)), **START))).values()
        # Of a small one the edge is blurred.
        assert np.array_equal(_pixels(png)[:, 32:], _pixels(exact)[:, 32:])
        assert np.abs(_pixels(png) - _pixels(exact))[:, :16].mean() <= PICTURE_TOLERANCE


async def test_colors_and_alpha_of_a_mask_are_read_as_lightness(stub: Stub) -> None:
    yellow = Image.merge("RGB", [_left((48, 32)), _left((48, 32)), Image.new("L", (48, 32))])
    clear = Image.new("RGBA", (48, 32), "black")
    clear.putalpha(_left((48, 32)).point([255 - value for value in range(256)]))
    asked = [item(mask=MASK, **START), item("yellow", mask=_message(yellow), **START)]
    made = pngs(await events(stub, *asked, item("clear", mask=_message(clear), **START)))
    # Alpha lies over white.
    assert np.abs(_pixels(made["clear"]) - _pixels(made["a"])).mean() <= PICTURE_TOLERANCE
    assert np.array_equal(_pixels(made["yellow"])[:, 24:], np.asarray(SCALED, dtype=np.float64)[:, 24:])
    assert np.abs(_pixels(made["yellow"]) - np.asarray(SCALED, dtype=np.float64))[:, :24].mean() > 5


def test_grey_blends() -> None:
    made, start = Image.new("RGB", (32, 32), (200, 0, 0)), Image.new("RGB", (32, 32), (0, 100, 0))
    masked = EngineItem("a", RECORD, initial_image=start, mask=_left((32, 32), 51))
    blended = with_kept_pixels(masked, made)
    assert blended.getpixel((3, 3)) == (40, 80, 0) and blended.getpixel((20, 3)) == (0, 100, 0)
    assert with_kept_pixels(EngineItem("a", RECORD, initial_image=start), made) is made


async def test_previews_show_the_initial_image_outside_the_mask(stub: Stub) -> None:
    answers = await events(stub, item(mask=MASK, preview_interval_steps=1, **START))
    shown = [_pixels(answer.preview.image.data) for answer in answers if answer.HasField("preview")]
    # A JPEG, so not to the bit.
    kept = np.asarray(SCALED, dtype=np.float64)[:, 32:]
    assert shown and all(np.abs(preview[:, 32:] - kept).mean() < 4 for preview in shown)


async def test_items_of_a_call_have_masks_of_their_own(stub: Stub) -> None:
    other = _message(_left((48, 32)).rotate(180))
    asked = [item("a", mask=MASK, **START), item("b", mask=other, **START), item("c", seed=2, mask=MASK, **START)]
    # A picture may be its own mask.
    itself = item("d", **{**START, "initial_image": MASK, "mask": MASK})
    together = pngs(await events(stub, *asked, item("plain", **START), itself))
    assert len({_pixels(png).tobytes() for png in together.values()}) == 5
    for one in (*asked, itself):
        alone = pngs(await events(stub, one))[one.item_id]
        assert np.abs(_pixels(alone) - _pixels(together[one.item_id])).mean() <= PICTURE_TOLERANCE


async def test_deterministic_ones_are_the_same_to_the_bit_in_a_crowd(stub: Stub) -> None:
    masked = item("masked", mask=MASK, deterministic=True, **START)
    twice = item("twice", second_strength=0.4, deterministic=True, **START)
    alone = pngs(await events(stub, masked)) | pngs(await events(stub, twice))
    crowd = pngs(await events(stub, item("a", mask=MASK, **START), twice, masked, item("b", seed=9)))
    assert (crowd["masked"], crowd["twice"]) == (alone["masked"], alone["twice"])


async def test_the_record_names_the_mask(stub: Stub) -> None:
    *_, last = await events(stub, item(mask=MASK, **START))
    expected = {"mask_content_hash": hashlib.sha256(MASK.data).hexdigest(), "strength": 0.65, "second_strength": 0}
    _assert_recorded(last, expected)


async def test_both_passes_are_counted_and_recorded(stub: Stub) -> None:
    answers = await events(stub, item(second_strength=0.4, preview_interval_steps=3, **START))
    assert {answer.started.total_steps for answer in answers if answer.HasField("started")} == {10}
    steps = [answer.step for answer in answers if answer.HasField("step")]
    assert {step.total_steps for step in steps} == {10} and steps[-1].step == 10
    assert {answer.preview.step for answer in answers if answer.HasField("preview")} <= {3, 6, 9}
    text = _assert_recorded(answers[-1], {"second_strength": 0.4, "mask_content_hash": "", "steps": 10})
    assert text["parameters"].endswith(", Denoising strength: 0.65, Second denoising strength: 0.4")
    made = pngs(answers)["a"]
    assert made == pngs(await events(stub, item(second_strength=0.4, **START)))["a"]
    assert np.abs(_pixels(made) - _pixels(pngs(await events(stub, item(**START)))["a"])).mean() > 1


@pytest.mark.parametrize(
    ("mask", "reason", "allowed"),
    [
        (b"no picture", "IMAGE_UNREADABLE", "allowed: PNG, JPEG, WEBP, GIF, BMP, TIFF"),
        (b"", "IMAGE_UNREADABLE", "the file is empty"),
        (_left((60, 60)), "INVALID_FIELD", "allowed: the proportions of the initial image, which has 96 x 64"),
        (_left((64, 96)), "INVALID_FIELD", "allowed: the proportions of the initial image, which has 96 x 64"),
        (_left((96, 65)), "INVALID_FIELD", "allowed: the proportions of the initial image, which has 96 x 64"),
        (Image.new("L", (96, 64)), "INVALID_FIELD", "allowed: 128 to 255 somewhere"),
        (_left((96, 64), 127), "INVALID_FIELD", "allowed: 128 to 255 somewhere"),
    ],
    ids=["broken", "empty", "square", "upright", "one-pixel-off", "black", "dark"],
)
async def test_masks_that_cannot_be_taken_are_refused_by_their_field(
    stub: Stub, mask: bytes | Image.Image, reason: str, allowed: str
) -> None:
    message = _message(mask) if isinstance(mask, Image.Image) else ImageMessage(data=mask)
    wrong = item("b", mask=message, **START)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await events(stub, item("a"), wrong)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    detail = json.loads(refused.value.details() or "")
    assert (detail["reason"], detail["field"]) == (reason, "items[1].mask")
    assert detail["message"].endswith(allowed)


async def test_white_that_no_latent_sees_fails_the_item_alone(stub: Stub) -> None:
    spot = Image.new("L", (48, 32))
    spot.paste(255, (9, 9, 11, 11))
    answers = await events(stub, item("spot", mask=_message(spot), **START), item("fine", mask=MASK, **START))
    (failed,) = [answer.failed.error for answer in answers if answer.HasField("failed")]
    assert (failed.reason, failed.field) == ("INVALID_FIELD", "mask")
    assert failed.message.endswith("allowed: white areas of at least 4 x 4 pixels of the picture")
    assert set(pngs(answers)) == {"fine"}


def _assert_recorded(last: pb.GenerateResponse, expected: dict[str, object]) -> dict[str, str]:
    """Checks record and text chunk of a picture, and gives its text chunks."""
    assert {name: getattr(last.image.record, name) for name in expected} == expected
    text: dict[str, str] = Image.open(io.BytesIO(last.image.image.data)).text  # type: ignore[attr-defined]
    assert json.loads(text["likeness"]).items() >= expected.items()
    return text


def _pixels(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(Image.open(io.BytesIO(png)), dtype=np.float64)
