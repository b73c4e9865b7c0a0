"""Decoding: what is normalized by the documented rule, and what is refused with which reason."""

from __future__ import annotations

import concurrent.futures
import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from services.common import images
from services.common.errors import ImageError, Reason

RED, WHITE = (255, 0, 0), (255, 255, 255)


def _encode(picture: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, format_, **options)
    return out.getvalue()


def _noise(mode: str = "RGB", size: tuple[int, int] = (32, 24)) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0], channels) if channels > 1 else (size[1], size[0])
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)).convert(mode)


def _refusal(data: bytes, **options: Any) -> ImageError:
    with pytest.raises(ImageError) as caught:
        images.decode(data, field="target.image", **options)
    assert caught.value.field == "target.image"
    return caught.value


def _pixel(data: bytes, x: int = 10, y: int = 10) -> object:
    decoded = images.decode(data)
    assert decoded.rgb.mode == "RGB"
    assert decoded.rgb.info == {}
    return decoded.rgb.getpixel((x, y))


class TestNormalized:
    """Pictures that are taken."""

    @pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG"])
    def test_formats(self, format_: str) -> None:
        options = {"lossless": True} if format_ == "WEBP" else {}
        decoded = images.decode(_encode(Image.new("RGB", (32, 24), RED), format_, **options))
        assert (decoded.width, decoded.height) == (32, 24)
        assert decoded.media_type == f"image/{format_.lower()}"
        np.testing.assert_allclose(decoded.rgb.getpixel((5, 5)), RED, atol=2)

    def test_equal_pixels_have_one_address_in_every_lossless_format(self) -> None:
        picture = _noise()
        encoded = [_encode(picture), _encode(picture, "BMP"), _encode(picture, "WEBP", lossless=True)]
        decoded = [images.decode(data) for data in encoded]
        assert len({one.pixel_hash for one in decoded}) == 1
        assert len({one.content_hash for one in decoded}) == 3
        np.testing.assert_array_equal(np.asarray(decoded[0].rgb), np.asarray(picture))

    def test_size_is_part_of_the_address(self) -> None:
        wide, tall = (Image.new("RGB", size) for size in ((32, 8), (8, 32)))
        assert images.pixel_hash(wide) != images.pixel_hash(tall)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_is_applied(self, orientation: int) -> None:
        upright = Image.new("RGB", (32, 16), "white")
        upright.paste("red", (0, 0, 8, 8))
        inverse = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
        method = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(inverse)
        stored = upright if method is None else upright.transpose(Image.Transpose(method))
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = _encode(stored, exif=exif.tobytes())
        decoded = images.decode(data)
        np.testing.assert_array_equal(np.asarray(decoded.rgb), np.asarray(upright))

    def test_broken_exif_does_not_cost_the_picture(self) -> None:
        data = _encode(Image.new("RGB", (16, 16), RED), exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff garbage")
        assert _pixel(data) == RED

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_alpha_is_laid_over_white(self, mode: str) -> None:
        picture = Image.new(mode, (16, 16), (0,) * len(mode))
        assert _pixel(_encode(picture)) == WHITE

    def test_half_transparent_red_becomes_pink(self) -> None:
        assert _pixel(_encode(Image.new("RGBA", (16, 16), (255, 0, 0, 128)))) == (255, 127, 127)

    @pytest.mark.parametrize("format_", ["PNG", "GIF"])
    def test_a_transparent_palette_color_becomes_white(self, format_: str) -> None:
        picture = Image.new("P", (16, 16), 0)
        picture.putpalette([0, 0, 0, 255, 0, 0])
        picture.paste(1, (0, 0, 16, 8))
        data = _encode(picture, format_, transparency=0)
        assert (_pixel(data, 3, 3), _pixel(data, 3, 12)) == (RED, WHITE)

    def test_a_palette_with_alpha_values(self) -> None:
        picture = Image.new("P", (16, 16), 1)
        picture.putpalette([0, 0, 0, 255, 0, 0])
        assert _pixel(_encode(picture, transparency=bytes([255, 0]))) == WHITE

    def test_a_transparent_rgb_color_becomes_white(self) -> None:
        assert _pixel(_encode(Image.new("RGB", (16, 16), RED), transparency=RED)) == WHITE

    def test_gray_16_bit_is_scaled(self) -> None:
        values = np.full((16, 16), 0x8080, dtype=np.uint16)
        values[0, 0] = 0xFFFF
        data = _encode(Image.fromarray(values))
        assert (_pixel(data), _pixel(data, 0, 0)) == ((128, 128, 128), WHITE)

    def test_rgb_16_bit_is_scaled(self) -> None:
        assert _pixel(_png_rgb16(16, 0x8080)) == (128, 128, 128)

    @pytest.mark.parametrize(("top", "expected"), [(1.0, 128), (4.0, 128)])
    def test_float_is_scaled_by_its_range(self, top: float, expected: int) -> None:
        values = np.full((16, 16), top / 2, dtype=np.float32)
        values[0, 0], values[0, 1], values[0, 2] = top, np.nan, np.inf
        data = _encode(Image.fromarray(values), "TIFF")
        assert _pixel(data) == (expected,) * 3
        assert (_pixel(data, 0, 0), _pixel(data, 1, 0), _pixel(data, 2, 0)) == (WHITE, (0, 0, 0), WHITE)

    def test_integers_over_16_bit_are_scaled_by_the_largest(self) -> None:
        values = np.full((16, 16), 1 << 29, dtype=np.int32)
        values[0, 0] = 1 << 30
        assert _pixel(_encode(Image.fromarray(values), "TIFF")) == (128, 128, 128)

    def test_cmyk_is_converted(self) -> None:
        data = _encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
        np.testing.assert_allclose(_pixel(data), RED, atol=4)

    @pytest.mark.parametrize("mode", ["1", "L", "YCbCr"])
    def test_other_modes_are_converted(self, mode: str) -> None:
        data = _encode(Image.new("RGB", (16, 16), "white").convert(mode), "TIFF")
        np.testing.assert_allclose(_pixel(data), WHITE, atol=1)

    def test_a_gif_of_one_frame(self) -> None:
        assert _pixel(_encode(Image.new("RGB", (16, 16), RED), "GIF")) == RED

    def test_of_a_jpeg_with_pictures_inside_the_first_is_taken(self) -> None:
        first, preview = Image.new("RGB", (64, 64), RED), Image.new("RGB", (16, 16), "blue")
        data = _encode(first, "MPO", save_all=True, append_images=[preview])
        decoded = images.decode(data)
        assert (decoded.media_type, decoded.width) == ("image/jpeg", 64)

    def test_the_smallest_picture(self) -> None:
        assert images.decode(_encode(Image.new("RGB", (8, 8)))).width == 8


class TestRefused:
    """Files that are not taken, and the stable reason."""

    @pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"<svg xmlns='x'/>", b"%PDF-1.4"])
    def test_no_picture(self, data: bytes) -> None:
        assert _refusal(data).reason is Reason.IMAGE_UNREADABLE

    @pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
    @pytest.mark.parametrize("share", [0.1, 0.6])
    def test_truncated(self, format_: str, share: float) -> None:
        data = _encode(_noise(size=(64, 64)), format_)
        assert _refusal(data[: int(len(data) * share)]).reason is Reason.IMAGE_UNREADABLE

    def test_broken_in_the_middle(self) -> None:
        data = bytearray(_encode(_noise(size=(64, 64))))
        data[200:260] = bytes(60)
        assert _refusal(bytes(data)).reason is Reason.IMAGE_UNREADABLE

    @pytest.mark.parametrize("format_", ["ICO", "PPM", "TGA", "PDF", "EPS"])
    def test_formats_that_are_not_allowed(self, format_: str) -> None:
        error = _refusal(_encode(Image.new("RGB", (16, 16)), format_))
        assert error.reason is Reason.IMAGE_UNREADABLE
        assert "PNG, JPEG" in error.message

    @pytest.mark.parametrize("side", [20_000, 50_000])
    def test_a_bomb_is_refused_before_its_pixels_are_read(self, side: int) -> None:
        data = _png_header_only(side, side)
        error = _refusal(data)
        assert error.reason is Reason.IMAGE_TOO_LARGE
        assert "40,000,000" in error.message

    def test_the_pixel_limit_is_exact(self) -> None:
        data = _encode(Image.new("RGB", (16, 16)))
        assert images.decode(data, max_pixels=256).width == 16
        assert _refusal(data, max_pixels=255).reason is Reason.IMAGE_TOO_LARGE

    def test_too_many_bytes(self) -> None:
        assert _refusal(bytes(images.MAX_BYTES + 1)).reason is Reason.IMAGE_TOO_LARGE

    @pytest.mark.parametrize("size", [(1, 1), (7, 100), (100, 7)])
    def test_too_small(self, size: tuple[int, int]) -> None:
        error = _refusal(_encode(Image.new("RGB", size)))
        assert error.reason is Reason.IMAGE_UNREADABLE
        assert "at least 8 pixels" in error.message

    @pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP", "TIFF"])
    def test_animated_and_multi_page(self, format_: str) -> None:
        first, *rest = (Image.new("RGB", (16, 16), color) for color in ("red", "lime", "blue"))
        data = _encode(first, format_, save_all=True, append_images=rest)
        error = _refusal(data)
        assert error.reason is Reason.IMAGE_ANIMATED
        assert "more than one frame" in error.message

    def test_nothing_of_the_file_is_in_the_message(self) -> None:
        assert "secret" not in _refusal(b"secret" * 10).message


def test_what_pillow_warns_of_gives_no_warning_in_any_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[33432] = "x"
    tiff = _encode(_noise(size=(40, 40)), "TIFF", tiffinfo=info)
    big = _encode(Image.new("RGB", (40, 40)))

    def decode(index: int) -> bool:
        try:
            images.decode(big if index % 2 else tiff)
        except ImageError:
            return False
        return True

    before = list(warnings.filters)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(pool.map(decode, range(40)))
    assert list(warnings.filters) == before


def test_png_text_survives_a_round_trip() -> None:
    data = images.encode_png(_noise(), {"prompt": "ein Bär im Schnee ☃"})
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.text == {"prompt": "ein Bär im Schnee ☃"}
    assert images.decode(data).pixel_hash == images.pixel_hash(_noise())


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png_header_only(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _png_rgb16(side: int, value: int) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 16, 2, 0, 0, 0)
    row = b"\x00" + struct.pack(">H", value) * 3 * side
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(row * side))
        + _chunk(b"IEND", b"")
    )
