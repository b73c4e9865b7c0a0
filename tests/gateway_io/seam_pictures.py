"""Pictures of one color, and what a scorer that sees only mean colors says of them."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageStat


def picture(color: str, side: int = 16) -> bytes:
    """PNG of one color."""
    out = io.BytesIO()
    Image.new("RGB", (side, side), color).save(out, "PNG")
    return out.getvalue()


def mean_color(data: bytes) -> bytes:
    """Mean red, green and blue of a picture as float32 bytes."""
    return struct.pack("<3f", *ImageStat.Stat(Image.open(io.BytesIO(data)).convert("RGB")).mean)


def closeness(a: bytes, b: bytes) -> float:
    """1 for equal means, 0 for black against white."""
    pairs: Iterator[tuple[float, float]] = zip(struct.unpack("<3f", a), struct.unpack("<3f", b), strict=True)
    return 1 - sum(abs(x - y) for x, y in pairs) / (3 * 255)


def difference(a: bytes, b: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Squared differences [3] of mean red, green and blue, 0..1."""
    first, second = (np.frombuffer(mean_color(data), dtype="<f4") / 255 for data in (a, b))
    return (first - second) ** 2
