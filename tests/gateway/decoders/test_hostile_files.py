"""Hostile files are refused for what they are, before they cost much: each is decoded under narrow limits here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from PIL import Image

from services.common import images
from services.common.errors import ImageError, Reason
from services.common.settings import MEBIBYTE
from services.gateway.decoders.limits import DecodeLimits
from services.gateway.decoders.pool import DecoderPool
from tests.gateway.decoders import files

LIMITS = DecodeLimits(cpu_seconds=5, memory_bytes=512 * MEBIBYTE)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    """A worker with limits that no refusal may come near; it must live through all of them."""
    one = DecoderPool(1, LIMITS)
    one.start()
    before = one.pids
    yield one
    assert one.describe(files.small()).width_pixels == 16
    assert one.pids == before
    one.close()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: files.png(20_000, 20_000, rows=b"\x00"), Reason.IMAGE_TOO_LARGE),
        (lambda: files.png(2**31 - 1, 2**31 - 1, rows=b"\x00"), Reason.IMAGE_TOO_LARGE),
        (lambda: files.png(2_000_000_000, 8, rows=b"\x00"), Reason.IMAGE_TOO_LARGE),
        (lambda: files.png(0, 8, rows=b"\x00"), Reason.IMAGE_UNREADABLE),
        (lambda: files.gif_with_a_larger_frame(60_000, 60_000), Reason.IMAGE_TOO_LARGE),
        (lambda: files.gif_with_a_larger_frame(9_000, 9_000), Reason.IMAGE_TOO_LARGE),
        (lambda: files.many_frames_gif(700_000), Reason.IMAGE_ANIMATED),
        (lambda: files.many_pages_tiff(200_000), Reason.IMAGE_ANIMATED),
        (lambda: files.encoded(Image.new("RGB", (16, 16)), "ICO"), Reason.IMAGE_UNREADABLE),
        (lambda: files.encoded(Image.new("RGB", (16, 16)), "JPEG2000"), Reason.IMAGE_UNREADABLE),
        (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", Reason.IMAGE_UNREADABLE),
        (lambda: b"RIFF\xff\xff\xff\xffWEBPVP8X" + bytes(64), Reason.IMAGE_UNREADABLE),
    ],
    ids=[
        "png-huge", "png-largest", "png-wide", "png-of-no-width", "gif-frame-huge", "gif-frame-large", "gif-frames",
        "tiff-pages", "ico", "jpeg2000", "eps", "webp-broken",
    ],
)  # fmt: skip
def test_refused(pool: DecoderPool, make: Callable[[], bytes], reason: Reason) -> None:
    data = make()
    assert len(data) <= images.MAX_BYTES
    with pytest.raises(ImageError) as caught:
        pool.describe(data)
    assert caught.value.reason is reason


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_chunks_that_unpack_beyond_the_limit_do_not(pool: DecoderPool, kind: bytes) -> None:
    packed = files.deflated(600 * MEBIBYTE)
    body = b"name\x00\x01\x00\x00\x00" + packed if kind == b"iTXt" else b"name\x00\x00" + packed
    data = files.png(16, 16, (kind, body))
    assert len(data) < 4 * MEBIBYTE
    try:
        assert pool.describe(data).width_pixels == 16
    except ImageError as error:
        assert error.reason is Reason.IMAGE_UNREADABLE


def test_many_chunks_of_text_stay_within_bounds(pool: DecoderPool) -> None:
    packed = files.deflated(MEBIBYTE)
    data = files.png(16, 16, *[(b"zTXt", b"name%d\x00\x00" % number + packed) for number in range(500)])
    with pytest.raises(ImageError) as caught:
        pool.describe(data)
    assert caught.value.reason is Reason.IMAGE_UNREADABLE


def test_pixels_after_the_last_are_not_unpacked(pool: DecoderPool) -> None:
    data = files.png(16, 16, rows=bytes(17 * 16) + bytes(256 * MEBIBYTE))
    assert pool.describe(data).width_pixels == 16


def test_pages_in_a_circle_are_one_page(pool: DecoderPool) -> None:
    assert pool.describe(files.tiff_in_a_circle()).width_pixels == 16


def test_exif_of_many_segments_costs_nothing(pool: DecoderPool) -> None:
    plain = files.encoded(Image.new("RGB", (16, 16), "red"), "JPEG")
    segment = b"\xff\xe1\xff\xff" + b"Exif\x00\x00MM\x00*\x00\x00\x00\x08" + b"\xff" * (65535 - 2 - 14)
    data = plain[:2] + segment * 400 + plain[2:]
    assert pool.describe(data).width_pixels == 16
