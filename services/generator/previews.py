"""Pictures on their way as small files."""

from __future__ import annotations

import io

from PIL import Image

MAX_SIDE_PIXELS = 256
_QUALITY = 80


def preview_jpeg(picture: Image.Image) -> bytes:
    """JPEG bytes of an RGB picture, made smaller where its longest side is above 256 pixels. It carries no record."""
    small = picture.copy()
    small.thumbnail((MAX_SIDE_PIXELS, MAX_SIDE_PIXELS))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
