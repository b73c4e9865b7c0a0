"""Contact sheets: pictures enlarged, each with its caption below."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

_SCALE, _TEXT_HEIGHT, _GAP, _COLUMNS, _LETTERS = 1, 57, 6, 8, 25


def save_sheet(pictures: torch.Tensor, captions: Sequence[str], path: Path, columns: int = _COLUMNS) -> None:
    """Write pictures [N, 3, 128, 128] in 0..1 with captions as a PNG of 256 colours."""
    size = pictures.shape[-1] * _SCALE
    rows = -(-len(pictures) // columns)
    width, height = columns * (size + _GAP) + _GAP, rows * (size + _TEXT_HEIGHT) + _GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    pixels = (pictures.permute(0, 2, 3, 1).clamp(0, 1) * 255).round().byte().numpy()
    for index, (picture, caption) in enumerate(zip(pixels, captions, strict=True)):
        x = _GAP + index % columns * (size + _GAP)
        y = _GAP + index // columns * (size + _TEXT_HEIGHT)
        enlarged = Image.fromarray(np.ascontiguousarray(picture)).resize((size, size), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (x, y))
        draw.text((x, y + size + 1), textwrap.fill(caption, _LETTERS), fill="black", font=font, spacing=0)
    sheet.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
