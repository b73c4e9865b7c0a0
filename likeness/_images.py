"""Pictures on their way to the server: files and bytes go as they are, Pillow images without losing depth or alpha."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageOps

from likeness._types import ImageInfo, ImageSource
from likeness.types.v1 import image_pb2

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def to_message(source: ImageSource) -> image_pb2.Image:
    """The message for a picture; a picture that the server holds goes as its address.

    Raises:
        OSError: The file cannot be read.
    """
    if isinstance(source, ImageInfo):
        return image_pb2.Image(content_hash=source.content_hash)
    return image_pb2.Image(data=to_bytes(source))


def to_bytes(source: str | Path | bytes | Image.Image) -> bytes:
    """Encoded bytes of a file, of bytes, or of a Pillow image (turned upright by its EXIF orientation)."""
    if isinstance(source, bytes):
        return source
    if isinstance(source, Image.Image):
        return _encode(ImageOps.exif_transpose(source))
    return Path(source).read_bytes()


def _encode(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    # TIFF carries what PNG cannot: CMYK, 32-bit and float pixels. The server converts them by its documented rule.
    picture.save(out, "PNG" if picture.mode in _PNG_MODES else "TIFF")
    return out.getvalue()
