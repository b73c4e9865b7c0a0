"""Where the file of an adapter lies."""

from __future__ import annotations

import hashlib
from pathlib import Path

from huggingface_hub import snapshot_download

from services.common.errors import Reason, UnavailableError
from services.common.profile import Adapter, is_path, public_source

ANY_FILE = "*.safetensors"


def find(adapter: Adapter) -> Path:
    """The .safetensors file of an adapter; fetched first if it lies on a hub.

    Raises:
        UnavailableError: MODEL_UNAVAILABLE, with what was looked for and what to do; never a path of this machine.
    """
    source, name = Path(adapter.source), public_source(adapter.source)
    if source.is_file():
        return source
    if source.is_dir():
        folder = source
    elif is_path(adapter.source):
        raise unavailable(adapter.id, f"{name} was not found; check the path in the profile")
    else:
        folder = _fetched(adapter)
    files = sorted(folder.glob(ANY_FILE)) if adapter.file is None else [folder / adapter.file]
    files = [file for file in files if file.is_file()]
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        problem = f"one file {adapter.file or ANY_FILE} was looked for in {name} and {found} found"
        raise unavailable(adapter.id, f"{problem}; name it in the profile")
    return files[0]


def digest(file: Path) -> str:
    """Short SHA-256 of the file's bytes: the adapter's revision."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]


def unavailable(adapter_id: str, problem: str) -> UnavailableError:
    """The error of an adapter that cannot be used."""
    return UnavailableError(Reason.MODEL_UNAVAILABLE, f"adapter {adapter_id!r}: {problem}")


def _fetched(adapter: Adapter) -> Path:
    source, wanted = adapter.source, adapter.file or ANY_FILE
    try:
        return Path(snapshot_download(source, revision=adapter.revision, allow_patterns=wanted))
    except Exception as error:  # the hub's client raises many kinds for networks, names and permissions
        todo = f"check the id and the network, or run 'hf download {source}' where there is one"
        raise unavailable(adapter.id, f"hub id {source} could not be fetched; {todo}") from error
