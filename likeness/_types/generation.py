"""Pictures from a prompt, outside any session: on their way, and done."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from enum import StrEnum

from PIL import Image

from likeness._types.images import GenerationRecord, ImageInfo
from likeness._types.scores import ItemError


class Priority(StrEnum):
    """Which waiting pictures begin first: BATCH is work nobody waits for, NORMAL as those of automatic loops."""

    BATCH = "batch"
    NORMAL = "normal"
    INTERACTIVE = "interactive"


@dataclass(frozen=True)
class GenerationProgress:
    """A picture on its way (live).

    Attributes:
        number: Which picture of the call, from 1.
        step: Denoising steps done; both this and `total_steps` are 0 while it is queued.
        items_ahead: Pictures ahead of it while it is queued, those of other callers included.
        seconds_left: Estimated time to the picture; None if unknown.
    """

    number: int
    seed: int
    step: int
    total_steps: int
    items_ahead: int = 0
    seconds_left: float | None = None


@dataclass(frozen=True)
class GenerationPreview:
    """A picture as it stands after a denoising step (live): of several that wait to be read, only the newest may come.

    Attributes:
        number: Which picture of the call, from 1.
        step: Denoising steps done.
        jpeg: The picture, its longest side at most 256 pixels.
    """

    number: int
    seed: int
    step: int
    jpeg: bytes = field(repr=False)

    @property
    def image(self) -> Image.Image:
        """The picture."""
        return _opened(self.jpeg)


@dataclass(frozen=True)
class GeneratedImage:
    """A picture of `generate`, or why there is none.

    Attributes:
        number: Which picture of the call, from 1.
        png: The picture as the generator wrote it: the text chunk "likeness" holds the generation record. Empty if it
            failed.
        info: Its address and size; the server knows the address only if it was asked to `keep` the picture.
        record: How to make it again, defaults filled in.
        prompt_truncated: Whether the prompt was longer than the model reads, so that its end was left out.
        error: Why there is no picture; all of the above is then empty.
    """

    number: int
    seed: int
    png: bytes = field(default=b"", repr=False)
    info: ImageInfo | None = None
    record: GenerationRecord | None = None
    prompt_truncated: bool = False
    error: ItemError | None = None

    @property
    def image(self) -> Image.Image | None:
        """The picture; None if it failed."""
        return None if self.error is not None else _opened(self.png)


GenerationEvent = GenerationProgress | GenerationPreview | GeneratedImage
"""What `generate_events` yields; each picture's last event is a GeneratedImage."""


def _opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture
