"""Encoded pictures of every awkward kind, made on the spot."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

_RNG = np.random.default_rng(7)


def picture(width: int = 64, height: int = 48) -> Image.Image:
    """A smooth RGB picture with a red corner, so that a rotation shows."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 255 / width, y * 255 / height, 120 + 0 * x], -1).astype(np.uint8)
    rgb[: height // 4, : width // 4] = (255, 0, 0)
    return Image.fromarray(rgb)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Bytes of a picture in a format."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def bomb() -> bytes:
    """A PNG of 30,000 x 30,000 pixels in about a kilobyte: only the header may be read."""

    def chunk(tag: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 9000))
        + chunk(b"IEND", b"")
    )


def animated() -> bytes:
    """A GIF of three frames."""
    frames = [picture().rotate(30 * i) for i in range(3)]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:])


def rotated_by_exif() -> bytes:
    """A JPEG that is stored lying and marked to be turned upright by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(picture(64, 48), "JPEG", exif=exif.tobytes(), quality=95)


def sixteen_bit() -> bytes:
    """A 16-bit grey PNG."""
    return encode(Image.fromarray((np.linspace(0, 65535, 64 * 48).reshape(48, 64)).astype(np.uint16)))


ACCEPTED = {
    "cmyk": lambda: encode(picture().convert("CMYK"), "JPEG"),
    "alpha": lambda: encode(Image.merge("RGBA", (*picture().split(), Image.new("L", (64, 48), 128)))),
    "sixteen_bit": sixteen_bit,
    "palette": lambda: encode(picture().convert("P")),
    "grey": lambda: encode(picture().convert("L")),
    "exif_rotated": rotated_by_exif,
    "webp": lambda: encode(picture(), "WEBP"),
}
REFUSED = {
    "empty": (lambda: b"", "IMAGE_UNREADABLE"),
    "text": (lambda: b"this is no picture", "IMAGE_UNREADABLE"),
    "truncated": (
        lambda: encode(Image.fromarray(_RNG.integers(0, 255, (64, 64, 3), np.uint8)))[:900],
        "IMAGE_UNREADABLE",
    ),
    "bomb": (bomb, "IMAGE_TOO_LARGE"),
    "animated": (animated, "IMAGE_ANIMATED"),
}
