"""Broken bytes: encoded pictures of every format that is taken, and what chance does to them."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image

MODES: dict[str, tuple[str, ...]] = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("L", "P"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "F", "I;16"),
}
"""Formats and stored modes."""
SIZES = ((8, 8), (17, 33), (64, 64), (7, 300))
_NUMBERS = tuple(
    value.to_bytes(size, order, signed=False)
    for size in (1, 2, 4)
    for value in (0, 1, 2**7, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)
    if value < 2 ** (8 * size)
    for order in ("little", "big")
)
"""Numbers at the edges of their types, as headers hold them."""


@lru_cache(maxsize=1)
def pictures() -> tuple[bytes, ...]:
    """Valid pictures: every format, mode and size, some with EXIF data, several frames or compression of their own."""
    noise = np.random.default_rng(1)
    found = []
    for kind, modes in MODES.items():
        for index, mode in enumerate(modes):
            width, height = SIZES[index % len(SIZES)]
            found.append(_encoded(_picture(noise, mode, width, height), kind))
    rgb = _picture(noise, "RGB", 40, 24)
    exif = Image.Exif()
    exif[0x0112] = 6
    found += [_encoded(rgb, kind, exif=exif) for kind in ("JPEG", "PNG", "WEBP", "TIFF")]
    found += [_encoded(rgb, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")]
    found.append(_encoded(rgb, "JPEG", progressive=True))
    found += [
        _encoded(rgb, kind, save_all=True, append_images=[rgb.rotate(90)]) for kind in ("GIF", "WEBP", "TIFF", "PNG")
    ]
    return tuple(found)


def mutated_picture(chance: random.Random) -> bytes:
    """A valid picture, broken in one to four places."""
    data = chance.choice(pictures())
    if chance.random() < 0.05:
        # A head of one format on the body of another.
        return data[: chance.randint(1, 64)] + chance.choice(pictures())[chance.randint(0, 64) :]
    return mutated(data, chance)


def mutated(data: bytes, chance: random.Random, times: int | None = None) -> bytes:
    """Bytes with one to four changes, or as many as `times`. Heads, where formats keep their numbers, change most."""
    broken = bytearray(data)
    for _ in range(chance.randint(1, 4) if times is None else times):
        chance.choice(_CHANGES)(broken, chance)
    return bytes(broken)


def _flip(data: bytearray, chance: random.Random) -> None:
    if data:
        data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _number(data: bytearray, chance: random.Random) -> None:
    value, at = chance.choice(_NUMBERS), _place(data, chance)
    data[at : at + len(value)] = value


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[_place(data, chance) :]


def _remove(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    del data[at : at + chance.randint(1, 32)]


def _repeat(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    data[at:at] = data[at : at + chance.randint(1, 64)] * chance.randint(1, 4)


def _insert(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    data[at:at] = chance.randbytes(chance.randint(1, 16))


_CHANGES: Sequence[Callable[[bytearray, random.Random], None]] = (
    _flip,
    _flip,
    _number,
    _number,
    _cut,
    _remove,
    _repeat,
    _insert,
)


def _place(data: bytearray, chance: random.Random) -> int:
    return chance.randrange(min(len(data), 96) if chance.random() < 0.6 else len(data)) if data else 0


def _picture(noise: np.random.Generator, mode: str, width: int, height: int) -> Image.Image:
    pixels = noise.integers(0, 256, (height, width, 3)).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray((pixels[..., 0].astype(np.uint16) << 8) | pixels[..., 1])
    return Image.fromarray(pixels).convert(mode)


def _encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()
