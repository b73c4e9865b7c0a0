"""What `likeness evaluate` remembers beside its output while an evaluation runs, so that the same command goes on."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from likeness import EvaluationOptions

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Remembered:
    """An evaluation under way.

    Attributes:
        digest: Of the manifest's bytes and the options: what makes it the same command.
        request_id: With which it was created: the gateway knows it even if its name never arrived here.
        name: Empty until it is created.
    """

    digest: str
    request_id: str
    name: str = ""


class StateFile:
    """The file beside the output."""

    def __init__(self, out: Path) -> None:
        self.path = out.with_name(f".{out.name}.evaluation")

    def read(self) -> Remembered | None:
        """What is remembered; None if nothing is, or if it cannot be read."""
        try:
            return Remembered(**json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def begin(self, digest: str) -> Remembered:
        """A new evaluation, remembered before it is created."""
        return self._write(Remembered(digest, str(uuid.uuid4())))

    def created(self, remembered: Remembered, name: str) -> Remembered:
        """The same, with its name."""
        return self._write(replace(remembered, name=name))

    def forget(self) -> None:
        """The evaluation is done with."""
        self.path.unlink(missing_ok=True)

    def _write(self, remembered: Remembered) -> Remembered:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(asdict(remembered)) + "\n", encoding="utf-8")
        return remembered


def digest_of(manifest: Path, options: EvaluationOptions) -> str:
    """SHA-256 of a manifest and of how it is evaluated. OSError if it cannot be read."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    with manifest.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
