"""What decoding one picture may take."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.settings import MEBIBYTE


@dataclass(frozen=True)
class DecodeLimits:
    """Limits of one picture.

    The dearest picture that is allowed took 3.1 s and 1.2 GiB (benchmarks/decoding.py measures every format); lossless
    WebP with alpha would need 1.4 GiB, by its memory a pixel, if as many pixels fitted into a file.

    Attributes:
        cpu_seconds: Whole seconds of processor time; the kernel ends a worker that needs more.
        memory_bytes: Address space of a worker, its libraries included.
        wall_seconds: Last resort, for a worker that gets no processor or does not answer.
    """

    cpu_seconds: int = 10
    memory_bytes: int = 2048 * MEBIBYTE
    wall_seconds: float = 120.0

    def __str__(self) -> str:
        return f"a picture that decodes in {self.cpu_seconds} s and {self.memory_bytes // MEBIBYTE} MiB"
