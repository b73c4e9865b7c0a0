"""Pictures and how they were made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image


@dataclass(frozen=True)
class ImageInfo:
    """A stored picture: its address (`content_hash`, SHA-256 of the bytes) and size. Holds no pixels."""

    content_hash: str
    pixel_hash: str
    media_type: str
    width_pixels: int
    height_pixels: int
    size_bytes: int


ImageSource = str | Path | bytes | Image.Image | ImageInfo
"""A picture to send: path of a file, encoded bytes, Pillow image, or a picture that the server already holds."""


@dataclass(frozen=True)
class NoisePart:
    """One noise of a mix, by its seed.

    Attributes:
        cells: Factors of the weight in a square grid over the picture, row by row; empty: 1 everywhere.
    """

    seed: int
    weight: float
    cells: tuple[float, ...] = ()


@dataclass(frozen=True)
class GenerationRecord:
    """Everything needed to make the same picture again.

    The initial noise is, at each place, the weighted sum of the mix's noises over the root of the sum of squared
    weights; without a mix it is that of `seed` alone.

    Attributes:
        deterministic: Whether the picture shared no batch: the same record gives the same pixels to the bit on the same
            hardware and software.
        strength: How much of the initial image was made anew: `steps` times it, rounded down, are the steps that were
            done. 0 if there was no initial image.
        initial_image_content_hash: Address of the initial image; empty if there was none.
        mask_content_hash: Address of the mask; empty if there was none.
        second_strength: The same for a second pass over the finished picture; 0 if there was none.
        adapter: Adapter of the model; empty if none.
        adapter_scale: How much of it; 0 if none.
    """

    prompt: str
    negative_prompt: str
    seed: int
    steps: int
    guidance_scale: float
    scheduler: str
    width_pixels: int
    height_pixels: int
    model: str
    model_revision: str
    noise_mix: tuple[NoisePart, ...] = ()
    deterministic: bool = False
    strength: float = 0.0
    initial_image_content_hash: str = ""
    mask_content_hash: str = ""
    second_strength: float = 0.0
    adapter: str = ""
    adapter_scale: float = 0.0
    adapter_revision: str = ""
