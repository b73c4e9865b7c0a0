"""Small numpy picture operations. Pictures are float32 [128, 128, 3] in 0..1, masks float32 [128, 128].

Blurs and enlargements are products with small fixed matrices: one picture at a time, so that a drawing never
depends on what else is drawn in the same call.
"""

from __future__ import annotations

from functools import cache

import numpy as np

SIZE = 128

Y, X = np.meshgrid(np.arange(SIZE, dtype=np.float32) + 0.5, np.arange(SIZE, dtype=np.float32) + 0.5, indexing="ij")
"""Pixel centres in pixels, each [128, 128]."""


def colour(*rgb: float) -> np.ndarray:
    """An RGB value as float32 [3]."""
    return np.array(rgb, dtype=np.float32)


def blend(weight: np.ndarray, below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """``above`` over ``below`` with per-pixel weights [128, 128] clipped to 0..1."""
    weight = np.clip(weight, 0.0, 1.0)[..., None]
    return (below * (1.0 - weight) + above * weight).astype(np.float32)


@cache
def _blur_matrix(sigma: float) -> np.ndarray:
    """[128, 128] operator of a Gaussian blur of ``sigma`` pixels with replicated borders."""
    radius = int(3 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    matrix = np.zeros((SIZE, SIZE))
    for offset, weight in zip(offsets, kernel, strict=True):
        for row in range(SIZE):
            matrix[row, min(max(row + offset, 0), SIZE - 1)] += weight
    return matrix.astype(np.float32)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of a picture or mask; ``sigma`` in pixels."""
    matrix = _blur_matrix(sigma)
    if image.ndim == 2:
        return matrix @ image @ matrix.T
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    return (matrix @ planes @ matrix.T).transpose(1, 2, 0)


def luminance(image: np.ndarray) -> np.ndarray:
    """Brightness [128, 128] of a picture."""
    return image @ colour(0.3, 0.59, 0.11)


def edges(image: np.ndarray) -> np.ndarray:
    """Strength [128, 128] of the steps to the right and lower neighbours; pictures: strongest channel."""
    strength = np.zeros_like(image)
    strength[:, :-1] = np.abs(image[:, 1:] - image[:, :-1])
    strength[:-1] += np.abs(image[1:] - image[:-1])
    return strength.max(-1) if image.ndim == 3 else strength


@cache
def texture(cells: int, variant: int, channel: int = 0) -> np.ndarray:
    """Smooth noise [128, 128] in 0..1 with ``cells`` knots a side; one fixed field per variant."""
    rng = np.random.default_rng((cells, variant, channel))
    knots = rng.random((cells, cells))
    at = np.linspace(0, cells - 1, SIZE)
    low = np.minimum(at.astype(int), cells - 2)
    step = at - low
    step = step * step * (3 - 2 * step)
    rows = knots[low] * (1 - step)[:, None] + knots[low + 1] * step[:, None]
    field = rows[:, low] * (1 - step) + rows[:, low + 1] * step
    return field.astype(np.float32)


@cache
def warp_indices(strength: float, variant: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column indices [128, 128] of a smooth displacement by at most ``strength`` pixels."""
    dy = (texture(9, variant, 1) - 0.5) * 2 * strength
    dx = (texture(9, variant, 2) - 0.5) * 2 * strength
    rows = np.clip(np.round(Y - 0.5 + dy), 0, SIZE - 1).astype(int)
    columns = np.clip(np.round(X - 0.5 + dx), 0, SIZE - 1).astype(int)
    return rows, columns
