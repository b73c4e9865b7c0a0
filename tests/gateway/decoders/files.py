"""Files that are pictures by the letter of their formats, and meant to break who decodes them."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encoded(picture: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    """An encoded picture."""
    out = io.BytesIO()
    picture.save(out, format_, **options)
    return out.getvalue()


def small() -> bytes:
    """An honest picture."""
    return encoded(Image.new("RGB", (16, 12), "red"))


def many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan, of some bytes, comes again and again. Each time goes over every pixel."""
    data = encoded(Image.new("RGB", (side, side), "red"), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + data[-2:]


def many_frames_gif(frames: int) -> bytes:
    """A GIF of tiny frames: to count them takes minutes where they are millions."""
    one = encoded(Image.new("P", (16, 16)), "GIF")
    start = one.index(b",", 13)
    return one[:start] + one[start:-1] * frames + b";"


def many_pages_tiff(pages: int) -> bytes:
    """A TIFF with a chain of directories."""
    one = encoded(Image.new("L", (16, 16)), "TIFF")
    (first,) = struct.unpack("<I", one[4:8])
    (entries,) = struct.unpack("<H", one[first : first + 2])
    directory = one[first : first + 2 + 12 * entries]
    chain, start = bytearray(), len(one)
    for page in range(pages):
        following = start + (page + 1) * (len(directory) + 4) if page < pages - 1 else 0
        chain += directory + struct.pack("<I", following)
    return one[:4] + struct.pack("<I", start) + one[8:] + bytes(chain)


def tiff_in_a_circle() -> bytes:
    """A TIFF whose only directory says that it is also the next one."""
    one = bytearray(encoded(Image.new("L", (16, 16)), "TIFF"))
    (first,) = struct.unpack("<I", one[4:8])
    (entries,) = struct.unpack("<H", one[first : first + 2])
    at = first + 2 + 12 * entries
    one[at : at + 4] = struct.pack("<I", first)
    return bytes(one)


def gif_with_a_larger_frame(width: int, height: int) -> bytes:
    """A GIF of 16 x 16 pixels with a frame that is larger than itself."""
    data = bytearray(encoded(Image.new("P", (16, 16)), "GIF"))
    start = data.index(b",", 13)
    data[start + 5 : start + 9] = struct.pack("<HH", width, height)
    return bytes(data)


def png(width: int, height: int, *chunks: tuple[bytes, bytes], rows: bytes | None = None) -> bytes:
    """A gray PNG with further chunks before its pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(rows if rows is not None else (bytes(width + 1)) * height, 9)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return PNG_SIGNATURE + b"".join(chunk(kind, body) for kind, body in parts)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def deflated(size: int) -> bytes:
    """Few bytes that become `size` bytes."""
    packer = zlib.compressobj(1)
    block = bytes(1024 * 1024)
    return b"".join([packer.compress(block) for _ in range(size // len(block))]) + packer.flush()
