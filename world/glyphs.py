"""Objects as premultiplied RGBA cut-outs: pictograms of Noto Color Emoji, tinted on demand, and plain shapes."""

from __future__ import annotations

import os
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from world import vocabulary as v

FONT_FILE = "NotoColorEmoji.ttf"
_FONT_FOLDERS = (
    "/usr/share/fonts/truetype/noto",
    "/usr/share/fonts/noto",
    "/usr/local/share/fonts",
    "~/.fonts",
)
_STRIKE = 109  # the one bitmap size that the font carries, in pixels
_HUES = {"red": 0.99, "orange": 0.085, "green": 0.34, "blue": 0.60, "purple": 0.78}
_SHAPE_SATURATION, _SHAPE_VALUE = 0.85, 0.92


class FontMissingError(RuntimeError):
    """The pictogram font is not installed."""


def font_path() -> Path:
    """The font file: ``WORLD_FONT``, else the usual folders (Debian: fonts-noto-color-emoji)."""
    candidates = [Path(folder).expanduser() / FONT_FILE for folder in _FONT_FOLDERS]
    if os.environ.get("WORLD_FONT"):
        candidates.insert(0, Path(os.environ["WORLD_FONT"]))
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise FontMissingError(f"{FONT_FILE} not found: install fonts-noto-color-emoji or set WORLD_FONT")


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font_path()), _STRIKE)


def _hsv_to_rgb(hue: float, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """RGB [..., 3] of one hue (0..1) with per-pixel saturation and value."""
    offsets = (np.array([5.0, 3.0, 1.0]) + hue * 6) % 6
    ramp = np.clip(np.minimum(offsets, 4 - offsets), 0, 1)
    return value[..., None] * (1 - saturation[..., None] * ramp)


def _tinted(rgb: np.ndarray, colour: str) -> np.ndarray:
    """The picture with the hue of all clearly coloured pixels replaced; greys stay."""
    brightest, darkest = rgb.max(-1), rgb.min(-1)
    saturation = (brightest - darkest) / (brightest + 1e-5)
    value = brightest * (0.85 if colour == "green" else 1.0)
    new = _hsv_to_rgb(_HUES[colour], np.clip(saturation * 1.25, 0, 0.95), np.clip(value, 0, 1))
    weight = np.clip((saturation - 0.18) / 0.15, 0, 1)[..., None]
    return rgb * (1 - weight) + new * weight


def _shape(kind: str, colour: str | None) -> np.ndarray:
    """A plain shape with a darker rim, straight RGBA float [160, 160, 4]."""
    size, rim = 160, 12
    saturation, value = np.array(_SHAPE_SATURATION), np.array(_SHAPE_VALUE)
    fill = _hsv_to_rgb(_HUES[colour or "red"], saturation, value)
    image = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    look = {
        "fill": (*(int(255 * channel) for channel in fill), 255),
        "outline": (*(int(140 * channel) for channel in fill), 255),
        "width": rim,
    }
    if kind == "circle":
        draw.ellipse((2, 2, size - 3, size - 3), **look)
    elif kind == "square":
        draw.rectangle((8, 8, size - 9, size - 9), **look)
    else:
        draw.polygon([(size // 2, 4), (size - 4, size - 10), (4, size - 10)], **look)
    return np.asarray(image, dtype=np.float32) / 255


def _pictogram(glyph: str, colour: str | None) -> np.ndarray:
    """A glyph of the font, cropped to its ink, straight RGBA float [height, width, 4]."""
    image = Image.new("RGBA", (160, 160), (0, 0, 0, 0))
    ImageDraw.Draw(image).text((10, 10), glyph, font=_font(), embedded_color=True)
    pixels = np.asarray(image.crop(image.getbbox()), dtype=np.float32) / 255
    if colour is None:
        return pixels
    return np.concatenate([_tinted(pixels[..., :3], colour), pixels[..., 3:]], -1)


@cache
def cut_out(kind: str, colour: str | None, size: int) -> np.ndarray:
    """The object in a ``size`` x ``size`` square as premultiplied RGBA float32 [size, size, 4]."""
    glyph = v.KIND_BY_NAME[kind].glyph
    pixels = _shape(kind, colour) if glyph is None else _pictogram(glyph, colour)
    premultiplied = np.concatenate([pixels[..., :3] * pixels[..., 3:], pixels[..., 3:]], -1)
    height, width = premultiplied.shape[:2]
    side = max(height, width)
    square = np.zeros((side, side, 4), np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = premultiplied
    planes = [Image.fromarray(square[..., c]).resize((size, size), Image.Resampling.LANCZOS) for c in range(4)]
    result = np.clip(np.stack([np.asarray(plane) for plane in planes], -1), 0, 1)
    result[..., :3] = np.minimum(result[..., :3], result[..., 3:])
    return np.ascontiguousarray(result, dtype=np.float32)
