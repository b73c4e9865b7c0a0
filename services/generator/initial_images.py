"""Pictures to start from and their masks: decoded, brought to size, named in the record, and kept where they stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from services.common import images
from services.common.errors import InvalidInputError
from services.generator.domain import MID_GREY, EngineItem, ItemRequest


def with_initial_images(items: Sequence[ItemRequest], work: Sequence[EngineItem]) -> list[EngineItem]:
    """Checked items with the initial images and masks that were asked for.

    Args:
        items: What was asked for.
        work: The same items, checked.

    Raises:
        ImageError: IMAGE_UNREADABLE, IMAGE_TOO_LARGE or IMAGE_ANIMATED; names the field.
        InvalidInputError: a mask has another shape than its initial image, or is black; names the field.
    """
    files = _Files()
    return [
        one if item.initial_image is None else _with_pictures(item, one, item.initial_image, files, f"items[{index}]")
        for index, (item, one) in enumerate(zip(items, work, strict=True))
    ]


def with_kept_pixels(item: EngineItem, picture: Image.Image) -> Image.Image:
    """A picture that was made with the item's mask, RGB, and the initial image's pixels outside of it.

    Black pixels of the mask are the initial image's to the bit, white ones the picture's, grey ones a blend of both.
    The picture alone would not do: an autoencoder gives nothing back as it was. Without a mask it is the picture alone.
    """
    if item.mask is None or item.initial_image is None:
        return picture
    return Image.composite(picture, item.initial_image, item.mask)


def _with_pictures(item: ItemRequest, one: EngineItem, data: bytes, files: _Files, at: str) -> EngineItem:
    size = one.record.width_pixels, one.record.height_pixels
    start = files.read(data, size, f"{at}.initial_image")
    one = replace(
        one,
        record=replace(one.record, initial_image_content_hash=start.content_hash),
        initial_image=start.picture,
    )
    if item.mask is None:
        return one
    field = f"{at}.mask"
    mask = files.read(item.mask, size, field, is_mask=True)
    _check_proportions(mask, start, field)
    if np.asarray(mask.picture).max() < MID_GREY:
        problem = "is black in the asked size, which leaves nothing to make anew"
        raise InvalidInputError(field, problem, allowed=f"{MID_GREY} to 255 somewhere")
    return replace(one, record=replace(one.record, mask_content_hash=mask.content_hash), mask=mask.picture)


def _check_proportions(mask: _Scaled, start: _Scaled, field: str) -> None:
    # A mask that was scaled down from the initial image's size was rounded to whole pixels: one off is no other shape.
    if abs(mask.width * start.height - mask.height * start.width) >= max(start.width, start.height):
        problem = f"has {mask.width} x {mask.height} pixels"
        allowed = f"the proportions of the initial image, which has {start.width} x {start.height}"
        raise InvalidInputError(field, problem, allowed=allowed)


@dataclass(frozen=True)
class _Scaled:
    """A picture in the asked size, and the hash, width and height of its file."""

    picture: Image.Image
    content_hash: str
    width: int
    height: int


class _Files:
    """Several items of a call often start from one picture: it is decoded once."""

    def __init__(self) -> None:
        self._read: dict[tuple[bytes, tuple[int, int], bool], _Scaled] = {}

    def read(self, data: bytes, size: tuple[int, int], field: str, *, is_mask: bool = False) -> _Scaled:
        """The picture RGB, or the mask L."""
        key = data, size, is_mask
        if key not in self._read:
            decoded = images.decode(data, field=field)
            if is_mask:
                # A filter that does not overshoot: black stays black and white stays white.
                scaled = decoded.rgb.convert("L").resize(size, Image.Resampling.BILINEAR)
            else:
                scaled = decoded.rgb.resize(size, Image.Resampling.LANCZOS)
            self._read[key] = _Scaled(scaled, decoded.content_hash, decoded.width, decoded.height)
        return self._read[key]
