"""Decoding and normalizing pictures, the same in every service.

The documented rule: a picture is decoded to 8-bit RGB after its EXIF orientation is applied. Alpha is laid over white.
16-bit and float gray values are scaled to 8 bits. CMYK, palette and gray modes are converted; color profiles are not
applied. Formats, the pixel limit and the byte limit are checked before any pixel is decoded. Animated and multi-page
files, empty and broken files are refused; of a JPEG with further pictures inside (MPO: previews, depth, gain maps) the
first is taken. Broken metadata alone is no reason to refuse. Nothing is ever fetched from an address.
"""

from __future__ import annotations

import hashlib
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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
        ImageError: IMAGE_UNREADABLE, IMAGE_TOO_LARGE, IMAGE_ANIMATED or, where memory does not suffice,
            IMAGE_TOO_COSTLY, blamed on `field`.
    """
    check_bytes(data, field=field)
    try:
        with _quiet.warnings_off():
            picture = Image.open(io.BytesIO(data), formats=ALLOWED_FORMATS)
            _check_header(picture, field, max_pixels)
            # Pillow calls a JPEG with further pictures inside MPO.
            media_type = Image.MIME["JPEG" if picture.format == "MPO" else picture.format or "PNG"]
            rgb = _normalize(picture)
        return DecodedImage(rgb, content_hash(data), pixel_hash(rgb), media_type, len(data))
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        problem, allowed = "the picture has too many pixels", f"at most {max_pixels:,} pixels"
        raise ImageError(Reason.IMAGE_TOO_LARGE, problem, field=field, allowed=allowed) from error
    except MemoryError as error:
        raise ImageError(Reason.IMAGE_TOO_COSTLY, "decoding it takes more memory than there is", field=field) from error
    except Exception as error:  # Pillow's decoders raise many kinds for broken files
        raise ImageError(
            Reason.IMAGE_UNREADABLE, "the file is broken or no picture", field=field, allowed=", ".join(ALLOWED_FORMATS)
        ) from error


def check_bytes(data: bytes, *, field: str = "image") -> None:
    """Checks what can be said without reading a file. Raises ImageError: empty, or over the byte limit."""
    if not data:
        raise ImageError(Reason.IMAGE_UNREADABLE, "the file is empty", field=field)
    if len(data) > MAX_BYTES:
        problem = f"the file has {len(data):,} bytes"
        raise ImageError(Reason.IMAGE_TOO_LARGE, problem, field=field, allowed=f"at most {MAX_BYTES:,} bytes")


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
    # Not how many: a file of 32 MiB can hold millions of empty frames, and to count them takes minutes.
    if picture.format != "MPO" and getattr(picture, "is_animated", False):
        raise ImageError(Reason.IMAGE_ANIMATED, "the file has more than one frame", field=field, allowed="one frame")


def _normalize(picture: Image.Image) -> Image.Image:
    picture.load()
    upright = _upright(picture)
    if upright.mode == "La":
        upright = upright.convert("LA")
    mode = upright.mode
    if mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        return _scale_to_8_bit(upright).convert("RGB")
    if mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in upright.info:
        rgba = upright.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    rgb = upright.convert("RGB")
    # A fresh picture without the source's metadata, so that nothing but pixels travels on.
    return Image.frombytes("RGB", rgb.size, rgb.tobytes())


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # Pillow raises many kinds for broken EXIF data; the pixels are whole
        return picture


def _scale_to_8_bit(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture).astype(np.float32)
    finite = values[np.isfinite(values)]
    # 16-bit values fill 0..65535. Float and 32-bit ones have no agreed range: 0..1 and 0..65535, unless values exceed
    # it, then up to the largest.
    top = max(1.0 if picture.mode == "F" else 65535.0, float(finite.max(initial=0.0)))
    scaled = np.nan_to_num(values, nan=0.0, posinf=top, neginf=0.0) * (255.0 / top)
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


class _Quiet:
    """Pillow warns of large pictures and odd metadata; what matters of it is checked here.

    Warning filters belong to the process, so the first thread in turns them off and the last one out restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._saved = warnings.catch_warnings()

    @contextmanager
    def warnings_off(self) -> Iterator[None]:
        """No warnings inside."""
        with self._lock:
            if self._users == 0:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.simplefilter("ignore")
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._saved.__exit__(None, None, None)


_quiet = _Quiet()
