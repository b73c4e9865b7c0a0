"""Pictures inside the page: data URIs, small ones untouched, large ones scaled down."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image, ImageOps

from likeness.report.html import Html, el

_BROWSER_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
_UNTOUCHED_BYTES = 400_000
_PIXEL_ART_SIDE_PIXELS = 200


@dataclass(frozen=True)
class Picture:
    """A picture as it goes into the page; width and height are those of the original, in pixels."""

    uri: str
    width: int
    height: int

    def img(self, alt: str, class_: str = "") -> Html:
        """The img element; small pictures are enlarged with sharp pixels."""
        is_small = max(self.width, self.height) < _PIXEL_ART_SIDE_PIXELS
        names = " ".join(name for name in (class_, "pixel" if is_small else "") if name)
        return el("img", src=self.uri, alt=alt, class_=names or None, width=self.width, height=self.height)


def embed(data: bytes, *, max_side_pixels: int = 768) -> Picture:
    """Encoded bytes as a picture for the page."""
    with Image.open(io.BytesIO(data)) as opened:
        upright = ImageOps.exif_transpose(opened)
        width, height = upright.size
        fits = max(width, height) <= max_side_pixels or len(data) <= _UNTOUCHED_BYTES
        if opened.format in _BROWSER_FORMATS and fits and opened.mode != "CMYK":
            return Picture(_uri(Image.MIME[opened.format], data), width, height)
        small = upright.convert("RGB")
        small.thumbnail((max_side_pixels, max_side_pixels), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        small.save(out, "WEBP", quality=88)
        return Picture(_uri("image/webp", out.getvalue()), width, height)


def _uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
