"""What decoding one picture may take."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.settings import MEBIBYTE


@dataclass(frozen=True)
class DecodeLimits:
    """Limits of one picture.

    A picture of the most pixels takes up to 2.6 s and 1.7 GiB: lossless WebP with alpha, by its cost a pixel
    (benchmarks/decoding.py measures every format).

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
