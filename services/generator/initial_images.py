"""Pictures to start from: decoded, brought to size, and named in the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from services.common import images
from services.generator.domain import EngineItem, ItemRequest


def with_initial_images(items: Sequence[ItemRequest], work: Sequence[EngineItem]) -> list[EngineItem]:
    """Checked items with the initial images that were asked for.

    Args:
        items: What was asked for.
        work: The same items, checked.

    Raises:
        ImageError: IMAGE_UNREADABLE, IMAGE_TOO_LARGE or IMAGE_ANIMATED; names the field.
    """
    # Several items of a call often start from one picture: it is decoded once.
    scaled: dict[tuple[bytes, int, int], tuple[Image.Image, str]] = {}
    ready = []
    for index, (item, one) in enumerate(zip(items, work, strict=True)):
        if item.initial_image is None:
            ready.append(one)
            continue
        key = item.initial_image, one.record.width_pixels, one.record.height_pixels
        if key not in scaled:
            scaled[key] = _scaled(*key, field=f"items[{index}].initial_image")
        picture, content_hash = scaled[key]
        record = replace(one.record, initial_image_content_hash=content_hash)
        ready.append(replace(one, record=record, initial_image=picture))
    return ready


def _scaled(data: bytes, width: int, height: int, *, field: str) -> tuple[Image.Image, str]:
    decoded = images.decode(data, field=field)
    return decoded.rgb.resize((width, height), Image.Resampling.LANCZOS), decoded.content_hash
