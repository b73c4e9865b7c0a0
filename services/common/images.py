"""Decoding and normalizing pictures, the same in every service.

The documented rule: a picture is decoded to 8-bit RGB after its EXIF orientation is applied. Alpha is laid over white.
16-bit and float grey values are scaled to 8 bits. CMYK, palette and grey modes are converted. Formats, the pixel limit
and the byte limit are checked before any pixel is decoded. Animated and multi-frame files, empty and broken files are
refused. Nothing is ever fetched from an address.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from services.common.errors import ImageError, Reason

ALLOWED_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_BYTES = 32 * 1024 * 1024
MAX_PIXELS = 40_000_000
MIN_SIDE_PIXELS = 8


@dataclass(frozen=True)
class DecodedImage:
    """A normalized picture and its two addresses."""

    rgb: Image.Image
    content_hash: str
    pixel_hash: str
    media_type: str
    size_bytes: int

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.rgb.width

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.rgb.height


def content_hash(data: bytes) -> str:
    """Lower-case hexadecimal SHA-256 of encoded bytes."""
    return hashlib.sha256(data).hexdigest()


def pixel_hash(rgb: Image.Image) -> str:
    """SHA-256 of size and RGB pixels: equal for two encodings of one picture."""
    digest = hashlib.sha256(f"rgb8:{rgb.width}x{rgb.height}:".encode())
    digest.update(rgb.tobytes())
    return digest.hexdigest()


def decode(data: bytes, *, field: str = "image", max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Decodes and normalizes an encoded picture.

    Raises:
        ImageError: IMAGE_UNREADABLE, IMAGE_TOO_LARGE or IMAGE_ANIMATED, blamed on `field`.
    """
    if not data:
        raise ImageError(Reason.IMAGE_UNREADABLE, "the file is empty", field=field)
    if len(data) > MAX_BYTES:
        problem = f"the file has {len(data):,} bytes"
        raise ImageError(Reason.IMAGE_TOO_LARGE, problem, field=field, allowed=f"at most {MAX_BYTES:,} bytes")
    try:
        with warnings.catch_warnings():
            # Pillow only warns between its own limit and twice it; ours is checked below, before any pixel is read.
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(data), formats=ALLOWED_FORMATS)
            _check_header(picture, field, max_pixels)
            media_type = Image.MIME[picture.format or "PNG"]
            rgb = _normalize(picture)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        problem, allowed = "the picture has too many pixels", f"at most {max_pixels:,} pixels"
        raise ImageError(Reason.IMAGE_TOO_LARGE, problem, field=field, allowed=allowed) from error
    except Exception as error:  # Pillow's decoders raise many kinds for broken files
        raise ImageError(
            Reason.IMAGE_UNREADABLE, "the file is broken or no picture", field=field, allowed=", ".join(ALLOWED_FORMATS)
        ) from error
    return DecodedImage(rgb, content_hash(data), pixel_hash(rgb), media_type, len(data))


def encode_png(rgb: Image.Image, text: dict[str, str] | None = None) -> bytes:
    """PNG bytes; `text` goes into uncompressed-key iTXt chunks, which carry any Unicode."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value)
    out = io.BytesIO()
    rgb.save(out, "PNG", pnginfo=info)
    return out.getvalue()


def _check_header(picture: Image.Image, field: str, max_pixels: int) -> None:
    pixels = picture.width * picture.height
    if pixels > max_pixels:
        problem = f"the picture has {picture.width} x {picture.height} pixels"
        allowed = f"at most {max_pixels:,} pixels"
        raise ImageError(Reason.IMAGE_TOO_LARGE, problem, field=field, allowed=allowed)
    if min(picture.width, picture.height) < MIN_SIDE_PIXELS:
        problem = f"the picture has {picture.width} x {picture.height} pixels"
        allowed = f"sides of at least {MIN_SIDE_PIXELS} pixels"
        raise ImageError(Reason.IMAGE_UNREADABLE, problem, field=field, allowed=allowed)
    frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        raise ImageError(Reason.IMAGE_ANIMATED, f"the file has {frames} frames", field=field, allowed="one frame")


def _normalize(picture: Image.Image) -> Image.Image:
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    mode = upright.mode
    if mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        return _scale_to_8_bit(upright).convert("RGB")
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in upright.info:
        rgba = upright.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    rgb = upright.convert("RGB")
    # A fresh picture without the source's metadata, so that nothing but pixels travels on.
    return Image.frombytes("RGB", rgb.size, rgb.tobytes())


def _scale_to_8_bit(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture).astype(np.float64)
    if picture.mode == "F":
        # Float pictures have no agreed range: 0..1 unless the values say otherwise.
        top = max(1.0, float(np.nanmax(values)))
        values = np.nan_to_num(values) / top * 255.0
    else:
        values = values / 257.0
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8), "L")
