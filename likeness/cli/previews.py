"""Previews as files beside the pictures on their way: replaced by each newer one, gone when the pictures are there."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from likeness import GenerationPreview

SUFFIX = ".preview.jpg"


def stem(number: int, seed: int) -> str:
    """Name of a picture's files in a folder, without what comes after the dot."""
    return f"{number:04}-{seed}"


class PreviewFiles:
    """Preview files of one command; those that are left at the end of the `with` block are removed.

    Args:
        folder: Where they are written.
        first: Number of the command's first picture in that folder.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self._folder = folder
        self._first = first
        self._paths: dict[int, Path] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in list(self._paths):
            self.remove(number)

    def write(self, preview: GenerationPreview) -> Path:
        """Replaces the file as a whole: whoever looks at it never sees half of a picture."""
        path = self._folder / f"{stem(self._first + preview.number - 1, preview.seed)}{SUFFIX}"
        self._paths[preview.number] = path
        part = path.with_suffix(".part")
        try:
            part.write_bytes(preview.jpeg)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return path

    def remove(self, number: int) -> None:
        """Removes the preview of a picture, if there is one."""
        if number in self._paths:
            self._paths.pop(number).unlink(missing_ok=True)
