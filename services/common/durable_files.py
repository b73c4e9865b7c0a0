"""Files that are whole or not there, and that outlive a power cut once they are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_durably(path: Path, root: Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes a file below `root` under a hidden name, and gives it its own when its bytes are on the disk.

    The folder of `path` must be there. Readable by its owner only. Whatever goes wrong leaves nothing behind.

    Args:
        path: The file; one that is there is replaced.
        root: The folder down from which folders may be as new as the file.
        write: Writes the content.

    Raises:
        OSError: the disk is full, or somebody may not write there.
    """
    handle, name = tempfile.mkstemp(prefix=".put-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    # The name must survive a power cut too, and so must the folders that lead to it.
    for folder in path.parents:
        _sync_folder(folder)
        if folder == root:
            return


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
