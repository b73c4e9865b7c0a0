"""Styles and quality as picture filters. All take and return float32 [128, 128, 3] in 0..1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from world.imaging import SIZE, X, Y, blur, colour, edges, luminance, texture, warp_indices

VARIANTS = 2
"""Every filter uses one of this many fixed paper or grain textures."""

PIXEL_BLOCK = 4
"""Side in pixels of the blocks of the pixel style."""


def _plain(image: np.ndarray, mask: np.ndarray, variant: int) -> np.ndarray:
    del mask, variant
    return image


def _watercolor(image: np.ndarray, mask: np.ndarray, variant: int) -> np.ndarray:
    """Wobbly outlines, washed and stained colours, darker rims and a ragged white border."""
    del mask
    wet = image[warp_indices(2.2, variant)]
    rims = np.abs(blur(wet, 1.4) - blur(wet, 4.4)).mean(-1, keepdims=True)
    wet = blur(wet, 0.7)
    grey = wet.mean(-1, keepdims=True)
    wet = (grey + (wet - grey) * 1.25) * 0.68 + 0.32
    wet = wet * (1 + 0.25 * (texture(5, variant) - 0.5))[..., None] - 0.7 * rims
    border = np.minimum(np.minimum(X, SIZE - X), np.minimum(Y, SIZE - Y)) + 6 * (texture(10, variant) - 0.5)
    inside = np.clip(border / 4 - 0.6, 0, 1)[..., None]
    return wet * inside + 0.98 * (1 - inside)


def _sketch(image: np.ndarray, mask: np.ndarray, variant: int) -> np.ndarray:
    """Dark pencil lines, faint ones on the background, over a light grey shading on slightly grained paper."""
    lines = edges(image) * (0.35 + 0.65 * mask) + 0.9 * edges(mask)
    lines = np.clip(blur(lines, 0.65) * 2.4 - 0.08, 0, 1)
    shade = 0.64 + 0.36 * luminance(image)
    grey = shade * (1 - 0.8 * lines) + (texture(48, variant) - 0.5) * 0.04
    return np.repeat(grey[..., None], 3, -1)


def _pixel(image: np.ndarray, mask: np.ndarray, variant: int) -> np.ndarray:
    """Blocks of 4 x 4 pixels in a palette of five levels a channel, objects with a black outline.

    Even blocks divide the autoencoder's cells of eight pixels, so that they survive it.
    """
    del variant
    cells = SIZE // PIXEL_BLOCK
    blocks = image.reshape(cells, PIXEL_BLOCK, cells, PIXEL_BLOCK, 3).mean((1, 3))
    blocks = np.round(np.clip((blocks - 0.5) * 1.25 + 0.5, 0, 1) * 4) / 4
    solid = mask.reshape(cells, PIXEL_BLOCK, cells, PIXEL_BLOCK).mean((1, 3)) > 0.5
    around = np.zeros_like(solid)
    around[1:] |= solid[:-1]
    around[:-1] |= solid[1:]
    around[:, 1:] |= solid[:, :-1]
    around[:, :-1] |= solid[:, 1:]
    blocks[around & ~solid] = 0.05
    return blocks.repeat(PIXEL_BLOCK, 0).repeat(PIXEL_BLOCK, 1)


def _neon(image: np.ndarray, mask: np.ndarray, variant: int) -> np.ndarray:
    """Glowing coloured outlines on a darkened picture; grey things glow cyan."""
    del variant
    lines = np.clip((edges(image) * (0.6 + 0.4 * mask) + 0.7 * edges(mask) - 0.06) * 2.2, 0, 1)
    strongest, weakest = image.max(-1, keepdims=True), image.min(-1, keepdims=True)
    hue = blur(np.clip((image - weakest) / (strongest - weakest + 0.08), 0, 1), 1.6)
    hue = np.clip(hue / (hue.max(-1, keepdims=True) + 0.05), 0, 1)
    coloured = np.clip(blur((strongest - weakest)[..., 0], 1.6), 0, 0.3)[..., None] / 0.3
    hue = hue * coloured + colour(0.25, 0.9, 1.0) * (1 - coloured)
    inner = 0.16 + 0.22 * mask[..., None]
    return image * inner + hue * (blur(lines, 0.8) * 1.3 + blur(lines, 4.0) * 1.2)[..., None]


def _sepia(image: np.ndarray, mask: np.ndarray, variant: int) -> np.ndarray:
    """Brown tones, soft focus, grain and dark corners; objects are darker and rimmed, else they drown."""
    radius = np.sqrt((X - 64) ** 2 + (Y - 64) ** 2) / 90
    light = np.clip(luminance(image), 0, 1)
    light = light * (1 - 0.28 * mask) * (1 - 1.2 * blur(edges(mask), 0.8)) + 0.12 * (1 - mask)
    grey = (blur(light, 0.6) * 0.86 + 0.10) * (1.06 - 0.5 * radius**3)
    grey = grey + (texture(48, variant) - 0.5) * 0.05
    return grey[..., None] * colour(1.05, 0.86, 0.62) + colour(0.05, 0.01, -0.02)


_FILTERS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "plain": _plain,
    "watercolor": _watercolor,
    "sketch": _sketch,
    "pixel": _pixel,
    "neon": _neon,
    "sepia": _sepia,
}


def apply_style(image: np.ndarray, mask: np.ndarray, style: str, variant: int) -> np.ndarray:
    """The picture in a style; ``mask`` [128, 128] covers the objects, ``variant`` picks the texture."""
    return np.clip(_FILTERS[style](image, mask, variant), 0, 1)


def lower_quality(image: np.ndarray) -> np.ndarray:
    """The picture blurred and faded towards a middle grey."""
    return blur(image, 1.6) * 0.62 + 0.38 * 0.55
